//! Keeps blobs on disk by digest, and manifests and tags by repository in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::Clock;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest that the store holds.
#[derive(Clone, Debug, Serialize)]
pub struct StoredManifest {
    /// `sha256:...` of exactly these bytes.
    pub digest: String,
    /// The manifest's own media type.
    pub media_type: String,
    /// The bytes as pushed.
    #[serde(skip)]
    pub bytes: Bytes,
    /// The tags that point here.
    pub tags: Vec<String>,
    /// When it was pushed.
    pub pushed_at: jiff::Timestamp,
}

/// Why a manifest was not stored. Each cloud words these its own way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// Not a manifest of a kind that registries take.
    #[error("invalid manifest: {0}")]
    Invalid(String),
    /// The digest in the reference is not the digest of the bytes.
    #[error("the manifest's digest is {actual}, not {expected}")]
    WrongDigest {
        /// The digest in the reference.
        expected: String,
        /// The digest of the bytes.
        actual: String,
    },
    /// The reference is neither a tag nor a `sha256:` digest.
    #[error("invalid tag `{0}`")]
    InvalidTag(String),
    /// A configuration or layer is not in this repository.
    #[error("blob {0} is not in the repository")]
    BlobAbsent(String),
    /// A child of an index is not in this repository.
    #[error("manifest {0} is not in the repository")]
    ChildAbsent(String),
}

/// Blobs on disk, manifests and tags by repository. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    clock: Clock,
    repositories: Mutex<HashMap<String, Repository>>,
}

#[derive(Debug, Default)]
struct Repository {
    blobs: HashSet<String>,
    /// Oldest first.
    manifests: Vec<StoredManifest>,
    tags: BTreeMap<String, String>,
}

impl Repository {
    fn resolve(&self, reference: &str) -> Option<StoredManifest> {
        let digest = self.tags.get(reference).map_or(reference, String::as_str);
        self.manifests
            .iter()
            .find(|manifest| manifest.digest == digest)
            .map(|manifest| self.tagged(manifest))
    }

    fn tagged(&self, manifest: &StoredManifest) -> StoredManifest {
        let tags = self.tags.iter();
        let tags = tags.filter(|(_, digest)| **digest == manifest.digest);
        StoredManifest {
            tags: tags.map(|(tag, _)| tag.clone()).collect(),
            ..manifest.clone()
        }
    }

    fn has_manifest(&self, digest: &str) -> bool {
        self.manifests.iter().any(|it| it.digest == digest)
    }
}

impl Store {
    /// Opens (and makes) the store under `root`. What an earlier process left there is removed:
    /// repositories live in memory, so nothing could refer to it.
    ///
    /// Times of pushes are the machine's.
    pub fn open(root: PathBuf) -> std::io::Result<Self> {
        Self::open_at(root, Clock::new(1.0))
    }

    /// The same with times of pushes by `clock`.
    pub fn open_at(root: PathBuf, clock: Clock) -> std::io::Result<Self> {
        for folder in ["blobs", "uploads"] {
            let folder = root.join(folder);
            if folder.exists() {
                std::fs::remove_dir_all(&folder)?;
            }
            std::fs::create_dir_all(&folder)?;
        }
        Ok(Self {
            inner: Arc::new(Inner {
                root,
                clock,
                repositories: Mutex::default(),
            }),
        })
    }

    /// The manifest behind a tag or digest. `None` when the repository or reference is absent.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<StoredManifest> {
        self.lock().get(repository)?.resolve(reference)
    }

    /// Every manifest of a repository, oldest first.
    pub fn manifests(&self, repository: &str) -> Vec<StoredManifest> {
        let repositories = self.lock();
        let Some(repository) = repositories.get(repository) else {
            return Vec::new();
        };
        let manifests = repository.manifests.iter();
        manifests.map(|it| repository.tagged(it)).collect()
    }

    /// Every tag of a repository in lexical order, with the digest it points to.
    pub fn tags(&self, repository: &str) -> BTreeMap<String, String> {
        let repositories = self.lock();
        let repository = repositories.get(repository);
        repository.map(|it| it.tags.clone()).unwrap_or_default()
    }

    /// Every repository that something was pushed to, in lexical order.
    pub fn repositories(&self) -> Vec<String> {
        let mut names: Vec<_> = self.lock().keys().cloned().collect();
        names.sort();
        names
    }

    /// Where a blob's bytes lie. `None` when absent.
    pub fn blob(&self, digest: &str) -> Option<PathBuf> {
        let path = self.blob_path(digest)?;
        path.is_file().then_some(path)
    }

    /// Whether a repository holds a blob; another repository's does not count.
    pub fn has_blob(&self, repository: &str, digest: &str) -> bool {
        let repositories = self.lock();
        let repository = repositories.get(repository);
        repository.is_some_and(|it| it.blobs.contains(digest))
    }

    /// Stores a blob under the digest of its bytes, which it returns.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> std::io::Result<String> {
        let path = self.new_upload();
        std::fs::write(&path, bytes)?;
        let digest = digest_of(bytes);
        self.adopt_blob(repository, &digest, &path)?;
        Ok(digest)
    }

    /// Makes a blob of one repository one of another's too. Returns whether it was there.
    pub fn mount_blob(&self, from: &str, repository: &str, digest: &str) -> bool {
        if !self.has_blob(from, digest) {
            return false;
        }
        self.link_blob(repository, digest);
        true
    }

    /// Stores a manifest, as `PUT /v2/<name>/manifests/<reference>` does; refuses one whose blobs
    /// are absent.
    pub fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<StoredManifest, String> {
        self.try_put_manifest(repository, reference, media_type, bytes)
            .map_err(|refused| refused.to_string())
    }

    /// [`Store::put_manifest`] with the reason as a type. Putting the same bytes again moves the
    /// tag and changes nothing else.
    pub fn try_put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<StoredManifest, PutError> {
        let digest = digest_of(&bytes);
        let by_digest = reference.contains(':');
        if by_digest && reference != digest {
            return Err(PutError::WrongDigest {
                expected: reference.to_owned(),
                actual: digest,
            });
        }
        if !by_digest && !is_tag(reference) {
            return Err(PutError::InvalidTag(reference.to_owned()));
        }
        let manifest = parse(&bytes, media_type)?;
        let mut repositories = self.lock();
        let repository = repositories.entry(repository.to_owned()).or_default();
        check_references(repository, &manifest)?;
        if !repository.has_manifest(&digest) {
            repository.manifests.push(StoredManifest {
                digest: digest.clone(),
                media_type: media_type.to_owned(),
                bytes,
                tags: Vec::new(),
                pushed_at: self.inner.clock.now(),
            });
        }
        if !by_digest {
            let tag = reference.to_owned();
            repository.tags.insert(tag, digest.clone());
        }
        let stored = repository.resolve(&digest);
        Ok(stored.expect("the manifest was stored above"))
    }

    /// Removes a manifest with its tags. Returns whether there was one.
    pub fn delete_manifest(&self, repository: &str, digest: &str) -> bool {
        let mut repositories = self.lock();
        let Some(repository) = repositories.get_mut(repository) else {
            return false;
        };
        let before = repository.manifests.len();
        repository.manifests.retain(|it| it.digest != digest);
        repository.tags.retain(|_, target| target != digest);
        repository.manifests.len() < before
    }

    /// Removes a tag and leaves its manifest. Returns whether there was one.
    pub fn delete_tag(&self, repository: &str, tag: &str) -> bool {
        let mut repositories = self.lock();
        let repository = repositories.get_mut(repository);
        repository.is_some_and(|it| it.tags.remove(tag).is_some())
    }

    /// Takes a blob out of one repository. Returns whether it was there.
    pub fn delete_blob(&self, repository: &str, digest: &str) -> bool {
        let mut repositories = self.lock();
        let repository = repositories.get_mut(repository);
        repository.is_some_and(|it| it.blobs.remove(digest))
    }

    /// Every repository with its manifests and tags, as data.
    pub fn dump(&self) -> serde_json::Value {
        let repositories = self.lock();
        let all = repositories.iter().map(|(name, repository)| {
            let manifests = repository.manifests.iter().map(|it| repository.tagged(it));
            (name, manifests.collect::<Vec<_>>())
        });
        crate::dump::of(&all.collect::<BTreeMap<_, _>>())
    }

    /// Forgets a repository.
    pub fn delete_repository(&self, repository: &str) {
        self.lock().remove(repository);
    }

    /// A new, unique place for the bytes of an upload.
    pub(super) fn new_upload(&self) -> PathBuf {
        let id = uuid::Uuid::new_v4().to_string();
        self.inner.root.join("uploads").join(id)
    }

    /// Moves a verified upload into place. `digest` must be the digest of the file's bytes.
    pub(super) fn adopt_blob(
        &self,
        repository: &str,
        digest: &str,
        upload: &std::path::Path,
    ) -> std::io::Result<()> {
        let path = self
            .blob_path(digest)
            .ok_or_else(|| std::io::Error::other("not a sha256 digest"))?;
        // The same name means the same bytes: replacing one in use harms no reader.
        std::fs::rename(upload, path)?;
        self.link_blob(repository, digest);
        Ok(())
    }

    fn link_blob(&self, repository: &str, digest: &str) {
        let mut repositories = self.lock();
        let repository = repositories.entry(repository.to_owned()).or_default();
        repository.blobs.insert(digest.to_owned());
    }

    fn blob_path(&self, digest: &str) -> Option<PathBuf> {
        let hex = sha256_hex(digest)?;
        Some(self.inner.root.join("blobs").join(hex))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Repository>> {
        let repositories = self.inner.repositories.lock();
        repositories.unwrap_or_else(PoisonError::into_inner)
    }
}

/// `sha256:...` of these bytes.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, bytes)))
}

/// The hexadecimal half of a well-formed `sha256:` digest.
pub(super) fn sha256_hex(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (hex.len() == 64 && hex.bytes().all(lower)).then_some(hex)
}

/// The protocol's `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn is_tag(reference: &str) -> bool {
    let mut bytes = reference.bytes();
    let first = bytes
        .next()
        .is_some_and(|it| it.is_ascii_alphanumeric() || it == b'_');
    let rest = bytes.all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it));
    first && rest && reference.len() <= 128
}

fn parse(bytes: &[u8], media_type: &str) -> Result<Value, PutError> {
    let invalid = |why: String| Err(PutError::Invalid(why));
    if ![OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].contains(&media_type) {
        return invalid(format!("media type `{media_type}` is not supported"));
    }
    let manifest: Value = match serde_json::from_slice(bytes) {
        Ok(manifest) => manifest,
        Err(syntax) => return invalid(syntax.to_string()),
    };
    if manifest["schemaVersion"] != 2 {
        return invalid("`schemaVersion` must be 2".into());
    }
    match manifest.get("mediaType").map(Value::as_str) {
        Some(Some(own)) if own == media_type => {}
        // The OCI formats may leave it out, Docker's may not.
        None if media_type == OCI_MANIFEST || media_type == OCI_INDEX => {}
        _ => return invalid(format!("`mediaType` must be `{media_type}`")),
    }
    let index = media_type == OCI_INDEX || media_type == DOCKER_LIST;
    let required = if index { "manifests" } else { "layers" };
    if !manifest[required].is_array() || (!index && !manifest["config"].is_object()) {
        return invalid(format!("`{required}` or `config` is missing"));
    }
    Ok(manifest)
}

fn check_references(repository: &Repository, manifest: &Value) -> Result<(), PutError> {
    let list = |name: &str| manifest[name].as_array().into_iter().flatten();
    let digest = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        match sha256_hex(digest) {
            Some(_) => Ok(digest.to_owned()),
            None => Err(PutError::Invalid(format!("`{digest}` is not a digest"))),
        }
    };
    for descriptor in manifest.get("config").into_iter().chain(list("layers")) {
        // Layers with URLs of their own are not distributed through registries.
        if descriptor.get("urls").is_some_and(|urls| urls.is_array()) {
            continue;
        }
        let digest = digest(descriptor)?;
        if !repository.blobs.contains(&digest) {
            return Err(PutError::BlobAbsent(digest));
        }
    }
    for child in list("manifests") {
        let digest = digest(child)?;
        if !repository.has_manifest(&digest) {
            return Err(PutError::ChildAbsent(digest));
        }
    }
    Ok(())
}
