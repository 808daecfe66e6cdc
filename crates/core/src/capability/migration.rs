//! What names a migration: the image, the command, and the database by its birth.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, Result};
use crate::migration_record::{MigrationRecord, MigrationStanding};
use crate::node::Undone;
use crate::pins::{ImageRef, SecretVersion};
use crate::spec::MigrateSpec;

/// Which database a name means: two that had the same name one after the other differ in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// What no other database of this name ever has: an instance's id, a time of creation. Of a
    /// database that a person named with a URL nothing is known but the secret that holds it: then
    /// that secret's identity and version.
    pub id: String,
    /// When it was made, where that is known.
    pub at: Option<Timestamp>,
}

/// Which migrations that ended are run again: a person's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rerun {
    /// None.
    #[default]
    No,
    /// One that failed.
    Failed,
    /// Any: its database was put back to what it was before, under its own name.
    Any,
}

impl Rerun {
    /// Whether one that failed is run again.
    pub fn failed(self) -> bool {
        self != Self::No
    }

    /// Whether one that succeeded is run again.
    pub fn succeeded(self) -> bool {
        self == Self::Any
    }
}

/// Names one migration: the same image, command and database give the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationKey {
    /// 32 hexadecimal digits.
    pub key: String,
    /// The key as ledgers of earlier versions have it: made of the secret's name and version,
    /// whichever database that named.
    older: Option<String>,
    born: Option<Timestamp>,
}

impl MigrationKey {
    /// `database` is the secret's version that names the database, `birth` which database that is.
    /// Without a birth the secret's version stands for it: where its own name is never given again.
    pub fn new(
        migrate: &MigrateSpec,
        image: &ImageRef,
        database: Option<&SecretVersion>,
        birth: Option<&Birth>,
    ) -> Self {
        let digest = image.0.rsplit('@').next().unwrap_or(&image.0);
        let secret = database.map(|version| format!("{}#{}", version.secret, version.version));
        let key = |database: &Option<String>| {
            let text = serde_json::json!([digest, migrate.entrypoint, migrate.command, database]);
            hashed(&text.to_string())
        };
        let older = key(&secret);
        match birth {
            None => Self {
                key: older,
                older: None,
                born: None,
            },
            Some(birth) => Self {
                key: key(&Some(format!("born {}", birth.id))),
                older: Some(older),
                born: birth.at,
            },
        }
    }

    /// How it stands among these records.
    pub fn among(&self, standings: &BTreeMap<String, MigrationStanding>) -> MigrationStanding {
        let of = |key: &String| standings.get(key).cloned();
        let known = of(&self.key).filter(|it| *it != MigrationStanding::Never);
        known
            .or_else(|| {
                self.older
                    .as_ref()
                    .and_then(of)
                    .filter(|it| self.is_ours(it))
            })
            .unwrap_or(MigrationStanding::Never)
    }

    /// How it stands in a ledger.
    pub async fn standing(&self, record: &dyn MigrationRecord) -> Result<MigrationStanding> {
        Ok(self.among(&record.standings().await?))
    }

    /// What is left of a migration of which `before` was known when the run began, and that failed
    /// like this in it; see [`Step::left`](crate::node::Step::left).
    pub async fn left(
        &self,
        before: &BTreeMap<String, MigrationStanding>,
        failed: Option<ErrorKind>,
        record: &dyn MigrationRecord,
    ) -> Result<Undone> {
        let not_run = || Undone::Stays("it did not run".into());
        let now = self.standing(record).await?;
        if now == self.among(before) {
            return Ok(not_run());
        }
        Ok(match now {
            MigrationStanding::Succeeded { .. } => {
                Undone::Stays("the database stays migrated".into())
            }
            MigrationStanding::Never | MigrationStanding::NotStarted { .. } => not_run(),
            MigrationStanding::Failed { .. } => Undone::Spoilt(
                "the migration failed on its way, and may have changed the database in part".into(),
            ),
            // Its start was refused.
            MigrationStanding::Started {
                execution: None, ..
            } if matches!(failed, Some(ErrorKind::Denied | ErrorKind::Rejected)) => not_run(),
            MigrationStanding::Started { .. } => {
                Undone::Lost("the migration was started, and may still change the database".into())
            }
        })
    }

    /// Whether what a ledger of an earlier version says of this key is about this database: then
    /// the database was there already.
    fn is_ours(&self, standing: &MigrationStanding) -> bool {
        let ended = match standing {
            MigrationStanding::Succeeded { at }
            | MigrationStanding::Failed { at, .. }
            | MigrationStanding::NotStarted { at, .. } => at,
            // In doubt whatever it ran on.
            MigrationStanding::Started { .. } => return true,
            MigrationStanding::Never => return false,
        };
        self.born.is_some_and(|born| born <= *ended)
    }
}

fn hashed(text: &str) -> String {
    use sha2::Digest;
    hex::encode(&sha2::Sha256::digest(text.as_bytes())[..16])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(birth: Option<&str>, at: i64, version: &str) -> MigrationKey {
        let migrate = MigrateSpec {
            job: "idp-migrate".into(),
            entrypoint: Vec::new(),
            command: vec!["migrate".into()],
            timeout: Duration::from_secs(300),
            database: Some("main-url".into()),
            by: crate::spec::MigrateBy::Job,
        };
        let secret = SecretVersion {
            secret: "main-url".into(),
            version: version.into(),
        };
        let birth = birth.map(|id| Birth {
            id: id.into(),
            at: Timestamp::from_second(at).ok(),
        });
        let image = ImageRef("registry/idp@sha256:one".into());
        MigrationKey::new(&migrate, &image, Some(&secret), birth.as_ref())
    }

    #[test]
    fn another_database_of_the_same_name_has_another_key_and_another_password_has_not() {
        let first = key(Some("db-ONE"), 100, "1");
        assert_ne!(first.key, key(Some("db-TWO"), 200, "1").key);
        assert_eq!(first.key, key(Some("db-ONE"), 100, "2").key);
        assert_ne!(key(None, 0, "1").key, key(None, 0, "2").key);
        assert_eq!(first.key.len(), 32);
    }

    #[test]
    fn a_record_of_before_counts_for_the_database_that_was_there_then() {
        let older = key(None, 0, "1").key;
        let at = Timestamp::from_second(150).unwrap();
        let succeeded = MigrationStanding::Succeeded { at };
        let standings = BTreeMap::from([(older, succeeded.clone())]);
        assert_eq!(key(Some("db-ONE"), 100, "1").among(&standings), succeeded);
        let second = key(Some("db-TWO"), 200, "1");
        assert_eq!(second.among(&standings), MigrationStanding::Never);
    }
}
