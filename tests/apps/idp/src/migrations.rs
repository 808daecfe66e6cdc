//! Brings the database to this release's schema: in order, once, however many try at a time.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use thiserror::Error;
use tokio_postgres::Client as Connection;

use crate::clients::Client;
use crate::database::reason;
use crate::release::Release;
use crate::settings::MigrateSettings;

/// Any number, as long as every release and every cloud takes the same one.
const LOCK: i64 = 0x6964_7000;

const BOOKKEEPING: &str = "
    CREATE TABLE IF NOT EXISTS schema_migrations (
        name       text PRIMARY KEY,
        checksum   text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE IF NOT EXISTS migration_runs (
        id         bigserial PRIMARY KEY,
        started_at timestamptz NOT NULL DEFAULT now(),
        version    text NOT NULL,
        applied    int NOT NULL
    )";

/// One SQL file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The file's name without `.sql`; names sort in the order of application.
    pub name: String,
    /// The statements.
    pub sql: String,
    /// The SHA-256 of the file, in hex.
    pub checksum: String,
}

/// Why nothing more was applied.
#[derive(Debug, Error)]
pub enum MigrationError {
    /// The files cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A migration that was applied has another text now.
    #[error("migration `{0}` was changed after it was applied: history is refused")]
    Changed(String),
    /// A new migration sorts before one that was applied.
    #[error("migration `{late}` comes before `{applied}`, which is already applied")]
    OutOfOrder {
        /// The new one.
        late: String,
        /// The last one applied.
        applied: String,
    },
    /// A migration's own statements failed; its transaction was undone.
    #[error("migration `{name}` failed: {reason}")]
    Failed {
        /// The migration.
        name: String,
        /// What the database said.
        reason: String,
    },
    /// The database did not do what every migration needs.
    #[error("cannot {action}: {reason}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// What the database or the network said.
        reason: String,
    },
}

/// Applies what is pending, seeds the test client and records the run in `migration_runs`.
pub async fn migrate(settings: &MigrateSettings, release: &Release) -> Result<(), MigrationError> {
    let available = read(&settings.root.join("migrations"))?;
    let connected = settings.database.connect().await;
    let mut database = connected.map_err(failed_to("connect to the database"))?;
    // Held by the session, so released whatever ends this process.
    tracing::info!(version = release.version, "waiting for the migration lock");
    let taken = database
        .execute("SELECT pg_advisory_lock($1)", &[&LOCK])
        .await;
    taken.map_err(failed_to("take the migration lock"))?;

    let prepared = database.batch_execute(BOOKKEEPING).await;
    prepared.map_err(failed_to("prepare the record of migrations"))?;
    let run = start_run(&database, release).await?;
    let applied = recorded(&database).await?;
    let pending = pending(&applied, &available)?;
    for migration in &pending {
        apply(&mut database, migration, run).await?;
        tracing::info!(migration = migration.name, "applied");
    }
    let seeded = Client::seed(
        &database,
        "test-client",
        &settings.seed_secret,
        &["read", "write"],
    )
    .await;
    seeded.map_err(failed_to("seed the test client"))?;
    tracing::info!(
        version = release.version,
        applied = pending.len(),
        "migrated"
    );
    Ok(())
}

/// Reads every `*.sql` of `directory`, sorted by name.
pub fn read(directory: &Path) -> Result<Vec<Migration>, MigrationError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| MigrationError::Unreadable { path, source }
    };
    let mut migrations = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable(directory))? {
        let path = entry.map_err(unreadable(directory))?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let sql = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            let checksum = hex::encode(digest::digest(&digest::SHA256, sql.as_bytes()));
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            migrations.push(Migration {
                name,
                sql,
                checksum,
            });
        }
    }
    migrations.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(migrations)
}

/// What of `available` is not in `applied` (name and checksum, sorted by name).
///
/// A migration that only the database knows is left alone: an older release may run again after a
/// rollback.
pub fn pending<'a>(
    applied: &[(String, String)],
    available: &'a [Migration],
) -> Result<Vec<&'a Migration>, MigrationError> {
    let mut pending = Vec::new();
    for migration in available {
        match applied.iter().find(|(name, _)| *name == migration.name) {
            Some((_, checksum)) if *checksum == migration.checksum => {}
            Some(_) => return Err(MigrationError::Changed(migration.name.clone())),
            None => pending.push(migration),
        }
    }
    if let (Some(first), Some((last, _))) = (pending.first(), applied.last())
        && first.name < *last
    {
        let (late, applied) = (first.name.clone(), last.clone());
        return Err(MigrationError::OutOfOrder { late, applied });
    }
    Ok(pending)
}

/// Recorded before anything is applied, so that a run that fails is counted too.
async fn start_run(database: &Connection, release: &Release) -> Result<i64, MigrationError> {
    let statement = "INSERT INTO migration_runs (version, applied) VALUES ($1, 0) RETURNING id";
    let row = database.query_one(statement, &[&release.version]).await;
    Ok(row.map_err(failed_to("record this run"))?.get(0))
}

async fn recorded(database: &Connection) -> Result<Vec<(String, String)>, MigrationError> {
    let statement = "SELECT name, checksum FROM schema_migrations ORDER BY name COLLATE \"C\"";
    let rows = database.query(statement, &[]).await;
    let rows = rows.map_err(failed_to("read the applied migrations"))?;
    Ok(rows
        .into_iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect())
}

async fn apply(
    database: &mut Connection,
    migration: &Migration,
    run: i64,
) -> Result<(), MigrationError> {
    let attempt = async {
        let transaction = database.transaction().await?;
        transaction.batch_execute(&migration.sql).await?;
        let record = "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)";
        transaction
            .execute(record, &[&migration.name, &migration.checksum])
            .await?;
        let count = "UPDATE migration_runs SET applied = applied + 1 WHERE id = $1";
        transaction.execute(count, &[&run]).await?;
        transaction.commit().await
    };
    attempt.await.map_err(|error| MigrationError::Failed {
        name: migration.name.clone(),
        reason: reason(&error),
    })
}

fn failed_to(action: &'static str) -> impl FnOnce(tokio_postgres::Error) -> MigrationError {
    move |error| MigrationError::Database {
        action,
        reason: reason(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migrations(names: &[&str]) -> Vec<Migration> {
        let migration = |name: &&str| Migration {
            name: (*name).to_owned(),
            sql: String::new(),
            checksum: format!("sum of {name}"),
        };
        names.iter().map(migration).collect()
    }

    fn applied(names: &[&str]) -> Vec<(String, String)> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), format!("sum of {name}")))
            .collect()
    }

    #[track_caller]
    fn check(applied_names: &[&str], available: &[&str], expected: &[&str]) {
        let available = migrations(available);
        let pending = pending(&applied(applied_names), &available).unwrap();
        let names: Vec<&str> = pending
            .iter()
            .map(|migration| migration.name.as_str())
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn only_what_was_not_applied_is_pending() {
        check(&[], &["0001", "0002"], &["0001", "0002"]);
        check(&["0001"], &["0001", "0002"], &["0002"]);
        check(&["0001", "0002"], &["0001", "0002"], &[]);
    }

    #[test]
    fn an_older_release_leaves_newer_migrations_alone() {
        check(&["0001", "0002", "0003"], &["0001", "0002"], &[]);
    }

    #[test]
    fn a_changed_migration_is_refused() {
        let mut available = migrations(&["0001", "0002"]);
        available[0].checksum = "another".to_owned();
        let refused = pending(&applied(&["0001"]), &available).unwrap_err();
        assert!(matches!(refused, MigrationError::Changed(name) if name == "0001"));
    }

    #[test]
    fn a_migration_that_comes_too_late_is_refused() {
        let available = migrations(&["0001", "0002", "0003"]);
        let refused = pending(&applied(&["0001", "0003"]), &available).unwrap_err();
        assert!(matches!(refused, MigrationError::OutOfOrder { late, .. } if late == "0002"));
    }
}
