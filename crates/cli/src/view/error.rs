//! Errors for people: heading, the chain once, then what to do; or the same as JSON.

use std::borrow::Cow;

use deployer_core::engine::Failed;
use deployer_core::error::{Error, ErrorKind};
use serde_json::json;

use crate::again;
use crate::exit::Exit;
use crate::view::foreign;

/// What a kind adds to the words of an error. `None` where they say it all.
fn heading(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Input | ErrorKind::NotFound | ErrorKind::Interrupted => return None,
        ErrorKind::Denied => "not allowed",
        ErrorKind::Credentials => "credentials",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Rejected => "refused by the cloud",
        ErrorKind::Unavailable => "no answer",
        ErrorKind::Failed => "failed",
        ErrorKind::RolledBack => "failed and put back",
        ErrorKind::Untrue => "not what was asked for",
        ErrorKind::Unverified => "verification failed",
        ErrorKind::TimedOut => "not ready in time",
        ErrorKind::Locked => "locked",
        ErrorKind::Ledger => "ledger",
        ErrorKind::Internal => "a bug of deployer",
    })
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

/// The error in lines: its kind and words, the causes, what to do. Words of others may stand in
/// them.
pub fn lines(error: &Error) -> Vec<String> {
    let chain = error.chain();
    let first = again::completed(&chain[0]);
    let first = match heading(error.kind()) {
        Some(heading) => format!("{heading}: {first}"),
        None => first.into_owned(),
    };
    let causes = chain[1..].iter();
    let causes = causes.map(|cause| format!("caused by: {}", again::completed(cause)));
    let hint = hint_of(error).map(|hint| format!("hint: {hint}"));
    std::iter::once(first).chain(causes).chain(hint).collect()
}

/// The error as text, with a trailing newline.
pub fn render(error: &Error) -> String {
    // Who stopped it knows: nothing went wrong.
    let mark = match error.kind() {
        ErrorKind::Interrupted => "",
        _ => "error: ",
    };
    let lines = lines(error).into_iter().enumerate();
    let lines = lines.map(|(at, line)| match (at, foreign::words(&line)) {
        (0, line) => format!("{mark}{line}\n"),
        (_, line) => format!("  {line}\n"),
    });
    lines.collect()
}

/// Several errors as texts: what helps against some of them alike stands once, below them.
pub fn together(errors: &[&Error]) -> Vec<String> {
    let mut told: Vec<(String, Option<String>)> = Vec::new();
    for error in errors {
        let text = render(error);
        let hint =
            hint_of(error).map(|it| format!("  {}\n", foreign::words(&format!("hint: {it}"))));
        let words = match &hint {
            Some(hint) => text.strip_suffix(hint.as_str()).unwrap_or(&text).to_owned(),
            None => text,
        };
        match told
            .iter_mut()
            .find(|(_, same)| hint.is_some() && *same == hint)
        {
            // The same words of two clouds are one error.
            Some((all, _)) if all.contains(&words) => {}
            Some((all, _)) => all.push_str(&words),
            None => told.push((words, hint)),
        }
    }
    let told = told.into_iter();
    told.map(|(words, hint)| words + &hint.unwrap_or_default())
        .collect()
}

/// The error as JSON.
pub fn document(error: &Error) -> serde_json::Value {
    let chain = error.chain();
    json!({
        "kind": error.kind(),
        "message": chain[0],
        "caused_by": chain[1..],
        "hint": hint_of(error),
        "exit_code": Exit::from(error.kind()).code(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps_against_several_errors_is_said_once() {
        let of = |name: &str, hint: &str| {
            Error::new(ErrorKind::NotFound, format!("secret `{name}` has no value")).hint(hint)
        };
        let all = [of("a", "set it"), of("b", "set it"), of("c", "go away")];
        let told = together(&all.iter().collect::<Vec<_>>());
        assert_eq!(
            told,
            [
                "error: secret `a` has no value\nerror: secret `b` has no value\n  hint: set it\n",
                "error: secret `c` has no value\n  hint: go away\n",
            ]
        );
    }
}
