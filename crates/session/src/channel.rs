//! A data channel's state: what arrives and what is to be sent. Does no IO.
//!
//! Source: `datachannel/streaming.go` of github.com/aws/session-manager-plugin, and for the other
//! side `agent/session/datachannel/datachannel.go` of github.com/aws/amazon-ssm-agent.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::time::Instant;

use crate::contents::{
    Acknowledgement, ChannelClosed, HandshakeComplete, HandshakeRequest, HandshakeResponse,
    Processed, Requested, Size, VERSION, status,
};
use crate::message::{Kind, Malformed, Message, payload};
use crate::order::{Arrival, Arriving, Overdue, Sending};
use crate::{Closed, Output};

/// The most bytes in a message (`StreamDataPayloadSize`).
const PIECE: usize = 1024;
/// So much of the user's input is held back here at most; the rest waits with the user.
const HELD: usize = 256;
/// A session that needs no handshake begins without a word. Who is told that the other side
/// listens, and hears of no handshake for so long, takes it for such a one. Ours.
const NO_HANDSHAKE: Duration = Duration::from_secs(2);
/// `TerminateSession` of `PayloadTypeFlag`.
const TERMINATE: u32 = 2;

/// Whether input may go out. An agent that waits for the answer to its handshake acknowledges and
/// drops everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    /// Nothing was heard.
    NotYet,
    /// It listens, since then, and has asked for nothing.
    Listening(Instant),
    /// It asked for a handshake, and has not said that it is complete.
    Shaking,
    /// Yes.
    Yes,
}

/// One data channel.
pub(crate) struct Channel {
    arriving: Arriving,
    sending: Sending,
    ready: Ready,
    paused: bool,
    /// What the user gave, in pieces that have no number yet.
    held: VecDeque<(u32, Bytes)>,
    /// What is to go out, in order.
    pub(crate) frames: VecDeque<Bytes>,
    /// What the user is to get, in order, and how many bytes that is.
    outputs: VecDeque<Output>,
    bytes: usize,
    /// Whether the other side has said anything.
    pub(crate) begun: bool,
    /// Why it is over.
    pub(crate) closed: Option<Closed>,
}

impl Channel {
    pub(crate) fn new() -> Self {
        Self {
            arriving: Arriving::default(),
            sending: Sending::default(),
            ready: Ready::NotYet,
            paused: false,
            held: VecDeque::new(),
            frames: VecDeque::new(),
            outputs: VecDeque::new(),
            bytes: 0,
            begun: false,
            closed: None,
        }
    }

    /// Ends it; the first reason counts.
    pub(crate) fn close(&mut self, why: Closed) {
        self.closed.get_or_insert(why);
    }

    fn give(&mut self, output: Output) {
        self.bytes += output.len();
        self.outputs.push_back(output);
    }

    /// What the user is to get next.
    pub(crate) fn output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        self.bytes -= output.len();
        Some(output)
    }

    /// How many pieces wait for the user.
    pub(crate) fn waiting(&self) -> usize {
        self.outputs.len()
    }

    /// And how many bytes.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether more of the user's input can be taken.
    pub(crate) fn takes_input(&self) -> bool {
        self.held.len() < HELD
    }

    /// Takes bytes for the program.
    pub(crate) fn input(&mut self, bytes: &Bytes, now: Instant) {
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at + PIECE);
            self.held.push_back((payload::OUTPUT, bytes.slice(at..end)));
            at = end;
        }
        self.flush(now);
    }

    /// Says how large the terminal is.
    pub(crate) fn resize(&mut self, cols: u32, rows: u32, now: Instant) {
        self.hold(payload::SIZE, &Size { cols, rows });
        self.flush(now);
    }

    /// Asks the other side to end the session.
    pub(crate) fn terminate(&mut self, now: Instant) {
        let flag = Bytes::copy_from_slice(&TERMINATE.to_be_bytes());
        self.held.push_back((payload::FLAG, flag));
        self.flush(now);
    }

    /// Takes what came over the wire. What is no message, or not whole, is as good as lost: it is
    /// not acknowledged, and comes again.
    pub(crate) fn receive(&mut self, bytes: &Bytes, now: Instant) {
        let message = match Message::unpack(bytes) {
            Ok(message) => message,
            Err(error @ (Malformed::Digest | Malformed::Kind(_) | Malformed::Short(_))) => {
                tracing::debug!(%error, "dropped a message of a session");
                return;
            }
            Err(error @ Malformed::Header(_)) => {
                return self.close(Closed::Lost(error.to_string()));
            }
        };
        self.begun = true;
        match message.kind {
            Kind::Output => self.arrived(message, now),
            Kind::Acknowledge => {
                if let Ok(it) = serde_json::from_slice::<Acknowledgement>(&message.payload) {
                    self.sending.acknowledged(it.sequence, now);
                }
            }
            Kind::Closed => {
                let content: ChannelClosed =
                    serde_json::from_slice(&message.payload).unwrap_or_default();
                let words = content.output.trim();
                let words = (!words.is_empty()).then(|| words.to_owned());
                self.close(Closed::Remote(words));
            }
            Kind::Start => {
                self.paused = false;
                if self.ready == Ready::NotYet {
                    self.ready = Ready::Listening(now);
                }
            }
            Kind::Pause => self.paused = true,
            // Ours, that somebody sends back.
            Kind::Input => {}
        }
        self.flush(now);
    }

    /// When [`Channel::tick`] is to be called.
    pub(crate) fn due(&self) -> Option<Instant> {
        let again = self.sending.due().filter(|_| !self.paused);
        let listening = match self.ready {
            Ready::Listening(since) => Some(since + NO_HANDSHAKE),
            Ready::NotYet | Ready::Shaking | Ready::Yes => None,
        };
        [again, listening].into_iter().flatten().min()
    }

    /// Does what time alone asks for.
    pub(crate) fn tick(&mut self, now: Instant) {
        if let Ready::Listening(since) = self.ready
            && now >= since + NO_HANDSHAKE
        {
            self.ready = Ready::Yes;
            self.flush(now);
        }
        if self.paused {
            return;
        }
        match self.sending.overdue(now) {
            Overdue::Nothing => {}
            Overdue::Again(bytes) => self.frames.push_back(bytes),
            Overdue::GivenUp => self.close(Closed::Lost(
                "nothing of what was sent was acknowledged for five minutes".to_owned(),
            )),
        }
    }

    fn arrived(&mut self, message: Message, now: Instant) {
        let acknowledgement = acknowledgement(&message);
        match self.arriving.take(message) {
            Arrival::Before => self.frames.push_back(acknowledgement),
            Arrival::NoRoom => {}
            Arrival::Taken(ready) => {
                self.frames.push_back(acknowledgement);
                for message in ready {
                    self.read(message, now);
                }
            }
        }
    }

    /// Reads one message of the stream, in its turn.
    fn read(&mut self, message: Message, now: Instant) {
        match message.payload_type {
            payload::HANDSHAKE_REQUEST => self.shake(&message, now),
            payload::HANDSHAKE_COMPLETE => {
                self.ready = Ready::Yes;
                let complete: HandshakeComplete =
                    serde_json::from_slice(&message.payload).unwrap_or_default();
                if !complete.customer_message.is_empty() {
                    self.give(Output::Notice(complete.customer_message));
                }
            }
            payload::CHALLENGE => self.close(Closed::Encrypted(None)),
            payload::EXIT_CODE => {
                // `sendExitCode` of the agent's `shell.go`.
                let words = String::from_utf8_lossy(&message.payload);
                let code = words.trim().trim_start_matches("EXIT_CODE:").trim();
                if let Ok(code) = code.parse() {
                    self.give(Output::Exit(code));
                }
            }
            kind => {
                // A session without a handshake: agents ask ECS's commands for none, unless the
                // session is to be encrypted (`SingleCommand.RequireHandshake`).
                if self.ready != Ready::Shaking {
                    self.ready = Ready::Yes;
                }
                if message.payload.is_empty() {
                    return;
                }
                self.give(match kind {
                    payload::STDERR => Output::Stderr(message.payload),
                    _ => Output::Stdout(message.payload),
                });
            }
        }
    }

    /// Answers a handshake; the answer goes before everything that is held back.
    fn shake(&mut self, message: &Message, now: Instant) {
        self.ready = Ready::Shaking;
        let request: HandshakeRequest =
            serde_json::from_slice(&message.payload).unwrap_or_default();
        tracing::debug!(agent = request.agent_version, "a session begins");
        let actions = request.requested_client_actions.into_iter();
        let actions: Vec<Processed> = actions.map(|action| self.act(action)).collect();
        let errors = actions.iter().map(|action| action.error.clone());
        let response = HandshakeResponse {
            client_version: VERSION,
            errors: errors.filter(|error| !error.is_empty()).collect(),
            processed_client_actions: actions,
        };
        let json = serde_json::to_vec(&response).unwrap_or_default();
        self.send(payload::HANDSHAKE_RESPONSE, json.into(), now);
    }

    fn act(&mut self, action: Requested) -> Processed {
        let parameter = |name: &str| {
            let value = action.action_parameters.get(name)?;
            Some(value.as_str()?.to_owned())
        };
        let (action_status, error) = match action.action_type.as_str() {
            "SessionType" => match parameter("SessionType").as_deref() {
                Some("Standard_Stream" | "InteractiveCommands" | "NonInteractiveCommands") => {
                    (status::SUCCESS, String::new())
                }
                other => {
                    let other = other.unwrap_or_default();
                    let error = format!("Unknown session type {other}");
                    self.close(Closed::Lost(format!(
                        "the other side wants a session of the type `{other}`"
                    )));
                    (status::FAILED, error)
                }
            },
            "KMSEncryption" => {
                self.close(Closed::Encrypted(parameter("KMSKeyId")));
                let error = "this client does not encrypt sessions with a KMS key";
                (status::FAILED, error.to_owned())
            }
            other => (status::UNSUPPORTED, format!("Unsupported action {other}")),
        };
        Processed {
            action_type: action.action_type.clone(),
            action_status,
            action_result: serde_json::Value::Null,
            error,
        }
    }

    fn hold(&mut self, kind: u32, content: &impl Serialize) {
        if let Ok(json) = serde_json::to_vec(content) {
            self.held.push_back((kind, json.into()));
        }
    }

    /// Sends what is held back, as far as the other side takes it.
    fn flush(&mut self, now: Instant) {
        while self.ready == Ready::Yes && !self.paused && self.sending.has_room() {
            let Some((kind, bytes)) = self.held.pop_front() else {
                return;
            };
            self.send(kind, bytes, now);
        }
    }

    fn send(&mut self, kind: u32, bytes: Bytes, now: Instant) {
        let message = Message::new(Kind::Input, self.sending.number(), kind, bytes);
        let packed = Bytes::from(message.pack());
        self.sending.note(packed.clone(), now);
        self.frames.push_back(packed);
    }
}

fn acknowledgement(of: &Message) -> Bytes {
    let content = Acknowledgement {
        kind: of.kind.name().to_owned(),
        id: of.id.to_string(),
        sequence: of.sequence,
        is_sequential_message: true,
    };
    let json = serde_json::to_vec(&content).unwrap_or_default();
    let mut message = Message::new(Kind::Acknowledge, 0, 0, json.into());
    // Of a stream that begins and ends with it, as plugin and agent have it
    // (`SerializeClientMessageWithAcknowledgeContent`, `sendAcknowledgeMessage`).
    message.flags = 3;
    message.pack().into()
}
