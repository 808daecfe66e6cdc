//! Artifact Registry: images go where a repository is, and are listed there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gcp_cloud;
mod support;

use gcp_cloud::{Cloud, LOCATION};
use serde_json::{Value, json};

#[tokio::test]
async fn images_go_only_where_a_repository_is() {
    let cloud = Cloud::start().await;
    assert_eq!(cloud.push("apps/web", "v1", json!(["sleep"])).await, 404);
    let cloud = cloud.with_image().await;
    let images = cloud
        .get(&format!("v1/{LOCATION}/repositories/apps/dockerImages"))
        .await;
    let image = &images["dockerImages"][0];
    assert_eq!(image["tags"], json!(["v1"]));
    assert_eq!(
        cloud
            .get(&format!("v1/{}", image["name"].as_str().unwrap()))
            .await,
        *image
    );
    let tags = cloud
        .get(&format!(
            "v1/{LOCATION}/repositories/apps/packages/web/tags"
        ))
        .await;
    assert!(
        tags["tags"][0]["name"]
            .as_str()
            .unwrap()
            .ends_with("/tags/v1")
    );
    let done = cloud
        .operate(
            "v1",
            "DELETE",
            &format!("{LOCATION}/repositories/apps"),
            Value::Null,
        )
        .await;
    assert_eq!(done.get("error"), None);
    assert_eq!(cloud.push("apps/web", "v1", json!(["sleep"])).await, 404);
}

#[tokio::test]
async fn strangers_are_challenged_and_led_to_a_token() {
    let cloud = Cloud::start().await;
    let answer = cloud
        .client
        .get(format!("{}/v2/", cloud.base))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    let challenge = answer.headers()["www-authenticate"]
        .to_str()
        .unwrap()
        .to_owned();
    let realm = challenge.split('"').nth(1).unwrap();
    let ask = async |password: &str| {
        let request = cloud
            .client
            .get(realm)
            .basic_auth("oauth2accesstoken", Some(password));
        request.send().await.unwrap()
    };
    assert_eq!(ask("made-up").await.status(), 401);
    let given: Value = ask(&cloud.token).await.json().await.unwrap();
    let token = given["token"].as_str().unwrap();
    let answer = cloud
        .client
        .get(format!("{}/v2/", cloud.base))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn an_immutable_tag_stays() {
    let cloud = Cloud::start().await;
    let body = json!({ "format": "DOCKER", "dockerConfig": { "immutableTags": true } });
    cloud
        .operate(
            "v1",
            "POST",
            &format!("{LOCATION}/repositories?repositoryId=fixed"),
            body,
        )
        .await;
    assert_eq!(cloud.push("fixed/web", "v1", json!(["sleep"])).await, 201);
    assert_eq!(cloud.push("fixed/web", "v1", json!(["listen"])).await, 400);
    assert_eq!(cloud.push("fixed/web", "v2", json!(["listen"])).await, 201);
}

#[tokio::test]
async fn repositories_are_made_once_and_named_well() {
    let cloud = Cloud::start().await.with_image().await;
    let path = |id: &str| format!("v1/{LOCATION}/repositories?repositoryId={id}");
    let again = cloud
        .refused("POST", &path("apps"), json!({ "format": "DOCKER" }))
        .await;
    assert_eq!((again.0, again.1.as_str()), (409, "ALREADY_EXISTS"));
    assert_eq!(
        cloud
            .refused("POST", &path("Apps"), json!({ "format": "DOCKER" }))
            .await
            .0,
        400
    );
    assert_eq!(cloud.refused("POST", &path("b"), json!({})).await.0, 400);
    let changed = format!("v1/{LOCATION}/repositories/apps?updateMask=labels");
    let labelled = cloud
        .ok("PATCH", &changed, json!({ "labels": { "team": "a" } }))
        .await;
    assert_eq!(labelled["labels"]["team"], "a");
    assert_eq!(
        cloud
            .refused("PATCH", &changed.replace("labels", "format"), json!({}))
            .await
            .0,
        400
    );
}
