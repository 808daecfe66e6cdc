//! Compares what two plans do; performs no IO.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::Address;
use deployer_core::plan::{Change, Plan};

/// Whether two plans do the same, in whatever order of things that do not need each other: that
/// follows the manifest's keys, which may be others by then.
pub(super) fn alike(planned: &Plan, now: &Plan) -> bool {
    let now: BTreeMap<&Address, &Change> = now.changes.iter().map(|it| (&it.address, it)).collect();
    let mut changes = planned.changes.iter();
    planned.changes.len() == now.len()
        && changes.all(|it| now.get(&it.address).is_some_and(|other| is_same(it, other)))
}

/// Whether two plans do the same with one thing.
pub(super) fn is_same(one: &Change, other: &Change) -> bool {
    let needs = |of: &Change| -> BTreeSet<Address> { of.needs.iter().cloned().collect() };
    let alike = |of: &Change| Change {
        needs: vec![],
        ..of.clone()
    };
    one.address == other.address && needs(one) == needs(other) && alike(one) == alike(other)
}
