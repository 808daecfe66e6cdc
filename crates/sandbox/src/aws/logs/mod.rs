//! CloudWatch Logs: groups, streams and their events.

mod events;
mod groups;
mod pattern;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::AwsError;
use super::json::text;
use super::tagging::Tagged;
use crate::Host;
use crate::clock::Clock;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Logs {
    clock: Clock,
    arn_prefix: String,
    state: Arc<Mutex<BTreeMap<String, Group>>>,
}

#[derive(Serialize)]
struct Group {
    arn: String,
    created: i64,
    retention: Option<i64>,
    kms_key: Option<String>,
    class: String,
    protected: bool,
    tags: Map<String, Value>,
    streams: BTreeMap<String, LogStream>,
}

#[derive(Serialize)]
struct LogStream {
    arn: String,
    created: i64,
    /// By timestamp.
    events: Vec<Event>,
}

#[derive(Clone, Serialize)]
struct Event {
    id: String,
    timestamp: i64,
    ingested: i64,
    message: String,
}

impl Logs {
    /// No groups yet.
    pub fn new(host: &Host) -> Self {
        Self {
            clock: host.clock.clone(),
            arn_prefix: format!("arn:aws:logs:{}:{}:log-group:", host.region, host.account),
            state: Arc::default(),
        }
    }

    /// The names of all groups.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Every group with its tags.
    pub fn tagged(&self) -> Vec<Tagged> {
        let groups = self.lock();
        let pairs = |tags: &Map<String, Value>| {
            let tags = tags.iter();
            tags.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect()
        };
        let all = groups.values().map(|it| Tagged {
            arn: it.arn.trim_end_matches(":*").to_owned(),
            tags: pairs(&it.tags),
        });
        all.collect()
    }

    /// Everything that there is, as data.
    pub(crate) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }

    /// Carries out an operation that the schema has let through.
    pub fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match operation {
            "CreateLogGroup" => self.create_group(input),
            "CreateLogStream" => self.create_stream(input),
            "DeleteLogGroup" => self.delete_group(input),
            "DeleteRetentionPolicy" => self.set_retention(input, None),
            "DescribeLogGroups" => self.describe_groups(input),
            "DescribeLogStreams" => self.describe_streams(input),
            "FilterLogEvents" => self.filter(input),
            "GetLogEvents" => self.get(input),
            "ListTagsForResource" => self.list_tags(input),
            "PutLogEvents" => self.put(input),
            "PutRetentionPolicy" => self.put_retention(input),
            "TagResource" => self.tag(input),
            "UntagResource" => self.untag(input),
            other => Err(AwsError::new("UnknownOperationException", other)),
        }
    }

    /// Makes the stream that a task writes to, or finds it. The group must exist.
    pub fn open_stream(&self, group: &str, stream: &str) -> Result<(), AwsError> {
        let request = serde_json::json!({"logGroupName": group, "logStreamName": stream});
        match self.create_stream(&request) {
            Err(error) if error.code != "ResourceAlreadyExistsException" => Err(error),
            _ => Ok(()),
        }
    }

    /// Adds a line. Lost when group or stream is gone meanwhile, as with the vendor's log driver.
    pub fn append(&self, group: &str, stream: &str, message: &str) {
        self.append_late(group, stream, message, Duration::ZERO);
    }

    /// The same, of a line that nobody reads until it is ingested, so much later in cloud time.
    pub fn append_late(&self, group: &str, stream: &str, message: &str, by: Duration) {
        if message.is_empty() {
            return;
        }
        let now = self.clock.now().as_millisecond();
        let late = self.clock.in_cloud_time(by).as_millis();
        let ingested = now.saturating_add(i64::try_from(late).unwrap_or_default());
        let mut state = self.lock();
        let Some(stream) = state
            .get_mut(group)
            .and_then(|group| group.streams.get_mut(stream))
        else {
            return;
        };
        stream.insert(now, ingested, message.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.state.lock().expect("no panic while the logs are held")
    }

    /// The group's name behind `logGroupName`, `logGroupIdentifier` or `resourceArn`.
    fn name_of(&self, input: &Value) -> Result<String, AwsError> {
        let named = text(input, "logGroupName");
        let identified = text(input, "logGroupIdentifier").or(text(input, "resourceArn"));
        match (named, identified) {
            (Some(_), Some(_)) => Err(AwsError::new(
                "InvalidParameterException",
                "LogGroup name and LogGroup ARN are mutually exclusive parameters.",
            )),
            (Some(name), None) => Ok(name.to_owned()),
            (None, Some(arn)) => Ok(arn
                .strip_prefix(&self.arn_prefix)
                .unwrap_or(arn)
                .trim_end_matches(":*")
                .to_owned()),
            (None, None) => Err(AwsError::new(
                "InvalidParameterException",
                "Must provide either LogGroup name or LogGroup ARN.",
            )),
        }
    }

    fn with<T>(
        &self,
        input: &Value,
        act: impl FnOnce(&mut Group) -> Result<T, AwsError>,
    ) -> Result<T, AwsError> {
        let name = self.name_of(input)?;
        let mut state = self.lock();
        act(state.get_mut(&name).ok_or_else(no_group)?)
    }
}

impl LogStream {
    fn insert(&mut self, timestamp: i64, ingested: i64, message: String) {
        let at = self
            .events
            .partition_point(|event| event.timestamp <= timestamp);
        let id = uuid::Uuid::new_v4().as_u128() % 10_u128.pow(38);
        let id = format!("{id:056}");
        self.events.insert(
            at,
            Event {
                id,
                timestamp,
                ingested,
                message,
            },
        );
    }
}

fn no_group() -> AwsError {
    AwsError::new(
        "ResourceNotFoundException",
        "The specified log group does not exist.",
    )
}

fn no_stream() -> AwsError {
    AwsError::new(
        "ResourceNotFoundException",
        "The specified log stream does not exist.",
    )
}
