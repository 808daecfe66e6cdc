//! Secrets: who may read them, whose they are, and which values are none.

use std::time::Duration;

use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::Tag;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use deployer::Exit;
use deployer_sandbox::runner::{self, Behaviour, Purpose};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use reqwest::Method;
use serde_json::{Value, json};

use crate::in_process::stage::{LOCATION, PROJECT, Stage, Wanted};
use crate::{APPLY, DESTROY, SECOND, assert_serves, first_serves, run, says};

crate::tests! {
    an_access_that_was_granted_is_waited_for_however_long_it_takes_to_get_about => granted_late,
    an_access_is_granted_beside_those_of_others_and_taken_away_alone => granted_beside_others,
    who_may_not_grant_an_access_is_told_the_command_while_planning => may_not_grant,
    a_secret_of_another_owner_is_read_and_never_changed => anothers,
    a_secret_that_its_owner_rotates_is_not_pinned_to_a_version_that_dies => rotated,
    a_secret_that_has_no_such_member_is_refused_by_name_while_planning => no_such_member,
    secrets_that_an_app_prints_are_neither_shown_nor_kept => printed,
    secrets_are_kept_where_a_policy_on_locations_allows_it => locations,
    a_version_that_secrets_manager_does_not_know_yet_is_asked_for_again => unknown_version,
    a_value_that_a_cloud_would_refuse_is_refused_while_planning => unfit_values,
    a_password_that_a_database_would_refuse_is_refused_where_it_is_set => unfit_password,
}

pub const ACCESSOR: &str = "roles/secretmanager.secretAccessor";
/// What somebody else's secret holds.
const THEIRS: &str = r#"{"username":"theirs","password":"hunter2!"}"#;

async fn policy(stage: &Stage, secret: &str) -> Value {
    let path = format!("/v1/projects/{PROJECT}/secrets/{secret}:getIamPolicy");
    let version = "options.requestedPolicyVersion=3";
    stage
        .google(Method::GET, &format!("{path}?{version}"), None)
        .await
}

/// Who reads a secret by a binding without a condition.
pub async fn readers(stage: &Stage, secret: &str) -> Vec<String> {
    let policy = policy(stage, secret).await;
    let bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
    let plain = bindings
        .iter()
        .filter(|it| it["role"] == ACCESSOR && it.get("condition").is_none());
    let members = plain.flat_map(|it| it["members"].as_array().cloned().unwrap_or_default());
    members
        .filter_map(|it| it.as_str().map(str::to_owned))
        .collect()
}

async fn set_policy(stage: &Stage, secret: &str, bindings: Value) {
    let path = format!("/v1/projects/{PROJECT}/secrets/{secret}:setIamPolicy");
    let policy = json!({ "policy": { "version": 3, "bindings": bindings } });
    stage.google(Method::POST, &path, Some(policy)).await;
}

/// The account that Cloud Run takes where none is named.
pub async fn account(stage: &Stage) -> String {
    let project = stage
        .google(Method::GET, &format!("/v1/projects/{PROJECT}"), None)
        .await;
    let number = project["projectNumber"].as_str().expect("a number");
    format!("serviceAccount:{number}-compute@developer.gserviceaccount.com")
}

pub async fn plans_nothing(stage: &Stage, cloud: &str) {
    let said = run(
        stage,
        &["plan", "--detailed-exitcode"],
        cloud,
        Exit::Success,
    )
    .await;
    says(&said, &["No changes"]);
}

/// Seven minutes pass until Google's own services know of a grant; Cloud Run refuses until then.
/// With a migration it is the job that is looked at again, without one the service.
async fn granted_late(stage: &Stage) {
    stage.sandbox.set_iam_delay(Duration::from_secs(7 * 60));
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 1).await;
    let us = account(stage).await;
    for secret in ["mail-password", "cookie-key", "database-url"] {
        let readers = readers(stage, &format!("swept-test-{secret}")).await;
        assert_eq!(readers, [us.as_str()], "{secret}");
    }
    plans_nothing(stage, "gcp").await;
    let beside = stage.beside("other");
    beside.want(&Wanted::FIRST);
    beside.want_no_migration();
    run(&beside, APPLY, "gcp", Exit::Success).await;
    assert_serves(&beside, "gcp", 1).await;
    plans_nothing(&beside, "gcp").await;
    // Where nothing is granted anew, nothing is waited for.
    stage.want(&SECOND);
    let began = jiff_now(stage);
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert!(jiff_now(stage) - began < 5 * 60);
}

fn jiff_now(stage: &Stage) -> i64 {
    stage.time.now().as_second()
}

/// Other members, other roles and conditions on our own secret stay; so does a binding of ours that
/// another hand had made.
async fn granted_beside_others(stage: &Stage) {
    stage.want(&Wanted {
        old_secret: true,
        ..Wanted::FIRST
    });
    run(stage, APPLY, "gcp", Exit::Success).await;
    let us = account(stage).await;
    let ada = "user:ada@example.com";
    let condition = json!({ "title": "soon", "expression": "request.time < timestamp('2030-01-01T00:00:00Z')" });
    let theirs = json!([
        { "role": ACCESSOR, "members": [ada] },
        { "role": "roles/secretmanager.viewer", "members": [us] },
        { "role": ACCESSOR, "members": [us], "condition": condition },
    ]);
    set_policy(stage, "swept-test-cookie-key", theirs.clone()).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(
        readers(stage, "swept-test-cookie-key").await,
        [us.as_str(), ada]
    );
    let there = policy(stage, "swept-test-cookie-key").await;
    assert_eq!(
        there["bindings"].as_array().map(Vec::len),
        Some(3),
        "{there}"
    );
    plans_nothing(stage, "gcp").await;
}

async fn may_not_grant(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let denied =
        "[[fault]]\ncall = \"secretmanager.projects.secrets.setIamPolicy\"\nwhat = \"denied\"\n";
    stage.disturb(denied).await;
    stage.calls.arm(None);
    let said = run(stage, APPLY, "gcp", Exit::Denied).await;
    let us = account(stage).await;
    says(
        &said,
        &[
            "gcloud secrets add-iam-policy-binding swept-test-cookie-key",
            &format!("--member={us}"),
            ACCESSOR,
        ],
    );
    let writes = stage.calls.writes();
    assert!(
        writes.iter().all(|call| !call.contains("create")),
        "{writes:?}"
    );
    // Whoever lets the account read everything in the project has done what is needed.
    let path = format!("/v1/projects/{PROJECT}:setIamPolicy");
    let all = json!([{ "role": ACCESSOR, "members": [us] }]);
    let policy = json!({ "policy": { "bindings": all } });
    stage.google(Method::POST, &path, Some(policy)).await;
    stage.time.pass(Duration::from_secs(600)).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 1).await;
    assert_eq!(
        readers(stage, "swept-test-cookie-key").await,
        Vec::<String>::new()
    );
    plans_nothing(stage, "gcp").await;
}

/// Makes a secret on both clouds that another environment marks as its own.
async fn make_theirs(stage: &Stage, value: &str) {
    let aws = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let tag = Tag::builder().key("deployer").value("other/prod").build();
    let made = aws.create_secret().name("rds!db-1a2b").tags(tag);
    made.secret_string(value).send().await.expect("it is made");
    let path = format!("/v1/projects/{PROJECT}/secrets?secretId=theirs");
    let secret =
        json!({ "replication": { "automatic": {} }, "labels": { "deployer": "other_prod" } });
    stage.google(Method::POST, &path, Some(secret)).await;
    let path = format!("/v1/projects/{PROJECT}/secrets/theirs:addVersion");
    let payload = json!({ "payload": { "data": STANDARD.encode(value) } });
    stage.google(Method::POST, &path, Some(payload)).await;
}

const OF_THEIRS: &str = r#"
[secrets.their-user]
key = "username"

[secrets.their-password]
key = "password"

[targets.aws.secrets.their-user]
name = "rds!db-1a2b"
[targets.aws.secrets.their-password]
name = "rds!db-1a2b"
[targets.gcp.secrets.their-user]
name = "projects/sandbox-project/secrets/theirs"
[targets.gcp.secrets.their-password]
name = "projects/sandbox-project/secrets/theirs"
"#;
const VARIABLES: &str =
    "THEIR_USER = { secret = \"their-user\" }\nTHEIR_PASSWORD = { secret = \"their-password\" }";

async fn anothers(stage: &Stage) {
    make_theirs(stage, THEIRS).await;
    stage.want(&Wanted::FIRST);
    stage.want_also(VARIABLES, OF_THEIRS);
    run(stage, APPLY, "all", Exit::Success).await;
    let started = stage.containers.started();
    let serving = started.iter().filter(|it| it.env.contains_key("GREETING"));
    let mut seen = 0;
    for it in serving {
        assert_eq!(it.env["THEIR_USER"], "theirs");
        assert_eq!(it.env["THEIR_PASSWORD"], "hunter2!");
        seen += 1;
    }
    assert!(seen >= 2, "{seen}");
    for cloud in ["aws", "gcp"] {
        plans_nothing(stage, cloud).await;
    }
    let value = stage.file("value", "mine now");
    let set = ["secrets", "set", "their-user", "--file", &value];
    let said = run(stage, &set, "all", Exit::Failure).await;
    says(&said, &["is not ours", "its owner sets it"]);
    // Whatever becomes of us, it is as it was.
    run(stage, DESTROY, "all", Exit::Success).await;
    let aws = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let kept = aws.describe_secret().secret_id("rds!db-1a2b").send().await;
    let kept = kept.expect("it is there");
    assert!(kept.deleted_date().is_none());
    let tags: Vec<_> = kept
        .tags()
        .iter()
        .map(|it| (it.key().unwrap_or_default(), it.value().unwrap_or_default()))
        .collect();
    assert_eq!(tags, [("deployer", "other/prod")]);
    let held = aws.get_secret_value().secret_id("rds!db-1a2b").send().await;
    assert_eq!(held.expect("a value").secret_string(), Some(THEIRS));
    let path = format!("/v1/projects/{PROJECT}/secrets/theirs");
    let kept = stage.google(Method::GET, &path, None).await;
    assert_eq!(kept["labels"], json!({ "deployer": "other_prod" }));
    assert_eq!(readers(stage, "theirs").await, Vec::<String>::new());
}

/// What `THEIR_PASSWORD` is in the service's newest task.
fn their_password(stage: &Stage) -> String {
    let started = stage.containers.started();
    let mut serving = started.iter().filter(|it| it.env.contains_key("GREETING"));
    let newest = serving.next_back().expect("a task");
    newest.env["THEIR_PASSWORD"].clone()
}

/// RDS rotates every seven days, and the second rotation is the end of the version that was current
/// before the first.
async fn rotated(stage: &Stage) {
    make_theirs(stage, THEIRS).await;
    let tables = "\n[secrets.their-token]\nfrom = \"cloud\"\n\n[targets.aws.secrets.their-token]\nname = \"rotating\"\n\
                  [targets.gcp.secrets.their-token]\nname = \"projects/sandbox-project/secrets/rotating\"\n";
    let aws = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let made = aws.create_secret().name("rotating").secret_string("one");
    made.send().await.expect("it is made");
    let rotate = |round: u32| {
        let value = THEIRS.replace("hunter2!", &format!("hunter{round}!"));
        assert!(stage.sandbox.rotate_secret("rds!db-1a2b", &value));
        assert!(
            stage
                .sandbox
                .rotate_secret("rotating", &format!("token {round}"))
        );
    };
    rotate(3);
    stage.want(&Wanted::FIRST);
    stage.want_also(
        &format!("{VARIABLES}\nTHEIR_TOKEN = {{ secret = \"their-token\" }}"),
        &format!("{OF_THEIRS}{tables}"),
    );
    let said = run(stage, &["plan"], "aws", Exit::Success).await;
    says(&said, &["is rotated by its owner and not pinned"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(their_password(stage), "hunter3!");
    // Nothing is to be done, whatever they do.
    for round in 4..8 {
        rotate(round);
        plans_nothing(stage, "aws").await;
    }
    // Tasks that start now have what is valid now; none is stopped by a version that is gone.
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let again = ecs.update_service().service(stage.service());
    let again = again.force_new_deployment(true).send().await;
    again.expect("ECS takes it");
    stage.time.pass(Duration::from_secs(600)).await;
    assert_eq!(their_password(stage), "hunter7!");
    assert_serves(stage, "aws", 1).await;
    // A rollback goes back without a look for versions that are gone.
    stage.want(&SECOND);
    stage.want_also(
        &format!("{VARIABLES}\nTHEIR_TOKEN = {{ secret = \"their-token\" }}"),
        &format!("{OF_THEIRS}{tables}"),
    );
    run(stage, APPLY, "aws", Exit::Success).await;
    rotate(8);
    rotate(9);
    let back = ["rollback", "--yes", "--no-verify"];
    run(stage, &back, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 1).await;
    assert_eq!(their_password(stage), "hunter9!");
}

async fn no_such_member(stage: &Stage) {
    make_theirs(stage, r#"{"username":"hunter2!"}"#).await;
    stage.want(&Wanted::FIRST);
    stage.want_also(VARIABLES, OF_THEIRS);
    for (cloud, name) in [("aws", "rds!db-1a2b"), ("gcp", "secrets/theirs")] {
        stage.calls.arm(None);
        let said = run(stage, APPLY, cloud, Exit::Failure).await;
        says(
            &said,
            &[
                "cannot take `password` out of secret",
                name,
                "it has: username",
            ],
        );
        assert!(!said.contains("hunter2"), "{said}");
        let writes = stage.calls.writes();
        assert!(writes.iter().all(|it| !it.contains("reate")), "{writes:?}");
    }
    let aws = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let bytes = aws.put_secret_value().secret_id("rds!db-1a2b");
    let bytes = bytes.secret_binary(Blob::new([0xff, 0xfe]));
    bytes.send().await.expect("bytes are taken");
    let said = run(stage, &["plan"], "aws", Exit::Failure).await;
    says(&said, &["rds!db-1a2b", "holds bytes, not text"]);
}

async fn unfit_values(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    for (value, why) in [
        (String::new(), "is empty"),
        ("\r\n".to_owned(), "is empty"),
        ("x".repeat(65_537), "has 65537 bytes; 65536 is the most"),
    ] {
        stage.file("mail-password", &value);
        let said = run(stage, &["plan"], "all", Exit::Input).await;
        says(&said, &["mail-password", why]);
        let path = stage.file("value", &value);
        let set = ["secrets", "set", "cookie-key", "--file", &path];
        let said = run(stage, &set, "all", Exit::Input).await;
        says(&said, &["cookie-key", why]);
    }
    stage.file("mail-password", &format!("{}\n", "x".repeat(65_536)));
    run(stage, &["plan"], "all", Exit::Success).await;
}

async fn unfit_password(stage: &Stage) {
    stage.want(&Wanted {
        data: true,
        ..Wanted::FIRST
    });
    for value in ["p@ssw0rd!", "pass/word", "pass\"word", "pass word", "short"] {
        let path = stage.file("value", value);
        let set = ["secrets", "set", "main-password", "--file", &path];
        stage.calls.arm(None);
        let said = run(stage, &set, "all", Exit::Input).await;
        says(
            &said,
            &["the password of database `main`", "RDS takes 8 to 128"],
        );
        assert!(!said.contains(value), "{said}");
        assert_eq!(stage.calls.writes(), Vec::<String>::new());
    }
    // Set past the program, it is met while planning.
    let aws = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let tag = Tag::builder().key("deployer").value("swept/test").build();
    let made = aws.create_secret().name("/swept/test/main-password");
    let made = made.tags(tag).secret_string("p@ssw0rd!");
    made.send().await.expect("it is made");
    let said = run(stage, &["plan"], "aws", Exit::Input).await;
    says(
        &said,
        &["the password of database `main`", "RDS takes 8 to 128"],
    );
}

/// A migration that prints its environment and fails: the report has what else it printed.
async fn printed(stage: &Stage) {
    first_serves(stage).await;
    stage.behave(|started| {
        let shown = ["MAIL_PASSWORD", "DATABASE_URL", "COOKIE_KEY"];
        let shown = shown.map(|name| format!("{name}={}", started.env[name]));
        Behaviour {
            exit: (started.purpose == Purpose::Finish).then_some(runner::Exit::with(3)),
            lines: shown
                .into_iter()
                .chain(["cannot go on".to_owned()])
                .collect(),
            ..Behaviour::usual(started.purpose)
        }
    });
    stage.want(&SECOND);
    let again: &[&str] = &["migrate", "--retry", "--yes", "--json"];
    for cloud in ["aws", "gcp"] {
        for words in [APPLY, again] {
            let said = run(stage, words, cloud, Exit::DeploymentFailed).await;
            says(&said, &["cannot go on", "MAIL_PASSWORD=[redacted]"]);
            let started = stage.containers.started();
            let with_secrets = started
                .iter()
                .filter(|it| it.env.contains_key("COOKIE_KEY"));
            for env in with_secrets.map(|it| &it.env) {
                for name in ["MAIL_PASSWORD", "DATABASE_URL", "COOKIE_KEY"] {
                    let value = &env[name];
                    assert!(!said.contains(value.as_str()), "{name} is shown:\n{said}");
                    assert_kept_nowhere(stage, value).await;
                }
            }
        }
    }
}

async fn assert_kept_nowhere(stage: &Stage, value: &str) {
    let store = &stage.ledger;
    let mut all = store.list(None);
    while let Some(object) = all.try_next().await.expect("a listing") {
        let content = store.get(&object.location).await.expect("an object");
        let content = content.bytes().await.expect("its content");
        let text = String::from_utf8_lossy(&content);
        assert!(!text.contains(value), "{} has it: {text}", object.location);
    }
}

/// Where `global` is forbidden, secrets are kept in the target's own region, or where the manifest
/// says.
async fn locations(stage: &Stage) {
    let policy = Some(vec![LOCATION.to_owned(), "us-east1".to_owned()]);
    stage.sandbox.set_allowed_locations(policy);
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let kept = async || {
        let path = format!("/v1/projects/{PROJECT}/secrets/swept-test-cookie-key");
        let secret = stage.google(Method::GET, &path, None).await;
        secret["replication"]["userManaged"]["replicas"].clone()
    };
    assert_eq!(kept().await, json!([{ "location": LOCATION }]));
    plans_nothing(stage, "gcp").await;
    let elsewhere = [
        "plan",
        "--set",
        "targets.gcp.secret_replication=[\"us-east1\"]",
    ];
    let said = run(stage, &elsewhere, "gcp", Exit::Success).await;
    says(&said, &["replication", "us-east1", "data"]);
    let beside = stage.beside("other");
    beside.want(&Wanted::FIRST);
    let forbidden = "targets.gcp.secret_replication=[\"europe-west1\"]";
    let words = ["apply", "--yes", "--no-verify", "--set", forbidden];
    let said = run(&beside, &words, "gcp", Exit::Failure).await;
    says(
        &said,
        &["constraints/gcp.resourceLocations", "secret_replication"],
    );
}

/// What was just put may be unknown for a moment; the instance is made with it all the same.
async fn unknown_version(stage: &Stage) {
    stage.want(&Wanted {
        data: true,
        ..Wanted::FIRST
    });
    let stale = "[[fault]]\ncall = \"secretsmanager:GetSecretValue\"\nwhat = \"stale\"\nnth = 1\ntimes = 3\n";
    stage.disturb(stale).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    assert!(stage.fired().await > 0);
}
