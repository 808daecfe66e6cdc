//! The sweep: every call of a command fails, loses its reply or is throttled, every write to the
//! ledger is the last, fails with all after it or loses its answer, and the next apply ends in the
//! world of an undisturbed one. The whole program and both clouds, in one process, in virtual time.
//!
//! Beside them histories: random commands on both clouds, killed and typed again, each judged by a
//! model.
//!
//! Tries a sample - one point of each kind, for each scenario on each cloud, and some histories -
//! or everything with `DEPLOYER_SWEEP=all`. What narrows it down:
//! `DEPLOYER_SWEEP_ONLY=Rollback:aws` or `DEPLOYER_SWEEP_ONLY=History:7`, and
//! `DEPLOYER_SWEEP_POINT="Call(56, BeforeEffect)"`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

mod asked;
#[path = "../failures/clouds.rs"]
#[expect(dead_code, reason = "other tests ask more")]
mod clouds;
mod history;
#[path = "../in_process/mod.rs"]
mod in_process;
mod model;
mod picture;
mod scenario;
#[path = "../failures/web.rs"]
#[expect(dead_code, reason = "other tests ask more")]
mod web;

use std::collections::VecDeque;
use std::num::NonZero;
use std::process::{ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use in_process::calls::Fault;
use in_process::environment::{self, Again};
use in_process::ledger::Crash;
use scenario::{End, Point, Scenario, attempt};
use serde::{Deserialize, Serialize};

/// After how many points it is said how far one got.
const TOLD_EVERY: usize = 50;
/// What a command is typed on.
const CLOUDS: [&str; 3] = ["aws", "gcp", "all"];
/// How many histories there are, and how many of them a sample has.
const HISTORIES: (u64, u64) = (200, 6);
const HISTORY: &str = "History:";
/// Names the scenarios that are wanted; in a process that tries one, that one.
const ONLY: &str = "DEPLOYER_SWEEP_ONLY";
/// Narrows the points down to those in whose name it occurs: `Call(56, BeforeEffect)`, as a failure
/// is told.
const POINT: &str = "DEPLOYER_SWEEP_POINT";

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
    match environment::credentials() {
        Some(_) => one(),
        None => all(),
    }
}

/// Tries every scenario on every cloud, each in a process of its own. Every one of them waits about
/// half of its time.
fn all() -> ExitCode {
    let only = std::env::var(ONLY).unwrap_or_default();
    let histories = match is_whole() || only.starts_with(HISTORY) {
        true => HISTORIES.0,
        false => HISTORIES.1,
    };
    let histories = (1..=histories).map(|seed| format!("{HISTORY}{seed}"));
    let names = Scenario::ALL
        .iter()
        .flat_map(|scenario| CLOUDS.map(|cloud| (*scenario, cloud)))
        .filter(|(scenario, cloud)| scenario.is_tried_on(cloud))
        .map(|(scenario, cloud)| name_of(scenario, cloud));
    // A number is meant in full.
    let wanted = |name: &String| match only.strip_prefix(HISTORY) {
        Some(seed) if !seed.is_empty() => *name == only,
        _ => name.starts_with(&only),
    };
    let left: Mutex<VecDeque<String>> = Mutex::new(names.chain(histories).filter(wanted).collect());
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 * std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().pop_front();
                    let Some(name) = next else { break };
                    let began = Instant::now();
                    let outcome = in_another_process(&name);
                    println!(
                        "{name}: {} of {} points tried in {:.0} s, {} wrong",
                        outcome.tried,
                        outcome.points,
                        began.elapsed().as_secs_f64(),
                        outcome.wrong
                    );
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let sum = |number: fn(&Outcome) -> usize| outcomes.iter().map(number).sum::<usize>();
    let (tried, wrong) = (sum(|it| it.tried), sum(|it| it.wrong));
    println!(
        "{tried} of {} points tried, {wrong} wrong",
        sum(|it| it.points)
    );
    match tried > 0 && wrong == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// What a process found out about its scenario.
#[derive(Default, Serialize, Deserialize)]
struct Outcome {
    points: usize,
    tried: usize,
    /// Each was told where it was found.
    wrong: usize,
}

fn in_another_process(name: &str) -> Outcome {
    let again = Again::new();
    let output = again
        .command()
        .env(ONLY, name)
        .stderr(Stdio::inherit())
        .output()
        .expect("this program can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let outcome = said
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok());
    outcome.unwrap_or_else(|| {
        println!("{name} ended with {}", output.status);
        Outcome {
            wrong: 1,
            ..Outcome::default()
        }
    })
}

/// Tries one scenario on one cloud, and says what came of it.
fn one() -> ExitCode {
    let all = is_whole();
    let only = std::env::var(ONLY).unwrap_or_default();
    if let Some(seed) = only.strip_prefix(HISTORY) {
        let outcome = history(seed.parse().expect("a history has a number"));
        println!("{}", serde_json::to_string(&outcome).expect("text"));
        return ExitCode::SUCCESS;
    }
    for scenario in Scenario::ALL {
        for cloud in CLOUDS {
            if name_of(scenario, cloud) == only {
                let outcome = sweep(scenario, cloud, all);
                println!("{}", serde_json::to_string(&outcome).expect("text"));
            }
        }
    }
    ExitCode::SUCCESS
}

fn is_whole() -> bool {
    std::env::var("DEPLOYER_SWEEP").is_ok_and(|value| value == "all")
}

/// Tries one history: a point is a command of it.
fn history(seed: u64) -> Outcome {
    let tried = std::panic::catch_unwind(|| history::attempt(seed));
    let (tried, wrong) = match tried.unwrap_or_else(|_| Err("it panicked".to_owned())) {
        Ok(commands) => (commands, 0),
        Err(why) => {
            eprintln!("{HISTORY}{seed}:\n{why}\n");
            (1, 1)
        }
    };
    Outcome {
        points: tried,
        tried,
        wrong,
    }
}

fn name_of(scenario: Scenario, cloud: &str) -> String {
    format!("{scenario:?}:{cloud}")
}

/// Tries the points of one scenario on one cloud.
fn sweep(scenario: Scenario, cloud: &str, all: bool) -> Outcome {
    let calm = match tried(scenario, cloud, Point::Undisturbed) {
        Ok(calm) => calm,
        Err(why) => {
            eprintln!("{scenario:?} on {cloud}, undisturbed: {why}");
            return Outcome {
                points: 1,
                tried: 1,
                wrong: 1,
            };
        }
    };
    let kinds = kinds_of_points(&calm);
    let count = kinds.iter().map(Vec::len).sum();
    let mut chosen: Vec<Point> = match all {
        true => kinds.into_iter().flatten().collect(),
        false => sample(&kinds),
    };
    if let Ok(wanted) = std::env::var(POINT) {
        chosen.retain(|point| format!("{point:?}").contains(&wanted));
    }
    let mut wrong = 0;
    for (done, point) in chosen.iter().enumerate() {
        if done > 0 && done % TOLD_EVERY == 0 {
            eprintln!(
                "{}: {done} of {} tried",
                name_of(scenario, cloud),
                chosen.len()
            );
        }
        let name = match point {
            Point::Call(nth, _) => calm.calls.get(nth - 1).map_or("", String::as_str),
            Point::Undisturbed | Point::Write(_) => "",
        };
        let failure = match tried(scenario, cloud, *point) {
            Ok(end) if end.picture == calm.picture => continue,
            Ok(end) => difference(&calm.picture, &end.picture),
            Err(why) => why,
        };
        wrong += 1;
        eprintln!("{scenario:?} on {cloud}, {point:?} {name}: {failure}\n");
    }
    Outcome {
        points: count,
        tried: chosen.len(),
        wrong,
    }
}

/// Every point, by what happens there.
fn kinds_of_points(calm: &End) -> [Vec<Point>; 7] {
    let calls = |fault: Fault| {
        let all = 1..=calm.calls.len();
        all.map(|nth| Point::Call(nth, fault)).collect()
    };
    let writes = |crash: fn(usize) -> Crash| {
        let all = 1..=calm.writes;
        all.map(|nth| Point::Write(crash(nth))).collect()
    };
    [
        calls(Fault::BeforeEffect),
        calls(Fault::ReplyLost),
        calls(Fault::ThrottledTwice),
        writes(Crash::Before),
        writes(Crash::After),
        writes(Crash::Fails),
        writes(Crash::ReplyLost),
    ]
}

/// One of each kind, each at another part of the command.
fn sample(kinds: &[Vec<Point>; 7]) -> Vec<Point> {
    let parts = kinds.len() + 1;
    let chosen = kinds.iter().enumerate();
    chosen
        .filter_map(|(part, points)| points.get(points.len() * (part + 1) / parts))
        .copied()
        .collect()
}

/// [`attempt`], where a panic is one more thing that is wrong.
fn tried(scenario: Scenario, cloud: &str, point: Point) -> Result<End, String> {
    std::panic::catch_unwind(|| attempt(scenario, cloud, point))
        .unwrap_or_else(|_| Err("it panicked".to_owned()))
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
