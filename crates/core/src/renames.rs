//! What the manifest calls otherwise than the target's ledger and cloud do; pure.
//!
//! A thing of the manifest has a key, and an *origin*: the key under which it was first applied.
//! The two differ where the manifest says `was`. Names in the clouds are made from the origin, and
//! the ledger says origins alone: whatever the manifest calls a thing, one object says the same of
//! it, before and after it is renamed, and renamed again. Only the ledger ([`crate::ledger`]) and
//! a plan file's reader translate; whoever calls them knows today's keys and nothing else.
//!
//! Translating is one exchange of keys, the same in both directions, so what is written and read
//! back is as it was. The manifest makes sure that no origin is a key of today and that no two
//! things have one. A key of today that is in a ledger as well is somebody's of before who bore
//! that name by right: it is exchanged for the origin, which nothing of the manifest is called.

use std::collections::BTreeMap;

use crate::spec::{MigrateSpec, SecretUse, ServiceSpec, TokenCheck, VerifySpec};

/// The services and secrets whose keys of today are not their origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renames {
    services: Exchange,
    secrets: Exchange,
}

/// Each key of a pair by the other one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Exchange(BTreeMap<String, String>);

impl Exchange {
    fn of(renamed: impl IntoIterator<Item = (String, String)>) -> Self {
        let pairs = renamed.into_iter().filter(|(key, origin)| key != origin);
        let both = pairs.flat_map(|(key, origin)| [(key.clone(), origin.clone()), (origin, key)]);
        Self(both.collect())
    }

    fn other<'a>(&'a self, key: &'a str) -> &'a str {
        self.0.get(key).map_or(key, String::as_str)
    }

    fn exchange(&self, key: &mut String) {
        if let Some(other) = self.0.get(key.as_str()) {
            *key = other.clone();
        }
    }

    fn exchange_keys<T>(&self, by_key: &mut BTreeMap<String, T>) {
        if self.0.is_empty() {
            return;
        }
        let before = std::mem::take(by_key).into_iter();
        *by_key = before
            .map(|(key, value)| (self.other(&key).to_owned(), value))
            .collect();
    }
}

impl Renames {
    /// Of services and of secrets, each key of today with its origin.
    pub fn new(
        services: impl IntoIterator<Item = (String, String)>,
        secrets: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self {
            services: Exchange::of(services),
            secrets: Exchange::of(secrets),
        }
    }

    /// Whether everything is called by its origin.
    pub fn is_empty(&self) -> bool {
        self.services.0.is_empty() && self.secrets.0.is_empty()
    }

    /// The other key of a service: its origin for its key of today, and the key of today for its
    /// origin. The same for who has one alone.
    pub fn service<'a>(&'a self, key: &'a str) -> &'a str {
        self.services.other(key)
    }

    /// The same of a secret.
    pub fn secret<'a>(&'a self, key: &'a str) -> &'a str {
        self.secrets.other(key)
    }

    /// Puts a service's other key in place of this one.
    pub fn exchange_service(&self, key: &mut String) {
        self.services.exchange(key);
    }

    /// The same of all services that are keys of a map.
    pub fn services_of<T>(&self, by_service: &mut BTreeMap<String, T>) {
        self.services.exchange_keys(by_service);
    }

    /// The same of all secrets that are keys of a map.
    pub fn secrets_of<T>(&self, by_secret: &mut BTreeMap<String, T>) {
        self.secrets.exchange_keys(by_secret);
    }

    /// What names things, with their other keys.
    #[must_use]
    pub fn exchanged<T: Keyed>(&self, mut it: T) -> T {
        if !self.is_empty() {
            it.exchange(self);
        }
        it
    }
}

/// What names services or secrets by the manifest's keys, and is written down.
pub trait Keyed {
    /// Gives each key the other one of [`Renames`]. Done twice, it is as it was.
    fn exchange(&mut self, renames: &Renames);
}

impl<T: Keyed> Keyed for Vec<T> {
    fn exchange(&mut self, renames: &Renames) {
        self.iter_mut().for_each(|it| it.exchange(renames));
    }
}

/// Taken apart whole: a member that names something and is forgotten here does not compile.
impl Keyed for ServiceSpec {
    fn exchange(&mut self, renames: &Renames) {
        let Self {
            key,
            secrets,
            migrate,
            verify,
            name: _,
            repository: _,
            image: _,
            architecture: _,
            port: _,
            health: _,
            cpu: _,
            memory: _,
            replicas: _,
            entrypoint: _,
            command: _,
            env: _,
            url: _,
            adopt: _,
            record: _,
            domains: _,
            patience: _,
            unsaid: _,
        } = self;
        renames.services.exchange(key);
        for used in secrets.values_mut() {
            let SecretUse {
                secret,
                inject: _,
                member: _,
            } = used;
            renames.secrets.exchange(secret);
        }
        if let Some(MigrateSpec {
            database: Some(secret),
            ..
        }) = migrate
        {
            renames.secrets.exchange(secret);
        }
        let VerifySpec {
            token,
            metrics: _,
            jwks: _,
            checks: _,
        } = verify;
        if let Some(TokenCheck {
            client_id,
            client_secret,
            path: _,
            scope: _,
        }) = token
        {
            renames.secrets.exchange(client_id);
            renames.secrets.exchange(client_secret);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renames() -> Renames {
        let pair = |key: &str, origin: &str| (key.to_owned(), origin.to_owned());
        Renames::new(
            [pair("web", "api"), pair("mail", "mail")],
            [pair("store-url", "main-url")],
        )
    }

    #[test]
    fn what_is_exchanged_twice_is_as_it_was() {
        let renames = renames();
        for key in ["web", "api", "mail", "other"] {
            assert_eq!(renames.service(renames.service(key)), key);
        }
        assert_eq!(renames.service("web"), "api");
        assert_eq!(renames.service("api"), "web");
        assert_eq!(renames.service("mail"), "mail");
        assert_eq!(renames.secret("store-url"), "main-url");
        assert_eq!(renames.secret("web"), "web", "a service is no secret");
        assert!(Renames::new([("a".to_owned(), "a".to_owned())], []).is_empty());
    }

    #[test]
    fn one_that_bore_todays_key_before_is_not_taken_for_what_bears_it_now() {
        let mut contents = BTreeMap::from([("api".to_owned(), 1), ("web".to_owned(), 2)]);
        renames().services_of(&mut contents);
        assert_eq!(contents["web"], 1);
        assert_eq!(contents["api"], 2);
    }
}
