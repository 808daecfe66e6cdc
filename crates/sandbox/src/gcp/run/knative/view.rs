//! Services and revisions as v1 tells them.

use serde_json::{Value, json};

use super::annotations;
use super::replace::LOCATION;
use super::spec::ACCELERATOR;
use crate::gcp::error::Outcome;
use crate::gcp::names::project_number;
use crate::gcp::run::{Key, number, short, text, traffic};
use crate::gcp::schema::Object;
use crate::gcp::{Gcp, seconds};

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
    pub(super) fn v1_services(&self, location: &str) -> Vec<Value> {
        let services = &self.inner.run.services;
        services.at(location, |(l, _), s| {
            [self.v1_service(l, &s.message, &s.kept.operation)]
        })
    }

    pub(super) fn get_v1_service(&self, key: &Key) -> Outcome {
        self.with_service(key, |s| {
            Ok(self.v1_service(&key.0, &s.message, &s.kept.operation))
        })
    }

    /// `operation` is the id of that of the service's last change.
    pub(super) fn v1_service(&self, location: &str, service: &Object, operation: &str) -> Value {
        let mut metadata = self.v1_metadata((SERVING, "Service"), location, service);
        let annotations = &mut metadata["annotations"];
        annotations["run.googleapis.com/ingress-status"] =
            annotations["run.googleapis.com/ingress"].clone();
        annotations["run.googleapis.com/urls"] = service
            .get("urls")
            .map(Value::to_string)
            .unwrap_or_default()
            .into();
        if !operation.is_empty() {
            annotations["run.googleapis.com/operation-id"] = operation.into();
        }
        let empty = Object::new();
        let template = service
            .get("template")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        // Seen is also what failed, which v2's number leaves out.
        let observed = match service.get("reconciling") == Some(&Value::Bool(true)) {
            true => number(service, "observedGeneration"),
            false => number(service, "generation"),
        };
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
                "observedGeneration": observed,
                "conditions": v1_conditions(service),
                "latestCreatedRevisionName": short(text(service, "latestCreatedRevision")),
                "latestReadyRevisionName": ready,
                "traffic": v1_traffic(statuses, ready),
                "url": service.get("uri"),
                "address": { "url": service.get("uri") },
            },
        })
    }

    pub(super) fn v1_revisions(&self, location: &str) -> Vec<Value> {
        let mut all = self.inner.run.services.at(location, |key, s| {
            let serving = traffic::serving(s);
            let revisions = s.kept.revisions.iter();
            let views = revisions.map(|(name, revision)| RevisionView {
                key: key.clone(),
                message: revision.message.clone(),
                image: revision.image.clone(),
                serving: serving.contains(name),
            });
            views.collect::<Vec<_>>()
        });
        all.sort_by(|a, b| text(&b.message, "createTime").cmp(text(&a.message, "createTime")));
        all.iter().map(|view| self.v1_revision(view)).collect()
    }

    fn v1_revision(&self, view: &RevisionView) -> Value {
        let (key, revision) = (&view.key, &view.message);
        let mut metadata = self.v1_metadata((SERVING, "Revision"), &key.0, revision);
        metadata["labels"]["serving.knative.dev/service"] = key.1.clone().into();
        metadata["labels"]["serving.knative.dev/configuration"] = key.1.clone().into();
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
    /// The group's annotations name the author; the kind decides what the others say.
    pub(super) fn v1_metadata(
        &self,
        (group, kind): (&str, &str),
        location: &str,
        message: &Object,
    ) -> Value {
        let namespace = project_number(&self.host().project);
        let name = short(text(message, "name"));
        let mut labels = message.get("labels").cloned().unwrap_or_else(|| json!({}));
        labels[LOCATION] = location.into();
        let mut annotations = all_annotations(kind, message);
        for field in ["creator", "lastModifier"] {
            if !text(message, field).is_empty() {
                annotations.insert(format!("{group}/{field}"), text(message, field).into());
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

/// A message's own annotations and those that say what its fields say.
pub(super) fn all_annotations(kind: &str, message: &Object) -> Object {
    let own = message.get("annotations").and_then(Value::as_object);
    let mut all = own.cloned().unwrap_or_default();
    all.extend(annotations::said(kind, message));
    all
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
    json!({
        "name": text(template, "revision"),
        "labels": template.get("labels"),
        "annotations": all_annotations("Revision", template),
    })
}

fn revision_spec(template: &Object) -> Value {
    json!({
        "containerConcurrency": template.get("maxInstanceRequestConcurrency"),
        "timeoutSeconds": template.get("timeout").and_then(Value::as_str).and_then(seconds).map(|t| t.as_secs()),
        "serviceAccountName": template.get("serviceAccount"),
        "nodeSelector": template.get("nodeSelector").map(|n| json!({ ACCELERATOR: n["accelerator"] })),
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
        for name in ["name", "image", "command", "args", "ports", "startupProbe", "livenessProbe", "readinessProbe", "sandboxLauncher", "workingDir", "volumeMounts"] {
            if let Some(value) = container.get(name) {
                out[name] = value.clone();
            }
        }
        out
    })
    .collect()
}
