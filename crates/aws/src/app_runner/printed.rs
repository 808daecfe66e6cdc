//! Which log streams the instances of a release print to. App Runner names no instance in its API,
//! and a stream says which instance it is of and no more (`instance/ID`, "Viewing App Runner logs
//! streamed to CloudWatch Logs", AWS App Runner Developer Guide): an instance counts as of the
//! deployment in which, or after which, it began to print.

use std::collections::BTreeSet;

use aws_sdk_apprunner::primitives::DateTime;
use aws_sdk_apprunner::types::{OperationStatus, OperationSummary};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::ledger::Release;
use jiff::Timestamp;

use super::{autopsy, calls, operations};
use crate::client::Clients;
use crate::error::{Told, code};

/// From when to when a deployment's instances began.
#[derive(Debug, PartialEq, Eq)]
struct Reign {
    from: Timestamp,
    /// `None` while no later deployment was begun.
    until: Option<Timestamp>,
}

/// The log group of the app's lines, and the streams in it that are of a release.
///
/// Errors: not found, when there is no such service, or App Runner does not tell of the release's
/// deployment any more.
pub(crate) async fn streams_of(
    clients: &Clients,
    name: &str,
    release: &Release,
) -> Result<(String, BTreeSet<String>)> {
    let service = calls::seen(clients, name).await?;
    let service = service.ok_or_else(|| calls::absent(name))?;
    let latest = calls::operations(clients, &service).await;
    let latest = latest.told(|| format!("list the operations of service `{name}`"))?;
    let reign = reign_of(&latest, release.at).ok_or_else(|| {
        let message = format!(
            "App Runner does not tell of the deployment of r{} any more, nor which instances were of it",
            release.number
        );
        let hint = format!("`deployer logs {} --since 1d` has what all printed", release.service);
        Error::new(ErrorKind::NotFound, message).hint(hint)
    })?;
    let group = autopsy::application_log(&service);
    let mut streams = BTreeSet::new();
    let list = clients.logs.describe_log_streams().log_group_name(&group);
    let mut pages = list.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = match page {
            // Nothing was printed yet.
            Err(error) if code(&error) == Some("ResourceNotFoundException") => break,
            page => page.told(|| format!("list the streams of log group `{group}`"))?,
        };
        for stream in page.log_streams() {
            let began = stream.creation_time();
            let began = began.and_then(|at| Timestamp::from_millisecond(at).ok());
            if began.is_some_and(|at| reign.has(at)) {
                streams.extend(stream.log_stream_name().map(str::to_owned));
            }
        }
    }
    Ok((group, streams))
}

impl Reign {
    fn has(&self, at: Timestamp) -> bool {
        at >= self.from && self.until.is_none_or(|until| at < until)
    }
}

/// The reign of the deployment that made serve what was recorded at `recorded`: the last one before
/// that which succeeded. `operations` are the latest ones, newest first.
fn reign_of(operations: &[OperationSummary], recorded: Timestamp) -> Option<Reign> {
    let deployments = operations.iter().filter(|it| operations::deploys(it));
    let mut until = None;
    for operation in deployments {
        let from = moment(operation.started_at())?;
        let succeeded = operation.status() == Some(&OperationStatus::Succeeded);
        if succeeded && from <= recorded {
            return Some(Reign { from, until });
        }
        until = Some(from);
    }
    None
}

fn moment(at: Option<&DateTime>) -> Option<Timestamp> {
    Timestamp::from_second(at?.secs()).ok()
}

#[cfg(test)]
mod tests {
    use aws_sdk_apprunner::types::OperationType;

    use super::*;

    fn operation(began: i64, status: OperationStatus) -> OperationSummary {
        OperationSummary::builder()
            .r#type(OperationType::UpdateService)
            .status(status)
            .started_at(DateTime::from_secs(began))
            .build()
    }

    #[test]
    fn a_release_reigns_from_its_deployment_to_the_next_one_be_it_that_this_fails() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let operations = [
            operation(300, OperationStatus::RollbackSucceeded),
            operation(200, OperationStatus::Succeeded),
            operation(100, OperationStatus::Succeeded),
        ];
        let reign = |from, until: Option<i64>| {
            let (from, until) = (at(from), until.map(at));
            Some(Reign { from, until })
        };
        assert_eq!(reign_of(&operations, at(150)), reign(100, Some(200)));
        assert_eq!(reign_of(&operations, at(250)), reign(200, Some(300)));
        assert_eq!(reign_of(&operations[1..], at(250)), reign(200, None));
        assert_eq!(reign_of(&operations, at(50)), None);
        assert!(reign(100, Some(200)).unwrap().has(at(199)));
        assert!(!reign(100, Some(200)).unwrap().has(at(200)));
    }
}
