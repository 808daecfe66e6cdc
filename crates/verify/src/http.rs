//! Requests to the service: no redirect followed, a bounded body, errors in words that hold no
//! address and no body.

use std::sync::Arc;
use std::time::Duration;

use deployer_core::clock::Clock;
use deployer_core::error::{Error, Result};
use jiff::Timestamp;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, RequestBuilder};
use url::{Host, Url};

/// No answer that is looked into is larger.
const LARGEST: usize = 4 * 1024 * 1024;

/// A packet filter that drops what it does not know answers never; a load balancer answers at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What came back, whole.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// From the request's first byte to the body's last.
    pub took: Duration,
}

/// Why nothing whole came back.
#[derive(Clone, Debug)]
pub struct Silence {
    pub why: String,
    /// Whether not even a connection was made.
    pub unreachable: bool,
    pub took: Duration,
}

/// A client per kind of address. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    outside: Client,
    /// A proxy that stands in the environment is not for this machine itself.
    loopback: Client,
    clock: Arc<dyn Clock>,
}

impl Http {
    /// Errors: internal, when the platform has no trusted certificates at all.
    pub fn new(clock: Arc<dyn Clock>, builder: impl Fn() -> ClientBuilder) -> Result<Self> {
        let build = |builder: ClientBuilder| {
            builder.build().map_err(|error| {
                Error::internal("cannot make an HTTP client for verification").because(error)
            })
        };
        Ok(Self {
            outside: build(builder())?,
            loopback: build(builder().no_proxy())?,
            clock,
        })
    }

    /// The client for an address.
    pub fn client(&self, url: &Url) -> &Client {
        match is_loopback(url) {
            true => &self.loopback,
            false => &self.outside,
        }
    }

    /// Sends a request and reads the answer. A connection that could not be made is tried once
    /// more: nothing was sent.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, Silence> {
        let again = request.try_clone();
        match (self.send_once(request).await, again) {
            (Err(silence), Some(again)) if silence.unreachable => self.send_once(again).await,
            (result, _) => result,
        }
    }

    /// Sends a request once.
    pub async fn send_once(&self, request: RequestBuilder) -> Result<Answer, Silence> {
        let started = self.clock.now();
        let silence = |error: &reqwest::Error, now: Timestamp| Silence {
            why: words(error),
            unreachable: error.is_connect(),
            took: between(started, now),
        };
        let mut response = request
            .send()
            .await
            .map_err(|error| silence(&error, self.clock.now()))?;
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| silence(&error, self.clock.now()))?
        {
            if body.len() + chunk.len() > LARGEST {
                return Err(Silence {
                    why: format!("{}, more than {LARGEST} bytes", response.status().as_u16()),
                    unreachable: false,
                    took: between(started, self.clock.now()),
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body,
            took: between(started, self.clock.now()),
        })
    }
}

/// What every client has in common.
pub fn builder(timeout: Duration) -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .timeout(timeout)
        .connect_timeout(timeout.min(CONNECT_TIMEOUT))
        .user_agent(concat!("deployer/", env!("CARGO_PKG_VERSION")))
}

impl Answer {
    /// The status, and where a redirect leads (its query may hold anything and is left out).
    pub fn status_words(&self) -> String {
        let leads = self.headers.get(LOCATION);
        match leads.and_then(|value| value.to_str().ok()) {
            Some(leads) => {
                let end = leads.find(['?', '#']).unwrap_or(leads.len());
                format!("{} to {}", self.status, brief(&leads[..end]))
            }
            None => self.status.to_string(),
        }
    }

    /// Whether the status is that one; says what it is otherwise.
    pub fn expect_status(&self, status: u16) -> Result<(), String> {
        match self.status == status {
            true => Ok(()),
            false => Err(self.status_words()),
        }
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value, String> {
        serde_json::from_slice(&self.body).map_err(|_| {
            let kind = self.headers.get(reqwest::header::CONTENT_TYPE);
            match kind.and_then(|value| value.to_str().ok()) {
                Some(kind) => format!("{}, no JSON but {}", self.status, brief(kind)),
                None => format!("{}, no JSON", self.status),
            }
        })
    }
}

/// A path below an address; the address' own path stays in front.
pub fn below(base: &Url, path: &str) -> Url {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let mut url = base.clone();
    // What the address asks besides is of the address alone.
    url.set_fragment(None);
    url.set_query(query);
    let below = format!(
        "{}/{}",
        base.path().trim_end_matches('/'),
        path.trim_start_matches('/')
    );
    url.set_path(&below);
    url
}

/// The time between two readings of the clock; a clock that was set back shows none.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}

/// At most 60 characters, nothing that moves a cursor, and no token.
pub fn brief(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if moves(c) { ' ' } else { c })
        .collect();
    let clean = clean.trim();
    if holds_a_token(clean) {
        return "(a token)".into();
    }
    match clean.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &clean[..end]),
        None => clean.to_owned(),
    }
}

/// Whether a character moves the cursor, or reorders or hides the text around it (Unicode's
/// bidirectional controls, zero-width characters and line separators).
fn moves(c: char) -> bool {
    let hides = matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    );
    c.is_control() || hides
}

/// Every JWS in compact form begins with the base64url of `{"`.
fn holds_a_token(text: &str) -> bool {
    text.match_indices("eyJ").any(|(at, _)| {
        text[at..]
            .split('.')
            .take(3)
            .filter(|p| !p.is_empty())
            .count()
            == 3
    })
}

/// `Err` with the reason where somebody on the way could read what is sent: anything but https,
/// except to this very machine.
pub fn require_private(url: &Url) -> Result<(), &'static str> {
    match url.scheme() {
        "https" => Ok(()),
        _ if is_loopback(url) => Ok(()),
        _ => Err(
            "not asked: the client's secret is not sent over plain http; give the service an https `url`",
        ),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        let what = if error.is_connect() {
            "connection"
        } else {
            "answer"
        };
        return format!("no {what} in time");
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let what = if error.is_connect() {
        "no connection"
    } else {
        "no whole answer"
    };
    // The error itself would name the whole address, with its query.
    match std::error::Error::source(error) {
        Some(_) => format!("{what}: {}", brief(&cause.to_string())),
        None => what.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_below_the_address_and_its_own_path() {
        let below =
            |base: &str, path: &str| super::below(&Url::parse(base).unwrap(), path).to_string();
        assert_eq!(
            below("https://a.example", "/health"),
            "https://a.example/health"
        );
        assert_eq!(
            below("https://a.example/app/", "/x?y=1"),
            "https://a.example/app/x?y=1"
        );
        assert_eq!(
            below("https://a.example/?v=1#top", "/health"),
            "https://a.example/health"
        );
        assert_eq!(
            below("https://a.example/app?v=1", "/x?y=1"),
            "https://a.example/app/x?y=1"
        );
    }

    #[test]
    fn only_https_and_this_machine_are_private() {
        let private = |url: &str| require_private(&Url::parse(url).unwrap()).is_ok();
        for url in [
            "https://a.example",
            "http://127.0.0.1:8080",
            "http://[::1]",
            "http://localhost:1",
        ] {
            assert!(private(url), "{url}");
        }
        for url in [
            "http://a.example",
            "http://10.0.0.1",
            "http://127.0.0.1.a.example",
            "http://localhost.a.example",
        ] {
            assert!(!private(url), "{url}");
        }
    }

    #[test]
    fn what_is_quoted_is_short_and_holds_no_token_and_no_escape() {
        assert_eq!(brief("a\u{1b}[31mb\n"), "a [31mb");
        assert_eq!(brief("gp\u{202e}j.exe\u{200b}!"), "gp j.exe !");
        assert_eq!(brief(&"x".repeat(100)).len(), 63);
        assert_eq!(
            brief("https://x/eyJhbGciOiJSUzI1NiJ9.e30.c2ln"),
            "(a token)"
        );
    }
}
