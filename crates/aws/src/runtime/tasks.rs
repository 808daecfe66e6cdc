//! Tasks: what one is called, and those of a service that are to run, all of them.

use aws_sdk_ecs::types::{DesiredStatus, Task};
use deployer_core::error::Result;

use crate::client::Clients;
use crate::error::Told as _;

/// The most tasks that DescribeTasks takes in one call; ListTasks gives as many in a page.
pub(super) const AT_ONCE: usize = 100;

/// The id at the end of a task's ARN.
pub(crate) fn task_id(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// The tasks of a service that are to run, in no order.
///
/// Errors: denied, when they may not be seen; not found, when there is no such service.
pub(super) async fn of_service(clients: &Clients, service: &str) -> Result<Vec<Task>> {
    let what =
        || format!("look for the tasks of service `{service}` (ecs:ListTasks, ecs:DescribeTasks)");
    let cluster = &clients.cluster.0;
    let list = clients.ecs.list_tasks().cluster(cluster);
    let list = list.service_name(service);
    let mut pages = list
        .desired_status(DesiredStatus::Running)
        .into_paginator()
        .send();
    let mut arns = Vec::new();
    while let Some(page) = pages.next().await {
        arns.extend(page.told(what)?.task_arns.unwrap_or_default());
    }
    let mut tasks = Vec::new();
    for arns in arns.chunks(AT_ONCE) {
        let call = clients.ecs.describe_tasks().cluster(cluster);
        let described = call
            .set_tasks(Some(arns.to_vec()))
            .send()
            .await
            .told(what)?;
        tasks.extend(described.tasks.unwrap_or_default());
    }
    Ok(tasks)
}
