//! The ready manifests of two teams on App Runner live in the sandbox, from nothing to nothing.

use std::path::Path;

use deployer::Exit;
use deployer_sandbox::runner::{Purpose, Started};

use crate::domains;
use crate::in_process::stage::{REGION, Stage};
use crate::{APPLY, DESTROY, run, says};

crate::tests! {
    kaizencoach_lives_on_one_secret_with_eight_members => kaizencoach,
    the_combine_lives_on_secrets_by_their_arns_and_a_private_database => the_combine,
}

const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
const BACK: &[&str] = &["rollback", "--yes", "--no-verify"];

/// The members of the one secret.
const MEMBERS: [(&str, &str); 8] = [
    ("STRAVA_CLIENT_ID", "188207"),
    ("STRAVA_CLIENT_SECRET", "a1b2c3d4"),
    ("STRAVA_VERIFY_TOKEN", "cb4fda9a"),
    ("FLASK_SECRET_KEY", "8f7d6e5c"),
    (
        "GARMIN_ENCRYPTION_KEY",
        "XyZ9AbC8dEf7GhI6JkL5MnO4PqR3StU2VwX1YzA0BcD=",
    ),
    (
        "GOOGLE_APPLICATION_CREDENTIALS_JSON",
        "{\"type\":\"service_account\"}",
    ),
    ("GCP_PROJECT_ID", "kaizencoach-staging"),
    ("GCP_LOCATION", "europe-west1"),
];

/// A ready manifest with its overlays, in the sandbox's account and region, with an image that is
/// here.
fn want(stage: &Stage, name: &str, (account, region): (&str, &str), version: u32) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../config")
        .join(name);
    for file in ["deployer.toml", "deployer.staging.toml"] {
        let text = std::fs::read_to_string(config.join(file)).expect("a ready manifest");
        let lines = text.lines().map(|line| match line.starts_with("image = ") {
            true => format!("image = \"oci:image-{version}\""),
            false => line.to_owned(),
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        let here = format!(
            "account = \"123456789012\"\nregion = \"{REGION}\"\nendpoint = \"{}\"\n",
            stage.sandbox.aws_url
        );
        let there = format!("account = \"{account}\"\nregion = \"{region}\"\n");
        stage.file(file, &text.replace(&there, &here));
    }
}

/// The name and its `www.` lead to the service, and three records prove whose they are.
async fn assert_led(stage: &Stage, zone: &str, name: &str) {
    let all = domains::records(stage, zone).await;
    let of = |kind: &str| -> Vec<&str> {
        let own = all.iter().filter(|(_, it, _)| it == kind);
        own.map(|(name, _, _)| name.as_str()).collect()
    };
    assert_eq!(of("A"), [format!("{name}."), format!("www.{name}.")]);
    assert_eq!(of("CNAME").len(), 3, "{all:?}");
}

fn last_that_serves(stage: &Stage) -> Started {
    let started = stage.containers.started().into_iter();
    let mut serving = started.filter(|it| it.purpose == Purpose::Serve);
    serving.next_back().expect("something serves")
}

async fn kaizencoach(stage: &Stage) {
    let place = ("321490400104", "eu-west-1");
    want(stage, "kaizencoach", place, 1);
    let zone = domains::zone(stage, "kaizencoach.training", "one").await;
    let secrets = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let name = "staging-kaizencoach-app-secrets";
    // Before anything is made: no service ever started with an empty secret.
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(&said, &[name]);
    assert!(stage.containers.started().is_empty());
    let document = |location: &str| {
        let members = MEMBERS.iter().map(|(member, value)| {
            let value = if *member == "GCP_LOCATION" {
                location
            } else {
                value
            };
            ((*member).to_owned(), serde_json::Value::from(value))
        });
        serde_json::Value::Object(members.collect()).to_string()
    };
    let create = secrets.create_secret().name(name);
    let create = create.secret_string(document("europe-west1")).send();
    create.await.expect("it is made");

    run(stage, APPLY, "aws", Exit::Success).await;
    let started = last_that_serves(stage);
    for (member, value) in MEMBERS {
        assert_eq!(
            started.env.get(member).map(String::as_str),
            Some(value),
            "{member}"
        );
    }
    assert_eq!(started.env["DATA_BUCKET"], "staging-kaizencoach-data");
    assert_eq!(started.env["AWS_REGION"], REGION);
    assert_eq!(started.env["FLASK_ENV"], "production");
    assert_led(stage, &zone, "staging.kaizencoach.training").await;
    run(stage, PLAN, "aws", Exit::Success).await;

    // Another value of one member deploys.
    let put = secrets.put_secret_value().secret_id(name);
    let put = put.secret_string(document("europe-west4")).send();
    put.await.expect("it is set");
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(last_that_serves(stage).env["GCP_LOCATION"], "europe-west4");

    want(stage, "kaizencoach", place, 2);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(last_that_serves(stage).digest, stage.digest(2));
    run(stage, BACK, "aws", Exit::Success).await;
    let back = last_that_serves(stage);
    assert_eq!(back.digest, stage.digest(1));
    // Nothing pins a secret: an instance reads what is current.
    assert_eq!(back.env["GCP_LOCATION"], "europe-west4");
    run(stage, DESTROY, "aws", Exit::Success).await;
    let kept = secrets.describe_secret().secret_id(name).send().await;
    assert!(kept.expect("it is somebody's").deleted_date().is_none());
    assert_eq!(domains::records(stage, &zone).await, []);
}

async fn the_combine(stage: &Stage) {
    let place = ("123456789012", "us-east-1");
    want(stage, "the-combine", place, 1);
    let zone = domains::zone(stage, "thecombine.ui", "one").await;
    let key = stage.file("key", "sk-ant-1");
    let set = ["secrets", "set", "anthropic-api-key", "--file", &key];
    run(stage, &set, "aws", Exit::Success).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    let started = stage.containers.started();
    // The app migrates itself when it starts: no task runs.
    assert!(started.iter().all(|it| it.purpose == Purpose::Serve));
    let serves = last_that_serves(stage);
    for variable in ["DB_PASSWORD_ARN", "ANTHROPIC_API_KEY_ARN", "SECRET_KEY_ARN"] {
        let arn = &serves.env[variable];
        assert!(
            arn.starts_with("arn:aws:secretsmanager:"),
            "{variable}: {arn}"
        );
    }
    assert!(!serves.env.values().any(|it| it.contains("sk-ant")));
    assert_led(stage, &zone, "staging.thecombine.ui").await;
    run(stage, PLAN, "aws", Exit::Success).await;
    want(stage, "the-combine", place, 2);
    run(stage, APPLY, "aws", Exit::Success).await;
    run(stage, BACK, "aws", Exit::Success).await;
    assert_eq!(last_that_serves(stage).digest, stage.digest(1));
    run(stage, DESTROY, "aws", Exit::Success).await;
    assert_eq!(domains::records(stage, &zone).await, []);
}
