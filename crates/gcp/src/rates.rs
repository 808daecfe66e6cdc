//! How fast each API may be asked: the quotas that Google documents, counted by the minute for a
//! project.
//!
//! Every client is handed out in its API's turn: what is not paced cannot be called. Where a number
//! is "from memory", its page could not be read again when this was written: too low costs seconds,
//! too high a refusal that is tried again.

use std::sync::{Arc, LazyLock};

use deployer_core::clock::Clock;
use deployer_core::rate::{Rate, Turns};

/// A client that is made when it is first used: each reads every certificate that this machine
/// trusts, which takes longer than a command that needs three of them should.
pub(crate) type Lazy<T> = LazyLock<T, Box<dyn FnOnce() -> T + Send + Sync>>;

/// Cloud Run, "Quotas and limits", from memory: what reads, and what changes, in a region.
const RUN: (Rate, Rate) = (Rate::per_minute(3000), Rate::per_minute(180));
/// Secret Manager, "Quotas and limits": reading and changing secrets and versions.
const SECRETS: (Rate, Rate) = (Rate::per_minute(600), Rate::per_minute(600));
/// Secret Manager, "Quotas and limits": reading what a version holds; nothing changes it.
const PAYLOADS: (Rate, Rate) = (Rate::per_minute(90_000), Rate::per_minute(600));
/// Cloud Logging, "Quotas and limits", from memory: listing entries; nothing is written.
const LOGS: (Rate, Rate) = (Rate::per_minute(60), Rate::per_minute(60));
/// Cloud SQL Admin API, "Quotas and limits", from memory.
const SQL: (Rate, Rate) = (Rate::per_minute(500), Rate::per_minute(180));
/// Memorystore for Redis, "Quotas and limits": requests of any sort; of creates 30 a minute, more
/// than a run makes.
const REDIS: (Rate, Rate) = (Rate::per_minute(3000), Rate::per_minute(3000));
/// Artifact Registry, "Quotas and limits", from memory: requests that read and that write, in a
/// region.
const ARTIFACTS: (Rate, Rate) = (Rate::per_minute(60_000), Rate::per_minute(18_000));
/// Cloud DNS, "Quotas and limits", from memory.
const NAMES: (Rate, Rate) = (Rate::per_minute(600), Rate::per_minute(600));
/// Resource Manager, "Quotas and limits", from memory: reads; nothing is written.
const PROJECTS: (Rate, Rate) = (Rate::per_minute(600), Rate::per_minute(600));

/// The turns at every API of one project.
pub(crate) struct Rates {
    pub(crate) run: Quota,
    pub(crate) secrets: Quota,
    pub(crate) payloads: Quota,
    pub(crate) logs: Quota,
    pub(crate) sql: Quota,
    pub(crate) redis: Quota,
    pub(crate) artifacts: Quota,
    pub(crate) names: Quota,
    pub(crate) projects: Quota,
}

impl Rates {
    /// Nothing has been asked yet.
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        let quota = |(reads, changes)| Quota {
            reads: Arc::new(Turns::new(reads, Arc::clone(clock))),
            changes: Arc::new(Turns::new(changes, Arc::clone(clock))),
        };
        Self {
            run: quota(RUN),
            secrets: quota(SECRETS),
            payloads: quota(PAYLOADS),
            logs: quota(LOGS),
            sql: quota(SQL),
            redis: quota(REDIS),
            artifacts: quota(ARTIFACTS),
            names: quota(NAMES),
            projects: quota(PROJECTS),
        }
    }
}

/// What the clients of one API share.
pub(crate) struct Quota {
    reads: Arc<Turns>,
    changes: Arc<Turns>,
}

impl Quota {
    /// A client that is handed out in turn.
    pub(crate) fn pace<T>(&self, client: Lazy<T>) -> Paced<T> {
        Paced {
            client: Arc::new(client),
            reads: Arc::clone(&self.reads),
            changes: Arc::clone(&self.changes),
        }
    }

    /// A client that is handed out in this quota's turn too.
    pub(crate) fn share<T>(&self, other: &Paced<T>) -> Paced<T> {
        Paced {
            client: Arc::clone(&other.client),
            reads: Arc::clone(&self.reads),
            changes: Arc::clone(&self.changes),
        }
    }
}

/// A client that is handed out for one call at a time, no faster than its API takes them. Clones
/// wait for the same turns.
pub(crate) struct Paced<T> {
    client: Arc<Lazy<T>>,
    reads: Arc<Turns>,
    changes: Arc<Turns>,
}

impl<T> Clone for Paced<T> {
    fn clone(&self) -> Self {
        Self {
            client: Arc::clone(&self.client),
            reads: Arc::clone(&self.reads),
            changes: Arc::clone(&self.changes),
        }
    }
}

impl<T> Paced<T> {
    /// For one call that reads.
    pub(crate) async fn reading(&self) -> &T {
        self.reads.next().await;
        &self.client
    }

    /// For one call that changes something.
    pub(crate) async fn changing(&self) -> &T {
        self.changes.next().await;
        &self.client
    }
}
