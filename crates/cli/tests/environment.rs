//! What the binary makes of proxies and authorities in its environment.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const MANIFEST: &str = r#"app = "shop"
environment = "test"

[services.web]
image = "oci:image"
port = 3000
health = { path = "/health", command = ["CMD", "/app"] }

[targets.aws]
account = "123456789012"
region = "us-east-1"
cluster = "default"
subnets = ["subnet-0a1b2c3d4e5f60001"]
execution_role = "shop-execution"
"#;

/// Refuses everything, and counts who comes.
fn refusing() -> (SocketAddr, Arc<AtomicUsize>) {
    let body = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
        <Code>AccessDenied</Code><Message>not here</Message></Error><RequestId>0</RequestId></ErrorResponse>";
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 8192]);
            let answer = format!(
                "HTTP/1.1 403 Said\r\ncontent-type: text/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, came)
}

fn plan(folder: &Path, variables: &[(&str, &str)]) -> Output {
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "an-example-no-key"),
    ];
    plan_without_keys(folder, &[&keys, variables].concat())
}

fn plan_without_keys(folder: &Path, variables: &[(&str, &str)]) -> Output {
    std::fs::write(folder.join("deployer.toml"), MANIFEST).expect("a manifest");
    std::fs::create_dir_all(folder.join("image")).expect("a folder");
    std::fs::write(folder.join("image/index.json"), "{}").expect("an index");
    Command::new(env!("CARGO_BIN_EXE_deployer"))
        .arg("plan")
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .envs(variables.iter().copied())
        .output()
        .expect("the binary can be started")
}

#[test]
fn nothing_on_this_machine_is_asked_for_through_a_proxy() {
    let folder = tempfile::tempdir().expect("a folder");
    let (endpoint, asked) = refusing();
    let (proxy, proxied) = refusing();
    let (endpoint, proxy) = (format!("http://{endpoint}"), format!("http://{proxy}"));
    for list in ["", "corp.example"] {
        let output = plan(
            folder.path(),
            &[
                ("AWS_ENDPOINT_URL", &endpoint),
                ("HTTP_PROXY", &proxy),
                ("NO_PROXY", list),
            ],
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(10), "{said}");
        assert!(said.contains("AccessDenied: not here"), "{said}");
    }
    assert_eq!(proxied.load(Ordering::SeqCst), 0);
    assert!(asked.load(Ordering::SeqCst) >= 2);
}

#[test]
fn a_bundle_that_is_none_is_named_before_anything_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = plan(folder.path(), &[("AWS_CA_BUNDLE", "/nowhere/corp.pem")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(
        said.contains("AWS_CA_BUNDLE names /nowhere/corp.pem"),
        "{said}"
    );
}

/// What `aws login` leaves on a machine is a session like any other. `~/.aws/config` and the folder
/// are those of the AWS CLI's user guide, "Login for AWS local development using console
/// credentials".
#[test]
fn a_login_of_the_aws_cli_is_used_and_one_that_is_not_there_names_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let (endpoint, asked) = refusing();
    let endpoint = format!("http://{endpoint}");
    let (home, cache) = (folder.path(), folder.path().join("logins"));
    let session = "arn:aws:iam::123456789012:user/dev";
    std::fs::create_dir_all(home.join(".aws")).expect("a folder");
    let config = format!("[profile dev]\nlogin_session = {session}\nregion = us-east-1\n");
    std::fs::write(home.join(".aws/config"), config).expect("a configuration");
    std::fs::create_dir_all(&cache).expect("a folder");
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_PROFILE", "dev"),
        (
            "AWS_LOGIN_CACHE_DIRECTORY",
            cache.to_str().expect("a plain name"),
        ),
    ];
    let none = plan_without_keys(home, &variables);
    let said = String::from_utf8_lossy(&none.stderr);
    assert_eq!(none.status.code(), Some(10), "{said}");
    assert!(said.contains("run `aws login --profile dev`"), "{said}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let token = serde_json::json!({
        "accessToken": {
            "accessKeyId": "AKIDLOGIN",
            "secretAccessKey": "an-example-no-key",
            "sessionToken": "an-example-no-token",
            "accountId": "123456789012",
            "expiresAt": "2099-01-01T00:00:00Z",
        },
        "tokenType": "aws_sigv4",
        "refreshToken": "an-example-no-token",
        "idToken": "an-example-no-token",
        "clientId": "arn:aws:signin:::devtools/same-device",
        "dpopKey": "-----BEGIN EC PRIVATE KEY-----\nnone\n-----END EC PRIVATE KEY-----\n",
    });
    // The file's name is the SHA-256 of the session's.
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, session.as_bytes());
    let file = cache.join(hex::encode(digest)).with_extension("json");
    std::fs::write(file, token.to_string()).expect("a session");
    let output = plan_without_keys(home, &variables);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{said}");
    assert!(said.contains("AccessDenied: not here"), "{said}");
    assert!(asked.load(Ordering::SeqCst) >= 1);
}
