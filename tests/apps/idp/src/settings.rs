//! Reads and checks the environment: every problem at once, and never a secret's value.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::cache;
use crate::database::Database;
use crate::keys::Keys;

/// The variables that the service documents; `/` says which of them are set.
pub const DOCUMENTED: [&str; 35] = [
    "DATABASE_URL",
    "DATABASE_CA",
    "PGSSLROOTCERT",
    "REDIS_URL",
    "REDIS_CA",
    "REDIS_CA_CERT",
    "JWT_PRIVATE_KEY",
    "JWT_PUBLIC_KEY",
    "PORT",
    "NODE_ENV",
    "CORS_ORIGIN",
    "POLICY_DIR",
    "VAULT_ADDR",
    "VAULT_TOKEN",
    "VAULT_MOUNT",
    "VAULT_KV_MOUNT",
    "BILLING_ENABLED",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "STRIPE_PRICE_ID",
    "ANALYTICS_ENABLED",
    "TIER_ENFORCEMENT",
    "COMPLIANCE_ENABLED",
    "REDIS_RATE_LIMIT_ENABLED",
    "RATE_LIMIT_WINDOW_MS",
    "RATE_LIMIT_MAX_REQUESTS",
    "DB_POOL_MAX",
    "DB_POOL_MIN",
    "DB_POOL_IDLE_TIMEOUT_MS",
    "DB_POOL_CONNECTION_TIMEOUT_MS",
    "KAFKA_BROKERS",
    "ENFORCE_TLS",
    "OPA_URL",
    "GREETING",
    "ISSUER",
];

/// What `idp serve` needs to know.
pub struct ServeSettings {
    /// Where `release.json` is.
    pub root: PathBuf,
    /// The TCP port to listen on, all addresses; 0 takes a free one.
    pub port: u16,
    /// `production` or whatever the team calls it; reported, never interpreted.
    pub node_env: String,
    /// The `iss` of every token, the same on every cloud.
    pub issuer: String,
    /// Shown on `/`: a setting that tests can see change.
    pub greeting: String,
    /// The `access-control-allow-origin` of every answer.
    pub cors_origin: Option<axum::http::HeaderValue>,
    /// Which of the [`DOCUMENTED`] variables are set.
    pub present: Vec<&'static str>,
    /// Signs and verifies tokens.
    pub keys: Keys,
    /// Where and how to reach PostgreSQL.
    pub database: DatabaseSettings,
    /// Where and how to reach Redis, when there is one.
    pub redis: Option<redis::Client>,
    /// Where token requests are counted.
    pub counting: Counting,
    /// The length of a rate-limit window.
    pub rate_window: Duration,
    /// The token requests admitted in a window.
    pub rate_most: u32,
}

/// Where token requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// Each process counts its own.
    Process,
    /// In Redis, for all processes together.
    Shared,
}

/// The connection pool.
pub struct DatabaseSettings {
    /// What `DATABASE_URL` names.
    pub server: Database,
    /// The most connections open at once.
    pub pool_max: usize,
    /// How long a request may wait for a connection.
    pub connect_timeout: Duration,
}

/// What `idp migrate` needs to know.
pub struct MigrateSettings {
    /// Where `release.json` and `migrations/` are.
    pub root: PathBuf,
    /// What `DATABASE_URL` names.
    pub database: Database,
    /// The secret that the seeded test client gets.
    pub seed_secret: String,
}

/// Everything wrong with the environment.
#[derive(Debug, Error, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration is not usable: {}", self.0.join("; "))
    }
}

/// Answers a variable's value, `None` when it is not set.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl ServeSettings {
    /// Reads everything; on failure names every variable that is wrong.
    pub fn read(environment: Environment<'_>) -> Result<Self, Problems> {
        let mut reader = Reader::new(environment);
        let private = reader.required("JWT_PRIVATE_KEY");
        let public = reader.required("JWT_PUBLIC_KEY");
        let keys = private.zip(public).and_then(|(private, public)| {
            Keys::read(&private, &public)
                .map_err(|error| reader.problem(error.to_string()))
                .ok()
        });
        let server = reader.database();
        let pool_max = reader.number("DB_POOL_MAX", 20usize);
        if reader.number("DB_POOL_MIN", 2usize.min(pool_max)) > pool_max {
            reader.problem("`DB_POOL_MIN` is above `DB_POOL_MAX`");
        }
        if pool_max == 0 {
            reader.problem("`DB_POOL_MAX` is 0");
        }
        let connect_timeout = reader.milliseconds("DB_POOL_CONNECTION_TIMEOUT_MS", 5_000);
        reader.milliseconds("DB_POOL_IDLE_TIMEOUT_MS", 30_000);
        reader.unused_switches();
        reader.billing();
        let redis = reader.redis();
        let counting = reader.counting();
        let cors_origin = reader.parsed("CORS_ORIGIN", "a header value");
        let port = reader.number("PORT", 3000);
        let rate_window = reader.milliseconds("RATE_LIMIT_WINDOW_MS", 60_000);
        if rate_window.is_zero() {
            reader.problem("`RATE_LIMIT_WINDOW_MS` is 0");
        }
        let rate_most = reader.number("RATE_LIMIT_MAX_REQUESTS", 100);
        let present = DOCUMENTED
            .into_iter()
            .filter(|name| reader.get(name).is_some())
            .collect();
        let root = reader.root();
        let node_env = reader
            .get("NODE_ENV")
            .unwrap_or_else(|| "production".to_owned());
        let issuer = reader.get("ISSUER").unwrap_or_else(|| "idp".to_owned());
        let greeting = reader.get("GREETING").unwrap_or_else(|| "hello".to_owned());
        reader.finish()?;
        let complete = "a missing value is a problem, and there was none";
        let database = DatabaseSettings {
            server: server.expect(complete),
            pool_max,
            connect_timeout,
        };
        Ok(Self {
            root,
            port,
            node_env,
            issuer,
            greeting,
            cors_origin,
            present,
            keys: keys.expect(complete),
            database,
            redis,
            counting,
            rate_window,
            rate_most,
        })
    }
}

impl MigrateSettings {
    /// Reads what a migration needs, which is no key and no port.
    pub fn read(environment: Environment<'_>) -> Result<Self, Problems> {
        let mut reader = Reader::new(environment);
        let database = reader.database();
        let root = reader.root();
        let seed_secret = reader
            .get("SEED_CLIENT_SECRET")
            .unwrap_or("test-secret".to_owned());
        reader.finish()?;
        let database = database.expect("a missing value is a problem, and there was none");
        Ok(Self {
            root,
            database,
            seed_secret,
        })
    }
}

/// Collects problems while reading, so that a person corrects them in one go.
struct Reader<'a> {
    environment: Environment<'a>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(environment: Environment<'a>) -> Self {
        Self {
            environment,
            problems: Vec::new(),
        }
    }

    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// An empty value counts as none: both clouds' consoles make empty variables easily.
    fn get(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    fn required(&mut self, name: &str) -> Option<String> {
        let value = self.get(name);
        if value.is_none() {
            self.problem(format!("`{name}` is not set"));
        }
        value
    }

    fn parsed<T: FromStr>(&mut self, name: &str, what: &str) -> Option<T> {
        let value = self.get(name)?;
        let parsed = value.parse().ok();
        if parsed.is_none() {
            self.problem(format!("`{name}` is `{value}`, which is not {what}"));
        }
        parsed
    }

    fn number<T: FromStr>(&mut self, name: &str, default: T) -> T {
        self.parsed(name, "a number in range").unwrap_or(default)
    }

    fn milliseconds(&mut self, name: &str, default: u64) -> Duration {
        Duration::from_millis(self.number(name, default))
    }

    fn root(&self) -> PathBuf {
        self.get("IDP_ROOT")
            .unwrap_or_else(|| "/app".to_owned())
            .into()
    }

    fn database(&mut self) -> Option<Database> {
        let url = self.required("DATABASE_URL")?;
        let read = Database::read(&url, || self.database_authority());
        read.map_err(|problem| self.problem(problem)).ok()
    }

    fn database_authority(&self) -> Result<String, String> {
        if let Some(text) = self.get("DATABASE_CA") {
            return Ok(text);
        }
        match self.get("PGSSLROOTCERT") {
            Some(path) => std::fs::read_to_string(&path)
                .map_err(|error| format!("cannot read `{path}`, which is `PGSSLROOTCERT`: {error}")),
            None => Err("`sslmode` in `DATABASE_URL` verifies, but neither `DATABASE_CA` nor `PGSSLROOTCERT` is set".to_owned()),
        }
    }

    /// `REDIS_CA_CERT` is what some teams call the authority.
    fn redis(&mut self) -> Option<redis::Client> {
        let url = self.get("REDIS_URL")?;
        let authority = self.get("REDIS_CA").or_else(|| self.get("REDIS_CA_CERT"));
        let read = cache::read(&url, authority.as_deref());
        read.map_err(|problem| self.problem(problem)).ok()
    }

    /// Shared as soon as there is a Redis, unless it is forbidden.
    fn counting(&mut self) -> Counting {
        let there = self.get("REDIS_URL").is_some();
        let asked = self.parsed("REDIS_RATE_LIMIT_ENABLED", "`true` or `false`");
        if asked == Some(true) && !there {
            self.problem("`REDIS_RATE_LIMIT_ENABLED` is true, but `REDIS_URL` is not set");
        }
        match asked.unwrap_or(there) {
            true => Counting::Shared,
            false => Counting::Process,
        }
    }

    fn billing(&mut self) {
        if self.number("BILLING_ENABLED", false) {
            self.required("STRIPE_SECRET_KEY");
            self.required("STRIPE_WEBHOOK_SECRET");
            self.required("STRIPE_PRICE_ID");
        }
    }

    /// Documented switches without an effect here: a wrong value is wrong all the same.
    fn unused_switches(&mut self) {
        for name in [
            "ANALYTICS_ENABLED",
            "TIER_ENFORCEMENT",
            "COMPLIANCE_ENABLED",
            "ENFORCE_TLS",
        ] {
            self.parsed::<bool>(name, "`true` or `false`");
        }
    }

    fn finish(self) -> Result<(), Problems> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(Problems(self.problems))
        }
    }
}
