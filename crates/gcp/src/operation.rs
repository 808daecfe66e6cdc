//! Waits for Google's long-running operations, on the injected clock.

use std::future::Future;
use std::time::Duration;

use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::wait::{Look, Pace, poll};
use google_cloud_longrunning::model::{Operation, operation};
use google_cloud_wkt::message::Message;

use crate::error::{self, CloudError};
use crate::project::Project;

/// How long an answer may lag behind a change that was accepted.
pub(crate) const LAG: Duration = Duration::from_secs(60);
/// What is waited for meanwhile.
pub(crate) const LAGGING: &str = "Google still answers what was there before";

/// What the operation makes of its resource, as Google told when it accepted the change. `None`
/// when it did not.
pub(crate) fn accepted<T: Message>(operation: &Operation) -> Option<T> {
    operation.metadata.as_ref()?.to_msg().ok()
}

/// Reads with `get` until the answer tells of a change that was accepted: what was just made may
/// seem absent.
///
/// Errors: whatever `get` fails with; timed out, when answers go on lagging.
pub(crate) async fn caught_up<T, F, Fut>(
    project: &Project,
    what: &str,
    tells: impl Fn(&T) -> bool,
    get: F,
) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let (clock, pace) = (project.context.clock.as_ref(), Pace::until(LAG));
    let lags = || Ok(Look::NotYet(LAGGING.to_owned()));
    poll(clock, pace, what, || async {
        match get().await {
            Ok(answer) if tells(&answer) => Ok(Look::Found(answer)),
            Ok(_) => lags(),
            Err(error) if error.kind() == ErrorKind::NotFound => lags(),
            Err(error) => bearing(Err(error)),
        }
    })
    .await
}

/// A look that may fail in passing: while Google goes on with what it accepted, an answer of 500,
/// 502 or 503 says nothing of it.
///
/// Errors: whatever does not pass by itself.
pub(crate) fn bearing<T>(look: Result<Look<T>>) -> Result<Look<T>> {
    match look {
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            Ok(Look::NotYet(error.chain().join(": ")))
        }
        look => look,
    }
}

/// Looks at `operation` with `get` until it is done.
///
/// Errors: the operation's own, as the failure of `action`; timed out at the deadline.
pub(crate) async fn settle<F, Fut>(
    project: &Project,
    operation: Operation,
    deadline: Duration,
    action: &str,
    get: F,
) -> Result<()>
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = Result<Operation, CloudError>>,
{
    if operation.done {
        return outcome(&operation, action);
    }
    let name = operation.name;
    let (name, get) = (name.as_str(), &get);
    let done = poll(
        project.context.clock.as_ref(),
        Pace::until(deadline),
        "the operation",
        || async move {
            let seen = get(name.to_owned()).await;
            let seen = seen.map_err(|error| error::failed(error, action));
            bearing(seen.map(|operation| match operation.done {
                true => Look::Found(operation),
                false => Look::NotYet("the operation is not done".to_owned()),
            }))
        },
    )
    .await
    .map_err(|error| match error.kind() {
        ErrorKind::TimedOut => Error::new(ErrorKind::TimedOut, action).because(error),
        _ => error,
    })?;
    outcome(&done, action)
}

fn outcome(operation: &Operation, action: &str) -> Result<()> {
    match &operation.result {
        Some(operation::Result::Error(status)) => {
            Err(error::ended_badly(status.code, &status.message, action))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passing_failure_ends_no_wait_and_any_other_does() {
        let failed = |kind| bearing::<()>(Err(Error::new(kind, "cannot read the operation")));
        assert!(matches!(
            failed(ErrorKind::Unavailable),
            Ok(Look::NotYet(_))
        ));
        for kind in [ErrorKind::Denied, ErrorKind::NotFound, ErrorKind::Rejected] {
            assert_eq!(failed(kind).unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn an_operation_that_ended_in_an_error_is_an_error_with_its_words() {
        let status = google_cloud_rpc::model::Status::new()
            .set_code(8)
            .set_message("quota exceeded");
        let operation = Operation::new().set_done(true).set_error(status);
        let error = outcome(&operation, "cannot create repository `x`").unwrap_err();
        assert!(error.chain()[1].contains("quota exceeded"));
        assert!(outcome(&Operation::new().set_done(true), "x").is_ok());
    }
}
