//! Under which key each thing of the manifest was first applied: its origin, which `was` says.
//!
//! Names are made from origins, and the ids of contents and what the ledger keeps say origins:
//! without `was` an origin is the key, and nothing is another thing than it would be without this
//! file.

use std::collections::BTreeMap;

use deployer_core::renames::Renames;

use crate::called::Called;
use crate::model::{Cache, Database, Manifest};

/// Something that the manifest calls otherwise than by its origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Renamed {
    /// `service`, `database`, `cache` or `secret`.
    pub what: &'static str,
    /// The key of today.
    pub key: String,
    /// The key under which it was first applied.
    pub origin: String,
}

/// The tables that say `was`, each with the word for one of its things.
pub(crate) const TABLES: [(&str, &str); 4] = [
    ("services", "service"),
    ("databases", "database"),
    ("caches", "cache"),
    ("secrets", "secret"),
];

impl Manifest {
    /// The service `key`. One that the manifest has not was never called otherwise.
    pub(crate) fn called<'a>(&'a self, key: &'a str) -> Called<'a> {
        let was = self.services.get(key).and_then(|own| own.was.as_deref());
        let origin = was.unwrap_or(key);
        Called { key, origin }
    }

    /// The origin of the database `key`.
    pub(crate) fn database_origin<'a>(&'a self, key: &'a str) -> &'a str {
        let was = self.databases.get(key).and_then(|own| own.was.as_deref());
        was.unwrap_or(key)
    }

    /// The origin of the cache `key`.
    pub(crate) fn cache_origin<'a>(&'a self, key: &'a str) -> &'a str {
        let was = self.caches.get(key).and_then(|own| own.was.as_deref());
        was.unwrap_or(key)
    }

    /// The origin of a secret: as its own table says; else that of what it is made from, where it
    /// is called after it (`main-url`).
    pub(crate) fn secret_origin(&self, key: &str) -> String {
        let own = self.secrets.get(key).and_then(|own| own.was.clone());
        own.or_else(|| self.after_data().remove(key))
            .unwrap_or_else(|| key.to_owned())
    }

    /// The secrets that are called after a database or a cache which was called otherwise, with
    /// what they were called then.
    fn after_data(&self) -> BTreeMap<String, String> {
        let databases = self.databases.iter().flat_map(|(key, own)| {
            let was = own.was.iter();
            was.flat_map(move |was| of_database(own, key).zip(of_database(own, was)))
        });
        let caches = self.caches.iter().flat_map(|(key, own)| {
            let was = own.was.iter();
            was.flat_map(move |was| of_cache(own, key).into_iter().zip(of_cache(own, was)))
        });
        databases.chain(caches).collect()
    }

    /// Every secret with its origin, where that is another key.
    fn renamed_secrets(&self) -> BTreeMap<String, String> {
        let keys = self.secret_keys().into_iter();
        let all = keys.map(|key| (self.secret_origin(&key), key));
        let renamed = all.filter(|(origin, key)| origin != key);
        renamed.map(|(origin, key)| (key, origin)).collect()
    }

    /// What a ledger translates: services and secrets, those of databases and caches among them.
    pub fn renames(&self) -> Renames {
        let services = self.services.iter();
        let services = services.filter_map(|(key, own)| Some((key.clone(), own.was.clone()?)));
        Renames::new(services, self.renamed_secrets())
    }

    /// Everything that says `was`, in the manifest's order of tables.
    pub fn renamed(&self) -> Vec<Renamed> {
        let mut all = vec![];
        for (table, what) in TABLES {
            let renamed = self.was(table).into_iter();
            all.extend(renamed.map(|(key, origin)| Renamed { what, key, origin }));
        }
        all
    }

    /// What a table's things were called, by key.
    pub(crate) fn was(&self, table: &str) -> BTreeMap<String, String> {
        fn of<'a, T: 'a>(
            table: &'a BTreeMap<String, T>,
            was: impl Fn(&'a T) -> &'a Option<String>,
        ) -> BTreeMap<String, String> {
            let all = table.iter();
            all.filter_map(|(key, own)| Some((key.clone(), was(own).clone()?)))
                .collect()
        }
        match table {
            "services" => of(&self.services, |own| &own.was),
            "databases" => of(&self.databases, |own| &own.was),
            "caches" => of(&self.caches, |own| &own.was),
            _ => of(&self.secrets, |own| &own.was),
        }
    }

    /// The same manifest where everything is called by its key alone: its names in the clouds are
    /// those that it would have if nothing said `was`.
    #[must_use]
    pub fn without_was(&self) -> Self {
        let mut plain = self.clone();
        plain.services.values_mut().for_each(|own| own.was = None);
        plain.databases.values_mut().for_each(|own| own.was = None);
        plain.caches.values_mut().for_each(|own| own.was = None);
        plain.secrets.values_mut().for_each(|own| own.was = None);
        plain
    }

    /// What the service, database, cache or secret is called today of which this is the origin.
    /// `None` where nothing was called so.
    pub fn called_now(&self, what: &str, word: &str) -> Option<Renamed> {
        let own = self.renamed().into_iter();
        let secrets = self.renamed_secrets().into_iter();
        let secrets = secrets.map(|(key, origin)| Renamed {
            what: "secret",
            key,
            origin,
        });
        own.chain(secrets)
            .find(|it| it.what == what && it.origin == word)
    }

    /// The service that was called so.
    pub fn service_was(&self, origin: &str) -> Option<&str> {
        let mut services = self.services.keys();
        let found = services.find(|key| self.called(key).origin == origin);
        found.map(String::as_str)
    }
}

impl Renamed {
    /// For who wrote the origin.
    pub fn hint(&self) -> String {
        format!("`{}` is called `{}` now", self.origin, self.key)
    }
}

/// The secrets of a database that is called so; always as many.
fn of_database(own: &Database, key: &str) -> impl Iterator<Item = String> {
    let authority = own.authority_secret(key);
    [own.password_secret(key), own.url_secret(key)]
        .into_iter()
        .chain(authority)
}

/// The secrets of a cache that is called so.
fn of_cache(own: &Cache, key: &str) -> [String; 3] {
    [
        own.token_secret(key),
        own.url_secret(key),
        own.authority_secret(key),
    ]
}
