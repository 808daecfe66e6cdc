//! Where an image's bytes are, and reading them with their digest checked on the way.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::archive::Archive;
use crate::place::{Content, DOCUMENT_LIMIT, Place};
use crate::{Digest, Error, ErrorKind, Registry};

/// What holds an image's manifests and blobs, addressed by digest.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    Layout(PathBuf),
    Archive(Arc<Archive>),
    Registry { registry: Registry, repo: String },
}

impl Store {
    /// What to call the store in an error.
    pub(crate) fn name(&self) -> String {
        match self {
            Store::Layout(dir) => dir.display().to_string(),
            Store::Archive(archive) => archive.path().display().to_string(),
            Store::Registry { registry, repo } => format!("{}/{repo}", registry.host()),
        }
    }

    /// Where the content with this digest is on this machine. Always `None` for a registry.
    pub(crate) async fn place(&self, digest: &Digest) -> Option<Place> {
        let (algorithm, hex) = digest.parts();
        match self {
            Store::Layout(dir) => {
                let path = dir.join("blobs").join(algorithm).join(hex);
                let meta = tokio::fs::metadata(&path)
                    .await
                    .ok()
                    .filter(|m| m.is_file())?;
                Some(Place::File {
                    path,
                    offset: 0,
                    size: meta.len(),
                })
            }
            Store::Archive(archive) => archive.blob(digest),
            Store::Registry { .. } => None,
        }
    }

    fn absent(&self, digest: &Digest) -> Error {
        Error::new(ErrorKind::NotFound, "read blob", digest)
            .detail(format!("`{}` does not hold it", self.name()))
    }

    /// Fails unless the blob is there with that size. A registry is not asked: it is when the blob
    /// is read.
    pub(crate) async fn require(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        if matches!(self, Store::Registry { .. }) {
            return Ok(());
        }
        let place = self
            .place(digest)
            .await
            .ok_or_else(|| self.absent(digest))?;
        if place.size() == size {
            return Ok(());
        }
        Err(
            Error::new(ErrorKind::DigestMismatch, "read blob", digest).detail(format!(
                "it has {} bytes in `{}`, its manifest says {size}",
                place.size(),
                self.name()
            )),
        )
    }

    /// A blob's bytes. The stream ends in an error, before its last bytes are given out, when
    /// they are not what `digest` and `size` promise.
    pub(crate) async fn blob(&self, digest: &Digest, size: u64) -> Result<Content, Error> {
        let content = match self {
            Store::Registry { registry, repo } => registry.blob(repo, digest, size).await?,
            Store::Layout(_) | Store::Archive(_) => self
                .place(digest)
                .await
                .ok_or_else(|| self.absent(digest))?
                .content(),
        };
        Ok(checked(content, digest.clone(), size))
    }

    /// A whole small blob, checked. `Invalid` when it is larger than [`DOCUMENT_LIMIT`].
    pub(crate) async fn document(&self, digest: &Digest, size: u64) -> Result<Bytes, Error> {
        if size > DOCUMENT_LIMIT {
            return Err(
                Error::new(ErrorKind::Invalid, "read", digest).detail(format!(
                    "{size} bytes are too many for a manifest or configuration"
                )),
            );
        }
        collect(self.blob(digest, size).await?).await
    }

    /// A manifest, checked, with the media type that the registry gives it, if any.
    pub(crate) async fn manifest(&self, digest: &Digest) -> Result<Bytes, Error> {
        if let Store::Registry { registry, repo } = self {
            return Ok(registry.pull_manifest(repo, digest.as_str()).await?.bytes);
        }
        let place = self
            .place(digest)
            .await
            .ok_or_else(|| self.absent(digest))?;
        self.document(digest, place.size()).await
    }
}

/// All of a stream's bytes in memory; for small content.
pub(crate) async fn collect(content: Content) -> Result<Bytes, Error> {
    let all = content.try_fold(BytesMut::new(), |mut all, chunk| async move {
        all.extend_from_slice(&chunk);
        Ok(all)
    });
    Ok(all.await?.freeze())
}

/// Lets bytes through, but holds back the last of them until size and digest are found right:
/// whoever sends them on can then never complete a damaged blob.
fn checked(content: Content, digest: Digest, size: u64) -> Content {
    let start = (content, Some(digest.check()), 0_u64);
    stream::try_unfold(start, move |(mut content, mut check, before)| {
        let digest = digest.clone();
        async move {
            let damaged = |why: String| {
                Error::new(ErrorKind::DigestMismatch, "read blob", &digest).detail(why)
            };
            let chunk = content.try_next().await?;
            let seen = before + chunk.as_ref().map_or(0, |c| c.len() as u64);
            if seen > size || (chunk.is_none() && seen < size) {
                let found = if seen > size { "more than" } else { "only" };
                return Err(damaged(format!(
                    "{found} {} bytes of {size}",
                    seen.min(size)
                )));
            }
            if let (Some(check), Some(chunk)) = (&mut check, &chunk) {
                check.update(chunk);
            }
            if seen == size
                && let Some(check) = check.take()
                && let Err(found) = check.finish()
            {
                return Err(damaged(format!("its bytes have the digest {found}")));
            }
            Ok(chunk.map(|chunk| (chunk, (content, check, seen))))
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &'static [u8], digest: Digest, size: u64) -> Result<Bytes, Error> {
        let pieces = bytes
            .chunks(3)
            .map(|c| Ok(Bytes::from_static(c)))
            .collect::<Vec<_>>();
        collect(checked(stream::iter(pieces).boxed(), digest, size)).await
    }

    #[tokio::test]
    async fn right_bytes_pass_and_wrong_ones_do_not() {
        let digest = Digest::of(b"abcdefgh");
        assert_eq!(
            read(b"abcdefgh", digest.clone(), 8).await.unwrap(),
            "abcdefgh"
        );
        assert_eq!(read(b"", Digest::of(b""), 0).await.unwrap(), "");
        for (bytes, size) in [
            (&b"abcdefgX"[..], 8),
            (b"abcdefg", 8),
            (b"abcdefgh", 7),
            (b"", 8),
        ] {
            let error = read(bytes, digest.clone(), size).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error}");
        }
    }

    #[tokio::test]
    async fn the_last_bytes_of_a_damaged_blob_are_never_given_out() {
        let chunk = stream::iter([Ok(Bytes::from_static(b"damaged"))]).boxed();
        let mut content = checked(chunk, Digest::of(b"correct"), 7);
        assert!(content.next().await.unwrap().is_err());
    }
}
