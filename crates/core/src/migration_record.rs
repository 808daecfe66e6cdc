//! What the ledger knows of migrations: how each stands, and whose turn it is.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// The turn at a migration; it ends when this is dropped.
pub type Turn = futures::lock::OwnedMutexGuard<()>;

/// What the ledger knows of migrations.
#[async_trait]
pub trait MigrationRecord: Send + Sync + std::fmt::Debug {
    /// Waits until nobody else in this process is at the migration of that key, and keeps them
    /// waiting: two services of one image and one database have one migration.
    async fn turn(&self, key: &str) -> Turn;

    /// How the migration of that key stands.
    async fn standing(&self, key: &str) -> Result<MigrationStanding>;

    /// Every migration that was ever started, by key: for a look before the inputs, and so the key,
    /// are known.
    async fn standings(&self) -> Result<BTreeMap<String, MigrationStanding>>;

    /// Notes that the migration of that key starts; durable before the call that starts it.
    /// `before` is what the cloud told of its executions until then, where it takes no token: by
    /// that a start whose reply is lost is found.
    async fn started(&self, key: &str, what: &str, before: Option<String>) -> Result<()>;

    /// Notes where it runs (a task's ARN, an execution's name), so that a later run can find it.
    async fn running(&self, key: &str, execution: &str) -> Result<()>;

    /// Notes how it ended.
    async fn ended(&self, key: &str, outcome: Result<(), String>) -> Result<()>;

    /// Notes that the cloud could not start this execution, and that nothing of it ran.
    async fn not_started(&self, key: &str, execution: &str, why: String) -> Result<()>;
}

/// How a migration stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum MigrationStanding {
    /// Never started.
    Never,
    /// Started, end unknown. The execution when the cloud had answered.
    Started {
        /// A task's ARN or an execution's name.
        execution: Option<String>,
        /// When. `None` in ledgers of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
        /// What the cloud told of its executions until then, in a form of the cloud's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
    },
    /// Ended well.
    Succeeded {
        /// When.
        at: Timestamp,
    },
    /// Ended in failure.
    Failed {
        /// When.
        at: Timestamp,
        /// Why, in the cloud's words.
        why: String,
    },
    /// The cloud could not start it and says that nothing of it ran, or what it was run for is
    /// gone: the next run may start another execution, unasked.
    NotStarted {
        /// When that was found out.
        at: Timestamp,
        /// The execution that came to nothing.
        execution: String,
        /// Why, in the cloud's words.
        why: String,
    },
}
