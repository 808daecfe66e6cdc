//! A sandbox over HTTP, and a client that signs with the vendor's own crate.

#![allow(dead_code, reason = "each test file uses its part")]

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use deployer_sandbox::{Moto, Options, Sandbox, serve};
use serde_json::{Value, json};

use super::support::{OCI_MANIFEST, digest, layer};

/// Where images of the sandbox's account are.
pub const REGISTRY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// A running sandbox with one caller.
pub struct Account {
    pub sandbox: Sandbox,
    pub http: reqwest::Client,
    pub caller: Caller,
    _folder: Option<tempfile::TempDir>,
}

/// Who signs, and how.
#[derive(Clone)]
pub struct Caller {
    pub key: String,
    pub secret: String,
    pub region: String,
    pub at: SystemTime,
}

impl Account {
    /// Ten minutes of cloud time per second.
    pub async fn open() -> Self {
        Self::open_with(Moto::Off).await
    }

    /// The same, with moto when it is installed and wanted.
    pub async fn open_with(moto: Moto) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            moto,
            speed: 600.0,
            ..Options::new(folder.path().join("state"))
        };
        let mut account = Self::of(options).await;
        account._folder = Some(folder);
        account
    }

    /// Whatever sandbox that is.
    pub async fn of(options: Options) -> Self {
        let sandbox = serve(options).await.unwrap();
        let key = sandbox.running().access_key.clone();
        Self {
            sandbox,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            caller: Caller {
                key: key.id,
                secret: key.secret,
                region: "us-east-1".into(),
                at: SystemTime::now(),
            },
            _folder: None,
        }
    }

    pub async fn close(self) {
        self.sandbox.shutdown().await;
    }

    /// Calls `service:Operation` as `caller`. Returns the status and the body.
    pub async fn call_as(&self, caller: &Caller, action: &str, input: Value) -> (u16, Value) {
        let (service, operation) = action.split_once(':').unwrap();
        let prefix = match service {
            "apprunner" => "AppRunner",
            "ecs" => "AmazonEC2ContainerServiceV20141113",
            "ecr" => "AmazonEC2ContainerRegistry_V20150921",
            "logs" => "Logs_20140328",
            "tagging" => "ResourceGroupsTaggingAPI_20170126",
            other => other,
        };
        let target = format!("{prefix}.{operation}");
        let headers = [
            ("x-amz-target", target.as_str()),
            ("content-type", "application/x-amz-json-1.1"),
        ];
        let (status, body) = self
            .send(caller, service, &headers, input.to_string())
            .await;
        (
            status,
            serde_json::from_str(&body).unwrap_or(Value::String(body)),
        )
    }

    /// Calls `service:Operation` of a service that talks in forms. Returns the status and the XML.
    pub async fn form(&self, action: &str, members: &[(&str, &str)]) -> (u16, String) {
        let (service, operation) = action.split_once(':').unwrap();
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", operation);
        for (name, value) in members {
            form.append_pair(name, value);
        }
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send(&self.caller, service, &headers, form.finish())
            .await
    }

    /// The same for a call that must succeed.
    #[track_caller]
    pub fn form_ok(&self, action: &str, members: &[(&str, &str)]) -> impl Future<Output = String> {
        let at = std::panic::Location::caller();
        async move {
            let (status, xml) = self.form(action, members).await;
            assert_eq!(status, 200, "{at}: {action}: {xml}");
            xml
        }
    }

    /// The same for a call that must be refused with this status and code.
    #[track_caller]
    pub fn form_refused(
        &self,
        action: &str,
        members: &[(&str, &str)],
        status: u16,
        code: &str,
    ) -> impl Future<Output = String> {
        let at = std::panic::Location::caller();
        async move {
            let (answered, xml) = self.form(action, members).await;
            let said = (answered, element(&xml, "Code"));
            assert_eq!(said, (status, Some(code)), "{at}: {action}: {xml}");
            xml
        }
    }

    /// Asks again until the element has that value. Panics with the last answer after two
    /// minutes: a database takes its time on a busy machine.
    pub async fn form_until(
        &self,
        action: &str,
        members: &[(&str, &str)],
        (name, value): (&str, &str),
    ) -> String {
        let began = std::time::Instant::now();
        loop {
            let xml = self.form_ok(action, members).await;
            if element(&xml, name) == Some(value) {
                return xml;
            }
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "{action}: {xml}"
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Signs and sends a POST to `/`.
    pub async fn send(
        &self,
        caller: &Caller,
        service: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> (u16, String) {
        let request = self.signed(caller, service, headers, body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A signed POST to `/`.
    pub fn signed(
        &self,
        caller: &Caller,
        service: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> reqwest::RequestBuilder {
        let url = format!("{}/", self.sandbox.aws_url);
        let identity = Credentials::new(&caller.key, &caller.secret, None, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&caller.region)
            .name(service)
            .time(caller.at)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let signable = SignableRequest::new(
            "POST",
            &url,
            headers.iter().copied(),
            SignableBody::Bytes(body.as_bytes()),
        );
        let (instructions, _) = sign(signable.unwrap(), &params).unwrap().into_parts();
        let mut request = self.http.post(&url).body(body.clone());
        for (name, value) in headers.iter().copied().chain(instructions.headers()) {
            request = request.header(name, value);
        }
        request
    }

    /// A call that must succeed.
    #[track_caller]
    pub fn ok(&self, action: &str, input: Value) -> impl Future<Output = Value> {
        let at = std::panic::Location::caller();
        async move {
            let (status, body) = self.call_as(&self.caller, action, input).await;
            assert_eq!(status, 200, "{at}: {action}: {body}");
            body
        }
    }

    /// A call that must be refused with `code` and a message that contains `says`.
    #[track_caller]
    pub fn refused(
        &self,
        action: &str,
        input: Value,
        code: &str,
        says: &str,
    ) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let (status, body) = self.call_as(&self.caller, action, input).await;
            assert_eq!(status, 400, "{at}: {action}: {body}");
            assert_eq!(body["__type"], code, "{at}: {body}");
            let message = body["message"]
                .as_str()
                .or(body["Message"].as_str())
                .unwrap();
            assert!(message.contains(says), "{at}: {message}");
        }
    }

    /// Asks again until `done` says so. Panics with the last answer after 30 seconds.
    pub async fn until(&self, action: &str, input: Value, done: impl Fn(&Value) -> bool) -> Value {
        let began = std::time::Instant::now();
        loop {
            let answer = self.ok(action, input.clone()).await;
            if done(&answer) {
                return answer;
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{action}: {answer:#}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A registry request with a fresh token.
    pub async fn registry(
        &self,
        method: reqwest::Method,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> reqwest::Response {
        let token = self.ok("ecr:GetAuthorizationToken", json!({})).await;
        let token = token["authorizationData"][0]["authorizationToken"]
            .as_str()
            .unwrap()
            .to_owned();
        let pair = base64::engine::general_purpose::STANDARD
            .decode(&token)
            .unwrap();
        assert!(pair.starts_with(b"AWS:"));
        let url = match path.starts_with("http") {
            true => path.to_owned(),
            false => format!("{}{path}", self.sandbox.aws_url),
        };
        let request = self
            .http
            .request(method, url)
            .header("authorization", format!("Basic {token}"));
        request
            .header("content-type", kind)
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// Pushes an image whose command is the guest program. Returns the manifest's digest.
    pub async fn push(&self, repository: &str, tag: &str, arguments: &[&str]) -> String {
        let config = json!({"Entrypoint": ["/bin/guest"], "Cmd": arguments});
        self.push_layer(repository, tag, layer(&[]), config).await
    }

    /// Pushes an image of one layer. Returns the manifest's digest.
    pub async fn push_layer(
        &self,
        repository: &str,
        tag: &str,
        layer: Vec<u8>,
        config: Value,
    ) -> String {
        let config = json!({
            "os": "linux", "architecture": "amd64",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let config = serde_json::to_vec(&config).unwrap();
        for blob in [&layer, &config] {
            let begun = self
                .registry(
                    reqwest::Method::POST,
                    &format!("/v2/{repository}/blobs/uploads/"),
                    "",
                    vec![],
                )
                .await;
            assert_eq!(begun.status(), 202);
            let place = begun.headers()["location"].to_str().unwrap().to_owned();
            let separator = if place.contains('?') { '&' } else { '?' };
            let place = format!("{place}{separator}digest={}", digest(blob));
            let put = self
                .registry(
                    reqwest::Method::PUT,
                    &place,
                    "application/octet-stream",
                    blob.clone(),
                )
                .await;
            assert_eq!(put.status(), 201);
        }
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&config), "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": digest(&layer), "size": layer.len(),
            }],
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let path = format!("/v2/{repository}/manifests/{tag}");
        let put = self
            .registry(reqwest::Method::PUT, &path, OCI_MANIFEST, manifest.clone())
            .await;
        assert_eq!(put.status(), 201, "{}", put.text().await.unwrap());
        digest(&manifest)
    }
}

/// The text of the first element of that name.
pub fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}
