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
    /// A service was left alone because it is on hold after a rollback; `plan --detailed-exitcode`:
    /// that alone.
    Held = 6,
    /// A deployment failed and was put back: by the cloud, or by `--on-failure undo`.
    RolledBack = 7,
    /// Another run holds the lock, or took it from this one.
    Locked = 8,
    /// Something failed and could not be put back: a person has to look.
    NeedsAttention = 9,
    /// Credentials are absent, refused, or may not do this.
    Denied = 10,
    /// `apply --detach --detailed-exitcode`: a roll-out has begun and was left to the cloud, all
    /// else is well.
    Detached = 11,
    /// The ledger has no inventory of this environment, and not everything that carries our mark
    /// could be listed: what could be was destroyed.
    LedgerLost = 12,
    /// The manifest, an argument or a file is wrong.
    Input = 64,
    /// A person stopped it.
    Interrupted = 130,
}

impl Exit {
    /// The code as one word, as `result` has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Success => "succeeded",
            Self::Failure | Self::DeploymentFailed => "failed",
            Self::Changes => "changes",
            Self::VerificationFailed => "verification_failed",
            Self::Untrue => "untrue",
            Self::Held => "held",
            Self::RolledBack => "put_back",
            Self::Locked => "locked",
            Self::NeedsAttention => "needs_attention",
            Self::Denied => "denied",
            Self::Detached => "detached",
            Self::LedgerLost => "ledger_lost",
            Self::Input => "bad_input",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Input => Self::Input,
            ErrorKind::Denied | ErrorKind::Credentials => Self::Denied,
            ErrorKind::Failed | ErrorKind::TimedOut => Self::DeploymentFailed,
            ErrorKind::RolledBack => Self::RolledBack,
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

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = include_str!("../../../docs/exit-codes.md");

    /// Every code, in the order of the page. Whoever adds one is reminded by the compiler.
    fn all() -> Vec<Exit> {
        let mut all = vec![Exit::Success];
        while let Some(next) = match all[all.len() - 1] {
            Exit::Success => Some(Exit::Failure),
            Exit::Failure => Some(Exit::Changes),
            Exit::Changes => Some(Exit::DeploymentFailed),
            Exit::DeploymentFailed => Some(Exit::VerificationFailed),
            Exit::VerificationFailed => Some(Exit::Untrue),
            Exit::Untrue => Some(Exit::Held),
            Exit::Held => Some(Exit::RolledBack),
            Exit::RolledBack => Some(Exit::Locked),
            Exit::Locked => Some(Exit::NeedsAttention),
            Exit::NeedsAttention => Some(Exit::Denied),
            Exit::Denied => Some(Exit::Detached),
            Exit::Detached => Some(Exit::LedgerLost),
            Exit::LedgerLost => Some(Exit::Input),
            Exit::Input => Some(Exit::Interrupted),
            Exit::Interrupted => None,
        } {
            all.push(next);
        }
        all
    }

    #[test]
    fn the_page_has_a_row_for_each_code_and_no_other() {
        let rows = DOCUMENTED
            .lines()
            .filter_map(|line| line.strip_prefix("| "));
        let codes = rows.filter_map(|row| row.split(" |").next()?.parse().ok());
        let codes: Vec<u8> = codes.collect();
        let all: Vec<u8> = all().into_iter().map(|exit| exit as u8).collect();
        assert_eq!(codes, all);
    }
}
