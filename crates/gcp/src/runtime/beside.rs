//! No migration is started beside another one of the same service: two at once may undo each other's work.

use deployer_core::capability::MigrationStanding;
use deployer_core::error::{Error, ErrorKind, Result};
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_run_v2::model::Execution;

use crate::error;
use crate::paths::short;
use crate::runtime::job;
use crate::runtime::migration::Migration;

impl Migration {
    /// Fails while an execution of another migration runs: one of this job, or one that the ledger knows of a job that the manifest called
    /// otherwise. The jobs of other services have databases of their own.
    pub(super) async fn refuse_beside_another(&self, key: &str) -> Result<()> {
        for execution in self.executions().await? {
            let is_another = job::key_of(&execution.labels).is_some_and(|mark| mark != key);
            if is_another && is_running(&execution) {
                return Err(self.still_running(&execution.name));
            }
        }
        let standings = self.record.standings().await?;
        let others = standings.into_iter().filter(|(other, _)| other != key);
        for (_, standing) in others {
            let MigrationStanding::Started {
                execution: Some(name),
                ..
            } = standing
            else {
                continue;
            };
            if self.is_of_another_service(&name) {
                continue;
            }
            let execution = self.execution(&name).await?;
            if execution.is_some_and(|execution| is_running(&execution)) {
                return Err(self.still_running(&name));
            }
        }
        Ok(())
    }

    /// Every execution of the job, whichever migration it is of.
    pub(super) async fn executions(&self) -> Result<Vec<Execution>> {
        let action = self.job.cannot("list the executions of");
        let mut items = self
            .project
            .clients
            .executions
            .reading()
            .await
            .list_executions()
            .set_parent(self.job.path())
            .by_item();
        let mut executions = Vec::new();
        while let Some(item) = items.next().await {
            executions.push(item.map_err(|error| error::failed(error, &action))?);
        }
        Ok(executions)
    }

    /// Whether an execution is of a job that the manifest has for another service.
    fn is_of_another_service(&self, execution: &str) -> bool {
        job_of(execution).is_some_and(|job| self.others.contains(job))
    }

    fn still_running(&self, execution: &str) -> Error {
        let (name, names) = (short(execution), &self.project.names);
        Error::new(
            ErrorKind::Conflict,
            format!(
                "another migration is still running, as execution `{name}`: job `{}` is not started beside it",
                self.job.name
            ),
        )
        .hint(format!(
            "wait for its end, or cancel it: `gcloud run jobs executions cancel {name} --region {} --project {}`",
            names.region, names.project
        ))
    }
}

fn is_running(execution: &Execution) -> bool {
    execution.completion_time.is_none()
}

/// `J` of `projects/P/locations/L/jobs/J/executions/E`.
fn job_of(execution: &str) -> Option<&str> {
    let (_, rest) = execution.split_once("/jobs/")?;
    rest.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_names_its_job() {
        let name = "projects/p/locations/l/jobs/idp-migrate/executions/idp-migrate-x2x4z";
        assert_eq!(job_of(name), Some("idp-migrate"));
        assert_eq!(job_of("idp-migrate-x2x4z"), None);
    }
}
