//! A kind that bears no mark is declared as every other one: what the ledger knows tells whose its
//! things are, and no tag of them is compared or written.

use deployer_core::address::{Address, CloudName};
use deployer_core::engine::{OnFailure, Verdict};
use deployer_core::node::Action;
use deployer_core::plan::Prepared;

use crate::fake::bench::{Bench, How};
use crate::fake::route::Route;
use crate::fake::world::Strike;

const OURS: Route = Route { hop: "gateway" };
const THEIRS: Route = Route { hop: "tunnel" };

async fn plan(bench: &Bench, wanted: Route, adopt: bool) -> Prepared {
    let mut graph = bench.graph().await;
    bench.places[0].cloud.route(&mut graph, wanted, adopt);
    bench.plan_of(graph).await
}

async fn carry_out(bench: &Bench, prepared: &Prepared) -> Verdict {
    let how = How {
        on_failure: OnFailure::Undo,
        ..How::default()
    };
    let mut verdicts = bench.carry_out(prepared, how).await.unwrap();
    verdicts.remove(&CloudName::Aws).unwrap()
}

async fn apply(bench: &Bench, wanted: Route, adopt: bool) -> Verdict {
    let prepared = plan(bench, wanted, adopt).await;
    carry_out(bench, &prepared).await
}

/// Why nothing of it is touched.
fn refusal(prepared: &Prepared) -> String {
    let blocked = prepared.blocked.iter();
    let blocked: Vec<String> = blocked.map(|it| it.error.to_string()).collect();
    blocked.join("\n")
}

fn address(bench: &Bench) -> Address {
    bench.address("fake.route", "west")
}

fn there(bench: &Bench) -> Option<Route> {
    bench.aws().world().routes.get("west").cloned()
}

/// Somebody's route stands there.
fn put(bench: &Bench, route: Route) {
    bench.aws().world().routes.insert("west".into(), route);
}

async fn destroy(bench: &Bench) -> Action {
    let prepared = bench.plan_destroy().await;
    let action = prepared.plan.changes[0].action;
    assert!(carry_out(bench, &prepared).await.succeeded());
    let inventory = bench.places[0].ledger.inventory().await.unwrap();
    assert!(inventory.items.is_empty());
    action
}

#[tokio::test(start_paused = true)]
async fn it_is_made_changed_and_deleted_and_no_tag_of_it_is_planned() {
    let bench = Bench::one();
    let prepared = plan(&bench, THEIRS, false).await;
    let fields = prepared.plan.changes[0].changes.iter();
    let fields: Vec<&str> = fields.map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["next hop"]);
    assert!(carry_out(&bench, &prepared).await.succeeded());
    assert!(plan(&bench, THEIRS, false).await.plan.is_empty());

    bench.aws().arm(None);
    assert!(apply(&bench, OURS, false).await.succeeded());
    assert_eq!(bench.aws().writes(), ["ReplaceRoute"]);
    assert_eq!(there(&bench), Some(OURS));
    assert_eq!(destroy(&bench).await, Action::Delete);
    assert_eq!(there(&bench), None);
}

#[tokio::test(start_paused = true)]
async fn one_that_another_hand_changed_is_refused_and_stays() {
    let bench = Bench::one();
    assert!(apply(&bench, OURS, false).await.succeeded());
    put(&bench, THEIRS);
    let refusal = refusal(&plan(&bench, OURS, false).await);
    let why = "it is not as a run of ours wrote it, and a route takes no tag";
    assert!(refusal.contains(why), "{refusal}");
    let prepared = bench.plan_destroy().await;
    carry_out(&bench, &prepared).await;
    assert_eq!(there(&bench), Some(THEIRS));
}

#[tokio::test(start_paused = true)]
async fn one_that_no_ledger_knows_is_somebodys_also_where_it_is_just_as_wanted() {
    let bench = Bench::one();
    put(&bench, OURS);
    let refusal = refusal(&plan(&bench, OURS, false).await);
    let why = "no run of ours made it, and a route takes no tag";
    assert!(refusal.contains(why), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn one_that_was_taken_over_is_let_go_and_stays() {
    let bench = Bench::one();
    put(&bench, THEIRS);
    assert!(apply(&bench, OURS, true).await.succeeded());
    assert_eq!(there(&bench), Some(OURS));
    let inventory = bench.places[0].ledger.inventory().await.unwrap();
    assert!(inventory.items[&address(&bench)].adopted);
    assert_eq!(destroy(&bench).await, Action::Release);
    assert_eq!(there(&bench), Some(OURS));
}

#[tokio::test(start_paused = true)]
async fn one_whose_reply_was_lost_is_ours_and_is_taken_back_by_an_undo() {
    let bench = Bench::one();
    bench.aws().arm(Some((1, Strike::AfterEffect)));
    let verdict = apply(&bench, OURS, false).await;
    assert!(!verdict.succeeded(), "{verdict:#?}");
    assert_eq!(there(&bench), None);
}

#[tokio::test(start_paused = true)]
async fn one_that_somebody_made_meanwhile_is_left_alone_by_this_run_and_later_ones() {
    let bench = Bench::one();
    let prepared = plan(&bench, OURS, false).await;
    put(&bench, THEIRS);
    let verdict = carry_out(&bench, &prepared).await;
    let failed = verdict.failed.iter().map(|it| it.error.to_string());
    let failed: Vec<String> = failed.collect();
    assert!(
        failed
            .iter()
            .any(|it| it.contains("exists and is not ours")),
        "{failed:?}"
    );
    // The inventory knows it all the same: it was to be made.
    assert!(!refusal(&plan(&bench, OURS, false).await).is_empty());
    let prepared = bench.plan_destroy().await;
    carry_out(&bench, &prepared).await;
    assert_eq!(there(&bench), Some(THEIRS));
}
