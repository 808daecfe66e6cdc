//! Whether what runs takes commands, where ECS went back from what was to make it so.

use aws_sdk_ecs::types::{Service, Task};

use crate::client::Clients;
use crate::runtime::{Names, rollout, tasks};

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
    let tasks = tasks::of_service(clients, &names.service).await.ok()?;
    let primary = rollout::newest(service)?;
    let is_without =
        |task: &Task| task.started_by() == Some(primary) && !task.enable_execute_command();
    tasks.iter().any(is_without).then(|| primary.to_owned())
}
