//! Databases and caches: what a cloud declares for them, and what others take from them.

use async_trait::async_trait;
use secrecy::SecretString;
use serde::Serialize;

use super::{Birth, SecretVersion, ServingState};
use crate::error::Result;
use crate::graph::{Graph, Output, Value};
use crate::spec::{CacheSpec, DatabaseSpec, EnvironmentSpec};

/// A database or cache as the cloud has it, in the cloud's own words. Never a password or token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// Whether it can be used, in the words that services have too.
    #[serde(flatten)]
    pub state: ServingState,
    /// The cloud's own word for its state: `available`, `RUNNABLE`.
    pub said: String,
    /// The engine's version, as fully as the cloud tells it: `16.4`, `7.0`.
    pub version: Option<String>,
    /// The cloud's name of its size: `db.t4g.medium`, `STANDARD_HA`.
    pub class: Option<String>,
    /// Disk, in GiB.
    pub storage_gib: Option<u32>,
    /// Memory, in GiB, where the class does not say it.
    pub memory_gib: Option<u32>,
    /// `HOST:PORT`, once it has one.
    pub endpoint: Option<String>,
}

/// What a database's nodes make.
#[derive(Clone, Debug)]
pub struct DatabaseOutputs {
    /// `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require`, once the instance can be
    /// reached and user and database exist. In memory only.
    pub url: Output<SecretString>,
    /// The host that the URL names, alone. In memory only.
    pub host: Output<SecretString>,
    /// Which database it is, once it is there: another one for each that is made under its name.
    pub birth: Output<Birth>,
    /// The certificates that the server's one is signed by (PEM). `None` where the specification
    /// asks for none.
    pub authority: Option<Output<SecretString>>,
}

/// Managed PostgreSQL.
#[async_trait]
pub trait Database: Send + Sync {
    /// Declares the instance and what belongs to it (subnet group, parameter group; database,
    /// user).
    ///
    /// `password` is the secret's version that the user's password comes from; its value is read
    /// from the secret store when it is needed and is in no field. A newer version is a visible
    /// change and becomes the user's password. Deleting the instance keeps a final backup where the
    /// cloud can; the node says that it holds data.
    fn database(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        database: &DatabaseSpec,
        password: &Value<SecretVersion>,
    ) -> DatabaseOutputs;

    /// Which database it is now. `None` when there is none.
    ///
    /// Errors: denied, when the caller may not see it.
    async fn birth(&self, database: &DatabaseSpec) -> Result<Option<Birth>>;

    /// Which passwords the cloud takes. `None`: any that is not empty.
    fn password_rule(&self) -> Option<&'static PasswordRule> {
        None
    }

    /// The instance as it is. `None` when there is none.
    ///
    /// Errors: denied, when the caller may not see it.
    async fn status(&self, database: &DatabaseSpec) -> Result<Option<StoreStatus>>;
}

/// What a cloud takes as a password or a token.
#[derive(Debug)]
pub struct PasswordRule {
    /// The least number of characters.
    pub shortest: usize,
    /// The greatest number of characters.
    pub longest: usize,
    /// Whether it takes this character.
    pub takes: fn(char) -> bool,
    /// The rule, for people: whose it is, and what it takes.
    pub says: &'static str,
}

impl PasswordRule {
    /// Whether the cloud takes it.
    pub fn accepts(&self, password: &str) -> bool {
        let length = password.chars().count();
        (self.shortest..=self.longest).contains(&length) && password.chars().all(self.takes)
    }
}

/// What a cache's nodes make.
#[derive(Clone, Debug)]
pub struct CacheOutputs {
    /// `rediss://:TOKEN@HOST:PORT`, once it can be reached. In memory only.
    pub url: Output<SecretString>,
    /// The certificates that the server's one is signed by (PEM). `None` where public authorities
    /// sign it.
    pub authority: Option<Output<SecretString>>,
}

/// Managed Redis.
#[async_trait]
pub trait Cache: Send + Sync {
    /// Declares the cache and what belongs to it.
    ///
    /// `token` is the secret's version that the AUTH token comes from, as for a database's
    /// password; `None` exactly where the specification has none: the cloud makes the token.
    fn cache(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        cache: &CacheSpec,
        token: Option<&Value<SecretVersion>>,
    ) -> CacheOutputs;

    /// Which tokens the cloud takes, where it takes one at all. `None`: any that is not empty.
    fn token_rule(&self) -> Option<&'static PasswordRule> {
        None
    }

    /// The cache as it is. `None` when there is none.
    ///
    /// Errors: denied, when the caller may not see it.
    async fn status(&self, cache: &CacheSpec) -> Result<Option<StoreStatus>>;
}
