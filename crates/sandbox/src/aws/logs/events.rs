//! Log events: written by clients and tasks, read by stream or across streams.

use serde_json::{Value, json};

use super::groups::sequence_token;
use super::pattern::Pattern;
use super::{Event, Logs, PAGES, invalid, no_stream};
use crate::aws::error::AwsError;
use crate::aws::json::{flag, list, need, number, text, texts};
use crate::aws::pages::Pages;

const DAY_MS: i64 = 86_400_000;
/// Events older than this are rejected.
const OLDEST_MS: i64 = 14 * DAY_MS;
/// Events further in the future are rejected.
const NEWEST_MS: i64 = 2 * 3_600_000;

impl Logs {
    pub(super) fn put(&self, input: &Value) -> Result<Value, AwsError> {
        let events = list(input, "logEvents");
        let at = |event: &Value| number(event, "timestamp").unwrap_or_default();
        if events.windows(2).any(|pair| at(&pair[0]) > at(&pair[1])) {
            return Err(invalid(
                "Log events in a single PutLogEvents request must be in chronological order.",
            ));
        }
        let now = self.clock.now().as_millisecond();
        self.with(input, |group| {
            let stream = group
                .kept
                .get_mut(need(input, "logStreamName"))
                .ok_or_else(no_stream)?;
            let (mut old, mut new) = (None, None);
            for (index, event) in events.iter().enumerate() {
                match at(event) {
                    timestamp if timestamp < now - OLDEST_MS => old = Some(index + 1),
                    timestamp if timestamp > now + NEWEST_MS => new = new.or(Some(index)),
                    timestamp => stream.insert(timestamp, now, need(event, "message").to_owned()),
                }
            }
            let mut out = json!({"nextSequenceToken": sequence_token(stream.events.len())});
            if let Some(end) = old {
                out["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"] = json!(end);
            }
            if let Some(start) = new {
                out["rejectedLogEventsInfo"]["tooNewLogEventStartIndex"] = json!(start);
            }
            Ok(out)
        })
    }

    pub(super) fn get(&self, input: &Value) -> Result<Value, AwsError> {
        let limit = number(input, "limit").unwrap_or(10_000) as usize;
        let cursor = text(input, "nextToken").map(Cursor::read).transpose()?;
        let cursor = cursor.unwrap_or(match flag(input, "startFromHead") {
            true => Cursor::Forward(0),
            false => Cursor::Backward(usize::MAX),
        });
        let now = self.clock.now().as_millisecond();
        self.with(input, |group| {
            let stream = group.kept.get(need(input, "logStreamName")).ok_or_else(no_stream)?;
            let total = stream.events.iter().filter(|event| event.ingested <= now).count();
            let inside: Vec<(usize, &Event)> = stream
                .events
                .iter()
                .enumerate()
                .filter(|(_, event)| event.ingested <= now && within(event, input))
                .collect();
            let chosen: Vec<(usize, &Event)> = match cursor {
                Cursor::Forward(from) => inside.into_iter().filter(|(at, _)| *at >= from).take(limit).collect(),
                Cursor::Backward(to) => {
                    let before: Vec<_> = inside.into_iter().filter(|(at, _)| *at < to).collect();
                    let skipped = before.len().saturating_sub(limit);
                    before.into_iter().skip(skipped).collect()
                }
            };
            // At the end of the stream the token that came is handed back: that is how clients
            // know.
            let (first, last) = match (chosen.first(), chosen.last(), cursor) {
                (Some((first, _)), Some((last, _)), _) => (*first, last + 1),
                (_, _, Cursor::Forward(from)) => (from.min(total), from.min(total)),
                (_, _, Cursor::Backward(to)) => (to.min(total), to.min(total)),
            };
            let events: Vec<Value> = chosen
                .iter()
                .map(|(_, event)| {
                    json!({"timestamp": event.timestamp, "message": event.message, "ingestionTime": event.ingested})
                })
                .collect();
            Ok(json!({
                "events": events,
                "nextForwardToken": format!("f/{last:056}/s"),
                "nextBackwardToken": format!("b/{first:056}/s"),
            }))
        })
    }

    pub(super) fn filter(&self, input: &Value) -> Result<Value, AwsError> {
        let names = texts(input, "logStreamNames");
        let prefix = text(input, "logStreamNamePrefix");
        if !names.is_empty() && prefix.is_some() {
            return Err(invalid(
                "logStreamNames and logStreamNamePrefix are mutually exclusive.",
            ));
        }
        let pattern = Pattern::read(text(input, "filterPattern").unwrap_or_default())?;
        let now = self.clock.now().as_millisecond();
        self.with(input, |group| {
            if names.iter().any(|name| !group.kept.contains_key(name)) {
                return Err(no_stream());
            }
            let mut found: Vec<(&String, &Event)> = group
                .kept
                .iter()
                .filter(|(name, _)| names.is_empty() || names.contains(name))
                .filter(|(name, _)| prefix.is_none_or(|prefix| name.starts_with(prefix)))
                .flat_map(|(name, stream)| stream.events.iter().map(move |event| (name, event)))
                .filter(|(_, event)| event.ingested <= now && within(event, input))
                .filter(|(_, event)| pattern.matches(&event.message))
                .collect();
            found.sort_by_key(|(_, event)| event.timestamp);
            let pages = Pages {
                size: 10_000,
                ..PAGES
            };
            let (found, next) = pages.cut(input, found)?;
            let events: Vec<Value> = found
                .into_iter()
                .map(|(stream, event)| {
                    json!({
                        "logStreamName": stream,
                        "timestamp": event.timestamp,
                        "message": event.message,
                        "ingestionTime": event.ingested,
                        "eventId": event.id,
                    })
                })
                .collect();
            let answer = json!({"events": events, "searchedLogStreams": []});
            Ok(pages.told(answer, next))
        })
    }
}

/// `startTime` is inside, `endTime` outside.
fn within(event: &Event, input: &Value) -> bool {
    number(input, "startTime").is_none_or(|start| event.timestamp >= start)
        && number(input, "endTime").is_none_or(|end| event.timestamp < end)
}

/// Where a page of GetLogEvents begins or ends: an index into the stream.
#[derive(Clone, Copy)]
enum Cursor {
    Forward(usize),
    Backward(usize),
}

impl Cursor {
    fn read(token: &str) -> Result<Self, AwsError> {
        let mut parts = token.split('/');
        let (side, index) = (
            parts.next(),
            parts.next().and_then(|index| index.parse().ok()),
        );
        match (side, index) {
            (Some("f"), Some(index)) => Ok(Self::Forward(index)),
            (Some("b"), Some(index)) => Ok(Self::Backward(index)),
            _ => Err((PAGES.wrong)()),
        }
    }
}
