//! What the ledger knows of migrations: at most one execution per release and database.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ledger::version::segment;
use crate::ledger::{AT_ONCE, Ledger};
use crate::migration_record::{MigrationRecord, MigrationStanding, Turn};

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
    /// Where it ran last, also once it has ended. Records of earlier versions do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ran: Option<RanAs>,
    #[serde(flatten)]
    standing: MigrationStanding,
}

/// Where and since when.
#[derive(Clone, Serialize, Deserialize)]
struct RanAs {
    execution: String,
    at: Timestamp,
}

/// The execution of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The migration's key.
    pub key: String,
    /// The address of its node.
    pub what: String,
    /// The cloud's id of the execution: a task's ARN, an execution's name.
    pub execution: String,
    /// When it was known to run: a moment after it was started.
    pub at: Timestamp,
}

impl MigrationStanding {
    /// Where it runs, as records of earlier versions say it.
    fn runs_as(self) -> Option<RanAs> {
        let Self::Started { execution, at, .. } = self else {
            return None;
        };
        let (execution, at) = (execution?, at?);
        Some(RanAs { execution, at })
    }
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

    /// The executions of migrations of which it is known where they run, or ran, oldest first: of
    /// each migration the last one.
    ///
    /// Errors: ledger.
    pub async fn migrations_that_ran(&self) -> Result<Vec<Ran>> {
        let records = self.migrations().await?;
        let ran = records.into_iter().filter_map(|(key, record)| {
            let RanAs { execution, at } = match record.ran {
                Some(ran) => ran,
                None => record.standing.runs_as()?,
            };
            Some(Ran {
                key,
                what: record.what,
                execution,
                at,
            })
        });
        let mut ran: Vec<Ran> = ran.collect();
        ran.sort_by_key(|it| it.at);
        Ok(ran)
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

    /// Says how one stands; what it is, and where it ran, stays as it was where that is not given.
    async fn put(&self, key: &str, ran: Option<RanAs>, standing: MigrationStanding) -> Result<()> {
        let was = self.ledger.migration(key).await?;
        let (what, before) = was.map(|was| (was.what, was.ran)).unwrap_or_default();
        let record = Record {
            what,
            ran: ran.or(before),
            standing,
        };
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
        let record = Record {
            what: what.to_owned(),
            ran: None,
            standing,
        };
        self.ledger.write_migration(key, record).await
    }

    async fn running(&self, key: &str, execution: &str) -> Result<()> {
        let at = self.ledger.clock.now();
        let execution = execution.to_owned();
        let standing = MigrationStanding::Started {
            execution: Some(execution.clone()),
            at: Some(at),
            before: None,
        };
        self.put(key, Some(RanAs { execution, at }), standing).await
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
