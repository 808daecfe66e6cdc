//! Relays connections across the border of a container's network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Loopback connects at once or not at all; only a full backlog makes it wait.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Makes sockets that belong to another network namespace, wherever they are used afterwards.
#[derive(Clone)]
pub(super) struct Dialer {
    requests: mpsc::Sender<oneshot::Sender<std::io::Result<TcpSocket>>>,
}

impl Dialer {
    /// Starts a thread in the *caller's* namespace, which ends when the last clone is dropped.
    pub(super) fn start() -> std::io::Result<Self> {
        let (requests, queue) = mpsc::channel::<oneshot::Sender<_>>();
        // A new thread inherits the namespaces of the one that starts it.
        std::thread::Builder::new()
            .name("dialer".into())
            .spawn(move || {
                for reply in queue {
                    // The connection may have been given up meanwhile.
                    let _ = reply.send(TcpSocket::new_v4());
                }
            })?;
        Ok(Self { requests })
    }

    async fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let (reply, socket) = oneshot::channel();
        let gone = || std::io::Error::other("the container's network is gone");
        self.requests.send(reply).map_err(|_| gone())?;
        socket.await.map_err(|_| gone())??.connect(to).await
    }
}

/// A server of the host that a container reaches.
#[derive(Clone, Copy, Debug)]
pub(super) enum Server {
    /// On loopback, of whichever address family.
    Loopback(u16),
    /// At exactly this address.
    At(SocketAddr),
}

/// Takes connections on the host and opens each in the container. Ends when dropped.
pub(super) async fn relay_inbound(listener: TcpListener, dialer: Dialer, to: SocketAddr) {
    let mut relays = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while relays.try_join_next().is_some() {}
        let dialer = dialer.clone();
        relays.spawn(async move {
            let connected = tokio::time::timeout(CONNECT_LIMIT, dialer.connect(to)).await;
            if let Ok(Ok(server)) = connected {
                copy(client, server).await;
            }
        });
    }
}

/// Takes connections in the container and opens each on the host. Ends when dropped.
pub(super) async fn relay_outbound(listener: TcpListener, to: Server) {
    let mut relays = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while relays.try_join_next().is_some() {}
        relays.spawn(async move {
            let connected = match to {
                Server::Loopback(port) => connect_host(port).await,
                Server::At(address) => TcpStream::connect(address).await.ok(),
            };
            if let Some(server) = connected {
                copy(client, server).await;
            }
        });
    }
}

/// A server of the host's loopback, of either address family.
async fn connect_host(port: u16) -> Option<TcpStream> {
    match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(server) => Some(server),
        Err(_) => TcpStream::connect(("::1", port)).await.ok(),
    }
}

async fn copy(mut client: TcpStream, mut server: TcpStream) {
    // Small messages of request-reply protocols must not wait for more.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    // Either end may hang up at any time: that is how connections end.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

/// The ports of host servers that a container is to reach: those its environment names with a
/// loopback address. One that merely stands there, such as `METRICS=127.0.0.1:9090`, may be the
/// container's own to listen on; it counts only while something on the host listens there.
pub(super) async fn host_ports(env: &BTreeMap<String, String>, own: Option<u16>) -> Vec<u16> {
    let mut ports = Vec::new();
    for (port, certain) in named_ports(env) {
        if Some(port) != own && (certain || connect_host(port).await.is_some()) {
            ports.push(port);
        }
    }
    ports
}

const LOOPBACK: [&str; 4] = ["127.0.0.1", "localhost", "[::1]", "%5B::1%5D"];

/// Each port with whether it stands in a URL or a connection string.
fn named_ports(env: &BTreeMap<String, String>) -> BTreeMap<u16, bool> {
    let mut ports = BTreeMap::new();
    let mut add = |port: Option<u16>, certain: bool| {
        if let Some(port) = port.filter(|port| *port != 0) {
            *ports.entry(port).or_insert(false) |= certain;
        }
    };
    let lone_host = env.values().any(|value| LOOPBACK.contains(&value.as_str()));
    for (name, value) in env {
        // Clients read `postgres%3A%2F%2F...` after decoding it once.
        let value = value
            .replace("%3A", ":")
            .replace("%3a", ":")
            .replace("%2F", "/");
        let value = value.replace("%2f", "/");
        for (at, host) in LOOPBACK.iter().flat_map(|host| value.match_indices(host)) {
            let port = match value[at + host.len()..].strip_prefix(':') {
                Some(port) => leading_number(port),
                None => default_port(&value[..at]),
            };
            add(port, value.contains("://"));
            for (at, key) in value.match_indices("port=") {
                add(leading_number(&value[at + key.len()..]), true);
            }
        }
        // DB_HOST=127.0.0.1 beside DB_PORT=5432.
        if lone_host && name.ends_with("PORT") && name != "PORT" {
            add(value.parse().ok(), false);
        }
    }
    ports
}

/// The port that a URL means when it names none, from what stands before its host.
fn default_port(before_host: &str) -> Option<u16> {
    let scheme = before_host.rsplit_once("://")?.0;
    let scheme = scheme.rsplit(|it: char| !it.is_ascii_alphanumeric()).next();
    match scheme? {
        "postgres" | "postgresql" => Some(5432),
        "redis" | "rediss" => Some(6379),
        "mysql" => Some(3306),
        "mongodb" => Some(27017),
        "amqp" => Some(5672),
        _ => None,
    }
}

fn leading_number(text: &str) -> Option<u16> {
    let end = text.find(|it: char| !it.is_ascii_digit());
    text[..end.unwrap_or(text.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pairs: &[(&str, &str)]) -> Vec<(u16, bool)> {
        let env = pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        named_ports(&env.collect()).into_iter().collect()
    }

    #[test]
    fn ports_of_host_servers_are_found_however_they_are_written() {
        let url = "postgres://u:p%40@127.0.0.1:54321/db?x=1";
        assert_eq!(named(&[("DATABASE_URL", url)]), [(54321, true)]);
        let encoded = "http%3A%2F%2Flocalhost%3A8081%2Fcallback";
        assert_eq!(named(&[("NEXT", encoded)]), [(8081, true)]);
        let several = "redis://[::1]:1,redis://localhost:2";
        assert_eq!(named(&[("REDIS", several)]), [(1, true), (2, true)]);
        let dsn = "host=127.0.0.1 port=5433 user=x";
        assert_eq!(named(&[("DSN", dsn)]), [(5433, true)]);
        let pair = [
            ("DB_HOST", "127.0.0.1"),
            ("DB_PORT", "5432"),
            ("PORT", "80"),
        ];
        assert_eq!(named(&pair), [(5432, false)]);
        assert_eq!(named(&[("LISTEN", "127.0.0.1:9090")]), [(9090, false)]);
        let usual = "postgres://u@localhost/db";
        assert_eq!(named(&[("DATABASE_URL", usual)]), [(5432, true)]);
        assert_eq!(named(&[("PAGE", "http://localhost/")]), []);
        assert_eq!(named(&[("A", "10.0.0.1:80"), ("B", "127.0.0.1:99999")]), []);
    }
}
