//! A migration by ECS Exec whose run is ended by `kill -9`, in each phase of it: its program runs
//! once, the task that waits for it ends, and the next run ends well.

use std::time::Duration;

use deployer_tests::database::HeldMigrations;
use deployer_tests::deployer::{Running, exit};
use deployer_tests::prepared::Prepared;
use deployer_tests::project::Project;
use deployer_tests::sandbox::{Sandbox, Shared};
use deployer_tests::wait;
use serde_json::Value;

/// A session is over after 20 minutes of silence, in the cloud's time, and nobody is here to keep
/// that of a run that is stopped from being silent.
const SPEED: &[&str] = &["--speed", "20"];

/// Nothing that is waited for here takes longer.
const SOON: Duration = Duration::from_secs(60);

const APPLY: &[&str] = &["apply", "--yes", "--no-verify"];

const EXECUTE: &str = "ecs:ExecuteCommand";

/// What the program prints when it has begun.
const WAITS: &str = "waiting for the migration lock";

static SANDBOX: Shared = Shared::new();

#[test]
fn killed_while_its_task_starts() {
    check("killed_while_its_task_starts", |project| {
        let held = project.aws.hold("ecs:DescribeTasks");
        let running = project.deployer.start(APPLY, "");
        held.until_caught();
        kill(running);
        None
    });
}

#[test]
fn killed_before_its_command_is_taken() {
    check("killed_before_its_command_is_taken", |project| {
        let held = project.aws.hold(EXECUTE);
        let running = project.deployer.start(APPLY, "");
        held.until_caught();
        kill(running);
        None
    });
}

#[test]
fn killed_while_its_session_is_opened() {
    check("killed_while_its_session_is_opened", |project| {
        let mark = project.aws.mark();
        let running = project.deployer.start(APPLY, "");
        wait::until("a command", SOON, || {
            let calls = mark.calls();
            calls.iter().any(|call| call == EXECUTE).then_some(())
        });
        kill(running);
        None
    });
}

#[test]
fn killed_while_its_program_runs() {
    check("killed_while_its_program_runs", |project| {
        let held = project.aws_database.hold_migrations();
        let running = project.deployer.start(APPLY, "");
        project.aws_database.until_a_migration_waits();
        kill(running);
        // It still runs when the next run comes to it.
        Some(held)
    });
}

#[test]
fn killed_when_its_program_has_ended_and_nothing_says_so() {
    let name = "killed_when_its_program_has_ended_and_nothing_says_so";
    check(name, |project| {
        let migrations = project.aws_database.hold_migrations();
        let running = project.deployer.start(APPLY, "");
        project.aws_database.until_a_migration_waits();
        // From here on the run cannot see how its task stands.
        let held = project.aws.hold("ecs:DescribeTasks");
        held.until_caught();
        drop(migrations);
        wait::until("the end of the task", SOON, || {
            let tasks = waiting_tasks(project);
            let ended = tasks.iter().all(|status| status == "STOPPED");
            (ended && !tasks.is_empty()).then_some(())
        });
        assert_eq!(project.aws_database.migrations_run(), ["1.0.0"]);
        kill(running);
        None
    });
}

/// Kills a first apply as `killed` does, and lets the next one finish. What keeps the program from
/// going on is let go once the next run has seen that it runs.
#[track_caller]
fn check(name: &str, killed: impl FnOnce(&Project) -> Option<HeldMigrations>) {
    let Some(prepared) = Prepared::find(name) else {
        return;
    };
    let sandbox = Sandbox::shared_with(&SANDBOX, &prepared, SPEED);
    let mut project = Project::new(&prepared, sandbox);
    project.change(|manifest| {
        manifest.image = prepared.image("1.0.0-shell");
        manifest.migrates_by_exec = true;
        manifest.replicas = "1".to_owned();
        manifest.gcp = None;
    });
    let held = killed(&project);
    let next = project.deployer.start(APPLY, "");
    if let Some(held) = held {
        next.until_it_says(WAITS);
        drop(held);
    }
    let next = next.finish().exits(exit::SUCCESS);
    next.says("stopped");
    assert_eq!(project.aws_database.migrations_run(), ["1.0.0"], "{next}");
    assert_eq!(project.on_aws().version(), "1.0.0");
    // One task was started, however often that was asked for, and it does not wait on.
    assert_eq!(waiting_tasks(&project), ["STOPPED"], "{next}");
    let mark = project.aws.mark();
    let again = project.deployer.run(APPLY).exits(exit::SUCCESS);
    again.does_not_say("stopped");
    assert_eq!(mark.writes(), Vec::<String>::new());
}

#[track_caller]
fn kill(mut running: Running) {
    assert!(!running.has_ended(), "{}", running.stderr());
    running.kill();
    running.finish().exits(exit::KILLED);
}

/// How each task of the project's migration stands, as long as ECS tells of it.
fn waiting_tasks(project: &Project) -> Vec<String> {
    let dump = project.sandbox.dump();
    let tasks = dump["aws"]["ecs"]["tasks"].as_object().expect("tasks");
    let family = format!("/{}-migrate:", project.manifest.service_name());
    let ours = |task: &&Value| {
        let definition = task["definition"].as_str();
        definition.is_some_and(|it| it.contains(&family))
    };
    let ours = tasks.values().filter(ours);
    ours.map(|task| task["last_status"].as_str().expect("a status").to_owned())
        .collect()
}
