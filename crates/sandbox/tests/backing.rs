//! Managed databases and caches are real servers: their vendors' own clients reach them as
//! promised.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use deployer_sandbox::backing::{
    Backing, BackingError, Postgres, PostgresSpec, Redis, RedisSpec, SignedBy,
};
use support::Machine;

struct Data {
    machine: Machine,
    backing: Backing,
}

impl Data {
    fn new() -> Self {
        let machine = Machine::new();
        let backing = Backing::find(machine.folder.path(), machine.runner.clone()).unwrap();
        Self { machine, backing }
    }

    fn ca(&self) -> PathBuf {
        self.machine.folder.path().join("ca.pem")
    }

    /// A database with a master user, or `None` where there is no PostgreSQL.
    async fn postgres(&self, force_tls: bool) -> Option<Postgres> {
        if let Some(why) = self.backing.without_postgres() {
            println!("skipped: {why}");
            return None;
        }
        let spec = PostgresSpec {
            name: "test".into(),
            administrator: "rdsadmin".into(),
            master_role: "rds_superuser".into(),
            major: None,
            port: 5432,
            force_tls,
            settings: BTreeMap::from([("max_connections".into(), "25".into())]),
        };
        let postgres = self.backing.start_postgres(spec).await.unwrap();
        postgres
            .create_user("app", "it's \\ fine", true)
            .await
            .unwrap();
        postgres.create_database("app", "app").await.unwrap();
        Some(postgres)
    }

    /// `None` where there is no Redis or no client of it.
    async fn redis(&self, tls: bool, passwords: &[&str]) -> Option<Redis> {
        let client = Command::new("redis-cli").arg("--version").output();
        let absent = client.is_err().then_some("redis-cli is not installed");
        if let Some(why) = self.backing.without_redis().or(absent) {
            println!("skipped: {why}");
            return None;
        }
        Some(self.redis_server(tls, passwords).await)
    }

    async fn redis_server(&self, tls: bool, passwords: &[&str]) -> Redis {
        let spec = RedisSpec {
            name: "test".into(),
            port: 6379,
            tls,
            signed_by: SignedBy::Vendor,
            passwords: passwords.iter().map(|it| (*it).to_owned()).collect(),
        };
        self.backing.start_redis(spec).await.unwrap()
    }

    /// Says what went wrong, or the one value.
    fn psql(&self, at: SocketAddr, password: &str, tls: &str, statement: &str) -> String {
        let options = format!(
            "host={} port={} user=app dbname=app sslmode={tls} sslrootcert={}",
            at.ip(),
            at.port(),
            self.ca().display()
        );
        let output = Command::new("psql")
            .args([&options, "-X", "-A", "-t", "-c", statement])
            .env("PGPASSWORD", password)
            .output();
        said(&output.unwrap())
    }

    fn redis_cli(&self, at: SocketAddr, password: &str, tls: bool, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args([
            "--no-auth-warning",
            "-h",
            &at.ip().to_string(),
            "-p",
            &at.port().to_string(),
        ]);
        if tls {
            command.arg("--tls").arg("--cacert").arg(self.ca());
        }
        if !password.is_empty() {
            command.env("REDISCLI_AUTH", password);
        }
        said(&command.args(words).output().unwrap())
    }
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(text).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_database_that_forces_tls_takes_verified_connections_of_its_master_user_only() {
    let data = Data::new();
    let Some(postgres) = data.postgres(true).await else {
        return;
    };
    let at = postgres.endpoint();
    let password = "it's \\ fine";
    let asked =
        "select current_user || ' ' || ssl::text from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(data.psql(at, password, "verify-full", asked), "app true");
    let plain = data.psql(at, password, "disable", "select 1");
    assert!(plain.contains("no encryption"), "{plain}");
    let wrong = data.psql(at, "guess", "require", "select 1");
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    let rights = "select rolsuper from pg_roles where rolname = current_user";
    assert_eq!(data.psql(at, password, "require", rights), "f");
    assert_eq!(
        data.psql(at, password, "require", "show max_connections"),
        "25"
    );
    postgres.set_force_tls(false).await.unwrap();
    let mut plain = String::new();
    for _ in 0..100 {
        plain = data.psql(at, password, "disable", "select 1");
        if plain == "1" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(plain, "1");
    data.backing.shutdown().await;
}

#[tokio::test]
async fn a_database_keeps_address_and_rows_over_a_restart_and_nothing_over_its_removal() {
    let data = Data::new();
    let Some(postgres) = data.postgres(true).await else {
        return;
    };
    let at = postgres.endpoint();
    let password = "it's \\ fine";
    let made = data.psql(at, password, "require", "create table a as select 7 as n");
    assert_eq!(made, "SELECT 1");
    postgres.set_password("app", "another").await.unwrap();
    postgres.stop().await;
    let down = data.psql(at, "another", "require", "select n from a");
    assert!(down.contains("refused"), "{down}");
    postgres.start().await.unwrap();
    assert_eq!(postgres.endpoint(), at);
    assert_eq!(data.psql(at, "another", "require", "select n from a"), "7");
    postgres.create_user("guest", "g", false).await.unwrap();
    let again = postgres
        .create_user("guest", "sesame", false)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        again.contains("already exists") && !again.contains("sesame"),
        "{again}"
    );
    postgres.drop_user("guest").await.unwrap();
    postgres.drop_database("app").await.unwrap();
    let databases = postgres
        .query("postgres", "select datname from pg_database order by 1")
        .await;
    assert_eq!(databases.unwrap(), ["postgres", "template0", "template1"]);
    let pid = data.backing.status()["servers"][0]["pid"].to_string();
    assert!(PathBuf::from("/proc").join(&pid).exists());
    postgres.remove().await;
    assert!(!PathBuf::from("/proc").join(&pid).exists());
    assert_eq!(data.backing.status()["servers"], serde_json::json!([]));
    data.backing.shutdown().await;
    let late = data.backing.start_redis(RedisSpec {
        name: "late".into(),
        port: 6379,
        tls: false,
        signed_by: SignedBy::Vendor,
        passwords: vec![],
    });
    assert!(late.await.is_err());
}

#[tokio::test]
async fn a_cache_speaks_tls_only_and_takes_the_passwords_of_the_moment() {
    let data = Data::new();
    let Some(redis) = data.redis(true, &["first-token<&#>"]).await else {
        return;
    };
    let at = redis.endpoint();
    let first = "first-token<&#>";
    assert_eq!(data.redis_cli(at, first, true, &["set", "a", "1"]), "OK");
    let plain = data.redis_cli(at, first, false, &["get", "a"]);
    assert!(plain.to_lowercase().contains("error"), "{plain}");
    let anonymous = data.redis_cli(at, "", true, &["get", "a"]);
    assert!(anonymous.contains("NOAUTH"), "{anonymous}");
    let withheld = data.redis_cli(at, first, true, &["config", "get", "dir"]);
    assert!(withheld.contains("NOPERM"), "{withheld}");
    // Both at first, so that no client is locked out; then only the new one.
    let (old, new) = (first.to_owned(), "second-token-0123".to_owned());
    redis.set_passwords(&[old, new.clone()]).await.unwrap();
    assert_eq!(data.redis_cli(at, first, true, &["get", "a"]), "1");
    assert_eq!(data.redis_cli(at, &new, true, &["get", "a"]), "1");
    redis
        .set_passwords(std::slice::from_ref(&new))
        .await
        .unwrap();
    let stale = data.redis_cli(at, first, true, &["get", "a"]);
    assert!(
        stale.contains("WRONGPASS") || stale.contains("NOAUTH"),
        "{stale}"
    );
    redis.stop().await;
    redis.start().await.unwrap();
    assert_eq!(data.redis_cli(at, &new, true, &["ping"]), "PONG");
    let unfit = redis.set_passwords(&["a b".to_owned()]).await;
    assert!(matches!(unfit, Err(BackingError::Machine(_))));
    data.backing.shutdown().await;
}

#[tokio::test]
async fn a_cache_without_passwords_and_tls_takes_everybody() {
    let data = Data::new();
    let Some(redis) = data.redis(false, &[]).await else {
        return;
    };
    let at = redis.endpoint();
    assert_eq!(data.redis_cli(at, "", false, &["ping"]), "PONG");
    redis.remove().await;
    let gone = data.redis_cli(at, "", false, &["ping"]);
    assert!(gone.contains("refused"), "{gone}");
    data.backing.shutdown().await;
}

/// Tells the test below that it plays the sandbox that is killed.
const PLAY_SANDBOX: &str = "BACKING_TEST_PLAYS_SANDBOX";

#[tokio::test]
async fn servers_do_not_outlive_a_sandbox_that_is_killed() {
    if std::env::var_os(PLAY_SANDBOX).is_some() {
        return play_sandbox().await;
    }
    let data = Data::new();
    if let Some(why) = data
        .backing
        .without_postgres()
        .or(data.backing.without_redis())
    {
        println!("skipped: {why}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "servers_do_not_outlive_a_sandbox_that_is_killed",
            "--nocapture",
        ])
        .env(PLAY_SANDBOX, "1")
        // It gets no chance to remove its files.
        .env("TMPDIR", folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(sandbox.stdout.take().unwrap()));
    let pids = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("pids ")?.1.to_owned()));
    let pids = pids.unwrap();
    let pids: Vec<_> = pids
        .split(' ')
        .map(|pid| format!("/proc/{pid}/exe"))
        .collect();
    let alive = || {
        pids.iter()
            .filter(|exe| std::fs::read_link(exe).is_ok())
            .count()
    };
    assert_eq!(alive(), 2);
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    for _ in 0..500 {
        if alive() == 0 {
            // The next one clears away what is left.
            Data::new();
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} of {pids:?} are still alive", alive());
}

/// Starts a database and a cache, and waits to be killed.
async fn play_sandbox() {
    let data = Data::new();
    data.postgres(false).await.unwrap();
    data.redis_server(true, &[]).await;
    let status = data.backing.status();
    let servers = status["servers"].as_array().unwrap();
    let pids: Vec<_> = servers
        .iter()
        .map(|server| server["pid"].to_string())
        .collect();
    println!("pids {}", pids.join(" "));
    std::future::pending::<()>().await;
}
