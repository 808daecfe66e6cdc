//! Health checks of instances, and why a deployment fails.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::aws::json::{need, number, text};
use crate::clock::Clock;
use crate::runner::{Container, probe};

/// A real process starts no faster because the cloud's time does: failures before this do not
/// count. Nor does it answer faster, and checks are never closer together.
const REAL_START: Duration = Duration::from_secs(3);
const REAL_TIMEOUT: Duration = Duration::from_secs(2);
const REAL_INTERVAL: Duration = Duration::from_millis(200);
/// The relay in front of a container takes a connection, and ends it when nobody listens behind.
const REAL_HANG_UP: Duration = Duration::from_millis(300);

/// Why a deployment failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The service was forgotten meanwhile.
    Gone,
    /// No such image, or none that fits.
    Image,
    /// A secret has no value.
    Secret { name: String, why: String },
    /// An instance cannot be started.
    Start(String),
    /// An instance ended, or is not healthy.
    Unfit(Unfit),
}

impl Failure {
    /// Whether new instances ran.
    pub fn had_instances(&self) -> bool {
        matches!(self, Self::Unfit(_))
    }

    /// What its event says after "Failure reason : ". Image and health check: as roadmap#46 and
    /// many report them; the others are ours.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Gone | Self::Unfit(Unfit::Ended(_)) => None,
            Self::Image => Some("Failed to copy the image from ECR".to_owned()),
            Self::Secret { name, why } => Some(format!(
                "Failed to retrieve the secret of environment variable {name}: {why}"
            )),
            Self::Start(why) => Some(why.clone()),
            Self::Unfit(Unfit::Unhealthy) => Some("Health check failed.".to_owned()),
        }
    }
}

/// Why an instance serves no longer, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// With this exit code.
    Ended(i32),
    /// As its health check says.
    Unhealthy,
}

/// A health check, with its times in the cloud's.
#[derive(Clone, Debug)]
pub struct Check {
    /// `None`: TCP.
    path: Option<String>,
    port: u16,
    interval: Duration,
    timeout: Duration,
    healthy: u32,
    unhealthy: u32,
}

impl Check {
    /// Of a configuration that has all its members.
    pub fn read(from: &Value, port: u16) -> Self {
        let count = |name: &str| {
            let given = number(from, name).and_then(|it| u32::try_from(it).ok());
            given.unwrap_or(1)
        };
        let seconds = |name: &str| Duration::from_secs(count(name).into());
        let is_http = need(from, "Protocol") == "HTTP";
        let path = text(from, "Path").unwrap_or("/");
        Self {
            path: is_http.then(|| path.to_owned()),
            port,
            interval: seconds("Interval"),
            timeout: seconds("Timeout"),
            healthy: count("HealthyThreshold"),
            unhealthy: count("UnhealthyThreshold"),
        }
    }

    /// As it stands in events.
    pub fn shown(&self) -> String {
        match &self.path {
            Some(path) => format!("protocol `HTTP` [Path: '{path}'], [Port: '{}']", self.port),
            None => format!("protocol `TCP` [Port: '{}']", self.port),
        }
    }

    /// Waits until the check passed as often in a row as it must.
    pub async fn wait(&self, clock: &Clock, container: &Container) -> Result<(), Unfit> {
        tokio::select! {
            exit = container.wait() => Err(Unfit::Ended(exit.code)),
            passed = self.turn(clock, container, true) => match passed {
                true => Ok(()),
                false => Err(Unfit::Unhealthy),
            },
        }
    }

    /// Waits until an instance that was healthy is not.
    pub async fn outlast(&self, clock: &Clock, container: &Container) -> Unfit {
        tokio::select! {
            exit = container.wait() => Unfit::Ended(exit.code),
            _ = self.turn(clock, container, false) => Unfit::Unhealthy,
        }
    }

    /// Checks until a threshold is reached: that of failures, or, when it is `wanted`, of passes.
    /// Whether it is the latter.
    async fn turn(&self, clock: &Clock, container: &Container, wanted: bool) -> bool {
        let (mut passed, mut failed, began) = (0, 0, clock.now());
        let is_real = container.seems_healthy().is_none();
        loop {
            clock.sleep_at_least(self.interval, REAL_INTERVAL).await;
            if self.passes(clock, container).await {
                (passed, failed) = (passed + 1, 0);
            } else {
                let counts = !is_real || clock.since(began) > REAL_START;
                (passed, failed) = (0, failed + u32::from(counts));
            }
            if wanted && passed >= self.healthy {
                return true;
            }
            if failed >= self.unhealthy {
                return false;
            }
        }
    }

    async fn passes(&self, clock: &Clock, container: &Container) -> bool {
        if let Some(healthy) = container.seems_healthy() {
            return healthy;
        }
        let Some(address) = container.address() else {
            return false;
        };
        let limit = clock.in_cloud_time(self.timeout).max(REAL_TIMEOUT);
        match &self.path {
            // Which codes pass is not documented; 401 does not (roadmap#110).
            Some(path) => probe(address, path, limit).await,
            None => listens(address, limit).await,
        }
    }
}

/// Whether somebody takes a connection and does not hang up.
async fn listens(address: SocketAddr, limit: Duration) -> bool {
    let Ok(Ok(mut stream)) = timeout(limit, TcpStream::connect(address)).await else {
        return false;
    };
    let mut first = [0; 1];
    match timeout(REAL_HANG_UP, stream.read(&mut first)).await {
        Ok(Ok(count)) => count > 0,
        Ok(Err(_)) => false,
        // A server waits for the request.
        Err(_) => true,
    }
}
