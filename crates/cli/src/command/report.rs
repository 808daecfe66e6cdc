//! `deployer report`: everything that was found out when a run failed, as its ledgers kept it.

use std::collections::BTreeSet;

use deployer_core::address::CloudName;
use deployer_core::error::{Error, Result};
use deployer_core::ledger::RunHeader;
use serde_json::json;

use crate::again::Again;
use crate::args::{Global, ReportArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;
use crate::view;

/// How many reports of each target are looked through.
const MOST: usize = 20;

/// What one target's ledger kept of a run.
struct Kept {
    cloud: CloudName,
    header: RunHeader,
    failures: Vec<Failure>,
}

/// Shows the report of one command on every target where it failed.
///
/// Errors: input, when there is none; the ledgers'.
pub async fn run(global: &Global, session: Session, args: &ReportArgs) -> Result<Exit> {
    let headers = headers(&session).await?;
    let Some(command) = chosen(&headers, args.run) else {
        return missing(global, args.run, &headers);
    };
    let mut kept = Vec::new();
    for (cloud, header) in headers {
        if !command.contains(&(cloud, header.number)) {
            continue;
        }
        let mut places = session.places.iter();
        let place = places.find(|place| place.name() == cloud);
        let place = place.ok_or_else(|| Error::internal("a report of no target"))?;
        let failures: Option<Vec<Failure>> = place.ledger.report(header.number).await?;
        if let Some(failures) = failures {
            kept.push(Kept {
                cloud,
                header,
                failures: failures.into_iter().map(Failure::here).collect(),
            });
        }
    }
    kept.sort_by_key(|it| it.cloud);
    if global.json {
        let documents = kept.iter().map(|it| {
            json!({
                "cloud": it.cloud, "number": it.header.number, "command": it.header.command,
                "by": it.header.by, "at": it.header.at, "failures": it.failures,
            })
        });
        view::json(&documents.collect::<Vec<_>>());
        return Ok(session.failure());
    }
    for (at, it) in kept.iter().enumerate() {
        if at > 0 {
            outln!();
        }
        let of = (it.cloud, &it.header);
        out!(
            "{}",
            view::report::render(of, &it.failures, view::whole_width())
        );
    }
    Ok(session.failure())
}

/// The headers of the runs that have a report, by target; newest first.
async fn headers(session: &Session) -> Result<Vec<(CloudName, RunHeader)>> {
    let mut headers = Vec::new();
    for place in &session.places {
        let runs = place.ledger.reported_runs(MOST).await?.into_iter();
        headers.extend(runs.map(|header| (place.name(), header)));
    }
    headers.sort_by_key(|(_, header)| std::cmp::Reverse(header.at));
    Ok(headers)
}

/// The runs of the command that is asked for, or of the last one: each target numbers its own.
fn chosen(
    headers: &[(CloudName, RunHeader)],
    number: Option<u64>,
) -> Option<BTreeSet<(CloudName, u64)>> {
    let mut all = headers.iter();
    let (cloud, first) = all.find(|(_, it)| number.is_none_or(|number| it.number == number))?;
    let same = |(other, header): &&(CloudName, RunHeader)| match &first.typed {
        Some(typed) => header.typed.as_ref() == Some(typed),
        None => (other, header.number) == (cloud, first.number),
    };
    let same = headers.iter().filter(same);
    Some(same.map(|(cloud, it)| (*cloud, it.number)).collect())
}

fn missing(
    global: &Global,
    number: Option<u64>,
    headers: &[(CloudName, RunHeader)],
) -> Result<Exit> {
    let Some(number) = number else {
        match global.json {
            true => view::json(&json!([])),
            false => noteln!("no run failed here since reports are kept"),
        }
        return Ok(Exit::Success);
    };
    let known: BTreeSet<u64> = headers.iter().map(|(_, it)| it.number).collect();
    let known: Vec<String> = known.iter().rev().map(u64::to_string).collect();
    let runs = Again::new(global, "runs");
    let hint = match known.is_empty() {
        true => format!("no run has one; `{runs}` lists them all"),
        false => format!(
            "there are reports of {}; `{runs}` lists all runs",
            known.join(", ")
        ),
    };
    Err(Error::input(format!("there is no report of run {number}")).hint(hint))
}
