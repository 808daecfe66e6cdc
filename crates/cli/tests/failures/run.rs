//! `run`: a command once, with what serves, on both clouds: what it has, what is shown of it, how
//! it ends, and what becomes of what it needs.

use std::sync::Arc;
use std::time::Duration;

use deployer::{Exit, Stop};
use deployer_sandbox::runner::{self, Behaviour, Purpose, Started};
use reqwest::Method;
use serde_json::Value;

use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, LOCATION, PROJECT, Stage, Wanted};
use crate::typed::assert_fits;
use crate::{APPLY, DESTROY, SECOND, assert_serves, first_serves, json_lines, run, says};

crate::tests! {
    a_command_runs_with_what_serves_and_its_code_is_ours => code,
    a_command_of_a_named_release_has_what_that_had => named_release,
    no_value_of_a_secret_is_shown_of_a_command => masked,
    a_command_that_is_left_is_named_and_goes_on => left,
    a_command_whose_time_is_over_is_stopped => out_of_time,
    a_command_is_stopped_when_a_person_says_so => stopped,
    a_command_runs_beside_an_apply_that_holds_the_lock => beside,
    commands_of_two_releases_at_once_do_not_mix => two_at_once,
    a_start_whose_answer_was_lost_makes_one_execution => lost,
    what_a_command_left_stays_with_its_service_and_goes_with_it => kept,
    a_run_that_cannot_be_is_told_apart_from_a_command_that_fails => cannot,
    a_command_of_which_nobody_knows_says_that_it_may_run => may_run,
    a_command_that_ended_before_it_was_stopped_ended_well => ended_before,
    a_killed_rollback_is_finished_after_a_command_that_made_its_job => after_a_kill,
}

const CLOUDS: [&str; 2] = ["aws", "gcp"];
const RUN: &str = "run.projects.locations.jobs.run";

/// The commands of `run` that were started, by what they have.
pub fn started(stage: &Stage) -> Vec<Started> {
    let all = stage.containers.started().into_iter();
    all.filter(is_seed).collect()
}

fn is_seed(started: &Started) -> bool {
    started.command.get(1).is_some_and(|word| word == "seed")
}

/// Commands of `run` behave so; everything else as usual.
pub fn seed(stage: &Stage, exit: i32, takes: Duration, lines: &'static [&'static str]) {
    stage.behave(move |started| match is_seed(started) {
        true => Behaviour {
            exit: Some(runner::Exit::with(exit)),
            takes,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            ..Behaviour::usual(Purpose::Finish)
        },
        false => Behaviour::usual(started.purpose),
    });
}

pub const SEED: [&str; 5] = ["run", "idp", "--", "seed", "--all"];

async fn code(stage: &Stage) {
    first_serves(stage).await;
    seed(
        stage,
        3,
        Duration::from_secs(30),
        &["seeding", "no such table"],
    );
    // The manifest has moved on, and was not applied.
    stage.want(&SECOND);
    for (at, cloud) in CLOUDS.into_iter().enumerate() {
        let said = run(stage, &SEED, cloud, Exit::Program(3)).await;
        assert_eq!(Exit::Program(3).code(), 3);
        let printed: Vec<&str> = said.lines().filter(|it| SAID.contains(it)).collect();
        assert_eq!(printed, SAID, "each line once, in order:\n{said}");
        says(&said, &["idp r1", "exit code 3"]);
        let all = started(stage);
        let [.., one] = all.as_slice() else {
            panic!("it ran")
        };
        assert_eq!(all.len(), at + 1, "once");
        assert_eq!(one.digest, stage.digest(1), "what serves");
        assert_eq!(
            one.command,
            ["/app", "seed", "--all"],
            "the entry point stays"
        );
        assert_eq!(one.env["MAIL_PASSWORD"], "mail one");
        assert_eq!(one.env["GREETING"], "hello");
        assert_eq!(one.purpose, Purpose::Finish);
        assert_serves(stage, cloud, 1).await;
    }
    // What is there already is used again.
    seed(stage, 0, Duration::from_secs(1), &["seeding"]);
    for cloud in CLOUDS {
        stage.calls.arm(None);
        run(stage, &SEED, cloud, Exit::Success).await;
        let start = if cloud == "aws" { "ecs:RunTask" } else { RUN };
        assert_eq!(stage.calls.writes(), [start], "{cloud}");
    }
}

pub const SAID: [&str; 2] = ["seeding", "no such table"];

async fn named_release(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    seed(stage, 0, Duration::from_secs(1), &[]);
    for cloud in CLOUDS {
        for (options, version) in [(&[][..], 2), (&["--release", "r1"], 1), (&[], 2)] {
            let words = [&["run", "idp"], options, &["--", "seed"]].concat();
            run(stage, &words, cloud, Exit::Success).await;
            let all = started(stage);
            let digest = all.last().map(|it| it.digest.clone());
            assert_eq!(digest, Some(stage.digest(version)), "{cloud} {options:?}");
        }
    }
}

async fn masked(stage: &Stage) {
    first_serves(stage).await;
    seed(
        stage,
        0,
        Duration::from_secs(1),
        &["logged in with mail one"],
    );
    for cloud in CLOUDS {
        let said = run(stage, &SEED, cloud, Exit::Success).await;
        says(&said, &["logged in with [redacted]"]);
        let words = ["run", "idp", "--json", "--", "seed"];
        let said = run(stage, &words, cloud, Exit::Success).await;
        let lines = json_lines(&said);
        for event in &lines {
            let name = event["event"].as_str().expect("an event");
            assert_fits(&format!("event_{name}"), event);
        }
        let of = |event: &str| -> Vec<&Value> {
            let lines = lines.iter();
            lines.filter(|it| it["event"] == event).collect()
        };
        let texts: Vec<&Value> = of("one_off_line").iter().map(|it| &it["text"]).collect();
        assert_eq!(texts, ["logged in with [redacted]"], "{said}");
        assert_eq!(of("one_off_started").len(), 1, "{said}");
        let ended = of("one_off_ended").pop().expect("it ended");
        assert_eq!(ended["program_exit_code"], 0);
        let result = lines.last().expect("a result");
        assert_eq!(result["exit_code"], 0, "{said}");
        let words = ["run", "idp", "--unmasked", "--", "seed"];
        let said = run(stage, &words, cloud, Exit::Success).await;
        says(&said, &["logged in with mail one"]);
    }
}

async fn left(stage: &Stage) {
    first_serves(stage).await;
    seed(stage, 3, Duration::from_secs(300), &["seeding"]);
    for cloud in CLOUDS {
        let words = ["run", "idp", "--detach", "--", "seed"];
        let said = run(stage, &words, cloud, Exit::Success).await;
        let (look, stop) = match cloud {
            "aws" => ("aws ecs describe-tasks", "aws ecs stop-task"),
            _ => (
                "gcloud run jobs executions describe swept-test-idp-run-",
                "gcloud run jobs executions cancel swept-test-idp-run-",
            ),
        };
        says(&said, &[look, stop]);
        assert_eq!(said.contains("nothing stops it"), cloud == "aws", "{said}");
        stage.time.pass(Duration::from_secs(60)).await;
        assert!(!started(stage).is_empty(), "it runs");
    }
}

async fn out_of_time(stage: &Stage) {
    first_serves(stage).await;
    seed(stage, 0, Duration::from_secs(7200), &["seeding"]);
    for cloud in CLOUDS {
        let began = stage.time.now();
        let words = ["run", "idp", "--timeout", "2m", "--", "seed"];
        let said = run(stage, &words, cloud, Exit::OutOfTime).await;
        says(&said, &["seeding", "its time was over", "--timeout"]);
        let took = stage.time.now().duration_since(began).as_secs();
        assert!((110..400).contains(&took), "{cloud}: {took} s");
    }
    assert!(running(stage).await.is_empty(), "nothing of it runs");
}

async fn stopped(stage: &Stage) {
    first_serves(stage).await;
    seed(stage, 0, Duration::from_secs(7200), &["seeding"]);
    for cloud in CLOUDS {
        let (ended, said) = stopped_on(stage, cloud).await;
        assert!(
            matches!(ended, Ended::Exit(Exit::Interrupted)),
            "{ended:?}:\n{said}"
        );
        says(&said, &["seeding", "was stopped"]);
    }
    assert!(running(stage).await.is_empty(), "nothing of it runs");
}

/// A command that a person stops twenty seconds after it was started.
async fn stopped_on(stage: &Stage, cloud: &str) -> (Ended, String) {
    let manifest = format!("{}/deployer.toml", stage.folder());
    let before = started(stage).len();
    let stop = Stop::default();
    let words = [
        "run",
        "idp",
        "--cloud",
        cloud,
        "--manifest",
        &manifest,
        "--",
        "seed",
    ];
    let ledger = Arc::new(stage.ledger.clone());
    let run = stage.run_stopped(stop.clone(), Some(ledger), &words);
    let hand = async {
        for _ in 0..300 {
            if started(stage).len() > before {
                break;
            }
            stage.time.pass(Duration::from_secs(1)).await;
        }
        stage.time.pass(Duration::from_secs(20)).await;
        stop.request();
    };
    tokio::join!(run, hand).0
}

/// The one-offs that the clouds say are not over.
async fn running(stage: &Stage) -> Vec<String> {
    let config = stage.aws().await;
    let ecs = aws_sdk_ecs::Client::new(&config);
    let listed = ecs.list_tasks().cluster("default").send().await;
    let arns = listed.expect("an answer").task_arns.unwrap_or_default();
    let described = ecs.describe_tasks().cluster("default");
    let described = described.set_tasks(Some(arns)).send().await;
    let tasks = described.expect("an answer").tasks.unwrap_or_default();
    let ours = tasks.iter().filter(|task| {
        let by = task.started_by().unwrap_or_default();
        by.starts_with("deployer/") && task.last_status() != Some("STOPPED")
    });
    let mut running: Vec<String> = ours.filter_map(|it| it.task_arn.clone()).collect();
    let executions = executions(stage).await;
    let executions = executions.iter();
    let going = executions.filter(|it| !it["completionTime"].is_string());
    running.extend(going.map(|it| it["name"].to_string()));
    running
}

/// The executions of the job that one-offs have.
async fn executions(stage: &Stage) -> Vec<Value> {
    let job = format!("/v2/projects/{PROJECT}/locations/{LOCATION}/jobs/swept-test-idp-run");
    let path = format!("{job}/executions");
    let listed = stage.google(Method::GET, &path, None).await;
    listed["executions"].as_array().cloned().unwrap_or_default()
}

async fn beside(stage: &Stage) {
    first_serves(stage).await;
    seed(stage, 0, Duration::from_secs(10), &["seeding"]);
    for cloud in CLOUDS {
        run(stage, &SEED, cloud, Exit::Success).await;
    }
    stage.want(&SECOND);
    // The apply of both clouds takes its time, and holds the locks.
    stage.behave(|started| Behaviour {
        takes: match started.purpose {
            Purpose::Finish if !is_seed(started) => Duration::from_secs(280),
            Purpose::Finish | Purpose::Serve => Duration::from_secs(1),
        },
        ..Behaviour::usual(started.purpose)
    });
    let meanwhile = async {
        stage.time.pass(Duration::from_secs(60)).await;
        let lock = ["lock", "show"];
        for cloud in CLOUDS {
            let said = run(stage, &lock, cloud, Exit::Success).await;
            says(&said, &["apply"]);
            run(stage, &SEED, cloud, Exit::Success).await;
            let last = started(stage).pop().expect("it ran");
            assert_eq!(last.digest, stage.digest(1), "what serves at that moment");
        }
    };
    tokio::join!(run(stage, APPLY, "all", Exit::Success), meanwhile);
    for cloud in CLOUDS {
        assert_serves(stage, cloud, 2).await;
    }
}

async fn two_at_once(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    seed(stage, 0, Duration::from_secs(20), &[]);
    // The job is there.
    run(stage, &SEED, "gcp", Exit::Success).await;
    for cloud in CLOUDS {
        let before = started(stage).len();
        let earlier = ["run", "idp", "--release", "r1", "--", "seed", "one"];
        let now = ["run", "idp", "--", "seed", "two"];
        tokio::join!(
            run(stage, &earlier, cloud, Exit::Success),
            run(stage, &now, cloud, Exit::Success)
        );
        let all = started(stage).split_off(before);
        assert_eq!(all.len(), 2, "{cloud}: {all:#?}");
        for one in all {
            let version = if one.command[2] == "one" { 1 } else { 2 };
            assert_eq!(one.digest, stage.digest(version), "{cloud}: {one:#?}");
        }
    }
}

async fn lost(stage: &Stage) {
    first_serves(stage).await;
    seed(stage, 0, Duration::from_secs(20), &["seeding"]);
    // The job is there.
    run(stage, &SEED, "gcp", Exit::Success).await;
    for (cloud, call) in [("aws", "ecs:RunTask"), ("gcp", RUN)] {
        let before = started(stage).len();
        let fault = format!("[[fault]]\ncall = \"{call}\"\nwhat = \"reset_after\"\nnth = 1\n");
        stage.disturb(&fault).await;
        run(stage, &SEED, cloud, Exit::Success).await;
        assert_eq!(stage.fired().await, 1);
        assert_eq!(started(stage).len(), before + 1, "{cloud}: once");
    }
}

/// The job on Cloud Run is in no graph: an apply leaves it, and it goes with its service.
async fn kept(stage: &Stage) {
    first_serves(stage).await;
    seed(stage, 0, Duration::from_secs(1), &[]);
    run(stage, &SEED, "gcp", Exit::Success).await;
    stage.calls.arm(None);
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new(), "an empty plan");
    stage.want(&SECOND);
    let said = run(stage, APPLY, "gcp", Exit::Success).await;
    assert!(!said.contains("swept-test-idp-run"), "{said}");
    assert_eq!(executions(stage).await.len(), 1);
    let said = run(stage, DESTROY, "gcp", Exit::Success).await;
    says(&said, &["run.job swept-test-idp-run"]);
    let jobs = format!("/v2/projects/{PROJECT}/locations/{LOCATION}/jobs");
    let jobs = stage.google(Method::GET, &jobs, None).await;
    assert!(
        jobs["jobs"].as_array().is_none_or(Vec::is_empty),
        "{jobs:#}"
    );
}

async fn cannot(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let nothing = run(stage, &SEED, "aws", Exit::NotRun).await;
    says(&nothing, &["deployer apply"]);
    first_serves(stage).await;
    // On which of them?
    let said = run(stage, &SEED, "all", Exit::NotRun).await;
    says(&said, &["--cloud aws", "--cloud gcp"]);
    let said = run(stage, &["run", "nobody", "--", "seed"], "aws", Exit::NotRun).await;
    says(&said, &["there is no service `nobody`", "idp"]);
    for (cloud, call) in [("aws", "ecs:RunTask"), ("gcp", RUN)] {
        stage
            .disturb(&format!(
                "[[fault]]\ncall = \"{call}\"\nwhat = \"denied\"\n"
            ))
            .await;
        let said = run(stage, &SEED, cloud, Exit::NotRun).await;
        says(&said, &["deployer permissions"]);
    }
    assert!(started(stage).is_empty());
    assert_eq!(Exit::NotRun.code(), 125);
}

/// Nothing that may run is told of without a word of it: people start it twice.
async fn may_run(stage: &Stage) {
    first_serves(stage).await;
    seed(stage, 0, Duration::from_secs(900), &["seeding"]);
    // The job is there.
    run(
        stage,
        &["run", "idp", "--detach", "--", "seed"],
        "gcp",
        Exit::Success,
    )
    .await;
    let refused = |call: &str| format!("[[fault]]\ncall = \"{call}\"\nwhat = \"denied\"\n");
    // The answer of the start is lost, and what was started cannot be looked for.
    let lost = format!("[[fault]]\ncall = \"{RUN}\"\nwhat = \"reset_after\"\n");
    let list = refused("run.projects.locations.jobs.executions.*");
    stage.disturb(&format!("{lost}{list}")).await;
    let said = run(stage, &SEED, "gcp", Exit::NotRun).await;
    says(
        &said,
        &["may run all the same", "look before you start it again"],
    );
    // It was started, and cannot be looked at.
    for (cloud, call, words) in [
        ("aws", "ecs:DescribeTasks", ["describe-tasks", "stop-task"]),
        (
            "gcp",
            "run.projects.locations.jobs.executions.get",
            ["executions describe", "executions cancel"],
        ),
    ] {
        stage.disturb(&refused(call)).await;
        let said = run(stage, &SEED, cloud, Exit::NotRun).await;
        says(&said, &["may run still"]);
        says(&said, &words);
        let json = ["run", "idp", "--json", "--", "seed"];
        let said = run(stage, &json, cloud, Exit::NotRun).await;
        let errors = json_lines(&said).into_iter();
        let errors: Vec<Value> = errors.filter(|it| it["event"] == "error").collect();
        let kinds: Vec<&Value> = errors.iter().map(|it| &it["error"]["kind"]).collect();
        assert_eq!(kinds, ["denied"], "{said}");
    }
    // It runs, a person wants it stopped, and that is refused.
    for (cloud, call, words) in [
        ("aws", "ecs:StopTask", ["describe-tasks", "stop-task"]),
        (
            "gcp",
            "run.projects.locations.jobs.executions.cancel",
            ["executions describe", "executions cancel"],
        ),
    ] {
        stage.disturb(&refused(call)).await;
        let (ended, said) = stopped_on(stage, cloud).await;
        let not_run = matches!(ended, Ended::Exit(Exit::NotRun));
        assert!(not_run, "{ended:?}:\n{said}");
        says(&said, &["may run still"]);
        says(&said, &words);
    }
}

/// What ends well while a person's word is on its way has ended well.
async fn ended_before(stage: &Stage) {
    first_serves(stage).await;
    for (cloud, call) in [
        ("aws", "ecs:StopTask"),
        ("gcp", "run.projects.locations.jobs.executions.cancel"),
    ] {
        seed(stage, 0, Duration::from_secs(30), &["seeding"]);
        let late = format!("call = \"{call}\"\nwhat = \"delay\"\ndelay = \"15s\"\n");
        stage.disturb(&format!("[[fault]]\n{late}")).await;
        let (ended, said) = stopped_on(stage, cloud).await;
        assert_eq!(stage.fired().await, 1, "{cloud}: it was asked to stop");
        let well = matches!(ended, Ended::Exit(Exit::Success));
        assert!(well, "{cloud}: {ended:?}:\n{said}");
    }
}

/// A command that makes the job of a service's commands begins no run: the one that was killed
/// stays the last one, and a rollback that is typed again goes back once.
async fn after_a_kill(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    run(stage, APPLY, "gcp", Exit::Success).await;
    stage.write_image(3, "amd64");
    stage.want(&Wanted {
        version: 3,
        ..Wanted::FIRST
    });
    run(stage, APPLY, "gcp", Exit::Success).await;
    seed(stage, 0, Duration::from_secs(1), &[]);
    let back: &[&str] = &["rollback", "--yes", "--no-verify"];
    stage.ledger.arm(None);
    run(stage, back, "gcp", Exit::Success).await;
    let writes = stage.ledger.writes();
    let forward = [APPLY, &["--release-hold"]].concat();
    let mut recorded = 0;
    for nth in writes - 4..=writes {
        run(stage, &forward, "gcp", Exit::Success).await;
        assert_serves(stage, "gcp", 3).await;
        let newest = releases(stage).await;
        stage.ledger.arm(Some(Crash::Before(nth)));
        let (ended, said) = stage.run(back, "gcp").await;
        stage.ledger.arm(None);
        assert!(matches!(ended, Ended::Killed), "{said}");
        stage.time.pass(Duration::from_secs(300)).await;
        recorded += usize::from(releases(stage).await > newest && !said.contains("is on hold"));
        run(stage, &SEED, "gcp", Exit::Success).await;
        // Whoever was told that it serves does not type it again.
        if !said.contains("is on hold") {
            run(stage, back, "gcp", Exit::Success).await;
        }
        assert_serves(stage, "gcp", 2).await;
        // The next command makes it anew.
        let job = format!("/v2/projects/{PROJECT}/locations/{LOCATION}/jobs/swept-test-idp-run");
        stage.google(Method::DELETE, &job, None).await;
        stage.time.pass(Duration::from_secs(60)).await;
    }
    assert!(
        recorded > 0,
        "one was killed after its release was recorded"
    );
}

/// How many releases there are.
async fn releases(stage: &Stage) -> usize {
    let said = run(stage, &["releases", "--json"], "gcp", Exit::Success).await;
    let document: Value = serde_json::from_str(&said).expect("JSON");
    let releases = document[0]["releases"].as_array();
    releases.expect("releases").len()
}
