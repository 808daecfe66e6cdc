//! Explains a failure: how the operation ended, what App Runner wrote of it, the app's last lines.
//! Best effort, all of it.

use aws_sdk_apprunner::types::{OperationStatus, OperationSummary, Service as SdkService};
use aws_sdk_cloudwatchlogs::types::OrderBy;
use deployer_core::capability::{Autopsy, LogLine};
use deployer_core::spec::ServiceSpec;
use jiff::Timestamp;

use super::calls;
use super::operations;
use crate::client::Clients;

/// How many of App Runner's own lines an explanation shows.
const EVENTS: usize = 10;
/// How many of the app's lines.
const LINES: usize = 20;

/// See [`deployer_core::capability::Services::autopsy`].
pub(super) async fn of(clients: &Clients, spec: &ServiceSpec) -> Autopsy {
    let Ok(Some(service)) = calls::find(clients, &spec.name).await else {
        return Autopsy::default();
    };
    let latest = calls::operations(clients, &service)
        .await
        .unwrap_or_default();
    let words = latest.iter().take(1).filter_map(failed);
    let (of_it, of_app) = (service_log(&service), application_log(&service));
    let (mut events, log) =
        tokio::join!(last(clients, &of_it, EVENTS), last(clients, &of_app, LINES));
    // The newest first, as events are told.
    events.reverse();
    Autopsy {
        words: words.collect(),
        events: events.into_iter().map(|line| line.text).collect(),
        log,
        ..Autopsy::default()
    }
}

/// App Runner's own last words about a service. Best effort: being denied is no reason to fail.
pub(super) async fn reasons(clients: &Clients, service: &SdkService) -> Vec<String> {
    let lines = last(clients, &service_log(service), 3).await;
    lines.into_iter().map(|line| line.text).collect()
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

/// The last lines of the stream of a group that was last written to, oldest first.
async fn last(clients: &Clients, group: &str, count: usize) -> Vec<LogLine> {
    let streams = clients.logs.describe_log_streams().log_group_name(group);
    let streams = streams.order_by(OrderBy::LastEventTime).descending(true);
    let Ok(streams) = streams.limit(1).send().await else {
        return Vec::new();
    };
    let mut names = streams.log_streams().iter();
    let Some(stream) = names.next().and_then(|it| it.log_stream_name()) else {
        return Vec::new();
    };
    let ask = clients.logs.get_log_events().log_group_name(group);
    let ask = ask.log_stream_name(stream).start_from_head(false);
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
