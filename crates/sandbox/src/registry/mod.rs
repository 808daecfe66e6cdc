//! A container registry that speaks the OCI distribution protocol; each cloud mounts it behind its
//! own gate.

mod answer;
mod faults;
mod routes;
mod store;
mod upload;

pub(crate) use faults::{call, refuse};
pub use routes::routes;
pub use store::{PutError, Store, StoredManifest};

/// What a client wants to do with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read manifests and blobs.
    Pull,
    /// Write manifests and blobs.
    Push,
}

/// Why a cloud refuses a registry request.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// No or wrong credentials: 401 with this `WWW-Authenticate` header.
    Unauthorized {
        /// For example `Basic realm="..."` or `Bearer realm="...",service="..."`.
        challenge: String,
    },
    /// Known caller, forbidden: 403 DENIED.
    Denied(String),
    /// The repository does not exist: 404 NAME_UNKNOWN.
    UnknownRepository(String),
    /// The tag exists already and the repository's tags are immutable: 400.
    ImmutableTag {
        /// Each registry's own.
        code: &'static str,
        /// What it says.
        why: String,
    },
}

/// A cloud's own word on who may touch which repository.
pub trait Gate: Send + Sync + 'static {
    /// Maps a repository name of the URL to the name it is stored under (unique across both
    /// clouds), or refuses. `tag` is set when a manifest is put under a tag.
    ///
    /// The probe `GET /v2/` asks with an empty repository name; of its answer only
    /// [`Refusal::Unauthorized`] counts, so that clients learn the challenge.
    fn admit(
        &self,
        headers: &axum::http::HeaderMap,
        repository: &str,
        access: Access,
        tag: Option<&str>,
    ) -> Result<String, Refusal>;
}
