//! Sessions by a proxy that makes tunnels, and by one that does not.

#![allow(clippy::unwrap_used)]

mod agent;

use agent::{Agent, never, output};
use bytes::Bytes;
use deployer_session::{Endpoint, OpenError, Output, Proxy, Session};
use futures::StreamExt as _;
use http::HeaderMap;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message as Frame;

/// A proxy on this machine, which answers one request: `None` makes the tunnel. Returns its port,
/// and what it was asked.
async fn proxy(refuses: Option<&'static str>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let mut client = BufReader::new(client);
        let mut asked = Vec::new();
        loop {
            let mut line = String::new();
            client.read_line(&mut line).await.unwrap();
            match line.trim() {
                "" => break,
                line => asked.push(line.to_owned()),
            }
        }
        if let Some(refuses) = refuses {
            client.write_all(refuses.as_bytes()).await.unwrap();
            return asked;
        }
        let to = asked[0].split(' ').nth(1).unwrap();
        let mut server = TcpStream::connect(to).await.unwrap();
        let made = b"HTTP/1.1 200 Connection established\r\nVia: here\r\n\r\n";
        client.write_all(made).await.unwrap();
        tokio::spawn(async move {
            // Until either side goes.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
        asked
    });
    (port, asked)
}

fn by(port: u16, gateway: &str) -> Option<Proxy> {
    let url = format!("ws://{gateway}/v1/data-channel/one");
    let before = format!("http://me:secret@127.0.0.1:{port}");
    Proxy::at(&before, &url)
}

#[tokio::test]
async fn a_session_goes_by_the_proxy_from_its_first_byte() {
    let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gateway.local_addr().unwrap().to_string();
    let (port, asked) = proxy(None).await;
    let endpoint = Endpoint {
        url: format!("ws://{address}/v1/data-channel/one"),
        token: "the-token".to_owned().into(),
        headers: HeaderMap::new(),
        proxy: by(port, &address),
    };
    let accept = async {
        let (stream, _) = gateway.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let Some(Ok(Frame::Text(opened))) = socket.next().await else {
            panic!("no word of who it is");
        };
        let opened = serde_json::from_str(&opened).unwrap();
        Agent { socket, opened }
    };
    let (session, mut agent) = tokio::join!(Session::open(&endpoint, never), accept);
    let mut session = session.unwrap();
    agent.send(output(0, b"hello")).await;
    let hello = Some(Output::Stdout(Bytes::from_static(b"hello")));
    assert_eq!(session.next().await, hello);
    let asked = asked.await.unwrap();
    assert_eq!(asked[0], format!("CONNECT {address} HTTP/1.1"));
    assert!(asked.contains(&"Proxy-Authorization: Basic bWU6c2VjcmV0".to_owned()));
    assert!(!asked.iter().any(|line| line.contains("the-token")));
}

#[tokio::test]
async fn a_proxy_that_makes_no_tunnel_is_told_with_its_answer() {
    let refuses = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
    let (port, _) = proxy(Some(refuses)).await;
    let endpoint = Endpoint {
        url: "ws://gateway.example/v1/data-channel/one".to_owned(),
        token: "the-token".to_owned().into(),
        headers: HeaderMap::new(),
        proxy: by(port, "gateway.example"),
    };
    let error = Session::open(&endpoint, never).await.err().unwrap();
    let OpenError::Proxy {
        proxy,
        host,
        source,
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(proxy, &format!("127.0.0.1:{port}"));
    assert_eq!(host, "gateway.example:80");
    assert!(source.to_string().contains("407"), "{source}");
    assert!(!error.to_string().contains("secret"));
}
