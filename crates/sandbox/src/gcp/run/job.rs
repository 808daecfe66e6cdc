//! Jobs: created, changed, listed, deleted; they become ready once their image is found.

use std::time::Duration;

use serde_json::{Value, json};

use super::conditions::{self, Standing};
use super::instance::IN_TASK;
use super::resources::Use;
use super::template;
use super::{JOB, Job, Key, Runs, check_etag, number, text};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Code, Outcome};
use crate::gcp::names::{fresh_etag, is_dns_label};
use crate::gcp::operations::any;
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;

/// What a client may set; a change replaces all of it (the method knows no mask).
const SETTABLE: [&str; 10] = [
    "annotations",
    "binaryAuthorization",
    "client",
    "clientVersion",
    "functionalType",
    "labels",
    "launchStage",
    "template",
    "startExecutionToken",
    "runExecutionToken",
];

impl Gcp {
    pub(super) fn create_job(&self, call: &Call) -> Outcome {
        let id = call.query("jobId");
        self.new_job(call, (call.var(1).to_owned(), id.to_owned()))
    }

    fn new_job(&self, call: &Call, key: Key) -> Outcome {
        if !is_dns_label(&key.1, 49) {
            return Err(ApiError::field(
                "job_id",
                "must use only lowercase alphanumeric characters and dashes, begin with a letter, not end with a dash, and be shorter than 50 characters",
            ));
        }
        let mut message = self.complete_job(&key, &call.body)?;
        message.insert(
            "name".into(),
            format!("{}/jobs/{}", self.parent_at(&key.0), key.1).into(),
        );
        message.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
        message.insert("createTime".into(), self.now().into());
        message.insert("creator".into(), call.principal.clone().into());
        let account = message["template"]["template"]["serviceAccount"].as_str();
        self.check_agent(account.unwrap_or_default())?;
        self.check_lingering(JOB, &key)?;
        {
            let mut jobs = self.inner.run.jobs.lock();
            if jobs.contains_key(&key) {
                return Err(ApiError::new(
                    Code::AlreadyExists,
                    format!("Resource '{}' already exists.", key.1),
                ));
            }
            if !call.flag("validateOnly") {
                jobs.insert(key.clone(), Job::new(message.clone(), Runs::default()));
            }
        }
        if call.flag("validateOnly") {
            return self.done_operation(&key.0, JOB, &message);
        }
        self.begin_job_change(call, &key)
    }

    fn complete_job(&self, key: &Key, body: &Object) -> Outcome<Object> {
        let mut message: Object = body
            .iter()
            .filter(|(k, _)| SETTABLE.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        message.entry("launchStage").or_insert("GA".into());
        template::check_metadata("", &message)?;
        let outer = message.entry("template").or_insert(json!({}));
        let outer = outer
            .as_object_mut()
            .ok_or_else(|| ApiError::field("template", "must be set"))?;
        outer.entry("taskCount").or_insert(1.into());
        template::check_metadata("template.", outer)?;
        let count = |name: &str| outer.get(name).and_then(Value::as_i64);
        if count("taskCount").is_some_and(|n| !(1..=10_000).contains(&n)) {
            return Err(ApiError::field(
                "template.task_count",
                "must be between 1 and 10000",
            ));
        }
        if count("parallelism").is_some_and(|n| n < 0) {
            return Err(ApiError::field(
                "template.parallelism",
                "must not be negative",
            ));
        }
        let inner = outer.entry("template").or_insert(json!({}));
        let inner = inner
            .as_object_mut()
            .ok_or_else(|| ApiError::field("template.template", "must be set"))?;
        template::fill(inner, Use::Job, &self.host().project);
        template::check("template.template", inner, Use::Job)?;
        let token = execution_token(&message);
        if !token.is_empty()
            && (key.1.len() + token.len() >= 63 || !is_dns_label(&format!("{}-{token}", key.1), 63))
        {
            return Err(ApiError::field(
                "run_execution_token",
                "the job's name and the token make no valid name: they must be fewer than 63 lowercase alphanumeric characters or dashes",
            ));
        }
        Ok(message)
    }

    pub(super) fn patch_job(&self, call: &Call, key: &Key) -> Outcome {
        let exists = self.inner.run.jobs.lock().contains_key(key);
        if !exists && call.flag("allowMissing") {
            return self.new_job(call, key.clone());
        }
        let fresh = self.complete_job(key, &call.body);
        self.with_job(key, |job| {
            check_etag(&key.1, &job.message, text(&call.body, "etag"))
        })?;
        let fresh = fresh?;
        let validate_only = call.flag("validateOnly");
        let changed = self.with_job(key, |job| {
            let mut message = job.message.clone();
            for name in SETTABLE {
                message.remove(name);
            }
            message.extend(fresh);
            if !validate_only {
                job.message = message.clone();
            }
            Ok(message)
        })?;
        if validate_only {
            return self.done_operation(&key.0, JOB, &changed);
        }
        self.begin_job_change(call, key)
    }

    fn begin_job_change(&self, call: &Call, key: &Key) -> Outcome {
        let now = self.now();
        let message = self.with_job(key, |job| {
            let message = &mut job.message;
            let generation = number(message, "generation") + 1;
            message.insert("generation".into(), generation.to_string().into());
            message.insert("updateTime".into(), now.clone().into());
            message.insert("lastModifier".into(), call.principal.clone().into());
            message.insert("etag".into(), fresh_etag().into());
            message.insert("reconciling".into(), true.into());
            conditions::set_terminal(message, &Standing::pending(), &now);
            Ok(message.clone())
        })?;
        let operation = self.operations().start(
            &self.parent_at(&key.0),
            any(JOB, &Value::Object(message.clone())),
        );
        let name = operation["name"].as_str().unwrap_or_default().to_owned();
        let (gcp, key) = (self.clone(), key.clone());
        self.host()
            .background
            .spawn(async move { gcp.settle_job(key, message, name).await });
        Ok(operation)
    }

    /// Looks for the image, starts the execution that a token asks for, and finishes the operation.
    async fn settle_job(&self, key: Key, job: Object, operation: String) {
        let generation = number(&job, "generation");
        self.host().clock.sleep(Duration::from_secs(2)).await;
        let task = job.get("template").map(|t| &t["template"]);
        let container = task.and_then(|t| t["containers"][0].as_object()).cloned();
        let container = container.unwrap_or_default();
        let account = task.and_then(|t| t["serviceAccount"].as_str());
        let checked = self
            .variables(&container, account.unwrap_or_default(), IN_TASK)
            .and_then(|_| self.resolve_image(&container));
        let mut reason = checked.as_ref().err().map_or("UNKNOWN", |it| it.reason.1);
        let mut outcome = checked.map(drop).map_err(|failure| failure.error);
        let token = execution_token(&job);
        if outcome.is_ok() && !token.is_empty() {
            reason = "UNKNOWN";
            let until_done = job.contains_key("runExecutionToken");
            outcome = self
                .execution_of_token(&key, &format!("{}-{token}", key.1), until_done)
                .await;
        }
        let now = self.now();
        let settled = self.with_job(&key, |job| {
            let message = &mut job.message;
            if number(message, "generation") == generation {
                let standing = match &outcome {
                    Ok(()) => Standing::Succeeded,
                    Err(error) => Standing::failed(reason, error.message.clone()),
                };
                conditions::set_terminal(message, &standing, &now);
                message.insert("reconciling".into(), false.into());
                message.insert("observedGeneration".into(), generation.to_string().into());
            }
            Ok(any(JOB, &Value::Object(message.clone())))
        });
        let (metadata, result) = match settled {
            Ok(job) => (job.clone(), outcome.map(|()| job)),
            Err(gone) => (any(JOB, &json!({})), Err(gone)),
        };
        self.operations().finish(&operation, metadata, result);
    }

    pub(super) fn delete_job(&self, call: &Call, key: &Key) -> Outcome {
        let mut message = self.with_job(key, |job| {
            check_etag(&key.1, &job.message, call.query("etag"))?;
            Ok(job.message.clone())
        })?;
        message.insert("deleteTime".into(), self.now().into());
        let removed = match call.flag("validateOnly") {
            true => None,
            false => self.inner.run.jobs.lock().remove(key),
        };
        if let Some(job) = removed {
            self.linger(JOB, key);
            // Executions end with their job.
            for execution in job.kept.executions.values() {
                execution.cancelled.send_replace(true);
            }
        }
        self.done_operation(&key.0, JOB, &message)
    }
}

/// The suffix of the execution that a change of the job is to start; empty when none.
fn execution_token(job: &Object) -> String {
    let token = ["runExecutionToken", "startExecutionToken"]
        .iter()
        .find_map(|name| job.get(*name)?.as_str());
    token.unwrap_or_default().to_owned()
}
