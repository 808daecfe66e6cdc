//! Judges from a described service whether a task definition serves everything; performs no IO.

use aws_sdk_ecs::primitives::DateTime;
use aws_sdk_ecs::types::{
    Deployment, DeploymentRolloutState, Service, ServiceEvent, Task, TaskStopCode,
};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deployer_core::spec::Replicas;
use deployer_core::wait::Readiness;

use super::task_definition::short;

/// The status of the deployment that the service works towards.
const PRIMARY: &str = "PRIMARY";
/// What ECS says of a service when everything that is wanted runs and is healthy; again after each
/// time that it was not so.
const STEADY: &str = "has reached a steady state";
/// What it says when it starts tasks, followed by how many.
const STARTED: &str = "has started ";
/// What is waited for while answers lag.
pub(crate) const LAGGING: &str = "ECS still answers what was there before";

/// For how long another count than what is asked for may be the answer from before a change.
const COUNT_LAG: Duration = Duration::from_secs(60);

/// How many tasks are to serve, whatever ECS is told meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    least: i32,
    most: i32,
}

impl Asked {
    /// At least one, as many as there may be.
    pub(crate) const ANY: Self = Self::at_least(1);

    /// So many or more.
    pub(crate) const fn at_least(least: i32) -> Self {
        Self {
            least,
            most: i32::MAX,
        }
    }

    /// What the manifest says.
    pub(crate) fn of(replicas: Replicas) -> Self {
        let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        Self {
            least: count(replicas.min),
            most: count(replicas.max),
        }
    }

    /// Whether this count is among those asked for.
    pub(crate) fn allows(self, count: i32) -> bool {
        (self.least..=self.most).contains(&count)
    }

    /// The nearest count that is asked for.
    pub(crate) fn nearest(self, count: i32) -> i32 {
        count.clamp(self.least, self.most.max(self.least))
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least, self.most) {
            (least, most) if least == most => write!(f, "{least}"),
            (least, i32::MAX) => write!(f, "{least} or more"),
            (least, most) => write!(f, "{least} to {most}"),
        }
    }
}

/// Judges one roll-out, look after look.
#[derive(Debug)]
pub(crate) struct Judge {
    asked: Asked,
    /// Since when ECS is to run another number of tasks than what was asked for.
    differs: Mutex<Option<Duration>>,
}

impl Judge {
    /// Nothing was looked at yet.
    pub(crate) fn new(asked: Asked) -> Self {
        Self {
            asked,
            differs: Mutex::default(),
        }
    }

    /// How many tasks are to serve.
    pub(crate) fn asked(&self) -> Asked {
        self.asked
    }

    /// Whether `wanted`, and nothing else, serves with a count that was asked for. Another count is
    /// an answer that lags, or, once that cannot be any more, somebody else's. `now` is the time
    /// since any moment.
    pub(crate) fn look(&self, service: &Service, wanted: &str, now: Duration) -> Readiness {
        let mut differs = self.differs.lock().unwrap_or_else(PoisonError::into_inner);
        let count = service.desired_count();
        let judged = judge(service, wanted, self.asked);
        match judged {
            Readiness::Pending(why) if !self.asked.allows(count) => {
                let since = *differs.get_or_insert(now);
                if now.saturating_sub(since) < COUNT_LAG {
                    return Readiness::Pending(why);
                }
                Readiness::Replaced(format!(
                    "somebody else set the count of tasks to {count}, {} is asked for",
                    self.asked
                ))
            }
            judged => {
                *differs = None;
                judged
            }
        }
    }
}

/// The deployment that the service works towards.
pub(crate) fn primary(service: &Service) -> Option<&Deployment> {
    let mut deployments = service.deployments().iter();
    deployments.find(|deployment| deployment.status() == Some(PRIMARY))
}

/// The id of the deployment that the service works towards.
pub(crate) fn newest(service: &Service) -> Option<&str> {
    primary(service).and_then(Deployment::id)
}

/// Whether an answer is from before the deployment that an earlier one works towards: ECS says that
/// what it answers may lag behind a change. It does not know that deployment, and of nothing that
/// came later.
pub(crate) fn lags(answer: &Service, earlier: &Service) -> bool {
    let Some(begun) = primary(earlier) else {
        return false;
    };
    // One that is deleted has no deployments; it is old news when another one was made since.
    if answer.status().is_some_and(|status| status != "ACTIVE") {
        return moment(answer.created_at()) < moment(earlier.created_at());
    }
    let deployments = answer.deployments();
    if let Some(known) = deployments.iter().find(|it| it.id() == begun.id()) {
        return moment(known.updated_at()) < moment(begun.updated_at());
    }
    let changes = deployments.iter();
    let changes = changes.flat_map(|it| [it.created_at(), it.updated_at()]);
    let events = answer.events().iter().map(ServiceEvent::created_at);
    let newest = changes.chain(events).map(moment).max().flatten();
    newest < moment(begun.created_at())
}

fn is_failed(deployment: &Deployment) -> bool {
    deployment.rollout_state() == Some(&DeploymentRolloutState::Failed)
}

fn reason(deployment: &Deployment) -> &str {
    deployment
        .rollout_state_reason()
        .unwrap_or("ECS gives no reason")
}

/// Whether `wanted`, and nothing else, serves with a count that was asked for: how many ECS is told
/// to run is somebody's word.
pub(crate) fn judge(service: &Service, wanted: &str, asked: Asked) -> Readiness {
    if service.status() != Some("ACTIVE") {
        let status = service.status().unwrap_or("gone");
        return Readiness::Failed(format!("the service is {status}"));
    }
    let ours = service
        .deployments()
        .iter()
        .find(|deployment| deployment.task_definition() == Some(wanted) && is_failed(deployment));
    let serves = service.task_definition().unwrap_or_default();
    if serves != wanted {
        let instead = format!("{} is to serve now, not {}", short(serves), short(wanted));
        return match (ours, went_back(service)) {
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
    progress(service, primary, asked)
}

/// The event that says that what ECS works towards now is what it went back to. A deployment that
/// failed is not described for long; the one that somebody else made has another id.
pub(crate) fn went_back(service: &Service) -> Option<&str> {
    let id = primary(service)?.id()?;
    let events = service.events().iter().filter_map(|event| event.message());
    let mut events = events.filter(|words| words.contains("rolling back to deployment"));
    events.find(|words| words.contains(id))
}

/// Why ECS went back from the deployment of the id `begun` to another one of the task definition
/// that is wanted: that this serves does not tell that ours failed. `None` where it did not.
///
/// Whatever makes a deployment of the same task definition can be taken back so: a forced one, and
/// one of another network or load balancer. "When a service deployment fails, the service is rolled
/// back to the last deployment that completed successfully" (DeploymentCircuitBreaker, Amazon ECS
/// API Reference).
pub(crate) fn taken_back<'a>(
    service: &'a Service,
    begun: Option<&str>,
    wanted: &str,
) -> Option<&'a str> {
    let another = begun.is_some() && newest(service) != begun;
    let same = service.task_definition() == Some(wanted);
    went_back(service).filter(|_| another && same)
}

fn progress(service: &Service, primary: &Deployment, asked: Asked) -> Readiness {
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
    let restarting = complete && is_restarting(service, primary);
    let enough = asked.allows(service.desired_count());
    if counted && complete && old == 0 && !restarting && enough {
        return Readiness::Ready;
    }
    if !enough {
        let count = service.desired_count();
        return Readiness::Pending(format!("ECS is to run {count} tasks, {asked} is asked for"));
    }
    let mut line = format!(
        "{} of {} tasks run",
        primary.running_count(),
        primary.desired_count().max(service.desired_count())
    );
    if primary.failed_tasks() > 0 {
        line.push_str(&format!(", {} failed", primary.failed_tasks()));
    }
    match old {
        0 => {}
        1 => line.push_str(", 1 old one still runs"),
        _ => line.push_str(&format!(", {old} old ones still run")),
    }
    if counted && !complete && old == 0 {
        line.push_str(", not healthy yet");
    }
    if restarting {
        line.push_str(", started anew since the roll-out and not steady yet");
    }
    Readiness::Pending(line)
}

/// Whether ECS started tasks since the roll-out was complete and has not called the service steady
/// after that: what counts as running may be about to end like what it replaces.
fn is_restarting(service: &Service, primary: &Deployment) -> bool {
    let telling = |event: &&ServiceEvent| says(event, STEADY) || says(event, STARTED);
    let newest = service.events().iter().find(telling);
    newest.is_some_and(|event| {
        says(event, STARTED) && moment(event.created_at()) > moment(primary.updated_at())
    })
}

fn says(event: &ServiceEvent, words: &str) -> bool {
    event.message().is_some_and(|said| said.contains(words))
}

/// In an order that can be compared; before everything when it is not told.
fn moment(at: Option<&DateTime>) -> Option<(i64, u32)> {
    at.map(|at| (at.secs(), at.subsec_nanos()))
}

/// Whether a stopped task of the deployment under way ended without being asked to, after ECS last
/// called the service steady.
pub(crate) fn died(service: &Service, task: &Task) -> bool {
    let ours = primary(service).and_then(Deployment::id);
    let by_itself = match task.stop_code() {
        Some(TaskStopCode::EssentialContainerExited | TaskStopCode::TaskFailedToStart) => true,
        // A check that fails is a word of the scheduler, as its other decisions are.
        _ => task
            .stopped_reason()
            .is_some_and(|why| why.starts_with("Task failed ")),
    };
    let steady = service.events().iter().find(|event| says(event, STEADY));
    let steady = steady.and_then(|event| moment(event.created_at()));
    let at = moment(task.stopped_at().or(task.stopping_at()));
    ours.is_some() && task.started_by() == ours && by_itself && (at.is_none() || at > steady)
}

/// Why the last roll-out failed. `None` when it did not.
pub(crate) fn failed(service: &Service) -> Option<&str> {
    primary(service)
        .filter(|deployment| is_failed(deployment))
        .map(reason)
}

/// What it still waits for, whoever deployed. `None` when it is settled.
pub(crate) fn unsettled(service: &Service, asked: Asked) -> Option<String> {
    judge(
        service,
        service.task_definition().unwrap_or_default(),
        asked,
    )
    .pending()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "arn:aws:ecs:r:1:task-definition/idp:2";
    const OLD: &str = "arn:aws:ecs:r:1:task-definition/idp:1";
    const TWO: Asked = Asked { least: 2, most: 2 };

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
        assert_eq!(judge(&done, NEW, TWO), Readiness::Ready);
        assert_eq!(unsettled(&done, TWO), None);
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
                matches!(judge(&limping, NEW, TWO), Readiness::Pending(_)),
                "{limping:?}"
            );
            assert!(unsettled(&limping, TWO).is_some());
        }
    }

    #[test]
    fn another_count_than_was_asked_for_is_never_ready_and_somebody_elses_after_a_minute() {
        let mut none = service(NEW, 0, vec![deployment(PRIMARY, NEW, "COMPLETED", 0)]);
        none.desired_count = 0;
        none.deployments.as_mut().unwrap()[0].desired_count = 0;
        assert!(matches!(
            judge(&none, NEW, Asked::ANY),
            Readiness::Pending(_)
        ));
        assert_eq!(judge(&none, NEW, Asked::at_least(0)), Readiness::Ready);
        let judge = Judge::new(TWO);
        let at = |second| judge.look(&none, NEW, Duration::from_secs(second));
        assert!(matches!(at(5), Readiness::Pending(_)));
        assert!(matches!(at(64), Readiness::Pending(_)));
        let Readiness::Replaced(why) = at(65) else {
            panic!("no answer lags for so long");
        };
        assert!(why.contains("to 0, 2 is asked for"), "{why}");
        let range = Asked { least: 1, most: 6 };
        assert_eq!((range.nearest(0), range.nearest(9)), (1, 6));
        assert_eq!(range.to_string(), "1 to 6");
    }

    fn event(second: i64, words: &str) -> ServiceEvent {
        ServiceEvent::builder()
            .created_at(DateTime::from_secs(second))
            .message(format!("(service idp) {words}"))
            .build()
    }

    /// Complete at 100, with events, newest first.
    fn complete(events: Vec<ServiceEvent>) -> Service {
        let mut primary = deployment(PRIMARY, NEW, "COMPLETED", 2);
        primary.updated_at = Some(DateTime::from_secs(100));
        primary.id = Some("ecs-svc/1".into());
        let mut service = service(NEW, 2, vec![primary]);
        service.events = Some(events);
        service
    }

    #[test]
    fn tasks_started_after_the_roll_out_count_only_once_ecs_calls_the_service_steady() {
        let rolled_out = vec![
            event(100, STEADY),
            event(50, "has started 2 tasks: (task a)."),
        ];
        assert_eq!(
            judge(&complete(rolled_out.clone()), NEW, TWO),
            Readiness::Ready
        );
        let again = vec![event(200, "has started 1 tasks: (task b).")];
        let restarting = complete([again.clone(), rolled_out.clone()].concat());
        let Readiness::Pending(why) = judge(&restarting, NEW, TWO) else {
            panic!("it may end as the one before did");
        };
        assert!(
            why.contains("2 of 2 tasks run") && why.contains("not steady"),
            "{why}"
        );
        let steady = [vec![event(230, STEADY)], again, rolled_out].concat();
        assert_eq!(judge(&complete(steady), NEW, TWO), Readiness::Ready);
        // What the roll-out itself started is no sign, also where its end was not told.
        let untold = vec![event(50, "has started 2 tasks: (task a).")];
        assert_eq!(judge(&complete(untold), NEW, TWO), Readiness::Ready);
    }

    #[test]
    fn only_a_task_that_ended_by_itself_since_the_service_was_steady_has_died() {
        let service = complete(vec![event(150, STEADY)]);
        let task = |by: &str, at: i64, code: TaskStopCode, why: &str| {
            Task::builder()
                .started_by(by)
                .stopped_at(DateTime::from_secs(at))
                .stop_code(code)
                .stopped_reason(why)
                .build()
        };
        let (ours, exited) = ("ecs-svc/1", TaskStopCode::EssentialContainerExited);
        let scheduler = TaskStopCode::ServiceSchedulerInitiated;
        assert!(died(&service, &task(ours, 160, exited.clone(), "")));
        assert!(
            !died(&service, &task(ours, 140, exited.clone(), "")),
            "before"
        );
        assert!(
            !died(&service, &task("ecs-svc/0", 160, exited, "")),
            "another's"
        );
        let check = "Task failed container health checks";
        assert!(died(&service, &task(ours, 160, scheduler.clone(), check)));
        let scaled = "Scaling activity initiated by (deployment ecs-svc/1)";
        assert!(!died(&service, &task(ours, 160, scheduler, scaled)));
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
        let Readiness::RolledBack(why) = judge(&rolled_back, NEW, TWO) else {
            panic!("it must have failed");
        };
        assert!(
            why.contains("idp:1") && why.contains("FAILED because"),
            "{why}"
        );
    }

    #[test]
    fn a_deployment_of_what_serves_that_is_taken_back_is_told_by_its_id() {
        let mut back = complete(vec![event(150, "rolling back to deployment ecs-svc/1.")]);
        let why = |service: &Service, begun| taken_back(service, begun, NEW).map(str::to_owned);
        assert_eq!(judge(&back, NEW, TWO), Readiness::Ready, "it serves");
        let told = why(&back, Some("ecs-svc/2")).expect("ours is not what serves");
        assert!(told.contains("rolling back"), "{told}");
        // What was gone back to before is what this one looks at.
        assert_eq!(why(&back, Some("ecs-svc/1")), None);
        assert_eq!(why(&back, None), None);
        // Somebody's newer one took the place of ours.
        back.events = Some(vec![event(150, "has started 2 tasks: (task a).")]);
        assert_eq!(why(&back, Some("ecs-svc/2")), None);
    }

    #[test]
    fn a_first_deployment_that_fails_is_seen_later_too() {
        let stuck = service(NEW, 0, vec![deployment(PRIMARY, NEW, "FAILED", 0)]);
        assert!(matches!(judge(&stuck, NEW, TWO), Readiness::Failed(_)));
        assert_eq!(failed(&stuck), Some("FAILED because"));
    }

    #[test]
    fn an_answer_lags_until_it_knows_the_deployment_or_something_later() {
        let at = DateTime::from_secs;
        let known = |id: &str, definition: &str, created: i64| {
            Deployment::builder()
                .id(id)
                .status(PRIMARY)
                .task_definition(definition)
                .created_at(at(created))
                .updated_at(at(created))
                .build()
        };
        let before = service(OLD, 2, vec![known("a", OLD, 100)]);
        let begun = service(NEW, 2, vec![known("b", NEW, 200)]);
        assert!(lags(&before, &begun));
        assert!(!lags(&begun, &before));
        assert!(!lags(&begun, &begun));
        // What failed is not described for long, but its end is told.
        let mut rolled_back = before.clone();
        let event = ServiceEvent::builder().created_at(at(300)).build();
        rolled_back.events = Some(vec![event]);
        assert!(!lags(&rolled_back, &begun));
        // Somebody else's deployment is later than ours.
        let over = service(OLD, 2, vec![known("c", OLD, 300)]);
        assert!(!lags(&over, &begun));
    }

    #[test]
    fn a_service_that_drains_has_failed() {
        let draining = Service::builder()
            .status("DRAINING")
            .task_definition(NEW)
            .build();
        assert!(matches!(judge(&draining, NEW, TWO), Readiness::Failed(_)));
    }
}
