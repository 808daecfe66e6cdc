//! What another hand than the program's does to the clouds is told as that.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use deployer::Exit;
use reqwest::Method;
use serde_json::json;

use crate::in_process::stage::{LOCATION, PROJECT, REGION, Stage, Wanted};
use crate::{APPLY, DESTROY, SECOND, assert_serves, first_serves, run, says};

crate::tests! {
    what_deployer_itself_changed_is_nobody_elses => no_drift,
    a_deployment_by_another_hand_meanwhile_is_told_as_that => deployed_over,
    traffic_that_another_hand_pins_meanwhile_is_told_as_that => traffic_pinned,
    a_secret_that_another_hand_disabled_is_told_by_name => secret_disabled,
    a_key_that_another_hand_disabled_is_not_replaced => key_disabled,
    what_another_hand_took_over_is_not_destroyed => taken_over,
}

/// What the service is called on both clouds.
const NAME: &str = "swept-test-idp";

/// A code deployment, a rollback and a secret that is set are our own doing: the plan after them
/// accuses nobody.
async fn no_drift(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    let only = [APPLY, &["--only", "idp"]].concat();
    run(stage, &only, "all", Exit::Success).await;
    accuses_nobody(stage, "a code deployment").await;
    run(stage, APPLY, "all", Exit::Success).await;
    let back = ["rollback", "--yes", "--no-verify", "--to", "r1"];
    run(stage, &back, "all", Exit::Success).await;
    accuses_nobody(stage, "a rollback").await;
    let forward = [APPLY, &["--release-hold"]].concat();
    run(stage, &forward, "all", Exit::Success).await;
    let value = stage.file("value", "set by hand");
    let set = ["secrets", "set", "cookie-key", "--file", &value];
    run(stage, &set, "all", Exit::Success).await;
    accuses_nobody(stage, "a secret that was set").await;
}

/// Plans a changed manifest, then wants what was wanted before.
async fn accuses_nobody(stage: &Stage, after: &str) {
    stage.want(&Wanted {
        greeting: "good evening",
        mail_password: "mail two",
        ..SECOND
    });
    let said = run(stage, &["plan", "--release-hold"], "all", Exit::Success).await;
    says(&said, &["env.GREETING"]);
    assert!(!said.contains("another hand"), "after {after}:\n{said}");
    stage.want(&SECOND);
}

/// Runs the second version's apply, and beside it `hand` once the program has called `call`.
async fn meanwhile(
    stage: &Stage,
    (cloud, call): (&str, &str),
    exit: Exit,
    hand: impl Future<Output = ()>,
) -> String {
    stage.containers_take(Duration::from_secs(60));
    stage.want(&SECOND);
    stage.calls.arm(None);
    let other = async {
        while !stage.calls.names().iter().any(|name| name == call) {
            stage.time.pass(Duration::from_millis(500)).await;
        }
        stage.time.pass(Duration::from_secs(5)).await;
        hand.await;
    };
    let (said, ()) = tokio::join!(run(stage, APPLY, cloud, exit), other);
    said
}

async fn deployed_over(stage: &Stage) {
    first_serves(stage).await;
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let hand = async {
        let update = ecs
            .update_service()
            .service(NAME)
            .task_definition(format!("{NAME}:1"));
        update.send().await.expect("the service is there");
    };
    let said = meanwhile(stage, ("aws", "ecs:UpdateService"), Exit::Untrue, hand).await;
    says(&said, &["somebody else deployed meanwhile"]);
    // What that hand started from is older than our deployment.
    let service = stage.google(Method::GET, &service_path(), None).await;
    let hand = async {
        let mut template = service["template"].clone();
        template["labels"]["by"] = json!("another-hand");
        let path = format!("{}?updateMask=template", service_path());
        let template = json!({ "template": template });
        stage.google(Method::PATCH, &path, Some(template)).await;
    };
    let call = ("gcp", "run.projects.locations.services.patch");
    let said = meanwhile(stage, call, Exit::Untrue, hand).await;
    says(&said, &["somebody else"]);
}

async fn traffic_pinned(stage: &Stage) {
    first_serves(stage).await;
    let service = stage.google(Method::GET, &service_path(), None).await;
    let first = service["latestReadyRevision"]
        .as_str()
        .expect("one is ready");
    let first = first.rsplit('/').next().expect("a name");
    let hand = async {
        let path = format!("{}?updateMask=traffic", service_path());
        let pinned = json!({ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": first, "percent": 100 });
        stage
            .google(Method::PATCH, &path, Some(json!({ "traffic": [pinned] })))
            .await;
    };
    let call = ("gcp", "run.projects.locations.services.patch");
    let said = meanwhile(stage, call, Exit::Untrue, hand).await;
    says(&said, &["somebody else moved the traffic", first]);
    assert_serves(stage, "gcp", 1).await;
}

/// A value that was made once is not made anew because somebody disabled it; one that people give
/// is given again.
async fn secret_disabled(stage: &Stage) {
    first_serves(stage).await;
    let version = |secret: &str, verb: &str| {
        format!("/v1/projects/{PROJECT}/secrets/swept-test-{secret}/versions/1:{verb}")
    };
    let say = async |secret: &str, verb: &str| {
        let path = version(secret, verb);
        stage.google(Method::POST, &path, Some(json!({}))).await;
    };
    stage.want(&SECOND);
    say("cookie-key", "disable").await;
    let said = run(stage, APPLY, "gcp", Exit::Failure).await;
    says(
        &said,
        &[
            "cookie-key",
            "version 1 is disabled",
            "gcloud secrets versions enable",
        ],
    );
    assert_serves(stage, "gcp", 1).await;
    say("cookie-key", "enable").await;
    say("mail-password", "disable").await;
    let said = run(stage, APPLY, "gcp", Exit::Success).await;
    says(
        &said,
        &["changed by another hand", "the last apply left version 1"],
    );
    assert_serves(stage, "gcp", 2).await;
}

/// Tokens of a key that somebody switched off may be wanted again: no other pair takes its place,
/// here or elsewhere.
async fn key_disabled(stage: &Stage) {
    let wanted = Wanted {
        keys: true,
        ..Wanted::FIRST
    };
    stage.want(&wanted);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let say = async |verb: &str| {
        let secret = format!("/v1/projects/{PROJECT}/secrets/swept-test-jwt-private/versions/1");
        stage
            .google(Method::POST, &format!("{secret}:{verb}"), Some(json!({})))
            .await;
    };
    say("disable").await;
    // Also where the cloud that has the pair is not the one that is worked on.
    for cloud in ["all", "aws"] {
        let said = run(stage, APPLY, cloud, Exit::Failure).await;
        says(
            &said,
            &[
                "key pair `jwt` cannot be used on gcp",
                "version 1 of the secret `jwt-private` is disabled",
            ],
        );
    }
    say("enable").await;
    run(stage, APPLY, "all", Exit::Success).await;
    let secrets = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let copied = secrets
        .get_secret_value()
        .secret_id("/swept/test/jwt-private");
    let copied = copied.send().await.expect("it was copied");
    let path =
        format!("/v1/projects/{PROJECT}/secrets/swept-test-jwt-private/versions/latest:access");
    let kept = stage.google(Method::GET, &path, None).await;
    let kept = kept["payload"]["data"].as_str().expect("a value");
    let kept = STANDARD.decode(kept).expect("base64");
    assert_eq!(copied.secret_string().expect("text").as_bytes(), kept);
}

/// What somebody took over since it was made stays.
async fn taken_over(stage: &Stage) {
    first_serves(stage).await;
    let logs = aws_sdk_cloudwatchlogs::Client::new(&stage.aws().await);
    let group = format!("/ecs/{NAME}");
    let arn = format!("arn:aws:logs:{REGION}:123456789012:log-group:{group}");
    let untag = logs.untag_resource().resource_arn(arn).tag_keys("deployer");
    untag.send().await.expect("the group is there");
    let said = run(stage, DESTROY, "aws", Exit::Success).await;
    says(
        &said,
        &["is left alone, it is not ours any more: it has no tag `deployer`"],
    );
    let groups = logs
        .describe_log_groups()
        .log_group_name_prefix(group)
        .send();
    assert_eq!(groups.await.expect("an answer").log_groups().len(), 1);
}

fn service_path() -> String {
    format!("/v2/projects/{PROJECT}/locations/{LOCATION}/services/{NAME}")
}
