//! `deployer runs`: who tried what, how long it took and how it ended, as the ledgers have it.

use std::collections::BTreeMap;
use std::time::Duration;

use deployer_core::address::{Address, CloudName};
use deployer_core::error::{Error, Result};
use deployer_core::journal::Event;
use deployer_core::ledger::RunRecord;
use deployer_core::node::Action;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::again::Again;
use crate::args::{Global, RunsArgs, RunsCommand};
use crate::duration;
use crate::exit::Exit;
use crate::session::Session;
use crate::view::brief::brief;
use crate::view::progress::{doing, done, past, verb};
use crate::view::{self, foreign, plan};

/// Lists the last runs of every target, or shows one.
pub async fn run(global: &Global, session: Session, args: &RunsArgs) -> Result<Exit> {
    match &args.command {
        None => list(global, &session, args.lines).await,
        Some(RunsCommand::Show { number }) => show(global, &session, *number).await,
    }
}

async fn list(global: &Global, session: &Session, limit: usize) -> Result<Exit> {
    let (mut runs, mut are_more) = (Vec::new(), false);
    for place in &session.places {
        // One more tells whether there are more.
        let mut of_place = place.ledger.runs(limit.saturating_add(1)).await?;
        are_more |= of_place.len() > limit;
        of_place.truncate(limit);
        runs.extend(of_place.into_iter().map(|run| (place.name(), run)));
    }
    // Runs of one command stand beside each other.
    runs.sort_by(|(a, one), (b, other)| (other.header.at, a).cmp(&(one.header.at, b)));
    if global.json {
        let documents = runs.iter().map(|(cloud, run)| summary(*cloud, run));
        view::json(&documents.collect::<Vec<_>>());
        return Ok(session.failure());
    }
    if runs.is_empty() {
        noteln!("nothing was run yet");
        return Ok(session.failure());
    }
    let now = session.clock.now();
    let rows = runs.iter().map(|(cloud, run)| row(*cloud, run, now));
    let rows: Vec<Vec<String>> = rows.collect();
    let header = [
        "CLOUD", "RUN", "COMMAND", "AT", "TOOK", "HOW", "DONE", "WHO",
    ];
    out!("{}", view::table::fitting(&header, &rows));
    if are_more {
        let more =
            Again::new(global, "runs").option("--lines", &limit.saturating_mul(5).to_string());
        noteln!("older ones are not among these: {more}");
    }
    Ok(session.failure())
}

/// So wide is the time in front of what a run did, with the space around it.
const TIME: usize = 12;

async fn show(global: &Global, session: &Session, number: u64) -> Result<Exit> {
    let mut found = Vec::new();
    for place in &session.places {
        if let Some(run) = place.ledger.run(number).await? {
            found.push((place.name(), run));
        }
    }
    if found.is_empty() {
        return Err(Error::input(format!("there is no run {number}"))
            .hint("`deployer runs` lists those that there are"));
    }
    if global.json {
        let documents = found.iter().map(|(cloud, run)| {
            let mut document = summary(*cloud, run);
            document["entries"] = json!(run.entries);
            document
        });
        view::json(&documents.collect::<Vec<_>>());
        return Ok(session.failure());
    }
    for (cloud, run) in &found {
        let header = &run.header;
        let line = format!("{} by {} at {:.0}", header.command, header.by, header.at);
        let line = foreign::one_line(&line);
        let line = format!("{cloud}: run {number}, {line}, {}", ending(run));
        for line in view::whole_or_wrapped(&line) {
            outln!("{line}");
        }
        for (at, words) in story(run) {
            let time = at.strftime("%H:%M:%S").to_string();
            for (row, words) in view::whole_or_in(&words, TIME).into_iter().enumerate() {
                let time = if row == 0 { time.as_str() } else { "" };
                outln!("  {time:<8}  {words}");
            }
        }
    }
    let failed = |run: &RunRecord| {
        let mut events = run.entries.iter().map(|it| &it.event);
        events.any(|it| matches!(it, Event::Failed { .. }))
    };
    if found.iter().any(|(_, run)| failed(run)) {
        let report = Again::new(global, "report").option("--run", &number.to_string());
        noteln!("why, in full: {report}");
    }
    Ok(session.failure())
}

/// From its begin to its last word.
fn took(run: &RunRecord) -> Duration {
    let last = run.entries.last().map_or(run.header.at, |entry| entry.at);
    last.duration_since(run.header.at)
        .try_into()
        .unwrap_or_default()
}

fn ending(run: &RunRecord) -> String {
    let took = duration::show(took(run));
    match run.outcome() {
        Some(outcome) => format!("{} in {took}", foreign::one_line(outcome)),
        None => format!("no end is known, last heard of after {took}"),
    }
}

fn ready(run: &RunRecord) -> usize {
    let entries = run.entries.iter();
    entries
        .filter(|it| matches!(it.event, Event::Ready { .. }))
        .count()
}

fn row(cloud: CloudName, run: &RunRecord, now: Timestamp) -> Vec<String> {
    let header = &run.header;
    vec![
        cloud.to_string(),
        header.number.to_string(),
        foreign::one_line(&header.command),
        match view::is_read_by_people() {
            true => format!("{} ago", duration::since(header.at, now)),
            false => format!("{:.0}", header.at),
        },
        duration::show(took(run)),
        foreign::one_line(run.outcome().unwrap_or("no end is known")),
        ready(run).to_string(),
        foreign::one_line(&header.by),
    ]
}

fn summary(cloud: CloudName, run: &RunRecord) -> Value {
    let header = &run.header;
    let failed = run.entries.iter().filter_map(|entry| match &entry.event {
        Event::Failed { address, why } | Event::NotUndone { address, why } => {
            Some(json!({"address": address, "why": why}))
        }
        Event::Started { .. }
        | Event::Landed { .. }
        | Event::Ready { .. }
        | Event::Undoing { .. }
        | Event::Undone { .. }
        | Event::Ended { .. } => None,
    });
    json!({
        "cloud": cloud, "number": header.number, "command": header.command, "by": header.by,
        "at": header.at, "seconds": took(run).as_secs_f64(), "outcome": run.outcome(),
        "done": ready(run), "failed": failed.collect::<Vec<_>>(), "typed": header.typed,
    })
}

/// What a run did, a line for each node that ended and for each that was left in the middle.
fn story(run: &RunRecord) -> Vec<(Timestamp, String)> {
    let mut begun: BTreeMap<&Address, (Action, Timestamp)> = BTreeMap::new();
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    for entry in &run.entries {
        let words = match &entry.event {
            Event::Started {
                address, action, ..
            } => {
                begun.insert(address, (*action, entry.at));
                continue;
            }
            Event::Landed { .. } | Event::Undoing { .. } => continue,
            Event::Ready { address } => {
                let (action, since) = begun.remove(address).unwrap_or((Action::NoOp, entry.at));
                let took = entry.at.duration_since(since);
                let took = duration::show(took.try_into().unwrap_or_default());
                of(
                    address,
                    &format!("{} in {took}", done(address, past(address, action))),
                )
            }
            Event::Failed { address, why } => {
                begun.remove(address);
                let why = without(address, why);
                of(address, &format!("{}: {why}", done(address, "FAILED")))
            }
            Event::Undone {
                address,
                stays: None,
            } => of(address, &done(address, "put back")),
            Event::Undone {
                address,
                stays: Some(why),
            } => {
                let why = foreign::line(why);
                of(address, &format!("{}: {why}", done(address, "stays")))
            }
            Event::NotUndone { address, why } => {
                let why = without(address, why);
                of(
                    address,
                    &format!("{}: {why}", done(address, "NOT PUT BACK")),
                )
            }
            Event::Ended { outcome } => format!("ended: {}", foreign::one_line(outcome)),
        };
        lines.push((entry.at, words));
    }
    let left = begun.into_iter().map(|(address, (action, at))| {
        let what = doing(address, verb(address, action));
        (at, of(address, &format!("{what}, and no end is known")))
    });
    lines.extend(left);
    lines.sort_by_key(|(at, _)| *at);
    lines
}

/// What is said of a node, after its name.
fn of(address: &Address, what: &str) -> String {
    format!("{}  {what}", foreign::one_line(&address.name))
}

/// Why something failed, without its address, which the line names already, and without what the
/// whole report has.
fn without(address: &Address, why: &str) -> String {
    let begins = format!("{address} failed: ");
    let why = why.strip_prefix(&begins).unwrap_or(why);
    foreign::line(&plan::cause(&brief(why)))
}
