//! Errors for people: heading, the chain once, then what to do; or the same as JSON.

use std::borrow::Cow;

use deployer_core::engine::Failed;
use deployer_core::error::{Error, ErrorKind};
use serde_json::json;

use crate::again;
use crate::exit::Exit;
use crate::view::foreign;

/// The heading of a kind.
fn heading(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Input => "bad input",
        ErrorKind::Denied => "not allowed",
        ErrorKind::Credentials => "credentials",
        ErrorKind::NotFound => "not found",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Rejected => "refused by the cloud",
        ErrorKind::Unavailable => "no answer",
        ErrorKind::Failed => "failed",
        ErrorKind::RolledBack => "failed and put back",
        ErrorKind::Untrue => "not what was asked for",
        ErrorKind::TimedOut => "not ready in time",
        ErrorKind::Locked => "locked",
        ErrorKind::Interrupted => "interrupted",
        ErrorKind::Ledger => "ledger",
        ErrorKind::Internal => "a bug of deployer",
    }
}

/// What helps whoever may not do something.
const PERMISSIONS: &str = "`deployer permissions` lists what is needed";

/// What to do about it.
fn hint_of(error: &Error) -> Option<String> {
    let hint = error.hint_text().map(again::completed);
    match (error.kind(), hint) {
        (ErrorKind::Denied, Some(hint)) => Some(format!("{hint}; {PERMISSIONS}")),
        (ErrorKind::Denied, None) => Some(PERMISSIONS.to_owned()),
        (_, hint) => hint.map(Cow::into_owned),
    }
}

/// The error as text, with a trailing newline.
pub fn render(error: &Error) -> String {
    let chain = error.chain();
    let shown = |line: &str| foreign::words(&again::completed(line));
    let first = shown(&chain[0]);
    let mut text = format!("error ({}): {first}\n", heading(error.kind()));
    for cause in &chain[1..] {
        text.push_str(&format!("  caused by: {}\n", shown(cause)));
    }
    if let Some(hint) = hint_of(error) {
        text.push_str(&format!("  hint: {}\n", foreign::words(&hint)));
    }
    text
}

/// The error as JSON.
pub fn document(error: &Error) -> serde_json::Value {
    let chain = error.chain();
    json!({
        "kind": error.kind(),
        "message": chain[0],
        "caused_by": chain[1..],
        "hint": hint_of(error),
        "exit_code": Exit::from(error.kind()) as u8,
    })
}

/// A node that failed as JSON.
pub fn failed(failed: &Failed) -> serde_json::Value {
    json!({ "address": failed.address, "at": failed.at, "error": document(&failed.error) })
}

/// Prints an error to standard error: as text, or as one JSON line.
pub fn print(error: &Error, as_json: bool) {
    if as_json {
        let event = json!({ "event": "error", "error": document(error) });
        sayln!("{}", crate::document::event(event));
    } else {
        say!("{}", render(error));
    }
}
