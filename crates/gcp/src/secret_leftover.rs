//! A secret that is no longer desired: it can be read, released and deleted.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::Result;
use deployer_core::fields::Fields;
use deployer_core::node::Reading;
use deployer_core::ours::Past;

use crate::error::Found;
use crate::labels::{self, Owner};
use crate::project::Project;
use crate::secret_calls::Store;
use crate::secret_store::{Actual, delete, described, label};

/// A secret that is no longer desired: it can be read and deleted.
pub(crate) struct Leftover {
    store: Store,
    address: Address,
    owner: Owner,
    /// Whether people put its value there themselves.
    is_by_hand: bool,
}

impl Leftover {
    /// The secret at `address`.
    pub(crate) fn new(
        project: &Arc<Project>,
        address: &Address,
        owner: Owner,
        past: &Past,
    ) -> Self {
        Self {
            store: Store::new(project, &address.name),
            address: address.clone(),
            owner,
            // An inventory of before does not say.
            is_by_hand: past.data.unwrap_or(true),
        }
    }
}

#[async_trait]
impl crate::existing::Existing for Leftover {
    type Actual = Actual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Actual>> {
        Ok(match self.store.secret().await? {
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
            Found::Here(secret) => match self.owner.objection(&secret.labels) {
                Some(why) => Reading::Foreign(why),
                None => Reading::Present(Actual {
                    labels: secret.labels,
                    etag: secret.etag,
                    current: None,
                    anothers: false,
                    replication: String::new(),
                }),
            },
        })
    }

    fn observed(&self, actual: &Actual) -> Fields {
        described(&actual.labels)
    }

    async fn delete(&self, actual: &Actual) -> Result<()> {
        delete(&self.store, actual).await
    }

    async fn release(&self, actual: &Actual) -> Result<()> {
        let labels = labels::unmarked(&actual.labels);
        label(&self.store, actual, labels).await.map(drop)
    }

    fn is_guarded(&self) -> bool {
        self.is_by_hand
    }
}
