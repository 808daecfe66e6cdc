//! A container registry that speaks the OCI distribution protocol; each cloud mounts it behind its own gate.

use std::path::PathBuf;
use std::sync::Arc;

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
    /// The tag exists already and the repository's tags are immutable: 400 TAG_INVALID.
    ImmutableTag(String),
}

/// A cloud's own word on who may touch which repository.
pub trait Gate: Send + Sync + 'static {
    /// Maps a repository name of the URL to the name it is stored under (unique across both clouds),
    /// or refuses. `tag` is set when a manifest is put under a tag.
    fn admit(
        &self,
        headers: &axum::http::HeaderMap,
        repository: &str,
        access: Access,
        tag: Option<&str>,
    ) -> Result<String, Refusal>;
}

/// A manifest that the store holds.
#[derive(Clone, Debug)]
pub struct StoredManifest {
    /// `sha256:...` of exactly these bytes.
    pub digest: String,
    /// The manifest's own media type.
    pub media_type: String,
    /// The bytes as pushed.
    pub bytes: bytes::Bytes,
    /// The tags that point here.
    pub tags: Vec<String>,
    /// When it was pushed.
    pub pushed_at: jiff::Timestamp,
}

/// Blobs on disk, manifests and tags by repository. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    _root: PathBuf,
}

impl Store {
    /// Opens (and makes) the store under `root`.
    pub fn open(root: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&root)?;
        Ok(Self {
            inner: Arc::new(Inner { _root: root }),
        })
    }

    /// The manifest behind a tag or digest. `None` when the repository or reference is absent.
    pub fn manifest(&self, _repository: &str, _reference: &str) -> Option<StoredManifest> {
        let _ = &self.inner;
        None
    }

    /// Every manifest of a repository, oldest first.
    pub fn manifests(&self, _repository: &str) -> Vec<StoredManifest> {
        Vec::new()
    }

    /// Where a blob's bytes lie. `None` when absent.
    pub fn blob(&self, _digest: &str) -> Option<PathBuf> {
        None
    }

    /// Stores a manifest, as `PUT /v2/<name>/manifests/<reference>` does; refuses one whose blobs are absent.
    pub fn put_manifest(
        &self,
        _repository: &str,
        _reference: &str,
        _media_type: &str,
        _bytes: bytes::Bytes,
    ) -> Result<StoredManifest, String> {
        Err("not there yet".into())
    }

    /// Removes a manifest with its tags. Returns whether there was one.
    pub fn delete_manifest(&self, _repository: &str, _digest: &str) -> bool {
        false
    }

    /// Forgets a repository.
    pub fn delete_repository(&self, _repository: &str) {}
}

/// The routes `/v2/` and `/v2/<name>/...` for one cloud.
pub fn routes(_store: Store, _gate: Arc<dyn Gate>) -> axum::Router {
    axum::Router::new()
}
