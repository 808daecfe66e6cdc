//! What keeps data for the services: databases and caches, fully resolved for one target.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// One managed PostgreSQL database.
///
/// Its password is a secret of the environment (made before the instance), its URL another one,
/// made from the instance: see [`crate::spec::SecretSource::DatabaseUrl`]. Connections are always
/// encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseSpec {
    /// The manifest's name.
    pub key: String,
    /// The instance's name in the cloud.
    pub name: String,
    /// The major version of PostgreSQL: 16.
    pub version: u16,
    /// The cloud's own name of the instance's size: `db.t4g.medium`, `db-custom-2-7680`.
    pub class: String,
    /// Disk, in GiB. It only ever grows.
    pub storage_gib: u32,
    /// A standby in another zone (Multi-AZ, REGIONAL).
    pub high_availability: bool,
    /// Days that daily backups are kept; 0 makes none, and then there is no point-in-time recovery.
    pub backup_days: u16,
    /// Whether the cloud refuses to delete it until this is taken off.
    pub deletion_protection: bool,
    /// The database inside the instance.
    pub database: String,
    /// The user that owns it.
    pub user: String,
    /// The secret with the user's password, by the manifest's names.
    pub password: String,
    /// The secret with the URL, by the manifest's names.
    pub url: String,
    /// The secret with the host alone, by the manifest's names; `None` where nobody asks for it.
    #[serde(default)]
    pub host: Option<String>,
    /// How far a client verifies whom it talks to.
    #[serde(default)]
    pub sslmode: SslMode,
    /// The secret with the certificates that the server's one is signed by (PEM), by the manifest's
    /// names; `None` where nobody asks for them.
    #[serde(default)]
    pub authority: Option<String>,
    /// Takes over an instance of that name that nobody has marked.
    pub adopt: bool,
    /// Which of `version`, `class`, `storage`, `high_availability`, `backup_days`,
    /// `deletion_protection`, `user` and `database` the manifest is silent about: what stands here
    /// is a default, and an adopted instance keeps what it has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unsaid: BTreeSet<String>,
}

/// How far a client of a database verifies the server; connections are encrypted in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Not at all.
    #[default]
    Require,
    /// That it is the one that was meant, by its authority, and by its name where its certificate
    /// has one.
    VerifyFull,
}

/// One managed Redis. Connections are always encrypted and authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSpec {
    /// The manifest's name.
    pub key: String,
    /// Its name in the cloud.
    pub name: String,
    /// The version of Redis, `MAJOR.MINOR`: 7.0.
    pub version: String,
    /// The cloud's own name of a node's size: `cache.t4g.small`; on Google the memory says it all
    /// and this is empty.
    pub class: String,
    /// Memory, in GiB; where the size is a class, the class's own, rounded down and at least 1.
    pub memory_gib: u32,
    /// A replica in another zone that takes over.
    pub high_availability: bool,
    /// The secret with the AUTH token, by the manifest's names; `None` where the cloud makes the
    /// token.
    pub token: Option<String>,
    /// The secret with the URL, by the manifest's names.
    pub url: String,
    /// The secret with the certificates that the server's one is signed by (PEM), by the manifest's
    /// names; `None` where public authorities sign it.
    pub authority: Option<String>,
    /// Takes over an instance of that name that nobody has marked.
    pub adopt: bool,
    /// Which of `version`, `class` and `high_availability` the manifest is silent about: what
    /// stands here is a default, and an adopted cache keeps what it has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unsaid: BTreeSet<String>,
}
