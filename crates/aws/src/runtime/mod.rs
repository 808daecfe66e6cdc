//! ECS on Fargate: log group, task definition, migration and service, and what operates them;
//! one-off tasks also of what App Runner serves.

// long: the contract of two runtimes, answered in one go

mod autopsy;
mod balancers;
pub(crate) mod cluster;
mod console;
pub(crate) mod definition;
mod definition_read;
mod exec;
mod family;
pub(crate) mod jobs;
mod kept;
pub(crate) mod log_group;
pub(crate) mod lookup;
pub(crate) mod migration;
mod once;
mod one_off;
mod operate;
mod printed;
mod refusals;
mod registration;
pub(crate) mod rollout;
pub(crate) mod scaling;
pub(crate) mod scaling_calls;
pub(crate) mod service;
mod sessions;
pub(crate) mod task_definition;
mod tasks;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::one_off::{OneOffs, Order};
use deployer_core::capability::{
    Activation, Autopsy, Console, Entrance, LetIn, Revision, RevisionInfo, Runtime, Scope,
    SecretVersion, ServiceInputs, ServiceOutputs, Services, Serving,
};
use deployer_core::error::{Error, Result};
use deployer_core::gate::HoldsBack;
use deployer_core::graph::{Graph, Inputs, Output, Value};
use deployer_core::kind::{Declared, Kind, Site};
use deployer_core::migration::{self as step, Migrated};
use deployer_core::names::LEDGER_TAG;
use deployer_core::node::{Token, Watch};
use deployer_core::ours::Owner;
use deployer_core::spec::{Architecture, EnvironmentSpec, MigrateBy, MigrateSpec, ServiceSpec};

use crate::Aws;
use crate::app_runner;
use crate::client::Clients;
use crate::composition::Composition;
use crate::dns::Route53;
use crate::ground::Ground;
use crate::spec::{AppRunner, AwsRuntime};
use crate::tags::{self, Ownership, Tags};

use balancers::Balancers;
use definition::{Blueprint, Pins};
use jobs::Tasks;
use log_group::LogGroup;
use migration::Database;
pub(crate) use printed::{TASKS_TOLD, stream_of, streams_of};
use rollout::{Asked, Judge};
use scaling::Scaling;
use service::Service;
use service::{calls as service_calls, fields as service_fields};
use task_definition::TaskDefinition;
use waiting::Awaited;

/// A log group that exists.
#[derive(Clone, Debug)]
pub(crate) struct LogGroupReady;

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
    /// The names of a service.
    pub(crate) fn of(clients: &Clients, service: &ServiceSpec) -> Self {
        let settings = clients.settings(service);
        Self {
            service: service.name.clone(),
            family: settings.family,
            container: settings.container,
            log_group: settings.log_group,
        }
    }

    /// The same, with the family of one-offs that have one of their own.
    fn of_one_offs(&self) -> Self {
        Self {
            family: format!("{}-run", self.family),
            ..self.clone()
        }
    }

    /// The same, with the family of a migration that has one of its own.
    fn of_migration(&self) -> Self {
        Self {
            family: format!("{}-migrate", self.family),
            ..self.clone()
        }
    }
}

/// What a task definition is to run.
#[derive(Clone, Copy, Debug)]
enum Program<'a> {
    /// What serves.
    Service,
    /// What brings the database up to date.
    Migration(&'a MigrateSpec),
}

impl Runtime for Composition<'_> {
    fn service(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        inputs: &ServiceInputs,
        scope: Scope,
    ) -> ServiceOutputs {
        Declaration {
            clients: &self.clients,
            dns: &self.names,
            env: self.env,
            ground: &self.ground,
            service,
            inputs,
            scope,
            names: Names::of(&self.clients, service),
        }
        .declare(graph)
    }

    /// The rolling update of ECS registers each task with the target groups while others still
    /// serve (Amazon ECS, "Deploy Amazon ECS services by replacing tasks"); App Runner keeps one
    /// version, and moves the traffic itself.
    fn holds_back(&self, service: &ServiceSpec) -> HoldsBack {
        HoldsBack::Nothing(match self.clients.settings(service).runtime {
            AwsRuntime::Ecs => {
                "ECS replaces tasks one after the other: each serves once it is healthy"
            }
            AwsRuntime::AppRunner(_) => {
                "App Runner moves the traffic itself, and keeps one version"
            }
        })
    }
}

#[async_trait]
impl Services for Aws {
    /// Fargate has both; App Runner has none but x86: aws/apprunner-roadmap#98 asks for the other,
    /// and is open.
    fn runs(&self, service: &ServiceSpec, architecture: Architecture) -> Result<()> {
        let on_app_runner = self
            .clients
            .settings(service)
            .runtime
            .app_runner()
            .is_some();
        match architecture {
            Architecture::Arm if on_app_runner => Err(Error::input(
                "App Runner runs no arm64 containers, only linux/amd64",
            )
            .hint(
                "build the image for it as well (`docker build --platform linux/amd64`), or run the service on ECS: \
                 `[targets.aws.services.NAME] runtime = \"ecs\"`",
            )),
            Architecture::Arm | Architecture::X86 => Ok(()),
        }
    }

    async fn serving(&self, service: &ServiceSpec) -> Result<Option<Serving>> {
        match self.clients.settings(service).runtime {
            AwsRuntime::Ecs => operate::serving(&self.clients, service).await,
            AwsRuntime::AppRunner(_) => app_runner::operate::serving(&self.clients, service).await,
        }
    }

    async fn newest_rollout(&self, service: &ServiceSpec) -> Result<Option<String>> {
        match self.clients.settings(service).runtime {
            AwsRuntime::Ecs => operate::newest_rollout(&self.clients, service).await,
            AwsRuntime::AppRunner(_) => {
                app_runner::operate::newest_rollout(&self.clients, service).await
            }
        }
    }

    async fn revisions(&self, service: &ServiceSpec) -> Result<Vec<RevisionInfo>> {
        match self.clients.settings(service).runtime {
            AwsRuntime::Ecs => operate::revisions(&self.clients, service).await,
            AwsRuntime::AppRunner(_) => {
                app_runner::operate::revisions(&self.clients, service).await
            }
        }
    }

    async fn pinned(
        &self,
        service: &str,
        revision: &Revision,
    ) -> Result<BTreeMap<String, SecretVersion>> {
        match self.runs_as(service, revision)? {
            RunsAs::Ecs => operate::pinned(&self.clients, revision).await,
            // Whatever is current when it is deployed.
            RunsAs::AppRunner => Ok(BTreeMap::new()),
        }
    }

    fn revisions_pin_secrets(&self, service: &str) -> bool {
        self.clients.section.on_app_runner(service).is_none()
    }

    async fn activate(
        &self,
        activation: &Activation,
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Revision> {
        match self.runs_as(&activation.service, &activation.revision)? {
            RunsAs::Ecs => operate::activate(&self.clients, activation, watch).await,
            RunsAs::AppRunner => {
                app_runner::operate::activate(&self.clients, activation, watch).await
            }
        }
    }

    async fn noted_ledger(&self, owner: &Owner, service: &str) -> Result<Option<String>> {
        let tags = self.owner_tags(service).await?;
        let tags = tags.filter(|tags| Clients::ownership_of(owner).foreign(tags).is_none());
        Ok(tags.and_then(|tags| tags.get(LEDGER_TAG).cloned()))
    }

    async fn must_be_of(&self, owner: &Owner, service: &str) -> Result<()> {
        let tags = self.owner_tags(service).await?;
        let stranger = tags.and_then(|tags| Clients::ownership_of(owner).foreign(&tags));
        match stranger {
            Some(stranger) => Err(stranger.refusal(format!("service `{service}`"))),
            None => Ok(()),
        }
    }

    async fn one_offs(
        &self,
        env: &EnvironmentSpec,
        service: &ServiceSpec,
        order: Order,
    ) -> Result<Box<dyn OneOffs>> {
        let tasks = match self.runs_as(&service.name, &order.revision)? {
            RunsAs::Ecs => one_off::of(&self.clients, env, service, order).await?,
            RunsAs::AppRunner => {
                one_off::beside_app_runner(&self.clients, env, service, order).await?
            }
        };
        Ok(Box::new(tasks))
    }

    fn holder_of_one_offs(&self, service: &ServiceSpec) -> Option<Address> {
        one_off::holder(&self.clients, service)
    }

    async fn entrance(&self, service: &ServiceSpec, _by: LetIn) -> Result<Entrance> {
        match self.clients.settings(service).runtime {
            AwsRuntime::Ecs => Ok(Entrance::Open),
            AwsRuntime::AppRunner(_) => app_runner::entrance(&self.clients, &service.name).await,
        }
    }

    fn takes_no_commands(&self, service: &ServiceSpec) -> Option<&'static str> {
        match self.clients.settings(service).runtime {
            AwsRuntime::Ecs => None,
            // It has no call for it (the actions of AWS App Runner API Reference).
            AwsRuntime::AppRunner(_) => Some("App Runner's instances take no commands"),
        }
    }

    async fn console(
        &self,
        service: &ServiceSpec,
        instance: Option<&str>,
        command: &[String],
    ) -> Result<Box<dyn Console>> {
        match self.clients.settings(service).runtime {
            AwsRuntime::Ecs => console::open(&self.clients, service, instance, command).await,
            AwsRuntime::AppRunner(_) => {
                let why = self.takes_no_commands(service);
                Err(Error::input(why.unwrap_or_default()))
            }
        }
    }

    async fn autopsy(&self, service: &ServiceSpec) -> Autopsy {
        match self.clients.settings(service).runtime {
            AwsRuntime::Ecs => autopsy::of(&self.clients, service).await,
            AwsRuntime::AppRunner(_) => app_runner::explain(&self.clients, service).await,
        }
    }
}

/// Which of the two runs a service.
enum RunsAs {
    Ecs,
    AppRunner,
}

impl Aws {
    /// What runs the service of this name, of which this is to be a revision.
    ///
    /// Errors: not found, when it is a revision of the other one.
    fn runs_as(&self, service: &str, revision: &Revision) -> Result<RunsAs> {
        let on_app_runner = self.clients.section.on_app_runner(service).is_some();
        match (on_app_runner, app_runner::operate::is_revision(revision)) {
            (true, true) => Ok(RunsAs::AppRunner),
            (false, false) => Ok(RunsAs::Ecs),
            _ => Err(app_runner::operate::of_another_runtime(service, revision)),
        }
    }

    async fn owner_tags(&self, service: &str) -> Result<Option<Tags>> {
        match self.clients.section.on_app_runner(service) {
            None => lookup::owner_tags(&self.clients, service).await,
            Some(_) => app_runner::operate::owner_tags(&self.clients, service).await,
        }
    }
}

/// One service while its nodes are declared.
struct Declaration<'a> {
    clients: &'a Arc<Clients>,
    dns: &'a Route53,
    env: &'a EnvironmentSpec,
    ground: &'a Ground,
    service: &'a ServiceSpec,
    inputs: &'a ServiceInputs,
    scope: Scope,
    names: Names,
}

impl Declaration<'_> {
    fn declare(&self, graph: &mut Graph) -> ServiceOutputs {
        let settings = self.clients.settings(self.service);
        match &settings.runtime {
            AwsRuntime::Ecs => self.on_ecs(graph),
            AwsRuntime::AppRunner(asked) => self.on_app_runner(graph, asked),
        }
    }

    /// One-off tasks run on Fargate, with a task definition of their own: of the service there is
    /// none. Where they can run, they have a cluster and a log group, migration or not: `deployer
    /// run` starts them too.
    fn on_app_runner(&self, graph: &mut Graph, asked: &AppRunner) -> ServiceOutputs {
        self.cluster(graph);
        // One that is there stays, with its lines, also where none can run any more.
        let group = self.clients.address(LogGroup::KIND, &self.names.log_group);
        let logs = match self.clients.section.runs_tasks() || graph.past(&group).known {
            true => self.logs(graph),
            false => Value::Given(LogGroupReady),
        };
        let (migrated, migration) = match &self.service.migrate {
            Some(migrate) => {
                let (migrated, ran) = self.migration(graph, migrate, None, &logs);
                (Value::From(migrated), Some(ran))
            }
            None => (Value::Given(Migrated), None),
        };
        let declaration = app_runner::Declaration {
            clients: self.clients,
            names: self.dns,
            env: self.env,
            ground: self.ground,
            service: self.service,
            asked,
            inputs: self.inputs,
            scope: self.scope,
        };
        ServiceOutputs {
            migration,
            ..declaration.declare(graph, &migrated)
        }
    }

    fn on_ecs(&self, graph: &mut Graph) -> ServiceOutputs {
        let logs = self.logs(graph);
        let definition = self.task_definition(graph, &logs, Program::Service);
        let (migrated, migration) = match &self.service.migrate {
            Some(migrate) => {
                let (migrated, ran) = self.migration(graph, migrate, Some(&definition), &logs);
                (Value::From(migrated), Some(ran))
            }
            None => (Value::Given(Migrated), None),
        };
        let outputs = self.ecs_service(graph, &definition, &migrated);
        if self.scope == Scope::Whole && self.service.replicas.max > self.service.replicas.min {
            self.scaling(graph, &outputs.revision);
        }
        ServiceOutputs {
            migration,
            ..outputs
        }
    }

    fn ownership(&self, graph: &Graph, address: &Address) -> Ownership {
        tags::ownership(self.env, self.service.adopt, &graph.past(address))
    }

    fn logs(&self, graph: &mut Graph) -> Value<LogGroupReady> {
        match self.scope {
            Scope::Whole => Value::From(self.log_group(graph)),
            Scope::CodeOnly => Value::Given(LogGroupReady),
        }
    }

    fn log_group(&self, graph: &mut Graph) -> Output<LogGroupReady> {
        let declared = Declared {
            site: self.clients,
            name: &self.names.log_group,
            env: self.env,
            adopt: self.service.adopt,
        };
        graph.declare(declared, |_| LogGroup {
            retention: self.clients.section.log_retention_days,
            adopt: self.service.adopt,
        })
    }

    fn task_definition(
        &self,
        graph: &mut Graph,
        logs: &Value<LogGroupReady>,
        program: Program<'_>,
    ) -> Output<Revision> {
        let names = match program {
            Program::Service => self.names.clone(),
            Program::Migration(_) => self.names.of_migration(),
        };
        let address = self
            .clients
            .address(task_definition::TASK_DEFINITION, &names.family);
        let output = Output::of(&address);
        let ownership = self.ownership(graph, &address);
        let known = graph.past(&address).known;
        let serves = self.clients.settings(self.service).runtime == AwsRuntime::Ecs;
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
            let as_what = (&names, self.ground.roles.taken(inputs));
            let blueprint = Blueprint::new(self.clients, self.service, as_what, image, pins);
            let blueprint = match program {
                Program::Service => {
                    blueprint.for_people(self.clients.settings(self.service).enable_execute_command)
                }
                Program::Migration(migrate) => blueprint.running(migrate),
            };
            TaskDefinition {
                clients: Arc::clone(self.clients),
                address,
                ownership,
                names,
                blueprint: std::sync::Mutex::new(blueprint),
                scope: self.scope,
                known,
                serves,
                model: match program {
                    Program::Migration(_) if serves => Some(self.names.family.clone()),
                    Program::Migration(_) | Program::Service => None,
                },
                output: output.clone(),
            }
        });
        output
    }

    /// ECS overrides a task's command only: whatever else of the program differs from the service's
    /// takes a definition of its own, as does everything where the service has none.
    fn migration(
        &self,
        graph: &mut Graph,
        migrate: &MigrateSpec,
        definition: Option<&Output<Revision>>,
        logs: &Value<LogGroupReady>,
    ) -> (Output<Migrated>, Output<String>) {
        // The entry point that an adopted service keeps is not known here.
        let kept = self.service.unsaid.contains("entrypoint");
        let waits = migrate.by == MigrateBy::Exec;
        let by_override = migrate.entrypoint == self.service.entrypoint
            && !migrate.command.is_empty()
            && !kept
            && !waits;
        let (definition, by_override) = match definition.filter(|_| by_override) {
            Some(definition) => (definition.clone(), true),
            None if waits => {
                let waiter = waiting::waiter(migrate);
                let own = self.task_definition(graph, logs, Program::Migration(&waiter));
                (own, false)
            }
            None => {
                let own = self.task_definition(graph, logs, Program::Migration(migrate));
                (own, false)
            }
        };
        let cluster = self.cluster(graph);
        let address = self
            .clients
            .address(migration::MIGRATION, &self.names.service);
        let tags = match self.scope {
            Scope::Whole => self.ownership(graph, &address).tags,
            Scope::CodeOnly => Tags::new(),
        };
        let (named, clients) = ((self.names.service.as_str(), migrate), self.clients);
        step::declare(graph, address, named, self.inputs, |inputs| {
            let tasks = Tasks {
                clients: Arc::clone(clients),
                cluster: inputs.pass(&cluster),
                names: self.names.clone(),
                program: match (by_override, waits) {
                    (true, _) => jobs::Program::Override(migrate.command.clone()),
                    (false, false) => jobs::Program::OfDefinition,
                    (false, true) => jobs::Program::Awaited(Awaited::new(
                        [&migrate.entrypoint[..], &migrate.command[..]].concat(),
                        match self.scope {
                            Scope::Whole => waiting::Secrets::Pinned(self.pinned(inputs)),
                            Scope::CodeOnly => waiting::Secrets::Unread,
                        },
                    )),
                },
                timeout: migrate.timeout,
                tags,
                network: jobs::Where::InGround(self.ground.network.taken(inputs)),
                definition: inputs.take(&definition),
                others: family::of_others(clients, self.env, self.service),
                own: None,
            };
            let (of, whose) = ((clients, &self.names), (self.env, self.service));
            let database = Database::of(of, whose, self.inputs, self.scope, inputs);
            (tasks, Box::new(database))
        })
    }

    /// The secrets that the service has, in the versions that its new definition pins.
    fn pinned(&self, inputs: &mut Inputs) -> BTreeMap<String, Value<SecretVersion>> {
        let secrets = self.inputs.secrets.iter();
        let pinned = secrets.map(|(key, version)| (key.clone(), inputs.pass(version)));
        pinned.collect()
    }

    /// Who changes the count within its range.
    fn scaling(&self, graph: &mut Graph, service: &Output<Revision>) {
        let address = self
            .clients
            .address(scaling::SCALABLE_TARGET, &self.names.service);
        let settings = self.clients.settings(self.service);
        let ownership = self.ownership(graph, &address);
        let cluster = self.cluster(graph);
        let group = self.ground.target_groups.get(&self.service.key);
        graph.resource(|inputs| Scaling {
            clients: Arc::clone(self.clients),
            address,
            ownership,
            service: self.names.service.clone(),
            cluster: inputs.pass(&cluster),
            replicas: self.service.replicas,
            goals: settings.scaling,
            target_group: group.map(|group| inputs.pass(group)),
            // ECS must have the service before it can be registered.
            made: inputs.take(service),
            label: std::sync::Mutex::default(),
        });
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
        outputs.url.publish(self.service.url.clone());
        let mut ownership = self.ownership(graph, &address);
        let note = self.env.ledger.iter();
        ownership
            .tags
            .extend(note.map(|it| (LEDGER_TAG.to_owned(), it.mark.clone())));
        let past = graph.past(&address);
        let group = self.ground.target_groups.get(&self.service.key);
        let counts = !self.service.unsaid.contains("replicas");
        let cluster = self.cluster(graph);
        graph.resource(|inputs| Service {
            clients: Arc::clone(self.clients),
            address,
            ownership,
            ledger: self.env.ledger.clone(),
            known: past.known,
            names: self.names.clone(),
            cluster: inputs.pass(&cluster),
            network: self.ground.network.taken(inputs),
            public_ip: self.clients.section.assign_public_ip,
            settings,
            balancers: Balancers {
                group: group.map(|group| inputs.pass(group)),
                container: self.names.container.clone(),
                port: self.service.port,
                earlier: Balancers::noted(&past),
            },
            replicas: self.service.replicas,
            unsaid: self.service.unsaid.clone(),
            start_period: self.service.health.start_period,
            patience: self.service.patience,
            judge: Judge::new(match self.scope {
                Scope::Whole if counts => Asked::of(self.service.replicas),
                // How many there are is not a code deployment's to say, nor that of a manifest that
                // is silent, but some serve.
                Scope::Whole | Scope::CodeOnly => Asked::ANY,
            }),
            scope: self.scope,
            definition: inputs.take(definition),
            migrated: inputs.pass(migrated),
            revision: outputs.revision.clone(),
            redeploy: self.inputs.redeploy.clone(),
            begun: Mutex::default(),
            without_agent: Mutex::default(),
        });
        outputs
    }
}
