//! Finds the run that carried out a plan file, for who applies it once more.

use deployer_core::error::{Error, ErrorKind};
use deployer_core::ledger::RunRecord;

use crate::session::Session;
use crate::view::foreign;

/// How many of the last runs of a target are looked through. Ours.
const RUNS: usize = 50;

/// What is said instead of that the plan is stale. `None` where no run carried it out, or none is
/// known.
pub async fn find(session: &Session, plan: &str) -> Option<Error> {
    let mut runs = Vec::new();
    for place in &session.places {
        let headers = place.ledger.recent_runs(RUNS).await.unwrap_or_default();
        let mut of_plan = headers
            .iter()
            .filter(|header| header.plan.as_deref() == Some(plan));
        let Some(header) = of_plan.next() else {
            continue;
        };
        if let Ok(Some(run)) = place.ledger.run(header.number).await {
            runs.push((place.name().to_string(), run));
        }
    }
    said(&runs)
}

fn said(runs: &[(String, RunRecord)]) -> Option<Error> {
    let (_, first) = runs.first()?;
    let header = &first.header;
    let alike = |it: &RunRecord| it.header.number == header.number;
    let which = match runs.iter().all(|(_, run)| alike(run)) {
        true => format!("run {}", header.number),
        false => {
            let each = runs
                .iter()
                .map(|(cloud, run)| format!("run {} on {cloud}", run.header.number));
            each.collect::<Vec<_>>().join(" and ")
        }
    };
    let failed = runs.iter().find(|(_, run)| !has_succeeded(run));
    let how = match failed.map(|(_, run)| run.outcome()) {
        None => String::new(),
        Some(None) => ", which did not come to its end".to_owned(),
        Some(Some(outcome)) => format!(", which ended: {}", foreign::one_line(outcome)),
    };
    let (at, by) = (header.at, foreign::one_line(&header.by));
    let words = format!("this plan was applied at {at:.0} by {which} ({by}){how}");
    let hint = match failed {
        None => "`deployer plan` says whether anything else is to do",
        Some(_) => "plan again, look, and apply the new plan",
    };
    Some(Error::new(ErrorKind::Conflict, words).hint(hint))
}

fn has_succeeded(run: &RunRecord) -> bool {
    run.outcome() == Some("succeeded")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use deployer_core::journal::{Entry, Event, FORMAT};
    use deployer_core::ledger::RunHeader;
    use jiff::Timestamp;

    use super::*;

    fn run(number: u64, outcome: Option<&str>) -> RunRecord {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let ended = outcome.map(|outcome| Entry {
            format: FORMAT,
            sequence: 1,
            at,
            event: Event::Ended {
                outcome: outcome.into(),
            },
        });
        RunRecord {
            header: RunHeader {
                number,
                command: "apply".into(),
                by: "ana@laptop".into(),
                at,
                manifest: serde_json::json!({}),
                contents: BTreeMap::new(),
                redeploys: BTreeMap::new(),
                plan: Some("0123".into()),
                typed: None,
            },
            entries: ended.into_iter().collect(),
        }
    }

    #[track_caller]
    fn check(runs: &[(&str, RunRecord)], expected: &str) {
        let runs: Vec<(String, RunRecord)> = runs
            .iter()
            .map(|(cloud, run)| ((*cloud).to_owned(), run.clone()))
            .collect();
        let error = said(&runs).unwrap();
        let begins = "this plan was applied at 2027-01-15T08:00:00Z by ";
        assert_eq!(error.to_string(), format!("{begins}{expected}"));
    }

    #[test]
    fn who_applies_a_plan_twice_is_told_which_run_did_it_and_how_that_ended() {
        let done = || run(7, Some("succeeded"));
        check(&[("aws", done()), ("gcp", done())], "run 7 (ana@laptop)");
        check(
            &[("aws", done()), ("gcp", run(4, Some("failed")))],
            "run 7 on aws and run 4 on gcp (ana@laptop), which ended: failed",
        );
        check(
            &[("aws", run(7, None))],
            "run 7 (ana@laptop), which did not come to its end",
        );
        assert!(said(&[]).is_none());
    }
}
