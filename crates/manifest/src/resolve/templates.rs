//! Fills in the templates of a cloud's own section.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Fault;
use crate::interpolate::{Scope, interpolate};
use crate::section::Section;
use crate::source::KeyPath;

/// What every value of the target of `section` may name.
pub(super) fn scope(section: &dyn Section, app: &str, environment: &str) -> Scope {
    let (region, account) = (section.region(), section.account());
    Scope::new(app, environment, section.catalogue(), region, account)
}

/// Fills in the templates of a cloud's own section, except in variables (which may name the
/// service's address, known only later), secret sources, and what templates are made of.
pub(crate) fn fill_section<T>(section: &mut T, app: &str, environment: &str) -> Vec<Fault>
where
    T: Section + Serialize + DeserializeOwned,
{
    let scope = scope(section, app, environment);
    let at = KeyPath::new(["targets", section.catalogue().cloud.as_str()]);
    let mut faults = vec![];
    let Ok(mut value) = serde_json::to_value(&*section) else {
        return faults;
    };
    let verbatim = BTreeSet::from(["account", "region", "project", "env", "from"]);
    fill_value(&mut value, &scope, &at, &verbatim, &mut faults);
    if let Ok(filled) = T::deserialize(value) {
        *section = filled;
    }
    faults
}

fn fill_value(
    value: &mut Value,
    scope: &Scope,
    at: &KeyPath,
    verbatim: &BTreeSet<&str>,
    faults: &mut Vec<Fault>,
) {
    match value {
        Value::String(text) => match interpolate(text, scope) {
            Ok(filled) => *text = filled,
            Err(bad) => faults.push(Fault {
                path: at.clone(),
                message: bad.message,
                help: bad.help,
            }),
        },
        Value::Array(values) => {
            for (index, value) in values.iter_mut().enumerate() {
                fill_value(value, scope, &at.join(index.to_string()), verbatim, faults);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                if !verbatim.contains(key.as_str()) {
                    fill_value(value, scope, &at.join(key), verbatim, faults);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
