//! What every Google API refuses, and how answers are spelled.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gcp_cloud;
mod support;

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::{rand::SystemRandom, signature::RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gcp_cloud::{Cloud, LOCATION, image, service};
use serde_json::{Value, json};

#[tokio::test]
async fn callers_without_a_good_token_are_refused() {
    let mut cloud = Cloud::start().await;
    cloud.token = "made-up".into();
    let (status, canonical, _) = cloud
        .refused("GET", &format!("v2/{LOCATION}/services"), Value::Null)
        .await;
    assert_eq!((status, canonical.as_str()), (401, "UNAUTHENTICATED"));
    let bare = cloud.client.get(format!(
        "{}/v1/projects/sandbox-project/secrets",
        cloud.base
    ));
    let answer = bare.send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(answer.headers().contains_key("www-authenticate"));
}

#[tokio::test]
async fn bodies_that_the_schema_does_not_know_are_refused_in_googles_words() {
    let cloud = Cloud::start().await;
    let containers = json!([{ "image": image("v1") }]);
    for (body, message) in [
        (
            json!({ "template": { "containers": containers, "x": 1 } }),
            "Invalid JSON payload received. Unknown name \"x\" at 'service.template': Cannot find field.",
        ),
        (
            json!({ "template": { "containers": [{ "image": 7 }] } }),
            "Invalid value at 'service.template.containers[0].image' (TYPE_STRING), 7",
        ),
        (
            json!({ "template": { "containers": containers }, "ingress": "ALL" }),
            "Invalid value at 'service.ingress' (type.googleapis.com/google.cloud.run.v2.IngressTraffic), \"ALL\"",
        ),
        (
            json!({ "template": { "maxInstanceRequestConcurrency": "many" } }),
            "Invalid value at 'service.template.max_instance_request_concurrency' (TYPE_INT32), \"many\"",
        ),
    ] {
        let path = format!("v2/{LOCATION}/services?serviceId=web");
        let (status, answer) = cloud.call("POST", &path, body).await;
        assert_eq!(
            (status, answer["error"]["message"].as_str().unwrap()),
            (400, message)
        );
        assert_eq!(answer["error"]["status"], "INVALID_ARGUMENT");
        assert_eq!(
            answer["error"]["details"][0]["@type"],
            "type.googleapis.com/google.rpc.BadRequest"
        );
        assert_eq!(
            answer["error"]["details"][0]["fieldViolations"][0]["description"],
            message
        );
    }
    let (status, _, message) = cloud
        .refused(
            "GET",
            &format!("v2/{LOCATION}/services?color=red"),
            Value::Null,
        )
        .await;
    assert_eq!(status, 400);
    assert!(
        message.contains("Unknown name \"color\": Cannot bind query parameter."),
        "{message}"
    );
}

#[tokio::test]
async fn enums_and_64_bit_numbers_travel_as_protobuf_allows() {
    let cloud = Cloud::start().await;
    let mut body = service("a");
    body["ingress"] = 1.into();
    body["template"]["max_instance_request_concurrency"] = "7".into();
    let path = format!("{LOCATION}/services?serviceId=web&validateOnly=true");
    let named = cloud.ok("POST", &format!("v2/{path}"), body.clone()).await;
    assert_eq!(named["response"]["ingress"], "INGRESS_TRAFFIC_ALL");
    assert_eq!(
        named["response"]["template"]["maxInstanceRequestConcurrency"],
        7
    );
    let numbered = cloud
        .ok(
            "POST",
            &format!("v2/{path}&$alt=json;enum-encoding=int"),
            body,
        )
        .await;
    assert_eq!(numbered["response"]["ingress"], 1);
    assert_eq!(
        numbered["response"]["@type"],
        "type.googleapis.com/google.cloud.run.v2.Service"
    );
    assert_eq!(numbered["response"]["launchStage"], 4);
}

#[tokio::test]
async fn other_projects_and_unknown_places_and_paths_are_closed() {
    let cloud = Cloud::start().await;
    for path in [
        "v2/projects/other/locations/us-central1/services",
        "v2/projects/sandbox-project/locations/mars/services",
    ] {
        let (status, canonical, _) = cloud.refused("GET", path, Value::Null).await;
        assert_eq!(
            (status, canonical.as_str()),
            (403, "PERMISSION_DENIED"),
            "{path}"
        );
    }
    let (status, body) = cloud
        .call("GET", &format!("v2/{LOCATION}/gadgets"), Value::Null)
        .await;
    assert_eq!(
        (status, body),
        (404, Value::Null),
        "Google's front end answers a page, not JSON"
    );
}

fn assertion(file: &Value, change: impl FnOnce(&mut Value)) -> String {
    let now = jiff::Timestamp::now().as_second();
    let mut claims = json!({
        "iss": file["client_email"], "aud": file["token_uri"], "iat": now, "exp": now + 600,
        "scope": "https://www.googleapis.com/auth/cloud-platform",
    });
    change(&mut claims);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        part(&json!({ "alg": "RS256", "typ": "JWT" })),
        part(&claims)
    );
    let pem = file["private_key"].as_str().unwrap();
    let body: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let key = KeyPair::from_pkcs8(&STANDARD.decode(body).unwrap()).unwrap();
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_service_accounts_signature_buys_a_token_and_a_forgery_does_not() {
    let mut cloud = Cloud::start().await;
    let file = std::fs::read_to_string(&cloud.sandbox.running().credentials).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let buy = async |assertion: &str| -> Value {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion),
        ];
        let request = cloud
            .client
            .post(format!("{}/token", cloud.base))
            .form(&form);
        request.send().await.unwrap().json().await.unwrap()
    };
    let good = buy(&assertion(&file, |_| {})).await;
    assert_eq!(good["token_type"], "Bearer");
    let mut forged = assertion(&file, |_| {});
    forged.replace_range(forged.len() - 12..forged.len() - 8, "AAAA");
    assert_eq!(
        buy(&forged).await["error_description"],
        "Invalid JWT Signature."
    );
    let stranger = assertion(&file, |claims| claims["iss"] = "someone@else".into());
    assert_eq!(buy(&stranger).await["error"], "invalid_grant");
    let elsewhere = assertion(&file, |claims| {
        claims["aud"] = "https://example.com/token".into()
    });
    assert_eq!(buy(&elsewhere).await["error"], "invalid_grant");
    let old = assertion(&file, |claims| claims["exp"] = 1_000_000.into());
    assert_eq!(buy(&old).await["error"], "invalid_grant");
    cloud.token = good["access_token"].as_str().unwrap().to_owned();
    cloud.get(&format!("v2/{LOCATION}/services")).await;
}

#[tokio::test]
async fn the_project_and_its_services_answer_what_gcloud_asks_first() {
    let cloud = Cloud::start().await;
    let project = cloud.get("v1/projects/sandbox-project").await;
    let number = project["projectNumber"].as_str().unwrap();
    let same = cloud.get(&format!("v3/projects/{number}")).await;
    assert_eq!(same["projectId"], "sandbox-project");
    let run = cloud
        .get("v1/projects/sandbox-project/services/run.googleapis.com")
        .await;
    assert_eq!(run["state"], "ENABLED");
    let other = "v1/projects/sandbox-project/services/cloudbuild.googleapis.com";
    assert_eq!(cloud.get(other).await["state"], "DISABLED");
    let enabled = cloud
        .ok("POST", &format!("{other}:enable"), json!({}))
        .await;
    assert_eq!(enabled["response"]["service"]["state"], "ENABLED");
    assert_eq!(cloud.get(other).await["state"], "ENABLED");
}
