//! Checks the keys under which things were first applied: one is no key of today, and belongs to
//! one thing.
//!
//! An overlay may say `was`, as any other key: an environment that was made after a thing was
//! renamed needs none. A target may not: what all of them run is one thing.

use std::collections::BTreeMap;

use crate::model::Manifest;
use crate::names::{self, Rule};
use crate::origins::TABLES;
use crate::problem::Report;
use crate::source::KeyPath;

pub(super) fn check(manifest: &Manifest, report: &mut Report<'_>) {
    for (table, what) in TABLES {
        let (rule, keys): (&Rule, Vec<String>) = match table {
            "services" => (
                &names::SERVICE_KEY,
                manifest.services.keys().cloned().collect(),
            ),
            "databases" => (
                &names::DATA_KEY,
                manifest.databases.keys().cloned().collect(),
            ),
            "caches" => (&names::DATA_KEY, manifest.caches.keys().cloned().collect()),
            _ => (&names::SECRET_KEY, manifest.secret_keys()),
        };
        let of_own = manifest.was(table);
        for (key, origin) in &of_own {
            let path = KeyPath::new([table, key, "was"]);
            if !rule.accepts(origin) {
                let message = format!("`{origin}` cannot name a {what}");
                report.error(&path, message, rule.says);
            } else if origin == key {
                let message = format!("the {what} `{key}` is called so now");
                let help =
                    "remove `was`: it says what something was called that has another key now";
                report.error(&path, message, help);
            }
        }
        let said = keys.into_iter().map(|key| {
            let (origin, path) = match (of_own.get(&key), table) {
                (Some(origin), _) => (origin.clone(), KeyPath::new([table, &key, "was"])),
                (None, "secrets") => (manifest.secret_origin(&key), of_secret(manifest, &key)),
                (None, _) => (key.clone(), KeyPath::new([table, &key])),
            };
            (key, (origin, path))
        });
        apart(what, &said.collect(), report);
    }
}

/// By key: the origin, and where the manifest says it.
type Said = BTreeMap<String, (String, KeyPath)>;

/// No two things have one origin, and none has another's key of today.
fn apart(what: &str, said: &Said, report: &mut Report<'_>) {
    let mut taken: BTreeMap<&String, &String> = BTreeMap::new();
    let renamed = said.iter().filter(|(key, (origin, _))| *key != origin);
    for (key, (origin, path)) in renamed {
        if said.contains_key(origin) {
            let message = format!("the {what} `{key}` was no `{origin}`: that is another one");
            let help = format!(
                "where `{key}` was `{origin}`, let the other {what} have another key; else remove `was`"
            );
            report.error(path, message, help);
        } else if let Some(first) = taken.insert(origin, key) {
            let message = format!("both `{first}` and `{key}` would be what was `{origin}`");
            report.error(
                path,
                message,
                "one thing is called otherwise: remove the other `was`",
            );
        }
    }
}

/// Where the manifest says what a secret was called: of one that is called after a database or a
/// cache, there.
fn of_secret(manifest: &Manifest, key: &str) -> KeyPath {
    let made = manifest.data_secrets().into_iter();
    let mut made = made.filter(|(secret, _)| secret == key);
    let of_it = made.next().and_then(|(_, path)| path.parent());
    of_it.map_or_else(|| KeyPath::new(["secrets", key]), |of_it| of_it.join("was"))
}
