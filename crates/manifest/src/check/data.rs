//! Checks databases and caches before any target is looked at, and what each target offers of them.

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use deployer_core::catalogue::{Catalogue, Standby};

use crate::check::secrets::used;
use crate::model::{Database, Manifest};
use crate::names::{self, Rule};
use crate::problem::{Part, Report};
use crate::source::KeyPath;

/// The user and the database that every instance has, on both clouds: nobody makes them, and
/// anybody may use them.
const EVERYWHERE: &str = "postgres";

pub(super) fn check(manifest: &Manifest, report: &mut Report<'_>) {
    for (key, database) in &manifest.databases {
        let path = KeyPath::new(["databases", key]);
        key_rule(key, &path, report);
        postgres(database, &path, report);
        for section in manifest.targets.all() {
            database_on(section.catalogue(), database, &path, report);
        }
    }
    // Which versions of Redis there are changes, and each cloud says so itself.
    for key in manifest.caches.keys() {
        key_rule(key, &KeyPath::new(["caches", key]), report);
    }
    secrets(manifest, report);
    unused(manifest, report);
}

/// The oldest major version that the community keeps: each lives five years, and 13 ended in
/// November 2025.
const OLDEST_KEPT: u16 = 14;

fn key_rule(key: &str, path: &KeyPath, report: &mut Report<'_>) {
    if !names::DATA_KEY.accepts(key) {
        let message = format!("`{key}` cannot name {}", names::DATA_KEY.what);
        report.key_error(path, message, names::DATA_KEY.says);
    }
}

fn postgres(database: &Database, path: &KeyPath, report: &mut Report<'_>) {
    // Which majors there are changes every year, and each cloud says so itself; only the shape is
    // ours.
    if !(10..=99).contains(&database.version) {
        let message = format!("`{}` is no major version of PostgreSQL", database.version);
        let help = "write the major version alone, such as 16";
        report.error(&path.join("version"), message, help);
    } else if database.version < OLDEST_KEPT {
        let message = format!("PostgreSQL {} is not maintained any more", database.version);
        let help = "upgrade: the clouds charge more for such a version, and upgrade it by themselves at last";
        report.warning(&path.join("version"), Part::Value, message, help);
    }
    let named: [(&str, &'static Rule, &Option<String>); 2] = [
        ("database", &names::POSTGRES_DATABASE, &database.database),
        ("user", &names::POSTGRES_USER, &database.user),
    ];
    for (field, rule, given) in named {
        let Some(name) = given else { continue };
        if !rule.accepts(name) {
            let message = format!("`{name}` cannot name {}", rule.what);
            report.error(&path.join(field), message, rule.says);
        } else if names::is_reserved_in_postgres(name) && name != EVERYWHERE {
            let message = format!("`{name}` is reserved in PostgreSQL or by a cloud");
            report.error(&path.join(field), message, "choose another name");
        }
    }
}

/// What a cloud takes of disk and backups.
fn database_on(
    catalogue: &Catalogue,
    database: &Database,
    path: &KeyPath,
    report: &mut Report<'_>,
) {
    let offers = &catalogue.database;
    let (place, days) = (offers.product, offers.backup_days);
    let storage = database.storage.0.0;
    let at = path.join("storage");
    if !storage.is_multiple_of(1024) {
        let up = storage.div_ceil(1024);
        report.error(&at, "disks come in whole GiB", format!("write \"{up}GiB\""));
    } else if !offers.storage_gib.contains(&(storage / 1024)) {
        let (least, most) = (offers.storage_gib.start(), offers.storage_gib.end());
        let message = format!("{place} has no disk of {}", database.storage.0);
        report.error(&at, message, format!("from {least} GiB to {most} GiB"));
    }
    if u32::from(database.backup_days) > days {
        let message = format!("{place} keeps no backups for {} days", database.backup_days);
        let help = format!("from 0 (none) to {days} days");
        report.error(&path.join("backup_days"), message, help);
    }
    let needs_backups = offers.standby == Standby::WithBackups;
    if needs_backups && database.high_availability && database.backup_days == 0 {
        let message = format!(
            "on {} a standby needs backups and point-in-time recovery",
            catalogue.title
        );
        let help = "let `backup_days` be 1 or more, or `high_availability` be false";
        report.error(&path.join("backup_days"), message, help);
    }
}

/// Each secret that is made comes from one thing, and nowhere else.
fn secrets(manifest: &Manifest, report: &mut Report<'_>) {
    let mut taken: BTreeMap<String, KeyPath> = BTreeMap::new();
    for (name, pair) in &manifest.keys {
        for (half, secret) in [("private", &pair.private), ("public", &pair.public)] {
            taken.insert(secret.clone(), KeyPath::new(["keys", name, half]));
        }
    }
    for (secret, path) in manifest.data_secrets() {
        if !names::SECRET_KEY.accepts(&secret) {
            let message = format!("`{secret}` cannot name a secret");
            report.error(&path, message, names::SECRET_KEY.says);
        }
        let table = KeyPath::new(["secrets", &secret]);
        let targets = CloudName::ALL.map(|cloud| {
            let table = ["targets", cloud.as_str(), "secrets", &secret];
            KeyPath::new(table)
        });
        for table in std::iter::once(table).chain(targets) {
            let from = table.join("from");
            if report.has_place(&from) {
                let of = path.parent().unwrap_or_default();
                let message = format!("the secret `{secret}` is made with `{of}`");
                let help = "remove `from`; `name`, `inject` and `on_rollback` may stay";
                report.key_error(&from, message, help);
            }
        }
        if let Some(first) = taken.insert(secret.clone(), path.clone()) {
            let message = format!("the secret `{secret}` would hold two things");
            let help = format!("the other is `{first}`; give one of them another secret");
            report.error(&path, message, help);
        }
    }
}

/// A database that nobody connects to costs as much as one that is used.
fn unused(manifest: &Manifest, report: &mut Report<'_>) {
    let used = used(manifest);
    let databases = manifest.databases.iter();
    let databases = databases.map(|(key, own)| ("database", key, own.url_secret(key)));
    let caches = manifest.caches.iter();
    let caches = caches.map(|(key, own)| ("cache", key, own.url_secret(key)));
    for (what, key, secret) in databases.chain(caches) {
        if !used.contains(&secret) {
            let path = KeyPath::new([&format!("{what}s"), key]);
            let message = format!("no service uses the {what} `{key}`");
            let help =
                format!("write {{ secret = \"{secret}\" }} in a service's `env`, or remove it");
            report.warning(&path, Part::Key, message, help);
        }
    }
}
