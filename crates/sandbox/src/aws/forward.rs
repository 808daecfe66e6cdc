//! Passes what the sandbox does not own on to moto, unchanged; without one, refuses in the vendor's
//! shape.

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

/// A client that hands answers back as they are.
pub fn client() -> reqwest::Client {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    client.build().unwrap_or_default()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_moto_as_it_came_and_its_answer_comes_back_as_it_was() {
        let moto = axum::Router::new().fallback(async |request: axum::extract::Request| {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1024).await.unwrap();
            let header = |name: &str| parts.headers[name].to_str().unwrap().to_owned();
            let seen = [
                parts.method.to_string(),
                parts.uri.to_string(),
                header("host"),
                header("authorization"),
                String::from_utf8(body.to_vec()).unwrap(),
            ];
            (StatusCode::IM_A_TEAPOT, [("x-amz-id", "7")], seen.join("|"))
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, moto).await });
        let mut headers = HeaderMap::new();
        headers.insert("host", "sandbox.test".parse().unwrap());
        headers.insert("authorization", "AWS4-HMAC-SHA256 x".parse().unwrap());
        let uri: Uri = "/a%2Fb?c=d%20e".parse().unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let body = Bytes::from_static(b"text");
        let answer = forward(&client, &base, Method::PUT, &uri, &headers, body, Wire::S3).await;
        assert_eq!(answer.status(), StatusCode::IM_A_TEAPOT);
        assert_eq!(answer.headers()["x-amz-id"], "7");
        let body = axum::body::to_bytes(answer.into_body(), 1024)
            .await
            .unwrap();
        assert_eq!(
            body,
            "PUT|/a%2Fb?c=d%20e|sandbox.test|AWS4-HMAC-SHA256 x|text"
        );
        server.abort();
    }
}
