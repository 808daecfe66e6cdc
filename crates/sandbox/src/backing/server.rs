//! One server process: its folder, its address, its start and its end.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::BackingError;
use crate::process::{Guard, Process, User, bound_command_as, supervise};

/// How long a server may take to end by itself.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long a server may take until it answers; machines that test are busy.
pub(super) const START_LIMIT: Duration = Duration::from_secs(180);
/// Between two looks at a server that starts.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// A server that can be started and stopped, always at the same address.
pub(super) struct Server {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) endpoint: SocketAddr,
    pub(super) user: Option<User>,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// What it gets when the sandbox was killed.
    pub(super) orphaned: Signal,
    /// Ends it in order, without waiting for its clients.
    pub(super) end: Signal,
    pub(super) running: tokio::sync::Mutex<Option<Running>>,
}

pub(super) struct Running {
    pub(super) process: Process,
    /// A killed sandbox takes its servers with it.
    _guard: Guard,
}

impl Server {
    /// Starts the process and waits until `answers` says so. Nothing happens when it runs already.
    pub(super) async fn start<F: Future<Output = bool>>(
        &self,
        answers: impl Fn() -> F,
    ) -> Result<(), BackingError> {
        let mut running = self.running.lock().await;
        if running
            .as_ref()
            .is_some_and(|it| it.process.exit().is_none())
        {
            return Ok(());
        }
        let log = create_private(&self.log(), "", None)?;
        let mut command = bound_command_as(self.user, self.orphaned, &self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in the sandbox's terminal is the sandbox's to act on.
            .process_group(0);
        let start = move || Ok::<_, std::io::Error>((command.spawn()?, ()));
        let (process, ()) = supervise(self.kind, start).await?;
        let guard = Guard::over_with(&process, self.orphaned)?;
        let listening = async {
            while !answers().await {
                if let Some(code) = process.exit() {
                    return Err(self.failed(&format!("ended with exit code {code}")));
                }
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        match tokio::time::timeout(START_LIMIT, listening).await {
            Ok(started) => started?,
            Err(_) => {
                process.signal(Signal::SIGKILL);
                return Err(self.failed("does not answer"));
            }
        }
        *running = Some(Running {
            process,
            _guard: guard,
        });
        Ok(())
    }

    /// Ends the process, if it runs, and waits for its end.
    pub(super) async fn stop(&self) {
        let stopped = self.running.lock().await.take();
        if let Some(running) = stopped {
            running.process.signal(self.end);
            let ended = tokio::time::timeout(STOP_LIMIT, running.process.wait()).await;
            if ended.is_err() {
                running.process.signal(Signal::SIGKILL);
                running.process.wait().await;
            }
        }
    }

    /// Has it reread its configuration.
    pub(super) async fn hang_up(&self) {
        if let Some(running) = self.running.lock().await.as_ref() {
            running.process.signal(Signal::SIGHUP);
        }
    }

    /// The id of the process while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        let running = self.running.try_lock().ok()?;
        let process = &running.as_ref()?.process;
        process.exit().is_none().then(|| process.pid())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// What went wrong, with the last words of the server.
    fn failed(&self, what: &str) -> BackingError {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("; ");
        BackingError::Machine(format!("{} {what}: {last}", self.kind))
    }
}

/// An address of loopback that nobody else has, so that a server can have its vendor's port:
/// clients of Cloud SQL are told no other, and RDS answers the one that was asked for. Where that
/// cannot be had, 127.0.0.1 with any free port.
pub(super) fn place(port: u16) -> std::io::Result<SocketAddr> {
    for _ in 0..4 {
        let [_, x, y, z, ..] = *uuid::Uuid::new_v4().as_bytes();
        // 127.64.0.0 and up: distributions have their own uses for the lowest addresses.
        let address = Ipv4Addr::new(127, 64 + x % 128, y, 1 + z % 254);
        if TcpListener::bind((address, port)).is_ok() {
            return Ok((address, port).into());
        }
    }
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// Writes a file that only its owner may read.
pub(super) fn create_private(
    path: &Path,
    text: &str,
    user: Option<User>,
) -> std::io::Result<std::fs::File> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    give(path, user)?;
    Ok(file)
}

/// Makes a folder that only its owner may enter.
pub(super) fn create_folder(path: &Path, user: Option<User>) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
    give(path, user)
}

fn give(path: &Path, user: Option<User>) -> std::io::Result<()> {
    match user {
        Some(user) => chown(path, Some(user.uid), Some(user.gid)),
        None => Ok(()),
    }
}
