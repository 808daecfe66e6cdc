//! Who may talk to the ports at all: nothing that a web page could send, and control only with the
//! sandbox's own token.
//!
//! The ports listen on loopback, and every browser of this machine can reach them. A page of a
//! stranger may send requests to `127.0.0.1` (a browser then names the page in `Origin`), or have
//! its own name resolved to it (DNS rebinding: `Host` then has that name). No client of either
//! cloud does any of that.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// `gcloud` names Google's APIs so. Nobody can register a name under `.test` (RFC 6761, section
/// 6.2).
const GCLOUD: &str = ".x.test";

/// Refuses what came through a browser, whatever it asks.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        return refused("the sandbox answers no web page: the request names an `Origin`");
    }
    let named = headers.get(header::HOST);
    let named = named.map(|host| host.to_str().unwrap_or_default());
    let hosts = [request.uri().authority().map(|it| it.as_str()), named];
    if let Some(other) = hosts.into_iter().flatten().find(|host| !is_here(host)) {
        return refused(&format!(
            "the sandbox is asked as 127.0.0.1, not as `{}`",
            other.escape_debug()
        ));
    }
    next.run(request).await
}

/// Lets a control request through that bears the token, which is the state.
pub(crate) async fn token(
    State(expected): State<Arc<str>>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let right = given.is_some_and(|given| {
        aws_lc_rs::constant_time::verify_slices_are_equal(given.as_bytes(), expected.as_bytes())
            .is_ok()
    });
    match right {
        true => next.run(request).await,
        false => (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Bearer")],
            "control needs the token of `running.json` in the sandbox's state directory\n",
        )
            .into_response(),
    }
}

/// Whether a host name with or without a port is one that only this machine itself can mean.
fn is_here(host: &str) -> bool {
    let Ok(uri) = Uri::builder()
        .scheme("http")
        .authority(host)
        .path_and_query("/")
        .build()
    else {
        return false;
    };
    let name = uri.host().unwrap_or_default().to_ascii_lowercase();
    let address: Result<IpAddr, _> = name.trim_matches(['[', ']']).parse();
    match address {
        Ok(address) => address.is_loopback(),
        // Buckets stand before the host's name; browsers and resolvers keep `localhost` to this
        // machine (RFC 6761, section 6.3).
        Err(_) => name == "localhost" || name.ends_with(".localhost") || name.ends_with(GCLOUD),
    }
}

fn refused(why: &str) -> Response {
    (StatusCode::FORBIDDEN, format!("{why}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_here() {
        for here in [
            "127.0.0.1",
            "127.0.0.1:4566",
            "127.9.9.9:1",
            "localhost:4566",
            "LOCALHOST",
            "shop.localhost:4566",
            "[::1]:4566",
            "run.x.test",
            "us-central1-run.x.test:80",
        ] {
            assert!(is_here(here), "{here}");
        }
        for other in [
            "evil.example",
            "evil.example:4566",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "x.test.evil.example",
            "10.0.0.1",
            "0.0.0.0:4566",
            "169.254.169.254",
            "user@evil.example",
            "127.0.0.1@evil.example",
            "",
        ] {
            assert!(!is_here(other), "{other}");
        }
    }
}
