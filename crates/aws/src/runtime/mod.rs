//! ECS on Fargate: log group, task definition, migration and service, and what operates them.

mod autopsy;
pub(crate) mod definition;
pub(crate) mod log_group;
pub(crate) mod lookup;
pub(crate) mod migration;
mod operate;
pub(crate) mod rollout;
pub(crate) mod service;
pub(crate) mod service_fields;
pub(crate) mod task_definition;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::capability::{
    Activation, Autopsy, Revision, RevisionInfo, Runtime, Scope, SecretVersion, ServiceInputs,
    ServiceOutputs, Serving,
};
use deployer_core::error::Result;
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::node::{Token, Watch};
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};

use crate::Aws;
use crate::client::Clients;
use crate::tags::Ownership;

use definition::{Blueprint, Pins};
use log_group::LogGroup;
use migration::{Database, Migration};
use service::Service;
use task_definition::TaskDefinition;

/// A log group that exists.
#[derive(Clone, Debug)]
pub(crate) struct LogGroupReady;

/// A migration that has succeeded.
#[derive(Clone, Debug)]
pub(crate) struct Migrated;

/// What a service's parts are called in AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// The ECS service.
    pub(crate) service: String,
    /// The task definition's family.
    pub(crate) family: String,
    /// The container in the task definition.
    pub(crate) container: String,
    /// The log group.
    pub(crate) log_group: String,
}

impl Names {
    /// The names of a service: the section's, or made from the specification's.
    pub(crate) fn of(clients: &Clients, service: &ServiceSpec) -> Self {
        let settings = clients.settings(service);
        let name = &service.name;
        Self {
            family: settings.family.unwrap_or_else(|| name.clone()),
            container: settings.container.unwrap_or_else(|| service.key.clone()),
            log_group: settings.log_group.unwrap_or_else(|| format!("/ecs/{name}")),
            service: settings.name.unwrap_or_else(|| name.clone()),
        }
    }
}

#[async_trait]
impl Runtime for Aws {
    fn service(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        service: &ServiceSpec,
        inputs: &ServiceInputs,
        scope: Scope,
    ) -> ServiceOutputs {
        Declaration {
            clients: &self.clients,
            env,
            service,
            inputs,
            scope,
            names: Names::of(&self.clients, service),
        }
        .declare(graph)
    }

    async fn serving(&self, service: &ServiceSpec) -> Result<Option<Serving>> {
        operate::serving(&self.clients, service).await
    }

    async fn revisions(&self, service: &ServiceSpec) -> Result<Vec<RevisionInfo>> {
        operate::revisions(&self.clients, service).await
    }

    async fn pinned(&self, revision: &Revision) -> Result<BTreeMap<String, SecretVersion>> {
        operate::pinned(&self.clients, revision).await
    }

    async fn activate(
        &self,
        activation: &Activation,
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Revision> {
        operate::activate(&self.clients, activation, watch).await
    }

    async fn autopsy(&self, service: &ServiceSpec) -> Autopsy {
        autopsy::of(&self.clients, service).await
    }
}

/// One service while its nodes are declared.
struct Declaration<'a> {
    clients: &'a Arc<Clients>,
    env: &'a EnvironmentSpec,
    service: &'a ServiceSpec,
    inputs: &'a ServiceInputs,
    scope: Scope,
    names: Names,
}

impl Declaration<'_> {
    fn declare(&self, graph: &mut Graph) -> ServiceOutputs {
        let logs = match self.scope {
            Scope::Whole => Value::From(self.log_group(graph)),
            Scope::CodeOnly => Value::Given(LogGroupReady),
        };
        let definition = self.task_definition(graph, &logs);
        let (migrated, migration) = match &self.service.migrate {
            Some(_) => {
                let (migrated, ran) = self.migration(graph, &definition);
                (Value::From(migrated), Some(ran))
            }
            None => (Value::Given(Migrated), None),
        };
        let outputs = self.ecs_service(graph, &definition, &migrated);
        ServiceOutputs {
            migration,
            ..outputs
        }
    }

    fn ownership(&self) -> Ownership {
        Ownership::new(self.env, self.service.adopt)
    }

    fn log_group(&self, graph: &mut Graph) -> Output<LogGroupReady> {
        let address = self
            .clients
            .address(log_group::LOG_GROUP, &self.names.log_group);
        let output = Output::of(&address);
        graph.resource(|_| LogGroup {
            clients: Arc::clone(self.clients),
            address,
            ownership: self.ownership(),
            retention_days: self.clients.section.log_retention_days,
            output: output.clone(),
        });
        output
    }

    fn task_definition(&self, graph: &mut Graph, logs: &Value<LogGroupReady>) -> Output<Revision> {
        let address = self
            .clients
            .address(task_definition::TASK_DEFINITION, &self.names.family);
        let output = Output::of(&address);
        graph.resource(|inputs| {
            inputs.pass(logs);
            let pins = match self.scope {
                Scope::Whole => {
                    let secrets = self.inputs.secrets.iter();
                    Pins::Inputs(
                        secrets
                            .map(|(key, value)| (key.clone(), inputs.pass(value)))
                            .collect(),
                    )
                }
                Scope::CodeOnly => Pins::Running(BTreeMap::new()),
            };
            let image = inputs.pass(&self.inputs.image);
            let blueprint = Blueprint::new(self.clients, self.service, &self.names, image, pins);
            TaskDefinition::new(
                Arc::clone(self.clients),
                address,
                self.ownership(),
                self.names.clone(),
                blueprint,
                self.scope,
                output.clone(),
            )
        });
        output
    }

    fn migration(
        &self,
        graph: &mut Graph,
        definition: &Output<Revision>,
    ) -> (Output<Migrated>, Output<String>) {
        let address = self
            .clients
            .address(migration::MIGRATION, &self.names.service);
        let (output, ran) = (Output::of(&address), Output::of(&address));
        let spec = self.service.migrate.as_ref();
        let database = spec.and_then(|migrate| migrate.database.as_ref());
        let birth = database.and_then(|key| self.inputs.births.get(key));
        graph.step(|inputs| Migration {
            clients: Arc::clone(self.clients),
            address,
            names: self.names.clone(),
            spec: self
                .service
                .migrate
                .clone()
                .expect("only services with a migration declare one"),
            entrypoint: self.service.entrypoint.clone(),
            definition: inputs.take(definition),
            image: inputs.pass(&self.inputs.image),
            database: Database::of(self.env, self.service, self.inputs, self.scope, inputs),
            birth: birth.map(|birth| inputs.pass(birth)),
            record: Arc::clone(&self.inputs.migrated),
            retry: self.inputs.retry_migration,
            looked: std::sync::Mutex::default(),
            output: output.clone(),
            ran: ran.clone(),
        });
        (output, ran)
    }

    fn ecs_service(
        &self,
        graph: &mut Graph,
        definition: &Output<Revision>,
        migrated: &Value<Migrated>,
    ) -> ServiceOutputs {
        let address = self.clients.address(service::SERVICE, &self.names.service);
        let outputs = ServiceOutputs {
            revision: Output::of(&address),
            url: Output::of(&address),
            service: address.clone(),
            migration: None,
        };
        let settings = self.clients.settings(self.service);
        // A load balancer's name is given, so it is known before anything is made.
        let url = self.service.url.clone().or_else(|| settings.url.clone());
        outputs.url.publish(url);
        graph.resource(|inputs| Service {
            clients: Arc::clone(self.clients),
            address,
            ownership: self.ownership(),
            names: self.names.clone(),
            settings,
            port: self.service.port,
            replicas: self.service.replicas,
            scope: self.scope,
            definition: inputs.take(definition),
            migrated: inputs.pass(migrated),
            revision: outputs.revision.clone(),
        });
        outputs
    }
}
