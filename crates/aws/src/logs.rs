//! CloudWatch Logs: what a service's containers print.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_cloudwatchlogs::types::FilteredLogEvent;
use deployer_core::capability::{LinesOf, LogLine, Logs};
use deployer_core::error::{ErrorKind, Result};
use deployer_core::spec::ServiceSpec;
use jiff::Timestamp;

use crate::Aws;
use crate::app_runner;
use crate::client::Clients;
use crate::error::{code, failure};
use crate::runtime::{self, Names};

#[async_trait]
impl Logs for Aws {
    async fn lines(
        &self,
        service: &ServiceSpec,
        of: LinesOf<'_>,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<LogLine>> {
        let (clients, names) = (&self.clients, Names::of(&self.clients, service));
        let asked = clients.settings(service).runtime;
        let asked = asked.app_runner();
        let (group, streams) = match (of, asked) {
            // Beside App Runner too it is a task on Fargate.
            (LinesOf::Execution(id), _) => {
                let stream = runtime::stream_of(&names, id);
                (names.log_group, Streams::Named(vec![stream]))
            }
            (LinesOf::Service, None) => (names.log_group, Streams::All),
            (LinesOf::Service, Some(asked)) => {
                match app_runner::log_group(clients, &asked.name).await? {
                    Some(group) => (group, Streams::All),
                    // Nothing was deployed yet.
                    None => return Ok(Vec::new()),
                }
            }
            (LinesOf::Release(release), Some(asked))
                if app_runner::operate::is_revision(&release.revision) =>
            {
                let (group, streams) =
                    app_runner::streams_of(clients, &asked.name, release).await?;
                (group, Streams::Among(streams))
            }
            (LinesOf::Release(release), _) => {
                let streams = runtime::streams_of(clients, &names, &release.revision).await?;
                (names.log_group, Streams::Among(streams))
            }
        };
        read(clients, &group, streams, since, limit).await
    }

    /// Stopped tasks are described "for at least one hour" (DescribeTasks, Amazon ECS API
    /// Reference), and a stream says which task it is of and no more. How long App Runner keeps its
    /// operations is not documented: what it forgot is an error.
    fn tells_revisions_for(&self, service: &ServiceSpec) -> Option<Duration> {
        let settings = self.clients.settings(service);
        let on_ecs = settings.runtime.app_runner().is_none();
        on_ecs.then_some(runtime::TASKS_TOLD)
    }
}

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
