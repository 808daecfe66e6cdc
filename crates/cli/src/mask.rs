//! Hides the values of secrets in what an app printed, before that is shown or kept.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::capability::SecretVersion;
use deployer_core::error::Error;
use deployer_core::redaction::Redaction;
use futures::future::join_all;

use crate::session::Place;

/// What is to be hidden of one target. In memory only.
#[derive(Default)]
pub struct Mask {
    redaction: Redaction,
    /// The secrets that could not be read, by the manifest's names: their values are not hidden.
    pub unread: BTreeMap<String, Error>,
}

impl Mask {
    /// The values that the secrets of a place hold now, and those that releases pinned: what runs
    /// may have been started with them.
    pub async fn of<'a>(
        place: &Place,
        pinned: impl IntoIterator<Item = (&'a String, &'a SecretVersion)>,
    ) -> Self {
        let store = place.cloud.secrets();
        let secrets = place.env.secrets.values();
        let now = join_all(secrets.map(async |secret| {
            let value = store.value(&secret.name).await;
            (secret.key.clone(), value)
        }));
        let pinned: BTreeSet<(&String, &String, &String)> = pinned
            .into_iter()
            .map(|(key, pin)| (key, &pin.secret, &pin.version))
            .collect();
        let then = join_all(pinned.into_iter().map(async |(key, secret, version)| {
            let version = SecretVersion {
                secret: secret.clone(),
                version: version.clone(),
            };
            (key.clone(), store.value_of(&version).await)
        }));
        let (now, then) = tokio::join!(now, then);
        let mut unread = BTreeMap::new();
        let mut values = Vec::new();
        for (key, value) in now.into_iter().chain(then) {
            match value {
                Ok(value) => values.extend(value),
                Err(error) => {
                    unread.insert(key, error);
                }
            }
        }
        Self {
            redaction: Redaction::of(values),
            unread,
        }
    }

    /// Of these values alone.
    #[cfg(test)]
    pub fn with<const N: usize>(values: [&str; N]) -> Self {
        Self {
            redaction: Redaction::of(values.map(secrecy::SecretString::from)),
            ..Self::default()
        }
    }

    /// The text without any of them.
    pub fn hide(&self, text: &str) -> String {
        self.redaction.hide(text)
    }
}
