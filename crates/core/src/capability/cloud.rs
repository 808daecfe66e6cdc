//! One target, opened: what declares into its graph, and what operates it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::{
    Cache, Caches, Database, Databases, Dns, Logs, Marked, Registry, Runtime, SecretStore, Secrets,
    Services, Zones,
};
use crate::address::{Address, Target};
use crate::clock::Clock;
use crate::error::Result;
use crate::ledger::Permit;
use crate::node::Node;
use crate::ours::{Owner, Past};
use crate::spec::EnvironmentSpec;

/// One target, opened.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// Which.
    fn target(&self) -> &Target;

    /// Asks the cloud who calls. Called before any other call.
    ///
    /// Errors: [`crate::error::ErrorKind::Credentials`] when there are none, they are refused, or
    /// they are for another account than the manifest's.
    async fn caller(&self) -> Result<Caller>;

    /// Makes sure that what `env` needs is switched on in the account; tells what was switched on
    /// now. Called after [`Cloud::caller`]. The default says that nothing is ever off.
    ///
    /// Errors: [`crate::error::ErrorKind::Rejected`], naming everything that is off and may not be
    /// switched on here.
    async fn prepare(&self, _env: &EnvironmentSpec, _switching: Switching) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// What declares `env`, for one composition. Calls nothing.
    fn provider<'a>(&'a self, env: &'a EnvironmentSpec) -> Box<dyn Provider + 'a>;

    /// What declares names. Apart from the others, as another cloud may have the zone.
    fn dns(&self) -> &dyn Dns;

    /// The secrets that are there.
    fn secrets(&self) -> &dyn Secrets;

    /// The services that are there.
    fn services(&self) -> &dyn Services;

    /// The databases that are there.
    fn databases(&self) -> &dyn Databases;

    /// The caches that are there.
    fn caches(&self) -> &dyn Caches;

    /// The zones that are there.
    fn zones(&self) -> &dyn Zones;

    /// What containers print.
    fn logs(&self) -> &dyn Logs;

    /// A node for something in the inventory of `owner` that is no longer desired: it can be read,
    /// released and deleted. What bears the mark of another one, or none and not what `past` says
    /// that we wrote, is foreign.
    ///
    /// Errors: input, when the kind is unknown to this version.
    fn existing(&self, address: &Address, owner: &Owner, past: &Past) -> Result<Arc<dyn Node>>;

    /// Lists what carries the mark of `owner` exactly, of the kinds that [`Cloud::existing`] knows,
    /// and what hangs on such a thing and goes before it. What another owner marked, or nobody, is
    /// never in it.
    ///
    /// Never an error: what could not be listed, because the caller may not or the cloud did not
    /// answer, stands in the answer.
    async fn find_marked(&self, owner: &Owner) -> Marked;

    /// Whether a thing of kind `kind` may have been made from one of kind `other`, and so is
    /// deleted before it: for what no inventory tells of. Goes one way only between two kinds.
    fn may_need(&self, kind: &str, other: &str) -> bool;
}

/// What a plan declares an environment through. It lives for one composition: what one of its
/// capabilities makes and another takes, it hands over itself.
pub trait Provider: Registry + SecretStore + Database + Cache + Runtime {}

impl<T: Registry + SecretStore + Database + Cache + Runtime> Provider for T {}

/// Who calls, as the cloud says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// The AWS account or Google project that the credentials reach.
    pub account: String,
    /// The principal: an ARN, an e-mail address.
    pub principal: String,
}

/// Whether a command may switch on what is off in the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switching {
    /// It changes nothing.
    Never,
    /// As far as the manifest allows it.
    Allowed,
}

/// What every cloud's crate is given.
#[derive(Clone)]
pub struct Context {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How long one call may stay unanswered. Where it is tried again, all tries together end after
    /// a few times as long.
    pub call_timeout: Duration,
    /// Asked before each call.
    pub permit: Permit,
}
