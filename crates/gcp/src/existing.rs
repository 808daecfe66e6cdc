//! Nodes for what the inventory names and the manifest no longer wants: they are read, released or deleted, nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::{Error, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::node::{Kept, Node, Reading, Resource, ResourceNode, Token, Watch};
use deployer_core::ours::{Owner, Past};

use crate::database::{instance, user, within};
use crate::labels;
use crate::project::Project;
use crate::runtime::{invoker, job, service};
use crate::{cache, dns, registry};
use crate::{secret_access, secret_leftover, secret_member, secret_store};

/// What a kind must know to be released or deleted by its address alone.
#[async_trait]
pub(crate) trait Existing: Send + Sync + 'static {
    /// What the cloud says it is.
    type Actual: Clone + Send + Sync + 'static;

    /// Where it is.
    fn address(&self) -> &Address;

    /// Reads it; something that carries another mark than its owner's, or none, is foreign.
    async fn read(&self) -> Result<Reading<Self::Actual>>;

    /// What is there, for the plan.
    fn observed(&self, actual: &Self::Actual) -> Fields;

    /// Removes it. Succeeds when it is gone already.
    async fn delete(&self, actual: &Self::Actual) -> Result<()>;

    /// Takes our mark off and leaves it. Succeeds when the mark is off already.
    async fn release(&self, actual: &Self::Actual) -> Result<()>;

    /// Whether deleting it loses what cannot be had back.
    fn is_guarded(&self) -> bool {
        false
    }
}

/// The node for `address`.
///
/// Errors: input, when the kind is unknown to this version.
pub(crate) fn node(
    project: &Arc<Project>,
    address: &Address,
    owner: &Owner,
    past: &Past,
) -> Result<Arc<dyn Node>> {
    let whose = labels::Owner::exactly(owner);
    match address.kind.as_str() {
        registry::REPOSITORY => Ok(erase(registry::Leftover::new(project, address, whose))),
        secret_store::KIND => Ok(erase(secret_leftover::Leftover::new(
            project, address, whose, past,
        ))),
        secret_access::KIND => Ok(erase(secret_access::Leftover::new(
            project, address, whose, past,
        ))),
        service::KIND => Ok(erase(service::Leftover::new(project, address, whose))),
        job::KIND => Ok(erase(job::Leftover::new(project, address, whose))),
        invoker::KIND => Ok(erase(invoker::Leftover::new(project, address, whose))),
        instance::KIND => Ok(erase(instance::Leftover::new(project, address, whose))),
        cache::KIND => Ok(erase(cache::Leftover::new(project, address, whose))),
        dns::KIND => Ok(erase(dns::Leftover::new(project, address, past)?)),
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

    async fn release(&self, (): &()) -> Result<()> {
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

    async fn release(&self, actual: &E::Actual, _token: &Token) -> Result<()> {
        self.0.release(actual).await
    }

    fn is_guarded(&self) -> bool {
        self.0.is_guarded()
    }
}
