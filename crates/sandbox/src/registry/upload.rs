//! Blob uploads under way: their bytes on disk, their running digest, their place in the stream.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::Body;
use axum::http::StatusCode;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::Store;
use super::answer::ProtocolError;

/// The uploads of one registry. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Uploads {
    sessions: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<Upload>>>>>,
}

/// One upload; its holder is the only writer.
pub(super) struct Upload {
    repository: String,
    path: PathBuf,
    size: u64,
    hasher: Context,
}

impl Uploads {
    /// Starts an upload to a repository (its stored name). Returns the upload's id.
    pub(super) async fn begin(&self, store: &Store, repository: &str) -> std::io::Result<String> {
        let path = store.new_upload();
        tokio::fs::write(&path, b"").await?;
        let id = uuid::Uuid::new_v4().to_string();
        let upload = Upload {
            repository: repository.to_owned(),
            path,
            size: 0,
            hasher: Context::new(&SHA256),
        };
        let upload = Arc::new(tokio::sync::Mutex::new(upload));
        self.lock().insert(id.clone(), upload);
        Ok(id)
    }

    /// The upload of that id, to that repository only.
    pub(super) async fn find(
        &self,
        repository: &str,
        id: &str,
    ) -> Result<tokio::sync::OwnedMutexGuard<Upload>, ProtocolError> {
        let unknown = || ProtocolError::not_found("BLOB_UPLOAD_UNKNOWN", "unknown upload");
        let upload = self.lock().get(id).cloned().ok_or_else(unknown)?;
        let upload = upload.lock_owned().await;
        match upload.repository == repository {
            true => Ok(upload),
            false => Err(unknown()),
        }
    }

    /// Forgets an upload; its file must have been moved or removed.
    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<Upload>>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// Appends a chunk. With `from` it must continue exactly where the last one ended.
    pub(super) async fn append(
        &mut self,
        body: Body,
        from: Option<u64>,
    ) -> Result<(), ProtocolError> {
        if let Some(from) = from
            && from != self.size
        {
            let message = format!("the upload continues at byte {}, not {from}", self.size);
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            return Err(ProtocolError::new(status, "BLOB_UPLOAD_INVALID", message));
        }
        let options = tokio::fs::OpenOptions::new().append(true).to_owned();
        let mut file = options.open(&self.path).await?;
        let mut stream = body.into_data_stream();
        while let Some(chunk) = stream.next().await {
            let cut = |_| ProtocolError::bad("BLOB_UPLOAD_INVALID", "the body ended early");
            let chunk = chunk.map_err(cut)?;
            file.write_all(&chunk).await?;
            self.hasher.update(&chunk);
            self.size += chunk.len() as u64;
        }
        file.flush().await?;
        Ok(())
    }

    /// Turns the upload into a blob when its digest is the one promised.
    pub(super) fn finish(&self, store: &Store, digest: &str) -> Result<(), ProtocolError> {
        let actual = format!("sha256:{}", hex::encode(self.hasher.clone().finish()));
        if actual != digest {
            let message = format!("the uploaded bytes have the digest {actual}");
            return Err(ProtocolError::bad("DIGEST_INVALID", message));
        }
        Ok(store.adopt_blob(&self.repository, digest, &self.path)?)
    }

    /// Throws the bytes away.
    pub(super) async fn discard(&self) {
        // Already moved or removed is as good.
        let _ = tokio::fs::remove_file(&self.path).await;
    }

    /// The `Range` header: the bytes held so far, both ends inclusive.
    pub(super) fn range(&self) -> String {
        format!("0-{}", self.size.saturating_sub(1))
    }
}
