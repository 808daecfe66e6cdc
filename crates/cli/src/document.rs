//! What every JSON document and event says of itself: the format's version, and of an event when,
//! of which environment and which run. `docs/json.md` promises it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use deployer_core::address::CloudName;
use deployer_core::clock::Clock;
use serde_json::{Map, Value, json};

use crate::exit::Exit;

/// The version of what is printed as JSON. Within one, fields come and none goes or changes its
/// meaning.
pub const FORMAT: u32 = 1;

tokio::task_local! {
    /// The command that runs.
    static HERE: Arc<Occasion>;
}

/// What is known of the command that runs.
struct Occasion {
    clock: Arc<dyn Clock>,
    began: Duration,
    /// Whether its JSON is lines.
    lines: bool,
    environment: OnceLock<String>,
    /// The numbers of its runs.
    runs: Mutex<BTreeMap<CloudName, u64>>,
}

/// Runs a command; what it prints as JSON says so. `lines` where it answers in lines and not in one
/// document.
pub async fn within<T>(clock: Arc<dyn Clock>, lines: bool, command: impl Future<Output = T>) -> T {
    let occasion = Occasion {
        began: clock.elapsed(),
        clock,
        lines,
        environment: OnceLock::new(),
        runs: Mutex::default(),
    };
    HERE.scope(Arc::new(occasion), command).await
}

/// The command works on this environment.
pub fn note_environment(name: &str) {
    // The first word counts.
    let _ = HERE.try_with(|here| here.environment.set(name.to_owned()));
}

/// The command has begun this run.
pub fn note_run(cloud: CloudName, number: u64) {
    let _ = HERE.try_with(|here| {
        let mut runs = here.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.insert(cloud, number);
    });
}

/// Whether the command answers in lines: then a document of it is one of them.
pub fn in_lines() -> bool {
    HERE.try_with(|here| here.lines).unwrap_or(false)
}

/// A document, with its format. One that is a list says it in each of its members.
pub fn stamped(document: Value) -> Value {
    match in_seconds(document) {
        Value::Object(members) => Value::Object(with_format(members)),
        Value::Array(list) => {
            let list = list.into_iter().map(|member| match member {
                Value::Object(members) => Value::Object(with_format(members)),
                other => other,
            });
            Value::Array(list.collect())
        }
        other => other,
    }
}

/// A document among lines: an event of its own.
pub fn as_line(document: Value) -> Value {
    match document {
        Value::Object(mut members) => {
            members.entry("event").or_insert(json!("document"));
            Value::Object(members)
        }
        other => json!({"event": "document", "list": other}),
    }
}

/// An event, with its format, its time, the environment and the run. What it says itself stays.
pub fn event(event: Value) -> Value {
    let mut members = match stamped(event) {
        Value::Object(members) => members,
        other => return other,
    };
    let _ = HERE.try_with(|here| {
        let mut add = |key: &str, value: Value| {
            members.entry(key.to_owned()).or_insert(value);
        };
        add("at", json!(here.clock.now()));
        if let Some(environment) = here.environment.get() {
            add("environment", json!(environment));
        }
    });
    if let Some(number) = run_of(&members) {
        members.entry("run").or_insert(json!(number));
    }
    Value::Object(members)
}

/// The last event of a command that answers in lines.
pub fn result(exit: Exit) -> Value {
    let (seconds, runs) = HERE
        .try_with(|here| {
            let took = here.clock.elapsed().saturating_sub(here.began);
            let runs = here.runs.lock().unwrap_or_else(PoisonError::into_inner);
            (took.as_secs_f64(), runs.clone())
        })
        .unwrap_or_default();
    event(json!({
        "event": "result", "outcome": exit.word(), "exit_code": exit.code(),
        "seconds": (seconds * 1000.0).round() / 1000.0, "runs": runs,
    }))
}

fn with_format(mut members: Map<String, Value>) -> Map<String, Value> {
    members.entry("format").or_insert(json!(FORMAT));
    members
}

/// The number of the run on the cloud that an event is about.
fn run_of(event: &Map<String, Value>) -> Option<u64> {
    let cloud = match event.get("address").and_then(Value::as_str) {
        Some(address) => address.split('/').next(),
        None => event.get("cloud").and_then(Value::as_str),
    }?;
    let runs = HERE.try_with(|here| {
        let runs = here.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.clone()
    });
    let mut runs = runs.ok()?.into_iter();
    let found = runs.find(|(name, _)| name.as_str() == cloud);
    found.map(|(_, number)| number)
}

/// Durations are seconds: what serde writes of one has two members, `secs` and `nanos`.
fn in_seconds(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let part = |name: &str| members.get(name).and_then(Value::as_u64);
            if let (2, Some(secs), Some(nanos)) = (members.len(), part("secs"), part("nanos")) {
                return match nanos {
                    0 => json!(secs),
                    #[expect(clippy::cast_precision_loss, reason = "no wait lasts that long")]
                    nanos => json!(secs as f64 + nanos as f64 / 1e9),
                };
            }
            let members = members.into_iter();
            Value::Object(
                members
                    .map(|(key, value)| (key, in_seconds(value)))
                    .collect(),
            )
        }
        Value::Array(list) => Value::Array(list.into_iter().map(in_seconds).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_document_names_its_format_and_a_list_does_in_each_member() {
        assert_eq!(stamped(json!({"a": 1})), json!({"a": 1, "format": 1}));
        let list = stamped(json!([{"a": 1}, {"format": 2}]));
        assert_eq!(list, json!([{"a": 1, "format": 1}, {"format": 2}]));
    }

    #[test]
    fn durations_are_seconds_wherever_they_stand() {
        let seconds = in_seconds(json!({"a": [{"secs": 5, "nanos": 0}], "secs": 3}));
        assert_eq!(seconds, json!({"a": [5], "secs": 3}));
        let half = in_seconds(serde_json::to_value(Duration::from_millis(1500)).unwrap());
        assert_eq!(half, json!(1.5));
    }

    #[tokio::test]
    async fn an_event_says_when_where_and_of_which_run_and_the_last_one_how_it_ended() {
        within(Arc::new(SystemClock), true, async {
            note_environment("staging");
            note_run(CloudName::Aws, 12);
            let done = event(json!({"event": "done", "address": "aws/us-east-1/ecs.service/web"}));
            assert_eq!(done["environment"], "staging");
            assert_eq!((&done["run"], &done["format"]), (&json!(12), &json!(1)));
            let at: jiff::Timestamp = done["at"].as_str().unwrap().parse().unwrap();
            assert!(at <= jiff::Timestamp::now());
            let other = event(json!({"event": "verdict", "cloud": "gcp"}));
            assert_eq!(other.get("run"), None);
            // What an event says itself stays.
            let resuming =
                event(json!({"event": "resuming", "cloud": "aws", "run": {"number": 3}}));
            assert_eq!(resuming["run"]["number"], 3);
            let result = result(Exit::RolledBack);
            assert_eq!(result["outcome"], "put_back");
            assert_eq!(result["exit_code"], 7);
            assert_eq!(result["runs"], json!({"aws": 12}));
            assert!(result["seconds"].is_number());
        })
        .await;
    }
}
