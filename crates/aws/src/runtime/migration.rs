//! `ecs.migration`: one task that brings the database up to date, with the release's own image.
//!
//! ECS can override a task's command, not its entry point: a migration with another entry point than the service's has a task
//! definition of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_ecs::types::{Task, TaskStopCode};
use deployer_core::address::Address;
use deployer_core::capability::{
    Birth, ImageRef, MigrationKey, MigrationRecord, MigrationStanding, Rerun, Revision, Scope,
    SecretVersion, ServiceInputs,
};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::Fields;
use deployer_core::graph::{Inputs, Output, Value};
use deployer_core::node::{Evidence, Step, Token, Undone, Watch};
use deployer_core::spec::{EnvironmentSpec, MigrateSpec, ServiceSpec, program};

use super::migration_start::{client_token, retry_token, token_after};
use super::migration_tasks::Begun;
use super::task_definition::{WithTags, describe_revision};
use super::{Migrated, Names, autopsy, definition, definition_read, lookup, service_calls};
use crate::client::Clients;
use crate::tags::Tags;

/// The kind of a migration's node.
pub(crate) const MIGRATION: &str = "ecs.migration";

/// What names the database's version.
pub(super) enum Database {
    /// Nothing does.
    Unnamed,
    /// A secret of the manifest.
    Secret {
        /// The version that the new task definition pins.
        version: Value<SecretVersion>,
    },
    /// Whatever the service pins in this variable now.
    Running {
        /// The variable.
        variable: String,
    },
}

impl Database {
    pub(super) fn of(
        env: &EnvironmentSpec,
        service: &ServiceSpec,
        given: &ServiceInputs,
        scope: Scope,
        inputs: &mut Inputs,
    ) -> Self {
        let migrate = service.migrate.as_ref();
        let Some(key) = migrate.and_then(|migrate| migrate.database.as_ref()) else {
            return Self::Unnamed;
        };
        let known = (env.secrets.get(key), given.secrets.get(key));
        match (scope, known) {
            (Scope::Whole, (Some(_), Some(version))) => Self::Secret {
                version: inputs.pass(version),
            },
            (Scope::Whole, _) => Self::Unnamed,
            (Scope::CodeOnly, _) => {
                let mut variables = service.secrets.iter();
                match variables.find(|(_, used)| used.secret == *key) {
                    Some((variable, _)) => Self::Running {
                        variable: variable.clone(),
                    },
                    None => Self::Unnamed,
                }
            }
        }
    }
}

/// What the look before planning found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    /// How every migration that was ever started stands, by key.
    standings: BTreeMap<String, MigrationStanding>,
    /// What names the database of what runs, in a code deployment.
    running: Option<SecretVersion>,
}

/// Where its program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// It is the service's entry point with another command, which the call says.
    Override,
    /// In a task definition of its own.
    OfDefinition,
}

/// A migration that is to have succeeded before the service changes.
pub(super) struct Migration {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) names: Names,
    pub(super) spec: MigrateSpec,
    pub(super) program: Program,
    /// Of its task; none where a code deployment may not tag.
    pub(super) tags: Tags,
    pub(super) definition: Value<Revision>,
    pub(super) image: Value<ImageRef>,
    pub(super) database: Database,
    /// Which database that is, where it is one of the manifest's own. A secret's name with its suffix, and a version's id, are never
    /// given again on AWS: they stand for a database that a person named.
    pub(super) birth: Option<Value<Birth>>,
    pub(super) record: Arc<dyn MigrationRecord>,
    pub(super) rerun: Rerun,
    pub(super) looked: Mutex<Option<Looked>>,
    pub(super) output: Output<Migrated>,
    /// Its key, once it has run.
    pub(super) ran: Output<String>,
}

impl Migration {
    fn looked(&self) -> Option<Looked> {
        self.looked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The key, as soon as everything that it is made of is known.
    fn key(&self) -> Option<MigrationKey> {
        let image = self.image.known()?;
        let database = match &self.database {
            Database::Unnamed => None,
            Database::Secret { version } => Some(version.known()?),
            Database::Running { .. } => self.looked()?.running,
        };
        let birth = match &self.birth {
            None => None,
            Some(birth) => Some(birth.known()?),
        };
        let (database, birth) = (database.as_ref(), birth.as_ref());
        Some(MigrationKey::new(&self.spec, &image, database, birth))
    }

    /// What names the database of what runs now.
    async fn running(&self) -> Result<Option<SecretVersion>> {
        match &self.database {
            Database::Unnamed | Database::Secret { .. } => Ok(None),
            Database::Running { variable } => {
                let name = &self.names.service;
                let service = lookup::describe(&self.clients, name, WithTags::No)
                    .await?
                    .ok_or_else(|| service_calls::absent(name))?;
                let arn = service.task_definition().unwrap_or_default();
                let running = describe_revision(&self.clients, arn).await?;
                Ok(
                    definition_read::container_of(&running, &self.names.container)
                        .and_then(|container| definition_read::secret_of(container, variable))
                        .and_then(definition::pinned),
                )
            }
        }
    }

    /// Notes that it starts. The token of the key finds a start whose reply is lost.
    async fn begin(&self, key: &str) -> Result<()> {
        let what = self.address.to_string();
        self.record.started(key, &what, None).await
    }

    async fn finish(
        &self,
        key: &str,
        (arn, begun): (&str, Begun),
        watch: &dyn Watch,
    ) -> Result<()> {
        self.record.running(key, arn).await?;
        let task = match self.wait(arn, begun, watch).await {
            Ok(task) => task,
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                match self.stop(arn, watch).await {
                    // It may have ended well while it was being stopped.
                    Ok(task) if outcome(&task, &self.names.container).is_ok() => task,
                    Ok(_) => {
                        let error = self.too_long();
                        self.record.ended(key, Err(error.to_string())).await?;
                        return Err(error);
                    }
                    // Not written down as ended: what may still write to the database has not.
                    Err(why) => return Err(self.still_running(arn).because(why)),
                }
            }
            Err(error) if error.kind() == ErrorKind::Failed => {
                self.record.ended(key, Err(error.to_string())).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let outcome = outcome(&task, &self.names.container);
        if let Err(why) = &outcome
            && never_started(&task, &self.names.container)
        {
            self.record.not_started(key, arn, why.clone()).await?;
            return Err(Error::new(
                ErrorKind::Failed,
                format!(
                    "the migration of `{}` could not be started: {why}",
                    self.names.service
                ),
            )
            .hint(
                "nothing of it ran: once the cause is mended, `deployer apply` starts it again",
            ));
        }
        self.record.ended(key, outcome.clone()).await?;
        let Err(why) = outcome else {
            return Ok(());
        };
        let message = format!("the migration of `{}` failed: {why}", self.names.service);
        let last = autopsy::last_lines(&self.clients, &self.names, arn).await;
        Err(Error::new(ErrorKind::Failed, message)
            .with_output(last)
            .hint("nothing else was changed for this service; put it right, then run `deployer migrate --retry`"))
    }
}

/// Whether ECS says that nothing of a stopped task ran: it failed to start, was never running, and our container did not end.
pub(super) fn never_started(task: &Task, container: &str) -> bool {
    let mut containers = task.containers().iter();
    let ended =
        containers.any(|found| found.name() == Some(container) && found.exit_code().is_some());
    task.stop_code() == Some(&TaskStopCode::TaskFailedToStart)
        && task.started_at().is_none()
        && !ended
}

/// What a record proves.
fn proof(standing: MigrationStanding, rerun: Rerun) -> Evidence {
    let due = match standing {
        MigrationStanding::Succeeded { at } if rerun.succeeded() => {
            format!("to be run again; it succeeded at {at}")
        }
        MigrationStanding::Succeeded { at } => {
            return Evidence::Done(format!("it succeeded at {at}"));
        }
        MigrationStanding::Never => "it has not run for this image and database".into(),
        MigrationStanding::Started { .. } => {
            "it was started before and its end is not known".into()
        }
        MigrationStanding::Failed { at, why } if rerun.failed() => {
            format!("to be tried again; it failed at {at}: {why}")
        }
        MigrationStanding::Failed { at, why } => format!(
            "it failed at {at}: {why}; apply does not run it again, `deployer migrate --retry` does"
        ),
        MigrationStanding::NotStarted { at, why, .. } => {
            format!("it could not be started at {at}: {why}")
        }
    };
    Evidence::NotDone(due)
}

/// How a stopped task ended: only exit code 0 is success.
fn outcome(task: &Task, container: &str) -> Result<(), String> {
    let containers = task.containers().iter();
    let ours = containers
        .clone()
        .find(|found| found.name() == Some(container));
    let mut why = Vec::new();
    // A program that is asked to end may well end with 0, in the middle of its work.
    let by_itself = task
        .stop_code()
        .is_none_or(|code| *code == TaskStopCode::EssentialContainerExited);
    match ours.and_then(|found| found.exit_code()) {
        Some(0) if by_itself => return Ok(()),
        Some(code) => why.push(format!("exit code {code}")),
        None => why.push("its container never ran to an end".to_owned()),
    }
    if let Some(reason) = ours.and_then(|found| found.reason()) {
        why.push(reason.to_owned());
    }
    if let Some(code) = task.stop_code() {
        why.push(code.as_str().to_owned());
    }
    if let Some(reason) = task.stopped_reason() {
        why.push(reason.to_owned());
    }
    Err(why.join(", "))
}

impl Migration {
    /// Starts one that ended before, as a person asked for: another task than any before it, the same one for each try of this run.
    async fn begin_again(&self, key: &str, definition: &Revision, token: &Token) -> Result<String> {
        self.begin(key).await?;
        self.start(key, retry_token(key, definition, token)).await
    }
}

#[async_trait]
impl Step for Migration {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn evidence(&self) -> Result<Evidence> {
        let looked = Looked {
            running: self.running().await?,
            standings: self.record.standings().await?,
        };
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(looked);
        Ok(Evidence::Unknown("not compared yet".into()))
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        let program = program(&self.spec.entrypoint, &self.spec.command);
        fields.set("program", program);
        fields.set_value("image", self.image.field(|image| image.0.clone()));
        fields.set_value(
            "task_definition",
            self.definition.field(|revision| revision.0.clone()),
        );
        if let Database::Secret { version, .. } = &self.database {
            let text = version.field(|version| format!("version {}", version.version));
            fields.set_value("database", text);
        }
        fields
    }

    fn judge(&self, evidence: &Evidence) -> Evidence {
        // Once it has run, that is the evidence.
        if let Evidence::Done(_) = evidence {
            return evidence.clone();
        }
        match (self.key(), self.looked()) {
            (Some(key), Some(looked)) => proof(key.among(&looked.standings), self.rerun),
            (Some(_), None) => evidence.clone(),
            (None, _) => Evidence::Unknown("its database is known after apply".into()),
        }
    }

    fn publish(&self) {
        self.output.publish(Migrated);
        if let Some(key) = self.key() {
            self.ran.publish(key.key);
        }
    }

    async fn run(&self, token: &Token, watch: &dyn Watch) -> Result<()> {
        let named = self
            .key()
            .ok_or_else(|| Error::internal("a migration ran before its inputs were known"))?;
        let _turn = self.record.turn(&named.key).await;
        let standing = named.standing(self.record.as_ref()).await?;
        let key = named.key;
        let definition = self.definition.settled()?;
        self.refuse_beside_another(&key).await?;
        let mut begun = Begun::Now;
        let execution = match standing {
            MigrationStanding::Succeeded { .. } if self.rerun.succeeded() => {
                self.begin_again(&key, &definition, token).await?
            }
            MigrationStanding::Succeeded { .. } => return Ok(()),
            MigrationStanding::Started {
                execution: Some(arn),
                ..
            } => {
                begun = Begun::Earlier;
                arn
            }
            // A retry makes one more: the newest counts.
            MigrationStanding::Started {
                execution: None,
                at,
                ..
            } => match self.begun(&self.lost(&key, at, |_| true).await?) {
                Some(arn) => {
                    begun = Begun::Earlier;
                    arn
                }
                None => self.start(&key, client_token(&key, &definition)).await?,
            },
            MigrationStanding::Never => {
                self.begin(&key).await?;
                self.start(&key, client_token(&key, &definition)).await?
            }
            // It stands in the ledger until the next one's name does: a start in its place whose reply was lost is newer.
            MigrationStanding::NotStarted { execution, .. } => {
                // When another one was started in its place, nothing tells.
                let newer = |task: &Task| task.task_arn() != Some(execution.as_str());
                let started = self.lost(&key, None, newer).await?;
                match self.begun(started.iter().take_while(|task| newer(task))) {
                    Some(arn) => arn,
                    None => {
                        let token = token_after(&key, &definition, &execution);
                        self.start(&key, token).await?
                    }
                }
            }
            MigrationStanding::Failed { .. } if self.rerun.failed() => {
                self.begin_again(&key, &definition, token).await?
            }
            MigrationStanding::Failed { at, why } => {
                return Err(Error::new(
                    ErrorKind::Failed,
                    format!(
                        "the migration of `{}` failed at {at}: {why}",
                        self.names.service
                    ),
                )
                .hint("put it right, then run `deployer migrate --retry`"));
            }
        };
        self.finish(&key, (&execution, begun), watch).await
    }

    async fn left(&self, failed: Option<ErrorKind>) -> Result<Undone> {
        let (Some(key), Some(looked)) = (self.key(), self.looked()) else {
            return Ok(Undone::Stays("it did not run".into()));
        };
        key.left(&looked.standings, failed, self.record.as_ref())
            .await
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::primitives::DateTime;
    use aws_sdk_ecs::types::Container;

    use super::*;

    fn task(exit_code: Option<i32>, reason: Option<&str>) -> Task {
        let container = Container::builder()
            .name("idp")
            .set_exit_code(exit_code)
            .set_reason(reason.map(str::to_owned))
            .build();
        Task::builder()
            .containers(container)
            .stop_code(TaskStopCode::EssentialContainerExited)
            .stopped_reason("Essential container in task exited")
            .build()
    }

    #[test]
    fn only_exit_code_zero_is_success() {
        assert_eq!(outcome(&task(Some(0), None), "idp"), Ok(()));
        let why = outcome(&task(Some(3), None), "idp").unwrap_err();
        assert!(
            why.starts_with("exit code 3, EssentialContainerExited"),
            "{why}"
        );
        let why = outcome(&task(None, Some("CannotPullContainerError")), "idp").unwrap_err();
        assert!(
            why.contains("never ran") && why.contains("CannotPull"),
            "{why}"
        );
        assert!(outcome(&task(Some(0), None), "other").is_err());
        let mut stopped = task(Some(0), None);
        stopped.stop_code = Some(TaskStopCode::UserInitiated);
        let why = outcome(&stopped, "idp").unwrap_err();
        assert!(why.contains("UserInitiated"), "{why}");
    }

    #[test]
    fn only_a_task_that_failed_to_start_and_left_no_trace_of_running_never_started() {
        let mut failed = task(None, Some("CannotPullContainerError"));
        failed.stop_code = Some(TaskStopCode::TaskFailedToStart);
        assert!(never_started(&failed, "idp"));
        // Another container kept the task from running; ours had begun.
        let mut killed = task(Some(137), None);
        killed.stop_code = Some(TaskStopCode::TaskFailedToStart);
        assert!(!never_started(&killed, "idp"));
        failed.started_at = Some(DateTime::from_secs(1));
        assert!(!never_started(&failed, "idp"), "it was running");
        assert!(
            !never_started(&task(None, None), "idp"),
            "no word of the start"
        );
    }
}
