//! A further command of a container in a terminal of its own.

use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pty_process::{Command, Size};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::exec::{ExecError, Surroundings};
use crate::process::Process;

/// How much is read from a terminal at once.
const PIECE: usize = 1024;
/// How long a command that was killed may hold its terminal.
const KILLED: Duration = Duration::from_secs(2);
/// How long after a command lost its terminal the end of its container may be known, which took it
/// along.
const FIRST_ENDS: Duration = Duration::from_millis(150);
/// What is typed, or done to the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Keys.
    Keys(Bytes),
    /// The window has so many columns and rows.
    Size(u16, u16),
}

/// A command in a terminal. Dropping it closes the terminal, which its command hears as a hang-up.
pub struct Terminal {
    pub(super) output: mpsc::Receiver<Bytes>,
    pub(super) typed: mpsc::Sender<Typed>,
    pub(super) killed: CancellationToken,
    pub(super) gone: CancellationToken,
}

impl Terminal {
    /// What comes next on the screen. `None` once nobody holds the terminal any more: the command
    /// has ended, and so has whatever it left behind there. While nobody asks, nothing is read,
    /// and the command waits when the terminal is full.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.output.recv().await
    }

    /// Whether the container ended under it, and took whoever carries it along: the first process
    /// of a container ends all others. To be asked once [`Terminal::next`] gave `None`.
    pub fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Types. What comes after the end is lost.
    pub async fn put(&self, typed: Typed) {
        let _ = self.typed.send(typed).await;
    }

    /// Kills the command itself, not what it has started, and closes the terminal.
    pub fn kill(&self) {
        self.killed.cancel();
    }
}

/// Starts a command of a real container.
pub(super) async fn start(
    surroundings: &Surroundings,
    first: &Process,
    argv: &[String],
) -> Result<Terminal, ExecError> {
    let (program, arguments) = surroundings.in_a_terminal(first, argv).await?;
    let opened = pty_process::open();
    let (pty, pts) = opened.map_err(|error| ExecError::Machine(error.to_string()))?;
    let mut command = Command::new(program);
    command = command
        .args(arguments)
        .env_clear()
        .envs(&surroundings.env)
        .kill_on_drop(true);
    if let Some(folder) = surroundings.folder() {
        command = command.current_dir(folder);
    }
    let spawned = command.spawn(pts);
    let child = spawned.map_err(|error| ExecError::Machine(error.to_string()))?;
    let (out, output) = mpsc::channel(1);
    let (typed, keys) = mpsc::channel(64);
    let (killed, gone) = (CancellationToken::new(), CancellationToken::new());
    tokio::spawn(converse(
        pty,
        child,
        (out, keys),
        (killed.clone(), first.clone(), gone.clone()),
    ));
    Ok(Terminal {
        output,
        typed,
        killed,
        gone,
    })
}

/// Carries the terminal until it is closed, then waits for the command.
async fn converse(
    pty: pty_process::Pty,
    mut child: Child,
    (out, mut keys): (mpsc::Sender<Bytes>, mpsc::Receiver<Typed>),
    (killed, first, gone): (CancellationToken, Process, CancellationToken),
) {
    let (mut from, mut to) = pty.into_split();
    let reading = async {
        let mut piece = [0; PIECE];
        // The kernel answers with an error once nobody has the other side open.
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            if out
                .send(Bytes::copy_from_slice(&piece[..count]))
                .await
                .is_err()
            {
                break;
            }
        }
    };
    let writing = async {
        while let Some(typed) = keys.recv().await {
            let put = match typed {
                Typed::Keys(keys) => to.write_all(&keys).await.is_ok(),
                // A window of no size is told as such.
                Typed::Size(columns, rows) => to.resize(Size::new(rows, columns)).is_ok(),
            };
            if !put {
                break;
            }
        }
        // Nobody types any more, and the screen goes on.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // The kernel kills the others before the first one's end is known.
        () = reading => {
            if tokio::time::timeout(FIRST_ENDS, first.wait()).await.is_ok() {
                gone.cancel();
            }
        }
        () = writing => {}
        () = killed.cancelled() => kill_alone(&child),
        // A container takes its commands with it, and its agent.
        _ = first.wait() => gone.cancel(),
    }
    drop(out);
    drop((from, to));
    if tokio::time::timeout(KILLED, child.wait()).await.is_err() {
        kill_alone(&child);
        // It is reaped, or was a moment ago.
        let _ = tokio::time::timeout(KILLED, child.wait()).await;
    }
}

/// Kills the command: `nsenter`'s only child where there is one, else the process itself.
fn kill_alone(child: &Child) {
    let Some(pid) = child.id() else {
        return;
    };
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let inner = children.unwrap_or_default();
    let inner = inner
        .split_whitespace()
        .next()
        .and_then(|it| it.parse().ok());
    let pid = match (name.trim() == "nsenter", inner) {
        (true, Some(inner)) => inner,
        (true, None) | (false, _) => i32::try_from(pid).unwrap_or(i32::MAX),
    };
    // It may have ended this moment.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}
