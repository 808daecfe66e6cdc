//! Runs the server from its first to its last request.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cache::Cache;
use crate::metrics::Metrics;
use crate::rate_limit::{RateLimit, SharedWindow, Window};
use crate::release::{Fault, Release};
use crate::routes::{self, App};
use crate::settings::{Counting, DatabaseSettings, ServeSettings};

/// Both clouds kill a task some time after SIGTERM: Cloud Run after 10 seconds.
const DRAIN: Duration = Duration::from_secs(8);

/// Why the server does not run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The port cannot be had.
    #[error("cannot listen on port {port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The connection pool cannot be made.
    #[error("cannot make the connection pool: {0}")]
    Pool(#[from] deadpool_postgres::BuildError),
    /// The counters cannot be made.
    #[error("cannot make the counters: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Serving or waiting for signals failed.
    #[error("cannot go on serving: {0}")]
    Broken(#[from] std::io::Error),
    /// The fault planted in this release.
    #[error("this release crashes")]
    Crash,
}

/// Serves until SIGTERM or SIGINT, then answers what is in flight for at most [`DRAIN`].
pub async fn serve(settings: ServeSettings, release: Release) -> Result<(), ServeError> {
    if release.fault == Some(Fault::Crash) {
        return Err(ServeError::Crash);
    }
    let pool = pool(&settings.database)?;
    let metrics = Metrics::new(&release.version)?;
    let cache = settings
        .redis
        .clone()
        .map(|redis| Arc::new(Cache::new(redis)));
    let rate_limit = rate_limit(&settings, cache.as_ref());
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, settings.port));
    let listening = TcpListener::bind(address).await;
    let listener = listening.map_err(|source| ServeError::Listen {
        port: settings.port,
        source,
    })?;
    let port = listener.local_addr()?.port();
    tracing::info!(
        version = release.version,
        node_env = settings.node_env,
        port,
        "listening"
    );

    let app = App::new(settings, release, pool, cache, metrics, rate_limit);
    let app = routes::router(app);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let drained = |mut stopped: tokio::sync::watch::Receiver<bool>| async move {
        // A closed channel means that nobody can ask to stop any more: stop.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let server = axum::serve(listener, app).with_graceful_shutdown(drained(stopped.clone()));
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping");
        stop.send_replace(true);
    });
    tokio::select! {
        served = server => served?,
        () = async { drained(stopped).await; tokio::time::sleep(DRAIN).await } => {
            tracing::warn!("stopped with requests in flight");
        }
    }
    tracing::info!("stopped");
    Ok(())
}

fn rate_limit(settings: &ServeSettings, cache: Option<&Arc<Cache>>) -> RateLimit {
    let (window, most) = (settings.rate_window, settings.rate_most);
    match (settings.counting, cache) {
        (Counting::Shared, Some(cache)) => {
            RateLimit::Shared(SharedWindow::new(cache.clone(), window, most))
        }
        (Counting::Shared, None) | (Counting::Process, _) => {
            RateLimit::Process(Window::new(window, most))
        }
    }
}

fn pool(settings: &DatabaseSettings) -> Result<Pool, ServeError> {
    let manager = Manager::from_config(
        settings.server.config.clone(),
        settings.server.tls.clone(),
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    let timeout = Some(settings.connect_timeout);
    let pool = Pool::builder(manager)
        .max_size(settings.pool_max)
        .runtime(Runtime::Tokio1)
        .wait_timeout(timeout)
        .create_timeout(timeout)
        .build()?;
    Ok(pool)
}
