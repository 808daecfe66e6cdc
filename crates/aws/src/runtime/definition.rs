//! What a task definition is to say, and what one says, in the same terms; performs no IO.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::types::{
    Compatibility, ContainerDefinition, CpuArchitecture, HealthCheck, KeyValuePair, LogDriver,
    NetworkMode, OsFamily, PortMapping, RuntimePlatform, Secret, TaskDefinition, TransportProtocol,
};
use deployer_core::capability::{ImageRef, SecretVersion};
use deployer_core::error::{Error, Result};
use deployer_core::fields::{FieldValue, Fields};
use deployer_core::graph::Value;
use deployer_core::spec::{
    Architecture, HealthSpec, Inject, MigrateSpec, MilliCpu, SecretUse, ServiceSpec,
};

use super::{Names, kept};
use crate::client::Clients;

/// The first part of every log stream's name.
pub(crate) const STREAM_PREFIX: &str = "ecs";

/// The options of the log driver that are ours; others stay as they are.
pub(super) const LOG_OPTIONS: [&str; 3] =
    ["awslogs-group", "awslogs-region", "awslogs-stream-prefix"];

/// Where the pins of secrets come from.
#[derive(Clone, Debug)]
pub(crate) enum Pins {
    /// From the secrets' nodes, by the manifest's names.
    Inputs(BTreeMap<String, Value<SecretVersion>>),
    /// From what the service runs, by variable: nothing about secrets changes.
    Running(BTreeMap<String, String>),
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
    pub(super) execution_role: String,
    pub(super) task_role: Option<String>,
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
    /// What the manifest is silent about of a service that is adopted: it is taken from what is there.
    pub(super) unsaid: BTreeSet<String>,
}

/// The one that no key of a service says: the role of the app itself is the target's.
const TASK_ROLE: &str = "task_role";

/// The variable in which the app finds its port: Cloud Run sets it, ECS does not.
const PORT: &str = "PORT";

/// The container's health check, within the ranges that ECS offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) command: Vec<String>,
    pub(super) interval: i32,
    pub(super) timeout: i32,
    pub(super) retries: i32,
    pub(super) start_period: i32,
}

impl Health {
    /// `None` without a command: the cloud then probes from outside, or not at all.
    fn of(spec: &HealthSpec) -> Option<Self> {
        let first = spec.command.first()?;
        let mut command = spec.command.clone();
        if first != "CMD" && first != "CMD-SHELL" {
            command.insert(0, "CMD".to_owned());
        }
        let seconds = |time: std::time::Duration, least: u64, most: u64| {
            i32::try_from(time.as_secs().clamp(least, most)).unwrap_or(i32::MAX)
        };
        // The ranges are those of the HealthCheck type in the ECS API.
        Some(Self {
            command,
            interval: seconds(spec.interval, 5, 300),
            timeout: seconds(spec.timeout, 2, 60),
            retries: i32::try_from(spec.retries.clamp(1, 10)).unwrap_or(i32::MAX),
            start_period: seconds(spec.start_period, 0, 300),
        })
    }
}

impl Health {
    /// As it is there, with ECS's own defaults where a definition leaves them out.
    fn there(check: &HealthCheck) -> Self {
        Self {
            command: check.command().to_vec(),
            interval: check.interval().unwrap_or(30),
            timeout: check.timeout().unwrap_or(5),
            retries: check.retries().unwrap_or(3),
            start_period: check.start_period().unwrap_or(0),
        }
    }
}

/// ECS counts 1,024 units to a CPU.
fn cpu_units(cpu: MilliCpu) -> u32 {
    cpu.0 * 1024 / 1000
}

/// The form in which ECS injects exactly one version of a secret, or of one member of the JSON object that it is.
fn pin(member: Option<&str>, version: &SecretVersion) -> String {
    let key = member.unwrap_or_default();
    format!("{}:{key}::{}", version.secret, version.version)
}

/// The secret's version that a `valueFrom` pins. `None` when it pins none.
pub(crate) fn pinned(value_from: &str) -> Option<SecretVersion> {
    let parts: Vec<&str> = value_from.split(':').collect();
    let [arn @ .., _key, _stage, version] = parts.as_slice() else {
        return None;
    };
    (arn.len() == 7 && !version.is_empty()).then(|| SecretVersion {
        secret: arn.join(":"),
        version: (*version).to_owned(),
    })
}

/// Replaces the version that a `valueFrom` pins, keeping its JSON key.
pub(crate) fn repin(value_from: &str, version: &SecretVersion) -> String {
    let key = value_from.split(':').nth(7).unwrap_or_default();
    format!("{}:{key}::{}", version.secret, version.version)
}

impl Blueprint {
    pub(super) fn new(
        clients: &Clients,
        service: &ServiceSpec,
        names: &Names,
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
            execution_role: clients.role(&section.execution_role),
            task_role: section.task_role.as_deref().map(|role| clients.role(role)),
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
            unsaid: match (service.adopt, &section.task_role) {
                (true, None) => [&service.unsaid, &BTreeSet::from([TASK_ROLE.to_owned()])]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect(),
                _ => service.unsaid.clone(),
            },
        }
    }

    /// The same, running another program: of a migration, which takes nothing from what the service runs.
    pub(super) fn running(mut self, migrate: &MigrateSpec) -> Self {
        self.entrypoint.clone_from(&migrate.entrypoint);
        self.command.clone_from(&migrate.command);
        self.unsaid.remove("entrypoint");
        self.unsaid.remove("command");
        self
    }

    /// From now on, what this says beyond the manifest is carried over.
    ///
    /// Errors: input, when it has several containers and none of ours: which one is meant cannot be told.
    pub(super) fn build_on(&mut self, base: &TaskDefinition) -> Result<()> {
        let containers = base.container_definitions();
        if container_of(base, &self.container).is_none() && !containers.is_empty() {
            let names = joined(containers.iter().filter_map(ContainerDefinition::name));
            let arn = base.task_definition_arn().unwrap_or_default();
            return Err(Error::input(format!(
                "task definition `{}` has no container `{}`, but {}",
                super::task_definition::short(arn),
                self.container,
                names.unwrap_or_default()
            ))
            .hint("name the app's one: `container` in `[targets.aws.services.NAME]`; the others are kept"));
        }
        self.base = Some(Box::new(base.clone()));
        self.keep_unsaid();
        Ok(())
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
            self.task_role = role.map(str::to_owned);
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
        fields.set("execution_role", &self.execution_role);
        fields.set_some("task_role", self.task_role.as_ref());
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

pub(super) fn is_port(mapping: &PortMapping, port: u16) -> bool {
    let tcp = mapping
        .protocol()
        .is_none_or(|it| *it == TransportProtocol::Tcp);
    tcp && mapping.container_port() == Some(i32::from(port))
}

/// The mapping of this port, or else the first.
pub(super) fn main_port(mappings: &[PortMapping], port: u16) -> Option<&PortMapping> {
    let mut mappings_of_it = mappings.iter();
    let found = mappings_of_it.find(|mapping| is_port(mapping, port));
    found.or_else(|| mappings.first())
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

fn set_list(fields: &mut Fields, name: &str, list: &[String]) {
    if !list.is_empty() {
        fields.set(name, serde_json::json!(list));
    }
}

fn platform_text(family: &str, architecture: &str) -> String {
    format!("{family}/{architecture}")
}

fn describe_health(fields: &mut Fields, health: &Health) {
    set_list(fields, "health.command", &health.command);
    fields.set("health.interval", health.interval);
    fields.set("health.timeout", health.timeout);
    fields.set("health.retries", health.retries);
    fields.set("health.start_period", health.start_period);
}

/// The container of that name, or the only one.
pub(crate) fn container_of<'a>(
    definition: &'a TaskDefinition,
    name: &str,
) -> Option<&'a ContainerDefinition> {
    let containers = definition.container_definitions();
    let named = containers
        .iter()
        .find(|container| container.name() == Some(name));
    match containers {
        [only] => named.or(Some(only)),
        _ => named,
    }
}

/// What a secret variable takes its value from.
pub(crate) fn secret_of<'a>(container: &'a ContainerDefinition, variable: &str) -> Option<&'a str> {
    container
        .secrets()
        .iter()
        .find(|secret| secret.name() == variable)
        .map(Secret::value_from)
}

fn env_of<'a>(container: &'a ContainerDefinition, variable: &str) -> Option<&'a str> {
    container
        .environment()
        .iter()
        .find(|pair| pair.name() == Some(variable))
        .and_then(KeyValuePair::value)
}

/// The fields that a task definition has, in [`Blueprint::fields`]' terms, also those of which the manifest says nothing
/// (volumes, more containers), so that another hand's additions are seen. Which of several ports is the app's, the manifest
/// tells.
pub(crate) fn observed(definition: &TaskDefinition, container: &str, port: u16) -> Fields {
    let mut fields = Fields::new();
    fields.set_some("cpu", definition.cpu());
    fields.set_some("memory", definition.memory());
    fields.set_some("execution_role", definition.execution_role_arn());
    fields.set_some("task_role", definition.task_role_arn());
    fields.set_some(
        "network_mode",
        definition.network_mode().map(NetworkMode::as_str),
    );
    let compatibilities = definition.requires_compatibilities();
    // That it runs elsewhere too is no difference.
    let compatibilities = match compatibilities.contains(&Compatibility::Fargate) {
        true => Some(Compatibility::Fargate.as_str().to_owned()),
        false => joined(compatibilities.iter().map(Compatibility::as_str)),
    };
    fields.set_some("compatibility", compatibilities);
    let platform = definition.runtime_platform();
    fields.set(
        "platform",
        platform_text(
            // What Fargate takes when the definition says nothing.
            platform
                .and_then(|platform| platform.operating_system_family())
                .map_or("LINUX", OsFamily::as_str),
            platform
                .and_then(|platform| platform.cpu_architecture())
                .map_or("X86_64", CpuArchitecture::as_str),
        ),
    );
    if let Some(found) = container_of(definition, container) {
        describe_container(&mut fields, found, port);
    }
    kept::describe(&mut fields, definition, container, port);
    fields
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut words: Vec<&str> = words.collect();
    words.sort_unstable();
    (!words.is_empty()).then(|| words.join(", "))
}

fn describe_container(fields: &mut Fields, container: &ContainerDefinition, port: u16) {
    fields.set_some("container", container.name());
    fields.set_some("image", container.image());
    let main = main_port(container.port_mappings(), port).map(|port| {
        let protocol = port.protocol().map_or("tcp", TransportProtocol::as_str);
        format!("{}/{protocol}", port.container_port().unwrap_or_default())
    });
    fields.set_some("port", main);
    set_list(fields, "entrypoint", container.entry_point());
    set_list(fields, "command", container.command());
    let env = container.environment().iter();
    fields.set_all(
        "env",
        env.filter_map(|pair| Some((pair.name()?, pair.value().unwrap_or_default()))),
    );
    let secrets = container.secrets().iter();
    fields.set_all(
        "secrets",
        secrets.map(|secret| (secret.name(), secret.value_from())),
    );
    if let Some(check) = container.health_check() {
        describe_health(fields, &Health::there(check));
    }
    if let Some(logs) = container.log_configuration() {
        fields.set("logs.driver", logs.log_driver().as_str());
        let options = logs.options().into_iter().flatten();
        // The others are kept, unless the driver changes.
        let kept = *logs.log_driver() == LogDriver::Awslogs;
        let shown = options.filter(|(key, _)| !kept || LOG_OPTIONS.contains(&key.as_str()));
        fields.set_all("logs", shown);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:idp/db-AbCdEf";

    fn version(version: &str) -> SecretVersion {
        SecretVersion {
            secret: ARN.into(),
            version: version.into(),
        }
    }

    fn used(inject: Inject) -> SecretUse {
        SecretUse {
            secret: "db".into(),
            inject,
            member: None,
        }
    }

    fn health(command: &[&str]) -> Option<Health> {
        Health::of(&HealthSpec {
            path: "/health".into(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::from_secs(900),
        })
    }

    fn blueprint() -> Blueprint {
        Blueprint {
            container: "idp".into(),
            image: Value::Given(ImageRef("r/idp@sha256:1".into())),
            cpu: "512".into(),
            memory: 1024,
            architecture: Architecture::X86,
            execution_role: "arn:aws:iam::1:role/exec".into(),
            task_role: None,
            port: 8080,
            entrypoint: Vec::new(),
            command: vec!["serve".into()],
            env: BTreeMap::from([("B".into(), "2".into()), ("A".into(), "1".into())]),
            secrets: BTreeMap::from([
                ("DATABASE_URL".into(), used(Inject::Value)),
                ("DATABASE_SECRET".into(), used(Inject::Reference)),
            ]),
            pins: Pins::Inputs(BTreeMap::from([("db".into(), Value::Given(version("v1")))])),
            health: health(&["/idp", "health"]),
            logs: BTreeMap::from([("awslogs-group".into(), "/ecs/idp".into())]),
            base: None,
            unsaid: BTreeSet::new(),
        }
    }

    fn registered(blueprint: &Blueprint) -> TaskDefinition {
        TaskDefinition::builder()
            .cpu(&blueprint.cpu)
            .memory(blueprint.memory.to_string())
            .execution_role_arn(&blueprint.execution_role)
            .network_mode(NetworkMode::Awsvpc)
            .requires_compatibilities(Compatibility::Fargate)
            .runtime_platform(runtime_platform(blueprint.architecture))
            .set_container_definitions(Some(blueprint.containers().unwrap()))
            .build()
    }

    #[test]
    fn what_was_registered_does_not_differ_from_what_is_desired() {
        let blueprint = blueprint();
        let observed = observed(&registered(&blueprint), "idp", 8080);
        assert_eq!(observed.changes_to(&blueprint.fields()), []);
    }

    fn adopted() -> TaskDefinition {
        let mut there = registered(&blueprint());
        there.requires_compatibilities = Some(vec![Compatibility::Ec2, Compatibility::Fargate]);
        let containers = there.container_definitions.as_mut().unwrap();
        containers[0].readonly_root_filesystem = Some(true);
        containers[0].memory = Some(900);
        let port = &mut containers[0].port_mappings.as_mut().unwrap()[0];
        (port.name, port.host_port) = (Some("web".into()), Some(8080));
        let metrics = PortMapping::builder().container_port(9102).build();
        let ports = containers[0].port_mappings.as_mut().unwrap();
        ports.push(metrics);
        let sidecar = ContainerDefinition::builder()
            .name("agent")
            .image("agent:7");
        containers.insert(0, sidecar.build());
        there
    }

    #[test]
    fn what_the_manifest_has_no_word_for_goes_into_the_next_revision() {
        let mut next = blueprint();
        next.build_on(&adopted()).unwrap();
        let before = observed(&adopted(), "idp", 8080);
        assert_eq!(before.changes_to(&next.fields()), []);
        (next.port, next.memory) = (9090, 512);
        let containers = next.containers().unwrap();
        let [agent, ours] = containers.as_slice() else {
            panic!("{containers:#?}");
        };
        assert_eq!(agent.image(), Some("agent:7"));
        assert_eq!(ours.readonly_root_filesystem(), Some(true));
        // Its own limit stays within what the task has now.
        assert_eq!(ours.memory(), Some(512));
        let [main, metrics] = ours.port_mappings() else {
            panic!("{ours:#?}");
        };
        assert_eq!(
            (main.container_port(), main.name()),
            (Some(9090), Some("web"))
        );
        assert_eq!(main.host_port(), None, "ECS fills it in");
        assert_eq!(metrics.container_port(), Some(9102));
        let mut after = registered(&next);
        after.requires_compatibilities = adopted().requires_compatibilities;
        let changes = observed(&after, "idp", 9090).changes_to(&next.fields());
        assert_eq!(changes, []);
    }

    #[test]
    fn what_the_manifest_is_silent_about_stays_as_it_is_on_what_is_adopted() {
        let mut there = adopted();
        (there.cpu, there.memory) = (Some("4096".into()), Some("8192".into()));
        there.task_role_arn = Some("arn:aws:iam::1:role/theirs".into());
        let containers = there.container_definitions.as_mut().unwrap();
        containers[1].entry_point = Some(vec!["/bin/tini".into(), "--".into()]);
        containers[1].command = Some(vec!["serve".into(), "--fast".into()]);
        let check = HealthCheck::builder().command("CMD-SHELL").command("true");
        containers[1].health_check = Some(check.interval(60).build().unwrap());
        let mut bare = blueprint();
        bare.health = None;
        let keys = ["cpu", "memory", "entrypoint", "command", "health.command"];
        bare.unsaid = keys.map(str::to_owned).into();
        bare.unsaid.insert(TASK_ROLE.into());
        bare.build_on(&there).unwrap();
        let changes = observed(&there, "idp", 8080).changes_to(&bare.fields());
        assert_eq!(changes, []);
        // What it says is another matter, and a migration has a program of its own.
        bare.unsaid.remove("cpu");
        bare.cpu = "1024".into();
        bare.build_on(&there).unwrap();
        let changes = observed(&there, "idp", 8080).changes_to(&bare.fields());
        let fields: Vec<&str> = changes.iter().map(|change| change.field.as_str()).collect();
        assert_eq!(fields, ["cpu"]);
    }

    #[test]
    fn a_definition_of_several_containers_must_have_ours() {
        let mut other = blueprint();
        other.container = "web".into();
        let error = other.build_on(&adopted()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("no container `web`, but agent, idp"),
            "{error}"
        );
    }

    #[test]
    fn a_migration_of_its_own_takes_nothing_of_what_the_service_runs() {
        let migrate = MigrateSpec {
            job: "job".into(),
            entrypoint: vec!["/migrate".into()],
            command: Vec::new(),
            timeout: Duration::from_secs(60),
            database: None,
        };
        let containers = blueprint().running(&migrate).containers().unwrap();
        assert_eq!(containers[0].entry_point(), ["/migrate"]);
        assert_eq!(containers[0].command(), Vec::<String>::new());
        assert_eq!(containers[0].secrets().len(), 1);
    }

    #[test]
    fn a_new_secret_version_and_another_hand_s_change_are_seen() {
        let mut definition = registered(&blueprint());
        let containers = definition.container_definitions.as_mut().unwrap();
        containers[0].environment.as_mut().unwrap().pop();
        let mut desired = blueprint();
        desired.pins = Pins::Inputs(BTreeMap::from([("db".into(), Value::Given(version("v2")))]));
        let changes = observed(&definition, "idp", 8080).changes_to(&desired.fields());
        let fields: Vec<&str> = changes.iter().map(|change| change.field.as_str()).collect();
        assert_eq!(fields, ["env.DATABASE_SECRET", "secrets.DATABASE_URL"]);
    }

    #[test]
    fn a_code_only_deployment_keeps_the_pins_that_run() {
        let running = registered(&blueprint());
        let mut next = blueprint();
        next.pins = Pins::Running(BTreeMap::new());
        next.take_over(&running).unwrap();
        assert_eq!(next.fields(), blueprint().fields());
        next.secrets.insert("NEW".into(), used(Inject::Value));
        assert!(next.take_over(&running).is_err());
    }

    #[test]
    fn a_pin_names_one_version_and_keeps_a_json_key() {
        assert_eq!(pinned(&pin(None, &version("v1"))), Some(version("v1")));
        let member = pin(Some("password"), &version("v1"));
        assert_eq!(member, format!("{ARN}:password::v1"));
        assert_eq!(pinned(&member), Some(version("v1")));
        assert_eq!(pinned(ARN), None);
        assert_eq!(
            repin(&format!("{ARN}:url::v1"), &version("v2")),
            format!("{ARN}:url::v2")
        );
        assert_eq!(repin(ARN, &version("v2")), pin(None, &version("v2")));
    }

    #[test]
    fn a_health_check_stays_within_what_ecs_offers_and_needs_a_command() {
        assert_eq!(health(&[]), None);
        let check = health(&["/idp", "health"]).unwrap();
        assert_eq!(check.command, ["CMD", "/idp", "health"]);
        assert_eq!((check.interval, check.start_period), (5, 300));
        assert_eq!(health(&["CMD-SHELL", "x"]).unwrap().command[0], "CMD-SHELL");
    }
}
