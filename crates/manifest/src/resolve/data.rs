//! Resolves databases and caches for one target, and declares the secrets that come with them.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::catalogue::{CacheSecret, CacheSize, Catalogue, Namespace};
use deployer_core::spec::{
    self, CacheSpec, DatabaseSpec, Generate, OnRollback, SecretSource, SecretSpec,
};

use super::{Fault, Resolver};
use crate::model::{Cache, Database, SslMode};
use crate::names;
use crate::section::OwnInstance;
use crate::source::KeyPath;

/// 48 hexadecimal digits: inside every cloud's rule, and nothing in them needs escaping in a URL.
const PASSWORD: SecretSource = SecretSource::Generate(Generate::Hex(24));

/// What the manifest is silent about, of what an adopted instance has already.
fn unsaid(said: &BTreeSet<String>, own: OwnInstance<'_>, keys: &[&str]) -> BTreeSet<String> {
    let is_said = |key: &str| match key {
        "class" => own.size.is_some() || said.contains("cpu") || said.contains("memory"),
        key => said.contains(key),
    };
    let silent = keys.iter().filter(|key| !is_said(key));
    silent.map(|key| (*key).to_owned()).collect()
}

/// What an instance of a database has in any case.
const OF_DATABASES: [&str; 8] = [
    "version",
    "class",
    "storage",
    "high_availability",
    "backup_days",
    "deletion_protection",
    "user",
    "database",
];

/// What a cache has in any case.
const OF_CACHES: [&str; 3] = ["version", "class", "high_availability"];

impl Resolver<'_> {
    pub(super) fn databases(&mut self) -> BTreeMap<String, DatabaseSpec> {
        let manifest = self.manifest;
        manifest
            .databases
            .iter()
            .map(|(key, database)| (key.clone(), self.database(key, database)))
            .collect()
    }

    fn database(&mut self, key: &str, database: &Database) -> DatabaseSpec {
        let offers = &self.section.catalogue().database;
        let own = self.section.database(key);
        let class = match own.size {
            Some(size) => Ok(size.to_owned()),
            None => (offers.sized)(database.cpu.0, database.memory.0),
        };
        let class = class.unwrap_or_else(|near| self.no_such_size(key, database, near));
        let in_postgres = |rule, given: &Option<String>| {
            let made = || names::in_postgres(rule, &self.manifest.app);
            given.clone().unwrap_or_else(made)
        };
        DatabaseSpec {
            key: key.to_owned(),
            name: self.instance(own, &offers.instance, self.manifest.database_origin(key)),
            version: database.version,
            class,
            storage_gib: database.storage.0.0 / 1024,
            high_availability: database.high_availability,
            backup_days: database.backup_days,
            deletion_protection: database.deletion_protection,
            database: in_postgres(&names::POSTGRES_DATABASE, &database.database),
            user: in_postgres(&names::POSTGRES_USER, &database.user),
            password: database.password_secret(key),
            url: database.url_secret(key),
            host: database.host.clone(),
            sslmode: match database.sslmode {
                SslMode::Require => spec::SslMode::Require,
                SslMode::VerifyFull => spec::SslMode::VerifyFull,
            },
            authority: database.authority_secret(key),
            adopt: own.adopt,
            unsaid: match own.adopt {
                true => unsaid(&database.said, own, &OF_DATABASES),
                false => BTreeSet::new(),
            },
        }
    }

    /// The name of a database's or a cache's instance.
    fn instance(&self, own: OwnInstance<'_>, names: &Namespace, origin: &str) -> String {
        let (app, environment) = (&self.manifest.app, self.environment);
        let made = || names::instance(names.rule, app, environment, origin);
        own.name.map_or_else(made, str::to_owned)
    }

    fn no_such_size(&mut self, key: &str, database: &Database, near: String) -> String {
        let Catalogue {
            cloud,
            database: offers,
            ..
        } = self.section.catalogue();
        self.faults.push(Fault {
            path: KeyPath::new(["databases", key, "memory"]),
            message: format!(
                "{} does not offer {} with {}",
                offers.product, database.cpu.0, database.memory.0
            ),
            help: format!(
                "{near}; or set `{}` in `[targets.{cloud}.databases.{key}]`",
                offers.size
            ),
        });
        String::new()
    }

    pub(super) fn caches(&mut self) -> BTreeMap<String, CacheSpec> {
        let manifest = self.manifest;
        manifest
            .caches
            .iter()
            .map(|(key, cache)| (key.clone(), self.cache(key, cache)))
            .collect()
    }

    fn cache(&mut self, key: &str, cache: &Cache) -> CacheSpec {
        let offers = &self.section.catalogue().cache;
        let own = self.section.cache(key);
        let size = (offers.sized)(own.size, cache.memory.0);
        let CacheSize { class, memory_gib } = size.unwrap_or_else(|near| {
            self.faults.push(Fault {
                path: KeyPath::new(["caches", key, "memory"]),
                message: format!("{} does not offer {}", offers.product, cache.memory.0),
                help: near,
            });
            CacheSize {
                class: String::new(),
                memory_gib: 1,
            }
        });
        let (token, authority) = match offers.secret {
            CacheSecret::Token => (Some(cache.token_secret(key)), None),
            CacheSecret::Authority => (None, Some(cache.authority_secret(key))),
        };
        CacheSpec {
            key: key.to_owned(),
            name: self.instance(own, &offers.instance, self.manifest.cache_origin(key)),
            version: cache.version.0.clone(),
            class,
            memory_gib,
            high_availability: cache.high_availability,
            token,
            url: cache.url_secret(key),
            authority,
            adopt: own.adopt,
            unsaid: match own.adopt {
                true => unsaid(&cache.said, own, &OF_CACHES),
                false => BTreeSet::new(),
            },
        }
    }

    /// The secrets that the databases and caches of this target bring along.
    pub(super) fn data_secrets(&mut self) -> Vec<SecretSpec> {
        let manifest = self.manifest;
        let mut wanted = vec![];
        for (key, database) in &manifest.databases {
            wanted.push((database.password_secret(key), PASSWORD));
            let url = SecretSource::DatabaseUrl(key.clone());
            wanted.push((database.url_secret(key), url));
            if let Some(secret) = &database.host {
                let host = SecretSource::DatabaseHost(key.clone());
                wanted.push((secret.clone(), host));
            }
            if let Some(secret) = database.authority_secret(key) {
                let authority = SecretSource::DatabaseAuthority(key.clone());
                wanted.push((secret, authority));
            }
        }
        for (key, cache) in &manifest.caches {
            let url = SecretSource::CacheUrl(key.clone());
            wanted.push((cache.url_secret(key), url));
            wanted.push(match self.section.catalogue().cache.secret {
                CacheSecret::Token => (cache.token_secret(key), PASSWORD),
                CacheSecret::Authority => {
                    let authority = SecretSource::CacheAuthority(key.clone());
                    (cache.authority_secret(key), authority)
                }
            });
        }
        wanted
            .into_iter()
            .map(|(key, source)| {
                let own = manifest.secrets.get(&key);
                let name = own.and_then(|own| own.name.as_deref());
                // The other half is in the database or the cache: an old version would lock the app
                // out.
                let rollback = own.and_then(|own| own.on_rollback);
                let mut spec = self.secret(
                    &key,
                    (name, None),
                    source.clone(),
                    rollback.unwrap_or(OnRollback::Follow),
                );
                // A place of its own is refused by the checks; what is made must come from where it
                // is made.
                spec.source = source;
                spec
            })
            .collect()
    }

    /// Whether a secret is one that this target does not have, and that is no fault: the authority
    /// of a server that public authorities vouch for.
    pub(super) fn is_needless(&self, secret: &str) -> bool {
        let mut caches = self.manifest.caches.iter();
        match self.section.catalogue().cache.secret {
            CacheSecret::Token => caches.any(|(key, own)| own.authority_secret(key) == secret),
            CacheSecret::Authority => false,
        }
    }

    /// The cache whose AUTH token a secret would be, where the cloud makes the token itself.
    pub(super) fn token_made_by_cloud(&self, secret: &str) -> Option<&str> {
        let mut caches = self.manifest.caches.iter();
        let found = match self.section.catalogue().cache.secret {
            CacheSecret::Token => None,
            CacheSecret::Authority => caches.find(|(key, own)| own.token_secret(key) == secret),
        };
        found.map(|(key, _)| key.as_str())
    }
}
