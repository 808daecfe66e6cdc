//! What a task definition is to say, and what one says, in the same terms; performs no IO.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::types::{
    Compatibility, ContainerDefinition, CpuArchitecture, LogDriver, NetworkMode, OsFamily,
    RuntimePlatform, TaskDefinition,
};
use deployer_core::capability::{ImageRef, SecretVersion};
use deployer_core::error::{Error, Result};
use deployer_core::fields::{FieldValue, Fields};
use deployer_core::graph::Value;
use deployer_core::spec::{
    Architecture, Inject, MigrateBy, MigrateSpec, MilliCpu, SecretUse, ServiceSpec,
};

use super::definition_read::{
    Health, container_of, describe_health, env_of, joined, platform_text, secret_of, set_list,
    short,
};
use super::{Names, kept, once, sessions};
use crate::client::Clients;
use crate::ground::{Roles, TaskRole};
use crate::secret_store::value_from::pin;

/// The first part of every log stream's name.
pub(crate) const STREAM_PREFIX: &str = "ecs";

/// Where the pins of secrets come from.
#[derive(Clone, Debug)]
pub(crate) enum Pins {
    /// From the secrets' nodes, by the manifest's names.
    Inputs(BTreeMap<String, Value<SecretVersion>>),
    /// From what the service runs, by variable: nothing about secrets changes.
    Running(BTreeMap<String, String>),
}

/// Who runs commands in its tasks, by ECS Exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commands {
    /// Nobody, or nobody says.
    Untold,
    /// People, as the manifest says.
    OfPeople,
    /// A migration needs it.
    OfMigration,
}

/// What a task definition is to say.
#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    pub(super) container: String,
    pub(super) image: Value<ImageRef>,
    pub(super) cpu: String,
    /// In MiB.
    pub(super) memory: u32,
    pub(super) architecture: Architecture,
    pub(super) roles: Roles,
    pub(super) port: u16,
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) secrets: BTreeMap<String, SecretUse>,
    pub(super) pins: Pins,
    pub(super) health: Option<Health>,
    pub(super) logs: BTreeMap<String, String>,
    /// What is there, whose members beyond the manifest are carried over. `None` when nothing is.
    pub(super) base: Option<Box<TaskDefinition>>,
    /// What the manifest is silent about of a service that is adopted: it is taken from what is
    /// there.
    pub(super) unsaid: BTreeSet<String>,
    /// Whether it is for a program that runs once.
    pub(super) once: bool,
    pub(super) commands: Commands,
}

/// The one that no key of a service says: the role of the app itself is the target's.
const TASK_ROLE: &str = "task_role";

/// The variable in which the app finds its port: Cloud Run sets it, ECS does not.
pub(super) const PORT: &str = "PORT";

/// ECS counts 1,024 units to a CPU.
fn cpu_units(cpu: MilliCpu) -> u32 {
    cpu.0 * 1024 / 1000
}

impl Blueprint {
    pub(super) fn new(
        clients: &Clients,
        service: &ServiceSpec,
        (names, roles): (&Names, Roles),
        image: Value<ImageRef>,
        pins: Pins,
    ) -> Self {
        let section = &clients.section;
        let logs = [
            ("awslogs-group", names.log_group.as_str()),
            ("awslogs-region", section.region.as_str()),
            ("awslogs-stream-prefix", STREAM_PREFIX),
        ];
        Self {
            container: names.container.clone(),
            image,
            cpu: cpu_units(service.cpu).to_string(),
            memory: service.memory.0,
            architecture: service.architecture.unwrap_or_default(),
            port: service.port,
            entrypoint: service.entrypoint.clone(),
            command: service.command.clone(),
            env: with_port(service),
            secrets: service.secrets.clone(),
            pins,
            health: Health::of(&service.health),
            logs: logs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            base: None,
            once: false,
            commands: Commands::Untold,
            unsaid: match (service.adopt, &roles.task) {
                (true, None) => [&service.unsaid, &BTreeSet::from([TASK_ROLE.to_owned()])]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect(),
                _ => service.unsaid.clone(),
            },
            roles,
        }
    }

    /// The same of a service, whose tasks are to take commands or not.
    pub(super) fn for_people(mut self, enabled: Option<bool>) -> Self {
        if enabled == Some(true) {
            self.commands = Commands::OfPeople;
        }
        self
    }

    /// The same, running another program once: of a migration, which takes no program from what the
    /// service runs.
    pub(super) fn running(mut self, migrate: &MigrateSpec) -> Self {
        self.entrypoint.clone_from(&migrate.entrypoint);
        self.command.clone_from(&migrate.command);
        self.unsaid.remove("entrypoint");
        self.unsaid.remove("command");
        self.once = true;
        if migrate.by == MigrateBy::Exec {
            self.commands = Commands::OfMigration;
        }
        self
    }

    /// From now on, what this says beyond the manifest is carried over.
    ///
    /// Errors: input, when it has several containers and none of ours: which one is meant cannot be
    /// told; and when commands are to be run in what takes none.
    pub(super) fn build_on(&mut self, base: &TaskDefinition) -> Result<()> {
        let containers = base.container_definitions();
        if container_of(base, &self.container).is_none() && !containers.is_empty() {
            let names = joined(containers.iter().filter_map(ContainerDefinition::name));
            let arn = base.task_definition_arn().unwrap_or_default();
            return Err(Error::input(format!(
                "task definition `{}` has no container `{}`, but {}",
                short(arn),
                self.container,
                names.unwrap_or_default()
            ))
            .hint("name the app's one: `container` in `[targets.aws.services.NAME]`; the others are kept"));
        }
        self.base = Some(Box::new(base.clone()));
        self.keep_unsaid();
        match (self.commands, self.takes_none()) {
            (Commands::OfMigration, Some(why)) => {
                let message = format!("a migration by exec cannot be begun: {why}");
                Err(Error::input(message).hint("use `mode = \"job\"`"))
            }
            (Commands::OfMigration | Commands::OfPeople | Commands::Untold, _) => Ok(()),
        }
    }

    /// Why its tasks take no commands, for what is carried over; in words.
    pub(super) fn takes_none(&self) -> Option<String> {
        let container = self.base_container()?;
        sessions::cannot_be_written(container).then(|| {
            format!(
                "the root file system of container `{}` is read-only, and ECS Exec needs to write there",
                self.container
            )
        })
    }

    /// What the manifest is silent about is as it is there.
    fn keep_unsaid(&mut self) {
        let unsaid = self.unsaid.clone();
        let silent = |key: &str| unsaid.contains(key);
        let Some(base) = self.base.clone() else {
            return;
        };
        if let Some(cpu) = base.cpu().filter(|_| silent("cpu")) {
            self.cpu = cpu.to_owned();
        }
        let memory = base.memory().and_then(|memory| memory.parse().ok());
        if let Some(memory) = memory.filter(|_| silent("memory")) {
            self.memory = memory;
        }
        if silent(TASK_ROLE) {
            let role = base.task_role_arn().filter(|arn| !arn.is_empty());
            self.roles.task = role.map(|arn| Value::Given(TaskRole(arn.to_owned())));
        }
        let Some(container) = self.base_container().cloned() else {
            return;
        };
        if silent("entrypoint") {
            self.entrypoint = container.entry_point().to_vec();
        }
        if silent("command") {
            self.command = container.command().to_vec();
        }
        if silent("health.command") {
            self.health = container.health_check().map(Health::there);
        }
    }

    pub(super) fn base_container(&self) -> Option<&ContainerDefinition> {
        container_of(self.base.as_deref()?, &self.container)
    }

    /// The fields that it is to have.
    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("cpu", &self.cpu);
        fields.set("memory", self.memory);
        let execution = self.roles.execution.field(|role| role.0.clone());
        fields.set_value("execution_role", execution);
        if let Some(role) = &self.roles.task {
            fields.set_value("task_role", role.field(|role| role.0.clone()));
        }
        fields.set("network_mode", NetworkMode::Awsvpc.as_str());
        fields.set("compatibility", Compatibility::Fargate.as_str());
        fields.set(
            "platform",
            platform_text(OsFamily::Linux.as_str(), cpu_of(self.architecture).as_str()),
        );
        fields.set("container", &self.container);
        fields.set_value("image", self.image.field(|image| image.0.clone()));
        fields.set("port", format!("{}/tcp", self.port));
        set_list(&mut fields, "entrypoint", &self.entrypoint);
        set_list(&mut fields, "command", &self.command);
        fields.set_all("env", &self.env);
        for (variable, used) in &self.secrets {
            let prefix = match used.inject {
                Inject::Value => "secrets",
                Inject::Reference => "env",
            };
            fields.set_value(
                format!("{prefix}.{variable}"),
                self.secret_field(variable, used),
            );
        }
        if let Some(health) = &self.health {
            describe_health(&mut fields, health);
        }
        fields.set("logs.driver", LogDriver::Awslogs.as_str());
        fields.set_all("logs", &self.logs);
        if let Some(carried) = self.carried() {
            kept::describe(&mut fields, &carried, &self.container, self.port);
        }
        fields
    }

    /// What is there as far as it is carried over, with what of the manifest that touches.
    fn carried(&self) -> Option<TaskDefinition> {
        let mut carried = self.base.as_deref()?.clone();
        let ours = self.base_container().and_then(ContainerDefinition::name);
        let ours = ours.map(str::to_owned);
        carried.memory = Some(self.memory.to_string());
        let containers = carried.container_definitions.iter_mut().flatten();
        for container in containers.filter(|it| it.name == ours) {
            container.name = Some(self.container.clone());
            container.memory = self.container_memory();
            container.port_mappings = Some(self.port_mappings());
            if self.once {
                once::put_right(container);
            }
        }
        Some(carried)
    }

    fn secret_field(&self, variable: &str, used: &SecretUse) -> FieldValue {
        match &self.pins {
            Pins::Inputs(inputs) => match inputs.get(&used.secret) {
                Some(version) => version.field(|version| injected(used, version)),
                None => FieldValue::Known(format!("(secret `{}` is not declared)", used.secret)),
            },
            Pins::Running(running) => {
                FieldValue::Known(running.get(variable).cloned().unwrap_or_default())
            }
        }
    }

    pub(super) fn secret_value(&self, variable: &str, used: &SecretUse) -> Result<String> {
        match &self.pins {
            Pins::Inputs(inputs) => {
                let version = inputs.get(&used.secret).ok_or_else(|| {
                    Error::internal(format!("secret `{}` was not declared", used.secret))
                })?;
                Ok(injected(used, &version.settled()?))
            }
            Pins::Running(running) => running.get(variable).cloned().ok_or_else(|| {
                Error::input(format!("what runs has no secret variable `{variable}` yet"))
                    .hint("run `deployer apply` without `--only` once: it pins the new secret")
            }),
        }
    }

    /// Takes over the pins of what runs.
    ///
    /// Errors: input, when a secret variable is new: its pin is then not to be had.
    pub(super) fn take_over(&mut self, running: &TaskDefinition) -> Result<()> {
        let container = container_of(running, &self.container);
        let mut pins = BTreeMap::new();
        for (variable, used) in &self.secrets {
            let found = container.and_then(|container| match used.inject {
                Inject::Value => secret_of(container, variable),
                Inject::Reference => env_of(container, variable),
            });
            if let Some(value) = found {
                pins.insert(variable.clone(), value.to_owned());
            }
        }
        self.pins = Pins::Running(pins);
        for (variable, used) in &self.secrets {
            self.secret_value(variable, used)?;
        }
        Ok(())
    }
}

/// The variables of a service, with its port.
fn with_port(service: &ServiceSpec) -> BTreeMap<String, String> {
    let mut env = service.env.clone();
    env.insert(PORT.to_owned(), service.port.to_string());
    env
}

/// Fargate's platform for Linux images of that architecture.
pub(super) fn runtime_platform(architecture: Architecture) -> RuntimePlatform {
    RuntimePlatform::builder()
        .operating_system_family(OsFamily::Linux)
        .cpu_architecture(cpu_of(architecture))
        .build()
}

fn cpu_of(architecture: Architecture) -> CpuArchitecture {
    match architecture {
        Architecture::X86 => CpuArchitecture::X8664,
        Architecture::Arm => CpuArchitecture::Arm64,
    }
}

pub(super) fn injected(used: &SecretUse, version: &SecretVersion) -> String {
    match used.inject {
        Inject::Value => pin(used.member.as_deref(), version),
        Inject::Reference => version.secret.clone(),
    }
}

pub(super) fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

#[cfg(test)]
#[path = "definition_tests.rs"]
mod tests;
