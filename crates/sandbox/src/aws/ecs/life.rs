//! The life of a task, from PROVISIONING to STOPPED.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::SignedDuration;
use tokio::sync::watch;

use super::Ecs;
use super::launch::{Prepared, RestartPolicy, start_failure};
use super::state::{Stop, Task};
use crate::runner::{Container, Exit};

/// How long Fargate takes to find a place and attach the network interface.
const PROVISIONING: Duration = Duration::from_secs(8);
/// To pull and unpack.
const PENDING: Duration = Duration::from_secs(12);
/// To take a task out of the load balancer.
const DEACTIVATING: Duration = Duration::from_secs(10);
/// To give the network interface back.
const DEPROVISIONING: Duration = Duration::from_secs(5);
/// A task without a health check counts as up after this.
pub(super) const STABLE: Duration = Duration::from_secs(15);
/// But a process that fails at once must have had the time to, whatever the speed.
pub(super) const REAL_STABLE: Duration = Duration::from_millis(1500);
/// A process gets at least this between SIGTERM and SIGKILL, whatever the speed.
const REAL_GRACE: Duration = Duration::from_secs(2);
/// What ECS says of a container that the kernel killed for its memory.
const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";
/// How many stopped tasks are remembered at most, and how long: the vendor promises an hour.
const STOPPED_KEPT: usize = 500;
const STOPPED_KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);

/// A container that was started.
pub(super) struct Live {
    pub(super) name: String,
    pub(super) container: Container,
    essential: bool,
    stop_timeout: Duration,
    restarts: Option<RestartPolicy>,
    /// When it started, or started again.
    since: jiff::Timestamp,
    /// Whether it ended, is started no more, and the task goes on without it.
    left: bool,
}

impl Live {
    /// Whether anything becomes of its end.
    fn is_watched(&self) -> bool {
        !self.left && (self.essential || self.restarts.is_some())
    }
}

impl Task {
    /// Asks for the task's end; a second word changes nothing.
    pub fn ask_to_stop(&mut self, stop: Stop) {
        if self.last_status == "STOPPED" || self.desired_status == "STOPPED" {
            return;
        }
        self.desired_status = "STOPPED";
        self.version += 1;
        self.stopped = Some(stop.clone());
        self.stop.send_replace(Some(stop));
    }

    /// A container of that name, to change it.
    pub(super) fn container(&mut self, name: &str) -> Option<&mut super::state::ContainerView> {
        self.containers
            .iter_mut()
            .find(|container| container.name == name)
    }
}

impl Ecs {
    /// Lets a task that was added live on its own.
    pub(super) fn spawn_life(self, id: String) {
        let Some(stop) = self.lock().tasks.get(&id).map(|task| task.stop.subscribe()) else {
            return;
        };
        let background = self.inner.host.background.clone();
        background.spawn(async move { self.live(&id, stop).await });
    }

    async fn live(&self, id: &str, mut stop: watch::Receiver<Option<Stop>>) {
        let clock = &self.inner.host.clock;
        if self.wait(PROVISIONING, &mut stop).await {
            return self.end(id, Vec::new()).await;
        }
        self.change(id, |task, now| {
            task.last_status = "PENDING";
            task.times.insert("pullStartedAt", now);
        });
        let prepared = match self.prepare(id) {
            Ok(prepared) => prepared,
            Err(reason) => return self.fail_to_start(id, reason, None).await,
        };
        self.change(id, |task, _| {
            for one in &prepared {
                if let Some(container) = task.container(&one.name) {
                    container.digest = Some(one.digest.clone());
                }
            }
        });
        if self.wait(PENDING, &mut stop).await {
            return self.end(id, Vec::new()).await;
        }
        let mut live = match self.start_all(id, &prepared).await {
            Ok(live) => live,
            Err((reason, live)) => return self.fail_to_start(id, reason, Some(live)).await,
        };
        self.start_agent(id);
        for one in prepared.iter().filter(|one| one.agent_cannot_write) {
            self.stop_agent_that_cannot_write(id, &one.name);
        }
        let ended = loop {
            let checks = self.checks(id, &prepared, &live);
            let ended = {
                let watched = live.iter().enumerate().filter(|(_, one)| one.is_watched());
                let mut watched: FuturesUnordered<_> = watched
                    .map(|(at, one)| async move { (at, one.container.wait().await) })
                    .collect();
                tokio::select! {
                    _ = stop.wait_for(Option::is_some) => None,
                    exit = watched.next() => exit,
                    () = checks => None,
                }
            };
            match ended {
                Some((at, exit)) if self.restarts(id, &prepared, &mut live[at], exit).await => {}
                Some((at, _)) if !live[at].essential => live[at].left = true,
                ended => break ended,
            }
        };
        if ended.is_some() {
            self.exited(id);
        } else {
            self.change(id, |task, _| task.last_status = "DEACTIVATING");
            clock.sleep(DEACTIVATING).await;
        }
        self.end(id, live).await;
    }

    /// Starts a container again that has ended, where its policy says so; whether it did.
    async fn restarts(&self, id: &str, prepared: &[Prepared], one: &mut Live, exit: Exit) -> bool {
        let clock = &self.inner.host.clock;
        let Some(policy) = &one.restarts else {
            return false;
        };
        let ran = clock.since(one.since);
        if policy.ignored.contains(&exit.code) || ran < clock.in_cloud_time(policy.period) {
            return false;
        }
        let Some(spec) = prepared.iter().find(|it| it.name == one.name) else {
            return false;
        };
        let Ok(container) = self.inner.host.runner.start(spec.spec.clone()).await else {
            return false;
        };
        (one.container, one.since) = (container.clone(), clock.now());
        self.change(id, |task, _| {
            let mut live = task.live.iter_mut();
            if let Some(found) = live.find(|(name, _)| *name == one.name) {
                found.1 = container;
            }
            // "we cannot ECS Exec into the container after the container restarts"
            // (aws-containers/amazon-ecs-exec-checker#80).
            if let Some(agent) = &mut task.agent {
                agent.connected = false;
            }
        });
        true
    }

    /// Waits; true when the task is asked to stop meanwhile.
    async fn wait(&self, time: Duration, stop: &mut watch::Receiver<Option<Stop>>) -> bool {
        tokio::select! {
            () = self.inner.host.clock.sleep(time) => false,
            stopped = stop.wait_for(Option::is_some) => stopped.is_ok(),
        }
    }

    /// Starts the containers, those that others depend on first.
    async fn start_all(
        &self,
        id: &str,
        prepared: &[Prepared],
    ) -> Result<Vec<Live>, (String, Vec<Live>)> {
        let mut live: Vec<Live> = Vec::new();
        let mut waiting: Vec<&Prepared> = prepared.iter().collect();
        while !waiting.is_empty() {
            let ready = waiting.iter().position(|one| {
                one.after
                    .iter()
                    .all(|name| live.iter().any(|started| started.name == *name))
            });
            // A circle of dependencies cannot be untied: start in the order given.
            let one = waiting.remove(ready.unwrap_or(0));
            match self.inner.host.runner.start(one.spec.clone()).await {
                Ok(container) => live.push(Live {
                    name: one.name.clone(),
                    container,
                    essential: one.essential,
                    stop_timeout: one.stop_timeout,
                    restarts: one.restarts.clone(),
                    since: self.now(),
                    left: false,
                }),
                Err(error) => {
                    let mut reason = String::new();
                    self.change(id, |task, _| {
                        if let Some(container) = task.container(&one.name) {
                            reason = start_failure(&container.image, &error);
                            container.reason = Some(reason.clone());
                        }
                    });
                    return Err((reason, live));
                }
            }
        }
        let address = prepared
            .iter()
            .filter(|one| one.spec.port.is_some())
            .find_map(|one| {
                live.iter()
                    .find(|started| started.name == one.name)?
                    .container
                    .address()
            });
        self.change(id, |task, now| {
            task.last_status = "RUNNING";
            let running = live.iter();
            let running = running.map(|one| (one.name.clone(), one.container.clone()));
            task.live = running.collect();
            task.address = address;
            task.times.insert("pullStoppedAt", now);
            task.times.insert("startedAt", now);
            for container in &mut task.containers {
                container.last_status = "RUNNING";
            }
        });
        Ok(live)
    }

    async fn fail_to_start(&self, id: &str, reason: String, live: Option<Vec<Live>>) {
        {
            let mut state = self.lock();
            if let Some(task) = state.tasks.get_mut(id) {
                let now = self.inner.host.clock.now();
                task.times.insert("pullStoppedAt", now);
                task.ask_to_stop(Stop {
                    code: "TaskFailedToStart",
                    reason,
                });
            }
            self.count_failure(&mut state, id);
        }
        self.end(id, live.unwrap_or_default()).await;
    }

    fn exited(&self, id: &str) {
        let mut state = self.lock();
        if let Some(task) = state
            .tasks
            .get_mut(id)
            .filter(|task| task.desired_status == "RUNNING")
        {
            let reason = "Essential container in task exited".to_owned();
            task.ask_to_stop(Stop {
                code: "EssentialContainerExited",
                reason,
            });
            self.count_failure(&mut state, id);
        }
    }

    /// Stops what still runs and brings the task to STOPPED.
    async fn end(&self, id: &str, live: Vec<Live>) {
        let clock = &self.inner.host.clock;
        self.change(id, |task, now| {
            if !live.is_empty() {
                task.last_status = "STOPPING";
            }
            task.times.insert("stoppingAt", now);
        });
        let stops = live.iter().map(|one| async move {
            let grace = clock.in_cloud_time(one.stop_timeout).max(REAL_GRACE);
            match one.container.exit() {
                Some(exit) => exit,
                None => one.container.stop(grace).await,
            }
        });
        let exits = futures::future::join_all(stops).await;
        self.change(id, |task, now| {
            for (one, exit) in live.iter().zip(exits) {
                if let Some(container) = task.container(&one.name) {
                    container.exit_code = Some(exit.code);
                    if exit.out_of_memory {
                        container.reason = Some(OUT_OF_MEMORY.into());
                    }
                }
            }
            for container in &mut task.containers {
                container.last_status = "STOPPED";
            }
            task.address = None;
            task.live.clear();
            if let Some(agent) = &mut task.agent {
                (agent.status, agent.connected) = ("STOPPED", false);
            }
            task.agents_apart.clear();
            task.last_status = "DEPROVISIONING";
            task.times.insert("executionStoppedAt", now);
        });
        clock.sleep(DEPROVISIONING).await;
        self.change(id, |task, now| {
            task.last_status = "STOPPED";
            task.desired_status = "STOPPED";
            task.times.insert("stoppedAt", now);
        });
        self.forget_old();
    }

    /// Changes a task, if it is still known, and tells its service.
    pub(super) fn change(&self, id: &str, act: impl FnOnce(&mut Task, jiff::Timestamp)) {
        let now = self.now();
        let mut state = self.lock();
        let Some(task) = state.tasks.get_mut(id) else {
            return;
        };
        act(task, now);
        task.version += 1;
        let Some((arn, _)) = task.service.clone() else {
            return;
        };
        if let Some(service) = state.service_by_arn(&arn) {
            service.wake.notify_one();
        }
    }

    /// Forgets the tasks that stopped long ago.
    pub(super) fn forget_old(&self) {
        let (mut state, now) = (self.lock(), self.now());
        state.tasks.retain(|_, task| {
            let stopped = task.times.get("stoppedAt");
            stopped.is_none_or(|at| now.duration_since(*at) <= STOPPED_KEPT_FOR)
        });
        let mut stopped: Vec<(jiff::Timestamp, String)> = state
            .tasks
            .values()
            .filter_map(|task| Some((*task.times.get("stoppedAt")?, task.id.clone())))
            .collect();
        stopped.sort();
        let surplus = stopped.len().saturating_sub(STOPPED_KEPT);
        for (_, id) in stopped.into_iter().take(surplus) {
            state.tasks.remove(&id);
        }
    }
}
