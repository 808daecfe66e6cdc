//! What is refused before anything is changed, and how it is told.

use std::sync::Arc;

use deployer_tests::deployer::exit;
use deployer_tests::prepared::Prepared;
use deployer_tests::project::Project;
use deployer_tests::sandbox::{Sandbox, Shared};

static SANDBOX: Shared = Shared::new();

fn project(test: &str) -> Option<Project> {
    let prepared = Prepared::find(test)?;
    let sandbox: Arc<Sandbox> = Sandbox::shared(&SANDBOX, &prepared);
    Some(Project::new(&prepared, sandbox))
}

#[track_caller]
fn assert_no_call(project: &Project) {
    let calls = [
        project.aws.mark_all().calls(),
        project.gcp.mark_all().calls(),
    ]
    .concat();
    assert_eq!(calls, Vec::<String>::new());
}

#[test]
fn several_mistakes_in_a_manifest_are_told_at_once_with_their_places() {
    let Some(project) =
        project("several_mistakes_in_a_manifest_are_told_at_once_with_their_places")
    else {
        return;
    };
    let text = project.manifest.text();
    let text = text
        .replace("port = 3000", "prot = 3000")
        .replace("memory = \"2GiB\"", "memory = \"9000GiB\"")
        .replace("GREETING = \"hello\"", "PORT = \"8080\"")
        .replace(
            "SEED_CLIENT_SECRET = { secret = \"client-secret\" }",
            "SEED = { secret = \"nowhere\" }",
        );
    std::fs::write(project.file("deployer.toml"), &text).unwrap();
    let refused = project.deployer.run(&["plan"]).exits(exit::INPUT);
    for (number, line) in text.lines().enumerate() {
        let wrong = ["prot = ", "memory = ", "PORT = ", "SEED = "];
        if wrong.iter().any(|start| line.starts_with(start)) {
            refused
                .says(&format!("deployer.toml:{}", number + 1))
                .says(line);
        }
    }
    let document = project
        .deployer
        .run(&["plan", "--json"])
        .exits(exit::INPUT)
        .json();
    assert!(
        document["problems"].as_array().map_or(0, Vec::len) >= 4,
        "{document}"
    );
    assert_no_call(&project);
}

#[test]
fn a_manifest_that_is_absent_or_no_toml_is_told_by_its_name() {
    let Some(project) = project("a_manifest_that_is_absent_or_no_toml_is_told_by_its_name") else {
        return;
    };
    project
        .deployer
        .run(&["plan", "-f", "nowhere.toml"])
        .exits(exit::INPUT)
        .says("nowhere.toml");
    std::fs::write(project.file("deployer.toml"), "app = \"idp\"\n[services\n").unwrap();
    project
        .deployer
        .run(&["plan"])
        .exits(exit::INPUT)
        .says("deployer.toml:2");
    std::fs::write(project.file("deployer.toml"), [0xff, 0xfe, 0x00]).unwrap();
    project
        .deployer
        .run(&["plan"])
        .exits(exit::INPUT)
        .says("deployer.toml");
    assert_no_call(&project);
}

#[test]
fn another_account_is_refused_before_any_other_call() {
    let Some(project) = project("another_account_is_refused_before_any_other_call") else {
        return;
    };
    let text = project.manifest.text();
    let text = text.replace("account = \"123456789012\"", "account = \"210987654321\"");
    std::fs::write(project.file("deployer.toml"), text).unwrap();
    for command in [["apply", "--yes"], ["destroy", "--yes"], ["plan", "--json"]] {
        let refused = project
            .deployer
            .run(&[&command[..], &["--cloud", "aws"]].concat());
        assert_ne!(refused.code, exit::SUCCESS, "{refused}");
        refused.says("210987654321").says("123456789012");
    }
    let calls = project.aws.mark_all().calls();
    assert!(
        calls.iter().all(|call| call == "sts:GetCallerIdentity"),
        "{calls:?}"
    );
}

#[test]
fn another_project_is_refused_before_any_other_call() {
    let Some(project) = project("another_project_is_refused_before_any_other_call") else {
        return;
    };
    let text = project.manifest.text();
    let text = text.replace(
        "project = \"sandbox-project\"",
        "project = \"another-project\"",
    );
    std::fs::write(project.file("deployer.toml"), text).unwrap();
    for command in [["apply", "--yes"], ["destroy", "--yes"], ["plan", "--json"]] {
        let refused = project
            .deployer
            .run(&[&command[..], &["--cloud", "gcp"]].concat());
        assert_ne!(refused.code, exit::SUCCESS, "{refused}");
        refused.says("another-project");
    }
    let calls = project.gcp.mark_all().calls();
    // Which of its APIs are switched on is asked beside the project itself: a new project has none.
    let checks = [
        "/projects/another-project",
        "/projects/another-project/services:batchGet",
    ];
    assert!(
        calls
            .iter()
            .all(|call| checks.iter().any(|check| call.ends_with(check))),
        "{calls:?}"
    );
}

#[test]
fn what_refuses_on_both_clouds_is_told_for_both() {
    let Some(project) = project("what_refuses_on_both_clouds_is_told_for_both") else {
        return;
    };
    let text = project.manifest.text();
    let text = text.replace("account = \"123456789012\"", "account = \"210987654321\"");
    let text = text.replace(
        "project = \"sandbox-project\"",
        "project = \"another-project\"",
    );
    std::fs::write(project.file("deployer.toml"), text).unwrap();
    let refused = project.deployer.run(&["apply", "--yes"]);
    assert_ne!(refused.code, exit::SUCCESS, "{refused}");
    refused.says("210987654321").says("another-project");
}

#[test]
fn nobody_to_ask_and_no_yes_changes_nothing() {
    let Some(project) = project("nobody_to_ask_and_no_yes_changes_nothing") else {
        return;
    };
    project
        .deployer
        .run(&["apply"])
        .exits(exit::INPUT)
        .says("--yes");
    project
        .deployer
        .run_with_input(&["apply"], "y\n")
        .exits(exit::INPUT)
        .says("--yes");
    let writes = [
        project.aws.mark_all().writes(),
        project.gcp.mark_all().writes(),
    ]
    .concat();
    assert!(writes.is_empty(), "{writes:?}");
}

#[test]
fn a_saved_plan_is_applied_as_it_is_and_refused_once_it_is_stale() {
    let Some(mut project) =
        project("a_saved_plan_is_applied_as_it_is_and_refused_once_it_is_stale")
    else {
        return;
    };
    let apply = |project: &Project| project.deployer.run(&["apply", "saved.plan"]);
    project
        .deployer
        .run(&["plan", "--out", "saved.plan"])
        .exits(exit::SUCCESS);
    apply(&project).exits(exit::SUCCESS);
    project.change(|manifest| manifest.greeting = "good morning".to_owned());
    project
        .deployer
        .run(&["plan", "--out", "saved.plan"])
        .exits(exit::SUCCESS);
    project.change(|manifest| manifest.greeting = "good evening".to_owned());
    let (aws, gcp) = (project.aws.mark(), project.gcp.mark());
    apply(&project)
        .exits(exit::FAILURE)
        .says("the plan was made of another manifest: env.GREETING");
    project
        .deployer
        .run(&["apply", "deployer.toml"])
        .exits(exit::INPUT)
        .says("deployer.toml");
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
}

#[test]
fn of_two_applies_at_once_one_proceeds_and_the_other_says_who_holds_the_lock() {
    let name = "of_two_applies_at_once_one_proceeds_and_the_other_says_who_holds_the_lock";
    let Some(project) = project(name) else {
        return;
    };
    let first = project.deployer.start(&["apply", "--yes"], "");
    deployer_tests::wait::until("the first call", std::time::Duration::from_secs(20), || {
        (!project.aws.mark_all().writes().is_empty()).then_some(())
    });
    let second = project
        .deployer
        .run(&["apply", "--yes"])
        .exits(exit::LOCKED);
    second
        .says("locked by")
        .says("apply")
        .says(&first.id().to_string());
    first.finish().exits(exit::SUCCESS);
    project
        .deployer
        .run(&["apply", "--yes"])
        .exits(exit::SUCCESS);
    assert_eq!(project.aws_database.migrations_run(), ["1.0.0"]);
}

#[test]
fn every_command_answers_in_json_that_parses() {
    let Some(project) = project("every_command_answers_in_json_that_parses") else {
        return;
    };
    for command in [
        &["plan"][..],
        &["status"],
        &["releases"],
        &["secrets", "list"],
        &["config", "show"],
    ] {
        let arguments = [command, &["--json"]].concat();
        project.deployer.run(&arguments).exits(exit::SUCCESS).json();
    }
    let applied = project
        .deployer
        .run(&["apply", "--yes", "--json"])
        .exits(exit::SUCCESS);
    let events = applied.json_lines();
    for event in ["plan", "started", "done", "release"] {
        assert!(
            events.iter().any(|it| it["event"] == event),
            "no `{event}`: {applied}"
        );
    }
    for command in [
        &["plan"][..],
        &["status"],
        &["releases"],
        &["secrets", "list"],
    ] {
        let arguments = [command, &["--json"]].concat();
        project.deployer.run(&arguments).exits(exit::SUCCESS).json();
    }
    project
        .deployer
        .run(&["destroy", "--yes", "--json", "--allow-data-loss", "all"])
        .exits(exit::SUCCESS);
}
