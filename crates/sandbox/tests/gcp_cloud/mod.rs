//! A sandbox with a Google side, and a plain HTTP client for it.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use deployer_sandbox::{Moto, Options, Sandbox, serve};
use reqwest::{Client, Method};
use serde_json::{Value, json};

pub use super::support::digest;
use super::support::{OCI_MANIFEST, layer};

pub const LOCATION: &str = "projects/sandbox-project/locations/us-central1";

pub struct Cloud {
    pub base: String,
    pub token: String,
    pub client: Client,
    pub sandbox: Sandbox,
    _folder: Option<tempfile::TempDir>,
}

impl Cloud {
    pub async fn start() -> Self {
        Self::start_at(60.0).await
    }

    /// With so many seconds of cloud time per second.
    pub async fn start_at(speed: f64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            moto: Moto::Off,
            speed,
            ..Options::new(folder.path().join("state"))
        };
        let mut cloud = Self::of(options).await;
        cloud._folder = Some(folder);
        cloud
    }

    /// Whatever sandbox that is.
    pub async fn of(options: Options) -> Self {
        let sandbox = serve(options).await.unwrap();
        let token = std::fs::read_to_string(&sandbox.running().token).unwrap();
        Self {
            base: sandbox.gcp_url.clone(),
            token: token.trim().to_owned(),
            client: Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(0)
                .build()
                .unwrap(),
            sandbox,
            _folder: None,
        }
    }

    /// One call; `Value::Null` sends no body.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .client
            .request(method, format!("{}/{path}", self.base))
            .bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json().await.unwrap_or_default(),
        )
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// A call that succeeds.
    pub async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Lets a service account read a secret, and waits until that has got about.
    pub async fn let_read(&self, secret: &str, account: &str) {
        self.sandbox.set_iam_delay(std::time::Duration::ZERO);
        let path = format!("v1/projects/sandbox-project/secrets/{secret}:setIamPolicy");
        let role = "roles/secretmanager.secretAccessor";
        let members = [format!("serviceAccount:{account}")];
        let bindings = json!([{ "role": role, "members": members }]);
        let policy = json!({ "policy": { "bindings": bindings } });
        self.ok("POST", &path, policy).await;
    }

    /// A call that is refused: HTTP status, canonical status, message.
    pub async fn refused(&self, method: &str, path: &str, body: Value) -> (u16, String, String) {
        let (status, answer) = self.call(method, path, body).await;
        let word = |name: &str| {
            answer["error"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(answer["error"]["code"], status, "{path}: {answer}");
        (status, word("status"), word("message"))
    }

    /// Begins an operation and waits for its end.
    pub async fn operate(&self, version: &str, method: &str, path: &str, body: Value) -> Value {
        let begun = self.ok(method, &format!("{version}/{path}"), body).await;
        let name = begun["name"].as_str().unwrap();
        for _ in 0..600 {
            let now = self.get(&format!("{version}/{name}")).await;
            if now["done"] == true {
                return now;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{name} did not end");
    }

    /// The same on Cloud Run.
    pub async fn run(&self, method: &str, path: &str, body: Value) -> Value {
        self.operate("v2", method, &format!("{LOCATION}/{path}"), body)
            .await
    }

    /// A repository `apps` with `web:v1`, which answers with the variable `NAME` on `PORT`.
    pub async fn with_image(self) -> Self {
        let path = format!("{LOCATION}/repositories?repositoryId=apps");
        self.operate("v1", "POST", &path, json!({ "format": "DOCKER" }))
            .await;
        assert_eq!(
            self.push("apps/web", "v1", json!(["listen", "0.0.0.0"]))
                .await,
            201
        );
        self
    }

    /// Pushes an image with this command; the status of the last request, or of the first that is
    /// refused.
    pub async fn push(&self, name: &str, tag: &str, command: Value) -> u16 {
        let layer = layer(&[]);
        let config = json!({
            "os": "linux", "architecture": "amd64", "config": { "Entrypoint": ["/bin/guest"], "Cmd": command },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = serde_json::to_vec(&config).unwrap();
        let descriptor = |kind: &str, bytes: &[u8]| json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest(bytes), "size": bytes.len() });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor("config.v1+json", &config),
            "layers": [descriptor("layer.v1.tar", &layer)],
        });
        let path = format!("{}/v2/sandbox-project/{name}", self.base);
        for blob in [config, layer] {
            let url = format!("{path}/blobs/uploads/?digest={}", digest(&blob));
            let request = self
                .client
                .post(url)
                .basic_auth("oauth2accesstoken", Some(&self.token));
            let status = request.body(blob).send().await.unwrap().status().as_u16();
            if status != 201 {
                return status;
            }
        }
        let request = self
            .client
            .put(format!("{path}/manifests/{tag}"))
            .bearer_auth(&self.token);
        let request = request
            .header("content-type", OCI_MANIFEST)
            .body(manifest.to_string());
        request.send().await.unwrap().status().as_u16()
    }

    /// What the app behind a service's address answers.
    pub async fn ask(&self, uri: &Value) -> (u16, String) {
        let answer = self.client.get(uri.as_str().unwrap()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

pub fn image(tag: &str) -> String {
    format!("us-central1-docker.pkg.dev/sandbox-project/apps/web:{tag}")
}

/// A public service whose app answers with `name`.
pub fn service(name: &str) -> Value {
    json!({
        "invokerIamDisabled": true,
        "template": { "containers": [{ "image": image("v1"), "env": [{ "name": "NAME", "value": name }] }] },
    })
}
