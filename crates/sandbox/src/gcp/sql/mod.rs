//! Cloud SQL: PostgreSQL instances, each a real server; v1 and v1beta4 answer the same.

mod backups;
mod change;
mod databases;
mod flags;
mod instances;
mod operations;
mod server;
mod settings;
mod users;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};

use super::Gcp;
use super::error::{ApiError, Outcome};
use super::names::project_number;
use super::schema::Object;
use super::wire::Call;
use crate::backing::Postgres;

/// Every instance of the project, and what was done to them.
#[derive(Default)]
pub struct Sql(Mutex<State>);

#[derive(Default, Serialize)]
struct State {
    instances: BTreeMap<String, Instance>,
    /// The instances that were deleted with a last backup.
    last_backups: Vec<String>,
    /// Oldest first.
    operations: Vec<operations::Operation>,
}

#[derive(Serialize)]
struct Instance {
    /// The message `DatabaseInstance`, without links.
    message: Object,
    /// The messages `Database` by name, without links.
    databases: BTreeMap<String, Object>,
    /// The messages `User` by name; no password is kept.
    users: BTreeMap<String, Object>,
    /// The messages `BackupRun`, newest first.
    backups: Vec<Object>,
    /// The operation that is under way.
    operation: Option<String>,
    /// Whether it was only just made, and takes no change yet.
    is_new: bool,
    /// Absent until it was created, and where PostgreSQL is not installed.
    #[serde(skip)]
    server: Option<Postgres>,
}

impl Sql {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that there is, as data.
    pub(super) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }
}

impl State {
    fn instance(&mut self, name: &str) -> Outcome<&mut Instance> {
        self.instances.get_mut(name).ok_or_else(|| {
            ApiError::legacy(
                404,
                "instanceDoesNotExist",
                "The Cloud SQL instance does not exist.",
            )
        })
    }

    /// An instance that nothing else is being done to.
    fn idle(&mut self, name: &str) -> Outcome<&mut Instance> {
        let instance = self.instance(name)?;
        if instance.operation.is_some() {
            return Err(busy());
        }
        if instance.is_new {
            return Err(unfit());
        }
        Ok(instance)
    }

    /// An instance whose databases and users can be asked for.
    fn running(&mut self, name: &str) -> Outcome<&mut Instance> {
        let instance = self.instance(name)?;
        let active = instance
            .message
            .get("settings")
            .and_then(Value::as_object)
            .is_some_and(settings::is_active);
        if instance.state() != "RUNNABLE" || !active {
            return Err(invalid("Invalid request since instance is not running"));
        }
        Ok(instance)
    }
}

impl Instance {
    fn state(&self) -> &str {
        settings::word(&self.message, &["state"])
    }

    fn settings(&self) -> Object {
        let settings = self.message.get("settings").and_then(Value::as_object);
        settings.cloned().unwrap_or_default()
    }

    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.message.insert(name.into(), value.into());
    }
}

/// What Cloud SQL says of a project, and of what is within an instance, that it does not know or
/// that the caller may not see.
fn not_authorized() -> ApiError {
    ApiError::legacy(
        403,
        "notAuthorized",
        "The client is not authorized to make this request.",
    )
}

/// Cloud SQL's refusal of one more change.
fn busy() -> ApiError {
    ApiError::legacy(
        409,
        "operationInProgress",
        "Operation failed because another operation was already in progress. Try your request after the current operation is complete.",
    )
}

/// Cloud SQL's refusal of a change of an instance that was only just made. Every conflict but a
/// name that is taken passes by itself (`IsSqlOperationInProgressError` in
/// terraform-provider-google's error_retry_predicates.go).
fn unfit() -> ApiError {
    ApiError::legacy(
        409,
        "invalidState",
        "The instance or operation is not in an appropriate state to handle the request.",
    )
}

/// Cloud SQL's refusal of a value; `what` has no full stop.
fn invalid(what: impl std::fmt::Display) -> ApiError {
    ApiError::legacy(400, "invalid", format!("Invalid request: {what}."))
}

/// Google does this, the sandbox does not.
fn unimplemented(what: &str) -> ApiError {
    ApiError::legacy(
        501,
        "notImplemented",
        format!("the sandbox does not offer {what}"),
    )
}

impl Gcp {
    /// Methods of Cloud SQL.
    pub(super) async fn cloud_sql(&self, call: Call) -> Outcome {
        let method = call.method.id.strip_prefix("sql.").unwrap_or_default();
        if self.check_project(call.var(0)).is_err() {
            return Err(not_authorized());
        }
        self.check_parent(method, &call)?;
        match method {
            "instances.insert" => self.insert_instance(&call),
            "instances.list" => self.list_instances(&call),
            "instances.get" => self.get_instance(&call),
            "instances.patch" | "instances.update" => self.change_instance(&call),
            "instances.delete" => self.delete_instance(&call),
            "instances.listServerCas" => self.list_server_cas(&call),
            "databases.insert" => self.insert_database(&call).await,
            "databases.delete" => self.delete_database(&call).await,
            "databases.get" | "databases.list" => self.read_databases(&call),
            "users.insert" => self.insert_user(&call).await,
            "users.update" => self.update_user(&call).await,
            "users.delete" => self.delete_user(&call).await,
            "users.list" => self.read_users(&call),
            "backupRuns.insert" => self.insert_backup(&call),
            "backupRuns.delete" => self.delete_backup(&call),
            "backupRuns.get" | "backupRuns.list" => self.read_backups(&call),
            "operations.get" | "operations.list" => self.sql_operations(&call),
            other => Err(ApiError::unimplemented(other)),
        }
    }

    /// Refuses every question about what is within an instance that is not there, as if the caller
    /// might not ask it.
    ///
    /// Source: terraform-provider-google, `resource_sql_user.go`, which takes a 403 for absent
    /// beside a 404; its issues 13068 and 1244 and googleapis/google-api-go-client#1815.
    /// `instances.get` itself answers 404 in newer reports.
    fn check_parent(&self, method: &str, call: &Call) -> Outcome<()> {
        let within = ["databases.", "users.", "backupRuns."];
        let asks = within.iter().any(|kind| method.starts_with(kind))
            || method == "instances.listServerCas";
        if asks && !self.inner.sql.lock().instances.contains_key(call.var(1)) {
            return Err(not_authorized());
        }
        Ok(())
    }

    /// What `sandbox status` says of the instances.
    pub(super) fn sql_status(&self) -> Value {
        let state = self.inner.sql.lock();
        let instances = state.instances.iter().map(|(name, instance)| {
            let address = match &instance.server {
                Some(server) => server.endpoint().to_string(),
                None => "none".into(),
            };
            json!({ "name": name, "state": instance.state(), "address": address })
        });
        instances.collect()
    }

    /// The names of the instances that were deleted with a last backup, oldest first.
    pub(super) fn last_sql_backups(&self) -> Vec<String> {
        self.inner.sql.lock().last_backups.clone()
    }

    /// The address of a resource of a project in the API that is called.
    fn sql_link(&self, call: &Call, path: &str) -> String {
        let version = match call.api.api.as_str() {
            "sqladmin.v1" => "v1",
            _ => "sql/v1beta4",
        };
        format!(
            "https://sqladmin.googleapis.com/{version}/projects/{}/{path}",
            self.host().project
        )
    }

    fn sql_account(&self) -> String {
        format!(
            "p{}-sandbx@gcp-sa-cloud-sql.iam.gserviceaccount.com",
            project_number(&self.host().project)
        )
    }
}

/// The page that `maxResults` and `pageToken` ask for, as a list message of that kind.
fn listed(call: &Call, kind: &str, items: Vec<Value>) -> Outcome {
    let mut out = call.listed(items, 500)?;
    out["kind"] = kind.into();
    Ok(out)
}
