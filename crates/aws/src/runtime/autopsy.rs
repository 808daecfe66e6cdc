//! Explains a failure: what stopped, what the load balancer says, the last lines of the log. Best
//! effort, all of it.

use aws_sdk_ecs::types::{DesiredStatus, Service, Task};
use aws_sdk_elasticloadbalancingv2::types::{TargetHealthDescription, TargetHealthStateEnum};
use deployer_core::capability::{Autopsy, LogLine, StoppedContainer, StoppedInstance, UnfitTarget};
use deployer_core::spec::ServiceSpec;
use jiff::Timestamp;

use super::lookup::describe;
use super::task_definition::WithTags;
use super::{Names, printed, rollout, tasks};
use crate::client::Clients;

/// How many stopped tasks an explanation names.
const STOPPED_TASKS: usize = 3;
/// How many of the service's events an explanation shows.
const EVENTS: usize = 10;
/// How many lines of a log an explanation shows.
const LINES: i32 = 20;

/// See [`deployer_core::capability::Services::autopsy`].
pub(super) async fn of(clients: &Clients, spec: &ServiceSpec) -> Autopsy {
    let names = Names::of(clients, spec);
    let Ok(Some(service)) = describe(clients, &names.service, WithTags::No).await else {
        return Autopsy::default();
    };
    let (tasks, targets) = tokio::join!(
        stopped_tasks(clients, &names),
        unfit_targets(clients, &service)
    );
    let tasks = of_newest(&service, tasks);
    let failing = tasks.first().and_then(Task::task_arn);
    let log = match failing {
        Some(arn) => last_log(clients, &names, arn).await,
        None => Vec::new(),
    };
    let why = rollout::failed(&service).map(|why| format!("roll-out: {why}"));
    Autopsy {
        words: why.into_iter().collect(),
        stopped: tasks.iter().take(STOPPED_TASKS).map(stopped).collect(),
        targets,
        events: events(&service, EVENTS).collect(),
        log,
    }
}

/// What its target groups do not call healthy. Best effort.
async fn unfit_targets(clients: &Clients, service: &Service) -> Vec<UnfitTarget> {
    let mut unfit = Vec::new();
    for group in service.load_balancers() {
        let Some(arn) = group.target_group_arn() else {
            continue;
        };
        let call = clients.balancers.describe_target_health();
        if let Ok(answer) = call.target_group_arn(arn).send().await {
            unfit.extend(
                answer
                    .target_health_descriptions()
                    .iter()
                    .filter_map(unfit_target),
            );
        }
    }
    unfit
}

fn unfit_target(told: &TargetHealthDescription) -> Option<UnfitTarget> {
    let health = told.target_health()?;
    let state = health
        .state()
        .filter(|state| **state != TargetHealthStateEnum::Healthy)?;
    let target = told.target()?;
    let at = match (target.id(), target.port()) {
        (Some(id), Some(port)) => format!("{id}:{port}"),
        (id, _) => id.unwrap_or_default().to_owned(),
    };
    let code = health.reason().map(|reason| reason.as_str().to_owned());
    let reason: Vec<String> = code
        .into_iter()
        .chain(health.description().map(str::to_owned))
        .collect();
    Some(UnfitTarget {
        target: at,
        state: state.as_str().to_owned(),
        reason: reason.join(", "),
    })
}

/// Why the service's tasks stopped, and its latest events. Best effort: being denied is no reason
/// to fail.
pub(super) async fn why_stopped(
    clients: &Clients,
    names: &Names,
    service: &Service,
) -> Vec<String> {
    let tasks = of_newest(service, stopped_tasks(clients, names).await);
    let tasks = tasks.iter().take(STOPPED_TASKS);
    let mut lines: Vec<String> = tasks.map(|task| stopped(task).to_string()).collect();
    lines.dedup();
    lines.extend(events(service, STOPPED_TASKS).map(|event| format!("event: {event}")));
    lines
}

/// How the latest tasks of the deployment under way ended by themselves, since ECS last called the
/// service steady. Best effort.
pub(super) async fn ends(clients: &Clients, names: &Names, service: &Service) -> Vec<String> {
    let tasks = stopped_tasks(clients, names).await;
    let died = tasks.iter().filter(|task| rollout::died(service, task));
    let mut lines: Vec<String> = died.map(|task| stopped(task).to_string()).collect();
    lines.dedup();
    lines.truncate(STOPPED_TASKS);
    lines
}

fn events(service: &Service, count: usize) -> impl Iterator<Item = String> {
    let events = service.events().iter().take(count);
    events.filter_map(|event| event.message().map(str::to_owned))
}

/// Stopped tasks of the service that explain something, the latest first: without those that a
/// roll-out or a change of the count ended in good order.
async fn stopped_tasks(clients: &Clients, names: &Names) -> Vec<Task> {
    let cluster = &clients.cluster.0;
    let listed = clients
        .ecs
        .list_tasks()
        .cluster(cluster)
        .service_name(&names.service)
        .desired_status(DesiredStatus::Stopped)
        .send()
        .await;
    let arns = match listed {
        Ok(answer) => answer.task_arns.unwrap_or_default(),
        Err(_) => return Vec::new(),
    };
    if arns.is_empty() {
        return Vec::new();
    }
    let described = clients
        .ecs
        .describe_tasks()
        .cluster(cluster)
        .set_tasks(Some(arns));
    let mut tasks = match described.send().await {
        Ok(answer) => answer.tasks.unwrap_or_default(),
        Err(_) => return Vec::new(),
    };
    tasks.sort_by_key(|task| std::cmp::Reverse(task.stopped_at().map(|at| at.secs())));
    tasks.retain(|task| !was_one_too_many(task));
    tasks
}

/// Those of the tasks that the newest deployment with any started, where ECS still tells of that
/// one: it lists stopped tasks for an hour, and those of an earlier failure explain nothing. A
/// deployment that was rolled back stands in the service's events alone, as `(deployment
/// ecs-svc/ID)`.
///
/// Sources: `startedBy` of Task ("if an Amazon ECS service started the task, the startedBy
/// parameter contains the deployment ID of that service"); "Viewing Amazon ECS service event
/// messages".
fn of_newest(service: &Service, mut tasks: Vec<Task>) -> Vec<Task> {
    let Some(newest) = tasks.first().and_then(Task::started_by).map(str::to_owned) else {
        return Vec::new();
    };
    let mut deployments = service.deployments().iter();
    let stands = deployments.any(|it| it.id() == Some(newest.as_str()));
    let of_it = format!("(deployment {newest})");
    if !stands && !events(service, EVENTS).any(|event| event.contains(&of_it)) {
        return Vec::new();
    }
    tasks.retain(|task| task.started_by() == Some(newest.as_str()));
    tasks
}

/// Whether a task was stopped because there were to be fewer, and ended as it was asked to: by
/// itself, or by the signal that asks. "Scaling activity initiated by deployment-id" is the reason
/// then ("Amazon ECS stopped tasks error messages", ECS Developer Guide); the stop code is that of
/// tasks which failed their health checks too.
fn was_one_too_many(task: &Task) -> bool {
    const TERMINATED: i32 = 128 + 15;
    let asked = task
        .stopped_reason()
        .is_some_and(|reason| reason.starts_with("Scaling activity initiated by"));
    let mut containers = task.containers().iter();
    asked && containers.all(|it| matches!(it.exit_code(), Some(0 | TERMINATED)))
}

fn stopped(task: &Task) -> StoppedInstance {
    let containers = task.containers().iter();
    let containers = containers.map(|container| StoppedContainer {
        name: container.name().unwrap_or_default().to_owned(),
        exit_code: container.exit_code(),
        reason: container.reason().map(str::to_owned),
    });
    StoppedInstance {
        instance: tasks::task_id(task.task_arn().unwrap_or_default()).to_owned(),
        at: task
            .stopped_at()
            .and_then(|at| Timestamp::from_nanosecond(at.as_nanos()).ok()),
        reason: task
            .stopped_reason()
            .unwrap_or("no reason given")
            .to_owned(),
        containers: containers.collect(),
    }
}

/// The last lines that a task printed, oldest first. Best effort.
pub(super) async fn last_lines(clients: &Clients, names: &Names, task: &str) -> Vec<String> {
    let log = last_log(clients, names, task).await;
    log.into_iter().map(|line| line.text).collect()
}

async fn last_log(clients: &Clients, names: &Names, task: &str) -> Vec<LogLine> {
    let stream = printed::stream_of(names, task);
    let answer = clients
        .logs
        .get_log_events()
        .log_group_name(&names.log_group)
        .log_stream_name(stream)
        .start_from_head(false)
        .limit(LINES)
        .send()
        .await;
    let Ok(answer) = answer else {
        return Vec::new();
    };
    let events = answer.events().iter();
    events
        .filter_map(|event| {
            Some(LogLine {
                at: Timestamp::from_millisecond(event.timestamp()?).ok()?,
                source: tasks::task_id(task).to_owned(),
                text: event.message()?.trim_end().to_owned(),
                id: String::new(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::{Container, Deployment, ServiceEvent, TaskStopCode};
    use aws_sdk_elasticloadbalancingv2::types::{
        TargetDescription, TargetHealth, TargetHealthReasonEnum,
    };

    use super::*;

    #[test]
    fn a_task_that_a_roll_out_ended_in_good_order_explains_no_failure() {
        let task = |reason: &str, code| {
            let container = Container::builder().name("idp").set_exit_code(code);
            Task::builder()
                .stop_code(TaskStopCode::ServiceSchedulerInitiated)
                .stopped_reason(reason)
                .containers(container.build())
                .build()
        };
        let scaled = "Scaling activity initiated by (deployment ecs-svc/1)";
        assert!(was_one_too_many(&task(scaled, Some(0))));
        assert!(was_one_too_many(&task(scaled, Some(143))));
        for (reason, code) in [
            (scaled, Some(137)),
            (scaled, None),
            ("Task failed container health checks", Some(0)),
            (
                "Task failed ELB health checks in (target-group t)",
                Some(143),
            ),
        ] {
            assert!(!was_one_too_many(&task(reason, code)), "{reason} {code:?}");
        }
    }

    #[test]
    fn targets_are_told_with_their_reason_unless_they_are_healthy() {
        let told = |health: TargetHealth| {
            let target = TargetDescription::builder()
                .id("10.0.3.7")
                .port(3000)
                .build();
            let told = TargetHealthDescription::builder()
                .target(target)
                .target_health(health);
            unfit_target(&told.build())
        };
        let healthy = TargetHealth::builder().state(TargetHealthStateEnum::Healthy);
        assert_eq!(told(healthy.build()), None);
        let unhealthy = TargetHealth::builder()
            .state(TargetHealthStateEnum::Unhealthy)
            .reason(TargetHealthReasonEnum::ResponseCodeMismatch)
            .description("Health checks failed with these codes: [404]");
        let words = told(unhealthy.build()).map(|target| target.to_string());
        assert_eq!(
            words.as_deref(),
            Some(
                "target 10.0.3.7:3000 is unhealthy: Target.ResponseCodeMismatch, Health checks failed with these codes: \
                 [404]"
            )
        );
    }

    fn task(by: &str) -> Task {
        Task::builder().started_by(by).build()
    }

    fn by(tasks: &[Task]) -> Vec<&str> {
        tasks.iter().filter_map(Task::started_by).collect()
    }

    #[test]
    fn tasks_of_an_earlier_deployment_explain_nothing() {
        let stands = Deployment::builder().id("ecs-svc/2").build();
        let event = |deployment: &str| {
            let message = format!("(service web) (deployment {deployment}) deployment failed: x.");
            ServiceEvent::builder().message(message).build()
        };
        let service = Service::builder().deployments(stands).build();
        let tasks = || vec![task("ecs-svc/2"), task("ecs-svc/1"), task("ecs-svc/2")];
        assert_eq!(
            by(&of_newest(&service, tasks())),
            ["ecs-svc/2", "ecs-svc/2"]
        );
        // It was rolled back.
        let told = Service::builder().events(event("ecs-svc/2")).build();
        assert_eq!(by(&of_newest(&told, tasks())), ["ecs-svc/2", "ecs-svc/2"]);
        let of_another = Service::builder().events(event("ecs-svc/3")).build();
        assert!(of_newest(&of_another, tasks()).is_empty());
        assert!(of_newest(&service, Vec::new()).is_empty());
    }
}
