//! Versions that never serve, and tasks that die: on the way there, and afterwards.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ecs::types::{DeploymentRolloutState, StopServiceDeploymentStopType};
use deployer::Exit;
use deployer_sandbox::runner::{self, Behaviour, Purpose, Started};
use jiff::Timestamp;
use serde_json::Value;

use crate::ecs::{NAME, PLAN, SETTLED, ecs};
use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, SECOND, assert_serves, clouds, first_serves, json_lines, run, says, unhealthy};

crate::tests! {
    a_version_that_is_never_healthy_is_refused_and_the_one_before_serves => never_healthy,
    a_first_version_that_never_serves_is_a_failure_and_nothing_serves => first_never_serves,
    tasks_that_die_one_after_another_are_a_failure_although_no_breaker_trips => tasks_die,
    tasks_that_die_after_a_completed_deployment_are_no_success => tasks_die_later,
    instances_that_cloud_run_replaces_are_its_own_affair => instances_die_later,
    a_roll_out_that_goes_well_is_in_progress => in_progress,
    a_setting_that_ecs_takes_back_with_its_deployment_is_no_success => taken_back,
    a_deployment_of_what_serves_that_fails_again_is_no_success => forced_again,
    who_waits_for_another_runs_deployment_is_told_that_it_was_taken_back => waited_for,
}

const OVERLAY: &str = "deployer.test.toml";
const TAKES_COMMANDS: &str = "[targets.aws.services.idp]\nenable_execute_command = true\n";

async fn never_healthy(stage: &Stage) {
    first_serves(stage).await;
    stage.behave(unhealthy);
    stage.want(&SECOND);
    for (cloud, exit) in [("aws", Exit::RolledBack), ("gcp", Exit::DeploymentFailed)] {
        let said = run(stage, APPLY, cloud, exit).await;
        says(
            &said,
            &[
                "still serves r1 (",
                "next   deployer logs idp",
                "cannot read the configuration",
            ],
        );
        assert_serves(stage, cloud, 1).await;
    }
    let failed = Exit::DeploymentFailed;
    let said = run(stage, &[APPLY, &["--json"]].concat(), "gcp", failed).await;
    let lines = json_lines(&said);
    let failure = lines.iter().find(|line| line["event"] == "failure");
    let failure = failure.expect("a report");
    assert_eq!(failure["service"], "idp");
    let words = failure["autopsy"]["words"].as_array().expect("words");
    assert!(!words.is_empty(), "{failure:#}");
    assert_eq!(failure["serving"][0][1], 100, "{failure:#}");
}

async fn first_never_serves(stage: &Stage) {
    stage.behave(unhealthy);
    stage.want(&Wanted::FIRST);
    for cloud in ["aws", "gcp"] {
        let said = run(stage, APPLY, cloud, Exit::DeploymentFailed).await;
        says(
            &said,
            &[
                &format!("{cloud}    failed: "),
                "       deployer apply",
                &format!("{cloud}: nothing serves"),
            ],
        );
        assert!(!said.contains("still serves"), "{said}");
        run(stage, &["status"], cloud, Exit::Untrue).await;
    }
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(stage, APPLY, "all", Exit::Success).await;
}

/// The app wants something for itself alone: one instance is healthy, and is killed a minute later;
/// another one beside it gives up meanwhile. So there are never two at a time, and never three
/// failures without a success between them.
fn one_at_a_time() -> impl Fn(&Started) -> Behaviour {
    let free = Mutex::new(Timestamp::MIN);
    move |started| {
        let usual = Behaviour::usual(started.purpose);
        if started.purpose == Purpose::Finish {
            return usual;
        }
        let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *free <= started.at;
        if first {
            *free = started.at + Duration::from_secs(60);
        }
        Behaviour {
            healthy: first,
            exit: Some(runner::Exit::with(if first { 137 } else { 4 })),
            takes: Duration::from_secs(if first { 60 } else { 50 }),
            lines: vec!["somebody else has the lock".to_owned()],
            ..Behaviour::usual(started.purpose)
        }
    }
}

/// The circuit breaker counts failures in a row: it never sees enough of them.
async fn tasks_die(stage: &Stage) {
    let two = Wanted {
        replicas: 2,
        ..Wanted::FIRST
    };
    stage.want(&two);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.behave(one_at_a_time());
    stage.want(&Wanted { version: 2, ..two });
    for _ in 0..2 {
        let said = run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
        says(
            &said,
            &[
                "aws/us-east-1/ecs.service/swept-test-idp was not ready after 900 s:",
                "of 2 tasks run",
                "Essential container in task exited, `idp` exited with 137",
                "Essential container in task exited, `idp` exited with 4",
                "somebody else has the lock",
                "still serves r1 (swept-test-idp:1, ",
            ],
        );
        let service = clouds::ecs_service(stage, "idp").await;
        let [new, old] = service.deployments() else {
            panic!("{service:#?}");
        };
        let in_progress = Some(&DeploymentRolloutState::InProgress);
        assert_eq!(new.rollout_state(), in_progress, "nothing tripped");
        assert_eq!(old.running_count(), 1, "{service:#?}");
        let said = run(stage, &["status", "idp"], "aws", Exit::Untrue).await;
        says(
            &said,
            &["state      failing:", "of 2 tasks run", "exited with"],
        );
    }
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(stage, APPLY, "aws", Exit::Success).await;
    clouds::assert_serves(stage, "aws", "idp", 2).await;
    run(stage, &["status"], "aws", Exit::Success).await;
}

/// What a roll-out that goes well says meanwhile: nothing of failures.
async fn in_progress(stage: &Stage) {
    first_serves(stage).await;
    stage.containers_take(Duration::from_secs(60));
    stage.want(&SECOND);
    let detached = [APPLY, &["--detach"]].concat();
    for cloud in ["aws", "gcp"] {
        run(stage, &detached, cloud, Exit::Success).await;
        let said = run(stage, &["status", "idp"], cloud, Exit::Success).await;
        says(&said, &["state      in progress:"]);
        assert_eq!(state(stage, cloud).await["state"], "in_progress");
        clouds::until_serves(stage, cloud, "idp", 2).await;
        stage.time.pass(Duration::from_secs(10)).await;
        let said = run(stage, &["status", "idp"], cloud, Exit::Success).await;
        says(&said, &["r2 content", "state      ready"]);
    }
}

/// What `status --json` says of the service.
async fn state(stage: &Stage, cloud: &str) -> Value {
    let (_, said) = stage.run(&["status", "--json"], cloud).await;
    let document: Value = serde_json::from_str(&said).expect("JSON");
    document[0]["serving"]["state"].clone()
}

/// Serves well for ten minutes.
fn ten_minutes(started: &Started) -> Behaviour {
    let usual = Behaviour::usual(started.purpose);
    match started.purpose {
        Purpose::Finish => usual,
        Purpose::Serve => Behaviour {
            exit: Some(runner::Exit::with(139)),
            takes: Duration::from_secs(600),
            ..usual
        },
    }
}

/// Runs for so long that it seems to be up, and is never healthy.
fn quarter_of_a_minute(started: &Started) -> Behaviour {
    Behaviour {
        exit: Some(runner::Exit::with(7)),
        healthy: false,
        takes: Duration::from_secs(15),
        lines: vec!["cannot reach the database".to_owned()],
        ..Behaviour::usual(started.purpose)
    }
}

/// ECS calls the deployment completed, and goes on replacing what dies: at moments the wanted
/// number runs.
async fn tasks_die_later(stage: &Stage) {
    stage.behave(ten_minutes);
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.behave(quarter_of_a_minute);
    stage.time.pass(Duration::from_secs(620)).await;
    let mut counted = Vec::new();
    for _ in 0..40 {
        let service = clouds::ecs_service(stage, "idp").await;
        let [only] = service.deployments() else {
            panic!("{service:#?}");
        };
        let completed = Some(&DeploymentRolloutState::Completed);
        assert_eq!(only.rollout_state(), completed);
        counted.push(service.running_count());
        let said = run(stage, &["status", "idp"], "aws", Exit::Untrue).await;
        says(&said, &["state      failing:", "`idp` exited with"]);
        assert_eq!(state(stage, "aws").await["state"], "failing");
        stage.time.pass(Duration::from_secs(4)).await;
    }
    assert!(counted.contains(&0) && counted.contains(&1), "{counted:?}");
    stage.calls.arm(None);
    let said = run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    says(
        &said,
        &[
            "was not ready after 900 s",
            "Essential container in task exited, `idp` exited with 7",
            "cannot reach the database",
        ],
    );
    assert_eq!(
        stage.calls.writes(),
        Vec::<String>::new(),
        "nothing differs"
    );
    stage.behave(|started| Behaviour::usual(started.purpose));
    // ECS starts tasks ever more seldom.
    stage.time.pass(Duration::from_secs(1200)).await;
    run(stage, &["status"], "aws", Exit::Success).await;
    run(stage, APPLY, "aws", Exit::Success).await;
}

/// Cloud Run starts another instance and calls the service ready all the time, and so does the
/// program.
async fn instances_die_later(stage: &Stage) {
    stage.behave(ten_minutes);
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "gcp", Exit::Success).await;
    stage.behave(|started| Behaviour::usual(started.purpose));
    let started = stage.containers.started().len();
    stage.time.pass(Duration::from_secs(620)).await;
    let later = stage.containers.started().split_off(started);
    assert_eq!(later.len(), 1, "Cloud Run starts another one");
    assert_eq!(later[0].digest, stage.digest(1));
    let said = run(stage, &["status", "idp"], "gcp", Exit::Success).await;
    says(&said, &["state      ready"]);
    stage.calls.arm(None);
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

fn usual(started: &Started) -> Behaviour {
    Behaviour::usual(started.purpose)
}

/// Whether each task that serves takes commands.
async fn take_commands(stage: &Stage) -> bool {
    let ecs = ecs(stage).await;
    let listed = ecs.list_tasks().service_name(NAME).send().await;
    let tasks = listed.expect("an answer").task_arns;
    let described = ecs.describe_tasks().set_tasks(tasks).send().await;
    let described = described.expect("an answer");
    let mut tasks = described.tasks().iter();
    tasks.all(|task| task.enable_execute_command())
}

/// The task definition of before serves before and after: that is not what was asked for. What
/// differs still is said, and made by the next apply.
async fn taken_back(stage: &Stage) {
    first_serves(stage).await;
    let mut overlays = String::new();
    for (overlay, field) in [
        (TAKES_COMMANDS, "execute_command"),
        (
            "[targets.aws]\nassign_public_ip = true\n",
            "assign_public_ip",
        ),
    ] {
        stage.behave(unhealthy);
        overlays.push_str(overlay);
        stage.file(OVERLAY, &overlays);
        let said = run(stage, APPLY, "aws", Exit::RolledBack).await;
        says(
            &said,
            &[
                "rolling back to deployment",
                "still serves r",
                "cannot read the configuration",
            ],
        );
        assert_serves(stage, "aws", 1).await;
        stage.behave(usual);
        stage.time.pass(SETTLED).await;
        let said = run(stage, PLAN, "aws", Exit::Changes).await;
        says(&said, &[field]);
        run(stage, APPLY, "aws", Exit::Success).await;
        run(stage, PLAN, "aws", Exit::Success).await;
        assert!(take_commands(stage).await);
    }
}

/// Another hand's deployment of what serves failed, and was stopped without going back: it is
/// tried again, and taken back.
async fn forced_again(stage: &Stage) {
    first_serves(stage).await;
    stage.behave(unhealthy);
    let ecs = ecs(stage).await;
    let forced = ecs.update_service().service(NAME);
    let forced = forced.force_new_deployment(true).send().await;
    forced.expect("it is begun");
    stage.time.pass(Duration::from_secs(2)).await;
    let begun = ecs.list_service_deployments().service(NAME).send().await;
    let begun = begun.expect("an answer");
    let begun = begun.service_deployments()[0].service_deployment_arn();
    let stop = ecs.stop_service_deployment();
    let stop = stop.set_service_deployment_arn(begun.map(str::to_owned));
    let stopped = stop.stop_type(StopServiceDeploymentStopType::Abort).send();
    stopped.await.expect("it is stopped");
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["rollout: failed"]);
    let said = run(stage, APPLY, "aws", Exit::RolledBack).await;
    says(&said, &["rolling back to deployment", "still serves r1"]);
    stage.behave(usual);
    stage.time.pass(SETTLED).await;
    // What serves is what is asked for, and nothing of it failed.
    assert_serves(stage, "aws", 1).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    run(stage, PLAN, "aws", Exit::Success).await;
}

async fn waited_for(stage: &Stage) {
    first_serves(stage).await;
    stage.behave(unhealthy);
    stage.file(OVERLAY, TAKES_COMMANDS);
    let detached = [APPLY, &["--detach"]].concat();
    run(stage, &detached, "aws", Exit::Success).await;
    stage.calls.arm(None);
    let said = run(stage, APPLY, "aws", Exit::RolledBack).await;
    says(&said, &["rolling back to deployment"]);
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}
