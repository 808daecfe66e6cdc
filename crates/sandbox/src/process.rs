//! Starts child processes that do not outlive this one.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};

/// A child process: its id, and how it ended once it has.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pid: u32,
    exit: watch::Receiver<Option<i32>>,
}

/// A command that ends with the *thread* that starts it: where the machine has `setpriv`, the
/// kernel sends SIGKILL. One that changes its user is let off; that is what [`Guard`] is for.
pub(crate) fn bound_command(program: &Path) -> Command {
    match find_in_path("setpriv") {
        None => Command::new(program),
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
    }
}

/// A user of this machine that servers which refuse to run as root run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Who programs that must not run as root are to run as: nobody else when this process is not
/// root's, otherwise the first of `names` that this machine knows.
pub(crate) fn unprivileged(names: &[&str]) -> Result<Option<User>, String> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let known = names.iter().find_map(|name| {
        let found = nix::unistd::User::from_name(name).ok().flatten()?;
        Some(User {
            uid: found.uid.as_raw(),
            gid: found.gid.as_raw(),
        })
    });
    match known {
        Some(user) => Ok(Some(user)),
        None => Err(format!(
            "it does not run as root, and of the users {} there is none",
            names.join(", ")
        )),
    }
}

/// A command of another user that ends with the *thread* that starts it, by `signal`.
pub(crate) fn bound_command_as(user: Option<User>, signal: Signal, program: &Path) -> Command {
    let Some(setpriv) = find_in_path("setpriv") else {
        let mut command = Command::new(program);
        if let Some(user) = user {
            command.uid(user.uid).gid(user.gid);
        }
        return command;
    };
    let mut command = Command::new(setpriv);
    if let Some(user) = user {
        command
            .arg(format!("--reuid={}", user.uid))
            .arg(format!("--regid={}", user.gid))
            .arg("--clear-groups");
    }
    let signal = signal.as_str().trim_start_matches("SIG");
    // It is the last thing that `setpriv` does: a change of user would take it back.
    command.args(["--pdeathsig", signal, "--"]).arg(program);
    command
}

/// Kills a process once this one is gone, however it went.
pub(crate) struct Guard {
    guard: Child,
}

impl Guard {
    /// Watches over a process, or with `group` over every process of the group that it leads.
    pub(crate) fn over(process: &Process, group: bool) -> io::Result<Self> {
        let sign = if group { "-" } else { "" };
        Self::start(&format!("{sign}{}", process.pid), Signal::SIGKILL)
    }

    /// Watches over a process that ends in order by `signal`.
    pub(crate) fn over_with(process: &Process, signal: Signal) -> io::Result<Self> {
        Self::start(&process.pid.to_string(), signal)
    }

    fn start(target: &str, signal: Signal) -> io::Result<Self> {
        // The read ends without a line when the last holder of the pipe is gone: this process.
        let script = "read -r _ || kill -s \"$2\" -- \"$1\"";
        let signal = signal.as_str().trim_start_matches("SIG");
        let guard = Command::new("/bin/sh")
            .args(["-c", script, "guard", target, signal])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { guard })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Killed before its pipe closes, so that it strikes nobody who has the same id by now.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

/// The first executable of that name in `PATH`.
pub(crate) fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(name));
    candidates.find(|it| it.is_file())
}

/// Starts a child from a thread of its own, which lives as long as the child does, so that
/// [`bound_command`] means this process. `start` runs on that thread; so does whatever it
/// changes for itself, such as namespaces.
pub(crate) async fn supervise<T: Send + 'static, E: From<io::Error> + Send + 'static>(
    name: &str,
    start: impl FnOnce() -> Result<(Child, T), E> + Send + 'static,
) -> Result<(Process, T), E> {
    let (ended, exit) = watch::channel(None);
    let (report, started) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("child {name}"))
        .spawn(move || {
            let mut child = match start() {
                Err(error) => {
                    // Nobody waits for it any more: nothing is left to tell.
                    let _ = report.send(Err(error));
                    return;
                }
                Ok((child, parts)) => {
                    let pid = child.id();
                    let _ = report.send(Ok((Process { pid, exit }, parts)));
                    child
                }
            };
            let code = child.wait().map_or(255, exit_code);
            ended.send_replace(Some(code));
        })?;
    let lost = |_| io::Error::other("the thread of a child process ended");
    started.await.map_err(lost)?
}

/// The exit code as shells word it: 128 + the signal when killed.
fn exit_code(status: ExitStatus) -> i32 {
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).unwrap_or(255)
}

impl Process {
    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The exit code; `None` while it runs.
    pub(crate) fn exit(&self) -> Option<i32> {
        *self.exit.borrow()
    }

    /// Waits for the end.
    pub(crate) async fn wait(&self) -> i32 {
        let mut exit = self.exit.clone();
        let exit = exit.wait_for(Option::is_some).await;
        exit.map_or(255, |code| code.unwrap_or(255))
    }

    /// Sends a signal to the process, if it still runs.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.exit().is_none() {
            // It may have ended this moment.
            let _ = kill(self.id(), signal);
        }
    }

    /// Sends a signal to every process of the group that it leads.
    pub(crate) fn signal_group(&self, signal: Signal) {
        let _ = killpg(self.id(), signal);
    }

    fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.pid).unwrap_or(i32::MAX))
    }
}
