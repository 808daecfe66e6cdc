//! What stays although no graph has it: secrets that the manifest names no more, while what serves
//! pins them or what a rollback makes serve, and what `deployer run` uses again.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{Revision, SecretVersion};
use deployer_core::error::Result;
use deployer_core::graph::Graph;
use deployer_core::history::History;
use deployer_core::ledger::Inventory;

use crate::held::{HeldService, Overrides};
use crate::pins;
use crate::session::Place;

/// The secret versions that the revisions pin which serve instead of what is held: the manifest may
/// not name their secrets any more.
pub async fn pinned_meanwhile(place: &Place, held: &[HeldService]) -> Result<Vec<SecretVersion>> {
    let mut pinned = Vec::new();
    for held in held.iter().filter(|held| held.cloud == place.name()) {
        let Some(spec) = place.env.services.get(&held.service) else {
            continue;
        };
        let runtime = place.cloud.services();
        let Some(serving) = place.serving(spec).await? else {
            continue;
        };
        let traffic = serving.traffic.iter().map(|(revision, _)| revision);
        let revisions: BTreeSet<&str> = traffic
            .chain(&serving.wanted)
            .map(|revision| revision.0.as_str())
            .collect();
        for revision in revisions {
            let revision = Revision(revision.to_owned());
            let of_it = runtime.pinned(&spec.name, &revision).await?;
            pinned.extend(of_it.into_values());
        }
    }
    Ok(pinned)
}

/// What `deployer run` left for its next one: no graph has it, and it stays as long as the manifest
/// has its service.
pub fn for_one_offs(place: &Place) -> BTreeSet<Address> {
    let runtime = place.cloud.services();
    let services = place.env.services.values();
    services
        .filter_map(|service| runtime.holder_of_one_offs(service))
        .collect()
}

/// A release that a plain rollback makes serve once this plan is carried out.
pub struct Kept {
    pub service: String,
    pub number: u64,
    /// What it pins.
    pub secrets: Vec<SecretVersion>,
    /// The names of these secrets.
    names: BTreeSet<String>,
}

/// What the rollbacks of a target's services go to, where a secret is about to go; `content_ids`
/// and `overrides` are what the manifest says now.
///
/// Errors: the ledger's.
pub async fn by_rollbacks(
    place: &Place,
    inventory: &Inventory,
    graph: &Graph,
    (content_ids, overrides): (&BTreeMap<String, String>, &Overrides),
) -> Result<Vec<Kept>> {
    let store = place.cloud.secrets();
    let leaving = |it: &&_| graph.find(it).is_none();
    let leaving: Vec<_> = inventory.items.keys().filter(leaving).collect();
    let mut kept = Vec::new();
    if !leaving.iter().any(|it| it.kind.ends_with(SECRET)) {
        return Ok(kept);
    }
    for (service, content_id) in content_ids {
        let releases = place.ledger.releases(service).await?;
        let follows = pins::follows(place);
        let history = History::new(&releases, &follows);
        let Some(last) = releases.last() else {
            continue;
        };
        // Once another content serves, what serves now is what served before.
        let own = overrides.get(&(place.name(), service.clone()));
        let same = last.content_id == *content_id
            && (last.overrides.is_none() || last.overrides.as_ref() == own);
        let to = match same {
            true => history.before(last),
            false => Some(last),
        };
        let Some(to) = to else { continue };
        let to = pins::pinning(place, to.clone()).await;
        let (mut secrets, mut names) = (Vec::new(), BTreeSet::new());
        for version in to.secrets.values() {
            if let Some(address) = leaving.iter().find(|it| store.is_of(version, it)) {
                names.insert(address.name.clone());
                secrets.push(version.clone());
            }
        }
        if !secrets.is_empty() {
            kept.push(Kept {
                service: service.clone(),
                number: to.number,
                secrets,
                names,
            });
        }
    }
    Ok(kept)
}

/// What the kinds of secrets end with.
const SECRET: &str = "manager.secret";

/// Says why what it pins stays.
pub fn note(cloud: CloudName, kept: &Kept) -> String {
    let names: Vec<&str> = kept.names.iter().map(String::as_str).collect();
    format!(
        "{cloud}: secret {} stays, although the manifest has it no more: r{} of `{}` pins it, and a rollback goes there",
        names.join(", "),
        kept.number,
        kept.service
    )
}
