//! What App Runner takes of variables and roles, and what a manifest is told of the rest.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use deployer_manifest::{Inputs, load};
use tempfile::TempDir;

const BASE: &str = r#"app = "coach"

[services.web]
image = "registry.example.com/web:1.0.0"
port = 3000

[targets.aws]
account = "123456789012"
region = "us-east-1"
runtime = "app-runner"
access_role = "AppRunnerECRAccessRole"
"#;

/// Every problem: where it is, what it is, and the way out.
fn found(text: &str) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    let manifest = dir.path().join("deployer.toml");
    std::fs::write(&manifest, text).unwrap();
    let inputs = Inputs {
        manifest,
        ..Inputs::default()
    };
    let Err(problems) = load(&inputs) else {
        return Vec::new();
    };
    let told = problems.iter().map(|it| {
        let help = it.help.as_deref().unwrap_or_default();
        format!("{}: {} [{help}]", it.path, it.message)
    });
    told.collect()
}

/// A secret's value may have them; nothing of the value is told.
#[test]
fn app_runner_takes_no_variable_of_several_lines() {
    let own = |value: &str| format!("[services.web.env]\nPEM = \"{value}\"\n");
    for value in ["BEGIN\\nMII0", "BEGIN\\rMII0"] {
        let found = found(&format!("{BASE}\n{}", own(value)));
        let told = "services.web.env.PEM: App Runner takes no value of several lines";
        assert!(found.len() == 1 && found[0].starts_with(told), "{found:?}");
        assert!(found[0].contains("make it a secret"), "{found:?}");
        assert!(!found[0].contains("MII0"), "{found:?}");
    }
    let plain = own("BEGIN");
    assert_eq!(found(&format!("{BASE}\n{plain}")), [""; 0]);
    let over = "[targets.aws.services.web.env]\nPEM = \"BEGIN\\nMII0\"\n";
    let found = found(&format!("{BASE}\n{plain}\n{over}"));
    let told = "targets.aws.services.web.env.PEM: App Runner";
    assert!(found[0].starts_with(told), "{found:?}");
}

#[test]
fn a_role_may_be_one_that_the_console_made() {
    let with = |role: &str| found(&BASE.replace("AppRunnerECRAccessRole", role));
    for role in [
        "service-role/AppRunnerECRAccessRole",
        "arn:aws:iam::123456789012:role/service-role/AppRunnerECRAccessRole",
    ] {
        assert_eq!(with(role), [""; 0], "{role}");
    }
    for role in ["role/AppRunnerECRAccessRole", "service-role/"] {
        let found = with(role);
        assert!(found[0].contains("service-role/NAME"), "{role}: {found:?}");
    }
}

#[test]
fn the_role_of_an_app_that_migrates_by_a_task_trusts_ecs_as_well() {
    let secret = "[services.web.env]\nKEY = { secret = \"key\" }\n[secrets.key]\n";
    let told = |migrate: &str| {
        let migrate = format!("[services.web.migrate]\n{migrate}\n");
        found(&format!("{BASE}\n{secret}\n{migrate}")).join("\n")
    };
    let job = told("command = [\"migrate\"]");
    assert!(job.contains("ecs-tasks.amazonaws.com"), "{job}");
    let started = told("mode = \"on-start\"");
    assert!(
        started.contains("tasks.apprunner.amazonaws.com"),
        "{started}"
    );
    assert!(!started.contains("ecs-tasks.amazonaws.com"), "{started}");
}
