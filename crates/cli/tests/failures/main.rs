//! Failures are told as such, on both clouds alike: the whole program and both clouds, in one
//! process, in virtual time.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

mod access;
mod adoption;
mod again;
mod apart;
mod app_runner;
mod app_runner_hands;
mod app_runner_parts;
mod app_runner_told;
mod aws_adopted;
mod aws_data;
mod balancers;
mod cloud_run;
mod clouds;
mod contract;
mod detached;
mod disturbed;
mod domains;
mod drift;
mod ecs;
mod events;
mod exec;
mod first_manifest;
mod folders;
mod gated;
mod google;
mod held;
mod images;
#[path = "../in_process/mod.rs"]
mod in_process;
mod jobs;
mod ledger;
mod lost;
mod masked;
mod migrated;
mod numbers;
mod once;
mod one_release;
mod others;
mod outages;
mod owners;
mod pasted;
mod permissions;
#[path = "../sweep/picture/mod.rs"]
mod picture;
mod planned;
mod printed;
mod proven;
mod put_back;
mod rates;
mod redeploys;
mod releases;
mod renamed;
mod reports;
mod rollouts;
mod run;
mod runbooks;
mod scaling;
mod secrets;
mod sessions;
mod shown;
mod spoilt;
mod stores;
mod typed;
mod undo;
mod undone;
mod verification;
mod was;
mod web;
mod world;

use std::collections::VecDeque;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Mutex;

use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose, Started};
use futures::future::LocalBoxFuture;
use in_process::environment;
use in_process::stage::{Ended, Stage, Wanted};
use in_process::time::VirtualTime;

/// Names the test in a process that runs one.
const ONLY: &str = "DEPLOYER_FAILURES_ONLY";
const APPLY: &[&str] = &["apply", "--yes", "--no-verify"];
const DESTROY: &[&str] = &["destroy", "--yes", "--allow-data-loss", "all"];
const SECOND: Wanted = Wanted {
    version: 2,
    ..Wanted::FIRST
};

type Test = (
    &'static str,
    for<'a> fn(&'a Stage) -> LocalBoxFuture<'a, ()>,
);

/// Every test, the longest last.
const TESTS: &[&[Test]] = &[
    rollouts::TESTS,
    reports::TESTS,
    again::TESTS,
    pasted::TESTS,
    shown::TESTS,
    planned::TESTS,
    typed::TESTS,
    proven::TESTS,
    folders::TESTS,
    first_manifest::TESTS,
    masked::TESTS,
    undo::TESTS,
    jobs::TESTS,
    exec::TESTS,
    once::TESTS,
    one_release::TESTS,
    sessions::TESTS,
    images::TESTS,
    outages::TESTS,
    drift::TESTS,
    others::TESTS,
    ledger::TESTS,
    verification::TESTS,
    stores::TESTS,
    detached::TESTS,
    run::TESTS,
    ecs::TESTS,
    scaling::TESTS,
    balancers::TESTS,
    adoption::TESTS,
    aws_data::TESTS,
    aws_adopted::TESTS,
    secrets::TESTS,
    owners::TESTS,
    disturbed::TESTS,
    google::TESTS,
    cloud_run::TESTS,
    gated::TESTS,
    app_runner::TESTS,
    app_runner_hands::TESTS,
    app_runner_parts::TESTS,
    app_runner_told::TESTS,
    put_back::TESTS,
    domains::TESTS,
    runbooks::TESTS,
    access::TESTS,
    releases::TESTS,
    numbers::TESTS,
    migrated::TESTS,
    apart::TESTS,
    lost::TESTS,
    undone::TESTS,
    held::TESTS,
    renamed::TESTS,
    was::TESTS,
    redeploys::TESTS,
    printed::TESTS,
    rates::TESTS,
    permissions::TESTS,
    contract::TESTS,
    spoilt::TESTS,
    events::TESTS,
];

/// Names each test and the function that it runs.
macro_rules! tests {
    ($($name:ident => $test:ident),* $(,)?) => {
        pub const TESTS: &[$crate::Test] =
            &[$((stringify!($name), |stage| Box::pin($test(stage)))),*];
    };
}
pub(crate) use tests;

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|it| !it.starts_with('-'));
    let filter = filter.unwrap_or_default();
    let chosen = TESTS
        .iter()
        .copied()
        .flatten()
        .filter(|(name, _)| name.contains(&filter));
    let chosen: Vec<&Test> = chosen.collect();
    if chosen.is_empty() {
        return ExitCode::SUCCESS;
    }
    match std::env::var(ONLY) {
        Ok(only) => one(&only),
        Err(_) => all(&chosen),
    }
}

/// Runs each test in a process of its own, several at once: every one of them waits about half of
/// its time.
fn all(chosen: &[&Test]) -> ExitCode {
    let left: Mutex<VecDeque<&str>> = Mutex::new(chosen.iter().map(|(name, _)| *name).collect());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 * std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                loop {
                    // The longest stand last.
                    let next = left.lock().unwrap().pop_back();
                    let Some(name) = next else { break };
                    let again = environment::Again::new();
                    let ended = again.command().env(ONLY, name).output();
                    let ended = ended.expect("this program can be started");
                    if ended.status.success() {
                        println!("test {name} ... ok");
                    } else {
                        let said = String::from_utf8_lossy(&ended.stderr);
                        println!("test {name} ... FAILED\n{said}");
                        failed.lock().unwrap().push(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!(
        "{} passed, {} failed",
        chosen.len() - failed.len(),
        failed.len()
    );
    match failed.as_slice() {
        [] => ExitCode::SUCCESS,
        names => {
            println!("failed: {}", names.join(", "));
            ExitCode::FAILURE
        }
    }
}

/// Runs one test; one that panics has said why.
fn one(only: &str) -> ExitCode {
    let test = TESTS
        .iter()
        .copied()
        .flatten()
        .find(|(name, _)| *name == only);
    let (_, test) = test.expect("it is a test");
    let run = std::panic::catch_unwind(|| {
        let time = VirtualTime::start();
        time.run(async {
            let stage = Stage::set(&time).await;
            test(&stage).await;
            stage.clear().await;
        });
    });
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs a command; its words, when it ends as it should. Runs a command that is to end so. Plans
/// are shown node by node: what is asked of them are nodes and fields.
async fn run(stage: &Stage, words: &[&str], cloud: &str, exit: Exit) -> String {
    let words = match words.first() {
        Some(&("plan" | "apply" | "destroy")) => [words, &["--details"]].concat(),
        Some(_) | None => words.to_vec(),
    };
    let (ended, said) = stage.run(&words, cloud).await;
    assert!(
        matches!(&ended, Ended::Exit(ended) if *ended == exit),
        "`{}` on {cloud} ended with {ended:?}, not {exit:?}:\n{said}",
        words.join(" ")
    );
    said
}

fn says(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "it does not say `{words}`:\n{said}");
    }
}

/// The lines of `--json`.
fn json_lines(said: &str) -> Vec<serde_json::Value> {
    let lines = said.lines().map(serde_json::from_str);
    lines.filter_map(Result::ok).collect()
}

async fn first_serves(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "all", Exit::Success).await;
}

/// The image that the last release has on a cloud, by what `status` says of what serves.
async fn assert_serves(stage: &Stage, cloud: &str, version: u32) {
    let (_, said) = stage.run(&["status", "--json"], cloud).await;
    let digest = stage.digest(version);
    let document: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let serving = &document[0]["serving"];
    let revision = serving["traffic"][0][0].as_str().expect("something serves");
    let image = serving["images"][revision].as_str().unwrap_or_default();
    assert!(
        image.ends_with(&digest),
        "{cloud} serves {image}, not {digest}"
    );
}

fn unhealthy(started: &Started) -> Behaviour {
    Behaviour {
        healthy: started.purpose != Purpose::Serve,
        lines: vec!["cannot read the configuration".to_owned()],
        ..Behaviour::usual(started.purpose)
    }
}
