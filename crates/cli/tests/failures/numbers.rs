//! A release has one number on every target of the manifest, whatever is killed, refused or left
//! out.

use std::time::Duration;

use deployer::Exit;
use serde_json::Value;

use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, SECOND, first_serves, run, says};

crate::tests! {
    an_apply_has_one_number_on_both_clouds_also_after_one_that_had_one_of_them => one_number,
    what_one_cloud_refused_gets_the_number_that_the_other_one_has => refused,
    a_release_whose_run_is_killed_at_any_write_has_one_number_on_both_clouds => killed,
    a_cloud_whose_ledger_nobody_may_read_leaves_the_other_one_its_own_number => unreadable,
}

const BACK: &[&str] = &["rollback", "--yes", "--no-verify"];
const FORWARD: &[&str] = &["apply", "--yes", "--no-verify", "--release-hold"];
const CLOUDS: [&str; 2] = ["aws", "gcp"];
const HIDDEN: &str = "/gcp-";

/// The numbers of the releases on a cloud, oldest first.
async fn numbers(stage: &Stage, cloud: &str) -> Vec<u64> {
    let said = run(stage, &["releases", "--json"], cloud, Exit::Success).await;
    let document: Value = serde_json::from_str(&said).expect("JSON");
    let releases = document[0]["releases"].as_array().expect("an array");
    let numbers = releases.iter().rev().map(|it| it["number"].as_u64());
    numbers.map(|it| it.expect("a number")).collect()
}

async fn assert_numbers(stage: &Stage, aws: &[u64], gcp: &[u64]) {
    assert_eq!(numbers(stage, "aws").await, aws, "on aws");
    assert_eq!(numbers(stage, "gcp").await, gcp, "on gcp");
}

fn third(greeting: &'static str) -> Wanted {
    Wanted { greeting, ..SECOND }
}

async fn one_number(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.want(&third("good evening"));
    let (_, said) = stage.run(&["plan"], "all").await;
    says(
        &said,
        &["idp becomes r3 on aws and gcp", "r2 → r3", "r1 → r3"],
    );
    let (_, said) = stage.run(APPLY, "all").await;
    says(&said, &["idp r3 serves on aws and gcp"]);
    assert_numbers(stage, &[1, 2, 3], &[1, 3]).await;

    // One number means one release, and this one is not there.
    let to_second = [BACK, &["--to", "r2"]].concat();
    let said = run(stage, &to_second, "all", Exit::Input).await;
    says(&said, &["gcp has no r2", "the nearest before it is r1"]);
    let to_first = [BACK, &["--to", "r1"]].concat();
    run(stage, &to_first, "all", Exit::Success).await;
    assert_numbers(stage, &[1, 2, 3, 4], &[1, 3, 4]).await;
    run(stage, FORWARD, "all", Exit::Success).await;
    assert_numbers(stage, &[1, 2, 3, 4, 5], &[1, 3, 4, 5]).await;
    // One cloud after the other comes to the same.
    for cloud in CLOUDS {
        run(stage, &to_first, cloud, Exit::Success).await;
    }
    for cloud in CLOUDS {
        run(stage, FORWARD, cloud, Exit::Success).await;
    }
    run(stage, APPLY, "all", Exit::Success).await;
    assert_numbers(stage, &[1, 2, 3, 4, 5, 6, 7], &[1, 3, 4, 5, 6, 7]).await;
}

async fn refused(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    for _ in 0..2 {
        stage.calls.deny("run.projects.locations.services.patch");
        run(stage, APPLY, "all", Exit::Denied).await;
        stage.calls.arm(None);
        assert_numbers(stage, &[1, 2], &[1]).await;
    }
    let (_, said) = stage.run(&["plan"], "all").await;
    says(&said, &["idp becomes r2 on gcp"]);
    run(stage, APPLY, "all", Exit::Success).await;
    assert_numbers(stage, &[1, 2], &[1, 2]).await;
    // What is given up on one cloud leaves a gap there.
    stage.want(&third("good evening"));
    stage.calls.deny("ecs:UpdateService");
    run(stage, APPLY, "all", Exit::Denied).await;
    stage.calls.arm(None);
    stage.want(&third("good night"));
    run(stage, APPLY, "all", Exit::Success).await;
    assert_numbers(stage, &[1, 2, 4], &[1, 2, 3, 4]).await;
}

async fn killed(stage: &Stage) {
    const GREETINGS: [&str; 2] = ["good evening", "good night"];
    first_serves(stage).await;
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    stage.want(&third(GREETINGS[0]));
    stage.ledger.arm(None);
    run(stage, APPLY, "all", Exit::Success).await;
    let writes = stage.ledger.writes();
    assert!(writes > 10, "{writes}");
    let mut expected = vec![1, 2, 3];
    for nth in (1..=writes).step_by(3) {
        let greeting = GREETINGS[nth % GREETINGS.len()];
        stage.want(&third(greeting));
        stage.ledger.arm(Some(Crash::After(nth)));
        let (ended, said) = stage.run(APPLY, "all").await;
        stage.ledger.arm(None);
        assert!(matches!(ended, Ended::Killed), "{ended:?}: {said}");
        stage.time.pass(Duration::from_secs(300)).await;
        run(stage, APPLY, "all", Exit::Success).await;
        run(stage, APPLY, "all", Exit::Success).await;
        expected.push(expected.len() as u64 + 1);
        assert_numbers(stage, &expected, &expected).await;
    }
}

async fn unreadable(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    run(stage, APPLY, "gcp", Exit::Success).await;
    stage.want(&third("good evening"));
    stage.ledger.hide(Some(HIDDEN));
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.ledger.hide(None);
    assert_numbers(stage, &[1, 2], &[1, 2]).await;
    stage.want(&third("good night"));
    run(stage, APPLY, "all", Exit::Success).await;
    assert_numbers(stage, &[1, 2, 3], &[1, 2, 3]).await;
}
