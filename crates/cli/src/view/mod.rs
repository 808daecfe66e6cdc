//! Shows results: data to standard output, everything else to standard error; for people or as
//! JSON.

mod alike;
pub mod brief;
pub mod error;
pub mod failure;
pub mod findings;
pub mod foreign;
pub mod github;
pub mod permissions;
pub mod plan;
pub mod progress;
pub mod release;
pub mod releases;
pub mod report;
pub mod said;
pub mod served;
pub mod status;
pub mod table;

use std::io::IsTerminal;

use crate::{appearance, document};

/// Prints one JSON document to standard output; as a line, where the command answers in lines.
pub fn json(value: &impl serde::Serialize) {
    let document = match serde_json::to_value(value) {
        Ok(value) => document::stamped(value),
        Err(error) => return tracing::error!(%error, "an answer has no JSON form"),
    };
    match document::in_lines() {
        true => outln!("{}", document::event(document::as_line(document))),
        false => outln!("{document:#}"),
    }
}

/// Prints a JSON document whose form is another's, to standard output.
pub fn json_as_it_is(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => outln!("{text}"),
        Err(error) => tracing::error!(%error, "an answer has no JSON form"),
    }
}

/// Prints one JSON line to standard output.
pub fn json_line(value: &serde_json::Value) {
    outln!("{}", document::event(value.clone()));
}

/// No terminal is taken to be narrower, in columns.
const LEAST: usize = 40;

/// How wide text is that nobody reads on a terminal: a line can be searched for whole.
const WHOLE: usize = usize::MAX;

/// How wide standard output is, in columns: the terminal's, at least 40; 80 where it is none.
pub fn width() -> usize {
    const USUAL: usize = 80;
    let terminal = console::Term::stdout();
    match is_read_by_people() {
        true => terminal
            .size_checked()
            .map_or(USUAL, |(_, columns)| usize::from(columns).max(LEAST)),
        false => USUAL,
    }
}

/// How wide text on standard output is whose lines are whole but on a terminal, in columns: the
/// terminal's, at least 40; without a bound where it is none.
pub fn whole_width() -> usize {
    match is_read_by_people() {
        true => width(),
        false => WHOLE,
    }
}

/// How wide standard error is, in columns: the terminal's, at least 40; without a bound where it is
/// none.
pub fn error_width() -> usize {
    let terminal = console::Term::stderr();
    match std::io::stderr().is_terminal() && !crate::capture::is_kept() {
        true => terminal
            .size_checked()
            .map_or(WHOLE, |(_, columns)| usize::from(columns).max(LEAST)),
        false => WHOLE,
    }
}

/// A line for standard output: in several on a terminal that is narrower, with two columns to
/// spare; whole where it is longer than that at a stretch, and elsewhere.
pub fn whole_or_wrapped(line: &str) -> Vec<String> {
    let room = width() - 2;
    let is_long = |word: &str| word.chars().count() > room;
    match is_read_by_people() && line.chars().count() > room && !line.split(' ').any(is_long) {
        true => plan::wrap(line, room),
        false => vec![line.to_owned()],
    }
}

/// The same of what stands behind so many columns of its line.
pub fn whole_or_in(words: &str, column: usize) -> Vec<String> {
    let room = width().saturating_sub(column).max(20);
    match is_read_by_people() && words.chars().count() > room {
        true => plan::broken(words, room),
        false => vec![words.to_owned()],
    }
}

/// A text whose words begin in this column: on a terminal lines that are wider go on below them.
pub fn hung(text: &str, column: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let (label, words) = match line.char_indices().nth(column) {
            Some((at, _)) => line.split_at(at),
            None => (line, ""),
        };
        for (row, words) in whole_or_in(words, column).into_iter().enumerate() {
            let label = if row == 0 { label } else { "" };
            out.push_str(format!("{label:<column$}{words}").trim_end());
            out.push('\n');
        }
    }
    out
}

/// Whether a person reads standard output.
pub fn is_read_by_people() -> bool {
    std::io::stdout().is_terminal() && !crate::capture::is_kept()
}

/// Whether colour is wanted on this stream.
pub fn colour(terminal: bool) -> bool {
    appearance::colour(terminal)
}
