//! Runs the containers of tasks, instances and jobs: the image's real command, isolated where the machine allows it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::registry::Store;

/// How containers are kept apart on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A mount and a network namespace each; two containers may bind the same port.
    Namespaces,
    /// No namespaces here: one container per service, `PORT` overridden.
    Shared {
        /// What the machine refused.
        why: String,
    },
}

/// Which stream a log line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes each line a container prints, as it prints it.
pub type LogSink = Arc<dyn Fn(Stream, &str) + Send + Sync>;

/// What to run.
#[derive(Clone)]
pub struct ContainerSpec {
    /// Unique; shown in `sandbox status`.
    pub name: String,
    /// The repository as stored (what [`crate::registry::Gate::admit`] returned).
    pub repository: String,
    /// A tag or `sha256:...`.
    pub reference: String,
    /// Overrides the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Overrides the image's command.
    pub command: Option<Vec<String>>,
    /// Added to the image's own environment; wins over it.
    pub env: BTreeMap<String, String>,
    /// The port that the process is to listen on, for the relay.
    pub port: Option<u16>,
    /// Takes the output.
    pub logs: LogSink,
}

/// Why a container did not start. Each cloud words these its own way.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// No such repository, tag or digest.
    #[error("image {0} not found")]
    ImageNotFound(String),
    /// The image has no linux/amd64 variant.
    #[error("image {image} has no linux/amd64 variant (it has {has})")]
    WrongPlatform {
        /// The reference asked for.
        image: String,
        /// The platforms it offers.
        has: String,
    },
    /// The image's command is not in the image, or is not executable.
    #[error("cannot start `{0}`: no such file in the image, or not executable")]
    CommandNotFound(String),
    /// The layers or the configuration are unreadable.
    #[error("unreadable image: {0}")]
    BadImage(String),
    /// The machine refused.
    #[error("cannot start the container: {0}")]
    Machine(String),
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 + signal when killed, 137 for SIGKILL.
    pub code: i32,
}

/// Starts containers. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    _store: Store,
    _scratch: PathBuf,
}

impl Runner {
    /// `scratch` holds the unpacked layers; it is emptied on [`Runner::shutdown`].
    pub fn new(store: Store, scratch: PathBuf) -> Self {
        Self {
            _store: store,
            _scratch: scratch,
        }
    }

    /// How containers are kept apart here; probed once.
    pub fn isolation(&self) -> Isolation {
        Isolation::Shared {
            why: "not there yet".into(),
        }
    }

    /// Pulls, unpacks and starts. Returns once the process runs; it may not listen yet.
    pub async fn start(&self, _spec: ContainerSpec) -> Result<Container, StartError> {
        Err(StartError::Machine("not there yet".into()))
    }

    /// Every container that was started and still runs: name, pid, address.
    pub fn running(&self) -> Vec<(String, u32, Option<SocketAddr>)> {
        Vec::new()
    }

    /// Stops every container that this runner started.
    pub async fn shutdown(&self) {}
}

/// A started container. Dropping it does not stop it.
#[derive(Clone)]
pub struct Container {
    address: Option<SocketAddr>,
    exit: tokio::sync::watch::Receiver<Option<Exit>>,
}

impl Container {
    /// A loopback address that reaches the container's port. `None` when it has no port.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// `None` while it runs.
    pub fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits for the process to end.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit { code: 255 }),
            Err(_) => Exit { code: 255 },
        }
    }

    /// SIGTERM, and SIGKILL after `grace`. Returns how it ended.
    pub async fn stop(&self, _grace: Duration) -> Exit {
        self.wait().await
    }
}

/// A stable loopback address in front of a service: the load balancer. Cheap to clone.
/// Connections go to the backends by weight; with none, they are answered `503`.
#[derive(Clone)]
pub struct Front {
    address: SocketAddr,
}

impl Front {
    /// Binds 127.0.0.1; a port of 0 takes any free one.
    pub async fn bind(port: u16) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        Ok(Self {
            address: listener.local_addr()?,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the backends: each with its share of new connections (a weight of 0 gets none).
    pub fn serve(&self, _backends: Vec<(SocketAddr, u32)>) {}

    /// Stops listening.
    pub fn close(&self) {}
}

/// Asks `http://ADDRESS/PATH` once; healthy is a status of 200 to 399 within `timeout`.
pub async fn probe(_address: SocketAddr, _path: &str, _timeout: Duration) -> bool {
    false
}
