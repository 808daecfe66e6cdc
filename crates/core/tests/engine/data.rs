//! Databases, caches and names: what comes after what, what is shown, and what is not lost.

use deployer_core::address::CloudName;
use deployer_core::fields::FieldValue;
use deployer_core::node::{Action, Effect};
use deployer_core::plan::{Change, Plan};

use crate::fake::bench::Bench;
use crate::fake::wanted::Wanted;
use crate::fake::world::{CallSort, Secret, World};

fn change<'a>(plan: &'a Plan, kind: &str, name: &str) -> &'a Change {
    let is = |change: &&Change| change.address.kind == kind && change.address.name == name;
    let found = plan.changes.iter().find(is);
    found.unwrap_or_else(|| panic!("no {kind}/{name} in {:#?}", plan.changes))
}

/// What the database's URL secret holds.
fn url(bench: &Bench) -> String {
    let world = bench.aws().world();
    world.secrets["main-url"].values.last().cloned().unwrap()
}

async fn check_settled(bench: &Bench, wanted: &Wanted) {
    bench.check_traces().await;
    let again = bench.plan(wanted).await;
    assert!(again.plan.is_empty(), "{:#?}", again.plan.changes);
    bench.aws().arm(None);
    bench.apply_well(wanted).await;
    let calls = bench.aws().calls();
    assert!(
        calls.iter().all(|call| call.sort == CallSort::Read),
        "{calls:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_url_is_made_after_its_instance_and_before_the_service_that_uses_it() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::with_data()).await;
    let events = bench.events();
    let place = |line: &str, what: &str| {
        let found = events
            .iter()
            .position(|event| event.starts_with(line) && event.contains(what));
        found.unwrap_or_else(|| panic!("no {line} of {what} in {events:#?}"))
    };
    for (first, then) in [
        ("fake.secret/main-password", "fake.database/main"),
        ("fake.database/main", "fake.secret/main-url"),
        ("fake.secret/main-url", "fake.definition/idp"),
        ("fake.secret/sessions-token", "fake.cache/sessions"),
        ("fake.cache/sessions", "fake.secret/sessions-url"),
    ] {
        assert!(
            place("done", first) < place("started Create", then),
            "{first} before {then}"
        );
    }
    let world = bench.aws().world();
    let password = world.secrets["main-password"].values[0].clone();
    drop(world);
    assert_eq!(
        url(&bench),
        format!("postgresql://app:{password}@main.test:5432/app?sslmode=require")
    );
}

#[tokio::test(start_paused = true)]
async fn the_database_and_the_cache_start_at_the_same_time() {
    let bench = Bench::one();
    let began = bench.clock.elapsed();
    bench.apply_well(&Wanted::with_data()).await;
    let took = bench.clock.elapsed() - began;
    let longest = bench.aws().world().manners.instance;
    assert!(took < longest * 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_first_plan_shows_a_url_as_known_after_apply_and_a_second_plan_is_empty() {
    let bench = Bench::one();
    let wanted = Wanted::with_data();
    let plan = bench.plan(&wanted).await.plan;
    let secret = change(&plan, "fake.secret", "main-url");
    assert_eq!(secret.action, Action::Create);
    let known_after = bench.address("fake.database", "main");
    let value = secret
        .changes
        .iter()
        .find(|change| change.field == "value")
        .unwrap();
    assert_eq!(value.new, Some(FieldValue::AfterApply { known_after }));
    bench.apply_well(&wanted).await;
    check_settled(&bench, &wanted).await;
}

#[tokio::test(start_paused = true)]
async fn no_password_and_no_url_is_in_a_plan_a_report_or_the_ledger() {
    let bench = Bench::one();
    let wanted = Wanted::with_data();
    let before = bench.plan(&wanted).await.plan;
    bench.apply_well(&wanted).await;
    let larger = Wanted {
        database: Some("large"),
        ..wanted
    };
    let after = bench.plan(&larger).await.plan;
    bench.apply_well(&larger).await;
    let ledger = &bench.places[0].ledger;
    let run = ledger.last_run().await.unwrap().unwrap();
    let written = format!("{before:?}{after:?}{:?}{:?}", bench.events(), run.entries);
    let world = bench.aws().world();
    for secret in world.secrets.values() {
        for value in &secret.values {
            assert!(!written.contains(value.as_str()), "{value} is in {written}");
        }
    }
    assert!(!written.contains("postgresql://") && !written.contains("rediss://"));
}

#[tokio::test(start_paused = true)]
async fn another_size_changes_the_instance_alone() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::with_data()).await;
    let before = url(&bench);
    bench.aws().arm(None);
    let larger = Wanted {
        database: Some("large"),
        ..Wanted::with_data()
    };
    bench.apply_well(&larger).await;
    assert_eq!(bench.aws().writes(), ["ModifyDatabase"]);
    assert_eq!(url(&bench), before);
    check_settled(&bench, &larger).await;
}

#[tokio::test(start_paused = true)]
async fn another_password_becomes_another_url_and_another_revision() {
    let bench = Bench::one();
    let wanted = Wanted::with_data();
    bench.apply_well(&wanted).await;
    let before = url(&bench);
    let by_hand = "by hand".to_owned();
    let put = |secret: &mut Secret| secret.values.push(by_hand);
    bench
        .aws()
        .world()
        .secrets
        .get_mut("main-password")
        .map(put)
        .unwrap();
    bench.aws().arm(None);
    bench.apply_well(&wanted).await;
    assert_ne!(url(&bench), before);
    let writes = bench.aws().writes();
    let order = ["ModifyDatabase", "PutSecretVersion", "RegisterDefinition"];
    assert_eq!(writes[..3], order, "{writes:?}");
    assert!(writes.contains(&"UpdateService"));
    check_settled(&bench, &wanted).await;
}

#[tokio::test(start_paused = true)]
async fn a_database_that_left_the_manifest_loses_data_and_a_cache_does_not() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::with_data()).await;
    let without = Wanted {
        database: None,
        cache: false,
        ..Wanted::with_data()
    };
    let prepared = bench.plan(&without).await;
    let losses: Vec<_> = prepared
        .plan
        .losses()
        .map(|loss| loss.address.clone())
        .collect();
    assert_eq!(losses, [bench.address("fake.database", "main")]);
    assert_eq!(
        change(&prepared.plan, "fake.cache", "sessions").effect,
        Effect::InPlace
    );
    // Allowed by name, it goes after everything that uses it.
    bench
        .carry_out(&prepared, Default::default())
        .await
        .unwrap();
    assert!(bench.aws().world().databases.is_empty());
    check_settled(&bench, &without).await;
}

#[tokio::test(start_paused = true)]
async fn a_destroy_leaves_no_data_store_and_an_apply_afterwards_succeeds() {
    let bench = Bench::one();
    let wanted = Wanted {
        record: Some("main-balancer"),
        ..Wanted::with_data()
    };
    bench.apply_well(&wanted).await;
    let prepared = bench.plan_destroy().await;
    bench
        .carry_out(&prepared, Default::default())
        .await
        .unwrap();
    let left = |world: &World| world.databases.len() + world.caches.len() + world.records.len();
    assert_eq!(left(&bench.aws().world()), 0);
    bench.apply_well(&wanted).await;
    check_settled(&bench, &wanted).await;
}

#[tokio::test(start_paused = true)]
async fn a_name_follows_the_manifest_and_a_foreign_one_is_not_touched() {
    let bench = Bench::one();
    let leading = |to| Wanted {
        record: Some(to),
        ..Wanted::first()
    };
    let theirs = "someone-elses".to_owned();
    let name = "idp.example.com".to_owned();
    bench
        .aws()
        .world()
        .records
        .insert(name.clone(), theirs.clone());
    let verdicts = bench.apply(&leading("one")).await;
    assert!(!verdicts[&CloudName::Aws].succeeded());
    assert_eq!(bench.aws().world().records[&name], theirs);
    bench.aws().world().records.clear();
    for to in ["one", "two"] {
        bench.apply_well(&leading(to)).await;
        assert_eq!(bench.aws().world().records[&name], to);
        check_settled(&bench, &leading(to)).await;
    }
}
