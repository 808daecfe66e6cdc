//! Keeps each service at its desired count: starts and stops tasks, completes, fails and rolls back
//! deployments.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::Ecs;
use super::names::last_part;
use super::state::{RolloutState, Service, State, Stop, Task};
use crate::aws::json::{flag, number, text};

/// How often a service is looked at when nothing happens, in cloud time.
const TICK: Duration = Duration::from_secs(15);
/// How many failures in a row it takes until starts are slowed down.
const PATIENCE: u32 = 3;
/// The first and the longest pause between starts then, in cloud time.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// What a look at a service decides.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Start this many tasks of the PRIMARY deployment.
    Start(usize),
    /// Stop a task.
    Stop { task: String, reason: String },
}

impl Ecs {
    /// Looks after a service until it is INACTIVE.
    pub(super) fn keep(self, arn: String, wake: Arc<Notify>) {
        let background = self.inner.host.background.clone();
        background.spawn(async move {
            loop {
                if !self.look(&arn) {
                    return;
                }
                tokio::select! {
                    () = wake.notified() => {}
                    () = self.inner.host.clock.sleep(TICK) => {}
                }
            }
        });
    }

    /// One look. Returns whether the service is still there.
    fn look(&self, arn: &str) -> bool {
        let now = self.now();
        let mut state = self.lock();
        let Some(position) = state.services.iter().position(|service| service.arn == arn) else {
            return false;
        };
        let mut service = state.services.remove(position);
        let actions = decide(&mut service, &state, now);
        let mut started = Vec::new();
        for action in actions {
            match action {
                Action::Start(count) => {
                    for _ in 0..count {
                        started.push(self.start_for(&mut state, &service));
                    }
                }
                Action::Stop { task, reason } => {
                    if let Some(task) = state.tasks.get_mut(&task) {
                        task.ask_to_stop(Stop {
                            code: "ServiceSchedulerInitiated",
                            reason,
                        });
                    }
                }
            }
        }
        if !started.is_empty() {
            let listed: Vec<String> = started.iter().map(|id| format!("(task {id})")).collect();
            let message = format!(
                "(service {}) has started {} tasks: {}.",
                service.name,
                started.len(),
                listed.join(" ")
            );
            service.event(message, now);
        }
        let backends = state
            .tasks_of(&service.arn)
            .filter(|task| {
                task.serves()
                    && task.health != "UNHEALTHY"
                    && task.targets_healthy()
                    && (task.stable || task.health == "UNKNOWN")
            })
            .filter_map(|task| Some((task.address?, 1)))
            .collect();
        if let Some(front) = &service.front {
            front.serve(backends);
        }
        let alive = service.status != "INACTIVE";
        if !alive && let Some(front) = service.front.take() {
            front.close();
        }
        let position = position.min(state.services.len());
        state.services.insert(position, service);
        drop(state);
        for id in started {
            self.clone().spawn_life(id);
        }
        alive
    }

    /// Counts a task of a service that ended although nobody asked it to.
    pub(super) fn count_failure(&self, state: &mut State, task_id: &str) {
        let Some(task) = state.tasks.get(task_id) else {
            return;
        };
        let Some((arn, deployment)) = task.service.clone() else {
            return;
        };
        let failed_check = task
            .stopped
            .as_ref()
            .and_then(|stop| stop.reason.strip_prefix("Task failed "))
            .map(str::to_owned);
        let now = self.now();
        let clock = self.inner.host.clock.clone();
        let Some(service) = state.service_by_arn(&arn) else {
            return;
        };
        if let Some(found) = service
            .deployments
            .iter_mut()
            .find(|one| one.id == deployment)
            && found.state == RolloutState::InProgress
        {
            found.failed += 1;
            found.updated = now;
        }
        if let Some(rollout) = service
            .rollouts
            .iter_mut()
            .find(|one| one.deployment == deployment && one.open())
        {
            rollout.failures += 1;
        }
        if let Some(check) = failed_check {
            let message = format!(
                "(service {}) (task {task_id}) failed {check}.",
                service.name
            );
            service.event(message, now);
        }
        service.failures_in_a_row += 1;
        if service.failures_in_a_row >= PATIENCE {
            let doublings = (service.failures_in_a_row - PATIENCE).min(10);
            let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
            service.start_after = Some(clock.after(pause));
            if service.failures_in_a_row == PATIENCE {
                let message = format!(
                    "(service {}) is unable to consistently start tasks successfully.",
                    service.name
                );
                service.event(message, now);
            }
        }
        service.wake.notify_one();
    }

    /// A task of a service became stable: its deployment's failures are forgotten.
    pub(super) fn count_success(&self, state: &mut State, task_id: &str) {
        let Some((arn, deployment)) = state
            .tasks
            .get(task_id)
            .and_then(|task| task.service.clone())
        else {
            return;
        };
        let Some(service) = state.service_by_arn(&arn) else {
            return;
        };
        service.failures_in_a_row = 0;
        let resets = service.breaker().is_none_or(|breaker| {
            breaker
                .get("resetOnHealthyTask")
                .and_then(Value::as_bool)
                .unwrap_or(true)
        });
        if resets {
            if let Some(found) = service
                .deployments
                .iter_mut()
                .find(|one| one.id == deployment)
            {
                found.failed = 0;
            }
            if let Some(rollout) = service
                .rollouts
                .iter_mut()
                .find(|one| one.deployment == deployment)
            {
                rollout.failures = 0;
            }
        }
        service.wake.notify_one();
    }
}

/// Decides what must happen for a service, and moves its deployments on.
pub fn decide(service: &mut Service, state: &State, now: jiff::Timestamp) -> Vec<Action> {
    let arn = service.arn.clone();
    let tasks: Vec<&Task> = state
        .tasks_of(&arn)
        .filter(|task| task.last_status != "STOPPED")
        .collect();
    if service.status == "DRAINING" {
        return drain(service, &tasks, now);
    }
    trip(service, now);
    let Some(primary) = service.deployments.first() else {
        return Vec::new();
    };
    let (new, old): (Vec<&Task>, Vec<&Task>) = tasks
        .iter()
        .copied()
        .filter(|task| task.desired_status == "RUNNING")
        .partition(|task| task.belongs_to(&primary.id));
    let census = Census { new, old };
    if !service.has_capacity() && service.desired > 0 && service.events.is_empty() {
        let message = format!(
            "(service {}) was unable to place a task because no container instance met all of its requirements. \
             Reason: No Container Instances were found in your cluster.",
            service.name
        );
        service.event(message, now);
    }
    let actions = census.scale(service, now);
    census.retire(service, &tasks, now);
    actions
}

/// The tasks that are wanted: those of the PRIMARY deployment and those of earlier ones.
struct Census<'a> {
    new: Vec<&'a Task>,
    old: Vec<&'a Task>,
}

impl Census<'_> {
    /// New tasks that count as up.
    fn ready(&self) -> usize {
        let up = |task: &&&Task| task.serves() && task.stable;
        self.new.iter().filter(up).count()
    }

    /// What to start and stop now, within the deployment's percentages.
    fn scale(&self, service: &Service, now: jiff::Timestamp) -> Vec<Action> {
        let Some(primary) = service.deployments.first() else {
            return Vec::new();
        };
        let desired = service.desired;
        let (least, most) = service.bounds();
        let paused = service.start_after.is_some_and(|at| at > now);
        let stalled = primary.state == RolloutState::Failed;
        let mut actions = Vec::new();
        if !stalled && !paused && service.has_capacity() {
            let room = most.saturating_sub(self.new.len() + self.old.len());
            let missing = desired.saturating_sub(self.new.len()).min(room);
            if missing > 0 {
                actions.push(Action::Start(missing));
            }
        }
        // Newest first: they have served the least.
        let mut surplus = self.new.clone();
        surplus.sort_by_key(|task| std::cmp::Reverse(task.times.get("createdAt").copied()));
        surplus.truncate(self.new.len().saturating_sub(desired));
        if !stalled {
            let ready = self.ready();
            // One that does not serve yet is no loss.
            let (up, rising): (Vec<&Task>, Vec<&Task>) =
                self.old.iter().copied().partition(|task| task.serves());
            let spare = match ready >= desired {
                true => up.len(),
                false => (ready + up.len()).saturating_sub(least),
            };
            surplus.extend(rising);
            surplus.extend(up.into_iter().take(spare));
        }
        let reason = format!("Scaling activity initiated by (deployment {})", primary.id);
        actions.extend(surplus.into_iter().map(|task| Action::Stop {
            task: task.id.clone(),
            reason: reason.clone(),
        }));
        actions
    }

    /// Forgets deployments that are over, and completes the PRIMARY one when nothing else is left.
    fn retire(&self, service: &mut Service, tasks: &[&Task], now: jiff::Timestamp) {
        let Some(primary) = service.deployments.first() else {
            return;
        };
        let id = primary.id.clone();
        let up = primary.state == RolloutState::InProgress
            && self.ready() == service.desired
            && self.new.len() == service.desired
            && self.old.is_empty();
        let over = |id: &str| !tasks.iter().any(|task| task.belongs_to(id));
        // While the new one is under way, the last good one is kept to go back to.
        service
            .deployments
            .retain(|one| one.id == id || !over(&one.id) || one.completed_once && !up);
        if up && service.deployments.len() == 1 {
            complete(service, now);
        }
        self.settle(service, now);
    }

    /// Says that a service is steady when it comes to be.
    fn settle(&self, service: &mut Service, now: jiff::Timestamp) {
        let completed = service
            .deployments
            .first()
            .is_some_and(|primary| primary.state == RolloutState::Completed);
        let whole = self.new.len() == service.desired && self.ready() == service.desired;
        let steady = completed && whole && self.old.is_empty();
        if steady && !service.steady {
            let name = service.name.clone();
            service.event(format!("(service {name}) has reached a steady state."), now);
        }
        service.steady = steady;
    }
}

fn complete(service: &mut Service, now: jiff::Timestamp) {
    let Some(primary) = service.deployments.first_mut() else {
        return;
    };
    primary.state = RolloutState::Completed;
    primary.completed_once = true;
    primary.updated = now;
    primary.reason = format!("ECS deployment {} completed.", primary.id);
    let id = primary.id.clone();
    if let Some(rollout) = service.rollouts.iter_mut().find(|rollout| rollout.open()) {
        rollout.status = match rollout.rollback.is_some() {
            true => "ROLLBACK_SUCCESSFUL",
            false => "SUCCESSFUL",
        };
        if rollout.breaker == "MONITORING" {
            rollout.breaker = "MONITORING_COMPLETE";
        }
        (rollout.finished, rollout.updated) = (Some(now), now);
    }
    let name = service.name.clone();
    service.event(
        format!("(service {name}) (deployment {id}) deployment completed."),
        now,
    );
}

/// Fails the deployment under way when the circuit breaker says so.
fn trip(service: &mut Service, now: jiff::Timestamp) {
    let Some(breaker) = service.breaker().cloned() else {
        return;
    };
    let threshold = service.threshold();
    let Some(primary) = service.deployments.first_mut() else {
        return;
    };
    // What is rolled back to is not rolled back once more.
    if primary.state != RolloutState::InProgress
        || primary.completed_once
        || primary.failed < threshold
    {
        return;
    }
    primary.state = RolloutState::Failed;
    primary.updated = now;
    primary.reason = "ECS deployment circuit breaker: tasks failed to start.".to_owned();
    let id = primary.id.clone();
    if let Some(rollout) = service
        .rollouts
        .iter_mut()
        .find(|rollout| rollout.deployment == id)
    {
        rollout.breaker = "TRIGGERED";
        rollout.failures = threshold;
    }
    let message = format!(
        "(service {}) (deployment {id}) deployment failed: tasks failed to start.",
        service.name
    );
    service.event(message, now);
    let why = "Service deployment rolled back because the circuit breaker threshold was exceeded.";
    if flag(&breaker, "rollback") && service.roll_back(why, now) {
        return;
    }
    if let Some(rollout) = service
        .rollouts
        .iter_mut()
        .find(|rollout| rollout.deployment == id)
    {
        rollout.status = "STOPPED";
        rollout.reason = Some(
            "Service deployment stopped because the circuit breaker threshold was exceeded.".into(),
        );
        (rollout.stopped, rollout.finished, rollout.updated) = (Some(now), Some(now), now);
    }
}

fn drain(service: &mut Service, tasks: &[&Task], now: jiff::Timestamp) -> Vec<Action> {
    if tasks.is_empty() {
        service.status = "INACTIVE";
        for rollout in service.rollouts.iter_mut().filter(|rollout| rollout.open()) {
            rollout.status = "STOPPED";
            (rollout.stopped, rollout.finished, rollout.updated) = (Some(now), Some(now), now);
        }
        return Vec::new();
    }
    let reason = format!(
        "Scaling activity initiated by (service {})",
        last_part(&service.arn)
    );
    tasks
        .iter()
        .filter(|task| task.desired_status == "RUNNING")
        .map(|task| Action::Stop {
            task: task.id.clone(),
            reason: reason.clone(),
        })
        .collect()
}

impl Service {
    /// Whether tasks can be placed: the sandbox has Fargate, and no container instances.
    fn has_capacity(&self) -> bool {
        let kind = self.config.get("launchType").and_then(Value::as_str);
        kind.is_none_or(|kind| kind == "FARGATE")
    }

    /// How many tasks must serve, and how many may be there, while a deployment is under way.
    fn bounds(&self) -> (usize, usize) {
        let deployment = self.config.get("deploymentConfiguration");
        let percent = |name: &str, default: i64| {
            let given = deployment.and_then(|deployment| number(deployment, name));
            usize::try_from(given.unwrap_or(default)).unwrap_or_default()
        };
        let least = (self.desired * percent("minimumHealthyPercent", 100)).div_ceil(100);
        let most = self.desired * percent("maximumPercent", 200) / 100;
        (least, most.max(1).max(least))
    }

    /// The circuit breaker's configuration. `None` when it is off.
    pub fn breaker(&self) -> Option<&Value> {
        let breaker = self
            .config
            .get("deploymentConfiguration")?
            .get("deploymentCircuitBreaker")?;
        Some(breaker).filter(|breaker| flag(breaker, "enable"))
    }

    /// How many failed tasks trip the breaker: half the desired count, at least 3 and at most 200,
    /// unless configured.
    pub fn threshold(&self) -> u32 {
        let configured = self
            .breaker()
            .and_then(|breaker| breaker.get("thresholdConfiguration"))
            .cloned();
        let configured =
            configured.unwrap_or_else(|| json!({"type": "BOUNDED_PERCENT", "value": 50}));
        let value = number(&configured, "value").unwrap_or(50).max(0) as usize;
        let share = (self.desired * value).div_ceil(100);
        let threshold = match text(&configured, "type") {
            Some("COUNT") => value,
            Some("UNBOUNDED_PERCENT") => share,
            _ => share.clamp(3, 200),
        };
        u32::try_from(threshold.max(1)).unwrap_or(u32::MAX)
    }
}
