//! Shows results: data to standard output, everything else to standard error; for people or as JSON.

pub mod error;
pub mod findings;
pub mod foreign;
pub mod permissions;
pub mod plan;
pub mod progress;
pub mod release;
pub mod table;

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

/// Whether colour is wanted on this stream.
pub fn colour(terminal: bool) -> bool {
    appearance::colour(terminal)
}
