//! The other side of a session, message by message, written from the agent's source
//! (`agent/session/contracts/agentmessage.go` of github.com/aws/amazon-ssm-agent).

#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use deployer_session::{Endpoint, Session};
use futures::{SinkExt as _, StreamExt as _};
use http::HeaderMap;
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

/// What the agent got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub kind: String,
    pub sequence: i64,
    pub flags: u64,
    pub payload_type: u32,
    pub payload: Bytes,
}

impl Got {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap()
    }

    /// The number of the message that it acknowledges.
    pub fn acknowledges(&self) -> Option<i64> {
        let json = (self.kind == "acknowledge").then(|| self.json())?;
        assert_eq!(json["AcknowledgedMessageType"], "output_stream_data");
        assert_eq!(json["IsSequentialMessage"], true);
        assert_eq!((self.sequence, self.flags), (0, 3));
        json["AcknowledgedMessageSequenceNumber"].as_i64()
    }
}

/// One agent, that has read who opened the session.
pub struct Agent {
    pub socket: WebSocketStream<TcpStream>,
    pub opened: serde_json::Value,
}

/// The pause of who is answered at the first try.
pub async fn never(_: Duration) {
    panic!("nothing is tried again");
}

/// A session and its other side.
pub async fn pair() -> (Session, Agent) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint {
        url: format!(
            "ws://{}/v1/data-channel/one",
            listener.local_addr().unwrap()
        ),
        token: "the-token".to_owned().into(),
        headers: HeaderMap::new(),
        proxy: None,
    };
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let Some(Ok(Frame::Text(opened))) = socket.next().await else {
            panic!("no word of who it is");
        };
        let opened = serde_json::from_str(&opened).unwrap();
        Agent { socket, opened }
    };
    let (session, agent) = tokio::join!(Session::open(&endpoint, never), accept);
    (session.unwrap(), agent)
}

/// A message as the agent packs it.
pub fn packed(kind: &str, sequence: i64, payload_type: u32, payload: &[u8]) -> Bytes {
    let mut out = Vec::new();
    out.put_u32(116);
    out.extend(format!("{kind:<32}").into_bytes());
    out.put_u32(1);
    out.put_u64(1_700_000_000_000);
    out.put_i64(sequence);
    out.put_u64(u64::from(sequence == 0));
    out.extend(uuid::Uuid::new_v4().into_bytes());
    out.extend(Sha256::digest(payload));
    out.put_u32(payload_type);
    out.put_u32(u32::try_from(payload.len()).unwrap());
    out.extend(payload);
    out.into()
}

/// One message of the program's output.
pub fn output(sequence: i64, payload: &[u8]) -> Bytes {
    packed("output_stream_data", sequence, 1, payload)
}

fn read(bytes: &Bytes) -> Got {
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(number(0), 116);
    assert_eq!(bytes[80..112], Sha256::digest(&bytes[120..])[..]);
    assert_eq!(number(116) as usize, bytes.len() - 120);
    Got {
        kind: String::from_utf8(bytes[4..36].to_vec())
            .unwrap()
            .trim()
            .to_owned(),
        sequence: i64::from_be_bytes(bytes[48..56].try_into().unwrap()),
        flags: u64::from_be_bytes(bytes[56..64].try_into().unwrap()),
        payload_type: number(112),
        payload: bytes.slice(120..),
    }
}

impl Agent {
    pub async fn send(&mut self, message: Bytes) {
        self.socket.send(Frame::Binary(message)).await.unwrap();
    }

    /// The next message from the client.
    pub async fn get(&mut self) -> Got {
        let next = tokio::time::timeout(Duration::from_secs(20), self.read());
        let got = next.await.expect("a message within 20 s");
        got.expect("a message before the end")
    }

    /// The next one, or `None` when the client goes.
    pub async fn read(&mut self) -> Option<Got> {
        loop {
            match self.socket.next().await?.ok()? {
                Frame::Binary(bytes) => return Some(read(&bytes)),
                Frame::Close(_) => return None,
                Frame::Text(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => {}
            }
        }
    }

    /// The next one that is no acknowledgement.
    pub async fn input(&mut self) -> Got {
        loop {
            let got = self.get().await;
            if got.kind != "acknowledge" {
                return got;
            }
        }
    }

    pub async fn acknowledge(&mut self, got: &Got) {
        let content = serde_json::json!({
            "AcknowledgedMessageType": got.kind,
            "AcknowledgedMessageId": "0",
            "AcknowledgedMessageSequenceNumber": got.sequence,
            "IsSequentialMessage": true,
        });
        let payload = content.to_string();
        let message = packed("acknowledge", 0, 0, payload.as_bytes());
        self.send(message).await;
    }

    /// Says that the session is over.
    pub async fn close(&mut self, words: &str) {
        let content = serde_json::json!({
            "MessageType": "channel_closed", "MessageId": "0", "CreatedDate": "2024-01-01",
            "DestinationId": "one", "SessionId": "one", "SchemaVersion": 1, "Output": words,
        });
        let payload = content.to_string();
        self.send(packed("channel_closed", 0, 0, payload.as_bytes()))
            .await;
    }
}
