//! A registry in this process: it keeps what it is sent, checks it as the specification says,
//! writes down every request and fails when told to.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use deployer_oci::{Credentials, Digest, Registry, Retry};
use url::Url;

/// What to do instead of answering.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Status(u16),
    /// 429 with a `Retry-After` in seconds.
    Throttle(u64),
    /// The effect takes place, the reply does not arrive.
    LostReply,
    /// Password and token end right before; there are new ones.
    Expire,
}

/// Whom the registry lets in.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Door {
    #[default]
    Open,
    Basic,
    Token,
}

#[derive(Default)]
pub struct Inner {
    pub door: Door,
    /// How often password and token have ended.
    pub expired: u32,
    pub blobs: HashMap<(String, String), Vec<u8>>,
    pub manifests: HashMap<(String, String), (String, Vec<u8>)>,
    pub uploads: HashMap<String, Vec<u8>>,
    pub log: Vec<String>,
    /// Requests whose `METHOD path` contains the text meet the fault, once each.
    pub faults: VecDeque<(&'static str, Fault)>,
    pub waits: Vec<Duration>,
    pub base: String,
    pub lie: Option<String>,
}

#[derive(Clone)]
pub struct Fake(pub Arc<Mutex<Inner>>);

impl Fake {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self(Arc::new(Mutex::new(Inner {
            base,
            ..Inner::default()
        })));
        let app = Router::new().fallback(serve).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }

    pub fn client(&self, credentials: Credentials) -> Registry {
        Registry::new(self.base(), credentials)
            .unwrap()
            .with_retry(self.retry())
    }

    pub fn base(&self) -> Url {
        self.0.lock().unwrap().base.parse().unwrap()
    }

    /// Six attempts that note how long they would have waited.
    pub fn retry(&self) -> Retry {
        let this = self.clone();
        let sleep = move |wait| -> futures::future::BoxFuture<'static, ()> {
            this.0.lock().unwrap().waits.push(wait);
            Box::pin(async {})
        };
        Retry::new(6, Arc::new(sleep))
    }

    pub fn fail(&self, request: &'static str, fault: Fault) {
        self.0.lock().unwrap().faults.push_back((request, fault));
    }

    /// The requests whose line contains `text`.
    pub fn requests(&self, text: &str) -> Vec<String> {
        let inner = self.0.lock().unwrap();
        inner
            .log
            .iter()
            .filter(|line| line.contains(text))
            .cloned()
            .collect()
    }

    pub fn forget_requests(&self) {
        self.0.lock().unwrap().log.clear();
    }

    pub fn manifest(&self, repo: &str, reference: &str) -> Option<Vec<u8>> {
        let inner = self.0.lock().unwrap();
        Some(
            inner
                .manifests
                .get(&(repo.into(), reference.into()))?
                .1
                .clone(),
        )
    }
}

async fn serve(State(fake): State<Fake>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let line = format!("{} {}", parts.method, parts.uri);
    let fault = {
        let mut inner = fake.0.lock().unwrap();
        inner.log.push(line.clone());
        let hit = inner
            .faults
            .iter()
            .position(|(text, _)| line.contains(text));
        hit.and_then(|at| inner.faults.remove(at))
            .map(|(_, fault)| fault)
    };
    // A body that breaks off is an upload that never happened.
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let answer = |fake: &Fake| {
        let mut inner = fake.0.lock().unwrap();
        match refuse(&inner, &parts.headers, &path) {
            Some(refusal) => refusal,
            None => inner.answer(&parts.method, &path, &query, &parts.headers, &body),
        }
    };
    match fault {
        None => answer(&fake),
        Some(Fault::Expire) => {
            fake.0.lock().unwrap().expired += 1;
            answer(&fake)
        }
        Some(Fault::Status(status)) => StatusCode::from_u16(status).unwrap().into_response(),
        Some(Fault::Throttle(seconds)) => (
            StatusCode::TOO_MANY_REQUESTS,
            [("retry-after", seconds.to_string())],
        )
            .into_response(),
        Some(Fault::LostReply) => {
            answer(&fake);
            // Unwinding drops the connection; unlike `panic!` it prints nothing.
            std::panic::resume_unwind(Box::new("the reply is lost"))
        }
    }
}

fn refuse(inner: &Inner, headers: &HeaderMap, path: &str) -> Option<Response> {
    let shown = headers
        .get("authorization")
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default();
    let login = BASE64_STANDARD.encode(format!("AWS:{}", inner.now("secret")));
    let basic = shown == format!("Basic {login}");
    let token = shown == format!("Bearer {}", inner.now("granted"));
    let challenge = match inner.door {
        _ if path == "/token" && basic => return None,
        Door::Open => return None,
        Door::Basic if basic => return None,
        Door::Token if token => return None,
        Door::Basic => "Basic realm=\"fake\"".to_owned(),
        Door::Token => format!(
            "Bearer realm=\"{}/token\",service=\"fake\",scope=\"own-word\"",
            inner.base
        ),
    };
    Some((StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response())
}

impl Inner {
    /// A secret as it is after so many ends.
    pub fn now(&self, secret: &str) -> String {
        match self.expired {
            0 => secret.to_owned(),
            times => format!("{secret}-{times}"),
        }
    }

    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        query: &HashMap<String, String>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Response {
        if path == "/token" {
            return format!(r#"{{"token":"{}"}}"#, self.now("granted")).into_response();
        }
        let rest = path.strip_prefix("/v2/").unwrap_or_default();
        if let Some((repo, id)) = rest.split_once("/blobs/uploads/") {
            return self.upload(method, repo, id, query, body);
        }
        if let Some((repo, digest)) = rest.split_once("/blobs/") {
            return match self.blobs.get(&(repo.into(), digest.into())) {
                Some(bytes) => bytes.clone().into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            };
        }
        match rest.split_once("/manifests/") {
            Some((repo, reference)) if method == Method::PUT => {
                self.put_manifest(repo, reference, headers, body)
            }
            Some((repo, reference)) => self.get_manifest(repo, reference),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn upload(
        &mut self,
        method: &Method,
        repo: &str,
        id: &str,
        query: &HashMap<String, String>,
        body: &[u8],
    ) -> Response {
        if method == Method::POST {
            if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from"))
                && let Some(bytes) = self.blobs.get(&(from.clone(), digest.clone())).cloned()
            {
                self.blobs.insert((repo.into(), digest.clone()), bytes);
                return StatusCode::CREATED.into_response();
            }
            let id = format!("u{}", self.uploads.len());
            self.uploads.insert(id.clone(), Vec::new());
            let place = format!("/v2/{repo}/blobs/uploads/{id}?state=a%2Bb");
            return (StatusCode::ACCEPTED, [("location", place)]).into_response();
        }
        let Some(data) = self.uploads.get_mut(id) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        data.extend_from_slice(body);
        if method == Method::PATCH {
            let place = format!("{}/v2/{repo}/blobs/uploads/{id}?state=c", self.base);
            return (StatusCode::ACCEPTED, [("location", place)]).into_response();
        }
        let digest = query.get("digest").cloned().unwrap_or_default();
        if Digest::of(data).as_str() != digest {
            let error = r#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#;
            return (StatusCode::BAD_REQUEST, error).into_response();
        }
        let data = data.clone();
        self.blobs.insert((repo.into(), digest), data);
        StatusCode::CREATED.into_response()
    }

    /// Refuses a manifest whose parts are not there, as registries do.
    fn put_manifest(
        &mut self,
        repo: &str,
        reference: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Response {
        let manifest: serde_json::Value = serde_json::from_slice(body).unwrap();
        let list = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
        let has = |digest: &serde_json::Value| {
            let key = (
                repo.to_owned(),
                digest.as_str().unwrap_or_default().to_owned(),
            );
            self.blobs.contains_key(&key) || self.manifests.contains_key(&key)
        };
        let mut wanted = list("layers");
        wanted.extend(list("manifests"));
        wanted.extend(manifest.get("config").cloned());
        if !wanted.iter().all(|d| has(&d["digest"])) {
            return (
                StatusCode::BAD_REQUEST,
                r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#,
            )
                .into_response();
        }
        let kind = headers["content-type"].to_str().unwrap().to_owned();
        let digest = Digest::of(body).to_string();
        for name in [reference.to_owned(), digest] {
            self.manifests
                .insert((repo.into(), name), (kind.clone(), body.to_vec()));
        }
        StatusCode::CREATED.into_response()
    }

    fn get_manifest(&self, repo: &str, reference: &str) -> Response {
        let Some((kind, bytes)) = self.manifests.get(&(repo.into(), reference.into())) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let digest = self
            .lie
            .clone()
            .unwrap_or_else(|| Digest::of(bytes).to_string());
        Response::builder()
            .header("content-type", kind)
            .header("docker-content-digest", digest)
            .body(Body::from(bytes.clone()))
            .unwrap()
    }
}
