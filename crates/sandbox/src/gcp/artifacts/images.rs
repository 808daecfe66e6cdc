//! What a repository holds: Docker images, packages, versions and tags, all read from the
//! registry's store.

use serde_json::{Value, json};

use super::REPOSITORIES;
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::operations::any;
use crate::gcp::timestamp;
use crate::gcp::wire::Call;
use crate::registry::StoredManifest;

impl Gcp {
    pub(super) fn artifact_images(&self, call: &Call, method: &str) -> Outcome {
        let images: Vec<String> = REPOSITORIES.with(self, call, |it| {
            Ok(it.kept.images.iter().cloned().collect())
        })?;
        match method {
            "repositories.dockerImages.list" => {
                let all = images
                    .iter()
                    .flat_map(|image| self.docker_images(call, image))
                    .collect();
                call.listed(all, 100)
            }
            "repositories.dockerImages.get" => {
                let wanted = format!(
                    "{}/dockerImages/{}",
                    self.repository_name(call.var(1), call.var(2)),
                    call.var(3)
                );
                let mut all = images
                    .iter()
                    .flat_map(|image| self.docker_images(call, image));
                all.find(|image| image["name"] == wanted.as_str())
                    .ok_or_else(|| absent(&wanted))
            }
            "repositories.packages.list" => {
                let all = images
                    .iter()
                    .filter_map(|image| self.package(call, image))
                    .collect();
                call.listed(all, 100)
            }
            "repositories.packages.get" => self
                .package(call, call.var(3))
                .ok_or_else(|| absent(&self.package_name(call, call.var(3)))),
            "repositories.packages.delete" => {
                let image = call.var(3);
                self.package(call, image)
                    .ok_or_else(|| absent(&self.package_name(call, image)))?;
                self.host().store.delete_repository(&self.stored_name(
                    call.var(1),
                    call.var(2),
                    image,
                ));
                REPOSITORIES.with(self, call, |it| Ok(it.kept.images.remove(image)))?;
                Ok(self.artifact_operation(call.var(1), any("google.protobuf.Empty", &json!({}))))
            }
            _ => self.package_parts(call, method),
        }
    }

    fn manifests(&self, call: &Call, image: &str) -> Vec<StoredManifest> {
        self.host()
            .store
            .manifests(&self.stored_name(call.var(1), call.var(2), image))
    }

    fn package_name(&self, call: &Call, image: &str) -> String {
        let image = image.replace('/', "%2F");
        format!(
            "{}/packages/{image}",
            self.repository_name(call.var(1), call.var(2))
        )
    }

    fn docker_images(&self, call: &Call, image: &str) -> Vec<Value> {
        let name = self.repository_name(call.var(1), call.var(2));
        let path = format!(
            "{}-docker.pkg.dev/{}/{}/{image}",
            call.var(1),
            self.host().project,
            call.var(2)
        );
        let encoded = image.replace('/', "%2F");
        let describe = |m: StoredManifest| {
            json!({
                "name": format!("{name}/dockerImages/{encoded}@{}", m.digest),
                "uri": format!("{path}@{}", m.digest),
                "tags": m.tags,
                "imageSizeBytes": image_size(&m).to_string(),
                "uploadTime": timestamp(m.pushed_at),
                "updateTime": timestamp(m.pushed_at),
                "mediaType": m.media_type,
            })
        };
        self.manifests(call, image)
            .into_iter()
            .map(describe)
            .collect()
    }

    fn package(&self, call: &Call, image: &str) -> Option<Value> {
        let all = self.manifests(call, image);
        let (first, last) = (all.first()?, all.last()?);
        Some(json!({
            "name": self.package_name(call, image),
            "createTime": timestamp(first.pushed_at),
            "updateTime": timestamp(last.pushed_at),
        }))
    }

    fn package_parts(&self, call: &Call, method: &str) -> Outcome {
        let (image, id) = (call.var(3), call.var(4));
        let package = self.package_name(call, image);
        let version = |m: &StoredManifest| {
            json!({
                "name": format!("{package}/versions/{}", m.digest),
                "createTime": timestamp(m.pushed_at),
                "updateTime": timestamp(m.pushed_at),
            })
        };
        let tag = |m: &StoredManifest, tag: &str| json!({ "name": format!("{package}/tags/{tag}"), "version": format!("{package}/versions/{}", m.digest) });
        let all = self.manifests(call, image);
        match method {
            "repositories.packages.versions.list" => {
                call.listed(all.iter().map(version).collect(), 100)
            }
            "repositories.packages.versions.get" => all
                .iter()
                .find(|m| m.digest == id)
                .map(version)
                .ok_or_else(|| absent(&format!("{package}/versions/{id}"))),
            "repositories.packages.versions.delete" => {
                let found = all.iter().find(|m| m.digest == id);
                let found = found.ok_or_else(|| absent(&format!("{package}/versions/{id}")))?;
                if !found.tags.is_empty() && !call.flag("force") {
                    return Err(ApiError::precondition(
                        "cannot delete a version that has tags, unless force is set",
                    ));
                }
                self.host()
                    .store
                    .delete_manifest(&self.stored_name(call.var(1), call.var(2), image), id);
                Ok(self.artifact_operation(call.var(1), any("google.protobuf.Empty", &json!({}))))
            }
            "repositories.packages.tags.list" => {
                let tags = all
                    .iter()
                    .flat_map(|m| m.tags.iter().map(|t| tag(m, t)))
                    .collect();
                call.listed(tags, 100)
            }
            "repositories.packages.tags.get" => all
                .iter()
                .find(|m| m.tags.iter().any(|t| t == id))
                .map(|m| tag(m, id))
                .ok_or_else(|| absent(&format!("{package}/tags/{id}"))),
            other => Err(ApiError::unimplemented(format!("artifactregistry {other}"))),
        }
    }
}

/// The sum of configuration and layers; of an index, nothing.
fn image_size(manifest: &StoredManifest) -> u64 {
    let Ok(parsed) = serde_json::from_slice::<Value>(&manifest.bytes) else {
        return 0;
    };
    let layers = parsed["layers"].as_array().into_iter().flatten();
    layers
        .chain([&parsed["config"]])
        .filter_map(|part| part["size"].as_u64())
        .sum()
}

fn absent(name: &str) -> ApiError {
    ApiError::not_found(format!("Requested entity was not found: {name}"))
}
