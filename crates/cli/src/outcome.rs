//! What a command did, in a line for each cloud on standard output: progress goes to standard
//! error, and whoever keeps the output keeps the outcome.

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use deployer_core::engine::Verdict;
use deployer_core::node::{Action, Sort};
use deployer_core::plan::Prepared;

use crate::view::foreign;
use crate::view::plan;

/// In the order in which they are told; a step has one word.
const WORDS: [&str; 6] = [
    "run", "created", "changed", "replaced", "deleted", "released",
];

/// Tells people what was done. JSON has the verdicts.
pub fn tell(prepared: &Prepared, verdicts: &BTreeMap<CloudName, Verdict>, as_json: bool) {
    if as_json {
        return;
    }
    for (cloud, verdict) in verdicts {
        if let Some(line) = line(prepared, *cloud, verdict) {
            outln!("{cloud}: {line}");
        }
        for left in left(prepared, *cloud, verdict) {
            outln!("{cloud}: {left}");
        }
    }
}

/// Where what a database held is to be found that is deleted now.
fn left(prepared: &Prepared, cloud: CloudName, verdict: &Verdict) -> Vec<String> {
    let deleted = prepared
        .plan
        .of(cloud)
        .filter(|change| change.action == Action::Delete && verdict.done.contains(&change.address));
    let left = deleted.filter_map(|change| {
        let leaves = foreign::one_line(&plan::leaves(&change.address)?);
        Some(format!("what is left of the data: {leaves}"))
    });
    left.collect()
}

/// `12 deleted, 1 released`. `None` where nothing was done.
fn line(prepared: &Prepared, cloud: CloudName, verdict: &Verdict) -> Option<String> {
    let done = prepared.plan.of(cloud);
    let done = done.filter(|change| verdict.done.contains(&change.address));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for word in done.filter_map(|change| word(change.sort, change.action)) {
        *counts.entry(word).or_default() += 1;
    }
    let told = WORDS.iter().filter_map(|word| {
        let count = counts.get(word)?;
        Some(format!("{count} {word}"))
    });
    let told: Vec<String> = told.collect();
    let rest = match verdict.succeeded() {
        true => "",
        false => "; not all of it was done",
    };
    (!told.is_empty()).then(|| format!("{}{rest}", told.join(", ")))
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
