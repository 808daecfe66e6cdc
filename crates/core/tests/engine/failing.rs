//! Failures stay in their target; what is not ours or cannot be seen is never touched.

use deployer_core::address::CloudName;
use deployer_core::engine::Failed;
use deployer_core::error::ErrorKind;

use crate::fake::bench::Bench;
use crate::fake::wanted::Wanted;
use crate::fake::world::{OURS, Strike};

/// Applies a first version where AWS is blocked by one node: nothing of it is touched, and Google
/// Cloud is done.
async fn check_blocked(bench: &Bench, kind: ErrorKind, what: &str) {
    let before = bench.api(CloudName::Aws).world().picture();
    let prepared = bench.plan(&Wanted::first()).await;
    let [blocked] = &prepared.blocked[..] else {
        panic!("{:?}", prepared.blocked)
    };
    assert_eq!(blocked.error.kind(), kind);
    assert!(
        blocked.address.to_string().ends_with(what),
        "{}",
        blocked.address
    );
    let verdicts = bench
        .carry_out(&prepared, Default::default())
        .await
        .unwrap();
    assert!(bench.api(CloudName::Aws).writes().is_empty());
    assert_eq!(bench.api(CloudName::Aws).world().picture(), before);
    assert!(
        !verdicts[&CloudName::Aws].succeeded(),
        "what was not touched did not succeed"
    );
    assert!(verdicts[&CloudName::Gcp].succeeded(), "{verdicts:#?}");
    assert!(
        bench
            .api(CloudName::Gcp)
            .world()
            .services
            .contains_key("idp")
    );
    bench.check_traces().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_on_one_cloud_holds_only_its_own_nodes() {
    let bench = Bench::both();
    bench
        .api(CloudName::Aws)
        .arm(Some((1, Strike::BeforeEffect)));
    let verdicts = bench.apply(&Wanted::first()).await;
    let aws = &verdicts[&CloudName::Aws];
    assert_eq!(aws.failed.len(), 1, "{aws:#?}");
    assert!(
        aws.held
            .iter()
            .any(|address| address.kind == "fake.service"),
        "{aws:#?}"
    );
    assert!(!aws.interrupted);
    assert!(
        aws.held
            .iter()
            .all(|address| address.cloud == CloudName::Aws)
    );
    assert!(bench.api(CloudName::Aws).world().services.is_empty());
    assert!(verdicts[&CloudName::Gcp].succeeded(), "{verdicts:#?}");
    assert!(
        bench
            .api(CloudName::Gcp)
            .world()
            .services
            .contains_key("idp")
    );
    bench.check_traces().await;
    bench.api(CloudName::Aws).arm(None);
    bench.api(CloudName::Gcp).arm(None);
    bench.apply_well(&Wanted::first()).await;
    assert!(bench.api(CloudName::Gcp).writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_nothing_of_its_target_starts_not_even_what_does_not_need_it() {
    let bench = Bench::one();
    let fast = std::time::Duration::from_millis(10);
    bench
        .aws()
        .world()
        .manners
        .calls
        .insert("CreateLogGroup", fast);
    bench.aws().arm(Some((1, Strike::BeforeEffect)));
    let verdicts = bench.apply(&Wanted::first()).await;
    let aws = &verdicts[&CloudName::Aws];
    assert_eq!(aws.failed[0].address.kind, "fake.log-group");
    assert!(
        aws.done
            .iter()
            .any(|address| address.kind == "fake.repository"),
        "what was in flight is awaited: {aws:#?}"
    );
    assert!(
        aws.held.iter().any(|address| address.kind == "fake.image"),
        "{aws:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_foreign_resource_blocks_its_target_and_is_never_touched() {
    let bench = Bench::both();
    bench
        .api(CloudName::Aws)
        .world()
        .log_groups
        .insert("idp".into(), "somebody/else".into());
    check_blocked(&bench, ErrorKind::Conflict, "fake.log-group/idp").await;
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_may_not_be_seen_blocks_its_target_and_is_never_touched() {
    let bench = Bench::both();
    bench
        .api(CloudName::Aws)
        .world()
        .manners
        .denied
        .insert("fake.secret/signing-key".into());
    check_blocked(&bench, ErrorKind::Denied, "fake.secret/signing-key").await;
}

#[tokio::test(start_paused = true)]
async fn a_leftover_that_may_not_be_seen_stays_in_the_inventory_and_blocks_its_target() {
    let bench = Bench::one();
    let mut before = Wanted::first();
    before.secrets.insert("mail-password", "secret");
    bench.apply_well(&before).await;
    bench
        .aws()
        .world()
        .manners
        .denied
        .insert("fake.secret/mail-password".into());
    bench.aws().arm(None);
    let verdicts = bench.apply(&Wanted::first()).await;
    assert!(verdicts[&CloudName::Aws].blocked);
    assert!(bench.aws().writes().is_empty());
    bench.aws().world().manners.denied.clear();
    bench.apply_well(&Wanted::first()).await;
    assert!(bench.aws().world().secrets["mail-password"].deleted);
}

#[tokio::test(start_paused = true)]
async fn a_leftover_that_somebody_took_over_is_left_alone_and_forgotten() {
    let bench = Bench::one();
    let mut before = Wanted::first();
    before.secrets.insert("mail-password", "secret");
    bench.apply_well(&before).await;
    bench
        .aws()
        .world()
        .secrets
        .get_mut("mail-password")
        .unwrap()
        .owner = "somebody/else".into();
    let prepared = bench.plan(&Wanted::first()).await;
    assert!(
        prepared
            .plan
            .notes
            .iter()
            .any(|note| note.contains("mail-password")),
        "{:?}",
        prepared.plan.notes
    );
    bench.apply_well(&Wanted::first()).await;
    assert!(!bench.aws().world().secrets["mail-password"].deleted);
    let inventory = bench.places[0].ledger.inventory().await.unwrap();
    assert!(
        !inventory
            .items
            .contains_key(&bench.address("fake.secret", "mail-password"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_roll_out_that_the_cloud_takes_back_is_a_failure_and_the_next_apply_tries_again() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    bench
        .aws()
        .world()
        .manners
        .unhealthy
        .insert("sha256:two".into());
    let wanted = Wanted::with_digest("sha256:two");
    for _ in 0..2 {
        bench.aws().arm(None);
        let verdicts = bench.apply(&wanted).await;
        let [Failed { error, .. }] = &verdicts[&CloudName::Aws].failed[..] else {
            panic!("{verdicts:#?}")
        };
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert!(
            error.to_string().contains("rolled back: 3 tasks died"),
            "{error}"
        );
        assert_eq!(bench.aws().writes().last(), Some(&"UpdateService"));
    }
    bench.check_traces().await;
}

#[tokio::test(start_paused = true)]
async fn the_inventory_knows_an_address_before_its_create() {
    let bench = Bench::one();
    for nth in 1.. {
        bench.aws().arm(Some((nth, Strike::AfterEffect)));
        if bench.apply(&Wanted::first()).await[&CloudName::Aws].succeeded() {
            assert_eq!(nth, 9, "the first apply has eight writes");
            return;
        }
        let inventory = bench.places[0].ledger.inventory().await.unwrap();
        let known =
            |kind: &str, name: &str| inventory.items.contains_key(&bench.address(kind, name));
        {
            let world = bench.aws().world();
            assert!(
                world
                    .repositories
                    .keys()
                    .all(|name| known("fake.repository", name))
            );
            assert!(world.secrets.keys().all(|name| known("fake.secret", name)));
            assert!(
                world
                    .definitions
                    .keys()
                    .all(|name| known("fake.definition", name))
            );
            assert!(
                world
                    .services
                    .keys()
                    .all(|name| known("fake.service", name))
            );
            assert!(world.log_groups.values().all(|owner| owner == OURS));
        }
        let destroy = bench.plan_destroy().await;
        bench.aws().arm(None);
        bench.carry_out(&destroy, Default::default()).await.unwrap();
        let mut world = bench.aws().world();
        assert!(
            world.services.is_empty()
                && world.definitions.is_empty()
                && world.repositories.is_empty()
        );
        world.executions.clear();
        world.secrets.clear();
    }
}
