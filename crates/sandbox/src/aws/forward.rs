//! Passes what the sandbox does not own on to moto, unchanged; without one, refuses in the vendor's shape.

use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;

use super::error::{AwsError, Wire};

/// Hop-by-hop headers, and those that the HTTP client writes itself.
const NOT_PASSED: [HeaderName; 4] = [
    axum::http::header::CONNECTION,
    axum::http::header::TRANSFER_ENCODING,
    axum::http::header::CONTENT_LENGTH,
    axum::http::header::EXPECT,
];

/// Sends the request to `moto` and hands back its answer.
pub async fn forward(
    client: &reqwest::Client,
    moto: &str,
    method: Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Bytes,
    wire: Wire,
) -> Response {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut passed = headers.clone();
    for name in &NOT_PASSED {
        passed.remove(name);
    }
    let sent = client
        .request(method, format!("{}{target}", moto.trim_end_matches('/')))
        .headers(passed)
        .body(body)
        .send()
        .await;
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) => return unreachable(&error, wire),
    };
    let status = answer.status();
    let headers = answer.headers().clone();
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(error) => return unreachable(&error, wire),
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    for (name, value) in &headers {
        if !NOT_PASSED.contains(name) {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    response
}

fn unreachable(error: &reqwest::Error, wire: Wire) -> Response {
    AwsError::new(
        "ServiceUnavailable",
        format!("the sandbox cannot reach its moto: {error}"),
    )
    .with_status(StatusCode::SERVICE_UNAVAILABLE)
    .respond(wire)
}

/// The answer when there is no moto. A status of 400, so that no client repeats it.
pub fn absent(service: &str, wire: Wire) -> Response {
    AwsError::new(
        "UnknownOperationException",
        format!(
            "the sandbox does not have the service `{service}`, and moto, which would answer for it, is not \
             installed (`pip install 'moto[server]'`)"
        ),
    )
    .respond(wire)
}
