//! ECS Exec: the agent beside each container, and commands that are run by it.
//!
//! Sources: Amazon ECS Developer Guide, "Monitor Amazon ECS containers with ECS Exec"; the API's
//! model (`ExecuteCommand`, `ManagedAgent`, `TargetNotConnectedException`); what callers were told,
//! by issue.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::agent::Agent;
use super::clusters::check_cluster;
use super::names::{Names, last_part};
use super::state::{State, Task};
use super::{Ecs, invalid};
use crate::aws::error::AwsError;
use crate::aws::gateway::Place;
use crate::aws::json::{flag, list, need, text};

/// How long after its container an agent runs, and how long after that it is connected:
/// "ExecuteCommandAgent going to RUNNING only indicates the status of the SSM Agent process. It can
/// take a few seconds for the SSM Agent to be healthy and connected" (aws/containers-roadmap#187).
/// The seconds are ours.
const STARTING: Duration = Duration::from_secs(4);
const CONNECTING: Duration = Duration::from_secs(3);

impl Ecs {
    /// Whether agents that start from now on reach the Message Gateway. They do not where the task
    /// role does not allow `ssmmessages`, or the subnet has no way to it: then ExecuteCommand
    /// answers `TargetNotConnectedException` for good.
    pub fn connect_agents(&self, connect: bool) {
        self.inner.agents_connect.store(connect, Ordering::Relaxed);
    }

    /// Whether messages of sessions that begin from now on are lost, doubled and reordered at
    /// times.
    pub fn disturb_sessions(&self, disturbs: bool) {
        self.inner.gateway.disturb(disturbs);
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

    /// The folders of the agent that who mounts them can have written to all the same
    /// (aws-containers/amazon-ecs-exec-checker#71).
    pub(super) fn stop_agent_that_cannot_write(&self, id: &str, container: &str) {
        self.change(id, |task, _| {
            if task.agent.is_some() {
                let agents = &mut task.agents_apart;
                agents.insert(container.to_owned(), Agent::CANNOT_WRITE);
            }
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
        let named = text(input, "container");
        let agent = task.agent_of(named.or(task.containers.first().map(|one| one.name.as_str())));
        let agent = agent.filter(|agent| agent.status == "RUNNING");
        let (Some(agent), "RUNNING") = (agent, task.last_status) else {
            // keidarcy/e1s#206.
            return Err(invalid(
                "The execute command failed because execute command was not enabled when the task was run or the \
                 execute command agent isn’t running. Wait and try again or run a new task with execute command enabled \
                 and try again.",
            ));
        };
        let view = match (named, task.containers.as_slice()) {
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
        let key = state.clusters.get(&cluster).and_then(|it| {
            it.value["configuration"]["executeCommandConfiguration"]["kmsKeyId"].as_str()
        });
        let place = Place {
            container: container.clone(),
            name: view.arn.clone(),
            key: key.map(str::to_owned),
            log_group: log_group(&state, task, &view.name)
                .map(|group| (self.inner.logs.clone(), group)),
        };
        let session = self.inner.gateway.open(place, command);
        Ok(json!({
            "clusterArn": state.clusters.get(&cluster).map(|it| it.value["clusterArn"].clone()),
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

impl Task {
    /// The agent of one of its containers.
    pub fn agent_of(&self, container: Option<&str>) -> Option<Agent> {
        let apart = container.and_then(|name| self.agents_apart.get(name));
        self.agent.map(|agent| *apart.unwrap_or(&agent))
    }
}

/// The group that a container prints to.
fn log_group(state: &State, task: &Task, container: &str) -> Option<String> {
    let definition = state.definition(&task.definition)?;
    let mut containers = list(&definition.value, "containerDefinitions").iter();
    let ours = containers.find(|it| need(it, "name") == container)?;
    let group = ours["logConfiguration"]["options"]["awslogs-group"].as_str();
    group.map(str::to_owned)
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
