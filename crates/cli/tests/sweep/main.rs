//! The sweep: every call of a command fails, loses its reply or is throttled, every write to the ledger is the last, and the next
//! apply ends in the world of an undisturbed one. The whole program and both clouds, in one process, in virtual time.
//!
//! Tries a sample, or everything with `DEPLOYER_SWEEP=all`; `DEPLOYER_SWEEP_ONLY=Rollback:aws` narrows it down.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

#[path = "../in_process/mod.rs"]
mod in_process;
mod picture;
mod scenario;

use std::process::ExitCode;
use std::time::Instant;

use in_process::calls::Fault;
use in_process::environment;
use in_process::ledger::Crash;
use scenario::{Point, Scenario, attempt};

/// How many points of one scenario on one cloud are tried where not all are.
const SAMPLE: usize = 4;

fn main() -> ExitCode {
    // `cargo test FILTER` names other tests.
    let mut filters = std::env::args().skip(1).filter(|it| !it.starts_with('-'));
    if filters
        .by_ref()
        .next()
        .is_some_and(|filter| !"sweep".contains(&filter))
    {
        return ExitCode::SUCCESS;
    }
    if environment::credentials().is_none() {
        return environment::of_its_own();
    }
    let all = std::env::var("DEPLOYER_SWEEP").is_ok_and(|value| value == "all");
    let only = std::env::var("DEPLOYER_SWEEP_ONLY").unwrap_or_default();
    let (mut tried, mut wrong) = (0, Vec::new());
    for scenario in Scenario::ALL {
        for cloud in ["aws", "gcp"] {
            if !format!("{scenario:?}:{cloud}").starts_with(&only) {
                continue;
            }
            let began = Instant::now();
            let (points, failures) = sweep(scenario, cloud, all);
            println!(
                "{scenario:?} on {cloud}: {points} points tried in {:.0} s, {} wrong",
                began.elapsed().as_secs_f64(),
                failures.len()
            );
            tried += points;
            wrong.extend(failures);
        }
    }
    println!("{tried} points tried, {} wrong", wrong.len());
    for failure in &wrong {
        println!("\n{failure}");
    }
    match tried > 0 && wrong.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Tries the points of one scenario on one cloud; says how many, and which ended wrongly.
fn sweep(scenario: Scenario, cloud: &str, all: bool) -> (usize, Vec<String>) {
    let calm = match attempt(scenario, cloud, Point::Undisturbed) {
        Ok(calm) => calm,
        Err(why) => {
            return (
                1,
                vec![format!("{scenario:?} on {cloud}, undisturbed: {why}")],
            );
        }
    };
    let faults = [Fault::BeforeEffect, Fault::ReplyLost, Fault::ThrottledTwice];
    let calls = (1..=calm.calls.len()).flat_map(|nth| faults.map(|fault| Point::Call(nth, fault)));
    let writes =
        (1..=calm.writes).flat_map(|nth| [Crash::Before(nth), Crash::After(nth)].map(Point::Write));
    let points: Vec<Point> = calls.chain(writes).collect();
    let step = match all {
        true => 1,
        false => points.len().div_ceil(SAMPLE).max(1),
    };
    let mut wrong = Vec::new();
    let chosen: Vec<Point> = points.into_iter().step_by(step).collect();
    for point in &chosen {
        let name = match point {
            Point::Call(nth, _) => calm.calls.get(nth - 1).map_or("", String::as_str),
            Point::Undisturbed | Point::Write(_) => "",
        };
        let failure = match attempt(scenario, cloud, *point) {
            Ok(end) if end.picture == calm.picture => continue,
            Ok(end) => difference(&calm.picture, &end.picture),
            Err(why) => why,
        };
        wrong.push(format!(
            "{scenario:?} on {cloud}, {point:?} {name}: {failure}"
        ));
    }
    (chosen.len(), wrong)
}

fn difference(calm: &str, disturbed: &str) -> String {
    let lacks = calm
        .lines()
        .filter(|line| !disturbed.lines().any(|it| it == *line));
    let has = disturbed
        .lines()
        .filter(|line| !calm.lines().any(|it| it == *line));
    let lines = lacks.map(|line| format!("\n  - {line}"));
    let lines = lines.chain(has.map(|line| format!("\n  + {line}")));
    let lines: String = lines.collect();
    match lines.is_empty() {
        true => "something is there twice".to_owned(),
        false => lines,
    }
}
