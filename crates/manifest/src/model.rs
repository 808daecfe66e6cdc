//! The manifest as it is written: what `deployer.toml` and its overlays may hold, with the
//! defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use deployer_core::spec::{
    Architecture, Inject, MebiBytes, MilliCpu, PATIENCE, Replicas, SecretUse,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::described;
use crate::section::{AwsSection, GcpSection};
use crate::source::KeyPath;
use crate::units::{Cpu, Memory, Scale, duration, plain_text};

mod data;
mod secret;
mod verify;

pub use data::{Cache, CacheEngine, Database, DatabaseEngine, RedisVersion, SslMode};
pub use secret::{Algorithm, KeyPair, Secret};

pub use crate::secret_from::From;
pub use verify::{Check, Method, TokenRequest, Verify};

/// What the user wants, cloud-neutral. Written and read back (in releases and plan files) it is
/// equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The app's name.
    pub app: String,
    /// The environment when nobody names one; `staging` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The services.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// The databases.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub databases: BTreeMap<String, Database>,
    /// The caches.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub caches: BTreeMap<String, Cache>,
    /// The secrets.
    #[serde(default)]
    pub secrets: BTreeMap<String, Secret>,
    /// Key pairs that every target shares.
    #[serde(default)]
    pub keys: BTreeMap<String, KeyPair>,
    /// Tags of everything that is made.
    #[serde(default, deserialize_with = "plain_text::map")]
    #[schemars(schema_with = "plain_text::schema")]
    pub tags: BTreeMap<String, String>,
    /// The targets.
    #[serde(default)]
    pub targets: Targets,
}

/// `[targets.*]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// Amazon Web Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsSection>,
    /// Google Cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcp: Option<GcpSection>,
}

/// `[services.NAME]`: a container that serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// An OCI layout directory, an archive of `docker save`, or a registry reference.
    pub image: String,
    /// What the image is built for: `x86_64` or `arm64`. Default: as the image; `x86_64` where it
    /// has both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "described::architecture")]
    pub architecture: Option<Architecture>,
    /// The port that the container listens on; the app finds it in `PORT`.
    pub port: u16,
    /// The health check.
    #[serde(default)]
    pub health: Health,
    /// CPU of one instance.
    #[serde(default = "one_cpu")]
    pub cpu: Cpu,
    /// Memory of one instance.
    #[serde(default = "two_gib")]
    pub memory: Memory,
    /// How many instances.
    #[serde(default = "one_replica")]
    pub replicas: Scale,
    /// Replaces the image's entry point, and drops the image's command as `docker run --entrypoint`
    /// does; empty keeps the image's.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Replaces the image's command, and keeps the image's entry point; empty keeps the image's.
    #[serde(default)]
    pub command: Vec<String>,
    /// The app's variables.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// The migration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Migrate>,
    /// What is asked of the service once it serves.
    #[serde(default)]
    pub verify: Verify,
    /// How long a roll-out is waited for, on App Runner 30 minutes unless this says otherwise: it
    /// takes over 15 to put back what failed. When it is over, the cloud goes on, and another
    /// `deployer apply` waits on.
    #[serde(default = "fifteen_minutes", with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub patience: Duration,
    /// The key under which it was first applied, where it is called otherwise now. Names in the
    /// clouds are made from that one, and its releases are this one's; after a second renaming it
    /// is still the first key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// Which of the keys that stand for something in any case somebody wrote: an adopted service
    /// keeps what the manifest does not say.
    #[serde(skip)]
    #[schemars(skip)]
    pub said: BTreeSet<String>,
}

/// The keys of a service that stand for what a service has in any case, said or not.
pub(crate) const SERVICE_KEYS: [&str; 8] = [
    "cpu",
    "memory",
    "replicas",
    "entrypoint",
    "command",
    "health.path",
    "health.command",
    "health.start_period",
];

fn fifteen_minutes() -> Duration {
    PATIENCE
}

/// The key of a service that is another one on App Runner unless it is said.
pub(crate) const PATIENCE_KEY: &str = "patience";

// The smallest pair of whole CPUs that both Fargate and Cloud Run offer without further conditions.
fn one_cpu() -> Cpu {
    Cpu(MilliCpu(1000))
}

fn two_gib() -> Memory {
    Memory(MebiBytes(2048))
}

fn one_replica() -> Scale {
    Scale(Replicas { min: 1, max: 1 })
}

/// `health`: a path, or a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The path that answers 200 when the instance is healthy.
    pub path: String,
    /// The command with which the container checks itself (AWS only), `CMD` or `CMD-SHELL` first;
    /// empty for none.
    pub command: Vec<String>,
    /// Between checks.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Of one check.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How many failures in a row make it unhealthy.
    pub retries: u32,
    /// Failures in this time after the start do not count.
    #[serde(with = "duration")]
    pub start_period: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            command: vec![],
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::from_secs(60),
        }
    }
}

impl<'de> Deserialize<'de> for Health {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Table {
            path: String,
            command: Vec<String>,
            #[serde(with = "duration")]
            interval: Duration,
            #[serde(with = "duration")]
            timeout: Duration,
            retries: u32,
            #[serde(with = "duration")]
            start_period: Duration,
        }
        impl Default for Table {
            fn default() -> Self {
                let Health {
                    path,
                    command,
                    interval,
                    timeout,
                    retries,
                    start_period,
                } = Health::default();
                Self {
                    path,
                    command,
                    interval,
                    timeout,
                    retries,
                    start_period,
                }
            }
        }
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Health;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path such as \"/health\", or a table")
            }
            fn visit_str<E: de::Error>(self, path: &str) -> Result<Health, E> {
                Ok(Health {
                    path: path.to_owned(),
                    ..Health::default()
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Health, A::Error> {
                let Table {
                    path,
                    command,
                    interval,
                    timeout,
                    retries,
                    start_period,
                } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Health {
                    path,
                    command,
                    interval,
                    timeout,
                    retries,
                    start_period,
                })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Health {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Health".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let retries = generator.subschema_for::<u32>();
        let span = |about: &str, span: Duration, generator: &mut SchemaGenerator| {
            let mut schema = duration::schema(generator);
            schema.insert("description".to_owned(), about.into());
            let text = humantime::format_duration(span).to_string();
            schema.insert("default".to_owned(), text.into());
            schema
        };
        let usual = Self::default();
        json_schema!({
            "description": "The health check: a path that answers 200, such as \"/health\", or a table.",
            "anyOf": [
                { "type": "string", "pattern": "^/" },
                {
                    "type": "object",
                    "properties": {
                        "path": {
                            "type": "string",
                            "pattern": "^/",
                            "default": usual.path,
                            "description": "The path that answers 200 when the instance is healthy.",
                        },
                        "command": {
                            "type": "array",
                            "items": { "type": "string" },
                            "default": usual.command,
                            "description": "The command with which the container checks itself (AWS only), `CMD` or `CMD-SHELL` first.",
                        },
                        "interval": span("Between checks.", usual.interval, generator),
                        "timeout": span("Of one check.", usual.timeout, generator),
                        "retries": {
                            "allOf": [retries],
                            "default": usual.retries,
                            "description": "How many failures in a row make it unhealthy.",
                        },
                        "start_period": span(
                            "Failures in this time after the start do not count.",
                            usual.start_period,
                            generator,
                        ),
                    },
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// `NAME = value` in `[services.NAME.env]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// A text, with interpolation.
    Plain(String),
    /// `{ secret = "...", inject = "..." }`; without `inject`, as the secret says.
    Secret(EnvSecret),
}

/// `{ secret = "database-url" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-whole" = true))]
pub struct EnvSecret {
    /// The secret, by the manifest's name.
    pub secret: String,
    /// How it reaches the app, when not as the secret says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "described::inject")]
    pub inject: Option<Inject>,
}

impl JsonSchema for EnvValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EnvValue".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<EnvSecret>();
        json_schema!({
            "description": "A text, with interpolation, or { secret = \"KEY\" }.",
            "anyOf": [{ "type": ["string", "integer", "boolean"] }, secret],
        })
    }
}

impl Serialize for EnvValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(text) => serializer.serialize_str(text),
            Self::Secret(secret) => secret.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = EnvValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an integer, a boolean or { secret = \"...\" }")
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<EnvValue, E> {
                Ok(EnvValue::Plain(value.to_string()))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<EnvValue, E> {
                Ok(EnvValue::Plain(value.to_string()))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<EnvValue, E> {
                Ok(EnvValue::Plain(value.to_string()))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<EnvValue, E> {
                Ok(EnvValue::Plain(value.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EnvValue, A::Error> {
                EnvSecret::deserialize(MapAccessDeserializer::new(map)).map(EnvValue::Secret)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// How the schema is brought up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MigrateMode {
    /// A one-off task or job of the new image, before traffic moves.
    #[default]
    Job,
    /// By ECS Exec in a waiting task of the new definition: as root, with its output as it comes.
    /// `entrypoint` and `command` are run as they stand, without the image's entry point. The
    /// image has `/bin/sh`, `cat`, `mkdir` and `sleep`; `task_role` allows `ssmmessages:*Channel`.
    Exec,
    /// The app does it itself when it starts.
    OnStart,
    /// There is nothing to do.
    None,
}

/// `[services.NAME.migrate]`: how the schema of the database is brought up to date, before traffic
/// moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Migrate {
    /// How: `job` (the default), a one-off task or job of the new image; `exec`, by ECS Exec in a
    /// waiting task; `on-start`, the app does it itself; `none`. `exec` is for ECS alone: the image
    /// has `/bin/sh`, `cat`, `mkdir` and `sleep` and a `/tmp` that can be written; `task_role`
    /// allows `ssmmessages:*Channel`, and its subnets have a way to that service.
    #[serde(default)]
    pub mode: MigrateMode,
    /// Replaces the image's entry point, and drops the image's command; empty keeps the image's.
    /// The service's `entrypoint` and `command` are not taken over.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Replaces the image's command, and keeps the image's entry point. In mode `job` this or
    /// `entrypoint` is given.
    #[serde(default)]
    pub command: Vec<String>,
    /// When to give up.
    #[serde(default = "ten_minutes", with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub timeout: Duration,
    /// The secret that names the database; by default the one in `DATABASE_URL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

impl Manifest {
    /// How a variable's secret reaches the app: as the variable says, else as the secret says.
    pub(crate) fn secret_use(&self, variable: &EnvSecret) -> SecretUse {
        let declared = self.secrets.get(&variable.secret);
        let inject = variable.inject.or(declared.map(|secret| secret.inject));
        SecretUse {
            secret: variable.secret.clone(),
            inject: inject.unwrap_or_default(),
            member: declared.and_then(|secret| secret.key.clone()),
        }
    }
}

impl Manifest {
    /// The secrets that services may use: declared ones, halves of key pairs, and those of
    /// databases and caches.
    pub(crate) fn secret_keys(&self) -> Vec<String> {
        let of_pairs = self
            .keys
            .values()
            .flat_map(|pair| [&pair.private, &pair.public]);
        let declared = self.secrets.keys().chain(of_pairs).cloned();
        let of_data = self.data_secrets().into_iter().map(|(key, _)| key);
        declared.chain(of_data).collect()
    }

    /// The secrets of databases and caches, each with the key that it comes from:
    /// `databases.main.url`.
    pub(crate) fn data_secrets(&self) -> Vec<(String, KeyPath)> {
        let mut all = vec![];
        for (key, database) in &self.databases {
            let at = KeyPath::new(["databases", key]);
            all.push((database.password_secret(key), at.join("password")));
            all.push((database.url_secret(key), at.join("url")));
            if let Some(secret) = &database.host {
                all.push((secret.clone(), at.join("host")));
            }
            if let Some(secret) = database.authority_secret(key) {
                all.push((secret, at.join("authority")));
            }
        }
        for (key, cache) in &self.caches {
            let at = KeyPath::new(["caches", key]);
            all.push((cache.token_secret(key), at.join("token")));
            all.push((cache.url_secret(key), at.join("url")));
            all.push((cache.authority_secret(key), at.join("authority")));
        }
        all
    }
}
