//! Services as DescribeServices shows them.

use serde_json::{Value, json};

use super::clusters::{check_cluster, listed};
use super::names::{Names, last_part};
use super::state::{Deployment, RolloutState, Service, State};
use super::{Ecs, invalid};
use crate::aws::error::AwsError;
use crate::aws::json::{seconds, text, texts};

impl Ecs {
    pub(super) fn describe_services(&self, input: &Value) -> Result<Value, AwsError> {
        let cluster = Names::cluster(text(input, "cluster"));
        let wanted = texts(input, "services");
        if wanted.is_empty() {
            return Err(invalid("Services cannot be empty."));
        }
        if wanted.len() > 10 {
            return Err(invalid("Services cannot have more than 10 entries."));
        }
        let tags = texts(input, "include").iter().any(|part| part == "TAGS");
        let state = self.lock();
        check_cluster(&state, &cluster)?;
        let (mut services, mut failures) = (Vec::new(), Vec::new());
        for id in wanted {
            match state.service(&cluster, &id) {
                Some(service) => services.push(service_view(&state, service, tags)),
                None => {
                    let arn = self
                        .inner
                        .names
                        .arn(&format!("service/{cluster}/{}", last_part(&id)));
                    failures.push(json!({"arn": arn, "reason": "MISSING"}));
                }
            }
        }
        Ok(json!({"services": services, "failures": failures}))
    }

    pub(super) fn list_services(&self, input: &Value) -> Result<Value, AwsError> {
        let cluster = Names::cluster(text(input, "cluster"));
        let state = self.lock();
        check_cluster(&state, &cluster)?;
        let matches = |member: &str, service: &Service| {
            text(input, member).is_none_or(|wanted| {
                service
                    .config
                    .get(member)
                    .and_then(Value::as_str)
                    .is_none_or(|has| has == wanted)
            })
        };
        let arns = state
            .services
            .iter()
            .filter(|service| service.cluster == cluster && service.status != "INACTIVE")
            .filter(|service| {
                matches("launchType", service) && matches("schedulingStrategy", service)
            })
            .map(|service| service.arn.clone())
            .collect();
        listed(input, "serviceArns", arns)
    }

    /// A service's line of `sandbox status`.
    pub(super) fn service_status(&self, state: &State, service: &Service) -> Value {
        let tasks: Vec<Value> = state
            .tasks_of(&service.arn)
            .filter(|task| task.last_status != "STOPPED")
            .map(|task| {
                json!({
                    "id": task.id,
                    "status": task.last_status,
                    "health": task.health,
                    "definition": last_part(&task.definition),
                    "address": task.address.map(|address| address.to_string()),
                })
            })
            .collect();
        json!({
            "name": service.name,
            "cluster": service.cluster,
            "arn": service.arn,
            "status": service.status,
            "url": service.front.as_ref().map(|front| format!("http://{}", front.address())),
            "desired": service.desired,
            "running": tasks.iter().filter(|task| task["status"] == "RUNNING").count(),
            "tasks": tasks,
        })
    }
}

/// A service's member of an answer.
pub fn service_view(state: &State, service: &Service, tags: bool) -> Value {
    let (running, pending) = counts(state, service, None);
    let deployments: Vec<Value> = service
        .deployments
        .iter()
        .enumerate()
        .map(|(i, one)| deployment(state, service, i, one))
        .collect();
    let definition = service
        .deployments
        .first()
        .map(|first| first.definition.clone());
    let mut out = json!({
        "serviceArn": service.arn,
        "serviceName": service.name,
        "clusterArn": state.clusters.get(&service.cluster).map(|it| it.value["clusterArn"].clone()),
        "status": service.status,
        "desiredCount": service.desired,
        "runningCount": running,
        "pendingCount": pending,
        "taskDefinition": definition,
        // What CodeDeploy deploys are task sets.
        "deployments": match service.status == "INACTIVE" || by_code_deploy(service) {
            true => Vec::new(),
            false => deployments,
        },
        "events": service.events,
        "createdAt": seconds(service.created),
    });
    if let Some(members) = out.as_object_mut() {
        members.extend(service.config.clone());
    }
    if tags {
        out["tags"] = json!(service.tags);
    }
    out
}

fn by_code_deploy(service: &Service) -> bool {
    let controller = service.config.get("deploymentController");
    controller.is_some_and(|controller| controller["type"] == "CODE_DEPLOY")
}

fn deployment(state: &State, service: &Service, index: usize, deployment: &Deployment) -> Value {
    let (running, pending) = counts(state, service, Some(&deployment.id));
    let primary = index == 0;
    let mut out = json!({
        "id": deployment.id,
        "status": if primary { "PRIMARY" } else { "ACTIVE" },
        "taskDefinition": deployment.definition,
        "desiredCount": if primary { service.desired } else { 0 },
        "pendingCount": pending,
        "runningCount": running,
        "failedTasks": deployment.failed,
        "createdAt": seconds(deployment.created),
        "updatedAt": seconds(deployment.updated),
        "rolloutState": match deployment.state {
            RolloutState::InProgress => "IN_PROGRESS",
            RolloutState::Completed => "COMPLETED",
            RolloutState::Failed => "FAILED",
        },
        "rolloutStateReason": deployment.reason,
    });
    if let Some(members) = out.as_object_mut() {
        members.extend(deployment.config.clone());
    }
    out
}

/// Running and pending tasks of a service, or of one of its deployments.
pub fn counts(state: &State, service: &Service, deployment: Option<&str>) -> (usize, usize) {
    let of = |task: &&super::state::Task| {
        let id = task.service.as_ref().map(|(_, id)| id.as_str());
        deployment.is_none() || id == deployment
    };
    let running = state
        .tasks_of(&service.arn)
        .filter(of)
        .filter(|task| task.last_status == "RUNNING")
        .count();
    let pending = state
        .tasks_of(&service.arn)
        .filter(of)
        .filter(|task| task.pending())
        .count();
    (running, pending)
}
