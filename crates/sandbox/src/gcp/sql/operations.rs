//! Operations of Cloud SQL, which have a shape of their own: pending, running, done.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::{State, listed};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;

/// How long an operation waits for its turn.
const QUEUED: Duration = Duration::from_secs(1);

/// How long the operation of a finished change goes on.
pub(super) const SMALL: Duration = Duration::from_secs(2);

/// One operation, kept after its end.
#[derive(Serialize)]
pub(super) struct Operation {
    pub(super) name: String,
    /// The instance.
    target: String,
    /// The message `Operation`, without links.
    message: Object,
}

/// Why an operation failed, as its `error` says.
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl State {
    /// Begins an operation on an instance that is there and idle. Answers its name.
    pub(super) fn begin(&mut self, gcp: &Gcp, call: &Call, target: &str, kind: &str) -> String {
        let name = uuid::Uuid::new_v4().to_string();
        let message = json!({
            "kind": "sql#operation", "name": name, "status": "PENDING", "operationType": kind,
            "user": call.principal, "insertTime": gcp.now(), "targetId": target,
            "targetProject": gcp.host().project,
        });
        if let Some(instance) = self.instances.get_mut(target) {
            instance.operation = Some(name.clone());
        }
        self.operations.push(Operation {
            name: name.clone(),
            target: target.to_owned(),
            message: message.as_object().cloned().unwrap_or_default(),
        });
        name
    }

    fn operation(&mut self, name: &str) -> Option<&mut Operation> {
        self.operations.iter_mut().find(|it| it.name == name)
    }
}

impl Gcp {
    /// Waits as long as the cloud takes, marking the operation as running meanwhile.
    pub(super) async fn take_sql(&self, operation: &str, time: Duration) {
        self.host().clock.sleep(QUEUED).await;
        let now = self.now();
        if let Some(operation) = self.inner.sql.lock().operation(operation) {
            operation.message.insert("status".into(), "RUNNING".into());
            operation.message.insert("startTime".into(), now.into());
        }
        self.host().clock.sleep(time).await;
    }

    /// Ends an operation; its instance is idle again.
    pub(super) fn finish_sql(&self, name: &str, result: Result<(), Failure>) {
        let now = self.now();
        let mut state = self.inner.sql.lock();
        let Some(operation) = state.operation(name) else {
            return;
        };
        operation.message.insert("status".into(), "DONE".into());
        operation.message.insert("endTime".into(), now.into());
        if let Err(failure) = result {
            operation.message.insert(
                "error".into(),
                json!({ "kind": "sql#operationErrors", "errors": [
                    { "kind": "sql#operationError", "code": failure.code, "message": failure.message },
                ] }),
            );
        }
        let target = operation.target.clone();
        if let Some(instance) = state.instances.get_mut(&target)
            && instance.operation.as_deref() == Some(name)
        {
            instance.operation = None;
        }
    }

    /// How an operation stands, as the answer of the call that began it.
    pub(super) fn sql_operation(&self, call: &Call, name: &str) -> Outcome {
        let mut state = self.inner.sql.lock();
        let operation = state.operation(name).ok_or_else(|| {
            ApiError::legacy(
                404,
                "operationDoesNotExist",
                "The Cloud SQL instance operation does not exist.",
            )
        })?;
        Ok(self.operation_view(call, operation))
    }

    fn operation_view(&self, call: &Call, operation: &Operation) -> Value {
        let mut out = operation.message.clone();
        let link = self.sql_link(call, &format!("operations/{}", operation.name));
        out.insert("selfLink".into(), link.into());
        let target = self.sql_link(call, &format!("instances/{}", operation.target));
        out.insert("targetLink".into(), target.into());
        Value::Object(out)
    }

    pub(super) fn sql_operations(&self, call: &Call) -> Outcome {
        if call.method.id == "sql.operations.get" {
            return self.sql_operation(call, call.var(1));
        }
        let wanted = call.query("instance");
        let newest_first: Vec<Value> = {
            let state = self.inner.sql.lock();
            let operations = state.operations.iter().rev();
            operations
                .filter(|it| wanted.is_empty() || it.target == wanted)
                .map(|it| self.operation_view(call, it))
                .collect()
        };
        listed(call, "sql#operationsList", newest_first)
    }
}
