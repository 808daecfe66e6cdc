//! Tasks: run on their own or for a service, stopped, listed, described.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::agent::Agent;
use super::clusters::{check_cluster, listed};
use super::exec::check_role;
use super::names::{Names, last_part, task_id};
use super::service_rules::check_network;
use super::state::{ContainerView, Service, State, Stop, Task};
use super::target_group::TargetHealth;
use super::task_view::task_view;
use super::{Ecs, client, invalid};
use crate::aws::error::AwsError;
use crate::aws::json::{copy, flag, list, need, number, random_hex, text, texts};

/// What a new task is made of.
struct Plan<'a> {
    cluster: &'a str,
    definition: &'a str,
    group: String,
    started_by: Option<String>,
    service: Option<(String, String)>,
    /// `launchType`, `platformVersion`, `networkConfiguration`, `enableExecuteCommand`.
    config: Value,
    overrides: Value,
    tags: Vec<Value>,
}

impl Ecs {
    pub(super) fn run_task(&self, input: &Value) -> Result<Value, AwsError> {
        let cluster = Names::cluster(text(input, "cluster"));
        let count = number(input, "count").unwrap_or(1);
        if !(1..=10).contains(&count) {
            return Err(invalid("count must be between 1 and 10."));
        }
        let mut state = self.lock();
        check_cluster(&state, &cluster)?;
        if let Some(answer) = repeated(&state, input)? {
            return Ok(answer);
        }
        let definition = state.definition(need(input, "taskDefinition"));
        let definition = definition.ok_or_else(|| client("TaskDefinition not found."))?;
        if !definition.active() {
            return Err(client("TaskDefinition is inactive"));
        }
        let (arn, value) = (definition.arn.clone(), definition.value.clone());
        let tags_of_definition = definition.tags.clone();
        check_run(input, &value)?;
        check_role(input, &value)?;
        if self.inner.is_full.load(Ordering::Relaxed) {
            // No error: "failures" of the answer (ECS Developer Guide, "API failure reasons";
            // aws/containers-roadmap#837).
            // That a token stands for this answer too, as for each that is no error, is ours:
            // "If you retry a request that completed successfully using the same client token and
            // the same parameters, the retry succeeds without performing any further actions"
            // ("Ensuring idempotency").
            if let Some(token) = text(input, "clientToken") {
                state
                    .runs
                    .insert(token.to_owned(), (input.clone(), Vec::new()));
            }
            return Ok(no_room());
        }
        let mut tags = list(input, "tags").to_vec();
        if text(input, "propagateTags") == Some("TASK_DEFINITION") {
            tags.extend(
                tags_of_definition
                    .into_iter()
                    .filter(|tag| !list(input, "tags").contains(tag)),
            );
        }
        let mut started = Vec::new();
        for _ in 0..count {
            let plan = Plan {
                cluster: &cluster,
                definition: &arn,
                group: text(input, "group").map_or_else(
                    || format!("family:{}", need(&value, "family")),
                    str::to_owned,
                ),
                started_by: text(input, "startedBy").map(str::to_owned),
                service: None,
                config: input.clone(),
                overrides: input
                    .get("overrides")
                    .filter(|o| o.is_object())
                    .cloned()
                    .unwrap_or_else(|| json!({})),
                tags: tags.clone(),
            };
            started.push(self.add_task(&mut state, plan));
        }
        if let Some(token) = text(input, "clientToken") {
            state
                .runs
                .insert(token.to_owned(), (input.clone(), started.clone()));
        }
        let answer = views(&state, &started);
        drop(state);
        for id in started {
            self.clone().spawn_life(id);
        }
        Ok(answer)
    }

    /// Makes a task of the service's PRIMARY deployment. Its life has yet to be started.
    pub(super) fn start_for(&self, state: &mut State, service: &Service) -> String {
        let primary = service.deployments.first();
        let (id, definition) = primary
            .map(|one| (one.id.clone(), one.definition.clone()))
            .unwrap_or_default();
        let config = Value::Object(service.config.clone());
        let tags = match text(&config, "propagateTags") {
            Some("SERVICE") => service.tags.clone(),
            Some("TASK_DEFINITION") => state
                .definition(&definition)
                .map(|one| one.tags.clone())
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        let plan = Plan {
            cluster: &service.cluster,
            definition: &definition,
            group: format!("service:{}", service.name),
            started_by: Some(id.clone()),
            service: Some((service.arn.clone(), id)),
            config,
            overrides: json!({}),
            tags,
        };
        let targets = primary.map(|one| one.targets.clone()).unwrap_or_default();
        let grace = number(&plan.config, "healthCheckGracePeriodSeconds").unwrap_or_default();
        let task = self.add_task(state, plan);
        if let Some(task) = state.tasks.get_mut(&task) {
            task.targets = targets
                .into_iter()
                .map(|target| (target, TargetHealth::Initial))
                .collect();
            task.grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
        }
        task
    }

    fn add_task(&self, state: &mut State, plan: Plan<'_>) -> String {
        let id = task_id();
        let arn = self.inner.names.arn(&format!("task/{}/{id}", plan.cluster));
        let value = state
            .definition(plan.definition)
            .map(|found| found.value.clone())
            .unwrap_or_default();
        let containers = list(&value, "containerDefinitions")
            .iter()
            .map(|container| self.container(plan.cluster, &id, container));
        let mut fixed = Map::new();
        copy(
            &plan.config,
            &["launchType", "enableExecuteCommand"],
            &mut fixed,
        );
        for name in ["cpu", "memory"] {
            if let Some(amount) = text(&plan.overrides, name).or(text(&value, name)) {
                fixed.insert(name.to_owned(), json!(amount));
            }
        }
        if plan.config["launchType"] == "FARGATE" {
            fixed.insert("platformVersion".into(), json!("1.4.0"));
            fixed.insert("platformFamily".into(), json!("Linux"));
            fixed.insert("ephemeralStorage".into(), json!({"sizeInGiB": 20}));
        }
        if let Some(by) = &plan.started_by {
            fixed.insert("startedBy".into(), json!(by));
        }
        let network = plan
            .config
            .get("networkConfiguration")
            .and_then(|n| n.get("awsvpcConfiguration"));
        if let Some(subnet) = network
            .and_then(|vpc| list(vpc, "subnets").first())
            .and_then(Value::as_str)
        {
            fixed.insert("subnet".into(), json!(subnet));
        }
        fixed.insert(
            "availabilityZone".into(),
            json!(format!("{}a", self.inner.host.region)),
        );
        let public = network.and_then(|vpc| text(vpc, "assignPublicIp")) == Some("ENABLED");
        let is_cut_off = !public && self.inner.is_cut_off.load(Ordering::Relaxed);
        let takes_commands = flag(&plan.config, "enableExecuteCommand");
        let byte = uuid::Uuid::new_v4();
        let byte = byte.as_bytes();
        let task = Task {
            arn,
            cluster: plan.cluster.to_owned(),
            definition: plan.definition.to_owned(),
            is_cut_off,
            group: plan.group,
            service: plan.service,
            fixed,
            overrides: plan.overrides,
            last_status: "PROVISIONING",
            desired_status: "RUNNING",
            health: "UNKNOWN",
            stable: false,
            checked: 0,
            targets: Vec::new(),
            grace: Duration::ZERO,
            containers: containers.collect(),
            times: BTreeMap::from([("createdAt", self.now())]),
            stopped: None,
            tags: plan.tags,
            address: None,
            private_ip: format!("10.0.{}.{}", byte[0] % 16, byte[1].max(4)),
            version: 1,
            agent: takes_commands.then_some(Agent::PENDING),
            agents_apart: BTreeMap::new(),
            live: Vec::new(),
            stop: watch::Sender::new(None),
            id: id.clone(),
        };
        state.tasks.insert(id.clone(), task);
        id
    }

    fn container(&self, cluster: &str, task: &str, definition: &Value) -> ContainerView {
        let id = uuid::Uuid::new_v4();
        ContainerView {
            arn: self
                .inner
                .names
                .arn(&format!("container/{cluster}/{task}/{id}")),
            name: need(definition, "name").to_owned(),
            image: need(definition, "image").to_owned(),
            digest: None,
            runtime_id: format!("{task}-{}", &random_hex(10)),
            last_status: "PENDING",
            exit_code: None,
            reason: None,
            health: "UNKNOWN",
            cpu: number(definition, "cpu").unwrap_or(0).to_string(),
            memory: number(definition, "memory").map(|memory| memory.to_string()),
        }
    }

    pub(super) fn stop_task(&self, input: &Value) -> Result<Value, AwsError> {
        let cluster = Names::cluster(text(input, "cluster"));
        let mut state = self.lock();
        check_cluster(&state, &cluster)?;
        let task = state.tasks.get_mut(last_part(need(input, "task")));
        let task = task
            .filter(|task| task.cluster == cluster)
            .ok_or_else(|| invalid("The referenced task was not found."))?;
        let reason = text(input, "reason").unwrap_or("Task stopped by user");
        task.ask_to_stop(Stop {
            code: "UserInitiated",
            reason: reason.to_owned(),
        });
        let id = task.id.clone();
        let task = state
            .tasks
            .get(&id)
            .ok_or_else(|| invalid("The referenced task was not found."))?;
        Ok(json!({"task": task_view(&state, task, true)}))
    }

    pub(super) fn describe_tasks(&self, input: &Value) -> Result<Value, AwsError> {
        let cluster = Names::cluster(text(input, "cluster"));
        let wanted = texts(input, "tasks");
        if wanted.is_empty() {
            return Err(invalid("Tasks cannot be empty."));
        }
        if wanted.len() > 100 {
            return Err(invalid("Tasks cannot have more than 100 entries."));
        }
        let tags = texts(input, "include").iter().any(|part| part == "TAGS");
        self.forget_old();
        let state = self.lock();
        check_cluster(&state, &cluster)?;
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for id in wanted {
            match state
                .tasks
                .get(last_part(&id))
                .filter(|task| task.cluster == cluster)
            {
                Some(task) => tasks.push(task_view(&state, task, tags)),
                None => {
                    let arn = self
                        .inner
                        .names
                        .arn(&format!("task/{cluster}/{}", last_part(&id)));
                    failures.push(json!({"arn": arn, "reason": "MISSING"}));
                }
            }
        }
        Ok(json!({"tasks": tasks, "failures": failures}))
    }

    /// The answer to DescribeTasks where none of the tasks is known yet; `None` unless all of them
    /// were started in the last minute. `RunTask` documents that what it starts may not be visible
    /// at once.
    pub fn tasks_unborn(&self, input: &Value) -> Option<Value> {
        let wanted = texts(input, "tasks");
        let (state, now) = (self.lock(), self.now());
        let failures = wanted.iter().map(|id| {
            let task = state.tasks.get(last_part(id))?;
            let age = now.duration_since(*task.times.get("createdAt")?);
            let young = age.as_secs() < 60;
            young.then(|| json!({"arn": task.arn, "reason": "MISSING"}))
        });
        let failures: Vec<Value> = failures.collect::<Option<_>>()?;
        (!failures.is_empty()).then(|| json!({"tasks": [], "failures": failures}))
    }

    /// Whether Fargate has room for tasks that are run on their own.
    pub fn have_capacity(&self, has: bool) {
        self.inner.is_full.store(!has, Ordering::Relaxed);
    }

    /// Whether tasks without a public address reach anything outside: as in subnets that are
    /// private, with a NAT gateway or without.
    pub fn have_way_out(&self, has: bool) {
        self.inner.is_cut_off.store(!has, Ordering::Relaxed);
    }

    /// The answer to ListTasks that does not have what was started in the last minute; `None` where
    /// it would have none of that. "The API follows an eventual consistency model" (RunTask, API
    /// reference).
    pub fn tasks_unlisted(&self, input: &Value) -> Option<Value> {
        let mut answer = self.list_tasks(input).ok()?;
        let (state, now) = (self.lock(), self.now());
        let is_young = |arn: &Value| {
            let task = arn.as_str().and_then(|arn| state.tasks.get(last_part(arn)));
            let made = task.and_then(|task| task.times.get("createdAt"));
            made.is_some_and(|made| now.duration_since(*made).as_secs() < 60)
        };
        let arns = answer.get_mut("taskArns")?.as_array_mut()?;
        let all = arns.len();
        arns.retain(|arn| !is_young(arn));
        (arns.len() < all).then_some(answer)
    }

    pub(super) fn list_tasks(&self, input: &Value) -> Result<Value, AwsError> {
        let cluster = Names::cluster(text(input, "cluster"));
        self.forget_old();
        let state = self.lock();
        check_cluster(&state, &cluster)?;
        // "When you specify startedBy as the filter, it must be the only filter that you use"
        // (ListTasks in the API reference); the words are those of the refusal of the same kind for
        // `serviceName` with `family`.
        let filters = [
            "containerInstance",
            "family",
            "serviceName",
            "desiredStatus",
            "launchType",
        ];
        let others = filters.iter().any(|name| text(input, name).is_some());
        if text(input, "startedBy").is_some() && others {
            return Err(invalid(
                "cannot specify startedBy along with other filters.",
            ));
        }
        let service = text(input, "serviceName").map(last_part);
        if service.is_some() && text(input, "family").is_some() {
            return Err(invalid("cannot specify family and serviceName together."));
        }
        if let Some(name) = service
            && state.service(&cluster, name).is_none()
        {
            return Err(super::services::not_found());
        }
        let group = service.map(|name| format!("service:{name}"));
        let desired = text(input, "desiredStatus").unwrap_or("RUNNING");
        let fixed = |task: &Task, member: &str| {
            text(input, member)
                .is_none_or(|wanted| task.fixed.get(member).and_then(Value::as_str) == Some(wanted))
        };
        let arns = state
            .tasks
            .values()
            .filter(|task| task.cluster == cluster && task.desired_status == desired)
            .filter(|task| group.as_ref().is_none_or(|group| task.group == *group))
            .filter(|task| fixed(task, "startedBy") && fixed(task, "launchType"))
            .filter(|task| {
                let family = last_part(&task.definition).split(':').next();
                text(input, "family").is_none_or(|wanted| family == Some(wanted))
            })
            .map(|task| task.arn.clone())
            .collect();
        listed(input, "taskArns", arns)
    }
}

fn views(state: &State, ids: &[String]) -> Value {
    let tasks: Vec<Value> = ids
        .iter()
        .filter_map(|id| state.tasks.get(id))
        .map(|task| task_view(state, task, true))
        .collect();
    json!({"tasks": tasks, "failures": []})
}

fn no_room() -> Value {
    let reason = "Capacity is unavailable at this time. Please try again later or in a different availability zone";
    json!({"tasks": [], "failures": [{"reason": reason}]})
}

/// The answer to a call with a token that was used before: the same tasks, or a conflict.
fn repeated(state: &State, input: &Value) -> Result<Option<Value>, AwsError> {
    let Some((request, tasks)) = text(input, "clientToken").and_then(|token| state.runs.get(token))
    else {
        return Ok(None);
    };
    match request == input {
        true if tasks.is_empty() => Ok(Some(no_room())),
        true => Ok(Some(views(state, tasks))),
        false => Err(AwsError::new(
            "ConflictException",
            "The RunTask request could not be processed due to conflicts: the clientToken was used with other parameters.",
        )),
    }
}

fn check_run(input: &Value, definition: &Value) -> Result<(), AwsError> {
    let fargate = text(input, "launchType") == Some("FARGATE");
    if fargate
        && !list(definition, "compatibilities")
            .iter()
            .any(|one| one == "FARGATE")
    {
        return Err(invalid(
            "Task definition does not support launch_type FARGATE.",
        ));
    }
    if text(input, "launchType").is_none_or(|kind| kind == "EC2")
        && list(input, "capacityProviderStrategy").is_empty()
    {
        return Err(invalid(
            "No Container Instances were found in your cluster.",
        ));
    }
    check_network(
        definition,
        input.get("networkConfiguration").unwrap_or(&Value::Null),
    )?;
    let overrides = input.get("overrides").cloned().unwrap_or_default();
    for container in list(&overrides, "containerOverrides") {
        let name = need(container, "name");
        if !list(definition, "containerDefinitions")
            .iter()
            .any(|one| need(one, "name") == name)
        {
            return Err(invalid(format!(
                "Override for container named {name} is not a container in the TaskDefinition."
            )));
        }
    }
    Ok(())
}
