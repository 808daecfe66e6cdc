//! What a shell may complete: the words of this manifest. Reads files of this machine alone, and is
//! silent where one cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap_complete::engine::CompletionCandidate;
use deployer_core::address::{Address, CloudName, Target};
use deployer_core::ledger::{Inventory, Ledger};
use deployer_manifest::{Inputs, Loaded, catalogue};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;

use crate::clock::SystemClock;
use crate::destroyed;
use crate::whereabouts::{self, MANIFEST};

/// The services of the manifest.
pub fn services() -> Vec<CompletionCandidate> {
    let loaded = loaded();
    candidates(loaded.iter().flat_map(|it| it.manifest.services.keys()))
}

/// What a plan can be shown of: services, databases and caches of the manifest.
pub fn things() -> Vec<CompletionCandidate> {
    let loaded = loaded();
    let manifests = loaded.iter().map(|it| &it.manifest);
    let all = manifests.flat_map(|it| {
        let stores = it.databases.keys().chain(it.caches.keys());
        it.services.keys().chain(stores)
    });
    candidates(all)
}

/// The secrets of the manifest.
pub fn secrets() -> Vec<CompletionCandidate> {
    let loaded = loaded();
    candidates(loaded.iter().flat_map(|it| it.manifest.secrets.keys()))
}

/// The environments that files tell of, and those that a ledger on this machine knows. What is left
/// of one that was destroyed are its records: only who reads those is offered it.
pub fn environments() -> Vec<CompletionCandidate> {
    let typed = Typed::read(std::env::args_os());
    let known = deployer_manifest::environments(&typed.manifest).unwrap_or_default();
    let mut recorded: BTreeSet<String> =
        read(|ledger, _| async move { ledger.environments().await.unwrap_or_default() })
            .into_iter()
            .collect();
    let reads = std::env::args().any(|word| whereabouts::OF_RECORDS.contains(&word.as_str()));
    if !reads {
        recorded.retain(|name| !is_destroyed(&typed, name));
    }
    candidates(known.iter().map(|it| &it.name).chain(&recorded))
}

/// Whether an environment was destroyed wherever it was.
fn is_destroyed(typed: &Typed, name: &str) -> bool {
    let typed = Typed {
        environment: Some(name.to_owned()),
        ..typed.clone()
    };
    let ends = read_of(typed, |ledger, _| async move {
        match ledger.last_run().await {
            Ok(Some(last)) => vec![destroyed::at(&ledger, &last).await],
            Ok(None) => Vec::new(),
            Err(error) => vec![Err(error)],
        }
    });
    !ends.is_empty() && ends.iter().all(|end| matches!(end, Ok(Some(_))))
}

/// The releases that a ledger on this machine has, newest first, and their tags.
pub fn releases() -> Vec<CompletionCandidate> {
    let mut found: BTreeMap<u64, String> = BTreeMap::new();
    let mut tags = BTreeSet::new();
    let all = read(|ledger, loaded| async move {
        let mut all = Vec::new();
        for service in loaded.manifest.services.keys() {
            all.extend(ledger.releases(service).await.unwrap_or_default());
        }
        all
    });
    for release in all {
        tags.extend(release.tag.clone());
        found.insert(release.number, release.tag.unwrap_or_default());
    }
    let numbers = found.iter().rev().map(|(number, tag)| {
        CompletionCandidate::new(format!("r{number}")).help(Some(tag.clone().into()))
    });
    numbers.chain(candidates(tags.iter())).collect()
}

/// The runs whose failures a ledger on this machine has, newest first.
pub fn reported() -> Vec<CompletionCandidate> {
    const MOST: usize = 20;
    let all = read(|ledger, _| async move { ledger.reported(MOST).await.unwrap_or_default() });
    let all: BTreeSet<u64> = all.into_iter().collect();
    let all = all.into_iter().rev();
    all.map(|number| CompletionCandidate::new(number.to_string()))
        .collect()
}

/// The last runs that a ledger on this machine has, newest first.
pub fn runs() -> Vec<CompletionCandidate> {
    const MOST: usize = 20;
    let all = read(|ledger, _| async move { ledger.recent_runs(MOST).await.unwrap_or_default() });
    let all: BTreeMap<u64, String> = all.into_iter().map(|it| (it.number, it.command)).collect();
    let all = all.into_iter().rev();
    all.map(|(number, command)| {
        CompletionCandidate::new(number.to_string()).help(Some(command.into()))
    })
    .collect()
}

/// What may lose its data: the addresses in the inventory of a ledger on this machine that hold
/// any.
pub fn losable() -> Vec<CompletionCandidate> {
    let all = read(|ledger, _| async move {
        let inventory = ledger.inventory().await.unwrap_or_default();
        holding(inventory).collect()
    });
    let all: Vec<String> = all.iter().map(Address::to_string).collect();
    candidates(all.iter())
}

/// The same, and the word for all of it.
pub fn losable_or_all() -> Vec<CompletionCandidate> {
    let mut all = losable();
    all.push(CompletionCandidate::new("all").help(Some("of this environment".into())));
    all
}

fn holding(inventory: Inventory) -> impl Iterator<Item = Address> {
    let items = inventory.items.into_iter().filter(|(address, item)| {
        let kind = address.kind.as_str();
        let holds = catalogue(address.cloud).kinds.holds_data(kind, item.data);
        // What was adopted is released.
        holds && !item.adopted
    });
    items.map(|(address, _)| address)
}

/// The addresses in the inventory of a ledger on this machine.
pub fn addresses() -> Vec<CompletionCandidate> {
    let all = read(|ledger, _| async move {
        let inventory = ledger.inventory().await.unwrap_or_default();
        inventory.items.into_keys().collect()
    });
    let all: Vec<String> = all.iter().map(Address::to_string).collect();
    candidates(all.iter())
}

fn candidates<'a>(words: impl Iterator<Item = &'a String>) -> Vec<CompletionCandidate> {
    let words: BTreeSet<&String> = words.collect();
    words.into_iter().map(CompletionCandidate::new).collect()
}

/// What the line so far names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Typed {
    manifest: PathBuf,
    environment: Option<String>,
}

impl Typed {
    /// Reads the words that the shell hands over.
    fn read(words: impl IntoIterator<Item = OsString>) -> Self {
        let words: Vec<String> = words
            .into_iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let value = |names: [&str; 2]| {
            let mut found = None;
            for (at, word) in words.iter().enumerate() {
                let joined = word.strip_prefix(&format!("{}=", names[1]));
                if let Some(value) = joined {
                    found = Some(value.to_owned());
                } else if names.contains(&word.as_str()) {
                    found = words.get(at + 1).cloned().or(found);
                }
            }
            found.filter(|value| !value.is_empty())
        };
        let folder = value(["-C", "--directory"]).map(PathBuf::from);
        let folder = folder.unwrap_or_default();
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let manifest = value(["-f", "--manifest"]).or_else(|| variable("DEPLOYER_MANIFEST"));
        Self {
            manifest: folder.join(manifest.map_or_else(|| above(&folder), PathBuf::from)),
            environment: value(["-e", "--env"]).or_else(|| variable("DEPLOYER_ENV")),
        }
    }
}

/// The usual manifest, as every command finds it.
fn above(folder: &Path) -> PathBuf {
    match folder.as_os_str().is_empty() {
        true => whereabouts::usual(),
        false => PathBuf::from(MANIFEST),
    }
}

/// The manifest, where its names can be read.
fn loaded() -> Option<Loaded> {
    loaded_of(Typed::read(std::env::args_os()))
}

fn loaded_of(typed: Typed) -> Option<Loaded> {
    deployer_manifest::load_to_read(&Inputs {
        manifest: typed.manifest,
        environment: typed.environment,
        vars: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        set: Vec::new(),
    })
    .ok()
}

/// Reads the environment's ledgers in a folder of this machine, as those of a sandbox are: one
/// after the other, by target.
fn read<T, F: Future<Output = Vec<T>>>(look: impl Fn(Ledger, Loaded) -> F) -> Vec<T> {
    read_of(Typed::read(std::env::args_os()), look)
}

fn read_of<T, F: Future<Output = Vec<T>>>(
    typed: Typed,
    look: impl Fn(Ledger, Loaded) -> F,
) -> Vec<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let (Some(loaded), Ok(runtime)) = (loaded_of(typed), runtime) else {
        return Vec::new();
    };
    let folder = loaded.base_dir.join(".deployer/ledger");
    let Ok(store) = LocalFileSystem::new_with_prefix(&folder) else {
        return Vec::new();
    };
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    runtime.block_on(async {
        let mut found = Vec::new();
        for target in targets(&loaded) {
            let moved = catalogue(target.cloud).kinds.moved;
            let ledger = Ledger::new(
                Arc::clone(&store),
                &Key::default(),
                &loaded.manifest.app,
                &loaded.environment,
                target,
                Arc::new(SystemClock),
            )
            .moved(moved)
            .renamed(loaded.manifest.renames());
            found.extend(look(ledger, loaded.clone()).await);
        }
        found
    })
}

fn targets(loaded: &Loaded) -> Vec<Target> {
    let clouds = CloudName::ALL.into_iter();
    let targets = clouds.filter_map(|cloud| {
        let (account, region) = loaded.manifest.place(cloud)?;
        Some(Target {
            cloud,
            account: account.to_owned(),
            region: region.to_owned(),
            sandbox: true,
        })
    });
    targets.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_so_far_says_which_manifest_and_environment() {
        let read = |words: &[&str]| Typed::read(words.iter().map(OsString::from));
        let typed = read(&[
            "deployer",
            "logs",
            "-f",
            "a/deployer.toml",
            "--env=production",
            "",
        ]);
        assert_eq!(typed.manifest, Path::new("a/deployer.toml"));
        assert_eq!(typed.environment.as_deref(), Some("production"));
        let typed = read(&["deployer", "-C", "sub", "logs", ""]);
        assert_eq!(typed.manifest, Path::new("sub/deployer.toml"));
        // The word that is being completed is no value yet.
        assert_eq!(read(&["deployer", "plan", "-e", ""]).environment, None);
    }

    #[test]
    fn only_what_holds_data_and_would_be_deleted_is_offered_to_lose_it() {
        let mut inventory = Inventory::default();
        for (address, adopted) in [
            ("aws/us-east-1/rds.instance/shop-main", false),
            ("aws/us-east-1/rds.instance/theirs", true),
            ("aws/us-east-1/ecs.service/shop-web", false),
            ("gcp/us-central1/sql.instance/shop-main", false),
            ("gcp/us-central1/run.service/shop-web", false),
        ] {
            let item = serde_json::json!({
                "needs": [], "since": "2026-11-30T17:00:00Z", "adopted": adopted,
            });
            let address: Address = address.parse().unwrap();
            let item = serde_json::from_value(item).unwrap();
            inventory.items.insert(address, item);
        }
        let offered: Vec<String> = holding(inventory).map(|it| it.to_string()).collect();
        assert_eq!(
            offered,
            [
                "aws/us-east-1/rds.instance/shop-main",
                "gcp/us-central1/sql.instance/shop-main"
            ]
        );
    }
}
