//! Secret Manager: versions are checked, ordered and guarded.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gcp_cloud;
mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gcp_cloud::Cloud;
use serde_json::{Value, json};

const SECRETS: &str = "v1/projects/sandbox-project/secrets";

async fn with_secret() -> Cloud {
    let cloud = Cloud::start().await;
    let body = json!({ "replication": { "automatic": {} }, "labels": { "env": "test" } });
    let made = cloud
        .ok("POST", &format!("{SECRETS}?secretId=db"), body)
        .await;
    let number = made["name"].as_str().unwrap().split('/').nth(1).unwrap();
    assert!(
        number.len() == 12 && number.parse::<u64>().is_ok(),
        "names carry the project's number"
    );
    cloud
}

async fn add(cloud: &Cloud, value: &str) -> Value {
    let crc = crc32c::crc32c(value.as_bytes()).to_string();
    let body = json!({ "payload": { "data": STANDARD.encode(value), "dataCrc32c": crc } });
    cloud
        .ok("POST", &format!("{SECRETS}/db:addVersion"), body)
        .await
}

#[tokio::test]
async fn versions_are_confirmed_and_read_back_with_their_checksum() {
    let cloud = with_secret().await;
    assert_eq!(
        add(&cloud, "one").await["clientSpecifiedPayloadChecksum"],
        true
    );
    let second = add(&cloud, "two").await;
    assert!(
        second["name"]
            .as_str()
            .unwrap()
            .ends_with("/secrets/db/versions/2")
    );
    let latest = cloud
        .get(&format!("{SECRETS}/db/versions/latest:access"))
        .await;
    assert_eq!(latest["payload"]["data"], STANDARD.encode("two"));
    assert_eq!(
        latest["payload"]["dataCrc32c"],
        crc32c::crc32c(b"two").to_string()
    );
    assert_eq!(latest["name"], second["name"]);
    // A name by number is the same secret.
    let by_number = format!("v1/{}:access", second["name"].as_str().unwrap());
    assert_eq!(cloud.get(&by_number).await, latest);
    let all = cloud.get(&format!("{SECRETS}/db/versions")).await;
    assert_eq!(all["versions"][0]["name"], second["name"], "newest first");
    assert_eq!(all["totalSize"], 2);
}

#[tokio::test]
async fn damaged_empty_and_oversized_payloads_are_refused() {
    let cloud = with_secret().await;
    let large = STANDARD.encode(vec![b'x'; 65_537]);
    for payload in [
        json!({ "data": "aGk=", "dataCrc32c": "1" }),
        json!({}),
        json!({ "data": large }),
        json!({ "data": "%%" }),
    ] {
        let body = json!({ "payload": payload });
        let (status, _, message) = cloud
            .refused("POST", &format!("{SECRETS}/db:addVersion"), body)
            .await;
        assert_eq!(status, 400, "{message}");
    }
    let (status, canonical, _) = cloud
        .refused(
            "GET",
            &format!("{SECRETS}/db/versions/latest:access"),
            Value::Null,
        )
        .await;
    assert_eq!((status, canonical.as_str()), (404, "NOT_FOUND"));
}

#[tokio::test]
async fn disabled_and_destroyed_versions_are_not_given() {
    let cloud = with_secret().await;
    add(&cloud, "one").await;
    let version = format!("{SECRETS}/db/versions/1");
    for (verb, state) in [("disable", "DISABLED"), ("destroy", "DESTROYED")] {
        assert_eq!(
            cloud
                .ok("POST", &format!("{version}:{verb}"), json!({}))
                .await["state"],
            state
        );
        let (status, canonical, message) = cloud
            .refused("GET", &format!("{version}:access"), Value::Null)
            .await;
        assert_eq!((status, canonical.as_str()), (400, "FAILED_PRECONDITION"));
        assert!(
            message.contains(&format!("is in {state} state.")),
            "{message}"
        );
    }
    let (status, ..) = cloud
        .refused("POST", &format!("{version}:enable"), json!({}))
        .await;
    assert_eq!(status, 400, "a destroyed version stays destroyed");
}

#[tokio::test]
async fn a_change_needs_a_mask_and_the_current_etag() {
    let cloud = with_secret().await;
    let path = format!("{SECRETS}/db");
    let before = cloud.get(&path).await;
    let body = json!({ "labels": { "env": "prod" } });
    assert_eq!(cloud.refused("PATCH", &path, body.clone()).await.0, 400);
    assert_eq!(
        cloud
            .refused(
                "PATCH",
                &format!("{path}?updateMask=replication"),
                body.clone()
            )
            .await
            .0,
        400
    );
    let stale = json!({ "labels": { "env": "prod" }, "etag": "\"old\"" });
    assert_eq!(
        cloud
            .refused("PATCH", &format!("{path}?updateMask=labels"), stale)
            .await
            .1,
        "ABORTED"
    );
    let after = cloud
        .ok("PATCH", &format!("{path}?updateMask=labels"), body)
        .await;
    assert_eq!(after["labels"]["env"], "prod");
    assert_ne!(after["etag"], before["etag"]);
    assert_eq!(after["replication"], before["replication"]);
    let listed = cloud
        .get(&format!("{SECRETS}?filter=labels.env%3Dprod"))
        .await;
    assert_eq!(listed["totalSize"], 1);
    assert_eq!(
        cloud
            .get(&format!("{SECRETS}?filter=labels.env%3Dtest"))
            .await
            .get("secrets"),
        None
    );
}

#[tokio::test]
async fn names_and_replication_are_checked_and_deleted_secrets_are_gone() {
    let cloud = with_secret().await;
    let automatic = json!({ "replication": { "automatic": {} } });
    let again = cloud
        .refused("POST", &format!("{SECRETS}?secretId=db"), automatic.clone())
        .await;
    assert_eq!((again.0, again.1.as_str()), (409, "ALREADY_EXISTS"));
    assert_eq!(
        cloud
            .refused(
                "POST",
                &format!("{SECRETS}?secretId=a.b"),
                automatic.clone()
            )
            .await
            .0,
        400
    );
    assert_eq!(
        cloud
            .refused("POST", &format!("{SECRETS}?secretId=new"), json!({}))
            .await
            .0,
        400
    );
    cloud
        .ok("DELETE", &format!("{SECRETS}/db"), Value::Null)
        .await;
    assert_eq!(
        cloud
            .refused("GET", &format!("{SECRETS}/db"), Value::Null)
            .await
            .0,
        404
    );
    cloud
        .ok("POST", &format!("{SECRETS}?secretId=db"), automatic)
        .await;
}

#[tokio::test]
async fn policies_are_changed_by_those_who_read_them_last() {
    let cloud = with_secret().await;
    let path = format!("{SECRETS}/db");
    let mut policy = cloud.get(&format!("{path}:getIamPolicy")).await;
    policy["bindings"] = json!([{ "role": "roles/secretmanager.secretAccessor", "members": ["user:a@example.com"] }]);
    cloud
        .ok(
            "POST",
            &format!("{path}:setIamPolicy"),
            json!({ "policy": policy }),
        )
        .await;
    let lost = cloud
        .refused(
            "POST",
            &format!("{path}:setIamPolicy"),
            json!({ "policy": policy }),
        )
        .await;
    assert_eq!((lost.0, lost.1.as_str()), (409, "ABORTED"));
    let odd = json!({ "policy": { "bindings": [{ "role": "roles/viewer", "members": ["a@example.com"] }] } });
    assert_eq!(
        cloud
            .refused("POST", &format!("{path}:setIamPolicy"), odd)
            .await
            .0,
        400
    );
}
