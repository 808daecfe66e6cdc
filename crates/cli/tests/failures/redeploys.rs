//! What serves is rolled out anew where a person asks for it: once, with the same image and
//! configuration, on both clouds and both of AWS's runtimes.

use std::time::Duration;

use aws_sdk_apprunner::types::OperationType;
use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose};
use serde_json::Value;

use crate::app_runner::{self, PLAN};
use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, SECOND, assert_serves, first_serves, run, says, unhealthy};

crate::tests! {
    what_serves_is_rolled_out_anew_once_and_recorded_as_that => anew,
    an_app_runner_service_is_deployed_anew_as_it_is => on_app_runner,
    code_alone_is_rolled_out_anew_too => code_alone,
    a_roll_out_that_was_asked_for_is_one_wherever_its_run_is_killed => killed,
    one_that_fails_leaves_what_serves_and_is_no_release => fails,
    one_that_is_planned_is_made_once_of_its_file => planned,
    what_cannot_be_rolled_out_anew_is_refused_before_anything_is_done => refused,
}

const REDEPLOY: &[&str] = &["apply", "--redeploy", "idp", "--yes", "--no-verify"];
/// Longer than the lease of who was killed.
const OVER: Duration = Duration::from_secs(120);

/// How many instances were started to serve.
fn started(stage: &Stage) -> usize {
    let started = stage.containers.started();
    let serving = started.iter().filter(|it| it.purpose == Purpose::Serve);
    serving.count()
}

/// The releases of the service on a cloud, newest first.
async fn releases(stage: &Stage, cloud: &str) -> Vec<Value> {
    let said = run(stage, &["releases", "--json"], cloud, Exit::Success).await;
    let document: Value = serde_json::from_str(&said).expect("JSON");
    let releases = document[0]["releases"].as_array();
    releases.expect("an array").clone()
}

async fn anew(stage: &Stage) {
    first_serves(stage).await;
    for cloud in ["aws", "gcp"] {
        let before = started(stage);
        let said = run(stage, REDEPLOY, cloud, Exit::Success).await;
        says(&said, &["a new roll-out of what serves was asked for"]);
        assert_eq!(started(stage), before + 1, "{said}");
        assert_serves(stage, cloud, 1).await;
        let releases = releases(stage, cloud).await;
        let [second, first] = releases.as_slice() else {
            panic!("{releases:#?}");
        };
        assert_eq!(second["redeployed"], true);
        assert_eq!(second["content_id"], first["content_id"]);
        let table = run(stage, &["releases"], cloud, Exit::Success).await;
        says(&table, &["r1 anew"]);
        // It is no content to go back from.
        let back = ["rollback", "--yes", "--no-verify"];
        let said = run(stage, &back, cloud, Exit::Input).await;
        says(&said, &["nothing to go back to on"]);
        // One more is asked for, by nobody else.
        let again = ["plan", "--redeploy", "idp"];
        let (_, said) = stage.run(&again, cloud).await;
        says(&said, &["roll out"]);
        assert!(!said.contains("ANOTHER HAND"), "{said}");
        // Nothing is left to be done, and a plain apply starts nothing.
        run(stage, PLAN, cloud, Exit::Success).await;
        run(stage, APPLY, cloud, Exit::Success).await;
        assert_eq!(started(stage), before + 1);
    }
    // A change rolls out anyway: that is not done twice.
    stage.want(&SECOND);
    let before = started(stage);
    run(stage, REDEPLOY, "all", Exit::Success).await;
    assert_eq!(started(stage), before + 2);
    for cloud in ["aws", "gcp"] {
        assert_serves(stage, cloud, 2).await;
        let releases = releases(stage, cloud).await;
        assert_eq!(releases.len(), 3);
        assert_eq!(releases[0].get("redeployed"), None);
    }
}

async fn on_app_runner(stage: &Stage) {
    app_runner::want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let before = app_runner::operations(stage).await.len();
    run(stage, REDEPLOY, "aws", Exit::Success).await;
    let operations = app_runner::operations(stage).await;
    assert_eq!(operations[before..], [OperationType::StartDeployment]);
    assert_eq!(releases(stage, "aws").await.len(), 2);
    // What is paused is resumed first, and another hand's operation is waited for.
    app_runner::pause(stage).await;
    run(stage, REDEPLOY, "aws", Exit::Success).await;
    let operations = app_runner::operations(stage).await;
    let last = [OperationType::ResumeService, OperationType::StartDeployment];
    assert!(operations.ends_with(&last), "{operations:?}");
    run(stage, PLAN, "aws", Exit::Success).await;
}

async fn code_alone(stage: &Stage) {
    first_serves(stage).await;
    let only = [REDEPLOY, &["--only", "idp"]].concat();
    for cloud in ["aws", "gcp"] {
        let before = started(stage);
        run(stage, &only, cloud, Exit::Success).await;
        assert_eq!(started(stage), before + 1);
    }
}

/// Whether the last run on a cloud came to its end.
async fn is_over(stage: &Stage, cloud: &str) -> bool {
    let last = ["runs", "--lines", "1", "--json"];
    let said = run(stage, &last, cloud, Exit::Success).await;
    let runs: Value = serde_json::from_str(&said).expect("JSON");
    !runs[0]["outcome"].is_null()
}

/// Whatever is typed after the kill: the same words, or a plain apply.
async fn killed(stage: &Stage) {
    first_serves(stage).await;
    for (cloud, next) in [("aws", APPLY), ("gcp", APPLY), ("gcp", REDEPLOY)] {
        let (mut kills, mut noted) = (0, false);
        loop {
            let (before, recorded) = (started(stage), releases(stage, cloud).await.len());
            stage.ledger.arm(Some(Crash::After(kills + 1)));
            let (ended, said) = stage.run(REDEPLOY, cloud).await;
            stage.ledger.arm(None);
            let Ended::Killed = ended else {
                assert!(matches!(ended, Ended::Exit(Exit::Success)), "{said}");
                break;
            };
            kills += 1;
            stage.time.pass(OVER).await;
            // The kill after its last word left a run that ended: the same words ask for another.
            let another = next == REDEPLOY && is_over(stage, cloud).await;
            let said = run(stage, next, cloud, Exit::Success).await;
            let rolled = started(stage) - before;
            // A run that was killed before its header was durable asked nobody.
            noted |= rolled == 1 && next == APPLY;
            let expected = usize::from(noted || next == REDEPLOY) + usize::from(another);
            assert_eq!(rolled, expected, "{cloud}, kill {kills}:\n{said}");
            let now = releases(stage, cloud).await;
            assert_eq!(
                now.len() - recorded,
                expected,
                "{cloud}, kill {kills}:\n{said}"
            );
            run(stage, PLAN, cloud, Exit::Success).await;
        }
        assert!(kills > 3, "{kills}");
        assert!(noted || next == REDEPLOY);
    }
}

async fn fails(stage: &Stage) {
    first_serves(stage).await;
    for (cloud, exit) in [("aws", Exit::RolledBack), ("gcp", Exit::DeploymentFailed)] {
        stage.behave(unhealthy);
        let said = run(stage, REDEPLOY, cloud, exit).await;
        says(&said, &["deployer apply --redeploy idp"]);
        assert_eq!(releases(stage, cloud).await.len(), 1, "{said}");
        stage.behave(|started| Behaviour::usual(started.purpose));
        stage.time.pass(OVER).await;
        assert_serves(stage, cloud, 1).await;
        run(stage, REDEPLOY, cloud, Exit::Success).await;
        assert_eq!(releases(stage, cloud).await.len(), 2);
        run(stage, PLAN, cloud, Exit::Success).await;
    }
}

async fn planned(stage: &Stage) {
    first_serves(stage).await;
    let file = format!("{}/anew.plan", stage.folder());
    let plan = ["plan", "--redeploy", "idp", "--out", &file];
    run(stage, &plan, "all", Exit::Success).await;
    let before = started(stage);
    let apply = ["apply", &file, "--yes", "--no-verify"];
    run(stage, &apply, "all", Exit::Success).await;
    assert_eq!(started(stage), before + 2);
    let said = run(stage, &apply, "all", Exit::Failure).await;
    says(&said, &["this plan was applied at ", " by run 2 "]);
    assert_eq!(started(stage), before + 2);
    let both = [&apply[..], &["--redeploy", "idp"]].concat();
    let said = run(stage, &both, "all", Exit::Input).await;
    says(&said, &["a plan file says itself"]);
}

async fn refused(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    let unknown = ["apply", "--yes", "--redeploy", "nobody"];
    let said = run(stage, &unknown, "all", Exit::Input).await;
    says(&said, &["there is no service `nobody`", "idp"]);
    run(
        stage,
        &["rollback", "--yes", "--no-verify"],
        "all",
        Exit::Success,
    )
    .await;
    let before = started(stage);
    let said = run(stage, REDEPLOY, "all", Exit::Input).await;
    says(&said, &["`idp` is on hold on aws", "--release-hold"]);
    assert_eq!(started(stage), before);
}
