//! The front shares connections out by weight, says 503 and 502, and lets go of old backends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use deployer_sandbox::runner::{Front, probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A keep-alive server that answers each request with its name after `delay`.
async fn backend(name: &'static str, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|count| count > 0) {
                    tokio::time::sleep(delay).await;
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", name.len());
                    let _ = stream.write_all((head + name).as_bytes()).await;
                }
            });
        }
    });
    address
}

const NOW: Duration = Duration::ZERO;

/// A client that keeps its connection, or opens one for each request.
fn client(idle: usize) -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy();
    client.pool_max_idle_per_host(idle).build().unwrap()
}

async fn ask(client: &reqwest::Client, front: &Front) -> (u16, String) {
    let answer = client
        .get(format!("http://{}/", front.address()))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn connections_are_shared_out_by_weight() {
    let front = Front::bind(0).await.unwrap();
    let (old, new) = (backend("old", NOW).await, backend("new", NOW).await);
    let unused = backend("unused", NOW).await;
    front.serve(vec![(old, 3), (new, 1), (unused, 0)]);
    let client = client(0);
    let mut old = 0;
    for _ in 0..8 {
        match ask(&client, &front).await.1.as_str() {
            "old" => old += 1,
            "new" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(old, 6);
}

#[tokio::test]
async fn without_a_backend_it_is_unavailable_and_with_a_mute_one_a_bad_gateway() {
    let front = Front::bind(0).await.unwrap();
    let client = client(0);
    assert_eq!(ask(&client, &front).await.0, 503);
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    front.serve(vec![(closed, 1)]);
    assert_eq!(ask(&client, &front).await.0, 503);
    front.serve(vec![(closed, 1), (backend("alive", NOW).await, 1)]);
    for _ in 0..2 {
        assert_eq!(ask(&client, &front).await, (200, "alive".into()));
    }
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    front.serve(vec![(mute.local_addr().unwrap(), 1)]);
    tokio::spawn(async move { while mute.accept().await.is_ok() {} });
    assert_eq!(ask(&client, &front).await.0, 502);
    front.close();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(front.address()).await.is_err());
}

#[tokio::test]
async fn a_kept_connection_follows_to_the_new_backend() {
    let front = Front::bind(0).await.unwrap();
    let (old, new) = (backend("old", NOW).await, backend("new", NOW).await);
    front.serve(vec![(old, 1)]);
    let client = client(1);
    assert_eq!(ask(&client, &front).await.1, "old");
    front.serve(vec![(new, 1)]);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(ask(&client, &front).await.1, "new");
}

#[tokio::test]
async fn a_request_under_way_is_answered_by_the_backend_that_was_taken_away() {
    let front = Front::bind(0).await.unwrap();
    let slow = backend("slow", Duration::from_millis(1500)).await;
    front.serve(vec![(slow, 1)]);
    let client = client(1);
    let asked = ask(&client, &front);
    let taken_away = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        front.serve(Vec::new());
    };
    let (answer, ()) = tokio::join!(asked, taken_away);
    assert_eq!(answer, (200, "slow".into()));
}

#[tokio::test]
async fn a_probe_is_healthy_on_answers_up_to_399_in_time() {
    let answering = backend("fine", NOW).await;
    assert!(probe(answering, "/health", Duration::from_secs(1)).await);
    assert!(probe(answering, "health", Duration::from_secs(1)).await);
    let slow = backend("slow", Duration::from_secs(5)).await;
    assert!(!probe(slow, "/", Duration::from_millis(100)).await);
    let front = Front::bind(0).await.unwrap();
    assert!(!probe(front.address(), "/", Duration::from_secs(1)).await);
}
