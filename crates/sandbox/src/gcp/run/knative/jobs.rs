//! The v1 view of jobs, executions and tasks.

use serde_json::{Value, json};

use super::view::{all_annotations, v1_conditions, v1_containers};
use crate::gcp::run::{Key, number, short, text};
use crate::gcp::schema::Object;
use crate::gcp::{Gcp, seconds};

/// The API group of jobs, executions and tasks.
const RUN: &str = "run.googleapis.com";

impl Gcp {
    pub(super) fn v1_jobs(&self, location: &str) -> Vec<Value> {
        let jobs = &self.inner.run.jobs;
        jobs.at(location, |(l, _), job| [self.v1_job(l, &job.message)])
    }

    fn v1_job(&self, location: &str, job: &Object) -> Value {
        let empty = Object::new();
        let outer = job
            .get("template")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let latest = job.get("latestCreatedExecution").map(|latest| {
            json!({
                "name": latest["name"],
                "creationTimestamp": latest["createTime"],
                "completionTimestamp": latest["completionTime"],
                "completionStatus": latest["completionStatus"],
            })
        });
        json!({
            "apiVersion": "run.googleapis.com/v1",
            "kind": "Job",
            "metadata": self.v1_metadata((RUN, "Job"), location, job),
            "spec": { "template": {
                "metadata": { "labels": outer.get("labels"), "annotations": task_annotations(outer.get("template")) },
                "spec": {
                    "taskCount": outer.get("taskCount"),
                    "parallelism": outer.get("parallelism"),
                    "template": { "spec": task_spec(outer.get("template")) },
                },
            } },
            "status": {
                "observedGeneration": number(job, "observedGeneration"),
                "conditions": v1_conditions(job),
                "executionCount": job.get("executionCount"),
                "latestCreatedExecution": latest,
            },
        })
    }

    pub(super) fn v1_executions(&self, location: &str) -> Vec<Value> {
        let mut all = self.inner.run.jobs.at(location, |key, job| {
            let executions = job.kept.executions.values();
            let all = executions.map(|e| (key.clone(), e.message.clone()));
            all.collect::<Vec<_>>()
        });
        all.sort_by(|a, b| text(&b.1, "createTime").cmp(text(&a.1, "createTime")));
        all.iter()
            .map(|(key, execution)| self.v1_execution(key, execution))
            .collect()
    }

    fn v1_execution(&self, key: &Key, execution: &Object) -> Value {
        let mut metadata = self.v1_metadata((RUN, "Execution"), &key.0, execution);
        metadata["labels"]["run.googleapis.com/job"] = key.1.clone().into();
        json!({
            "apiVersion": "run.googleapis.com/v1",
            "kind": "Execution",
            "metadata": metadata,
            "spec": {
                "taskCount": execution.get("taskCount"),
                "parallelism": execution.get("parallelism"),
                "template": { "spec": task_spec(execution.get("template")) },
            },
            "status": {
                "observedGeneration": number(execution, "observedGeneration"),
                "conditions": v1_conditions(execution),
                "startTime": execution.get("startTime"),
                "completionTime": execution.get("completionTime"),
                "runningCount": execution.get("runningCount"),
                "succeededCount": execution.get("succeededCount"),
                "failedCount": execution.get("failedCount"),
                "cancelledCount": execution.get("cancelledCount"),
                "retriedCount": execution.get("retriedCount"),
                "logUri": execution.get("logUri"),
            },
        })
    }

    pub(super) fn v1_tasks(&self, location: &str) -> Vec<Value> {
        self.inner.run.jobs.at(location, |key, job| {
            let tasks = job.kept.executions.values().flat_map(|it| &it.tasks);
            let all = tasks.map(|task| self.v1_task(key, task));
            all.collect::<Vec<_>>()
        })
    }

    fn v1_task(&self, key: &Key, task: &Object) -> Value {
        let mut metadata = self.v1_metadata((RUN, "Task"), &key.0, task);
        metadata["labels"]["run.googleapis.com/job"] = key.1.clone().into();
        metadata["labels"]["run.googleapis.com/execution"] = short(text(task, "execution")).into();
        metadata["labels"]["run.googleapis.com/runningState"] = running_state(task).into();
        json!({
            "apiVersion": "run.googleapis.com/v1",
            "kind": "Task",
            "metadata": metadata,
            "spec": task_spec(Some(&Value::Object(task.clone()))),
            "status": {
                "observedGeneration": number(task, "observedGeneration"),
                "conditions": v1_conditions(task),
                "index": task.get("index"),
                "startTime": task.get("startTime"),
                "completionTime": task.get("completionTime"),
                "retried": task.get("retried"),
                "lastAttemptResult": task.get("lastAttemptResult"),
                "logUri": task.get("logUri"),
            },
        })
    }
}

/// The word that `gcloud` shows for a task.
fn running_state(task: &Object) -> &'static str {
    let completed = task
        .get("conditions")
        .map(|c| c[0].clone())
        .unwrap_or_default();
    match completed["state"].as_str() {
        Some("CONDITION_SUCCEEDED") => "Succeeded",
        Some("CONDITION_FAILED") if completed["executionReason"] == "CANCELLED" => "Cancelled",
        Some("CONDITION_FAILED") => "Failed",
        _ if task.contains_key("startTime") => "Running",
        _ => "Pending",
    }
}

fn task_annotations(template: Option<&Value>) -> Object {
    let template = template.and_then(Value::as_object);
    template.map_or_else(Object::new, |it| all_annotations("Execution", it))
}

fn task_spec(template: Option<&Value>) -> Value {
    let Some(template) = template else {
        return json!({});
    };
    let timeout = template["timeout"].as_str().and_then(seconds);
    json!({
        "containers": v1_containers(template.get("containers")),
        "maxRetries": template["maxRetries"],
        "serviceAccountName": template["serviceAccount"],
        "timeoutSeconds": timeout.map(|t| t.as_secs().to_string()),
    })
}
