//! A command in a task that serves, with somebody in front of it.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_ecs::types::Task;
use deployer_core::capability::{Console, Keyboard, Over, Shown};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::spec::ServiceSpec;
use deployer_session::{Closed, Input, Output, Session};

use super::lookup::describe;
use super::task_definition::WithTags;
use super::{Names, exec, service_calls, sessions, tasks};
use crate::client::Clients;

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
    let mut tasks = tasks::of_service(clients, &names.service).await?;
    tasks.retain(|task| task.last_status() == Some("RUNNING"));
    let task = chosen(&tasks, instance, serving).ok_or_else(|| {
        let running = tasks.iter().filter_map(Task::task_arn);
        let running: Vec<&str> = running.map(tasks::task_id).collect();
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
    let place = format!("task `{}`", tasks::task_id(arn));
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
    let container = container(task, &names.container)?;
    sessions::must_be_plain(clients, "run it with `deployer run SERVICE -- COMMAND`").await?;
    let begun = exec::begin(clients, (arn, container), command).await?;
    let session = begun.open(clients).await?;
    Ok(Box::new(InTask { place, session }))
}

/// The container of a task that the manifest names, or the only one: another hand may have chosen
/// its name.
///
/// Errors: not found, when it has several others.
fn container<'a>(task: &'a Task, named: &'a str) -> Result<&'a str> {
    let there = task.containers().iter().filter_map(|it| it.name());
    let there: Vec<&str> = there.collect();
    match there.as_slice() {
        [only] => Ok(only),
        // Of a task that is said to have none, ECS knows better.
        [] => Ok(named),
        several if several.contains(&named) => Ok(named),
        several => {
            let id = tasks::task_id(task.task_arn().unwrap_or_default());
            let message = format!("task `{id}` has no container `{named}`");
            Err(Error::new(ErrorKind::NotFound, message).hint(format!(
                "name the app's one, `container` in `[targets.aws.services.NAME]`: it has {}",
                several.join(", ")
            )))
        }
    }
}

/// The task whose id begins so; else the newest one of the revision that is to serve, else the
/// newest.
fn chosen<'a>(tasks: &'a [Task], instance: Option<&str>, serving: &str) -> Option<&'a Task> {
    let id = |task: &Task| tasks::task_id(task.task_arn().unwrap_or_default()).to_owned();
    if let Some(wanted) = instance {
        // A whole ARN is as good as its end.
        let wanted = tasks::task_id(wanted);
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
            // Where the cluster could not be asked.
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
    use aws_sdk_ecs::types::Container;

    use super::*;

    fn task(id: &str, definition: &str, made: i64) -> Task {
        Task::builder()
            .task_arn(format!("arn:aws:ecs:r:1:task/default/{id}"))
            .task_definition_arn(definition)
            .created_at(DateTime::from_secs(made))
            .build()
    }

    #[test]
    fn the_only_container_is_meant_whatever_it_is_called() {
        let of = |names: &[&str]| {
            let names = names.iter();
            let containers = names.map(|name| Container::builder().name(*name).build());
            let task = Task::builder().set_containers(Some(containers.collect()));
            task.task_arn("arn:aws:ecs:r:1:task/default/0a1b").build()
        };
        let found = |task: &Task| container(task, "idp").map(str::to_owned);
        assert_eq!(found(&of(&["web"])).unwrap(), "web");
        assert_eq!(found(&of(&["web", "idp"])).unwrap(), "idp");
        let error = found(&of(&["web", "agent"])).unwrap_err();
        assert!(error.hint_text().unwrap().contains("web, agent"));
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
            task.and_then(Task::task_arn).map(tasks::task_id)
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
