//! Backups that were asked for; they are runs that succeed, and hold nothing.

use std::time::Duration;

use serde_json::{Value, json};

use super::operations::SMALL;
use super::{Instance, listed, settings};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;

pub(super) const BACKUP: Duration = Duration::from_secs(90);

impl Gcp {
    pub(super) fn insert_backup(&self, call: &Call) -> Outcome {
        let name = call.var(1).to_owned();
        let now = self.now();
        let (operation, id) = {
            let mut state = self.inner.sql.lock();
            state.running(&name)?;
            let instance = state.idle(&name)?;
            let id = new_id(instance, self.host().clock.now());
            let run = json!({
                "kind": "sql#backupRun", "id": id, "instance": name, "status": "RUNNING",
                "type": "ON_DEMAND", "backupKind": "SNAPSHOT", "enqueuedTime": now,
                "startTime": now, "location": "us",
                "description": settings::word(&call.body, &["description"]),
                "databaseVersion": settings::word(&instance.message, &["databaseVersion"]),
            });
            let run = run.as_object().cloned().unwrap_or_default();
            instance.backups.insert(0, run);
            (state.begin(self, call, &name, "BACKUP_VOLUME"), id)
        };
        let (gcp, begun) = (self.clone(), operation.clone());
        self.host().background.spawn(async move {
            gcp.take_sql(&begun, BACKUP).await;
            let now = gcp.now();
            if let Ok(instance) = gcp.inner.sql.lock().instance(&name)
                && let Some(run) = find(instance, &id)
            {
                run.insert("status".into(), "SUCCESSFUL".into());
                run.insert("endTime".into(), now.into());
            }
            gcp.finish_sql(&begun, Ok(()));
        });
        self.sql_operation(call, &operation)
    }

    pub(super) fn delete_backup(&self, call: &Call) -> Outcome {
        let (name, id) = (call.var(1).to_owned(), call.var(2).to_owned());
        let operation = {
            let mut state = self.inner.sql.lock();
            let instance = state.idle(&name)?;
            find(instance, &id).ok_or_else(absent)?;
            instance.backups.retain(|run| !has_id(run, &id));
            state.begin(self, call, &name, "DELETE_BACKUP")
        };
        let (gcp, begun) = (self.clone(), operation.clone());
        self.host().background.spawn(async move {
            gcp.take_sql(&begun, SMALL).await;
            gcp.finish_sql(&begun, Ok(()));
        });
        self.sql_operation(call, &operation)
    }

    pub(super) fn read_backups(&self, call: &Call) -> Outcome {
        let name = call.var(1);
        let all = self.inner.sql.lock().instance(name)?.backups.clone();
        let view = |run: &Object| {
            let mut out = run.clone();
            let id = settings::word(run, &["id"]);
            let link = self.sql_link(call, &format!("instances/{name}/backupRuns/{id}"));
            out.insert("selfLink".into(), link.into());
            Value::Object(out)
        };
        if call.method.id == "sql.backupRuns.get" {
            let found = all.iter().find(|run| has_id(run, call.var(2)));
            return found.map(view).ok_or_else(absent);
        }
        let items = all.iter().map(view).collect();
        listed(call, "sql#backupRunsList", items)
    }
}

fn has_id(run: &Object, id: &str) -> bool {
    settings::word(run, &["id"]) == id
}

/// When it was asked for, in milliseconds; never the same twice.
fn new_id(instance: &Instance, now: jiff::Timestamp) -> String {
    let mut id = now.as_millisecond();
    while instance
        .backups
        .iter()
        .any(|run| has_id(run, &id.to_string()))
    {
        id += 1;
    }
    id.to_string()
}

fn find<'a>(instance: &'a mut Instance, id: &str) -> Option<&'a mut Object> {
    instance.backups.iter_mut().find(|run| has_id(run, id))
}

fn absent() -> ApiError {
    ApiError::legacy(
        404,
        "backupRunDoesNotExist",
        "The Cloud SQL backup run does not exist.",
    )
}
