//! What a registered task definition says, in the terms of what is desired; performs no IO.

use aws_sdk_ecs::types::{
    Compatibility, ContainerDefinition, CpuArchitecture, HealthCheck, KeyValuePair, LogDriver,
    NetworkMode, OsFamily, Secret, TaskDefinition, TransportProtocol,
};
use deployer_core::fields::Fields;
use deployer_core::spec::HealthSpec;

use super::kept::{self, LOG_OPTIONS, main_port};

pub(crate) use super::kept::container_of;

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
    pub(super) fn of(spec: &HealthSpec) -> Option<Self> {
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

    /// As it is there, with ECS's own defaults where a definition leaves them out.
    pub(super) fn there(check: &HealthCheck) -> Self {
        Self {
            command: check.command().to_vec(),
            interval: check.interval().unwrap_or(30),
            timeout: check.timeout().unwrap_or(5),
            retries: check.retries().unwrap_or(3),
            start_period: check.start_period().unwrap_or(0),
        }
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

pub(super) fn env_of<'a>(container: &'a ContainerDefinition, variable: &str) -> Option<&'a str> {
    container
        .environment()
        .iter()
        .find(|pair| pair.name() == Some(variable))
        .and_then(KeyValuePair::value)
}

/// The fields that a task definition has, in the terms of a blueprint's fields, also those of which
/// the manifest says nothing (volumes, more containers), so that another hand's additions are seen.
/// Which of several ports is the app's, the manifest tells.
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

pub(super) fn joined<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
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

pub(super) fn set_list(fields: &mut Fields, name: &str, list: &[String]) {
    if !list.is_empty() {
        fields.set(name, serde_json::json!(list));
    }
}

pub(super) fn platform_text(family: &str, architecture: &str) -> String {
    format!("{family}/{architecture}")
}

pub(super) fn describe_health(fields: &mut Fields, health: &Health) {
    set_list(fields, "health.command", &health.command);
    fields.set("health.interval", health.interval);
    fields.set("health.timeout", health.timeout);
    fields.set("health.retries", health.retries);
    fields.set("health.start_period", health.start_period);
}

/// The family in `arn:...:task-definition/FAMILY:REVISION`.
pub(crate) fn family_of(arn: &str) -> &str {
    let name = arn.rsplit('/').next().unwrap_or(arn);
    name.split(':').next().unwrap_or(name)
}

/// `FAMILY:REVISION`, for people.
pub(crate) fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_its_family_and_revision() {
        let arn = "arn:aws:ecs:us-east-1:123456789012:task-definition/idp:7";
        assert_eq!(family_of(arn), "idp");
        assert_eq!(short(arn), "idp:7");
    }
}
