//! Containers that only seem to run: no process, no files; the embedding program says how they
//! behave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::image::Image;
use super::invocation::{argv, environment};
use super::terminal::Terminal;
use super::{ContainerSpec, Exit, Purpose, StartError, Stream};
use crate::background::Background;
use crate::clock::Clock;

/// How long a simulated container ends after a command that ends it: so long a task that waits for
/// its program lets an agent send what was printed last.
const LAST: Duration = Duration::from_secs(3);

/// How a simulated container behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// How it ends by itself. `None`: it runs until it is stopped.
    pub exit: Option<Exit>,
    /// Whether it passes its health checks, whatever they ask.
    pub healthy: bool,
    /// What it prints when it starts.
    pub lines: Vec<String>,
    /// The cloud's time until it exits, or, when it does not exit, until it passes health checks.
    pub takes: Duration,
    /// How it ends when it is asked to stop.
    pub stopped: Exit,
    /// A program that its image lacks: a container that is to run it does not start.
    pub lacks: Option<&'static str>,
    /// What a command does that is run in a terminal of it. Each begins anew.
    pub commands: Ran,
    /// Who answers requests in its stead, where that can be asked: at the address of a traffic tag.
    pub answers: Option<SocketAddr>,
}

/// What a command of a simulated container does. It goes on when nobody looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// What it prints when it starts: `{4}` in a line is the command's word of that number.
    pub lines: Vec<String>,
    /// The cloud's time until it ends.
    pub takes: Duration,
    /// What it prints at its end.
    pub last: Vec<String>,
    /// How the container ends with it, if it does.
    pub ends: Option<Exit>,
}

impl Behaviour {
    /// What a container does that nothing is wrong with: one that serves is healthy at once and
    /// stays, one that runs to its end exits with 0 after a second.
    pub fn usual(purpose: Purpose) -> Self {
        let (exit, takes) = match purpose {
            Purpose::Serve => (None, Duration::ZERO),
            Purpose::Finish => (Some(Exit::with(0)), Duration::from_secs(1)),
        };
        Self {
            exit,
            healthy: true,
            lines: Vec::new(),
            takes,
            lacks: None,
            stopped: Exit::with(0),
            commands: Ran::default(),
            answers: None,
        }
    }
}

/// A container that was started, as far as the app in it could tell.
#[derive(Clone, PartialEq, Eq)]
pub struct Started {
    /// As in [`ContainerSpec::name`].
    pub name: String,
    /// The repository as stored.
    pub repository: String,
    /// The digest of the manifest that was asked for: the index, when it is one.
    pub digest: String,
    /// The whole command: the image's, with what overrides it.
    pub command: Vec<String>,
    /// The whole environment, secrets included.
    pub env: BTreeMap<String, String>,
    /// Whether it is to serve or to end.
    pub purpose: Purpose,
    /// When it started, in the clouds' time.
    pub at: jiff::Timestamp,
}

impl std::fmt::Debug for Started {
    /// The environment's names only: some of its values are secrets.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Started")
            .field("name", &self.name)
            .field("digest", &self.digest)
            .field("command", &self.command)
            .field("env", &self.env.keys())
            .field("purpose", &self.purpose)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

type Script = dyn Fn(&Started) -> Behaviour + Send + Sync;

/// What stands for the containers of a sandbox that runs none. Cheap to clone: keep one to see what
/// was started.
#[derive(Clone)]
pub struct Simulated {
    inner: Arc<Inner>,
}

struct Inner {
    script: Box<Script>,
    started: Mutex<Vec<Started>>,
}

impl Simulated {
    /// Every container behaves as `script` says; it is asked once for each, as it starts.
    pub fn new(script: impl Fn(&Started) -> Behaviour + Send + Sync + 'static) -> Self {
        Self {
            inner: Arc::new(Inner {
                script: Box::new(script),
                started: Mutex::default(),
            }),
        }
    }

    /// Every container started until now, in order, also those that have ended.
    pub fn started(&self) -> Vec<Started> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Started>> {
        let started = self.inner.started.lock();
        started.unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what `spec` asks for, as far as the image's own description says that it would start.
    pub(super) fn start(
        &self,
        spec: &ContainerSpec,
        image: &Image,
        (clock, background): (&Clock, &Background),
    ) -> Result<Running, StartError> {
        let command = argv(&image.config, spec);
        if command.is_empty() {
            return Err(StartError::BadImage("no command specified".into()));
        }
        let started = Started {
            name: spec.name.clone(),
            repository: spec.repository.clone(),
            digest: image.requested.clone(),
            command,
            env: environment(&image.config, spec, "/root"),
            purpose: spec.purpose,
            at: clock.now(),
        };
        let behaviour = (self.inner.script)(&started);
        if let Some(lacks) = behaviour.lacks
            && started.command[0] == lacks
        {
            return Err(StartError::CommandNotFound(lacks.to_owned()));
        }
        self.lock().push(started);
        for line in &behaviour.lines {
            (spec.logs)(Stream::Stdout, line);
        }
        let running = Running {
            healthy_from: behaviour.healthy.then(|| match behaviour.exit {
                Some(_) => clock.now(),
                None => clock.after(behaviour.takes),
            }),
            clock: clock.clone(),
            background: background.clone(),
            commands: behaviour.commands,
            answers: behaviour.answers,
            stopped: behaviour.stopped,
            exit: watch::Sender::new(None),
        };
        if let Some(exit) = behaviour.exit {
            let (ending, clock) = (running.clone(), clock.clone());
            background.spawn(async move {
                clock.sleep(behaviour.takes).await;
                ending.end(exit);
            });
        }
        Ok(running)
    }
}

impl Default for Simulated {
    /// Nothing is wrong with any container.
    fn default() -> Self {
        Self::new(|started| Behaviour::usual(started.purpose))
    }
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Simulated({} started)", self.lock().len())
    }
}

/// A simulated container that was started. Cheap to clone.
#[derive(Clone)]
pub(super) struct Running {
    clock: Clock,
    background: Background,
    commands: Ran,
    pub(super) answers: Option<SocketAddr>,
    stopped: Exit,
    healthy_from: Option<jiff::Timestamp>,
    exit: watch::Sender<Option<Exit>>,
}

impl Running {
    pub(super) fn exit(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.subscribe()
    }

    /// Whether a health check passes now.
    pub(super) fn healthy(&self) -> bool {
        let up = self.exit.borrow().is_none();
        up && self
            .healthy_from
            .is_some_and(|from| from <= self.clock.now())
    }

    /// A command in a terminal of it: what was said that commands do there.
    pub(super) fn terminal(&self, command: &[String]) -> Terminal {
        let (clock, background) = (self.clock.clone(), &self.background);
        let (out, output) = mpsc::channel(1);
        let (typed, mut keys) = mpsc::channel(64);
        let (killed, gone) = (CancellationToken::new(), CancellationToken::new());
        let (done, mut finished) = watch::channel(false);
        let ran = self.ran(command);
        let (acting, takes, ends) = (self.clone(), ran.takes, ran.ends);
        // What was begun goes on, whoever looks.
        background.spawn(async move {
            clock.sleep(takes).await;
            done.send_replace(true);
            // What it prints at last comes before its container ends.
            clock.sleep(LAST).await;
            if let Some(exit) = ends {
                acting.end(exit);
            }
        });
        let (over, left, mut ended) = (killed.clone(), gone.clone(), self.exit());
        background.spawn(async move {
            let print = async |lines: &[String]| {
                for line in lines {
                    let line = Bytes::from(format!("{line}\r\n"));
                    // Nobody looks.
                    let _ = out.send(line).await;
                }
            };
            let shown = async {
                print(&ran.lines).await;
                // One that can never come is as good as one that came: the sandbox is over.
                let _ = finished.wait_for(|done| *done).await;
                print(&ran.last).await;
            };
            let ignored = async {
                while keys.recv().await.is_some() {}
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = shown => {}
                () = ignored => {}
                () = over.cancelled() => {}
                _ = ended.wait_for(Option::is_some) => left.cancel(),
            }
        });
        Terminal {
            output,
            typed,
            killed,
            gone,
        }
    }

    /// What such a command does.
    fn ran(&self, command: &[String]) -> Ran {
        let mut ran = self.commands.clone();
        for line in ran.lines.iter_mut().chain(&mut ran.last) {
            for (number, word) in command.iter().enumerate() {
                *line = line.replace(&format!("{{{number}}}"), word);
            }
        }
        ran
    }

    /// Ends it as it ends when it is asked to.
    pub(super) fn stop(&self) {
        self.end(self.stopped);
    }

    /// Ends it, unless it has ended.
    fn end(&self, exit: Exit) {
        self.exit.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(exit);
            first
        });
    }
}
