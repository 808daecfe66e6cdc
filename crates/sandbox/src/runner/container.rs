//! One container from its start to its end: process, relays, output, files.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::exec::{ExecError, Place, Surroundings};
use super::invocation::Invocation;
use super::namespace::{self, ADDRESS, Folders};
use super::output::copy_lines;
use super::relay::{Dialer, host_ports, relay_inbound, relay_outbound};
use super::simulated::Running;
use super::terminal::{self, Terminal};
use super::{ContainerSpec, Exit, LogSink, StartError, Stream};
use crate::moto::free_port;
use crate::process::{Guard, Process, bound_command, supervise};

/// How long output may still come after the process has ended.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// A started container. Dropping it does not stop it.
#[derive(Clone)]
pub struct Container {
    address: Option<SocketAddr>,
    exit: watch::Receiver<Option<Exit>>,
    body: Body,
}

/// What a container is.
#[derive(Clone)]
enum Body {
    Process {
        process: Process,
        boundary: Boundary,
        surroundings: Arc<Surroundings>,
    },
    Simulated(Running),
}

/// What ends every process of a container.
#[derive(Clone, Copy)]
enum Boundary {
    /// The process is the first of a process namespace: the others end with it.
    Namespace,
    /// The process leads a process group.
    Group,
}

type Pipes = (ChildStdout, ChildStderr);

impl Container {
    /// Starts in namespaces of its own, with relays across them.
    pub(super) async fn isolated(
        spec: ContainerSpec,
        folders: Folders,
        invocation: Invocation,
        open: BTreeSet<SocketAddr>,
    ) -> Result<Self, StartError> {
        let ports = host_ports(&invocation.env, spec.port).await;
        let apart = |server: &SocketAddr| Some(server.port()) != spec.port;
        let open: BTreeSet<SocketAddr> = open.into_iter().filter(apart).collect();
        let own = folders.own.clone();
        let surroundings = Surroundings::new(&invocation, Place::Inside);
        let start = move || -> Result<_, StartError> {
            namespace::enter()?;
            let outbound = namespace::listen_for_host(&ports, &open);
            let mut command = namespace::prepare(&folders, &invocation)?;
            let dialer = Dialer::start()?;
            namespace::own_processes()?;
            let (child, pipes) = spawn(&mut command, &invocation)?;
            Ok((child, (pipes, outbound, dialer)))
        };
        let (process, (pipes, outbound, dialer)) = supervise(&spec.name, start).await?;
        let mut relays = JoinSet::new();
        let mut address = None;
        if let Some(port) = spec.port {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            address = Some(listener.local_addr()?);
            relays.spawn(relay_inbound(listener, dialer, (ADDRESS, port).into()));
        }
        for (listener, server) in outbound {
            relays.spawn(relay_outbound(TcpListener::from_std(listener)?, server));
        }
        let watched = Watched {
            relays,
            pipes,
            logs: spec.logs,
            own,
        };
        let boundary = Boundary::Namespace;
        Ok(watched.container(process, boundary, address, surroundings))
    }

    /// Starts among the host's own processes, on a port of its own.
    pub(super) async fn shared(
        spec: ContainerSpec,
        folders: Folders,
        mut invocation: Invocation,
    ) -> Result<Self, StartError> {
        let (mut address, mut moved) = (None, None);
        if let Some(asked) = spec.port {
            // Only what the app was told can be told otherwise: who is not given its port listens
            // on its own, as on ECS, which sets no `PORT` (the variables that it sets: Amazon ECS
            // Developer Guide, "Amazon ECS task metadata endpoint version 4").
            let told = invocation.env.get("PORT") == Some(&asked.to_string());
            let port = if told { free_port()? } else { asked };
            if told {
                invocation.env.insert("PORT".into(), port.to_string());
                moved = Some((asked, port));
            }
            address = Some(([127, 0, 0, 1], port).into());
        }
        let own = folders.own.clone();
        let image = folders.image.clone();
        let surroundings = Surroundings::new(&invocation, Place::Beside { image, moved });
        let start = move || -> Result<_, StartError> {
            let mut command = bound_command(&invocation.program);
            command
                .args(&invocation.argv[1..])
                .current_dir(shared_folder(&folders, &invocation.working_dir));
            spawn(&mut command, &invocation).map_err(StartError::from)
        };
        let (process, pipes) = supervise(&spec.name, start).await?;
        let watched = Watched {
            relays: JoinSet::new(),
            pipes,
            logs: spec.logs,
            own,
        };
        let boundary = Boundary::Group;
        Ok(watched.container(process, boundary, address, surroundings))
    }

    /// One that only seems to run.
    pub(super) fn simulated(running: Running) -> Self {
        Self {
            address: running.answers,
            exit: running.exit(),
            body: Body::Simulated(running),
        }
    }

    /// A loopback address that reaches the container's port. `None` when it has no port.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whether a simulated container answers as a healthy one would. `None` for a real one: ask it.
    pub fn seems_healthy(&self) -> Option<bool> {
        match &self.body {
            Body::Process { .. } => None,
            Body::Simulated(running) => Some(running.healthy()),
        }
    }

    /// `None` while it runs.
    pub fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits for the process to end; all its output has been handed over by then.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit::with(255)),
            Err(_) => Exit::with(255),
        }
    }

    /// Runs a further command in the container, as its user, with its environment and working
    /// folder, and waits for it; its output is thrown away.
    ///
    /// A command that the container does not have ends with 127, as in a shell. One that takes
    /// longer than `limit` is killed, with what it started. Without namespaces the program of the
    /// unpacked image runs among the host's processes, and the container's port in its arguments
    /// becomes the one that the container has. In a simulated container it ends with 0 when that is
    /// healthy, else 1.
    pub async fn exec(&self, command: &[String], limit: Duration) -> Result<Exit, ExecError> {
        match &self.body {
            Body::Process {
                process,
                surroundings,
                ..
            } => surroundings.run(process, command, limit).await,
            Body::Simulated(_) if self.exit().is_some() => Err(ExecError::Ended),
            Body::Simulated(running) => Ok(Exit::with(i32::from(!running.healthy()))),
        }
    }

    /// Starts a further command in a terminal of its own, as root and with these variables beside
    /// the container's own.
    ///
    /// Without namespaces the program of the unpacked image runs among the host's processes. In a
    /// simulated container it does what [`Behaviour::commands`](super::Behaviour) says.
    pub async fn terminal(
        &self,
        command: &[String],
        variables: &[(&str, &str)],
    ) -> Result<Terminal, ExecError> {
        match &self.body {
            Body::Process {
                process,
                surroundings,
                ..
            } => {
                let mut surroundings = Surroundings::clone(surroundings);
                for (name, value) in variables {
                    let value = (*value).to_owned();
                    surroundings.env.entry((*name).to_owned()).or_insert(value);
                }
                terminal::start(&surroundings, process, command).await
            }
            Body::Simulated(_) if self.exit().is_some() => Err(ExecError::Ended),
            Body::Simulated(running) => Ok(running.terminal(command)),
        }
    }

    /// SIGTERM, and SIGKILL after `grace`. Returns how it ended.
    ///
    /// As in any container, the process is the first of its namespace: without a handler of its
    /// own for SIGTERM it does not hear it. A simulated one exits at once.
    pub async fn stop(&self, grace: Duration) -> Exit {
        self.signal(Signal::SIGTERM);
        match tokio::time::timeout(grace, self.wait()).await {
            Ok(exit) => exit,
            Err(_) => self.kill().await,
        }
    }

    pub(super) async fn kill(&self) -> Exit {
        self.signal(Signal::SIGKILL);
        self.wait().await
    }

    /// Its first process. `None` when it is simulated.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.body {
            Body::Process { process, .. } => Some(process.pid()),
            Body::Simulated(_) => None,
        }
    }

    fn signal(&self, signal: Signal) {
        match &self.body {
            Body::Process { process, .. } if process.exit().is_some() => {}
            Body::Process {
                process, boundary, ..
            } => match boundary {
                Boundary::Group => process.signal_group(signal),
                Boundary::Namespace => process.signal(signal),
            },
            Body::Simulated(running) => running.stop(),
        }
    }
}

/// What a running container's process leaves behind to look after.
struct Watched {
    relays: JoinSet<()>,
    pipes: Pipes,
    logs: LogSink,
    /// Its own folder, removed at its end.
    own: PathBuf,
}

impl Watched {
    /// Passes the output on, and tells of the end once all output has been.
    fn container(
        self,
        process: Process,
        boundary: Boundary,
        address: Option<SocketAddr>,
        surroundings: Surroundings,
    ) -> Container {
        let (mut relays, (stdout, stderr), logs, own) =
            (self.relays, self.pipes, self.logs, self.own);
        let (ended, exit) = watch::channel(None);
        let watched = process.clone();
        let group = matches!(boundary, Boundary::Group);
        let guard = Guard::over(&process, group);
        tokio::spawn(async move {
            let mut output = JoinSet::new();
            // A pipe that cannot be registered says nothing; the process runs all the same.
            if let Ok(pipe) = tokio::process::ChildStdout::from_std(stdout) {
                output.spawn(copy_lines(pipe, Stream::Stdout, logs.clone()));
            }
            if let Ok(pipe) = tokio::process::ChildStderr::from_std(stderr) {
                output.spawn(copy_lines(pipe, Stream::Stderr, logs));
            }
            let code = watched.wait().await;
            drop(guard);
            if group {
                watched.signal_group(Signal::SIGKILL);
            }
            let drained = async { while output.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(OUTPUT_GRACE, drained).await;
            relays.shutdown().await;
            // Files that stay behind go with the runner's scratch folder.
            let _ = tokio::fs::remove_dir_all(own).await;
            ended.send_replace(Some(Exit::with(code)));
        });
        Container {
            address,
            exit,
            body: Body::Process {
                process,
                boundary,
                surroundings: Arc::new(surroundings),
            },
        }
    }
}

fn shared_folder(folders: &Folders, working_dir: &Path) -> PathBuf {
    let folder = super::rootfs::resolve(&folders.image, working_dir);
    folder
        .filter(|it| it.is_dir())
        .unwrap_or(folders.image.clone())
}

fn spawn(command: &mut Command, invocation: &Invocation) -> std::io::Result<(Child, Pipes)> {
    let mut child = command
        .env_clear()
        .envs(&invocation.env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in the sandbox's terminal is the sandbox's to act on.
        .process_group(0)
        .spawn()?;
    let lost = || std::io::Error::other("a child process without pipes");
    let stdout = child.stdout.take().ok_or_else(lost)?;
    let stderr = child.stderr.take().ok_or_else(lost)?;
    Ok((child, (stdout, stderr)))
}
