//! What keeps data for the services, as it is written: `[databases.NAME]` and `[caches.NAME]`.

use std::collections::BTreeSet;
use std::fmt;

use deployer_core::spec::{MebiBytes, MilliCpu};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::units::{Cpu, HELP, Memory};

/// `[databases.NAME]`: a managed PostgreSQL. Its connections are always encrypted; its password is
/// generated and its URL made from the instance, and both are secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// The engine.
    pub engine: DatabaseEngine,
    /// The major version of PostgreSQL, at least: a higher one is an upgrade in place, and an
    /// instance that is newer stays.
    #[schemars(range(min = 10, max = 99))]
    pub version: u16,
    /// CPU of the instance. With `memory` it decides the instance class on AWS and the tier on
    /// Google Cloud.
    pub cpu: Cpu,
    /// Memory of the instance.
    pub memory: Memory,
    /// Disk, in whole GiB, at least: a disk that grew by itself stays as it is, and none ever
    /// shrinks.
    pub storage: Memory,
    /// A standby in another zone that takes over.
    pub high_availability: bool,
    /// Days that daily backups are kept, at least, with recovery to any point in time; 0 makes
    /// none.
    #[schemars(range(max = 365))]
    pub backup_days: u16,
    /// Whether the cloud refuses to delete the instance.
    pub deletion_protection: bool,
    /// The database inside the instance; the app's name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The user that owns it; the app's name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The secret with the URL that the app connects to; `NAME-url` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The secret with the host alone, a name or an address, for apps that take no URL; made where
    /// this asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The secret with the user's password; `NAME-password` when absent. A new one is set at once:
    /// where instances still run with the one before it, they open no new connection until the same
    /// apply has rolled them over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// How far the app verifies the server: `require` encrypts and verifies nothing, `verify-full`
    /// verifies authority and name. Cloud SQL's certificates name no host: there the authority,
    /// which is the instance's own, is verified (`verify-ca`).
    pub sslmode: SslMode,
    /// The secret with the certificates of the server's authorities (PEM); `NAME-ca` when absent.
    /// It is made where this or `sslmode = "verify-full"` asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The key under which it was first applied, where it is called otherwise now: names in the
    /// clouds are made from that one, those of its secrets too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// Which of these keys somebody wrote: an adopted instance keeps what the manifest does not
    /// say.
    #[serde(skip)]
    #[schemars(skip)]
    pub said: BTreeSet<String>,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            engine: DatabaseEngine::Postgres,
            version: 16,
            // The smallest pair that RDS has in a class of its own and Cloud SQL takes too.
            cpu: Cpu(MilliCpu(2000)),
            memory: Memory(MebiBytes(4096)),
            storage: Memory(MebiBytes(20 * 1024)),
            high_availability: false,
            backup_days: 7,
            deletion_protection: true,
            database: None,
            user: None,
            url: None,
            host: None,
            password: None,
            sslmode: SslMode::Require,
            authority: None,
            was: None,
            said: BTreeSet::new(),
        }
    }
}

impl Database {
    /// The secret with the URL.
    pub fn url_secret(&self, key: &str) -> String {
        self.url.clone().unwrap_or_else(|| format!("{key}-url"))
    }

    /// The secret with the password.
    pub fn password_secret(&self, key: &str) -> String {
        let own = self.password.clone();
        own.unwrap_or_else(|| format!("{key}-password"))
    }

    /// The secret with the server's authorities. `None` where nobody asks for it.
    pub fn authority_secret(&self, key: &str) -> Option<String> {
        match (&self.authority, self.sslmode) {
            (Some(own), _) => Some(own.clone()),
            (None, SslMode::VerifyFull) => Some(format!("{key}-ca")),
            (None, SslMode::Require) => None,
        }
    }
}

/// How far the app verifies the server of its database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Encrypted, without a look at the server's certificate.
    #[default]
    Require,
    /// Encrypted, and only with the server that was meant.
    VerifyFull,
}

/// Which database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseEngine {
    /// PostgreSQL: RDS on AWS, Cloud SQL on Google Cloud.
    #[default]
    Postgres,
}

/// `[caches.NAME]`: a managed Redis. Its connections are always encrypted and authenticated; its
/// URL is a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// The engine.
    pub engine: CacheEngine,
    /// The version of Redis, at least: a cache that is newer stays. Both clouds offer 7.0; another
    /// one that a cloud does not offer, it refuses when the cache is made or changed.
    pub version: RedisVersion,
    /// Memory for data. On AWS the smallest node type that has it is taken; on Google Cloud it is
    /// in whole GiB.
    pub memory: Memory,
    /// A replica in another zone that takes over.
    pub high_availability: bool,
    /// The secret with the URL that the app connects to; `NAME-url` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The secret with the AUTH token; `NAME-token` when absent. AWS only: Google Cloud makes the
    /// token itself. A new one is valid beside the one before it, which ends with the next: a token
    /// that leaked is changed twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The secret with the certificates that the server's one is signed by; `NAME-ca` when absent.
    /// Google Cloud only: on AWS public authorities sign it, and a variable that uses this secret
    /// is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The key under which it was first applied, where it is called otherwise now: names in the
    /// clouds are made from that one, those of its secrets too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// Which of these keys somebody wrote: an adopted cache keeps what the manifest does not say.
    #[serde(skip)]
    #[schemars(skip)]
    pub said: BTreeSet<String>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            engine: CacheEngine::Redis,
            version: RedisVersion("7.0".to_owned()),
            memory: Memory(MebiBytes(1024)),
            high_availability: false,
            url: None,
            token: None,
            authority: None,
            was: None,
            said: BTreeSet::new(),
        }
    }
}

impl Cache {
    /// The secret with the URL.
    pub fn url_secret(&self, key: &str) -> String {
        self.url.clone().unwrap_or_else(|| format!("{key}-url"))
    }

    /// The secret with the AUTH token, on AWS.
    pub fn token_secret(&self, key: &str) -> String {
        self.token.clone().unwrap_or_else(|| format!("{key}-token"))
    }

    /// The secret with the server's authorities, on Google Cloud.
    pub fn authority_secret(&self, key: &str) -> String {
        self.authority
            .clone()
            .unwrap_or_else(|| format!("{key}-ca"))
    }
}

/// Which cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CacheEngine {
    /// Redis: ElastiCache on AWS, Memorystore on Google Cloud.
    #[default]
    Redis,
}

/// A version of Redis, `"7.0"`; the bare number 7.0 is read as that, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RedisVersion(pub String);

impl JsonSchema for RedisVersion {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RedisVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Major and minor, such as \"7.0\".",
            "anyOf": [
                { "type": "string", "pattern": "^[0-9]+[.][0-9]+$" },
                { "type": "number" },
            ],
        })
    }
}

impl<'de> Deserialize<'de> for RedisVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = RedisVersion;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version such as \"7.0\"")
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<RedisVersion, E> {
                self.visit_str(&format!("{number:?}"))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RedisVersion, E> {
                let number =
                    |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
                match text.split_once('.') {
                    Some((major, minor)) if number(major) && number(minor) => {
                        Ok(RedisVersion(text.to_owned()))
                    }
                    _ => Err(E::custom(format!(
                        "`{text}` is not a version of Redis{HELP}write major and minor, such as \"7.0\""
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
