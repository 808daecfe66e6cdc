//! What a cloud says of a roll-out that failed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::LogLine;

/// Best effort: what cannot be found out is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autopsy {
    /// The cloud's own words: roll-out state, conditions.
    pub words: Vec<String>,
    /// Instances that ended, the latest first.
    pub stopped: Vec<StoppedInstance>,
    /// What the load balancer says of those that it does not send traffic to.
    pub targets: Vec<UnfitTarget>,
    /// The service's latest events, newest first.
    pub events: Vec<String>,
    /// The last lines of the failing instance, oldest first, at most 20.
    pub log: Vec<LogLine>,
}

/// An instance that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedInstance {
    /// Its id.
    pub instance: String,
    /// When.
    pub at: Option<Timestamp>,
    /// Why, in the cloud's words.
    pub reason: String,
    /// What ran in it.
    pub containers: Vec<StoppedContainer>,
}

/// A target that a load balancer sends no traffic to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfitTarget {
    /// Where it listens: address and port.
    pub target: String,
    /// In the cloud's words: `unhealthy`, `initial`, `draining`.
    pub state: String,
    /// Why, in the cloud's words.
    pub reason: String,
}

/// A container of an instance that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedContainer {
    /// Its name.
    pub name: String,
    /// What it exited with. `None` when it never ran, or was not told.
    pub exit_code: Option<i32>,
    /// Why it could not run, in the cloud's words.
    pub reason: Option<String>,
}

impl Autopsy {
    /// Whether nothing was found out.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for UnfitTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "target {} is {}: {}",
            self.target, self.state, self.reason
        )
    }
}

impl std::fmt::Display for StoppedInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "task stopped: {}", self.reason)?;
        for container in &self.containers {
            if let Some(code) = container.exit_code {
                write!(f, ", `{}` exited with {code}", container.name)?;
            }
            if let Some(reason) = &container.reason {
                write!(f, ", `{}`: {reason}", container.name)?;
            }
        }
        Ok(())
    }
}
