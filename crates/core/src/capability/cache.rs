//! Managed Redis: how the plan declares a cache, and the cache as it is.

use async_trait::async_trait;
use secrecy::SecretString;

use super::{PasswordRule, StoreStatus};
use crate::error::Result;
use crate::graph::{Graph, Output, Value};
use crate::pins::SecretVersion;
use crate::spec::CacheSpec;

/// Declares managed Redis.
pub trait Cache {
    /// Declares the cache and what belongs to it.
    ///
    /// `token` is the secret's version that the AUTH token comes from, as for a database's
    /// password; `None` exactly where the specification has none: the cloud makes the token.
    fn cache(
        &self,
        graph: &mut Graph,
        cache: &CacheSpec,
        token: Option<&Value<SecretVersion>>,
    ) -> CacheOutputs;
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

/// Reads caches.
#[async_trait]
pub trait Caches: Send + Sync {
    /// Which tokens the cloud takes, where it takes one at all. `None`: any that is not empty.
    fn token_rule(&self) -> Option<&'static PasswordRule> {
        None
    }

    /// The cache as it is. `None` when there is none.
    ///
    /// Errors: denied, when the caller may not see it.
    async fn status(&self, cache: &CacheSpec) -> Result<Option<StoreStatus>>;
}
