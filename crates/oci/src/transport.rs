//! One HTTP request to a registry: where it may go, what a refusal means, whether it can be tried
//! again.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;
use url::{Host, Url};

use crate::{Error, ErrorKind};

/// How long a registry may take to answer a request without a body worth mentioning.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How long a transfer of `size` bytes may take: the answer's time and 128 KiB a second.
pub(crate) fn transfer_within(size: u64) -> Duration {
    ANSWER_WITHIN + Duration::from_secs(size / (128 * 1024))
}

/// `Err` with the reason unless `url` is https, or http to this very machine.
pub(crate) fn require_safe(url: &Url) -> Result<(), &'static str> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" => Err("plain http is allowed to a loopback address only"),
        _ => Err("neither https nor http"),
    }
}

/// Whether the host is this machine by its name or address; nothing is resolved.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A client that follows redirects (registries keep blobs elsewhere) but never from https down to
/// http. reqwest drops the credentials when a redirect leaves the host.
///
/// The proxy settings of the environment are honoured, except for a registry on this machine.
pub(crate) fn client(base: &Url) -> Result<reqwest::Client, Error> {
    let redirects = reqwest::redirect::Policy::custom(|attempt| {
        if attempt.previous().len() >= 5 {
            return attempt.error("too many redirects");
        }
        match require_safe(attempt.url()) {
            Ok(()) => attempt.follow(),
            Err(why) => attempt.error(why),
        }
    });
    let builder = reqwest::Client::builder();
    let builder = if is_loopback(base) {
        builder.no_proxy()
    } else {
        builder
    };
    builder
        .user_agent(concat!("deployer/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        .redirect(redirects)
        .build()
        .map_err(|e| Error::new(ErrorKind::Invalid, "set up", "the HTTP client").caused_by(e))
}

/// Sends a request; an answer that is not a success is an error.
pub(crate) async fn send(
    request: reqwest::RequestBuilder,
    action: &'static str,
    object: &str,
) -> Result<reqwest::Response, Error> {
    let response = request.send().await.map_err(|e| lost(e, action, object))?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(refused(response, action, object).await)
}

/// A request that got no answer, or whose answer broke off.
pub(crate) fn lost(error: reqwest::Error, action: &'static str, object: &str) -> Error {
    let mut permanent = error.is_builder() || error.is_redirect();
    let obstacle = obstacle(&error);
    permanent |= obstacle.is_some();
    let failure = Error::new(ErrorKind::Unreachable, action, object)
        .detail(obstacle.unwrap_or_default())
        .caused_by(error.without_url());
    if permanent {
        failure
    } else {
        failure.retryable(None)
    }
}

/// What stands in the way and will at the next try, too; by the words of rustls and of hyper's
/// tunnels, whose errors the client wraps.
fn obstacle(error: &reqwest::Error) -> Option<String> {
    let url = error.url().and_then(Url::host_str);
    let host = url.unwrap_or("the registry");
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let words = error.to_string();
        if words.contains("proxy authorization required") {
            return Some(format!(
                "the proxy on the way to {host} wants a login (407): write it into HTTPS_PROXY, \
                 `http://USER:PASSWORD@PROXY:PORT`"
            ));
        }
        if let Some((_, why)) = words.split_once("invalid peer certificate: ") {
            return Some(match why.starts_with("UnknownIssuer") {
                true => format!(
                    "the certificate of {host} is signed by an authority that this machine does \
                     not know: name a file with that authority's certificate in SSL_CERT_FILE"
                ),
                false => format!("the certificate of {host} is not in order ({why})"),
            });
        }
        next = error.source();
    }
    None
}

/// An answer that is not a success, with the registry's own words.
pub(crate) async fn refused(
    response: reqwest::Response,
    action: &'static str,
    object: &str,
) -> Error {
    let status = response.status();
    let wait = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    let body = response.bytes().await.unwrap_or_default();
    let words = Words::of(&body);
    let kind = kind_of(status, &words);
    let error = Error::new(kind, action, object).detail(format!("{status}{words}"));
    if status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || status.is_server_error()
    {
        return error.retryable(wait.map(Duration::from_secs));
    }
    error
}

fn kind_of(status: StatusCode, words: &Words) -> ErrorKind {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => ErrorKind::Conflict,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => ErrorKind::Unreachable,
        s if s.is_server_error() => ErrorKind::Unreachable,
        // Registries answer 400 to a change of an immutable tag, each with its own code.
        StatusCode::BAD_REQUEST if is_of_immutable_tags(&words.0) => ErrorKind::Conflict,
        _ if words.0.contains("DIGEST_INVALID") => ErrorKind::DigestMismatch,
        _ => ErrorKind::Invalid,
    }
}

/// ECR: "cannot be overwritten because the repository is immutable"; Artifact Registry: "The
/// repository has enabled tag immutability".
fn is_of_immutable_tags(words: &str) -> bool {
    words.contains("immutable") || words.contains("immutability")
}

/// The codes and messages of a registry's error body, at most 300 characters of them.
struct Words(String);

#[derive(Deserialize)]
struct Envelope {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Words {
    fn of(body: &[u8]) -> Self {
        let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else {
            return Self(String::new());
        };
        let said = envelope
            .errors
            .iter()
            .map(|e| format!(", {}: {}", e.code, e.message));
        let line = said.collect::<String>().replace(char::is_control, " ");
        Self(line.chars().take(300).collect())
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_reaches_this_machine_only() {
        for good in [
            "https://a.example",
            "http://127.0.0.1:5000",
            "http://[::1]",
            "http://localhost",
        ] {
            assert_eq!(require_safe(&Url::parse(good).unwrap()), Ok(()), "{good}");
        }
        for bad in [
            "http://a.example",
            "http://127.0.0.1.example",
            "ftp://localhost",
        ] {
            assert!(require_safe(&Url::parse(bad).unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_immutable_tag_is_a_conflict() {
        let of = |code: &str, message: &str| {
            let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
            kind_of(StatusCode::BAD_REQUEST, &Words::of(body.as_bytes()))
        };
        let ecr = "The image tag 'v1' already exists in the 'web' repository and cannot be \
                   overwritten because the repository is immutable.";
        assert_eq!(of("TAG_INVALID", ecr), ErrorKind::Conflict);
        let google = "cannot update tag v1. The repository has enabled tag immutability";
        assert_eq!(of("MANIFEST_INVALID", google), ErrorKind::Conflict);
        assert_eq!(of("MANIFEST_INVALID", "bad"), ErrorKind::Invalid);
    }
}
