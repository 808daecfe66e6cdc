//! Compares what two plans do; performs no IO.

use std::collections::BTreeSet;

use deployer_core::address::Address;
use deployer_core::plan::{Change, Plan};

/// Whether two plans do the same, in whatever order of things that do not need each other: that
/// follows the manifest's keys, which may be others by then.
pub(super) fn alike(planned: &Plan, now: &Plan) -> bool {
    let all = |of: &Plan, other: &Plan| {
        let mut changes = of.changes.iter();
        changes.all(|it| other.changes.iter().any(|other| is_same(it, other)))
    };
    planned.changes.len() == now.changes.len() && all(planned, now) && all(now, planned)
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
