//! What readings of resources have in common: what a refusal means, whose it is, and what must be there.

use std::future::Future;
use std::time::Duration;

use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Reading;

use crate::error::{code, denied, failure};
use crate::prepared::until_taken;
use crate::tags::{Ownership, Tags};

/// What a failed look means: absent for the code `absent`, denied where the caller may not see it, else an error.
/// `what` names the thing.
pub(crate) fn unseen<A, E>(error: &SdkError<E>, absent: &str, what: &str) -> Result<Reading<A>>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    // Some of these services add `Fault` to a code in one place and leave it out in another.
    let is_absent = |code: &str| code.trim_end_matches("Fault") == absent.trim_end_matches("Fault");
    if code(error).is_some_and(is_absent) {
        return Ok(Reading::Absent);
    }
    match denied(error) {
        Some(words) => Ok(Reading::Denied(words)),
        None => Err(failure(error, &format!("read {what}"))),
    }
}

/// Foreign instead of present when the tags say so.
pub(crate) fn owned<A>(
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
pub(crate) fn seen<A>(reading: Reading<A>, what: &str) -> Result<Option<A>> {
    match reading {
        Reading::Absent => Ok(None),
        other => still_there(other, what).map(Some),
    }
}

/// How long a service may answer from before something was written. The Terraform provider waits as long or longer for repositories
/// that are new (`internal/service/ecr/repository.go` of hashicorp/terraform-provider-aws) and for groups of RDS.
const SEEN: Duration = Duration::from_secs(30);

/// What was just written, as soon as it is seen: an answer may be from before. `what` names it.
///
/// Errors: as [`still_there`].
pub(crate) async fn until_seen<A, F, Fut>(clock: &dyn Clock, what: &str, read: F) -> Result<A>
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
pub(crate) fn still_there<A>(reading: Reading<A>, what: &str) -> Result<A> {
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
