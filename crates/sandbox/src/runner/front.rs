//! The stable address in front of a service: the load balancer, and the health check's question.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

/// A connection that has been answered and then silent for this long carries no request.
const IDLE: Duration = Duration::from_millis(500);

/// How long a request under way may keep its connection to a backend that was taken away.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
content-length: 20\r\nconnection: close\r\n\r\nservice unavailable\n";

const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain\r\n\
content-length: 12\r\nconnection: close\r\n\r\nbad gateway\n";

/// Answers a request in the app's stead, by its path and its headers (in lower case, one a line),
/// or lets it through.
pub type Gate = Arc<dyn Fn(&str, &str) -> Option<Vec<u8>> + Send + Sync>;

/// A stable loopback address in front of a service: the load balancer. Cheap to clone.
/// Connections go to the backends by weight; with none, they are answered `503`.
#[derive(Clone)]
pub struct Front {
    address: SocketAddr,
    pool: Arc<Pool>,
    /// Absent when nothing listens.
    accepting: Option<AbortHandle>,
}

struct Pool {
    backends: Mutex<Vec<Backend>>,
    /// The backends that take connections; relays to others drain.
    active: watch::Sender<Vec<(SocketAddr, u32)>>,
    gate: Mutex<Option<Gate>>,
}

/// A backend in a smooth weighted round robin: each turn everyone gains its weight, and the
/// richest serves and pays the sum.
struct Backend {
    address: SocketAddr,
    weight: u32,
    credit: i64,
}

impl Front {
    /// Binds 127.0.0.1; a port of 0 takes any free one.
    pub async fn bind(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let pool = Arc::new(Pool {
            backends: Mutex::default(),
            active: watch::channel(Vec::new()).0,
            gate: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, pool.clone())).abort_handle();
        Ok(Self {
            address,
            pool,
            accepting: Some(accepting),
        })
    }

    /// An address where nobody listens, its own for each number up to 65,000.
    pub(super) fn nowhere(number: u64) -> Self {
        let [.., high, low] = number.to_be_bytes();
        Self {
            // TCP's discard service, on a loopback address that nothing else takes.
            address: ([127, 127, high, low], 9).into(),
            pool: Arc::new(Pool {
                backends: Mutex::default(),
                active: watch::channel(Vec::new()).0,
                gate: Mutex::default(),
            }),
            accepting: None,
        }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the backends: each with its share of new connections (a weight of 0 gets none).
    ///
    /// Open connections to a backend that is gone or whose share changed are closed once their
    /// request is answered, and after ten seconds at the latest, so that clients that keep
    /// connections alive follow.
    pub fn serve(&self, backends: Vec<(SocketAddr, u32)>) {
        let taking: Vec<_> = backends
            .into_iter()
            .filter(|(_, weight)| *weight > 0)
            .collect();
        let replaced = taking.iter().map(|(address, weight)| Backend {
            address: *address,
            weight: *weight,
            credit: 0,
        });
        *self.pool.lock() = replaced.collect();
        self.pool.active.send_replace(taking);
    }

    /// What looks at each request before the app does.
    pub fn guard(&self, gate: Gate) {
        let mut held = self
            .pool
            .gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *held = Some(gate);
    }

    /// Stops listening and closes what is open.
    pub fn close(&self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

impl Pool {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Backend>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the gate answers to a request that begins so.
    fn stopped(&self, start: &[u8]) -> Option<Vec<u8>> {
        let gate = self
            .gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let text = String::from_utf8_lossy(start);
        let (head, _) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let (line, headers) = head.split_once("\r\n").unwrap_or((head, ""));
        let target = line.split(' ').nth(1)?;
        let path = target.split('?').next().unwrap_or(target);
        let headers: Vec<String> = headers
            .lines()
            .map(|line| match line.split_once(':') {
                Some((name, value)) => format!("{}:{}", name.to_ascii_lowercase(), value.trim()),
                None => line.to_owned(),
            })
            .collect();
        gate(path, &headers.join("\n"))
    }

    /// The next backend in turn that is not in `tried`.
    fn next(&self, tried: &[SocketAddr]) -> Option<(SocketAddr, u32)> {
        let mut backends = self.lock();
        let left = |it: &&mut Backend| !tried.contains(&it.address);
        let mut sum = 0;
        for backend in backends.iter_mut().filter(left) {
            backend.credit += i64::from(backend.weight);
            sum += i64::from(backend.weight);
        }
        // Of equals the first, so that the order given is the order served.
        let richest = backends
            .iter_mut()
            .filter(left)
            .rev()
            .max_by_key(|it| it.credit)?;
        richest.credit -= sum;
        Some((richest.address, richest.weight))
    }
}

async fn accept(listener: TcpListener, pool: Arc<Pool>) {
    let mut relays = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while relays.try_join_next().is_some() {}
        relays.spawn(relay(client, pool.clone()));
    }
}

async fn relay(mut client: TcpStream, pool: Arc<Pool>) {
    let active = pool.active.subscribe();
    let mut tried = Vec::new();
    while let Some(backend) = pool.next(&tried) {
        match TcpStream::connect(backend.0).await {
            Err(_) => tried.push(backend.0),
            Ok(server) => {
                // Either end may hang up at any time: that is how connections end.
                let _ = exchange(&mut client, server, backend, active, &pool).await;
                return;
            }
        }
    }
    refuse(&mut client, UNAVAILABLE).await;
}

/// Answers in the backend's stead, after the request's first bytes: a client that is still
/// sending would see a reset instead of the answer.
async fn refuse(client: &mut TcpStream, answer: &[u8]) {
    let mut request = [0; 16 * 1024];
    let _ = timeout(DRAIN_LIMIT, client.read(&mut request)).await;
    let _ = client.write_all(answer).await;
    let _ = client.shutdown().await;
    let _ = timeout(IDLE, client.read(&mut request)).await;
}

/// Copies both ways until an end hangs up, or the backend is taken away and the connection idle.
async fn exchange(
    client: &mut TcpStream,
    mut server: TcpStream,
    backend: (SocketAddr, u32),
    mut active: watch::Receiver<Vec<(SocketAddr, u32)>>,
    pool: &Pool,
) -> std::io::Result<()> {
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (mut from_client, mut from_server) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let (mut asked, mut answered, mut client_open) = (false, false, true);
    let mut awaiting_answer = false;
    let mut drain_until = None;
    loop {
        let idle = Instant::now() + IDLE;
        tokio::select! {
            read = client.read(&mut from_client), if client_open => match read? {
                0 => {
                    client_open = false;
                    server.shutdown().await?;
                }
                count => {
                    // What comes while nothing is awaited begins a request.
                    if !awaiting_answer && let Some(answer) = pool.stopped(&from_client[..count]) {
                        client.write_all(&answer).await?;
                        return client.shutdown().await;
                    }
                    (asked, awaiting_answer) = (true, true);
                    // A backend that hung up is found out by reading from it.
                    if server.write_all(&from_client[..count]).await.is_err() && !answered {
                        refuse_now(client).await;
                        return Ok(());
                    }
                }
            },
            read = server.read(&mut from_server) => match read.unwrap_or(0) {
                0 => {
                    if asked && !answered {
                        refuse_now(client).await;
                    }
                    if !asked && !answered && client_open {
                        refuse(client, BAD_GATEWAY).await;
                    }
                    return client.shutdown().await;
                }
                count => {
                    (answered, awaiting_answer) = (true, false);
                    client.write_all(&from_server[..count]).await?;
                }
            },
            _ = removed(&mut active, backend), if drain_until.is_none() => {
                drain_until = Some(Instant::now() + DRAIN_LIMIT);
            }
            () = tokio::time::sleep_until(idle), if drain_until.is_some() && !awaiting_answer => {
                return client.shutdown().await;
            }
            () = tokio::time::sleep_until(drain_until.unwrap_or(idle)), if drain_until.is_some() => {
                return client.shutdown().await;
            }
        }
    }
}

async fn refuse_now(client: &mut TcpStream) {
    let _ = client.write_all(BAD_GATEWAY).await;
    let _ = client.shutdown().await;
}

/// Waits until the backend no longer takes the same share of connections.
async fn removed(active: &mut watch::Receiver<Vec<(SocketAddr, u32)>>, backend: (SocketAddr, u32)) {
    let gone = active
        .wait_for(|active| !active.contains(&backend))
        .await
        .is_ok();
    if !gone {
        // The front itself is gone; its relays end with it.
        std::future::pending::<()>().await;
    }
}

/// Asks `http://ADDRESS/PATH` once; healthy is a status of 200 to 399 within `timeout`.
pub async fn probe(address: SocketAddr, path: &str, timeout: Duration) -> bool {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        .build();
    let Ok(client) = client else {
        return false;
    };
    let asked = client
        .get(format!("http://{address}{slash}{path}"))
        .send()
        .await;
    asked.is_ok_and(|answer| (200..400).contains(&answer.status().as_u16()))
}
