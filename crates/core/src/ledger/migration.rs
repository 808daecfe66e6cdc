//! What the ledger knows of migrations: at most one execution per release and database.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::capability::{MigrationRecord, MigrationStanding};
use crate::error::Result;
use crate::ledger::Ledger;

#[derive(Serialize, Deserialize)]
struct Record {
    what: String,
    #[serde(flatten)]
    standing: MigrationStanding,
}

/// Migrations as the ledger records them.
#[derive(Clone)]
pub struct LedgerMigrations(pub Ledger);

impl std::fmt::Debug for LedgerMigrations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LedgerMigrations({})", self.0.prefix)
    }
}

fn name(key: &str) -> String {
    format!("migrations/{key}.json")
}

impl LedgerMigrations {
    async fn replace(&self, key: &str, standing: MigrationStanding) -> Result<()> {
        let what = self
            .0
            .read::<Record>(&name(key))
            .await?
            .map(|record| record.what);
        let record = Record {
            what: what.unwrap_or_default(),
            standing,
        };
        self.0.write(&name(key), &record).await
    }
}

#[async_trait]
impl MigrationRecord for LedgerMigrations {
    async fn standing(&self, key: &str) -> Result<MigrationStanding> {
        let record: Option<Record> = self.0.read(&name(key)).await?;
        Ok(record.map_or(MigrationStanding::Never, |record| record.standing))
    }

    async fn started(&self, key: &str, what: &str) -> Result<()> {
        let standing = MigrationStanding::Started { execution: None };
        self.0
            .write(
                &name(key),
                &Record {
                    what: what.to_owned(),
                    standing,
                },
            )
            .await
    }

    async fn running(&self, key: &str, execution: &str) -> Result<()> {
        self.replace(
            key,
            MigrationStanding::Started {
                execution: Some(execution.to_owned()),
            },
        )
        .await
    }

    async fn ended(&self, key: &str, outcome: Result<(), String>) -> Result<()> {
        let at = self.0.clock.now();
        let standing = match outcome {
            Ok(()) => MigrationStanding::Succeeded { at },
            Err(why) => MigrationStanding::Failed { at, why },
        };
        self.replace(key, standing).await
    }
}
