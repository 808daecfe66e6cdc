//! Log groups and streams: creation, retention, listings.

use serde_json::{Value, json};

use super::{LogStream, Logs, PAGES, SERVICE, State, Streams, invalid, no_group};
use crate::aws::error::AwsError;
use crate::aws::json::{flag, need, number, text, texts};
use crate::aws::shelf::{Going, Kind, Taken, given};

/// The days that PutRetentionPolicy documents.
const RETENTION_DAYS: [i64; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

pub(super) const GROUP: Kind<State, Streams> = Kind {
    noun: ("LogGroup", "LogGroups"),
    answers: ("logGroup", "logGroups"),
    arn: ("log-group:", "logGroupArn"),
    on: (|it| it, |it| it),
    named: |_, _, input| {
        let name = need(input, "logGroupName");
        match name.starts_with("aws/") {
            false => Ok(name.to_owned()),
            true => Err(invalid(
                "Log groups starting with AWS/ are reserved for AWS.",
            )),
        }
    },
    asked: |_, _, input| {
        Ok(text(input, "logGroupName")
            .map(str::to_owned)
            .into_iter()
            .collect())
    },
    made: |_, site, name, input| {
        let mut made = given(input, &["kmsKeyId"]);
        let arn = site.arn(&format!("log-group:{name}"));
        made["logGroupName"] = json!(name);
        made["creationTime"] = json!(site.host.clock.now().as_millisecond());
        made["metricFilterCount"] = json!(0);
        made["arn"] = json!(format!("{arn}:*"));
        made["logGroupArn"] = json!(arn);
        made["logGroupClass"] = json!(text(input, "logGroupClass").unwrap_or("STANDARD"));
        made["deletionProtectionEnabled"] = json!(flag(input, "deletionProtectionEnabled"));
        Ok(made)
    },
    changes: &[],
    free: |state, _, name, _| match flag(&state[name].value, "deletionProtectionEnabled") {
        false => Ok(()),
        true => Err(AwsError::new(
            "ValidationException",
            "The log group has deletion protection enabled and cannot be deleted.",
        )),
    },
    going: Going::FORGOTTEN,
    taken: Taken::Refused(|_, _| exists("group")),
    absent: |_, _| no_group(),
    shown: |_, it, _| {
        let stored: usize = it.kept.values().map(LogStream::bytes).sum();
        let mut out = it.value.clone();
        out["storedBytes"] = json!(stored);
        out
    },
    fits: |_, it, input| {
        let is = |member: &str, fits: &dyn Fn(&str) -> bool| text(input, member).is_none_or(fits);
        let (name, arn) = (
            need(&it.value, "logGroupName"),
            need(&it.value, "logGroupArn"),
        );
        let wanted = texts(input, "logGroupIdentifiers");
        let mut wanted_names = wanted.iter().map(|id| id.trim_end_matches(":*"));
        is("logGroupNamePrefix", &|prefix| name.starts_with(prefix))
            && is("logGroupNamePattern", &|part| {
                name.to_lowercase().contains(&part.to_lowercase())
            })
            && is("logGroupClass", &|class| it.value["logGroupClass"] == class)
            && (wanted.is_empty() || wanted_names.any(|id| id == name || id == arn))
    },
    service: &SERVICE,
};

/// Groups are asked for in one way.
pub(super) fn check_filters(input: &Value) -> Result<(), AwsError> {
    let given = ["logGroupNamePrefix", "logGroupNamePattern"].map(|it| text(input, it));
    match given.contains(&None) {
        true => Ok(()),
        false => Err(invalid(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        )),
    }
}

impl Logs {
    pub(super) fn put_retention(&self, input: &Value) -> Result<Value, AwsError> {
        let days = number(input, "retentionInDays").unwrap_or_default();
        if !RETENTION_DAYS.contains(&days) {
            let choices: Vec<String> = RETENTION_DAYS.iter().map(i64::to_string).collect();
            return Err(invalid(format!(
                "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: \
                 Member must satisfy enum value set: [{}]",
                choices.join(", ")
            )));
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
            match (days, group.value.as_object_mut()) {
                (Some(days), Some(value)) => {
                    drop(value.insert("retentionInDays".into(), json!(days)))
                }
                (_, value) => drop(value.and_then(|it| it.remove("retentionInDays"))),
            }
            // "Log events are marked for deletion when they reach their retention setting" (user
            // guide, "Change log data retention"): from then on nobody reads them.
            if let Some(days) = days {
                let oldest = now - days * 24 * 60 * 60 * 1000;
                for stream in group.kept.values_mut() {
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
            if group.kept.contains_key(stream) {
                return Err(exists("stream"));
            }
            let arn = format!("{}:log-stream:{stream}", need(&group.value, "logGroupArn"));
            let made = LogStream {
                arn,
                created: now,
                events: Vec::new(),
            };
            group.kept.insert(stream.to_owned(), made);
            Ok(json!({}))
        })
    }

    pub(super) fn describe_streams(&self, input: &Value) -> Result<Value, AwsError> {
        let prefix = text(input, "logStreamNamePrefix");
        let by_time = text(input, "orderBy") == Some("LastEventTime");
        if by_time && prefix.is_some() {
            return Err(invalid(
                "Cannot order by LastEventTime with a logStreamNamePrefix.",
            ));
        }
        let now = self.clock.now().as_millisecond();
        self.with(input, |group| {
            let mut found: Vec<(&String, &LogStream)> = group
                .kept
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
            PAGES.of(input, "logStreams", found)
        })
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

fn exists(what: &str) -> AwsError {
    let message = format!("The specified log {what} already exists");
    AwsError::new("ResourceAlreadyExistsException", message)
}
