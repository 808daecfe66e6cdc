//! What a registered task definition says, in the terms of what is desired; performs no IO.

use aws_sdk_ecs::types::{
    Compatibility, ContainerDefinition, CpuArchitecture, KeyValuePair, LogDriver, NetworkMode,
    OsFamily, Secret, TaskDefinition, TransportProtocol,
};
use deployer_core::fields::Fields;

use super::definition::{Health, LOG_OPTIONS, describe_health, main_port, platform_text, set_list};
use super::kept;

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
