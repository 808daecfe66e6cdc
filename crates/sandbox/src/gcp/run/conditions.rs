//! Conditions of services, revisions, jobs, executions and tasks, in Google's words.

use serde_json::{Value, json};

use crate::gcp::schema::Object;

/// How a condition stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Being worked on.
    Pending(String),
    /// Good.
    Succeeded,
    /// Bad: a reason (a field and an enum value) and a sentence.
    Failed {
        /// `reason`, `revisionReason` or `executionReason`.
        field: &'static str,
        /// The enum value.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

impl Standing {
    /// Pending without a sentence.
    pub fn pending() -> Self {
        Self::Pending(String::new())
    }

    /// Failed with a common reason.
    pub fn failed(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Failed {
            field: "reason",
            reason,
            message: message.into(),
        }
    }

    fn condition(&self, kind: &str, now: &str) -> Value {
        let mut out = json!({ "type": kind, "lastTransitionTime": now });
        match self {
            Self::Pending(message) => {
                out["state"] = "CONDITION_RECONCILING".into();
                if !message.is_empty() {
                    out["message"] = message.clone().into();
                }
            }
            Self::Succeeded => out["state"] = "CONDITION_SUCCEEDED".into(),
            Self::Failed {
                field,
                reason,
                message,
            } => {
                out["state"] = "CONDITION_FAILED".into();
                out[*field] = (*reason).into();
                out["message"] = message.clone().into();
            }
        }
        out
    }
}

/// Sets one condition in `conditions`; its time changes only when its state does.
pub fn set(message: &mut Object, kind: &str, standing: &Standing, now: &str) {
    let mut fresh = standing.condition(kind, now);
    if !message.get("conditions").is_some_and(Value::is_array) {
        message.insert("conditions".into(), json!([]));
    }
    let Some(all) = message.get_mut("conditions").and_then(Value::as_array_mut) else {
        return;
    };
    match all.iter_mut().find(|c| c["type"] == kind) {
        Some(known) => {
            if known["state"] == fresh["state"] {
                fresh["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            *known = fresh;
        }
        None => all.push(fresh),
    }
}

/// Sets `terminalCondition`, which services and jobs keep apart from the others.
pub fn set_terminal(message: &mut Object, standing: &Standing, now: &str) {
    message.insert("terminalCondition".into(), standing.condition("Ready", now));
}
