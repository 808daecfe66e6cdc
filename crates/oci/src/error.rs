//! Says what failed: a kind to decide by, the action and the object to show.

use std::error::Error as StdError;

/// What sort of failure an [`Error`] is; callers decide by this, never by the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The image, file, repository or manifest does not exist.
    NotFound,
    /// The reference, file or answer does not follow its format.
    Invalid,
    /// Credentials are missing, wrong or not sufficient.
    Denied,
    /// The other side did not answer, or answered that it cannot at the moment.
    Unreachable,
    /// The registry refuses to change what is there, as with an immutable tag.
    Conflict,
    /// The bytes are not those that the digest or size promises.
    DigestMismatch,
    /// The image has no variant for the platform that was asked for.
    WrongPlatform,
}

/// A failure: what was attempted on which object and what was found; the cause is its source.
///
/// `Display` never repeats the source, and neither holds a credential or a token.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{object}`{}", Detail(detail))]
pub struct Error {
    kind: ErrorKind,
    action: &'static str,
    object: String,
    detail: String,
    transient: bool,
    retry_after: Option<std::time::Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

struct Detail<'a>(&'a str);

impl std::fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.0)
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, action: &'static str, object: impl ToString) -> Self {
        Self {
            kind,
            action,
            object: object.to_string(),
            detail: String::new(),
            transient: false,
            retry_after: None,
            source: None,
        }
    }

    /// A failure to read a local file; an absent file is `NotFound`, a forbidden one `Denied`.
    pub(crate) fn io(action: &'static str, object: impl ToString, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, action, object).caused_by(source)
    }

    /// Credentials for a registry should be there and cannot be had.
    pub fn no_credentials(
        registry: &str,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::new(ErrorKind::Denied, "log in to", registry).caused_by(cause)
    }

    pub(crate) fn detail(mut self, detail: impl ToString) -> Self {
        self.detail = detail.to_string();
        self
    }

    /// Adds to the detail what the reader could not know from the failure alone.
    pub(crate) fn note(mut self, note: &str) -> Self {
        if !self.detail.is_empty() {
            self.detail.push_str("; ");
        }
        self.detail.push_str(note);
        self
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn retryable(mut self, after: Option<std::time::Duration>) -> Self {
        self.transient = true;
        self.retry_after = after;
        self
    }

    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was attempted, as in "cannot `read blob`".
    pub fn action(&self) -> &str {
        self.action
    }

    /// What it was attempted on: a path, a reference, a repository or a digest.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// Whether the same call may succeed later without anybody changing anything.
    ///
    /// True for lost connections, time-outs, 429 and 5xx; this crate has then already spent its
    /// own retries.
    pub fn transient(&self) -> bool {
        self.transient
    }

    /// How long the registry asked to be left alone, when it said so.
    pub(crate) fn retry_after(&self) -> Option<std::time::Duration> {
        self.retry_after
    }
}
