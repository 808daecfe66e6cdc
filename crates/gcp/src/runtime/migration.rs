//! Runs the migration: at most one execution per image, command and database, found again after a crash.
//!
//! `RunJob` takes no idempotency token. What stands in for one: the ledger notes the start before the call with what the job tells of
//! its executions until then, and the job's template marks each execution with the migration's key, so that one whose name was lost
//! can be found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{
    ImageRef, MigrationKey, MigrationRecord, MigrationStanding, Rerun,
};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::Fields;
use deployer_core::graph::{Output, Value};
use deployer_core::node::{Evidence, Step, Token, Undone, Watch};
use deployer_core::spec::{MigrateSpec, program};
use deployer_core::wait::{Look, Pace, poll};
use google_cloud_run_v2::model::{Execution, Job, Task};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::labels::show_version;
use crate::logs;
use crate::paths::short;
use crate::project::Project;
use crate::runtime::conditions::{self, Ending};
use crate::runtime::job::{self, Database};
use crate::{error, operation};

/// The kind in addresses.
pub(crate) const KIND: &str = "run.migration";

/// To schedule a task and pull its image, beside the migration's own time.
const START_ALLOWANCE: Duration = Duration::from_secs(600);
const LAST_LINES: usize = 20;
/// How long an execution whose name was lost is looked for at least: how old its start is, another machine's clock may have noted.
const LEAST_LOOK: Duration = Duration::from_secs(20);

/// The migration of one service.
pub(crate) struct Migration {
    pub(crate) project: Arc<Project>,
    pub(crate) job: job::Calls,
    pub(crate) address: Address,
    pub(crate) migrate: MigrateSpec,
    pub(crate) image: Value<ImageRef>,
    pub(crate) database: Value<Database>,
    pub(crate) record: Arc<dyn MigrationRecord>,
    pub(crate) rerun: Rerun,
    pub(crate) seen: Mutex<Standings>,
    /// The jobs that other services of the manifest have.
    pub(crate) others: BTreeSet<String>,
    /// Whether its way into the network is direct VPC egress.
    pub(crate) direct: bool,
    pub(crate) done: Output<()>,
    /// Its key, once it has run.
    pub(crate) ran: Output<String>,
}

/// What a job tells of its executions: how many were ever created, and the newest one's name
/// (<https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs#Job>). A list of them lags behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Created {
    count: i32,
    latest: String,
}

impl Created {
    fn of(job: &Job) -> Self {
        let latest = job.latest_created_execution.as_ref();
        Self {
            count: job.execution_count,
            latest: latest.map_or_else(String::new, |it| short(&it.name).to_owned()),
        }
    }

    fn noted(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    /// As it was noted. `None` in ledgers of before.
    fn read(noted: Option<&str>) -> Option<Self> {
        serde_json::from_str(noted?).ok()
    }
}

/// How every migration that was ever started stands, by key.
pub(crate) type Standings = BTreeMap<String, MigrationStanding>;

impl Migration {
    fn key(&self) -> Option<MigrationKey> {
        let (image, database) = (self.image.known()?, self.database.known()?);
        let Database { pin, birth } = database;
        let key = MigrationKey::new(&self.migrate, &image, pin.as_ref(), birth.as_ref());
        Some(key)
    }

    fn failed(&self, why: String, output: Vec<String>) -> Error {
        let told = std::iter::once(&why).chain(&output);
        let lacks_network = self.direct && told.into_iter().any(|it| speaks_of_connections(it));
        let hint = match lacks_network {
            true => SLOW_START,
            false => "repair what it says, then `deployer migrate --retry`",
        };
        let message = format!("migration job `{}` failed", self.job.name);
        Error::new(ErrorKind::Failed, message)
            .because(why)
            .with_output(output)
            .hint(hint)
    }

    pub(super) async fn execution(&self, name: &str) -> Result<Option<Execution>> {
        let executions = self.project.clients.executions.reading().await;
        let outcome = executions.get_execution().set_name(name).send().await;
        error::optional(outcome, &format!("cannot read execution `{}`", short(name)))
    }

    /// The newest execution that carries the key, but none of which nothing ran.
    async fn marked(&self, key: &str) -> Result<Option<Execution>> {
        let mut newest: Option<Execution> = None;
        for item in self.executions().await? {
            let made = |execution: &Execution| {
                execution
                    .create_time
                    .map(|time| (time.seconds(), time.nanos()))
            };
            let later = newest
                .as_ref()
                .is_none_or(|newest| made(&item) > made(newest));
            let marked = job::key_of(&item.labels).is_some_and(|mark| mark == key);
            let ran = !matches!(conditions::ending(&item), Ending::NeverStarted(_));
            if marked && ran && later {
                newest = Some(item);
            }
        }
        Ok(newest)
    }

    /// The execution that was started after `before` was noted and whose name was lost; `at` is when. With the patience of what lags.
    ///
    /// Errors: failed, where Google counts one more and does not show it: then a person has to look.
    async fn lost(
        &self,
        key: &str,
        before: Option<&Created>,
        at: Option<Timestamp>,
    ) -> Result<Option<String>> {
        let clock = self.project.context.clock.as_ref();
        let age = at.map_or(Duration::ZERO, |at| {
            clock
                .now()
                .duration_since(at)
                .try_into()
                .unwrap_or_default()
        });
        let pace = Pace::until(operation::LAG.saturating_sub(age).max(LEAST_LOOK));
        let more = Mutex::new(false);
        let looked = poll(clock, pace, "its execution", || async {
            let now = Created::of(&self.job.get().await?);
            if let Some(name) = self.newer(key, before, &now).await? {
                return Ok(Look::Found(name));
            }
            let one_more = before.is_some_and(|before| now.count > before.count);
            *more.lock().unwrap_or_else(PoisonError::into_inner) = one_more;
            Ok(Look::NotYet("Google does not know it".to_owned()))
        });
        match looked.await {
            Ok(name) => Ok(Some(name)),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                match *more.lock().unwrap_or_else(PoisonError::into_inner) {
                    true => Err(self.unknown()),
                    false => Ok(None),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// An execution of this key that was not there before, by what the job tells, and by the list.
    async fn newer(
        &self,
        key: &str,
        before: Option<&Created>,
        now: &Created,
    ) -> Result<Option<String>> {
        let known = before.map_or("", |before| before.latest.as_str());
        if !now.latest.is_empty() && now.latest != known {
            let path = format!("{}/executions/{}", self.job.path(), now.latest);
            if let Some(found) = self.execution(&path).await?
                && job::key_of(&found.labels).is_some_and(|mark| mark == key)
                && !matches!(conditions::ending(&found), Ending::NeverStarted(_))
            {
                return Ok(Some(found.name));
            }
        }
        let listed = self.marked(key).await?;
        Ok(listed
            .map(|execution| execution.name)
            .filter(|name| short(name) != known))
    }

    fn unknown(&self) -> Error {
        Error::new(
            ErrorKind::Failed,
            format!(
                "an execution of migration job `{}` was begun, and Google does not show it: how it ended is not known",
                self.job.name
            ),
        )
        .hint("look at the job and the database; `deployer migrate --retry` then runs it once more")
    }

    async fn start(&self, key: &str, watch: &dyn Watch) -> Result<()> {
        self.refuse_beside_another(key).await?;
        let what = format!("job {} with {}", self.job.path(), self.image.settled()?.0);
        let before = Created::of(&self.job.get().await?);
        self.record.started(key, &what, before.noted()).await?;
        let jobs = self.project.clients.jobs.changing().await;
        let operation = jobs
            .run_job()
            .set_name(self.job.path())
            .send()
            .await
            .map_err(|error| error::failed(error, &self.job.cannot("run")))?;
        let started = operation
            .metadata
            .and_then(|any| any.to_msg::<Execution>().ok());
        let name = match started
            .map(|execution| execution.name)
            .filter(|name| !name.is_empty())
        {
            Some(name) => name,
            None => self
                .lost(key, Some(&before), None)
                .await?
                .ok_or_else(|| self.unknown())?,
        };
        self.follow(key, &name, watch).await
    }

    /// Notes where it runs and waits for its end.
    async fn follow(&self, key: &str, name: &str, watch: &dyn Watch) -> Result<()> {
        self.record.running(key, name).await?;
        let pace = Pace::closely(self.migrate.timeout + START_ALLOWANCE);
        let what = format!("execution `{}`", short(name));
        let clock = self.project.context.clock.as_ref();
        let seen = Mutex::new(clock.elapsed());
        let look = || async {
            let found = self.execution(name).await?;
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(execution) = found else {
                // What was only just started may seem absent.
                let lags = clock.elapsed().saturating_sub(*seen) < operation::LAG;
                return match lags {
                    true => Ok(Look::NotYet(operation::LAGGING.to_owned())),
                    false => Err(self.vanished(name)),
                };
            };
            *seen = clock.elapsed();
            Ok(match conditions::ending(&execution) {
                Ending::NotYet(why) => {
                    watch.note(&format!("{}: {why}", short(name)));
                    Look::NotYet(why)
                }
                ending => Look::Found(ending),
            })
        };
        let ending = match poll(clock, pace, &what, look).await {
            Err(error) if error.kind() == ErrorKind::Failed => {
                self.record.ended(key, Err(error.to_string())).await?;
                return Err(error);
            }
            ending => ending?,
        };
        match ending {
            Ending::Succeeded => self.record.ended(key, Ok(())).await,
            Ending::NeverStarted(why) => {
                self.record.not_started(key, name, why.clone()).await?;
                Err(Error::new(
                    ErrorKind::Failed,
                    format!("migration job `{}` could not be started", self.job.name),
                )
                .because(why)
                .hint(
                    "nothing of it ran: once the cause is mended, `deployer apply` starts it again",
                ))
            }
            Ending::NotYet(why) | Ending::Failed(why) => {
                let (why, last) = self.explain(name, why).await;
                self.record.ended(key, Err(why.clone())).await?;
                Err(self.failed(why, last))
            }
        }
    }

    fn vanished(&self, name: &str) -> Error {
        Error::new(
            ErrorKind::Failed,
            format!(
                "execution `{}` is gone: how it ended is not known",
                short(name)
            ),
        )
        .hint("look at the database, then `deployer migrate --retry`")
    }

    /// The cloud's words with the tasks' exit codes, and what the app printed last; best effort beyond the first. The latter may
    /// hold anything: it is not for the ledger.
    async fn explain(&self, execution: &str, why: String) -> (String, Vec<String>) {
        let mut lines = vec![why];
        let tasks = self.project.clients.tasks.reading().await;
        if let Ok(answer) = tasks.list_tasks().set_parent(execution).send().await {
            lines.extend(answer.tasks.iter().filter_map(task_words));
        }
        let filter = format!(
            "resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"{}\" \
             AND labels.\"run.googleapis.com/execution_name\"=\"{}\"",
            self.job.name,
            short(execution)
        );
        let last = logs::last_words(&self.project, &filter, LAST_LINES).await;
        let last = last.unwrap_or_default().into_iter().map(|line| line.text);
        (lines.join("; "), last.collect())
    }

    async fn resume(&self, key: &str, name: &str, watch: &dyn Watch) -> Result<()> {
        watch.note(&format!("{} was started before", short(name)));
        self.follow(key, name, watch).await
    }

    /// Never noted as started: it may still have run, when the ledger is new.
    async fn begin(&self, key: &str, watch: &dyn Watch) -> Result<()> {
        match self.marked(key).await? {
            Some(there) if !matches!(conditions::ending(&there), Ending::Failed(_)) => {
                self.resume(key, &there.name, watch).await
            }
            Some(_) if self.rerun.failed() => self.start(key, watch).await,
            Some(there) => self.resume(key, &there.name, watch).await,
            None => self.start(key, watch).await,
        }
    }
}

/// "You might experience connection establishment delays of a minute or more on instance startup when using Direct VPC
/// egress" (Cloud Run, "Direct VPC with a VPC network", limitations).
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

fn judge(seen: &Standings, key: Option<&MigrationKey>, rerun: Rerun) -> Evidence {
    let Some(key) = key else {
        return Evidence::Unknown("its database's version is known only after apply".to_owned());
    };
    match key.among(seen) {
        MigrationStanding::Succeeded { at } if rerun.succeeded() => {
            Evidence::NotDone(format!("to be run again; it succeeded at {at}"))
        }
        MigrationStanding::Succeeded { at } => Evidence::Done(format!("it succeeded at {at}")),
        MigrationStanding::Never => {
            Evidence::NotDone("not run yet for this image and database".to_owned())
        }
        MigrationStanding::Started { .. } => {
            Evidence::NotDone("it was started, and how it ended is not known".to_owned())
        }
        MigrationStanding::Failed { why, .. } if rerun.failed() => {
            Evidence::NotDone(format!("to be tried again; it failed: {why}"))
        }
        MigrationStanding::Failed { why, .. } => Evidence::NotDone(format!(
            "it failed: {why}; apply does not run it again, `deployer migrate --retry` does"
        )),
        MigrationStanding::NotStarted { why, .. } => {
            Evidence::NotDone(format!("it could not be started: {why}"))
        }
    }
}

#[async_trait]
impl Step for Migration {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn evidence(&self) -> Result<Evidence> {
        let seen = self.record.standings().await?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(Evidence::Unknown("not compared yet".to_owned()))
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set_value("image", self.image.field(|image| image.0.clone()));
        let migrate = &self.migrate;
        fields.set("program", program(&migrate.entrypoint, &migrate.command));
        if self.migrate.database.is_some() {
            let show = |database: &Database| {
                let pin = database.pin.as_ref();
                pin.map_or_else(|| "none".to_owned(), show_version)
            };
            fields.set_value("database", self.database.field(show));
        }
        fields
    }

    fn judge(&self, evidence: &Evidence) -> Evidence {
        // Once it has run, that is the evidence.
        if let Evidence::Done(_) = evidence {
            return evidence.clone();
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        judge(&seen, self.key().as_ref(), self.rerun)
    }

    fn publish(&self) {
        self.done.publish(());
        if let Some(key) = self.key() {
            self.ran.publish(key.key);
        }
    }

    async fn run(&self, _token: &Token, watch: &dyn Watch) -> Result<()> {
        self.image.settled()?;
        self.database.settled()?;
        let named = self
            .key()
            .ok_or_else(|| Error::internal("a migration ran before its inputs were known"))?;
        let key = named.key.as_str();
        let _turn = self.record.turn(key).await;
        match named.standing(self.record.as_ref()).await? {
            MigrationStanding::Succeeded { .. } if self.rerun.succeeded() => {
                self.start(key, watch).await
            }
            MigrationStanding::Succeeded { .. } => {
                watch.note("it ran before");
                Ok(())
            }
            MigrationStanding::Failed { why, .. } if !self.rerun.failed() => {
                Err(self.failed(why, Vec::new()))
            }
            MigrationStanding::Failed { .. } | MigrationStanding::NotStarted { .. } => {
                self.start(key, watch).await
            }
            MigrationStanding::Started {
                execution: Some(name),
                ..
            } => self.resume(key, &name, watch).await,
            MigrationStanding::Started {
                execution: None,
                at,
                before,
            } => {
                let before = Created::read(before.as_deref());
                match self.lost(key, before.as_ref(), at).await {
                    Ok(Some(name)) => self.resume(key, &name, watch).await,
                    Ok(None) => self.start(key, watch).await,
                    Err(error) if error.kind() == ErrorKind::Failed && self.rerun.failed() => {
                        self.start(key, watch).await
                    }
                    Err(error) => Err(error),
                }
            }
            MigrationStanding::Never => self.begin(key, watch).await,
        }
    }

    async fn left(&self, failed: Option<ErrorKind>) -> Result<Undone> {
        let Some(key) = self.key() else {
            return Ok(Undone::Stays("it did not run".into()));
        };
        let seen = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.clone()
        };
        key.left(&seen, failed, self.record.as_ref()).await
    }
}

#[cfg(test)]
#[path = "migration_tests.rs"]
mod tests;
