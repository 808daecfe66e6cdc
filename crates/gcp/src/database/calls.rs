//! The calls that concern one Cloud SQL instance: one operation at a time, waited for on the
//! injected clock.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::names::OWNER_TAG;
use deployer_core::node::Watch;
use deployer_core::wait::{Look, Pace, poll};
use google_cloud_gax::paginator::Paginator;
use google_cloud_sql_v1::model::operation::SqlOperationStatus;
use google_cloud_sql_v1::model::{DatabaseInstance, Operation};
use secrecy::SecretString;

use crate::error::{self, CloudError, Found};
use crate::hints;
use crate::labels::Labelled;
use crate::operation::bearing;
use crate::project::Project;

/// The longest operations (making an instance, a new major version) take some ten minutes; Google
/// names no bound.
pub(super) const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// How long an instance may call itself in no state for a change: it does so for some moments after
/// it was made. Where that lasts it is the network's want of Private Services Access.
const UNFIT: Duration = Duration::from_secs(5 * 60);

/// How long a last backup is kept.
const LAST_BACKUP_DAYS: i64 = 30;

/// The calls that concern one instance.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) project: Arc<Project>,
    pub(super) instance: String,
}

/// How often a change is sent that another one forestalls.
const TRIES: usize = 6;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// How a change is made of an instance as it is.
pub(super) struct Rewrite<'a> {
    /// What is there with the change.
    pub(super) make: &'a (dyn Fn(DatabaseInstance) -> DatabaseInstance + Send + Sync),
    /// Whether the change is still the one that was planned, of what is there by now.
    pub(super) check: &'a (dyn Fn(&DatabaseInstance) -> Result<()> + Send + Sync),
}

/// How an operation stands.
pub(super) enum Standing {
    /// Not done; says how far it is.
    Running(String),
    /// Done, as asked for.
    Done,
    /// Done, in failure; the cloud's words.
    Failed(String),
}

impl Calls {
    pub(super) fn new(project: &Arc<Project>, instance: &str) -> Self {
        Self {
            project: Arc::clone(project),
            instance: instance.to_owned(),
        }
    }

    pub(super) fn cannot(&self, what: &str) -> String {
        format!("cannot {what} database instance `{}`", self.instance)
    }

    pub(super) async fn find(&self) -> Result<Found<DatabaseInstance>> {
        let outcome = self
            .project
            .clients
            .sql_instances
            .reading()
            .await
            .get()
            .set_project(&self.project.names.project)
            .set_instance(&self.instance)
            .send()
            .await;
        match outcome {
            Err(error) if is_not_authorized(&error) => self.listed(error).await,
            outcome => error::found(outcome, &self.cannot("read")),
        }
    }

    /// What the list of instances says, where Cloud SQL refused to speak of this one: it refuses
    /// both what the caller may not see and what is not there, and gives its list only to those who
    /// may see every instance.
    async fn listed(&self, refusal: CloudError) -> Result<Found<DatabaseInstance>> {
        let listed = self
            .project
            .clients
            .sql_instances
            .reading()
            .await
            .list()
            .set_project(&self.project.names.project)
            .set_filter(format!("name:{}", self.instance))
            .send()
            .await;
        match listed {
            // A region that could not be asked is told in a warning; what is in it is missing.
            Ok(list) if list.warnings.is_empty() => {
                let mut instances = list.items.into_iter();
                let own = instances.find(|instance| instance.name == self.instance);
                Ok(own.map_or(Found::Absent, Found::Here))
            }
            Ok(_) | Err(_) => error::found(Err(refusal), &self.cannot("read")),
        }
    }

    /// Sorts the outcome of a question about what is within the instance: Cloud SQL refuses it, as
    /// if the caller might not ask, when the instance is not there.
    pub(super) async fn found_within<T>(
        &self,
        outcome: Result<T, CloudError>,
        action: &str,
    ) -> Result<Found<T>> {
        match outcome {
            // An instance that is still being made has nothing that can be seen; making it again
            // does no harm.
            Err(error) if is_not_running(&error) => Ok(Found::Absent),
            Err(error)
                if is_not_authorized(&error) && matches!(self.find().await?, Found::Absent) =>
            {
                Ok(Found::Absent)
            }
            outcome => error::found(outcome, action),
        }
    }

    /// Every certificate that the server's may be signed by, one after the other: while they
    /// rotate, the next one too. `None` until there is one.
    pub(super) async fn authorities(&self) -> Result<Option<SecretString>> {
        let listed = self
            .project
            .clients
            .sql_instances
            .reading()
            .await
            .list_server_cas()
            .set_project(&self.project.names.project)
            .set_instance(&self.instance)
            .send()
            .await
            .map_err(|error| error::failed(error, &self.cannot("read the authorities of")))?;
        let lines: Vec<String> = listed
            .certs
            .iter()
            .map(|certificate| format!("{}\n", certificate.cert.trim()))
            .collect();
        Ok((!lines.is_empty()).then(|| SecretString::from(lines.concat())))
    }

    /// Waits until nothing is under the instance's name any more.
    pub(super) async fn gone(&self) -> Result<()> {
        let what = format!("the end of database instance `{}`", self.instance);
        poll(
            self.project.context.clock.as_ref(),
            Pace::until(DEADLINE),
            &what,
            || async {
                bearing(self.find().await.map(|found| match found {
                    Found::Absent => Look::Found(()),
                    Found::Here(_) => Look::NotYet("it is still there".to_owned()),
                    Found::Denied(why) => Look::NotYet(why),
                }))
            },
        )
        .await
    }

    /// The instance, for a change that builds on what is there.
    ///
    /// Errors: not found, denied.
    pub(super) async fn get(&self) -> Result<DatabaseInstance> {
        let outcome = self
            .project
            .clients
            .sql_instances
            .reading()
            .await
            .get()
            .set_project(&self.project.names.project)
            .set_instance(&self.instance)
            .send()
            .await;
        outcome.map_err(|error| error::failed(error, &self.cannot("read")))
    }

    /// Starts an operation as soon as no other one is under way: Cloud SQL takes one at a time for
    /// each instance, and says so in more ways than one. Every conflict but a name that is taken
    /// passes (`IsSqlOperationInProgressError` in terraform-provider-google's
    /// error_retry_predicates.go).
    ///
    /// Errors: what `call` fails with; timed out when another operation does not end.
    pub(super) async fn start<F, Fut>(
        &self,
        watch: &dyn Watch,
        call: F,
    ) -> Result<Result<Operation, CloudError>>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Operation, CloudError>>,
    {
        let call = &call;
        let clock = self.project.context.clock.as_ref();
        let began = clock.elapsed();
        poll(
            self.project.context.clock.as_ref(),
            Pace::until(DEADLINE),
            &format!("another operation on `{}`", self.instance),
            || async move {
                match call().await {
                    Err(error) if is_unfit(&error) && clock.elapsed() >= began + UNFIT => {
                        Ok(Look::Found(Err(error)))
                    }
                    Err(error) if is_busy(&error) => {
                        watch.note("another operation on the instance is under way");
                        Ok(Look::NotYet(error::said(&error)))
                    }
                    outcome => Ok(Look::Found(outcome)),
                }
            },
        )
        .await
    }

    /// Waits until an operation is done.
    ///
    /// Errors: the operation's own, as the failure of `action`; timed out at the deadline.
    pub(super) async fn settle(&self, operation: Operation, action: &str) -> Result<()> {
        let name = operation.name.as_str();
        let ended = poll(
            self.project.context.clock.as_ref(),
            Pace::until(DEADLINE),
            "the operation",
            || async move {
                bearing(self.standing(name).await.map(|standing| match standing {
                    Standing::Running(why) => Look::NotYet(why),
                    Standing::Done => Look::Found(Ok(())),
                    Standing::Failed(why) => Look::Found(Err(why)),
                }))
            },
        )
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::TimedOut => Error::new(ErrorKind::TimedOut, action).because(error),
            _ => error,
        })?;
        ended.map_err(|why| {
            let error = Error::new(ErrorKind::Failed, action);
            match hints::of_words(&why) {
                Some(hint) => error.hint(hint).because(why),
                None => error.because(why),
            }
        })
    }

    /// Looks at an operation once.
    pub(super) async fn standing(&self, operation: &str) -> Result<Standing> {
        let operation = self
            .project
            .clients
            .sql_operations
            .reading()
            .await
            .get()
            .set_project(&self.project.names.project)
            .set_operation(operation)
            .send()
            .await
            .map_err(|error| error::failed(error, &self.cannot("see an operation on")))?;
        Ok(judge(&operation))
    }

    /// Writes settings and version, by the settings' own version: what changed meanwhile is not
    /// overwritten.
    ///
    /// Any operation gives the settings another version, also one that was waited for
    /// (terraform-provider-google #12324, "version mismatch"): then the change is made again of
    /// what is there, unless that is another hand's of what is changed here.
    ///
    /// Errors: as [`Rewrite::check`] says of what is there by then; conflict, when something always
    /// comes in between.
    pub(super) async fn write(
        &self,
        instance: DatabaseInstance,
        rewrite: &Rewrite<'_>,
        watch: &dyn Watch,
    ) -> Result<Operation> {
        let mut there = instance;
        let mut tries = TRIES;
        loop {
            let written = self.write_once((rewrite.make)(there), watch).await?;
            match written {
                Err(error) if error::is_stale(&error) && tries > 0 => tries -= 1,
                Err(error) if error::is_stale(&error) => {
                    return Err(self.failed(error, "change").hint("plan again"));
                }
                outcome => return outcome.map_err(|error| self.failed(error, "change")),
            }
            self.project.context.clock.pause(PAUSE).await;
            there = self.get().await?;
            (rewrite.check)(&there)?;
        }
    }

    async fn write_once(
        &self,
        instance: DatabaseInstance,
        watch: &dyn Watch,
    ) -> Result<Result<Operation, CloudError>> {
        let body = DatabaseInstance::new()
            .set_name(&self.instance)
            .set_region(instance.region)
            .set_database_version(instance.database_version)
            .set_or_clear_settings(instance.settings);
        self.start(watch, || async {
            self.project
                .clients
                .sql_instances
                .changing()
                .await
                .update()
                .set_project(&self.project.names.project)
                .set_instance(&self.instance)
                .set_body(body.clone())
                .send()
                .await
        })
        .await
    }

    /// Writes these settings alone, which Cloud SQL takes with no others.
    pub(super) async fn patch(
        &self,
        body: DatabaseInstance,
        what: &str,
        watch: &dyn Watch,
    ) -> Result<Operation> {
        let outcome = self
            .start(watch, || async {
                self.project
                    .clients
                    .sql_instances
                    .changing()
                    .await
                    .patch()
                    .set_project(&self.project.names.project)
                    .set_instance(&self.instance)
                    .set_body(body.clone())
                    .send()
                    .await
            })
            .await?;
        outcome.map_err(|error| self.failed(error, what))
    }

    /// The error of an operation that did not begin.
    pub(super) fn failed(&self, error: CloudError, what: &str) -> Error {
        let unfit = is_unfit(&error);
        let failed = error::failed(error, &self.cannot(what));
        match unfit {
            true => failed.hint(hints::PRIVATE_ACCESS),
            false => failed,
        }
    }

    /// Deletes the instance, protected or not, after a last backup, and waits until its name is
    /// free. Succeeds when it is gone already.
    ///
    /// Errors: denied, when it cannot be seen: that is not gone.
    pub(super) async fn delete(&self, watch: &dyn Watch) -> Result<()> {
        let Some(instance) = self.find().await?.seen(&self.cannot("see"))? else {
            return Ok(());
        };
        let settings = instance.settings.as_ref();
        if settings.and_then(|it| it.deletion_protection_enabled) == Some(true) {
            let unprotect = Rewrite {
                make: &|there| {
                    let settings = there.settings.clone().unwrap_or_default();
                    there.set_settings(settings.set_deletion_protection_enabled(false))
                },
                check: &|_| Ok(()),
            };
            let operation = self.write(instance, &unprotect, watch).await?;
            self.settle(operation, &self.cannot("unprotect")).await?;
        }
        let outcome = self
            .start(watch, || async {
                self.project
                    .clients
                    .sql_instances
                    .changing()
                    .await
                    .delete()
                    .set_project(&self.project.names.project)
                    .set_instance(&self.instance)
                    .set_enable_final_backup(true)
                    .set_final_backup_ttl_days(LAST_BACKUP_DAYS)
                    .set_final_backup_description("made by deployer before it deleted the instance")
                    .send()
                    .await
            })
            .await?;
        let action = self.cannot("delete");
        match error::optional(outcome, &action)? {
            Some(operation) => self.settle(operation, &action).await?,
            None => return Ok(()),
        }
        self.gone().await
    }
}

fn judge(operation: &Operation) -> Standing {
    let errors = operation.error.iter().flat_map(|errors| &errors.errors);
    let words: Vec<String> = errors
        .map(|error| format!("{}: {}", error.code, error.message))
        .collect();
    match &operation.status {
        SqlOperationStatus::Done if words.is_empty() => Standing::Done,
        SqlOperationStatus::Done => Standing::Failed(words.join("; ")),
        status => Standing::Running(format!(
            "{} is {}",
            operation.operation_type.name().unwrap_or("the operation"),
            status.name().unwrap_or("under way")
        )),
    }
}

/// Whether the cloud says that another operation is under way on the instance.
fn is_busy(error: &CloudError) -> bool {
    error::reason(error) == Some("operationInProgress")
        || error.http_status_code() == Some(409) && !error::exists_already(error)
}

/// Whether the instance is in no state for a change: "The instance or operation is not in an
/// appropriate state to handle the request."
fn is_unfit(error: &CloudError) -> bool {
    error.http_status_code() == Some(409) && error::reason(error) == Some("invalidState")
}

/// Whether Cloud SQL refuses to speak of something that is not there, or that the caller may not
/// see.
fn is_not_authorized(error: &CloudError) -> bool {
    error::reason(error) == Some("notAuthorized")
}

/// Whether the cloud refuses to look into an instance because it does not run (yet).
fn is_not_running(error: &CloudError) -> bool {
    error::reason(error) == Some("invalidState") || error::said(error).contains("is not running")
}

/// The list is of the whole project. "Multiple filter queries are space-separated", and a label is
/// asked for as `settings.userLabels.KEY:VALUE` (Cloud SQL Admin API, "Method: instances.list").
pub(super) async fn list(project: &Project, label: &str) -> Labelled {
    let mut pages = project
        .clients
        .sql_instances
        .reading()
        .await
        .list()
        .set_project(&project.names.project)
        .set_filter(format!("settings.userLabels.{OWNER_TAG}:{label}"))
        .by_page();
    let region = &project.names.region;
    let mut read = Labelled::default();
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                read.ended = Some(error);
                break;
            }
        };
        for it in page.items.into_iter().filter(|it| it.region == *region) {
            let labels = it.settings.map(|it| it.user_labels).unwrap_or_default();
            read.named.push((it.name, labels));
        }
        // What is in a region that could not be asked is missing, and that is told in a warning.
        let mut warnings = page.warnings.into_iter();
        let of_ours = warnings.find(|it| it.region.is_empty() || it.region == *region);
        read.missing = read.missing.or(of_ours.map(|it| it.message));
    }
    read
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::Status;
    use google_cloud_sql_v1::model::operation::SqlOperationType;
    use google_cloud_sql_v1::model::{OperationError, OperationErrors};

    use super::*;

    #[test]
    fn people_are_told_how_long_the_last_backup_is_kept() {
        let told = crate::CATALOGUE.kinds.leaves("sql.instance").unwrap();
        assert!(
            told.contains(&format!("for {LAST_BACKUP_DAYS} days")),
            "{told}"
        );
    }

    fn refused(status: u16, body: &str) -> CloudError {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        let status_of_body = Status::try_from(&body).unwrap();
        CloudError::service_with_http_metadata(status_of_body, Some(status), None)
    }

    #[test]
    fn an_operation_is_over_only_when_it_is_done_and_well_only_without_errors() {
        let operation = Operation::new()
            .set_operation_type(SqlOperationType::Create)
            .set_status(SqlOperationStatus::Running);
        assert!(matches!(judge(&operation), Standing::Running(why) if why == "CREATE is RUNNING"));
        let done = operation.set_status(SqlOperationStatus::Done);
        assert!(matches!(judge(&done), Standing::Done));
        let error = OperationError::new()
            .set_code("INTERNAL_ERROR")
            .set_message("no peering on the network");
        let failed = done.set_error(OperationErrors::new().set_errors([error]));
        assert!(matches!(judge(&failed), Standing::Failed(why) if why.contains("no peering")));
    }

    #[test]
    fn a_busy_instance_is_told_from_a_name_that_is_taken() {
        let busy = refused(
            409,
            r#"{"error":{"code":409,"message":"Operation failed because another operation was already in progress.",
                "errors":[{"domain":"global","reason":"operationInProgress"}]}}"#,
        );
        assert!(is_busy(&busy));
        assert!(!error::exists_already(&busy));
        let taken = refused(
            409,
            r#"{"error":{"code":409,"message":"The Cloud SQL instance already exists.",
                "errors":[{"domain":"global","reason":"instanceAlreadyExists"}]}}"#,
        );
        let unfit = refused(
            409,
            r#"{"error":{"code":409,"message":"The instance or operation is not in an appropriate state to handle the request.",
                "errors":[{"domain":"global","reason":"invalidState"}]}}"#,
        );
        assert!(is_busy(&unfit) && is_unfit(&unfit) && !is_unfit(&busy));
        assert!(!is_busy(&taken));
        assert!(error::exists_already(&taken));
    }
}
