//! Who reads which secret on Google Cloud: the account that a service really runs as, and secrets
//! of other projects.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use deployer::Exit;
use deployer_sandbox::runner::Purpose;
use reqwest::Method;
use serde_json::{Value, json};

use crate::in_process::stage::{LOCATION, PROJECT, Stage, Wanted};
use crate::secrets::{ACCESSOR, account, plans_nothing, readers};
use crate::{APPLY, DESTROY, SECOND, assert_serves, run, says};

crate::tests! {
    a_service_goes_on_reading_its_secrets_when_its_account_is_no_longer_named => account_removed,
    secrets_are_granted_to_the_account_that_a_service_was_given_by_hand => account_of_its_own,
    a_service_runs_as_the_account_that_the_manifest_gives_it_alone => account_each,
    a_secret_of_another_project_is_pinned_as_theirs => of_another_project,
    an_access_that_cannot_be_seen_is_for_cloud_run_to_judge => unseen,
    an_access_that_a_folder_gives_is_for_cloud_run_to_judge => inherited,
    an_access_that_cannot_be_seen_and_is_refused_is_not_waited_for_long => unseen_and_refused,
    a_call_that_is_denied_is_told_with_its_own_exit_code => denied,
}

/// An account that no manifest need name.
const APP: &str = "app@sandbox-project.iam.gserviceaccount.com";
/// The project that keeps secrets for others.
const SHARED: &str = "shared-secrets";

fn service() -> String {
    format!("/v2/projects/{PROJECT}/locations/{LOCATION}/services/swept-test-idp")
}

/// A service whose account the manifest no longer names goes on as it, and goes on reading its
/// secrets.
async fn account_removed(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let named = format!("[targets.gcp]\nservice_account = \"{APP}\"\n");
    stage.file("deployer.test.toml", &named);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let app = format!("serviceAccount:{APP}");
    assert_eq!(
        readers(stage, "swept-test-cookie-key").await,
        [app.as_str()]
    );
    stage.file("deployer.test.toml", "");
    run(stage, APPLY, "gcp", Exit::Success).await;
    let there = stage.google(Method::GET, &service(), None).await;
    assert_eq!(there["template"]["serviceAccount"], APP);
    assert_eq!(
        readers(stage, "swept-test-cookie-key").await,
        [app.as_str()]
    );
    plans_nothing(stage, "gcp").await;
    stage.want(&SECOND);
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 2).await;
    run(stage, DESTROY, "gcp", Exit::Success).await;
}

/// A service that another hand gave an account of its own: the secrets are that one's to read.
async fn account_of_its_own(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let mut template = stage.google(Method::GET, &service(), None).await["template"].clone();
    template["serviceAccount"] = json!(APP);
    let path = format!("{}?updateMask=template", service());
    let body = json!({ "template": template });
    stage.google(Method::PATCH, &path, Some(body)).await;
    stage.time.pass(Duration::from_secs(60)).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    let there = stage.google(Method::GET, &service(), None).await;
    assert_eq!(there["template"]["serviceAccount"], APP);
    let condition = &there["terminalCondition"]["state"];
    assert_eq!(condition, "CONDITION_SUCCEEDED", "{there:#}");
    let readers = readers(stage, "swept-test-cookie-key").await;
    let app = format!("serviceAccount:{APP}");
    // The migration runs as the default one still.
    let default = account(stage).await;
    assert!(
        readers.contains(&app) && readers.contains(&default),
        "{readers:?}"
    );
    plans_nothing(stage, "gcp").await;
}

async fn make(stage: &Stage, project: &str, value: &str, bindings: Value) {
    let secrets = format!("/v1/projects/{project}/secrets");
    let secret = json!({ "replication": { "automatic": {} } });
    let path = format!("{secrets}?secretId=api-key");
    stage.google(Method::POST, &path, Some(secret)).await;
    let payload = json!({ "payload": { "data": STANDARD.encode(value) } });
    let path = format!("{secrets}/api-key:addVersion");
    stage.google(Method::POST, &path, Some(payload)).await;
    let policy = json!({ "policy": { "version": 3, "bindings": bindings } });
    let path = format!("{secrets}/api-key:setIamPolicy");
    stage.google(Method::POST, &path, Some(policy)).await;
    stage.time.pass(Duration::from_secs(600)).await;
}

fn want_api_key(stage: &Stage, wanted: &Wanted) {
    stage.want(wanted);
    let tables = format!(
        "[secrets.api-key]\n\n[targets.gcp.secrets.api-key]\nname = \"projects/{SHARED}/secrets/api-key\"\n"
    );
    stage.want_also("API_KEY = { secret = \"api-key\" }", &tables);
}

/// The value of another project's secret, also where ours has one of the same name, and also after
/// a rollback.
async fn of_another_project(stage: &Stage) {
    let us = account(stage).await;
    make(stage, PROJECT, "ours", json!([])).await;
    let reads = json!([{ "role": ACCESSOR, "members": [us] }]);
    make(stage, SHARED, "theirs", reads).await;
    want_api_key(stage, &Wanted::FIRST);
    run(stage, APPLY, "gcp", Exit::Success).await;
    plans_nothing(stage, "gcp").await;
    want_api_key(stage, &SECOND);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let back = ["rollback", "--yes", "--no-verify", "--to", "r1"];
    run(stage, &back, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 1).await;
    let mut started = stage.containers.started();
    started.retain(|it| it.purpose == Purpose::Serve);
    assert!(started.len() >= 2, "{started:?}");
    for it in started {
        assert_eq!(it.env["API_KEY"], "theirs");
    }
    let template = stage.google(Method::GET, &service(), None).await["template"].clone();
    let env = template["containers"][0]["env"].as_array().cloned();
    let env = env.unwrap_or_default();
    let named = env.iter().find(|it| it["name"] == "API_KEY");
    let named = named.expect("the variable is there");
    let full = format!("projects/{SHARED}/secrets/api-key");
    assert_eq!(named["valueSource"]["secretKeyRef"]["secret"], full);
}

/// Whether the account may read another owner's secret cannot always be seen from here: by a group,
/// a folder, a role of their own. That is said, and Cloud Run's own check decides.
async fn unseen(stage: &Stage) {
    let us = account(stage).await;
    // Neither the binding that we would make nor anything that the project's policy shows.
    let otherwise = json!([{ "role": "roles/secretmanager.admin", "members": [us] }]);
    make(stage, SHARED, "theirs", otherwise).await;
    let ours = json!({ "policy": { "bindings": [{ "role": ACCESSOR, "members": [us] }] } });
    let path = format!("/v1/projects/{PROJECT}:setIamPolicy");
    stage.google(Method::POST, &path, Some(ours)).await;
    stage.time.pass(Duration::from_secs(600)).await;
    let denied =
        "[[fault]]\ncall = \"secretmanager.projects.secrets.setIamPolicy\"\nwhat = \"denied\"\n";
    stage.disturb(denied).await;
    want_api_key(stage, &Wanted::FIRST);
    let said = run(stage, &["plan"], "gcp", Exit::Success).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &said,
        &[
            "it cannot be seen whether",
            "Cloud Run's own check tells",
            "--project=shared-secrets",
        ],
    );
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 1).await;
    plans_nothing(stage, "gcp").await;
}

async fn denied(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    for (cloud, call) in [
        ("aws", "ecs:RegisterTaskDefinition"),
        ("gcp", "run.projects.locations.jobs.create"),
    ] {
        stage.calls.deny(call);
        let said = run(stage, APPLY, cloud, Exit::Denied).await;
        says(&said, &["not allowed: "]);
        stage.calls.arm(None);
        run(stage, APPLY, cloud, Exit::Success).await;
    }
}

const MAY_NOT_GRANT: &str =
    "[[fault]]\ncall = \"secretmanager.projects.secrets.setIamPolicy\"\nwhat = \"denied\"\n";

fn one_line(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The folder lets every account of its projects read secrets; who deploys may not write a policy
/// and sees nothing of that.
async fn inherited(stage: &Stage) {
    let us = account(stage).await;
    stage.put_into_folder(ACCESSOR, &us).await;
    stage.disturb(MAY_NOT_GRANT).await;
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 1).await;
    let said = one_line(&run(stage, &["plan"], "gcp", Exit::Success).await);
    says(
        &said,
        &["it cannot be seen whether", "Cloud Run's own check tells"],
    );
    plans_nothing(stage, "gcp").await;
}

/// Where Cloud Run refuses it, that is told within minutes, with the command that mends it.
async fn unseen_and_refused(stage: &Stage) {
    let nobody = "serviceAccount:nobody@sandbox-project.iam.gserviceaccount.com";
    stage.put_into_folder(ACCESSOR, nobody).await;
    stage.disturb(MAY_NOT_GRANT).await;
    stage.want(&Wanted::FIRST);
    stage.want_no_migration();
    let began = stage.time.now();
    let said = one_line(&run(stage, APPLY, "gcp", Exit::DeploymentFailed).await);
    let took = stage.time.now().duration_since(began).as_secs();
    says(
        &said,
        &[
            "Permission denied on secret",
            "of which it cannot be seen whether it may read it",
        ],
    );
    assert!((120..300).contains(&took), "{took} s");
}

/// Service and migration run as the service's own account, which reads their secrets; another
/// service runs as the target's.
async fn account_each(stage: &Stage) {
    stage.want(&Wanted {
        more_services: 1,
        ..Wanted::FIRST
    });
    let own = "web@sandbox-project.iam.gserviceaccount.com";
    let overlay = format!(
        "[targets.gcp]\nservice_account = \"{own}\"\n\n[targets.gcp.services.idp]\nservice_account = \"{APP}\"\n"
    );
    stage.file("deployer.test.toml", &overlay);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let there = stage.google(Method::GET, &service(), None).await;
    assert_eq!(there["template"]["serviceAccount"], APP);
    let at = format!("/v2/projects/{PROJECT}/locations/{LOCATION}");
    let job = format!("{at}/jobs/swept-test-idp-migrate");
    let job = stage.google(Method::GET, &job, None).await;
    assert_eq!(job["template"]["template"]["serviceAccount"], APP);
    let other = format!("{at}/services/swept-test-s1");
    let other = stage.google(Method::GET, &other, None).await;
    assert_eq!(other["template"]["serviceAccount"], own);
    let app = format!("serviceAccount:{APP}");
    assert_eq!(
        readers(stage, "swept-test-cookie-key").await,
        [app.as_str()]
    );
    plans_nothing(stage, "gcp").await;
}
