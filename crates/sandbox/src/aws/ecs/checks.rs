//! Watches a running task's health, and acts on it: container checks, and load balancers' checks of
//! targets.

use super::Ecs;
use super::health::Health;
use super::launch::Prepared;
use super::life::{Live, REAL_STABLE, STABLE};
use super::state::{Stop, Task};
use super::target_group::TargetHealth;
use crate::runner::Container;

impl Task {
    /// Whether everything that checks it is content; so is nothing at all.
    fn content(&self) -> bool {
        (self.checked == 0 || self.health == "HEALTHY") && self.targets_healthy()
    }

    /// Whether every load balancer of its service sends it requests.
    pub fn targets_healthy(&self) -> bool {
        self.targets
            .iter()
            .all(|(_, health)| *health == TargetHealth::Healthy)
    }
}

impl Ecs {
    /// Watches the essential containers and the targets until the task ends; never returns before.
    pub(super) fn checks(
        &self,
        id: &str,
        prepared: &[Prepared],
        live: &[Live],
    ) -> impl Future<Output = ()> + use<> {
        let checked: Vec<_> = prepared
            .iter()
            .filter(|one| one.essential)
            .filter_map(|one| {
                Some((
                    one.name.clone(),
                    one.health.clone()?,
                    container(live, &one.name)?,
                ))
            })
            .collect();
        let (mut targets, mut grace) = (Vec::new(), std::time::Duration::ZERO);
        self.change(id, |task, _| {
            task.checked = checked.len();
            grace = task.grace;
            let found = task.targets.iter().enumerate();
            targets = found
                .map(|(at, (target, _))| (at, target.clone()))
                .collect();
        });
        let targets: Vec<_> = targets
            .into_iter()
            .map(|(at, target)| {
                let container = container(live, &target.container);
                (at, target, container)
            })
            .collect();
        let (ecs, id, clock) = (self.clone(), id.to_owned(), self.inner.host.clock.clone());
        async move {
            if checked.is_empty() && targets.is_empty() {
                clock.sleep_at_least(STABLE, REAL_STABLE).await;
                ecs.settle(&id);
                return std::future::pending().await;
            }
            let containers = checked.iter().map(|(name, check, container)| {
                let tell = |health| ecs.told(&id, name, health);
                check.watch(&clock, container, grace, tell)
            });
            let targets = targets.iter().map(|(at, target, container)| {
                let tell = |health| ecs.told_of_target(&id, *at, health);
                target.watch(&clock, container.as_ref(), grace, tell)
            });
            futures::join!(
                futures::future::join_all(containers),
                futures::future::join_all(targets)
            );
        }
    }

    fn told(&self, id: &str, container: &str, health: Health) {
        let word = match health {
            Health::Healthy => "HEALTHY",
            Health::Unhealthy => "UNHEALTHY",
        };
        let mut content = false;
        self.change(id, |task, _| {
            if let Some(container) = task.container(container) {
                container.health = word;
            }
            let all = |word: &str| {
                task.containers
                    .iter()
                    .filter(|one| one.health == word)
                    .count()
            };
            task.health = match (all("UNHEALTHY"), all("HEALTHY")) {
                (0, healthy) if healthy == task.checked => "HEALTHY",
                (0, _) => "UNKNOWN",
                _ => "UNHEALTHY",
            };
            content = task.content();
            task.stable &= task.health != "UNHEALTHY";
        });
        if content {
            self.settle(id);
        } else if health == Health::Unhealthy {
            self.replace(id, "Task failed container health checks".to_owned());
        }
    }

    fn told_of_target(&self, id: &str, at: usize, health: TargetHealth) {
        let (mut content, mut group) = (false, (String::new(), 0));
        self.change(id, |task, _| {
            if let Some((target, known)) = task.targets.get_mut(at) {
                group = (target.arn.clone(), target.port);
                *known = health.clone();
            }
            content = task.content();
            task.stable &= task.targets_healthy();
        });
        let (arn, port) = group;
        match health {
            TargetHealth::Initial => {}
            TargetHealth::Healthy if content => self.settle(id),
            TargetHealth::Healthy => {}
            TargetHealth::Unhealthy(why) => {
                self.tell_service(id, |service| {
                    format!(
                        "(service {service}) (port {port}) is unhealthy in (target-group {arn}) due to (reason {why})."
                    )
                });
                let reason = format!("Task failed ELB health checks in (target-group {arn})");
                self.replace(id, reason);
            }
        }
    }

    /// A service's scheduler replaces an unhealthy task; one on its own runs on.
    fn replace(&self, id: &str, reason: String) {
        let mut state = self.lock();
        let Some(task) = state
            .tasks
            .get_mut(id)
            .filter(|task| task.service.is_some() && task.desired_status != "STOPPED")
        else {
            return;
        };
        task.ask_to_stop(Stop {
            code: "ServiceSchedulerInitiated",
            reason,
        });
        self.count_failure(&mut state, id);
    }

    fn settle(&self, id: &str) {
        let mut state = self.lock();
        if let Some(task) = state.tasks.get_mut(id) {
            task.stable = true;
        }
        self.count_success(&mut state, id);
    }

    /// Adds an event to the service of a task.
    fn tell_service(&self, id: &str, message: impl FnOnce(&str) -> String) {
        let now = self.now();
        let mut state = self.lock();
        let service = state.tasks.get(id).and_then(|task| task.service.clone());
        if let Some(service) = service.and_then(|(arn, _)| state.service_by_arn(&arn)) {
            let message = message(&service.name);
            service.event(message, now);
        }
    }
}

fn container(live: &[Live], name: &str) -> Option<Container> {
    let started = live.iter().find(|started| started.name == name)?;
    Some(started.container.clone())
}
