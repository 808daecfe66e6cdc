//! Artifact Registry: Docker repositories; what is in them and who may pull is next door.

mod gate;
mod images;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::Gcp;
use super::error::{ApiError, Code, Outcome};
use super::iam::Policy;
use super::names::{LOCATIONS, check_labels, check_location, in_images, is_dns_label};
use super::operations::any;
use super::schema::{Object, camel};
use super::wire::Call;

pub use gate::RegistryGate;

const METADATA: &str = "google.devtools.artifactregistry.v1.OperationMetadata";
const REPOSITORY: &str = "google.devtools.artifactregistry.v1.Repository";

/// Every repository, by location and id.
#[derive(Default)]
pub struct Artifacts(Mutex<BTreeMap<(String, String), Repository>>);

#[derive(Serialize)]
struct Repository {
    /// The message `Repository`.
    message: Object,
    /// Each image's name; the store does not list them.
    images: std::collections::BTreeSet<String>,
    policy: Policy,
}

const MUTABLE: [&str; 6] = [
    "description",
    "labels",
    "dockerConfig",
    "cleanupPolicies",
    "cleanupPolicyDryRun",
    "vulnerabilityScanningConfig",
];

impl Artifacts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Repository>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that there is, as data.
    pub(super) fn dump(&self) -> Value {
        crate::dump::of_map(&self.lock())
    }
}

impl Gcp {
    fn repository_name(&self, location: &str, id: &str) -> String {
        format!(
            "projects/{}/locations/{location}/repositories/{id}",
            self.host().project
        )
    }

    fn with_repository<T>(
        &self,
        call: &Call,
        act: impl FnOnce(&mut Repository) -> Outcome<T>,
    ) -> Outcome<T> {
        let (location, id) = (call.var(1), call.var(2));
        let mut all = self.inner.artifacts.lock();
        let repository = all
            .get_mut(&(location.to_owned(), id.to_owned()))
            .ok_or_else(|| {
                let name = self.repository_name(location, id);
                ApiError::not_found(format!(
                    "Requested entity was not found. Repository {name} does not exist."
                ))
            })?;
        act(repository)
    }

    /// Methods of Artifact Registry.
    pub(super) fn artifact_registry(&self, call: &Call) -> Outcome {
        self.check_project(call.var(0))?;
        let method = call
            .method
            .id
            .strip_prefix("artifactregistry.projects.locations.")
            .unwrap_or_default();
        let place = |l: &str| json!({ "name": format!("projects/{}/locations/{l}", self.host().project), "locationId": l });
        if method == "list" {
            return Ok(
                json!({ "locations": LOCATIONS.iter().map(|l| place(l)).collect::<Vec<_>>() }),
            );
        }
        if call.var(1) != "-" {
            check_location(call.var(1))?;
        }
        match method {
            "get" => Ok(place(call.var(1))),
            "repositories.create" => self.create_repository(call),
            "repositories.get" => {
                self.with_repository(call, |r| Ok(Value::Object(r.message.clone())))
            }
            "repositories.list" => self.list_repositories(call),
            "repositories.patch" => self.patch_repository(call),
            "repositories.delete" => self.delete_repository(call),
            "repositories.getIamPolicy" => self.with_repository(call, |r| Ok(r.policy.get())),
            "repositories.setIamPolicy" => self.with_repository(call, |r| r.policy.set(&call.body)),
            "repositories.testIamPermissions" => {
                self.with_repository(call, |_| Ok(self.test_permissions(&call.body)))
            }
            _ => self.artifact_images(call, method),
        }
    }

    fn create_repository(&self, call: &Call) -> Outcome {
        let (location, id) = (call.var(1), call.query("repositoryId"));
        if !is_dns_label(id, 63) {
            return Err(ApiError::invalid(format!(
                "Invalid repository ID \"{id}\": it must match [a-z]([a-z0-9-]{{0,61}}[a-z0-9])?"
            )));
        }
        let mut message = call.body.clone();
        match message.get("format").and_then(Value::as_str) {
            Some("DOCKER") => {}
            None => {
                return Err(ApiError::field(
                    "repository.format",
                    "the format of the repository must be set",
                ));
            }
            Some(other) => {
                return Err(ApiError::unimplemented(format!(
                    "repositories of format {other}"
                )));
            }
        }
        if !matches!(
            message.get("mode").and_then(Value::as_str),
            None | Some("STANDARD_REPOSITORY")
        ) {
            return Err(ApiError::unimplemented("virtual and remote repositories"));
        }
        check_labels("repository.labels", message.get("labels"))?;
        let name = self.repository_name(location, id);
        let now = self.now();
        message.insert("name".into(), name.clone().into());
        message.insert("mode".into(), "STANDARD_REPOSITORY".into());
        message.insert("createTime".into(), now.clone().into());
        message.insert("updateTime".into(), now.into());
        let project = in_images(&self.host().project);
        let uri = format!("{location}-docker.pkg.dev/{project}/{id}");
        message.insert("registryUri".into(), uri.into());
        {
            let mut all = self.inner.artifacts.lock();
            let key = (location.to_owned(), id.to_owned());
            if all.contains_key(&key) {
                return Err(ApiError::new(
                    Code::AlreadyExists,
                    "the repository already exists",
                ));
            }
            all.insert(
                key,
                Repository {
                    message: message.clone(),
                    images: Default::default(),
                    policy: Policy::default(),
                },
            );
        }
        Ok(self.artifact_operation(location, any(REPOSITORY, &Value::Object(message))))
    }

    /// Artifact Registry's work takes about two seconds; what it did shows at once.
    fn artifact_operation(&self, location: &str, result: Value) -> Value {
        let parent = format!("projects/{}/locations/{location}", self.host().project);
        let metadata = any(METADATA, &json!({}));
        let operation = self.operations().start(&parent, metadata.clone());
        let name = operation["name"].as_str().unwrap_or_default().to_owned();
        let gcp = self.clone();
        self.host().background.spawn(async move {
            gcp.host().clock.sleep(Duration::from_secs(2)).await;
            gcp.operations().finish(&name, metadata, Ok(result));
        });
        operation
    }

    fn list_repositories(&self, call: &Call) -> Outcome {
        let location = call.var(1);
        let all: Vec<Value> = self
            .inner
            .artifacts
            .lock()
            .iter()
            .filter(|((l, _), _)| location == "-" || l == location)
            .map(|(_, r)| Value::Object(r.message.clone()))
            .collect();
        let (repositories, next) = call.page(all, 100)?;
        Ok(json!({ "repositories": repositories, "nextPageToken": next }))
    }

    fn patch_repository(&self, call: &Call) -> Outcome {
        let mask: Vec<String> = call
            .query("updateMask")
            .split(',')
            .filter(|p| !p.is_empty())
            .map(camel)
            .collect();
        check_labels("repository.labels", call.body.get("labels"))?;
        let mut fields: Vec<String> = Vec::new();
        for path in &mask {
            let root = path.split('.').next().unwrap_or_default();
            if path == "*" {
                fields.extend(MUTABLE.iter().map(|f| (*f).to_owned()));
            } else if MUTABLE.contains(&root) {
                fields.push(root.to_owned());
            } else {
                return Err(ApiError::field(
                    "update_mask",
                    format!("the field '{path}' cannot be changed"),
                ));
            }
        }
        if mask.is_empty() {
            fields.extend(
                call.body
                    .keys()
                    .filter(|k| MUTABLE.contains(&k.as_str()))
                    .cloned(),
            );
        }
        self.with_repository(call, |repository| {
            for field in fields {
                match call.body.get(&field) {
                    Some(value) => repository.message.insert(field, value.clone()),
                    None => repository.message.remove(&field),
                };
            }
            repository
                .message
                .insert("updateTime".into(), self.now().into());
            Ok(Value::Object(repository.message.clone()))
        })
    }

    fn delete_repository(&self, call: &Call) -> Outcome {
        let (location, id) = (call.var(1), call.var(2));
        let images = self.with_repository(call, |r| Ok(r.images.clone()))?;
        self.inner
            .artifacts
            .lock()
            .remove(&(location.to_owned(), id.to_owned()));
        for image in images {
            self.host()
                .store
                .delete_repository(&self.stored_name(location, id, &image));
        }
        Ok(self.artifact_operation(location, any("google.protobuf.Empty", &json!({}))))
    }

    /// The name under which the registry's store keeps an image.
    pub(super) fn stored_name(&self, location: &str, repository: &str, image: &str) -> String {
        format!(
            "gcp/{}/{location}/{repository}/{image}",
            self.host().project
        )
    }
}
