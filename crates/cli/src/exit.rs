//! Exit codes: one meaning each, listed in `docs/exit-codes.md`.

use deployer_core::error::ErrorKind;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Success = 0,
    /// It failed for a reason that has no code of its own.
    Failure = 1,
    /// `plan --detailed-exitcode`: there are changes.
    Changes = 2,
    /// A deployment failed; what served before still serves.
    DeploymentFailed = 3,
    /// What serves is the release that was asked for, and it does not do what it should.
    VerificationFailed = 4,
    /// What serves is not what was asked for.
    Untrue = 5,
    /// A service was left alone because it is on hold after a rollback.
    Held = 6,
    /// Another run holds the lock, or took it from this one.
    Locked = 8,
    /// Credentials are absent, refused, or may not do this.
    Denied = 10,
    /// The manifest, an argument or a file is wrong.
    Input = 64,
    /// A person stopped it.
    Interrupted = 130,
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Input => Self::Input,
            ErrorKind::Denied | ErrorKind::Credentials => Self::Denied,
            ErrorKind::Failed | ErrorKind::TimedOut => Self::DeploymentFailed,
            ErrorKind::Untrue => Self::Untrue,
            ErrorKind::Locked => Self::Locked,
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Rejected
            | ErrorKind::Unavailable
            | ErrorKind::Ledger
            | ErrorKind::Internal => Self::Failure,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
