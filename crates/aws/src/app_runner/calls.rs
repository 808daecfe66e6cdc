//! Calls about one service, and waiting for what keeps it from being called.

use std::time::Duration;

use aws_sdk_apprunner::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_apprunner::types::{OperationSummary, Service as SdkService, ServiceStatus};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::kind::Refused;
use deployer_core::node::Watch;
use deployer_core::wait::{Look, Pace, poll};

use super::hints;
use super::operations::{self, Ours};
use crate::client::Clients;
use crate::error::{Refusal, Told};
use crate::tagging::TagApi;
use crate::tags::Tags;

/// How many operations are looked at: ours is among the latest.
const OPERATIONS: i32 = 20;

/// What StartDeployment is refused with then: its model names no InvalidStateException
/// (InvalidRequestException in the words that many report).
const NOT_RUNNING: &str = "because it isn't in RUNNING state";

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

/// How long somebody else's operation is waited for. A deployment takes minutes; one that fails its
/// health checks, until App Runner has put back what served before, up to 20 (the Terraform
/// provider waits as long: `internal/service/apprunner/wait.go` of
/// hashicorp/terraform-provider-aws).
pub(super) const OTHERS: Duration = Duration::from_secs(20 * 60);

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

/// What a call began.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    pub(super) service: SdkService,
    pub(super) operation: Ours,
}

/// Updates a service. While another operation is under way it is refused, and waited for.
///
/// Errors: whatever else it is refused with; conflict, when others' operations go on for too long.
pub(super) async fn update(
    clients: &Clients,
    action: &str,
    call: UpdateServiceFluentBuilder,
    watch: &dyn Watch,
) -> Result<Begun> {
    let sent = when_free(clients, action, watch, || call.clone().send());
    let answer = sent.await?;
    let operation = Ours::answered(Some(answer.operation_id()));
    let service = answer.service.ok_or_else(nothing)?;
    Ok(Begun { service, operation })
}

/// Deploys a service again as it is: "App Runner retrieves the latest Docker image ... then
/// deploys the new image to your service and starts a new container instance" (StartDeployment,
/// App Runner API Reference). What its variables take from secrets is read anew: "you must
/// redeploy your service" for a changed one ("Referencing environment variables", AWS App Runner
/// Developer Guide).
///
/// Errors: as [`update`].
pub(super) async fn deploy(
    clients: &Clients,
    service: &SdkService,
    watch: &dyn Watch,
) -> Result<Begun> {
    let (name, arn) = (service.service_name(), service.service_arn());
    let action = format!("deploy service `{name}` again");
    let sent = when_free(clients, &action, watch, || {
        clients
            .app_runner
            .start_deployment()
            .service_arn(arn)
            .send()
    });
    let operation = Ours::answered(Some(sent.await?.operation_id()));
    Ok(Begun {
        service: service.clone(),
        operation,
    })
}

pub(super) fn nothing() -> Error {
    Error::new(ErrorKind::Rejected, "App Runner answered no service")
}

/// Makes a call as often as it is refused because another operation is under way.
///
/// Errors: whatever else it is refused with; conflict, when that goes on for too long.
pub(super) async fn when_free<T, E, F, Fut>(
    clients: &Clients,
    action: &str,
    watch: &dyn Watch,
    call: F,
) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = std::result::Result<T, E>>,
    Refusal: From<E>,
{
    let (clock, began) = (clients.clock(), clients.clock().elapsed());
    let sent = poll(clock, Pace::until(OTHERS), action, || async {
        match call().await.map_err(Refusal::from) {
            Ok(answer) => Ok(Look::Found(answer)),
            Err(refusal)
                if refusal.says(UNKNOWN_ROLE)
                    && clock.elapsed().saturating_sub(began) < SETTLING =>
            {
                watch.note(ROLE_UNKNOWN_YET);
                Ok(Look::NotYet(refusal.of(action).chain().join(": ")))
            }
            Err(refusal) if refusal.says(UNKNOWN_ROLE) => {
                Err(refusal.of(action).hint(hints::ROLES))
            }
            Err(refusal) if refusal.is_one_of(&[WRONG_STATE]) || refusal.says(NOT_RUNNING) => {
                let why = refusal.of(action).chain().join(": ");
                watch.note("another operation of the service is under way: it is waited for");
                Ok(Look::NotYet(why))
            }
            Err(refusal) => Err(refusal.of(action)),
        }
    });
    sent.await.map_err(|error| match error.kind() {
        ErrorKind::TimedOut => Error::new(ErrorKind::Conflict, format!("cannot {action}"))
            .because(error)
            .hint("see what goes on: `aws apprunner list-operations --service-arn ...`"),
        _ => error,
    })
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

/// Resumes a paused service, and waits until it runs: "you can't deploy a new version before
/// resuming the service" ("Pausing and resuming an App Runner service", AWS App Runner Developer
/// Guide).
///
/// Errors: failed, when it does not come back.
pub(super) async fn resume(
    clients: &Clients,
    service: &SdkService,
    watch: &dyn Watch,
) -> Result<Begun> {
    let name = service.service_name();
    let action = format!("resume service `{name}`");
    let arn = service.service_arn();
    watch.note("it is paused: it is resumed");
    let answer = when_free(clients, &action, watch, || {
        clients.app_runner.resume_service().service_arn(arn).send()
    });
    let answer = answer.await?;
    let operation = Ours::answered(answer.operation_id());
    let free = until_free(clients, arn, name, watch).await?;
    let service = free.ok_or_else(|| absent(name))?;
    if service.status() != &ServiceStatus::Running {
        let latest = self::operations(clients, &service)
            .await
            .unwrap_or_default();
        let ended = operations::judge(&service, &latest, &operation, true);
        let (kind, why) = ended
            .failure()
            .unwrap_or((ErrorKind::Failed, "it does not run"));
        return Err(Error::new(kind, format!("cannot {action}: {why}")));
    }
    Ok(Begun { service, operation })
}

/// The error for what needs a service that is not there.
pub(super) fn absent(name: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no App Runner service `{name}` to deploy to"),
    )
    .hint("run `deployer apply` without `--only` first: it makes the service")
}
