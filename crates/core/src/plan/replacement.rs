//! Finds what takes the place of what: a generation that is made and those of the same thing that
//! go are one replacement; pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Orphan, drift};
use crate::address::Address;
use crate::fields::{FieldChange, Fields};
use crate::graph::Graph;
use crate::kind::is_tag;
use crate::node::{Action, Effect, Node};

/// Why a generation is made beside another one.
const MADE_FIRST: &str = "made first; the old one goes when nothing uses it";

/// Puts the deletes of older generations into the change that makes the new one, and says of each
/// other one what took its place.
///
/// What loses data stands for itself, as it is allowed by its own address; so does what is released.
pub(super) fn fold(
    changes: &mut [Change],
    mut deletes: Vec<Change>,
    graph: &Graph,
    orphans: &[Orphan],
    left: &BTreeMap<Address, Fields>,
) -> Vec<Change> {
    let goes = |it: &Change| it.action == Action::Delete && it.effect != Effect::LosesData;
    for orphan in orphans {
        let address = orphan.node.address();
        let mut of = deletes.iter();
        let Some(at) = of.position(|it| it.address == *address && goes(it)) else {
            continue;
        };
        let Some(newer) = newer_of(orphan, graph) else {
            continue;
        };
        let Some(change) = changes.iter_mut().find(|it| it.address == newer) else {
            continue;
        };
        if change.action == Action::Create || change.creates_first() {
            if change.replaces.is_empty() {
                change.changes = differing(orphan.node.as_ref(), change);
                if let Some(left) = left.get(address) {
                    change.drift = drift(left, &change.changes);
                }
            }
            change.action = Action::Replace;
            change.effect = Effect::Replace;
            MADE_FIRST.clone_into(&mut change.reason);
            change.replaces.push(address.clone());
            deletes.remove(at);
        } else {
            deletes[at].reason = format!("{} has taken its place", newer.name);
        }
    }
    deletes
}

/// The generation that is desired in the place of one that is not: of the same kind, with a name
/// that begins alike, and used by what the old one is used by; where nobody knows what that is, the
/// only one of such a name.
fn newer_of(orphan: &Orphan, graph: &Graph) -> Option<Address> {
    let old = orphan.node.address();
    let stem = orphan.node.stem()?;
    let alike = |it: &dyn Node| {
        let address = it.address();
        (address.cloud, &address.region, &address.kind) == (old.cloud, &old.region, &old.kind)
            && it.stem() == Some(stem)
    };
    let candidates: Vec<&Address> = graph
        .iter()
        .map(|(_, entry)| entry.node.as_ref())
        .filter(|node| alike(*node))
        .map(Node::address)
        .collect();
    let uses = |user: &Address, it: &Address| graph.resources_needed_by(user).contains(it);
    let mut shared = candidates
        .iter()
        .filter(|it| orphan.used_by.iter().any(|user| uses(user, it)));
    match (shared.next(), candidates.as_slice()) {
        (Some(found), _) => Some((*found).clone()),
        (None, [only]) => Some((*only).clone()),
        (None, _) => None,
    }
}

/// The fields in which the new one will differ from the old one. Tags that somebody put on that are
/// no difference of ours.
fn differing(old: &dyn Node, made: &Change) -> Vec<FieldChange> {
    let mut wanted = Fields::new();
    for field in &made.changes {
        if let Some(value) = &field.new {
            wanted.set_value(field.field.clone(), value.clone());
        }
    }
    let differ = old.seen().changes_to(&wanted).into_iter();
    differ
        .filter(|it| !is_tag(it) || it.new.is_some())
        .collect()
}

impl Change {
    /// Whether it is a replacement that makes the new one before the old one goes.
    pub fn creates_first(&self) -> bool {
        self.action == Action::Replace && !self.replaces.is_empty()
    }

    /// What is done with its node: one that takes the place of another one is made.
    pub fn act(&self) -> Action {
        match self.creates_first() {
            true => Action::Create,
            false => self.action,
        }
    }

    /// Every address that something is done with.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        std::iter::once(&self.address).chain(&self.replaces)
    }
}

/// The addresses of what goes when these are carried out.
pub(crate) fn going<'a>(changes: impl Iterator<Item = &'a Change>) -> BTreeSet<&'a Address> {
    changes
        .flat_map(|change| {
            let whole = matches!(change.action, Action::Delete | Action::Release);
            let itself = whole.then_some(&change.address);
            itself.into_iter().chain(&change.replaces)
        })
        .collect()
}
