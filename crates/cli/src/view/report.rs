//! The whole report on a run that failed, on one target: nothing is left out or told once for all;
//! pure.

use deployer_core::address::CloudName;
use deployer_core::capability::Autopsy;
use deployer_core::ledger::RunHeader;
use jiff::Timestamp;
use serde_json::Value;

use crate::facts::revision_name;
use crate::failure::Failure;
use crate::view::brief::{without_code, without_events};
use crate::view::foreign;
use crate::view::plan::{how, wrap};

/// Where everything but the labels begins, in columns.
const INDENT: usize = 9;

/// The report, with a heading.
pub fn render(
    (cloud, header): (CloudName, &RunHeader),
    failures: &[Failure],
    width: usize,
) -> String {
    let mut page = Page {
        text: String::new(),
        room: width.saturating_sub(INDENT).max(40),
    };
    let (number, command) = (header.number, foreign::one_line(&header.command));
    let (by, at) = (foreign::one_line(&header.by), header.at);
    page.text = format!("{cloud}: run {number}, {command} by {by} at {at:.0}\n");
    for failure in failures {
        let name = foreign::one_line(&failure.service);
        page.text.push_str(&format!("\n{name} on {cloud}\n"));
        page.failure(failure);
    }
    page.text
}

struct Page {
    text: String,
    room: usize,
}

impl Page {
    fn rows(&mut self, label: &str, rows: impl IntoIterator<Item = String>) {
        let mut label = label;
        for row in rows {
            let words = foreign::words(&row).replace('\n', " ");
            for line in wrap(&words, self.room) {
                self.text.push_str(&format!("{label:<INDENT$}{line}\n"));
                label = "";
            }
        }
    }

    /// Lines as they were printed.
    fn lines(&mut self, label: &str, lines: impl IntoIterator<Item = String>) {
        let mut label = label;
        for line in lines {
            let line = foreign::line(&line);
            self.text.push_str(&format!("{label:<INDENT$}{line}\n"));
            label = "";
        }
    }

    fn failure(&mut self, failure: &Failure) {
        let autopsy = &failure.autopsy;
        let failed = failure.failed.iter().flat_map(|it| failed(it, autopsy));
        let failed: Vec<String> = failed.collect();
        let is_told = |words: &&String| {
            let said = without_code(words);
            failed.iter().any(|it| it.contains(&said))
        };
        let words = autopsy.words.iter().filter(|it| !is_told(it));
        let words: Vec<String> = words.cloned().collect();
        self.rows("failed", failed);
        self.rows("cloud", words);
        let stopped = autopsy.stopped.iter().map(|it| {
            let at = it.at.map_or_else(String::new, |at| format!("{at:.0} "));
            format!("{at}{}: {it}", short(&it.instance))
        });
        self.rows("tasks", stopped);
        self.rows("targets", autopsy.targets.iter().map(ToString::to_string));
        self.rows("events", autopsy.events.iter().cloned());
        let log = autopsy.log.iter();
        let log = log.map(|it| format!("{:.3} {} {}", it.at, short(&it.source), it.text));
        self.rows("log", failure.not_kept.iter().cloned());
        self.lines("log", log);
        self.lines("output", failure.output.iter().cloned());
        if let Some(changed) = &failure.changed {
            let since = format!("since r{}, which served:", changed.since);
            let room = self.room;
            let facts = changed.facts.iter();
            let facts = facts.map(|it| format!("{} {}", it.what, how(it, room)));
            self.rows("changed", std::iter::once(since).chain(facts));
        }
        let serving = failure.serving.iter();
        let mut serving: Vec<String> = serving
            .map(|(revision, share)| format!("{} {share} %", revision_name(&revision.0)))
            .collect();
        if serving.is_empty() {
            serving.push("nothing".into());
        }
        self.rows("served", serving);
        self.lines("next", failure.next.iter().cloned());
    }
}

/// An id without what nobody reads: as much of a task's as tells it from others.
fn short(id: &str) -> &str {
    const DIGITS: usize = 12;
    let is_random = id.len() > DIGITS && id.bytes().all(|it| it.is_ascii_hexdigit());
    if is_random { &id[..DIGITS] } else { id }
}

/// One error of a node: where and when, its words, its causes, what helps; without what is told by
/// itself.
fn failed(failed: &Value, autopsy: &Autopsy) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let error = &failed["error"];
    let causes = error["caused_by"].as_array().into_iter().flatten();
    let causes = causes.map(|it| format!("caused by: {}", text(it)));
    let hint = error["hint"].as_str().map(|hint| format!("hint: {hint}"));
    let at = text(&failed["at"]);
    let at = at.parse::<Timestamp>().map_or(at, |at| format!("{at:.0}"));
    let address = text(&failed["address"]);
    let words = without_events(&text(&error["message"]), autopsy);
    let words = words.trim_start_matches(&format!("{address} failed: "));
    let first = format!("{address} at {at}: {words}");
    std::iter::once(first).chain(causes).chain(hint).collect()
}
