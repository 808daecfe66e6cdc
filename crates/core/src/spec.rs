//! What one target is asked for, cloud-neutral and fully resolved: overlays merged, overrides
//! taken, names made, values interpolated. Made from the manifest, handed to the capabilities.

mod data;
mod name;
mod verify;

pub use data::{CacheSpec, DatabaseSpec, SslMode};
pub use name::{LeadsTo, RecordSpec};
pub use verify::{HttpCheck, TokenCheck, VerifySpec};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// A thousandth of a virtual CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MilliCpu(pub u32);

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} vCPU", f64::from(self.0) / 1000.0)
    }
}

/// 2^20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MebiBytes(pub u32);

impl fmt::Display for MebiBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1024) {
            write!(f, "{} GiB", self.0 / 1024)
        } else {
            write!(f, "{} MiB", self.0)
        }
    }
}

/// What a container's programs are built for; the operating system is Linux.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Architecture {
    /// Intel's and AMD's, 64 bits.
    #[default]
    #[serde(rename = "x86_64")]
    X86,
    /// ARM's, 64 bits.
    #[serde(rename = "arm64")]
    Arm,
}

impl Architecture {
    /// As images call it.
    pub fn in_images(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }
}

impl fmt::Display for Architecture {
    /// As the manifest has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86 => "x86_64",
            Self::Arm => "arm64",
        })
    }
}

/// Everything that one target is to hold for one environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentSpec {
    /// The app.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// User tags, and ours: see [`crate::names::own_tags`].
    pub tags: BTreeMap<String, String>,
    /// The secrets, by the manifest's names.
    pub secrets: BTreeMap<String, SecretSpec>,
    /// The databases, by the manifest's names.
    pub databases: BTreeMap<String, DatabaseSpec>,
    /// The caches, by the manifest's names.
    pub caches: BTreeMap<String, CacheSpec>,
    /// The services, by the manifest's names.
    pub services: BTreeMap<String, ServiceSpec>,
    /// The ledger that it is in, as its services note it. `None`: nobody looks.
    pub ledger: Option<LedgerNote>,
}

/// Which ledger an environment is in on a target: two that are at two places know nothing of each
/// other, their locks neither.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerNote {
    /// What its services note: 16 hexadecimal digits of its address.
    pub mark: String,
    /// The address, for people.
    pub address: String,
    /// Whether a person said that it was moved there.
    pub moved: bool,
}

impl LedgerNote {
    /// Looks whether a service was noted to be in this ledger. `None`: nothing is noted yet.
    ///
    /// Errors: conflict, when it is in another one.
    pub fn check(&self, noted: Option<&str>, service: &str) -> Result<()> {
        match noted {
            Some(noted) if noted != self.mark && !self.moved => {
                let message = format!(
                    "service `{service}` is in another ledger than the one at {}: what that one knows of it, and who holds its lock, is \
                     not known here",
                    self.address
                );
                Err(Error::new(ErrorKind::Conflict, message).hint(
                    "name that one (`ledger` in the target's section); if it was moved here as a whole, say so once with --ledger-moved",
                ))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl EnvironmentSpec {
    /// Whether a variable of a service is to hold what this secret holds.
    pub fn injects_value_of(&self, secret: &str) -> bool {
        let used = self.services.values().flat_map(|it| it.secrets.values());
        let mut used = used.filter(|it| it.secret == secret);
        used.any(|it| it.inject == Inject::Value && it.member.is_none())
    }
}

/// One secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSpec {
    /// The manifest's name.
    pub key: String,
    /// The name that the cloud knows it by.
    pub name: String,
    /// Where its value comes from.
    pub source: SecretSource,
    /// What a rollback does with it.
    pub on_rollback: OnRollback,
    /// Takes over a secret of that name that nobody has marked.
    pub adopt: bool,
    /// The member of a JSON object that is taken. `None`: what it holds as a whole.
    #[serde(default)]
    pub member: Option<Member>,
}

impl SecretSpec {
    /// Whether it may be somebody else's: then it is only read.
    pub fn may_be_anothers(&self) -> bool {
        self.source == SecretSource::Cloud
    }
}

/// A member of a secret that is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its key.
    pub key: String,
    /// The name of a secret of ours that holds it alone, on clouds whose services take whole
    /// secrets only.
    pub held_in: String,
}

/// Where a secret's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretSource {
    /// Set by `deployer secrets set` or by hand; it must exist before `apply`. One that somebody
    /// else made is only read.
    Cloud,
    /// An environment variable of the machine that runs `deployer`.
    Env(String),
    /// A file; one trailing newline is not part of the value.
    File(String),
    /// Made once, kept from then on.
    Generate(Generate),
    /// One half of a key pair that every target shares.
    Key {
        /// The key pair's name in the manifest.
        pair: String,
        /// Which half.
        half: KeyHalf,
    },
    /// Made from a database once it is there:
    /// `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require`.
    DatabaseUrl(String),
    /// A database's host alone, as its URL has it.
    DatabaseHost(String),
    /// The certificates that a database's one is signed by, PEM.
    DatabaseAuthority(String),
    /// Made from a cache once it is there: `rediss://:TOKEN@HOST:PORT`.
    CacheUrl(String),
    /// The certificates that a cache's one is signed by, PEM.
    CacheAuthority(String),
}

impl SecretSource {
    /// What a person does where a secret of this source has no value.
    pub fn remedy(&self, key: &str) -> String {
        match self {
            Self::Env(name) => format!("set the variable `{name}` and run the same command again"),
            Self::File(path) => format!("write the file `{path}` and run the same command again"),
            Self::Cloud
            | Self::Generate(_)
            | Self::Key { .. }
            | Self::DatabaseUrl(_)
            | Self::DatabaseHost(_)
            | Self::DatabaseAuthority(_)
            | Self::CacheUrl(_)
            | Self::CacheAuthority(_) => {
                format!("give it one: `deployer secrets set {key}` reads it from stdin")
            }
        }
    }
}

/// What to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generate {
    /// So many random bytes, in lower-case hexadecimal digits.
    Hex(u16),
    /// So many random bytes, in standard base64 with padding.
    Base64(u16),
    /// An RSA private key of so many bits, PKCS#8 PEM.
    Rsa(u16),
}

/// One half of a key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyHalf {
    /// PKCS#8 PEM.
    Private,
    /// SubjectPublicKeyInfo PEM.
    Public,
}

/// What a rollback does with a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRollback {
    /// The release's own version serves again.
    #[default]
    Restore,
    /// The current version stays: its other half lives elsewhere.
    Follow,
}

/// How a secret reaches the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inject {
    /// Its value stands in the variable; the cloud puts it there.
    #[default]
    Value,
    /// Its ARN or resource name stands in the variable; the app fetches it.
    Reference,
}

/// A variable of the app that comes from a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// The secret, by the manifest's name.
    pub secret: String,
    /// How it reaches the app.
    pub inject: Inject,
    /// The key of the member that it holds of a JSON object. `None`: the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// The manifest's name.
    pub key: String,
    /// The name that the cloud knows it by (ECS service and family, Cloud Run service).
    pub name: String,
    /// The repository's name (ECR repository; Artifact Registry `repository/image`).
    pub repository: String,
    /// Where the image comes from, as the manifest has it.
    pub image: String,
    /// What the containers run on. `None` until the image was opened, where the manifest leaves it
    /// to the image.
    #[serde(default)]
    pub architecture: Option<Architecture>,
    /// The container's port.
    pub port: u16,
    /// How the cloud finds out whether an instance is healthy.
    pub health: HealthSpec,
    /// CPU of one instance.
    pub cpu: MilliCpu,
    /// Memory of one instance.
    pub memory: MebiBytes,
    /// How many instances.
    pub replicas: Replicas,
    /// Replaces the image's entry point, and sets its command aside; empty keeps both.
    pub entrypoint: Vec<String>,
    /// Replaces the image's command; empty keeps it, where the entry point is kept too.
    pub command: Vec<String>,
    /// Plain variables, interpolated.
    pub env: BTreeMap<String, String>,
    /// Variables from secrets.
    pub secrets: BTreeMap<String, SecretUse>,
    /// The migration. `None` when there is none.
    pub migrate: Option<MigrateSpec>,
    /// Where people reach it, when the manifest knows (a load balancer's name).
    pub url: Option<String>,
    /// Takes over a service of that name that nobody has marked.
    pub adopt: bool,
    /// Its name in the DNS. `None` when the manifest leaves names alone.
    pub record: Option<RecordSpec>,
    /// The names that its runtime answers for by itself, where it does: lower case, without the
    /// last dot. Ledgers have releases from before it could be said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// What is asked of it once it serves. Ledgers have releases from before there was any.
    #[serde(default)]
    pub verify: VerifySpec,
    /// How long a roll-out is waited for. Ledgers have releases from before it could be said.
    #[serde(default = "patience")]
    pub patience: Duration,
    /// Which of `cpu`, `memory`, `replicas`, `entrypoint`, `command`, `health.path`,
    /// `health.command` and `health.start_period` the manifest is silent about: what stands here is
    /// a default, and an adopted service keeps what it has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unsaid: BTreeSet<String>,
}

/// How long a roll-out is waited for unless somebody says otherwise: image pull, start, health
/// checks and draining.
pub const PATIENCE: Duration = Duration::from_secs(15 * 60);

fn patience() -> Duration {
    PATIENCE
}

/// The health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// The path that answers 200 when the instance is healthy.
    pub path: String,
    /// The command that the container runs to check itself; empty when the cloud probes from
    /// outside.
    pub command: Vec<String>,
    /// Between checks.
    pub interval: Duration,
    /// Of one check.
    pub timeout: Duration,
    /// How many failures in a row make it unhealthy.
    pub retries: u32,
    /// Failures in this time after the start do not count.
    pub start_period: Duration,
}

/// How many instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// At least.
    pub min: u32,
    /// At most; equal to `min` where the service does not scale.
    pub max: u32,
}

/// Which program a container runs, in words: what the image says stands in for what is empty.
///
/// An entry point of one's own sets the image's command aside, as it does for `docker run
/// --entrypoint` and in Kubernetes.
pub fn program(entrypoint: &[String], command: &[String]) -> String {
    let quoted = |word: &String| match word.is_empty() || word.contains(char::is_whitespace) {
        true => format!("{word:?}"),
        false => word.clone(),
    };
    let given: Vec<String> = entrypoint.iter().chain(command).map(quoted).collect();
    let given = given.join(" ");
    match (entrypoint.is_empty(), command.is_empty()) {
        (true, true) => "what the image says".to_owned(),
        (true, false) => format!("(the image's entry point) {given}"),
        (false, _) => given,
    }
}

/// A migration as a one-off job of the release's own image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrateSpec {
    /// The name of the Cloud Run job; ECS runs a task of the service's own family.
    pub job: String,
    /// Replaces the image's entry point, and sets its command aside; empty keeps both. The
    /// service's own is never taken.
    pub entrypoint: Vec<String>,
    /// Replaces the image's command. Never empty together with `entrypoint`.
    pub command: Vec<String>,
    /// When to give up.
    pub timeout: Duration,
    /// The secret that names the database, by the manifest's name. `None` when none does.
    pub database: Option<String>,
    /// What runs it. Ledgers have releases from before there was a choice.
    #[serde(default, skip_serializing_if = "MigrateBy::is_usual")]
    pub by: MigrateBy,
}

impl MigrateSpec {
    /// Which program it is, in words.
    pub fn program(&self) -> String {
        match self.by {
            MigrateBy::Job => program(&self.entrypoint, &self.command),
            // No entry point of the image's has a part in it.
            MigrateBy::Exec => {
                let words = [&self.entrypoint[..], &self.command[..]].concat();
                format!("{}, by ECS Exec", program(&words, &[]))
            }
        }
    }
}

/// What runs a migration's program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrateBy {
    /// It is the one program of a task or job of its own.
    #[default]
    Job,
    /// It is run inside a waiting task of its own, by ECS Exec: as root, with its output as it
    /// comes. On ECS only.
    Exec,
}

impl MigrateBy {
    fn is_usual(&self) -> bool {
        *self == Self::Job
    }
}
