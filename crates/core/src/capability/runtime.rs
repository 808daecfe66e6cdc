//! Services: how the plan declares them, what they take and what they make.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Birth, Rerun};
use crate::address::Address;
use crate::gate::{Checks, HoldsBack};
use crate::graph::{Graph, Output, Value};
use crate::ledger::Release;
use crate::migration_record::MigrationRecord;
use crate::pins::{ImageRef, Revision, SecretVersion};
use crate::redeploy::Redeploy;
use crate::spec::ServiceSpec;

/// Declares services.
pub trait Runtime {
    /// Declares what the service needs beyond image and secrets (log group, task definition or job,
    /// migration, the service itself, its invoker binding). The migration runs after the image and
    /// the secrets and before traffic moves.
    fn service(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        inputs: &ServiceInputs,
        scope: Scope,
    ) -> ServiceOutputs;

    /// Whether a new revision of this service can be held back from the traffic until it has passed
    /// its gate. Pure.
    fn holds_back(&self, service: &ServiceSpec) -> HoldsBack;
}

/// What a service's nodes make.
#[derive(Clone, Debug)]
pub struct ServiceOutputs {
    /// The revision that serves once the service node is ready.
    pub revision: Output<Revision>,
    /// Where it is reached, when the cloud gives it an address.
    pub url: Output<Option<String>>,
    /// The address of the node that moves traffic: the last one of the service.
    pub service: Address,
    /// The key of its migration, once that has run; `None` where it has none.
    pub migration: Option<Output<String>>,
}

/// What a service takes from other nodes and from the ledger.
#[derive(Clone, Debug)]
pub struct ServiceInputs {
    /// The image.
    pub image: Value<ImageRef>,
    /// The secrets that its variables and its migration use, by the manifest's names.
    pub secrets: BTreeMap<String, Value<SecretVersion>>,
    /// Which databases these secrets name, by the manifest's names of the secrets: those that
    /// deployer makes.
    pub births: BTreeMap<String, Value<Birth>>,
    /// Keys of migrations that succeeded before (see [`super::MigrationKey`]).
    pub migrated: Arc<dyn MigrationRecord>,
    /// Run the migration although this release's one was tried and failed: a person's word.
    pub rerun: Rerun,
    /// The new roll-out of what serves that is asked for.
    pub redeploy: Option<Redeploy>,
    /// Who asks a candidate before it gets traffic, where [`Runtime::holds_back`] says that there
    /// is one. `None`: a new revision gets the traffic once it is ready.
    pub gate: Option<Arc<dyn Checks>>,
    /// What the ledger has of the service, oldest first, in a code-only deployment where the cloud
    /// keeps no revisions ([`Given::releases`](crate::compose::Given::releases)).
    pub releases: Vec<Release>,
}

/// How much of a service is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Whole,
    /// `apply --only`: image, new revision and roll-out of a service that exists; secret pins stay
    /// as they run, and nothing is called that a code deployment does not need.
    CodeOnly,
}
