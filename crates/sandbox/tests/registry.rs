//! The registry over HTTP, as clients of the distribution protocol use it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use axum::http::HeaderMap;
use deployer_sandbox::registry::{Access, Gate, Refusal, Store, routes};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use support::{OCI_INDEX, OCI_MANIFEST, digest};

/// Lets everyone with the word in; `team/secret` is closed, `team/absent` does not exist.
struct Door;

impl Gate for Door {
    fn admit(
        &self,
        headers: &HeaderMap,
        repository: &str,
        access: Access,
        tag: Option<&str>,
    ) -> Result<String, Refusal> {
        if headers
            .get("authorization")
            .is_none_or(|it| it != "Bearer word")
        {
            let challenge = "Bearer realm=\"http://x/token\"".to_owned();
            return Err(Refusal::Unauthorized { challenge });
        }
        match (repository, access, tag) {
            ("team/secret", ..) => Err(Refusal::Denied("no".into())),
            ("team/absent", ..) => Err(Refusal::UnknownRepository("no such".into())),
            (_, Access::Push, Some("fixed")) => Err(Refusal::ImmutableTag {
                code: "TAG_INVALID",
                why: "fixed".into(),
            }),
            _ => Ok(format!("test/{repository}")),
        }
    }
}

struct Registry {
    base: String,
    client: Client,
    store: Store,
    _folder: tempfile::TempDir,
}

impl Registry {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_owned()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = routes(store.clone(), Arc::new(Door));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = Client::builder().no_proxy().build().unwrap();
        Self {
            base,
            client,
            store,
            _folder: folder,
        }
    }

    fn ask(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}{path}", self.base));
        request.bearer_auth("word")
    }

    async fn push_blob(&self, name: &str, bytes: &'static [u8]) -> String {
        let digest = digest(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = self.ask("POST", &path).body(bytes).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        digest
    }

    async fn put_manifest(&self, path: &str, media_type: &str, manifest: &Value) -> Response {
        let request = self.ask("PUT", path).header("content-type", media_type);
        request.body(manifest.to_string()).send().await.unwrap()
    }
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer
        .headers()
        .get(name)
        .map_or("", |it| it.to_str().unwrap())
}

async fn refused(answer: Response, status: u16, code: &str) {
    assert_eq!(answer.status().as_u16(), status);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["errors"][0]["code"], code, "{body}");
}

fn manifest(config: &str, layer: &str) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 5 }],
    })
}

#[tokio::test]
async fn what_is_pushed_comes_back_byte_for_byte() {
    let registry = Registry::start().await;
    let config = registry.push_blob("team/app", b"{}").await;
    let layer = registry.push_blob("team/app", b"layer").await;
    let manifest = manifest(&config, &layer);
    let own = digest(manifest.to_string().as_bytes());
    let path = "/v2/team/app/manifests/v1";
    let answer = registry.put_manifest(path, OCI_MANIFEST, &manifest).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(header(&answer, "docker-content-digest"), own);

    for reference in ["v1", &own] {
        let path = format!("/v2/team/app/manifests/{reference}");
        let head = registry.ask("HEAD", &path).send().await.unwrap();
        assert_eq!(header(&head, "docker-content-digest"), own);
        assert_eq!(
            header(&head, "content-length"),
            manifest.to_string().len().to_string()
        );
        let got = registry.ask("GET", &path).send().await.unwrap();
        assert_eq!(header(&got, "content-type"), OCI_MANIFEST);
        assert_eq!(
            header(&got, "docker-distribution-api-version"),
            "registry/2.0"
        );
        assert_eq!(got.text().await.unwrap(), manifest.to_string());
    }
    let path = format!("/v2/team/app/blobs/{layer}");
    let head = registry.ask("HEAD", &path).send().await.unwrap();
    assert_eq!(header(&head, "content-length"), "5");
    let got = registry.ask("GET", &path).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "layer");
    let part = registry
        .ask("GET", &path)
        .header("range", "bytes=1-2")
        .send()
        .await
        .unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(header(&part, "content-range"), "bytes 1-2/5");
    assert_eq!(part.text().await.unwrap(), "ay");
    let stored = registry.store.manifest("test/team/app", "v1").unwrap();
    assert_eq!((stored.digest, stored.tags), (own, vec!["v1".to_owned()]));
}

#[tokio::test]
async fn a_blob_arrives_in_chunks_in_order_only() {
    let registry = Registry::start().await;
    let begun = registry
        .ask("POST", "/v2/team/app/blobs/uploads/")
        .send()
        .await
        .unwrap();
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let location = header(&begun, "location").to_owned();
    let chunk = |range: &'static str, bytes: &'static str| {
        let request = registry
            .ask("PATCH", &location)
            .header("content-range", range);
        request.body(bytes).send()
    };
    let first = chunk("0-2", "abc").await.unwrap();
    assert_eq!(header(&first, "range"), "0-2");
    let gap = chunk("5-6", "fg").await.unwrap();
    assert_eq!(header(&gap, "range"), "0-2");
    refused(gap, 416, "BLOB_UPLOAD_INVALID").await;
    chunk("3-4", "de").await.unwrap();
    let status = registry.ask("GET", &location).send().await.unwrap();
    assert_eq!(
        (status.status().as_u16(), header(&status, "range")),
        (204, "0-4")
    );
    let path = format!("{location}?digest={}", digest(b"abcdef"));
    let done = registry.ask("PUT", &path).body("f").send().await.unwrap();
    assert_eq!(done.status(), StatusCode::CREATED);
    assert!(registry.store.has_blob("test/team/app", &digest(b"abcdef")));
    let gone = registry.ask("GET", &location).send().await.unwrap();
    refused(gone, 404, "BLOB_UPLOAD_UNKNOWN").await;
}

#[tokio::test]
async fn wrong_digests_and_absent_blobs_are_refused() {
    let registry = Registry::start().await;
    let path = format!("/v2/team/app/blobs/uploads/?digest={}", digest(b"other"));
    let answer = registry
        .ask("POST", &path)
        .body("bytes")
        .send()
        .await
        .unwrap();
    refused(answer, 400, "DIGEST_INVALID").await;
    assert_eq!(registry.store.blob(&digest(b"bytes")), None);

    let config = registry.push_blob("team/app", b"{}").await;
    let lacking = manifest(&config, &digest(b"never pushed"));
    let path = "/v2/team/app/manifests/v1";
    let answer = registry.put_manifest(path, OCI_MANIFEST, &lacking).await;
    refused(answer, 400, "MANIFEST_BLOB_UNKNOWN").await;
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        { "mediaType": OCI_MANIFEST, "digest": digest(b"x"), "size": 1 },
    ]});
    let answer = registry.put_manifest(path, OCI_INDEX, &index).await;
    refused(answer, 400, "MANIFEST_BLOB_UNKNOWN").await;

    let whole = manifest(&config, &config);
    let answer = registry.put_manifest(path, OCI_INDEX, &whole).await;
    refused(answer, 400, "MANIFEST_INVALID").await;
    let elsewhere = format!("/v2/team/app/manifests/{}", digest(b"x"));
    let answer = registry
        .put_manifest(&elsewhere, OCI_MANIFEST, &whole)
        .await;
    refused(answer, 400, "DIGEST_INVALID").await;
    let unknown = registry.ask("GET", path).send().await.unwrap();
    refused(unknown, 404, "MANIFEST_UNKNOWN").await;
    let elsewhere = format!("/v2/team/second/blobs/{config}");
    let unknown = registry.ask("GET", &elsewhere).send().await.unwrap();
    refused(unknown, 404, "BLOB_UNKNOWN").await;
}

#[tokio::test]
async fn a_blob_is_mounted_from_a_repository_that_may_be_read() {
    let registry = Registry::start().await;
    let blob = registry.push_blob("team/app", b"shared").await;
    let mount = |from: &str| {
        let path = format!("/v2/team/second/blobs/uploads/?mount={blob}&from={from}");
        registry.ask("POST", &path).send()
    };
    assert_eq!(
        mount("team/secret").await.unwrap().status(),
        StatusCode::ACCEPTED
    );
    assert!(!registry.store.has_blob("test/team/second", &blob));
    assert_eq!(
        mount("team/app").await.unwrap().status(),
        StatusCode::CREATED
    );
    assert!(registry.store.has_blob("test/team/second", &blob));
}

#[tokio::test]
async fn tags_come_in_pages_and_go_with_their_manifest() {
    let registry = Registry::start().await;
    let config = registry.push_blob("team/app", b"{}").await;
    let manifest = manifest(&config, &config);
    for tag in ["c", "a", "b"] {
        let path = format!("/v2/team/app/manifests/{tag}");
        registry.put_manifest(&path, OCI_MANIFEST, &manifest).await;
    }
    let page = registry
        .ask("GET", "/v2/team/app/tags/list?n=2")
        .send()
        .await
        .unwrap();
    let next = header(&page, "link").to_owned();
    let page: Value = page.json().await.unwrap();
    assert_eq!(page, json!({ "name": "team/app", "tags": ["a", "b"] }));
    let next = next.trim_start_matches('<').split('>').next().unwrap();
    let page = registry.ask("GET", next).send().await.unwrap();
    assert_eq!(header(&page, "link"), "");
    assert_eq!(page.json::<Value>().await.unwrap()["tags"], json!(["c"]));

    let own = digest(manifest.to_string().as_bytes());
    let untag = registry
        .ask("DELETE", "/v2/team/app/manifests/a")
        .send()
        .await
        .unwrap();
    assert_eq!(untag.status(), StatusCode::ACCEPTED);
    assert!(registry.store.manifest("test/team/app", &own).is_some());
    let path = format!("/v2/team/app/manifests/{own}");
    let deleted = registry.ask("DELETE", &path).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    let gone = registry
        .ask("HEAD", "/v2/team/app/manifests/b")
        .send()
        .await
        .unwrap();
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_gate_speaks_the_protocols_errors() {
    let registry = Registry::start().await;
    let stranger = registry.client.get(format!("{}/v2/", registry.base));
    let stranger = stranger.send().await.unwrap();
    assert_eq!(
        header(&stranger, "www-authenticate"),
        "Bearer realm=\"http://x/token\""
    );
    refused(stranger, 401, "UNAUTHORIZED").await;
    let known = registry.ask("GET", "/v2/").send().await.unwrap();
    assert_eq!(known.status(), StatusCode::OK);
    let get = |path: &'static str| registry.ask("GET", path).send();
    refused(
        get("/v2/team/secret/tags/list").await.unwrap(),
        403,
        "DENIED",
    )
    .await;
    refused(
        get("/v2/team/absent/tags/list").await.unwrap(),
        404,
        "NAME_UNKNOWN",
    )
    .await;
    refused(
        get("/v2/Team/app/tags/list").await.unwrap(),
        400,
        "NAME_INVALID",
    )
    .await;
    let fixed = "/v2/team/app/manifests/fixed";
    let answer = registry.put_manifest(fixed, OCI_MANIFEST, &json!({})).await;
    refused(answer, 400, "TAG_INVALID").await;
    let post = registry
        .ask("POST", "/v2/team/app/tags/list")
        .send()
        .await
        .unwrap();
    refused(post, 405, "UNSUPPORTED").await;
}
