//! Calls about one service, and waiting for what keeps it from being called.

use std::time::Duration;

use aws_sdk_apprunner::types::{OperationSummary, Service as SdkService, ServiceStatus};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::kind::Refused;
use deployer_core::node::Watch;
use deployer_core::wait::{Look, Pace, poll};

use crate::client::Clients;
use crate::error::{Refusal, Told};
use crate::tagging::TagApi;
use crate::tags::Tags;

/// How many operations are looked at: ours is among the latest.
const OPERATIONS: i32 = 20;

/// What StartDeployment is refused with then: its model names no InvalidStateException
/// (InvalidRequestException in the words that many report).
const NOT_RUNNING: &str = "because it isn't in RUNNING state";

/// What a call is refused with on a service that is not there.
pub(super) const ABSENT: &[&str] = &["ResourceNotFoundException"];

/// What a call is refused with while another operation is under way, and in states that it does not
/// take.
pub(super) const WRONG_STATE: &str = "InvalidStateException";

/// How long roles that were made a moment ago are waited for: as the Terraform provider does
/// (`internal/service/apprunner/service.go` of hashicorp/terraform-provider-aws).
pub(super) const SETTLING: Duration = Duration::from_secs(2 * 60);
/// What App Runner says then.
pub(super) const UNKNOWN_ROLE: &str = "Error in assuming";
/// The same for people.
pub(super) const ROLE_UNKNOWN_YET: &str = "a role is not known to App Runner yet";

/// How long a roll-out is waited for: an update that fails is given up after minutes, and then "it
/// takes over 15m for rollback" (aws/apprunner-roadmap#147). Who stops waiting sooner never hears
/// that it was put back.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// How long somebody else's operation is waited for: one that fails its health checks takes
/// longest.
pub(super) const OTHERS: Duration = PATIENCE;

/// The service of a name. `None` when there is none; a deleted one is none.
pub(super) async fn find(clients: &Clients, name: &str) -> Result<Option<SdkService>, Refusal> {
    let listed = clients.lookups.app_runner.ask(name).await;
    let Some(listed) = listed.map_err(|error| Refusal::new(&error))? else {
        return Ok(None);
    };
    describe(clients, listed.service_arn().unwrap_or_default()).await
}

/// The service of an ARN. `None` when it is not there, or deleted.
pub(super) async fn describe(clients: &Clients, arn: &str) -> Result<Option<SdkService>, Refusal> {
    let ask = clients.app_runner.describe_service().service_arn(arn);
    let service = match ask.send().await.map_err(Refusal::from) {
        Ok(answer) => answer.service,
        Err(refusal) if refusal.is_one_of(&["ResourceNotFoundException"]) => None,
        Err(refusal) => return Err(refusal),
    };
    Ok(service.filter(|it| it.status() != &ServiceStatus::Deleted))
}

/// The service of a name, which people ask for.
///
/// Errors: denied, when the caller may not see it.
pub(super) async fn seen(clients: &Clients, name: &str) -> Result<Option<SdkService>> {
    let found = find(clients, name).await;
    found.told(|| format!("read service `{name}`"))
}

/// Its latest operations, newest first.
pub(super) async fn operations(
    clients: &Clients,
    service: &SdkService,
) -> Result<Vec<OperationSummary>, Refusal> {
    let ask = clients.app_runner.list_operations();
    let ask = ask
        .service_arn(service.service_arn())
        .max_results(OPERATIONS);
    let answer = ask.send().await?;
    Ok(answer.operation_summary_list.unwrap_or_default())
}

/// Its tags.
pub(super) async fn tags(clients: &Clients, service: &SdkService) -> Result<Tags, Refusal> {
    TagApi::AppRunner.read(clients, service.service_arn()).await
}

/// Whether an operation is under way.
pub(super) fn is_busy(service: &SdkService) -> bool {
    service.status() == &ServiceStatus::OperationInProgress
}

/// Makes a call about a service as often as it is refused because another operation is under way.
///
/// Errors: whatever else it is refused with; conflict, when that goes on for too long; those of
/// [`free_again`].
pub(super) async fn when_free<T, E, F, Fut>(
    clients: &Clients,
    arn: &str,
    action: &str,
    watch: &dyn Watch,
    call: F,
) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = std::result::Result<T, E>>,
    Refusal: From<E>,
{
    let sent = poll(clients.clock(), Pace::until(OTHERS), action, || async {
        match call().await.map_err(Refusal::from) {
            Ok(answer) => Ok(Look::Found(answer)),
            Err(refusal) if is_wrong_state(&refusal) => {
                let refused = refusal.of(action);
                match free_again(clients, arn).await?.status() {
                    ServiceStatus::Paused => Err(refused),
                    _ => Ok(busy(watch, &refused)),
                }
            }
            Err(refusal) => Err(refusal.of(action)),
        }
    });
    sent.await.map_err(|error| too_long(error, action))
}

/// Whether a call was refused for what the service is doing or has become.
pub(super) fn is_wrong_state(refusal: &Refusal) -> bool {
    refusal.is_one_of(&[WRONG_STATE]) || refusal.says(NOT_RUNNING)
}

/// Says that another operation is waited for.
pub(super) fn busy<T>(watch: &dyn Watch, refused: &Error) -> Look<T> {
    watch.note("another operation of the service is under way: it is waited for");
    Look::NotYet(refused.chain().join(": "))
}

/// The error for a call that others' operations kept from being taken for too long.
pub(super) fn too_long(error: Error, action: &str) -> Error {
    match error.kind() {
        ErrorKind::TimedOut => Error::new(ErrorKind::Conflict, format!("cannot {action}"))
            .because(error)
            .hint("see what goes on: `aws apprunner list-operations --service-arn ...`"),
        _ => error,
    }
}

/// A service that refused a call, as it is now: one that may still take it, at once or later.
///
/// Errors: not found, when somebody deleted it; rejected, when it is in a state that nothing ends
/// but its deletion.
pub(super) async fn free_again(clients: &Clients, arn: &str) -> Result<SdkService> {
    let name = name_in(arn);
    let seen = describe(clients, arn).await;
    let seen = seen.told(|| format!("read service `{name}`"))?;
    let seen = seen.ok_or_else(|| gone(name))?;
    usable(seen)
}

/// `NAME` in `arn:...:service/NAME/ID`.
fn name_in(arn: &str) -> &str {
    arn.split('/').nth(1).unwrap_or(arn)
}

/// The same service, where it is in a state that takes changes or will.
///
/// Errors: rejected, when nothing ends its state but its deletion.
pub(super) fn usable(service: SdkService) -> Result<SdkService> {
    match service.status() {
        ServiceStatus::CreateFailed | ServiceStatus::DeleteFailed => Err(stuck(&service)),
        _ => Ok(service),
    }
}

/// Waits until no operation of a service is under way.
///
/// Errors: timed out; whatever it cannot be looked at for.
pub(super) async fn until_free(
    clients: &Clients,
    arn: &str,
    name: &str,
    watch: &dyn Watch,
) -> Result<Option<SdkService>> {
    let what = format!("service `{name}`");
    poll(clients.clock(), Pace::until(OTHERS), &what, || async {
        let seen = describe(clients, arn).await;
        let seen = seen.told(|| format!("read {what}"))?;
        Ok(match seen {
            Some(service) if is_busy(&service) => {
                let why = "an operation is under way";
                watch.note(why);
                Look::NotYet(why.to_owned())
            }
            other => Look::Found(other),
        })
    })
    .await
}

/// The error for what needs a service that is not there.
pub(super) fn absent(name: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no App Runner service `{name}` to deploy to"),
    )
    .hint("`deployer apply` makes it; a code-only one (`--only`) does not")
}

/// The error for a service that was there a moment ago.
pub(super) fn gone(name: &str) -> Error {
    let message = format!("service `{name}` is gone: somebody deleted it");
    Error::new(ErrorKind::NotFound, message).hint("run `deployer apply`: it makes the service anew")
}

/// The error for a service that takes no change any more.
fn stuck(service: &SdkService) -> Error {
    let (name, status) = (service.service_name(), service.status().as_str());
    let message = format!("service `{name}` is {status}: it takes no change any more");
    Error::new(ErrorKind::Rejected, message)
        .hint("run `deployer apply`: it deletes the service and makes it anew")
}

/// Deletes a service, and waits until it is gone.
pub(super) async fn delete(clients: &Clients, arn: &str) -> std::result::Result<(), Refusal> {
    let call = clients.app_runner.delete_service().service_arn(arn);
    match call.send().await.map_err(Refusal::from) {
        Ok(_) => {}
        Err(refusal) if refusal.is_one_of(ABSENT) => return Ok(()),
        Err(refusal) => return Err(refusal),
    }
    let what = "the deleted service";
    let gone = poll(clients.clock(), Pace::until(OTHERS), what, || async {
        let seen = describe(clients, arn).await;
        let seen = seen.map_err(|refusal| refusal.of("read a service that is deleted"))?;
        match seen {
            None => Ok(Look::Found(())),
            Some(service) if is_busy(&service) => {
                Ok(Look::NotYet("it is being deleted".to_owned()))
            }
            Some(service) => {
                let status = service.status().as_str();
                let message = format!("App Runner did not delete the service: it is {status}");
                let error = Error::new(ErrorKind::Failed, message);
                Err(error.hint("run the same command again: the deletion is tried once more"))
            }
        }
    });
    gone.await.map_err(Refusal::from)
}
