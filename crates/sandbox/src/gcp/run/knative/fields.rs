//! A message of v1 read field by field: what nobody took has no place in v2, and is refused.

use serde_json::Value;

use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::run::template::is_system;
use crate::gcp::schema::Object;

/// A message and its path.
pub struct Fields {
    at: String,
    left: Object,
}

impl Fields {
    /// The message that a request has as its body.
    pub fn of(body: &Object) -> Self {
        Self {
            at: String::new(),
            left: body.clone(),
        }
    }

    /// Its own path.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The path of a field.
    pub fn path(&self, name: &str) -> String {
        match self.at.as_str() {
            "" => name.to_owned(),
            at => format!("{at}.{name}"),
        }
    }

    /// A field, when it is set: the schema left defaults out.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name)
    }

    /// A string; empty when it is not set.
    pub fn text(&mut self, name: &str) -> String {
        match self.take(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        }
    }

    /// A map; empty when it is not set.
    pub fn map(&mut self, name: &str) -> Object {
        match self.take(name) {
            Some(Value::Object(map)) => map,
            _ => Object::new(),
        }
    }

    /// A message; one without fields when it is not set.
    pub fn inner(&mut self, name: &str) -> Self {
        Self {
            at: self.path(name),
            left: self.map(name),
        }
    }

    /// A message, when it is set.
    pub fn given(&mut self, name: &str) -> Option<Self> {
        self.left.contains_key(name).then(|| self.inner(name))
    }

    /// A list of messages.
    pub fn list(&mut self, name: &str) -> Vec<Self> {
        let at = self.path(name);
        let items = match self.take(name) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        let items = items.into_iter().enumerate();
        items
            .map(|(index, item)| Self {
                at: format!("{at}[{index}]"),
                left: item.as_object().cloned().unwrap_or_default(),
            })
            .collect()
    }

    /// The labels without those that are `output_only`; of Google's own name spaces a client may
    /// send no others.
    pub fn labels(&mut self, output_only: &[&str]) -> Outcome<Object> {
        let mut labels = self.map("labels");
        labels.retain(|key, _| !output_only.contains(&key.as_str()));
        match labels.keys().find(|key| is_system(key)) {
            Some(key) => Err(ApiError::field(
                &self.path("labels"),
                format!("Label '{key}' is reserved for Cloud Run."),
            )),
            None => Ok(labels),
        }
    }

    /// What else was sent, as it is.
    pub fn rest(self) -> Object {
        self.left
    }

    /// Refuses what is left.
    pub fn end(self) -> Outcome<()> {
        match self.left.keys().next() {
            Some(name) => Err(should_be_empty(&self.path(name))),
            None => Ok(()),
        }
    }
}

/// Google's sentence about a field of Knative's that Cloud Run does not take.
pub fn should_be_empty(at: &str) -> ApiError {
    ApiError::field(at, format!("{at} should be empty"))
}
