//! Databases and caches: what a cloud declares for them, and what others take from them.

use secrecy::SecretString;

use super::SecretVersion;
use crate::graph::{Graph, Output, Value};
use crate::spec::{CacheSpec, DatabaseSpec, EnvironmentSpec};

/// What a database's nodes make.
#[derive(Clone, Debug)]
pub struct DatabaseOutputs {
    /// `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require`, once the instance can be reached and user and
    /// database exist. In memory only.
    pub url: Output<SecretString>,
}

/// Managed PostgreSQL.
pub trait Database: Send + Sync {
    /// Declares the instance and what belongs to it (subnet group, parameter group; database, user).
    ///
    /// `password` is the secret's version that the user's password comes from; its value is read from the secret store
    /// when it is needed and is in no field. A newer version is a visible change and becomes the user's password.
    /// Deleting the instance keeps a final backup where the cloud can; the node says that it holds data.
    fn database(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        database: &DatabaseSpec,
        password: &Value<SecretVersion>,
    ) -> DatabaseOutputs;
}

/// What a cache's nodes make.
#[derive(Clone, Debug)]
pub struct CacheOutputs {
    /// `rediss://:TOKEN@HOST:PORT`, once it can be reached. In memory only.
    pub url: Output<SecretString>,
    /// The certificates that the server's one is signed by (PEM). `None` where public authorities sign it.
    pub authority: Option<Output<SecretString>>,
}

/// Managed Redis.
pub trait Cache: Send + Sync {
    /// Declares the cache and what belongs to it.
    ///
    /// `token` is the secret's version that the AUTH token comes from, as for a database's password; `None` exactly where
    /// the specification has none: the cloud makes the token.
    fn cache(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        cache: &CacheSpec,
        token: Option<&Value<SecretVersion>>,
    ) -> CacheOutputs;
}
