//! What a cloud stands on, and how its owner may have it behave.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::background::Background;
use crate::backing::Backing;
use crate::clock::Clock;
use crate::env::AccessKey;
use crate::interceptor::Interceptor;
use crate::registry::Store;
use crate::runner::Runner;
use crate::service_account::ServiceAccount;

/// What one cloud stands on. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    /// The clouds' time.
    pub clock: Clock,
    /// What the clouds do on their own; it ends with the sandbox.
    pub background: Background,
    /// The images of both clouds.
    pub store: Store,
    /// Decides what becomes of each API call.
    pub interceptor: Interceptor,
    /// Starts containers.
    pub runner: Runner,
    /// The servers of managed databases and caches.
    pub backing: Backing,
    /// The AWS account id, 12 digits.
    pub account: String,
    /// The key pair of the AWS user.
    pub access_key: AccessKey,
    /// The AWS region.
    pub region: String,
    /// The Google project.
    pub project: String,
    /// The Google location.
    pub location: String,
    /// This cloud's own base URL, `http://127.0.0.1:PORT`.
    pub base: String,
    /// Where files of the sandbox lie.
    pub state_dir: PathBuf,
    /// moto's base URL; `None` when it is not installed or not wanted. The first connection to it
    /// waits until moto has started.
    pub moto: Option<String>,
    /// The service account whose signed assertions buy a token.
    pub service_account: Arc<ServiceAccount>,
    /// A bearer token that the Google side accepts, for `gcloud`.
    pub static_token: String,
    /// How long Google's access policies take to get about.
    pub iam_delay: IamDelay,
    /// Where an organisation's policy lets things be made.
    pub locations: AllowedLocations,
    /// What App Runner describes after an update that failed.
    pub failed_updates: FailedUpdates,
    /// Whether App Runner can delete no service.
    pub failed_deletes: FailedDeletes,
}

/// Whether App Runner goes on describing a configuration that failed to deploy. No source says what
/// it does; which is usual here is ours. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub struct FailedUpdates(Arc<AtomicBool>);

impl FailedUpdates {
    pub(crate) fn set(&self, stay_described: bool) {
        self.0.store(stay_described, Ordering::Relaxed);
    }

    /// Whether they stay described now.
    pub fn stay_described(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether App Runner fails to delete services: each is DELETE_FAILED then. What makes it fail no
/// source says. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub struct FailedDeletes(Arc<AtomicBool>);

impl FailedDeletes {
    pub(crate) fn set(&self, fail: bool) {
        self.0.store(fail, Ordering::Relaxed);
    }

    /// Whether they fail now.
    pub fn fail(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something takes, in cloud time. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct IamDelay(Arc<AtomicU64>);

impl IamDelay {
    pub(crate) fn new(delay: Duration) -> Self {
        let this = Self(Arc::default());
        this.set(delay);
        this
    }

    pub(crate) fn set(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }

    /// How long it takes now.
    pub fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// The policy `constraints/gcp.resourceLocations`. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub struct AllowedLocations(Arc<Mutex<Option<Vec<String>>>>);

impl AllowedLocations {
    pub(crate) fn set(&self, locations: Option<Vec<String>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = locations;
    }

    /// Whether something may be made there.
    pub fn allow(&self, location: &str) -> bool {
        let allowed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut allowed = allowed.iter();
        allowed.all(|allowed| allowed.iter().any(|it| it == location))
    }
}
