//! A reverse proxy that passes requests on byte for byte and keeps them with their responses.

mod hold;

pub use hold::Hold;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use hold::Gate;

/// Which cloud is behind the proxy: it decides how a call is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Calls are named by `x-amz-target` or the form's `Action`.
    Aws,
    /// Calls are named by method and path.
    Gcp,
}

/// One request and its response.
#[derive(Clone, Debug)]
pub struct Exchange {
    number: u64,
    side: Side,
    method: Method,
    target: String,
    status: StatusCode,
    request_headers: HeaderMap,
    response_headers: HeaderMap,
    request_body: Bytes,
    response_body: Bytes,
}

/// A proxy on a free port of loopback; it stops when dropped.
pub struct Recorder {
    url: String,
    kept: Arc<Kept>,
    _stop: oneshot::Sender<()>,
}

struct Kept {
    side: Side,
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    next: AtomicU64,
    exchanges: Mutex<Vec<Exchange>>,
    gate: Arc<Gate>,
}

impl Recorder {
    /// Starts a proxy in front of `upstream`, a base URL without a path.
    pub fn start(side: Side, upstream: &str) -> Self {
        let kept = Arc::new(Kept {
            side,
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
            next: AtomicU64::new(1),
            exchanges: Mutex::default(),
            gate: Arc::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let app = axum::Router::new()
            .fallback(pass_on)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&kept));
        let address = serve_in_background(app, stopped);
        Self {
            url: format!("http://{address}"),
            kept,
            _stop: stop,
        }
    }

    /// Where clients are pointed.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything so far, in the order of arrival.
    pub fn exchanges(&self) -> Vec<Exchange> {
        let mut exchanges = self.kept.lock().clone();
        exchanges.sort_by_key(|exchange| exchange.number);
        exchanges
    }

    /// What arrives from now on, until asked.
    pub fn mark(&self) -> Mark<'_> {
        Mark {
            recorder: self,
            after: self.kept.next.load(Ordering::SeqCst),
        }
    }

    /// Everything that has arrived, until asked.
    pub fn mark_all(&self) -> Mark<'_> {
        Mark {
            recorder: self,
            after: 0,
        }
    }

    /// Keeps the calls of this name from the cloud until what is returned is dropped.
    pub fn hold(&self, call: &str) -> Hold {
        Hold::of(&self.kept.gate, call)
    }

    /// Writes everything as JSON lines. Bodies may hold secrets: only into a temporary directory.
    pub fn save(&self, path: &Path) {
        let mut file = std::fs::File::create(path).expect("the recording can be written");
        for exchange in self.exchanges() {
            writeln!(file, "{}", exchange.document()).expect("the recording can be written");
        }
    }
}

/// A moment in a recording.
pub struct Mark<'a> {
    recorder: &'a Recorder,
    after: u64,
}

impl Mark<'_> {
    /// The calls since then, by name.
    pub fn calls(&self) -> Vec<String> {
        self.since().map(|exchange| exchange.name()).collect()
    }

    /// The calls since then that are meant to change something, by name.
    pub fn writes(&self) -> Vec<String> {
        let writes = self.since().filter(Exchange::is_write);
        writes.map(|exchange| exchange.name()).collect()
    }

    fn since(&self) -> impl Iterator<Item = Exchange> {
        let after = self.after;
        let exchanges = self.recorder.exchanges().into_iter();
        exchanges.filter(move |exchange| exchange.number >= after)
    }
}

impl Exchange {
    /// `ecs:UpdateService`, or `PATCH /v2/projects/...`.
    pub fn name(&self) -> String {
        if self.side == Side::Aws && !self.is_image_transfer() {
            let service = self.signed_service().unwrap_or("unsigned");
            if let Some(operation) = self.aws_operation() {
                return format!("{service}:{operation}");
            }
        }
        format!("{} {}", self.method, self.path())
    }

    /// Whether it is meant to change something. Names are the vendors': a method that only reads
    /// says so.
    pub fn is_write(&self) -> bool {
        if self.method == Method::GET || self.method == Method::HEAD {
            return false;
        }
        if self.is_image_transfer() {
            return true;
        }
        match self.side {
            Side::Aws => {
                const READS: [&str; 6] = [
                    "Get",
                    "Describe",
                    "List",
                    "BatchGet",
                    "BatchCheck",
                    "Filter",
                ];
                let operation = self.aws_operation().unwrap_or_default();
                !READS.iter().any(|verb| operation.starts_with(verb))
            }
            Side::Gcp => {
                const READS: [&str; 4] =
                    [":list", ":getIamPolicy", ":testIamPermissions", "/token"];
                !READS.iter().any(|end| self.path().ends_with(end))
            }
        }
    }

    /// The secret value that the request gives to a cloud, as text; `None` when it gives none.
    pub fn secret_value(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.request_body).ok()?;
        if let Some(value) = body["SecretString"].as_str() {
            return Some(value.to_owned());
        }
        let value = BASE64_STANDARD
            .decode(body["payload"]["data"].as_str()?)
            .ok()?;
        String::from_utf8(value).ok()
    }

    fn is_image_transfer(&self) -> bool {
        let path = self.path();
        path.starts_with("/v2/")
            && (path == "/v2/"
                || ["/blobs/", "/manifests/", "/tags/", "/referrers/"]
                    .iter()
                    .any(|kind| path.contains(kind)))
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    fn signed_service(&self) -> Option<&str> {
        let authorization = self.request_headers.get("authorization")?.to_str().ok()?;
        let scope = authorization.split("Credential=").nth(1)?;
        scope.split('/').nth(3)
    }

    fn aws_operation(&self) -> Option<String> {
        if let Some(target) = self.request_headers.get("x-amz-target") {
            return target.to_str().ok()?.rsplit('.').next().map(str::to_owned);
        }
        let form = std::str::from_utf8(&self.request_body).ok()?;
        let action = form
            .split('&')
            .find_map(|pair| pair.strip_prefix("Action="));
        action.map(str::to_owned)
    }

    fn document(&self) -> Value {
        // Layers are large, and no vendor's schema describes them.
        let body = |bytes: &Bytes| match self.is_image_transfer() {
            true => Value::Null,
            false => Value::String(BASE64_STANDARD.encode(bytes)),
        };
        json!({
            "number": self.number,
            "method": self.method.as_str(),
            "target": self.target,
            "status": self.status.as_u16(),
            "request_headers": pairs(&self.request_headers),
            "response_headers": pairs(&self.response_headers),
            "request_body": body(&self.request_body),
            "response_body": body(&self.response_body),
        })
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect()
}

/// Serves `app` on a free port of loopback, in a thread of its own, until `stopped`.
pub(crate) fn serve_in_background(app: axum::Router, stopped: oneshot::Receiver<()>) -> SocketAddr {
    let (listening, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || serve(app, &listening, stopped));
    address.recv().expect("the server listens")
}

fn serve(
    app: axum::Router,
    listening: &std::sync::mpsc::Sender<SocketAddr>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        listening.send(address).expect("the test waits for it");
        let server = axum::serve(listener, app);
        tokio::select! {
            served = server => served.expect("the recorder serves"),
            _ = stopped => {}
        }
    });
}

async fn pass_on(State(kept): State<Arc<Kept>>, request: Request) -> Response {
    let number = kept.next.fetch_add(1, Ordering::SeqCst);
    let (parts, body) = request.into_parts();
    let Ok(request_body) = body.collect().await.map(|body| body.to_bytes()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let target = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    let mut exchange = Exchange {
        number,
        side: kept.side,
        method: parts.method.clone(),
        target: target.to_owned(),
        status: StatusCode::default(),
        request_headers: parts.headers.clone(),
        response_headers: HeaderMap::new(),
        request_body: request_body.clone(),
        response_body: Bytes::new(),
    };
    kept.gate.pass(&exchange.name()).await;
    let uri: Uri = format!("{}{target}", kept.upstream)
        .parse()
        .expect("what was a target is one");
    let mut passed = axum::http::Request::new(Full::new(request_body));
    *passed.method_mut() = parts.method;
    *passed.uri_mut() = uri;
    // With the original `Host`: it is signed.
    *passed.headers_mut() = parts.headers;
    let (answer, response_body) = match answer(&kept, passed).await {
        Ok(answered) => answered,
        Err(why) => return (StatusCode::BAD_GATEWAY, why).into_response(),
    };
    exchange.status = answer.status;
    exchange.response_headers = answer.headers.clone();
    exchange.response_body = response_body.clone();
    kept.lock().push(exchange);
    let mut response = Response::new(Body::from(response_body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

async fn answer(
    kept: &Kept,
    request: axum::http::Request<Full<Bytes>>,
) -> Result<(axum::http::response::Parts, Bytes), String> {
    let response = kept.client.request(request).await;
    let (parts, body) = response.map_err(|error| error.to_string())?.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?;
    Ok((parts, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::any;

    /// A server that says what it got.
    fn upstream() -> Recorder {
        let (stop, stopped) = oneshot::channel();
        let echo = async |headers: HeaderMap, uri: Uri, body: Bytes| {
            let host = headers["host"].to_str().unwrap_or_default().to_owned();
            let body = String::from_utf8_lossy(&body).into_owned();
            let target = uri.path_and_query().map(ToString::to_string);
            (
                StatusCode::ACCEPTED,
                axum::Json(json!([host, target, body])),
            )
        };
        let app = axum::Router::new().fallback(any(echo));
        let address = serve_in_background(app, stopped);
        let recorder = Recorder::start(Side::Gcp, &format!("http://{address}"));
        std::mem::forget(stop);
        recorder
    }

    #[test]
    fn a_request_passes_with_its_own_host_target_and_body_and_is_kept() {
        let recorder = upstream();
        let mark = recorder.mark();
        let url = format!("{}/v1/a%2Fb:go?x=%20y", recorder.url());
        let mut response = ureq::post(&url).send("body").unwrap();
        assert_eq!(response.status().as_u16(), 202);
        let told: Value =
            serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
        let host = recorder.url().trim_start_matches("http://");
        assert_eq!(told, json!([host, "/v1/a%2Fb:go?x=%20y", "body"]));
        assert_eq!(mark.calls(), ["POST /v1/a%2Fb:go"]);
        assert_eq!(mark.writes(), ["POST /v1/a%2Fb:go"]);
        let kept = recorder.exchanges()[0].document();
        assert_eq!(kept["request_body"], BASE64_STANDARD.encode("body"));
        assert_eq!(kept["status"], 202);
    }

    #[test]
    fn a_call_that_is_held_reaches_its_cloud_when_it_is_let_go() {
        let recorder = upstream();
        let hold = recorder.hold("POST /v1/held");
        let url = |path: &str| format!("{}{path}", recorder.url());
        let held = url("/v1/held");
        let call = std::thread::spawn(move || ureq::post(&held).send("").unwrap().status());
        hold.until_caught();
        ureq::post(url("/v1/other")).send("").unwrap();
        assert_eq!(recorder.mark_all().calls(), ["POST /v1/other"]);
        drop(hold);
        assert_eq!(call.join().unwrap().as_u16(), 202);
        assert_eq!(
            recorder.mark_all().calls(),
            ["POST /v1/held", "POST /v1/other"]
        );
    }

    #[test]
    fn what_the_vendors_call_reading_is_no_write() {
        let recorder = upstream();
        for path in ["/v2/entries:list", "/v1/x:testIamPermissions"] {
            ureq::post(format!("{}{path}", recorder.url()))
                .send("")
                .unwrap();
        }
        ureq::get(format!("{}/v2/", recorder.url())).call().unwrap();
        let before = recorder.mark_all();
        assert_eq!(before.calls().len(), 3);
        assert_eq!(before.writes(), Vec::<String>::new());
    }
}
