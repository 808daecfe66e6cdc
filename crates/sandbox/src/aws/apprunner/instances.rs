//! Running instances: started, checked, replaced when they end or fail.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::AppRunner;
use super::deploy::Failure;
use super::launch::Prepared;
use super::state::Instance;
use crate::aws::json::{need, number, random_hex, text};
use crate::clock::Clock;
use crate::runner::{Container, StartError, probe};

/// How long an instance that gets no new requests may answer those that it has. Ours, as on ECS.
const DRAINING: Duration = Duration::from_secs(10);
/// How long App Runner waits between SIGTERM and SIGKILL. Ours, as on Fargate.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// A process gets at least this then, whatever the speed.
const REAL_GRACE: Duration = Duration::from_secs(2);
/// A real process starts no faster because the cloud's time does: failures before this do not
/// count. Nor does it answer faster, and checks are never closer together.
const REAL_START: Duration = Duration::from_secs(3);
const REAL_TIMEOUT: Duration = Duration::from_secs(2);
const REAL_INTERVAL: Duration = Duration::from_millis(200);
/// The relay in front of a container takes a connection, and ends it when nobody listens behind.
const REAL_HANG_UP: Duration = Duration::from_millis(300);
/// Before an instance that ended is replaced. Ours.
const REPLACING: Duration = Duration::from_secs(20);

/// A health check, with its times in the cloud's.
#[derive(Clone, Debug)]
pub struct Check {
    /// `None`: TCP.
    path: Option<String>,
    port: u16,
    interval: Duration,
    timeout: Duration,
    healthy: u32,
    unhealthy: u32,
}

/// Why an instance serves no longer, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// With this exit code.
    Ended(i32),
    /// As its health check says.
    Unhealthy,
}

impl Check {
    /// Of a configuration that has all its members.
    pub fn read(from: &Value, port: u16) -> Self {
        let count = |name: &str| {
            let given = number(from, name).and_then(|it| u32::try_from(it).ok());
            given.unwrap_or(1)
        };
        let seconds = |name: &str| Duration::from_secs(count(name).into());
        let is_http = need(from, "Protocol") == "HTTP";
        let path = text(from, "Path").unwrap_or("/");
        Self {
            path: is_http.then(|| path.to_owned()),
            port,
            interval: seconds("Interval"),
            timeout: seconds("Timeout"),
            healthy: count("HealthyThreshold"),
            unhealthy: count("UnhealthyThreshold"),
        }
    }

    /// As it stands in events.
    pub fn shown(&self) -> String {
        match &self.path {
            Some(path) => format!("protocol `HTTP` [Path: '{path}'], [Port: '{}']", self.port),
            None => format!("protocol `TCP` [Port: '{}']", self.port),
        }
    }

    /// Waits until the check passed as often in a row as it must.
    pub async fn wait(&self, clock: &Clock, container: &Container) -> Result<(), Unfit> {
        tokio::select! {
            exit = container.wait() => Err(Unfit::Ended(exit.code)),
            passed = self.turn(clock, container, true) => match passed {
                true => Ok(()),
                false => Err(Unfit::Unhealthy),
            },
        }
    }

    /// Waits until an instance that was healthy is not.
    async fn outlast(&self, clock: &Clock, container: &Container) -> Unfit {
        tokio::select! {
            exit = container.wait() => Unfit::Ended(exit.code),
            _ = self.turn(clock, container, false) => Unfit::Unhealthy,
        }
    }

    /// Checks until a threshold is reached: that of failures, or, when it is `wanted`, of passes.
    /// Whether it is the latter.
    async fn turn(&self, clock: &Clock, container: &Container, wanted: bool) -> bool {
        let (mut passed, mut failed, began) = (0, 0, clock.now());
        let is_real = container.seems_healthy().is_none();
        loop {
            clock.sleep_at_least(self.interval, REAL_INTERVAL).await;
            if self.passes(clock, container).await {
                (passed, failed) = (passed + 1, 0);
            } else {
                let counts = !is_real || clock.since(began) > REAL_START;
                (passed, failed) = (0, failed + u32::from(counts));
            }
            if wanted && passed >= self.healthy {
                return true;
            }
            if failed >= self.unhealthy {
                return false;
            }
        }
    }

    async fn passes(&self, clock: &Clock, container: &Container) -> bool {
        if let Some(healthy) = container.seems_healthy() {
            return healthy;
        }
        let Some(address) = container.address() else {
            return false;
        };
        let limit = clock.in_cloud_time(self.timeout).max(REAL_TIMEOUT);
        match &self.path {
            // Which codes pass is not documented; 401 does not (roadmap#110).
            Some(path) => probe(address, path, limit).await,
            None => listens(address, limit).await,
        }
    }
}

/// Whether somebody takes a connection and does not hang up.
async fn listens(address: SocketAddr, limit: Duration) -> bool {
    let Ok(Ok(mut stream)) = timeout(limit, TcpStream::connect(address)).await else {
        return false;
    };
    let mut first = [0; 1];
    match timeout(REAL_HANG_UP, stream.read(&mut first)).await {
        Ok(Ok(count)) => count > 0,
        Ok(Err(_)) => false,
        // A server waits for the request.
        Err(_) => true,
    }
}

impl AppRunner {
    pub(super) async fn start(&self, arn: &str, prepared: &Prepared) -> Result<Instance, Failure> {
        let id = random_hex(32);
        let spec = self.spec(arn, &id, prepared);
        let container = self.inner.host.runner.start(spec).await;
        let container = container.map_err(|error| match error {
            StartError::ImageNotFound(_)
            | StartError::WrongPlatform { .. }
            | StartError::BadImage(_) => Failure::Image,
            StartError::CommandNotFound(_) => Failure::Unfit(Unfit::Ended(127)),
            StartError::Machine(why) => Failure::Start(why),
        })?;
        Ok(Instance { id, container })
    }

    pub(super) async fn stop(&self, instance: &Instance) {
        let clock = &self.inner.host.clock;
        let grace = clock.in_cloud_time(STOP_TIMEOUT).max(REAL_GRACE);
        if instance.container.exit().is_none() {
            instance.container.stop(grace).await;
        }
    }

    /// Sends requests to these instances and to no others, which are stopped.
    pub(super) async fn replace_instances(&self, arn: &str, new: Vec<Instance>) {
        let mut old = Vec::new();
        self.change(arn, |service, _| {
            old = std::mem::replace(&mut service.instances, new);
            service.route();
        });
        if !old.is_empty() {
            self.inner.host.clock.sleep(DRAINING).await;
        }
        join_all(old.iter().map(|it| self.stop(it))).await;
    }

    /// Replaces an instance that ends or fails its checks, for as long as its version serves. It
    /// says nothing of it (roadmap#100).
    pub(super) fn tend(&self, arn: &str, instance: Instance, prepared: &Prepared) {
        let (this, arn, prepared) = (self.clone(), arn.to_owned(), prepared.clone());
        self.inner.host.background.spawn(async move {
            let mut instance = instance;
            let clock = &this.inner.host.clock;
            loop {
                prepared.check.outlast(clock, &instance.container).await;
                if !this.take_out(&arn, &instance) {
                    return;
                }
                this.stop(&instance).await;
                instance = loop {
                    clock.sleep(REPLACING).await;
                    if !this.wants(&arn, &prepared) {
                        return;
                    }
                    let Ok(new) = this.start(&arn, &prepared).await else {
                        continue;
                    };
                    let waited = prepared.check.wait(clock, &new.container).await;
                    if waited.is_ok() && this.put_in(&arn, &new, &prepared) {
                        break new;
                    }
                    this.stop(&new).await;
                };
            }
        });
    }

    /// Whether it served until now.
    fn take_out(&self, arn: &str, instance: &Instance) -> bool {
        let mut was = false;
        self.change(arn, |service, _| {
            let before = service.instances.len();
            service.instances.retain(|it| it.id != instance.id);
            was = service.instances.len() < before;
            service.route();
        });
        was
    }

    /// Whether what serves is this deployment, and short of instances.
    fn wants(&self, arn: &str, prepared: &Prepared) -> bool {
        let state = self.lock();
        let service = state.service(arn).filter(|it| it.deleted.is_none());
        service.is_some_and(|it| {
            let served = it.served.as_ref().map(|it| &it.operation);
            served == Some(&prepared.operation) && it.instances.len() < prepared.least
        })
    }

    fn put_in(&self, arn: &str, instance: &Instance, prepared: &Prepared) -> bool {
        let wanted = self.wants(arn, prepared);
        if wanted {
            self.change(arn, |service, _| {
                service.instances.push(instance.clone());
                service.route();
            });
        }
        wanted
    }
}
