//! Migrations: before traffic moves, at most once per key, again only on a person's word.

use std::time::Duration;

use deployer_core::address::CloudName;
use deployer_core::capability::Rerun;
use deployer_core::engine::Failed;
use deployer_core::error::ErrorKind;

use crate::fake::bench::{Bench, Crash, How};
use crate::fake::wanted::Wanted;
use crate::fake::world::Strike;

/// Version 1 serves, and version 2's migration fails.
async fn failing_second() -> (Bench, Wanted) {
    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    bench
        .aws()
        .world()
        .manners
        .failing
        .insert("sha256:two".into(), "exit code 3".into());
    (bench, Wanted::with_digest("sha256:two"))
}

/// Applies, expects the migration to fail and version 1 to serve, and returns how many migrations
/// ever ran.
async fn check_failed(bench: &Bench, wanted: &Wanted) -> usize {
    let verdicts = bench.apply(wanted).await;
    let [Failed { address, error, .. }] = &verdicts[&CloudName::Aws].failed[..] else {
        panic!("{verdicts:#?}")
    };
    assert_eq!(address.kind, "fake.migration");
    assert_eq!(error.kind(), ErrorKind::Failed);
    let said = error.chain().join(": ");
    assert!(said.contains("exit code 3"), "{said}");
    bench.check_traces().await;
    let world = bench.aws().world();
    let revision = world.services["idp"].serving().unwrap();
    assert_eq!(
        world.definition(revision).unwrap().image,
        "registry.test/idp-images@sha256:one"
    );
    world.executions.len()
}

#[tokio::test(start_paused = true)]
async fn a_migration_that_fails_stops_before_traffic_moves_and_is_not_retried_by_itself() {
    let (bench, wanted) = failing_second().await;
    assert_eq!(check_failed(&bench, &wanted).await, 2);
    bench.aws().arm(None);
    assert_eq!(check_failed(&bench, &wanted).await, 2);
    assert!(
        bench.aws().writes().is_empty(),
        "{:?}",
        bench.aws().writes()
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_migration_runs_again_on_a_persons_word() {
    let (bench, wanted) = failing_second().await;
    check_failed(&bench, &wanted).await;
    bench.aws().world().manners.failing.clear();
    bench.aws().arm(None);
    let wanted = Wanted {
        rerun: Rerun::Failed,
        ..wanted
    };
    bench.apply_well(&wanted).await;
    assert_eq!(bench.aws().writes(), ["RunMigration", "UpdateService"]);
    bench.aws().arm(None);
    bench.apply_well(&wanted).await;
    assert!(bench.aws().writes().is_empty(), "the word counts once");
}

#[tokio::test(start_paused = true)]
async fn a_migration_whose_start_was_not_answered_is_found_and_not_started_twice() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    let wanted = Wanted::with_digest("sha256:two");
    bench.aws().arm(Some((3, Strike::AfterEffect)));
    let verdicts = bench.apply(&wanted).await;
    assert_eq!(bench.aws().writes().last(), Some(&"RunMigration"));
    assert!(!verdicts[&CloudName::Aws].succeeded());
    bench.aws().arm(None);
    bench.apply_well(&wanted).await;
    assert_eq!(bench.aws().world().executions.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_killed_while_its_migration_runs_is_followed_by_one_that_waits_for_it() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    bench.aws().world().manners.migration = Duration::from_secs(300);
    let wanted = Wanted::with_digest("sha256:two");
    let prepared = bench.plan(&wanted).await;
    // The bench is dropped out of its run in the middle of the migration, at no entry at all.
    let run = bench.carry_out(&prepared, How::default());
    assert!(
        tokio::time::timeout(Duration::from_secs(60), run)
            .await
            .is_err()
    );
    assert_eq!(bench.aws().world().executions.len(), 2);
    bench.aws().arm(None);
    bench.apply_well(&wanted).await;
    assert_eq!(bench.aws().writes(), ["UpdateService"]);
    bench.check_traces().await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_retry_is_not_started_a_third_time() {
    let (bench, wanted) = failing_second().await;
    check_failed(&bench, &wanted).await;
    bench.aws().world().manners.failing.clear();
    let retry = Wanted {
        rerun: Rerun::Failed,
        ..wanted.clone()
    };
    let prepared = bench.plan(&retry).await;
    // The second entry says that the migration landed: it ran to its end, and nobody wrote so.
    assert!(
        bench
            .carry_out(
                &prepared,
                How {
                    crash: Some(Crash::Before(2)),
                    ..How::default()
                }
            )
            .await
            .is_none()
    );
    bench.apply_well(&wanted).await;
    assert_eq!(bench.aws().world().executions.len(), 3);
}
