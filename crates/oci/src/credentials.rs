//! What to show a registry, and who finds it.

use std::sync::Arc;

use secrecy::SecretString;
use serde::Deserialize;

use crate::Error;

/// What to show a registry. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing; public repositories can be read.
    Anonymous,
    /// A user and a password, for HTTP Basic or for the token service that the registry names.
    Basic {
        /// The user name, which is not a secret (`AWS`, `oauth2accesstoken`).
        user: String,
        /// The password or the access token that serves as one.
        password: SecretString,
    },
    /// A token that lasts (an identity token): the token service gives short ones for it.
    Identity(SecretString),
    /// A token that the registry itself takes.
    Bearer(SecretString),
}

/// Finds the credentials for a registry. Asked anew at every challenge, so that what ends in the
/// middle of a long copy is replaced.
#[async_trait::async_trait]
pub trait RegistryAuth: Send + Sync {
    /// The credentials for a repository of `registry`, a host with an optional port, as in the
    /// image's reference (`docker.io` for Docker Hub). `Credentials::Anonymous` when there are
    /// none; an error only when there should be some and they cannot be had.
    async fn credentials(&self, registry: &str, repository: &str) -> Result<Credentials, Error>;
}

/// Reads public images only.
#[derive(Debug, Clone, Copy)]
pub struct Anonymous;

#[async_trait::async_trait]
impl RegistryAuth for Anonymous {
    async fn credentials(&self, _registry: &str, _repository: &str) -> Result<Credentials, Error> {
        Ok(Credentials::Anonymous)
    }
}

#[async_trait::async_trait]
impl RegistryAuth for Credentials {
    async fn credentials(&self, _registry: &str, _repository: &str) -> Result<Credentials, Error> {
        Ok(self.clone())
    }
}

#[async_trait::async_trait]
impl<A: RegistryAuth + ?Sized> RegistryAuth for Arc<A> {
    async fn credentials(&self, registry: &str, repository: &str) -> Result<Credentials, Error> {
        (**self).credentials(registry, repository).await
    }
}

/// Reads a secret; an empty one is none.
pub(crate) fn secret<'de, D>(from: D) -> Result<Option<SecretString>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Ok(Option::<String>::deserialize(from)?
        .filter(|t| !t.is_empty())
        .map(SecretString::from))
}
