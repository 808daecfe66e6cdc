//! The manifest as it is written: what `deployer.toml` and its overlays may hold, with the defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use deployer_core::address::CloudName;
use deployer_core::spec::{Generate, Inject, MebiBytes, MilliCpu, OnRollback, Replicas, SecretUse};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::section::{AwsSection, GcpSection};
use crate::units::{Cpu, HELP, Memory, Scale, duration, plain_text};

/// What the user wants, cloud-neutral. Written and read back (in releases and plan files) it is equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The app's name.
    pub app: String,
    /// The environment when nobody names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The services.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// The secrets.
    #[serde(default)]
    pub secrets: BTreeMap<String, Secret>,
    /// Key pairs that every target shares.
    #[serde(default)]
    pub keys: BTreeMap<String, KeyPair>,
    /// Tags of everything that is made.
    #[serde(default, deserialize_with = "plain_text::map")]
    pub tags: BTreeMap<String, String>,
    /// The targets.
    #[serde(default)]
    pub targets: Targets,
}

/// `[targets.*]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// Amazon Web Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsSection>,
    /// Google Cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcp: Option<GcpSection>,
}

impl Manifest {
    /// The clouds that the manifest has a target for, in the order of [`CloudName::ALL`].
    pub fn targets(&self) -> Vec<CloudName> {
        let present = |cloud: &CloudName| match cloud {
            CloudName::Aws => self.targets.aws.is_some(),
            CloudName::Gcp => self.targets.gcp.is_some(),
        };
        CloudName::ALL.into_iter().filter(present).collect()
    }
}

/// `[services.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// An OCI layout directory, an archive of `docker save`, or a registry reference.
    pub image: String,
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
    /// Replaces the image's entry point; empty keeps it.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Replaces the image's command; empty keeps it.
    #[serde(default)]
    pub command: Vec<String>,
    /// The app's variables.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// The migration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Migrate>,
}

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

/// `NAME = value` in `[services.NAME.env]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// A text, with interpolation.
    Plain(String),
    /// `{ secret = "...", inject = "..." }`; without `inject`, as the secret says.
    Secret(EnvSecret),
}

/// `{ secret = "database-url" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvSecret {
    /// The secret, by the manifest's name.
    pub secret: String,
    /// How it reaches the app, when not as the secret says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject: Option<Inject>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrateMode {
    /// A one-off task or job of the new image, before traffic moves.
    #[default]
    Job,
    /// In a waiting task of the new definition. Not yet.
    Exec,
    /// The app does it itself when it starts.
    OnStart,
    /// There is nothing to do.
    None,
}

/// `migrate` of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migrate {
    /// How.
    #[serde(default)]
    pub mode: MigrateMode,
    /// Replaces the image's entry point; empty keeps it.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// The command; never empty in mode `job`.
    #[serde(default)]
    pub command: Vec<String>,
    /// When to give up.
    #[serde(default = "ten_minutes", with = "duration")]
    pub timeout: Duration,
    /// The secret that names the database; by default the one in `DATABASE_URL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

/// `[secrets.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Secret {
    /// Where its value comes from.
    pub from: From,
    /// What a rollback does with it.
    pub on_rollback: OnRollback,
    /// How it reaches the app.
    pub inject: Inject,
    /// Its name in every cloud, instead of the one made from app, environment and key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `from`: where a secret's value comes from. Never the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// `"cloud"`: set by `deployer secrets set` or by hand.
    #[default]
    Cloud,
    /// `{ env = "NAME" }`.
    Env(String),
    /// `{ file = "PATH" }`, relative to the manifest.
    File(String),
    /// `{ generate = "hex:32" }`.
    Generate(Generate),
}

const FROM: &str =
    "\"cloud\", { env = \"NAME\" }, { file = \"PATH\" } or { generate = \"hex:32\" }";

impl Serialize for From {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, value) = match self {
            Self::Cloud => return serializer.serialize_str("cloud"),
            Self::Env(name) => ("env", name.clone()),
            Self::File(path) => ("file", path.clone()),
            Self::Generate(what) => ("generate", generate_text(*what)),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(key, &value)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for From {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            env: Option<String>,
            file: Option<String>,
            #[serde(default, deserialize_with = "some_generate")]
            generate: Option<Generate>,
        }
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = From;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(FROM)
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<From, E> {
                // The text may be the secret itself, pasted here: it is not repeated.
                if word == "cloud" {
                    return Ok(From::Cloud);
                }
                Err(E::custom(format!(
                    "this string is not a place that a secret can come from{HELP}write {FROM}; \
                     the value itself never stands in the manifest"
                )))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<From, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                match (table.env, table.file, table.generate) {
                    (Some(name), None, None) => Ok(From::Env(name)),
                    (None, Some(path), None) => Ok(From::File(path)),
                    (None, None, Some(what)) => Ok(From::Generate(what)),
                    (None, None, None) => Err(de::Error::custom(format!(
                        "this table names no place that the secret comes from{HELP}write {FROM}"
                    ))),
                    _ => Err(de::Error::custom(format!(
                        "a secret comes from one place only{HELP}keep one of `env`, `file` and `generate`"
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// How a manifest writes what to generate.
pub(crate) fn generate_text(what: Generate) -> String {
    match what {
        Generate::Hex(bytes) => format!("hex:{bytes}"),
        Generate::Base64(bytes) => format!("base64:{bytes}"),
        Generate::Rsa(bits) => format!("rsa:{bits}"),
    }
}

fn parse_generate(text: &str) -> Result<Generate, &'static str> {
    const FORMS: &str = "write \"hex:32\" or \"base64:32\" (random bytes), or \"rsa:2048\" (bits)";
    const BYTES: &str = "between 16 and 1024 random bytes, such as \"hex:32\"";
    const BITS: &str = "RSA keys have 2048, 3072 or 4096 bits";
    let (kind, size) = text.split_once(':').ok_or(FORMS)?;
    let size: u16 = size.parse().map_err(|_| FORMS)?;
    let enough = (16..=1024).contains(&size);
    match kind {
        "hex" if enough => Ok(Generate::Hex(size)),
        "base64" if enough => Ok(Generate::Base64(size)),
        "hex" | "base64" => Err(BYTES),
        "rsa" if matches!(size, 2048 | 3072 | 4096) => Ok(Generate::Rsa(size)),
        "rsa" => Err(BITS),
        _ => Err(FORMS),
    }
}

fn some_generate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Generate>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_generate(&text)
        .map(Some)
        .map_err(|help| de::Error::custom(format!("this cannot be generated{HELP}{help}")))
}

/// `[keys.NAME]`: a key pair whose halves are two secrets, equal on every target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// What kind of key.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The secret with the private half.
    pub private: String,
    /// The secret with the public half.
    pub public: String,
}

/// The kind of a key pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSA, 2048 bits.
    #[default]
    #[serde(rename = "rsa:2048")]
    Rsa2048,
    /// RSA, 3072 bits.
    #[serde(rename = "rsa:3072")]
    Rsa3072,
    /// RSA, 4096 bits.
    #[serde(rename = "rsa:4096")]
    Rsa4096,
}

impl Algorithm {
    /// The key's length in bits.
    pub fn bits(self) -> u16 {
        match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
        }
    }
}

impl Manifest {
    /// How a variable's secret reaches the app: as the variable says, else as the secret says.
    pub(crate) fn secret_use(&self, variable: &EnvSecret) -> SecretUse {
        let declared = self.secrets.get(&variable.secret);
        let inject = variable.inject.or(declared.map(|secret| secret.inject));
        SecretUse {
            secret: variable.secret.clone(),
            inject: inject.unwrap_or_default(),
        }
    }
}

impl Manifest {
    /// The secrets that services may use: declared ones and halves of key pairs.
    pub(crate) fn secret_keys(&self) -> Vec<&str> {
        let of_pairs = self
            .keys
            .values()
            .flat_map(|pair| [&pair.private, &pair.public]);
        self.secrets
            .keys()
            .chain(of_pairs)
            .map(String::as_str)
            .collect()
    }
}
