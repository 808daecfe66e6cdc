//! What a release pins: an image by its digest, a revision, the versions of its secrets.

use serde::{Deserialize, Serialize};

/// An image in a target's own registry, pinned: `HOST/REPOSITORY@sha256:...`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageRef(pub String);

/// The cloud's own word for a revision: an ECS task definition's ARN, a Cloud Run revision's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

/// A secret's version as the runtime takes it. Never a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// The secret's own name in the cloud: an ARN, `projects/P/secrets/S`.
    pub secret: String,
    /// The version: a UUID, a number.
    pub version: String,
}
