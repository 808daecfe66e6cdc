//! v1 (Knative): everything as v2 has it, told as `gcloud run` reads it; and a service changed, as
//! `gcloud run services update` does.

mod annotations;
mod fields;
mod jobs;
mod replace;
mod spec;
mod view;

use serde_json::{Value, json};

use super::SERVICE;
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Code, Outcome};
use crate::gcp::names::LOCATIONS;
use crate::gcp::operations::any;
use crate::gcp::wire::Call;

impl Gcp {
    /// Methods of Cloud Run v1. Those of the regional host name the project only; those below
    /// `/v1/` the location too.
    pub(in crate::gcp) fn run_v1(&self, call: &Call) -> Outcome {
        self.check_project(call.var(0))?;
        let method = call.method.id.strip_prefix("run.").unwrap_or_default();
        let (location, id, method) = match method.strip_prefix("projects.locations.") {
            Some(rest) => (call.var(1).to_owned(), call.var(2), rest),
            None => (
                self.host_location(call),
                call.var(1),
                method.strip_prefix("namespaces.").unwrap_or_default(),
            ),
        };
        let key = (location, id.to_owned());
        match method {
            "services.list" => Ok(self.v1_list(
                "ServiceList",
                "serving.knative.dev/v1",
                self.v1_services(&key.0),
                call,
            )),
            "services.get" => self.get_v1_service(&key),
            "services.replaceService" => self.replace_service(call, &key),
            "services.getIamPolicy" => self.with_service(&key, |s| Ok(s.policy.get())),
            "services.testIamPermissions" => {
                self.with_service(&key, |_| Ok(self.test_permissions(&call.body)))
            }
            "jobs.getIamPolicy" => self.with_job(&key, |j| Ok(j.policy.get())),
            "jobs.testIamPermissions" => {
                self.with_job(&key, |_| Ok(self.test_permissions(&call.body)))
            }
            "configurations.list" | "configurations.get" | "routes.list" | "routes.get" => Err(
                ApiError::unimplemented("configurations and routes of the v1 API"),
            ),
            "revisions.list" => Ok(self.v1_list(
                "RevisionList",
                "serving.knative.dev/v1",
                self.v1_revisions(&key.0),
                call,
            )),
            "revisions.get" => named(self.v1_revisions(&key.0), "Revision", id),
            "jobs.list" => Ok(self.v1_list(
                "JobList",
                "run.googleapis.com/v1",
                self.v1_jobs(&key.0),
                call,
            )),
            "jobs.get" => named(self.v1_jobs(&key.0), "Job", id),
            "executions.list" => Ok(self.v1_list(
                "ExecutionList",
                "run.googleapis.com/v1",
                self.v1_executions(&key.0),
                call,
            )),
            "executions.get" => named(self.v1_executions(&key.0), "Execution", id),
            "tasks.list" => Ok(self.v1_list(
                "TaskList",
                "run.googleapis.com/v1",
                self.v1_tasks(&key.0),
                call,
            )),
            "tasks.get" => named(self.v1_tasks(&key.0), "Task", id),
            other => Err(ApiError::new(
                Code::Unimplemented,
                format!(
                    "of the writes of Cloud Run's v1 API the sandbox offers replacing a service alone ({other}); write with the v2 API"
                ),
            )),
        }
    }

    /// An operation of v1: that of v2, about a service as v1 tells it.
    pub(in crate::gcp) async fn run_v1_operation(&self, call: &Call) -> Outcome {
        let mut operation = self.operation(call).await?;
        let of = format!("type.googleapis.com/{SERVICE}");
        for part in ["metadata", "response"] {
            let Some(told) = operation.get_mut(part) else {
                continue;
            };
            if told["@type"] == of.as_str() {
                let message = told.as_object().cloned().unwrap_or_default();
                let service = self.v1_service(call.var(1), &message, call.var(2));
                *told = any("google.cloud.run.v1.Service", &service);
            }
        }
        Ok(operation)
    }

    /// The location that the host names: `us-central1-run.googleapis.com`. Elsewhere every location
    /// is meant.
    fn host_location(&self, call: &Call) -> String {
        let host = call.host.as_deref().unwrap_or_default();
        let named = LOCATIONS.iter().find(|l| {
            host.strip_prefix(**l)
                .is_some_and(|rest| rest.starts_with("-run"))
        });
        match (named, call.var(1)) {
            (Some(location), _) => (*location).to_owned(),
            (None, "") => "-".into(),
            (None, _) => self.host().location.clone(),
        }
    }

    /// A list, narrowed by `labelSelector` (`k=v`, `k in (v)`), and cut by `limit`.
    fn v1_list(&self, kind: &str, version: &str, items: Vec<Value>, call: &Call) -> Value {
        let selector = call.query("labelSelector");
        let kept: Vec<Value> = items
            .into_iter()
            .filter(|item| selected(item, selector))
            .collect();
        let limit = call
            .query("limit")
            .parse()
            .ok()
            .filter(|l| *l > 0)
            .unwrap_or(usize::MAX);
        let start: usize = call.query("continue").parse().unwrap_or(0);
        let next = start.saturating_add(limit);
        let more = if next < kept.len() {
            next.to_string()
        } else {
            String::new()
        };
        let items: Vec<Value> = kept.into_iter().skip(start).take(limit).collect();
        json!({ "apiVersion": version, "kind": kind, "items": items, "metadata": { "continue": more, "resourceVersion": "1" } })
    }
}

fn named(all: Vec<Value>, kind: &str, id: &str) -> Outcome {
    all.into_iter()
        .find(|item| item["metadata"]["name"] == id)
        .ok_or_else(|| super::absent(kind, id))
}

/// A Kubernetes label selector: `k=v` and `k in (a, b)`, joined by commas.
fn selected(item: &Value, selector: &str) -> bool {
    let mut rest = selector.trim();
    while !rest.is_empty() {
        let (term, after) = match rest.find(['(', ',']) {
            Some(at) if rest[at..].starts_with('(') => {
                let end = rest.find(')').map_or(rest.len(), |e| e + 1);
                rest.split_at(end)
            }
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        rest = after.trim_start_matches([',', ' ']);
        let (key, values) = match term.split_once(" in ") {
            Some((key, values)) => (key, values.trim().trim_matches(['(', ')']).to_owned()),
            None => match term.split_once('=') {
                Some((key, value)) => (key, value.trim_start_matches('=').to_owned()),
                None => continue,
            },
        };
        let label = item["metadata"]["labels"][key.trim()]
            .as_str()
            .unwrap_or_default();
        if !values.split(',').any(|v| v.trim() == label) {
            return false;
        }
    }
    true
}
