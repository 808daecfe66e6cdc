//! A ledger in memory that can end the run before or after any of its writes, as a killed process would.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use serde_json::Value;
use tokio::sync::Notify;

/// Where a run is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Before the nth write is durable.
    Before(usize),
    /// After it is.
    After(usize),
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct KillingStore(Arc<Inner>);

struct Inner {
    store: InMemory,
    crash: Mutex<Option<Crash>>,
    writes: AtomicUsize,
    killed: Notify,
}

impl KillingStore {
    /// Empty; kills nobody.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            store: InMemory::new(),
            crash: Mutex::new(None),
            writes: AtomicUsize::new(0),
            killed: Notify::new(),
        }))
    }

    /// Counts writes from here; kills at one of them.
    pub fn arm(&self, crash: Option<Crash>) {
        *self.0.crash.lock().unwrap_or_else(PoisonError::into_inner) = crash;
        self.0.writes.store(0, Ordering::SeqCst);
    }

    /// The writes since [`KillingStore::arm`].
    pub fn writes(&self) -> usize {
        self.0.writes.load(Ordering::SeqCst)
    }

    /// Ends once a write killed the run.
    pub async fn killed(&self) {
        self.0.killed.notified().await;
    }

    /// Whether there is an object with this in its path.
    pub async fn has(&self, part: &str) -> bool {
        let objects = self.0.store.list(None).try_collect::<Vec<_>>().await;
        let objects = objects.expect("memory can be listed");
        objects.iter().any(|it| it.location.as_ref().contains(part))
    }

    /// Every entry of every run's journal, in order.
    pub async fn entries(&self) -> Vec<Value> {
        let objects = self.0.store.list(None).try_collect::<Vec<_>>().await;
        let mut paths: Vec<Path> = objects
            .expect("memory can be listed")
            .into_iter()
            .map(|object| object.location)
            .filter(|path| path.as_ref().contains("/runs/"))
            .collect();
        paths.sort();
        let mut entries = Vec::new();
        for path in paths {
            let found = self.0.store.get(&path).await.expect("it is listed");
            let bytes = found.bytes().await.expect("it is in memory");
            let document: Value = serde_json::from_slice(&bytes).expect("JSON");
            entries.push(document["entry"].clone());
        }
        entries
    }

    async fn die(&self) -> ! {
        self.0.killed.notify_one();
        std::future::pending().await
    }

    /// Counts a write; the number when it counts. How often a lock is renewed depends on how long a run takes.
    fn count(&self, location: &Path) -> Option<usize> {
        let lock = location.parts().any(|part| part.as_ref() == "lock");
        (!lock).then(|| self.0.writes.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn crash(&self) -> Option<Crash> {
        *self.0.crash.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KillingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KillingStore")
    }
}

impl fmt::Display for KillingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KillingStore")
    }
}

#[async_trait]
impl ObjectStore for KillingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let number = self.count(location);
        if number.is_some() && self.crash() == number.map(Crash::Before) {
            self.die().await;
        }
        let result = self.0.store.put_opts(location, payload, options).await;
        if number.is_some() && self.crash() == number.map(Crash::After) {
            self.die().await;
        }
        result
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.store.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.store.copy_opts(from, to, options).await
    }
}
