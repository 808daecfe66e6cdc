//! CloudWatch Logs: what a service's containers print.

use std::collections::VecDeque;

use async_trait::async_trait;
use aws_sdk_cloudwatchlogs::types::FilteredLogEvent;
use deployer_core::capability::{LogLine, Logs};
use deployer_core::error::{ErrorKind, Result};
use deployer_core::spec::ServiceSpec;
use jiff::Timestamp;

use crate::Aws;
use crate::app_runner;
use crate::client::Clients;
use crate::error::{code, failure};
use crate::runtime::Names;

#[async_trait]
impl Logs for Aws {
    async fn lines(
        &self,
        service: &ServiceSpec,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<LogLine>> {
        let group = match self.clients.settings(service).runtime.app_runner() {
            None => Names::of(&self.clients, service).log_group,
            Some(asked) => match app_runner::log_group(&self.clients, &asked.name).await? {
                Some(group) => group,
                // Nothing was deployed yet.
                None => return Ok(Vec::new()),
            },
        };
        read(&self.clients, &group, None, since, limit).await
    }
}

/// The lines of a group since then, oldest first, at most `limit` (the newest ones): of these
/// streams, or of all. None where there is no such group or stream yet: nothing was printed.
pub(crate) async fn read(
    clients: &Clients,
    group: &str,
    streams: Option<Vec<String>>,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<LogLine>> {
    // CloudWatch counts milliseconds and includes the first one.
    let from = since.as_millisecond().max(0);
    let mut pages = clients
        .logs
        .filter_log_events()
        .log_group_name(group)
        .set_log_stream_names(streams)
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
        for line in page.events().iter().filter_map(line) {
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
