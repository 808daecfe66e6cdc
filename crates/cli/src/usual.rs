//! How long what a plan does usually takes: as the last runs took, and for databases and caches
//! that no run made, times of ours.

use std::collections::BTreeMap;

use deployer_core::address::{Address, CloudName};
use deployer_core::node::Action;
use deployer_core::plan::{Change, Plan};
use deployer_core::usual::Usual;
use deployer_manifest::catalogue;

use crate::session::{Place, Session};
use crate::view::plan::counts_in_time;

/// How many of the last runs of a target are looked through, at most. Ours.
const RUNS: usize = 5;

/// Learns from the last runs of each target, newest first, until it is known what everything that
/// counts takes. A plan that changes nothing asks nobody.
async fn learn(session: &Session, plan: &Plan) -> Usual {
    let mut usual = Usual::default();
    for place in &session.places {
        learn_on(&mut usual, place, plan).await;
    }
    usual
}

async fn learn_on(usual: &mut Usual, place: &Place, plan: &Plan) {
    let counts = |it: &&Change| it.action != Action::NoOp && counts_in_time(&it.address);
    let wanted: Vec<&Change> = plan.of(place.name()).filter(counts).collect();
    let is_known = |usual: &Usual| {
        let mut wanted = wanted.iter();
        wanted.all(|it| usual.of(&it.address, it.act()).is_some())
    };
    if is_known(usual) {
        return;
    }
    // It is for people alone: of a ledger that does not answer nothing is known.
    let headers = place.ledger.recent_runs(RUNS).await.unwrap_or_default();
    for header in headers {
        let Ok(Some(run)) = place.ledger.run(header.number).await else {
            continue;
        };
        usual.learn(&run.entries);
        if is_known(usual) {
            return;
        }
    }
}

/// In seconds, how long each node takes to which this plan does anything, where that is known.
pub async fn of(session: &Session, plan: &Plan) -> BTreeMap<Address, u64> {
    if plan.is_empty() {
        return BTreeMap::new();
    }
    // The ledgers are asked once; of one that does not answer nothing is known.
    let usual = session.usual.get_or_init(|| learn(session, plan)).await;
    let changed = plan.changes.iter().filter(|it| it.action != Action::NoOp);
    let known = changed.filter_map(|it| {
        let took = usual.of(&it.address, it.act()).map(|it| it.as_secs());
        Some((it.address.clone(), took.or_else(|| of_vendors(plan, it))?))
    });
    known.filter(|(_, seconds)| *seconds > 0).collect()
}

/// What the vendor takes, as far as its kind knows. In a sandbox, none of whose things is the
/// vendor's, that says nothing.
fn of_vendors(plan: &Plan, change: &Change) -> Option<u64> {
    let mut targets = plan.targets.iter();
    let target = targets.find(|it| it.cloud == change.address.cloud)?;
    let makes = matches!(change.action, Action::Create | Action::Replace);
    let kind = change.address.kind.as_str();
    let mut clouds = CloudName::ALL.into_iter();
    let takes = clouds.find_map(|cloud| catalogue(cloud).kinds.takes(kind));
    takes
        .filter(|_| makes && !target.sandbox)
        .map(|it| it.as_secs())
}
