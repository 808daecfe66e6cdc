//! Shows results: data to standard output, everything else to standard error; for people or as JSON.

pub mod error;
pub mod failure;
pub mod findings;
pub mod foreign;
pub mod permissions;
pub mod plan;
pub mod progress;
pub mod release;
pub mod releases;
pub mod served;
pub mod status;
pub mod table;

use std::io::IsTerminal;

/// Prints one JSON document to standard output.
pub fn json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => outln!("{text}"),
        Err(error) => tracing::error!(%error, "an answer has no JSON form"),
    }
}

/// Prints one JSON line to standard output.
pub fn json_line(value: &serde_json::Value) {
    outln!("{value}");
}

/// Whether a person watches standard error.
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("CI").is_none() && !crate::output::is_kept()
}

/// No terminal is taken to be narrower, in columns.
const LEAST: usize = 40;

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

/// How wide standard error is, in columns; where it is no terminal lines are left whole, for those who search them.
pub fn error_width() -> usize {
    const WHOLE: usize = 500;
    let terminal = console::Term::stderr();
    match is_watched() {
        true => terminal
            .size_checked()
            .map_or(WHOLE, |(_, columns)| usize::from(columns).max(LEAST)),
        false => WHOLE,
    }
}

/// Whether a person reads standard output.
pub fn is_read_by_people() -> bool {
    std::io::stdout().is_terminal() && !crate::output::is_kept()
}

/// Whether colour is wanted on this stream.
pub fn colour(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
