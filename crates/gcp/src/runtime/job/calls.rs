//! The calls that concern one job.

use std::sync::Arc;
use std::time::Duration;

use deployer_core::error::Result;
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_longrunning::model::Operation;
use google_cloud_run_v2::model::Job;

use crate::error::{self, Found};
use crate::operation;
use crate::project::Project;

pub(super) const OPERATION_DEADLINE: Duration = Duration::from_secs(120);

/// The calls that concern one job.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) project: Arc<Project>,
    pub(crate) name: String,
}

impl Calls {
    pub(crate) fn new(project: &Arc<Project>, name: &str) -> Self {
        Self {
            project: Arc::clone(project),
            name: name.to_owned(),
        }
    }

    pub(crate) fn path(&self) -> String {
        self.project.names.job(&self.name)
    }

    pub(crate) fn cannot(&self, what: &str) -> String {
        format!("cannot {what} job `{}`", self.name)
    }

    pub(crate) async fn find(&self) -> Result<Found<Job>> {
        let jobs = self.project.clients.jobs.reading().await;
        let outcome = jobs.get_job().set_name(self.path()).send().await;
        error::found(outcome, &self.cannot("read"))
    }

    pub(crate) async fn get(&self) -> Result<Job> {
        let jobs = self.project.clients.jobs.reading().await;
        let outcome = jobs.get_job().set_name(self.path()).send().await;
        outcome.map_err(|error| error::failed(error, &self.cannot("read")))
    }

    /// The job, once it is told as this operation makes it or later.
    pub(crate) async fn after(&self, begun: &Operation) -> Result<Job> {
        let since = operation::accepted(begun).map_or(0, |job: Job| job.generation);
        let (what, tells) = (format!("job `{}`", self.name), |now: &Job| {
            now.generation >= since
        });
        operation::caught_up(&self.project, &what, tells, || self.get()).await
    }

    /// Sends a job that is there. The etag is left out: it changes with each execution, and the
    /// template is all ours.
    pub(super) async fn put(&self, job: Job) -> Result<Job> {
        let jobs = self.project.clients.jobs.changing().await;
        let outcome = jobs
            .update_job()
            .set_job(job.set_etag(""))
            // The same again changes nothing.
            .with_idempotency(true)
            .send()
            .await;
        let begun = outcome.map_err(|error| error::failed(error, &self.cannot("update")))?;
        self.after(&begun).await
    }

    pub(super) async fn delete(&self) -> Result<()> {
        let action = self.cannot("delete");
        let jobs = self.project.clients.jobs.changing().await;
        let outcome = jobs.delete_job().set_name(self.path()).send().await;
        let Some(started) = error::optional(outcome, &action)? else {
            return Ok(());
        };
        operation::settle(
            &self.project,
            started,
            OPERATION_DEADLINE,
            &action,
            async |name| {
                let jobs = self.project.clients.jobs.reading().await;
                jobs.get_operation().set_name(name).send().await
            },
        )
        .await
    }
}
