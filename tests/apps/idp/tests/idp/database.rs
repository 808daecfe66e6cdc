//! A database of one test's own.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::{Client, NoTls};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// An empty database; dropped with the server that holds it.
pub struct Database {
    /// What goes into `DATABASE_URL`.
    pub url: String,
}

impl Database {
    /// Makes a database, or reports `test` as skipped and returns `None`.
    pub async fn create(test: &str) -> Option<Self> {
        let Ok(admin) = std::env::var("DEPLOYER_TEST_POSTGRES_URL") else {
            skipped(test, "DEPLOYER_TEST_POSTGRES_URL is not set");
            return None;
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("idp_test_{}_{number}", std::process::id());
        let client = connect(&admin).await;
        client
            .batch_execute(&format!("DROP DATABASE IF EXISTS {name}"))
            .await
            .unwrap();
        client
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        let (server, _) = admin.rsplit_once('/').expect("the URL names a database");
        Some(Self {
            url: format!("{server}/{name}"),
        })
    }

    /// The first column of the first row of `statement`.
    pub async fn number(&self, statement: &str) -> i64 {
        connect(&self.url)
            .await
            .query_one(statement, &[])
            .await
            .unwrap()
            .get(0)
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Tells a person and, through the file that the test command reads, its summary.
pub fn skipped(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
    if let Ok(path) = std::env::var("DEPLOYER_TEST_SKIPPED") {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        writeln!(file, "idp {test}: {why}").unwrap();
    }
}
