//! `--on-failure undo`: what a failed run changed is put back, newest first; data stays, and so
//! does what it needs.

use deployer_core::address::CloudName;
use deployer_core::engine::{OnFailure, Verdict};

use crate::fake::bench::{Bench, How};
use crate::fake::wanted::Wanted;
use crate::fake::world::Strike;

const UNDO: fn() -> How = || How {
    on_failure: OnFailure::Undo,
    ..How::default()
};

async fn apply(bench: &Bench, wanted: &Wanted) -> Verdict {
    let prepared = bench.plan(wanted).await;
    let mut verdicts = bench.carry_out(&prepared, UNDO()).await.unwrap();
    bench.check_traces().await;
    verdicts.remove(&CloudName::Aws).unwrap()
}

fn fails(bench: &Bench, digest: &str) {
    let unhealthy = &mut bench.aws().world().manners.unhealthy;
    unhealthy.insert(digest.to_owned());
}

fn kinds(addresses: &[deployer_core::address::Address]) -> Vec<&str> {
    addresses.iter().map(|it| it.kind.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_first_apply_that_fails_leaves_nothing_behind() {
    let bench = Bench::one();
    fails(&bench, "sha256:one");
    let verdict = apply(&bench, &Wanted::first()).await;
    assert!(
        !verdict.failed.is_empty() && verdict.attention.is_empty(),
        "{verdict:#?}"
    );
    assert_eq!(
        verdict.undone[0].kind, "fake.service",
        "the newest goes first"
    );
    {
        let world = bench.aws().world();
        assert!(world.services.is_empty() && world.repositories.is_empty());
        assert!(world.log_groups.is_empty() && world.definitions.is_empty());
        assert!(world.secrets.values().all(|secret| secret.deleted));
    }
    let inventory = bench.places[0].ledger.inventory().await.unwrap();
    assert!(inventory.items.is_empty(), "{inventory:#?}");
    bench.aws().world().manners.unhealthy.clear();
    bench.apply_well(&Wanted::first()).await;
}

#[tokio::test(start_paused = true)]
async fn an_update_that_fails_makes_what_served_before_serve_again() {
    let second = Wanted::with_digest("sha256:two");
    let calm = Bench::one();
    calm.apply_well(&Wanted::first()).await;
    calm.aws().arm(None);
    calm.apply_well(&second).await;
    let last = calm.aws().writes().len();

    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    let before = bench.aws().world().services["idp"].clone();
    // The roll-out is the last write: it lands, and nobody hears of it.
    bench.aws().arm(Some((last, Strike::AfterEffect)));
    let verdict = apply(&bench, &second).await;
    assert_eq!(
        verdict.failed[0].address.kind, "fake.service",
        "{verdict:#?}"
    );
    assert_eq!(kinds(&verdict.undone), ["fake.service"]);
    assert_eq!(bench.aws().world().services["idp"], before);
    let stays: Vec<_> = verdict
        .stays
        .iter()
        .map(|(it, _)| it.kind.as_str())
        .collect();
    assert!(
        stays.contains(&"fake.definition"),
        "a revision that nobody uses harms nobody: {stays:?}"
    );
    assert!(
        stays.contains(&"fake.migration"),
        "what ran has run: {stays:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_cloud_put_back_itself_is_not_put_back_again() {
    let bench = Bench::one();
    bench.apply_well(&Wanted::first()).await;
    fails(&bench, "sha256:two");
    let verdict = apply(&bench, &Wanted::with_digest("sha256:two")).await;
    assert_eq!(kinds(&verdict.undone), ["fake.service"]);
    let updates = bench.aws().writes();
    let updates = updates.iter().filter(|name| **name == "UpdateService");
    assert_eq!(updates.count(), 1, "only the roll-out itself");
}

#[tokio::test(start_paused = true)]
async fn data_stays_with_what_it_needs() {
    let bench = Bench::one();
    fails(&bench, "sha256:one");
    let verdict = apply(&bench, &Wanted::with_data()).await;
    let why = |kind: &str, name: &str| {
        let address = bench.address(kind, name);
        let stays = verdict.stays.iter().find(|(it, _)| *it == address);
        stays.map(|(_, why)| why.as_str())
    };
    assert_eq!(
        why("fake.database", "main"),
        Some("it holds data"),
        "{:#?}",
        verdict.stays
    );
    let password = why("fake.secret", "main-password").unwrap();
    assert!(password.contains("main stays and needs it"), "{password}");
    assert!(!bench.aws().world().secrets["main-password"].deleted);
    assert!(bench.aws().world().services.is_empty());
    bench.aws().world().manners.unhealthy.clear();
    bench.apply_well(&Wanted::with_data()).await;
}

/// A first apply that fails, and what becomes of it when the first deletion of its undoing is
/// struck.
async fn undoing_is_struck(strike: Strike) -> (Verdict, Bench) {
    let bench = Bench::one();
    fails(&bench, "sha256:one");
    bench.aws().arm(None);
    apply(&bench, &Wanted::first()).await;
    let writes = bench.aws().writes();
    let deletes = |name: &&str| name.starts_with("Delete");
    let forward = writes.iter().position(deletes).unwrap();
    let bench = Bench::one();
    fails(&bench, "sha256:one");
    bench.aws().arm(Some((forward + 1, strike)));
    let verdict = apply(&bench, &Wanted::first()).await;
    (verdict, bench)
}

#[tokio::test(start_paused = true)]
async fn undoing_bears_a_call_that_nobody_answered() {
    for strike in [Strike::BeforeEffect, Strike::AfterEffect] {
        let (verdict, bench) = undoing_is_struck(strike).await;
        assert!(verdict.attention.is_empty(), "{verdict:#?}");
        assert_eq!(verdict.undone[0].kind, "fake.service");
        assert!(bench.aws().world().services.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_put_back_needs_attention_and_keeps_what_it_runs_on() {
    let (verdict, bench) = undoing_is_struck(Strike::Refused).await;
    let [(address, error)] = &verdict.attention[..] else {
        panic!("{verdict:#?}")
    };
    assert_eq!(address.kind, "fake.service");
    assert!(error.to_string().contains("it is refused"), "{error}");
    // It serves on, with everything that it was given.
    let runs_on: Vec<_> = verdict
        .stays
        .iter()
        .filter(|(_, why)| why.ends_with("stays and needs it"))
        .map(|(address, _)| address.kind.as_str())
        .collect();
    assert!(runs_on.contains(&"fake.log-group"), "{verdict:#?}");
    assert!(!bench.aws().world().log_groups.is_empty());
    let inventory = bench.places[0].ledger.inventory().await.unwrap();
    assert!(
        inventory.items.contains_key(address),
        "it is still known to be ours"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_succeeds_undoes_nothing() {
    let bench = Bench::one();
    let verdict = apply(&bench, &Wanted::first()).await;
    assert!(verdict.succeeded() && verdict.undone.is_empty() && verdict.stays.is_empty());
    assert!(
        !bench
            .events()
            .iter()
            .any(|line| line.starts_with("undoing"))
    );
}
