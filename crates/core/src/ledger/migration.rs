//! What the ledger knows of migrations: at most one execution per release and database.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::capability::{MigrationRecord, MigrationStanding, Turn};
use crate::error::Result;
use crate::ledger::version::segment;
use crate::ledger::{AT_ONCE, Ledger};

const FOLDER: &str = "migrations";

/// What format 1 kept in one object.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Records {
    /// By key.
    migrations: BTreeMap<String, Record>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Record {
    what: String,
    #[serde(flatten)]
    standing: MigrationStanding,
}

/// What an object says: of which migration, and what.
#[derive(Serialize, Deserialize)]
struct Recording {
    key: String,
    record: Record,
}

fn subject(key: &str) -> String {
    format!("{FOLDER}/{}", segment(key))
}

/// Migrations as the ledger records them. Only the holder of the lock may write; clones may do so
/// at once.
#[derive(Clone)]
pub struct LedgerMigrations {
    ledger: Ledger,
    /// Whose turn it is, by key.
    turns: Arc<Mutex<BTreeMap<String, Arc<futures::lock::Mutex<()>>>>>,
}

impl std::fmt::Debug for LedgerMigrations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LedgerMigrations({})", self.ledger.prefix)
    }
}

impl Ledger {
    async fn migration(&self, key: &str) -> Result<Option<Record>> {
        let older = self.older_migrations().await?.migrations.remove(key);
        let said = self.said::<Recording>(&subject(key)).await?;
        Ok(said.map(|it| it.record).or(older))
    }

    async fn migrations(&self) -> Result<BTreeMap<String, Record>> {
        let mut records = self.older_migrations().await?.migrations;
        for (subject, recording) in self.said_below::<Recording>(FOLDER).await? {
            // Nothing is ever said of one that there is none: what ran stays on record.
            let Some(Recording { key, record }) = recording else {
                continue;
            };
            if self::subject(&key) != subject {
                return Err(self.damaged(&subject));
            }
            records.insert(key, record);
        }
        Ok(records)
    }

    async fn write_migration(&self, key: &str, record: Record) -> Result<()> {
        let key = key.to_owned();
        let subject = subject(&key);
        self.say(&subject, Some(&Recording { key, record })).await
    }

    /// Says of every migration of an older format what it says, where nothing is said of it yet.
    pub(super) async fn carry_migrations(&self) -> Result<()> {
        let older = self.older_migrations().await?.migrations;
        if older.is_empty() {
            return Ok(());
        }
        let said = self.subjects(FOLDER).await?;
        let unsaid = older
            .iter()
            .filter(|(key, _)| !said.contains(&subject(key)));
        futures::stream::iter(unsaid)
            .map(|(key, record)| self.write_migration(key, record.clone()))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }
}

impl LedgerMigrations {
    /// Reads everything.
    ///
    /// Errors: ledger, naming what cannot be read.
    pub(super) async fn check(&self) -> Result<()> {
        self.standings().await.map(drop)
    }

    /// The migrations of one ledger.
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            turns: Arc::default(),
        }
    }

    /// Says how one stands; `what` stays as it was when it is not given.
    async fn put(&self, key: &str, what: Option<&str>, standing: MigrationStanding) -> Result<()> {
        let what = match what {
            Some(what) => what.to_owned(),
            None => {
                let was = self.ledger.migration(key).await?;
                was.map(|was| was.what).unwrap_or_default()
            }
        };
        let record = Record { what, standing };
        self.ledger.write_migration(key, record).await
    }
}

#[async_trait]
impl MigrationRecord for LedgerMigrations {
    async fn turn(&self, key: &str) -> Turn {
        let of_key = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(key.to_owned()).or_default())
        };
        of_key.lock_owned().await
    }

    async fn standing(&self, key: &str) -> Result<MigrationStanding> {
        let record = self.ledger.migration(key).await?;
        Ok(record.map_or(MigrationStanding::Never, |record| record.standing))
    }

    async fn standings(&self) -> Result<BTreeMap<String, MigrationStanding>> {
        let records = self.ledger.migrations().await?;
        Ok(records
            .into_iter()
            .map(|(key, record)| (key, record.standing))
            .collect())
    }

    async fn started(&self, key: &str, what: &str, before: Option<String>) -> Result<()> {
        let standing = MigrationStanding::Started {
            execution: None,
            at: Some(self.ledger.clock.now()),
            before,
        };
        self.put(key, Some(what), standing).await
    }

    async fn running(&self, key: &str, execution: &str) -> Result<()> {
        let standing = MigrationStanding::Started {
            execution: Some(execution.to_owned()),
            at: Some(self.ledger.clock.now()),
            before: None,
        };
        self.put(key, None, standing).await
    }

    async fn ended(&self, key: &str, outcome: Result<(), String>) -> Result<()> {
        let at = self.ledger.clock.now();
        let standing = match outcome {
            Ok(()) => MigrationStanding::Succeeded { at },
            Err(why) => MigrationStanding::Failed { at, why },
        };
        self.put(key, None, standing).await
    }

    async fn not_started(&self, key: &str, execution: &str, why: String) -> Result<()> {
        let standing = MigrationStanding::NotStarted {
            at: self.ledger.clock.now(),
            execution: execution.to_owned(),
            why,
        };
        self.put(key, None, standing).await
    }
}
