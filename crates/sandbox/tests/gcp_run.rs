//! Cloud Run services: revisions really run, traffic follows, failures are told in Google's words.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gcp_cloud;
mod support;

use gcp_cloud::{Cloud, LOCATION, image, service};
use serde_json::{Value, json};

const LATEST: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST";
const PINNED: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";

fn short(name: &Value) -> String {
    name.as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned()
}

async fn with_service(name: &str) -> (Cloud, Value) {
    let cloud = Cloud::start().await.with_image().await;
    let done = cloud
        .run("POST", "services?serviceId=web", service(name))
        .await;
    assert_eq!(done.get("error"), None, "{done}");
    (cloud, done["response"].clone())
}

#[tokio::test]
async fn a_service_becomes_ready_and_serves_at_its_address() {
    let (cloud, web) = with_service("one").await;
    assert_eq!(
        web["@type"],
        "type.googleapis.com/google.cloud.run.v2.Service"
    );
    assert_eq!(web["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
    assert_eq!(web["observedGeneration"], web["generation"]);
    assert_eq!(web["latestReadyRevision"], web["latestCreatedRevision"]);
    assert_eq!(
        web["trafficStatuses"],
        json!([{ "type": LATEST, "percent": 100 }])
    );
    assert_eq!(cloud.ask(&web["uri"]).await, (200, "one".into()));
    let revision = cloud
        .get(&format!(
            "v2/{}",
            web["latestReadyRevision"].as_str().unwrap()
        ))
        .await;
    assert_eq!(revision["containers"][0]["image"], image("v1"));
    assert_eq!(revision.get("containerStatuses"), None);
    let again = cloud
        .refused(
            "POST",
            &format!("v2/{LOCATION}/services?serviceId=web"),
            service("x"),
        )
        .await;
    assert_eq!((again.0, again.1.as_str()), (409, "ALREADY_EXISTS"));
    assert_eq!(
        cloud
            .run("DELETE", "services/web", Value::Null)
            .await
            .get("error"),
        None
    );
    assert_eq!(
        cloud
            .refused("GET", &format!("v2/{LOCATION}/services/web"), Value::Null)
            .await
            .0,
        404
    );
}

/// Google's front end answers these itself, whoever asks.
#[tokio::test]
async fn reserved_paths_never_reach_a_container() {
    let (cloud, web) = with_service("one").await;
    let base = web["uri"].as_str().unwrap();
    for path in ["/healthz", "/eventlog", "/_ah/warmup"] {
        let answer = reqwest::get(format!("{base}{path}")).await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
    assert_eq!(cloud.ask(&web["uri"]).await.0, 200);
}

#[tokio::test]
async fn a_private_service_answers_403_until_everyone_may_invoke_it() {
    let cloud = Cloud::start().await.with_image().await;
    let mut private = service("one");
    private
        .as_object_mut()
        .unwrap()
        .remove("invokerIamDisabled");
    let web = cloud.run("POST", "services?serviceId=web", private).await["response"].clone();
    assert_eq!(cloud.ask(&web["uri"]).await.0, 403);
    let policy = json!({ "policy": { "bindings": [{ "role": "roles/run.invoker", "members": ["allUsers"] }] } });
    cloud
        .ok(
            "POST",
            &format!("v2/{LOCATION}/services/web:setIamPolicy"),
            policy,
        )
        .await;
    assert_eq!(cloud.ask(&web["uri"]).await, (200, "one".into()));
    let v1 = cloud
        .get(&format!("v1/{LOCATION}/services/web:getIamPolicy"))
        .await;
    assert_eq!(v1["bindings"][0]["members"], json!(["allUsers"]));
}

#[tokio::test]
async fn a_revision_that_never_listens_leaves_the_last_ready_one_serving() {
    let (cloud, web) = with_service("one").await;
    let mut broken = service("two");
    broken["template"]["containers"][0]["args"] = json!(["exit", "3"]);
    let failed = cloud.run("PATCH", "services/web", broken).await;
    assert_eq!(failed["error"]["code"], 9);
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("is not ready and cannot serve traffic. The user-provided container failed to start and listen on the port defined provided by the PORT=8080"), "{message}");
    let now = cloud.get(&format!("v2/{LOCATION}/services/web")).await;
    assert_eq!(now["terminalCondition"]["reason"], "REVISION_FAILED");
    assert_eq!(
        (&now["generation"], &now["observedGeneration"]),
        (&json!("2"), &json!("1"))
    );
    assert_eq!(now["latestReadyRevision"], web["latestReadyRevision"]);
    assert_ne!(now["latestCreatedRevision"], web["latestReadyRevision"]);
    assert_eq!(cloud.ask(&web["uri"]).await, (200, "one".into()));
    let good = cloud.run("PATCH", "services/web", service("three")).await;
    assert_eq!(good.get("error"), None);
    assert_eq!(cloud.ask(&web["uri"]).await, (200, "three".into()));
    let filter = "resource.type=\"cloud_run_revision\" AND textPayload:\"exit(3)\"";
    let body = json!({ "resourceNames": ["projects/sandbox-project"], "filter": filter });
    let logged = cloud.ok("POST", "v2/entries:list", body).await;
    assert_eq!(
        logged["entries"][0]["resource"]["labels"]["revision_name"],
        short(&now["latestCreatedRevision"])
    );
}

#[tokio::test]
async fn pinned_traffic_stays_pinned_until_it_is_moved() {
    let (cloud, web) = with_service("one").await;
    let first = short(&web["latestReadyRevision"]);
    let mut held = service("two");
    held["traffic"] = json!([
        { "type": PINNED, "revision": first, "percent": 100 },
        { "type": LATEST, "tag": "next" },
    ]);
    let done = cloud.run("PATCH", "services/web", held).await["response"].clone();
    assert_eq!(cloud.ask(&web["uri"]).await.1, "one");
    let tag = done["trafficStatuses"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["tag"] == "next")
        .unwrap();
    assert_eq!(cloud.ask(&tag["uri"]).await.1, "two");
    // A change of the template alone keeps the split.
    cloud
        .run(
            "PATCH",
            "services/web?updateMask=template",
            service("three"),
        )
        .await;
    assert_eq!(cloud.ask(&web["uri"]).await.1, "one");
    let moved = json!({ "traffic": [{ "type": LATEST, "percent": 100 }] });
    let moved = cloud
        .run("PATCH", "services/web?updateMask=traffic", moved)
        .await["response"]
        .clone();
    assert_eq!(cloud.ask(&web["uri"]).await.1, "three");
    assert_eq!(
        moved["trafficStatuses"],
        json!([{ "type": LATEST, "percent": 100 }])
    );
    let absent = json!({ "traffic": [{ "type": PINNED, "revision": "web-none", "percent": 100 }] });
    let failed = cloud
        .run("PATCH", "services/web?updateMask=traffic", absent)
        .await;
    assert_eq!(
        failed["error"]["message"],
        "Revision 'web-none' does not exist or is deleted. Update all traffic to route to currently available revisions."
    );
    assert_eq!(cloud.ask(&web["uri"]).await.1, "three");
}

#[tokio::test]
async fn only_a_new_template_makes_a_revision_and_its_name_is_its_own() {
    let (cloud, _) = with_service("one").await;
    let mut labelled = service("one");
    labelled["labels"] = json!({ "team": "a" });
    let same = cloud.run("PATCH", "services/web", labelled).await["response"].clone();
    assert_eq!(same["generation"], "2");
    let revisions = cloud
        .get(&format!("v2/{LOCATION}/services/web/revisions"))
        .await;
    assert_eq!(revisions["revisions"].as_array().unwrap().len(), 1);
    let mut named = service("two");
    named["template"]["revision"] = "web-r2".into();
    let two = cloud.run("PATCH", "services/web", named.clone()).await["response"].clone();
    assert_eq!(short(&two["latestReadyRevision"]), "web-r2");
    named["template"]["containers"][0]["env"][0]["value"] = "three".into();
    let taken = cloud
        .refused("PATCH", &format!("v2/{LOCATION}/services/web"), named)
        .await;
    assert_eq!(taken.0, 409);
    assert_eq!(
        taken.2,
        "Revision named 'web-r2' with different configuration already exists."
    );
    let now = cloud.get(&format!("v2/{LOCATION}/services/web")).await;
    assert_eq!(
        now["template"]["containers"][0]["env"][0]["value"], "two",
        "a refused change changes nothing"
    );
}

#[tokio::test]
async fn a_stale_etag_and_a_missing_service_are_refused() {
    let (cloud, web) = with_service("one").await;
    let mut stale = service("two");
    stale["etag"] = "\"old\"".into();
    let lost = cloud
        .refused("PATCH", &format!("v2/{LOCATION}/services/web"), stale)
        .await;
    assert_eq!((lost.0, lost.1.as_str()), (409, "ABORTED"));
    let mut fresh = service("two");
    fresh["etag"] = web["etag"].clone();
    assert_eq!(
        cloud.run("PATCH", "services/web", fresh).await.get("error"),
        None
    );
    assert_eq!(
        cloud
            .refused(
                "PATCH",
                &format!("v2/{LOCATION}/services/none"),
                service("x")
            )
            .await
            .0,
        404
    );
    let made = cloud
        .run("PATCH", "services/none?allowMissing=true", service("x"))
        .await;
    assert_eq!(
        made["response"]["terminalCondition"]["state"],
        "CONDITION_SUCCEEDED"
    );
}

#[tokio::test]
async fn an_absent_image_or_secret_fails_the_revision() {
    let cloud = Cloud::start().await.with_image().await;
    let mut body = service("one");
    body["template"]["containers"][0]["image"] = image("absent").into();
    let failed = cloud.run("POST", "services?serviceId=a", body).await;
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(
        message.ends_with(&format!("Image '{}' not found.", image("absent"))),
        "{message}"
    );
    let mut body = service("one");
    let secret = json!({ "name": "NAME", "valueSource": { "secretKeyRef": { "secret": "db", "version": "1" } } });
    body["template"]["containers"][0]["env"] = json!([secret]);
    let failed = cloud
        .run("POST", "services?serviceId=b", body.clone())
        .await;
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("/secrets/db/versions/1 was not found"),
        "{message}"
    );
    let secrets = "v1/projects/sandbox-project/secrets";
    cloud
        .ok(
            "POST",
            &format!("{secrets}?secretId=db"),
            json!({ "replication": { "automatic": {} } }),
        )
        .await;
    cloud
        .ok(
            "POST",
            &format!("{secrets}/db:addVersion"),
            json!({ "payload": { "data": "aHVzaA==" } }),
        )
        .await;
    let failed = cloud
        .run("POST", "services?serviceId=c", body.clone())
        .await;
    let message = failed["error"]["message"].as_str().unwrap();
    let account = message.split("Revision service account ").nth(1).unwrap();
    let account = account.split(". ").next().unwrap();
    assert!(
        message.contains("spec.template.spec.containers[0].env[0].value_from.secret_key_ref.name: Permission denied on secret: projects/")
            && account.ends_with("-compute@developer.gserviceaccount.com"),
        "{message}"
    );
    cloud.let_read("db", account).await;
    let done = cloud.run("POST", "services?serviceId=d", body).await;
    assert_eq!(cloud.ask(&done["response"]["uri"]).await.1, "hush");
}

#[tokio::test]
async fn a_job_takes_secrets_that_its_account_may_read_once_that_has_got_about() {
    let cloud = Cloud::start().await.with_image().await;
    let secrets = "v1/projects/sandbox-project/secrets";
    let automatic = json!({ "replication": { "automatic": {} } });
    let made = format!("{secrets}?secretId=db");
    cloud.ok("POST", &made, automatic).await;
    let value = json!({ "payload": { "data": "aHVzaA==" } });
    cloud
        .ok("POST", &format!("{secrets}/db:addVersion"), value)
        .await;
    let secret = json!({ "name": "NAME", "valueSource": { "secretKeyRef": { "secret": "db", "version": "1" } } });
    let account = "job@sandbox-project.iam.gserviceaccount.com";
    let body = json!({ "template": { "template": {
        "serviceAccount": account,
        "containers": [{ "image": image("v1"), "env": [secret] }],
    } } });
    cloud.let_read("db", account).await;
    // An hour of cloud time has not passed since.
    cloud
        .sandbox
        .set_iam_delay(std::time::Duration::from_secs(3600));
    let refused = cloud.run("POST", "jobs?jobId=a", body.clone()).await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("Permission denied on secret"), "{message}");
    let job = cloud.get(&format!("v2/{LOCATION}/jobs/a")).await;
    let reason = &job["terminalCondition"]["reason"];
    assert_eq!(
        reason, "SECRETS_ACCESS_CHECK_FAILED",
        "the job is there all the same"
    );
    cloud.sandbox.set_iam_delay(std::time::Duration::ZERO);
    let taken = cloud.run("PATCH", "jobs/a", body).await;
    let state = &taken["response"]["terminalCondition"]["state"];
    assert_eq!(state, "CONDITION_SUCCEEDED");
}

#[tokio::test]
async fn what_cloud_run_does_not_take_is_refused_at_once() {
    let cloud = Cloud::start().await;
    let set = |path: &str, value: Value| {
        let mut body = service("one");
        *body.pointer_mut(path).unwrap() = value;
        body
    };
    let env = json!([{ "name": "PORT", "value": "1" }]);
    let mut split = service("one");
    split["traffic"] = json!([{ "type": LATEST, "percent": 90 }]);
    let mut system = service("one");
    system["labels"] = json!({ "run.googleapis.com/x": "y" });
    let mut limits = service("one");
    limits["template"]["containers"][0]["resources"] = json!({ "limits": { "memory": "8Gi" } });
    let mut probe = service("one");
    probe["template"]["containers"][0]["startupProbe"] =
        json!({ "httpGet": {}, "periodSeconds": 100, "failureThreshold": 3 });
    for (body, words) in [
        (
            set("/template/containers/0/env", env),
            "The following reserved env names were provided: PORT.",
        ),
        (
            set("/template/containers/0/image", "x.example.com/a:1".into()),
            "Expected an image path like",
        ),
        (split, "must sum to 100"),
        (system, "system namespace"),
        (
            limits,
            "For 1.0 CPU, memory must be between 128Mi and 4Gi inclusive.",
        ),
        (probe, "must not exceed 240 seconds"),
    ] {
        let (status, _, message) = cloud
            .refused(
                "POST",
                &format!("v2/{LOCATION}/services?serviceId=web"),
                body,
            )
            .await;
        assert_eq!(status, 400);
        assert!(message.contains(words), "{message}");
    }
    for id in ["Web", "-web", "web-", "", &"w".repeat(50)] {
        let path = format!("v2/{LOCATION}/services?serviceId={id}");
        assert_eq!(
            cloud.refused("POST", &path, service("one")).await.0,
            400,
            "{id}"
        );
    }
}

#[tokio::test]
async fn the_v1_view_agrees_with_v2() {
    let (cloud, web) = with_service("one").await;
    let path = "apis/serving.knative.dev/v1/namespaces/sandbox-project";
    let v1 = cloud.get(&format!("{path}/services/web")).await;
    assert_eq!(v1["status"]["url"], web["uri"]);
    assert_eq!(
        v1["status"]["latestReadyRevisionName"],
        short(&web["latestReadyRevision"])
    );
    assert_eq!(v1["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(v1["status"]["conditions"][0]["status"], "True");
    assert_eq!(
        v1["spec"]["template"]["spec"]["containers"][0]["image"],
        image("v1")
    );
    let selector = "labelSelector=serving.knative.dev%2Fservice%3Dweb";
    let revisions = cloud.get(&format!("{path}/revisions?{selector}")).await;
    assert_eq!(revisions["items"].as_array().unwrap().len(), 1);
    let digest = revisions["items"][0]["status"]["imageDigest"].as_str();
    assert!(digest.unwrap().contains("@sha256:"));
    let others = cloud.get(&format!("{path}/revisions?{selector}2")).await;
    assert_eq!(others.get("items"), None);
    let everywhere = cloud
        .get("v1/projects/sandbox-project/locations/-/services")
        .await;
    assert_eq!(
        everywhere["items"][0]["metadata"]["labels"]["cloud.googleapis.com/location"],
        "us-central1"
    );
}
