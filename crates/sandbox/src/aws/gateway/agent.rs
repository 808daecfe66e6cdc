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
use futures::stream::SplitStream;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

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
/// Frames that wait for the wire.
const OUTBOUND: usize = 64;

/// An agent.
pub(super) struct Agent {
    clock: Clock,
    session: String,
    next: i64,
    unacknowledged: VecDeque<(i64, Bytes, Instant)>,
    expected: i64,
    early: BTreeMap<i64, AgentMessage>,
    /// Whether there is a client to send to.
    client: Option<Client>,
    /// What goes to the client next.
    frames: VecDeque<Bytes>,
}

/// A client's websocket.
struct Client {
    incoming: SplitStream<WebSocket>,
    outgoing: mpsc::Sender<Bytes>,
}

/// What happened next.
enum Next {
    Arrived(Box<WebSocket>),
    Said(Option<Bytes>),
    Room,
    Printed(Option<Bytes>),
    Tick,
    Idle,
}

impl Agent {
    pub(super) fn new(clock: &Clock, session: String) -> Self {
        Self {
            clock: clock.clone(),
            session,
            next: 0,
            unacknowledged: VecDeque::new(),
            expected: 0,
            early: BTreeMap::new(),
            client: None,
            frames: VecDeque::new(),
        }
    }

    /// Lives as long as the session.
    pub(super) async fn live(
        mut self,
        container: Container,
        command: String,
        mut clients: mpsc::Receiver<WebSocket>,
    ) {
        let words = match start(&container, &command).await {
            Ok(terminal) => self.carry(terminal, &mut clients).await,
            Err(words) => {
                // "Unable to start command" is told by the end of the session, two seconds later
                // (`ShellPlugin.execute`).
                let told = self.wait_for_a_client(&mut clients);
                let _ = tokio::time::timeout(OPENING, told).await;
                Some(words)
            }
        };
        self.close(words.unwrap_or_default()).await;
    }

    async fn wait_for_a_client(&mut self, clients: &mut mpsc::Receiver<WebSocket>) {
        if let Some(socket) = clients.recv().await {
            self.meet(socket);
        }
        tokio::time::sleep(self.clock.in_cloud_time(Duration::from_secs(2))).await;
    }

    /// Carries the terminal to its end. Returns the words for the end, where there are some.
    async fn carry(
        &mut self,
        mut terminal: Terminal,
        clients: &mut mpsc::Receiver<WebSocket>,
    ) -> Option<String> {
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
                Next::Printed(Some(bytes)) => self.print(bytes),
                Next::Printed(None) => return None,
                Next::Tick => self.send_again(),
                Next::Idle => {
                    terminal.kill();
                    // The words are the gateway's, which are published nowhere. Ours.
                    return Some("Your session timed out due to inactivity.".to_owned());
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
        let room = self.unacknowledged.len() < BUFFERED && self.frames.len() < OUTBOUND;
        let reads = self.client.is_some() && room;
        let waits = !self.frames.is_empty();
        let resends = self.client.is_some() && !self.unacknowledged.is_empty();
        let (mut incoming, outgoing) = match &mut self.client {
            Some(client) => (Some(&mut client.incoming), Some(&client.outgoing)),
            None => (None, None),
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
            printed = terminal.next(), if reads => Next::Printed(printed),
            () = tokio::time::sleep(RESEND_SLEEP), if resends => Next::Tick,
            () = idle => Next::Idle,
        }
    }

    /// A client is there: the gateway tells both sides that the other one listens.
    fn meet(&mut self, socket: WebSocket) {
        let (mut sink, incoming) = socket.split();
        let (outgoing, mut queue) = mpsc::channel::<Bytes>(OUTBOUND);
        // Reading goes on while the wire takes nothing more.
        tokio::spawn(async move {
            while let Some(frame) = queue.recv().await {
                if sink.send(Message::Binary(frame)).await.is_err() {
                    return;
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

    fn print(&mut self, bytes: Bytes) {
        let mut message = AgentMessage::new("output_stream_data", self.next);
        message.flags = u64::from(self.next == 0);
        message.payload_type = 1;
        message.payload = bytes;
        let bytes = message.serialize(self.clock.now());
        self.unacknowledged
            .push_back((self.next, bytes.clone(), Instant::now()));
        self.next += 1;
        self.frames.push_back(bytes);
    }

    fn send_again(&mut self) {
        if let Some((_, bytes, sent)) = self.unacknowledged.front_mut()
            && sent.elapsed() > RETRANSMISSION
        {
            *sent = Instant::now();
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
                let said = tokio::time::timeout_at(deadline, said(&mut client.incoming));
                match said.await {
                    Ok(Some(bytes)) => drop(self.hear(bytes)),
                    Ok(None) => self.client = None,
                    Err(_) => break,
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
