//! Decides what must change: reads everything at once, then compares, node by node, without IO.

mod replacement;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::address::{Address, CloudName, Target};
use crate::error::{Error, Result};
use crate::fields::{FieldChange, FieldValue, Fields, KEPT};
use crate::graph::Graph;
use crate::node::{Action, Effect, Leftover, Node, Sort};
use crate::redeploy;

pub(crate) use replacement::going;

/// How many nodes of one kind are read at once.
const READS_AT_ONCE: usize = 20;

/// What is to be done with one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The node.
    pub address: Address,
    /// Resource or step.
    pub sort: Sort,
    /// What is to be done.
    pub action: Action,
    /// Why, for people.
    pub reason: String,
    /// The fields that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
    /// The gravest effect among them.
    pub effect: Effect,
    /// Nothing differs, but it still settles: what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settling: Option<String>,
    /// The fields that another hand changed since the last apply, among those that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
    /// The nodes it comes after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Address>,
    /// Of a replacement that creates first: the older generations of the same thing, which go when
    /// nothing uses them any more. Empty where the thing itself is deleted first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<Address>,
}

/// A field that is not as the last apply left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The field.
    pub field: String,
    /// What the last apply left there. `None`: nothing.
    pub left: Option<FieldValue>,
}

/// The pure result of desired and actual. Holds no secret value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The app.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// The targets, in print order.
    pub targets: Vec<Target>,
    /// Every node, in an order of dependencies; deletes last.
    pub changes: Vec<Change>,
    /// What people should know beside the changes: holds, kept secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// A hash of everything that was observed.
    pub fingerprint: String,
}

/// How many changes of each action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// `+`
    pub create: usize,
    /// `~`
    pub update: usize,
    /// `-/+`
    pub replace: usize,
    /// `-`
    pub delete: usize,
    /// `.`
    pub release: usize,
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.changes
            .iter()
            .all(|change| change.action == Action::NoOp)
    }

    /// How many changes of each action.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for change in &self.changes {
            match change.action {
                Action::NoOp => {}
                Action::Create => counts.create += 1,
                Action::Update => counts.update += 1,
                Action::Replace => counts.replace += 1,
                Action::Delete => counts.delete += 1,
                Action::Release => counts.release += 1,
            }
        }
        counts
    }

    /// The changes of one cloud, in order.
    pub fn of(&self, cloud: CloudName) -> impl Iterator<Item = &Change> {
        self.changes
            .iter()
            .filter(move |change| change.address.cloud == cloud)
    }

    /// The changes that cannot be made without losing data.
    pub fn losses(&self) -> impl Iterator<Item = &Change> {
        self.changes
            .iter()
            .filter(|change| change.action != Action::NoOp && change.effect == Effect::LosesData)
    }
}

/// A node that is no longer desired.
pub struct Orphan {
    /// The node; it can be read and deleted.
    pub node: Arc<dyn Node>,
    /// What it needed when it was made: it goes before these.
    pub needs: BTreeSet<Address>,
    /// What was made from it, by the inventory: these may still use it until they have changed.
    pub used_by: BTreeSet<Address>,
    /// Why it is released, and not deleted. `None` for what is deleted.
    pub released: Option<String>,
}

/// A target, or one node of it, that could not be planned.
#[derive(Debug)]
pub struct Blocked {
    /// The node.
    pub address: Address,
    /// Why.
    pub error: Error,
}

/// A plan with the nodes that can carry it out.
pub struct Prepared {
    /// What is desired.
    pub graph: Graph,
    /// What is no longer desired and still there.
    pub orphans: Vec<Orphan>,
    /// What is to be done with each of them, dependents first: what stands in the plan by itself,
    /// and what stands there within a replacement.
    pub deletes: Vec<Change>,
    /// The plan.
    pub plan: Plan,
    /// Inventory entries of things that are gone already, or not ours any more.
    pub gone: Vec<Address>,
    /// What could not be planned. A target that stands here is not touched.
    pub blocked: Vec<Blocked>,
    /// The targets of which everything that carries our mark was listed, and whose inventories do
    /// not say yet that they have it all.
    pub listed: BTreeSet<CloudName>,
}

impl Prepared {
    /// Whether a cloud has something that could not be planned.
    pub fn is_blocked(&self, cloud: CloudName) -> bool {
        self.blocked
            .iter()
            .any(|blocked| blocked.address.cloud == cloud)
    }
}

/// What a plan is of.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The app.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// The targets.
    pub targets: Vec<Target>,
    /// What people should know.
    pub notes: Vec<String>,
    /// What the last applies left, where it is known: it tells another hand's changes from the
    /// manifest's.
    pub left: BTreeMap<Address, Fields>,
}

/// Reads every node of every target at once and compares. Writes nothing.
///
/// A node that cannot be read or compared blocks its own target only; see [`Prepared::blocked`].
pub async fn prepare(subject: Subject, graph: Graph, orphans: Vec<Orphan>) -> Prepared {
    let nodes: Vec<Arc<dyn Node>> = graph
        .iter()
        .map(|(_, entry)| Arc::clone(&entry.node))
        .chain(orphans.iter().map(|orphan| Arc::clone(&orphan.node)))
        .collect();
    let mut blocked = observe(&nodes).await;
    let unread: BTreeSet<Address> = blocked.iter().map(|b| b.address.clone()).collect();
    let (mut changes, mut kept) = (Vec::new(), Vec::new());
    for (_, entry) in graph
        .iter()
        .filter(|(_, entry)| !unread.contains(entry.node.address()))
    {
        let needs = entry
            .needs
            .iter()
            .map(|id| graph.entry(*id).node.address().clone())
            .collect();
        match compare(entry.node.as_ref(), needs, &subject.left) {
            Ok(change) => {
                kept.extend(kept_by(entry.node.as_ref(), &change, &subject.left));
                changes.push(change);
            }
            Err(error) => blocked.push(Blocked {
                address: entry.node.address().clone(),
                error,
            }),
        }
    }
    let leftovers = sort(orphans, &unread);
    let mut notes = subject.notes;
    notes.extend(kept);
    notes.extend(graph.iter().flat_map(|(_, entry)| {
        let address = entry.node.address();
        let of = entry.node.notes().into_iter();
        of.map(move |note| format!("{address}: {note}"))
    }));
    notes.extend(leftovers.notes);
    blocked.extend(leftovers.blocked);
    let orphans = leftovers.there;
    let deletes = deletes(&orphans);
    let alone = replacement::fold(
        &mut changes,
        deletes.clone(),
        &graph,
        &orphans,
        &subject.left,
    );
    changes.extend(alone);
    let plan = Plan {
        app: subject.app,
        environment: subject.environment,
        targets: subject.targets,
        changes,
        notes,
        fingerprint: fingerprint(&nodes),
    };
    Prepared {
        graph,
        orphans,
        deletes,
        plan,
        gone: leftovers.gone,
        blocked,
        listed: BTreeSet::new(),
    }
}

#[derive(Default)]
struct Leftovers {
    there: Vec<Orphan>,
    gone: Vec<Address>,
    blocked: Vec<Blocked>,
    notes: Vec<String>,
}

fn sort(orphans: Vec<Orphan>, unread: &BTreeSet<Address>) -> Leftovers {
    let mut sorted = Leftovers::default();
    for orphan in orphans {
        let address = orphan.node.address().clone();
        if unread.contains(&address) {
            continue;
        }
        match orphan.node.leftover() {
            Ok(Leftover::There) => {
                let of = orphan.node.notes().into_iter();
                let of = of.map(|note| format!("{address}: {note}"));
                sorted.notes.extend(of);
                sorted.there.push(orphan);
            }
            Ok(Leftover::Gone) => sorted.gone.push(address),
            Ok(Leftover::Foreign(how)) => {
                let note = format!("{address} is left alone, it is not ours any more: {how}");
                sorted.notes.push(note);
                sorted.gone.push(address);
            }
            Err(error) => sorted.blocked.push(Blocked { address, error }),
        }
    }
    sorted
}

/// Reads everything: each kind beside the others, since each has an API of its own with a rate of
/// its own, and what is of one kind next to each other, so that calls that take several names get
/// them.
async fn observe(nodes: &[Arc<dyn Node>]) -> Vec<Blocked> {
    let mut kinds: BTreeMap<(CloudName, &str), Vec<&Arc<dyn Node>>> = BTreeMap::new();
    for node in nodes {
        let address = node.address();
        let kind = kinds.entry((address.cloud, &address.kind)).or_default();
        kind.push(node);
    }
    let kinds = kinds.into_values().map(|nodes| {
        futures::stream::iter(nodes)
            .map(|node| async move {
                let result = node.observe().await;
                result.err().map(|error| Blocked {
                    address: node.address().clone(),
                    error,
                })
            })
            .buffer_unordered(READS_AT_ONCE)
            .filter_map(std::future::ready)
    });
    futures::stream::select_all(kinds.map(Box::pin))
        .collect()
        .await
}

fn compare(
    node: &dyn Node,
    needs: Vec<Address>,
    left: &BTreeMap<Address, Fields>,
) -> Result<Change> {
    let left = left.get(node.address());
    node.recall(left);
    let mut verdict = node.compare()?;
    node.objection(left)?;
    let drift = match (verdict.action, left) {
        (Action::Update | Action::Replace, Some(left)) => drift(left, &verdict.changes),
        (Action::Create, Some(_)) if node.sort() == Sort::Resource => {
            verdict.reason = format!("{}, and the last apply left it there", verdict.reason);
            Vec::new()
        }
        _ => Vec::new(),
    };
    Ok(Change {
        address: node.address().clone(),
        sort: node.sort(),
        action: verdict.action,
        reason: verdict.reason,
        changes: verdict.changes,
        drift,
        effect: verdict.effect,
        settling: verdict.settling,
        needs,
        replaces: Vec::new(),
    })
}

/// What another hand changed of what is carried over: no difference, since it stays as it is.
fn kept_by(node: &dyn Node, change: &Change, left: &BTreeMap<Address, Fields>) -> Vec<String> {
    let Some(left) = left.get(node.address()) else {
        return Vec::new();
    };
    let (address, seen) = (node.address(), node.seen());
    let differ = left.changes_to(&seen).into_iter();
    let carried = differ
        .filter(|differs| differs.field.starts_with(KEPT))
        .filter(|differs| !change.changes.iter().any(|it| it.field == differs.field));
    let text = |value: &Option<FieldValue>| match value {
        Some(value) => value.to_string(),
        None => "(none)".to_owned(),
    };
    carried
        .map(|differs| {
            let field = &differs.field[KEPT.len()..];
            let (old, new) = (text(&differs.old), text(&differs.new));
            format!("{address}: another hand changed {field}, which stays: {old} -> {new}")
        })
        .collect()
}

/// Which of these differences nobody asked for: the cloud says something else than what the last
/// apply left. Of a field that the manifest says for the first time the last apply left nothing.
fn drift(left: &Fields, changes: &[FieldChange]) -> Vec<Drift> {
    let known = |value: Option<&FieldValue>| !matches!(value, Some(FieldValue::AfterApply { .. }));
    changes
        .iter()
        .map(|change| (change, left.get(&change.field)))
        .filter(|(change, left)| known(*left) && *left != change.old.as_ref())
        .filter(|(change, left)| left.is_some() || change.new.is_none())
        // It is asked for once, and nothing of it stays.
        .filter(|(change, _)| change.field != redeploy::FIELD)
        .map(|(change, left)| Drift {
            field: change.field.clone(),
            left: left.cloned(),
        })
        .collect()
}

/// The deletes, dependents first; each needs the deletes of its dependents.
fn deletes(orphans: &[Orphan]) -> Vec<Change> {
    let mut left: Vec<&Orphan> = orphans.iter().collect();
    let mut ordered: Vec<Change> = Vec::new();
    while !left.is_empty() {
        let (now, later): (Vec<&Orphan>, Vec<&Orphan>) = left
            .iter()
            .partition(|one| !left.iter().any(|other| must_precede(other, one)));
        // A circle cannot come from our own graphs; a damaged inventory still gets deleted, in any
        // order.
        let (now, later) = if now.is_empty() {
            (later, Vec::new())
        } else {
            (now, later)
        };
        let earlier: BTreeSet<Address> = ordered
            .iter()
            .map(|change| change.address.clone())
            .collect();
        ordered.extend(now.into_iter().map(|orphan| {
            let dependents = orphans.iter().filter(|other| must_precede(other, orphan));
            let needs = dependents
                .map(|other| other.node.address().clone())
                .filter(|dependent| earlier.contains(dependent))
                .collect();
            delete(orphan, needs)
        }));
        left = later;
    }
    ordered
}

fn must_precede(dependent: &Orphan, one: &Orphan) -> bool {
    dependent.needs.contains(one.node.address())
}

fn delete(orphan: &Orphan, needs: Vec<Address>) -> Change {
    let (action, reason) = match &orphan.released {
        Some(why) => (Action::Release, why.clone()),
        None => (Action::Delete, "it is no longer in the manifest".to_owned()),
    };
    let effect = match action == Action::Delete && orphan.node.is_guarded() {
        true => Effect::LosesData,
        false => Effect::InPlace,
    };
    Change {
        address: orphan.node.address().clone(),
        sort: Sort::Resource,
        action,
        reason,
        changes: Vec::new(),
        drift: Vec::new(),
        effect,
        settling: None,
        needs,
        replaces: Vec::new(),
    }
}

fn fingerprint(nodes: &[Arc<dyn Node>]) -> String {
    let seen: BTreeMap<String, Fields> = nodes
        .iter()
        .map(|node| (node.address().to_string(), node.seen()))
        .collect();
    let text = serde_json::to_vec(&seen).unwrap_or_default();
    hex::encode(sha2::Sha256::digest(text))
}
