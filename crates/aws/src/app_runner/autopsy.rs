//! Explains a failure: how the operation ended, what App Runner wrote of it, the app's last lines.
//! Best effort, all of it.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_apprunner::types::{OperationStatus, OperationSummary, Service as SdkService};
use deployer_core::capability::{Autopsy, LogLine};
use deployer_core::spec::ServiceSpec;
use deployer_core::wait::{Look, Pace, poll};
use jiff::Timestamp;

use super::calls;
use super::operations::{self, Ours};
use crate::client::Clients;

/// How many of App Runner's own lines an explanation shows.
const EVENTS: usize = 10;
/// How many of them stand with the failure itself.
const REASONS: usize = 3;
/// How many of the app's lines.
const LINES: usize = 20;
/// How many instances are looked at: those that began last.
const INSTANCES: usize = 3;
/// How long the app's lines are waited for: "For some reason there is a significant delay
/// sometimes, until the App Log appears" (aws/apprunner-roadmap#110). How long is ours.
const LATE: Duration = Duration::from_secs(20);

/// See [`deployer_core::capability::Services::autopsy`].
pub(super) async fn of(clients: &Clients, spec: &ServiceSpec) -> Autopsy {
    let Ok(Some(service)) = calls::find(clients, &spec.name).await else {
        return Autopsy::default();
    };
    let latest = calls::operations(clients, &service)
        .await
        .unwrap_or_default();
    let words = latest.iter().take(1).filter_map(failed);
    let last = operations::last_deployment(&latest);
    let (events, log) = tokio::join!(
        own_lines(clients, &service, last, EVENTS),
        app_lines(clients, &service, last)
    );
    Autopsy {
        words: words.collect(),
        // The newest first, as events are told.
        events: events.into_iter().rev().map(|line| line.text).collect(),
        log,
        ..Autopsy::default()
    }
}

/// App Runner's own last words about an operation of a service. Best effort: being denied is no
/// reason to fail.
pub(super) async fn reasons(clients: &Clients, service: &SdkService, ours: &Ours) -> Vec<String> {
    let latest = calls::operations(clients, service).await;
    let latest = latest.unwrap_or_default();
    let began = ours.among(&latest).and_then(began);
    let lines = lines_of(clients, &service_log(service), "events", began, EVENTS).await;
    let lines = lines.into_iter().filter(|line| says_why(&line.text));
    let mut lines: Vec<String> = lines.map(|line| line.text).collect();
    let surplus = lines.len().saturating_sub(REASONS);
    lines.split_off(surplus)
}

/// Whether an event may say why something failed. Those that end every failure say that it did,
/// which its operation says already (the events in aws/apprunner-roadmap#142).
fn says_why(event: &str) -> bool {
    let empty = [
        "Service status is set to",
        "failed. For details, see service logs",
    ];
    !empty.iter().any(|words| event.contains(words))
}

/// What App Runner wrote of a deployment: the service's events since it began, and the log of its
/// own: "Deployment log stream names start with `deployment/`, and end with the ID of the
/// operation" ("Viewing App Runner logs streamed to CloudWatch Logs", AWS App Runner Developer
/// Guide). Whether that id has its hyphens there it does not say. Oldest first.
async fn own_lines(
    clients: &Clients,
    service: &SdkService,
    deployment: Option<&OperationSummary>,
    count: usize,
) -> Vec<LogLine> {
    let group = service_log(service);
    let began = deployment.and_then(began);
    let mut lines = lines_of(clients, &group, "events", began, count).await;
    let id = deployment
        .and_then(OperationSummary::id)
        .unwrap_or_default();
    for id in BTreeSet::from([id.to_owned(), id.replace('-', "")]) {
        let stream = format!("deployment/{id}");
        lines.extend(lines_of(clients, &group, &stream, None, count).await);
    }
    last_of(lines, count)
}

/// What the instances of a deployment printed last, oldest first: those whose streams were made
/// since it began. What serves meanwhile goes on printing to its own, and which stream was written
/// to last nobody can tell: "The lastEventTime value updates on an eventual consistency basis. It
/// typically updates in less than an hour from ingestion" (LogStream, CloudWatch Logs API
/// Reference).
async fn app_lines(
    clients: &Clients,
    service: &SdkService,
    deployment: Option<&OperationSummary>,
) -> Vec<LogLine> {
    let (group, began) = (application_log(service), deployment.and_then(began));
    let found = poll(clients.clock(), Pace::until(LATE), &group, || async {
        let mut lines = Vec::new();
        for stream in youngest(clients, &group, began).await {
            lines.extend(lines_of(clients, &group, &stream, None, LINES).await);
        }
        Ok(match lines.is_empty() {
            true => Look::NotYet("nothing was printed yet".to_owned()),
            false => Look::Found(last_of(lines, LINES)),
        })
    });
    found.await.unwrap_or_default()
}

/// The streams of a group that were made last, since a moment.
async fn youngest(clients: &Clients, group: &str, since: Option<Timestamp>) -> Vec<String> {
    let list = clients.logs.describe_log_streams().log_group_name(group);
    let mut pages = list.into_paginator().send();
    let mut found = Vec::new();
    while let Some(Ok(page)) = pages.next().await {
        for stream in page.log_streams.unwrap_or_default() {
            let at = stream.creation_time();
            let at = at.and_then(|at| Timestamp::from_millisecond(at).ok());
            if let (Some(at), Some(name)) = (at, stream.log_stream_name)
                && since.is_none_or(|since| at >= since)
            {
                found.push((at, name));
            }
        }
    }
    found.sort_by(|one, other| other.cmp(one));
    found.truncate(INSTANCES);
    found.into_iter().map(|(_, name)| name).collect()
}

fn last_of(mut lines: Vec<LogLine>, count: usize) -> Vec<LogLine> {
    lines.sort_by_key(|line| line.at);
    let surplus = lines.len().saturating_sub(count);
    lines.split_off(surplus)
}

fn began(operation: &OperationSummary) -> Option<Timestamp> {
    Timestamp::from_second(operation.started_at()?.secs()).ok()
}

fn failed(operation: &OperationSummary) -> Option<String> {
    let status = operation.status()?;
    let bad = matches!(
        status,
        OperationStatus::Failed
            | OperationStatus::RollbackFailed
            | OperationStatus::RollbackInProgress
            | OperationStatus::RollbackSucceeded
    );
    bad.then(|| {
        format!(
            "operation {}: {}",
            operations::name(operation),
            status.as_str()
        )
    })
}

/// Where App Runner writes what the app prints: "/aws/apprunner/SERVICE/ID/application" ("Viewing
/// App Runner logs streamed to CloudWatch Logs", AWS App Runner Developer Guide).
pub(super) fn application_log(service: &SdkService) -> String {
    log(service, "application")
}

/// Where it writes what it does itself.
fn service_log(service: &SdkService) -> String {
    log(service, "service")
}

pub(super) fn log(service: &SdkService, what: &str) -> String {
    let (name, id) = (service.service_name(), service.service_id());
    format!("/aws/apprunner/{name}/{id}/{what}")
}

/// The last lines of a stream, since a moment, oldest first.
async fn lines_of(
    clients: &Clients,
    group: &str,
    stream: &str,
    since: Option<Timestamp>,
    count: usize,
) -> Vec<LogLine> {
    let ask = clients.logs.get_log_events().log_group_name(group);
    let ask = ask.log_stream_name(stream).start_from_head(false);
    let ask = ask.set_start_time(since.map(Timestamp::as_millisecond));
    let Ok(answer) = ask
        .limit(i32::try_from(count).unwrap_or(i32::MAX))
        .send()
        .await
    else {
        return Vec::new();
    };
    let lines = answer.events().iter().filter_map(|event| {
        Some(LogLine {
            at: Timestamp::from_millisecond(event.timestamp()?).ok()?,
            source: stream.to_owned(),
            text: event.message()?.trim_end_matches(['\r', '\n']).to_owned(),
            id: String::new(),
        })
    });
    lines.collect()
}
