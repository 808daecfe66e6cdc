//! Services as a cloud runs them: what serves, the revisions that are kept, and how they are
//! operated.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;

use super::{Autopsy, Console, OneOffs, Order};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::node::{Token, Watch};
use crate::ours::Owner;
use crate::pins::{ImageRef, Revision, SecretVersion};
use crate::spec::{Architecture, EnvironmentSpec, ServiceSpec};
use crate::wait::Readiness;

/// Operates services, their revisions and their one-offs.
#[async_trait]
pub trait Services: Send + Sync {
    /// Whether it runs containers of that architecture as this service.
    ///
    /// Errors: input, with what to do instead.
    fn runs(&self, _service: &ServiceSpec, _architecture: Architecture) -> Result<()> {
        Ok(())
    }

    /// What serves. `None` when there is no such service.
    async fn serving(&self, service: &ServiceSpec) -> Result<Option<Serving>>;

    /// The id of the newest roll-out of a service, as [`Redeploy::after`] has it. `None` where
    /// there is no service, or it was never rolled out.
    ///
    /// [`Redeploy::after`]: crate::redeploy::Redeploy::after
    async fn newest_rollout(&self, service: &ServiceSpec) -> Result<Option<String>>;

    /// The revisions that can still be activated, newest first.
    async fn revisions(&self, service: &ServiceSpec) -> Result<Vec<RevisionInfo>>;

    /// The secret versions that a revision pins, by variable name.
    ///
    /// Errors: not found, when the revision can never serve again.
    async fn pinned(
        &self,
        service: &str,
        revision: &Revision,
    ) -> Result<BTreeMap<String, SecretVersion>>;

    /// The ledger that a service of this owner's notes; see [`crate::spec::LedgerNote`]. `None`
    /// where it notes none, or is not there.
    async fn noted_ledger(&self, owner: &Owner, service: &str) -> Result<Option<String>>;

    /// Whether a revision has its size with it: then it is restored when the revision serves again.
    fn revisions_have_sizes(&self) -> bool {
        false
    }

    /// Whether a service's revision has the versions of its secrets with it: else an instance reads
    /// what is current when it is deployed, and a rollback restores none.
    fn revisions_pin_secrets(&self, _service: &str) -> bool {
        true
    }

    /// Makes a revision serve everything (a new one, equal but for the secrets that follow, when
    /// there are any), and waits until it does. Returns the revision that serves.
    ///
    /// Errors: [`crate::error::ErrorKind::Untrue`] when something else serves at the end.
    async fn activate(
        &self,
        activation: &Activation,
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<Revision>;

    /// Looks whose a service is, right before it is changed by its name alone.
    ///
    /// Errors: conflict, when it bears another mark than `owner`'s, or none. One that is not there
    /// is the change's affair.
    async fn must_be_of(&self, owner: &Owner, service: &str) -> Result<()>;

    /// How requests from outside get to a service, for whoever verifies it. The default says: as
    /// they are.
    async fn entrance(&self, _service: &ServiceSpec, _by: LetIn) -> Result<Entrance> {
        Ok(Entrance::Open)
    }

    /// What runs one-offs of a service with what one of its revisions has, in the service's own
    /// network. Reads only.
    ///
    /// Errors: not found, when there is no such service or revision; input, when this runtime
    /// cannot run it.
    async fn one_offs(
        &self,
        env: &EnvironmentSpec,
        service: &ServiceSpec,
        order: Order,
    ) -> Result<Box<dyn OneOffs>>;

    /// What the one-offs of a service leave behind for the next ones: it stays as long as the
    /// manifest has the service. `None` where they leave nothing. Pure.
    fn holder_of_one_offs(&self, _service: &ServiceSpec) -> Option<Address> {
        None
    }

    /// Why no command can be run in a container of this service that serves, whatever its state.
    /// `None` where one can. Pure.
    fn takes_no_commands(&self, _service: &ServiceSpec) -> Option<&'static str> {
        Some("no command runs in a container that serves here")
    }

    /// Runs a command, its words as they are, in a container of a service that serves, in a
    /// terminal of its own: in the instance that is named, or in any.
    ///
    /// Errors: not found, when there is no such instance, or none; input, when its instances take
    /// no commands.
    async fn console(
        &self,
        service: &ServiceSpec,
        _instance: Option<&str>,
        _command: &[String],
    ) -> Result<Box<dyn Console>> {
        let why = self.takes_no_commands(service);
        Err(Error::input(why.unwrap_or("no command runs here")))
    }

    /// What explains a failure: stopped instances, conditions, events, the last lines of the log.
    /// Best effort, never an error.
    async fn autopsy(&self, service: &ServiceSpec) -> Autopsy;
}

/// A revision that the cloud still has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RevisionInfo {
    /// Its name.
    pub revision: Revision,
    /// The image it runs.
    pub image: ImageRef,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// What serves, in the cloud's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Serving {
    /// The service as the cloud knows it.
    pub service: String,
    /// The revision that is asked to serve.
    pub wanted: Option<Revision>,
    /// Share of the traffic by revision, in percent; sums to 100 when anything serves.
    pub traffic: Vec<(Revision, u32)>,
    /// The images of the revisions that serve, by revision.
    pub images: BTreeMap<String, ImageRef>,
    /// Instances asked for and running, where the cloud counts them.
    pub instances: Option<(u32, u32)>,
    /// `ready`, `in progress`, `failing`, `failed`, in a word and the cloud's reason.
    pub state: ServingState,
    /// Where it is reached.
    pub url: Option<String>,
    /// Set where a deployment failed, the cloud put back what served before it, and does not say
    /// which of the two it describes: `wanted` may be either, and `traffic` is empty.
    /// [`crate::history::settled`] settles it by what the ledger knows.
    #[serde(skip)]
    pub put_back: Option<PutBack>,
}

/// A deployment that failed, and of which nobody says whether it is what is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutBack {
    /// When it began, by the cloud's clock. `None` where the cloud does not say.
    pub began: Option<Timestamp>,
    /// When the deployment began that succeeded last. `None` where the cloud does not say.
    pub served_since: Option<Timestamp>,
}

/// Whether what serves is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub enum ServingState {
    /// The wanted revision serves everything.
    Ready,
    /// On its way; says what it waits for.
    InProgress(String),
    /// What is wanted does not stay up: its instances end by themselves, and the cloud goes on
    /// starting others. Says what is missing and how they ended.
    Failing(String),
    /// It failed; says why.
    Failed(String),
}

impl From<Readiness> for ServingState {
    fn from(readiness: Readiness) -> Self {
        match readiness {
            Readiness::Ready => Self::Ready,
            Readiness::Pending(why) => Self::InProgress(why),
            Readiness::Failed(why) | Readiness::RolledBack(why) | Readiness::Replaced(why) => {
                Self::Failed(why)
            }
        }
    }
}

/// What a rollback makes serve.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The service's name in the cloud.
    pub service: String,
    /// The revision that the release recorded.
    pub revision: Revision,
    /// What the release was asked for, where the cloud keeps no revisions: what it runs is made of
    /// this again. `None` where a cloud puts its own revision back.
    pub recorded: Option<Box<RecordedRelease>>,
    /// Secrets that follow: variable name -> the current version, for those the revision pins
    /// otherwise.
    pub follow: BTreeMap<String, SecretVersion>,
    /// How long it is waited for.
    pub patience: Duration,
}

/// What a release says of what it runs.
#[derive(Clone, Debug)]
pub struct RecordedRelease {
    /// What was asked for.
    pub spec: ServiceSpec,
    /// The image in the target's registry.
    pub image: ImageRef,
    /// The secret versions that it started with, by the manifest's names.
    pub secrets: BTreeMap<String, SecretVersion>,
}

/// By whose word callers are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetIn {
    /// The manifest's: whom it lets in comes as anybody comes, and who is turned away all the same
    /// has found a fault.
    Manifest,
    /// The cloud's, as it is now: what the manifest says of it is not made, or not yet.
    Cloud,
}

/// How a request from outside gets to a service.
#[derive(Clone, Debug)]
pub enum Entrance {
    /// As it is.
    Open,
    /// With this header: the cloud itself checks who calls.
    With {
        /// Its name.
        header: &'static str,
        /// Its value.
        value: SecretString,
    },
    /// With an identity that is not to be had here; says why.
    Locked(String),
    /// Not over the internet; says why.
    Inside(String),
}
