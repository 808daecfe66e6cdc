//! The durable record of one environment on one target: inventory, releases, runs, migrations, holds and the lock.
//!
//! Objects under one prefix of an object store, JSON each, with a format version. Never a secret value.

mod inventory;
mod left;
mod lock;
mod migration;
mod release;
mod run;

pub use inventory::{Inventory, Item};
pub use lock::{Holder, Keeper, Known, LEASE, Lease, Origin, Permit, Standing, Witness};
pub use migration::LedgerMigrations;
pub use release::{Hold, Release};
pub use run::{RunHeader, RunJournal, RunRecord};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::address::Target;
use crate::capability::MigrationRecord;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// The version of every format in the ledger but the journal's, which has its own.
pub const FORMAT: u32 = 1;

/// No object of a ledger is larger.
const LARGEST: u64 = 64 << 20;

/// How often what the store did not answer is tried, where the store's client does not try again itself.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// How many objects are read at the same time.
const AT_ONCE: usize = 16;

/// What to do about an object that cannot be read.
const RESTORE: &str =
    "restore it from the store's older versions; deployer never overwrites what it cannot read";

/// One environment's ledger on one target. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    target: Target,
    clock: Arc<dyn Clock>,
    permit: Permit,
    how_to_make: Option<String>,
}

/// What is written: the content with the format's version.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: u32,
    #[serde(flatten)]
    content: T,
}

impl Ledger {
    /// The ledger of `app`'s `environment` on `target`, below `base`.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        base: &Path,
        app: &str,
        environment: &str,
        target: Target,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let cloud = target.cloud.as_str();
        let prefix = base
            .clone()
            .join(app)
            .join(environment)
            .join(format!("{cloud}-{}-{}", target.account, target.region));
        Self {
            store,
            prefix,
            target,
            clock,
            permit: Permit::default(),
            how_to_make: None,
        }
    }

    /// The same with a command that makes the store, for who finds that there is none.
    #[must_use]
    pub fn made_by(self, command: impl Into<String>) -> Self {
        let how_to_make = Some(command.into());
        Self {
            how_to_make,
            ..self
        }
    }

    /// The target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Reads everything that a run goes by: inventory, migrations, what the last apply left, the last run, and the holds and the latest
    /// release of these services.
    ///
    /// Errors: ledger, naming what cannot be read.
    pub async fn check(&self, services: impl IntoIterator<Item = &String>) -> Result<()> {
        self.inventory().await?;
        self.left().await?;
        LedgerMigrations::new(self.clone()).standings().await?;
        self.last_run().await?;
        let reads = services.into_iter().map(|service| async move {
            tokio::try_join!(self.holds(service), self.latest_release(service)).map(drop)
        });
        futures::stream::iter(reads.map(Ok))
            .try_for_each_concurrent(AT_ONCE, |read| read)
            .await
    }

    /// Whether any run was ever begun.
    pub async fn is_new(&self) -> Result<bool> {
        Ok(self.list("run-headers").await?.is_empty())
    }

    fn path(&self, name: &str) -> Path {
        name.split('/')
            .fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Reads an object. `None` when absent.
    async fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let bytes = self.read_bytes(name).await?;
        bytes
            .map(|bytes| decode(&self.path(name), &bytes))
            .transpose()
    }

    async fn read_bytes(&self, name: &str) -> Result<Option<Bytes>> {
        let path = self.path(name);
        match self.store.get(&path).await {
            Ok(found) if found.meta.size > LARGEST => Err(Error::new(
                ErrorKind::Ledger,
                format!(
                    "the ledger object {path} is damaged: it has {} bytes",
                    found.meta.size
                ),
            )
            .hint(RESTORE)),
            Ok(found) => {
                let bytes = found.bytes().await;
                bytes
                    .map(Some)
                    .map_err(|error| self.broken("read", &path, error))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.broken("read", &path, error)),
        }
    }

    /// Writes an object, over an older one if there is one.
    async fn write<T: Serialize>(&self, name: &str, content: &T) -> Result<()> {
        self.permit.ask().await?;
        let path = self.path(name);
        let bytes = encode(content)?;
        self.store
            .put(&path, bytes.into())
            .await
            .map(drop)
            .map_err(|error| self.broken("write", &path, error))
    }

    /// Writes an object that must not exist and has words of its own. Returns whether it was ours to write; a write whose
    /// answer was lost is tried again and recognised.
    async fn create<T: Serialize>(&self, name: &str, content: &T) -> Result<bool> {
        let mut tries = 0;
        loop {
            tries += 1;
            // Anew each time: the lease may be lost meanwhile.
            self.permit.ask().await?;
            let failed = match self.put_new(name, content).await {
                Ok(true) => return Ok(true),
                Ok(false) => match self.read_bytes(name).await? {
                    Some(found) => return Ok(encode(content).is_ok_and(|ours| found == ours)),
                    // S3 says so too while a write whose answer was lost is still under way.
                    None => Error::new(
                        ErrorKind::Ledger,
                        format!("{} is there and cannot be read", self.path(name)),
                    ),
                },
                Err(error) => error,
            };
            if tries == TRIES {
                return Err(failed);
            }
            self.clock.pause(BETWEEN_TRIES).await;
        }
    }

    /// Writes an object that must not exist, once. The lock itself needs no permit.
    async fn put_new<T: Serialize>(&self, name: &str, content: &T) -> Result<bool> {
        let path = self.path(name);
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        match self
            .store
            .put_opts(&path, encode(content)?.into(), options)
            .await
        {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.broken("write", &path, error)),
        }
    }

    /// Removes an object; succeeds when it is gone already.
    async fn remove(&self, name: &str) -> Result<()> {
        self.permit.ask().await?;
        self.erase_object(name).await
    }

    /// The same without a permit: the lock itself needs none.
    async fn erase_object(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.broken("delete", &path, error)),
        }
    }

    /// The names of the objects in a folder, sorted.
    async fn list(&self, folder: &str) -> Result<Vec<String>> {
        let found = self.list_objects(folder).await?;
        Ok(found.into_iter().map(|(name, _)| name).collect())
    }

    /// The same with the time of the store at which each was written.
    async fn list_objects(&self, folder: &str) -> Result<Vec<(String, Timestamp)>> {
        let path = self.path(folder);
        let found = self.store.list_with_delimiter(Some(&path)).await;
        let found = found.map_err(|error| self.broken("list", &path, error))?;
        let mut names: Vec<(String, Timestamp)> = found
            .objects
            .iter()
            .filter_map(|object| Some((object.location.filename()?.to_owned(), written(object))))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Writes an object that says nothing, and returns the time that the store gave to it.
    async fn touch(&self, name: &str) -> Result<Timestamp> {
        let path = self.path(name);
        let bytes = encode(&serde_json::json!({}))?;
        let put = self.store.put(&path, bytes.into()).await;
        put.map_err(|error| self.broken("write", &path, error))?;
        let head = self.store.head(&path).await;
        head.map(|object| written(&object))
            .map_err(|error| self.broken("read", &path, error))
    }

    /// Removes everything below the prefix: after a destroy.
    pub async fn erase(&self) -> Result<()> {
        let found: Vec<_> = self
            .store
            .list(Some(&self.prefix))
            .try_collect()
            .await
            .map_err(|error| self.broken("list", &self.prefix, error))?;
        for object in found {
            self.store
                .delete(&object.location)
                .await
                .map_err(|error| self.broken("delete", &object.location, error))?;
        }
        Ok(())
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
        // S3 sends whoever asks in another region than the bucket's to that one, without an address: 301 PermanentRedirect.
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
}

/// When an object was written, by the store's clock.
fn written(object: &ObjectMeta) -> Timestamp {
    let at = &object.last_modified;
    let nanos = i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default();
    Timestamp::new(at.timestamp(), nanos).unwrap_or_default()
}

fn encode<T: Serialize>(content: &T) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(&Versioned {
        format: FORMAT,
        content,
    })
    .map_err(|error| Error::internal("a ledger object has no JSON form").because(error))
}

fn decode<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    #[derive(Deserialize)]
    struct Header {
        format: u32,
    }
    let damaged = |error: serde_json::Error| {
        Error::new(
            ErrorKind::Ledger,
            format!("the ledger object {path} is damaged"),
        )
        .because(error)
        .hint(RESTORE)
    };
    let header: Header = serde_json::from_slice(bytes).map_err(damaged)?;
    if header.format != FORMAT {
        return Err(Error::new(
            ErrorKind::Ledger,
            format!(
                "the ledger object {path} has format {}, this version reads {FORMAT}",
                header.format
            ),
        )
        .hint("use the deployer that wrote it, or a newer one"));
    }
    serde_json::from_slice::<Versioned<T>>(bytes)
        .map(|object| object.content)
        .map_err(damaged)
}

#[cfg(test)]
mod tests;
