//! Resolves databases and caches for one target, and declares the secrets that come with them.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::CloudName;
use deployer_core::spec::{
    self, CacheSpec, DatabaseSpec, Generate, OnRollback, SecretSource, SecretSpec,
};

use super::{Fault, Resolver};
use crate::model::{Cache, Database, SslMode};
use crate::names;
use crate::section::{AwsCache, AwsDatabase, GcpCache, GcpDatabase};
use crate::sizes;
use crate::source::KeyPath;

/// 48 hexadecimal digits: inside every cloud's rule, and nothing in them needs escaping in a URL.
const PASSWORD: SecretSource = SecretSource::Generate(Generate::Hex(24));

/// What the manifest is silent about, of what an adopted instance has already.
fn unsaid(said: &BTreeSet<String>, own_class: bool, keys: &[&str]) -> BTreeSet<String> {
    let is_said = |key: &str| match key {
        "class" => own_class || said.contains("cpu") || said.contains("memory"),
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
        let targets = &self.manifest.targets;
        let aws = targets.aws.as_ref().and_then(|aws| aws.databases.get(key));
        let gcp = targets.gcp.as_ref().and_then(|gcp| gcp.databases.get(key));
        let own_class;
        let (class, adopt) = match self.cloud {
            CloudName::Aws => {
                let AwsDatabase { class, adopt, .. } = aws.cloned().unwrap_or_default();
                own_class = class.is_some();
                let offer = || sizes::rds_class(database.cpu.0, database.memory.0);
                let class = class.map_or_else(|| offer().map(str::to_owned), Ok);
                (class, adopt)
            }
            CloudName::Gcp => {
                let GcpDatabase { tier, adopt, .. } = gcp.cloned().unwrap_or_default();
                own_class = tier.is_some();
                let offer = || sizes::cloud_sql_tier(database.cpu.0, database.memory.0);
                (tier.map_or_else(offer, Ok), adopt)
            }
        };
        let class = class.unwrap_or_else(|near| self.no_such_size(key, database, near));
        let in_postgres = |rule, given: &Option<String>| {
            let made = || names::in_postgres(rule, &self.manifest.app);
            given.clone().unwrap_or_else(made)
        };
        DatabaseSpec {
            key: key.to_owned(),
            name: self
                .manifest
                .database_name(self.cloud, key, self.environment),
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
            authority: self.database_authority(key, database),
            adopt,
            unsaid: match adopt {
                true => unsaid(&database.said, own_class, &OF_DATABASES),
                false => BTreeSet::new(),
            },
        }
    }

    /// The secret with the authorities of a database's server, on this target.
    fn database_authority(&self, key: &str, database: &Database) -> Option<String> {
        match self.cloud {
            CloudName::Aws | CloudName::Gcp => database.authority_secret(key),
        }
    }

    fn no_such_size(&mut self, key: &str, database: &Database, near: String) -> String {
        let (place, word) = match self.cloud {
            CloudName::Aws => ("RDS", "class"),
            CloudName::Gcp => ("Cloud SQL", "tier"),
        };
        self.faults.push(Fault {
            path: KeyPath::new(["databases", key, "memory"]),
            message: format!(
                "{place} does not offer {} with {}",
                database.cpu.0, database.memory.0
            ),
            help: format!(
                "{near}; or set `{word}` in `[targets.{}.databases.{key}]`",
                self.cloud
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
        let targets = &self.manifest.targets;
        let aws = targets.aws.as_ref().and_then(|aws| aws.caches.get(key));
        let gcp = targets.gcp.as_ref().and_then(|gcp| gcp.caches.get(key));
        let memory = cache.memory.0;
        let mut own_class = false;
        let ((class, memory_gib), adopt) = match self.cloud {
            CloudName::Aws => {
                let AwsCache { class, adopt, .. } = aws.cloned().unwrap_or_default();
                own_class = class.is_some();
                let node = match class {
                    Some(class) => Ok(sizes::elasticache_named(&class, memory)),
                    None => sizes::elasticache_node(memory),
                };
                let node = node.map(|node| (node.class, node.memory_gib));
                (self.cache_size(key, "ElastiCache", cache, node), adopt)
            }
            CloudName::Gcp => {
                let GcpCache { adopt, .. } = gcp.cloned().unwrap_or_default();
                let memory = sizes::memorystore_gib(memory).map(|gib| (String::new(), gib));
                (self.cache_size(key, "Memorystore", cache, memory), adopt)
            }
        };
        let (token, authority) = match self.cloud {
            CloudName::Aws => (Some(cache.token_secret(key)), None),
            CloudName::Gcp => (None, Some(cache.authority_secret(key))),
        };
        CacheSpec {
            key: key.to_owned(),
            name: self.manifest.cache_name(self.cloud, key, self.environment),
            version: cache.version.0.clone(),
            class,
            memory_gib,
            high_availability: cache.high_availability,
            token,
            url: cache.url_secret(key),
            authority,
            adopt,
            unsaid: match adopt {
                true => unsaid(&cache.said, own_class, &OF_CACHES),
                false => BTreeSet::new(),
            },
        }
    }

    fn cache_size(
        &mut self,
        key: &str,
        place: &str,
        cache: &Cache,
        offer: sizes::Offer<(String, u32)>,
    ) -> (String, u32) {
        offer.unwrap_or_else(|near| {
            self.faults.push(Fault {
                path: KeyPath::new(["caches", key, "memory"]),
                message: format!("{place} does not offer {}", cache.memory.0),
                help: near,
            });
            (String::new(), 1)
        })
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
            if let Some(secret) = self.database_authority(key, database) {
                let authority = SecretSource::DatabaseAuthority(key.clone());
                wanted.push((secret, authority));
            }
        }
        for (key, cache) in &manifest.caches {
            let url = SecretSource::CacheUrl(key.clone());
            wanted.push((cache.url_secret(key), url));
            wanted.push(match self.cloud {
                CloudName::Aws => (cache.token_secret(key), PASSWORD),
                CloudName::Gcp => {
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
        let of_cache = |(key, cache): (&String, &Cache)| cache.authority_secret(key) == secret;
        let of_database = |(key, database): (&String, &Database)| {
            database.authority_secret(key).as_deref() == Some(secret)
                && self.database_authority(key, database).is_none()
        };
        self.cloud == CloudName::Aws && self.manifest.caches.iter().any(of_cache)
            || self.manifest.databases.iter().any(of_database)
    }

    /// The cache whose AUTH token a secret would be, where the cloud makes the token itself.
    pub(super) fn token_made_by_cloud(&self, secret: &str) -> Option<&str> {
        let caches = self.manifest.caches.iter();
        let mut of = caches.filter(|(key, cache)| cache.token_secret(key) == secret);
        (self.cloud == CloudName::Gcp)
            .then(|| of.next().map(|(key, _)| key.as_str()))
            .flatten()
    }
}
