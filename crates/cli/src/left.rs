//! Keeps in the ledgers what each run left in the clouds, so that the next plan can tell another
//! hand's changes from the manifest's.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName};
use deployer_core::engine::Verdict;
use deployer_core::error::Result;
use deployer_core::kind::Role;
use deployer_core::node::{Action, Sort};
use deployer_core::plan::{Change, Prepared};
use deployer_manifest::catalogue;

use crate::session::{Place, Session};
use crate::unwritten::Unwritten;

/// Before a run: of what it changes nothing is known until it has ended well. Durable before the
/// first call.
pub async fn forget_changed(place: &Place, prepared: &Prepared) -> Result<()> {
    let changes = prepared.plan.changes.iter();
    let changed: BTreeSet<&Address> = changes
        .filter(|change| match change.action {
            // What a delete that fails leaves is as it was.
            Action::NoOp | Action::Delete | Action::Release => false,
            Action::Create | Action::Update | Action::Replace => true,
        })
        .map(|change| &change.address)
        .collect();
    forget(place, |address| changed.contains(address)).await
}

/// Before a change of ours that no plan makes: nobody else is to be accused of it.
pub async fn forget(place: &Place, changes: impl Fn(&Address) -> bool) -> Result<()> {
    let mut left = place.ledger.left().await?;
    let before = left.len();
    left.retain(|address, _| !changes(address));
    match left.len() == before {
        true => Ok(()),
        false => place.ledger.write_left(left).await,
    }
}

/// After a run: what is there is what the manifest says, for everything that was so already or was
/// made so. Each target for itself.
pub async fn note(
    session: &Session,
    prepared: &Prepared,
    verdicts: &BTreeMap<CloudName, Verdict>,
    unwritten: &mut Unwritten,
) {
    for place in &session.places {
        if let Some(verdict) = verdicts.get(&place.name()) {
            unwritten.keep(place.name(), note_on(place, prepared, verdict).await);
        }
    }
}

async fn note_on(place: &Place, prepared: &Prepared, verdict: &Verdict) -> Result<()> {
    let before = place.ledger.left().await?;
    let mut left = before.clone();
    let done: BTreeSet<&Address> = verdict.done.iter().collect();
    let is_unfinished =
        |change: &&Change| change.action != Action::NoOp && !done.contains(&change.address);
    // What was made for a roll-out that failed is not what serves, and a cloud that puts back what
    // served before tells of that: nobody else is to be accused of it.
    let in_vain: BTreeSet<&Address> = prepared
        .plan
        .of(place.name())
        .filter(is_unfinished)
        .flat_map(|change| &change.needs)
        .collect();
    for change in prepared.plan.of(place.name()) {
        let address = &change.address;
        let as_desired = match change.action {
            // A revision of an earlier run that failed is there, and serves as little as then.
            Action::NoOp if is_revision(address) && in_vain.contains(address) => false,
            Action::NoOp => change.settling.is_none() || done.contains(address),
            Action::Create | Action::Update | Action::Replace => {
                done.contains(address) && !in_vain.contains(address)
            }
            Action::Delete | Action::Release if !done.contains(address) => continue,
            Action::Delete | Action::Release => false,
        };
        let node = prepared.graph.find(address);
        match node.filter(|_| as_desired && change.sort == Sort::Resource) {
            Some(id) => left.insert(address.clone(), prepared.graph.entry(id).node.wanted()),
            None => left.remove(address),
        };
        for older in change.replaces.iter().filter(|it| done.contains(it)) {
            left.remove(older);
        }
    }
    for gone in &prepared.gone {
        left.remove(gone);
    }
    if left != before {
        place.ledger.write_left(left).await?;
    }
    Ok(())
}

/// Whether a cloud tells of what serves when it is asked for one.
fn is_revision(address: &Address) -> bool {
    catalogue(address.cloud).kinds.role(&address.kind) == Some(Role::Revision)
}
