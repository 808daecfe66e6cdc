//! A database with an owner and a password of its own, gone when dropped.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use url::Url;
use uuid::Uuid;

use crate::wait;

/// The advisory lock that every migration of the test service takes first.
const MIGRATION_LOCK: i64 = 0x6964_7000;

/// Nothing that a test waits for takes longer.
const SOON: Duration = Duration::from_secs(60);

/// The sessions that have it, or wait for it.
const WHO_HAS_IT: &str = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// One database on the prepared server.
pub struct Database {
    admin: Url,
    url: Url,
    name: String,
}

/// Keeps every migration of a database waiting until it is dropped.
pub struct HeldMigrations {
    session: Child,
}

impl Database {
    /// Makes an empty database on the server whose superuser's URL is `admin`.
    pub fn create(admin: &str) -> Self {
        let admin: Url = admin.parse().expect("the server's URL is one");
        let name = format!("idp_{}", Uuid::new_v4().simple());
        let password = Uuid::new_v4().simple().to_string();
        let mut url = admin.clone();
        url.set_username(&name)
            .expect("a PostgreSQL URL has a user");
        url.set_password(Some(&password))
            .expect("a PostgreSQL URL has a password");
        url.set_path(&name);
        let database = Self { admin, url, name };
        let name = &database.name;
        ask(
            &database.admin,
            &format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"),
        );
        ask(
            &database.admin,
            &format!("CREATE DATABASE {name} OWNER {name}"),
        );
        database
    }

    /// The owner's URL: what the service gets as a secret.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The owner's password.
    pub fn password(&self) -> &str {
        self.url.password().expect("it was set")
    }

    /// The answer to a query, a line per row.
    #[track_caller]
    pub fn query(&self, statement: &str) -> Vec<String> {
        ask(&self.url, statement)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The releases whose migration ran here, in order; one entry per run.
    #[track_caller]
    pub fn migrations_run(&self) -> Vec<String> {
        self.query("SELECT version FROM migration_runs ORDER BY id")
    }

    /// From now on migrations start and do nothing, until what is returned is dropped.
    #[track_caller]
    pub fn hold_migrations(&self) -> HeldMigrations {
        let session = client(&self.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("`psql` can be started");
        let mut input = session.stdin.as_ref().expect("it is piped");
        writeln!(input, "SELECT pg_advisory_lock({MIGRATION_LOCK});").expect("`psql` reads");
        let held = HeldMigrations { session };
        wait::until("the migration lock", SOON, || {
            let holders = self.query(&format!("{WHO_HAS_IT} AND granted"));
            (holders.len() == 1).then_some(())
        });
        held
    }

    /// Returns once a migration has started and waits for [`HeldMigrations`] to go.
    #[track_caller]
    pub fn until_a_migration_waits(&self) {
        wait::until("a migration", SOON, || {
            let waiting = self.query(&format!("{WHO_HAS_IT} AND NOT granted"));
            (waiting.len() == 1).then_some(())
        });
    }
}

impl Drop for HeldMigrations {
    fn drop(&mut self) {
        // The server gives a lost session's locks back.
        let _ = self.session.kill();
        let _ = self.session.wait();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let name = &self.name;
        for statement in [
            format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            format!("DROP ROLE IF EXISTS {name}"),
        ] {
            // The server goes with the tests anyway.
            let _ = psql(&self.admin, &statement).output();
        }
    }
}

#[track_caller]
fn ask(url: &Url, statement: &str) -> String {
    let output = psql(url, statement)
        .output()
        .expect("`psql` can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{statement}`: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn psql(url: &Url, statement: &str) -> Command {
    let mut command = client(url);
    command.args(["--command", statement]);
    command
}

/// `psql` as it is without a statement: it reads some from its standard input.
fn client(url: &Url) -> Command {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet"]);
    command.args(["--set", "ON_ERROR_STOP=1"]);
    command.env("PGHOST", url.host_str().unwrap_or_default());
    command.env("PGPORT", url.port().unwrap_or(5432).to_string());
    command.env("PGUSER", url.username());
    command.env("PGPASSWORD", url.password().unwrap_or_default());
    command.env("PGDATABASE", url.path().trim_start_matches('/'));
    command
}
