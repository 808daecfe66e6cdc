//! Which log streams the tasks of a service print to.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ecs::types::DesiredStatus;
use deployer_core::capability::Revision;
use deployer_core::error::Result;

use super::Names;
use super::definition::STREAM_PREFIX;
use super::task_definition::short;
use super::tasks::AT_ONCE;
use super::tasks::task_id;
use crate::client::Clients;
use crate::error::{Told, code};

/// For how long ECS tells of a task that stopped (DescribeTasks, Amazon ECS API Reference).
pub(crate) const TASKS_TOLD: Duration = Duration::from_secs(60 * 60);

/// The log stream of a task's container: `PREFIX/CONTAINER/TASK` ("Send Amazon ECS logs to
/// CloudWatch", ECS Developer Guide, `awslogs-stream-prefix`).
pub(crate) fn stream_of(names: &Names, task: &str) -> String {
    format!("{STREAM_PREFIX}/{}/{}", names.container, task_id(task))
}

/// The streams of the service's tasks of one task definition that ECS still tells of. None where
/// there is no such service.
pub(crate) async fn streams_of(
    clients: &Clients,
    names: &Names,
    revision: &Revision,
) -> Result<BTreeSet<String>> {
    let service = &names.service;
    let what =
        || format!("look for the tasks of service `{service}` (ecs:ListTasks, ecs:DescribeTasks)");
    let mut arns = Vec::new();
    for status in [DesiredStatus::Running, DesiredStatus::Stopped] {
        let list = clients.ecs.list_tasks();
        let list = list.cluster(&clients.cluster.0).service_name(service);
        let mut pages = list.desired_status(status).into_paginator().send();
        while let Some(page) = pages.next().await {
            match page {
                Err(error) if code(&error) == Some("ServiceNotFoundException") => {
                    return Ok(BTreeSet::new());
                }
                page => arns.extend(page.told(what)?.task_arns.unwrap_or_default()),
            }
        }
    }
    let mut streams = BTreeSet::new();
    for arns in arns.chunks(AT_ONCE) {
        let describe = clients.ecs.describe_tasks();
        let describe = describe.cluster(&clients.cluster.0);
        let answer = describe.set_tasks(Some(arns.to_vec())).send().await;
        let tasks = answer.told(what)?.tasks.unwrap_or_default();
        let of_it = tasks.iter().filter(|task| {
            let definition = task.task_definition_arn().unwrap_or_default();
            short(definition) == short(&revision.0)
        });
        let arns = of_it.filter_map(|task| task.task_arn());
        streams.extend(arns.map(|arn| stream_of(names, arn)));
    }
    Ok(streams)
}
