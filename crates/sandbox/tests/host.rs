//! A whole sandbox starts, says what it is, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use deployer_sandbox::env::{Running, exports};
use deployer_sandbox::{Moto, Options, StartError, serve};
use serde_json::Value;

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
