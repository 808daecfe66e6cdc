//! Containers' images: how the plan declares them in a target's own registry.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;

use super::Scope;
use crate::error::Result;
use crate::graph::{Graph, Output};
use crate::node::Watch;
use crate::pins::ImageRef;
use crate::spec::ServiceSpec;

/// Declares containers' images.
pub trait Registry {
    /// Declares the service's repository and the copy of its image into it. With
    /// [`Scope::CodeOnly`] only the copy: the repository exists.
    fn image(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        image: &LocalImage,
        scope: Scope,
    ) -> Output<ImageRef>;
}

/// The local image that a copy starts from, opened before planning.
#[derive(Clone, Debug)]
pub struct LocalImage {
    /// The image as the OCI crate reads it; the registries copy it.
    pub source: Arc<dyn ImageContent>,
    /// `sha256:...` of the index or manifest.
    pub digest: String,
    /// The digest of the manifest for the service's architecture; equal to `digest` when there is
    /// no index.
    pub platform_digest: String,
    /// The tag to give it beside the digest, when the source has one.
    pub tag: Option<String>,
    /// `HOST/REPOSITORY` that it is read from. `None` when it is on this machine.
    pub origin: Option<String>,
}

/// Where a copy goes.
#[derive(Clone, Debug)]
pub struct Destination {
    /// `https://HOST`, or `http://` on loopback.
    pub base: String,
    /// The repository's path below it.
    pub repository: String,
    /// Who we are there.
    pub login: Arc<dyn RegistryLogin>,
}

/// Gives a registry's user and password. Asked whenever the registry asks who we are: what ends
/// while gigabytes are copied is replaced.
#[async_trait]
pub trait RegistryLogin: Send + Sync + std::fmt::Debug {
    /// User and password that are good now. Its `Debug` shows neither.
    async fn login(&self) -> Result<(String, SecretString)>;
}

/// Opaque to this crate: an image that can be copied into a registry, digest unchanged.
#[async_trait]
pub trait ImageContent: Send + Sync + std::fmt::Debug {
    /// Copies manifests and blobs; what is there is not sent again. Ends with the registry's own
    /// word that the digest is there.
    ///
    /// Errors: conflict, when the tag is immutable and stays where it is; then the digest is there.
    async fn copy_to(&self, to: &Destination, tag: Option<&str>, watch: &dyn Watch) -> Result<()>;

    /// Gives another tag to what was copied there.
    ///
    /// Errors: conflict, when the registry says that the tag stays where it is.
    async fn tag(&self, to: &Destination, tag: &str) -> Result<()>;

    /// Whether the registry has the digest.
    async fn is_at(&self, to: &Destination) -> Result<bool>;
}
