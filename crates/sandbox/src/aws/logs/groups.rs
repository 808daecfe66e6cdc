//! Log groups and streams: creation, retention, tags, listings.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Group, LogStream, Logs, no_group};
use crate::aws::error::AwsError;
use crate::aws::json::{flag, need, number, page, text, texts};

/// The days that PutRetentionPolicy documents.
const RETENTION_DAYS: [i64; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

impl Logs {
    pub(super) fn create_group(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "logGroupName");
        if name.starts_with("aws/") {
            return Err(AwsError::new(
                "InvalidParameterException",
                "Log groups starting with AWS/ are reserved for AWS.",
            ));
        }
        let mut state = self.lock();
        if state.contains_key(name) {
            return Err(AwsError::new(
                "ResourceAlreadyExistsException",
                "The specified log group already exists",
            ));
        }
        let tags = input
            .get("tags")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let group = Group {
            arn: format!("{}{name}", self.arn_prefix),
            created: self.clock.now().as_millisecond(),
            retention: None,
            kms_key: text(input, "kmsKeyId").map(str::to_owned),
            class: text(input, "logGroupClass")
                .unwrap_or("STANDARD")
                .to_owned(),
            protected: flag(input, "deletionProtectionEnabled"),
            tags,
            streams: BTreeMap::new(),
        };
        state.insert(name.to_owned(), group);
        Ok(json!({}))
    }

    pub(super) fn delete_group(&self, input: &Value) -> Result<Value, AwsError> {
        let name = self.name_of(input)?;
        let mut state = self.lock();
        let group = state.get(&name).ok_or_else(no_group)?;
        if group.protected {
            return Err(AwsError::new(
                "ValidationException",
                "The log group has deletion protection enabled and cannot be deleted.",
            ));
        }
        state.remove(&name);
        Ok(json!({}))
    }

    pub(super) fn put_retention(&self, input: &Value) -> Result<Value, AwsError> {
        let days = number(input, "retentionInDays").unwrap_or_default();
        if !RETENTION_DAYS.contains(&days) {
            let choices: Vec<String> = RETENTION_DAYS.iter().map(i64::to_string).collect();
            return Err(AwsError::new(
                "InvalidParameterException",
                format!(
                    "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: \
                         Member must satisfy enum value set: [{}]",
                    choices.join(", ")
                ),
            ));
        }
        self.set_retention(input, Some(days))
    }

    pub(super) fn set_retention(
        &self,
        input: &Value,
        days: Option<i64>,
    ) -> Result<Value, AwsError> {
        let now = self.clock.now().as_millisecond();
        self.with(input, |group| {
            group.retention = days;
            // "Log events are marked for deletion when they reach their retention setting" (user
            // guide, "Change log data retention"): from then on nobody reads them.
            if let Some(days) = days {
                let oldest = now - days * 24 * 60 * 60 * 1000;
                for stream in group.streams.values_mut() {
                    stream.events.retain(|event| event.timestamp >= oldest);
                }
            }
            Ok(json!({}))
        })
    }

    pub(super) fn create_stream(&self, input: &Value) -> Result<Value, AwsError> {
        let stream = need(input, "logStreamName");
        let now = self.clock.now().as_millisecond();
        self.with(input, |group| {
            if group.streams.contains_key(stream) {
                return Err(AwsError::new(
                    "ResourceAlreadyExistsException",
                    "The specified log stream already exists",
                ));
            }
            let arn = format!("{}:log-stream:{stream}", group.arn);
            let made = LogStream {
                arn,
                created: now,
                events: Vec::new(),
            };
            group.streams.insert(stream.to_owned(), made);
            Ok(json!({}))
        })
    }

    pub(super) fn describe_groups(&self, input: &Value) -> Result<Value, AwsError> {
        let (prefix, pattern) = (
            text(input, "logGroupNamePrefix"),
            text(input, "logGroupNamePattern"),
        );
        if prefix.is_some() && pattern.is_some() {
            return Err(AwsError::new(
                "InvalidParameterException",
                "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
            ));
        }
        let wanted: Vec<String> = texts(input, "logGroupIdentifiers")
            .iter()
            .map(|id| {
                id.strip_prefix(&self.arn_prefix)
                    .unwrap_or(id)
                    .trim_end_matches(":*")
                    .to_owned()
            })
            .collect();
        let class = text(input, "logGroupClass");
        let state = self.lock();
        let found: Vec<Value> = state
            .iter()
            .filter(|(name, _)| prefix.is_none_or(|prefix| name.starts_with(prefix)))
            .filter(|(name, _)| {
                pattern.is_none_or(|part| name.to_lowercase().contains(&part.to_lowercase()))
            })
            .filter(|(name, _)| wanted.is_empty() || wanted.contains(name))
            .filter(|(_, group)| class.is_none_or(|class| group.class == class))
            .map(|(name, group)| group.describe(name))
            .collect();
        let size = number(input, "limit").unwrap_or(50) as usize;
        let (found, next) =
            page(found, text(input, "nextToken"), size).map_err(|()| bad_token())?;
        Ok(with_token(json!({"logGroups": found}), next))
    }

    pub(super) fn describe_streams(&self, input: &Value) -> Result<Value, AwsError> {
        let prefix = text(input, "logStreamNamePrefix");
        let by_time = text(input, "orderBy") == Some("LastEventTime");
        if by_time && prefix.is_some() {
            return Err(AwsError::new(
                "InvalidParameterException",
                "Cannot order by LastEventTime with a logStreamNamePrefix.",
            ));
        }
        let now = self.clock.now().as_millisecond();
        self.with(input, |group| {
            let mut found: Vec<(&String, &LogStream)> = group
                .streams
                .iter()
                .filter(|(name, _)| prefix.is_none_or(|prefix| name.starts_with(prefix)))
                .collect();
            if by_time {
                found.sort_by_key(|(_, stream)| stream.last_known(now));
            }
            if flag(input, "descending") {
                found.reverse();
            }
            let found = found
                .into_iter()
                .map(|(name, stream)| stream.describe(name, now))
                .collect();
            let size = number(input, "limit").unwrap_or(50) as usize;
            let (found, next): (Vec<Value>, _) =
                page(found, text(input, "nextToken"), size).map_err(|()| bad_token())?;
            Ok(with_token(json!({"logStreams": found}), next))
        })
    }

    pub(super) fn list_tags(&self, input: &Value) -> Result<Value, AwsError> {
        self.with(input, |group| Ok(json!({"tags": group.tags})))
    }

    pub(super) fn tag(&self, input: &Value) -> Result<Value, AwsError> {
        let added = input
            .get("tags")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        self.with(input, |group| {
            let mut tags: Map<String, Value> = group.tags.clone();
            tags.extend(added);
            if tags.len() > 50 {
                return Err(AwsError::new(
                    "TooManyTagsException",
                    "A log group has at most 50 tags.",
                ));
            }
            group.tags = tags;
            Ok(json!({}))
        })
    }

    pub(super) fn untag(&self, input: &Value) -> Result<Value, AwsError> {
        let mut keys = texts(input, "tagKeys");
        keys.extend(texts(input, "tags"));
        self.with(input, |group| {
            group.tags.retain(|key, _| !keys.contains(key));
            Ok(json!({}))
        })
    }
}

impl Group {
    fn describe(&self, name: &str) -> Value {
        let stored: usize = self.streams.values().map(LogStream::bytes).sum();
        let mut out = json!({
            "logGroupName": name,
            "creationTime": self.created,
            "metricFilterCount": 0,
            "arn": format!("{}:*", self.arn),
            "logGroupArn": self.arn,
            "storedBytes": stored,
            "logGroupClass": self.class,
            "deletionProtectionEnabled": self.protected,
        });
        if let Some(days) = self.retention {
            out["retentionInDays"] = json!(days);
        }
        if let Some(key) = &self.kms_key {
            out["kmsKeyId"] = json!(key);
        }
        out
    }
}

impl LogStream {
    fn bytes(&self) -> usize {
        self.events
            .iter()
            .map(|event| event.message.len() + 26)
            .sum()
    }

    /// When it was last written to, as far as CloudWatch has noticed: "The lastEventTime value
    /// updates on an eventual consistency basis. It typically updates in less than an hour from
    /// ingestion, but in rare situations might take longer" (LogStream, CloudWatch Logs API
    /// Reference). That it is half of one: ours.
    fn last_known(&self, now: i64) -> Option<i64> {
        const LAG_MS: i64 = 30 * 60 * 1000;
        let known = self.events.iter().rev();
        let mut known = known.filter(|event| event.ingested <= now - LAG_MS);
        known.next().map(|event| event.timestamp)
    }

    fn describe(&self, name: &str, now: i64) -> Value {
        let mut out = json!({
            "logStreamName": name,
            "creationTime": self.created,
            "arn": self.arn,
            "storedBytes": 0,
        });
        if let (Some(first), Some(last)) = (self.events.first(), self.events.last()) {
            out["firstEventTimestamp"] = json!(first.timestamp);
            if let Some(known) = self.last_known(now) {
                out["lastEventTimestamp"] = json!(known);
            }
            out["lastIngestionTime"] = json!(last.ingested);
            out["uploadSequenceToken"] = json!(sequence_token(self.events.len()));
        }
        out
    }
}

/// Sequence tokens are given out and no longer asked for.
pub(super) fn sequence_token(events: usize) -> String {
    format!("{:056}", 49_590_302_938_u64 + events as u64)
}

pub(super) fn with_token(mut out: Value, next: Option<String>) -> Value {
    if let Some(next) = next {
        out["nextToken"] = json!(next);
    }
    out
}

pub(super) fn bad_token() -> AwsError {
    AwsError::new(
        "InvalidParameterException",
        "The specified nextToken is invalid.",
    )
}
