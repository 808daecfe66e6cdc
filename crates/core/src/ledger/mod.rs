//! The durable record of one environment on one target: inventory, releases, runs, migrations,
//! holds and the lock.
//!
//! Objects under one prefix of an object store, JSON each, with a format version. Never a secret
//! value. They are made and removed and not replaced (`version.rs`): what a process that lost its
//! lease still has on its way changes nothing of its successor's. Two are put over older ones:
//! `clock.json`, which says nothing, and `inventory.json`, which from format 2 on says the format
//! alone.

mod carried;
mod inventory;
mod keyed;
mod left;
mod lock;
mod migration;
mod objects;
mod release;
mod report;
mod run;
mod version;

pub use inventory::{Inventory, Item, Stays, staying};
pub use lock::{Holder, Keeper, Known, LEASE, Lease, Origin, Permit, Standing, Witness};
pub use migration::{LedgerMigrations, Ran};
pub use release::{Hold, NOTHING_OWN, Release, content};
pub use run::{Content, RunHeader, RunJournal, RunRecord};

use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use sha2::Digest;

use crate::address::Target;
use crate::clock::Clock;
use crate::error::Result;
use crate::moved::Moved;
use crate::renames::Renames;
use crate::spec::LedgerNote;
use version::Versions;

/// The version of every format in the ledger but the journal's and the lock's, which have their
/// own. 2: what changes is an object for each subject and run; before, there was one for all.
pub const FORMAT: u32 = 2;

/// The oldest that is still read. What it kept in one object is carried over when the next run
/// begins.
pub const OLDEST: u32 = 1;

/// How many objects are read or written at the same time.
const AT_ONCE: usize = 64;

/// One environment's ledger on one target. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    target: Target,
    clock: Arc<dyn Clock>,
    permit: Permit,
    versions: Versions,
    moved: Moved,
    renames: Renames,
    at: Option<String>,
    how_to_make: Option<String>,
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
            versions: Versions::default(),
            moved: Moved::default(),
            renames: Renames::default(),
            at: None,
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

    /// The same for a cloud of which these kinds had other names: what was written of them is read
    /// as of today's.
    #[must_use]
    pub fn moved(self, moved: Moved) -> Self {
        Self { moved, ..self }
    }

    /// The same for a manifest that calls things otherwise than by their origins. It is asked, and
    /// answers, by the manifest's keys of today; what it writes says origins.
    #[must_use]
    pub fn renamed(self, renames: Renames) -> Self {
        Self { renames, ..self }
    }

    /// What the manifest calls otherwise.
    pub fn renames(&self) -> &Renames {
        &self.renames
    }

    /// The same with the address that people know the store by.
    #[must_use]
    pub fn at(self, address: impl Into<String>) -> Self {
        let at = Some(address.into());
        Self { at, ..self }
    }

    /// What its environment's services note of it, by the address that is the same from wherever it
    /// is used.
    pub fn note(&self, address: &str, moved: bool) -> LedgerNote {
        LedgerNote {
            mark: hex::encode(&sha2::Sha256::digest(address.as_bytes())[..8]),
            address: address.to_owned(),
            moved,
        }
    }

    /// The address that people know it by.
    pub fn address(&self) -> String {
        match &self.at {
            Some(address) => address.clone(),
            None => format!("{}: {}", self.store, self.prefix),
        }
    }

    /// The target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Reads everything that a run goes by: inventory, migrations, what the last apply left, the
    /// last run, and the holds and the latest release of these services.
    ///
    /// Errors: ledger, naming what cannot be read.
    pub async fn check(&self, services: impl IntoIterator<Item = &String>) -> Result<()> {
        let migrations = LedgerMigrations::new(self.clone());
        tokio::try_join!(
            self.inventory(),
            self.left(),
            migrations.check(),
            self.last_run(),
        )?;
        let reads = services.into_iter().map(|service| async move {
            tokio::try_join!(self.holds(service), self.latest_release(service)).map(drop)
        });
        futures::stream::iter(reads.map(Ok))
            .try_for_each_concurrent(AT_ONCE, |read| read)
            .await
    }
}

#[cfg(test)]
mod tests;
