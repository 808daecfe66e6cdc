//! Who may push and pull: any caller with a token, in repositories that exist.

use axum::http::HeaderMap;
use serde_json::Value;

use crate::gcp::Gcp;
use crate::gcp::names::in_images;
use crate::registry::{Access, Gate, Refusal};

/// The gate of `REGION-docker.pkg.dev`. The path of a request carries no location, so a repository
/// is looked for in the sandbox's own location first, then in any.
pub struct RegistryGate {
    gcp: Gcp,
}

impl RegistryGate {
    /// Stands before the registry of one project.
    pub fn new(gcp: Gcp) -> Self {
        Self { gcp }
    }

    fn challenge(&self) -> String {
        let location = &self.gcp.host().location;
        format!(
            "Bearer realm=\"{}/v2/token\",service=\"{location}-docker.pkg.dev\"",
            self.gcp.host().base
        )
    }
}

impl Gate for RegistryGate {
    fn admit(
        &self,
        headers: &HeaderMap,
        repository: &str,
        access: Access,
        tag: Option<&str>,
    ) -> Result<String, Refusal> {
        if !self.gcp.auth().knows_registry_client(headers) {
            return Err(Refusal::Unauthorized {
                challenge: self.challenge(),
            });
        }
        if repository.is_empty() {
            // `GET /v2/` asks only whether the credentials are good.
            return Ok(String::new());
        }
        let own = in_images(&self.gcp.host().project);
        let path = repository.strip_prefix(&own);
        let Some(path) = path.and_then(|it| it.strip_prefix('/')) else {
            let mut parts = repository.splitn(3, '/');
            let project = parts.next().unwrap_or_default();
            let id = parts.next().unwrap_or_default();
            return Err(Refusal::Denied(format!(
                "Permission \"artifactregistry.repositories.downloadArtifacts\" denied on resource \
                 \"projects/{project}/locations/{}/repositories/{id}\" (or it may not exist)",
                self.gcp.host().location
            )));
        };
        let Some((id, image)) = path.split_once('/') else {
            return Err(Refusal::UnknownRepository(repository.to_owned()));
        };
        let mut all = self.gcp.inner.artifacts.lock();
        let key = all
            .keys()
            .filter(|(_, known)| known == id)
            .min_by_key(|(location, _)| location != &self.gcp.host().location)
            .cloned();
        let Some(key) = key else {
            return Err(Refusal::UnknownRepository(format!(
                "Repository \"{id}\" not found"
            )));
        };
        let stored = self.gcp.stored_name(&key.0, id, image);
        if let Some(found) = all.get_mut(&key)
            && access == Access::Push
        {
            let immutable = found
                .message
                .get("dockerConfig")
                .and_then(|c| c.get("immutableTags"))
                == Some(&Value::Bool(true));
            if let Some(tag) = tag
                && immutable
                && !tag.starts_with("sha256:")
                && self.gcp.host().store.manifest(&stored, tag).is_some()
            {
                // As docker prints it: "manifest invalid: cannot update tag X. The repository has
                // enabled tag immutability" ("Troubleshoot container images", "Push and pull").
                let code = "MANIFEST_INVALID";
                let why = "The repository has enabled tag immutability";
                let why = format!("cannot update tag {tag}. {why}");
                return Err(Refusal::ImmutableTag { code, why });
            }
            found.kept.images.insert(image.to_owned());
        }
        Ok(stored)
    }
}
