//! The agent of ECS Exec beside a container, as it is remembered and shown.

use serde::Serialize;
use serde_json::{Value, json};

use crate::aws::json::seconds;

/// The agent of a task's containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// PENDING, RUNNING or STOPPED.
    pub status: &'static str,
    /// Since when it runs.
    pub started: Option<jiff::Timestamp>,
    /// Whether the Message Gateway knows it.
    pub connected: bool,
    /// Why it is STOPPED.
    pub reason: Option<&'static str>,
}

impl Agent {
    /// One that is about to start.
    pub const PENDING: Self = Self {
        status: "PENDING",
        started: None,
        connected: false,
        reason: None,
    };

    /// What becomes of the one of a container whose root cannot be written to: "The SSM agent
    /// requires that the container file system can be written to in order to create the required
    /// directories and files" (Amazon ECS Developer Guide, "Considerations for using ECS Exec").
    /// That it is then STOPPED is from aws/containers-roadmap#1359; the reason's words are ours.
    pub const CANNOT_WRITE: Self = Self {
        status: "STOPPED",
        started: None,
        connected: false,
        reason: Some("ExecuteCommandAgent cannot write to the container's file system"),
    };

    /// As DescribeTasks shows it with its container.
    pub fn view(&self) -> Value {
        let mut out = json!({"name": "ExecuteCommandAgent", "lastStatus": self.status});
        if let Some(at) = self.started {
            out["lastStartedAt"] = seconds(at);
        }
        if let Some(reason) = self.reason {
            out["reason"] = json!(reason);
        }
        out
    }
}
