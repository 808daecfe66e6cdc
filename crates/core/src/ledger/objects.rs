//! The calls to the store: each is tried again here and nowhere else, and whatever changes
//! something asks the permit before each try.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutOptions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::{FORMAT, Ledger, OLDEST};
use crate::error::{Error, ErrorKind, Result};

/// No object of a ledger is larger.
const LARGEST: u64 = 64 << 20;

/// How often what the store did not answer is tried: for some 15 s beside what the tries themselves
/// take.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// What to do about an object that cannot be read.
const RESTORE: &str =
    "restore it from the store's older versions; deployer never overwrites what it cannot read";

/// What is written: the content with the format's version.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: u32,
    #[serde(flatten)]
    content: T,
}

/// How long one call has been tried.
struct Patience {
    tries: u32,
    pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 0,
            pause: FIRST_PAUSE,
        }
    }
}

impl Patience {
    /// Whether what failed so is to be tried once more.
    fn lasts(&mut self, error: &object_store::Error) -> bool {
        self.tries += 1;
        self.tries < TRIES && may_pass(error)
    }

    async fn pause(&mut self, ledger: &Ledger) {
        ledger.clock.pause(self.pause).await;
        self.pause *= 2;
    }
}

impl Ledger {
    pub(super) fn path(&self, name: &str) -> Path {
        name.split('/')
            .fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Makes a call that changes nothing until the store answers, or has not for too long.
    async fn ask<T, F>(&self, call: impl Fn() -> F + Send) -> object_store::Result<T>
    where
        F: Future<Output = object_store::Result<T>> + Send,
    {
        let mut patience = Patience::default();
        loop {
            match call().await {
                Err(error) if patience.lasts(&error) => patience.pause(self).await,
                result => return result,
            }
        }
    }

    /// The same for one that changes something: each try is made only while the lease lasts.
    ///
    /// Errors: those of the permit; what the store says stands within.
    async fn change<T, F>(&self, call: impl Fn() -> F + Send) -> Result<object_store::Result<T>>
    where
        F: Future<Output = object_store::Result<T>> + Send,
    {
        let mut patience = Patience::default();
        loop {
            // Anew each time: the lease may be lost meanwhile.
            self.permit.ask().await?;
            match call().await {
                Err(error) if patience.lasts(&error) => patience.pause(self).await,
                result => return Ok(result),
            }
        }
    }

    /// Reads an object. `None` when absent.
    pub(super) async fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let bytes = self.read_bytes(name).await?;
        bytes.map(|bytes| self.decode(name, &bytes)).transpose()
    }

    pub(super) async fn read_bytes(&self, name: &str) -> Result<Option<Bytes>> {
        let path = self.path(name);
        let read = || async {
            let found = self.store.get(&path).await?;
            let size = found.meta.size;
            let bytes = match size > LARGEST {
                true => Bytes::new(),
                false => found.bytes().await?,
            };
            Ok((size, bytes))
        };
        match self.ask(read).await {
            Ok((size, _)) if size > LARGEST => {
                let message = format!("the ledger object {path} is damaged: it has {size} bytes");
                Err(Error::new(ErrorKind::Ledger, message).hint(RESTORE))
            }
            Ok((_, bytes)) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.broken("read", &path, error)),
        }
    }

    /// Writes an object that must not exist and has words of its own. Returns whether it was ours
    /// to write; a write whose answer was lost is tried again and recognised.
    pub(super) async fn create<T: Serialize>(&self, name: &str, content: &T) -> Result<bool> {
        let path = self.path(name);
        let bytes = Bytes::from(encode(FORMAT, content)?);
        for _ in 0..TRIES {
            let put = || self.store.put_opts(&path, bytes.clone().into(), only_new());
            match self.change(put).await? {
                Ok(_) => return Ok(true),
                Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(self.broken("write", &path, error)),
            }
            if let Some(found) = self.read_bytes(name).await? {
                return Ok(found == bytes);
            }
            // S3 says that it exists also while a write whose answer was lost is still under way.
            self.clock.pause(FIRST_PAUSE).await;
        }
        let message = format!("{path} is there and cannot be read");
        Err(Error::new(ErrorKind::Ledger, message))
    }

    /// Tries once to write an object that must not exist, and asks nobody: for the lock. Returns
    /// whether it did not.
    pub(super) async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool> {
        let path = self.path(name);
        match self.store.put_opts(&path, bytes.into(), only_new()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.broken("write", &path, error)),
        }
    }

    /// Whether the store refuses to create an object that is there. Without that no lock holds:
    /// whoever comes second would be told that the number was free.
    pub(super) async fn refuses_what_exists<T: Serialize>(
        &self,
        name: &str,
        content: &T,
    ) -> Result<bool> {
        let path = self.path(name);
        let bytes = Bytes::from(encode(FORMAT, content)?);
        let put = || self.store.put_opts(&path, bytes.clone().into(), only_new());
        match self.change(put).await? {
            Ok(_) => Ok(false),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(true),
            Err(error) => Err(self.broken("write", &path, error)),
        }
    }

    /// Writes an object over an older one: only for one that says the same whoever writes it.
    pub(super) async fn put_constant<T: Serialize>(&self, name: &str, content: &T) -> Result<()> {
        let path = self.path(name);
        let bytes = Bytes::from(encode(FORMAT, content)?);
        let put = || self.store.put(&path, bytes.clone().into());
        let put = self.change(put).await?;
        put.map(drop)
            .map_err(|error| self.broken("write", &path, error))
    }

    /// Removes objects, many to a call where the store can; those that are gone already are no
    /// error.
    pub(super) async fn remove(&self, names: &[String]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let paths: Vec<Path> = names.iter().map(|name| self.path(name)).collect();
        let remove = || async {
            let paths: Vec<_> = paths.iter().cloned().map(Ok).collect();
            let paths = futures::stream::iter(paths).boxed();
            let removed: Vec<_> = self.store.delete_stream(paths).collect().await;
            let gone = |it: &object_store::Result<Path>| {
                matches!(it, Ok(_) | Err(object_store::Error::NotFound { .. }))
            };
            match removed.into_iter().find(|it| !gone(it)) {
                Some(failed) => failed.map(drop),
                None => Ok(()),
            }
        };
        let removed = self.change(remove).await?;
        removed.map_err(|error| self.broken("delete", &paths[0], error))
    }

    /// Tries once to remove an object, and asks nobody: for the lock.
    pub(super) async fn erase_object(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.broken("delete", &path, error)),
        }
    }

    /// The names of the objects in a folder, sorted.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<String>> {
        let found = self.list_objects(folder).await?;
        Ok(found.into_iter().map(|(name, _)| name).collect())
    }

    /// The environments of the app that the store has anything of, on whichever target, by name.
    ///
    /// Errors: ledger, when it cannot be listed.
    pub async fn environments(&self) -> Result<Vec<String>> {
        // `BASE/APP/ENVIRONMENT/TARGET`.
        let parts: Vec<_> = self.prefix.parts().collect();
        let app: Path = parts[..parts.len().saturating_sub(2)]
            .iter()
            .cloned()
            .collect();
        let list = || self.store.list_with_delimiter(Some(&app));
        let found = self.ask(list).await;
        let found = found.map_err(|error| self.broken("list", &app, error))?;
        let names = found.common_prefixes.iter();
        let names = names.filter_map(|path| path.filename().map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// The same with the time of the store at which each was written.
    pub(super) async fn list_objects(&self, folder: &str) -> Result<Vec<(String, Timestamp)>> {
        let path = self.path(folder);
        let list = || self.store.list_with_delimiter(Some(&path));
        let found = self.ask(list).await;
        let found = found.map_err(|error| self.broken("list", &path, error))?;
        let mut names: Vec<(String, Timestamp)> = found
            .objects
            .iter()
            .filter_map(|object| Some((object.location.filename()?.to_owned(), written(object))))
            .collect();
        names.sort();
        Ok(names)
    }

    /// The names of the folders in a folder.
    pub(super) async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.path(folder);
        let list = || self.store.list_with_delimiter(Some(&path));
        let found = self.ask(list).await;
        let found = found.map_err(|error| self.broken("list", &path, error))?;
        let folders = found.common_prefixes.iter();
        Ok(folders
            .filter_map(|it| it.filename().map(str::to_owned))
            .collect())
    }

    /// The names of all objects below a folder, with their folders.
    pub(super) async fn below(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.path(folder);
        let list = || self.store.list(Some(&path)).try_collect::<Vec<_>>();
        let found = self.ask(list).await;
        let found = found.map_err(|error| self.broken("list", &path, error))?;
        let own = |object: &ObjectMeta| {
            let parts = object.location.prefix_match(&self.prefix)?;
            let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
            Some(parts.join("/"))
        };
        Ok(found.iter().filter_map(own).collect())
    }

    /// Writes an object that says nothing, and returns the time that the store gave to it.
    pub(super) async fn touch(&self, name: &str) -> Result<Timestamp> {
        let path = self.path(name);
        let bytes = Bytes::from(encode(FORMAT, &serde_json::json!({}))?);
        let put = || self.store.put(&path, bytes.clone().into());
        let put = self.ask(put).await;
        put.map_err(|error| self.broken("write", &path, error))?;
        let head = self.ask(|| self.store.head(&path)).await;
        head.map(|object| written(&object))
            .map_err(|error| self.broken("read", &path, error))
    }

    fn broken(&self, verb: &str, path: &Path, error: object_store::Error) -> Error {
        let failed = Error::new(
            ErrorKind::Ledger,
            format!("cannot {verb} the ledger at {path}"),
        );
        // Both stores' own word; the client has no kind of its own for it.
        if let Some(command) = &self.how_to_make
            && error.to_string().contains("NoSuchBucket")
        {
            return Error::new(
                ErrorKind::Ledger,
                format!(
                    "the bucket for the ledger of {} does not exist",
                    self.target
                ),
            )
            .hint(format!("make it once: {command}"));
        }
        // S3 sends whoever asks in another region than the bucket's to that one, without an
        // address: 301 PermanentRedirect.
        let said = error.to_string();
        if said.contains("PermanentRedirect") || said.contains("incorrectly configured region") {
            let help = "the bucket is in another region than the target: name it, `[targets.aws] ledger_region`";
            return failed.because(error).hint(help);
        }
        failed.because(error).hint(format!(
            "check that the ledger of {} exists and can be written: `[targets.{}] ledger`",
            self.target, self.target.cloud
        ))
    }

    /// Reads what stands in an object.
    ///
    /// Errors: ledger, when it is damaged, or of a format that this version does not know.
    pub(super) fn decode<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
        }
        let damaged = |error: serde_json::Error| self.damaged(name).because(error);
        let header: Header = serde_json::from_slice(bytes).map_err(damaged)?;
        if !(OLDEST..=FORMAT).contains(&header.format) {
            let message = format!(
                "the ledger object {} has format {}, this version reads {OLDEST} to {FORMAT}",
                self.path(name),
                header.format
            );
            return Err(Error::new(ErrorKind::Ledger, message)
                .hint("use the deployer that wrote it, or a newer one"));
        }
        let object = match self.moved.is_empty() {
            true => serde_json::from_slice::<Versioned<T>>(bytes),
            false => serde_json::from_slice(bytes).and_then(|mut written| {
                self.moved.rewrite(&mut written);
                serde_json::from_value(written)
            }),
        };
        object.map(|object| object.content).map_err(damaged)
    }

    pub(super) fn damaged(&self, name: &str) -> Error {
        let message = format!("the ledger object {} is damaged", self.path(name));
        Error::new(ErrorKind::Ledger, message).hint(RESTORE)
    }
}

fn only_new() -> PutOptions {
    PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    }
}

/// Whether the same call may go well later. The rest is the store's own word.
fn may_pass(error: &object_store::Error) -> bool {
    !matches!(
        error,
        object_store::Error::NotFound { .. }
            | object_store::Error::AlreadyExists { .. }
            | object_store::Error::Precondition { .. }
            | object_store::Error::NotModified { .. }
            | object_store::Error::NotSupported { .. }
            | object_store::Error::NotImplemented { .. }
            | object_store::Error::InvalidPath { .. }
            | object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }
    )
}

/// When an object was written, by the store's clock.
fn written(object: &ObjectMeta) -> Timestamp {
    let at = &object.last_modified;
    let nanos = i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default();
    Timestamp::new(at.timestamp(), nanos).unwrap_or_default()
}

pub(super) fn encode<T: Serialize>(format: u32, content: &T) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(&Versioned { format, content })
        .map_err(|error| Error::internal("a ledger object has no JSON form").because(error))
}
