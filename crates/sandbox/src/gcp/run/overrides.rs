//! What one run of a job may change: arguments, environment, time-out.

use serde_json::{Value, json};

use super::resources::Use;
use super::template::check_env;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::schema::Object;
use crate::gcp::seconds;

/// Puts `jobs.run`'s overrides into a task template.
pub(super) fn apply_overrides(template: &mut Value, overrides: &Object) -> Outcome<()> {
    if let Some(timeout) = overrides.get("timeout").and_then(Value::as_str) {
        if seconds(timeout).is_none_or(|t| t.is_zero()) {
            return Err(ApiError::field(
                "overrides.timeout",
                "must be greater than 0",
            ));
        }
        template["timeout"] = timeout.into();
    }
    let all = overrides
        .get("containerOverrides")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    for (index, change) in all.iter().enumerate() {
        let at = format!("overrides.container_overrides[{index}]");
        check_env(&at, change.get("env"), Use::Job)?;
        let container = &mut template["containers"][0];
        let named = change["name"].as_str().unwrap_or_default();
        if !named.is_empty() && container["name"] != named {
            return Err(ApiError::field(
                &format!("{at}.name"),
                format!("the job has no container '{named}'"),
            ));
        }
        let args = change["args"].as_array().is_some_and(|a| !a.is_empty());
        let clear = change["clearArgs"] == true;
        if args && clear {
            return Err(ApiError::field(
                &format!("{at}.clear_args"),
                "must not be set together with args",
            ));
        }
        if args {
            container["args"] = change["args"].clone();
        }
        if clear && let Some(container) = container.as_object_mut() {
            container.remove("args");
        }
        merge_env(container, change.get("env"));
    }
    Ok(())
}

fn merge_env(container: &mut Value, changes: Option<&Value>) {
    for change in changes.and_then(Value::as_array).into_iter().flatten() {
        if !container["env"].is_array() {
            container["env"] = json!([]);
        }
        let Some(env) = container["env"].as_array_mut() else {
            return;
        };
        match env.iter_mut().find(|e| e["name"] == change["name"]) {
            Some(known) => *known = change.clone(),
            None => env.push(change.clone()),
        }
    }
}
