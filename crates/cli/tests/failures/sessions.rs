//! Sessions of ECS Exec that are encrypted, full, or without an agent; and what is kept of them.

use std::time::Duration;

use aws_sdk_ecs::types::ContainerDefinition;
use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose};

use crate::ecs::{OVERLAY, definition, register_and_deploy};
use crate::exec::{NOTHING_RAN, STOPPED, behave, ending, exec, migrations, takes_commands, want};
use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, assert_serves, run, says};

crate::tests! {
    a_command_is_refused_before_its_session_where_sessions_are_encrypted => encrypted,
    a_migration_by_exec_is_refused_while_planning_where_sessions_are_encrypted => encrypted_migration,
    a_third_session_of_a_container_is_told_that_its_agent_takes_two => third,
    a_migration_by_exec_that_gets_no_session_goes_on_and_says_so => unheard,
    a_command_where_nothing_can_be_written_is_told_why_there_is_no_agent => read_only,
    a_migration_by_exec_where_nothing_can_be_written_is_refused_while_planning => read_only_migration,
    a_session_that_loses_doubles_and_reorders_is_shown_as_it_was => disturbed,
    a_migration_by_exec_of_an_image_without_a_shell_says_so_and_has_not_run => no_shell,
    what_was_shown_in_a_session_is_not_told_as_lines_of_the_service => transcripts,
    a_command_runs_in_the_only_container_whatever_it_is_called => renamed,
}

const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d";

/// The words without the line ends of a narrow page.
fn flat(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn encrypted(stage: &Stage) {
    takes_commands(stage, &["hello"], Duration::from_secs(2)).await;
    stage.sandbox.encrypt_sessions("default", KEY);
    stage.calls.arm(None);
    let (exit, said) = exec(stage, "aws", &["--", "true"]).await;
    assert_eq!(exit, Exit::NotRun, "{said}");
    says(
        &flat(&said),
        &[KEY, "`kmsKeyId`", "`deployer run SERVICE ", " -- COMMAND`"],
    );
    let asked = stage.calls.names().into_iter();
    assert_eq!(asked.filter(|it| it == "ecs:ExecuteCommand").count(), 0);
    // Where that may not be seen, the session itself says so.
    stage.calls.deny("ecs:DescribeClusters");
    let (exit, said) = exec(stage, "aws", &["--", "true"]).await;
    assert_eq!(exit, Exit::NotRun, "{said}");
    says(&flat(&said), &["to be encrypted with a KMS key", KEY]);
}

async fn encrypted_migration(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    behave(stage, NOTHING_RAN, ending(0, 20));
    stage.sandbox.encrypt_sessions("default", KEY);
    let said = run(stage, &["plan"], "aws", Exit::Failure).await;
    says(&flat(&said), &[KEY, "`mode = \"job\"`"]);
    assert_eq!(migrations(stage), []);
    // Where that may not be seen: nothing was begun, and the task is stopped.
    stage.calls.deny("ecs:DescribeClusters");
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(&flat(&said), &[KEY, "`mode = \"job\"`"]);
    stage.calls.arm(None);
}

/// Two commands that take long, and one more.
async fn third(stage: &Stage) {
    takes_commands(stage, &["hello"], Duration::from_secs(600)).await;
    let late = async {
        stage.time.pass(Duration::from_secs(20)).await;
        exec(stage, "aws", &["--", "true"]).await
    };
    let (one, two, (exit, said)) = tokio::join!(
        exec(stage, "aws", &["--", "true"]),
        exec(stage, "aws", &["--", "true"]),
        late
    );
    for (exit, said) in [one, two] {
        assert_eq!(exit, Exit::Program(3), "{said}");
    }
    assert_eq!(exit, Exit::NotRun, "{said}");
    says(
        &flat(&said),
        &[
            "has begun no session for 30 s",
            "two sessions of a container at a time",
        ],
    );
}

/// Two sessions in the waiting task are somebody else's, and one of those ends it.
async fn unheard(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    behave(stage, STOPPED, ending(0, 280));
    let others = async {
        let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
        let task = loop {
            stage.time.pass(Duration::from_millis(500)).await;
            let tasks = ecs.list_tasks().send().await.expect("an answer");
            let described = ecs.describe_tasks();
            let Some(arn) = tasks.task_arns().first() else {
                continue;
            };
            let described = described.tasks(arn).send().await.expect("an answer");
            if described.tasks()[0].last_status() == Some("RUNNING") {
                break arn.clone();
            }
        };
        let mut opened = 0;
        while opened < 2 {
            let call = ecs.execute_command().task(&task).interactive(true);
            // Nobody comes to these, and the agent keeps them.
            opened += usize::from(call.command("hold").send().await.is_ok());
            stage.time.pass(Duration::from_millis(200)).await;
        }
    };
    let (said, ()) = tokio::join!(run(stage, APPLY, "aws", Exit::Success), others);
    says(
        &flat(&said),
        &[
            "what it prints cannot be followed",
            "two sessions of a container at a time",
        ],
    );
    assert_serves(stage, "aws", 1).await;
}

fn ours(containers: &mut Option<Vec<ContainerDefinition>>) -> &mut ContainerDefinition {
    &mut containers.as_mut().expect("containers")[0]
}

/// Another hand made the file system read-only.
async fn make_read_only(stage: &Stage) {
    let mut there = definition(stage, "swept-test-idp").await;
    ours(&mut there.container_definitions).readonly_root_filesystem = Some(true);
    register_and_deploy(stage, &there).await;
}

async fn read_only(stage: &Stage) {
    takes_commands(stage, &["hello"], Duration::from_secs(2)).await;
    make_read_only(stage).await;
    let said = run(stage, &["plan"], "aws", Exit::Success).await;
    says(
        &flat(&said),
        &["no command can be run in its tasks", "is read-only"],
    );
    let began = stage.time.now();
    let (exit, said) = exec(stage, "aws", &["--", "true"]).await;
    assert_eq!(exit, Exit::NotRun, "{said}");
    says(
        &flat(&said),
        &[
            "has stopped",
            "cannot write to the container's file system",
            "`readonlyRootFilesystem`",
        ],
    );
    let took = stage.time.now().duration_since(began);
    assert!(took.as_secs() < 60, "{took:?}");
}

async fn read_only_migration(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    make_read_only(stage).await;
    want(stage, &crate::SECOND);
    let said = run(stage, &["plan"], "aws", Exit::Input).await;
    says(&flat(&said), &["is read-only", "`mode = \"job\"`"]);
    let mut started = stage.containers.started();
    started.retain(|it| it.purpose == Purpose::Finish);
    assert_eq!(started.len(), 1);
}

async fn disturbed(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    let mut commands = ending(0, 20);
    let rows = (0..100).map(|number| format!("row {number} of many"));
    commands.last = rows.chain(["{4} over".to_owned()]).collect();
    behave(stage, STOPPED, commands);
    stage.sandbox.disturb_sessions(true);
    let said = run(stage, APPLY, "aws", Exit::Success).await;
    let shown = said
        .lines()
        .filter_map(|line| line.split("| row ").nth(1)?.split(" (").next());
    let shown: Vec<&str> = shown.collect();
    let rows: Vec<String> = (0..100).map(|number| format!("{number} of many")).collect();
    assert_eq!(shown, rows);
}

/// The next apply starts another one, once the way is another.
async fn no_shell(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    stage.behave(|started| Behaviour {
        lacks: Some("/bin/sh"),
        ..Behaviour::usual(started.purpose)
    });
    let said = run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    says(
        &flat(&said),
        &[
            "could not be started",
            "the image has no `/bin/sh`",
            "`mode = \"job\"`",
        ],
    );
    assert_eq!(migrations(stage), []);
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(migrations(stage).len(), 1);
    assert_serves(stage, "aws", 1).await;
}

async fn transcripts(stage: &Stage) {
    takes_commands(stage, &["hello from a session"], Duration::from_secs(2)).await;
    // One after the other: each leaves its place to the next.
    for _ in 0..4 {
        let (exit, said) = exec(stage, "aws", &["--", "true"]).await;
        assert_eq!(exit, Exit::Program(3), "{said}");
    }
    stage.time.pass(Duration::from_secs(30)).await;
    let logs = aws_sdk_cloudwatchlogs::Client::new(&stage.aws().await);
    let kept = logs
        .filter_log_events()
        .log_group_name("/ecs/swept-test-idp");
    let kept = kept.send().await.expect("an answer");
    let of_session =
        |stream: Option<&str>| stream.is_some_and(|it| it.starts_with("ecs-execute-command-"));
    let mut kept = kept
        .events()
        .iter()
        .filter(|it| of_session(it.log_stream_name()));
    assert!(kept.any(|it| it.message() == Some("hello from a session")));
    let said = run(
        stage,
        &["logs", "idp", "--since", "1h"],
        "aws",
        Exit::Success,
    )
    .await;
    assert!(!said.contains("hello from a session"), "{said}");
}

/// The manifest calls it otherwise by now, and was not applied.
async fn renamed(stage: &Stage) {
    takes_commands(stage, &["hello"], Duration::from_secs(2)).await;
    stage.file(
        OVERLAY,
        "[targets.aws.services.idp]\nenable_execute_command = true\ncontainer = \"web\"\n",
    );
    let (exit, said) = exec(stage, "aws", &["--", "true"]).await;
    assert_eq!(exit, Exit::Program(3), "{said}");
    says(&said, &["hello"]);
}
