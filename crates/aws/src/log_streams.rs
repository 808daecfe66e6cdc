//! The streams of CloudWatch Logs, and the lines that are in them.

use std::collections::{BTreeSet, VecDeque};

use aws_sdk_cloudwatchlogs::types::FilteredLogEvent;
use deployer_core::capability::LogLine;
use deployer_core::error::{ErrorKind, Result};
use jiff::Timestamp;

use crate::client::Clients;
use crate::error::{code, failure};

/// How the ids of ECS Exec's sessions begin.
const TRANSCRIPT: &str = "ecs-execute-command-";

/// Which streams of a group are read.
pub(crate) enum Streams {
    /// Every one but for the transcripts of ECS Exec: sessions that are logged by DEFAULT go to the
    /// group of the container (`ExecuteCommandConfiguration`, Amazon ECS API Reference), each in a
    /// stream of its own id. A service printed none of that.
    All,
    /// These. One that is not there yet has printed nothing, and neither has any other: a call that
    /// names it is refused as a whole.
    Named(Vec<String>),
    /// Those of these that are there.
    Among(BTreeSet<String>),
}

impl Streams {
    fn has(&self, line: &LogLine) -> bool {
        match self {
            Self::All => !line.source.starts_with(TRANSCRIPT),
            Self::Named(_) => true,
            Self::Among(streams) => streams.contains(&line.source),
        }
    }

    fn named(&self) -> Option<Vec<String>> {
        match self {
            Self::All | Self::Among(_) => None,
            Self::Named(streams) => Some(streams.clone()),
        }
    }
}

/// The lines of a group since then, oldest first, at most `limit` (the newest ones). None where
/// there is no such group yet: nothing was printed.
pub(crate) async fn read(
    clients: &Clients,
    group: &str,
    streams: Streams,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<LogLine>> {
    if matches!(&streams, Streams::Among(streams) if streams.is_empty()) {
        return Ok(Vec::new());
    }
    // CloudWatch counts milliseconds and includes the first one.
    let from = since.as_millisecond().max(0);
    let mut pages = clients
        .logs
        .filter_log_events()
        .log_group_name(group)
        .set_log_stream_names(streams.named())
        .start_time(from)
        .into_paginator()
        .send();
    let mut lines = VecDeque::new();
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                let error_code = code(&error).map(str::to_owned);
                let error = failure(&error, &format!("read log group `{group}`"));
                if error_code.as_deref() == Some("ResourceNotFoundException") {
                    debug_assert_eq!(error.kind(), ErrorKind::NotFound);
                    return Ok(Vec::new());
                }
                return Err(error);
            }
        };
        let read = page.events().iter().filter_map(line);
        for line in read.filter(|line| streams.has(line)) {
            lines.push_back(line);
            if lines.len() > limit {
                lines.pop_front();
            }
        }
    }
    let mut lines: Vec<LogLine> = lines.into();
    lines.sort_by_key(|line| line.at);
    Ok(lines)
}

fn line(event: &FilteredLogEvent) -> Option<LogLine> {
    Some(LogLine {
        at: Timestamp::from_millisecond(event.timestamp()?).ok()?,
        source: event.log_stream_name().unwrap_or_default().to_owned(),
        text: event.message()?.trim_end_matches(['\r', '\n']).to_owned(),
        id: event.event_id().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_streams_are_left_out_where_only_some_are_asked_for() {
        let line = |source: &str| LogLine {
            at: Timestamp::UNIX_EPOCH,
            source: source.into(),
            text: String::new(),
            id: String::new(),
        };
        let among = Streams::Among(BTreeSet::from(["ecs/idp/1".to_owned()]));
        assert!(among.has(&line("ecs/idp/1")) && !among.has(&line("ecs/idp/2")));
        assert!(Streams::All.has(&line("ecs/idp/2")));
        let transcript = line("ecs-execute-command-0123456789abcdef0");
        assert!(!Streams::All.has(&transcript));
    }

    #[test]
    fn a_line_loses_its_newline_and_nothing_else() {
        let event = FilteredLogEvent::builder()
            .timestamp(1_000)
            .log_stream_name("ecs/idp/1")
            .message("  hello \r\n")
            .build();
        let line = line(&event).unwrap();
        assert_eq!(line.text, "  hello ");
        assert_eq!(line.at.as_second(), 1);
    }
}
