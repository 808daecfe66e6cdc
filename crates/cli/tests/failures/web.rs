//! A web server on loopback that answers as a test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use deployer_sandbox::runner::{Behaviour, Started};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Status and body.
pub type Answer = (u16, &'static str);

/// Ends when it is dropped.
pub struct Web {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    heads: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Web {
    /// Answers every request by its path.
    pub async fn serve(answer: impl Fn(&str) -> Answer + Send + 'static) -> Self {
        Self::guarded(None, answer).await
    }

    /// Answers only requests that show this (`Basic ...`), and asks every other one for a password.
    pub async fn guarded(
        shown: Option<&'static str>,
        answer: impl Fn(&str) -> Answer + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&heads);
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                // Whoever hangs up before asking is not answered.
                let Some((path, head)) = head_of(&mut stream).await else {
                    continue;
                };
                let authorization = authorization(&head);
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(head);
                let (status, body) = match shown {
                    Some(shown) if authorization.as_deref() != Some(shown) => (401, ""),
                    _ => answer(&path),
                };
                let challenge = match status {
                    401 => "www-authenticate: Basic realm=\"test\"\r\n",
                    _ => "",
                };
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(path);
                let text = format!(
                    "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                     {challenge}connection: close\r\n\r\n{body}",
                    body.len()
                );
                // Nor is whoever hangs up before the answer.
                stream.write_all(text.as_bytes()).await.unwrap_or_default();
            }
        });
        Self {
            address,
            asked,
            heads,
            serving,
        }
    }

    /// The values of a header of the requests until now.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = heads.iter().flat_map(|head| head.lines());
        let pairs = lines.filter_map(|line| line.split_once(": "));
        pairs
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
            .collect()
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// How containers behave whose requests this answers at a candidate's own address; only Cloud
    /// Run has one.
    pub fn answers(&self) -> impl Fn(&Started) -> Behaviour + Send + 'static {
        let address = self.address;
        move |started| Behaviour {
            answers: started.env.contains_key("K_REVISION").then_some(address),
            ..Behaviour::usual(started.purpose)
        }
    }

    /// The paths that were asked for until now.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What a request shows to be let in.
fn authorization(head: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let authorization = name.eq_ignore_ascii_case("authorization");
        authorization.then(|| value.to_owned())
    })
}

/// The path of a request and all its head, once that has arrived.
async fn head_of(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1)?.to_owned();
    Some((path, head))
}
