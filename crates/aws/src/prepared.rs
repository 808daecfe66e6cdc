//! Refusals that pass by themselves: what was made a moment ago is not known everywhere yet,
//! another call is not done, and the role that a service works with is made when it is first used.

use std::future::Future;
use std::time::Duration;

use deployer_core::clock::Clock;
use deployer_core::error::{Error, Result};
use deployer_core::kind::until_taken;

/// IAM is consistent within seconds, at times a minute.
const PREPARED: Duration = Duration::from_secs(60);

/// Makes a call as often as AWS refuses it because it is not ready for it, for a minute.
pub(crate) async fn until_prepared<T, F, Fut>(clock: &dyn Clock, what: &str, call: F) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    until_taken(clock, PREPARED, waits_for_role, what, call).await
}

/// Whether it waits for a role that AWS makes. "Unable to create the resource. Verify that you have
/// permission to create service linked role. Otherwise wait and try again later" (RDS;
/// aws/aws-cdk#13104 and many others), `ServiceLinkedRoleNotFoundFault` (ElastiCache).
fn waits_for_role(error: &Error) -> bool {
    let said = error.chain().join(": ").to_lowercase();
    said.contains("service linked role")
        || said.contains("service-linked role")
        || said.contains("servicelinkedrolenotfound")
}

#[cfg(test)]
mod tests {
    use deployer_core::error::ErrorKind;

    use super::*;

    #[test]
    fn only_a_role_that_is_being_made_is_waited_for() {
        let error = |words: &str| {
            let said = Error::new(ErrorKind::Rejected, words);
            Error::new(ErrorKind::Rejected, "cannot create database `x`").because(said)
        };
        let role = "InvalidParameterValue: Unable to create the resource. Verify that you have permission to create service \
                    linked role. Otherwise wait and try again later";
        assert!(waits_for_role(&error(role)));
        assert!(waits_for_role(&error("ServiceLinkedRoleNotFoundFault: no")));
        assert!(!waits_for_role(&error(
            "InvalidParameterValue: Invalid DB Instance class: x"
        )));
    }
}
