//! Sessions against an agent that loses, doubles and reorders.

#![allow(clippy::unwrap_used)]

mod agent;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::{never, output, packed, pair};
use bytes::Bytes;
use deployer_session::{Closed, Endpoint, Gone, OpenError, Output, Session};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message as Frame;

/// A second client of the same thing opens sessions unless told otherwise.
const REQUEST: &str = r#"{"AgentVersion":"3.3.1802.0","RequestedClientActions":[
    {"ActionType":"SessionType","ActionParameters":{"SessionType":"InteractiveCommands","Properties":null}}]}"#;

fn stdout(bytes: &[u8]) -> Option<Output> {
    Some(Output::Stdout(Bytes::copy_from_slice(bytes)))
}

#[tokio::test]
async fn the_token_goes_first_and_nowhere_else() {
    let (_session, agent) = pair().await;
    assert_eq!(agent.opened["MessageSchemaVersion"], "1.0");
    assert_eq!(agent.opened["TokenValue"], "the-token");
    assert!(agent.opened["RequestId"].is_string() && agent.opened["ClientId"].is_string());
    assert!(agent.opened["ClientVersion"].is_string());
    let endpoint = Endpoint {
        url: "http://127.0.0.1:1/".into(),
        token: "the-token".to_owned().into(),
        headers: http::HeaderMap::new(),
        proxy: None,
    };
    assert!(!format!("{endpoint:?}").contains("the-token"));
    let error = Session::open(&endpoint, never).await.err().unwrap();
    assert!(matches!(error, OpenError::Address(_)), "{error}");
}

/// One that cannot be reached is tried five times, each pause twice as long as the one before.
#[tokio::test]
async fn an_address_that_does_not_answer_is_tried_again_with_the_pauses_that_are_given() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoint = Endpoint {
        url: format!("ws://{address}/v1/data-channel/one"),
        token: "the-token".to_owned().into(),
        headers: http::HeaderMap::new(),
        proxy: None,
    };
    let paused = Mutex::new(Vec::new());
    let pause = |time: Duration| {
        paused.lock().unwrap().push(time.as_millis());
        std::future::ready(())
    };
    let error = Session::open(&endpoint, pause).await.err().unwrap();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    assert_eq!(*paused.lock().unwrap(), [100, 200, 400, 800]);
}

#[tokio::test]
async fn doubled_and_reordered_output_is_given_once_and_in_order() {
    let (mut session, mut agent) = pair().await;
    for number in [1, 0, 3, 3, 0, 2, 1] {
        agent
            .send(output(number, &[b'0' + u8::try_from(number).unwrap()]))
            .await;
    }
    for byte in b"0123" {
        assert_eq!(session.next().await, stdout(&[*byte]));
    }
    let mut acknowledged = Vec::new();
    for _ in 0..7 {
        acknowledged.push(agent.get().await.acknowledges().unwrap());
    }
    // Each of them, also what was there before: the agent may have missed the first word of it.
    assert_eq!(acknowledged, [1, 0, 3, 3, 0, 2, 1]);
}

#[tokio::test]
async fn what_arrives_broken_is_not_acknowledged_and_taken_when_it_comes_again() {
    let (mut session, mut agent) = pair().await;
    let mut broken = output(0, b"hello").to_vec();
    broken[121] = b'E';
    agent.send(broken.into()).await;
    agent.send(Bytes::from_static(b"short")).await;
    agent.send(output(1, b"!")).await;
    assert_eq!(agent.get().await.acknowledges(), Some(1));
    agent.send(output(0, b"hello")).await;
    assert_eq!(agent.get().await.acknowledges(), Some(0));
    assert_eq!(session.next().await, stdout(b"hello"));
    assert_eq!(session.next().await, stdout(b"!"));
}

#[tokio::test]
async fn input_waits_for_the_first_output_and_is_sent_until_it_is_acknowledged() {
    let (mut session, mut agent) = pair().await;
    let input = session.input();
    input.resize(0, 0).await.unwrap();
    input.send("ls\r").await.unwrap();
    agent.send(output(0, b"$ ")).await;
    assert_eq!(session.next().await, stdout(b"$ "));
    assert_eq!(agent.get().await.acknowledges(), Some(0));
    let size = agent.input().await;
    assert_eq!((size.sequence, size.payload_type), (0, 3));
    // A terminal without columns is told as it is.
    assert_eq!(size.json(), json!({"cols": 0, "rows": 0}));
    let typed = agent.input().await;
    assert_eq!((typed.sequence, typed.payload_type), (1, 1));
    assert_eq!(typed.payload, "ls\r");
    // Nothing was acknowledged: the oldest comes again, and again, and then the next.
    assert_eq!(agent.input().await, size);
    assert_eq!(agent.input().await, size);
    agent.acknowledge(&size).await;
    loop {
        let again = agent.input().await;
        if again != size {
            assert_eq!(again, typed);
            break;
        }
    }
    agent.acknowledge(&typed).await;
    let more = tokio::time::timeout(Duration::from_millis(1500), agent.input());
    // What was on its way before the last word arrived is all that may still come.
    if let Ok(late) = more.await {
        assert_eq!(late, typed);
    }
}

#[tokio::test]
async fn a_handshake_is_answered_each_time_and_input_waits_for_its_end() {
    let (mut session, mut agent) = pair().await;
    let input = session.input();
    input.send(vec![7; 2500]).await.unwrap();
    agent.send(packed("start_publication", 0, 0, b"")).await;
    for number in 0..2 {
        let request = packed("output_stream_data", number, 5, REQUEST.as_bytes());
        agent.send(request.clone()).await;
        // Lost on the way back: it is acknowledged again, and not answered again.
        agent.send(request).await;
        let response = agent.input().await;
        assert_eq!((response.sequence, response.payload_type), (number, 6));
        let json = response.json();
        let action = &json["ProcessedClientActions"][0];
        assert_eq!(action["ActionType"], "SessionType");
        assert_eq!(action["ActionStatus"], 1, "{json}");
        assert_eq!(json["Errors"], json!([]));
        agent.acknowledge(&response).await;
    }
    let complete = json!({"HandshakeTimeToComplete": 12, "CustomerMessage": "Be careful."});
    let complete = packed("output_stream_data", 2, 7, complete.to_string().as_bytes());
    agent.send(complete).await;
    assert_eq!(
        session.next().await,
        Some(Output::Notice("Be careful.".into()))
    );
    let mut pieces = Vec::new();
    while pieces.len() < 3 {
        let got = agent.input().await;
        agent.acknowledge(&got).await;
        pieces.push((got.sequence, got.payload.len()));
        pieces.dedup();
    }
    assert_eq!(pieces, [(2, 1024), (3, 1024), (4, 452)]);
}

#[tokio::test]
async fn a_program_that_says_nothing_gets_its_input_once_the_other_side_listens() {
    let (session, mut agent) = pair().await;
    session.input().send("x").await.unwrap();
    agent.send(packed("start_publication", 0, 0, b"")).await;
    let got = agent.input().await;
    assert_eq!(got.payload, "x");
    agent.acknowledge(&got).await;
    agent.send(packed("pause_publication", 0, 0, b"")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    session.input().send("y").await.unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(500), agent.input());
    assert!(silent.await.is_err(), "it does not listen");
    agent.send(packed("start_publication", 0, 0, b"")).await;
    assert_eq!(agent.input().await.payload, "y");
}

#[tokio::test]
async fn a_session_that_is_to_be_encrypted_is_refused_in_words() {
    let (mut session, mut agent) = pair().await;
    let request = json!({"AgentVersion": "3.3.1802.0", "RequestedClientActions": [
        {"ActionType": "KMSEncryption", "ActionParameters": {"KMSKeyId": "alias/sessions"}},
        {"ActionType": "Dance", "ActionParameters": {}},
    ]});
    let request = packed("output_stream_data", 0, 5, request.to_string().as_bytes());
    agent.send(request).await;
    let json = agent.input().await.json();
    assert_eq!(
        json["ProcessedClientActions"][0]["ActionStatus"], 2,
        "{json}"
    );
    assert_eq!(
        json["ProcessedClientActions"][1]["ActionStatus"], 3,
        "{json}"
    );
    assert_eq!(json["Errors"].as_array().unwrap().len(), 2, "{json}");
    assert_eq!(session.next().await, None);
    let closed = session.closed().await;
    assert_eq!(closed, Closed::Encrypted(Some("alias/sessions".into())));
}

#[tokio::test]
async fn everything_that_came_before_the_end_is_given_and_then_the_reason() {
    let (mut session, mut agent) = pair().await;
    let input = session.input();
    agent.send(output(0, b"one")).await;
    agent
        .send(packed("output_stream_data", 1, 11, b"two"))
        .await;
    agent
        .send(packed("output_stream_data", 2, 12, b"EXIT_CODE: 3"))
        .await;
    agent.close("Unable to start command").await;
    assert_eq!(session.next().await, stdout(b"one"));
    assert_eq!(session.next().await, Some(Output::Stderr("two".into())));
    assert_eq!(session.next().await, Some(Output::Exit(3)));
    assert_eq!(session.next().await, None);
    assert_eq!(
        agent.read().await.and_then(|got| got.acknowledges()),
        Some(0)
    );
    let closed = session.closed().await;
    assert_eq!(
        closed,
        Closed::Remote(Some("Unable to start command".into()))
    );
    assert_eq!(input.send("x").await, Err(Gone));
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_end_of_the_program() {
    let (mut session, agent) = pair().await;
    drop(agent);
    assert_eq!(session.next().await, None);
    assert!(matches!(session.closed().await, Closed::Lost(_)));
}

#[tokio::test]
async fn who_drops_the_session_ends_it() {
    let (session, mut agent) = pair().await;
    session.input().terminate().await.unwrap();
    agent.send(output(0, b"$ ")).await;
    let flag = agent.input().await;
    assert_eq!(
        (flag.payload_type, &flag.payload[..]),
        (10, &[0, 0, 0, 2][..])
    );
    drop(session);
    while agent.read().await.is_some() {}
}

/// 100 MB, of every byte, to a reader who begins late: nothing is lost, and what the reader has not
/// taken stays on the wire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_wait_for_a_slow_reader() {
    const PIECES: u64 = 100 * 1024;
    let (mut session, agent) = pair().await;
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let (mut sink, mut stream) = agent.socket.split();
    let piece = |number: u64| -> Vec<u8> {
        let at = |place: u64| u8::try_from((number * 31 + place) % 256).unwrap();
        (0..1024).map(at).collect()
    };
    let sending = tokio::spawn(async move {
        for number in 0..PIECES {
            let message = output(i64::try_from(number).unwrap(), &piece(number));
            sink.send(Frame::Binary(message)).await.unwrap();
            counted.store(number + 1, Ordering::Relaxed);
        }
        sink
    });
    let acknowledged = tokio::spawn(async move {
        let mut count = 0;
        while let Some(Ok(frame)) = stream.next().await {
            count += u64::from(matches!(frame, Frame::Binary(_)));
            if count == PIECES {
                break;
            }
        }
        count
    });
    // The pipe fills, and then nothing more is sent.
    let mut before = u64::MAX;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = sent.load(Ordering::Relaxed);
        if now == before {
            break;
        }
        before = now;
    }
    assert!(
        before < PIECES / 2,
        "{before} of {PIECES} pieces were read ahead"
    );
    for number in 0..PIECES {
        let Some(Output::Stdout(bytes)) = session.next().await else {
            panic!("the output ended at piece {number}");
        };
        assert!(bytes == piece(number), "piece {number} is another");
    }
    assert_eq!(acknowledged.await.unwrap(), PIECES);
    drop(sending.await.unwrap());
}
