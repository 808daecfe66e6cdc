//! What a task definition is to say, and what one says, in the same terms; performs no IO.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{
    Compatibility, ContainerDefinition, CpuArchitecture, HealthCheck, KeyValuePair,
    LogConfiguration, LogDriver, NetworkMode, OsFamily, PortMapping, RuntimePlatform, Secret,
    TaskDefinition, TransportProtocol,
};
use deployer_core::capability::{ImageRef, SecretVersion};
use deployer_core::error::{Error, Result};
use deployer_core::fields::{FieldValue, Fields};
use deployer_core::graph::Value;
use deployer_core::spec::{Architecture, HealthSpec, Inject, MilliCpu, SecretUse, ServiceSpec};

use super::Names;
use crate::client::Clients;
use crate::error::incomplete;

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
    entrypoint: Vec<String>,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    secrets: BTreeMap<String, SecretUse>,
    pub(super) pins: Pins,
    health: Option<Health>,
    logs: BTreeMap<String, String>,
}

/// The container's health check, within the ranges that ECS offers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Health {
    command: Vec<String>,
    interval: i32,
    timeout: i32,
    retries: i32,
    start_period: i32,
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
            env: service.env.clone(),
            secrets: service.secrets.clone(),
            pins,
            health: Health::of(&service.health),
            logs: logs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        }
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
        fields.set("containers", &self.container);
        fields.set_value("image", self.image.field(|image| image.0.clone()));
        fields.set("ports", format!("{}/tcp", self.port));
        fields.set("container_memory", self.memory);
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
        fields
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

    fn secret_value(&self, variable: &str, used: &SecretUse) -> Result<String> {
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

    /// The container as RegisterTaskDefinition takes it.
    pub(super) fn container(&self) -> Result<ContainerDefinition> {
        let mut env = self.env.clone();
        let mut secrets = Vec::new();
        for (variable, used) in &self.secrets {
            let value = self.secret_value(variable, used)?;
            match used.inject {
                Inject::Reference => {
                    env.insert(variable.clone(), value);
                }
                Inject::Value => secrets.push(
                    Secret::builder()
                        .name(variable)
                        .value_from(value)
                        .build()
                        .map_err(incomplete)?,
                ),
            }
        }
        let env = env
            .into_iter()
            .map(|(name, value)| KeyValuePair::builder().name(name).value(value).build());
        let port = PortMapping::builder()
            .container_port(i32::from(self.port))
            .protocol(TransportProtocol::Tcp)
            .build();
        Ok(ContainerDefinition::builder()
            .name(&self.container)
            .image(self.image.settled()?.0)
            .essential(true)
            // The task's memory is the container's: it has no neighbours.
            .memory(i32::try_from(self.memory).unwrap_or(i32::MAX))
            .port_mappings(port)
            .set_entry_point(some(&self.entrypoint))
            .set_command(some(&self.command))
            .set_environment(Some(env.collect()))
            .set_secrets(Some(secrets))
            .set_health_check(self.health_check()?)
            .log_configuration(self.log_configuration()?)
            .build())
    }

    fn health_check(&self) -> Result<Option<HealthCheck>> {
        let Some(health) = &self.health else {
            return Ok(None);
        };
        HealthCheck::builder()
            .set_command(Some(health.command.clone()))
            .interval(health.interval)
            .timeout(health.timeout)
            .retries(health.retries)
            .start_period(health.start_period)
            .build()
            .map(Some)
            .map_err(incomplete)
    }

    fn log_configuration(&self) -> Result<LogConfiguration> {
        LogConfiguration::builder()
            .log_driver(LogDriver::Awslogs)
            .set_options(Some(self.logs.clone().into_iter().collect()))
            .build()
            .map_err(incomplete)
    }
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

fn injected(used: &SecretUse, version: &SecretVersion) -> String {
    match used.inject {
        Inject::Value => pin(used.member.as_deref(), version),
        Inject::Reference => version.secret.clone(),
    }
}

fn some(list: &[String]) -> Option<Vec<String>> {
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

/// The fields that a task definition has, in [`Blueprint::fields`]' terms. What we never set
/// (volumes, more containers) shows too, so that another hand's additions are seen.
pub(crate) fn observed(definition: &TaskDefinition, container: &str) -> Fields {
    let mut fields = Fields::new();
    fields.set_some("cpu", definition.cpu());
    fields.set_some("memory", definition.memory());
    fields.set_some("execution_role", definition.execution_role_arn());
    fields.set_some("task_role", definition.task_role_arn());
    fields.set_some(
        "network_mode",
        definition.network_mode().map(NetworkMode::as_str),
    );
    let compatibilities = definition.requires_compatibilities().iter();
    let compatibilities = joined(compatibilities.map(Compatibility::as_str));
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
    let volumes = definition
        .volumes()
        .iter()
        .filter_map(|volume| volume.name());
    fields.set_some("volumes", joined(volumes));
    let names = definition.container_definitions().iter();
    fields.set_some(
        "containers",
        joined(names.filter_map(|container| container.name())),
    );
    if let Some(container) = container_of(definition, container) {
        describe_container(&mut fields, container);
    }
    fields
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut words: Vec<&str> = words.collect();
    words.sort_unstable();
    (!words.is_empty()).then(|| words.join(", "))
}

fn describe_container(fields: &mut Fields, container: &ContainerDefinition) {
    fields.set_some("image", container.image());
    fields.set_some("container_memory", container.memory());
    let ports: Vec<String> = container
        .port_mappings()
        .iter()
        .map(|port| {
            let protocol = port.protocol().map_or("tcp", TransportProtocol::as_str);
            format!("{}/{protocol}", port.container_port().unwrap_or_default())
        })
        .collect();
    fields.set_some("ports", joined(ports.iter().map(String::as_str)));
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
        describe_health(
            fields,
            &Health {
                command: check.command().to_vec(),
                // ECS's own defaults, where a hand-made definition leaves them out.
                interval: check.interval().unwrap_or(30),
                timeout: check.timeout().unwrap_or(5),
                retries: check.retries().unwrap_or(3),
                start_period: check.start_period().unwrap_or(0),
            },
        );
    }
    if let Some(logs) = container.log_configuration() {
        fields.set("logs.driver", logs.log_driver().as_str());
        fields.set_all("logs", logs.options().into_iter().flatten());
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
        }
    }

    fn registered(blueprint: &Blueprint) -> TaskDefinition {
        TaskDefinition::builder()
            .cpu(&blueprint.cpu)
            .memory(blueprint.memory.to_string())
            .execution_role_arn(&blueprint.execution_role)
            .network_mode(NetworkMode::Awsvpc)
            .requires_compatibilities(Compatibility::Fargate)
            .runtime_platform(runtime_platform(Architecture::X86))
            .container_definitions(blueprint.container().unwrap())
            .build()
    }

    #[test]
    fn what_was_registered_does_not_differ_from_what_is_desired() {
        let blueprint = blueprint();
        let observed = observed(&registered(&blueprint), "idp");
        assert_eq!(observed.changes_to(&blueprint.fields()), []);
    }

    #[test]
    fn a_new_secret_version_and_another_hand_s_change_are_seen() {
        let mut definition = registered(&blueprint());
        let containers = definition.container_definitions.as_mut().unwrap();
        containers[0].environment.as_mut().unwrap().pop();
        let mut desired = blueprint();
        desired.pins = Pins::Inputs(BTreeMap::from([("db".into(), Value::Given(version("v2")))]));
        let changes = observed(&definition, "idp").changes_to(&desired.fields());
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
