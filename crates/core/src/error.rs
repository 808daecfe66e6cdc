//! What can go wrong, sorted by what a person or a program can do about it.

use std::fmt;

/// Decides the exit code, the heading and whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The manifest, an argument or a file is wrong.
    Input,
    /// The cloud says that the caller may not.
    Denied,
    /// Credentials are absent, expired or for another account.
    Credentials,
    /// Something that must exist does not.
    NotFound,
    /// It exists already, belongs to somebody else or changed meanwhile.
    Conflict,
    /// The cloud refuses the request as it stands.
    Rejected,
    /// Nobody answered, or the answer was 5xx or throttled, until the deadline.
    Unavailable,
    /// A deployment, job or resource ended in failure.
    Failed,
    /// A deployment failed and what served before was put back: by the cloud itself, or by an undo.
    RolledBack,
    /// What serves is not what was asked for.
    Untrue,
    /// A candidate does not do what it should: it was given no traffic.
    Unverified,
    /// It did not become ready before its deadline.
    TimedOut,
    /// Another run holds the lock, or took it from this one.
    Locked,
    /// A person stopped it.
    Interrupted,
    /// The ledger or a file of ours cannot be read or written.
    Ledger,
    /// A bug of ours.
    Internal,
}

/// An error that names the action and the object; its source is printed apart, once.
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    output: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// `message` names action and object: "cannot create secret `x`". Lower case, no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            output: Vec::new(),
            source: None,
        }
    }

    /// A bug: an assumption of the program did not hold.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Bad input.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// What the reader can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What an app printed before. It may hold anything, also secrets: it is in no message and in
    /// nothing that is stored, and whoever shows it hides the values that it knows.
    #[must_use]
    pub fn with_output(mut self, lines: Vec<String>) -> Self {
        self.output = lines;
        self
    }

    /// What an app printed before, line by line.
    pub fn output(&self) -> &[String] {
        &self.output
    }

    /// What caused it; printed below as `caused by`.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The first error of our own type among `error` and its causes, again: for what comes back
    /// through a library that was given one of ours.
    pub fn found_in(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(ours) = error.downcast_ref::<Self>() {
                let again = Self::new(ours.kind, ours.chain().join(": "));
                return Some(match ours.hint_text() {
                    Some(hint) => again.hint(hint),
                    None => again,
                });
            }
            next = error.source();
        }
        None
    }

    /// The hint of this error, or of the nearest cause of our own type that has one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref().or_else(|| {
            self.source
                .as_deref()?
                .downcast_ref::<Self>()
                .and_then(Self::hint_text)
        })
    }

    /// The messages from this error down to the root cause, without repetitions.
    pub fn chain(&self) -> Vec<String> {
        let mut lines = vec![self.message.clone()];
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            let line = error.to_string();
            if lines.last().is_none_or(|last| !last.contains(&line)) {
                lines.push(line);
            }
            next = error.source();
        }
        lines
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.chain().join(": "))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_printed_is_in_no_message() {
        let error = Error::new(ErrorKind::Failed, "it failed").with_output(vec!["hunter2".into()]);
        let told = format!("{error} {error:?} {:?}", error.chain());
        assert!(!told.contains("hunter2"), "{told}");
        assert_eq!(error.output(), ["hunter2"]);
    }
}
