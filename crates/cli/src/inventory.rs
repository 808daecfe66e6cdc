//! What a target's ledger knows of what is ours, and what of it nobody wants any more.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::Address;
use deployer_core::capability::{Revision, SecretVersion};
use deployer_core::compose::{self, Given};
use deployer_core::error::Result;
use deployer_core::fields::Fields;
use deployer_core::graph::Graph;
use deployer_core::ledger::Inventory;
use deployer_core::ours::Past;
use deployer_core::plan::Orphan;
use deployer_manifest::catalogue;

use crate::kept;
use crate::session::Place;

/// What the ledger of one target knows of what is ours.
pub struct Known {
    pub inventory: Inventory,
    pub left: BTreeMap<Address, Fields>,
    /// The revisions that releases were, once they were asked for: one may carry no mark.
    revisions: Vec<Fields>,
}

/// Reads what the ledger of one target knows of what is ours.
///
/// Errors: the ledger's.
pub async fn known(place: &Place) -> Result<Known> {
    let (inventory, left) = tokio::try_join!(place.ledger.inventory(), place.ledger.left())?;
    Ok(Known {
        inventory,
        left,
        revisions: Vec::new(),
    })
}

impl Known {
    /// What is known of one address.
    pub fn past(&self, address: &Address) -> Past {
        let mut past = Past::of(address, &self.inventory, &self.left);
        past.wrote.extend(self.revisions.iter().cloned());
        past
    }

    /// What the inventory has and the graph has not, but for what is spared.
    pub async fn undesired(
        &mut self,
        place: &Place,
        graph: &Graph,
        spared: &BTreeSet<Address>,
    ) -> Result<Vec<Orphan>> {
        let mut gone = self.inventory.items.keys();
        if gone.any(|it| is_recorded(it) && graph.find(it).is_none()) {
            let revisions = place.ledger.recorded_revisions().await?;
            self.revisions = revisions.into_iter().map(fields_of).collect();
        }
        compose::undesired(&self.inventory, graph, spared, |address| {
            place.existing(address, &self.past(address))
        })
    }
}

/// Whether it is of a kind whose revisions the releases name.
fn is_recorded(address: &Address) -> bool {
    let told = catalogue(address.cloud).kinds.told(&address.kind);
    told.is_some_and(|it| it.recorded)
}

fn fields_of(revision: Revision) -> Fields {
    let mut fields = Fields::new();
    fields.set("revision", revision.0);
    fields
}

/// What the inventory has and nobody wants any more. What belongs to a held service is spared, and
/// so is what serves in its place runs on.
pub async fn orphans_of(
    place: &Place,
    known: &mut Known,
    graph: &Graph,
    given: &Given,
    pinned: &[SecretVersion],
) -> Result<Vec<Orphan>> {
    let mut everything = Graph::new();
    let unheld = Given {
        held: BTreeSet::new(),
        ..given.clone()
    };
    compose::declare(&mut everything, place.cloud.as_ref(), &place.env, &unheld);
    let mut spared: BTreeSet<Address> = everything
        .iter()
        .map(|(_, entry)| entry.node.address().clone())
        .chain(kept::for_one_offs(place))
        .collect();
    let store = place.cloud.secrets();
    let is_pinned = |address: &&Address| {
        let mut pinned = pinned.iter();
        pinned.any(|version| store.is_of(version, address))
    };
    let secrets: Vec<&Address> = known.inventory.items.keys().filter(is_pinned).collect();
    for secret in secrets {
        // And who may read it.
        spared.extend(known.inventory.users_of(secret).cloned());
        spared.insert(secret.clone());
    }
    known.undesired(place, graph, &spared).await
}
