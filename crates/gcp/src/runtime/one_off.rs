//! One-offs on Cloud Run: an execution, with another command, of a job that is as the revision.
//!
//! An execution may override arguments, variables and time-out of its job, not the image ("Override
//! job configuration for a specific execution", Cloud Run): the job, one for each service, is made
//! as the revision first. Whoever wants another revision at the same time makes it as that: so each
//! start names the job's etag, and what was started is compared with what was wanted.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::LogLine;
use deployer_core::capability::one_off::{Exited, OneOffs, Order};
use deployer_core::error::{Error, Result};
use deployer_core::node::Watch;
use deployer_core::ours::Past;
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};
use deployer_core::wait::{Look, Pace, poll};
use google_cloud_run_v2::model::{Job, Task};
use jiff::Timestamp;

use crate::error::{self, Found};
use crate::labels;
use crate::names::RUN_SERVICE;
use crate::paths::short;
use crate::project::Project;
use crate::runtime::instead::{Instead, task_of};
use crate::runtime::jobs::{Executions, Program};
use crate::runtime::{creation, job, service};
use crate::{logs, operation};

/// The job that one-offs of a service are executions of. Names of services and of jobs are apart,
/// and what fits the one fits the other.
pub(crate) fn job_of(service: &str) -> String {
    RUN_SERVICE.fit(&format!("{service}-run"))
}

/// See [`deployer_core::capability::Services::one_offs`].
pub(super) async fn of(
    project: &Arc<Project>,
    env: &EnvironmentSpec,
    service: &ServiceSpec,
    order: Order,
) -> Result<Executions> {
    let name = job_of(&service.name);
    let mut migrations = env.services.values().filter_map(|it| it.migrate.as_ref());
    if migrations.any(|migrate| migrate.job == name) {
        let what = format!("the job of one-offs would be `{name}`, which migrates");
        return Err(Error::input(what)
            .hint("give the migration's job another name: `[targets.gcp.services.NAME] job`"));
    }
    let calls = service::Calls::new(project, &service.name);
    let revision = calls.revision(short(&order.revision.0)).await?;
    Ok(Executions {
        project: Arc::clone(project),
        job: job::Calls::new(project, &name),
        timeout: order.timeout,
        retries: 0,
        program: Program::Instead(Box::new(Instead {
            command: order.command,
            task: task_of(&revision)?,
            ownership: labels::ownership(env, false, &Past::default()),
        })),
        others: BTreeSet::new(),
        direct: false,
    })
}

/// Hears nothing.
struct Nobody;

impl Watch for Nobody {
    fn note(&self, _line: &str) {}
}

impl Executions {
    fn instead(&self) -> Result<&Instead> {
        match &self.program {
            Program::Instead(instead) => Ok(instead),
            Program::OfJob => Err(Error::internal("a migration is no one-off")),
        }
    }

    async fn create(&self, instead: &Instead) -> Result<()> {
        let (project, name) = (&self.project, &self.job.name);
        let job = instead.over(Job::new());
        let made = creation::patiently(
            project,
            &format!("the name of job `{name}`"),
            &Nobody,
            || async {
                let jobs = project.clients.jobs.changing().await;
                let create = jobs.create_job().set_parent(project.names.location());
                create.set_job_id(name).set_job(job.clone()).send().await
            },
            || async { Ok(!matches!(self.job.find().await?, Found::Absent)) },
        )
        .await?;
        match made {
            Ok(begun) => self.job.after(&begun).await.map(|_| ()),
            Err(error) if error::exists_already(&error) => Ok(()),
            Err(error) => Err(error::failed(error, &self.job.cannot("create"))),
        }
    }
}

#[async_trait]
impl OneOffs for Executions {
    fn holder(&self) -> Option<Address> {
        let target = &self.project.target;
        Some(Address::new(target, job::KIND, &self.job.name))
    }

    async fn has_holder(&self) -> Result<bool> {
        let found = self.job.find().await?.seen(&self.job.cannot("read"))?;
        let Some(there) = found else { return Ok(false) };
        match self
            .instead()?
            .ownership
            .foreign(&labels::tags(&there.labels))
        {
            None => Ok(true),
            Some(stranger) => Err(stranger.refusal(format!("job `{}`", self.job.name))),
        }
    }

    async fn make_holder(&self) -> Result<()> {
        self.create(self.instead()?).await?;
        // One that seemed absent, or was made meanwhile, may be anybody's.
        let what = format!("job `{}`", self.job.name);
        let clock = self.project.context.clock.as_ref();
        poll(clock, Pace::until(operation::LAG), &what, || async {
            Ok(match self.has_holder().await? {
                true => Look::Found(()),
                false => Look::NotYet(operation::LAGGING.to_owned()),
            })
        })
        .await
    }

    async fn exited(&self, id: &str) -> Result<Exited> {
        let tasks = self.project.clients.tasks.reading().await;
        let answer = tasks.list_tasks().set_parent(id).send().await;
        let action = format!("cannot list the tasks of execution `{}`", short(id));
        let answer = answer.map_err(|error| error::failed(error, &action))?;
        Ok(answer.tasks.first().map_or(Exited::Untold, exited))
    }

    async fn lines(&self, id: &str, since: Timestamp, limit: usize) -> Result<Vec<LogLine>> {
        let filter = format!("{} AND timestamp>=\"{since}\"", logs::of_execution(id));
        logs::of_program(&self.project, &filter, limit).await
    }

    fn look_command(&self, id: &str) -> String {
        let (name, names) = (short(id), &self.project.names);
        format!(
            "gcloud run jobs executions describe {name} --region {} --project {}",
            names.region, names.project
        )
    }

    fn logs_command(&self, id: &str) -> String {
        let (name, project) = (short(id), &self.project.names.project);
        let label = "labels.\"run.googleapis.com/execution_name\"";
        format!("gcloud logging read '{label}=\"{name}\"' --order asc --project {project}")
    }

    /// "The system will actively try to mark it failed" (`Overrides.timeout`, Cloud Run v2).
    fn ends_by_itself(&self) -> bool {
        true
    }
}

/// How a task's last attempt ended: `exitCode` "of this attempt. This may be unset if the container
/// was unable to exit cleanly with a code due to some other failure", `termSignal` "if it was
/// terminated by a signal" (`TaskAttemptResult`, Cloud Run v2).
fn exited(task: &Task) -> Exited {
    let Some(result) = &task.last_attempt_result else {
        return Exited::Untold;
    };
    let (code, said) = result
        .status
        .as_ref()
        .map_or((0, ""), |status| (status.code, status.message.as_str()));
    if said.contains("timeout was reached") {
        Exited::OutOfTime
    } else if result.exit_code != 0 {
        Exited::With(result.exit_code)
    } else if result.term_signal != 0 {
        Exited::With(128 + result.term_signal)
    } else if code == 0 {
        Exited::With(0)
    } else {
        Exited::Untold
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_rpc::model::Status;
    use google_cloud_run_v2::model::TaskAttemptResult;

    use super::*;

    #[test]
    fn a_program_ends_with_its_code_its_signal_or_the_clouds_word() {
        let task = |result| Task::new().set_last_attempt_result(result);
        let result = TaskAttemptResult::new;
        let status = |code, said: &str| Status::new().set_code(code).set_message(said);
        assert_eq!(exited(&Task::new()), Exited::Untold);
        assert_eq!(exited(&task(result())), Exited::With(0));
        assert_eq!(exited(&task(result().set_exit_code(3))), Exited::With(3));
        assert_eq!(
            exited(&task(result().set_term_signal(9))),
            Exited::With(137)
        );
        let late = status(13, "The configured timeout was reached.");
        let late = result().set_term_signal(15).set_status(late);
        assert_eq!(exited(&task(late)), Exited::OutOfTime);
        let cancelled = result().set_status(status(1, "The execution was cancelled."));
        assert_eq!(exited(&task(cancelled)), Exited::Untold);
    }

    #[test]
    fn the_job_of_the_longest_service_has_a_name_that_is_taken() {
        assert_eq!(job_of("idp"), "idp-run");
        assert!(RUN_SERVICE.accepts(&job_of(&"a".repeat(49))));
    }
}
