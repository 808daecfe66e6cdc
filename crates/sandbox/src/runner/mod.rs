//! Runs the containers of tasks, instances and jobs: the image's real command, isolated where the
//! machine allows it.

mod container;
mod exec;
mod front;
mod image;
mod invocation;
mod namespace;
mod output;
mod relay;
mod rootfs;
mod simulated;
mod terminal;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::OnceCell;

use crate::background::Background;
use crate::clock::Clock;
use crate::registry::Store;
pub use container::Container;
pub use exec::ExecError;
pub use front::{Front, Gate, probe};
use image::{Image, ImageConfig};
use invocation::Invocation;
use namespace::Folders;
pub use simulated::{Behaviour, Ran, Simulated, Started};
pub use terminal::{Terminal, Typed};

/// How containers are kept apart on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A mount and a network namespace each; two containers may bind the same port.
    Namespaces,
    /// No namespaces here: one container per service; `PORT`, where it is set, becomes a free one.
    Shared {
        /// What the machine refused.
        why: String,
    },
    /// Nothing runs: the embedding program says how containers behave.
    Simulated,
}

/// What a container is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To serve until it is stopped.
    Serve,
    /// To do something once, and end.
    Finish,
}

/// Whether containers run.
#[derive(Clone, Debug, Default)]
pub enum Containers {
    /// The image's real command, in a process.
    #[default]
    Real,
    /// Nothing runs; databases and caches have no servers, and the addresses of services lead
    /// nowhere.
    Simulated(Simulated),
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
    /// What it is to be built for: `linux/amd64`, `linux/arm64`. A machine of another sort starts
    /// only the simulated ones.
    pub platform: &'static str,
    /// Overrides the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Overrides the image's command.
    pub command: Option<Vec<String>>,
    /// Added to the image's own environment; wins over it.
    pub env: BTreeMap<String, String>,
    /// What it is for.
    pub purpose: Purpose,
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
    /// The image has no variant for the platform.
    #[error("image {image} has no {wanted} variant (it has {has})")]
    WrongPlatform {
        /// The reference asked for.
        image: String,
        /// The platform asked for.
        wanted: &'static str,
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
    /// Whether it was killed because it wanted more memory than it may have. Only simulated
    /// containers are: nothing limits what real ones take here.
    pub out_of_memory: bool,
}

impl Exit {
    /// With this code, for no reason of the cloud's.
    pub const fn with(code: i32) -> Self {
        Self {
            code,
            out_of_memory: false,
        }
    }

    /// Killed for its memory.
    pub const OUT_OF_MEMORY: Self = Self {
        code: 137,
        out_of_memory: true,
    };
}

/// Where Debian's and most others' programs look for the certificate authorities they trust.
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Starts containers. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    scratch: PathBuf,
    isolation: OnceLock<Isolation>,
    /// Unpacked images by manifest digest; each is unpacked once.
    images: Mutex<HashMap<String, Arc<OnceCell<PathBuf>>>>,
    running: Mutex<Live>,
    simulated: Option<(Simulated, Clock, Background)>,
    /// Servers of the host that containers reach whatever their environment says.
    open: Mutex<BTreeSet<SocketAddr>>,
    /// Certificates, PEM, that containers trust beside those of their image.
    trusted: Mutex<String>,
}

#[derive(Default)]
struct Live {
    closed: bool,
    count: u64,
    containers: BTreeMap<u64, (String, Container)>,
}

impl Runner {
    /// `scratch` holds the unpacked layers; it is emptied here and on [`Runner::shutdown`].
    pub fn new(store: Store, scratch: PathBuf) -> Self {
        // Left by a sandbox that was killed. What cannot be removed shows when it is written to.
        let _ = std::fs::remove_dir_all(&scratch);
        Self::of(store, scratch, None)
    }

    /// Runs nothing: containers only seem to, in the time of `clock`.
    pub(crate) fn simulated(
        (store, scratch): (Store, PathBuf),
        simulated: Simulated,
        (clock, background): (Clock, Background),
    ) -> Self {
        Self::of(store, scratch, Some((simulated, clock, background)))
    }

    fn of(
        store: Store,
        scratch: PathBuf,
        simulated: Option<(Simulated, Clock, Background)>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                scratch,
                isolation: OnceLock::new(),
                images: Mutex::default(),
                running: Mutex::default(),
                simulated,
                open: Mutex::default(),
                trusted: Mutex::default(),
            }),
        }
    }

    /// An address to put in front of a service: one that listens, or one that leads nowhere when
    /// nothing runs.
    pub(crate) async fn front(&self) -> std::io::Result<Front> {
        match &self.inner.simulated {
            None => Front::bind(0).await,
            Some(_) => Ok(Front::nowhere(self.inner.next())),
        }
    }

    /// How containers are kept apart here; probed once.
    pub fn isolation(&self) -> Isolation {
        if self.inner.simulated.is_some() {
            return Isolation::Simulated;
        }
        let probed = self
            .inner
            .isolation
            .get_or_init(|| match namespace::probe() {
                Ok(()) => Isolation::Namespaces,
                Err(why) => Isolation::Shared { why },
            });
        probed.clone()
    }

    /// Lets containers that are started from now on reach a server of the host at its own address,
    /// unless they are to listen on its port themselves.
    pub fn open_to_containers(&self, server: SocketAddr) {
        self.inner.open().insert(server);
    }

    /// Lets the containers of images that are unpacked from now on trust a certificate authority
    /// (PEM), as they trust the public ones: it stands with theirs where Debian has them.
    pub fn trust(&self, authority: String) {
        self.inner.trusted().push_str(&authority);
    }

    /// Takes back [`Runner::open_to_containers`] for containers that are started from now on.
    pub fn close_to_containers(&self, server: SocketAddr) {
        self.inner.open().remove(&server);
    }

    /// Pulls, unpacks and starts. Returns once the process runs; it may not listen yet.
    pub async fn start(&self, spec: ContainerSpec) -> Result<Container, StartError> {
        let (id, name) = (self.inner.next(), spec.name.clone());
        let container = match &self.inner.simulated {
            None => self.start_process(id, spec).await?,
            Some((simulated, clock, background)) => {
                let image = Image::find(&self.inner.store, &spec)?;
                Container::simulated(simulated.start(&spec, &image, (clock, background))?)
            }
        };
        let closed = {
            let mut running = self.inner.running();
            running.containers.insert(id, (name, container.clone()));
            running.closed
        };
        if closed {
            container.kill().await;
            return Err(StartError::Machine("the sandbox is shutting down".into()));
        }
        let (inner, ended) = (self.inner.clone(), container.clone());
        let forget = async move {
            ended.wait().await;
            inner.running().containers.remove(&id);
        };
        match &self.inner.simulated {
            None => drop(tokio::spawn(forget)),
            Some((_, _, background)) => drop(background.spawn(forget)),
        }
        Ok(container)
    }

    async fn start_process(&self, id: u64, spec: ContainerSpec) -> Result<Container, StartError> {
        let (config, image) = self.unpacked(&spec).await?;
        let invocation = Invocation::new(&config, &spec, &image)?;
        let own = self.inner.scratch.join("run").join(id.to_string());
        std::fs::create_dir_all(&own).map_err(machine)?;
        let folders = Folders { image, own };
        match self.isolation() {
            Isolation::Namespaces => {
                let open = self.inner.open().clone();
                Container::isolated(spec, folders, invocation, open).await
            }
            Isolation::Shared { .. } | Isolation::Simulated => {
                Container::shared(spec, folders, invocation).await
            }
        }
    }

    /// Every container that was started and still runs: name, pid, address.
    /// A simulated one has neither pid nor address.
    pub fn running(&self) -> Vec<(String, Option<u32>, Option<SocketAddr>)> {
        let live = self.inner.running();
        let running = live.containers.values();
        let running = running.map(|(name, it)| (name.clone(), it.pid(), it.address()));
        running.collect()
    }

    /// Kills every container that this runner started, refuses new ones, and removes its files.
    pub async fn shutdown(&self) {
        let running: Vec<_> = {
            let mut live = self.inner.running();
            live.closed = true;
            live.containers.values().map(|(_, it)| it.clone()).collect()
        };
        futures::future::join_all(running.iter().map(Container::kill)).await;
        // Files that stay behind are removed by the next sandbox of this state directory.
        let _ = tokio::fs::remove_dir_all(&self.inner.scratch).await;
    }

    /// The image's configuration and the folder of its files, unpacked once per image.
    async fn unpacked(&self, spec: &ContainerSpec) -> Result<(ImageConfig, PathBuf), StartError> {
        let store = &self.inner.store;
        let image = Image::find(store, spec)?;
        let config = image.config.clone();
        let cell = {
            let images = self.inner.images.lock();
            let mut images = images.unwrap_or_else(PoisonError::into_inner);
            images.entry(image.digest.clone()).or_default().clone()
        };
        let folder = cell.get_or_try_init(|| async {
            let hex = image.digest.trim_start_matches("sha256:");
            let folder = self.inner.scratch.join("images").join(hex);
            let (store, target) = (store.clone(), folder.clone());
            let trusted = self.inner.trusted().clone();
            let unpacking = tokio::task::spawn_blocking(move || {
                unpack(&store, &image, &target)?;
                rootfs::append(&target, Path::new(TRUSTED), trusted.as_bytes()).map_err(machine)
            });
            unpacking.await.map_err(machine)??;
            Ok::<_, StartError>(folder)
        });
        Ok((config, folder.await?.clone()))
    }
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, BTreeSet<SocketAddr>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trusted(&self) -> MutexGuard<'_, String> {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, Live> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that was not given before.
    fn next(&self) -> u64 {
        let mut live = self.running();
        live.count += 1;
        live.count
    }
}

fn unpack(store: &Store, image: &Image, folder: &Path) -> Result<(), StartError> {
    if folder.exists() {
        // An earlier attempt failed half-way.
        std::fs::remove_dir_all(folder).map_err(machine)?;
    }
    std::fs::create_dir_all(folder).map_err(machine)?;
    for (at, digest) in image.layers.iter().enumerate() {
        let absent = || StartError::BadImage(format!("layer {digest} is absent"));
        let blob = store.blob(digest).ok_or_else(absent)?;
        let diff_id = image.diff_ids.get(at).map(String::as_str);
        rootfs::apply_layer(folder, &blob, diff_id)
            .map_err(|error| StartError::BadImage(format!("layer {digest}: {error}")))?;
    }
    Ok(())
}

fn machine(error: impl std::fmt::Display) -> StartError {
    StartError::Machine(error.to_string())
}

impl From<std::io::Error> for StartError {
    fn from(error: std::io::Error) -> Self {
        machine(error)
    }
}
