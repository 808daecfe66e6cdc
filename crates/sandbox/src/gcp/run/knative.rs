//! The v1 (Knative) view of services and revisions, read only: `gcloud run` reads it.

use serde_json::{Value, json};

use super::{Key, number, short, text};
use crate::gcp::error::{ApiError, Code, Outcome};
use crate::gcp::names::{LOCATIONS, project_number};
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;
use crate::gcp::{Gcp, iam, seconds};

/// The API group of services and revisions.
const SERVING: &str = "serving.knative.dev";

/// A revision and what v1 tells beside the v2 message.
struct RevisionView {
    key: Key,
    message: Object,
    image: Option<String>,
    serving: bool,
}

impl Gcp {
    /// Methods of Cloud Run v1. Those of the regional host name the project only; those below `/v1/` the location too.
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
            "services.get" => self.with_service(&key, |s| Ok(self.v1_service(&key.0, &s.message))),
            "services.getIamPolicy" => self.with_service(&key, |s| Ok(s.policy.get())),
            "services.testIamPermissions" => self.with_service(&key, |_| Ok(iam::test(&call.body))),
            "jobs.getIamPolicy" => self.with_job(&key, |j| Ok(j.policy.get())),
            "jobs.testIamPermissions" => self.with_job(&key, |_| Ok(iam::test(&call.body))),
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
                    "the sandbox's v1 view of Cloud Run is read only ({other}); write with the v2 API"
                ),
            )),
        }
    }

    /// The location that the host names: `us-central1-run.googleapis.com`. Elsewhere every location is meant.
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

    fn v1_services(&self, location: &str) -> Vec<Value> {
        let state = self.inner.run.lock();
        let here = state
            .services
            .iter()
            .filter(|((l, _), _)| location == "-" || l == location);
        here.map(|((l, _), s)| self.v1_service(l, &s.message))
            .collect()
    }

    fn v1_service(&self, location: &str, service: &Object) -> Value {
        let mut metadata = self.v1_metadata(SERVING, location, service);
        let ingress = match text(service, "ingress") {
            "INGRESS_TRAFFIC_INTERNAL_ONLY" => "internal",
            "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" => "internal-and-cloud-load-balancing",
            _ => "all",
        };
        metadata["annotations"]["run.googleapis.com/ingress"] = ingress.into();
        metadata["annotations"]["run.googleapis.com/ingress-status"] = ingress.into();
        metadata["annotations"]["run.googleapis.com/urls"] = service
            .get("urls")
            .map(Value::to_string)
            .unwrap_or_default()
            .into();
        if service.get("invokerIamDisabled") == Some(&Value::Bool(true)) {
            metadata["annotations"]["run.googleapis.com/invoker-iam-disabled"] = "true".into();
        }
        let empty = Object::new();
        let template = service
            .get("template")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let ready = short(text(service, "latestReadyRevision"));
        let statuses = service.get("trafficStatuses").or(service.get("traffic"));
        json!({
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "template": { "metadata": template_metadata(template), "spec": revision_spec(template) },
                "traffic": v1_traffic(service.get("traffic"), ""),
            },
            "status": {
                "observedGeneration": number(service, "observedGeneration"),
                "conditions": v1_conditions(service),
                "latestCreatedRevisionName": short(text(service, "latestCreatedRevision")),
                "latestReadyRevisionName": ready,
                "traffic": v1_traffic(statuses, ready),
                "url": service.get("uri"),
                "address": { "url": service.get("uri") },
            },
        })
    }

    fn v1_revisions(&self, location: &str) -> Vec<Value> {
        let state = self.inner.run.lock();
        let mut all: Vec<RevisionView> = state
            .services
            .iter()
            .filter(|((l, _), _)| location == "-" || l == location)
            .flat_map(|(key, s)| {
                let serving = super::traffic::serving(s);
                s.revisions
                    .iter()
                    .map(move |(name, revision)| RevisionView {
                        key: key.clone(),
                        message: revision.message.clone(),
                        image: revision.image.clone(),
                        serving: serving.contains(name),
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        drop(state);
        all.sort_by(|a, b| text(&b.message, "createTime").cmp(text(&a.message, "createTime")));
        all.iter().map(|view| self.v1_revision(view)).collect()
    }

    fn v1_revision(&self, view: &RevisionView) -> Value {
        let (key, revision) = (&view.key, &view.message);
        let mut metadata = self.v1_metadata(SERVING, &key.0, revision);
        metadata["labels"]["serving.knative.dev/service"] = key.1.clone().into();
        metadata["labels"]["serving.knative.dev/configuration"] = key.1.clone().into();
        if let (Some(into), Some(from)) = (
            metadata["annotations"].as_object_mut(),
            template_metadata(revision)["annotations"].as_object(),
        ) {
            into.extend(from.clone());
        }
        let mut conditions = v1_conditions(revision);
        if let Some(all) = conditions.as_array_mut() {
            let ready = text(revision, "createTime");
            all.push(json!({
                "type": "Active", "status": if view.serving { "True" } else { "False" }, "severity": "Info",
                "lastTransitionTime": ready, "reason": if view.serving { Value::Null } else { "Reserve".into() },
            }));
        }
        json!({
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Revision",
            "metadata": metadata,
            "spec": revision_spec(revision),
            "status": {
                "observedGeneration": number(revision, "observedGeneration"),
                "conditions": conditions,
                "logUrl": revision.get("logUri"),
                "imageDigest": view.image,
            },
        })
    }

    /// `ObjectMeta`: what v1 keeps in annotations has fields of its own in v2.
    /// `group` is whose annotations name the author: services' or jobs'.
    pub(super) fn v1_metadata(&self, group: &str, location: &str, message: &Object) -> Value {
        let namespace = project_number(&self.host().project);
        let name = short(text(message, "name"));
        let mut labels = message.get("labels").cloned().unwrap_or_else(|| json!({}));
        labels["cloud.googleapis.com/location"] = location.into();
        let mut annotations = message
            .get("annotations")
            .cloned()
            .unwrap_or_else(|| json!({}));
        for (key, field) in [
            (format!("{group}/creator"), "creator"),
            (format!("{group}/lastModifier"), "lastModifier"),
            ("run.googleapis.com/client-name".into(), "client"),
            ("run.googleapis.com/client-version".into(), "clientVersion"),
        ] {
            if !text(message, field).is_empty() {
                annotations[key.as_str()] = text(message, field).into();
            }
        }
        json!({
            "name": name,
            "namespace": namespace,
            "uid": message.get("uid"),
            "resourceVersion": text(message, "etag").trim_matches('"'),
            "generation": number(message, "generation"),
            "creationTimestamp": message.get("createTime"),
            "labels": labels,
            "annotations": annotations,
        })
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

/// v2's `EXECUTION_SUCCEEDED` style becomes v1's `HealthCheckContainerError` style.
fn pascal(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut chars = word.chars();
        let first = chars.next().into_iter().collect::<String>();
        first + &chars.as_str().to_lowercase()
    });
    words.collect()
}

/// The conditions; `terminalCondition`, where a resource has one, comes first.
pub(super) fn v1_conditions(message: &Object) -> Value {
    let last = message.get("terminalCondition");
    let others = message
        .get("conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let all = last.into_iter().chain(others).map(|condition| {
        let status = match condition["state"].as_str() {
            Some("CONDITION_SUCCEEDED") => "True",
            Some("CONDITION_FAILED") => "False",
            _ => "Unknown",
        };
        let reason = ["reason", "revisionReason", "executionReason"]
            .iter()
            .find_map(|r| condition[*r].as_str());
        json!({
            "type": condition["type"],
            "status": status,
            "lastTransitionTime": condition["lastTransitionTime"],
            "message": condition["message"],
            "reason": reason.map(pascal),
        })
    });
    all.collect()
}

fn v1_traffic(targets: Option<&Value>, latest_ready: &str) -> Value {
    let all = targets.and_then(Value::as_array).into_iter().flatten();
    all.map(|target| {
        let latest = target["type"] == "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST";
        let revision = match target["revision"].as_str() {
            Some(name) => name,
            None => latest_ready,
        };
        json!({
            "percent": target["percent"],
            "latestRevision": latest,
            "revisionName": revision,
            "tag": target["tag"],
            "url": target["uri"],
        })
    })
    .collect()
}

/// `template.metadata`: scaling and the like are annotations in v1.
fn template_metadata(template: &Object) -> Value {
    let mut annotations = template
        .get("annotations")
        .cloned()
        .unwrap_or_else(|| json!({}));
    let scaling = template.get("scaling").cloned().unwrap_or_default();
    for (key, value) in [
        (
            "autoscaling.knative.dev/minScale",
            scaling["minInstanceCount"].as_i64().map(|n| n.to_string()),
        ),
        (
            "autoscaling.knative.dev/maxScale",
            scaling["maxInstanceCount"].as_i64().map(|n| n.to_string()),
        ),
        (
            "run.googleapis.com/execution-environment",
            environment(template),
        ),
        (
            "run.googleapis.com/vpc-access-connector",
            template
                .get("vpcAccess")
                .and_then(|v| v["connector"].as_str())
                .map(str::to_owned),
        ),
    ] {
        if let Some(value) = value {
            annotations[key] = value.into();
        }
    }
    let container = template
        .get("containers")
        .map(|c| c[0]["resources"].clone())
        .unwrap_or_default();
    if container["cpuIdle"] != true {
        annotations["run.googleapis.com/cpu-throttling"] = "false".into();
    }
    if container["startupCpuBoost"] == true {
        annotations["run.googleapis.com/startup-cpu-boost"] = "true".into();
    }
    json!({ "name": text(template, "revision"), "labels": template.get("labels"), "annotations": annotations })
}

pub(super) fn environment(template: &Object) -> Option<String> {
    match text(template, "executionEnvironment") {
        "EXECUTION_ENVIRONMENT_GEN1" => Some("gen1".into()),
        "EXECUTION_ENVIRONMENT_GEN2" => Some("gen2".into()),
        _ => None,
    }
}

fn revision_spec(template: &Object) -> Value {
    json!({
        "containerConcurrency": template.get("maxInstanceRequestConcurrency"),
        "timeoutSeconds": template.get("timeout").and_then(Value::as_str).and_then(seconds).map(|t| t.as_secs()),
        "serviceAccountName": template.get("serviceAccount"),
        "containers": v1_containers(template.get("containers")),
    })
}

pub(super) fn v1_containers(containers: Option<&Value>) -> Value {
    let all = containers.and_then(Value::as_array).into_iter().flatten();
    all.map(|container| {
        let env = container["env"].as_array().into_iter().flatten().map(|variable| {
            let reference = &variable["valueSource"]["secretKeyRef"];
            if reference.is_null() {
                json!({ "name": variable["name"], "value": variable["value"] })
            } else {
                let version = reference["version"].as_str().unwrap_or("latest");
                let secret = json!({ "name": reference["secret"], "key": version });
                json!({ "name": variable["name"], "valueFrom": { "secretKeyRef": secret } })
            }
        });
        let mut out = json!({ "env": env.collect::<Vec<_>>(), "resources": { "limits": container["resources"]["limits"] } });
        for name in ["name", "image", "command", "args", "ports", "startupProbe", "livenessProbe", "workingDir", "volumeMounts"] {
            if let Some(value) = container.get(name) {
                out[name] = value.clone();
            }
        }
        out
    })
    .collect()
}
