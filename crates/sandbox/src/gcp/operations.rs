//! Long-running operations of every API: pending until something finishes them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::error::{ApiError, Outcome};
use crate::Clock;

/// All operations since the start. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    all: Arc<Mutex<BTreeMap<String, Value>>>,
    changed: watch::Sender<u64>,
}

impl Default for Operations {
    fn default() -> Self {
        Self {
            all: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Operations {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that there is, as data.
    pub(super) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }

    /// Begins an operation below `parent` (`projects/P/locations/L`). `metadata` carries its
    /// `@type`.
    pub fn start(&self, parent: &str, metadata: Value) -> Value {
        let id = uuid::Uuid::new_v4();
        let name = if parent.is_empty() {
            format!("operations/acat.p2-{}", id.simple())
        } else {
            format!("{parent}/operations/{id}")
        };
        let operation = json!({ "name": name, "metadata": metadata, "done": false });
        self.lock().insert(name, operation.clone());
        operation
    }

    /// Replaces the metadata of an operation that is under way.
    pub fn progress(&self, name: &str, metadata: Value) {
        if let Some(operation) = self.lock().get_mut(name) {
            operation["metadata"] = metadata;
        }
    }

    /// Ends an operation. `result` carries its `@type`.
    pub fn finish(&self, name: &str, metadata: Value, result: Outcome) {
        if let Some(operation) = self.lock().get_mut(name) {
            operation["metadata"] = metadata;
            operation["done"] = true.into();
            match result {
                Ok(response) => operation["response"] = response,
                Err(error) => operation["error"] = error.status(),
            }
        }
        self.changed.send_modify(|n| *n += 1);
    }

    /// An operation as it stands.
    pub fn get(&self, name: &str) -> Outcome {
        let found = self.lock().get(name).cloned();
        found.ok_or_else(|| {
            ApiError::not_found(format!("Requested entity was not found: operation {name}"))
        })
    }

    /// Waits until an operation is done, at most for `timeout`, and answers how it stands then.
    pub async fn wait(&self, name: &str, clock: &Clock, timeout: Duration) -> Outcome {
        let mut changes = self.changed.subscribe();
        // The caller counts this time itself.
        let deadline = clock.sleep_unscaled(timeout);
        tokio::pin!(deadline);
        loop {
            let operation = self.get(name)?;
            if operation["done"] == true {
                return Ok(operation);
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = &mut deadline => return Ok(operation),
            }
        }
    }

    /// The operations below `parent`, oldest name first.
    pub fn list(&self, parent: &str) -> Vec<Value> {
        let prefix = format!("{parent}/operations/");
        self.lock()
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .map(|(_, operation)| operation.clone())
            .collect()
    }

    /// Forgets an operation, which does not cancel it.
    pub fn delete(&self, name: &str) -> Outcome {
        self.get(name)?;
        self.lock().remove(name);
        Ok(json!({}))
    }
}

/// `value` as an `Any` of the message `full_name` (`google.cloud.run.v2.Service`).
pub fn any(full_name: &str, value: &Value) -> Value {
    let mut out = value.clone();
    out["@type"] = format!("type.googleapis.com/{full_name}").into();
    out
}
