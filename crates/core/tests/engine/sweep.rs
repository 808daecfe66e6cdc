//! Every write fails, every reply is lost, every journal entry is the last: the next run ends in
//! the same world.

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use deployer_core::engine::Verdict;
use deployer_core::plan::Prepared;

use crate::fake::bench::{Bench, Crash, How};
use crate::fake::wanted::Wanted;
use crate::fake::world::Strike;
use crate::replacing;

/// What is disturbed.
#[derive(Clone, Copy, Debug)]
enum Scenario {
    FirstApply,
    UpdateWithMigration,
    /// Another generation takes the place of what the service has, with another image beside it.
    Replacement,
    Destroy,
}

/// How it is disturbed.
#[derive(Clone, Copy, Debug)]
enum Point {
    Undisturbed,
    Write(usize, Strike),
    Entry(Crash),
}

/// Version 2 with another signing key, and without the mail password.
fn second() -> Wanted {
    let mut wanted = Wanted::with_digest("sha256:two");
    wanted.secrets.insert("signing-key", "key two");
    wanted
}

fn before_second() -> Wanted {
    let mut wanted = Wanted::first();
    wanted.secrets.insert("mail-password", "secret");
    wanted
}

impl Scenario {
    async fn stage(self) -> Bench {
        let mut bench = Bench::one();
        match self {
            Self::FirstApply => {}
            Self::UpdateWithMigration => bench.apply_well(&before_second()).await,
            Self::Replacement => {
                bench = replacing::tuned().await.0;
                replacing::tune(&bench, replacing::threads(8));
            }
            Self::Destroy => bench.apply_well(&Wanted::first()).await,
        }
        bench
    }

    async fn plan(self, bench: &Bench) -> Prepared {
        match self {
            Self::FirstApply => bench.plan(&Wanted::first()).await,
            Self::UpdateWithMigration => bench.plan(&second()).await,
            Self::Replacement => bench.plan(&Wanted::with_digest("sha256:two")).await,
            Self::Destroy => bench.plan_destroy().await,
        }
    }

    async fn run(self, bench: &Bench, how: How) -> Option<BTreeMap<CloudName, Verdict>> {
        let prepared = self.plan(bench).await;
        assert!(prepared.blocked.is_empty(), "{:?}", prepared.blocked);
        let verdicts = bench.carry_out(&prepared, how).await;
        bench.check_traces().await;
        verdicts
    }
}

/// How a point ended.
struct End {
    picture: String,
    writes: usize,
    entries: usize,
}

async fn disturb(scenario: Scenario, point: Point) -> End {
    let bench = scenario.stage().await;
    let (fault, crash) = match point {
        Point::Undisturbed => (None, None),
        Point::Write(nth, strike) => (Some((nth, strike)), None),
        Point::Entry(crash) => (None, Some(crash)),
    };
    bench.aws().arm(fault);
    let verdicts = scenario
        .run(
            &bench,
            How {
                crash,
                ..How::default()
            },
        )
        .await;
    let run = bench.places[0].ledger.last_run().await.unwrap().unwrap();
    let (writes, entries) = (bench.aws().writes().len(), run.entries.len());
    match point {
        Point::Undisturbed => {}
        Point::Write(..) => assert!(
            !verdicts.unwrap()[&CloudName::Aws].succeeded(),
            "{scenario:?} {point:?}"
        ),
        Point::Entry(_) => assert!(verdicts.is_none(), "{scenario:?} {point:?}"),
    }
    bench.aws().arm(None);
    let verdicts = scenario.run(&bench, How::default()).await.unwrap();
    assert!(
        verdicts[&CloudName::Aws].succeeded(),
        "{scenario:?} {point:?}: {verdicts:#?}"
    );
    bench.aws().arm(None);
    let last = scenario.plan(&bench).await;
    assert!(
        last.plan.is_empty(),
        "{scenario:?} {point:?}: {:#?}",
        last.plan.changes
    );
    bench.carry_out(&last, How::default()).await.unwrap();
    assert!(
        bench.aws().writes().is_empty(),
        "{scenario:?} {point:?}: {:?}",
        bench.aws().writes()
    );
    End {
        picture: bench.picture().await,
        writes,
        entries,
    }
}

async fn check(scenario: Scenario) {
    let calm = disturb(scenario, Point::Undisturbed).await;
    // The last entry is the run's own end, which the bench writes after the engine has returned.
    let writes = (1..=calm.writes).flat_map(|nth| {
        [Strike::BeforeEffect, Strike::AfterEffect].map(|strike| Point::Write(nth, strike))
    });
    let entries =
        (1..calm.entries).flat_map(|nth| [Crash::Before(nth), Crash::After(nth)].map(Point::Entry));
    let points: Vec<Point> = writes.chain(entries).collect();
    for point in &points {
        let end = disturb(scenario, *point).await;
        assert!(
            end.picture == calm.picture,
            "{scenario:?} {point:?}:\n{}\nwanted:\n{}",
            end.picture,
            calm.picture
        );
    }
    println!("{scenario:?}: {} points tried", points.len());
    assert!(points.len() >= 20, "only {} points", points.len());
}

#[tokio::test(start_paused = true)]
async fn a_first_apply_that_is_disturbed_anywhere_ends_in_the_same_world() {
    check(Scenario::FirstApply).await;
}

#[tokio::test(start_paused = true)]
async fn an_update_with_migration_that_is_disturbed_anywhere_ends_in_the_same_world() {
    check(Scenario::UpdateWithMigration).await;
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_is_disturbed_anywhere_ends_in_the_same_world() {
    check(Scenario::Replacement).await;
}

#[tokio::test(start_paused = true)]
async fn a_destroy_that_is_disturbed_anywhere_ends_in_the_same_world() {
    check(Scenario::Destroy).await;
}
