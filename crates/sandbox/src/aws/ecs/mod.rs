//! ECS: clusters, task definitions, services whose deployments roll, and tasks that really run.

mod agent;
mod checks;
mod clusters;
mod definition_rules;
mod definitions;
mod exec;
mod health;
mod launch;
mod life;
mod names;
mod rollouts;
mod scheduler;
mod service_rules;
mod service_view;
mod services;
mod state;
mod tags;
mod target_group;
mod task_view;
mod tasks;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use serde_json::Value;

use super::error::AwsError;
use super::gateway::Gateway;
use super::json::{need, text};
use super::logs::Logs;
use super::secrets::Secrets;
use super::shelf::{Asked, Service, Site};
use super::tags::Tags;
use crate::Host;
use names::Names;
use state::State;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Ecs {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    names: Names,
    logs: Logs,
    secrets: Secrets,
    /// For questions to moto.
    http: LazyLock<reqwest::Client>,
    state: Mutex<State>,
    /// Whether Fargate has no room.
    is_full: AtomicBool,
    /// Whether tasks without a public address reach nothing outside.
    is_cut_off: AtomicBool,
    /// Sessions of ECS Exec.
    gateway: Gateway,
    /// Whether the agents beside containers reach it.
    agents_connect: AtomicBool,
}

impl Ecs {
    /// One cluster, `default`.
    pub fn new(host: &Host, logs: Logs, secrets: Secrets, gateway: Gateway) -> Self {
        let ecs = Self {
            inner: Arc::new(Inner {
                host: host.clone(),
                names: Names::new(&host.account, &host.region),
                logs,
                secrets,
                http: LazyLock::new(crate::aws::forward::client),
                state: Mutex::default(),
                is_full: AtomicBool::new(false),
                is_cut_off: AtomicBool::new(false),
                gateway,
                agents_connect: AtomicBool::new(true),
            }),
        };
        ecs.add_default_cluster();
        ecs
    }

    /// Every service that is not gone, with its address and tasks.
    pub fn status(&self) -> Value {
        let state = self.lock();
        let services = state
            .services
            .iter()
            .filter(|service| service.status != "INACTIVE");
        services
            .map(|service| self.service_status(&state, service))
            .collect()
    }

    /// Everything that there is, as data.
    pub(crate) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }

    /// Carries out an operation that the schema has let through.
    pub async fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match operation {
            "CreateService" => self.create_service(input).await,
            "DeleteService" => self.delete_service(input),
            "DeregisterTaskDefinition" => self.deregister(input),
            "DescribeClusters" => self.describe_clusters(input),
            "DescribeServiceDeployments" => self.describe_rollouts(input),
            "DescribeServiceRevisions" => self.describe_revisions(input),
            "DescribeServices" => self.describe_services(input),
            "DescribeTaskDefinition" => self.describe_definition(input),
            "DescribeTasks" => self.describe_tasks(input),
            "ExecuteCommand" => self.execute_command(input),
            "ListServiceDeployments" => self.list_rollouts(input),
            "ListServices" => self.list_services(input),
            "ListTaskDefinitions" => self.list_definitions(input),
            "ListTasks" => self.list_tasks(input),
            "RegisterTaskDefinition" => self.register(input),
            "RunTask" => self.run_task(input),
            "StopServiceDeployment" => self.stop_rollout(input),
            "StopTask" => self.stop_task(input),
            "UpdateService" => self.update_service(input).await,
            operation => {
                let site = &self.site();
                let asked = Asked {
                    site,
                    operation,
                    input,
                };
                SERVICE.answer(
                    &[clusters::CLUSTER],
                    &mut self.lock(),
                    &asked,
                    |state, arn| self.tags_at(state, arn),
                )
            }
        }
    }

    /// Whether IAM wants iam:PassRole for this call: it hands ECS a role to act with.
    pub fn passes_role(&self, operation: &str, input: &Value) -> bool {
        let has_role = |of: &Value| {
            text(of, "taskRoleArn").is_some() || text(of, "executionRoleArn").is_some()
        };
        match operation {
            "RegisterTaskDefinition" => has_role(input),
            "RunTask" => {
                let state = self.lock();
                let definition = state.definition(need(input, "taskDefinition"));
                input.get("overrides").is_some_and(has_role)
                    || definition.is_some_and(|definition| has_role(&definition.value))
            }
            _ => false,
        }
    }

    fn site(&self) -> Site {
        Site::of(&self.inner.host, "ecs")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .expect("no panic while the state is held")
    }

    fn now(&self) -> jiff::Timestamp {
        self.inner.host.clock.now()
    }
}

const SERVICE: Service = Service {
    pages: clusters::listed,
    tags: Tags {
        service: "ecs",
        members: ("resourceArn", "tagKeys"),
        list: ("tags", "tags"),
        pair: ("key", "value"),
        too_many: || invalid("The maximum number of tags per resource is 50."),
        ..Tags::LISTED
    },
};

/// An error of the kind that ECS uses for most wrong requests.
fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidParameterException", message)
}

/// An error of the kind that ECS uses for requests it cannot carry out.
fn client(message: impl Into<String>) -> AwsError {
    AwsError::new("ClientException", message)
}
