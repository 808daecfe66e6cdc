//! Executions of jobs: each task runs the image, again and again while it may, until it exits with zero.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::conditions::{self, Standing};
use super::image::Resolved;
use super::instance::{Plan, system};
use super::template::{Use, check_env};
use super::{EXECUTION, Execution, Job, Key, check_etag, text};
use crate::gcp::error::{ApiError, Code, Outcome};
use crate::gcp::logging::Source;
use crate::gcp::names::{fresh_etag, random_suffix};
use crate::gcp::operations::any;
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;
use crate::gcp::{Gcp, seconds};

/// What a task's attempt came to.
enum Attempt {
    Exited(i32),
    TimedOut,
    Cancelled,
    NotStarted(ApiError),
}

/// One task of an execution under way.
struct Task {
    key: Key,
    execution: String,
    index: usize,
    count: usize,
    container: Object,
    image: Resolved,
    timeout: Duration,
    retries: u64,
    cancelled: watch::Receiver<bool>,
}

impl Gcp {
    /// `jobs.run`: an execution, perhaps with overrides.
    pub(super) fn run_job(&self, call: &Call, key: &Key) -> Outcome {
        let overrides = call
            .body
            .get("overrides")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let validate_only = call.body.get("validateOnly") == Some(&Value::Bool(true));
        let name = format!("{}-{}", key.1, random_suffix(5));
        let message = self.with_job(key, |job| {
            check_etag(&key.1, &job.message, text(&call.body, "etag"))?;
            if job
                .message
                .get("terminalCondition")
                .is_some_and(|c| c["state"] == "CONDITION_FAILED")
            {
                let why = job.message["terminalCondition"]["message"]
                    .as_str()
                    .unwrap_or_default();
                return Err(ApiError::precondition(format!(
                    "Job '{}' is not ready and cannot be run. {why}",
                    key.1
                )));
            }
            let message = self.execution_message(job, key, &name, &overrides, &call.principal)?;
            if !validate_only {
                self.add_execution(job, key, &name, message.clone());
            }
            Ok(message)
        })?;
        if validate_only {
            return self.done_operation(&key.0, EXECUTION, &message);
        }
        let metadata = any(EXECUTION, &Value::Object(message));
        let operation = self.operations().start(&self.run_parent(&key.0), metadata);
        let id = operation["name"].as_str().unwrap_or_default().to_owned();
        let (gcp, key) = (self.clone(), key.clone());
        tokio::spawn(async move {
            let outcome = gcp.execute(&key, &name, Some(&id)).await;
            let message = gcp.get_execution(&key, &name).unwrap_or_else(|_| json!({}));
            let value = any(EXECUTION, &message);
            gcp.operations()
                .finish(&id, value.clone(), outcome.map(|()| value));
        });
        Ok(operation)
    }

    /// The execution that a job's token asks for: made once, however often it is asked for.
    pub(super) async fn execution_of_token(
        &self,
        key: &Key,
        name: &str,
        until_done: bool,
    ) -> Outcome<()> {
        let made = self.with_job(key, |job| {
            if job.executions.contains_key(name) {
                return Ok(false);
            }
            let creator = text(&job.message, "lastModifier").to_owned();
            let message = self.execution_message(job, key, name, &Object::new(), &creator)?;
            self.add_execution(job, key, name, message);
            Ok(true)
        })?;
        let (gcp, owned, id) = (self.clone(), key.clone(), name.to_owned());
        let run = async move { gcp.execute(&owned, &id, None).await };
        match (made, until_done) {
            (true, true) => run.await,
            (true, false) => {
                tokio::spawn(run);
                Ok(())
            }
            (false, _) => Ok(()),
        }
    }

    fn execution_message(
        &self,
        job: &Job,
        key: &Key,
        name: &str,
        overrides: &Object,
        creator: &str,
    ) -> Outcome<Object> {
        let outer = job
            .message
            .get("template")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let mut template = outer.get("template").cloned().unwrap_or_default();
        apply_overrides(&mut template, overrides)?;
        let count = overrides
            .get("taskCount")
            .or(outer.get("taskCount"))
            .and_then(Value::as_i64)
            .unwrap_or(1);
        if !(1..=10_000).contains(&count) {
            return Err(ApiError::field(
                "overrides.task_count",
                "must be between 1 and 10000",
            ));
        }
        let now = self.now();
        let mut message = json!({
            "name": format!("{}/jobs/{}/executions/{name}", self.run_parent(&key.0), key.1),
            "uid": uuid::Uuid::new_v4().to_string(),
            "creator": creator,
            "generation": "1",
            "createTime": now,
            "updateTime": now,
            "launchStage": job.message.get("launchStage"),
            "job": key.1,
            "taskCount": count,
            "parallelism": outer.get("parallelism").and_then(Value::as_i64).filter(|p| *p > 0).unwrap_or(count).min(count),
            "template": template,
            "reconciling": true,
            "logUri": self.log_uri("cloud_run_job", &[("job_name", &key.1)]),
            "etag": fresh_etag(),
        })
        .as_object()
        .cloned()
        .unwrap_or_default();
        for name in ["labels", "annotations"] {
            if let Some(value) = outer.get(name) {
                message.insert(name.into(), value.clone());
            }
        }
        for kind in [
            "Completed",
            "ResourcesAvailable",
            "Started",
            "ContainerReady",
        ] {
            conditions::set(&mut message, kind, &Standing::pending(), &now);
        }
        Ok(message)
    }

    fn add_execution(&self, job: &mut Job, key: &Key, name: &str, message: Object) {
        let count = job
            .message
            .get("executionCount")
            .and_then(Value::as_i64)
            .unwrap_or(0)
            + 1;
        job.message.insert("executionCount".into(), count.into());
        job.message.insert(
            "latestCreatedExecution".into(),
            json!({ "name": name, "createTime": message["createTime"], "completionStatus": "EXECUTION_PENDING" }),
        );
        let tasks = message["taskCount"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(1);
        let tasks = (0..tasks)
            .map(|index| self.task_message(key, name, &message, index))
            .collect();
        job.executions.insert(
            name.to_owned(),
            Execution {
                message,
                tasks,
                cancelled: watch::Sender::new(false),
            },
        );
    }

    fn task_message(&self, key: &Key, execution: &str, of: &Object, index: usize) -> Object {
        let template = &of["template"];
        let mut task = json!({
            "name": format!("{}/tasks/{execution}-task{index}", text(of, "name")),
            "uid": uuid::Uuid::new_v4().to_string(),
            "generation": "1",
            "createTime": of["createTime"],
            "updateTime": of["createTime"],
            "job": key.1,
            "execution": execution,
            "index": index,
            "containers": template["containers"],
            "maxRetries": template["maxRetries"],
            "timeout": template["timeout"],
            "serviceAccount": template["serviceAccount"],
            "executionEnvironment": template["executionEnvironment"],
            "reconciling": true,
            "logUri": of["logUri"],
            "etag": fresh_etag(),
        })
        .as_object()
        .cloned()
        .unwrap_or_default();
        conditions::set(
            &mut task,
            "Completed",
            &Standing::pending(),
            text(of, "createTime"),
        );
        task
    }

    fn with_execution<T>(
        &self,
        key: &Key,
        name: &str,
        act: impl FnOnce(&mut Execution) -> T,
    ) -> Outcome<T> {
        self.with_job(key, |job| match job.executions.get_mut(name) {
            Some(execution) => Ok(act(execution)),
            None => Err(super::absent("Execution", name)),
        })
    }

    fn get_execution(&self, key: &Key, name: &str) -> Outcome {
        self.with_execution(key, name, |e| Value::Object(e.message.clone()))
    }

    /// Runs all tasks of an execution to their end. The error is the sentence of its `Completed` condition.
    async fn execute(&self, key: &Key, name: &str, operation: Option<&str>) -> Outcome<()> {
        self.host().clock.sleep(Duration::from_secs(8)).await;
        let (message, cancelled) =
            self.with_execution(key, name, |e| (e.message.clone(), e.cancelled.subscribe()))?;
        let template = &message["template"];
        let container = template["containers"][0]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let image = match self.resolve_image(&container) {
            Ok(image) => image,
            Err(failure) => {
                let standing = Standing::failed("CONTAINER_MISSING", failure.error.message.clone());
                self.complete_execution(key, name, &standing);
                return Err(failure.error);
            }
        };
        self.mark_started(key, name, operation);
        let count = message["taskCount"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(1);
        let parallel = message["parallelism"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(1);
        let slots = Arc::new(Semaphore::new(parallel.max(1)));
        let mut running = tokio::task::JoinSet::new();
        for index in 0..count {
            let task = Task {
                key: key.clone(),
                execution: name.to_owned(),
                index,
                count,
                container: container.clone(),
                image: image.clone(),
                timeout: template["timeout"]
                    .as_str()
                    .and_then(seconds)
                    .unwrap_or(Duration::from_secs(600)),
                retries: template["maxRetries"].as_u64().unwrap_or(3),
                cancelled: cancelled.clone(),
            };
            let (gcp, slots) = (self.clone(), slots.clone());
            running.spawn(async move {
                let _slot = slots.acquire_owned().await;
                gcp.run_task(task).await
            });
        }
        let mut failed: Option<(usize, Attempt)> = None;
        while let Some(ended) = running.join_next().await {
            if let Ok((index, attempt)) = ended
                && !matches!(attempt, Attempt::Exited(0))
                && failed.is_none()
            {
                failed = Some((index, attempt));
            }
        }
        let (standing, outcome) = execution_end(name, failed);
        self.host().clock.sleep(Duration::from_secs(1)).await;
        self.complete_execution(key, name, &standing);
        outcome
    }

    fn mark_started(&self, key: &Key, name: &str, operation: Option<&str>) {
        let now = self.now();
        let marked = self.with_job(key, |job| {
            job.message["latestCreatedExecution"]["completionStatus"] = "EXECUTION_RUNNING".into();
            let Some(execution) = job.executions.get_mut(name) else {
                return Err(super::absent("Execution", name));
            };
            let message = &mut execution.message;
            for kind in ["ResourcesAvailable", "Started", "ContainerReady"] {
                conditions::set(message, kind, &Standing::Succeeded, &now);
            }
            message.insert("startTime".into(), now.clone().into());
            message.insert("observedGeneration".into(), "1".into());
            Ok(any(EXECUTION, &Value::Object(message.clone())))
        });
        if let (Ok(metadata), Some(operation)) = (marked, operation) {
            self.operations().progress(operation, metadata);
        }
    }

    fn complete_execution(&self, key: &Key, name: &str, standing: &Standing) {
        let now = self.now();
        let completed = self.with_job(key, |job| {
            let status = match standing {
                Standing::Failed {
                    reason: "CANCELLED",
                    ..
                } => "EXECUTION_CANCELLED",
                Standing::Failed { .. } => "EXECUTION_FAILED",
                Standing::Succeeded | Standing::Pending(_) => "EXECUTION_SUCCEEDED",
            };
            let latest = &mut job.message["latestCreatedExecution"];
            if latest["name"] == name {
                latest["completionStatus"] = status.into();
                latest["completionTime"] = now.clone().into();
            }
            if let Some(execution) = job.executions.get_mut(name) {
                let message = &mut execution.message;
                conditions::set(message, "Completed", standing, &now);
                message.insert("completionTime".into(), now.clone().into());
                message.insert("updateTime".into(), now.clone().into());
                message.insert("observedGeneration".into(), "1".into());
                message.insert("reconciling".into(), false.into());
            }
            Ok(())
        });
        // A job that was deleted meanwhile has nothing to complete.
        drop(completed);
    }

    /// Runs one task with its retries; answers its index and its last attempt.
    async fn run_task(&self, task: Task) -> (usize, Attempt) {
        self.count(&task, &[("runningCount", 1)]);
        self.with_task(&task, |message, now| {
            message.insert("scheduledTime".into(), now.into());
            message.insert("startTime".into(), now.into());
        });
        let mut attempt_number = 0;
        let last = loop {
            let attempt = self.attempt(&task, attempt_number).await;
            let again = match attempt {
                Attempt::Exited(0) | Attempt::Cancelled => false,
                Attempt::Exited(_) | Attempt::TimedOut | Attempt::NotStarted(_) => {
                    attempt_number < task.retries
                }
            };
            self.record_attempt(&task, &attempt, attempt_number, again);
            if !again {
                break attempt;
            }
            if attempt_number == 0 {
                self.count(&task, &[("retriedCount", 1)]);
            }
            attempt_number += 1;
            self.host().clock.sleep(Duration::from_secs(2)).await;
        };
        let end = match last {
            Attempt::Exited(0) => "succeededCount",
            Attempt::Cancelled => "cancelledCount",
            Attempt::Exited(_) | Attempt::TimedOut | Attempt::NotStarted(_) => "failedCount",
        };
        self.count(&task, &[("runningCount", -1), (end, 1)]);
        (task.index, last)
    }

    async fn attempt(&self, task: &Task, number: u64) -> Attempt {
        let mut cancelled = task.cancelled.clone();
        if *cancelled.borrow() {
            return Attempt::Cancelled;
        }
        let source = self.task_source(task, number);
        let plan = Plan {
            name: format!("{}-task{}-{number}", task.execution, task.index),
            container: &task.container,
            system_env: vec![
                ("CLOUD_RUN_JOB", task.key.1.clone()),
                ("CLOUD_RUN_EXECUTION", task.execution.clone()),
                ("CLOUD_RUN_TASK_INDEX", task.index.to_string()),
                ("CLOUD_RUN_TASK_ATTEMPT", number.to_string()),
                ("CLOUD_RUN_TASK_COUNT", task.count.to_string()),
            ],
            serves: false,
            source: source.clone(),
            at: "template.template",
        };
        let container = match self.start_container(&plan, &task.image).await {
            Ok(container) => container,
            Err(failure) => return Attempt::NotStarted(failure.error),
        };
        let attempt = tokio::select! {
            exit = container.wait() => return {
                let severity = if exit.code == 0 { "INFO" } else { "ERROR" };
                self.log(&system(&source), &format!("Container called exit({}).", exit.code), severity);
                Attempt::Exited(exit.code)
            },
            () = tokio::time::sleep(self.patient(task.timeout)) => Attempt::TimedOut,
            _ = cancelled.wait_for(|c| *c) => Attempt::Cancelled,
        };
        container.stop(self.grace()).await;
        if matches!(attempt, Attempt::TimedOut) {
            self.log(
                &system(&source),
                "Terminating task because it has reached the maximum timeout.",
                "ERROR",
            );
        }
        attempt
    }

    fn task_source(&self, task: &Task, attempt: u64) -> Source {
        Source {
            resource: json!({ "type": "cloud_run_job", "labels": {
                "project_id": self.host().project, "location": task.key.0, "job_name": task.key.1,
            } }),
            labels: json!({
                "run.googleapis.com/execution_name": task.execution,
                "run.googleapis.com/task_index": task.index.to_string(),
                "run.googleapis.com/task_attempt": attempt.to_string(),
            }),
            log: "stdout".into(),
        }
    }

    fn with_task(&self, task: &Task, act: impl FnOnce(&mut Object, &str)) {
        let now = self.now();
        let found = self.with_execution(&task.key, &task.execution, |execution| {
            if let Some(message) = execution.tasks.get_mut(task.index) {
                act(message, &now);
                message.insert("updateTime".into(), now.clone().into());
            }
        });
        // An execution that was deleted meanwhile keeps no record.
        drop(found);
    }

    fn count(&self, task: &Task, changes: &[(&str, i64)]) {
        let found = self.with_execution(&task.key, &task.execution, |execution| {
            for (name, change) in changes {
                let now = execution
                    .message
                    .get(*name)
                    .and_then(Value::as_i64)
                    .unwrap_or(0);
                execution
                    .message
                    .insert((*name).into(), (now + change).into());
            }
        });
        drop(found);
    }

    fn record_attempt(&self, task: &Task, attempt: &Attempt, number: u64, again: bool) {
        self.with_task(task, |message, now| {
            message.insert("retried".into(), number.into());
            message.insert("lastAttemptResult".into(), attempt.result());
            message.insert("observedGeneration".into(), "1".into());
            if !again {
                conditions::set(message, "Completed", &attempt.standing(), now);
                message.insert("completionTime".into(), now.into());
                message.insert("reconciling".into(), false.into());
            }
        });
    }

    /// Methods of executions and tasks.
    pub(super) fn executions(&self, call: &Call, key: &Key, method: &str) -> Outcome {
        let name = call.var(3);
        match method {
            "jobs.executions.list" => {
                let mut all: Vec<Object> = {
                    let state = self.inner.run.lock();
                    let wanted =
                        |k: &Key| (key.0 == "-" || k.0 == key.0) && (key.1 == "-" || k.1 == key.1);
                    state
                        .jobs
                        .iter()
                        .filter(|(k, _)| wanted(k))
                        .flat_map(|(_, j)| j.executions.values().map(|e| e.message.clone()))
                        .collect()
                };
                all.sort_by(|a, b| text(b, "createTime").cmp(text(a, "createTime")));
                let (executions, next) = call.page(all, 100)?;
                Ok(json!({ "executions": executions, "nextPageToken": next }))
            }
            "jobs.executions.get" => self.get_execution(key, name),
            "jobs.executions.cancel" => self.cancel_execution(call, key, name),
            "jobs.executions.delete" => {
                let gone = self.with_job(key, |job| {
                    let Some(execution) = job.executions.get(name) else {
                        return Err(super::absent("Execution", name));
                    };
                    check_etag(name, &execution.message, call.query("etag"))?;
                    let mut message = execution.message.clone();
                    if !call.flag("validateOnly") {
                        execution.cancelled.send_replace(true);
                        job.executions.remove(name);
                    }
                    message.insert("deleteTime".into(), self.now().into());
                    Ok(message)
                })?;
                self.done_operation(&key.0, EXECUTION, &gone)
            }
            "jobs.executions.tasks.list" => {
                let all = self.with_execution(key, name, |e| e.tasks.clone())?;
                let (tasks, next) = call.page(all, 100)?;
                Ok(json!({ "tasks": tasks, "nextPageToken": next }))
            }
            "jobs.executions.tasks.get" => {
                let wanted = call.var(4);
                let found = self.with_execution(key, name, |e| {
                    e.tasks
                        .iter()
                        .find(|t| super::short(text(t, "name")) == wanted)
                        .cloned()
                })?;
                found
                    .map(Value::Object)
                    .ok_or_else(|| super::absent("Task", wanted))
            }
            other => Err(ApiError::unimplemented(other)),
        }
    }

    fn cancel_execution(&self, call: &Call, key: &Key, name: &str) -> Outcome {
        let message = self.with_job(key, |job| {
            let Some(execution) = job.executions.get(name) else {
                return Err(super::absent("Execution", name));
            };
            check_etag(name, &execution.message, text(&call.body, "etag"))?;
            if execution.message.contains_key("completionTime") {
                return Err(ApiError::precondition(format!(
                    "Execution '{name}' has completed and cannot be cancelled."
                )));
            }
            if call.body.get("validateOnly") != Some(&Value::Bool(true)) {
                execution.cancelled.send_replace(true);
            }
            Ok(execution.message.clone())
        })?;
        let operation = self.operations().start(
            &self.run_parent(&key.0),
            any(EXECUTION, &Value::Object(message)),
        );
        let id = operation["name"].as_str().unwrap_or_default().to_owned();
        let (gcp, key, name) = (self.clone(), key.clone(), name.to_owned());
        tokio::spawn(async move {
            gcp.host().clock.sleep(Duration::from_secs(2)).await;
            let message = gcp.get_execution(&key, &name);
            let value = any(EXECUTION, &message.unwrap_or_else(|_| json!({})));
            gcp.operations().finish(&id, value.clone(), Ok(value));
        });
        Ok(operation)
    }
}

impl Attempt {
    fn message(&self) -> String {
        match self {
            Self::Exited(0) => String::new(),
            Self::Exited(_) => "The container exited with an error.".into(),
            Self::TimedOut => "The configured timeout was reached.".into(),
            Self::Cancelled => "The execution was cancelled.".into(),
            Self::NotStarted(error) => error.message.clone(),
        }
    }

    fn standing(&self) -> Standing {
        let failed = |reason| Standing::Failed {
            field: "executionReason",
            reason,
            message: self.message(),
        };
        match self {
            Self::Exited(0) => Standing::Succeeded,
            Self::Exited(_) => failed("NON_ZERO_EXIT_CODE"),
            Self::Cancelled => failed("CANCELLED"),
            Self::TimedOut => Standing::failed("PROGRESS_DEADLINE_EXCEEDED", self.message()),
            Self::NotStarted(_) => Standing::failed("UNKNOWN", self.message()),
        }
    }

    /// `TaskAttemptResult`.
    fn result(&self) -> Value {
        let status = |code: Code| json!({ "code": code.number(), "message": self.message() });
        match self {
            Self::Exited(0) => json!({ "status": {} }),
            // 128 + n: ended by signal n.
            Self::Exited(code) if *code > 128 => {
                json!({ "exitCode": code, "termSignal": code - 128, "status": status(Code::Internal) })
            }
            Self::Exited(code) => json!({ "exitCode": code, "status": status(Code::Internal) }),
            Self::TimedOut => json!({ "termSignal": 15, "status": status(Code::Internal) }),
            Self::Cancelled => json!({ "status": status(Code::Cancelled) }),
            Self::NotStarted(error) => json!({ "status": status(error.code) }),
        }
    }
}

fn execution_end(name: &str, failed: Option<(usize, Attempt)>) -> (Standing, Outcome<()>) {
    let Some((index, attempt)) = failed else {
        return (Standing::Succeeded, Ok(()));
    };
    if matches!(attempt, Attempt::Cancelled) {
        let message = "The execution was cancelled.";
        let standing = Standing::Failed {
            field: "executionReason",
            reason: "CANCELLED",
            message: message.into(),
        };
        return (standing, Err(ApiError::new(Code::Cancelled, message)));
    }
    let message = format!(
        "Task {name}-task{index} failed with message: {}",
        attempt.message()
    );
    let standing = match attempt.standing() {
        Standing::Failed { field, reason, .. } => Standing::Failed {
            field,
            reason,
            message: message.clone(),
        },
        other => other,
    };
    (standing, Err(ApiError::new(Code::Internal, message)))
}

/// Puts `jobs.run`'s overrides into a task template.
fn apply_overrides(template: &mut Value, overrides: &Object) -> Outcome<()> {
    if let Some(timeout) = overrides.get("timeout").and_then(Value::as_str) {
        if seconds(timeout).is_none_or(|t| t.is_zero()) {
            return Err(ApiError::field(
                "overrides.timeout",
                "must be greater than 0",
            ));
        }
        template["timeout"] = timeout.into();
    }
    let all = overrides
        .get("containerOverrides")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    for (index, change) in all.iter().enumerate() {
        let at = format!("overrides.container_overrides[{index}]");
        check_env(&at, change.get("env"), Use::Job)?;
        let container = &mut template["containers"][0];
        let named = change["name"].as_str().unwrap_or_default();
        if !named.is_empty() && container["name"] != named {
            return Err(ApiError::field(
                &format!("{at}.name"),
                format!("the job has no container '{named}'"),
            ));
        }
        let args = change["args"].as_array().is_some_and(|a| !a.is_empty());
        let clear = change["clearArgs"] == true;
        if args && clear {
            return Err(ApiError::field(
                &format!("{at}.clear_args"),
                "must not be set together with args",
            ));
        }
        if args {
            container["args"] = change["args"].clone();
        }
        if clear && let Some(container) = container.as_object_mut() {
            container.remove("args");
        }
        merge_env(container, change.get("env"));
    }
    Ok(())
}

fn merge_env(container: &mut Value, changes: Option<&Value>) {
    for change in changes.and_then(Value::as_array).into_iter().flatten() {
        if !container["env"].is_array() {
            container["env"] = json!([]);
        }
        let Some(env) = container["env"].as_array_mut() else {
            return;
        };
        match env.iter_mut().find(|e| e["name"] == change["name"]) {
            Some(known) => *known = change.clone(),
            None => env.push(change.clone()),
        }
    }
}
