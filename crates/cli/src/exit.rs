//! Exit codes: one meaning each, listed in `docs/exit-codes.md`.

use deployer_core::error::ErrorKind;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything asked for was done.
    Success,
    /// It failed for a reason that has no code of its own.
    Failure,
    /// `plan --detailed-exitcode`: there are changes.
    Changes,
    /// A deployment failed; what served before still serves.
    DeploymentFailed,
    /// What serves is the release that was asked for, and it does not do what it should; or its
    /// candidate does not, and was given no traffic.
    VerificationFailed,
    /// What serves is not what was asked for.
    Untrue,
    /// A service was left alone because it is on hold after a rollback; `plan --detailed-exitcode`:
    /// that alone.
    Held,
    /// A deployment failed and was put back: by the cloud, or by `--on-failure undo`.
    RolledBack,
    /// Another run holds the lock, or took it from this one.
    Locked,
    /// Something failed and could not be put back: a person has to look.
    NeedsAttention,
    /// Credentials are absent, refused, or may not do this.
    Denied,
    /// `apply --detach --detailed-exitcode`: a roll-out has begun and was left to the cloud, all
    /// else is well.
    Detached,
    /// The ledger has no inventory of this environment, and not everything that carries our mark
    /// could be listed: what could be was destroyed.
    LedgerLost,
    /// The manifest, an argument or a file is wrong.
    Input,
    /// `run`: the command's time was over, and it was stopped.
    OutOfTime,
    /// `run`: deployer itself failed, whatever the reason; how the command ended is not known, or
    /// it never began.
    NotRun,
    /// A person stopped it.
    Interrupted,
    /// `run`: the command ended by itself with this code, which is not 0.
    Program(u8),
}

impl Exit {
    /// What the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Changes => 2,
            Self::DeploymentFailed => 3,
            Self::VerificationFailed => 4,
            Self::Untrue => 5,
            Self::Held => 6,
            Self::RolledBack => 7,
            Self::Locked => 8,
            Self::NeedsAttention => 9,
            Self::Denied => 10,
            Self::Detached => 11,
            Self::LedgerLost => 12,
            Self::Input => 64,
            Self::OutOfTime => 124,
            Self::NotRun => 125,
            Self::Interrupted => 130,
            Self::Program(code) => code,
        }
    }

    /// How a `run` ends: whatever failed of deployer's own has one code, which tells it apart from
    /// those of the command.
    pub(crate) fn of_run(self) -> Self {
        match self {
            Self::Success
            | Self::OutOfTime
            | Self::NotRun
            | Self::Interrupted
            | Self::Program(_) => self,
            Self::Failure
            | Self::Changes
            | Self::DeploymentFailed
            | Self::VerificationFailed
            | Self::Untrue
            | Self::Held
            | Self::RolledBack
            | Self::Locked
            | Self::NeedsAttention
            | Self::Denied
            | Self::Detached
            | Self::LedgerLost
            | Self::Input => Self::NotRun,
        }
    }

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
            Self::OutOfTime => "out_of_time",
            Self::NotRun => "not_run",
            Self::Program(_) => "program_failed",
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
            ErrorKind::Unverified => Self::VerificationFailed,
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
        Self::from(exit.code())
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
            Exit::Input => Some(Exit::OutOfTime),
            Exit::OutOfTime => Some(Exit::NotRun),
            Exit::NotRun => Some(Exit::Interrupted),
            // What the command of a `run` ends with has no row of its own.
            Exit::Interrupted | Exit::Program(_) => None,
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
        let all: Vec<u8> = all().into_iter().map(Exit::code).collect();
        assert_eq!(codes, all);
    }
}
