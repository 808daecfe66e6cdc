//! Runs a further command inside a container that runs: in its namespaces, root and environment.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::Exit;
use super::invocation::{Invocation, find_program};
use super::rootfs::resolve;
use crate::process::{Process, bound_command, find_in_path, supervise};

/// What shells and container engines answer for a command that is not there.
const NOT_FOUND: Exit = Exit::with(127);

/// How often it is looked whether a container has entered its own root.
const ENTERING: Duration = Duration::from_millis(10);

/// Why a command in a container has no exit code.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExecError {
    /// It ran longer than it was given, and was killed.
    #[error("the command took longer than {0:?}")]
    TimedOut(Duration),
    /// The container has ended.
    #[error("the container does not run")]
    Ended,
    /// The container has no such program, or it cannot be executed.
    #[error("the container has no `{0}`")]
    Absent(String),
    /// The machine refused.
    #[error("cannot run a command in the container: {0}")]
    Machine(String),
}

/// What a further command of a container has in common with its first.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) env: BTreeMap<String, String>,
    /// A path in the image.
    pub(super) working_dir: PathBuf,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) place: Place,
}

/// Where a container's processes are.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In namespaces and a root of their own.
    Inside,
    /// Among the host's, with the image unpacked here.
    Beside {
        /// The unpacked image.
        image: PathBuf,
        /// The port that the container was asked to listen on, and the one that it has instead.
        moved: Option<(u16, u16)>,
    },
}

impl Surroundings {
    pub(super) fn new(invocation: &Invocation, place: Place) -> Self {
        Self {
            env: invocation.env.clone(),
            working_dir: invocation.working_dir.clone(),
            uid: invocation.uid,
            gid: invocation.gid,
            place,
        }
    }

    /// Runs `argv` and kills it, with what it started, after `limit` or when dropped.
    pub(super) async fn run(
        &self,
        first: &Process,
        argv: &[String],
        limit: Duration,
    ) -> Result<Exit, ExecError> {
        let ran = tokio::time::timeout(limit, self.run_to_end(first, argv));
        ran.await.unwrap_or(Err(ExecError::TimedOut(limit)))
    }

    async fn run_to_end(&self, first: &Process, argv: &[String]) -> Result<Exit, ExecError> {
        let command = match &self.place {
            Place::Inside => {
                entered(first).await?;
                Some(self.inside(first.pid(), argv)?)
            }
            Place::Beside { image, moved } => self.beside(image, *moved, argv),
        };
        let Some(mut command) = command else {
            return Ok(NOT_FOUND);
        };
        command
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let start = move || Ok::<_, std::io::Error>((command.spawn()?, ()));
        let (process, ()) = supervise("exec", start).await.map_err(machine)?;
        let group = Group(process);
        let code = group.0.wait().await;
        // A container that ended takes its commands with it; their codes mean nothing.
        match first.exit() {
            None => Ok(Exit::with(code)),
            Some(_) => Err(ExecError::Ended),
        }
    }

    /// `nsenter` looks the program up as the container would, and ends with 127 or 126 as shells
    /// do.
    fn inside(&self, pid: u32, argv: &[String]) -> Result<Command, ExecError> {
        let (nsenter, words) = self.entering(pid, (self.uid, self.gid), argv)?;
        let mut command = bound_command(&nsenter);
        command.args(words);
        Ok(command)
    }

    /// The program that runs a command in the container as this user, and its words.
    fn entering(
        &self,
        pid: u32,
        (uid, gid): (u32, u32),
        argv: &[String],
    ) -> Result<(PathBuf, Vec<String>), ExecError> {
        let nsenter =
            find_in_path("nsenter").ok_or_else(|| machine("`nsenter` is not installed"))?;
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        // Links in the path are the container's, not the host's.
        let folder = resolve(&root, &self.working_dir).unwrap_or(root);
        let options = ["--mount", "--net", "--pid", "--root"].map(str::to_owned);
        let mut words = Vec::from(options);
        words.extend([
            format!("--target={pid}"),
            format!("--wd={}", folder.display()),
            format!("--setgid={gid}"),
            format!("--setuid={uid}"),
            "--".to_owned(),
        ]);
        words.extend_from_slice(argv);
        Ok((nsenter, words))
    }

    /// What runs a command in a terminal, as root whoever the container's user is: "The SSM agent
    /// and its child processes run as root even when you specify a user ID for the container"
    /// (Amazon ECS Developer Guide, "Monitor Amazon ECS containers with ECS Exec"). The folder is
    /// ours.
    ///
    /// Errors: [`ExecError::Absent`] for a program that the container has not, before anything
    /// starts.
    pub(super) async fn in_a_terminal(
        &self,
        first: &Process,
        argv: &[String],
    ) -> Result<(PathBuf, Vec<String>), ExecError> {
        let program = argv.first().map(String::as_str).unwrap_or_default();
        let absent = || ExecError::Absent(program.to_owned());
        let path = self.env.get("PATH").map_or("", String::as_str);
        match &self.place {
            Place::Inside => {
                entered(first).await?;
                let root = PathBuf::from(format!("/proc/{}/root", first.pid()));
                find_program(&root, &self.working_dir, path, program).ok_or_else(absent)?;
                let (nsenter, words) = self.entering(first.pid(), (0, 0), argv)?;
                Ok(leading(first.pid(), nsenter, words))
            }
            Place::Beside { image, moved } => {
                let found = find_program(image, &self.working_dir, path, program);
                let found = found.ok_or_else(absent)?;
                let words = argv[1..].iter().map(|word| match moved {
                    Some((from, to)) => with_port(word, *from, *to),
                    None => word.clone(),
                });
                Ok((found, words.collect()))
            }
        }
    }

    /// The folder that a command begins in, where it does not enter the container by itself.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Inside => None,
            Place::Beside { image, .. } => {
                let folder = resolve(image, &self.working_dir).filter(|it| it.is_dir());
                Some(folder.unwrap_or_else(|| image.clone()))
            }
        }
    }

    /// `None` when the image has no such program.
    fn beside(&self, image: &Path, moved: Option<(u16, u16)>, argv: &[String]) -> Option<Command> {
        let path = self.env.get("PATH").map_or("", String::as_str);
        let program = find_program(image, &self.working_dir, path, argv.first()?)?;
        let words = argv[1..].iter().map(|word| match moved {
            Some((from, to)) => with_port(word, from, to),
            None => word.clone(),
        });
        let folder = resolve(image, &self.working_dir).filter(|it| it.is_dir());
        let mut command = bound_command(&program);
        command
            .args(words)
            .current_dir(folder.as_deref().unwrap_or(image));
        Some(command)
    }
}

/// The same where the command leads a session of its own inside the container: a shell there gives
/// the terminal to groups by their numbers, and a leader outside has none that it could see. Taking
/// a terminal from the leader outside is root's to do; elsewhere it stays with that.
fn leading(pid: u32, nsenter: PathBuf, words: Vec<String>) -> (PathBuf, Vec<String>) {
    let setsid = find_in_path("setsid").filter(|_| nix::unistd::geteuid().is_root());
    let Some(setsid) = setsid else {
        return (nsenter, words);
    };
    let path = |path: &Path| path.display().to_string();
    let mut all = vec![
        "--pid".to_owned(),
        format!("--target={pid}"),
        "--".to_owned(),
    ];
    all.extend([path(&setsid), "--ctty".to_owned(), path(&nsenter)]);
    all.extend(words.into_iter().filter(|word| word != "--pid"));
    (nsenter, all)
}

/// A process group that ends with its owner.
struct Group(Process);

impl Drop for Group {
    fn drop(&mut self) {
        self.0.signal_group(Signal::SIGKILL);
    }
}

/// Waits until a container that was just started has left the host's root: whoever follows it
/// earlier finds the host's files.
async fn entered(first: &Process) -> Result<(), ExecError> {
    let identity = |path: &str| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let host = identity("/");
    loop {
        if first.exit().is_some() {
            return Err(ExecError::Ended);
        }
        let own = identity(&format!("/proc/{}/root", first.pid()));
        if own.is_some() && own != host {
            return Ok(());
        }
        tokio::time::sleep(ENTERING).await;
    }
}

/// The text with the port of its loopback addresses changed: without namespaces the container
/// listens elsewhere than its commands say.
fn with_port(text: &str, from: u16, to: u16) -> String {
    let mut changed = text.to_owned();
    for host in ["localhost", "127.0.0.1", "0.0.0.0", "[::1]"] {
        let (old, new) = (format!("{host}:{from}"), format!("{host}:{to}"));
        let mut parts = changed.split(&old);
        let mut joined = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let longer = part.starts_with(|next: char| next.is_ascii_digit());
            joined.push_str(if longer { &old } else { &new });
            joined.push_str(part);
        }
        changed = joined;
    }
    changed
}

fn machine(error: impl std::fmt::Display) -> ExecError {
    ExecError::Machine(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn without_namespaces_a_command_of_the_image_sees_the_port_that_the_container_has() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::copy("/bin/sh", bin.join("sh")).unwrap();
        let place = Place::Beside {
            image: folder.path().to_owned(),
            moved: Some((3000, 41000)),
        };
        let surroundings = Surroundings {
            env: BTreeMap::from([
                ("PATH".to_owned(), "/bin".to_owned()),
                ("PORT".to_owned(), "41000".to_owned()),
            ]),
            working_dir: "/".into(),
            uid: 0,
            gid: 0,
            place,
        };
        let sleeping = || Ok::<_, std::io::Error>((Command::new("sleep").arg("60").spawn()?, ()));
        let (first, ()) = supervise("first", sleeping).await.unwrap();
        let limit = Duration::from_secs(10);
        let run = async |line: &[&str]| surroundings.run(&first, &words(line), limit).await;
        let same = "test http://localhost:3000/ = http://localhost:$PORT/";
        assert_eq!(run(&["/bin/sh", "-c", same]).await, Ok(Exit::with(0)));
        assert_eq!(run(&["sh", "-c", "exit 3"]).await, Ok(Exit::with(3)));
        assert_eq!(run(&["true"]).await, Ok(NOT_FOUND));
        first.signal(Signal::SIGKILL);
        first.wait().await;
        assert_eq!(run(&["sh", "-c", "exit 3"]).await, Err(ExecError::Ended));
    }

    #[test]
    fn only_the_containers_own_port_is_changed() {
        let changed = with_port(
            "curl localhost:80/a localhost:8080 db:80 127.0.0.1:80",
            80,
            9,
        );
        assert_eq!(
            changed,
            "curl localhost:9/a localhost:8080 db:80 127.0.0.1:9"
        );
    }
}
