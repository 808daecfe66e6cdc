//! Opens the websocket of a session.

use std::sync::Arc;
use std::time::Duration;

use futures::SinkExt as _;
use http::HeaderMap;
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, crypto};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message as Frame};
use uuid::Uuid;

use crate::contents::{Open, VERSION};
use crate::{Proxy, Session};

/// How long one try may take.
const TRY: Duration = Duration::from_secs(15);
/// How often an address that does not answer is tried, and the pause after the first try, doubled
/// each time (`DataChannelNumMaxRetries`, `DataChannelRetryInitialDelayMillis`).
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// Where a session is, as `ecs:ExecuteCommand` answers.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `wss://ssmmessages.REGION.amazonaws.com/...`; `ws://` for one on this machine.
    pub url: String,
    /// What it is opened with, once.
    pub token: SecretString,
    /// Added to the request for the websocket: its signature.
    pub headers: HeaderMap,
    /// By which proxy it is reached.
    pub proxy: Option<Proxy>,
}

/// Why a session could not be opened. None of them holds the token.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is none of a websocket.
    #[error("`{0}` is no address of a session")]
    Address(String),
    /// Nobody answers there.
    #[error("cannot reach {host}")]
    Unreachable {
        /// The host and port.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// No secure connection can be made.
    #[error("cannot speak TLS with {host}")]
    Tls {
        /// The host and port.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// The proxy before it makes no tunnel.
    #[error("the proxy {proxy} lets nobody through to {host}")]
    Proxy {
        /// The proxy's host and port.
        proxy: String,
        /// The host and port.
        host: String,
        /// Its answer.
        source: std::io::Error,
    },
    /// It answered, and did not open.
    #[error("{host} does not open the session")]
    Refused {
        /// The host and port.
        host: String,
        /// Its answer.
        source: Box<tungstenite::Error>,
    },
}

impl OpenError {
    /// Whether the answer was that the caller may not: 403.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let Self::Refused { source, .. } = self else {
            return false;
        };
        match source.as_ref() {
            tungstenite::Error::Http(answer) => answer.status() == http::StatusCode::FORBIDDEN,
            _ => false,
        }
    }

    /// Whether the same may work a moment later.
    fn passes(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl Session {
    /// Opens the websocket and says who we are. The program on the other side may run before that,
    /// and does so whatever becomes of this: what it prints is kept for us.
    ///
    /// `pause` returns once so much time has passed: it is waited for between tries, and nothing
    /// else here sleeps.
    ///
    /// Errors: see [`OpenError`]; an address that cannot be reached was tried for some seconds.
    pub async fn open<P, F>(endpoint: &Endpoint, pause: P) -> Result<Self, OpenError>
    where
        P: Fn(Duration) -> F,
        F: Future<Output = ()>,
    {
        let wrong = || OpenError::Address(endpoint.url.clone());
        let uri: http::Uri = endpoint.url.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        let (port, secure) = match uri.scheme_str() {
            Some("wss") => (uri.port_u16().unwrap_or(443), true),
            Some("ws") => (uri.port_u16().unwrap_or(80), false),
            Some(_) | None => return Err(wrong()),
        };
        let place = Place {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        };
        let proxy = endpoint.proxy.as_ref();
        let stream = place.connect(proxy, pause).await?;
        match secure {
            true => {
                let stream = place.encrypt(stream).await?;
                shake(endpoint, &place, stream).await
            }
            false => shake(endpoint, &place, stream).await,
        }
    }
}

/// A connection, direct or by a proxy.
trait Carries: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Carries for T {}

type Stream = Box<dyn Carries>;

struct Place {
    host: String,
    port: u16,
}

impl Place {
    fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    async fn connect<P, F>(&self, proxy: Option<&Proxy>, pause: P) -> Result<Stream, OpenError>
    where
        P: Fn(Duration) -> F,
        F: Future<Output = ()>,
    {
        let mut next = PAUSE;
        for _ in 1..TRIES {
            match self.try_to_connect(proxy).await {
                Err(error) if error.passes() => {
                    pause(next).await;
                    next *= 2;
                }
                done => return done,
            }
        }
        self.try_to_connect(proxy).await
    }

    async fn try_to_connect(&self, proxy: Option<&Proxy>) -> Result<Stream, OpenError> {
        let Some(proxy) = proxy else {
            return Ok(Box::new(self.dial().await?));
        };
        let first = Self {
            host: proxy.host.clone(),
            port: proxy.port,
        };
        let failed = |source| OpenError::Proxy {
            proxy: proxy.name(),
            host: self.name(),
            source,
        };
        let mut stream: Stream = match proxy.scheme.as_str() {
            "http" => Box::new(first.dial().await?),
            "https" => Box::new(first.encrypt(first.dial().await?).await?),
            other => {
                let why =
                    format!("a proxy of the kind `{other}` is not supported, but http and https");
                return Err(failed(std::io::Error::other(why)));
            }
        };
        let place = (self.host.as_str(), self.port);
        let answer = in_time(proxy.tunnel(&mut stream, place)).await;
        match answer {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(answer)) => Err(failed(std::io::Error::other(answer))),
            Err(error) => Err(failed(error)),
        }
    }

    async fn dial(&self) -> Result<TcpStream, OpenError> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = in_time(connecting).await;
        let stream = stream.map_err(|source| OpenError::Unreachable {
            host: self.name(),
            source,
        })?;
        // Keys that are typed go out one by one.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn encrypt<T>(&self, stream: T) -> Result<tokio_rustls::client::TlsStream<T>, OpenError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let failed = |source| OpenError::Tls {
            host: self.name(),
            source,
        };
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_platform_verifier())
            .map_err(|error| failed(std::io::Error::other(error)))?
            .with_no_client_auth();
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|error| failed(std::io::Error::other(error)))?;
        let connector = TlsConnector::from(Arc::new(config));
        in_time(connector.connect(name, stream))
            .await
            .map_err(failed)
    }
}

async fn shake<T>(endpoint: &Endpoint, place: &Place, stream: T) -> Result<Session, OpenError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let refused = |source| OpenError::Refused {
        host: place.name(),
        source: Box::new(source),
    };
    let request = endpoint.url.as_str().into_client_request();
    let mut request = request.map_err(refused)?;
    request.headers_mut().extend(endpoint.headers.clone());
    let opening = async {
        let (mut socket, _) = client_async(request, stream).await?;
        let open = Open {
            message_schema_version: "1.0",
            request_id: Uuid::new_v4(),
            token_value: endpoint.token.expose_secret(),
            client_id: Uuid::new_v4(),
            client_version: VERSION,
        };
        let open = serde_json::to_string(&open).unwrap_or_default();
        socket.send(Frame::Text(open.into())).await?;
        Ok(socket)
    };
    match tokio::time::timeout(TRY, opening).await {
        Ok(Ok(socket)) => Ok(Session::over(socket)),
        Ok(Err(error)) => Err(refused(error)),
        Err(_) => Err(refused(tungstenite::Error::Io(late()))),
    }
}

async fn in_time<T>(work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    let done = tokio::time::timeout(TRY, work).await;
    done.unwrap_or_else(|_| Err(late()))
}

fn late() -> std::io::Error {
    let why = format!("no answer within {} s", TRY.as_secs());
    std::io::Error::new(std::io::ErrorKind::TimedOut, why)
}
