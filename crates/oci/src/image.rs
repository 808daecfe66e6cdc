//! An image as it was found: its manifests, blobs and platforms; what is copied, byte for byte.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::store::Store;
use crate::{Digest, Error, ErrorKind};

/// How deep indexes may stand in indexes, and how many manifests an image may have: far beyond
/// what is built, so that a hostile image ends in an error.
const DEEPEST: usize = 4;
const MOST_MANIFESTS: usize = 512;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// An operating system and an architecture, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `linux`, `windows`, ...
    pub os: String,
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `v8` and the like.
    #[serde(default)]
    pub variant: Option<String>,
}

impl Platform {
    fn is(&self, os: &str, architecture: &str) -> bool {
        self.os == os && self.architecture == architecture
    }

    /// Build tools mark attestations, which are no image to run, with this platform.
    fn is_unknown(&self) -> bool {
        self.is("unknown", "unknown") || self.os.is_empty() || self.architecture.is_empty()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// What an image's configuration says of how it is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// What the configuration says that the programs are built for; an index may say otherwise.
    pub platform: Option<Platform>,
    /// The entry point; empty when there is none.
    pub entrypoint: Vec<String>,
    /// The command, or the entry point's arguments; empty when there is none.
    pub command: Vec<String>,
}

impl Config {
    /// `None` when it is no image's configuration.
    fn of(bytes: &[u8]) -> Option<Self> {
        /// Docker writes `null` for what is unset.
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Document {
            os: Option<String>,
            architecture: Option<String>,
            variant: Option<String>,
            config: Option<Run>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        struct Run {
            entrypoint: Option<Vec<String>>,
            cmd: Option<Vec<String>>,
        }
        let document: Document = serde_json::from_slice(bytes).ok()?;
        let run = document.config.unwrap_or_default();
        Some(Self {
            platform: document
                .os
                .zip(document.architecture)
                .map(|(os, architecture)| Platform {
                    os,
                    architecture,
                    variant: document.variant,
                }),
            entrypoint: run.entrypoint.unwrap_or_default(),
            command: run.cmd.unwrap_or_default(),
        })
    }
}

/// A manifest or an index, as the bytes it was read as.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The digest of [`Self::bytes`].
    pub digest: Digest,
    /// Its media type, to be sent with it.
    pub media_type: String,
    /// What it runs on; `None` for an index and for what is no image to run.
    pub platform: Option<Platform>,
    /// The manifest itself.
    pub bytes: Bytes,
}

/// A configuration or a layer.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its media type, as its manifest has it.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// An image that was opened: its manifests are in memory and checked, its blobs where they were.
#[derive(Debug)]
pub struct Image {
    pub(crate) store: Store,
    manifests: Vec<Manifest>,
    blobs: Vec<Blob>,
    tag: Option<String>,
}

impl Image {
    /// Reads the manifest or index with this digest and all it refers to.
    ///
    /// `declared` is the media type of whatever pointed here; the manifest's own word wins.
    pub(crate) async fn load(
        store: Store,
        digest: Digest,
        declared: Option<String>,
    ) -> Result<Self, Error> {
        let mut walk = Walk {
            store: &store,
            seen: HashSet::new(),
            manifests: vec![],
            blobs: vec![],
        };
        walk.manifest(digest, declared, None, 0).await?;
        let Walk {
            manifests, blobs, ..
        } = walk;
        Ok(Self {
            store,
            manifests,
            blobs,
            tag: None,
        })
    }

    /// The same with the tag that its layout gives it.
    pub(crate) fn tagged(self, tag: Option<String>) -> Self {
        Self { tag, ..self }
    }

    /// The tag that an OCI layout gives it. `None` where it gives none, or several, and for every
    /// other source.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    fn top(&self) -> &Manifest {
        self.manifests
            .last()
            .expect("an image is made with at least its top manifest")
    }

    /// The digest of the top manifest or index: what `name@sha256:...` refers to.
    pub fn digest(&self) -> &Digest {
        &self.top().digest
    }

    /// The media type of the top manifest or index.
    pub fn media_type(&self) -> &str {
        &self.top().media_type
    }

    /// All manifests, each index after the manifests that it lists; the last one is the top.
    pub fn manifests(&self) -> &[Manifest] {
        &self.manifests
    }

    /// All configurations and layers, each once. Layers that may not be distributed are left out.
    pub fn blobs(&self) -> &[Blob] {
        &self.blobs
    }

    /// The size of all blobs and manifests in bytes.
    pub fn size(&self) -> u64 {
        let blobs: u64 = self.blobs.iter().map(|b| b.size).sum();
        blobs
            + self
                .manifests
                .iter()
                .map(|m| m.bytes.len() as u64)
                .sum::<u64>()
    }

    /// What the image runs on, in the order of its index, attestations left out.
    pub fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.manifests.iter().filter_map(|m| m.platform.as_ref())
    }

    /// The digest of the manifest for a platform, which a cloud may report instead of the index's.
    ///
    /// The image's own digest when it has no index; among variants, the plain one first.
    pub fn child_digest(&self, os: &str, architecture: &str) -> Option<&Digest> {
        self.child(os, architecture).map(|child| &child.digest)
    }

    /// The manifest for a platform; see [`Self::child_digest`].
    pub fn child(&self, os: &str, architecture: &str) -> Option<&Manifest> {
        let fits = |m: &&Manifest| m.platform.as_ref().is_some_and(|p| p.is(os, architecture));
        let plain = |m: &&Manifest| m.platform.as_ref().is_some_and(|p| p.variant.is_none());
        let mut fitting = self.manifests.iter().filter(fits);
        fitting.clone().find(plain).or_else(|| fitting.next())
    }

    /// How the image for a platform is run, by its configuration, which is read for it. `None` when
    /// there is no such image.
    pub async fn config(&self, os: &str, architecture: &str) -> Result<Option<Config>, Error> {
        let Some(child) = self.child(os, architecture) else {
            return Ok(None);
        };
        let declared = Some(child.media_type.clone());
        match parse(&child.digest, &child.bytes, declared)? {
            (Parsed::Image(manifest), _) => config_of(&self.store, &manifest).await.map(Some),
            (Parsed::Index(_), _) => Ok(None),
        }
    }

    /// Fails with `WrongPlatform`, naming the platforms that there are, unless the image runs on
    /// this one.
    pub fn require_platform(&self, os: &str, architecture: &str) -> Result<(), Error> {
        if self.child_digest(os, architecture).is_some() {
            return Ok(());
        }
        let found: Vec<_> = self.platforms().map(Platform::to_string).collect();
        let has = if found.is_empty() {
            "no platform at all".into()
        } else {
            found.join(", ")
        };
        let image = format!("{}@{}", self.store.name(), self.digest());
        Err(Error::new(ErrorKind::WrongPlatform, "use image", image)
            .detail(format!("{os}/{architecture} is needed, it has {has}")))
    }
}

/// What a manifest says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

/// A manifest's content.
pub(crate) enum Parsed {
    Index(Vec<Descriptor>),
    Image(Box<ImageManifest>),
}

/// Reads a manifest and decides its media type: its own word, else what pointed to it, else by its
/// members.
pub(crate) fn parse(
    digest: &Digest,
    bytes: &[u8],
    declared: Option<String>,
) -> Result<(Parsed, String), Error> {
    let invalid = || Error::new(ErrorKind::Invalid, "read manifest", digest);
    let probe: Probe = serde_json::from_slice(bytes).map_err(|e| invalid().caused_by(e))?;
    if probe.schema_version != 2 {
        return Err(invalid().detail(format!(
            "its schema version is {}, only 2 can be copied unchanged",
            probe.schema_version
        )));
    }
    // One document that reads as both is a known attack: two clients see two images.
    let guess = match (probe.manifests.is_some(), probe.layers.is_some()) {
        (true, false) => OCI_INDEX,
        (false, true) => OCI_MANIFEST,
        (true, true) => return Err(invalid().detail("it is both an index and an image")),
        (false, false) => return Err(invalid().detail("it lists neither manifests nor layers")),
    };
    let known = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
    let declared = declared.filter(|d| known.contains(&d.as_str()));
    let media_type = probe
        .media_type
        .or(declared)
        .unwrap_or_else(|| guess.to_owned());
    let parsed = match media_type.as_str() {
        OCI_INDEX | DOCKER_LIST => serde_json::from_slice(bytes)
            .map(|index: ImageIndex| Parsed::Index(index.manifests().clone())),
        OCI_MANIFEST | DOCKER_MANIFEST => {
            serde_json::from_slice(bytes).map(|m| Parsed::Image(Box::new(m)))
        }
        other => {
            return Err(invalid().detail(format!("its media type `{other}` is not an image's")));
        }
    };
    Ok((parsed.map_err(|e| invalid().caused_by(e))?, media_type))
}

/// The platform of an index's entry; `None` when the entry does not say.
pub(crate) fn declared_platform(entry: &Descriptor) -> Option<Platform> {
    entry.platform().as_ref().map(|p| Platform {
        os: p.os().to_string(),
        architecture: p.architecture().to_string(),
        variant: p.variant().clone(),
    })
}

/// What is no image, such as a chart, has a configuration of another form, which says nothing.
async fn config_of(store: &Store, manifest: &ImageManifest) -> Result<Config, Error> {
    let config = manifest.config();
    let digest = Digest::try_from(config.digest())?;
    let bytes = store.document(&digest, config.size()).await?;
    Ok(Config::of(&bytes).unwrap_or_default())
}

struct Walk<'a> {
    store: &'a Store,
    seen: HashSet<Digest>,
    manifests: Vec<Manifest>,
    blobs: Vec<Blob>,
}

impl Walk<'_> {
    fn manifest(
        &mut self,
        digest: Digest,
        declared: Option<String>,
        platform: Option<Platform>,
        depth: usize,
    ) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            if !self.seen.insert(digest.clone()) {
                return Ok(());
            }
            if depth > DEEPEST || self.seen.len() > MOST_MANIFESTS {
                return Err(
                    Error::new(ErrorKind::Invalid, "read image", self.store.name())
                        .detail("it has too many manifests, or indexes too deep in one another"),
                );
            }
            let bytes = self.store.manifest(&digest).await?;
            let (parsed, media_type) = parse(&digest, &bytes, declared)?;
            let platform = match parsed {
                Parsed::Index(entries) => {
                    for entry in entries {
                        let child = Digest::try_from(entry.digest())?;
                        let declared = Some(entry.media_type().to_string());
                        let platform = declared_platform(&entry);
                        self.manifest(child, declared, platform, depth + 1)
                            .await
                            .map_err(|e| e.note(&format!("the index {digest} lists it")))?;
                    }
                    None
                }
                Parsed::Image(manifest) => self.image(&manifest, platform).await?,
            };
            self.manifests.push(Manifest {
                digest,
                media_type,
                platform,
                bytes,
            });
            Ok(())
        }
        .boxed()
    }

    /// Notes an image's blobs and finds its platform, in its configuration if nobody said it.
    async fn image(
        &mut self,
        manifest: &ImageManifest,
        platform: Option<Platform>,
    ) -> Result<Option<Platform>, Error> {
        for part in std::iter::once(manifest.config()).chain(manifest.layers()) {
            let media_type = part.media_type().to_string();
            if media_type.contains(".nondistributable.") || media_type.contains(".foreign.") {
                continue;
            }
            let digest = Digest::try_from(part.digest())?;
            if self.blobs.iter().any(|b| b.digest == digest) {
                continue;
            }
            self.store.require(&digest, part.size()).await?;
            self.blobs.push(Blob {
                digest,
                media_type,
                size: part.size(),
            });
        }
        let platform = match platform {
            Some(platform) => Some(platform),
            None => config_of(self.store, manifest).await?.platform,
        };
        Ok(platform.filter(|p| !p.is_unknown()))
    }
}
