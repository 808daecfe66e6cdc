//! What the ledger knows of migrations: at most one execution per release and database.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use futures::lock::Mutex;
use serde::{Deserialize, Serialize};

use crate::capability::{MigrationRecord, MigrationStanding, Turn};
use crate::error::Result;
use crate::ledger::Ledger;

const NAME: &str = "migrations.json";

#[derive(Default, Serialize, Deserialize)]
struct Records {
    /// By key.
    migrations: BTreeMap<String, Record>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    what: String,
    #[serde(flatten)]
    standing: MigrationStanding,
}

/// Migrations as the ledger records them. Only the holder of the lock may write; clones may do so at once.
#[derive(Clone)]
pub struct LedgerMigrations {
    ledger: Ledger,
    /// Held from reading the records to writing them back.
    writing: Arc<Mutex<()>>,
    /// Whose turn it is, by key.
    turns: Arc<std::sync::Mutex<BTreeMap<String, Arc<Mutex<()>>>>>,
}

impl std::fmt::Debug for LedgerMigrations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LedgerMigrations({})", self.ledger.prefix)
    }
}

impl LedgerMigrations {
    /// The migrations of one ledger.
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            writing: Arc::default(),
            turns: Arc::default(),
        }
    }

    async fn records(&self) -> Result<Records> {
        Ok(self.ledger.read(NAME).await?.unwrap_or_default())
    }

    /// Replaces one record; `what` stays as it was when it is not given.
    async fn put(&self, key: &str, what: Option<&str>, standing: MigrationStanding) -> Result<()> {
        let _writing = self.writing.lock().await;
        let mut records = self.records().await?;
        let was = records.migrations.remove(key).map(|record| record.what);
        let record = Record {
            what: what.map(str::to_owned).or(was).unwrap_or_default(),
            standing,
        };
        records.migrations.insert(key.to_owned(), record);
        self.ledger.write(NAME, &records).await
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
        let standing = self.standings().await?.remove(key);
        Ok(standing.unwrap_or(MigrationStanding::Never))
    }

    async fn standings(&self) -> Result<BTreeMap<String, MigrationStanding>> {
        let records = self.records().await?.migrations.into_iter();
        Ok(records
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
