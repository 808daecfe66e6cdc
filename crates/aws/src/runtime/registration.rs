//! The call that registers a task definition: what the manifest says, over what is there; performs
//! no IO.

use aws_sdk_ecs::operation::register_task_definition::builders::RegisterTaskDefinitionFluentBuilder;
use aws_sdk_ecs::types::{
    Compatibility, ContainerDefinition, HealthCheck, KeyValuePair, LogConfiguration, LogDriver,
    NetworkMode, PortMapping, Secret, TaskDefinition, TaskDefinitionPlacementConstraint,
    TransportProtocol,
};
use deployer_core::error::Result;
use deployer_core::graph::Value;
use deployer_core::spec::Inject;

use super::definition::{Blueprint, runtime_platform, some};
use super::kept::{is_port, main_port};
use super::once;
use crate::error::incomplete;

impl Blueprint {
    /// The containers as RegisterTaskDefinition takes them: ours, and the others as they are.
    pub(super) fn containers(&self) -> Result<Vec<ContainerDefinition>> {
        let ours = self.our_container()?;
        let Some(base) = &self.base else {
            return Ok(vec![ours]);
        };
        let place = self.base_container().and_then(ContainerDefinition::name);
        let mut containers = base.container_definitions().to_vec();
        match containers.iter_mut().find(|it| it.name() == place) {
            Some(found) => *found = ours,
            None => containers.insert(0, ours),
        }
        Ok(containers)
    }

    fn our_container(&self) -> Result<ContainerDefinition> {
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
        let base = self.base_container().cloned();
        let mut ours = base.unwrap_or_else(|| {
            ContainerDefinition::builder()
                .essential(true)
                // The task's memory is the container's: it has no neighbours.
                .memory(i32::try_from(self.memory).unwrap_or(i32::MAX))
                .build()
        });
        ours.name = Some(self.container.clone());
        ours.image = Some(self.image.settled()?.0);
        ours.memory = self.container_memory();
        ours.port_mappings = Some(self.port_mappings());
        ours.entry_point = some(&self.entrypoint);
        ours.command = some(&self.command);
        ours.environment = Some(env.collect());
        ours.secrets = Some(secrets);
        ours.health_check = self.health_check()?;
        ours.log_configuration = Some(self.log_configuration()?);
        if self.once {
            once::put_right(&mut ours);
        }
        Ok(ours)
    }

    /// The container's own limit: the task's memory where it has none else; another limit is
    /// somebody's, and stays within the task's.
    pub(super) fn container_memory(&self) -> Option<i32> {
        let all = i32::try_from(self.memory).unwrap_or(i32::MAX);
        let (Some(base), Some(container)) = (&self.base, self.base_container()) else {
            return Some(all);
        };
        let had = container.memory()?;
        let alone = base.container_definitions().len() == 1;
        match alone && base.memory() == Some(had.to_string().as_str()) {
            true => Some(all),
            false => Some(had.min(all)),
        }
    }

    /// The port with what is said of it beyond its number, and the other ports. A changed number is
    /// that of the first.
    pub(super) fn port_mappings(&self) -> Vec<PortMapping> {
        let new = || {
            PortMapping::builder()
                .container_port(i32::from(self.port))
                .protocol(TransportProtocol::Tcp)
                .build()
        };
        let had = self
            .base_container()
            .map(|container| container.port_mappings().to_vec());
        let mut mappings = had.unwrap_or_default();
        if main_port(&mappings, self.port).is_some_and(|main| is_port(main, self.port)) {
            return mappings;
        }
        match mappings.first_mut() {
            Some(first) => {
                first.container_port = Some(i32::from(self.port));
                // With awsvpc they are one, and ECS fills this in.
                first.host_port = None;
                first.protocol = Some(TransportProtocol::Tcp);
            }
            None => mappings.push(new()),
        }
        mappings
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

    /// Ours, with the options of the same driver that the manifest says nothing of.
    fn log_configuration(&self) -> Result<LogConfiguration> {
        let base = self
            .base_container()
            .and_then(ContainerDefinition::log_configuration)
            .filter(|logs| *logs.log_driver() == LogDriver::Awslogs);
        let mut options = base
            .and_then(LogConfiguration::options)
            .cloned()
            .unwrap_or_default();
        options.extend(self.logs.clone());
        LogConfiguration::builder()
            .log_driver(LogDriver::Awslogs)
            .set_options(Some(options))
            .set_secret_options(base.and_then(|logs| logs.secret_options.clone()))
            .build()
            .map_err(incomplete)
    }

    /// A call that registers it, but for its tags: everything that is there and that the manifest
    /// does not say goes with it.
    pub(super) fn registration(
        &self,
        ecs: &aws_sdk_ecs::Client,
        family: &str,
    ) -> Result<RegisterTaskDefinitionFluentBuilder> {
        let call = match &self.base {
            Some(base) => as_it_is(ecs, base),
            None => ecs.register_task_definition(),
        };
        let mut compatibilities = match &self.base {
            Some(base) => base.requires_compatibilities().to_vec(),
            None => Vec::new(),
        };
        if !compatibilities.contains(&Compatibility::Fargate) {
            compatibilities.push(Compatibility::Fargate);
        }
        let task_role = self.roles.task.as_ref().map(Value::settled).transpose()?;
        Ok(call
            .family(family)
            .network_mode(NetworkMode::Awsvpc)
            .set_requires_compatibilities(Some(compatibilities))
            .runtime_platform(runtime_platform(self.architecture))
            .cpu(&self.cpu)
            .memory(self.memory.to_string())
            .execution_role_arn(self.roles.execution.settled()?.0)
            .set_task_role_arn(task_role.map(|role| role.0))
            .set_container_definitions(Some(self.containers()?)))
    }
}

/// A call that registers another revision of a definition, equal to it but for its tags: every
/// member that RegisterTaskDefinition takes.
pub(super) fn as_it_is(
    ecs: &aws_sdk_ecs::Client,
    definition: &TaskDefinition,
) -> RegisterTaskDefinitionFluentBuilder {
    let it = definition.clone();
    let role = |arn: Option<String>| arn.filter(|arn| !arn.is_empty());
    ecs.register_task_definition()
        .set_family(it.family)
        .set_task_role_arn(role(it.task_role_arn))
        .set_execution_role_arn(role(it.execution_role_arn))
        .set_network_mode(it.network_mode)
        .set_container_definitions(it.container_definitions)
        .set_volumes(it.volumes.filter(|list| !list.is_empty()))
        .set_placement_constraints(it.placement_constraints.map(|constraints| {
            let constraints = constraints.into_iter();
            constraints
                .map(|one| {
                    TaskDefinitionPlacementConstraint::builder()
                        .set_type(one.r#type)
                        .set_expression(one.expression)
                        .build()
                })
                .collect()
        }))
        .set_requires_compatibilities(it.requires_compatibilities)
        .set_cpu(it.cpu)
        .set_memory(it.memory)
        .set_runtime_platform(it.runtime_platform)
        // Empty words, which emulators echo, are no values.
        .set_pid_mode(it.pid_mode.filter(|mode| !mode.as_str().is_empty()))
        .set_ipc_mode(it.ipc_mode.filter(|mode| !mode.as_str().is_empty()))
        .set_proxy_configuration(it.proxy_configuration)
        .set_ephemeral_storage(it.ephemeral_storage)
        .set_enable_fault_injection(it.enable_fault_injection)
}
