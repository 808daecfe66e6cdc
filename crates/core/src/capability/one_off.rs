//! One-offs: a command in the place of a service's own, with everything else that one of its
//! revisions has. A person starts one; nothing waits for it but that person.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{LogLine, RecordedRelease};
use crate::address::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::jobs::{self, Execution, Jobs, Nth, Started};
use crate::pins::{Revision, SecretVersion};

/// What is to run.
#[derive(Clone, Debug)]
pub struct Order {
    /// The revision whose image, variables, secrets and size it takes.
    pub revision: Revision,
    /// What the release of that revision was asked for, where a cloud keeps no revisions. `None`
    /// where no release is known to be that.
    pub recorded: Option<Box<RecordedRelease>>,
    /// What stands in the place of the service's command. The entry point stays, as with `docker
    /// run`.
    pub command: Vec<String>,
    /// How long the command may take.
    pub timeout: Duration,
}

/// How a program came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exited {
    /// With this code; 128 and the signal's number, where a signal ended it.
    With(i32),
    /// The cloud ended it because its time was over.
    OutOfTime,
    /// It did not end by itself, or the cloud does not say how.
    Untold,
}

/// The one-offs of one [`Order`] on one runtime.
///
/// Guarantees asked of implementations beside those of [`Jobs`]: an execution runs exactly the
/// order's revision and command, whoever else runs something of the same service meanwhile.
#[async_trait]
pub trait OneOffs: Jobs {
    /// What has to be there before a start, and is used again by the next ones. It bears our mark,
    /// and is noted in the inventory before it is made. `None` where a start leaves nothing behind.
    /// Pure.
    fn holder(&self) -> Option<Address>;

    /// Whether that is there.
    ///
    /// Errors: conflict, when it is there and is not ours.
    async fn has_holder(&self) -> Result<bool>;

    /// Makes it. One that was made meanwhile is no error, where it is ours.
    async fn make_holder(&self) -> Result<()>;

    /// The versions of secrets that an execution is given beside those that the revision itself
    /// pins, by variable. The default says that there are none. Pure.
    fn given(&self) -> BTreeMap<String, SecretVersion> {
        BTreeMap::new()
    }

    /// How the program of an execution that is over ended.
    async fn exited(&self, id: &str) -> Result<Exited>;

    /// What the program printed since then, oldest first, at most `limit` lines (the newest ones),
    /// and nothing that the cloud says of it. Lines may come late, as with [`Logs`].
    ///
    /// [`Logs`]: super::Logs
    async fn lines(&self, id: &str, since: Timestamp, limit: usize) -> Result<Vec<LogLine>>;

    /// The command by which a person sees how one stands. Pure.
    fn look_command(&self, id: &str) -> String;

    /// The command by which a person reads what one printed. Pure.
    fn logs_command(&self, id: &str) -> String;

    /// Whether the cloud itself ends one whose time is over; else whoever started it does. Pure.
    fn ends_by_itself(&self) -> bool;
}

/// Starts one for a key that nobody has used. A start whose answer was lost is asked for again
/// where that makes no second execution, and looked for elsewhere.
///
/// Errors: those of the start; unavailable, when there is no room for it. Where it may have been
/// started all the same, the hint says so, whatever else went wrong.
pub async fn start<J: OneOffs + ?Sized>(jobs: &J, key: &str, what: &str) -> Result<Execution> {
    let until = jobs.clock().elapsed() + ROOM;
    let (mut ticket, mut pause) = (jobs.ticket(key, Nth::First).await?, NO_ROOM);
    let sent = loop {
        let sent = match jobs.start(key, &ticket).await {
            // However the second one is refused: the first may have been carried out.
            Err(lost) if may_have_landed(lost.kind()) && jobs.repeats() => {
                jobs.start(key, &ticket).await.map_err(|_| lost)
            }
            sent => sent,
        };
        if !matches!(sent, Ok(Started::Nothing(_))) || jobs.clock().elapsed() + pause > until {
            break sent;
        }
        jobs.clock().pause(pause).await;
        pause = (pause * 2).min(MOST);
        // A ticket that came to nothing is answered with that each time.
        ticket = jobs.ticket(key, Nth::After(&ticket)).await?;
    };
    let lost = match sent {
        Ok(Started::As(execution)) => return Ok(execution),
        Ok(Started::Nothing(why)) => {
            let message = format!("{what} could not be started: {why}");
            return Err(Error::new(ErrorKind::Unavailable, message)
                .hint("nothing of it ran: try again later"));
        }
        Ok(Started::Unnamed) => {
            let message = format!("{what} was started, and the cloud does not say as what");
            Error::new(ErrorKind::Unavailable, message)
        }
        Err(error) if may_have_landed(error.kind()) => error,
        Err(error) => return Err(error),
    };
    match jobs::found(jobs, key, Some(&ticket), None, what).await {
        Ok(trail) => {
            let found = trail.executions.into_iter().next();
            found.ok_or_else(|| lost.hint(MAY_RUN))
        }
        Err(unseen) => {
            let why = unseen.chain().join(": ");
            let message = format!("{what} may have been started, and was looked for: {why}");
            Err(Error::new(lost.kind(), message).because(lost).hint(MAY_RUN))
        }
    }
}

/// How long a start for which there is no room is tried again, and the pause before the first time.
const ROOM: Duration = Duration::from_secs(2 * 60);
const NO_ROOM: Duration = Duration::from_secs(5);
/// The longest pause after that.
const MOST: Duration = Duration::from_secs(20);

/// What is told of one of which nobody knows whether it was started, and so no name.
const MAY_RUN: &str = "it may run all the same: look before you start it again";

/// Whether a start that ended so may have been carried out.
fn may_have_landed(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Internal => true,
        ErrorKind::Input
        | ErrorKind::Denied
        | ErrorKind::Credentials
        | ErrorKind::Failed
        | ErrorKind::RolledBack
        | ErrorKind::Untrue
        | ErrorKind::Unverified
        | ErrorKind::Locked
        | ErrorKind::Interrupted
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Rejected
        | ErrorKind::Ledger => false,
    }
}
