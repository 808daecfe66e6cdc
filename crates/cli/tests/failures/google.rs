//! What Google Cloud does of its own accord, and what an organization forbids there.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deployer::Exit;
use deployer_sandbox::runner::Behaviour;
use reqwest::Method;
use serde_json::{Value, json};

use crate::in_process::stage::{LOCATION, PROJECT, Stage, Wanted};
use crate::web::Web;
use crate::{APPLY, DESTROY, SECOND, assert_serves, first_serves, run, says};

crate::tests! {
    what_cloud_run_fills_in_leaves_the_second_plan_empty => filled_in,
    a_service_is_open_to_everyone_where_the_organization_restricts_sharing => restricted,
    who_may_call_a_service_is_not_reset_without_a_word => opened_by_hand,
    what_the_manifest_has_no_word_for_survives_a_deployment => not_modelled,
    a_tag_alone_makes_no_revision => tag_alone,
    a_revision_that_another_hand_made_meanwhile_is_not_ours => not_ours,
    going_back_to_what_serves_rolls_nothing_out_on_cloud_run => back_to_what_serves,
    a_change_that_another_one_forestalled_is_sent_again => forestalled,
    a_revision_that_was_named_by_hand_does_not_stop_a_rollback => named_by_hand,
    a_private_service_is_asked_with_an_identity_and_an_internal_one_not_at_all => private,
    apis_that_are_switched_off_are_told_in_one_line => switched_off,
    apis_that_are_switched_off_are_switched_on_where_the_manifest_says_so => switched_on,
    an_api_that_is_off_where_the_calls_count_is_not_waited_for => off_elsewhere,
    a_service_whose_revision_was_named_is_released => released_by_name,
    everybody_with_an_account_is_told_of_and_stays => signed_in,
    what_may_not_be_read_names_the_role => may_not_read,
    a_project_without_billing_is_told_the_command => no_billing,
    a_service_that_is_opened_later_is_asked_as_it_is_and_makes_no_way_back_to_itself => opened_later,
}

const NAME: &str = "swept-test-idp";
const PATCH: &str = "run.projects.locations.services.patch";
const SET_POLICY: &str = "run.projects.locations.services.setIamPolicy";

fn service() -> String {
    format!("/v2/projects/{PROJECT}/locations/{LOCATION}/services/{NAME}")
}

async fn read(stage: &Stage) -> Value {
    stage.google(Method::GET, &service(), None).await
}

async fn patch(stage: &Stage, mask: &str, change: Value) {
    let path = format!("{}?updateMask={mask}", service());
    stage.google(Method::PATCH, &path, Some(change)).await;
}

/// What was said, however it was broken into lines.
fn one_line(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Applies again and sees that nothing is written.
async fn nothing_to_do(stage: &Stage) {
    stage.calls.arm(None);
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

/// Cloud Run fills in the subnetwork of a network, and the network of a subnetwork.
async fn filled_in(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    for way in ["network = \"main\"", "subnetwork = \"back\""] {
        stage.file("deployer.test.toml", &format!("[targets.gcp]\n{way}\n"));
        run(stage, APPLY, "gcp", Exit::Success).await;
        let name = way.split('"').nth(1).expect("a name");
        let there = read(stage).await;
        let interface = &there["template"]["vpcAccess"]["networkInterfaces"][0];
        assert_eq!(interface["network"], name, "{interface}");
        assert_eq!(interface["subnetwork"], name, "{interface}");
        nothing_to_do(stage).await;
    }
    // What the manifest no longer speaks of stays.
    stage.file("deployer.test.toml", "");
    nothing_to_do(stage).await;
    // Nor is a value that somebody set by hand ours to take away where the manifest is silent.
    let mut template = read(stage).await["template"].clone();
    template["maxInstanceRequestConcurrency"] = json!(17);
    template["timeout"] = json!("77s");
    patch(stage, "template", json!({ "template": template })).await;
    stage.time.pass(Duration::from_secs(30)).await;
    nothing_to_do(stage).await;
}

async fn restricted(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.constrain(&["iam.allowedPolicyMemberDomains"]).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(read(stage).await["invokerIamDisabled"], true);
    nothing_to_do(stage).await;
    // Closed by the manifest, and opened again in place.
    let close = "[targets.gcp.services.idp]\npublic = false\n";
    stage.file("deployer.test.toml", close);
    let said = run(stage, APPLY, "gcp", Exit::Success).await;
    says(&said, &["everyone may call it"]);
    assert_ne!(read(stage).await["invokerIamDisabled"], true);
    stage.file("deployer.test.toml", "");
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(read(stage).await["invokerIamDisabled"], true);
    run(stage, DESTROY, "gcp", Exit::Success).await;
    // Where the check is required, everyone is made an invoker.
    stage.constrain(&["run.managed.requireInvokerIam"]).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_ne!(read(stage).await["invokerIamDisabled"], true);
    let policy = stage
        .google(Method::GET, &format!("{}:getIamPolicy", service()), None)
        .await;
    assert_eq!(policy["bindings"][0]["members"][0], "allUsers", "{policy}");
    nothing_to_do(stage).await;
    run(stage, DESTROY, "gcp", Exit::Success).await;
    // Where neither is allowed, that is told with the way out.
    let both = [
        "iam.allowedPolicyMemberDomains",
        "run.managed.requireInvokerIam",
    ];
    stage.constrain(&both).await;
    let said = run(stage, APPLY, "gcp", Exit::Failure).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &said,
        &[
            "cannot let everyone call service `swept-test-idp`",
            "run.managed.requireInvokerIam",
            "do not belong to a permitted customer",
            "public = false",
        ],
    );
}

/// An `allUsers` binding of before, or a check that a hand switched off: both are what the manifest
/// asks for.
async fn opened_by_hand(stage: &Stage) {
    first_serves(stage).await;
    patch(
        stage,
        "invokerIamDisabled",
        json!({ "invokerIamDisabled": false }),
    )
    .await;
    let everyone = json!({ "policy": { "bindings": [
        { "role": "roles/run.invoker", "members": ["allUsers", "user:ada@example.com"] },
    ] } });
    let path = format!("{}:setIamPolicy", service());
    stage.google(Method::POST, &path, Some(everyone)).await;
    stage.time.pass(Duration::from_secs(30)).await;
    nothing_to_do(stage).await;
    patch(
        stage,
        "invokerIamDisabled",
        json!({ "invokerIamDisabled": true }),
    )
    .await;
    stage.time.pass(Duration::from_secs(30)).await;
    nothing_to_do(stage).await;
    stage.want(&SECOND);
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert!(!stage.calls.names().iter().any(|name| name == SET_POLICY));
    assert_eq!(read(stage).await["invokerIamDisabled"], true);
}

/// A sidecar, a volume, a GPU's limit, annotations, addresses of tags, preview features: none of
/// the manifest's affair.
async fn not_modelled(stage: &Stage) {
    first_serves(stage).await;
    let there = read(stage).await;
    let first = there["latestReadyRevision"].as_str().expect("one is ready");
    let first = first.rsplit('/').next().expect("a name").to_owned();
    let mut template = there["template"].clone();
    template["annotations"]["team.example.com/note"] = json!("by hand");
    template["volumes"] = json!([{ "name": "scratch", "emptyDir": { "medium": "MEMORY" } }]);
    template["containers"][0]["volumeMounts"] = json!([{ "name": "scratch", "mountPath": "/s" }]);
    let image = template["containers"][0]["image"].clone();
    let sidecar = json!({ "name": "proxy", "image": image, "args": ["--port=1"] });
    let containers = template["containers"].as_array_mut().expect("a list");
    containers.push(sidecar);
    patch(stage, "template", json!({ "template": template })).await;
    stage.time.pass(Duration::from_secs(60)).await;
    patch(stage, "launchStage", json!({ "launchStage": "BETA" })).await;
    let latest = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST";
    let pinned = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";
    let traffic = json!({ "traffic": [
        { "type": latest, "percent": 100, "tag": "newest" },
        { "type": pinned, "revision": first, "tag": "preview" },
    ] });
    patch(stage, "traffic", traffic).await;
    stage.time.pass(Duration::from_secs(60)).await;
    nothing_to_do(stage).await;
    stage.want(&SECOND);
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 2).await;
    let now = read(stage).await;
    let template = &now["template"];
    assert_eq!(template["annotations"]["team.example.com/note"], "by hand");
    assert_eq!(template["volumes"][0]["name"], "scratch", "{template:#}");
    assert_eq!(
        template["containers"][0]["volumeMounts"][0]["name"],
        "scratch"
    );
    assert_eq!(template["containers"][1]["name"], "proxy", "{template:#}");
    assert_eq!(now["launchStage"], "BETA");
    let tags = now["traffic"].as_array().expect("a list").iter();
    let tags: Vec<&str> = tags.filter_map(|target| target["tag"].as_str()).collect();
    assert_eq!(tags, ["newest", "preview"], "{:#}", now["traffic"]);
}

async fn tag_alone(stage: &Stage) {
    first_serves(stage).await;
    let before = read(stage).await["latestCreatedRevision"].clone();
    stage.file("deployer.test.toml", "[tags]\ncommit = \"abc\"\n");
    let said = run(stage, APPLY, "gcp", Exit::Success).await;
    says(&said, &["tags.commit"]);
    let now = read(stage).await;
    assert_eq!(now["labels"]["commit"], "abc");
    assert_eq!(now["latestCreatedRevision"], before);
    nothing_to_do(stage).await;
    // Revisions bear it from the next one on, which is said meanwhile.
    let said = one_line(&run(stage, &["plan"], "gcp", Exit::Success).await);
    says(&said, &["made without the tags commit = abc"]);
    stage.want(&SECOND);
    let said = run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(read(stage).await["template"]["labels"]["commit"], "abc");
    assert!(!said.contains("No changes"), "{said}");
    let said = one_line(&run(stage, &["plan"], "gcp", Exit::Success).await);
    assert!(!said.contains("made without the tags"), "{said}");
}

/// The version that serves is what the manifest asks for again: nothing is rolled out, and nothing
/// else will serve.
async fn back_to_what_serves(stage: &Stage) {
    first_serves(stage).await;
    let first = read(stage).await["latestReadyRevision"].clone();
    stage.behave(crate::unhealthy);
    stage.want(&SECOND);
    run(stage, APPLY, "gcp", Exit::DeploymentFailed).await;
    let newest = read(stage).await["latestCreatedRevision"].clone();
    assert_ne!(newest, first);
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let now = read(stage).await;
    assert_eq!(now["latestCreatedRevision"], newest);
    let pinned = now["traffic"][0]["revision"].as_str().expect("a name");
    assert!(
        first.as_str().is_some_and(|first| first.ends_with(pinned)),
        "{first}"
    );
    assert_serves(stage, "gcp", 1).await;
    nothing_to_do(stage).await;
    stage.behave(|started| Behaviour::usual(started.purpose));
    stage.want(&SECOND);
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 2).await;
}

/// Another variable beside ours, set while ours rolls out: the image is the same, and what serves
/// is not what was asked for.
async fn not_ours(stage: &Stage) {
    first_serves(stage).await;
    stage.containers_take(Duration::from_secs(60));
    stage.want(&SECOND);
    stage.calls.arm(None);
    let hand = async {
        while !stage.calls.names().iter().any(|name| name == PATCH) {
            stage.time.pass(Duration::from_millis(500)).await;
        }
        stage.time.pass(Duration::from_secs(5)).await;
        // As `gcloud run services update` does it: all that is there, with one thing more.
        let mut template = read(stage).await["template"].clone();
        let env = template["containers"][0]["env"].as_array_mut();
        env.expect("a list")
            .push(json!({ "name": "HAND", "value": "x" }));
        patch(stage, "template", json!({ "template": template })).await;
    };
    let (said, ()) = tokio::join!(run(stage, APPLY, "gcp", Exit::Untrue), hand);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &said,
        &[
            "somebody else",
            "deployer@sandbox-project",
            "env.HAND: (none) -> x",
        ],
    );
    let releases = run(stage, &["releases"], "gcp", Exit::Success).await;
    assert!(!releases.contains("r2"), "{releases}");
}

/// The etag moves on between our reading and our write: ours is sent again, unless it would undo
/// the other one.
async fn forestalled(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    stage.calls.delay(PATCH, Duration::from_secs(10));
    let other = async |mask: &'static str, change: Value| {
        while !stage.calls.names().iter().any(|name| name == PATCH) {
            stage.time.pass(Duration::from_millis(500)).await;
        }
        patch(stage, mask, change).await;
    };
    let note = json!({ "description": "by another hand" });
    let apply = run(stage, APPLY, "gcp", Exit::Success);
    let _ = tokio::join!(apply, other("description", note));
    let sent = stage.calls.names().into_iter();
    assert_eq!(
        sent.filter(|name| name == PATCH).count(),
        3,
        "ours, theirs, ours"
    );
    assert_serves(stage, "gcp", 2).await;
    assert_eq!(read(stage).await["description"], "by another hand");
}

/// `gcloud run deploy` names its revisions; a change of the traffic alone is then taken for another
/// one of that name.
async fn named_by_hand(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let mut template = read(stage).await["template"].clone();
    template["revision"] = json!(format!("{NAME}-green"));
    patch(stage, "template", json!({ "template": template })).await;
    stage.time.pass(Duration::from_secs(60)).await;
    let back = ["rollback", "--yes", "--no-verify", "--to", "r1"];
    run(stage, &back, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 1).await;
}

/// The same of one that is released: its labels alone are sent.
async fn released_by_name(stage: &Stage) {
    first_serves(stage).await;
    let mut template = read(stage).await["template"].clone();
    template["revision"] = json!(format!("{NAME}-green"));
    patch(stage, "template", json!({ "template": template })).await;
    stage.time.pass(Duration::from_secs(60)).await;
    let address = format!("gcp/{LOCATION}/run.service/{NAME}");
    run(stage, &["forget", &address, "--yes"], "gcp", Exit::Success).await;
    let now = read(stage).await;
    assert_eq!(now["labels"].get("deployer"), None, "{}", now["labels"]);
}

/// Everybody with a Google account is not everybody, and not ours to send away; a closed service
/// says that they are let in.
async fn signed_in(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let close = "[targets.gcp.services.idp]\npublic = false\n";
    stage.file("deployer.test.toml", close);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let bindings = json!([{ "role": "roles/run.invoker", "members": ["allAuthenticatedUsers"] }]);
    let path = format!("{}:setIamPolicy", service());
    let policy = json!({ "policy": { "bindings": bindings } });
    stage.google(Method::POST, &path, Some(policy)).await;
    let said = run(stage, &["plan"], "gcp", Exit::Success).await;
    says(&said, &["allAuthenticatedUsers"]);
    nothing_to_do(stage).await;
    let path = format!("{}:getIamPolicy", service());
    let policy = stage.google(Method::GET, &path, None).await;
    assert_eq!(policy["bindings"][0]["members"][0], "allAuthenticatedUsers");
}

/// What the caller may not read names the role that would let it.
async fn may_not_read(stage: &Stage) {
    first_serves(stage).await;
    stage.calls.deny("run.projects.locations.services.get");
    let said = run(stage, &["plan"], "gcp", Exit::Denied).await;
    says(&said, &["cannot see gcp/", "roles/run.admin"]);
}

/// A project without a billing account: no role mends that.
async fn no_billing(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.file("deployer.test.toml", "[targets.gcp]\nenable_apis = true\n");
    switch_off(stage, OFF).await;
    stage.bill(false).await;
    let said = run(stage, APPLY, "gcp", Exit::Failure).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &said,
        &[
            "Billing must be enabled",
            "gcloud billing projects link sandbox-project",
        ],
    );
    assert!(!said.contains("serviceUsageAdmin"), "{said}");
    stage.bill(true).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
}

/// A private service is asked with an identity token for its own address, an internal one not at
/// all.
async fn private(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let web = Web::serve(|_| (200, "{}")).await;
    let section = "[targets.gcp.services.idp]\npublic = false\n";
    let overlay = format!("{section}url = \"http://{}\"\n", web.host());
    stage.file("deployer.test.toml", &overlay);
    run(stage, &["apply", "--yes"], "gcp", Exit::Success).await;
    assert_ne!(read(stage).await["invokerIamDisabled"], true);
    let passes = web.headers("x-serverless-authorization");
    let pass = passes.first().expect("it bears what lets it in");
    let claims = pass.split('.').nth(1).expect("a JWT");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!(claims["aud"], read(stage).await["uri"]);
    let said = run(stage, &["verify"], "gcp", Exit::Success).await;
    assert!(!said.contains(pass.as_str()), "{said}");
    let internal = "[targets.gcp.services.idp]\ningress = \"internal\"\n";
    stage.file("deployer.test.toml", internal);
    stage.want(&SECOND);
    let said = run(stage, &["apply", "--yes"], "gcp", Exit::Success).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(&said, &["* idp on gcp: its ingress is `internal`"]);
}

/// Who may call is what the cloud has where a run does not change it, or has not yet: a new release
/// of a service that the manifest only now opens is asked with a token, and the run that opens it
/// makes no release that a rollback could go back to.
async fn opened_later(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let web = Web::serve(|_| (200, "{}")).await;
    let url = format!("url = \"http://{}\"\n", web.host());
    let section = "[targets.gcp.services.idp]\n";
    let closed = format!("{section}public = false\n{url}");
    stage.file("deployer.test.toml", &closed);
    run(stage, &["apply", "--yes"], "gcp", Exit::Success).await;
    let passes = || web.headers("x-serverless-authorization").len();
    let before = passes();
    assert!(before > 0);
    // Of the code alone, with the same image and with another one: nobody opens it.
    stage.file(
        "deployer.test.toml",
        &format!("{section}public = true\n{url}"),
    );
    let only = ["apply", "--yes", "--only", "idp"];
    run(stage, &only, "gcp", Exit::Success).await;
    assert_eq!(released(stage).await, 1);
    stage.want(&SECOND);
    let said = run(stage, &only, "gcp", Exit::Success).await;
    says(&said, &["idp r2 serves on gcp"]);
    assert!(passes() > before, "it is asked with a token: {said}");
    assert_ne!(read(stage).await["invokerIamDisabled"], true);
    let before = passes();
    let said = run(stage, &["apply", "--yes"], "gcp", Exit::Success).await;
    assert_eq!(read(stage).await["invokerIamDisabled"], true);
    assert_eq!(passes(), before, "it is asked as anybody: {said}");
    // The way back leads to what is another revision.
    let back = ["rollback", "--yes", "--no-verify"];
    let said = run(stage, &back, "gcp", Exit::Success).await;
    says(&said, &["r1 again"]);
    assert_serves(stage, "gcp", 1).await;
}

/// How many releases there are.
async fn released(stage: &Stage) -> usize {
    let said = run(stage, &["releases", "--json"], "gcp", Exit::Success).await;
    let document: Value = serde_json::from_str(&said).expect("JSON");
    document[0]["releases"].as_array().map_or(0, Vec::len)
}

async fn switch_off(stage: &Stage, apis: &[&str]) {
    for api in apis {
        let path = format!("/v1/projects/{PROJECT}/services/{api}.googleapis.com:disable");
        stage.google(Method::POST, &path, Some(json!({}))).await;
    }
}

const OFF: &[&str] = &["run", "secretmanager", "artifactregistry", "redis"];

async fn switched_off(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    switch_off(stage, OFF).await;
    let said = run(stage, &["plan"], "gcp", Exit::Failure).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    // Memorystore is off too, and nothing here needs it.
    let enable = "gcloud services enable artifactregistry.googleapis.com run.googleapis.com \
                  secretmanager.googleapis.com --project sandbox-project";
    says(&said, &["3 APIs are switched off", enable]);
    assert_eq!(said.matches("gcloud services enable").count(), 1, "{said}");
    assert!(!said.contains("allow the caller to read it"), "{said}");
}

async fn switched_on(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.file("deployer.test.toml", "[targets.gcp]\nenable_apis = true\n");
    switch_off(stage, OFF).await;
    // A plan changes nothing.
    let said = run(stage, &["plan"], "gcp", Exit::Failure).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &said,
        &["3 APIs are switched off", "`deployer apply --manifest "],
    );
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 1).await;
    let path = format!("/v1/projects/{PROJECT}/services/redis.googleapis.com");
    let redis = stage.google(Method::GET, &path, None).await;
    assert_eq!(redis["state"], "DISABLED");
}

/// It was switched on here, and goes on calling itself switched off in the project that the
/// credentials count against.
async fn off_elsewhere(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.file("deployer.test.toml", "[targets.gcp]\nenable_apis = true\n");
    switch_off(stage, OFF).await;
    stage.log_in(Some("bare-playground"));
    let began = stage.time.now();
    let said = one_line(&run(stage, APPLY, "gcp", Exit::Failure).await);
    let set = "gcloud auth application-default set-quota-project sandbox-project";
    says(&said, &["the calls do not reach it", set]);
    let took = stage.time.now().duration_since(began).as_secs();
    assert!(took < 120, "{took} s");
}
