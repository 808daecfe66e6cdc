//! Resumes and pauses a service, and waits until that has come about.

use std::sync::{Mutex, PoisonError};

use aws_sdk_apprunner::types::{Service as SdkService, ServiceStatus};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::kind::Refused;
use deployer_core::node::Watch;
use deployer_core::wait::{Look, Pace, poll};

use super::calls::{self, OTHERS};
use super::operations::Begun;
use super::operations::{self, Ours};
use crate::client::Clients;
use crate::error::{Refusal, Told};

/// Resumes a paused service, and waits until it runs: "you can't deploy a new version before
/// resuming the service" ("Pausing and resuming an App Runner service", AWS App Runner Developer
/// Guide). One that runs already is left alone.
///
/// Errors: failed, when it does not come back; not found or rejected, when it is gone or takes no
/// change any more; timed out.
pub(super) async fn resume(
    clients: &Clients,
    service: &SdkService,
    watch: &dyn Watch,
) -> Result<Begun> {
    watch.note("it is paused: it is resumed");
    let arn = service.service_arn();
    let action = format!("resume service `{}`", service.service_name());
    let of = (service, action.as_str(), &ServiceStatus::Running);
    until(clients, of, watch, || async {
        let answer = clients.app_runner.resume_service().service_arn(arn);
        Ok(answer.send().await?.operation_id().map(str::to_owned))
    })
    .await
}

/// Pauses a service, and waits until it does not run any more. One that is paused already is left
/// alone.
///
/// Errors: as [`resume`].
pub(super) async fn pause(
    clients: &Clients,
    service: &SdkService,
    watch: &dyn Watch,
) -> Result<()> {
    watch.note("it was paused before: it is paused again");
    let arn = service.service_arn();
    let action = format!("pause service `{}`", service.service_name());
    let of = (service, action.as_str(), &ServiceStatus::Paused);
    let paused = until(clients, of, watch, || async {
        let answer = clients.app_runner.pause_service().service_arn(arn);
        Ok(answer.send().await?.operation_id().map(str::to_owned))
    });
    paused.await.map(drop)
}

async fn until<F, Fut>(
    clients: &Clients,
    (service, action, wanted): (&SdkService, &str, &ServiceStatus),
    watch: &dyn Watch,
    send: F,
) -> Result<Begun>
where
    F: Fn() -> Fut,
    Fut: Future<Output = std::result::Result<Option<String>, Refusal>>,
{
    // Of the call that was answered, if one was.
    let ours: Mutex<Option<Ours>> = Mutex::default();
    let ours = || ours.lock().unwrap_or_else(PoisonError::into_inner);
    poll(clients.clock(), Pace::until(OTHERS), action, || async {
        let now = calls::free_again(clients, service.service_arn()).await?;
        let begun = ours().clone();
        if now.status() == wanted {
            return Ok(Look::Found(Begun {
                service: now,
                operation: begun.unwrap_or(Ours::Newest),
            }));
        }
        if calls::is_busy(&now) {
            let why = "an operation is under way";
            watch.note(why);
            return Ok(Look::NotYet(why.to_owned()));
        }
        let latest = calls::operations(clients, &now).await;
        let latest =
            latest.told(|| format!("list the operations of service `{}`", now.service_name()))?;
        if let Some(begun) = begun {
            return match operations::judge(&now, &latest, &begun, true).failure() {
                Some((kind, why)) => Err(Error::new(kind, format!("cannot {action}: {why}"))),
                None => Ok(Look::NotYet(operations::LAGGING.to_owned())),
            };
        }
        match send().await {
            Ok(id) => {
                let before = operations::newest_of_all(&latest);
                *ours() = Some(Ours::answered(id.as_deref(), before));
                Ok(Look::NotYet("it has begun".to_owned()))
            }
            // It did begin, and the answer was lost; or another operation did.
            Err(refusal) if calls::is_wrong_state(&refusal) => {
                Ok(calls::busy(watch, &refusal.of(action)))
            }
            Err(refusal) => Err(refusal.of(action)),
        }
    })
    .await
    .map_err(|error| match error.kind() {
        ErrorKind::TimedOut => calls::too_long(error, action),
        _ => error,
    })
}
