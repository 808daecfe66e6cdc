//! Begins a deployment, once: what keeps it from being begun is waited for or told, and one that a
//! call began which nobody answered is found again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use aws_sdk_apprunner::Config;
use aws_sdk_apprunner::config::Builder;
use aws_sdk_apprunner::config::retry::RetryConfig;
use aws_sdk_apprunner::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_apprunner::types::{
    OperationSummary, OperationType, Service as SdkService, ServiceStatus,
};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::kind::Refused;
use deployer_core::node::Watch;
use deployer_core::wait::{Look, Pace, poll};

use super::calls::{self, OTHERS, ROLE_UNKNOWN_YET, SETTLING, UNKNOWN_ROLE};
use super::operations::{self, Begun, Ours};
use super::{hints, switch};
use crate::client::{ATTEMPTS, Clients};
use crate::error::{Refusal, Told};

/// What is to be deployed.
pub(super) struct Deployment<'a> {
    pub(super) clients: &'a Clients,
    /// The service as it was seen last.
    pub(super) service: &'a SdkService,
    /// "update service `x`".
    pub(super) action: String,
    /// Whether a service is described as it was asked to be.
    pub(super) is_asked_for: &'a (dyn Fn(&SdkService) -> bool + Send + Sync),
}

/// What App Runner answered.
struct Sent {
    id: String,
    /// `None` where it describes none.
    service: Option<SdkService>,
}

/// Updates a service, which deploys it.
///
/// Errors: whatever it is refused with; not found or rejected, when the service is gone or takes no
/// change any more; conflict, when others' operations go on for too long.
pub(super) async fn update(
    deployment: &Deployment<'_>,
    call: UpdateServiceFluentBuilder,
    watch: &dyn Watch,
) -> Result<Begun> {
    deployment
        .begin(OperationType::UpdateService, watch, || {
            let call = call.clone().customize().config_override(once());
            async move {
                let answer = call.send().await?;
                Ok(Sent {
                    id: answer.operation_id().to_owned(),
                    service: Some(answer.service.ok_or_else(nothing)?),
                })
            }
        })
        .await
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
    let deployment = Deployment {
        clients,
        service,
        action: format!("deploy service `{}` again", service.service_name()),
        // Whatever is there is deployed: another's is as good.
        is_asked_for: &|_| true,
    };
    deployment
        .begin(OperationType::StartDeployment, watch, || {
            let call = clients.app_runner.start_deployment();
            let call = call.service_arn(service.service_arn());
            let call = call.customize().config_override(once());
            async move {
                let answer = call.send().await?;
                Ok(Sent {
                    id: answer.operation_id().to_owned(),
                    service: None,
                })
            }
        })
        .await
}

pub(super) fn nothing() -> Error {
    Error::new(ErrorKind::Rejected, "App Runner answered no service")
}

/// It is not the SDK that tries a call again: what an unanswered one began is looked for first, for
/// another one would deploy once more as soon as that has ended.
fn once() -> Builder {
    Config::builder().retry_config(RetryConfig::disabled())
}

impl Deployment<'_> {
    async fn begin<F, Fut>(&self, kind: OperationType, watch: &dyn Watch, send: F) -> Result<Begun>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = std::result::Result<Sent, Refusal>>,
    {
        let (clients, action) = (self.clients, self.action.as_str());
        let (clock, began) = (clients.clock(), clients.clock().elapsed());
        let (tries, unanswered) = (AtomicU32::new(0), Unanswered::default());
        let sent = poll(clock, Pace::until(OTHERS), action, || async {
            let latest = self.latest().await?;
            if let Some(before) = unanswered.before()
                && let Some(begun) = self.found(&latest, before.as_deref(), &kind).await?
            {
                watch.note("App Runner did not answer, and began it");
                return Ok(Look::Found(begun));
            }
            let before = operations::newest_of_all(&latest);
            let refusal = match send().await {
                Ok(sent) => {
                    return Ok(Look::Found(Begun {
                        operation: Ours::answered(Some(&sent.id), before),
                        service: sent.service.unwrap_or_else(|| self.service.clone()),
                    }));
                }
                Err(refusal) => refusal,
            };
            if refusal.says(UNKNOWN_ROLE) {
                let refused = refusal.of(action);
                if clock.elapsed().saturating_sub(began) >= SETTLING {
                    return Err(refused.hint(hints::ROLES));
                }
                watch.note(ROLE_UNKNOWN_YET);
                return Ok(Look::NotYet(refused.chain().join(": ")));
            }
            if calls::is_wrong_state(&refusal) {
                return self.refused(&refusal.of(action), watch).await;
            }
            if refusal.is_unanswered() && tries.fetch_add(1, Ordering::Relaxed) + 1 < ATTEMPTS {
                unanswered.note(before);
                return Ok(Look::NotYet("App Runner did not answer".to_owned()));
            }
            Err(refusal.of(action))
        });
        sent.await.map_err(|error| calls::too_long(error, action))
    }

    /// What keeps it: another operation, which is waited for; or that it is paused, which is ended.
    async fn refused(&self, refused: &Error, watch: &dyn Watch) -> Result<Look<Begun>> {
        let now = calls::free_again(self.clients, self.service.service_arn()).await?;
        if now.status() == &ServiceStatus::Paused {
            switch::resume(self.clients, &now, watch).await?;
            return Ok(Look::NotYet(refused.chain().join(": ")));
        }
        Ok(calls::busy(watch, refused))
    }

    async fn latest(&self) -> Result<Vec<OperationSummary>> {
        let latest = calls::operations(self.clients, self.service).await;
        let name = self.service.service_name();
        latest.told(|| format!("list the operations of service `{name}`"))
    }

    /// What an unanswered call began: an operation of its kind that is newer than those that were
    /// there before, while what was asked for is described.
    async fn found(
        &self,
        latest: &[OperationSummary],
        before: Option<&str>,
        kind: &OperationType,
    ) -> Result<Option<Begun>> {
        let mut newer = latest.iter().take_while(|it| it.id() != before);
        let Some(operation) = newer.find(|it| it.r#type() == Some(kind)) else {
            return Ok(None);
        };
        let name = self.service.service_name();
        let seen = calls::describe(self.clients, self.service.service_arn()).await;
        let seen = seen.told(|| format!("read service `{name}`"))?;
        let service = seen.filter(|service| (self.is_asked_for)(service));
        Ok(service.map(|service| Begun {
            service,
            operation: Ours::answered(operation.id(), before.map(str::to_owned)),
        }))
    }
}

/// What was the newest operation before the first call that nobody answered.
#[derive(Default)]
struct Unanswered(Mutex<Option<Option<String>>>);

impl Unanswered {
    fn note(&self, before: Option<String>) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(before);
    }

    fn before(&self) -> Option<Option<String>> {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.clone()
    }
}
