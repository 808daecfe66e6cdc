//! The refusals of an account's first days: AWS makes the role that a service works with when it is first used, and refuses what
//! needs it until it is there.

use std::future::Future;
use std::time::Duration;

use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::wait::{Look, Pace, poll};

/// IAM is consistent within seconds, at times a minute.
const PREPARED: Pace = Pace::until(Duration::from_secs(60));

/// Makes a call as often as AWS refuses it because it is not ready for it, for a minute.
pub(crate) async fn until_prepared<T, F, Fut>(clock: &dyn Clock, what: &str, call: F) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let last = std::sync::Mutex::new(None);
    let keep = |error: Option<Error>| {
        let mut last = last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::replace(&mut *last, error)
    };
    let done = poll(clock, PREPARED, what, || async {
        match call().await {
            Err(error) if passes(&error) => {
                let why = error.chain().join(": ");
                keep(Some(error));
                Ok(Look::NotYet(why))
            }
            Err(error) => Err(error),
            Ok(done) => Ok(Look::Found(done)),
        }
    })
    .await;
    match done {
        // What AWS said tells more than that we gave up.
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(keep(None).map_or(error, hinted)),
        other => other,
    }
}

fn hinted(error: Error) -> Error {
    error.hint("allow the caller iam:CreateServiceLinkedRole, or have the role made once")
}

/// Whether it passes by itself. "Unable to create the resource. Verify that you have permission to create service linked role.
/// Otherwise wait and try again later" (RDS; aws/aws-cdk#13104 and many others), `ServiceLinkedRoleNotFoundFault` (ElastiCache).
fn passes(error: &Error) -> bool {
    let said = error.chain().join(": ").to_lowercase();
    said.contains("service linked role")
        || said.contains("service-linked role")
        || said.contains("servicelinkedrolenotfound")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_role_that_is_being_made_is_waited_for() {
        let error = |words: &str| {
            let said = Error::new(ErrorKind::Rejected, words);
            Error::new(ErrorKind::Rejected, "cannot create database `x`").because(said)
        };
        let role = "InvalidParameterValue: Unable to create the resource. Verify that you have permission to create service \
                    linked role. Otherwise wait and try again later";
        assert!(passes(&error(role)));
        assert!(passes(&error("ServiceLinkedRoleNotFoundFault: no")));
        assert!(!passes(&error(
            "InvalidParameterValue: Invalid DB Instance class: x"
        )));
    }
}
