//! What a hand set on a Cloud Run service around its revisions, and what Cloud Run does then.

use deployer::Exit;
use reqwest::Method;
use serde_json::{Value, json};

use crate::in_process::stage::{LOCATION, PROJECT, Stage, Wanted};
use crate::web::Web;
use crate::{APPLY, first_serves, run, says};

crate::tests! {
    a_service_that_is_scaled_by_hand_is_scaled_by_the_manifest_again_without_a_revision => by_hand,
    a_service_behind_identity_aware_proxy_is_not_verified => behind_iap,
    a_service_that_was_deployed_from_source_runs_our_image_alone => from_source,
}

const NAME: &str = "swept-test-idp";
const OVERLAY: &str = "deployer.test.toml";
const PLAN: &[&str] = &["plan", "--detailed-exitcode"];

fn path() -> String {
    format!("/v2/projects/{PROJECT}/locations/{LOCATION}/services/{NAME}")
}

async fn read(stage: &Stage) -> Value {
    stage.google(Method::GET, &path(), None).await
}

async fn patch(stage: &Stage, mask: &str, change: Value) {
    let path = format!("{}?updateMask={mask}", path());
    stage.google(Method::PATCH, &path, Some(change)).await;
    stage.time.pass(std::time::Duration::from_secs(60)).await;
}

fn one_line(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Counted by hand to none, it serves nothing whatever its revisions say; a maximum of the service
/// holds them back.
async fn by_hand(stage: &Stage) {
    first_serves(stage).await;
    let before = read(stage).await["latestCreatedRevision"].clone();
    for (set, told) in [
        (
            json!({ "scalingMode": "MANUAL", "manualInstanceCount": 0 }),
            "manual, 0 instances",
        ),
        (
            json!({ "maxInstanceCount": 1 }),
            "at most 1 instances in all",
        ),
    ] {
        stage.file(OVERLAY, "[services.idp]\nreplicas = { min = 1, max = 4 }\n");
        run(stage, APPLY, "gcp", Exit::Success).await;
        let revision = read(stage).await["latestCreatedRevision"].clone();
        patch(stage, "scaling", json!({ "scaling": set })).await;
        let said = run(stage, PLAN, "gcp", Exit::Changes).await;
        says(&said, &["scaling", told]);
        run(stage, APPLY, "gcp", Exit::Success).await;
        let now = read(stage).await;
        assert_eq!(now["latestCreatedRevision"], revision);
        assert_ne!(now["latestCreatedRevision"], before);
        assert_ne!(now["scaling"]["scalingMode"], "MANUAL");
        run(stage, PLAN, "gcp", Exit::Success).await;
    }
}

/// It asks for a person to sign in: no answer of the app is to be had from here.
async fn behind_iap(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let web = Web::serve(|_| (302, "")).await;
    let section = "[targets.gcp.services.idp]\n";
    stage.file(
        OVERLAY,
        &format!("{section}url = \"http://{}\"\n", web.host()),
    );
    run(stage, APPLY, "gcp", Exit::Success).await;
    patch(stage, "iapEnabled", json!({ "iapEnabled": true })).await;
    let said = one_line(&run(stage, &["apply", "--yes"], "gcp", Exit::Success).await);
    says(
        &said,
        &["`idp` is not verified: Identity-Aware Proxy asks who calls"],
    );
    assert_eq!(read(stage).await["iapEnabled"], true);
}

/// `gcloud run deploy --source` leaves a base image, which Cloud Run puts under ours, and how to
/// build another one.
async fn from_source(stage: &Stage) {
    first_serves(stage).await;
    let mut template = read(stage).await["template"].clone();
    template["containers"][0]["baseImageUri"] =
        json!("us-central1-docker.pkg.dev/serverless-runtimes/nodejs22");
    let build =
        json!({ "sourceLocation": "gs://run-sources/idp.zip", "enableAutomaticUpdates": true });
    let change = json!({ "template": template, "buildConfig": build });
    patch(stage, "template,buildConfig", change).await;
    let said = run(stage, PLAN, "gcp", Exit::Changes).await;
    says(
        &said,
        &[
            "base image",
            "nodejs22",
            "built from",
            "gs://run-sources/idp.zip",
        ],
    );
    run(stage, APPLY, "gcp", Exit::Success).await;
    let now = read(stage).await;
    assert!(
        now["template"]["containers"][0]["baseImageUri"].is_null(),
        "{now:#}"
    );
    assert!(now["buildConfig"].is_null(), "{now:#}");
    run(stage, PLAN, "gcp", Exit::Success).await;
}
