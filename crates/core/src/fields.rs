//! Describes a resource field by field and finds what differs; pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::address::Address;

/// What the names of fields begin with that the manifest has no word for: what is there is carried
/// over, whoever put it there.
pub const KEPT: &str = "kept.";

/// One field's value as the plan shows it. Never a secret: secrets stand here as version names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FieldValue {
    /// A value that is known while planning.
    Known(String),
    /// Known only after this node was applied.
    AfterApply {
        /// The node whose output it is.
        known_after: Address,
    },
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(text) => f.write_str(text),
            Self::AfterApply { .. } => f.write_str("(known after apply)"),
        }
    }
}

/// A resource described field by field: `env.GREETING` -> `hello`. An absent field is an absent
/// key.
///
/// Both sides are normalised by the resource, so that noise ("1000m" and "1") is equal here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fields(BTreeMap<String, FieldValue>);

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a known field.
    pub fn set(&mut self, name: impl Into<String>, value: impl fmt::Display) {
        self.0
            .insert(name.into(), FieldValue::Known(value.to_string()));
    }

    /// Adds a field that may be known only after another node was applied.
    pub fn set_value(&mut self, name: impl Into<String>, value: FieldValue) {
        self.0.insert(name.into(), value);
    }

    /// Adds a field when there is a value for it. An empty text is none: some clouds, and most of
    /// their stand-ins, echo one for what was never set.
    pub fn set_some(&mut self, name: impl Into<String>, value: Option<impl fmt::Display>) {
        let value = value.map(|value| value.to_string());
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.set(name, value);
        }
    }

    /// Adds `prefix.KEY` for every entry.
    pub fn set_all<K: fmt::Display, V: fmt::Display>(
        &mut self,
        prefix: &str,
        entries: impl IntoIterator<Item = (K, V)>,
    ) {
        for (key, value) in entries {
            self.set(format!("{prefix}.{key}"), value);
        }
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&FieldValue> {
        self.0.get(name)
    }

    /// Every field, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &FieldValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// What must change for `self` (actual) to become `desired`, by name.
    pub fn changes_to(&self, desired: &Self) -> Vec<FieldChange> {
        let names: BTreeSet<&String> = self.0.keys().chain(desired.0.keys()).collect();
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != desired.0.get(*name))
            .map(|name| FieldChange {
                field: name.clone(),
                old: self.0.get(name).cloned(),
                new: desired.0.get(name).cloned(),
            })
            .collect()
    }
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field.
    pub field: String,
    /// What the cloud says. `None` when it has none.
    pub old: Option<FieldValue>,
    /// What the manifest says. `None` when it is to go.
    pub new: Option<FieldValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_is_none() {
        let mut fields = Fields::new();
        fields.set_some("task_role", Some(""));
        fields.set_some("execution_role", Some("role"));
        fields.set_all("env", [("EMPTY", "")]);
        let names: Vec<&str> = fields.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["env.EMPTY", "execution_role"]);
    }

    #[test]
    fn only_what_differs_is_a_change() {
        let mut actual = Fields::new();
        actual.set("cpu", "512");
        actual.set("env.OLD", "1");
        let mut desired = Fields::new();
        desired.set("cpu", "512");
        desired.set("env.NEW", "2");
        let changed: Vec<_> = actual
            .changes_to(&desired)
            .into_iter()
            .map(|change| change.field)
            .collect();
        assert_eq!(changed, ["env.NEW", "env.OLD"]);
        assert!(actual.changes_to(&actual).is_empty());
    }
}
