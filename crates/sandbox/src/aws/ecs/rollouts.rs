//! Service deployments and service revisions: the record of what was deployed and how it ended.

use serde_json::{Value, json};

use super::clusters::{check_cluster, listed};
use super::names::Names;
use super::service_view::counts;
use super::services::not_found;
use super::state::{Rollout, RolloutState, Service, State};
use super::{Ecs, invalid};
use crate::aws::error::AwsError;
use crate::aws::json::{need, seconds, text, texts};

impl Ecs {
    pub(super) fn list_rollouts(&self, input: &Value) -> Result<Value, AwsError> {
        let cluster = Names::cluster(text(input, "cluster"));
        let state = self.lock();
        check_cluster(&state, &cluster)?;
        let service = state
            .service(&cluster, need(input, "service"))
            .ok_or_else(not_found)?;
        let statuses = texts(input, "status");
        let bound = |name: &str| {
            input
                .get("createdAt")
                .and_then(|range| range.get(name))
                .and_then(Value::as_f64)
        };
        let at = |rollout: &Rollout| rollout.created.as_millisecond() as f64 / 1000.0;
        let found: Vec<&Rollout> = service
            .rollouts
            .iter()
            .filter(|rollout| {
                statuses.is_empty() || statuses.iter().any(|status| status == rollout.status)
            })
            .filter(|rollout| bound("after").is_none_or(|after| at(rollout) >= after))
            .filter(|rollout| bound("before").is_none_or(|before| at(rollout) <= before))
            .collect();
        let arns = found.iter().map(|rollout| rollout.arn.clone()).collect();
        let mut out = listed(input, "serviceDeployments", arns)?;
        let page: Vec<Value> = texts(&out, "serviceDeployments")
            .iter()
            .filter_map(|arn| found.iter().find(|rollout| rollout.arn == *arn))
            .map(|rollout| brief(&state, service, rollout))
            .collect();
        out["serviceDeployments"] = json!(page);
        Ok(out)
    }

    pub(super) fn describe_rollouts(&self, input: &Value) -> Result<Value, AwsError> {
        let wanted = texts(input, "serviceDeploymentArns");
        if wanted.is_empty() || wanted.len() > 20 {
            return Err(invalid(
                "serviceDeploymentArns must have between 1 and 20 entries.",
            ));
        }
        let state = self.lock();
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in wanted {
            let of = |service: &Service| {
                service
                    .rollouts
                    .iter()
                    .position(|rollout| rollout.arn == arn)
            };
            match state
                .services
                .iter()
                .find_map(|service| Some((service, of(service)?)))
            {
                Some((service, index)) => {
                    found.push(whole(&state, service, &service.rollouts[index]))
                }
                None => failures.push(json!({"arn": arn, "reason": "MISSING"})),
            }
        }
        Ok(json!({"serviceDeployments": found, "failures": failures}))
    }

    pub(super) fn describe_revisions(&self, input: &Value) -> Result<Value, AwsError> {
        let wanted = texts(input, "serviceRevisionArns");
        if wanted.is_empty() || wanted.len() > 20 {
            return Err(invalid(
                "serviceRevisionArns must have between 1 and 20 entries.",
            ));
        }
        let state = self.lock();
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in wanted {
            let revisions = state.services.iter().flat_map(|service| &service.revisions);
            match revisions.into_iter().find(|revision| revision.arn == arn) {
                Some(revision) => found.push(revision.value.clone()),
                None => failures.push(json!({"arn": arn, "reason": "MISSING"})),
            }
        }
        Ok(json!({"serviceRevisions": found, "failures": failures}))
    }

    pub(super) fn stop_rollout(&self, input: &Value) -> Result<Value, AwsError> {
        let arn = need(input, "serviceDeploymentArn");
        let now = self.now();
        let mut state = self.lock();
        let service = state
            .services
            .iter_mut()
            .find(|service| service.rollouts.iter().any(|rollout| rollout.arn == arn))
            .ok_or_else(|| {
                AwsError::new(
                    "ServiceDeploymentNotFoundException",
                    "Service deployment not found.",
                )
            })?;
        let under_way = service.rollouts.iter().any(|rollout| {
            rollout.arn == arn && matches!(rollout.status, "PENDING" | "IN_PROGRESS")
        });
        if !under_way {
            return Err(AwsError::new(
                "ConflictException",
                "The service deployment cannot be stopped because it is not in progress.",
            ));
        }
        match text(input, "stopType") {
            Some("ABORT") => {
                service.abort(now);
            }
            _ => {
                if !service.roll_back(
                    "Service deployment rolled back because of a StopServiceDeployment request.",
                    now,
                ) {
                    return Err(AwsError::new(
                        "ConflictException",
                        "The service has no completed deployment to roll back to.",
                    ));
                }
            }
        }
        service.wake.notify_one();
        Ok(json!({"serviceDeploymentArn": arn}))
    }
}

impl Service {
    /// Ends the deployment under way without putting anything back.
    fn abort(&mut self, now: jiff::Timestamp) {
        if let Some(primary) = self.deployments.first_mut() {
            primary.state = RolloutState::Failed;
            primary.reason = format!("ECS deployment {} stopped.", primary.id);
            primary.updated = now;
        }
        if let Some(rollout) = self.rollouts.first_mut() {
            rollout.status = "STOPPED";
            rollout.reason = Some(
                "Service deployment stopped because of a StopServiceDeployment request.".into(),
            );
            (rollout.stopped, rollout.finished, rollout.updated) = (Some(now), Some(now), now);
        }
    }

    /// Makes the last completed deployment PRIMARY again. Returns false, and changes nothing, when
    /// there is none.
    pub fn roll_back(&mut self, why: &str, now: jiff::Timestamp) -> bool {
        let Some(position) = self.deployments.iter().position(|one| one.completed_once) else {
            return false;
        };
        if position == 0 {
            return false;
        }
        let failed_id = self
            .deployments
            .first()
            .map(|one| one.id.clone())
            .unwrap_or_default();
        let mut good = self.deployments.remove(position);
        if let Some(failed) = self.deployments.first_mut() {
            failed.state = RolloutState::Failed;
            failed.updated = now;
        }
        good.state = RolloutState::InProgress;
        good.failed = 0;
        good.updated = now;
        good.reason = format!(
            "ECS deployment circuit breaker: rolling back to deploymentId {}.",
            good.id
        );
        if let Some(rollout) = self
            .rollouts
            .iter_mut()
            .find(|rollout| rollout.deployment == failed_id)
        {
            rollout.status = "ROLLBACK_IN_PROGRESS";
            rollout.reason = Some(why.to_owned());
            rollout.updated = now;
            rollout.rollback = Some(json!({
                "reason": why,
                "startedAt": seconds(now),
                "serviceRevisionArn": good.revision,
            }));
        }
        let message = format!(
            "(service {}) rolling back to deployment {}.",
            self.name, good.id
        );
        // What was configured with the old revision comes back with it.
        for (name, value) in &good.config {
            self.config.insert(name.clone(), value.clone());
        }
        self.deployments.insert(0, good);
        self.event(message, now);
        self.start_after = None;
        self.failures_in_a_row = 0;
        true
    }

    /// Adds an event; the vendor keeps the last 100.
    pub fn event(&mut self, message: String, now: jiff::Timestamp) {
        let id = uuid::Uuid::new_v4().to_string();
        self.events
            .push_front(json!({"id": id, "createdAt": seconds(now), "message": message}));
        self.events.truncate(100);
    }
}

fn brief(state: &State, service: &Service, rollout: &Rollout) -> Value {
    let mut out = json!({
        "serviceDeploymentArn": rollout.arn,
        "serviceArn": service.arn,
        "clusterArn": state.clusters.get(&service.cluster).map(|it| it.value["clusterArn"].clone()),
        "createdAt": seconds(rollout.created),
        "startedAt": seconds(rollout.created),
        "targetServiceRevisionArn": rollout.target,
        "status": rollout.status,
    });
    if let Some(at) = rollout.finished {
        out["finishedAt"] = seconds(at);
    }
    if let Some(reason) = &rollout.reason {
        out["statusReason"] = json!(reason);
    }
    out
}

fn whole(state: &State, service: &Service, rollout: &Rollout) -> Value {
    let mut out = brief(state, service, rollout);
    if let Some(members) = out.as_object_mut() {
        members.remove("targetServiceRevisionArn");
    }
    let summary = |arn: &str, requested: usize| {
        let deployment = service.deployments.iter().find(|one| one.revision == arn);
        let (running, pending) =
            deployment.map_or((0, 0), |one| counts(state, service, Some(&one.id)));
        json!({
            "arn": arn,
            "requestedTaskCount": requested,
            "runningTaskCount": running,
            "pendingTaskCount": pending,
        })
    };
    let back = rollout.rollback.is_some();
    let sources: Vec<Value> = rollout
        .sources
        .iter()
        .map(|arn| summary(arn, if back { service.desired } else { 0 }))
        .collect();
    out["sourceServiceRevisions"] = json!(sources);
    out["targetServiceRevision"] = summary(&rollout.target, if back { 0 } else { service.desired });
    out["deploymentConfiguration"] = rollout.config.clone();
    out["updatedAt"] = seconds(rollout.updated);
    out["deploymentCircuitBreaker"] = json!({
        "status": rollout.breaker,
        "failureCount": rollout.failures,
        "threshold": rollout.threshold,
    });
    if let Some(at) = rollout.stopped {
        out["stoppedAt"] = seconds(at);
    }
    if let Some(rollback) = &rollout.rollback {
        out["rollback"] = rollback.clone();
    }
    out
}
