//! How many instances a service has in all: counted by hand, or between bounds of its own.
//!
//! The rules are those of
//! <https://docs.cloud.google.com/run/docs/configuring/services/manual-scaling>.

use serde_json::{Value, json};

use crate::gcp::schema::Object;

fn manual(service: &Object) -> Option<i64> {
    let scaling = service.get("scaling")?;
    let is_manual = scaling["scalingMode"] == "MANUAL";
    is_manual.then(|| scaling["manualInstanceCount"].as_i64().unwrap_or(0))
}

/// Whether the service has no instance whatever comes: counted by hand, and none. "If you set your
/// service to manual scaling, any revision-level minimum and maximum instance settings are
/// ignored."
pub fn is_disabled(service: &Object) -> bool {
    manual(service) == Some(0)
}

/// What switching between the two brings with it: to manual, the service's bounds are unset; to
/// automatic, the count is, and where neither bound is said both inherit it.
pub fn switch(before: &Object, after: &mut Object) {
    let (was, is) = (manual(before), manual(after));
    let Some(scaling) = after.get_mut("scaling").and_then(Value::as_object_mut) else {
        if let Some(count) = was.filter(|count| *count > 0) {
            let bounds = json!({ "minInstanceCount": count, "maxInstanceCount": count });
            after.insert("scaling".into(), bounds);
        }
        return;
    };
    let bounds = ["minInstanceCount", "maxInstanceCount"];
    match (was, is) {
        (None, Some(_)) => bounds.iter().for_each(|name| {
            scaling.remove(*name);
        }),
        (Some(count), None) => {
            scaling.remove("manualInstanceCount");
            if count > 0 && bounds.iter().all(|name| !scaling.contains_key(*name)) {
                for name in bounds {
                    scaling.insert(name.into(), count.into());
                }
            }
        }
        (None, None) | (Some(_), Some(_)) => {}
    }
}
