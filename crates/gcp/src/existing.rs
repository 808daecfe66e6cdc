//! Nodes for what the inventory names and the manifest no longer wants: they are read and deleted, nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::{Error, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::node::{Kept, Node, Reading, Resource, ResourceNode, Token, Watch};

use crate::database::{instance, user, within};
use crate::project::Project;
use crate::runtime::{invoker, job, service};
use crate::{cache, dns, registry};
use crate::{secret_access, secret_member, secret_store};

/// What a kind must know to be deleted by its address alone.
#[async_trait]
pub(crate) trait Existing: Send + Sync + 'static {
    /// What the cloud says it is.
    type Actual: Clone + Send + Sync + 'static;

    /// Where it is.
    fn address(&self) -> &Address;

    /// Reads it; something that carries no mark of ours is foreign.
    async fn read(&self) -> Result<Reading<Self::Actual>>;

    /// What is there, for the plan.
    fn observed(&self, actual: &Self::Actual) -> Fields;

    /// Removes it. Succeeds when it is gone already.
    async fn delete(&self, actual: &Self::Actual) -> Result<()>;

    /// Whether deleting it loses data.
    fn holds_data(&self) -> bool {
        false
    }
}

/// The node for `address`.
///
/// Errors: input, when the kind is unknown to this version.
pub(crate) fn node(project: &Arc<Project>, address: &Address) -> Result<Arc<dyn Node>> {
    match address.kind.as_str() {
        registry::REPOSITORY => Ok(erase(registry::Leftover::new(project, address))),
        secret_store::KIND => Ok(erase(secret_store::Leftover::new(project, address))),
        secret_access::KIND => Ok(erase(secret_access::Leftover::new(project, address))),
        service::KIND => Ok(erase(service::Leftover::new(project, address))),
        job::KIND => Ok(erase(job::Leftover::new(project, address))),
        invoker::KIND => Ok(erase(invoker::Leftover::new(project, address))),
        instance::KIND => Ok(erase(instance::Leftover::new(project, address))),
        cache::KIND => Ok(erase(cache::Leftover::new(project, address))),
        dns::KIND => Ok(erase(dns::Leftover::new(project, address)?)),
        // A database and its user go with their instance: dropped on their own before it, they would be missing from its
        // last backup.
        within::KIND | user::KIND => Ok(erase(Nothing {
            address: address.clone(),
        })),
        // Steps leave nothing behind that a delete could remove.
        registry::IMAGE | secret_member::KIND | crate::runtime::migration::KIND => {
            Ok(erase(Nothing {
                address: address.clone(),
            }))
        }
        kind => Err(Error::input(format!(
            "the inventory names {address}, and this version knows no kind `{kind}`"
        ))
        .hint("use the version of deployer that made it, or a later one")),
    }
}

fn erase<E: Existing>(existing: E) -> Arc<dyn Node> {
    ResourceNode::erase(ToDelete(existing))
}

/// The address of a step, or of something that goes with another resource: nothing is to be deleted there.
struct Nothing {
    address: Address,
}

#[async_trait]
impl Existing for Nothing {
    type Actual = ();

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<()>> {
        Ok(Reading::Absent)
    }

    fn observed(&self, (): &()) -> Fields {
        Fields::new()
    }

    async fn delete(&self, (): &()) -> Result<()> {
        Ok(())
    }
}

/// An [`Existing`] as a resource: nothing of it is desired.
struct ToDelete<E>(E);

impl<E: Existing> ToDelete<E> {
    fn refuse(&self, what: &str) -> Error {
        Error::internal(format!(
            "{} is to be deleted and cannot be {what}",
            self.0.address()
        ))
    }
}

#[async_trait]
impl<E: Existing> Resource for ToDelete<E> {
    type Actual = E::Actual;

    fn address(&self) -> &Address {
        self.0.address()
    }

    async fn read(&self) -> Result<Reading<E::Actual>> {
        self.0.read().await
    }

    fn desired(&self) -> Fields {
        Fields::new()
    }

    fn observed(&self, actual: &E::Actual) -> Fields {
        self.0.observed(actual)
    }

    fn publish(&self, _actual: &E::Actual) {}

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<E::Actual> {
        Err(self.refuse("created"))
    }

    async fn update(
        &self,
        _actual: &E::Actual,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<E::Actual> {
        Err(self.refuse("changed"))
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("it is not as before")
    }

    async fn delete(&self, actual: &E::Actual, _token: &Token) -> Result<()> {
        self.0.delete(actual).await
    }

    fn holds_data(&self) -> bool {
        self.0.holds_data()
    }
}
