//! One-offs on ECS: a task of the revision's own definition in the network of the service, with
//! another command.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::LogLine;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::graph::Value;
use deployer_core::one_off::{Exited, OneOffs, Order};
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};
use jiff::Timestamp;

use super::definition::STREAM_PREFIX;
use super::definition_read::container_of;
use super::jobs::{Network, Program, Tasks};
use super::lookup::describe;
use super::task_definition::{WithTags, describe_revision, short};
use super::{Names, autopsy};
use crate::client::Clients;
use crate::error::Told;
use crate::{logs, tags};

/// See [`deployer_core::capability::Runtime::one_offs`].
pub(super) async fn of(
    clients: &Arc<Clients>,
    env: &EnvironmentSpec,
    service: &ServiceSpec,
    order: Order,
) -> Result<Tasks> {
    let mut names = Names::of(clients, service);
    let (there, definition) = tokio::try_join!(
        describe(clients, &names.service, WithTags::No),
        describe_revision(clients, &order.revision.0),
    )?;
    let there = there.ok_or_else(|| {
        let what = format!("there is no service `{}`", names.service);
        Error::new(ErrorKind::NotFound, what).hint("`deployer apply` makes it")
    })?;
    let container = container_of(&definition, &names.container).ok_or_else(|| {
        let (revision, name) = (short(&order.revision.0), &names.container);
        let what = format!("{revision} has no container `{name}`");
        Error::new(ErrorKind::NotFound, what)
    })?;
    // An override is for a container by its name, which another hand may have chosen.
    names.container = container.name().unwrap_or_default().to_owned();
    // Where this revision prints to: the manifest may name another group by now.
    let options = container.log_configuration().and_then(|it| it.options());
    if let Some(group) = options.and_then(|options| options.get("awslogs-group")) {
        names.log_group.clone_from(group);
    }
    let network = match there.network_configuration() {
        Some(network) => Network::Of(network.clone()),
        None => Network::OfManifest,
    };
    Ok(Tasks {
        clients: Arc::clone(clients),
        _cluster: None,
        names,
        program: Program::Override(order.command),
        timeout: order.timeout,
        tags: tags::of(env),
        network,
        definition: Value::Given(order.revision),
        // A key that nobody has used is of no other service.
        others: BTreeSet::new(),
    })
}

impl Tasks {
    /// The log stream of a task's container: `PREFIX/CONTAINER/TASK` ("Send Amazon ECS logs to
    /// CloudWatch", ECS Developer Guide, `awslogs-stream-prefix`).
    fn stream(&self, id: &str) -> String {
        let task = autopsy::task_id(id);
        format!("{STREAM_PREFIX}/{}/{task}", self.names.container)
    }
}

#[async_trait]
impl OneOffs for Tasks {
    /// A task leaves nothing: ECS forgets it an hour after its end.
    fn holder(&self) -> Option<Address> {
        None
    }

    async fn has_holder(&self) -> Result<bool> {
        Ok(true)
    }

    async fn make_holder(&self) -> Result<()> {
        Ok(())
    }

    /// "The exit code returned from the container" (Container, ECS API Reference); none where it
    /// never ran to an end.
    async fn exited(&self, id: &str) -> Result<Exited> {
        let answer = self
            .clients
            .ecs
            .describe_tasks()
            .cluster(&self.clients.section.cluster)
            .tasks(id)
            .send()
            .await
            .told(|| format!("look at task `{}`", autopsy::task_id(id)))?;
        let containers = answer.tasks().first().map(|task| task.containers());
        let mut containers = containers.unwrap_or_default().iter();
        let ours = containers.find(|it| it.name() == Some(&self.names.container));
        let code = ours.and_then(|container| container.exit_code());
        Ok(code.map_or(Exited::Untold, Exited::With))
    }

    async fn lines(&self, id: &str, since: Timestamp, limit: usize) -> Result<Vec<LogLine>> {
        let stream = Some(vec![self.stream(id)]);
        logs::read(&self.clients, &self.names.log_group, stream, since, limit).await
    }

    fn look_command(&self, id: &str) -> String {
        let (task, cluster) = (autopsy::task_id(id), &self.clients.section.cluster);
        format!("aws ecs describe-tasks --cluster {cluster} --tasks {task}")
    }

    fn logs_command(&self, id: &str) -> String {
        let (group, stream) = (&self.names.log_group, self.stream(id));
        format!("aws logs tail {group} --log-stream-names {stream} --since 1d")
    }

    /// A task has no time of its own.
    fn ends_by_itself(&self) -> bool {
        false
    }
}
