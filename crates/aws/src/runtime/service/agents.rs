//! Whether what runs takes commands, where ECS went back from what was to make it so.

use aws_sdk_ecs::types::{DesiredStatus, Service, Task};

use crate::client::Clients;
use crate::runtime::{Names, rollout};

/// The deployment that ECS went back to, where its tasks take no commands although the service says
/// that they do. What is gone back to is a service revision, and that has no
/// `enableExecuteCommand` ("ServiceRevision", Amazon ECS API Reference): the service keeps what the
/// deployment that failed was to bring, and the tasks of before go on without the agent.
///
/// `None` where nothing was gone back to, without a call; and where the tasks may not be seen: to
/// know it is not worth another permission.
pub(super) async fn gone_back_to_without(
    clients: &Clients,
    names: &Names,
    service: &Service,
) -> Option<String> {
    rollout::went_back(service).filter(|_| service.enable_execute_command())?;
    let cluster = &clients.cluster.0;
    let list = clients.ecs.list_tasks().cluster(cluster);
    let list = list.service_name(&names.service);
    let listed = list.desired_status(DesiredStatus::Running).send().await;
    let arns = listed.ok()?.task_arns.filter(|arns| !arns.is_empty())?;
    let call = clients.ecs.describe_tasks().cluster(cluster);
    let described = call.set_tasks(Some(arns)).send().await.ok()?;
    let mut tasks = described.tasks().iter();
    let primary = rollout::newest(service)?;
    let is_without =
        |task: &Task| task.started_by() == Some(primary) && !task.enable_execute_command();
    tasks.any(is_without).then(|| primary.to_owned())
}
