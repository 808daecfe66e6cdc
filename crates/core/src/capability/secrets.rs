//! Secrets as a cloud has them: their state, their versions, and what these hold.

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;

use crate::address::Address;
use crate::error::Result;
use crate::node::Token;
use crate::pins::SecretVersion;
use crate::spec::{EnvironmentSpec, SecretSpec};

/// A secret as the cloud has it. Never the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretStatus {
    /// The current version. `None` when the secret has none yet.
    pub version: Option<SecretVersion>,
    /// When that version was made.
    pub changed: Option<Timestamp>,
    /// How many versions there are that can be used.
    pub versions: usize,
    /// The newest version, where none can be used because somebody switched it off: what it holds
    /// may be wanted again.
    pub disabled: Option<String>,
}

/// Reads secrets and sets their values.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The state of a secret. `None` when it does not exist (or is scheduled for deletion).
    async fn status(&self, name: &str) -> Result<Option<SecretStatus>>;

    /// The current value. `None` when the secret or its current version does not exist.
    async fn value(&self, name: &str) -> Result<Option<SecretString>>;

    /// What one version holds. `None` when it is not there any more, or holds no text.
    async fn value_of(&self, version: &SecretVersion) -> Result<Option<SecretString>>;

    /// Whether it is a version of the secret at this address. Pure.
    fn is_of(&self, version: &SecretVersion, address: &Address) -> bool;

    /// Whether it stands for whatever is current when an instance is started or deployed, as of a
    /// secret that somebody else rotates: no revision pins another. Pure.
    fn is_moving(&self, _version: &SecretVersion) -> bool {
        false
    }

    /// Why a version that a revision pins cannot be given to it any more; `None` when it can. Reads
    /// no value.
    async fn unusable(&self, version: &SecretVersion) -> Result<Option<String>>;

    /// Adds a version, making the secret (marked as ours) when it does not exist, restoring it when
    /// it is scheduled for deletion. The same token never adds two versions where the cloud can
    /// tell.
    async fn put_version(
        &self,
        env: &EnvironmentSpec,
        secret: &SecretSpec,
        value: &SecretString,
        token: &Token,
    ) -> Result<SecretVersion>;
}
