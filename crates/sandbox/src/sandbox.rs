//! Assembles a sandbox: listens, opens its state, starts both clouds, and takes it all down again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::aws::Aws;
use crate::background::Background;
use crate::backing::Backing;
use crate::clock::Clock;
use crate::control::{Control, with_control};
use crate::env::{AccessKey, Running};
use crate::faults::FaultsFile;
use crate::gcp::Gcp;
use crate::host::{AllowedLocations, FailedDeletes, FailedUpdates, Host, IamDelay};
use crate::interceptor::Interceptor;
use crate::moto::LazyMoto;
use crate::options::{Moto, Options, Rates, StateDir};
use crate::rates::Buckets;
use crate::registry::Store;
use crate::runner::{Containers, Runner};
use crate::server;
use crate::service_account::{AccountKey, ServiceAccount, write_private};

/// How long open requests may take to finish once the sandbox stops.
const GRACE: Duration = Duration::from_secs(1);

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or may not be used.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The port asked for.
        port: u16,
        /// What the machine said.
        source: std::io::Error,
    },
    /// A file or folder could not be made.
    #[error("cannot prepare `{}`", path.display())]
    State {
        /// The file or folder.
        path: PathBuf,
        /// What the machine said.
        source: std::io::Error,
    },
    /// Another sandbox uses this state directory.
    #[error("a sandbox with this state directory runs already at {aws_url} and {gcp_url}")]
    AlreadyRunning {
        /// Its AWS side.
        aws_url: String,
        /// Its Google side.
        gcp_url: String,
    },
}

/// A sandbox that serves. Call [`Sandbox::shutdown`]: dropping it leaves real containers to the
/// end of the process. One whose containers are simulated may just be dropped.
pub struct Sandbox {
    /// The AWS side's base URL.
    pub aws_url: String,
    /// The Google side's base URL.
    pub gcp_url: String,
    control: Arc<Control>,
    moto: Option<LazyMoto>,
    state_dir: PathBuf,
    state_dir_ends: StateDir,
    background: Background,
    /// How long open requests may take to finish.
    grace: Duration,
    servers: Vec<JoinHandle<()>>,
}

/// Starts a sandbox; both sides accept connections when it returns.
pub async fn serve(options: Options) -> Result<Sandbox, StartError> {
    let state_dir = prepare_state_dir(&options.state_dir).await?;
    let (aws_listener, aws_url, _) = listen(options.aws_port).await?;
    let (gcp_listener, gcp_url, gcp_port) = listen(options.gcp_port).await?;
    let running = Running {
        pid: std::process::id(),
        aws_url: aws_url.clone(),
        gcp_url: gcp_url.clone(),
        gcp_port,
        account: options.account.clone(),
        access_key: match &options.access_key {
            Some(key) => key.clone(),
            None => AccessKey::generate().map_err(|error| state_error(&state_dir, error))?,
        },
        control_token: format!("control-{}", uuid::Uuid::new_v4().simple()),
        region: options.region.clone(),
        project: options.project.clone(),
        location: options.location.clone(),
        credentials: state_dir.join("service-account.json"),
        token: state_dir.join("gcloud-token"),
        gcloud_config: state_dir.join("gcloud"),
    };
    let moto = match LazyMoto::installed().filter(|_| options.moto == Moto::Auto) {
        None => None,
        Some(program) => {
            let listening = LazyMoto::new(program).await;
            Some(listening.map_err(|source| StartError::Listen { port: 0, source })?)
        }
    };
    let moto_url = moto.as_ref().map(|moto| moto.url().to_owned());
    let aws_host = host(&running, &options, &state_dir, moto_url)?;
    let background = aws_host.background.clone();
    let gcp_host = Host {
        base: gcp_url.clone(),
        ..aws_host.clone()
    };
    let control = Arc::new(Control {
        speed: aws_host.clock.speed(),
        runner: aws_host.runner.clone(),
        backing: aws_host.backing.clone(),
        moto: aws_host.moto.clone(),
        store: aws_host.store.clone(),
        interceptor: aws_host.interceptor.clone(),
        iam_delay: aws_host.iam_delay.clone(),
        locations: aws_host.locations.clone(),
        failed_updates: aws_host.failed_updates.clone(),
        failed_deletes: aws_host.failed_deletes.clone(),
        aws: Aws::new(aws_host),
        gcp: Gcp::new(gcp_host),
        stop: watch::channel(false).0,
        running,
    });
    let servers = vec![
        spawn_server(aws_listener, &control, control.aws.router()),
        spawn_server(gcp_listener, &control, control.gcp.router()),
    ];
    let written = control.running.write(&state_dir);
    written.map_err(|source| state_error(&state_dir, source))?;
    Ok(Sandbox {
        aws_url,
        gcp_url,
        control,
        moto,
        state_dir,
        state_dir_ends: options.state_dir_ends,
        background,
        grace: match options.containers {
            Containers::Real => GRACE,
            // Given time may stand still: an open request would never end.
            Containers::Simulated(_) => Duration::ZERO,
        },
        servers,
    })
}

impl Sandbox {
    /// What `GET /_sandbox/status` answers.
    pub fn status(&self) -> serde_json::Value {
        self.control.status()
    }

    /// What `GET /_sandbox/dump` answers: everything that both clouds hold, as data.
    pub fn dump(&self) -> serde_json::Value {
        self.control.dump()
    }

    /// Puts other faults in force, none of which has seen a call; `None`: nothing goes wrong any
    /// more.
    pub fn set_faults(&self, faults: Option<FaultsFile>) {
        let rules = faults.map(FaultsFile::rules).unwrap_or_default();
        self.control.interceptor.replace_rules(rules);
    }

    /// From now on an organisation's policy lets things be made in these of Google's locations
    /// only; `None`: anywhere.
    pub fn set_allowed_locations(&self, locations: Option<Vec<String>>) {
        self.control.locations.set(locations);
    }

    /// Google's access policies take so long to get about from now on, in cloud time.
    pub fn set_iam_delay(&self, delay: Duration) {
        self.control.iam_delay.set(delay);
    }

    /// From now on App Runner goes on describing the configuration of an update that failed, while
    /// what served before serves; `false`: it describes that one again.
    pub fn set_failed_updates_stay(&self, stay_described: bool) {
        self.control.failed_updates.set(stay_described);
    }

    /// From now on App Runner fails to delete services; `false`: it deletes them again.
    pub fn set_deletes_fail(&self, fail: bool) {
        self.control.failed_deletes.set(fail);
    }

    /// Rotates a secret of AWS as its owner does; `false` when there is none.
    pub fn rotate_secret(&self, name: &str, value: &str) -> bool {
        self.control.aws.rotate_secret(name, value)
    }

    /// Carries out a rule of an ECR repository's that lets images without a tag expire, of any age.
    pub fn expire_untagged(&self, repository: &str) {
        self.control.aws.expire_untagged(repository);
    }

    /// Whether Fargate has room for tasks of ECS that are run on their own.
    pub fn have_capacity(&self, has: bool) {
        self.control.aws.have_capacity(has);
    }

    /// Whether Fargate's tasks without a public address reach anything outside of their subnets.
    pub fn have_way_out(&self, has: bool) {
        self.control.aws.have_way_out(has);
    }

    /// Whether the agents of ECS Exec that start from now on reach the Message Gateway: they do not
    /// where their role does not allow `ssmmessages`, or the subnet has no way out.
    pub fn connect_agents(&self, connect: bool) {
        self.control.aws.connect_agents(connect);
    }

    /// Has the sessions of an ECS cluster encrypted with a KMS key.
    pub fn encrypt_sessions(&self, cluster: &str, key: &str) {
        self.control.aws.encrypt_sessions(cluster, key);
    }

    /// Whether messages of ECS Exec's sessions that begin from now on are lost, doubled and
    /// reordered at times.
    pub fn disturb_sessions(&self, disturbs: bool) {
        self.control.aws.disturb_sessions(disturbs);
    }

    /// What another process needs to reach it.
    pub fn running(&self) -> &Running {
        &self.control.running
    }

    /// Waits for `POST /_sandbox/shutdown`; the caller then shuts down.
    pub async fn stop_requested(&self) {
        let mut stop = self.control.stop.subscribe();
        // The sender lives in `self.control`: it cannot be gone.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Stops listening, ends every container, database, cache and moto, and removes what is not
    /// worth keeping.
    pub async fn shutdown(mut self) {
        self.control.stop.send_replace(true);
        for mut server in std::mem::take(&mut self.servers) {
            if tokio::time::timeout(self.grace, &mut server).await.is_err() {
                server.abort();
            }
        }
        self.control.runner.shutdown().await;
        self.control.backing.shutdown().await;
        if let Some(moto) = &self.moto {
            moto.shutdown().await;
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
        self.background.end();
        Running::remove(&self.state_dir);
        if self.state_dir_ends == StateDir::Removed {
            // A temporary directory that stays behind harms nobody.
            let _ = std::fs::remove_dir_all(&self.state_dir);
        }
    }
}

fn host(
    running: &Running,
    options: &Options,
    state_dir: &Path,
    moto: Option<String>,
) -> Result<Host, StartError> {
    let clock = options.clock.clone();
    let clock = clock.unwrap_or_else(|| Clock::new(options.speed));
    let background = Background::default();
    let blobs = state_dir.join("registry");
    let store = Store::open_at(blobs.clone(), clock.clone());
    let store = store.map_err(|source| state_error(&blobs, source))?;
    let file = &running.credentials;
    let account = match &options.account_key {
        Some(key) => Ok(key.clone()),
        None => AccountKey::generate(),
    };
    let account = account
        .and_then(|key| ServiceAccount::create(&key, &running.project, &running.gcp_url, file));
    let account = account.map_err(|source| state_error(file, source))?;
    let static_token = format!("ya29.sandbox-{}", uuid::Uuid::new_v4().simple());
    let token = write_private(&running.token, &static_token);
    token.map_err(|source| state_error(&running.token, source))?;
    let config = &running.gcloud_config;
    std::fs::create_dir_all(config).map_err(|source| state_error(config, source))?;
    let scratch = state_dir.join("containers");
    let (runner, backing) = match &options.containers {
        Containers::Real => {
            let runner = Runner::new(store.clone(), scratch);
            (runner.clone(), Backing::find(state_dir, runner))
        }
        Containers::Simulated(simulated) => {
            let place = (store.clone(), scratch);
            let life = (clock.clone(), background.clone());
            let runner = Runner::simulated(place, simulated.clone(), life);
            (runner.clone(), Backing::none(state_dir, runner))
        }
    };
    let rules = options.faults.clone().map(FaultsFile::rules);
    let rates = match options.rates {
        Rates::Ignored => None,
        Rates::Enforced => Some(Buckets::new()),
    };
    let interceptor = Interceptor::new(
        (clock.clone(), background.clone()),
        options.observer.clone(),
        rates,
        rules.unwrap_or_default(),
    );
    Ok(Host {
        interceptor,
        iam_delay: IamDelay::new(options.iam_delay),
        locations: AllowedLocations::default(),
        failed_updates: FailedUpdates::default(),
        failed_deletes: FailedDeletes::default(),
        clock,
        background,
        backing: backing.map_err(|source| state_error(state_dir, source))?,
        runner,
        store,
        account: running.account.clone(),
        access_key: running.access_key.clone(),
        region: running.region.clone(),
        project: running.project.clone(),
        location: running.location.clone(),
        base: running.aws_url.clone(),
        state_dir: state_dir.to_owned(),
        moto,
        service_account: Arc::new(account),
        static_token,
    })
}

/// Makes the directory and refuses one that a living sandbox uses. Returns its absolute path.
async fn prepare_state_dir(path: &Path) -> Result<PathBuf, StartError> {
    let made = std::fs::create_dir_all(path).and_then(|()| path.canonicalize());
    let state_dir = made.map_err(|source| state_error(path, source))?;
    if let Some(other) = Running::read(&state_dir) {
        let url = format!("{}/_sandbox/status", other.aws_url);
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap_or_default();
        let asked = tokio::time::timeout(
            Duration::from_secs(2),
            client.get(url).bearer_auth(&other.control_token).send(),
        )
        .await;
        let status = match asked {
            Ok(Ok(response)) => response.json::<serde_json::Value>().await.ok(),
            Ok(Err(_)) | Err(_) => None,
        };
        // A port may have been taken over by another program since.
        if status.is_some_and(|status| status["pid"] == other.pid) {
            return Err(StartError::AlreadyRunning {
                aws_url: other.aws_url,
                gcp_url: other.gcp_url,
            });
        }
    }
    Ok(state_dir)
}

async fn listen(port: u16) -> Result<(TcpListener, String, u16), StartError> {
    let refused = |source| StartError::Listen { port, source };
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    let listener = listener.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, format!("http://{address}"), address.port()))
}

fn spawn_server(
    listener: TcpListener,
    control: &Arc<Control>,
    cloud: axum::Router,
) -> JoinHandle<()> {
    let router = with_control(control.clone(), cloud);
    let stop = control.stop.subscribe();
    tokio::spawn(server::serve(listener, router, stop))
}

fn state_error(path: &Path, source: std::io::Error) -> StartError {
    StartError::State {
        path: path.to_owned(),
        source,
    }
}
