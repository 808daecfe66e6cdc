//! What another hand changed is told apart from what the manifest changed, field by field.

use deployer_core::fields::FieldValue;
use deployer_core::node::Action;
use deployer_core::plan::{Change, Prepared};

use crate::fake::bench::Bench;
use crate::fake::wanted::Wanted;

/// Applies and remembers what that left, as the command line does.
async fn applied() -> Bench {
    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    let settled = bench.plan(&Wanted::first()).await;
    assert!(settled.plan.is_empty());
    let nodes = settled.graph.iter().map(|(_, entry)| &entry.node);
    let left = nodes.map(|node| (node.address().clone(), node.wanted()));
    *bench.left.lock().unwrap() = left.collect();
    bench
}

fn service(prepared: &Prepared) -> &Change {
    let mut changes = prepared.plan.changes.iter();
    changes
        .find(|it| it.address.kind == "fake.service")
        .unwrap()
}

fn known(value: &str) -> Option<FieldValue> {
    Some(FieldValue::Known(value.into()))
}

#[tokio::test(start_paused = true)]
async fn a_field_that_another_hand_changed_is_drift_and_one_that_the_manifest_changed_is_not() {
    let bench = applied().await;
    bench
        .aws()
        .world()
        .services
        .get_mut("idp")
        .unwrap()
        .replicas = 7;
    let prepared = bench.plan(&Wanted::first()).await;
    let change = service(&prepared);
    assert_eq!(change.action, Action::Update);
    let [drift] = &change.drift[..] else {
        panic!("{change:#?}")
    };
    assert_eq!(
        (drift.field.as_str(), &drift.left),
        ("replicas", &known("2"))
    );

    let bench = applied().await;
    let mut wanted = Wanted::first();
    wanted.replicas = 3;
    let prepared = bench.plan(&wanted).await;
    assert_eq!(service(&prepared).action, Action::Update);
    assert!(service(&prepared).drift.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_field_that_both_changed_says_what_was_left_there() {
    let bench = applied().await;
    bench
        .aws()
        .world()
        .services
        .get_mut("idp")
        .unwrap()
        .replicas = 7;
    let mut wanted = Wanted::first();
    wanted.replicas = 3;
    let prepared = bench.plan(&wanted).await;
    let change = service(&prepared);
    assert_eq!(change.drift[0].left, known("2"));
    let field = change
        .changes
        .iter()
        .find(|it| it.field == "replicas")
        .unwrap();
    assert_eq!((&field.old, &field.new), (&known("7"), &known("3")));
}

#[tokio::test(start_paused = true)]
async fn what_another_hand_deleted_is_made_again_and_the_plan_says_that_it_was_left_there() {
    let bench = applied().await;
    bench.aws().world().services.clear();
    let prepared = bench.plan(&Wanted::first()).await;
    let change = service(&prepared);
    assert_eq!(change.action, Action::Create);
    assert!(
        change.reason.contains("the last apply left it there"),
        "{}",
        change.reason
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_record_of_the_last_apply_nobody_is_accused() {
    let bench = applied().await;
    bench.left.lock().unwrap().clear();
    bench
        .aws()
        .world()
        .services
        .get_mut("idp")
        .unwrap()
        .replicas = 7;
    let prepared = bench.plan(&Wanted::first()).await;
    assert!(service(&prepared).drift.is_empty());
}
