//! What the manifest calls otherwise than by the key that its names in the clouds are made from, as
//! a plan tells it.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::CloudName;
use deployer_core::ledger::{Inventory, Ledger, RunHeader};
use deployer_core::spec::EnvironmentSpec;
use deployer_manifest::{Manifest, Renamed};

/// Says of everything that has another key than it was first applied under what that means, once
/// for all targets.
pub fn notes(manifest: &Manifest) -> Vec<String> {
    let renamed = manifest.renamed().into_iter();
    let notes = renamed.map(|it| {
        let Renamed { what, key, origin } = it;
        format!("{what} `{key}` was `{origin}`: its names in the clouds keep `{origin}`")
    });
    notes.collect()
}

/// Says of which `was` a target tells that it is not what was meant: there is nothing that was made
/// under that key, and there is what was made under another one. What a plan makes of it is what
/// the manifest says: it makes anew what is there, and deletes that.
///
/// A ledger whose last header cannot be read says nothing of the manifest before.
pub async fn doubts(
    manifest: &Manifest,
    (env, ledger): (&EnvironmentSpec, &Ledger),
    cloud: CloudName,
    inventory: &Inventory,
) -> Vec<String> {
    let renamed = manifest.renamed();
    if renamed.is_empty() {
        return Vec::new();
    }
    let plain = manifest.without_was();
    let plain = plain.environment_spec(cloud, &env.environment);
    let Ok(plain) = plain else {
        return Vec::new();
    };
    let before = ledger.recent_runs(1).await.unwrap_or_default();
    let before = before.first().and_then(manifest_of);
    let there: BTreeSet<&str> = inventory.items.keys().map(|it| it.name.as_str()).collect();
    let doubts = renamed.into_iter().filter_map(|it| {
        let made = name_of(env, &it)?;
        if there.contains(made) {
            return None;
        }
        let Renamed { what, key, origin } = &it;
        let older = before.as_ref().and_then(|before| was_itself(before, &it));
        if let Some(first) = older {
            return Some(format!(
                "{cloud}: {what} `{origin}` was `{first}` itself: write `was = \"{first}\"` in \
                 `{key}`, the key under which it was first applied; as it stands this plan makes it anew"
            ));
        }
        let today = name_of(&plain, &it).filter(|name| there.contains(name))?;
        Some(format!(
            "{cloud}: {what} `{key}` was made as `{today}`, and nothing is there that was `{origin}`: \
             remove `was = \"{origin}\"`, or this plan makes it anew"
        ))
    });
    doubts.collect()
}

fn manifest_of(header: &RunHeader) -> Option<Manifest> {
    serde_json::from_value(header.manifest.clone()).ok()
}

/// What the thing was called first that the manifest before called by this origin.
fn was_itself(before: &Manifest, renamed: &Renamed) -> Option<String> {
    let all = before.renamed().into_iter();
    let mut same = all.filter(|it| it.what == renamed.what && it.key == renamed.origin);
    same.next().map(|it| it.origin)
}

/// Its name in the cloud.
fn name_of<'a>(env: &'a EnvironmentSpec, renamed: &Renamed) -> Option<&'a str> {
    fn of<'a, T>(
        table: &'a BTreeMap<String, T>,
        key: &str,
        name: fn(&T) -> &String,
    ) -> Option<&'a str> {
        table.get(key).map(|it| name(it).as_str())
    }
    let key = renamed.key.as_str();
    match renamed.what {
        "service" => of(&env.services, key, |it| &it.name),
        "database" => of(&env.databases, key, |it| &it.name),
        "cache" => of(&env.caches, key, |it| &it.name),
        _ => of(&env.secrets, key, |it| &it.name),
    }
}
