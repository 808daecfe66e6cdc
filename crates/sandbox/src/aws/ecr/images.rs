//! Images of a repository, as the registry's store holds them.

use serde_json::{Value, json};

use super::repositories::stored;
use super::{Ecr, PAGES};
use crate::aws::error::AwsError;
use crate::aws::json::{list, need, number, seconds, text};
use crate::registry::StoredManifest;

impl Ecr {
    /// The store's name of an existing repository.
    fn existing(&self, input: &Value) -> Result<String, AwsError> {
        let name = need(input, "repositoryName");
        match self.lock().repositories.contains_key(name) {
            true => Ok(stored(&self.inner.host, name)),
            false => Err(self.not_found(name)),
        }
    }

    pub(super) fn describe_images(&self, input: &Value) -> Result<Value, AwsError> {
        let stored = self.existing(input)?;
        let wanted = list(input, "imageIds");
        let name = need(input, "repositoryName");
        let found = match wanted {
            [] => self.inner.store.manifests(&stored),
            ids => {
                let mut found: Vec<StoredManifest> = Vec::new();
                for id in ids {
                    let manifest = self
                        .find(&stored, id)
                        .map_err(|_| self.no_image(name, id))?;
                    if !found.iter().any(|have| have.digest == manifest.digest) {
                        found.push(manifest);
                    }
                }
                found
            }
        };
        let details: Vec<Value> = found
            .iter()
            .filter(|manifest| selected(input, manifest))
            .map(|manifest| self.detail(name, manifest))
            .collect();
        PAGES.of(input, "imageDetails", details)
    }

    fn detail(&self, name: &str, manifest: &StoredManifest) -> Value {
        let content: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
        let sizes = list(&content, "layers").iter().chain(content.get("config"));
        let size: i64 = sizes.filter_map(|part| number(part, "size")).sum();
        let mut out = json!({
            "registryId": self.inner.account,
            "repositoryName": name,
            "imageDigest": manifest.digest,
            "imagePushedAt": seconds(manifest.pushed_at),
            "imageManifestMediaType": manifest.media_type,
            "imageSizeInBytes": size,
            "imageStatus": "ACTIVE",
        });
        if !manifest.tags.is_empty() {
            out["imageTags"] = json!(manifest.tags);
        }
        if let Some(kind) = content
            .get("config")
            .and_then(|config| text(config, "mediaType"))
        {
            out["artifactMediaType"] = json!(kind);
        }
        out
    }

    pub(super) fn list_images(&self, input: &Value) -> Result<Value, AwsError> {
        let stored = self.existing(input)?;
        let mut ids = Vec::new();
        for manifest in self.inner.store.manifests(&stored) {
            if !selected(input, &manifest) {
                continue;
            }
            if manifest.tags.is_empty() {
                ids.push(json!({"imageDigest": manifest.digest}));
            }
            for tag in &manifest.tags {
                ids.push(json!({"imageDigest": manifest.digest, "imageTag": tag}));
            }
        }
        PAGES.of(input, "imageIds", ids)
    }

    pub(super) fn get_images(&self, input: &Value) -> Result<Value, AwsError> {
        let stored = self.existing(input)?;
        let name = need(input, "repositoryName");
        let (mut images, mut failures) = (Vec::new(), Vec::new());
        for id in list(input, "imageIds") {
            match self.find(&stored, id) {
                Ok(manifest) => images.push(self.image(name, &manifest, text(id, "imageTag"))),
                Err((code, reason)) => {
                    failures
                        .push(json!({"imageId": id, "failureCode": code, "failureReason": reason}));
                }
            }
        }
        Ok(json!({"images": images, "failures": failures}))
    }

    fn image(&self, name: &str, manifest: &StoredManifest, tag: Option<&str>) -> Value {
        let mut id = json!({"imageDigest": manifest.digest});
        if let Some(tag) = tag {
            id["imageTag"] = json!(tag);
        }
        json!({
            "registryId": self.inner.account,
            "repositoryName": name,
            "imageId": id,
            "imageManifest": String::from_utf8_lossy(&manifest.bytes),
            "imageManifestMediaType": manifest.media_type,
        })
    }

    fn find(
        &self,
        stored: &str,
        id: &Value,
    ) -> Result<StoredManifest, (&'static str, &'static str)> {
        let (digest, tag) = (text(id, "imageDigest"), text(id, "imageTag"));
        let reference = digest.or(tag);
        let reference = reference.ok_or((
            "MissingDigestAndTag",
            "Invalid request parameters: both tag and digest cannot be null",
        ))?;
        let manifest = self.inner.store.manifest(stored, reference);
        let manifest = manifest.ok_or(("ImageNotFound", "Requested image not found"))?;
        match tag {
            Some(tag) if !manifest.tags.iter().any(|have| have == tag) => {
                Err(("ImageTagDoesNotMatchDigest", "Tag does not match digest"))
            }
            _ => Ok(manifest),
        }
    }

    fn no_image(&self, name: &str, id: &Value) -> AwsError {
        let show = |member: &str| text(id, member).unwrap_or("null").to_owned();
        AwsError::new(
            "ImageNotFoundException",
            format!(
                "The image with imageId {{imageDigest:'{}', imageTag:'{}'}} does not exist within the repository with \
                 name '{name}' in the registry with id '{}'",
                show("imageDigest"),
                show("imageTag"),
                self.inner.account
            ),
        )
    }

    pub(super) fn delete_images(&self, input: &Value) -> Result<Value, AwsError> {
        let stored = self.existing(input)?;
        let (mut gone, mut failures) = (Vec::new(), Vec::new());
        for id in list(input, "imageIds") {
            match self.find(&stored, id) {
                // A tag is taken off; the image goes with its last one.
                Ok(manifest) if text(id, "imageDigest").is_none() && manifest.tags.len() > 1 => {
                    let tag = need(id, "imageTag");
                    self.inner.store.delete_tag(&stored, tag);
                    gone.push(json!({"imageDigest": manifest.digest, "imageTag": tag}));
                }
                Ok(manifest) => {
                    self.inner.store.delete_manifest(&stored, &manifest.digest);
                    if manifest.tags.is_empty() {
                        gone.push(json!({"imageDigest": manifest.digest}));
                    }
                    for tag in &manifest.tags {
                        gone.push(json!({"imageDigest": manifest.digest, "imageTag": tag}));
                    }
                }
                Err((code, reason)) => {
                    failures
                        .push(json!({"imageId": id, "failureCode": code, "failureReason": reason}));
                }
            }
        }
        Ok(json!({"imageIds": gone, "failures": failures}))
    }

    /// Lets every image without a tag expire, as a lifecycle policy does; what an index with a tag
    /// is made of stays ("when a manifest list is referenced, the images that it references are
    /// kept", user guide, "Lifecycle policies").
    pub fn expire_untagged(&self, repository: &str) {
        let stored = stored(&self.inner.host, repository);
        let all = self.inner.store.manifests(&stored);
        let (tagged, untagged): (Vec<_>, Vec<_>) = all.iter().partition(|it| !it.tags.is_empty());
        let parts: Vec<String> = tagged
            .iter()
            .filter_map(|it| serde_json::from_slice::<Value>(&it.bytes).ok())
            .flat_map(|index| list(&index, "manifests").to_vec())
            .filter_map(|part| text(&part, "digest").map(str::to_owned))
            .collect();
        for manifest in untagged.iter().filter(|it| !parts.contains(&it.digest)) {
            self.inner.store.delete_manifest(&stored, &manifest.digest);
        }
    }

    pub(super) fn download_url(&self, input: &Value) -> Result<Value, AwsError> {
        let stored = self.existing(input)?;
        let digest = need(input, "layerDigest");
        if !self.inner.store.has_blob(&stored, digest) {
            return Err(AwsError::new(
                "LayersNotFoundException",
                format!("The layer with digest '{digest}' does not exist"),
            ));
        }
        let name = need(input, "repositoryName");
        Ok(json!({
            "downloadUrl": format!("{}/v2/{name}/blobs/{digest}", self.inner.base),
            "layerDigest": digest,
        }))
    }
}

fn selected(input: &Value, manifest: &StoredManifest) -> bool {
    match input
        .get("filter")
        .and_then(|filter| text(filter, "tagStatus"))
    {
        Some("TAGGED") => !manifest.tags.is_empty(),
        Some("UNTAGGED") => manifest.tags.is_empty(),
        _ => true,
    }
}
