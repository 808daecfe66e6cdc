//! Artifact Registry: Docker repositories; what is in them and who may pull is next door.

mod gate;
mod images;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::Gcp;
use super::error::{ApiError, Code, Outcome};
use super::names::{LOCATIONS, check_labels, check_location, in_images, is_dns_label};
use super::operations::any;
use super::schema::Object;
use super::shelf::{Changes, Ends, Key, Kind, Makes, all, located, unused};
use super::wire::Call;

pub use gate::RegistryGate;

const METADATA: &str = "google.devtools.artifactregistry.v1.OperationMetadata";
const REPOSITORY: &str = "google.devtools.artifactregistry.v1.Repository";

/// What is kept of a repository beside its message.
#[derive(Default, Serialize)]
pub struct Images {
    /// Each image's name; the store does not list them.
    images: BTreeSet<String>,
}

const REPOSITORIES: Kind<Images> = Kind {
    methods: "artifactregistry.projects.locations.repositories.",
    id: 2,
    on: |gcp| &gcp.inner.artifacts,
    home: located,
    makes: Some(Makes {
        named: |call| match call.query("repositoryId") {
            id if is_dns_label(id, 63) => Ok(id.to_owned()),
            id => Err(ApiError::invalid(format!(
                "Invalid repository ID \"{id}\": it must match [a-z]([a-z0-9-]{{0,61}}[a-z0-9])?"
            ))),
        },
        made: |gcp, call, key| Ok((gcp.new_repository(call, key)?, Images::default())),
        taken: |_, _| ApiError::new(Code::AlreadyExists, "the repository already exists"),
        answer: |gcp, (location, _), message| {
            gcp.artifact_operation(location, any(REPOSITORY, &message.into()))
        },
    }),
    changes: Some(Changes {
        members: &[
            "description",
            "labels",
            "dockerConfig",
            "cleanupPolicies",
            "cleanupPolicyDryRun",
            "vulnerabilityScanningConfig",
        ],
        by_mask: false,
        refused: "cannot be changed",
        checked: |_, sent| check_labels("repository.labels", sent.get("labels")),
        noted: |gcp, it, _| {
            it.message.insert("updateTime".into(), gcp.now().into());
            Ok(())
        },
    }),
    ends: Some(Ends {
        free: unused,
        answer: |gcp, (location, id), repository| {
            for image in repository.kept.images {
                let stored = gcp.stored_name(location, id, &image);
                gcp.host().store.delete_repository(&stored);
            }
            gcp.artifact_operation(location, any("google.protobuf.Empty", &json!({})))
        },
    }),
    absent: |gcp, (location, id)| {
        let name = gcp.repository_name(location, id);
        ApiError::not_found(format!(
            "Requested entity was not found. Repository {name} does not exist."
        ))
    },
    fits: all,
    page: 100,
};

impl Gcp {
    fn repository_name(&self, location: &str, id: &str) -> String {
        format!("{}/repositories/{id}", self.parent_at(location))
    }

    /// Methods of Artifact Registry.
    pub(super) fn artifact_registry(&self, call: &Call) -> Outcome {
        self.check_project(call.var(0))?;
        let method = call
            .method
            .id
            .strip_prefix("artifactregistry.projects.locations.")
            .unwrap_or_default();
        let place = |l: &str| json!({ "name": self.parent_at(l), "locationId": l });
        if method == "list" {
            return Ok(
                json!({ "locations": LOCATIONS.iter().map(|l| place(l)).collect::<Vec<_>>() }),
            );
        }
        if call.var(1) != "-" {
            check_location(call.var(1))?;
        }
        if method == "get" {
            return Ok(place(call.var(1)));
        }
        let answered = REPOSITORIES.call(self, call);
        answered.unwrap_or_else(|| self.artifact_images(call, method))
    }

    fn new_repository(&self, call: &Call, (location, id): &Key) -> Outcome<Object> {
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
        message.insert("name".into(), name.into());
        message.insert("mode".into(), "STANDARD_REPOSITORY".into());
        message.insert("createTime".into(), now.clone().into());
        message.insert("updateTime".into(), now.into());
        let project = in_images(&self.host().project);
        let uri = format!("{location}-docker.pkg.dev/{project}/{id}");
        message.insert("registryUri".into(), uri.into());
        Ok(message)
    }

    /// Artifact Registry's work takes about two seconds; what it did shows at once.
    fn artifact_operation(&self, location: &str, result: Value) -> Value {
        let parent = self.parent_at(location);
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

    /// The name under which the registry's store keeps an image.
    pub(super) fn stored_name(&self, location: &str, repository: &str, image: &str) -> String {
        format!(
            "gcp/{}/{location}/{repository}/{image}",
            self.host().project
        )
    }
}
