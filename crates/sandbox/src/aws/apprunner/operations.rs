//! Operations of services: from their begin to their end.

use std::time::Duration;

use serde_json::{Value, json};

use super::check::Failure;
use super::services::shown;
use super::state::{Kind, Operation, Service, State};
use super::{AppRunner, not_found};
use crate::aws::error::AwsError;

/// How long an operation is PENDING, and how long pausing and deleting take. Ours.
const PENDING: Duration = Duration::from_secs(5);
const STOPPING: Duration = Duration::from_secs(30);
/// "When deployment fails, it takes over 15m for rollback" (roadmap#147).
const ROLLING_BACK: Duration = Duration::from_secs(15 * 60);
/// How long a deleted service is still described. Ours.
const KEPT: Duration = Duration::from_secs(3600);

impl Service {
    fn progress(&mut self, status: &'static str, now: jiff::Timestamp) {
        if let Some(operation) = self.operations.last_mut() {
            operation.status = status;
            operation.updated = now;
        }
    }
}

impl AppRunner {
    /// Begins an operation on a service that is free for one. Returns the call's answer.
    pub(super) fn begin(
        &self,
        state: &mut State,
        arn: &str,
        kind: Kind,
    ) -> Result<Value, AwsError> {
        let (id, now) = (uuid::Uuid::new_v4().to_string(), self.now());
        let service = state.service_mut(arn).ok_or_else(|| not_found(arn))?;
        service.status = "OPERATION_IN_PROGRESS";
        service.updated = now;
        service.operations.push(Operation {
            id: id.clone(),
            kind,
            status: "PENDING",
            started: now,
            updated: now,
            ended: None,
        });
        let (this, of, operation) = (self.clone(), arn.to_owned(), id.clone());
        let background = &self.inner.host.background;
        background.spawn(async move { this.carry_out(&of, kind, &operation).await });
        let service = state.service(arn).ok_or_else(|| not_found(arn))?;
        Ok(json!({ "Service": shown(state, service), "OperationId": id }))
    }

    async fn carry_out(&self, arn: &str, kind: Kind, id: &str) {
        self.event(arn, &format!("{} started.", kind.noun()));
        self.event(arn, "Service status is set to OPERATION_IN_PROGRESS.");
        let clock = &self.inner.host.clock;
        clock.sleep(PENDING).await;
        self.change(arn, |service, now| service.progress("IN_PROGRESS", now));
        let ended = match kind {
            Kind::Create | Kind::Update | Kind::Deploy | Kind::Resume => {
                self.deploy(arn, kind, id).await
            }
            // Nothing of it goes: ours.
            Kind::Delete if self.inner.host.failed_deletes.fail() => {
                clock.sleep(STOPPING).await;
                self.event(
                    arn,
                    "Service deletion failed. For details, see service logs.",
                );
                self.end(arn, ("FAILED", "DELETE_FAILED"));
                return;
            }
            Kind::Pause | Kind::Delete => {
                self.change(arn, |service, _| service.retire());
                self.replace_instances(arn, Vec::new()).await;
                clock.sleep(STOPPING).await;
                Ok(())
            }
        };
        match ended {
            Ok(()) => self.succeed(arn, kind),
            Err(failure) => self.fail(arn, kind, &failure).await,
        }
    }

    fn succeed(&self, arn: &str, kind: Kind) {
        let status = match kind {
            Kind::Create | Kind::Update | Kind::Deploy | Kind::Resume => "RUNNING",
            Kind::Pause => "PAUSED",
            Kind::Delete => "DELETED",
        };
        // "Service creation completed successfully." (roadmap#142).
        self.event(arn, &format!("{} completed successfully.", kind.noun()));
        self.end(arn, ("SUCCEEDED", status));
        if kind == Kind::Delete {
            self.change(arn, |service, now| {
                service.deleted = Some(now);
                service.front.close();
            });
        }
    }

    /// What runs already goes on: "App Runner automatically rollback to the previous successful
    /// revision" (roadmap#209). Its model has a status for that, but no source says which failures
    /// have it; that it is those of instances that were started, and FAILED what came before, is
    /// ours.
    async fn fail(&self, arn: &str, kind: Kind, failure: &Failure) {
        let mut had = false;
        self.change(arn, |service, _| had = service.served.is_some());
        let rolls_back = had && failure.had_instances() && kind != Kind::Resume;
        if rolls_back {
            self.change(arn, |service, now| {
                service.progress("ROLLBACK_IN_PROGRESS", now);
            });
            self.inner.host.clock.sleep(ROLLING_BACK).await;
        }
        // Which configuration is described then, no source says: what serves, unless it is told
        // otherwise.
        let stays = self.inner.host.failed_updates.stay_described();
        self.change(arn, |service, _| {
            if let Some(served) = service.served.as_ref().filter(|_| !stays) {
                service.config = served.config.clone();
            }
        });
        // "Service update failed. For details, see service logs." (roadmap#142).
        let message = format!("{} failed. For details, see service logs.", kind.noun());
        self.event(arn, &message);
        let status = match (had, kind) {
            (false, _) => "CREATE_FAILED",
            // Ours: the source of resuming is what ran before.
            (true, Kind::Resume) => "PAUSED",
            (true, _) => "RUNNING",
        };
        let outcome = match rolls_back {
            true => "ROLLBACK_SUCCEEDED",
            false => "FAILED",
        };
        self.end(arn, (outcome, status));
    }

    fn end(&self, arn: &str, (outcome, status): (&'static str, &'static str)) {
        self.event(arn, &format!("Service status is set to {status}."));
        self.change(arn, |service, now| {
            service.progress(outcome, now);
            if let Some(operation) = service.operations.last_mut() {
                operation.ended = Some(now);
            }
            service.status = status;
            service.updated = now;
        });
    }

    /// Changes a service, if it is still known.
    pub(super) fn change(&self, arn: &str, act: impl FnOnce(&mut Service, jiff::Timestamp)) {
        let now = self.now();
        if let Some(service) = self.lock().service_mut(arn) {
            act(service, now);
        }
    }

    /// Forgets what was deleted long ago.
    pub(super) fn forget_old(&self) {
        let clock = &self.inner.host.clock;
        let kept = clock.in_cloud_time(KEPT);
        let mut state = self.lock();
        state
            .services
            .retain(|it| it.deleted.is_none_or(|at| clock.since(at) <= kept));
    }
}
