//! CloudWatch Logs: groups, streams and their events.

mod events;
mod groups;
mod pattern;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::error::AwsError;
use super::json::text;
use super::pages::Pages;
use super::shelf::{Asked, Service, Shelf, Site, Thing};
use super::tagging::Tagged;
use super::tags::Tags;
use crate::Host;
use crate::clock::Clock;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Logs {
    clock: Clock,
    arn_prefix: String,
    host: Host,
    state: Arc<Mutex<State>>,
}

/// Every group by its name, with its streams.
type State = Shelf<Streams>;

type Streams = BTreeMap<String, LogStream>;

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
            host: host.clone(),
            state: Arc::default(),
        }
    }

    /// The names of all groups.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Every group with its tags.
    pub fn tagged(&self) -> Vec<Tagged> {
        groups::GROUP.tagged(&self.lock())
    }

    /// Everything that there is, as data.
    pub(crate) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }

    /// Carries out an operation that the schema has let through.
    pub fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match operation {
            "CreateLogStream" => self.create_stream(input),
            "DeleteRetentionPolicy" => self.set_retention(input, None),
            "DescribeLogStreams" => self.describe_streams(input),
            "FilterLogEvents" => self.filter(input),
            "GetLogEvents" => self.get(input),
            "PutLogEvents" => self.put(input),
            "PutRetentionPolicy" => self.put_retention(input),
            operation => {
                groups::check_filters(input)?;
                let site = &Site::of(&self.host, "logs");
                let asked = Asked {
                    site,
                    operation,
                    input,
                };
                SERVICE.answer(&[groups::GROUP], &mut self.lock(), &asked, |state, arn| {
                    let group = state.get_mut(&self.name_in(arn));
                    group.map(|it| &mut it.tags).ok_or_else(no_group)
                })
            }
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
            .and_then(|group| group.kept.get_mut(stream))
        else {
            return;
        };
        stream.insert(now, ingested, message.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the logs are held")
    }

    /// The group's name behind `logGroupName` or `logGroupIdentifier`.
    fn name_of(&self, input: &Value) -> Result<String, AwsError> {
        match (
            text(input, "logGroupName"),
            text(input, "logGroupIdentifier"),
        ) {
            (Some(_), Some(_)) => Err(invalid(
                "LogGroup name and LogGroup ARN are mutually exclusive parameters.",
            )),
            (Some(name), None) => Ok(name.to_owned()),
            (None, Some(arn)) => Ok(self.name_in(arn)),
            (None, None) => Err(invalid(
                "Must provide either LogGroup name or LogGroup ARN.",
            )),
        }
    }

    /// The group's name in its ARN.
    fn name_in(&self, arn: &str) -> String {
        let name = arn.strip_prefix(&self.arn_prefix).unwrap_or(arn);
        name.trim_end_matches(":*").to_owned()
    }

    fn with<T>(
        &self,
        input: &Value,
        act: impl FnOnce(&mut Thing<Streams>) -> Result<T, AwsError>,
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

const PAGES: Pages = Pages {
    members: ("limit", "nextToken"),
    size: 50,
    wrong: || invalid("The specified nextToken is invalid."),
};

const SERVICE: Service = Service {
    pages: |input, member, all| PAGES.of(input, member, all),
    tags: Tags {
        service: "logs",
        members: ("resourceArn", "tagKeys"),
        list: ("tags", "tags"),
        is_map: true,
        too_many: || {
            let message = "A log group has at most 50 tags.";
            AwsError::new("TooManyTagsException", message)
        },
        ..Tags::LISTED
    },
};

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidParameterException", message)
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
