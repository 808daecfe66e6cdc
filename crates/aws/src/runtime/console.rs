//! A command in a task that serves, with somebody in front of it.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_ecs::types::{DesiredStatus, Task};
use deployer_core::capability::{Console, Keyboard, Over, Shown};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::spec::ServiceSpec;
use deployer_session::{Closed, Input, Output, Session};

use super::lookup::describe;
use super::task_definition::WithTags;
use super::{Names, autopsy, exec, service_calls};
use crate::client::Clients;
use crate::error::Told as _;

/// See [`deployer_core::capability::Services::console`].
pub(super) async fn open(
    clients: &Clients,
    spec: &ServiceSpec,
    instance: Option<&str>,
    command: &[String],
) -> Result<Box<dyn Console>> {
    let names = Names::of(clients, spec);
    let service = describe(clients, &names.service, WithTags::No).await?;
    let service = service.ok_or_else(|| service_calls::absent(&names.service))?;
    let serving = service.task_definition().unwrap_or_default();
    let tasks = running(clients, &names).await?;
    let task = chosen(&tasks, instance, serving).ok_or_else(|| {
        let running = tasks.iter().filter_map(Task::task_arn);
        let running: Vec<&str> = running.map(autopsy::task_id).collect();
        let message = match instance {
            Some(instance) => format!("no task `{instance}` of `{}` runs", names.service),
            None => format!("no task of `{}` runs", names.service),
        };
        Error::new(ErrorKind::NotFound, message).hint(match running.as_slice() {
            [] => "`deployer status` says how it stands".to_owned(),
            running => format!("these do: {}", running.join(", ")),
        })
    })?;
    let arn = task.task_arn().unwrap_or_default();
    let place = format!("task `{}`", autopsy::task_id(arn));
    if !task.enable_execute_command() {
        let message = format!("{place} takes no commands");
        let key = &spec.key;
        let hint = match service.enable_execute_command() {
            // "You can't turn on ECS Exec for existing tasks" (Amazon ECS Developer Guide, "Monitor
            // Amazon ECS containers with ECS Exec").
            true => {
                "it began before its service was to: the next roll-out has tasks that do".to_owned()
            }
            false => format!(
                "set `enable_execute_command = true` in `[targets.aws.services.{key}]` and `task_role` in `[targets.aws]` (it \
                 allows ssmmessages:*Channel); tasks that an apply starts from then on take them"
            ),
        };
        return Err(Error::input(message).hint(hint));
    }
    let begun = exec::begin(clients, (arn, &names.container), command).await?;
    let session = begun.open(clients).await?;
    Ok(Box::new(InTask { place, session }))
}

async fn running(clients: &Clients, names: &Names) -> Result<Vec<Task>> {
    let what = || {
        let name = &names.service;
        format!("look for the tasks of service `{name}` (ecs:ListTasks, ecs:DescribeTasks)")
    };
    let list = clients.ecs.list_tasks();
    let list = list.cluster(&clients.cluster.0);
    let list = list.service_name(&names.service);
    let listed = list.desired_status(DesiredStatus::Running).send().await;
    let arns = listed.told(what)?.task_arns.unwrap_or_default();
    if arns.is_empty() {
        return Ok(Vec::new());
    }
    let call = clients.ecs.describe_tasks();
    let call = call.cluster(&clients.cluster.0);
    let described = call.set_tasks(Some(arns)).send().await.told(what)?;
    let mut tasks = described.tasks.unwrap_or_default();
    tasks.retain(|task| task.last_status() == Some("RUNNING"));
    Ok(tasks)
}

/// The task whose id begins so; else the newest one of the revision that is to serve, else the
/// newest.
fn chosen<'a>(tasks: &'a [Task], instance: Option<&str>, serving: &str) -> Option<&'a Task> {
    let id = |task: &Task| autopsy::task_id(task.task_arn().unwrap_or_default()).to_owned();
    if let Some(wanted) = instance {
        // A whole ARN is as good as its end.
        let wanted = autopsy::task_id(wanted);
        return tasks.iter().find(|task| id(task).starts_with(wanted));
    }
    let made = |task: &&Task| {
        let at = task.created_at().map(|at| (at.secs(), at.subsec_nanos()));
        (task.task_definition_arn() == Some(serving), at)
    };
    tasks.iter().max_by_key(made)
}

struct InTask {
    place: String,
    session: Session,
}

struct Keys(Input);

#[async_trait]
impl Console for InTask {
    fn place(&self) -> &str {
        &self.place
    }

    async fn next(&mut self) -> Option<Shown> {
        loop {
            return match self.session.next().await? {
                Output::Stdout(bytes) | Output::Stderr(bytes) => Some(Shown::Bytes(bytes.into())),
                Output::Notice(words) => Some(Shown::Notice(words)),
                // Of a program without a terminal, which ECS does not run.
                Output::Exit(_) => continue,
            };
        }
    }

    fn keyboard(&self) -> Arc<dyn Keyboard> {
        Arc::new(Keys(self.session.input()))
    }

    async fn over(self: Box<Self>) -> Over {
        match self.session.closed().await {
            Closed::Remote(words) => Over::Ended(words),
            closed @ Closed::Encrypted(_) => Over::Ended(Some(closed.to_string())),
            closed @ (Closed::Local | Closed::Lost(_)) => Over::Lost(closed.to_string()),
        }
    }
}

#[async_trait]
impl Keyboard for Keys {
    async fn put(&self, keys: Vec<u8>) -> bool {
        self.0.send(keys).await.is_ok()
    }

    async fn resize(&self, columns: u32, rows: u32) -> bool {
        self.0.resize(columns, rows).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::primitives::DateTime;

    use super::*;

    fn task(id: &str, definition: &str, made: i64) -> Task {
        Task::builder()
            .task_arn(format!("arn:aws:ecs:r:1:task/default/{id}"))
            .task_definition_arn(definition)
            .created_at(DateTime::from_secs(made))
            .build()
    }

    #[test]
    fn the_newest_task_of_what_is_to_serve_is_chosen_unless_one_is_named() {
        let tasks = [
            task("0a1b", "d:2", 10),
            task("0c2d", "d:2", 20),
            task("1e3f", "d:1", 30),
        ];
        let id = |instance, serving| {
            let task: Option<&Task> = chosen(&tasks, instance, serving);
            task.and_then(Task::task_arn).map(autopsy::task_id)
        };
        assert_eq!(id(None, "d:2"), Some("0c2d"));
        assert_eq!(id(None, "d:3"), Some("1e3f"));
        assert_eq!(id(Some("0a"), "d:2"), Some("0a1b"));
        assert_eq!(
            id(Some("arn:aws:ecs:r:1:task/default/1e3f"), "d:2"),
            Some("1e3f")
        );
        assert_eq!(id(Some("ff"), "d:2"), None);
    }
}
