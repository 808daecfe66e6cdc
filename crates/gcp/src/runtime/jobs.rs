//! One-off executions on Cloud Run: an execution of a job that is found by its label or by the
//! job's own count, looked at, cancelled.
//!
//! `RunJob` takes no idempotency token. What stands in for one: the ticket is what the job tells of
//! its executions until then, and the job's template marks each execution with its key, so that one
//! whose name was lost can be found.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::clock::Clock;
use deployer_core::error::{Error, Result};
use deployer_core::jobs::{Execution, Jobs, Nth, Started, Trail};
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_run_v2::model;
use google_cloud_run_v2::model::{Job, Task};
use serde::{Deserialize, Serialize};

use crate::error;
use crate::logs;
use crate::paths::short;
use crate::project::Project;
use crate::runtime::conditions::execution;
use crate::runtime::instead::{self, Instead};
use crate::runtime::job;

/// To schedule a task and pull its image, beside the program's own time.
const START_ALLOWANCE: Duration = Duration::from_secs(600);
const LAST_LINES: usize = 20;

/// What the executions of a job run.
pub(crate) enum Program {
    /// The job's own.
    OfJob,
    /// Another one in its place.
    Instead(Box<Instead>),
}

/// The executions of one job.
pub(crate) struct Executions {
    pub(crate) project: Arc<Project>,
    pub(crate) job: job::Calls,
    /// How long one try may take.
    pub(crate) timeout: Duration,
    /// How often a task that failed is tried again, each time for as long.
    pub(crate) retries: u32,
    pub(crate) program: Program,
    /// The jobs that other services of the manifest have.
    pub(crate) others: BTreeSet<String>,
    /// Whether its way into the network is direct VPC egress.
    pub(crate) direct: bool,
}

/// What a job tells of its executions: how many were ever created, and the newest one's name
/// (<https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs#Job>). A list of
/// them lags behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ticket {
    count: i32,
    latest: String,
    /// The job. Empty in ledgers of before.
    #[serde(default)]
    job: String,
}

impl Ticket {
    fn of(job: &Job) -> Self {
        let latest = job.latest_created_execution.as_ref();
        Self {
            count: job.execution_count,
            latest: latest.map_or_else(String::new, |it| short(&it.name).to_owned()),
            job: short(&job.name).to_owned(),
        }
    }

    fn noted(&self) -> Result<String> {
        let noted = serde_json::to_string(self);
        noted.map_err(|error| Error::internal("a ticket cannot be written").because(error))
    }

    /// As it was noted. `None` in ledgers of before.
    fn read(noted: Option<&str>) -> Option<Self> {
        serde_json::from_str(noted?).ok()
    }
}

impl Executions {
    async fn get(&self, name: &str) -> Result<Option<model::Execution>> {
        let executions = self.project.clients.executions.reading().await;
        let outcome = executions.get_execution().set_name(name).send().await;
        error::optional(outcome, &format!("cannot read execution `{}`", short(name)))
    }

    /// Every execution of the job, whatever it was for.
    async fn all(&self) -> Result<Vec<model::Execution>> {
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

    /// Those that carry the key, newest first, without what was there when the ticket was noted.
    async fn marked(&self, key: &str, since: Option<&Ticket>) -> Result<Vec<Execution>> {
        let mut all = self.all().await?;
        let made = |it: &model::Execution| it.create_time.map(|at| (at.seconds(), at.nanos()));
        all.sort_by_key(|it| std::cmp::Reverse(made(it)));
        let known = since.and_then(|since| {
            let mut all = all.iter();
            all.position(|it| short(&it.name) == since.latest)
        });
        all.truncate(known.unwrap_or(all.len()));
        let marked = all.iter().filter(|it| is_for(it, key));
        Ok(marked.map(execution).collect())
    }

    /// The newest one of the job, where it was made after the ticket and carries the key: a list
    /// may not have it yet.
    async fn newest(&self, key: &str, since: &Ticket, now: &Ticket) -> Result<Option<Execution>> {
        if now.latest.is_empty() || now.latest == since.latest {
            return Ok(None);
        }
        let path = format!("{}/executions/{}", self.job.path(), now.latest);
        let found = self.get(&path).await?;
        Ok(found.filter(|it| is_for(it, key)).as_ref().map(execution))
    }
}

#[async_trait]
impl Jobs for Executions {
    fn clock(&self) -> &dyn Clock {
        self.project.context.clock.as_ref()
    }

    fn name(&self, id: &str) -> String {
        format!("execution `{}`", short(id))
    }

    fn stop_command(&self, id: &str) -> String {
        let (name, names) = (short(id), &self.project.names);
        format!(
            "gcloud run jobs executions cancel {name} --region {} --project {}",
            names.region, names.project
        )
    }

    /// Cloud Run itself ends a try at its timeout, and begins the next one.
    fn longest(&self) -> Duration {
        self.timeout * (self.retries + 1) + START_ALLOWANCE
    }

    fn repeats(&self) -> bool {
        false
    }

    async fn ticket(&self, _key: &str, _nth: Nth<'_>) -> Result<String> {
        Ticket::of(&self.job.get().await?).noted()
    }

    /// Of a program of its own the key is in the job's template by then, and the ticket is for
    /// whoever looks for it.
    async fn start(&self, key: &str, _ticket: &str) -> Result<Started> {
        if let Program::Instead(instead) = &self.program {
            return instead.start(&self.job, key, self.timeout).await;
        }
        let jobs = self.project.clients.jobs.changing().await;
        let operation = jobs
            .run_job()
            .set_name(self.job.path())
            .send()
            .await
            .map_err(|error| error::failed(error, &self.job.cannot("run")))?;
        let started = operation.metadata;
        let started = started.and_then(|any| any.to_msg::<model::Execution>().ok());
        Ok(match started.filter(|it| !it.name.is_empty()) {
            Some(started) => Started::As(execution(&started)),
            None => Started::Unnamed,
        })
    }

    /// By the label, which executions keep: those "of the most recent 1,000, along with any
    /// executions that occurred within the last seven days" are shown (Cloud Run, "Execute jobs").
    /// With a ticket also by what the job tells, which is ahead of lists.
    async fn find(&self, key: &str, ticket: Option<&str>) -> Result<Trail> {
        let Some(since) = Ticket::read(ticket) else {
            let executions = self.marked(key, None).await?;
            return Ok(Trail {
                executions,
                hidden: false,
            });
        };
        let now = Ticket::of(&self.job.get().await?);
        let executions = match self.newest(key, &since, &now).await? {
            Some(newest) => vec![newest],
            None => self.marked(key, Some(&since)).await?,
        };
        Ok(Trail {
            hidden: now.count > since.count && executions.is_empty(),
            executions,
        })
    }

    async fn look(&self, id: &str) -> Result<Option<Execution>> {
        let found = self.get(id).await?;
        Ok(found.as_ref().map(execution))
    }

    fn is_of_another_service(&self, ticket: &str) -> bool {
        Ticket::read(Some(ticket)).is_some_and(|ticket| self.others.contains(&ticket.job))
    }

    /// One of this job, or one that is known of a job that the manifest called otherwise. The jobs
    /// of other services have databases of their own.
    async fn beside(&self, key: &str, others: &[String]) -> Result<Option<String>> {
        for execution in self.all().await? {
            let of_another = job::key_of(&execution.labels).is_some_and(|mark| mark != key);
            if of_another && is_running(&execution) {
                return Ok(Some(execution.name));
            }
        }
        for id in others {
            if job_of(id).is_some_and(|job| self.others.contains(job)) {
                continue;
            }
            if self.get(id).await?.is_some_and(|it| is_running(&it)) {
                return Ok(Some(id.clone()));
            }
        }
        Ok(None)
    }

    /// "Execution has completed and cannot be cancelled" is no error.
    async fn stop(&self, id: &str, _why: &str) -> Result<()> {
        let executions = self.project.clients.executions.changing().await;
        match executions.cancel_execution().set_name(id).send().await {
            Ok(_) => Ok(()),
            Err(error) if error::is_unfit(&error) => Ok(()),
            Err(error) => {
                let action = format!("cannot cancel execution `{}`", short(id));
                Err(error::failed(error, &action))
            }
        }
    }

    /// With the tasks' exit codes.
    async fn reasons(&self, id: &str, why: String) -> String {
        let mut lines = vec![why];
        let tasks = self.project.clients.tasks.reading().await;
        if let Ok(answer) = tasks.list_tasks().set_parent(id).send().await {
            lines.extend(answer.tasks.iter().filter_map(task_words));
        }
        lines.join("; ")
    }

    async fn last_lines(&self, id: &str) -> Vec<String> {
        let filter = logs::of_execution(id);
        let last = logs::last_words(&self.project, &filter, LAST_LINES).await;
        let last = last.unwrap_or_default().into_iter();
        last.map(|line| line.text).collect()
    }

    fn hint(&self, told: &[String]) -> Option<&'static str> {
        let lacks_network = self.direct && told.iter().any(|it| speaks_of_connections(it));
        lacks_network.then_some(SLOW_START)
    }
}

fn is_for(execution: &model::Execution, key: &str) -> bool {
    job::key_of(&execution.labels).is_some_and(|mark| mark == key)
        || instead::has_key(execution, key)
}

fn is_running(execution: &model::Execution) -> bool {
    execution.completion_time.is_none()
}

/// `J` of `projects/P/locations/L/jobs/J/executions/E`.
fn job_of(execution: &str) -> Option<&str> {
    let (_, rest) = execution.split_once("/jobs/")?;
    rest.split('/').next()
}

/// "You might experience connection establishment delays of a minute or more on instance startup
/// when using Direct VPC egress" (Cloud Run, "Direct VPC with a VPC network", limitations).
const SLOW_START: &str = "with direct VPC egress (`network`) a task may have no connection for a minute or more after its start: \
     let the client wait that long, set `migrate_retries` in [targets.gcp.services.NAME] where a second try does no harm, \
     or use `vpc_connector`; then `deployer migrate --retry`";

/// Whether a failure may be of a network that is not there yet, in the words of the usual clients.
fn speaks_of_connections(why: &str) -> bool {
    let says = why.to_lowercase();
    let words = [
        "etimedout",
        "econnrefused",
        "enetunreach",
        "timed out",
        "timeout",
        "could not connect",
        "connection refused",
        "network is unreachable",
        "no route to host",
        "can't reach database",
    ];
    words.iter().any(|words| says.contains(words))
}

/// How a task ended, when it did not end well.
fn task_words(task: &Task) -> Option<String> {
    let result = task.last_attempt_result.as_ref()?;
    let said = result
        .status
        .as_ref()
        .map_or("", |status| status.message.as_str());
    let how = if result.term_signal != 0 {
        format!("killed by signal {}", result.term_signal)
    } else if result.exit_code != 0 {
        format!("exit code {}", result.exit_code)
    } else if said.is_empty() {
        return None;
    } else {
        "no exit code".to_owned()
    };
    let colon = if said.is_empty() { "" } else { ": " };
    Some(format!("task {}: {how}{colon}{said}", task.index))
}

#[cfg(test)]
mod tests {
    use google_cloud_run_v2::model::{ExecutionReference, TaskAttemptResult};

    use super::*;

    #[test]
    fn what_a_job_told_before_a_start_is_noted_and_read_again() {
        let latest =
            ExecutionReference::new().set_name("projects/p/locations/l/jobs/j/executions/j-1");
        let job = Job::new()
            .set_name("projects/p/locations/l/jobs/j")
            .set_execution_count(3)
            .set_latest_created_execution(latest);
        let ticket = Ticket::of(&job);
        assert_eq!((ticket.count, ticket.latest.as_str()), (3, "j-1"));
        assert_eq!(ticket.job, "j");
        assert_eq!(Ticket::read(Some(&ticket.noted().unwrap())), Some(ticket));
        assert_eq!(Ticket::read(None), None);
        let of_before = Ticket::read(Some(r#"{"count":3,"latest":"j-1"}"#)).unwrap();
        assert_eq!((of_before.count, of_before.job.as_str()), (3, ""));
    }

    #[test]
    fn an_execution_names_its_job() {
        let name = "projects/p/locations/l/jobs/idp-migrate/executions/idp-migrate-x2x4z";
        assert_eq!(job_of(name), Some("idp-migrate"));
        assert_eq!(job_of("idp-migrate-x2x4z"), None);
    }

    #[test]
    fn a_network_that_is_not_there_yet_is_told_apart_by_its_words() {
        assert!(speaks_of_connections(
            "Error: connect ETIMEDOUT 10.0.0.3:5432"
        ));
        assert!(!speaks_of_connections("relation \"users\" exists already"));
    }

    #[test]
    fn a_task_tells_its_exit_code_or_its_signal() {
        let task = |result| Task::new().set_last_attempt_result(result);
        let exited = task(TaskAttemptResult::new().set_exit_code(3));
        assert_eq!(task_words(&exited).unwrap(), "task 0: exit code 3");
        let killed = task(TaskAttemptResult::new().set_term_signal(9));
        assert!(task_words(&killed).unwrap().contains("signal 9"));
        assert_eq!(task_words(&task(TaskAttemptResult::new())), None);
    }
}
