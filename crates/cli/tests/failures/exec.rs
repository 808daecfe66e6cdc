//! Migrations by ECS Exec: those that end, fail, take too long, and cannot be begun.

use std::time::Duration;

use aws_sdk_ecs::types::DesiredStatus;
use deployer::Exit;
use deployer_sandbox::runner::{self, Behaviour, Purpose, Ran, Started};
use serde_json::json;

use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, assert_serves, first_serves, lost, run, says};

crate::tests! {
    a_migration_by_exec_runs_in_a_waiting_task_and_shows_what_it_prints => succeeds,
    a_migration_by_exec_that_exits_with_3_stops_there_and_is_not_run_again_unasked => fails,
    a_migration_by_exec_that_takes_too_long_is_stopped => too_long,
    a_migration_by_exec_whose_agent_is_never_there_has_not_run => no_agent,
    a_migration_by_exec_of_more_than_the_idle_time_is_kept_alive => long,
    a_migration_by_exec_is_begun_once_wherever_its_run_is_killed => killed,
    a_migration_by_exec_that_prints_much_at_its_end_is_shown_to_the_last_line => much,
    a_migration_by_exec_whose_end_was_not_seen_is_shown_from_its_log => unseen,
    a_migration_by_exec_is_refused_where_there_is_google => refused,
    a_migration_by_exec_whose_sessions_are_refused_goes_on_by_itself => unopened,
    a_migration_by_exec_that_runs_is_awaited_by_who_may_run_no_commands => second,
    a_migration_by_exec_that_runs_is_not_stopped_after_its_ledger_was_lost => lost_ledger,
    a_command_in_a_task_that_serves_ends_with_its_own_code => command,
    a_command_without_a_terminal_is_kept_alive_and_shows_no_secret => idle,
    a_command_whose_session_is_refused_names_the_permission => not_opened,
    a_command_is_not_run_in_what_another_owner_has_marked => anothers,
    a_command_where_none_is_taken_is_refused_with_the_way_out => no_command,
}

/// What the waiter ends with when nothing ran, and when it was stopped while something did.
pub const NOTHING_RAN: runner::Exit = runner::Exit::with(209);
pub const STOPPED: runner::Exit = runner::Exit::with(143);

/// The manifest of one target, whose migration is run by exec.
pub fn want(stage: &Stage, wanted: &Wanted) {
    stage.want(wanted);
    let path = format!("{}/deployer.toml", stage.folder());
    let manifest = std::fs::read_to_string(&path).unwrap();
    let (manifest, _) = manifest.split_once("[targets.gcp]").unwrap();
    let migrate = "[services.idp.migrate]\n";
    assert!(manifest.contains(migrate));
    let manifest = manifest.replace(migrate, &format!("{migrate}mode = \"exec\"\n"));
    std::fs::write(path, manifest).unwrap();
}

/// Tasks that wait until a command was run in them, which does this.
pub fn behave(stage: &Stage, stopped: runner::Exit, commands: Ran) {
    stage.behave(move |started| match started.purpose {
        Purpose::Serve => Behaviour::usual(started.purpose),
        Purpose::Finish => Behaviour {
            exit: None,
            stopped,
            commands: commands.clone(),
            ..Behaviour::usual(started.purpose)
        },
    });
}

pub fn ending(code: i32, takes: u64) -> Ran {
    Ran {
        // As the runner prints them: its mark, the program's lines, its mark.
        lines: vec!["{4}".to_owned(), "creating table users".to_owned()],
        takes: Duration::from_secs(takes),
        last: vec!["done".to_owned(), "{4} over".to_owned()],
        ends: Some(runner::Exit::with(code)),
    }
}

pub fn migrations(stage: &Stage) -> Vec<Started> {
    let mut started = stage.containers.started();
    started.retain(|it| it.purpose == Purpose::Finish);
    started
}

async fn succeeds(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    behave(stage, STOPPED, ending(0, 20));
    let said = run(stage, APPLY, "aws", Exit::Success).await;
    says(&said, &["| creating table users", "| done"]);
    let marked = said.lines().find(|line| line.contains("| deployer-"));
    assert_eq!(marked, None);
    assert_serves(stage, "aws", 1).await;
    let migrations = migrations(stage);
    let [waiting] = migrations.as_slice() else {
        panic!("one task waits: {migrations:?}");
    };
    assert_eq!(waiting.command[..2], ["/bin/sh", "-c"], "{waiting:?}");
    assert!(waiting.env.contains_key("DATABASE_URL"));
    // Its program is known by what it is, whatever runs it.
    let said = format!("{said}{}", run(stage, APPLY, "aws", Exit::Success).await);
    assert_eq!(self::migrations(stage).len(), 1, "{said}");
}

async fn fails(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    behave(stage, STOPPED, ending(3, 20));
    let said = run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    says(&said, &["exit code 3", "migrate --retry"]);
    run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    assert_eq!(migrations(stage).len(), 1);
    behave(stage, STOPPED, ending(0, 20));
    let retry = ["migrate", "--retry", "--yes"];
    run(stage, &retry, "aws", Exit::Success).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 1).await;
    assert_eq!(migrations(stage).len(), 2);
}

async fn too_long(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    behave(stage, STOPPED, ending(0, 7200));
    let said = run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    says(&said, &["had not ended after 300 s, and was stopped"]);
    assert_nothing_runs(stage).await;
    run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    assert_eq!(migrations(stage).len(), 1, "it is a person's to judge");
}

fn lines(last: &str) -> impl Iterator<Item = String> + use<> {
    let last = last.to_owned();
    (0..3_000)
        .map(|number| format!("row {number} of many"))
        .chain([last])
}

/// What an agent has not sent is lost with its container, which ends a moment after the program.
async fn much(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    let mut commands = ending(0, 20);
    commands.last = lines("the end").collect();
    commands.last.push("{4} over".to_owned());
    behave(stage, STOPPED, commands);
    let said = run(stage, APPLY, "aws", Exit::Success).await;
    let shown = said.matches(" of many").count();
    assert_eq!(shown, 3_000);
    assert_eq!(said.matches("| the end").count(), 1, "{said}");
    assert_serves(stage, "aws", 1).await;
}

/// The container ends before the agent has sent the last: that is in the task's log.
async fn unseen(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    stage.behave(move |started| match started.purpose {
        Purpose::Serve => Behaviour::usual(started.purpose),
        Purpose::Finish => Behaviour {
            exit: None,
            lines: ["creating table users", "", "the end"]
                .map(str::to_owned)
                .into(),
            commands: Ran {
                last: Vec::new(),
                ..ending(0, 20)
            },
            ..Behaviour::usual(started.purpose)
        },
    });
    let said = run(stage, APPLY, "aws", Exit::Success).await;
    for line in ["| creating table users", "| the end"] {
        assert_eq!(said.matches(line).count(), 1, "{said}");
    }
    assert_serves(stage, "aws", 1).await;
}

async fn assert_nothing_runs(stage: &Stage) {
    stage.time.pass(Duration::from_secs(60)).await;
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let running = ecs.list_tasks().desired_status(DesiredStatus::Running);
    let listed = running.send().await.unwrap();
    assert_eq!(listed.task_arns(), [] as [String; 0]);
}

/// The hint names what keeps an agent from its service; nothing ran, and the next apply begins
/// anew.
async fn no_agent(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    behave(stage, NOTHING_RAN, ending(0, 20));
    stage.sandbox.connect_agents(false);
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &words,
        &[
            "took no command for 120 s",
            "ssmmessages:CreateControlChannel",
            "a subnet without a way out",
        ],
    );
    assert_nothing_runs(stage).await;
    stage.sandbox.connect_agents(true);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 1).await;
    assert_eq!(migrations(stage).len(), 2);
}

/// Half an hour in which nothing is printed.
async fn long(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    let path = format!("{}/deployer.toml", stage.folder());
    let manifest = std::fs::read_to_string(&path).unwrap();
    let longer = manifest.replace("timeout = \"5m\"", "timeout = \"45m\"");
    std::fs::write(path, longer).unwrap();
    behave(stage, STOPPED, ending(0, 30 * 60));
    stage.calls.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 1).await;
    let calls = stage.calls.names().into_iter();
    let opened = calls.filter(|name| name == "ecs:ExecuteCommand").count();
    // Some come before the agent is there.
    assert!(opened <= 12, "{opened} sessions");
}

/// Killed at each write of the ledger, before it or after it: the next run ends in the same place,
/// with one task that waited.
async fn killed(stage: &Stage) {
    behave(stage, NOTHING_RAN, ending(0, 60));
    for version in 1..=2 {
        stage.ledger.arm(None);
        apply_once(stage, version).await;
    }
    let writes = stage.ledger.writes();
    assert!(writes > 4, "{writes}");
    let mut kills = 0;
    for nth in 1..=writes {
        // Each kill is of a version of its own.
        let version = u32::try_from(nth).unwrap() + 100;
        stage.write_image(version, "amd64");
        want(stage, &of_version(version));
        stage.ledger.arm(Some(match nth % 2 {
            0 => Crash::Before(nth),
            _ => Crash::After(nth),
        }));
        let (ended, said) = stage.run(APPLY, "aws").await;
        stage.ledger.arm(None);
        kills += usize::from(matches!(ended, Ended::Killed));
        // Longer than the lease of who was killed.
        stage.time.pass(Duration::from_secs(120)).await;
        apply_once(stage, version).await;
        let digest = stage.digest(version);
        let mut waited = migrations(stage);
        waited.retain(|it| it.digest == digest);
        assert_eq!(waited.len(), 1, "{nth}: {said}");
    }
    assert!(kills > 4, "{kills} of {writes}");
}

/// The user may do everything but open the channels of sessions.
async fn refuse_sessions(stage: &Stage) {
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "ssmmessages:OpenDataChannel", "Resource": "*"},
    ]});
    let url = format!("{}/_sandbox/aws/policy", stage.sandbox.aws_url);
    let token = &stage.sandbox.running().control_token;
    let call = stage.http.post(url).bearer_auth(token);
    let answer = call.body(policy.to_string()).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

/// The gateway opens no session, and ECS does not tell of the task for a while: nothing is stopped.
async fn unopened(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    behave(stage, STOPPED, ending(0, 120));
    refuse_sessions(stage).await;
    stage.calls.arm(None);
    let faults =
        "[[fault]]\ncall = \"ecs:DescribeTasks\"\nwhat = \"unavailable\"\nnth = 14\ntimes = 12\n";
    stage.disturb(faults).await;
    let said = run(stage, APPLY, "aws", Exit::Success).await;
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &words,
        &[
            "what it prints cannot be followed",
            "allow ssmmessages:OpenDataChannel",
        ],
    );
    assert_serves(stage, "aws", 1).await;
    let calls = stage.calls.names();
    assert!(!calls.iter().any(|it| it == "ecs:StopTask"), "{calls:?}");
    assert_eq!(migrations(stage).len(), 1);
}

/// The first deployer is gone when the program has begun; the next one may run no commands.
async fn second(stage: &Stage) {
    gone_in_the_middle(stage).await;
    assert_awaited(stage).await;
}

/// The same without what the first one noted: the start is answered with the task that runs.
async fn lost_ledger(stage: &Stage) {
    gone_in_the_middle(stage).await;
    lost::lose(stage).await;
    assert_awaited(stage).await;
}

/// A migration whose program has begun, and whose deployer is gone.
async fn gone_in_the_middle(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    behave(stage, STOPPED, ending(0, 260));
    stage.calls.arm(None);
    let begun = async {
        let asked = || {
            stage
                .calls
                .names()
                .iter()
                .any(|it| it == "ecs:ExecuteCommand")
        };
        while !asked() {
            stage.time.pass(Duration::from_secs(1)).await;
        }
        stage.time.pass(Duration::from_secs(30)).await;
    };
    let said = stage.run_until(APPLY, "aws", begun).await;
    says(&said, &["| creating table users"]);
    // Longer than the lease of who was killed.
    stage.time.pass(Duration::from_secs(120)).await;
}

/// The next deployer, who may run no commands, waits for its end.
async fn assert_awaited(stage: &Stage) {
    stage.calls.deny("ecs:ExecuteCommand");
    let said = run(stage, APPLY, "aws", Exit::Success).await;
    says(&said, &["its end is waited for all the same"]);
    let calls = stage.calls.names();
    assert!(!calls.iter().any(|it| it == "ecs:StopTask"), "{calls:?}");
    assert_serves(stage, "aws", 1).await;
    assert_eq!(migrations(stage).len(), 1);
}

fn of_version(version: u32) -> Wanted {
    Wanted {
        version,
        ..Wanted::FIRST
    }
}

async fn apply_once(stage: &Stage, version: u32) {
    want(stage, &of_version(version));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", version).await;
}

async fn refused(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let overlay = "[services.idp.migrate]\nmode = \"exec\"\n";
    stage.file("deployer.test.toml", overlay);
    let said = run(stage, APPLY, "all", Exit::Input).await;
    says(&said, &["Google Cloud runs no command", "mode = \"job\""]);
}

/// `deployer exec` of these words, on a cloud.
pub async fn exec(stage: &Stage, cloud: &str, words: &[&str]) -> (Exit, String) {
    let manifest = format!("{}/deployer.toml", stage.folder());
    let typed = ["exec", "idp", "--cloud", cloud, "--manifest", &manifest];
    let (ended, said) = stage.run_as_typed(&[&typed[..], words].concat()).await;
    let Ended::Exit(exit) = ended else {
        panic!("{ended:?}: {said}");
    };
    (exit, said)
}

/// A service whose tasks take commands, which print so, and end so much later with 3.
pub async fn takes_commands(stage: &Stage, lines: &'static [&'static str], takes: Duration) {
    stage.want(&Wanted::FIRST);
    let overlay = "[targets.aws.services.idp]\nenable_execute_command = true\n";
    stage.file("deployer.test.toml", overlay);
    stage.behave(move |started| Behaviour {
        commands: Ran {
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            takes,
            // As the shell around the command prints it.
            last: vec!["{4}3".to_owned()],
            ends: None,
        },
        ..Behaviour::usual(started.purpose)
    });
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.time.pass(Duration::from_secs(30)).await;
}

async fn idle(stage: &Stage) {
    let lines = &["logged in with mail one"];
    takes_commands(stage, lines, Duration::from_secs(50 * 60)).await;
    let (exit, said) = exec(stage, "aws", &["--", "true"]).await;
    assert_eq!(exit, Exit::Program(3), "{said}");
    says(&said, &["logged in with [redacted]"]);
    let (exit, said) = exec(stage, "aws", &["--unmasked", "--", "true"]).await;
    assert_eq!(exit, Exit::Program(3), "{said}");
    says(&said, &["logged in with mail one"]);
}

async fn not_opened(stage: &Stage) {
    takes_commands(stage, &["hello"], Duration::from_secs(2)).await;
    refuse_sessions(stage).await;
    let (exit, said) = exec(stage, "aws", &["--", "true"]).await;
    assert_eq!(exit, Exit::NotRun, "{said}");
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &words,
        &[
            "cannot open the session",
            "allow ssmmessages:OpenDataChannel on arn:aws:ssm:",
        ],
    );
}

async fn anothers(stage: &Stage) {
    takes_commands(stage, &["hello"], Duration::from_secs(2)).await;
    let other = stage.beside("test");
    other.want(&Wanted::FIRST);
    other.edit(|manifest| manifest.replace("app = \"swept\"", "app = \"other\""));
    other.file(
        "deployer.test.toml",
        "[targets.aws.services.idp]\nname = \"swept-test-idp\"\nenable_execute_command = true\n",
    );
    stage.calls.arm(None);
    let (exit, said) = exec(&other, "aws", &["--", "true"]).await;
    assert_eq!(exit, Exit::NotRun, "{said}");
    says(&said, &["belongs to `swept/test`"]);
    let calls = stage.calls.names();
    assert!(
        !calls.iter().any(|it| it == "ecs:ExecuteCommand"),
        "{calls:?}"
    );
}

async fn command(stage: &Stage) {
    takes_commands(stage, &["hello"], Duration::from_secs(2)).await;
    let (exit, said) = exec(stage, "aws", &["--", "true"]).await;
    assert_eq!(exit, Exit::Program(3), "{said}");
    says(&said, &["hello"]);
    assert!(!said.contains("deployer-"), "{said}");
    let (exit, said) = exec(stage, "aws", &["--task", "ffff", "--", "true"]).await;
    assert_eq!(exit, Exit::NotRun, "{said}");
    says(&said, &["no task `ffff`", "these do: "]);
}

async fn no_command(stage: &Stage) {
    first_serves(stage).await;
    // A shell, into which nobody can type.
    let (exit, said) = exec(stage, "aws", &[]).await;
    assert_eq!(exit, Exit::NotRun, "{said}");
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &words,
        &[
            "needs a terminal",
            "`deployer exec SERVICE ",
            " -- COMMAND`",
        ],
    );
    let (exit, said) = exec(stage, "aws", &["--", "true"]).await;
    assert_eq!(exit, Exit::NotRun, "{said}");
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let key = "`enable_execute_command = true` in `[targets.aws.services.idp]`";
    says(&words, &["takes no commands", key, "`task_role`"]);
    let (exit, said) = exec(stage, "gcp", &["--", "ls", "a b"]).await;
    assert_eq!(exit, Exit::NotRun, "{said}");
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    // What is printed can be pasted: options are ours before `--`, and the command's behind it.
    let options = format!("--manifest {}/deployer.toml --cloud gcp", stage.folder());
    let pasted = format!("`deployer run idp {options} -- ls 'a b'` runs it by itself");
    says(&words, &["error: Cloud Run opens no session", &pasted]);
    assert!(!words.contains("refused by the cloud"), "{words}");
    // Of two clouds the one is taken that takes commands.
    let (exit, said) = exec(stage, "all", &["--", "true"]).await;
    assert_eq!(exit, Exit::NotRun, "{said}");
    says(&said, &["takes no commands"]);
    assert!(!said.contains("which one is meant"), "{said}");
}
