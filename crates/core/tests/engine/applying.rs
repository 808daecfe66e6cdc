//! What is written, in which order, and what is not.

use deployer_core::fields::FieldValue;
use deployer_core::node::Action;

use crate::fake::bench::Bench;
use crate::fake::wanted::Wanted;
use crate::fake::world::{CallSort, Definition};

/// Applies `wanted` over `before`: it writes exactly `writes`, and a second plan is empty and
/// writes nothing.
async fn check(before: Option<&Wanted>, wanted: &Wanted, writes: &[&str]) -> Bench {
    let bench = Bench::one();
    if let Some(before) = before {
        bench.apply_well(before).await;
    }
    bench.aws().arm(None);
    bench.apply_well(wanted).await;
    let mut written = bench.aws().writes();
    let mut expected = writes.to_vec();
    written.sort_unstable();
    expected.sort_unstable();
    assert_eq!(written, expected);
    check_settled(&bench, wanted).await;
    bench
}

async fn check_settled(bench: &Bench, wanted: &Wanted) {
    bench.check_traces().await;
    bench.aws().arm(None);
    let again = bench.plan(wanted).await;
    assert!(again.plan.is_empty(), "{:#?}", again.plan.changes);
    bench.apply_well(wanted).await;
    assert!(
        bench
            .aws()
            .calls()
            .iter()
            .all(|call| call.sort == CallSort::Read)
    );
}

fn serving(bench: &Bench) -> Definition {
    let world = bench.aws().world();
    let revision = world.services["idp"].serving().expect("something serves");
    world.definition(revision).cloned().unwrap()
}

const FIRST: [&str; 8] = [
    "CreateSecret",
    "CreateSecret",
    "CreateRepository",
    "CopyImage",
    "CreateLogGroup",
    "RegisterDefinition",
    "RunMigration",
    "CreateService",
];

#[tokio::test(start_paused = true)]
async fn a_first_apply_creates_everything_in_an_order_of_dependencies_and_the_second_writes_nothing()
 {
    let bench = check(None, &Wanted::first(), &FIRST).await;
    let events = bench.events();
    let place = |line: &str, kind: &str| {
        let found = events
            .iter()
            .position(|event| event.starts_with(line) && event.contains(kind));
        found.unwrap_or_else(|| panic!("no {line} of {kind} in {events:#?}"))
    };
    for (first, then) in [
        ("fake.repository", "fake.image"),
        ("fake.image", "fake.definition"),
        ("fake.secret", "fake.definition"),
        ("fake.log-group", "fake.definition"),
        ("fake.definition", "fake.migration"),
        ("fake.migration", "fake.service"),
    ] {
        assert!(
            place("done", first) < place("started Create", then),
            "{first} before {then}"
        );
    }
    assert_eq!(serving(&bench).image, "registry.test/idp-images@sha256:one");
}

#[tokio::test(start_paused = true)]
async fn a_code_only_change_makes_exactly_the_writes_that_it_needs() {
    let writes = [
        "CopyImage",
        "RegisterDefinition",
        "RunMigration",
        "UpdateService",
    ];
    let bench = check(
        Some(&Wanted::first()),
        &Wanted::with_digest("sha256:two"),
        &writes,
    )
    .await;
    assert_eq!(serving(&bench).image, "registry.test/idp-images@sha256:two");
}

#[tokio::test(start_paused = true)]
async fn a_changed_setting_rolls_the_service_out_without_a_migration() {
    let wanted = Wanted {
        greeting: "good day",
        ..Wanted::first()
    };
    check(
        Some(&Wanted::first()),
        &wanted,
        &["RegisterDefinition", "UpdateService"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn more_replicas_change_the_service_alone() {
    let wanted = Wanted {
        replicas: 3,
        ..Wanted::first()
    };
    check(Some(&Wanted::first()), &wanted, &["UpdateService"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_secret_rolls_the_service_out() {
    let mut wanted = Wanted::first();
    wanted.secrets.insert("signing-key", "key two");
    let writes = ["PutSecretVersion", "RegisterDefinition", "UpdateService"];
    let bench = check(Some(&Wanted::first()), &wanted, &writes).await;
    assert_eq!(serving(&bench).secrets["SIGNING_KEY"], "signing-key#2");
}

#[tokio::test(start_paused = true)]
async fn another_database_is_migrated_even_with_the_same_image() {
    let mut wanted = Wanted::first();
    wanted.secrets.insert("database-url", "postgres://two");
    let writes = [
        "PutSecretVersion",
        "RegisterDefinition",
        "RunMigration",
        "UpdateService",
    ];
    check(Some(&Wanted::first()), &wanted, &writes).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_removed_is_deleted_after_the_service_no_longer_needs_it() {
    let mut before = Wanted::first();
    before.secrets.insert("mail-password", "secret");
    let writes = ["RegisterDefinition", "UpdateService", "DeleteSecret"];
    let bench = check(Some(&before), &Wanted::first(), &writes).await;
    assert!(bench.aws().world().secrets["mail-password"].deleted);
    let inventory = bench.places[0].ledger.inventory().await.unwrap();
    assert!(
        !inventory
            .items
            .contains_key(&bench.address("fake.secret", "mail-password"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_comes_back_is_restored() {
    let mut with = Wanted::first();
    with.secrets.insert("mail-password", "secret");
    let bench = Bench::one();
    for wanted in [&with, &Wanted::first()] {
        bench.apply_well(wanted).await;
    }
    bench.aws().arm(None);
    bench.apply_well(&with).await;
    assert_eq!(
        bench.aws().writes(),
        ["RestoreSecret", "RegisterDefinition", "UpdateService"]
    );
    check_settled(&bench, &with).await;
}

#[tokio::test(start_paused = true)]
async fn a_destroy_deletes_dependents_first_and_an_apply_afterwards_succeeds_at_once() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    bench.aws().arm(None);
    let prepared = bench.plan_destroy().await;
    let verdicts = bench
        .carry_out(&prepared, Default::default())
        .await
        .unwrap();
    assert!(
        verdicts.values().all(|verdict| verdict.succeeded()),
        "{verdicts:#?}"
    );
    let writes = bench.aws().writes();
    assert_eq!(writes[..2], ["DeleteService", "DeregisterDefinitions"]);
    assert_eq!(writes.len(), 6, "{writes:?}");
    assert!(
        bench.places[0]
            .ledger
            .inventory()
            .await
            .unwrap()
            .items
            .is_empty()
    );
    bench.check_traces().await;
    bench.apply_well(&Wanted::first()).await;
    check_settled(&bench, &Wanted::first()).await;
}

#[tokio::test(start_paused = true)]
async fn the_deletes_of_a_plan_come_after_those_of_their_dependents() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    let plan = bench.plan_destroy().await.plan;
    let change = |kind: &str| {
        plan.changes
            .iter()
            .find(|change| change.address.kind == kind)
            .unwrap()
    };
    assert!(
        change("fake.repository")
            .needs
            .contains(&change("fake.service").address)
    );
    assert!(change("fake.service").needs.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_value_is_shown_as_known_after_apply() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    let plan = bench.plan(&Wanted::with_digest("sha256:two")).await.plan;
    let definition = plan
        .changes
        .iter()
        .find(|change| change.address.kind == "fake.definition")
        .unwrap();
    assert_eq!(definition.action, Action::Update);
    let [image] = &definition.changes[..] else {
        panic!("{:?}", definition.changes)
    };
    let known_after = bench.address("fake.image", "idp-images");
    assert_eq!(image.new, Some(FieldValue::AfterApply { known_after }));
    assert_eq!(
        image.new.as_ref().unwrap().to_string(),
        "(known after apply)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_inputs_turn_out_equal_is_not_written() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    bench
        .aws()
        .world()
        .secrets
        .get_mut("signing-key")
        .unwrap()
        .note = "by hand".into();
    bench
        .aws()
        .world()
        .secrets
        .get_mut("database-url")
        .unwrap()
        .note = "by hand".into();
    bench.aws().arm(None);
    let prepared = bench.plan(&Wanted::first()).await;
    assert_eq!(
        (prepared.plan.counts().update, prepared.plan.counts().create),
        (4, 1),
        "all that may follow is shown"
    );
    let verdicts = bench
        .carry_out(&prepared, Default::default())
        .await
        .unwrap();
    assert!(verdicts.values().all(|verdict| verdict.succeeded()));
    assert_eq!(bench.aws().writes(), ["NoteSecret", "NoteSecret"]);
    check_settled(&bench, &Wanted::first()).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_inventory_is_made_again_from_what_is_there() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    let ledger = &bench.places[0].ledger;
    let needs = |items: deployer_core::ledger::Inventory| -> Vec<_> {
        items
            .items
            .into_iter()
            .map(|(address, item)| (address, item.needs))
            .collect()
    };
    let before = needs(ledger.inventory().await.unwrap());
    ledger.write_inventory(&Default::default()).await.unwrap();
    bench.apply_well(&Wanted::first()).await;
    assert_eq!(needs(ledger.inventory().await.unwrap()), before);
}
