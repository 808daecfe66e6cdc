//! Carries a channel over a websocket, as fast as the one who reads takes the output.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::channel::Channel;
use crate::{Closed, Gone, Output};

/// Pieces of output that wait for the reader, beside the bytes of [`SPILL`].
const WAITING: usize = 64;
/// So many bytes are read and acknowledged before a reader who is slow has taken any: an agent
/// keeps only so much (see the crate's words). Beyond, nothing more is read from the wire. The
/// number is ours.
const SPILL: usize = 32 * 1024 * 1024;
/// Frames that wait for the wire, and how many may wait for those before nothing more is read.
const OUTBOUND: usize = 256;
const BEFORE_THOSE: usize = 1_024;
/// The plugin pings each five minutes, and its agent each 54 s. Networks between forget silent
/// connections sooner than the former. Ours.
const PING: Duration = Duration::from_secs(30);
/// Who answers no ping for so long is gone. Ours.
const SILENT: Duration = Duration::from_secs(120);
/// How long a websocket may take to close.
const CLOSING: Duration = Duration::from_secs(2);

/// What the user asks of a session.
#[derive(Debug)]
enum Command {
    Input(Bytes),
    Resize(u32, u32),
    Terminate,
}

/// An open session. It ends when this is dropped; the program on the other side is told by its
/// terminal, and ECS keeps the session for 20 minutes more.
pub struct Session {
    outputs: mpsc::Receiver<Output>,
    input: Input,
    begun: watch::Receiver<bool>,
    closed: watch::Receiver<Option<Closed>>,
}

/// Where a session's input goes. Cheap to clone; the session lives on when all are dropped.
#[derive(Clone, Debug)]
pub struct Input {
    commands: mpsc::Sender<Command>,
}

impl Session {
    /// Carries a channel over a websocket that is open and has said who it is.
    pub(crate) fn over<T>(socket: WebSocketStream<T>) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (given, outputs) = mpsc::channel(WAITING);
        let (commands, taken) = mpsc::channel(WAITING);
        let (ended, closed) = watch::channel(None);
        let (begins, begun) = watch::channel(false);
        tokio::spawn(async move {
            let why = carry(socket, given, taken, begins).await;
            ended.send_replace(Some(why));
        });
        Self {
            outputs,
            input: Input { commands },
            begun,
            closed,
        }
    }

    /// What comes next. `None` once the session is over and everything has been given; then
    /// [`Session::closed`] says why. Much of what is not taken here waits; then nothing more is
    /// read from the wire.
    pub async fn next(&mut self) -> Option<Output> {
        self.outputs.recv().await
    }

    /// Waits until the other side has said anything at all, or it is over. An agent that has as
    /// many sessions as it takes says nothing for as long as that is so.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut begun = self.begun.clone();
        async move {
            // It is over.
            let _ = begun.wait_for(|begun| *begun).await;
        }
    }

    /// Where its input goes.
    pub fn input(&self) -> Input {
        self.input.clone()
    }

    /// Waits for its end, and says why it ended. What was not taken is lost.
    pub async fn closed(mut self) -> Closed {
        self.outputs.close();
        let closed = self.closed.wait_for(Option::is_some).await;
        let lost = || Closed::Lost("the session's task ended".to_owned());
        closed.ok().and_then(|why| why.clone()).unwrap_or_else(lost)
    }
}

impl Input {
    /// Sends bytes to the program; waits while the other side takes no more. They are acknowledged
    /// by the other side, or sent again.
    ///
    /// Errors: the session is over.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        self.say(Command::Input(bytes.into())).await
    }

    /// Says how large the terminal is.
    ///
    /// Errors: the session is over.
    pub async fn resize(&self, cols: u32, rows: u32) -> Result<(), Gone> {
        self.say(Command::Resize(cols, rows)).await
    }

    /// Asks the other side to end the session. Agents carry that out for forwarded ports; a program
    /// in a terminal ends by its own input.
    ///
    /// Errors: the session is over.
    pub async fn terminate(&self) -> Result<(), Gone> {
        self.say(Command::Terminate).await
    }

    async fn say(&self, command: Command) -> Result<(), Gone> {
        self.commands.send(command).await.map_err(|_| Gone)
    }
}

async fn carry<T>(
    socket: WebSocketStream<T>,
    outputs: mpsc::Sender<Output>,
    mut commands: mpsc::Receiver<Command>,
    begins: watch::Sender<bool>,
) -> Closed
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut frames) = socket.split();
    let (outbound, mut queue) = mpsc::channel::<Frame>(OUTBOUND);
    // A task of its own: who waits for the wire to take something must go on reading from it.
    let mut writer = tokio::spawn(async move {
        while let Some(frame) = queue.recv().await {
            if sink.send(frame).await.is_err() {
                return;
            }
        }
        // The other side may be gone already.
        let _ = sink.close().await;
    });
    let mut channel = Channel::new();
    let mut listening = true;
    let mut heard = Instant::now();
    let mut ping = tokio::time::interval_at(heard + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let why = loop {
        let nothing_waits = channel.waiting() == 0;
        if let (true, Some(why)) = (nothing_waits, channel.closed.clone()) {
            break why;
        }
        let due = channel.due();
        let reads = channel.waiting_bytes() < SPILL && channel.frames.len() < BEFORE_THOSE;
        tokio::select! {
            room = outputs.reserve(), if !nothing_waits => {
                match (room, channel.output()) {
                    (Ok(room), Some(output)) => room.send(output),
                    (Ok(_), None) => {}
                    (Err(_), _) => break Closed::Local,
                }
            }
            room = outbound.reserve(), if !channel.frames.is_empty() => {
                match (room, channel.frames.pop_front()) {
                    (Ok(room), Some(frame)) => room.send(Frame::Binary(frame)),
                    (Ok(_), None) => {}
                    (Err(_), _) => break Closed::Lost("the connection broke".to_owned()),
                }
            }
            frame = frames.next(), if reads => {
                heard = Instant::now();
                match frame {
                    Some(Ok(Frame::Binary(bytes))) => {
                        channel.receive(&bytes, heard);
                        begins.send_if_modified(|begun| {
                            channel.begun && !std::mem::replace(begun, channel.begun)
                        });
                    }
                    // The end of a session is a message of its own; without it, this is the end of
                    // the connection alone.
                    Some(Ok(Frame::Close(frame))) => {
                        let words = frame.map(|frame| frame.reason.as_str().trim().to_owned());
                        let words = words.filter(|words| !words.is_empty());
                        channel.close(Closed::Lost(match words {
                            Some(words) => format!("the connection was closed: {words}"),
                            None => "the connection was closed".to_owned(),
                        }));
                    }
                    // Pings are answered below this.
                    Some(Ok(Frame::Text(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))) => {}
                    Some(Err(error)) => channel.close(Closed::Lost(error.to_string())),
                    None => channel.close(Closed::Lost("the connection ended".to_owned())),
                }
            }
            command = commands.recv(), if listening && channel.takes_input() => {
                let now = Instant::now();
                match command {
                    Some(Command::Input(bytes)) => channel.input(&bytes, now),
                    Some(Command::Resize(cols, rows)) => channel.resize(cols, rows, now),
                    Some(Command::Terminate) => channel.terminate(now),
                    None => listening = false,
                }
            }
            () = sleep_until(due), if due.is_some() => channel.tick(Instant::now()),
            _ = ping.tick() => {
                // While nothing is read, nothing can be heard.
                if !reads {
                    heard = Instant::now();
                } else if heard.elapsed() >= SILENT {
                    let silent = SILENT.as_secs();
                    break Closed::Lost(format!("nothing was heard for {silent} s"));
                }
                // A queue that is full is as good a sign of life.
                let _ = outbound.try_send(Frame::Ping(Bytes::from_static(b"keepalive")));
            }
            () = outputs.closed() => break Closed::Local,
        }
    };
    for frame in channel.frames {
        if outbound.try_send(Frame::Binary(frame)).is_err() {
            break;
        }
    }
    drop(outbound);
    if tokio::time::timeout(CLOSING, &mut writer).await.is_err() {
        writer.abort();
    }
    why
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}
