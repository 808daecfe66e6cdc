//! Executions of jobs: started, counted, completed, cancelled, deleted.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::conditions::{self, Standing};
use super::overrides::apply_overrides;
use super::task::{Attempt, Task};
use super::{EXECUTION, Execution, Job, Key, absent, check_etag, text};
use crate::gcp::error::{ApiError, Code, Outcome};
use crate::gcp::names::{fresh_etag, random_suffix};
use crate::gcp::operations::any;
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;
use crate::gcp::{Gcp, seconds};

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
            let ready = job
                .message
                .get("terminalCondition")
                .cloned()
                .unwrap_or_default();
            if ready["reason"] == "CONTAINER_MISSING" {
                let why = ready["message"].as_str().unwrap_or_default();
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
        let operation = self.operations().start(&self.parent_at(&key.0), metadata);
        let id = operation["name"].as_str().unwrap_or_default().to_owned();
        let (gcp, key) = (self.clone(), key.clone());
        self.host().background.spawn(async move {
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
            if job.kept.executions.contains_key(name) {
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
                self.host().background.spawn(run);
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
            "name": format!("{}/jobs/{}/executions/{name}", self.parent_at(&key.0), key.1),
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
        job.kept.executions.insert(
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

    pub(super) fn with_execution<T>(
        &self,
        key: &Key,
        name: &str,
        act: impl FnOnce(&mut Execution) -> T,
    ) -> Outcome<T> {
        self.with_job(key, |job| match job.kept.executions.get_mut(name) {
            Some(execution) => Ok(act(execution)),
            None => Err(super::absent("Execution", name)),
        })
    }

    fn get_execution(&self, key: &Key, name: &str) -> Outcome {
        self.with_execution(key, name, |e| Value::Object(e.message.clone()))
    }

    /// The answer to a `get` that does not know an execution yet; `None` unless it began in the
    /// last minute.
    pub(in crate::gcp) fn execution_unborn(&self, vars: &[String]) -> Option<ApiError> {
        let [_, location, job, name] = vars else {
            return None;
        };
        let key = (location.clone(), job.clone());
        let began = self.with_execution(&key, name, |e| text(&e.message, "createTime").to_owned());
        let began: jiff::Timestamp = began.ok()?.parse().ok()?;
        let age = self.host().clock.now().duration_since(began);
        (age.as_secs() < 60).then(|| absent("Execution", name))
    }

    /// Runs all tasks of an execution to their end. The error is the sentence of its `Completed`
    /// condition.
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
                account: template["serviceAccount"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
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
            let Some(execution) = job.kept.executions.get_mut(name) else {
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
            if let Some(execution) = job.kept.executions.get_mut(name) {
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

    /// Methods of executions and tasks.
    pub(super) fn executions(&self, call: &Call, key: &Key, method: &str) -> Outcome {
        let name = call.var(3);
        match method {
            "jobs.executions.list" => {
                let mut all = self.inner.run.jobs.at(&key.0, |own, job| {
                    let wanted = key.1 == "-" || own.1 == key.1;
                    let executions = job.kept.executions.values().filter(|_| wanted);
                    executions.map(|e| e.message.clone()).collect::<Vec<_>>()
                });
                all.sort_by(|a, b| text(b, "createTime").cmp(text(a, "createTime")));
                call.listed(all, 100)
            }
            "jobs.executions.get" => self.get_execution(key, name),
            "jobs.executions.cancel" => self.cancel_execution(call, key, name),
            "jobs.executions.delete" => {
                let gone = self.with_job(key, |job| {
                    let Some(execution) = job.kept.executions.get(name) else {
                        return Err(super::absent("Execution", name));
                    };
                    check_etag(name, &execution.message, call.query("etag"))?;
                    let mut message = execution.message.clone();
                    if !call.flag("validateOnly") {
                        execution.cancelled.send_replace(true);
                        job.kept.executions.remove(name);
                    }
                    message.insert("deleteTime".into(), self.now().into());
                    Ok(message)
                })?;
                self.done_operation(&key.0, EXECUTION, &gone)
            }
            "jobs.executions.tasks.list" => {
                let all = self.with_execution(key, name, |e| e.tasks.clone())?;
                call.listed(all, 100)
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
            let Some(execution) = job.kept.executions.get(name) else {
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
            &self.parent_at(&key.0),
            any(EXECUTION, &Value::Object(message)),
        );
        let id = operation["name"].as_str().unwrap_or_default().to_owned();
        let (gcp, key, name) = (self.clone(), key.clone(), name.to_owned());
        self.host().background.spawn(async move {
            gcp.host().clock.sleep(Duration::from_secs(2)).await;
            let message = gcp.get_execution(&key, &name);
            let value = any(EXECUTION, &message.unwrap_or_else(|_| json!({})));
            gcp.operations().finish(&id, value.clone(), Ok(value));
        });
        Ok(operation)
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
