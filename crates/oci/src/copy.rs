//! Copies an image into a repository: blobs, then manifests, then the tag, then a look back.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::challenge::Scope;
use crate::registry::check_name;
use crate::upload::{Outcome, Upload};
use crate::{Digest, Error, ErrorKind, Image, Manifest, Registry};

/// How many blobs are on their way at once.
const AT_ONCE: usize = 4;

/// What happens during a copy, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyEvent {
    /// The copy begins; `bytes` are all blobs', present or not.
    Started {
        /// How many blobs the image has.
        blobs: usize,
        /// Their size in bytes.
        bytes: u64,
    },
    /// A blob was there already.
    BlobPresent {
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A blob was taken over from another repository of the same registry.
    BlobMounted {
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A blob is being sent; once for each attempt.
    BlobStarted {
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// So much of a blob has been sent in this attempt.
    BlobProgress {
        /// Which.
        digest: Digest,
        /// How many bytes have been sent.
        sent: u64,
        /// How many there are.
        size: u64,
    },
    /// A blob has been sent and the registry has accepted it.
    BlobUploaded {
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Something failed for a passing reason and will be tried again.
    Retrying {
        /// What failed.
        what: String,
        /// How long until the next attempt.
        wait: Duration,
    },
    /// A manifest or index is in the repository under its digest.
    ManifestWritten {
        /// Which.
        digest: Digest,
    },
    /// The tag points at the image.
    Tagged {
        /// The tag.
        tag: String,
    },
}

/// What a copy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// What the registry itself reports for the image: always the source's digest.
    pub digest: Digest,
    /// Blobs whose bytes were sent.
    pub blobs_uploaded: usize,
    /// Blobs taken over from another repository of the same registry.
    pub blobs_mounted: usize,
    /// Blobs that were there before.
    pub blobs_present: usize,
    /// How many bytes of blobs were sent.
    pub bytes: u64,
}

impl Registry {
    /// Copies `image` into `repo`, which must exist where the registry makes none by itself.
    ///
    /// When it returns, the registry has reported `image`'s digest for the image and, if asked for
    /// one, for the tag. What is there already is not written again: a second copy writes nothing.
    /// No manifest is written before all blobs are there, and no blob is completed whose bytes do
    /// not have its digest; so a damaged source (`DigestMismatch`) or a failure leaves what the
    /// repository served untouched. The image comes with its tag or not at all. `Conflict` when the
    /// tag is immutable and points elsewhere: then the image is there, and the tag where it was.
    pub async fn copy(
        &self,
        image: &Image,
        repo: &str,
        tag: Option<&str>,
        progress: &(dyn Fn(CopyEvent) + Send + Sync),
    ) -> Result<Copied, Error> {
        check_name(repo, tag.unwrap_or("latest"))?;
        let (events, mut heard) = unbounded_channel();
        let work = self.carry(image, repo, tag, events);
        tokio::pin!(work);
        loop {
            tokio::select! {
                // Events first, so that none of them is told after the end.
                biased;
                Some(event) = heard.recv() => progress(event),
                result = &mut work => {
                    while let Ok(event) = heard.try_recv() {
                        progress(event);
                    }
                    return result;
                }
            }
        }
    }

    /// Makes `tag` stand for `image`, which is in `repo` by its digest already.
    ///
    /// `Conflict` when the tag is immutable and points elsewhere.
    pub async fn tag(&self, image: &Image, repo: &str, tag: &str) -> Result<(), Error> {
        check_name(repo, tag)?;
        match image.manifests().last() {
            Some(top) => self.ensure(repo, tag, top).await,
            None => Ok(()),
        }
    }

    async fn carry(
        &self,
        image: &Image,
        repo: &str,
        tag: Option<&str>,
        events: UnboundedSender<CopyEvent>,
    ) -> Result<Copied, Error> {
        let tell = |event| {
            // The receiver lives as long as this future.
            let _ = events.send(event);
        };
        let bytes = image.blobs().iter().map(|b| b.size).sum();
        tell(CopyEvent::Started {
            blobs: image.blobs().len(),
            bytes,
        });
        let mut copied = Copied {
            digest: image.digest().clone(),
            blobs_uploaded: 0,
            blobs_mounted: 0,
            blobs_present: 0,
            bytes: 0,
        };
        let uploads: Vec<_> = image
            .blobs()
            .iter()
            .map(|blob| {
                let (registry, repo, store) = (self.clone(), repo.to_owned(), image.store.clone());
                let size = blob.size;
                let upload = Upload {
                    registry,
                    repo,
                    store,
                    blob: blob.clone(),
                    events: events.clone(),
                };
                async move { upload.run().await.map(|outcome| (outcome, size)) }
            })
            .collect();
        let mut done = stream::iter(uploads).buffer_unordered(AT_ONCE);
        while let Some((outcome, size)) = done.try_next().await? {
            match outcome {
                Outcome::Present => copied.blobs_present += 1,
                Outcome::Mounted => copied.blobs_mounted += 1,
                Outcome::Uploaded => {
                    copied.blobs_uploaded += 1;
                    copied.bytes += size;
                }
            }
        }
        let Some((top, below)) = image.manifests().split_last() else {
            return Ok(copied);
        };
        for manifest in below {
            let digest = manifest.digest.as_str();
            self.ensure(repo, digest, manifest).await?;
            let digest = manifest.digest.clone();
            tell(CopyEvent::ManifestWritten { digest });
        }
        let written = || CopyEvent::ManifestWritten {
            digest: top.digest.clone(),
        };
        let Some(tag) = tag else {
            self.ensure(repo, top.digest.as_str(), top).await?;
            tell(written());
            return Ok(copied);
        };
        // Under the tag it is there by its digest too: whoever finds it finds the tag.
        let tagged = self.ensure(repo, tag, top).await;
        match &tagged {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Conflict => {
                self.ensure(repo, top.digest.as_str(), top).await?;
            }
            Err(_) => return tagged.map(|()| copied),
        }
        tell(written());
        tagged?;
        let tag = tag.to_owned();
        tell(CopyEvent::Tagged { tag });
        Ok(copied)
    }

    /// Makes `reference` stand for `manifest` and sees that it does; writes only when it does not.
    async fn ensure(&self, repo: &str, reference: &str, manifest: &Manifest) -> Result<(), Error> {
        let scope = Scope::Push(repo.to_owned());
        if self.head(&scope, repo, reference).await?.as_ref() == Some(&manifest.digest) {
            return Ok(());
        }
        self.put_manifest(&scope, repo, reference, manifest).await?;
        let object = self.object(repo, reference);
        let wrong = |found: String| {
            Err(
                Error::new(ErrorKind::DigestMismatch, "verify manifest", object).detail(format!(
                    "the registry reports {found}, not {}",
                    manifest.digest
                )),
            )
        };
        match self.head(&scope, repo, reference).await? {
            Some(found) if found == manifest.digest => Ok(()),
            Some(found) => wrong(found.to_string()),
            None => wrong("no such manifest".into()),
        }
    }
}
