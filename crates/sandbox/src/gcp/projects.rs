//! What clients ask about the project itself: Resource Manager and Service Usage.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::Gcp;
use super::error::{ApiError, Outcome};
use super::iam::Policy;
use super::names::project_number;
use super::operations::any;
use super::wire::Call;

/// The APIs that the sandbox offers, enabled from the start.
const OFFERED: [&str; 10] = [
    "artifactregistry.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "dns.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "redis.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "serviceusage.googleapis.com",
    "sqladmin.googleapis.com",
];

/// Which APIs are enabled.
pub struct Services(Mutex<BTreeSet<String>>);

impl Default for Services {
    fn default() -> Self {
        Self(Mutex::new(
            OFFERED.iter().map(|s| (*s).to_owned()).collect(),
        ))
    }
}

/// The project's own policy. The caller is its owner; no service's account has a role, as in organizations since May 2024
/// (<https://cloud.google.com/iam/docs/service-account-types#default>).
pub struct ProjectPolicy(Mutex<Policy>);

impl ProjectPolicy {
    /// What a project begins with.
    pub fn owned_by(account: &str) -> Self {
        let owner = Policy::of("roles/owner", &format!("serviceAccount:{account}"));
        Self(Mutex::new(owner))
    }
}

impl Gcp {
    pub(super) fn with_project_policy<T>(&self, act: impl FnOnce(&mut Policy) -> T) -> T {
        let policy = &self.inner.project_policy.0;
        act(&mut policy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn service(&self, id: &str) -> Value {
        let number = project_number(&self.host().project);
        let enabled = self
            .services()
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(id);
        json!({
            "name": format!("projects/{number}/services/{id}"),
            "parent": format!("projects/{number}"),
            "config": { "name": id },
            "state": if enabled { "ENABLED" } else { "DISABLED" },
        })
    }

    fn set_service(&self, id: &str, enabled: bool) {
        let mut all = self
            .services()
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if enabled {
            all.insert(id.to_owned());
        } else {
            all.remove(id);
        }
    }

    /// Methods of Service Usage.
    pub(super) async fn service_usage(&self, call: &Call) -> Outcome {
        if call.method.id == "serviceusage.operations.get" {
            return self
                .operations()
                .get(&format!("operations/{}", call.var(0)));
        }
        if call.var(0) != "projects" {
            return Err(ApiError::unimplemented(
                "services of folders and organizations",
            ));
        }
        self.check_project(call.var(1))?;
        let done = |kind: &str, result: Value| {
            let metadata = json!({ "@type": "type.googleapis.com/google.api.serviceusage.v1.OperationMetadata" });
            let operation = self.operations().start("", metadata.clone());
            let name = operation["name"].as_str().unwrap_or_default();
            let result = any(&format!("google.api.serviceusage.v1.{kind}"), &result);
            self.operations().finish(name, metadata, Ok(result));
            self.operations().get(name)
        };
        match call.method.id.as_str() {
            "serviceusage.services.get" => Ok(self.service(call.var(2))),
            "serviceusage.services.list" => {
                let filter = call.query("filter");
                let wanted = filter.strip_prefix("state:").unwrap_or_default();
                let mut ids: BTreeSet<String> = OFFERED.iter().map(|s| (*s).to_owned()).collect();
                ids.extend(
                    self.services()
                        .0
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .iter()
                        .cloned(),
                );
                let all: Vec<Value> = ids
                    .iter()
                    .map(|id| self.service(id))
                    .filter(|s| wanted.is_empty() || s["state"] == wanted)
                    .collect();
                let (services, next) = call.page(all, 50)?;
                Ok(json!({ "services": services, "nextPageToken": next }))
            }
            "serviceusage.services.batchGet" => {
                let names = call.query_all("names").iter();
                let services: Vec<Value> = names
                    .map(|n| self.service(n.rsplit('/').next().unwrap_or_default()))
                    .collect();
                Ok(json!({ "services": services }))
            }
            "serviceusage.services.enable" => {
                self.set_service(call.var(2), true);
                done(
                    "EnableServiceResponse",
                    json!({ "service": self.service(call.var(2)) }),
                )
            }
            "serviceusage.services.batchEnable" => {
                let ids: Vec<&str> = call
                    .body
                    .get("serviceIds")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                ids.iter().for_each(|id| self.set_service(id, true));
                let services: Vec<Value> = ids.iter().map(|id| self.service(id)).collect();
                done(
                    "BatchEnableServicesResponse",
                    json!({ "services": services }),
                )
            }
            "serviceusage.services.disable" => {
                self.set_service(call.var(2), false);
                done(
                    "DisableServiceResponse",
                    json!({ "service": self.service(call.var(2)) }),
                )
            }
            other => Err(ApiError::unimplemented(other)),
        }
    }

    /// Methods of Resource Manager, v1 and v3.
    pub(super) fn resource_manager(&self, call: &Call) -> Outcome {
        self.check_project(call.var(0))?;
        let project = &self.host().project;
        let number = project_number(project);
        match (call.api.api.as_str(), call.method.id.as_str()) {
            (_, "cloudresourcemanager.projects.testIamPermissions") => {
                Ok(self.test_permissions(&call.body))
            }
            (_, "cloudresourcemanager.projects.getIamPolicy") => {
                Ok(self.with_project_policy(|policy| policy.get()))
            }
            (_, "cloudresourcemanager.projects.setIamPolicy") => {
                let now = self.host().clock.now();
                self.with_project_policy(|policy| policy.set_at(&call.body, now))
            }
            ("cloudresourcemanager.v1", "cloudresourcemanager.projects.get") => Ok(json!({
                "projectNumber": number, "projectId": project, "name": project,
                "lifecycleState": "ACTIVE", "createTime": self.started(),
            })),
            ("cloudresourcemanager.v3", "cloudresourcemanager.projects.get") => Ok(json!({
                "name": format!("projects/{number}"), "projectId": project, "displayName": project,
                "state": "ACTIVE", "createTime": self.started(),
            })),
            (_, other) => Err(ApiError::unimplemented(other)),
        }
    }
}
