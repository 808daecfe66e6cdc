//! A whole sandbox starts, says what it is, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use deployer_sandbox::env::{Running, exports};
use deployer_sandbox::{Moto, Options, StartError, serve};
use reqwest::Method;
use serde_json::{Value, json};

fn options(folder: &tempfile::TempDir) -> Options {
    Options {
        moto: Moto::Off,
        ..Options::new(folder.path().join("state"))
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn both_ports_say_what_runs_and_stop_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = serve(options(&folder)).await.unwrap();
    let state = folder.path().join("state").canonicalize().unwrap();
    let client = client();
    for base in [&sandbox.aws_url, &sandbox.gcp_url] {
        let status = client
            .get(format!("{base}/_sandbox/status"))
            .bearer_auth(&sandbox.running().control_token)
            .send()
            .await
            .unwrap();
        let status: Value = status.json().await.unwrap();
        assert_eq!(status["aws"]["account"], "123456789012");
        assert_eq!(status["gcp"]["url"], sandbox.gcp_url);
        assert_eq!(status["containers"], serde_json::json!([]));
        assert!(status["isolation"]["kind"].is_string());
    }
    let running = Running::read(&state).unwrap();
    assert_eq!(&running, sandbox.running());
    let exported = exports(&running);
    let value = |name: &str| {
        let found = exported.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.clone()).unwrap()
    };
    assert_eq!(value("AWS_ENDPOINT_URL"), sandbox.aws_url);
    for file in [
        "GOOGLE_APPLICATION_CREDENTIALS",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    ] {
        assert!(
            std::fs::read_to_string(value(file)).is_ok_and(|it| !it.is_empty()),
            "{file}"
        );
    }

    let twice = serve(options(&folder)).await;
    assert!(matches!(twice, Err(StartError::AlreadyRunning { .. })));
    let taken = Options {
        aws_port: running.gcp_port,
        ..Options::new(folder.path().join("second"))
    };
    assert!(matches!(serve(taken).await, Err(StartError::Listen { .. })));

    let stop = client.post(format!("{}/_sandbox/shutdown", sandbox.gcp_url));
    let stop = stop.bearer_auth(&running.control_token);
    assert_eq!(stop.send().await.unwrap().status(), 202);
    let requested = tokio::time::timeout(Duration::from_secs(1), sandbox.stop_requested()).await;
    assert!(requested.is_ok());
    let url = sandbox.aws_url.clone();
    sandbox.shutdown().await;
    assert!(
        client
            .get(format!("{url}/_sandbox/status"))
            .send()
            .await
            .is_err()
    );
    assert_eq!(Running::read(&state), None);
    // A directory that was used before serves again.
    serve(options(&folder)).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_state_directory_of_a_sandbox_that_was_killed_serves_again() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = serve(options(&folder)).await.unwrap();
    let state = folder.path().join("state").canonicalize().unwrap();
    let stale = std::fs::read(state.join("running.json")).unwrap();
    sandbox.shutdown().await;
    std::fs::write(state.join("running.json"), stale).unwrap();
    serve(options(&folder)).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn control_wants_the_token_of_the_state_directory() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = serve(options(&folder)).await.unwrap();
    let token = sandbox.running().control_token.clone();
    let file = folder.path().join("state/running.json");
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let client = client();
    for (method, path) in [
        (Method::GET, "status"),
        (Method::GET, "dump"),
        (Method::POST, "shutdown"),
        (Method::POST, "faults"),
        (Method::DELETE, "faults"),
        (Method::POST, "aws/policy"),
        (Method::DELETE, "aws/policy"),
    ] {
        for base in [&sandbox.aws_url, &sandbox.gcp_url] {
            let url = format!("{base}/_sandbox/{path}");
            let bare = client.request(method.clone(), &url);
            assert_eq!(bare.send().await.unwrap().status(), 401, "{url}");
            let wrong = client.request(method.clone(), &url).bearer_auth("another");
            assert_eq!(wrong.send().await.unwrap().status(), 401, "{url}");
        }
    }
    let status = client.get(format!("{}/_sandbox/status", sandbox.aws_url));
    assert_eq!(
        status.bearer_auth(token).send().await.unwrap().status(),
        200
    );
    sandbox.shutdown().await;
}

#[tokio::test]
async fn a_web_page_is_not_answered_whatever_it_asks_and_knows() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = serve(options(&folder)).await.unwrap();
    let token = sandbox.running().control_token.clone();
    let google = std::fs::read_to_string(&sandbox.running().token).unwrap();
    let client = client();
    for (base, path, token) in [
        (&sandbox.aws_url, "/_sandbox/status", &token),
        (&sandbox.aws_url, "/v2/", &token),
        (&sandbox.aws_url, "/", &token),
        (
            &sandbox.gcp_url,
            "/v1/projects/sandbox-project/secrets",
            &google,
        ),
    ] {
        let ask = || client.get(format!("{base}{path}")).bearer_auth(token);
        let plain = ask().send().await.unwrap().status();
        assert_ne!(plain, 403, "{path}");
        for (header, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:8000"),
            ("host", "evil.example"),
            ("host", "evil.example:4566"),
        ] {
            let answer = ask().header(header, value).send().await.unwrap();
            assert_eq!(answer.status(), 403, "{path} {header}: {value}");
        }
        let named = ask().header("host", "localhost:1").send().await.unwrap();
        assert_eq!(named.status(), plain, "{path}");
    }
    sandbox.shutdown().await;
}

#[tokio::test]
async fn each_sandbox_has_a_key_pair_of_its_own() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let one = serve(options(&folders[0])).await.unwrap();
    let other = serve(options(&folders[1])).await.unwrap();
    assert_ne!(one.running().access_key, other.running().access_key);
    assert_ne!(one.running().control_token, other.running().control_token);
    one.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn the_dump_has_what_is_there_and_what_the_clouds_had_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = serve(options(&folder)).await.unwrap();
    let began = sandbox.dump();
    assert!(began["aws"]["rds"]["parameter_groups"]["default.postgres16"].is_object());
    assert_eq!(began["gcp"]["secretmanager"]["secrets"], json!({}));
    let token = std::fs::read_to_string(&sandbox.running().token).unwrap();
    let secrets = format!("{}/v1/projects/sandbox-project/secrets", sandbox.gcp_url);
    let send = |url: String, body: Value| {
        let call = client().post(url).bearer_auth(&token).json(&body);
        async move { call.send().await.unwrap().error_for_status().unwrap() }
    };
    let made = json!({ "replication": { "automatic": {} }, "labels": { "team": "web" } });
    send(format!("{secrets}?secretId=key"), made).await;
    let bound = json!({ "role": "roles/secretmanager.secretAccessor", "members": ["allUsers"] });
    let policy = json!({ "policy": { "bindings": [bound] } });
    send(format!("{secrets}/key:setIamPolicy"), policy).await;
    let dumped = client().get(format!("{}/_sandbox/dump", sandbox.aws_url));
    let dumped = dumped.bearer_auth(&sandbox.running().control_token).send();
    let dumped: Value = dumped.await.unwrap().json().await.unwrap();
    let secret = &dumped["gcp"]["secretmanager"]["secrets"]["key"];
    assert_eq!(secret["message"]["labels"]["team"], "web");
    assert_eq!(secret["policy"]["bindings"], json!([bound]));
    sandbox.shutdown().await;
}
