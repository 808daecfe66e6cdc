//! A service that is no longer desired: it can be read, released and deleted.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::{ErrorKind, Result};
use deployer_core::fields::Fields;
use deployer_core::node::Reading;
use google_cloud_run_v2::model;

use super::{Calls, PAUSE, TRIES};
use crate::error::Found;
use crate::labels::{self, Owner};
use crate::project::Project;
use crate::runtime::shape::revision_name;

/// A service that is no longer desired: it can be read and deleted.
pub(crate) struct Leftover {
    calls: Calls,
    address: Address,
    owner: Owner,
}

impl Leftover {
    /// The service at `address`.
    pub(crate) fn new(project: &Arc<Project>, address: &Address, owner: Owner) -> Self {
        Self {
            calls: Calls::new(project, &address.name),
            address: address.clone(),
            owner,
        }
    }
}

#[async_trait]
impl crate::existing::Existing for Leftover {
    type Actual = model::Service;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<model::Service>> {
        Ok(match self.calls.find().await? {
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
            Found::Here(service) => match self.owner.objection(&service.labels) {
                None => Reading::Present(service),
                Some(why) => Reading::Foreign(why),
            },
        })
    }

    fn observed(&self, actual: &model::Service) -> Fields {
        let mut fields = Fields::new();
        labels::describe(&mut fields, &actual.labels);
        fields.set_some("revision", revision_name(&actual.latest_ready_revision));
        fields
    }

    async fn delete(&self, _actual: &model::Service) -> Result<()> {
        self.calls.delete().await
    }

    /// The mark of its revisions stays: another template would be another revision.
    async fn release(&self, _actual: &model::Service) -> Result<()> {
        let mut tries = TRIES;
        loop {
            // Read again for its etag, and for the name that its template may bear.
            let action = self.calls.cannot("release");
            let Some(now) = self.calls.find().await?.seen(&action)? else {
                return Ok(());
            };
            let labels = labels::unmarked(&now.labels);
            if labels == now.labels {
                return Ok(());
            }
            match self.calls.update(now.set_labels(labels), &["labels"]).await {
                Err(error) if error.kind() == ErrorKind::Conflict && tries > 0 => tries -= 1,
                outcome => return outcome.map(drop),
            }
            self.calls.project.context.clock.pause(PAUSE).await;
        }
    }
}
