//! Waiting, overlapping, leaving early and being interrupted, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use deployer_core::address::CloudName;
use deployer_core::engine::{Failed, Verdict};
use deployer_core::error::ErrorKind;
use deployer_core::node::Waiting;

use crate::fake::bench::{Bench, How};
use crate::fake::wanted::Wanted;

async fn check_detached(bench: &Bench, wanted: &Wanted) -> BTreeMap<CloudName, Verdict> {
    let prepared = bench.plan(wanted).await;
    let started = bench.clock.elapsed();
    let how = How {
        waiting: Waiting::Detached,
        ..How::default()
    };
    let verdicts = bench.carry_out(&prepared, how).await.unwrap();
    let took = bench.clock.elapsed() - started;
    assert!(
        took < Duration::from_secs(60),
        "it waited {took:?} for a roll-out of 90 s"
    );
    assert!(verdicts[&CloudName::Aws].succeeded(), "{verdicts:#?}");
    assert!(
        verdicts[&CloudName::Aws]
            .detached
            .contains(&bench.address("fake.service", "idp"))
    );
    bench.check_traces().await;
    verdicts
}

#[tokio::test(start_paused = true)]
async fn a_detached_apply_leaves_before_readiness_and_the_next_one_waits() {
    let bench = Bench::one();
    check_detached(&bench, &Wanted::first()).await;
    assert!(!bench.aws().world().services["idp"].settled());
    bench.aws().arm(None);
    let prepared = bench.plan(&Wanted::first()).await;
    assert!(prepared.plan.is_empty());
    bench.carry_out(&prepared, How::default()).await.unwrap();
    assert!(bench.aws().writes().is_empty());
    assert!(
        bench.aws().world().services["idp"].settled(),
        "what still settles is waited for"
    );
}

#[tokio::test(start_paused = true)]
async fn a_detached_apply_leaves_the_deletes_that_wait_for_the_service() {
    let bench = Bench::one();
    let mut before = Wanted::first();
    before.secrets.insert("mail-password", "secret");
    bench.apply_well(&before).await;
    let verdicts = check_detached(&bench, &Wanted::first()).await;
    let secret = bench.address("fake.secret", "mail-password");
    assert!(verdicts[&CloudName::Aws].detached.contains(&secret));
    assert!(
        !bench.aws().world().secrets["mail-password"].deleted,
        "the old revision may still read it"
    );
    bench.apply_well(&Wanted::first()).await;
    assert!(bench.aws().world().secrets["mail-password"].deleted);
    bench.check_traces().await;
}

#[tokio::test(start_paused = true)]
async fn an_interruption_starts_nothing_new_and_awaits_what_is_in_flight() {
    let bench = Bench::one();
    bench
        .aws()
        .world()
        .manners
        .calls
        .insert("CopyImage", Duration::from_secs(60));
    let prepared = bench.plan(&Wanted::first()).await;
    let how = How {
        interrupt_at: Some(Duration::from_secs(30)),
        ..How::default()
    };
    let verdicts = bench.carry_out(&prepared, how).await.unwrap();
    let aws = &verdicts[&CloudName::Aws];
    assert!(
        aws.interrupted && !aws.succeeded() && aws.failed.is_empty(),
        "{aws:#?}"
    );
    assert!(
        aws.done
            .contains(&bench.address("fake.image", "idp-images")),
        "the copy was in flight"
    );
    let held: Vec<&str> = aws
        .held
        .iter()
        .map(|address| address.kind.as_str())
        .collect();
    assert_eq!(held, ["fake.definition", "fake.migration", "fake.service"]);
    bench.check_traces().await;
    bench.apply_well(&Wanted::first()).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_ready_at_its_deadline_fails_with_the_last_reason() {
    let mut bench = Bench::one();
    bench.places[0].cloud.deadline = Duration::from_secs(60);
    let verdicts = bench.apply(&Wanted::first()).await;
    let [Failed { address, error, .. }] = &verdicts[&CloudName::Aws].failed[..] else {
        panic!("{verdicts:#?}")
    };
    assert_eq!(address.kind, "fake.service");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(
        error.to_string().contains("1 of 2 tasks healthy"),
        "{error}"
    );
    bench.check_traces().await;
}

#[tokio::test(start_paused = true)]
async fn independent_nodes_overlap_so_that_a_first_apply_takes_its_longest_chain() {
    let bench = Bench::both();
    let seconds = Duration::from_secs;
    let times = [
        ("CreateSecret", 50),
        ("CreateRepository", 20),
        ("CopyImage", 60),
        ("CreateLogGroup", 40),
        ("RegisterDefinition", 10),
    ];
    for cloud in CloudName::ALL {
        let manners = &mut bench.api(cloud).world().manners;
        manners
            .calls
            .extend(times.map(|(name, time)| (name, seconds(time))));
        manners.migration = seconds(120);
        manners.roll_out = seconds(90);
    }
    let started = bench.clock.elapsed();
    bench.apply_well(&Wanted::first()).await;
    let took = bench.clock.elapsed() - started;
    let chain = seconds(20 + 60 + 10 + 120 + 90);
    let sum = 2 * (chain + seconds(50 + 50 + 40));
    assert!(took >= chain, "{took:?} is less than the chain's {chain:?}");
    assert!(
        took <= chain.mul_f64(1.05),
        "{took:?} is more than 1.05 times the chain's {chain:?}; the sum is {sum:?}"
    );
}
