//! A database with an owner and a password of its own, gone when dropped.

use std::process::Command;

use url::Url;
use uuid::Uuid;

/// One database on the prepared server.
pub struct Database {
    admin: Url,
    url: Url,
    name: String,
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
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet"]);
    command.args(["--set", "ON_ERROR_STOP=1", "--command", statement]);
    command.env("PGHOST", url.host_str().unwrap_or_default());
    command.env("PGPORT", url.port().unwrap_or(5432).to_string());
    command.env("PGUSER", url.username());
    command.env("PGPASSWORD", url.password().unwrap_or_default());
    command.env("PGDATABASE", url.path().trim_start_matches('/'));
    command
}
