//! A job that is no longer desired: it can be read, released and deleted.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::Result;
use deployer_core::fields::Fields;
use deployer_core::node::Reading;
use google_cloud_run_v2::model::Job;

use super::Calls;
use crate::error::{self, Found};
use crate::labels::{self, Owner};
use crate::project::Project;

/// A job that is no longer desired: it can be read and deleted.
pub(crate) struct Leftover {
    calls: Calls,
    address: Address,
    owner: Owner,
}

impl Leftover {
    /// The job at `address`.
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
    type Actual = Job;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Job>> {
        Ok(match self.calls.find().await? {
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
            Found::Here(job) => match self.owner.objection(&job.labels) {
                None => Reading::Present(job),
                Some(why) => Reading::Foreign(why),
            },
        })
    }

    fn observed(&self, actual: &Job) -> Fields {
        let mut fields = Fields::new();
        labels::describe(&mut fields, &actual.labels);
        fields
    }

    async fn delete(&self, _actual: &Job) -> Result<()> {
        self.calls.delete().await
    }

    async fn release(&self, actual: &Job) -> Result<()> {
        let mut job = actual.clone();
        job.labels = labels::unmarked(&job.labels);
        if let Some(execution) = &mut job.template {
            execution.labels = labels::unmarked(&execution.labels);
        }
        let jobs = self.calls.project.clients.jobs.changing().await;
        // As with any change of a job, the etag is left out: it changes with each execution.
        let outcome = jobs.update_job().set_job(job.set_etag("")).send().await;
        let begun = outcome.map_err(|error| error::failed(error, &self.calls.cannot("release")))?;
        self.calls.after(&begun).await.map(drop)
    }
}
