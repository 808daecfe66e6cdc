//! A proxy between here and a session: found in the environment by the same code that finds it for
//! calls of the AWS SDK, and asked for a tunnel.

use http::HeaderValue;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest answer that a proxy may give before the tunnel begins.
const ANSWER: usize = 8 * 1024;

/// An HTTP proxy. Its `Debug` has no password.
#[derive(Clone)]
pub struct Proxy {
    /// `http` or `https`, or what is none of a proxy that can be used.
    pub(crate) scheme: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    credentials: Option<HeaderValue>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Proxy({}://{})", self.scheme, self.name())
    }
}

impl Proxy {
    /// The one by which an address is to be reached: `HTTPS_PROXY` of a `wss://`, `HTTP_PROXY` of a
    /// `ws://`, `ALL_PROXY`, and none where `NO_PROXY` says so; in small letters too.
    pub fn from_env(url: &str) -> Option<Self> {
        Self::among(&Matcher::from_env(), url)
    }

    /// The one at this address, for this session's.
    pub fn at(proxy: &str, url: &str) -> Option<Self> {
        Self::among(&Matcher::builder().all(proxy).build(), url)
    }

    fn among(known: &Matcher, url: &str) -> Option<Self> {
        // They are known by what they are for, and that is the handshake of a websocket.
        let url = url.strip_prefix("ws").map(|rest| format!("http{rest}"))?;
        known.intercept(&url.parse().ok()?).map(|it| Self::of(&it))
    }

    fn of(intercept: &Intercept) -> Self {
        let uri = intercept.uri();
        let scheme = uri.scheme_str().unwrap_or("http").to_owned();
        let usual = if scheme == "https" { 443 } else { 80 };
        let host = uri.host().unwrap_or_default();
        Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(usual),
            credentials: intercept.basic_auth().cloned(),
            scheme,
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Asks for a tunnel to an address (RFC 9110, 9.3.6) over a connection to the proxy. The inner
    /// error is the proxy's answer.
    pub(crate) async fn tunnel<T>(
        &self,
        stream: &mut T,
        (host, port): (&str, u16),
    ) -> std::io::Result<Result<(), String>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let host = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let mut asked = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
        if let Some(credentials) = &self.credentials {
            asked.extend_from_slice(b"Proxy-Authorization: ");
            asked.extend_from_slice(credentials.as_bytes());
            asked.extend_from_slice(b"\r\n");
        }
        asked.extend_from_slice(b"\r\n");
        stream.write_all(&asked).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        // Byte by byte: what comes after the answer is the tunnel's.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= ANSWER {
                return Ok(Err("it gave no answer of a proxy".to_owned()));
            }
            answer.push(stream.read_u8().await?);
        }
        let line = String::from_utf8_lossy(&answer);
        let line = line.lines().next().unwrap_or_default().trim().to_owned();
        let status = line.split(' ').nth(1).and_then(|it| it.parse::<u16>().ok());
        Ok(match (line.starts_with("HTTP/1."), status) {
            (true, Some(200..=299)) => Ok(()),
            (_, _) => Err(line),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_the_one_of_the_scheme_unless_the_host_is_excepted() {
        let known = Matcher::builder()
            .https("http://me:secret@proxy.example:3128")
            .http("plain.example")
            .no("localhost,.internal.example,10.0.0.0/8")
            .build();
        let of = |url: &str| Proxy::among(&known, url);
        let found =
            of("wss://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/x?role=y").unwrap();
        assert_eq!(
            (found.name().as_str(), found.scheme.as_str()),
            ("proxy.example:3128", "http")
        );
        let credentials = found.credentials.clone().unwrap();
        assert_eq!(credentials.to_str().unwrap(), "Basic bWU6c2VjcmV0");
        assert!(!format!("{found:?}").contains("secret"), "{found:?}");
        assert_eq!(
            of("ws://gateway.example/x").unwrap().name(),
            "plain.example:80"
        );
        for near in [
            "wss://localhost/x",
            "wss://a.internal.example/x",
            "ws://10.1.2.3:80/x",
        ] {
            assert!(of(near).is_none(), "{near}");
        }
        assert!(Proxy::among(&Matcher::builder().build(), "wss://a.example/").is_none());
    }
}
