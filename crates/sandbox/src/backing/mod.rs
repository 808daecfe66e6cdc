//! The real servers behind managed databases and caches: a process per instance, gone with the
//! sandbox.

mod certificates;
mod postgres;
mod redis;
mod server;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

pub use certificates::{Authority, ServerCertificate};
pub use postgres::{Postgres, PostgresSpec};
pub use redis::{Redis, RedisSpec};
use server::Server;

use crate::process::{User, bound_command_as};
use crate::runner::Runner;

/// What this machine can back managed instances with. Cheap to clone.
#[derive(Clone)]
pub struct Backing {
    inner: Arc<Inner>,
}

struct Inner {
    authority: Arc<Authority>,
    authority_file: PathBuf,
    public: Arc<Authority>,
    public_file: PathBuf,
    state_dir: PathBuf,
    runner: Runner,
    postgres: Result<postgres::Installed, String>,
    redis: Result<redis::Installed, String>,
    servers: Mutex<Servers>,
}

#[derive(Default)]
struct Servers {
    closed: bool,
    count: u64,
    /// Where instances lie when the state directory is closed to the user they run as.
    elsewhere: Option<PathBuf>,
    all: BTreeMap<u64, Arc<Server>>,
}

/// Why an instance has no server, or the server refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BackingError {
    /// The program is not there, or cannot be used here. The instance works as an API object only.
    #[error("{0}")]
    NotInstalled(String),
    /// The machine or the server refused.
    #[error("{0}")]
    Machine(String),
}

impl From<std::io::Error> for BackingError {
    fn from(error: std::io::Error) -> Self {
        Self::Machine(error.to_string())
    }
}

/// Who signs a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// The vendor's own authority: clients must be given its certificate.
    Vendor,
    /// What stands for the public authorities, which containers trust.
    Public,
}

impl Backing {
    /// Looks for what is installed, and makes the sandbox's certificate authority, whose
    /// certificate lies in the state directory as `ca.pem`. Starts nothing.
    ///
    /// Another one, `public-ca.pem`, stands for the public authorities: containers that `runner`
    /// starts trust it.
    ///
    /// The addresses of instances become reachable for the containers that `runner` starts later.
    pub fn find(state_dir: &Path, runner: Runner) -> std::io::Result<Self> {
        let new = || {
            Authority::new()
                .map(Arc::new)
                .map_err(std::io::Error::other)
        };
        clear_leftovers(state_dir);
        let servers = (postgres::Installed::find(), redis::Installed::find());
        Self::of(state_dir, runner, (new()?, new()?), servers)
    }

    /// No servers, whatever is installed: instances are API objects only. Its authorities are the
    /// process's.
    pub(crate) fn none(state_dir: &Path, runner: Runner) -> std::io::Result<Self> {
        static SHARED: OnceLock<Arc<Authority>> = OnceLock::new();
        let shared = match SHARED.get() {
            Some(shared) => shared.clone(),
            None => {
                let new = Authority::new().map_err(std::io::Error::other)?;
                SHARED.get_or_init(|| Arc::new(new)).clone()
            }
        };
        let why = "nothing real runs in this sandbox";
        let servers = (Err(why.to_owned()), Err(why.to_owned()));
        Self::of(state_dir, runner, (shared.clone(), shared), servers)
    }

    fn of(
        state_dir: &Path,
        runner: Runner,
        (authority, public): (Arc<Authority>, Arc<Authority>),
        (postgres, redis): (
            Result<postgres::Installed, String>,
            Result<redis::Installed, String>,
        ),
    ) -> std::io::Result<Self> {
        let authority_file = state_dir.join("ca.pem");
        std::fs::write(&authority_file, authority.pem())?;
        let public_file = state_dir.join("public-ca.pem");
        std::fs::write(&public_file, public.pem())?;
        runner.trust(public.pem());
        Ok(Self {
            inner: Arc::new(Inner {
                authority,
                authority_file,
                public,
                public_file,
                state_dir: state_dir.to_owned(),
                runner,
                postgres,
                redis,
                servers: Mutex::default(),
            }),
        })
    }

    /// Who vouches for the servers.
    pub fn authority(&self) -> &Authority {
        &self.inner.authority
    }

    fn signer(&self, signed_by: SignedBy) -> &Authority {
        match signed_by {
            SignedBy::Vendor => &self.inner.authority,
            SignedBy::Public => &self.inner.public,
        }
    }

    /// Why databases have no server here; `None` when they have.
    pub fn without_postgres(&self) -> Option<&str> {
        self.inner.postgres.as_ref().err().map(String::as_str)
    }

    /// Why caches have no server here; `None` when they have.
    pub fn without_redis(&self) -> Option<&str> {
        self.inner.redis.as_ref().err().map(String::as_str)
    }

    /// What `sandbox status` says: which programs back instances, the authority's file, and the
    /// servers with their addresses. Never a password.
    pub fn status(&self) -> Value {
        let postgres = match &self.inner.postgres {
            Ok(installed) => json!(installed.to_string()),
            Err(why) => json!(format!("none: {why}")),
        };
        let redis = match &self.inner.redis {
            Ok(installed) => json!(installed.to_string()),
            Err(why) => json!(format!("none: {why}")),
        };
        let servers = self.lock().all.values().cloned().collect::<Vec<_>>();
        let servers = servers.iter().map(|server| {
            json!({
                "kind": server.kind, "name": server.name, "endpoint": server.endpoint,
                "pid": server.pid(),
            })
        });
        json!({
            "postgres": postgres,
            "redis": redis,
            "ca": self.inner.authority_file,
            "public_ca": self.inner.public_file,
            "servers": servers.collect::<Vec<_>>(),
        })
    }

    /// Makes a database server with a data directory of its own and starts it.
    pub async fn start_postgres(&self, spec: PostgresSpec) -> Result<Postgres, BackingError> {
        Postgres::start_new(self.clone(), spec).await
    }

    /// Makes a cache server and starts it.
    pub async fn start_redis(&self, spec: RedisSpec) -> Result<Redis, BackingError> {
        Redis::start_new(self.clone(), spec).await
    }

    /// Ends every server, refuses new ones, and removes their data.
    pub async fn shutdown(&self) {
        let (servers, elsewhere) = {
            let mut servers = self.lock();
            servers.closed = true;
            let all = std::mem::take(&mut servers.all);
            (all, servers.elsewhere.take())
        };
        futures::future::join_all(servers.values().map(|server| server.stop())).await;
        let folders = [Some(folder_in(&self.inner.state_dir)), elsewhere];
        for folder in folders.into_iter().flatten() {
            // What stays behind is removed by the next sandbox.
            let _ = tokio::fs::remove_dir_all(folder).await;
        }
    }

    /// A new empty folder that `user` owns.
    fn new_folder(&self, user: Option<User>) -> Result<PathBuf, BackingError> {
        let mut servers = self.lock();
        if servers.closed {
            return Err(BackingError::Machine("the sandbox is shutting down".into()));
        }
        servers.count += 1;
        let count = servers.count.to_string();
        let parent = folder_in(&self.inner.state_dir);
        open_folder(&parent)?;
        let parent = match (may_enter(&parent, user), servers.elsewhere.clone()) {
            (true, _) => parent,
            (false, Some(chosen)) => chosen,
            (false, None) => {
                let chosen = elsewhere(user)?;
                servers.elsewhere = Some(chosen.clone());
                chosen
            }
        };
        let folder = parent.join(count);
        server::create_folder(&folder, user)?;
        Ok(folder)
    }

    /// Keeps a server until [`Backing::forget`], so that it ends with the sandbox.
    fn keep(&self, server: &Arc<Server>) -> Result<u64, BackingError> {
        let mut servers = self.lock();
        if servers.closed {
            return Err(BackingError::Machine("the sandbox is shutting down".into()));
        }
        servers.count += 1;
        let id = servers.count;
        servers.all.insert(id, server.clone());
        drop(servers);
        self.inner.runner.open_to_containers(server.endpoint);
        Ok(id)
    }

    /// Ends a server and removes its data.
    async fn forget(&self, id: u64) {
        let Some(server) = self.lock().all.remove(&id) else {
            return;
        };
        self.inner.runner.close_to_containers(server.endpoint);
        server.stop().await;
        // What stays behind goes with the sandbox.
        let _ = tokio::fs::remove_dir_all(&server.folder).await;
    }

    fn lock(&self) -> MutexGuard<'_, Servers> {
        let servers = self.inner.servers.lock();
        servers.unwrap_or_else(PoisonError::into_inner)
    }
}

fn folder_in(state_dir: &Path) -> PathBuf {
    state_dir.join("backing")
}

/// Others may pass through it to what they own.
fn open_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o711))
}

const ELSEWHERE: &str = "deployer-sandbox-";

/// A folder of this process that `user` may enter, below one of the temporary directories: the
/// first may be private to root.
fn elsewhere(user: Option<User>) -> Result<PathBuf, BackingError> {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let name = format!("{ELSEWHERE}{}-{}", std::process::id(), &unique[..8]);
    for parent in temporary() {
        let folder = parent.join(&name);
        if open_folder(&folder).is_ok() && may_enter(&folder, user) {
            return Ok(folder);
        }
        // It may not have been made at all.
        let _ = std::fs::remove_dir(&folder);
    }
    let why = "the user that databases and caches run as can enter no folder for their data";
    Err(BackingError::Machine(why.into()))
}

fn temporary() -> [PathBuf; 3] {
    [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()]
}

/// A state directory in root's home is closed to the users that servers run as.
fn may_enter(folder: &Path, user: Option<User>) -> bool {
    if user.is_none() {
        return true;
    }
    let mut test = bound_command_as(user, Signal::SIGKILL, Path::new("test"));
    let asked = test.arg("-x").arg(folder).current_dir("/").status();
    asked.is_ok_and(|status| status.success())
}

/// Removes what sandboxes that were killed left: their servers ended with them.
fn clear_leftovers(state_dir: &Path) {
    let _ = std::fs::remove_dir_all(folder_in(state_dir));
    let entries = temporary()
        .into_iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok());
    for entry in entries.flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(ELSEWHERE)
            .and_then(|rest| rest.split_once('-'))
            .filter(|(pid, _)| pid.parse::<u32>().is_ok());
        if owner.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
