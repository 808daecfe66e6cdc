//! What ECS remembers.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};

use super::agent::Agent;
use super::names::last_part;
use super::target_group::{Target, TargetHealth};
use crate::aws::shelf::Shelf;
use crate::runner::{Container, Front};

/// Everything, behind one lock.
#[derive(Default, Serialize)]
pub struct State {
    pub clusters: Shelf,
    pub families: BTreeMap<String, Vec<Definition>>,
    pub services: Vec<Service>,
    pub tasks: BTreeMap<String, Task>,
    /// RunTask calls by client token: the request and the tasks that it started.
    pub runs: BTreeMap<String, (Value, Vec<String>)>,
}

/// A revision of a task definition, as DescribeTaskDefinition shows it.
#[derive(Serialize)]
pub struct Definition {
    pub arn: String,
    pub value: Value,
    pub tags: Vec<Value>,
}

impl Definition {
    /// Whether it can start tasks.
    pub fn active(&self) -> bool {
        self.value["status"] == "ACTIVE"
    }
}

/// A service.
#[derive(Serialize)]
pub struct Service {
    pub arn: String,
    pub name: String,
    pub cluster: String,
    /// ACTIVE, DRAINING or INACTIVE.
    pub status: &'static str,
    /// The members that are echoed as they were given.
    pub config: Map<String, Value>,
    pub desired: usize,
    pub created: jiff::Timestamp,
    /// Newest first.
    pub events: VecDeque<Value>,
    pub tags: Vec<Value>,
    /// Newest first; the first is PRIMARY.
    pub deployments: Vec<Deployment>,
    pub revisions: Vec<Revision>,
    /// Newest first.
    pub rollouts: Vec<Rollout>,
    /// The call that made it, for idempotency.
    pub request: Value,
    #[serde(skip)]
    pub front: Option<Front>,
    #[serde(skip)]
    pub wake: Arc<Notify>,
    /// No task is started before: ECS slows down when tasks keep failing.
    pub start_after: Option<jiff::Timestamp>,
    /// Failures in a row, whatever the circuit breaker says.
    pub failures_in_a_row: u32,
    /// Whether everything that is wanted runs and is healthy; said each time that it comes to be
    /// so.
    pub steady: bool,
}

/// Where a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RolloutState {
    /// Tasks are being replaced.
    InProgress,
    /// It serves.
    Completed,
    /// The circuit breaker or a caller stopped it.
    Failed,
}

/// One entry of a service's `deployments`.
#[derive(Clone, Serialize)]
pub struct Deployment {
    pub id: String,
    pub revision: String,
    pub definition: String,
    /// Network, launch type, platform as they were when it began.
    pub config: Map<String, Value>,
    pub created: jiff::Timestamp,
    pub updated: jiff::Timestamp,
    pub state: RolloutState,
    pub reason: String,
    pub failed: u32,
    /// What the load balancers make of its tasks.
    pub targets: Vec<Target>,
    /// Whether it ever reached a steady state; only such a one is rolled back to.
    pub completed_once: bool,
}

/// A service revision: what a deployment is to make serve.
#[derive(Serialize)]
pub struct Revision {
    pub arn: String,
    pub value: Value,
}

/// A service deployment: the record that stays.
#[derive(Serialize)]
pub struct Rollout {
    pub arn: String,
    pub deployment: String,
    pub target: String,
    pub sources: Vec<String>,
    pub status: &'static str,
    pub reason: Option<String>,
    pub config: Value,
    pub created: jiff::Timestamp,
    pub finished: Option<jiff::Timestamp>,
    pub stopped: Option<jiff::Timestamp>,
    pub updated: jiff::Timestamp,
    pub rollback: Option<Value>,
    /// DISABLED, MONITORING, TRIGGERED or MONITORING_COMPLETE.
    pub breaker: &'static str,
    pub failures: u32,
    pub threshold: u32,
}

impl Rollout {
    /// Whether it has not ended yet.
    pub fn open(&self) -> bool {
        matches!(
            self.status,
            "PENDING" | "IN_PROGRESS" | "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS"
        )
    }
}

/// Why a task is stopped from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stop {
    pub code: &'static str,
    pub reason: String,
}

/// A task.
#[derive(Serialize)]
pub struct Task {
    pub id: String,
    pub arn: String,
    pub cluster: String,
    pub definition: String,
    /// Whether it reaches nothing outside of its subnets.
    pub is_cut_off: bool,
    pub group: String,
    /// The service and the deployment's id.
    pub service: Option<(String, String)>,
    /// The members of the answer that never change.
    pub fixed: Map<String, Value>,
    pub overrides: Value,
    pub last_status: &'static str,
    pub desired_status: &'static str,
    pub health: &'static str,
    /// Healthy to everything that checks it, or without a check and up for a while.
    pub stable: bool,
    /// How many of its containers are checked.
    pub checked: usize,
    /// Where load balancers send requests to it, and what they say of it.
    pub targets: Vec<(Target, TargetHealth)>,
    /// For how long unhealthy targets are let off after the start, in cloud time.
    pub grace: Duration,
    pub containers: Vec<ContainerView>,
    /// Timestamps of the answer by member name.
    pub times: BTreeMap<&'static str, jiff::Timestamp>,
    pub stopped: Option<Stop>,
    pub tags: Vec<Value>,
    pub address: Option<SocketAddr>,
    pub private_ip: String,
    pub version: u64,
    /// Beside each container, where commands may be run.
    pub agent: Option<Agent>,
    /// Those of containers beside which it is otherwise, by name.
    pub agents_apart: BTreeMap<String, Agent>,
    /// The containers that run, by name.
    #[serde(skip)]
    pub live: Vec<(String, Container)>,
    #[serde(skip)]
    pub stop: watch::Sender<Option<Stop>>,
}

/// A container of a task, as DescribeTasks shows it.
#[derive(Clone, Serialize)]
pub struct ContainerView {
    pub arn: String,
    pub name: String,
    pub image: String,
    pub digest: Option<String>,
    pub runtime_id: String,
    pub last_status: &'static str,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub health: &'static str,
    pub cpu: String,
    pub memory: Option<String>,
}

impl Task {
    /// Counts as running for its service.
    pub fn serves(&self) -> bool {
        self.last_status == "RUNNING" && self.desired_status == "RUNNING"
    }

    /// Whether a deployment started it.
    pub fn belongs_to(&self, deployment: &str) -> bool {
        let own = self.service.as_ref().map(|(_, id)| id.as_str());
        own == Some(deployment)
    }

    /// On its way up.
    pub fn pending(&self) -> bool {
        self.desired_status == "RUNNING"
            && matches!(self.last_status, "PROVISIONING" | "PENDING" | "ACTIVATING")
    }
}

impl State {
    /// A task definition by ARN, `family:revision` or `family` (the latest active one).
    pub fn definition(&self, id: &str) -> Option<&Definition> {
        let id = match id.starts_with("arn:") {
            true => last_part(id),
            false => id,
        };
        match id.split_once(':') {
            Some((family, revision)) => {
                let revision: i64 = revision.parse().ok()?;
                self.families
                    .get(family)?
                    .iter()
                    .find(|definition| definition.value["revision"] == revision)
            }
            None => self
                .families
                .get(id)?
                .iter()
                .rev()
                .find(|definition| definition.active()),
        }
    }

    /// The newest service of that name or ARN in a cluster, also when it is INACTIVE.
    pub fn service(&self, cluster: &str, id: &str) -> Option<&Service> {
        let found = |service: &&Service| service.is(cluster, id);
        self.services.iter().find(|service| found(service))
    }

    /// The same, to change it.
    pub fn service_mut(&mut self, cluster: &str, id: &str) -> Option<&mut Service> {
        self.services
            .iter_mut()
            .find(|service| service.is(cluster, id))
    }

    /// By ARN.
    pub fn service_by_arn(&mut self, arn: &str) -> Option<&mut Service> {
        self.services.iter_mut().find(|service| service.arn == arn)
    }

    /// The tasks of a service, also stopped ones.
    pub fn tasks_of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Task> {
        self.tasks
            .values()
            .filter(move |task| task.service.as_ref().is_some_and(|(of, _)| of == service))
    }
}

impl Service {
    fn is(&self, cluster: &str, id: &str) -> bool {
        match id.starts_with("arn:") {
            true => self.arn == id,
            false => self.cluster == cluster && self.name == id,
        }
    }
}
