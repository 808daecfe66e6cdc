//! The step that makes a revision serve.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Activation, Cloud, Revision};
use deployer_core::error::{ErrorKind, Result};
use deployer_core::fields::Fields;
use deployer_core::graph::Listed;
use deployer_core::node::{Evidence, Step, Token, Undone, Watch};
use deployer_core::ours::Owner;

/// The step that makes a revision serve.
pub(crate) struct Activate {
    pub(crate) cloud: Arc<dyn Cloud>,
    pub(crate) owner: Owner,
    pub(crate) address: Address,
    /// The release, as people write it.
    pub(crate) release: String,
    pub(crate) activation: Activation,
    /// What serves in the end.
    pub(crate) serves: Serves,
}

/// The revision that serves in the end.
pub(crate) type Serves = Arc<Mutex<Option<Revision>>>;

impl Listed for Activate {}

#[async_trait]
impl Step for Activate {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn evidence(&self) -> Result<Evidence> {
        Ok(Evidence::NotDone(format!("{} is to serve", self.release)))
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("release", self.release.clone());
        fields.set("revision", self.activation.revision.0.clone());
        fields
    }

    fn publish(&self) {}

    async fn run(&self, token: &Token, watch: &dyn Watch) -> Result<()> {
        let runtime = self.cloud.services();
        runtime
            .must_be_of(&self.owner, &self.activation.service)
            .await?;
        let revision = runtime.activate(&self.activation, token, watch).await?;
        *self.serves.lock().unwrap_or_else(PoisonError::into_inner) = Some(revision);
        Ok(())
    }

    async fn left(&self, _failed: Option<ErrorKind>) -> Result<Undone> {
        Ok(Undone::Lost("a rollback is not undone".into()))
    }
}
