//! A ledger in memory that can end the run before or after any of its writes, as a killed process
//! would, or fail from there on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::DateTime;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use serde_json::Value;
use tokio::sync::Notify;

use super::time::VirtualTime;

/// Where a run is killed, or its ledger fails it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Killed before the nth write is durable.
    Before(usize),
    /// Killed after it is.
    After(usize),
    /// The nth write and every one after it fails.
    #[allow(dead_code, reason = "the sweep's alone")]
    Fails(usize),
    /// The nth write lands, and its answer is lost.
    #[allow(dead_code, reason = "the sweep's alone")]
    ReplyLost(usize),
}

impl Crash {
    /// Whether the process ends.
    #[allow(dead_code, reason = "the sweep's alone")]
    pub fn kills(self) -> bool {
        matches!(self, Self::Before(_) | Self::After(_))
    }
}

fn failure(what: &str) -> object_store::Error {
    object_store::Error::Generic {
        store: "memory",
        source: what.into(),
    }
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct KillingStore(Arc<Inner>);

struct Inner {
    store: InMemory,
    time: VirtualTime,
    /// When each object was written: memory goes by the machine's clock.
    written: Mutex<BTreeMap<Path, Timestamp>>,
    crash: Mutex<Option<Crash>>,
    writes: AtomicUsize,
    killed: Notify,
    /// What is not to be read: whatever has this in its path.
    hidden: Mutex<Option<String>>,
}

impl KillingStore {
    /// Empty; kills nobody.
    pub fn new(time: VirtualTime) -> Self {
        Self(Arc::new(Inner {
            store: InMemory::new(),
            time,
            written: Mutex::default(),
            crash: Mutex::new(None),
            writes: AtomicUsize::new(0),
            killed: Notify::new(),
            hidden: Mutex::new(None),
        }))
    }

    /// Counts writes from here; kills at one of them.
    pub fn arm(&self, crash: Option<Crash>) {
        *self.0.crash.lock().unwrap_or_else(PoisonError::into_inner) = crash;
        self.0.writes.store(0, Ordering::SeqCst);
    }

    /// Nobody may read what has this in its path.
    #[allow(dead_code, reason = "not every test hides anything")]
    pub fn hide(&self, part: Option<&str>) {
        let mut hidden = self.0.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        *hidden = part.map(str::to_owned);
    }

    fn must_be_readable(&self, path: Option<&Path>) -> Result<()> {
        let hidden = self.0.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        let path = path.map_or("", Path::as_ref);
        match hidden.as_ref().is_some_and(|part| path.contains(part)) {
            true => Err(failure("nobody may read this")),
            false => Ok(()),
        }
    }

    /// The writes since [`KillingStore::arm`].
    pub fn writes(&self) -> usize {
        self.0.writes.load(Ordering::SeqCst)
    }

    /// Ends once a write killed the run.
    pub async fn killed(&self) {
        self.0.killed.notified().await;
    }

    /// The objects that count, sorted: of those that the runs write of one subject the highest,
    /// unless that says that it is gone.
    pub async fn standing(&self) -> Vec<Path> {
        let objects = self.0.store.list(None).try_collect::<Vec<_>>().await;
        let paths = objects.expect("memory can be listed").into_iter();
        let mut standing: BTreeMap<String, Path> = BTreeMap::new();
        for path in paths.map(|object| object.location) {
            let (folder, file) = path.as_ref().rsplit_once('/').unwrap_or_default();
            // `000012-000003.json`: of which run, and in which place.
            let numbered = file.split('.').next().is_some_and(|it| {
                it.len() == 13 && it.chars().all(|c| c.is_ascii_digit() || c == '-')
            });
            let subject = match numbered {
                true => folder.to_owned(),
                false => path.to_string(),
            };
            match standing.get(&subject) {
                Some(higher) if *higher > path => {}
                _ => drop(standing.insert(subject, path)),
            }
        }
        let mut paths: Vec<Path> = standing.into_values().collect();
        paths.retain(|path| !path.as_ref().ends_with(".gone"));
        paths.sort();
        paths
    }

    /// The objects whose paths begin so, sorted.
    #[allow(dead_code, reason = "not every test looks for them")]
    pub async fn entries_below(&self, begins: &str) -> Vec<Path> {
        let objects = self.0.store.list(None).try_collect::<Vec<_>>().await;
        let paths = objects.expect("memory can be listed").into_iter();
        let mut paths: Vec<Path> = paths.map(|object| object.location).collect();
        paths.retain(|path| path.as_ref().starts_with(begins));
        paths.sort();
        paths
    }

    /// What an object says.
    pub async fn document(&self, path: &Path) -> Value {
        let found = self.0.store.get(path).await.expect("it is there");
        let bytes = found.bytes().await.expect("it is in memory");
        serde_json::from_slice(&bytes).expect("JSON")
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

    /// The same with the time that this store goes by.
    fn dated(&self, meta: ObjectMeta) -> ObjectMeta {
        let written = self
            .0
            .written
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(at) = written.get(&meta.location) else {
            return meta;
        };
        let at = DateTime::from_timestamp(at.as_second(), at.subsec_nanosecond().unsigned_abs());
        ObjectMeta {
            last_modified: at.expect("a time of this century"),
            ..meta
        }
    }

    /// Counts a write; the number when it counts. How often a lock is renewed depends on how long a
    /// run takes.
    fn count(&self, location: &Path) -> Option<usize> {
        let parts = ["lock", "clock.json"];
        let lock = location.parts().any(|part| parts.contains(&part.as_ref()));
        (!lock).then(|| self.0.writes.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Errors: from the write on from which they are to fail.
    fn fails(&self, number: Option<usize>) -> Result<()> {
        match (self.crash(), number) {
            (Some(Crash::Fails(from)), Some(number)) if number >= from => {
                Err(failure("nothing can be written"))
            }
            _ => Ok(()),
        }
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
        self.fails(number)?;
        let result = self.0.store.put_opts(location, payload, options).await;
        if result.is_ok() {
            let mut written = self
                .0
                .written
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            written.insert(location.clone(), self.0.time.now());
        }
        if number.is_some() && self.crash() == number.map(Crash::After) {
            self.die().await;
        }
        match number.is_some() && self.crash() == number.map(Crash::ReplyLost) {
            true => Err(failure("the answer is lost")),
            false => result,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.must_be_readable(Some(location))?;
        let found = self.0.store.get_opts(location, options).await?;
        Ok(GetResult {
            meta: self.dated(found.meta.clone()),
            ..found
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        // However many objects: one call, of which the first tells what it is for.
        let call = async move {
            let locations: Vec<Result<Path>> = locations.collect().await;
            let first = locations.iter().flatten().next();
            let number = first.and_then(|first| this.count(first));
            if number.is_some() && this.crash() == number.map(Crash::Before) {
                this.die().await;
            }
            if let Err(error) = this.fails(number) {
                return futures::stream::iter(vec![Err(error)]);
            }
            let locations = futures::stream::iter(locations).boxed();
            let deleted: Vec<Result<Path>> = this.0.store.delete_stream(locations).collect().await;
            if number.is_some() && this.crash() == number.map(Crash::After) {
                this.die().await;
            }
            match number.is_some() && this.crash() == number.map(Crash::ReplyLost) {
                true => futures::stream::iter(vec![Err(failure("the answer is lost"))]),
                false => futures::stream::iter(deleted),
            }
        };
        futures::stream::once(call).flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(error) = self.must_be_readable(prefix) {
            return futures::stream::iter([Err(error)]).boxed();
        }
        let this = self.clone();
        let dated = move |meta| this.dated(meta);
        self.0.store.list(prefix).map_ok(dated).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.must_be_readable(prefix)?;
        let found = self.0.store.list_with_delimiter(prefix).await?;
        let objects = found.objects.into_iter().map(|meta| self.dated(meta));
        Ok(ListResult {
            objects: objects.collect(),
            ..found
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.store.copy_opts(from, to, options).await
    }
}
