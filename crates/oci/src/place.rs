//! Bytes on this machine: where they are, and reading them as they come.

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::Error;

/// Bytes of a blob as they come; the last of them only when the digest is right.
pub(crate) type Content = BoxStream<'static, Result<Bytes, Error>>;

/// The largest manifest or configuration that is read into memory: what registries take.
pub(crate) const DOCUMENT_LIMIT: u64 = 4 * 1024 * 1024;

/// How much of a file is read at a time.
const CHUNK: usize = 256 * 1024;

/// Bytes on this machine.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    File {
        path: PathBuf,
        offset: u64,
        size: u64,
    },
    Memory(Bytes),
}

impl Place {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Place::File { size, .. } => *size,
            Place::Memory(bytes) => bytes.len() as u64,
        }
    }

    pub(crate) fn content(self) -> Content {
        match self {
            Place::File { path, offset, size } => file_content(path, offset, size),
            Place::Memory(bytes) => stream::once(async { Ok(bytes) }).boxed(),
        }
    }
}

fn file_content(path: PathBuf, offset: u64, size: u64) -> Content {
    let open = async move {
        let failed = |e| Error::io("read", path.display(), e);
        let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
        file.seek(std::io::SeekFrom::Start(offset))
            .await
            .map_err(failed)?;
        Ok(stream::try_unfold(
            (file.take(size), path),
            |(mut file, path)| async move {
                let mut chunk = BytesMut::with_capacity(CHUNK);
                match file.read_buf(&mut chunk).await {
                    Ok(0) => Ok(None),
                    Ok(_) => Ok(Some((chunk.freeze(), (file, path)))),
                    Err(e) => Err(Error::io("read", path.display(), e)),
                }
            },
        ))
    };
    stream::once(open).try_flatten().boxed()
}
