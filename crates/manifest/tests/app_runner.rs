//! What App Runner takes of variables and roles, and what a manifest is told of the rest.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use deployer_core::address::CloudName;
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

/// What is warned of in a manifest that is taken, and how long its roll-outs are waited for.
fn taken(text: &str) -> (Vec<String>, u64) {
    let dir = TempDir::new().unwrap();
    let manifest = dir.path().join("deployer.toml");
    std::fs::write(&manifest, text).unwrap();
    let inputs = Inputs {
        manifest,
        ..Inputs::default()
    };
    let loaded = load(&inputs).unwrap();
    let env = loaded.environment_spec(CloudName::Aws).unwrap();
    let warned = loaded.warnings.iter();
    let warned = warned.map(|it| format!("{}: {}", it.path, it.message));
    (warned.collect(), env.services["web"].patience.as_secs())
}

fn with(line: &str) -> String {
    BASE.replace("port = 3000\n", &format!("port = 3000\n{line}\n"))
}

#[test]
fn an_instance_has_the_start_period_that_nobody_wrote_too() {
    // 20 checks 2 s apart end before the 60 s that are the default.
    let brief = found(&with(
        "health = { path = \"/\", interval = \"2s\", timeout = \"1s\" }",
    ));
    let [only] = brief.as_slice() else {
        panic!("one problem: {brief:?}")
    };
    assert!(only.starts_with("services.web.health.interval: "), "{only}");
    assert!(only.contains("40 s to become healthy"), "{only}");
    assert!(
        only.contains("[write `interval = \"3s\"` or longer"),
        "{only}"
    );
    let just = "health = { path = \"/\", interval = \"3s\", timeout = \"1s\" }";
    assert_eq!(found(&with(just)), [""; 0]);
    let long = found(&with("health = { path = \"/\", start_period = \"10m\" }"));
    assert!(
        long[0].starts_with("services.web.health.start_period: "),
        "{long:?}"
    );
    assert!(long[0].contains("runtime = \"ecs\""), "{long:?}");
    // With the retries after it, it is cut short: that is warned of.
    let tight =
        "health = { path = \"/\", interval = \"5s\", retries = 10, start_period = \"60s\" }";
    let (warned, _) = taken(&with(tight));
    assert!(
        warned[0].contains("has 100 s to become healthy, and not more"),
        "{warned:?}"
    );
}

#[test]
fn a_region_without_app_runner_is_refused_with_the_way_out() {
    let north = BASE.replace("us-east-1", "eu-north-1");
    let refused = found(&north);
    let [only] = refused.as_slice() else {
        panic!("one problem: {refused:?}")
    };
    let told = "targets.aws.region: there is no App Runner in eu-north-1";
    assert!(only.starts_with(told), "{only}");
    assert!(only.contains("runtime = \"ecs\""), "{only}");
    assert!(only.contains("eu-west-1"), "{only}");
    // Who answers there knows where it is.
    let emulated = format!("{north}endpoint = \"http://127.0.0.1:4566\"\n");
    assert_eq!(found(&emulated), [""; 0]);
    let on_ecs = north.replace(
        "runtime = \"app-runner\"",
        "cluster = \"default\"\nsubnets = [\"subnet-0a1b2c3d4e5f60001\"]\nexecution_role = \"execution\"",
    );
    let regions = found(&on_ecs);
    assert!(
        !regions.iter().any(|it| it.contains("region")),
        "{regions:?}"
    );
}

#[test]
fn a_word_that_must_be_quoted_is_warned_of() {
    let told = |command: &str| taken(&with(&format!("command = {command}"))).0;
    let plain = "[\"gunicorn\", \"--bind=0.0.0.0:3000\", \"app:create(),*\"]";
    assert_eq!(told(plain), [""; 0]);
    for word in ["two words", "it's", "", "#1"] {
        let warned = told(&format!("[\"serve\", \"{word}\"]"));
        let quoted = format!("`{word}` is quoted");
        assert!(
            warned.len() == 1 && warned[0].contains(&quoted),
            "{warned:?}"
        );
    }
}

/// It takes over 15 minutes to put back what failed.
#[test]
fn app_runner_is_waited_for_longer_unless_the_manifest_says_how_long() {
    assert_eq!(taken(BASE).1, 30 * 60);
    assert_eq!(taken(&with("patience = \"15m\"")).1, 15 * 60);
}
