//! Cloud Logging: what containers print, and what clients write; listed with Google's filter
//! language.

mod filter;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::Gcp;
use super::error::{ApiError, Outcome};
use super::wire::{Call, page};
use filter::Filter;

/// How many entries are kept; the oldest go first.
const KEPT: usize = 100_000;

/// How much later every third line of a container can be read than the others: entries arrive by
/// several ways, and are listed seconds after they were written and not in their order ("logs are
/// not guaranteed to be in order", Cloud Logging's `entries.list` and `entries.tail`, which has a
/// buffer window for that).
const LATE: std::time::Duration = std::time::Duration::from_secs(2);

/// Every entry, in the order of arrival.
#[derive(Default)]
pub struct Logs(Mutex<VecDeque<Value>>, std::sync::atomic::AtomicUsize);

/// What an entry is about.
#[derive(Clone)]
pub struct Source {
    /// The monitored resource: `type` and `labels`.
    pub resource: Value,
    /// The entry's own labels.
    pub labels: Value,
    /// The last part of the log's name: `stdout`, `stderr`, `varlog/system`.
    pub log: String,
}

impl Logs {
    fn push(&self, entry: Value) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == KEPT {
            all.pop_front();
        }
        all.push_back(entry);
    }

    /// Everything that there is, as data.
    pub(super) fn dump(&self) -> Value {
        crate::dump::of(&*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Gcp {
    /// Keeps a line that a container printed, or that Cloud Run says about it. A line that is a
    /// JSON object becomes a structured entry; its `severity` and `message` are understood as Cloud
    /// Run's agent does.
    pub(super) fn log(&self, source: &Source, line: &str, severity: &str) {
        let now = self.now();
        let count = &self.inner.logs.1;
        let count = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let received = match count % 3 {
            2 => self
                .host()
                .clock
                .now()
                .checked_add(LATE)
                .map_or_else(|_| now.clone(), super::timestamp),
            _ => now.clone(),
        };
        let mut entry = json!({
            "logName": format!("projects/{}/logs/run.googleapis.com%2F{}", self.host().project, source.log.replace('/', "%2F")),
            "resource": source.resource,
            "labels": source.labels,
            "timestamp": now,
            "receiveTimestamp": received,
            "insertId": uuid::Uuid::new_v4().simple().to_string(),
        });
        if !severity.is_empty() {
            entry["severity"] = severity.into();
        }
        match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(mut fields)) => {
                let named = fields
                    .get("severity")
                    .and_then(Value::as_str)
                    .and_then(filter::severity_name);
                if let Some(named) = named {
                    entry["severity"] = named.into();
                    fields.remove("severity");
                }
                match fields.get("message").and_then(Value::as_str) {
                    Some(text) if fields.len() == 1 => entry["textPayload"] = text.into(),
                    _ => entry["jsonPayload"] = Value::Object(fields),
                }
            }
            _ => entry["textPayload"] = line.into(),
        }
        self.inner.logs.push(entry);
    }

    /// Methods of Cloud Logging.
    pub(super) fn logging(&self, call: &Call) -> Outcome {
        match call.method.id.as_str() {
            "logging.entries.list" => self.list_entries(call),
            "logging.entries.write" => self.write_entries(call),
            other => Err(ApiError::unimplemented(other)),
        }
    }

    fn list_entries(&self, call: &Call) -> Outcome {
        let text = |name: &str| {
            call.body
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let names = ["resourceNames", "projectIds"]
            .iter()
            .filter_map(|n| call.body.get(*n)?.as_array())
            .flatten();
        let names: Vec<&str> = names.filter_map(Value::as_str).collect();
        if names.is_empty() {
            return Err(ApiError::invalid(
                "Empty parent resource names: at least one resource name must be given",
            ));
        }
        for name in names {
            let project = name
                .trim_start_matches("projects/")
                .split('/')
                .next()
                .unwrap_or_default();
            self.check_project(project)?;
        }
        let filter = Filter::parse(text("filter"))
            .map_err(|why| ApiError::invalid(format!("Unparseable filter: {why}")))?;
        let descending = match text("orderBy") {
            "" | "timestamp asc" | "timestamp" => false,
            "timestamp desc" => true,
            other => return Err(ApiError::invalid(format!("Invalid order_by: {other}"))),
        };
        let all = self
            .inner
            .logs
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let has_arrived = |entry: &Value| entry["receiveTimestamp"].as_str() <= Some(now.as_str());
        let mut found: Vec<Value> = all
            .iter()
            .filter(|entry| has_arrived(entry) && filter.admits(entry))
            .cloned()
            .collect();
        drop(all);
        found.sort_by(|a, b| a["timestamp"].as_str().cmp(&b["timestamp"].as_str()));
        if descending {
            found.reverse();
        }
        let size = call
            .body
            .get("pageSize")
            .and_then(Value::as_i64)
            .unwrap_or(0)
            .to_string();
        let (entries, next) = page(found, &size, text("pageToken"), 50)?;
        Ok(json!({ "entries": entries, "nextPageToken": next }))
    }

    fn write_entries(&self, call: &Call) -> Outcome {
        let common =
            |entry: &Value, name: &str| entry.get(name).or_else(|| call.body.get(name)).cloned();
        let now = self.now();
        let mut ready = Vec::new();
        for entry in call
            .body
            .get("entries")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let mut entry = entry.clone();
            let Some(name) = common(&entry, "logName").and_then(|n| n.as_str().map(str::to_owned))
            else {
                return Err(ApiError::invalid("Log name is missing"));
            };
            let project = name
                .trim_start_matches("projects/")
                .split('/')
                .next()
                .unwrap_or_default();
            self.check_project(project)?;
            let decoded = percent_decode_str(&name).decode_utf8_lossy();
            if !decoded.contains("/logs/") {
                return Err(ApiError::invalid(format!(
                    "Log name contains illegal characters: {name}"
                )));
            }
            entry["logName"] = name.into();
            entry["resource"] =
                common(&entry, "resource").unwrap_or_else(|| json!({ "type": "global" }));
            if let Some(labels) = common(&entry, "labels") {
                entry["labels"] = labels;
            }
            entry["receiveTimestamp"] = now.clone().into();
            for (name, default) in [
                ("timestamp", now.clone()),
                ("insertId", uuid::Uuid::new_v4().simple().to_string()),
            ] {
                if entry.get(name).is_none() {
                    entry[name] = default.into();
                }
            }
            ready.push(entry);
        }
        if call.body.get("dryRun") != Some(&Value::Bool(true)) {
            ready
                .into_iter()
                .for_each(|entry| self.inner.logs.push(entry));
        }
        Ok(json!({}))
    }
}
