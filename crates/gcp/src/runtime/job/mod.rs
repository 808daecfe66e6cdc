//! The Cloud Run job that runs the migration with the release's own image.

mod calls;
mod kind;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Birth, ImageRef, MigrationKey, Scope, SecretVersion};
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::kind::Ownership;
use deployer_core::migration::Identity;
use deployer_core::node::{Ready, Resource, Watch};
use deployer_core::spec::{MebiBytes, MigrateSpec, MilliCpu, ServiceSpec};
use deployer_core::wait::{Pace, Readiness};
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_longrunning::model::Operation;
use google_cloud_run_v2::model;
use google_cloud_run_v2::model::condition::State;
use google_cloud_run_v2::model::task_template::Retries;
use google_cloud_run_v2::model::{Job, TaskTemplate};

use crate::error::{self, CloudError, Found};
use crate::ground::ServiceAccount;
use crate::hints;
use crate::labels;
use crate::operation;
use crate::paths::Names;
use crate::runtime::container::{self, Frame, Variables, Way, main_container};
use crate::runtime::patience::{Patience, Turn};
use crate::runtime::service;
use crate::runtime::{conditions, creation};
use crate::secret_store::Store;
use crate::site::prelude::*;

pub(crate) use calls::Calls;

/// The kind in addresses.
pub(crate) const KIND: &str = RunJob::KIND;
/// The label by which an execution says which migration it is; see [`MigrationKey`].
pub(crate) const KEY_LABEL: &str = "deployer-migration";

/// Cloud Run's least for a job.
pub(crate) const LEAST_CPU: MilliCpu = MilliCpu(1000);
/// Cloud Run's least for a job.
pub(crate) const LEAST_MEMORY: MebiBytes = MebiBytes(512);
/// Cloud Run gives a task ten minutes unless told otherwise.
const TASK_TIMEOUT: i64 = 600;
/// Cloud Run tries a task again three times unless told otherwise.
const TASK_RETRIES: i32 = 3;

/// What the manifest says of one migration job.
pub(crate) struct Shape {
    pub(crate) spec: ServiceSpec,
    pub(crate) migrate: MigrateSpec,
    pub(crate) account: Option<Value<ServiceAccount>>,
    pub(crate) way: Way,
    /// How often a task that failed is tried again.
    pub(crate) retries: u32,
    pub(crate) ownership: Ownership,
    pub(crate) names: Names,
}

impl Shape {
    /// `base` (what is there, or nothing) with everything that the manifest says.
    fn compose(
        &self,
        base: Job,
        image: Option<ImageRef>,
        variables: &Variables,
        key: Option<&str>,
    ) -> Job {
        let frame = Frame {
            image,
            entrypoint: &self.migrate.entrypoint,
            command: &self.migrate.command,
            variables,
            cpu: self.spec.cpu.max(LEAST_CPU),
            memory: self.spec.memory.max(LEAST_MEMORY),
        };
        let execution = base.template.clone().unwrap_or_default();
        let task = execution.template.clone().unwrap_or_default();
        let there = main_container(&task.containers);
        // The program is the migration's own; its sizes are those of the service.
        let main = container::keep_sizes(&self.spec, frame.fill(there.cloned()), there);
        let containers = container::with_main(&task.containers, main);
        let account = container::account(self.account.as_ref(), &task.service_account);
        let access = self.way.over(task.vpc_access.clone());
        let timeout = i64::try_from(self.migrate.timeout.as_secs()).unwrap_or(i64::MAX);
        let task = task
            .set_containers(containers)
            .set_timeout(google_cloud_wkt::Duration::clamp(timeout, 0))
            // A migration that failed half-way is a person's to judge, unless the manifest says
            // that a second try does no harm.
            .set_max_retries(i32::try_from(self.retries).unwrap_or(0))
            .set_service_account(account)
            .set_or_clear_vpc_access(access);
        let mut marks = labels::merged(&self.ownership, &execution.labels);
        if let Some(key) = key {
            marks.insert(KEY_LABEL.to_owned(), key.to_owned());
        }
        let execution = execution
            .set_labels(marks)
            .set_task_count(1)
            .set_parallelism(1)
            .set_template(task);
        let labels = labels::merged(&self.ownership, &base.labels);
        let stage = container::launch_stage(&base.launch_stage);
        base.set_labels(labels)
            .set_launch_stage(stage)
            .set_template(execution)
    }
}

/// A job, field by field.
fn describe(names: &Names, job: &Job) -> Fields {
    let mut fields = Fields::new();
    labels::describe(&mut fields, &job.labels);
    let Some(execution) = &job.template else {
        return fields;
    };
    fields.set_some("migration", key_of(&execution.labels));
    fields.set("tasks", execution.task_count.max(1));
    if let Some(task) = &execution.template {
        describe_task(&mut fields, names, task);
    }
    fields
}

fn describe_task(fields: &mut Fields, names: &Names, task: &TaskTemplate) {
    if let Some(main) = main_container(&task.containers) {
        container::describe(fields, names, main);
    }
    container::describe_others(fields, &task.containers);
    let timeout = task
        .timeout
        .as_ref()
        .map_or(TASK_TIMEOUT, google_cloud_wkt::Duration::seconds);
    fields.set("timeout", format!("{timeout} s"));
    let retries = match task.retries {
        Some(Retries::MaxRetries(retries)) => retries,
        // Unset, or a way to say it that is newer than this version.
        _ => TASK_RETRIES,
    };
    fields.set("retries", retries);
    container::describe_account(fields, &task.service_account);
    container::describe_vpc(fields, names, task.vpc_access.as_ref());
}

/// The migration that labels speak of.
pub(crate) fn key_of(labels: &HashMap<String, String>) -> Option<&String> {
    labels.get(KEY_LABEL)
}

/// One migration job of the manifest.
pub(crate) struct RunJob {
    pub(crate) calls: Calls,
    pub(crate) address: Address,
    pub(crate) shape: Shape,
    pub(crate) image: Value<ImageRef>,
    pub(crate) variables: Variables,
    /// The secret that names the database, and the version that the variables pin of it.
    pub(crate) database: DatabasePin,
    pub(crate) born: Born,
    pub(crate) scope: Scope,
    /// The secrets can be read first; nothing is taken from that.
    pub(crate) _granted: Vec<Value<()>>,
    pub(crate) patience: Patience,
    pub(crate) ready: Output<Identity>,
    /// What was last read: what the manifest is silent about is as it is there.
    pub(crate) there: Mutex<Option<Job>>,
}

/// Where it is known from which database the pinned secret names.
pub(crate) enum Born {
    /// It is one of the manifest's own.
    Ours(Value<Birth>),
    /// A person gave its URL: the secret's version stands for it, which Google counts anew in each
    /// secret of a name.
    Given {
        /// The secret's own name; `None` where the migration names none.
        secret: Option<String>,
        /// By what was looked up.
        seen: Mutex<Vec<(SecretVersion, Birth)>>,
    },
}

impl Born {
    fn known(&self, pin: &SecretVersion) -> Option<Birth> {
        match self {
            Self::Ours(birth) => birth.known(),
            Self::Given { seen, .. } => {
                let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let found = seen.iter().find(|(version, _)| version == pin);
                found.map(|(_, birth)| birth.clone())
            }
        }
    }
}

/// Where the database's secret version comes from.
pub(crate) enum DatabasePin {
    /// The migration names no database.
    None,
    /// The secret's node.
    Node(Value<SecretVersion>),
    /// The variable that holds it in what runs now (`apply --only`).
    Variable(String),
}

impl RunJob {
    /// The database's version once it is known; the outer `None` while it is not.
    fn pin(&self) -> Option<Option<SecretVersion>> {
        match &self.database {
            DatabasePin::None => Some(None),
            DatabasePin::Node(value) => value.known().map(Some),
            DatabasePin::Variable(name) => self.variables.pin(name).map(Some),
        }
    }

    /// The same with its birth.
    fn database(&self) -> Option<Identity> {
        let pin = self.pin()?;
        let birth = match &pin {
            None => None,
            Some(pin) => Some(self.born.known(pin)?),
        };
        Some(Identity { pin, birth })
    }

    /// Looks up which version of its number the pinned one is: what is current, or what is pinned
    /// by now.
    async fn learn(&self, pin: Option<SecretVersion>) -> Result<()> {
        let Born::Given {
            secret: Some(secret),
            seen,
        } = &self.born
        else {
            return Ok(());
        };
        let store = Store::new(&self.calls.project, secret);
        let found = match pin {
            Some(pin) if self.born.known(&pin).is_some() => return Ok(()),
            Some(pin) => {
                let birth = store.born(&pin.version).await?;
                Some((pin, birth))
            }
            None => store.current_born().await?,
        };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(found);
        Ok(())
    }

    fn key(&self) -> Option<String> {
        let (image, database) = (self.image.known()?, self.database()?);
        let Identity { pin, birth } = database;
        let key = MigrationKey::new(&self.shape.migrate, &image, pin.as_ref(), birth.as_ref());
        Some(key.key)
    }

    fn wanted(&self, base: Job) -> Result<Job> {
        self.variables.settled()?;
        let image = self.image.settled()?;
        let key = self.key().ok_or_else(|| {
            Error::internal(format!(
                "{} was carried out before its database was known",
                self.address
            ))
        })?;
        Ok(self
            .shape
            .compose(base, Some(image), &self.variables, Some(&key)))
    }

    /// Fails when somebody changed a field between the plan and now. The etag tells nothing of
    /// that: each execution gives another one.
    fn unchanged_since(&self, planned: &Job, now: &Job) -> Result<()> {
        if let Some(stranger) = self.shape.ownership.foreign(&tags(&now.labels)) {
            return Err(stranger.refusal(format!("job `{}`", self.calls.name)));
        }
        let told = |job: &Job| {
            let fields = describe(&self.shape.names, job);
            labels::ours_alone(&fields, &self.shape.ownership.tags)
        };
        match told(planned).changes_to(&told(now)).first() {
            None => Ok(()),
            Some(change) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "job `{}` was changed since it was planned: `{}`",
                    self.calls.name, change.field
                ),
            )
            .hint("plan again")),
        }
    }

    async fn create_once(&self, job: Job) -> Result<Operation, CloudError> {
        let jobs = self.calls.project.clients.jobs.changing().await;
        let create = jobs
            .create_job()
            .set_parent(self.calls.project.names.location());
        let create = create.set_job_id(&self.calls.name);
        // A second one is refused as what exists, which is looked at then.
        let create = create.with_idempotency(true);
        create.set_job(job).send().await
    }

    /// The same for a code deployment, which pins what runs.
    async fn learn_running(&self) -> Result<()> {
        match (self.scope, self.pin()) {
            (Scope::CodeOnly, Some(Some(pin))) => self.learn(Some(pin)).await,
            (Scope::CodeOnly, None | Some(None)) | (Scope::Whole, _) => Ok(()),
        }
    }

    fn note(&self, there: Option<Job>) {
        *self.there.lock().unwrap_or_else(PoisonError::into_inner) = there;
    }

    fn desired_over(&self, base: Job) -> Fields {
        let key = self.key();
        let job = self
            .shape
            .compose(base, self.image.known(), &self.variables, key.as_deref());
        let mut fields = describe(&self.shape.names, &job);
        fields.set_value("image", self.image.field(|image| image.0.clone()));
        self.variables.show_unknown(&mut fields);
        if let (None, DatabasePin::Node(database)) = (&key, &self.database) {
            let unknown = |field: &FieldValue| matches!(field, FieldValue::AfterApply { .. });
            let pin = database.field(labels::show_version);
            let birth = match &self.born {
                Born::Ours(birth) => birth.field(|birth| birth.id.clone()),
                // A version that is only just there is looked up when the job is written.
                Born::Given { .. } => FieldValue::AfterApply {
                    known_after: self.address.clone(),
                },
            };
            if let Some(field) = [pin, birth].into_iter().find(unknown) {
                fields.set_value("migration", field);
            }
        }
        fields
    }

    /// The container whose pins a code-only deployment keeps: the job's own, or the service's
    /// before there is a job.
    async fn note_running(&self, job: Option<&Job>) -> Result<()> {
        if self.scope == Scope::Whole {
            return Ok(());
        }
        if let Some(task) = job.and_then(|job| job.template.as_ref()?.template.as_ref()) {
            return self
                .variables
                .note_running(main_container(&task.containers));
        }
        let service = service::Calls::new(&self.calls.project, &self.shape.spec.name)
            .get()
            .await?;
        let template = service.template.unwrap_or_default();
        self.variables
            .note_running(main_container(&template.containers))
    }
}

#[async_trait]
impl Resource for RunJob {
    type Actual = Job;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Job>> {
        if self.scope == Scope::Whole {
            self.learn(None).await?;
        }
        let found = self.calls.find().await?;
        self.note(match &found {
            Found::Here(job) => Some(job.clone()),
            Found::Absent | Found::Denied(_) => None,
        });
        let job = match found {
            Found::Here(job) => job,
            Found::Denied(why) => return Ok(Reading::Denied(why)),
            Found::Absent => {
                self.note_running(None).await?;
                self.learn_running().await?;
                return Ok(Reading::Absent);
            }
        };
        if let Some(why) = self.shape.ownership.foreign(&tags(&job.labels)) {
            return Ok(Reading::Foreign(why));
        }
        self.note_running(Some(&job)).await?;
        self.learn_running().await?;
        Ok(Reading::Present(job))
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        let fields = self.desired_over(there.clone().unwrap_or_default());
        labels::ours_alone(&fields, &self.shape.ownership.tags)
    }

    fn observed(&self, actual: &Job) -> Fields {
        let mut fields = describe(&self.shape.names, actual);
        if let Readiness::Failed(why) = settled(actual) {
            // It runs only when Cloud Run has taken it over: sent again, it is looked at again.
            fields.set("taken over", format!("failed: {why}"));
        }
        fields
    }

    fn publish(&self, _actual: &Job) {
        // What the migration takes follows from the manifest and its secrets alone, so it is known
        // as early as they are.
        match self.database() {
            Some(database) => self.ready.publish(database),
            None => self.ready.withdraw(),
        }
    }

    async fn create(&self, token: &Token, watch: &dyn Watch) -> Result<Job> {
        self.learn(self.pin().flatten()).await?;
        let job = self.wanted(Job::new())?;
        let outcome = creation::patiently(
            &self.calls.project,
            &format!("the name of job `{}`", self.calls.name),
            watch,
            || self.create_once(job.clone()),
            || async {
                let found = self.calls.find().await?;
                Ok(!matches!(found, Found::Absent))
            },
        )
        .await?;
        match outcome {
            Ok(begun) => self.calls.after(&begun).await,
            // It seemed absent, or the answer was lost: what is there may still differ.
            Err(error) if error::exists_already(&error) => {
                let there = self.calls.get().await?;
                let desired = self.desired_over(there.clone());
                let changes = self.observed(&there).changes_to(&desired);
                match self.shape.ownership.foreign(&tags(&there.labels)) {
                    None if changes.is_empty() => Ok(there),
                    None => self.update(&there, &changes, token, watch).await,
                    Some(stranger) => Err(stranger.refusal(format!("job `{}`", self.calls.name))),
                }
            }
            Err(error) => Err(error::failed(error, &self.calls.cannot("create"))),
        }
    }

    async fn update(
        &self,
        actual: &Job,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Job> {
        self.learn(self.pin().flatten()).await?;
        let now = self.calls.get().await?;
        self.unchanged_since(actual, &now)?;
        self.calls.put(self.wanted(now)?).await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("a job that nobody starts harms nobody")
    }

    async fn delete(&self, _actual: &Job, _token: &Token) -> Result<()> {
        self.calls.delete().await
    }

    async fn readiness(&self, known: &Job) -> Result<Ready<Job>> {
        let seen = self.calls.get().await;
        if lags(&seen, known) {
            return Ok(Ready {
                state: Readiness::Pending(operation::LAGGING.to_owned()),
                actual: known.clone(),
            });
        }
        let actual = seen?;
        let state = settled(&actual);
        let Readiness::Failed(why) = &state else {
            return Ok(Ready { state, actual });
        };
        let now = self.calls.project.context.clock.elapsed();
        let (state, actual) = match self.patience.turn(now, why) {
            Turn::Over => (state, actual),
            Turn::Wait(what) => (Readiness::Pending(what.to_owned()), actual),
            // An equal job that is sent again is checked again.
            Turn::Again(what) => {
                let actual = self.calls.put(actual).await?;
                (Readiness::Pending(what.to_owned()), actual)
            }
        };
        Ok(Ready { state, actual })
    }

    fn pace(&self) -> Pace {
        Pace::until(calls::OPERATION_DEADLINE + self.patience.longest())
    }
}

/// Whether an answer is from before what is known of the job; one that was only just made may seem
/// absent.
fn lags(seen: &Result<Job>, known: &Job) -> bool {
    match seen {
        Ok(seen) => seen.uid == known.uid && seen.generation < known.generation,
        Err(error) => error.kind() == ErrorKind::NotFound && known.generation == 1,
    }
}

/// Whether a job can be run.
pub(crate) fn settled(job: &model::Job) -> Readiness {
    let taken_over = job.observed_generation == job.generation;
    match &job.terminal_condition {
        _ if job.reconciling => Readiness::Pending("Cloud Run still takes the job over".to_owned()),
        // The observed generation stays behind when Cloud Run cannot take the job over.
        Some(condition) if condition.state == State::ConditionFailed => {
            Readiness::Failed(hints::told(conditions::words(condition)))
        }
        Some(condition) if condition.state == State::ConditionSucceeded && taken_over => {
            Readiness::Ready
        }
        Some(condition) => Readiness::Pending(conditions::words(condition)),
        None => Readiness::Pending("the job has no condition yet".to_owned()),
    }
}
