//! Who may push and pull: Basic auth with a token of GetAuthorizationToken.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use serde_json::Value;

use super::Ecr;
use super::repositories::{FILTERS, stored};
use crate::aws::json::{list, need};
use crate::glob::matches;
use crate::registry::{Access, Gate, Refusal};

/// The actions that IAM wants for a pull through the registry's protocol.
const PULL: [&str; 2] = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
/// And for a push.
const PUSH: [&str; 5] = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:InitiateLayerUpload",
    "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload",
    "ecr:PutImage",
];

/// ECR's own word on registry requests.
pub struct EcrGate {
    ecr: Ecr,
}

impl EcrGate {
    /// Guards the repositories of `ecr`.
    pub fn new(ecr: Ecr) -> Self {
        Self { ecr }
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let now = self.ecr.inner.clock.now();
        headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Basic "))
            .and_then(|token| base64::engine::general_purpose::STANDARD.decode(token).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|pair| pair.strip_prefix("AWS:").map(str::to_owned))
            .and_then(|password| self.ecr.lock().tokens.get(&password).copied())
            .is_some_and(|until| until > now)
    }

    fn lacks(&self, access: Access) -> Option<&'static str> {
        let policy = self
            .ecr
            .inner
            .policy
            .lock()
            .expect("no panic while the policy is held");
        let policy = policy.as_ref()?;
        let wanted: &[&str] = match access {
            Access::Pull => &PULL,
            Access::Push => &PUSH,
        };
        wanted.iter().copied().find(|action| !policy.allows(action))
    }
}

impl Gate for EcrGate {
    fn admit(
        &self,
        headers: &HeaderMap,
        repository: &str,
        access: Access,
        tag: Option<&str>,
    ) -> Result<String, Refusal> {
        if !self.knows(headers) {
            let challenge = format!(
                "Basic realm=\"{}/\",service=\"ecr.amazonaws.com\"",
                self.ecr.inner.base
            );
            return Err(Refusal::Unauthorized { challenge });
        }
        // `/v2/` itself names no repository.
        if repository.is_empty() {
            return Ok(String::new());
        }
        if let Some(action) = self.lacks(access) {
            let arn = self.ecr.arn(repository);
            let denied = crate::aws::error::AwsError::denied(&self.ecr.inner.account, action, &arn);
            return Err(Refusal::Denied(denied.message));
        }
        let stored = stored(&self.ecr.inner.host, repository);
        let state = self.ecr.lock();
        let Some(found) = state.repositories.get(repository) else {
            return Err(Refusal::UnknownRepository(
                self.ecr.not_found(repository).message,
            ));
        };
        match tag {
            Some(tag)
                if freezes(&found.value, tag)
                    && self.ecr.inner.store.manifest(&stored, tag).is_some() =>
            {
                let why = format!(
                    "The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten \
                     because the repository is immutable."
                );
                let code = "TAG_INVALID";
                Err(Refusal::ImmutableTag { code, why })
            }
            _ => Ok(stored),
        }
    }
}

/// Whether a tag of a repository, once there, stays.
fn freezes(repository: &Value, tag: &str) -> bool {
    let excluded = list(repository, FILTERS).iter();
    let excluded = excluded
        .map(|it| need(it, "filter"))
        .any(|it| matches(it, tag));
    match need(repository, "imageTagMutability") {
        "IMMUTABLE" => true,
        "IMMUTABLE_WITH_EXCLUSION" => !excluded,
        "MUTABLE_WITH_EXCLUSION" => excluded,
        _ => false,
    }
}
