//! App Runner after an update that failed: it may go on describing what failed, while what served
//! before serves.

use std::time::Duration;

use aws_sdk_apprunner::types::Service;
use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose};
use serde_json::{Value, json};

use crate::app_runner::{
    PLAN, SETTLED, client, operations, pause, serving, there, want, want_plain,
};
use crate::in_process::stage::{Stage, Wanted};
use crate::run::{SEED, seed, started};
use crate::{APPLY, SECOND, assert_serves, run, says, unhealthy};

crate::tests! {
    a_failed_update_that_stays_described_is_deployed_again => stays_described,
    what_serves_after_a_failed_update_is_what_was_put_back => serves_on,
    a_rollback_that_failed_and_stays_described_is_deployed_again => rolls_back_again,
    what_another_hand_deployed_before_a_failed_update_is_not_told_as_ours => nobody_knows,
    code_alone_goes_on_with_what_serves_and_not_with_what_failed => code_alone,
    code_alone_migrates_the_database_that_its_tasks_are_on_once => code_alone_migrates,
    what_is_resumed_after_a_failed_update_is_not_taken_for_what_failed => resumed,
}

const ONLY: &[&str] = &["apply", "--yes", "--no-verify", "--only", "idp"];
const LOUDER: Wanted = Wanted {
    greeting: "good evening",
    ..SECOND
};

fn usual(stage: &Stage) {
    stage.behave(|started| Behaviour::usual(started.purpose));
}

/// What was started last to serve: its image and its greeting.
fn serves_last(stage: &Stage) -> (String, String) {
    let started = stage.containers.started();
    let last = serving(&started).pop().expect("it was started");
    (last.digest.clone(), last.env["GREETING"].clone())
}

/// Where App Runner goes on describing what failed to deploy, a plan says that it failed.
async fn stays_described(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.sandbox.set_failed_updates_stay(true);
    stage.behave(unhealthy);
    want_plain(stage, &SECOND);
    run(stage, APPLY, "aws", Exit::RolledBack).await;
    let image = |service: &Service| {
        let source = service.source_configuration()?;
        let image = source.image_repository()?.image_identifier();
        Some(image.to_owned())
    };
    let described = image(&there(stage).await).expect("an image");
    assert!(described.ends_with(&stage.digest(2)), "{described}");
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["rollout", "ROLLBACK_SUCCEEDED", "-> sound"]);
    let before = operations(stage).await.len();
    // It fails once more, and is told once more.
    run(stage, APPLY, "aws", Exit::RolledBack).await;
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(operations(stage).await.len(), before + 2);
    let started = stage.containers.started();
    let last = serving(&started).pop().expect("it was started");
    assert_eq!(last.digest, stage.digest(2));
    assert_serves(stage, "aws", 2).await;
    run(stage, PLAN, "aws", Exit::Success).await;
}

/// App Runner describes what failed: whoever asks what serves is answered by the last release.
async fn serves_on(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.sandbox.set_failed_updates_stay(true);
    stage.behave(unhealthy);
    want_plain(stage, &SECOND);
    let said = run(stage, APPLY, "aws", Exit::RolledBack).await;
    says(&said, &["still serves r1"]);
    assert_serves(stage, "aws", 1).await;
    let said = run(stage, &["status"], "aws", Exit::Untrue).await;
    says(&said, &["NEWER FAILED"]);
    let said = run(stage, &["releases"], "aws", Exit::Success).await;
    says(&said, &["r1"]);
    assert!(!said.contains("no release says so"), "{said}");
    // A command runs with what serves.
    seed(stage, 0, Duration::from_secs(20), &[]);
    run(stage, &SEED, "aws", Exit::Success).await;
    let ran = started(stage);
    let digests: Vec<&str> = ran.iter().map(|it| it.digest.as_str()).collect();
    assert_eq!(digests, [stage.digest(1)]);
    // What is undone was failing before: nothing is put back, and nothing is called so.
    stage.behave(unhealthy);
    let undo: &[&str] = &["apply", "--yes", "--no-verify", "--on-failure", "undo"];
    run(stage, undo, "aws", Exit::RolledBack).await;
    assert_serves(stage, "aws", 1).await;
}

/// The configuration of the release is described, and what came after it serves.
async fn rolls_back_again(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    want_plain(stage, &SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.sandbox.set_failed_updates_stay(true);
    stage.behave(unhealthy);
    let back: &[&str] = &["rollback", "--yes", "--no-verify"];
    run(stage, back, "aws", Exit::RolledBack).await;
    assert_serves(stage, "aws", 2).await;
    stage.behave(|started| Behaviour::usual(started.purpose));
    let before = operations(stage).await.len();
    run(stage, back, "aws", Exit::Success).await;
    assert_eq!(operations(stage).await.len(), before + 1);
    let started = stage.containers.started();
    let last = serving(&started).pop().expect("it was started");
    assert_eq!(last.digest, stage.digest(1));
    assert_serves(stage, "aws", 1).await;
}

/// Its configuration is in no ledger, and App Runner describes another one.
async fn nobody_knows(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    // Further apart than the two clocks may be.
    stage.time.pass(SETTLED).await;
    let there = there(stage).await;
    let mut instance = there.instance_configuration().expect("a size").clone();
    (instance.cpu, instance.memory) = (Some("2048".into()), Some("4096".into()));
    let update = client(stage).await.update_service();
    let update = update
        .service_arn(there.service_arn())
        .instance_configuration(instance);
    update.send().await.expect("it is changed");
    stage.time.pass(SETTLED).await;
    stage.sandbox.set_failed_updates_stay(true);
    stage.behave(unhealthy);
    want_plain(stage, &SECOND);
    run(stage, APPLY, "aws", Exit::RolledBack).await;
    let said = run(stage, &["status", "--json"], "aws", Exit::Untrue).await;
    let document: Value = serde_json::from_str(&said).expect("JSON");
    let serving = &document[0]["serving"];
    assert_eq!(serving["traffic"], json!([]), "{serving:#}");
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 2).await;
}

/// The first version serves in its size, and the second one, of another greeting and another size,
/// failed and stays described.
async fn failed_and_described(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.sandbox.set_failed_updates_stay(true);
    stage.behave(unhealthy);
    want_plain(stage, &LOUDER);
    stage.edit(|manifest| {
        manifest.replace("cpu = 1\nmemory = \"2GiB\"", "cpu = 2\nmemory = \"4GiB\"")
    });
    run(stage, APPLY, "aws", Exit::RolledBack).await;
    usual(stage);
}

async fn size(stage: &Stage) -> Option<String> {
    let there = there(stage).await;
    let instance = there.instance_configuration().expect("a size");
    instance.cpu().map(str::to_owned)
}

/// Variables and size never served: a code-only deployment leaves alone those that do.
async fn code_alone(stage: &Stage) {
    failed_and_described(stage).await;
    assert_eq!(size(stage).await.as_deref(), Some("2048"));
    run(stage, ONLY, "aws", Exit::Success).await;
    let expected = (stage.digest(2), "hello".to_owned());
    assert_eq!(serves_last(stage), expected);
    assert_eq!(size(stage).await.as_deref(), Some("1024"));
    assert_serves(stage, "aws", 2).await;
    // It failed again after a code-only release, which notes no secret: what that made serve is
    // known all the same.
    stage.behave(unhealthy);
    run(stage, APPLY, "aws", Exit::RolledBack).await;
    usual(stage);
    assert_eq!(size(stage).await.as_deref(), Some("2048"));
    run(stage, ONLY, "aws", Exit::Success).await;
    assert_eq!(serves_last(stage), expected);
    // The whole apply brings the rest.
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(serves_last(stage).1, "good evening");
    run(stage, PLAN, "aws", Exit::Success).await;
    nobody_knows_what_code_alone_leaves(stage).await;
}

/// Another hand's configuration served: nothing is made of one that did not.
async fn nobody_knows_what_code_alone_leaves(stage: &Stage) {
    stage.time.pass(SETTLED).await;
    let there = there(stage).await;
    let mut instance = there.instance_configuration().expect("a size").clone();
    (instance.cpu, instance.memory) = (Some("4096".into()), Some("8192".into()));
    let update = client(stage).await.update_service();
    let update = update
        .service_arn(there.service_arn())
        .instance_configuration(instance);
    update.send().await.expect("it is changed");
    stage.time.pass(SETTLED).await;
    stage.behave(unhealthy);
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::RolledBack).await;
    usual(stage);
    stage.calls.arm(None);
    let said = run(stage, ONLY, "aws", Exit::Failure).await;
    says(&said, &["is not known", "without `--only` once"]);
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 1).await;
}

/// The migration of the version that failed ran on another database than the one that what serves
/// noted: it is not run there again.
async fn code_alone_migrates(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let secrets = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let put = secrets.put_secret_value();
    let put = put.secret_id("/swept/test/database-url");
    let put = put.secret_string("another database").send();
    put.await.expect("another value");
    let migrations = |stage: &Stage| {
        let mut started = stage.containers.started();
        started.retain(|it| it.purpose == Purpose::Finish);
        let databases = started.iter().map(|it| it.env["DATABASE_URL"].clone());
        databases.collect::<Vec<_>>()
    };
    for stays in [false, true] {
        stage.sandbox.set_failed_updates_stay(stays);
        let before = migrations(stage).len();
        stage.behave(unhealthy);
        want(stage, &SECOND);
        run(stage, APPLY, "aws", Exit::RolledBack).await;
        usual(stage);
        let ran = migrations(stage).split_off(before);
        let expected: &[&str] = if stays { &[] } else { &["another database"] };
        assert_eq!(ran, expected, "{stays}");
        run(stage, ONLY, "aws", Exit::Success).await;
        assert_eq!(migrations(stage).split_off(before), expected, "{stays}");
        assert_serves(stage, "aws", 2).await;
        want(stage, &Wanted::FIRST);
        run(stage, ONLY, "aws", Exit::Success).await;
    }
}

/// Another hand pauses it after the failure: what is resumed is what was put back, whatever is
/// described.
async fn resumed(stage: &Stage) {
    failed_and_described(stage).await;
    pause(stage).await;
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["state", "rollout", "ROLLBACK_SUCCEEDED"]);
    let before = operations(stage).await.len();
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(operations(stage).await.len(), before + 2, "it is deployed");
    let expected = (stage.digest(2), "good evening".to_owned());
    assert_eq!(serves_last(stage), expected);
    run(stage, PLAN, "aws", Exit::Success).await;
}
