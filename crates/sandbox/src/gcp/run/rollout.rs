//! Roll-outs: a new revision becomes ready or fails, then the service's traffic follows.

use std::time::Duration;

use serde_json::{Value, json};

use super::conditions::{self, Standing};
use super::instance::{Failure, IN_REVISION, Instance, Plan, system};
use super::template::{main_container, port_of};
use super::{Key, Readiness, SERVICE, number, text};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::logging::Source;
use crate::gcp::names::fresh_etag;
use crate::gcp::operations::any;

impl Gcp {
    /// Carries out one change of a service: deploys `revision` if there is a new one, moves
    /// traffic, and finishes the operation. A later change of the service has the last word on its
    /// conditions.
    pub(super) async fn roll_out(
        &self,
        key: Key,
        generation: i64,
        revision: Option<String>,
        operation: String,
    ) {
        let deployed = match &revision {
            Some(name) => self.deploy(&key, name).await,
            None => Ok(()),
        };
        self.host().clock.sleep(Duration::from_secs(1)).await;
        let routed = match &deployed {
            // Traffic still changes as asked for where it does not need the failed revision.
            Err(_) if !self.can_serve(&key) => deployed.clone(),
            Ok(()) | Err(_) => self.assign_traffic(&key).await,
        };
        // A change of traffic alone does not end what an earlier change began: the service is ready
        // once its newest revision is, or failed.
        let earlier = match &revision {
            Some(_) => None,
            None => self.newest_settles(&key).await,
        };
        let settles = revision.is_some() || earlier.is_some();
        let deployed = earlier.unwrap_or(deployed);
        let outcome = deployed.clone().and(routed.clone());
        let now = self.now();
        let settled = self.with_service(&key, |service| {
            let message = &mut service.message;
            if number(message, "generation") == generation {
                if settles {
                    conditions::set(message, "ConfigurationsReady", &standing(&deployed), &now);
                }
                conditions::set(message, "RoutesReady", &standing(&routed), &now);
                conditions::set_terminal(message, &standing(&outcome), &now);
                message.insert("reconciling".into(), false.into());
                // "A system-generated fingerprint for this version of the resource": what settles
                // changes the resource.
                message.insert("etag".into(), fresh_etag().into());
                if outcome.is_ok() {
                    message.insert("observedGeneration".into(), generation.to_string().into());
                }
            }
            Ok(any(SERVICE, &Value::Object(message.clone())))
        });
        let (metadata, result) = match settled {
            Ok(service) => (service.clone(), outcome.map(|()| service)),
            Err(gone) => (any(SERVICE, &json!({})), Err(gone)),
        };
        self.operations().finish(&operation, metadata, result);
    }

    /// What becomes of the newest revision. `None` when it was ready or had failed before.
    async fn newest_settles(&self, key: &Key) -> Option<Outcome<()>> {
        let mut waited = false;
        loop {
            let standing = self.with_service(key, |service| {
                let newest = text(&service.message, "latestCreatedRevision");
                Ok(match service.kept.revisions.get(super::short(newest)) {
                    Some(revision) => match &revision.readiness {
                        Readiness::Pending => None,
                        Readiness::Ready => Some(Ok(())),
                        Readiness::Failed(error) => Some(Err(error.clone())),
                    },
                    None => Some(Ok(())),
                })
            });
            match standing {
                Ok(None) => waited = true,
                Ok(Some(outcome)) => return waited.then_some(outcome),
                Err(gone) => return Some(Err(gone)),
            }
            self.host().clock.sleep(Duration::from_secs(1)).await;
        }
    }

    fn can_serve(&self, key: &Key) -> bool {
        self.with_service(key, |s| {
            Ok(!text(&s.message, "latestReadyRevision").is_empty())
        })
        .unwrap_or(false)
    }

    /// Makes a new revision ready. The error is the sentence that the service's conditions and the
    /// operation carry.
    async fn deploy(&self, key: &Key, name: &str) -> Outcome<()> {
        self.host().clock.sleep(Duration::from_secs(4)).await;
        let started = self.start_revision(key, name).await;
        self.host().clock.sleep(Duration::from_secs(3)).await;
        let now = self.now();
        let left_over = match &started {
            Ok(instance) => Some(instance.clone()),
            Err(_) => None,
        };
        let recorded = self.with_service(key, |service| {
            let Some(revision) = service.kept.revisions.get_mut(name) else {
                return Err(super::absent("Revision", name));
            };
            match started {
                Ok(instance) => {
                    revision.succeed(instance, &now);
                    let full = revision.message.get("name").cloned().unwrap_or_default();
                    let known = text(&service.message, "latestReadyRevision").to_owned();
                    let created = |n: &str| {
                        service
                            .kept
                            .revisions
                            .get(super::short(n))
                            .map(|r| text(&r.message, "createTime").to_owned())
                    };
                    if created(&known) <= created(name) {
                        service.message.insert("latestReadyRevision".into(), full);
                    }
                    Ok(Ok(()))
                }
                Err(failure) => Ok(Err(revision.fail(name, &failure, &now))),
            }
        });
        match recorded {
            Ok(outcome) => outcome,
            Err(gone) => {
                if let Some(instance) = left_over {
                    instance.stop(self).await;
                }
                Err(gone)
            }
        }
    }

    /// Starts an instance of a revision and waits until it is healthy.
    async fn start_revision(&self, key: &Key, name: &str) -> Result<Instance, Failure> {
        let gone = |error: ApiError| Failure {
            condition: "ResourcesAvailable",
            reason: ("reason", "INTERNAL"),
            error,
        };
        let (message, pinned) = self
            .with_service(key, |service| match service.kept.revisions.get(name) {
                Some(revision) => Ok((revision.message.clone(), revision.image.clone())),
                None => Err(super::absent("Revision", name)),
            })
            .map_err(gone)?;
        let container = main_container(&message).cloned().unwrap_or_default();
        let image = match pinned {
            // A revision keeps the digest that its tag had when it was made.
            Some(pinned) => {
                let mut by_digest = container.clone();
                by_digest.insert("image".into(), pinned.into());
                self.resolve_image(&by_digest)?
            }
            None => self.resolve_image(&container)?,
        };
        self.with_service(key, |service| {
            if let Some(revision) = service.kept.revisions.get_mut(name) {
                revision.image = Some(image.by_digest.clone());
            }
            Ok(())
        })
        .map_err(gone)?;
        let source = self.revision_source(key, name);
        let plan = Plan {
            name: name.to_owned(),
            container: &container,
            system_env: vec![
                ("K_SERVICE", key.1.clone()),
                ("K_REVISION", name.to_owned()),
                ("K_CONFIGURATION", key.1.clone()),
            ],
            serves: true,
            source: source.clone(),
            account: text(&message, "serviceAccount"),
            at: IN_REVISION,
        };
        let started = self.start_container(&plan, &image).await?;
        if self.becomes_healthy(&started, &container, &source).await {
            let instance = Instance {
                id: uuid::Uuid::new_v4(),
                container: started,
            };
            self.watch(key, name, &instance);
            return Ok(instance);
        }
        started.stop(self.grace()).await;
        let uri = self.log_uri(
            "cloud_run_revision",
            &[("service_name", &key.1), ("revision_name", name)],
        );
        Err(Failure {
            condition: "ContainerHealthy",
            reason: ("revisionReason", "HEALTH_CHECK_CONTAINER_ERROR"),
            error: ApiError::precondition(format!(
                "The user-provided container failed to start and listen on the port defined provided by the PORT={} \
                 environment variable within the allocated timeout. This can happen when the container port is misconfigured \
                 or if the timeout is too short. The health check timeout can be extended. Logs for this revision might \
                 contain more information.\n\nLogs URL: {uri}\nFor more troubleshooting guidance, see \
                 https://cloud.google.com/run/docs/troubleshooting#container-failed-to-start",
                port_of(&container)
            )),
        })
    }

    /// An instance for a revision that gets traffic and has none.
    pub(super) async fn ensure_instance(&self, key: &Key, name: &str) -> Outcome<()> {
        let running = self.with_service(key, |service| {
            Ok(service.kept.revisions.get(name).is_some_and(|r| {
                r.instance
                    .as_ref()
                    .is_some_and(|i| i.container.exit().is_none())
            }))
        })?;
        if running {
            return Ok(());
        }
        let instance = self
            .start_revision(key, name)
            .await
            .map_err(|failure| not_ready(name, &failure.error))?;
        let surplus =
            self.with_service(key, |service| match service.kept.revisions.get_mut(name) {
                Some(revision) => Ok(revision.instance.replace(instance)),
                None => Ok(Some(instance)),
            })?;
        if let Some(surplus) = surplus {
            // Another change started one meanwhile, or the revision is gone.
            surplus.stop(self).await;
        }
        Ok(())
    }

    /// Starts a new instance when this one ends by itself while its revision still serves.
    fn watch(&self, key: &Key, name: &str, instance: &Instance) {
        let (gcp, key, name, instance) =
            (self.clone(), key.clone(), name.to_owned(), instance.clone());
        self.host().background.spawn(async move {
            let exit = instance.container.wait().await;
            let ended = gcp.with_service(&key, |service| {
                let Some(revision) = service.kept.revisions.get_mut(&name) else {
                    return Ok(false);
                };
                let ours = revision
                    .instance
                    .as_ref()
                    .is_some_and(|i| i.id == instance.id);
                if ours {
                    revision.instance = None;
                }
                Ok(ours && super::traffic::serving(service).contains(&name))
            });
            if !ended.unwrap_or(false) {
                return;
            }
            let source = gcp.revision_source(&key, &name);
            gcp.log(
                &system(&source),
                &format!("Container called exit({}).", exit.code),
                "WARNING",
            );
            gcp.assign_backends(&key).await;
            gcp.host().clock.sleep(Duration::from_secs(2)).await;
            if gcp.ensure_instance(&key, &name).await.is_ok() {
                gcp.assign_backends(&key).await;
            }
        });
    }

    fn revision_source(&self, key: &Key, name: &str) -> Source {
        Source {
            resource: json!({ "type": "cloud_run_revision", "labels": {
                "project_id": self.host().project, "location": key.0, "service_name": key.1,
                "revision_name": name, "configuration_name": key.1,
            } }),
            labels: json!({ "instanceId": uuid::Uuid::new_v4().simple().to_string() }),
            log: "stdout".into(),
        }
    }
}

impl super::Revision {
    fn succeed(&mut self, instance: Instance, now: &str) {
        for kind in [
            "ResourcesAvailable",
            "ContainerReady",
            "ContainerHealthy",
            "Ready",
        ] {
            conditions::set(&mut self.message, kind, &Standing::Succeeded, now);
        }
        self.message.insert("observedGeneration".into(), "1".into());
        self.message.insert("reconciling".into(), false.into());
        self.readiness = Readiness::Ready;
        self.instance = Some(instance);
    }

    fn fail(&mut self, name: &str, failure: &Failure, now: &str) -> ApiError {
        let standing = Standing::Failed {
            field: failure.reason.0,
            reason: failure.reason.1,
            message: failure.error.message.clone(),
        };
        let order = ["ResourcesAvailable", "ContainerReady", "ContainerHealthy"];
        let at = order
            .iter()
            .position(|kind| *kind == failure.condition)
            .unwrap_or(0);
        for kind in &order[..at] {
            conditions::set(&mut self.message, kind, &Standing::Succeeded, now);
        }
        conditions::set(&mut self.message, failure.condition, &standing, now);
        conditions::set(&mut self.message, "Ready", &standing, now);
        self.message.insert("observedGeneration".into(), "1".into());
        self.message.insert("reconciling".into(), false.into());
        let error = not_ready(name, &failure.error);
        self.readiness = Readiness::Failed(error.clone());
        error
    }
}

fn not_ready(name: &str, error: &ApiError) -> ApiError {
    ApiError::new(
        error.code,
        format!(
            "Revision '{name}' is not ready and cannot serve traffic. {}",
            error.message
        ),
    )
}

fn standing(outcome: &Outcome<()>) -> Standing {
    match outcome {
        Ok(()) => Standing::Succeeded,
        Err(error) => Standing::failed("REVISION_FAILED", error.message.clone()),
    }
}
