//! A store in memory with a clock of its own that can be set wrongly, and that fails, or is slow,
//! when it is told to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::SignedDuration;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every call fails, until it is mended.
    Everything,
    /// The next write lands, and its answer is lost.
    NextAnswer,
    /// The next write to a path with this in it is held up on its way, until it is let go.
    Hold(&'static str),
    /// Every write to a path with this in it fails.
    Writes(&'static str),
    /// So many changes are made, and every one after them fails: as for a process that is killed.
    ChangesAfter(usize),
    /// Whatever is written replaces what is there, also where it was to be new.
    Overwrites,
}

#[derive(Debug)]
pub struct Store {
    inner: InMemory,
    started: Instant,
    wrong_by: Mutex<SignedDuration>,
    written: Mutex<BTreeMap<Path, SystemTime>>,
    fault: Mutex<Option<Fault>>,
    calls: AtomicUsize,
    held: Notify,
    let_go: Notify,
}

impl Store {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            started: Instant::now(),
            wrong_by: Mutex::new(SignedDuration::ZERO),
            written: Mutex::default(),
            fault: Mutex::default(),
            calls: AtomicUsize::new(0),
            held: Notify::new(),
            let_go: Notify::new(),
        })
    }

    pub fn set_clock(&self, wrong_by: SignedDuration) {
        *self.wrong_by.lock().unwrap() = wrong_by;
    }

    pub fn fail(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    pub fn mend(&self) {
        *self.fault.lock().unwrap() = None;
    }

    /// Returns once a write is held up.
    pub async fn holds(&self) {
        self.held.notified().await;
    }

    /// Has the write that is held up go on.
    pub fn let_go(&self) {
        self.let_go.notify_one();
    }

    /// How many calls were made so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Every object but the lock's own, with its content.
    pub async fn contents(&self) -> BTreeMap<Path, bytes::Bytes> {
        let mut contents = BTreeMap::new();
        let mut found = self.inner.list(None);
        while let Some(object) = found.next().await {
            let path = object.unwrap().location;
            if path.as_ref().contains("/lock/") {
                continue;
            }
            let get = self.inner.get_opts(&path, GetOptions::default());
            contents.insert(path.clone(), get.await.unwrap().bytes().await.unwrap());
        }
        contents
    }

    fn now(&self) -> SystemTime {
        let right = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400) + self.started.elapsed();
        let wrong_by = *self.wrong_by.lock().unwrap();
        match wrong_by.is_negative() {
            true => right - wrong_by.unsigned_abs(),
            false => right + wrong_by.unsigned_abs(),
        }
    }

    fn call(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match *self.fault.lock().unwrap() {
            Some(Fault::Everything) => Err(down()),
            Some(
                Fault::NextAnswer
                | Fault::Hold(_)
                | Fault::Writes(_)
                | Fault::ChangesAfter(_)
                | Fault::Overwrites,
            )
            | None => Ok(()),
        }
    }

    /// Whether a change is made at all.
    fn change(&self) -> Result<()> {
        if let Some(Fault::ChangesAfter(left)) = &mut *self.fault.lock().unwrap() {
            *left = left.checked_sub(1).ok_or_else(down)?;
        }
        Ok(())
    }

    /// What a fault makes of a write before it lands.
    async fn on_the_way(&self, at: &Path) -> Result<()> {
        let held = {
            let mut fault = self.fault.lock().unwrap();
            match *fault {
                Some(Fault::Writes(part)) if at.as_ref().contains(part) => return Err(down()),
                Some(Fault::Hold(part)) if at.as_ref().contains(part) => {
                    *fault = None;
                    true
                }
                _ => false,
            }
        };
        if held {
            self.held.notify_one();
            self.let_go.notified().await;
        }
        Ok(())
    }

    fn dated(&self, mut object: ObjectMeta) -> ObjectMeta {
        if let Some(at) = self.written.lock().unwrap().get(&object.location) {
            object.last_modified = (*at).into();
        }
        object
    }
}

fn down() -> object_store::Error {
    object_store::Error::Generic {
        store: "test",
        source: "the store is down".into(),
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("test store")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, at: &Path, what: PutPayload, how: PutOptions) -> Result<PutResult> {
        self.call()?;
        self.change()?;
        tokio::task::yield_now().await;
        self.on_the_way(at).await?;
        let how = match *self.fault.lock().unwrap() {
            Some(Fault::Overwrites) => PutOptions::default(),
            _ => how,
        };
        let put = self.inner.put_opts(at, what, how).await?;
        self.written.lock().unwrap().insert(at.clone(), self.now());
        let mut fault = self.fault.lock().unwrap();
        if *fault == Some(Fault::NextAnswer) {
            *fault = None;
            return Err(down());
        }
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(down())
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        self.call()?;
        let mut got = self.inner.get_opts(at, how).await?;
        got.meta = self.dated(got.meta);
        Ok(got)
    }

    fn delete_stream(
        &self,
        which: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.call().and_then(|()| self.change()) {
            Ok(()) => self.inner.delete_stream(which),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.call() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call()?;
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        let objects = std::mem::take(&mut listed.objects).into_iter();
        listed.objects = objects.map(|object| self.dated(object)).collect();
        Ok(listed)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(down())
    }
}
