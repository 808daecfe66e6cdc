//! The agent of a container in one session: runs the command in a terminal, and carries it.
//!
//! As `agent/session/shell/shell.go`, `shell_unix.go` and
//! `agent/session/datachannel/datachannel.go` of github.com/aws/amazon-ssm-agent have it, in
//! `ContainerMode`: the command is split into words and executed without a shell; the terminal is
//! read only while a client listens; the session is over when nobody holds the terminal any more,
//! and says no exit code.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::SplitStream;
use futures::{SinkExt as _, StreamExt as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Place;
use super::wire::AgentMessage;
use super::words;
use crate::clock::Clock;
use crate::runner::{Container, ExecError, Terminal, Typed};

/// "The ECS Exec session has an idle timeout time of 20 minutes. This value can't be changed."
/// (Amazon ECS Developer Guide, "Monitor Amazon ECS containers with ECS Exec"). What counts is what
/// the client sends: the plugin's keep-alives of forwarded ports kept sessions from being idle
/// until it switched them off (its release notes, 1.2.323.0 and 1.2.339.0).
const IDLE: Duration = Duration::from_secs(20 * 60);
/// `OutgoingMessageBufferCapacity` and its brother.
const BUFFERED: usize = 100_000;
/// `ResendSleepInterval` and `DefaultTransmissionTimeout`.
const RESEND_SLEEP: Duration = Duration::from_millis(100);
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// `PrepareToCloseChannel` waits so long for what was sent to be acknowledged.
const CLOSING: Duration = Duration::from_secs(2);
/// "Wait for stdout to process more data" (`writePump` of `shell.go`), after each piece.
const BREATH: Duration = Duration::from_millis(1);
/// So much of what is shown is kept for the transcript. Ours.
const TRANSCRIPT: usize = 64 * 1024;
/// Frames that wait for the wire.
const OUTBOUND: usize = 64;

/// An agent.
pub(super) struct Agent {
    clock: Clock,
    session: String,
    /// Whether what goes over the wire is lost, doubled and reordered at times.
    disturbed: bool,
    /// How many messages came from clients.
    heard: u64,
    next: i64,
    unacknowledged: VecDeque<(i64, Bytes, Timestamp)>,
    expected: i64,
    early: BTreeMap<i64, AgentMessage>,
    /// Whether there is a client to send to.
    client: Option<Client>,
    /// What goes to the client next.
    frames: VecDeque<Bytes>,
    /// Until when nothing is read from the terminal.
    breath: Option<BoxFuture<'static, ()>>,
    /// What the client answered to the handshake.
    answer: Option<Value>,
    /// What was shown.
    transcript: Vec<u8>,
}

/// A client's websocket.
struct Client {
    incoming: SplitStream<WebSocket>,
    outgoing: mpsc::Sender<Bytes>,
}

/// How an agent came to the end of a terminal.
enum Ended {
    /// Nobody holds it any more; the words for that, where there are some.
    Words(Option<String>),
    /// The container ended: `amazon-ssm-agent` and its workers run in it, and are killed with its
    /// first process (Amazon ECS Developer Guide, "Monitor Amazon ECS containers with ECS Exec":
    /// "SSM agent runs inside the container").
    WithItsContainer,
}

/// A wire on which output is lost, doubled and reordered at times.
#[derive(Default)]
struct Disturbed {
    count: u64,
    held: Option<Bytes>,
}

impl Disturbed {
    /// What of a frame, and of those before, arrives now.
    fn pass(&mut self, frame: Bytes) -> Vec<Bytes> {
        let mut now = vec![frame];
        if now[0]
            .get(4..36)
            .is_some_and(|name| name.starts_with(b"output_stream_data"))
        {
            self.count += 1;
            match self.count % 20 {
                3 => now.clear(),
                7 => now.push(now[0].clone()),
                11 => {
                    let late = self.held.replace(now.remove(0));
                    now.extend(late);
                    return now;
                }
                _ => {}
            }
        }
        now.extend(self.held.take());
        now
    }
}

/// What happened next.
enum Next {
    Arrived(Box<WebSocket>),
    Said(Option<Bytes>),
    Room,
    Rested,
    Printed(Option<Bytes>),
    Tick,
    Idle,
}

impl Agent {
    pub(super) fn new(clock: &Clock, session: String, disturbed: bool) -> Self {
        Self {
            clock: clock.clone(),
            session,
            disturbed,
            heard: 0,
            next: 0,
            unacknowledged: VecDeque::new(),
            expected: 0,
            early: BTreeMap::new(),
            client: None,
            frames: VecDeque::new(),
            breath: None,
            answer: None,
            transcript: Vec::new(),
        }
    }

    /// Lives as long as the session.
    pub(super) async fn live(
        mut self,
        place: Place,
        command: String,
        (first, mut clients): (Option<WebSocket>, mpsc::Receiver<WebSocket>),
    ) {
        let Place {
            container,
            key,
            log_group,
            ..
        } = place;
        if let Some(socket) = first {
            self.meet(socket);
        }
        if let Some(key) = key {
            let words = self.shake(&key, &mut clients).await;
            return self.close(words).await;
        }
        let words = match start(&container, &command).await {
            Ok(terminal) => match self.carry(terminal, &mut clients).await {
                Ended::Words(words) => words,
                // It was a process of the container: nothing more of it goes out, and nobody says
                // that the session is over. That the websocket then closes is ours.
                Ended::WithItsContainer => return,
            },
            Err(words) => {
                // "Unable to start command" is told by the end of the session, two seconds later
                // (`ShellPlugin.execute`).
                let told = self.wait_for_a_client(&mut clients);
                let _ = tokio::time::timeout(OPENING, told).await;
                Some(words)
            }
        };
        if let Some((logs, group)) = log_group
            && logs.open_stream(&group, &self.session).is_ok()
        {
            let transcript = String::from_utf8_lossy(&self.transcript);
            for line in transcript.lines() {
                logs.append(&group, &self.session, line);
            }
        }
        self.close(words.unwrap_or_default()).await;
    }

    async fn wait_for_a_client(&mut self, clients: &mut mpsc::Receiver<WebSocket>) {
        if self.client.is_none()
            && let Some(socket) = clients.recv().await
        {
            self.meet(socket);
        }
        tokio::time::sleep(self.clock.in_cloud_time(Duration::from_secs(2))).await;
    }

    /// Asks for a handshake in which the session is to be encrypted
    /// (`buildHandshakeRequestPayload`). Returns the words for its end: no client here can do that.
    /// What an agent says then is ours.
    async fn shake(&mut self, key: &str, clients: &mut mpsc::Receiver<WebSocket>) -> String {
        let asked = json!({"AgentVersion": "3.3.1802.0", "RequestedClientActions": [
            {"ActionType": "SessionType", "ActionParameters": {
                "SessionType": "InteractiveCommands", "Properties": null,
            }},
            {"ActionType": "KMSEncryption", "ActionParameters": {"KMSKeyId": key}},
        ]});
        let answered = async {
            while self.answer.is_none() {
                let Some(client) = &mut self.client else {
                    match clients.recv().await {
                        Some(socket) => self.meet(socket),
                        None => return,
                    }
                    continue;
                };
                if self.next == 0 {
                    self.say(5, asked.to_string().into());
                    continue;
                }
                let there = match self.frames.pop_front() {
                    Some(frame) => client.outgoing.send(frame).await.is_ok(),
                    None => match said(&mut client.incoming).await {
                        Some(bytes) => {
                            drop(self.hear(bytes));
                            true
                        }
                        None => false,
                    },
                };
                if !there {
                    self.client = None;
                }
            }
        };
        // `handshakeTimeout`.
        let in_time = tokio::time::timeout(Duration::from_secs(15), answered).await;
        let actions = self.answer.take().unwrap_or_default();
        let actions = actions["ProcessedClientActions"].as_array().cloned();
        let mut actions = actions.unwrap_or_default().into_iter();
        let encrypts = actions.find(|action| action["ActionType"] == "KMSEncryption");
        match (in_time, encrypts) {
            (Ok(()), Some(action)) => format!("Handshake failed: {}", action["Error"]),
            (Ok(()), None) | (Err(_), _) => "Handshake timed out.".to_owned(),
        }
    }

    /// Carries the terminal to its end.
    async fn carry(
        &mut self,
        mut terminal: Terminal,
        clients: &mut mpsc::Receiver<WebSocket>,
    ) -> Ended {
        let mut idle = Box::pin(self.clock.clone().idle());
        loop {
            match self.next(&mut terminal, clients, &mut idle).await {
                Next::Arrived(socket) => self.meet(*socket),
                Next::Said(Some(bytes)) => {
                    if let Some(typed) = self.hear(bytes) {
                        idle = Box::pin(self.clock.clone().idle());
                        for typed in typed {
                            terminal.put(typed).await;
                        }
                    }
                }
                // The gateway tells the agent to pause.
                Next::Said(None) => self.client = None,
                Next::Room => {}
                Next::Rested => self.breath = None,
                Next::Printed(Some(bytes)) => self.print(bytes),
                Next::Printed(None) if terminal.is_gone() => return Ended::WithItsContainer,
                Next::Printed(None) => return Ended::Words(None),
                Next::Tick => self.send_again(),
                Next::Idle => {
                    terminal.kill();
                    // The words are the gateway's, which are published nowhere. Ours.
                    let words = "Your session timed out due to inactivity.";
                    return Ended::Words(Some(words.to_owned()));
                }
            }
        }
    }

    async fn next(
        &mut self,
        terminal: &mut Terminal,
        clients: &mut mpsc::Receiver<WebSocket>,
        idle: &mut (impl Future<Output = ()> + Unpin),
    ) -> Next {
        let room = self.frames.len() < OUTBOUND;
        let (reads, rests) = (self.client.is_some() && room, self.breath.is_some());
        let waits = !self.frames.is_empty();
        let resends = self.client.is_some() && !self.unacknowledged.is_empty();
        let (mut incoming, outgoing) = match &mut self.client {
            Some(client) => (Some(&mut client.incoming), Some(&client.outgoing)),
            None => (None, None),
        };
        let rested = async {
            match &mut self.breath {
                Some(breath) => breath.await,
                None => std::future::pending().await,
            }
        };
        let said = async {
            match &mut incoming {
                Some(incoming) => said(incoming).await,
                None => std::future::pending().await,
            }
        };
        let sent = async {
            match outgoing {
                Some(outgoing) => outgoing.reserve().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(socket) = clients.recv() => Next::Arrived(Box::new(socket)),
            said = said => Next::Said(said),
            room = sent, if waits => match (room, self.frames.pop_front()) {
                (Some(room), Some(frame)) => {
                    room.send(frame);
                    Next::Room
                }
                (Some(_), None) => Next::Room,
                (None, _) => Next::Said(None),
            },
            () = rested, if rests => Next::Rested,
            printed = terminal.next(), if reads && !rests => Next::Printed(printed),
            () = self.clock.sleep_unscaled(RESEND_SLEEP), if resends => Next::Tick,
            () = idle => Next::Idle,
        }
    }

    /// A client is there: the gateway tells both sides that the other one listens.
    fn meet(&mut self, socket: WebSocket) {
        let (mut sink, incoming) = socket.split();
        let (outgoing, mut queue) = mpsc::channel::<Bytes>(OUTBOUND);
        // Reading goes on while the wire takes nothing more.
        let mut wire = self.disturbed.then(Disturbed::default);
        tokio::spawn(async move {
            while let Some(frame) = queue.recv().await {
                let frames = match &mut wire {
                    Some(wire) => wire.pass(frame),
                    None => vec![frame],
                };
                for frame in frames {
                    if sink.send(Message::Binary(frame)).await.is_err() {
                        return;
                    }
                }
            }
            let _ = sink.close().await;
        });
        self.client = Some(Client { incoming, outgoing });
        self.frames.clear();
        let started = AgentMessage::new("start_publication", 0);
        self.frames.push_back(started.serialize(self.clock.now()));
        // What the client before did not get.
        let again = self
            .unacknowledged
            .iter()
            .map(|(_, bytes, _)| bytes.clone());
        self.frames.extend(again);
    }

    /// Takes a message of the client's; what was typed, unless it was no stream's.
    fn hear(&mut self, bytes: Bytes) -> Option<Vec<Typed>> {
        self.heard += 1;
        if self.disturbed && self.heard % 9 == 4 {
            return None;
        }
        let message = match AgentMessage::deserialize(bytes) {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(error, "an agent dropped a message");
                return None;
            }
        };
        match message.message_type.as_str() {
            "input_stream_data" => Some(self.take(message)),
            "acknowledge" => {
                let content: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
                let number = content["AcknowledgedMessageSequenceNumber"].as_i64();
                if content["AcknowledgedMessageType"] == "output_stream_data" {
                    self.unacknowledged
                        .retain(|(sent, _, _)| Some(*sent) != number);
                }
                None
            }
            _ => None,
        }
    }

    fn take(&mut self, message: AgentMessage) -> Vec<Typed> {
        let number = message.sequence_number;
        if number > self.expected && self.early.len() >= BUFFERED {
            return Vec::new();
        }
        // Also of what was taken before: "Resending acknowledge for already processed message".
        self.acknowledge(&message);
        if number >= self.expected {
            self.early.insert(number, message);
        }
        let mut typed = Vec::new();
        while let Some(message) = self.early.remove(&self.expected) {
            self.expected += 1;
            if message.payload_type == 6 {
                self.answer = serde_json::from_slice(&message.payload).ok();
            }
            typed.extend(read(&message));
        }
        typed
    }

    fn acknowledge(&mut self, of: &AgentMessage) {
        let content = json!({
            "AcknowledgedMessageType": of.message_type,
            "AcknowledgedMessageId": of.message_id,
            "AcknowledgedMessageSequenceNumber": of.sequence_number,
            "IsSequentialMessage": true,
        });
        let mut message = AgentMessage::new("acknowledge", 0);
        message.flags = 3;
        message.payload = content.to_string().into();
        self.frames.push_back(message.serialize(self.clock.now()));
    }

    /// `SendStreamDataMessage`: what there is no room for goes out this once, and is not kept to be
    /// sent again (`AddDataToOutgoingMessageBuffer`).
    fn say(&mut self, payload_type: u32, payload: Bytes) {
        let mut message = AgentMessage::new("output_stream_data", self.next);
        message.flags = u64::from(self.next == 0);
        message.payload_type = payload_type;
        message.payload = payload;
        let bytes = message.serialize(self.clock.now());
        if self.unacknowledged.len() < BUFFERED {
            let now = self.clock.now();
            self.unacknowledged
                .push_back((self.next, bytes.clone(), now));
        }
        self.next += 1;
        self.frames.push_back(bytes);
    }

    fn print(&mut self, bytes: Bytes) {
        if self.transcript.len() < TRANSCRIPT {
            self.transcript.extend_from_slice(&bytes);
        }
        self.say(1, bytes);
        // No timer of this machine is shorter: where the clouds are faster, nobody breathes.
        if self.clock.in_cloud_time(BREATH) >= BREATH {
            let clock = self.clock.clone();
            self.breath = Some(Box::pin(async move { clock.sleep(BREATH).await }));
        }
    }

    fn send_again(&mut self) {
        if let Some((_, bytes, sent)) = self.unacknowledged.front_mut()
            && self.clock.since(*sent) > RETRANSMISSION
        {
            *sent = self.clock.now();
            self.frames.push_back(bytes.clone());
        }
    }

    /// Waits for what is not acknowledged yet, and has the gateway say that it is over.
    async fn close(mut self, words: String) {
        let deadline = Instant::now() + CLOSING;
        while let Some(client) = &mut self.client {
            let Some(frame) = self.frames.pop_front() else {
                if self.unacknowledged.is_empty() {
                    break;
                }
                // What is not acknowledged goes out again meanwhile.
                tokio::select! {
                    said = said(&mut client.incoming) => match said {
                        Some(bytes) => drop(self.hear(bytes)),
                        None => self.client = None,
                    },
                    () = self.clock.sleep_unscaled(RESEND_SLEEP) => self.send_again(),
                    () = tokio::time::sleep_until(deadline) => break,
                }
                continue;
            };
            let sent = tokio::time::timeout_at(deadline, client.outgoing.send(frame));
            if !matches!(sent.await, Ok(Ok(()))) {
                break;
            }
        }
        let Some(mut client) = self.client else {
            return;
        };
        let content = json!({
            "MessageType": "channel_closed",
            "MessageId": uuid::Uuid::new_v4(),
            "CreatedDate": self.clock.now().to_string(),
            "DestinationId": "",
            "SessionId": self.session,
            "SchemaVersion": 1,
            "Output": words,
        });
        let mut message = AgentMessage::new("channel_closed", 0);
        message.payload = content.to_string().into();
        let bytes = message.serialize(self.clock.now());
        // The client may be gone.
        let _ = tokio::time::timeout_at(deadline + CLOSING, client.outgoing.send(bytes)).await;
        drop(client.outgoing);
        let gone = async { while said(&mut client.incoming).await.is_some() {} };
        let _ = tokio::time::timeout(CLOSING, gone).await;
    }
}

impl Clock {
    /// Ends when a session that nobody uses does.
    async fn idle(self) {
        self.sleep(IDLE).await;
    }
}

/// The next message of a client; `None` once it is gone.
async fn said(incoming: &mut SplitStream<WebSocket>) -> Option<Bytes> {
    loop {
        match incoming.next().await?.ok()? {
            Message::Binary(bytes) => return Some(bytes),
            Message::Close(_) => return None,
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

/// `InputStreamMessageHandler` of the agent's shell: keys and sizes, and nothing else.
fn read(message: &AgentMessage) -> Option<Typed> {
    match message.payload_type {
        1 => Some(Typed::Keys(message.payload.clone())),
        3 => {
            let size: Value = serde_json::from_slice(&message.payload).ok()?;
            let of = |name: &str| u16::try_from(size[name].as_u64()?).ok();
            Some(Typed::Size(of("cols")?, of("rows")?))
        }
        _ => None,
    }
}

/// Starts the command. The error is what the agent says of it.
async fn start(container: &Container, command: &str) -> Result<Terminal, String> {
    let words = words::split(command);
    let words = words.map_err(|why| {
        format!("Unable to start command: Failed to parse commands input: {why}\n")
    })?;
    // No words are a shell (`StartCommandExecutor`), which sets both variables.
    let words = match words.as_slice() {
        [] => vec!["sh".to_owned()],
        _ => words,
    };
    let variables = [("TERM", "xterm-256color"), ("LANG", "C.UTF-8")];
    let started = container.terminal(&words, &variables).await;
    started.map_err(|error| {
        // Go's words for a program that is not there, by a path or by a name.
        let why = match &error {
            ExecError::Absent(name) if name.contains('/') => {
                format!("fork/exec {name}: no such file or directory")
            }
            ExecError::Absent(name) => {
                format!("exec: \"{name}\": executable file not found in $PATH")
            }
            ExecError::TimedOut(_) | ExecError::Ended | ExecError::Machine(_) => error.to_string(),
        };
        format!("Unable to start command: Failed to start pty: {why}\n")
    })
}

/// How long the words of a command that did not start wait for somebody to hear them. Ours.
const OPENING: Duration = Duration::from_secs(30);
