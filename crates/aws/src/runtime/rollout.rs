//! Judges from a described service whether a task definition serves everything; performs no IO.

use aws_sdk_ecs::types::{Deployment, DeploymentRolloutState, Service};
use deployer_core::wait::Readiness;

use super::task_definition::short;

/// The status of the deployment that the service works towards.
const PRIMARY: &str = "PRIMARY";

/// The deployment that the service works towards.
pub(crate) fn primary(service: &Service) -> Option<&Deployment> {
    let mut deployments = service.deployments().iter();
    deployments.find(|deployment| deployment.status() == Some(PRIMARY))
}

fn is_failed(deployment: &Deployment) -> bool {
    deployment.rollout_state() == Some(&DeploymentRolloutState::Failed)
}

fn reason(deployment: &Deployment) -> &str {
    deployment
        .rollout_state_reason()
        .unwrap_or("ECS gives no reason")
}

/// Whether `wanted`, and nothing else, serves with the desired count.
pub(crate) fn judge(service: &Service, wanted: &str) -> Readiness {
    if service.status() != Some("ACTIVE") {
        let status = service.status().unwrap_or("gone");
        return Readiness::Failed(format!("the service is {status}"));
    }
    let ours = service
        .deployments()
        .iter()
        .find(|deployment| deployment.task_definition() == Some(wanted) && is_failed(deployment));
    let asked = service.task_definition().unwrap_or_default();
    if asked != wanted {
        let instead = format!("{} is to serve now, not {}", short(asked), short(wanted));
        return match (ours, rolled_back(service)) {
            (Some(deployment), _) => {
                Readiness::RolledBack(format!("{instead}: {}", reason(deployment)))
            }
            (None, Some(event)) => Readiness::RolledBack(format!("{instead}: {event}")),
            (None, None) => {
                Readiness::Replaced(format!("{instead}: somebody else deployed meanwhile"))
            }
        };
    }
    let Some(primary) = primary(service) else {
        return Readiness::Pending("ECS has not begun the deployment".into());
    };
    if primary.task_definition() != Some(wanted) {
        return Readiness::Pending("ECS has not begun the deployment".into());
    }
    if is_failed(primary) {
        return Readiness::Failed(reason(primary).to_owned());
    }
    progress(service, primary)
}

/// The event that says that what ECS works towards now is what it went back to. A deployment that failed is not described for
/// long; the one that somebody else made has another id.
fn rolled_back(service: &Service) -> Option<&str> {
    let id = primary(service)?.id()?;
    let events = service.events().iter().filter_map(|event| event.message());
    let mut events = events.filter(|words| words.contains("rolling back to deployment"));
    events.find(|words| words.contains(id))
}

fn progress(service: &Service, primary: &Deployment) -> Readiness {
    let old: i32 = service
        .deployments()
        .iter()
        .filter(|deployment| deployment.status() != Some(PRIMARY))
        .map(Deployment::running_count)
        .sum();
    let counted = primary.running_count() == primary.desired_count()
        && service.running_count() == service.desired_count();
    let complete = match primary.rollout_state() {
        Some(state) => *state == DeploymentRolloutState::Completed,
        None => true,
    };
    if counted && complete && old == 0 {
        return Readiness::Ready;
    }
    let mut line = format!(
        "{} of {} tasks run",
        primary.running_count(),
        primary.desired_count().max(service.desired_count())
    );
    if primary.failed_tasks() > 0 {
        line.push_str(&format!(", {} failed", primary.failed_tasks()));
    }
    if old > 0 {
        line.push_str(&format!(", {old} old ones still run"));
    }
    if counted && !complete && old == 0 {
        line.push_str(", not healthy yet");
    }
    Readiness::Pending(line)
}

/// Why the last roll-out failed. `None` when it did not.
pub(crate) fn failed(service: &Service) -> Option<&str> {
    primary(service)
        .filter(|deployment| is_failed(deployment))
        .map(reason)
}

/// What it still waits for, whoever deployed. `None` when it is settled.
pub(crate) fn unsettled(service: &Service) -> Option<String> {
    judge(service, service.task_definition().unwrap_or_default()).pending()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "arn:aws:ecs:r:1:task-definition/idp:2";
    const OLD: &str = "arn:aws:ecs:r:1:task-definition/idp:1";

    fn deployment(status: &str, definition: &str, state: &str, running: i32) -> Deployment {
        Deployment::builder()
            .status(status)
            .task_definition(definition)
            .rollout_state(state.into())
            .rollout_state_reason(format!("{state} because"))
            .desired_count(2)
            .running_count(running)
            .build()
    }

    fn service(definition: &str, running: i32, deployments: Vec<Deployment>) -> Service {
        Service::builder()
            .status("ACTIVE")
            .task_definition(definition)
            .desired_count(2)
            .running_count(running)
            .set_deployments(Some(deployments))
            .build()
    }

    #[test]
    fn it_is_ready_only_when_ours_runs_alone_in_full_number() {
        let done = service(NEW, 2, vec![deployment(PRIMARY, NEW, "COMPLETED", 2)]);
        assert_eq!(judge(&done, NEW), Readiness::Ready);
        assert_eq!(unsettled(&done), None);
        for limping in [
            service(NEW, 1, vec![deployment(PRIMARY, NEW, "COMPLETED", 1)]),
            service(NEW, 2, vec![deployment(PRIMARY, NEW, "IN_PROGRESS", 2)]),
            service(
                NEW,
                2,
                vec![
                    deployment(PRIMARY, NEW, "COMPLETED", 2),
                    deployment("ACTIVE", OLD, "COMPLETED", 1),
                ],
            ),
        ] {
            assert!(
                matches!(judge(&limping, NEW), Readiness::Pending(_)),
                "{limping:?}"
            );
            assert!(unsettled(&limping).is_some());
        }
    }

    #[test]
    fn a_rollback_by_the_circuit_breaker_is_a_failure_in_its_own_words() {
        let rolled_back = service(
            OLD,
            2,
            vec![
                deployment(PRIMARY, OLD, "COMPLETED", 2),
                deployment("INACTIVE", NEW, "FAILED", 0),
            ],
        );
        let Readiness::RolledBack(why) = judge(&rolled_back, NEW) else {
            panic!("it must have failed");
        };
        assert!(
            why.contains("idp:1") && why.contains("FAILED because"),
            "{why}"
        );
    }

    #[test]
    fn a_first_deployment_that_fails_is_seen_later_too() {
        let stuck = service(NEW, 0, vec![deployment(PRIMARY, NEW, "FAILED", 0)]);
        assert!(matches!(judge(&stuck, NEW), Readiness::Failed(_)));
        assert_eq!(failed(&stuck), Some("FAILED because"));
    }

    #[test]
    fn a_service_that_drains_has_failed() {
        let draining = Service::builder()
            .status("DRAINING")
            .task_definition(NEW)
            .build();
        assert!(matches!(judge(&draining, NEW), Readiness::Failed(_)));
    }
}
