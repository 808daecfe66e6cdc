//! What a command did, in a line on standard output: progress goes to standard
//! error, and whoever keeps the output keeps the outcome.

use std::collections::BTreeMap;

use deployer_core::address::{Address, CloudName};
use deployer_core::engine::Verdict;
use deployer_core::journal::Event;
use deployer_core::ledger::RunRecord;
use deployer_core::node::{Action, Sort};
use deployer_core::plan::{Change, Prepared};
use jiff::Timestamp;

use crate::session::Session;
use crate::view::{self, foreign, plan};

/// In the order in which they are told; a step has one word.
const WORDS: [&str; 6] = [
    "run", "created", "changed", "replaced", "deleted", "released",
];

/// Tells people what was done, in one line for all clouds that did the same. JSON has the verdicts.
pub fn tell(
    session: &Session,
    prepared: &Prepared,
    verdicts: &BTreeMap<CloudName, Verdict>,
    began: Timestamp,
    as_json: bool,
) {
    if as_json {
        return;
    }
    let lines = verdicts.iter();
    let lines = lines.filter_map(|(cloud, it)| Some((*cloud, line(prepared, *cloud, it)?)));
    let mut told: Vec<(String, Vec<&str>)> = Vec::new();
    for (cloud, line) in lines {
        match told.iter_mut().find(|(same, _)| *same == line) {
            Some((_, clouds)) => clouds.push(cloud.as_str()),
            None => told.push((line, vec![cloud.as_str()])),
        }
    }
    if told.is_empty() {
        return;
    }
    let told = told
        .into_iter()
        .map(|(line, clouds)| format!("{line} on {}", plan::list(&clouds)));
    let told: Vec<String> = told.collect();
    let rest = match verdicts.values().all(Verdict::succeeded) {
        true => "",
        false => "; NOT ALL OF IT was done",
    };
    let subject = (
        session.loaded.manifest.app.as_str(),
        session.loaded.environment.as_str(),
    );
    let took = session.clock.now().duration_since(began);
    let took = took.try_into().unwrap_or_default();
    let words = format!("{}{rest}", told.join("; "));
    out!(
        "{}",
        view::served::title(subject, &words, (took, view::width()))
    );
}

/// Tells people where what a database held is to be found that this run deleted: by its whole name
/// where the run's journal can be read.
pub async fn tell_left(
    session: &Session,
    prepared: &Prepared,
    verdicts: &BTreeMap<CloudName, Verdict>,
    as_json: bool,
) {
    for place in session.places.iter().filter(|_| !as_json) {
        let cloud = place.name();
        let deleted = |change: &&Change| {
            let done = verdicts.get(&cloud).map(|it| &it.done);
            change.action == Action::Delete
                && done.is_some_and(|done| done.contains(&change.address))
                && plan::leaves(&change.address).is_some()
        };
        let deleted: Vec<&Change> = prepared.plan.of(cloud).filter(deleted).collect();
        if deleted.is_empty() {
            continue;
        }
        let run = place.ledger.last_run().await.ok().flatten();
        for change in deleted {
            let token = run.as_ref().and_then(|run| token(run, &change.address));
            let left = match token {
                Some(token) => plan::left(&change.address, token),
                None => plan::leaves(&change.address),
            };
            if let Some(left) = left {
                outln!(
                    "{cloud}: what is left of the data: {}",
                    foreign::one_line(&left)
                );
            }
        }
    }
}

/// What the calls of a run about a node carry.
fn token<'a>(run: &'a RunRecord, of: &Address) -> Option<&'a str> {
    let mut entries = run.entries.iter().rev();
    entries.find_map(|entry| match &entry.event {
        Event::Started { address, token, .. } if address == of => Some(token.as_str()),
        _ => None,
    })
}

/// `12 deleted, 1 released`. `None` where nothing was done.
fn line(prepared: &Prepared, cloud: CloudName, verdict: &Verdict) -> Option<String> {
    let done = prepared.plan.of(cloud);
    let done = done.filter(|change| verdict.done.contains(&change.address));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    // One that is there while the old one could not go yet replaces nothing so far.
    let action = |change: &Change| match change.addresses().all(|it| verdict.done.contains(it)) {
        true => change.action,
        false => change.act(),
    };
    for word in done.filter_map(|change| word(change.sort, action(change))) {
        *counts.entry(word).or_default() += 1;
    }
    let told = WORDS.iter().filter_map(|word| {
        let count = counts.get(word)?;
        Some(format!("{count} {word}"))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn word(sort: Sort, action: Action) -> Option<&'static str> {
    match (sort, action) {
        (_, Action::NoOp) => None,
        (Sort::Step, _) => Some("run"),
        (Sort::Resource, Action::Create) => Some("created"),
        (Sort::Resource, Action::Update) => Some("changed"),
        (Sort::Resource, Action::Replace) => Some("replaced"),
        (Sort::Resource, Action::Delete) => Some("deleted"),
        (Sort::Resource, Action::Release) => Some("released"),
    }
}
