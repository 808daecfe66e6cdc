//! Managed PostgreSQL: how the plan declares a database, and the database as it is.

use async_trait::async_trait;
use secrecy::SecretString;

use super::{Birth, PasswordRule, StoreStatus};
use crate::error::Result;
use crate::graph::{Graph, Output, Value};
use crate::pins::SecretVersion;
use crate::spec::DatabaseSpec;

/// Declares managed PostgreSQL.
pub trait Database {
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
        database: &DatabaseSpec,
        password: &Value<SecretVersion>,
    ) -> DatabaseOutputs;
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

/// Reads databases.
#[async_trait]
pub trait Databases: Send + Sync {
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
