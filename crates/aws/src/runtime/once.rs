//! What keeps a program from being run once in a task of a service's own definition; performs no
//! IO.
//!
//! "Amazon ECS can restart the container if it exits" (`ContainerRestartPolicy`, Amazon ECS API
//! Reference), by default once it ran for 300 seconds, and RunTask overrides no such policy. A
//! container that is not essential does not end its task. Programs that run once have a definition
//! of their own there, in which both are otherwise.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{ContainerDefinition, CpuArchitecture, TaskDefinition};
use deployer_core::capability::ImageRef;
use deployer_core::graph::Value;
use deployer_core::spec::{Architecture, Inject, SecretUse, ServiceSpec};

use super::Names;
use super::definition::{Blueprint, Pins};
use super::definition_read::Health;
use super::kept::{LOG_OPTIONS, main_port};
use crate::client::Clients;
use crate::ground::{ExecutionRole, Ground, Roles, TaskRole};

/// Why a program in this container would not be run once, or never be over; in words.
pub(super) fn obstacle(container: &ContainerDefinition) -> Option<&'static str> {
    let policy = container.restart_policy();
    match policy.is_some_and(|policy| policy.enabled()) {
        true => Some("its container has a restart policy, by which ECS runs it again"),
        false if container.essential() == Some(false) => {
            Some("its container is not essential, and a task goes on without it")
        }
        false => None,
    }
}

/// The same for good in a container that is to be registered.
pub(super) fn put_right(container: &mut ContainerDefinition) {
    container.restart_policy = None;
    container.essential = Some(true);
}

/// A definition of a one-off's own: all that this one says, but for that.
pub(super) fn of_what_serves(
    clients: &Clients,
    service: &ServiceSpec,
    names: &Names,
    (definition, container): (&TaskDefinition, &ContainerDefinition),
) -> Blueprint {
    let used = |variable: &str| SecretUse {
        secret: variable.to_owned(),
        member: None,
        inject: Inject::Value,
    };
    let given = container.secrets().iter();
    let pins: BTreeMap<String, String> = given
        .map(|secret| (secret.name().to_owned(), secret.value_from().to_owned()))
        .collect();
    let secrets = pins.keys();
    let secrets = secrets.map(|variable| (variable.clone(), used(variable)));
    let env = container
        .environment()
        .iter()
        .filter_map(|variable| Some((variable.name()?.to_owned(), variable.value()?.to_owned())));
    let said = |arn: Option<&str>| arn.filter(|arn| !arn.is_empty()).map(str::to_owned);
    let roles = Ground::given(&clients.section).roles;
    let roles = Roles {
        execution: match said(definition.execution_role_arn()) {
            Some(arn) => Value::Given(ExecutionRole(arn)),
            None => roles.execution,
        },
        task: said(definition.task_role_arn()).map(|arn| Value::Given(TaskRole(arn))),
    };
    let image = Value::Given(ImageRef(container.image().unwrap_or_default().to_owned()));
    let secrets = secrets.collect();
    let new = Blueprint::new(
        clients,
        service,
        (names, roles),
        image,
        Pins::Running(pins.clone()),
    );
    let mut logs = new.logs.clone();
    let options = container.log_configuration().and_then(|it| it.options());
    let options = options.into_iter().flatten();
    let ours = options.filter(|(key, _)| LOG_OPTIONS.contains(&key.as_str()));
    logs.extend(ours.map(|(key, value)| (key.clone(), value.clone())));
    let port = main_port(container.port_mappings(), new.port);
    let port = port.and_then(|port| u16::try_from(port.container_port()?).ok());
    let memory = definition.memory().and_then(|memory| memory.parse().ok());
    let platform = definition.runtime_platform();
    Blueprint {
        cpu: definition.cpu().unwrap_or(&new.cpu).to_owned(),
        memory: memory.unwrap_or(new.memory),
        architecture: match platform.and_then(|platform| platform.cpu_architecture()) {
            Some(CpuArchitecture::Arm64) => Architecture::Arm,
            Some(_) | None => Architecture::X86,
        },
        port: port.unwrap_or(new.port),
        entrypoint: container.entry_point().to_vec(),
        command: container.command().to_vec(),
        env: env.collect(),
        secrets,
        health: container.health_check().map(Health::there),
        logs,
        base: Some(Box::new(definition.clone())),
        unsaid: std::collections::BTreeSet::new(),
        once: true,
        ..new
    }
}
