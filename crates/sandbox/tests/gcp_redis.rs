//! Memorystore over HTTP, with the server behind it where Redis is installed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gcp_cloud;
mod support;

use gcp_cloud::{Cloud, LOCATION};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn instances() -> String {
    format!("{LOCATION}/instances")
}

async fn with_instance(body: Value) -> (Cloud, Value) {
    let cloud = Cloud::start_at(2000.0).await;
    let path = format!("{}?instanceId=cache", instances());
    let done = cloud.operate("v1", "POST", &path, body).await;
    assert_eq!(done.get("error"), None, "{done}");
    assert_eq!(done["metadata"]["verb"], "create");
    (cloud, done["response"].clone())
}

/// What the server says to one command; `None` when there is no server here.
async fn ask(cloud: &Cloud, instance: &Value, command: &str) -> Option<String> {
    let status = cloud.sandbox.status();
    if status["backing"]["redis"]
        .as_str()
        .unwrap()
        .starts_with("none")
    {
        eprintln!(
            "SKIPPED: connections to caches ({})",
            status["backing"]["redis"]
        );
        return None;
    }
    let port = u16::try_from(instance["port"].as_u64().unwrap()).unwrap();
    let address = (instance["host"].as_str().unwrap(), port);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(command.as_bytes()).await.unwrap();
    let mut buffer = [0; 256];
    let length = stream.read(&mut buffer).await.unwrap();
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[tokio::test]
async fn an_instance_is_there_at_once_and_serves_later() {
    let cloud = Cloud::start_at(100.0).await;
    let path = format!("v1/{}?instanceId=cache", instances());
    let body = json!({ "tier": "BASIC", "memorySizeGb": 1 });
    let begun = cloud.ok("POST", &path, body.clone()).await;
    assert_eq!(begun.get("done"), None);
    let one = format!("v1/{}/cache", instances());
    let creating = cloud.get(&one).await;
    assert_eq!(
        (&creating["state"], creating.get("host")),
        (&json!("CREATING"), None)
    );
    let early = cloud.refused("DELETE", &one, Value::Null).await;
    assert_eq!(early.1, "FAILED_PRECONDITION");
    assert_eq!(cloud.refused("POST", &path, body).await.1, "ALREADY_EXISTS");
    let name = begun["name"].as_str().unwrap();
    for _ in 0..200 {
        if cloud.get(&format!("v1/{name}")).await["done"] == true {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let ready = cloud.get(&one).await;
    assert_eq!(ready["state"], "READY");
    assert_eq!(ready["redisVersion"], "REDIS_7_0");
    if let Some(pong) = ask(&cloud, &ready, "PING\r\n").await {
        assert_eq!(pong, "+PONG\r\n");
        assert_eq!(ready["port"], 6379);
    }
    let absent = cloud
        .refused("GET", &format!("{one}/authString"), Value::Null)
        .await;
    assert_eq!(absent.0, 400);
}

#[tokio::test]
async fn auth_is_made_by_the_cloud_and_asked_for_apart() {
    let body = json!({ "tier": "STANDARD_HA", "memorySizeGb": 5, "authEnabled": true });
    let (cloud, instance) = with_instance(body).await;
    assert_eq!(instance["nodes"].as_array().unwrap().len(), 2);
    let one = format!("v1/{}/cache", instances());
    let auth = cloud.get(&format!("{one}/authString")).await["authString"].clone();
    let auth = auth.as_str().unwrap();
    assert_eq!(auth.len(), 36);
    assert!(!instance.to_string().contains(auth));
    if let Some(refused) = ask(&cloud, &instance, "PING\r\n").await {
        assert!(refused.starts_with("-NOAUTH"), "{refused}");
        let let_in = ask(&cloud, &instance, &format!("AUTH {auth}\r\n")).await;
        assert_eq!(let_in.unwrap(), "+OK\r\n");
    }
    let path = format!("{}/cache?updateMask=authEnabled,memorySizeGb", instances());
    let open = json!({ "authEnabled": false, "memorySizeGb": 6 });
    let done = cloud.operate("v1", "PATCH", &path, open).await;
    assert_eq!(done["response"]["memorySizeGb"], 6);
    if let Some(pong) = ask(&cloud, &done["response"], "PING\r\n").await {
        assert_eq!(pong, "+PONG\r\n");
    }
    let failed_over = cloud
        .operate(
            "v1",
            "POST",
            &format!("{}/cache:failover", instances()),
            json!({}),
        )
        .await;
    assert_ne!(
        failed_over["response"]["currentLocationId"],
        instance["currentLocationId"]
    );
    cloud
        .operate(
            "v1",
            "DELETE",
            &format!("{}/cache", instances()),
            Value::Null,
        )
        .await;
    assert_eq!(cloud.refused("GET", &one, Value::Null).await.0, 404);
}

#[tokio::test]
async fn an_instance_with_tls_names_its_authority_and_has_its_own_port() {
    let body = json!({ "tier": "BASIC", "memorySizeGb": 1, "transitEncryptionMode": "SERVER_AUTHENTICATION" });
    let (cloud, instance) = with_instance(body).await;
    let pem = instance["serverCaCerts"][0]["cert"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(instance["port"], 6378);
    let fixed = json!({ "transitEncryptionMode": "DISABLED", "tier": "STANDARD_HA" });
    for mask in ["transitEncryptionMode", "tier", "noSuchField", ""] {
        let path = format!("v1/{}/cache?updateMask={mask}", instances());
        assert_eq!(
            cloud.refused("PATCH", &path, fixed.clone()).await.0,
            400,
            "{mask}"
        );
    }
}

#[tokio::test]
async fn what_memorystore_does_not_take_is_refused() {
    let cloud = Cloud::start().await;
    let good = json!({ "tier": "BASIC", "memorySizeGb": 1 });
    for (id, change) in [
        ("Cache", json!({})),
        ("cache", json!({ "tier": "GOLD" })),
        ("cache", json!({ "memorySizeGb": 0 })),
        ("cache", json!({ "memorySizeGb": 301 })),
        ("cache", json!({ "redisVersion": "REDIS_9_0" })),
        ("cache", json!({ "replicaCount": 2 })),
        ("cache", json!({ "locationId": "europe-west1-b" })),
        ("cache", json!({ "authorizedNetwork": "default" })),
        ("cache", json!({ "redisConfigs": { "appendonly": "yes" } })),
        ("cache", json!({ "unknown": 1 })),
    ] {
        let mut body = good.clone();
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let path = format!("v1/{}?instanceId={id}", instances());
        let refused = cloud.refused("POST", &path, body).await;
        assert_eq!(refused.1, "INVALID_ARGUMENT", "{change}");
    }
}
