//! What is ours and stands in no inventory: what carries our mark, and where the ledger was lost,
//! what the manifest names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{Rerun, Unlisted};
use deployer_core::compose::{self, Declared, Given, Part};
use deployer_core::error::Result;
use deployer_core::graph::Graph;
use deployer_core::ledger::{Inventory, Item, LedgerMigrations};
use deployer_core::node::{Action, Leftover, Node, Sort};
use deployer_core::ours::Past;
use deployer_core::plan::{Orphan, Prepared};
use deployer_core::spec::EnvironmentSpec;

use crate::image;
use crate::session::Place;

/// What a target has of ours that its inventory does not name.
#[derive(Default)]
pub struct Unrecorded {
    pub orphans: Vec<Orphan>,
    /// What may be there too: it could not be listed.
    pub unlisted: Vec<Unlisted>,
}

/// What carries our mark, is there, and neither the graph nor `known` has. What of it the manifest
/// adopts by `named` is released.
///
/// Errors: input, of a kind that this version does not know.
pub async fn find_marked(
    place: &Place,
    graph: &Graph,
    known: &[Orphan],
    named: &Inventory,
) -> Result<Unrecorded> {
    let marked = place.cloud.find_marked(&place.owner()).await;
    let is_known = |address: &Address| {
        let mut known = known.iter();
        graph.find(address).is_some() || known.any(|it| it.node.address() == address)
    };
    let reads = marked.found.iter().filter(|it| !is_known(it));
    let reads = reads.map(|address| async move {
        let node = place.existing(address, &Past::default())?;
        // The lists lag: much of what they name is gone. What cannot be read is shown as that by
        // the plan.
        let gone = node.observe().await.is_ok()
            && matches!(node.leftover(), Ok(Leftover::Gone | Leftover::Foreign(_)));
        Ok((!gone).then_some(node))
    });
    let nodes: Result<Vec<Option<Arc<dyn Node>>>> =
        futures::future::join_all(reads).await.into_iter().collect();
    let nodes: Vec<Arc<dyn Node>> = nodes?.into_iter().flatten().collect();
    let beside = nodes.iter().chain(known.iter().map(|it| &it.node));
    let beside: Vec<&Address> = beside.map(|it| it.address()).collect();
    let orphans = nodes.iter().map(|node| {
        let address = node.address();
        let needed = beside.iter();
        let needed = needed.filter(|it| place.cloud.may_need(&address.kind, &it.kind));
        let users = graph.iter().map(|(_, entry)| entry.node.address());
        let users = users
            .filter(|it| it.cloud == address.cloud)
            .filter(|it| place.cloud.may_need(&it.kind, &address.kind));
        Orphan {
            node: Arc::clone(node),
            needs: needed.map(|it| (*it).clone()).collect(),
            used_by: users.cloned().collect(),
            released: match named.items.get(address) {
                Some(item) if item.adopted => Some(compose::was_there(address)),
                Some(_) | None => None,
            },
        }
    });
    Ok(Unrecorded {
        orphans: orphans.collect(),
        unlisted: marked.unlisted,
    })
}

/// What the manifest names on a target, as an inventory without what runs noted. What it adopts
/// counts as there before us. Pure.
pub fn named(place: &Place) -> Inventory {
    let mut graph = Graph::new();
    let keys = place.env.services.keys();
    let given = Given {
        images: keys.map(|key| (key.clone(), image::none())).collect(),
        contents: BTreeMap::new(),
        births: BTreeMap::new(),
        migrations: Arc::new(LedgerMigrations::new(place.ledger.clone())),
        rerun: Rerun::No,
        part: Part::All,
        redeploys: BTreeMap::new(),
        held: BTreeSet::new(),
        dns: place.dns_elsewhere(),
        gates: BTreeMap::new(),
        releases: BTreeMap::new(),
    };
    let declared = compose::declare(&mut graph, place.cloud.as_ref(), &place.env, &given);
    let mut inventory = Inventory::default();
    for (_, entry) in graph.iter() {
        if entry.node.sort() != Sort::Resource {
            continue;
        }
        let address = entry.node.address().clone();
        let needs = graph.resources_needed_by(&address).into_iter().collect();
        let item = Item {
            needs,
            since: jiff::Timestamp::UNIX_EPOCH,
            adopted: is_adopted(&place.env, &declared, &address),
            ..Item::default()
        };
        inventory.items.insert(address, item);
    }
    inventory
}

/// What of `named` is there as ours and not in `known`, and a note of each record that is there and
/// stays: it carries no mark. What the manifest adopts is released, with what that needs: whether
/// it was there before is not known any more.
///
/// Errors: those of reading it.
pub async fn find_named(
    place: &Place,
    named: &Inventory,
    known: &Inventory,
) -> Result<(Vec<Orphan>, Vec<String>)> {
    let nothing = Graph::new();
    let known = known.items.keys().cloned().collect();
    let all = compose::undesired(named, &nothing, &known, |it| {
        place.existing(it, &Past::default())
    })?;
    let reads = all.iter().map(|orphan| async {
        orphan.node.observe().await?;
        orphan.node.leftover()
    });
    let read: Result<Vec<Leftover>> = futures::future::join_all(reads).await.into_iter().collect();
    let (mut there, mut notes) = (Vec::new(), Vec::new());
    for (orphan, leftover) in all.into_iter().zip(read?) {
        let address = orphan.node.address();
        match leftover {
            Leftover::There => there.push(orphan),
            Leftover::Foreign(how) if address.kind.ends_with(RECORD) => {
                notes.push(format!("{address} carries no mark, and stays: {how}"));
            }
            Leftover::Foreign(_) | Leftover::Gone => {}
        }
    }
    Ok((there, notes))
}

/// What the kinds of names in the DNS end with.
const RECORD: &str = ".record";

/// Whether the manifest adopts what has this address, or the service that it was declared for.
pub fn is_adopted(env: &EnvironmentSpec, declared: &Declared, address: &Address) -> bool {
    let mut services = declared.services.iter();
    let of_service = services.any(|(key, service)| {
        let adopts = env.services.get(key).is_some_and(|it| it.adopt);
        adopts && service.nodes.contains(address)
    });
    let secrets = env.secrets.values().map(|it| (it.adopt, &it.name));
    let databases = env.databases.values().map(|it| (it.adopt, &it.name));
    let caches = env.caches.values().map(|it| (it.adopt, &it.name));
    let mut named = secrets.chain(databases).chain(caches);
    of_service || named.any(|(adopt, name)| adopt && *name == address.name)
}

/// Whether a service of ours is there that the target's inventory does not have, and that may have
/// been lost. One that is adopted is no such.
pub fn serves_unknown(
    place: &Place,
    inventory: &Inventory,
    prepared: &Prepared,
    declared: &[Declared],
) -> bool {
    let cloud = place.name();
    let declared = declared.iter().filter(|it| it.cloud == cloud);
    let there = |address: &Address| {
        let change = prepared.plan.of(cloud).find(|it| it.address == *address);
        let there = change.is_some_and(|it| it.action != Action::Create);
        there && !inventory.items.contains_key(address)
    };
    let adopts = |key: &str| place.env.services.get(key).is_some_and(|it| it.adopt);
    let mut services = declared.flat_map(|it| &it.services);
    !inventory.whole && services.any(|(key, it)| !adopts(key) && there(&it.outputs.service))
}

/// What is said of a target whose ledger was lost although something of the environment is there.
pub fn note_lost(place: &Place, inventory: &Inventory, unlisted: &[Unlisted]) -> String {
    let mark = place.owner();
    let lacks = match inventory.items.is_empty() {
        true => "the ledger has no inventory of this environment, and things of it are there",
        false => {
            "the ledger's inventory of this environment is not whole, and things of it are there that it does not name"
        }
    };
    let said = format!(
        "{}: {lacks}: it was lost, or another one was written to. What the manifest names is known by its name, and what carries our \
         mark `{mark}` by that",
        place.name()
    );
    match unlisted.is_empty() {
        true => format!(
            "{said}; whether it was there before deployer is not known any more: take the mark off what is to stay"
        ),
        false => format!("{said}, as far as it could be listed: {}", all(unlisted)),
    }
}

/// What is said of what could not be listed where nothing tells that a ledger was lost.
pub fn note_unlisted(cloud: CloudName, unlisted: &[Unlisted]) -> Option<String> {
    (!unlisted.is_empty()).then(|| {
        format!(
            "{cloud}: what carries our mark and is in no inventory is not known, and stays: {}",
            all(unlisted)
        )
    })
}

/// What is said of what is in no inventory and was found all the same.
pub fn note_found(place: &Place, orphans: &[Orphan]) -> Option<String> {
    let found: Vec<String> = orphans
        .iter()
        .map(|it| it.node.address().to_string())
        .collect();
    (!found.is_empty()).then(|| {
        format!(
            "{}: found by our mark `{}`, in no inventory: {}",
            place.name(),
            place.owner(),
            found.join(", ")
        )
    })
}

fn all(unlisted: &[Unlisted]) -> String {
    let unlisted: Vec<String> = unlisted.iter().map(Unlisted::to_string).collect();
    unlisted.join("; ")
}
