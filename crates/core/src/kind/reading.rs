//! What readings have in common: what a refusal means, whose a thing is, and what must be there
//! after a write.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Answer, At, Kind, Ownership, Refused, Tags, There};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::node::Reading;
use crate::wait::{Look, Pace, poll};

/// How long a service may answer from before something was written. The Terraform provider waits as
/// long or longer for repositories that are new (`internal/service/ecr/repository.go` of
/// hashicorp/terraform-provider-aws) and for groups of RDS.
const SEEN: Duration = Duration::from_secs(30);

/// Reads a thing of a kind, whosever it is.
///
/// Errors: whatever is neither its absence nor a refusal to show it.
pub(super) async fn read<K: Kind>(at: &At<K::Site>) -> Result<Reading<There<K::Is>>> {
    let found: Answer<K, _> = K::find(at).await;
    match found {
        Ok(reading) => Ok(reading),
        Err(refusal) => read_or_sort(refusal, K::ABSENT, &at.what()),
    }
}

/// What a failed look means: absent for these codes, denied where the caller may not see it, else
/// an error. `what` names the thing.
///
/// Errors: whatever is neither.
pub fn read_or_sort<R: Refused, A>(refusal: R, absent: &[&str], what: &str) -> Result<Reading<A>> {
    if refusal.is_one_of(absent) {
        return Ok(Reading::Absent);
    }
    match refusal.denied() {
        Some(words) => Ok(Reading::Denied(words)),
        None => Err(refusal.of(&format!("read {what}"))),
    }
}

/// Foreign instead of present when the tags say so.
pub fn owned<A>(
    reading: Reading<A>,
    ownership: &Ownership,
    tags: impl FnOnce(&A) -> &Tags,
) -> Reading<A> {
    if let Reading::Present(actual) = &reading
        && let Some(how) = ownership.foreign(tags(actual))
    {
        return Reading::Foreign(how);
    }
    reading
}

/// What is there, for people to see. `what` names it.
///
/// Errors: denied, when the caller may not see it.
pub fn seen<A>(reading: Reading<A>, what: &str) -> Result<Option<A>> {
    match reading {
        Reading::Absent => Ok(None),
        other => still_there(other, what).map(Some),
    }
}

/// What was just written, as soon as it is seen: an answer may be from before. `what` names it.
///
/// Errors: as [`still_there`].
pub async fn until_seen<A, F, Fut>(clock: &dyn Clock, what: &str, read: F) -> Result<A>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<Reading<A>>>,
{
    let unseen = |error: &Error| error.kind() == ErrorKind::NotFound;
    until_taken(clock, SEEN, unseen, what, || async {
        still_there(read().await?, what)
    })
    .await
}

/// What was just written. `what` names it.
///
/// Errors: conflict, when it is not ours or went away meanwhile; not found, when it is not seen.
pub fn still_there<A>(reading: Reading<A>, what: &str) -> Result<A> {
    let conflict = |message: String| Err(Error::new(ErrorKind::Conflict, message));
    match reading {
        Reading::Present(actual) => Ok(actual),
        Reading::Foreign(stranger) => Err(stranger.refusal(what)),
        // One look that does not see what was just written proves nothing: it may have landed.
        Reading::Absent => {
            let message = format!("{what} is not seen after it was written");
            Err(Error::new(ErrorKind::NotFound, message))
        }
        Reading::Tombstoned(how) => conflict(format!("{what} went away meanwhile: {how}")),
        Reading::Denied(words) => Err(Error::new(
            ErrorKind::Denied,
            format!("cannot see {what}: {words}"),
        )),
    }
}

/// Makes a call as often as it is refused for what `passes` by itself, for so long.
///
/// Errors: whatever else the call fails with, at once; in the end the cloud's last refusal, which
/// tells more than that we gave up.
pub async fn until_taken<T, F, Fut>(
    clock: &dyn Clock,
    patience: Duration,
    passes: impl Fn(&Error) -> bool,
    what: &str,
    call: F,
) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let last = Mutex::new(None);
    let done = poll(clock, Pace::until(patience), what, || async {
        Ok(match call().await {
            Err(error) if passes(&error) => {
                let why = error.chain().join(": ");
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Look::NotYet(why)
            }
            done => Look::Found(done),
        })
    })
    .await;
    match done {
        Ok(done) => done,
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
            Err(last.unwrap_or(error))
        }
        Err(error) => Err(error),
    }
}
