//! ECS Exec: the agent beside each container, and commands that are run by it.
//!
//! Sources: Amazon ECS Developer Guide, "Monitor Amazon ECS containers with ECS Exec"; the API's
//! model (`ExecuteCommand`, `ManagedAgent`, `TargetNotConnectedException`); what callers were told,
//! by issue.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::clusters::check_cluster;
use super::names::{Names, last_part};
use super::state::{State, Task};
use super::{Ecs, invalid};
use crate::aws::error::AwsError;
use crate::aws::json::{flag, need, seconds, text};

/// How long after its container an agent runs, and how long after that it is connected:
/// "ExecuteCommandAgent going to RUNNING only indicates the status of the SSM Agent process. It can
/// take a few seconds for the SSM Agent to be healthy and connected" (aws/containers-roadmap#187).
/// The seconds are ours.
const STARTING: Duration = Duration::from_secs(4);
const CONNECTING: Duration = Duration::from_secs(3);

/// The agent of a task's containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// PENDING, RUNNING or STOPPED.
    pub status: &'static str,
    /// Since when it runs.
    pub started: Option<jiff::Timestamp>,
    /// Whether the Message Gateway knows it.
    pub connected: bool,
}

impl Agent {
    /// One that is about to start.
    pub const PENDING: Self = Self {
        status: "PENDING",
        started: None,
        connected: false,
    };

    /// As DescribeTasks shows it with its container.
    pub fn view(&self) -> Value {
        let mut out = json!({"name": "ExecuteCommandAgent", "lastStatus": self.status});
        if let Some(at) = self.started {
            out["lastStartedAt"] = seconds(at);
        }
        out
    }
}

impl Ecs {
    /// Whether agents that start from now on reach the Message Gateway. They do not where the task
    /// role does not allow `ssmmessages`, or the subnet has no way to it: then ExecuteCommand
    /// answers `TargetNotConnectedException` for good.
    pub fn connect_agents(&self, connect: bool) {
        self.inner.agents_connect.store(connect, Ordering::Relaxed);
    }

    /// Lets the agent of a task that has just started come up.
    pub(super) fn start_agent(&self, id: &str) {
        let enabled = self.lock().tasks.get(id).is_some_and(is_enabled);
        if !enabled {
            return;
        }
        let (ecs, id) = (self.clone(), id.to_owned());
        let background = self.inner.host.background.clone();
        background.spawn(async move {
            let clock = &ecs.inner.host.clock;
            clock.sleep(STARTING).await;
            ecs.change_agent(&id, |agent, now| {
                (agent.status, agent.started) = ("RUNNING", Some(now));
            });
            clock.sleep(CONNECTING).await;
            let connected = ecs.inner.agents_connect.load(Ordering::Relaxed);
            ecs.change_agent(&id, |agent, _| agent.connected = connected);
        });
    }

    fn change_agent(&self, id: &str, act: impl FnOnce(&mut Agent, jiff::Timestamp)) {
        self.change(id, |task, now| {
            if let Some(agent) = &mut task.agent
                && agent.status != "STOPPED"
            {
                act(agent, now);
            }
        });
    }

    pub(super) fn execute_command(&self, input: &Value) -> Result<Value, AwsError> {
        let cluster = Names::cluster(text(input, "cluster"));
        let state = self.lock();
        check_cluster(&state, &cluster)?;
        let task = state
            .tasks
            .get(last_part(need(input, "task")))
            .filter(|task| task.cluster == cluster);
        let task = task.ok_or_else(|| invalid("The referenced task was not found."))?;
        // "Amazon ECS only supports initiating interactive sessions, so you must specify `true`
        // for this value" (the API's model). The words are ours.
        if !flag(input, "interactive") {
            return Err(invalid("Interactive must be true."));
        }
        let agent = task.agent.filter(|agent| agent.status == "RUNNING");
        let (Some(agent), "RUNNING") = (agent, task.last_status) else {
            // keidarcy/e1s#206.
            return Err(invalid(
                "The execute command failed because execute command was not enabled when the task was run or the \
                 execute command agent isn’t running. Wait and try again or run a new task with execute command enabled \
                 and try again.",
            ));
        };
        let view = match (text(input, "container"), task.containers.as_slice()) {
            (Some(name), all) => all.iter().find(|one| one.name == name),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        // "A container name only needs to be specified for tasks containing multiple containers"
        // (the API's model). The words are ours.
        let view = view.ok_or_else(|| {
            invalid("The container name must be one of the task's, and is required where it has several.")
        })?;
        let live = task.live.iter().find(|(name, _)| *name == view.name);
        let (Some((_, container)), true) = (live, agent.connected) else {
            // aws-containers/amazon-ecs-exec-checker#47.
            return Err(AwsError::new(
                "TargetNotConnectedException",
                "The execute command failed due to an internal error. Try again later.",
            ));
        };
        let command = need(input, "command").to_owned();
        let session = self.inner.gateway.open(container.clone(), command);
        Ok(json!({
            "clusterArn": state.clusters.get(&cluster).map(|it| it.arn.clone()),
            "containerArn": view.arn,
            "containerName": view.name,
            "interactive": true,
            "session": {
                "sessionId": session.session_id,
                "streamUrl": session.stream_url,
                "tokenValue": session.token_value,
            },
            "taskArn": task.arn,
        }))
    }
}

/// Whether commands may be run in a task.
fn is_enabled(task: &Task) -> bool {
    flag(&Value::Object(task.fixed.clone()), "enableExecuteCommand")
}

/// Refuses a task that is to take commands and has no role: the agent acts with it. In RunTask's
/// words (boto/boto3#3173).
pub fn check_role(input: &Value, definition: &Value) -> Result<(), AwsError> {
    let overrides = input.get("overrides").cloned().unwrap_or_default();
    let has = |of: &Value| text(of, "taskRoleArn").is_some_and(|role| !role.is_empty());
    match flag(input, "enableExecuteCommand") && !has(definition) && !has(&overrides) {
        true => Err(invalid(
            "The execute command failed because a valid task role is not being used. Specify a valid task role in your task \
             definition or as a task override and try again.",
        )),
        false => Ok(()),
    }
}

/// The same of a service, in UpdateService's words (aws/aws-toolkit-jetbrains#3649); those of
/// CreateService are made after them.
pub fn check_role_of_service(
    state: &State,
    config: &Value,
    definition: &str,
    what: &str,
) -> Result<(), AwsError> {
    let has = |of: &Value| text(of, "taskRoleArn").is_some_and(|role| !role.is_empty());
    let found = state.definition(definition);
    match flag(config, "enableExecuteCommand") && !found.is_some_and(|it| has(&it.value)) {
        true => Err(invalid(format!(
            "The service couldn't be {what} because a valid taskRoleArn is not being used. Specify a valid task role in your \
             task definition and try again."
        ))),
        false => Ok(()),
    }
}
