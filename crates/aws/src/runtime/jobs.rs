//! One-off executions on ECS: a task that is started by a token, found by who started it, looked at
//! and stopped.
//!
//! ECS can override a task's command, not its entry point: what has another entry point than the
//! service's has a task definition of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ecs::error::SdkError;
use aws_sdk_ecs::operation::run_task::{RunTaskError, RunTaskOutput};
use aws_sdk_ecs::types::{
    ContainerOverride, DesiredStatus, LaunchType, NetworkConfiguration, Tag, Task, TaskOverride,
    TaskStopCode,
};
use deployer_core::capability::{Revision, SecretVersion};
use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::Fields;
use deployer_core::graph::Value;
use deployer_core::jobs::{End, Execution, Jobs, Nth, Started, State, Trail};
use deployer_core::node::Watch;
use deployer_core::wait::{Look, Pace, poll};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::definition_read::container_of;
use super::refusals::{self, NO_ROOM, PASSING, SETTLING};
use super::task_definition::{TaskDefinition, describe_revision, family_of, short};
use super::tasks::AT_ONCE;
use super::waiting::{self, Awaited, INSTEAD};
use super::{Names, autopsy, exec, once, sessions, tasks};
use crate::client::Clients;
use crate::error::{Told, failure, words};
use crate::ground::{ClusterName, Network};
use crate::tags::Tags;

/// How long an execution whose id was lost is certain to be known: "The maximum TTL for the client
/// token is the smaller of 24 hours, or the lifetime of the resource plus one hour" (Amazon ECS API
/// Reference, "Ensuring idempotency"), and stopped tasks are shown "for at least one hour"
/// (DescribeTasks, ListTasks). A task may end at once; some minutes are left to the difference of
/// clocks.
const MEMORY: Duration = Duration::from_secs(55 * 60);
/// What a task takes beside the time of its program, at most, by clocks that differ.
const BESIDES: Duration = Duration::from_secs(60 * 60);
/// Where an execution's program stands.
#[derive(Clone)]
pub(super) enum Program {
    /// It is the service's entry point with this command, which the call says.
    Override(Vec<String>),
    /// In a task definition of its own.
    OfDefinition,
    /// Nowhere: the task definition of its own waits for it, and it is run in the task.
    Awaited(Awaited),
}

/// Where a task runs.
#[derive(Clone, Debug)]
pub(super) enum Where {
    /// In this network, with a public address where the manifest says so.
    InGround(Network),
    /// As something that runs has it.
    Of(NetworkConfiguration),
}

/// The one-off tasks of one service.
pub(crate) struct Tasks {
    pub(super) clients: Arc<Clients>,
    pub(super) cluster: Value<ClusterName>,
    pub(super) names: Names,
    pub(super) program: Program,
    /// How long the program may take.
    pub(super) timeout: Duration,
    /// Of each task; none where a code deployment may not tag.
    pub(super) tags: Tags,
    pub(super) network: Where,
    pub(super) definition: Value<Revision>,
    /// The families of the manifest's other services.
    pub(super) others: BTreeSet<String>,
    /// The definition that is registered for it. `None` where it runs one that is there.
    pub(super) own: Option<Box<Own>>,
}

/// A task definition of a one-off's own.
pub(super) struct Own {
    pub(super) definition: TaskDefinition,
    /// The versions of secrets that it pins, by variable.
    pub(super) given: BTreeMap<String, SecretVersion>,
}

/// What is noted before a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ticket {
    /// The client token.
    token: Uuid,
    /// The family of which the task is to be.
    family: String,
}

impl Ticket {
    fn read(noted: &str) -> Option<Self> {
        serde_json::from_str(noted).ok()
    }
}

impl Tasks {
    /// What it does, in an error.
    fn one_off(&self) -> String {
        format!("the one-off task of `{}`", self.names.service)
    }

    fn looking(&self) -> String {
        let task = self.one_off();
        format!("look for {task} (ecs:ListTasks, ecs:DescribeTasks)")
    }

    /// The families of which a task of ours may be.
    fn families(&self) -> [String; 2] {
        [self.names.family.clone(), self.names.of_migration().family]
    }

    fn is_anothers(&self, task: &Task) -> bool {
        let family = task.task_definition_arn().map(family_of);
        family.is_some_and(|family| self.others.contains(family))
    }

    async fn described(&self, arns: &[String]) -> Result<Vec<Task>> {
        let mut tasks = Vec::new();
        for arns in arns.chunks(AT_ONCE) {
            let describe = self.clients.ecs.describe_tasks();
            let call = describe.cluster(self.cluster.settled()?.0);
            let answer = call.set_tasks(Some(arns.to_vec())).send().await;
            tasks.extend(answer.told(|| self.looking())?.tasks.unwrap_or_default());
        }
        Ok(tasks)
    }

    /// The tasks that were started for a key, newest first. ECS forgets stopped ones after an hour.
    async fn started(&self, key: &str) -> Result<Vec<Task>> {
        let by = started_by(key);
        // "When you specify startedBy as the filter, it must be the only filter that you use"
        // (ListTasks): it finds those that are to run. Those that are to have stopped are found by
        // their family.
        let ClusterName(cluster) = self.cluster.settled()?;
        let listing = || self.clients.ecs.list_tasks().cluster(&cluster);
        let mut calls = vec![listing().started_by(&by)];
        for family in self.families() {
            let stopped = DesiredStatus::Stopped;
            calls.push(listing().family(family).desired_status(stopped));
        }
        let mut tasks = Vec::new();
        for call in calls {
            let mut pages = call.into_paginator().send();
            while let Some(page) = pages.next().await {
                let page = page.told(|| self.looking())?;
                tasks.extend(self.described(&page.task_arns.unwrap_or_default()).await?);
            }
        }
        tasks.retain(|task| task.started_by() == Some(by.as_str()) && !self.is_anothers(task));
        let made = |task: &Task| task.created_at().map(|at| (at.secs(), at.subsec_nanos()));
        tasks.sort_by_key(|task| std::cmp::Reverse(made(task)));
        tasks.dedup_by(|one, other| one.task_arn() == other.task_arn());
        Ok(tasks)
    }

    fn execution(&self, task: &Task) -> Execution {
        let made = task.created_at();
        Execution {
            id: task.task_arn().unwrap_or_default().to_owned(),
            made: made.and_then(|at| Timestamp::from_nanosecond(at.as_nanos()).ok()),
            state: match &self.program {
                Program::Override(_) | Program::OfDefinition => state(task, &self.names.container),
                Program::Awaited(_) => {
                    let state = state(task, &self.names.container);
                    waiting::state(task, &self.names.container, state)
                }
            },
        }
    }

    /// Refuses a program that the service's own definition would run more than once.
    async fn refuse_twice(&self, definition: &Revision) -> Result<()> {
        match &self.program {
            Program::Override(_) if self.own.is_none() => {}
            Program::Override(_) | Program::OfDefinition | Program::Awaited(_) => return Ok(()),
        }
        let there = describe_revision(&self.clients, &definition.0).await?;
        let container = container_of(&there, &self.names.container);
        let Some(obstacle) = container.and_then(once::obstacle) else {
            return Ok(());
        };
        let task = self.one_off();
        let message = format!("{task} would not be run once as {}", short(&definition.0));
        Err(Error::new(ErrorKind::Rejected, message)
            .because(obstacle)
            .hint(
                "with an `entrypoint` of its own in `[services.NAME.migrate]` it has a task definition of its own, without that",
            ))
    }

    /// The call itself. The outer error is ours, the inner one is ECS's.
    async fn try_to_start(
        &self,
        (key, token): (&str, Uuid),
        definition: &str,
    ) -> Result<Result<RunTaskOutput, SdkError<RunTaskError>>> {
        let overrides = match &self.program {
            Program::Override(command) => {
                let command = ContainerOverride::builder()
                    .name(&self.names.container)
                    .set_command(Some(command.clone()))
                    .build();
                let overrides = TaskOverride::builder().container_overrides(command);
                Some(overrides.build())
            }
            Program::OfDefinition | Program::Awaited(_) => None,
        };
        let takes_commands = matches!(self.program, Program::Awaited(_)).then_some(true);
        let tags = self.tags.iter();
        let tags = tags.map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags: Vec<Tag> = tags.collect();
        let network = match &self.network {
            Where::InGround(network) => network.of_tasks(self.clients.section.assign_public_ip)?,
            Where::Of(network) => network.clone(),
        };
        let answer = self
            .clients
            .ecs
            .run_task()
            .cluster(self.cluster.settled()?.0)
            .task_definition(definition)
            .count(1)
            .launch_type(LaunchType::Fargate)
            .network_configuration(network)
            .set_overrides(overrides)
            .set_enable_execute_command(takes_commands)
            .started_by(started_by(key))
            .set_tags(Some(tags).filter(|tags| !tags.is_empty()))
            .client_token(token.to_string())
            .send()
            .await;
        Ok(answer)
    }
}

#[async_trait]
impl Jobs for Tasks {
    fn clock(&self) -> &dyn Clock {
        self.clients.clock()
    }

    fn describe(&self, fields: &mut Fields) {
        let definition = self.definition.field(|revision| revision.0.clone());
        fields.set_value("task_definition", definition);
    }

    async fn possible(&self) -> Result<()> {
        match &self.program {
            Program::Override(_) | Program::OfDefinition => Ok(()),
            Program::Awaited(_) => sessions::must_be_plain(&self.clients, INSTEAD).await,
        }
    }

    fn name(&self, id: &str) -> String {
        format!("task `{}`", tasks::task_id(id))
    }

    fn stop_command(&self, id: &str) -> String {
        let (task, cluster) = (tasks::task_id(id), &self.clients.cluster.0);
        format!("aws ecs stop-task --cluster {cluster} --task {task}")
    }

    fn longest(&self) -> Duration {
        self.timeout
    }

    fn hint(&self, told: &[String]) -> Option<&'static str> {
        let app_runner = self.clients.section.on_app_runner(&self.names.service);
        refusals::no_way_out(told, app_runner.is_some())
    }

    fn memory(&self) -> Option<Duration> {
        Some(MEMORY)
    }

    /// "If you retry a request that completed successfully using the same client token and the same
    /// parameters, the retry succeeds without performing any further actions" (Amazon ECS API
    /// Reference, "Ensuring idempotency").
    fn repeats(&self) -> bool {
        true
    }

    async fn ticket(&self, key: &str, nth: Nth<'_>) -> Result<String> {
        if let Some(own) = &self.own {
            own.definition.make_ready().await?;
        }
        let definition = self.definition.settled()?;
        self.refuse_twice(&definition).await?;
        let ticket = Ticket {
            token: token(key, &definition, nth),
            family: family_of(&definition.0).to_owned(),
        };
        let noted = serde_json::to_string(&ticket);
        noted.map_err(|error| Error::internal("a ticket cannot be written").because(error))
    }

    /// Again for a while where ECS refuses it for what passes by itself.
    async fn start(&self, key: &str, ticket: &str) -> Result<Started> {
        let ticket = Ticket::read(ticket)
            .ok_or_else(|| Error::internal(format!("`{ticket}` is no ticket of ECS")))?;
        let start = (key, ticket.token);
        let definition = self.definition.settled()?.0;
        let what = format!("the start of {}", self.one_off());
        let pace = Pace::until(SETTLING);
        let answer = poll(self.clock(), pace, &what, || async {
            match self.try_to_start(start, &definition).await? {
                Err(error) if PASSING.iter().any(|it| words(&error).contains(it)) => {
                    Ok(Look::NotYet(words(&error).to_owned()))
                }
                answer => Ok(Look::Found(answer)),
            }
        })
        .await?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // The task that this token started before, of another revision with the same image.
                return match conflicting(&error) {
                    Some(Some(id)) => Ok(Started::As(Execution {
                        id,
                        made: None,
                        state: State::Running("it was started before".to_owned()),
                    })),
                    Some(None) => Ok(Started::Unnamed),
                    None => Err(failure(&error, &format!("start {}", self.one_off()))),
                };
            }
        };
        if let Some(task) = answer.tasks().first() {
            return Ok(Started::As(self.execution(task)));
        }
        if has_no_room(&answer) {
            return Ok(Started::Nothing(reasons(&answer)));
        }
        let message = format!(
            "cannot start {} as {}: {}",
            self.one_off(),
            short(&definition),
            reasons(&answer)
        );
        Err(Error::new(ErrorKind::Rejected, message))
    }

    /// By who started it; the ticket tells nothing here.
    async fn find(&self, key: &str, _ticket: Option<&str>) -> Result<Trail> {
        let tasks = self.started(key).await?;
        Ok(Trail {
            executions: tasks.iter().map(|task| self.execution(task)).collect(),
            hidden: false,
        })
    }

    async fn look(&self, id: &str) -> Result<Option<Execution>> {
        let answer = self
            .clients
            .ecs
            .describe_tasks()
            .cluster(self.cluster.settled()?.0)
            .tasks(id)
            .send()
            .await
            .told(|| format!("look at task `{}`", tasks::task_id(id)))?;
        let task = answer.tasks().first();
        Ok(task.map(|task| self.execution(task)))
    }

    async fn attend(&self, id: &str, watch: &dyn Watch) -> Result<()> {
        match &self.program {
            Program::Override(_) | Program::OfDefinition => Ok(()),
            Program::Awaited(awaited) => {
                let at = (id, self.names.container.as_str());
                awaited.attend(&self.clients, at, watch).await
            }
        }
    }

    async fn rest(&self, id: &str, watch: &dyn Watch) {
        match &self.program {
            Program::Override(_) | Program::OfDefinition => {}
            Program::Awaited(awaited) => {
                let (clients, names) = (&self.clients, &self.names);
                let since = clients.clock().now() - (self.timeout + BESIDES);
                awaited.rest(clients, (names, id), since, watch).await;
            }
        }
    }

    /// Commands are run in tasks that run: one that is about to has none.
    async fn may_have_begun(&self, id: &str) -> bool {
        match &self.program {
            Program::Override(_) | Program::OfDefinition => false,
            Program::Awaited(_) => match exec::task(&self.clients, id).await {
                Ok(task) => !waiting::is_about_to_run(task.as_ref()),
                Err(_) => true,
            },
        }
    }

    fn is_of_another_service(&self, ticket: &str) -> bool {
        Ticket::read(ticket).is_some_and(|ticket| self.others.contains(&ticket.family))
    }

    /// Of those that are known only: ECS lists tasks by who started them, which is by key.
    async fn beside(&self, _key: &str, others: &[String]) -> Result<Option<String>> {
        let tasks = self.described(others).await?;
        let mut running = tasks.iter().filter(|task| !self.is_anothers(task));
        let running = running.find(|task| task.last_status() != Some(STOPPED));
        Ok(running.and_then(|task| task.task_arn().map(str::to_owned)))
    }

    /// StopTask of a stopped task changes nothing.
    async fn stop(&self, id: &str, why: &str) -> Result<()> {
        self.clients
            .ecs
            .stop_task()
            .cluster(self.cluster.settled()?.0)
            .task(id)
            .reason(why)
            .send()
            .await
            .told(|| format!("stop task `{}`", tasks::task_id(id)))?;
        Ok(())
    }

    async fn last_lines(&self, id: &str) -> Vec<String> {
        autopsy::last_lines(&self.clients, &self.names, id).await
    }
}

/// What ECS calls a task of which nothing runs any more.
const STOPPED: &str = "STOPPED";

/// How a task stands.
fn state(task: &Task, container: &str) -> State {
    match task.last_status() {
        Some(STOPPED) => State::Over(match outcome(task, container) {
            Ok(()) => End::Succeeded,
            Err(why) if never_ran(task, container) => End::NeverRan(why),
            Err(why) => End::Failed(why),
        }),
        status => State::Running(status.unwrap_or("UNKNOWN").to_owned()),
    }
}

/// Whether ECS says that nothing of a stopped task ran: it failed to start, was never running, and
/// our container did not end.
fn never_ran(task: &Task, container: &str) -> bool {
    let mut containers = task.containers().iter();
    let ended =
        containers.any(|found| found.name() == Some(container) && found.exit_code().is_some());
    task.stop_code() == Some(&TaskStopCode::TaskFailedToStart)
        && task.started_at().is_none()
        && !ended
}

/// How a stopped task ended: only exit code 0 is success.
fn outcome(task: &Task, container: &str) -> Result<(), String> {
    let mut containers = task.containers().iter();
    let ours = containers.find(|found| found.name() == Some(container));
    let mut why = Vec::new();
    // A program that is asked to end may well end with 0, in the middle of its work.
    let by_itself = task
        .stop_code()
        .is_none_or(|code| *code == TaskStopCode::EssentialContainerExited);
    match ours.and_then(|found| found.exit_code()) {
        Some(0) if by_itself => return Ok(()),
        Some(code) => why.push(format!("exit code {code}")),
        None => why.push("its container never ran to an end".to_owned()),
    }
    if let Some(reason) = ours.and_then(|found| found.reason()) {
        why.push(reason.to_owned());
    }
    if let Some(code) = task.stop_code() {
        why.push(code.as_str().to_owned());
    }
    if let Some(reason) = task.stopped_reason() {
        why.push(reason.to_owned());
    }
    Err(why.join(", "))
}

/// Why ECS started nothing.
fn reasons(answer: &RunTaskOutput) -> String {
    let failures = answer.failures().iter();
    let reasons: Vec<&str> = failures.filter_map(|failure| failure.reason()).collect();
    reasons.join(", ")
}

/// Whether ECS started nothing because there is no room for it now.
fn has_no_room(answer: &RunTaskOutput) -> bool {
    answer.tasks().is_empty() && reasons(answer).contains(NO_ROOM)
}

/// The task that a client token belongs to, when its parameters differ from those of its first use;
/// the inner `None` where ECS does not name it.
fn conflicting(error: &SdkError<RunTaskError>) -> Option<Option<String>> {
    match error.as_service_error()? {
        RunTaskError::ConflictException(conflict) => Some(conflict.resource_ids().first().cloned()),
        _ => None,
    }
}

/// At most 36 characters of letters, digits, `-`, `_` and `/`.
fn started_by(key: &str) -> String {
    format!("deployer/{}", key.chars().take(27).collect::<String>())
}

/// The client token of one start. With the revision in it, because a key may come again after a
/// destroy - secrets are restored with their versions - while ECS remembers for a day what a token
/// was used for.
fn token(key: &str, definition: &Revision, nth: Nth<'_>) -> Uuid {
    let of_key =
        Uuid::parse_str(key).unwrap_or_else(|_| Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()));
    let first = Uuid::new_v5(&of_key, definition.0.as_bytes());
    match nth {
        Nth::First => first,
        Nth::After(never_ran) => Uuid::new_v5(&first, never_ran.as_bytes()),
        Nth::Again(token) => Uuid::new_v5(&first, token.0.as_bytes()),
    }
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
