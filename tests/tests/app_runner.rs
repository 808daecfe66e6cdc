//! A service on App Runner through the binary: what it lives, judged by its own answers, by the
//! vendor's clients, and by the vendor's schemas.

use std::sync::Arc;

use deployer_tests::deployer::exit;
use deployer_tests::idp::Idp;
use deployer_tests::prepared::{Prepared, skip};
use deployer_tests::project::Project;
use deployer_tests::python;
use deployer_tests::recorder::Side;
use deployer_tests::sandbox::Sandbox;
use serde_json::{Value, json};

const NAME: &str = "a_service_lives_its_life_on_app_runner";

#[test]
fn a_service_lives_its_life_on_app_runner() {
    let Some(prepared) = Prepared::find(NAME) else {
        return;
    };
    let mut project = Project::new(&prepared, Arc::new(Sandbox::start(&prepared)));
    project.change(|manifest| {
        manifest.gcp = None;
        manifest.app_runner = true;
    });
    let story = &mut project;
    the_first_apply_serves_and_migrates_once(story);
    the_vendors_clients_agree(story);
    a_status_that_is_not_true_is_found(story);
    a_new_version_serves_after_its_migration(story);
    the_vendors_clients_agree(story);
    a_broken_version_is_put_back(story);
    a_command_runs_with_what_serves(story);
    a_rollback_makes_the_first_version_serve(story);
    the_vendors_clients_agree(story);
    destroy_leaves_nothing(story);
    project.assert_no_secret_escaped(&[]);
    python::assert_valid(&prepared, &project.aws, Side::Aws);
}

fn apply(story: &Project, code: i32) -> String {
    let apply = story.deployer.run(&["apply", "--yes"]).exits(code);
    apply.said()
}

/// The service at the address that App Runner gave it.
#[track_caller]
fn service(story: &Project) -> Idp {
    let status = story.status();
    let url = status["aws"]["serving"]["url"].as_str();
    Idp::at(url.expect("App Runner gives an address"))
}

fn the_first_apply_serves_and_migrates_once(story: &Project) {
    apply(story, exit::SUCCESS);
    assert_eq!(service(story).version(), "1.0.0");
    assert_eq!(story.aws_database.migrations_run(), ["1.0.0"]);
    let mark = story.aws.mark();
    apply(story, exit::SUCCESS);
    assert_eq!(mark.writes(), Vec::<String>::new());
}

fn a_new_version_serves_after_its_migration(story: &mut Project) {
    story.use_version("2.0.0");
    apply(story, exit::SUCCESS);
    assert_eq!(service(story).version(), "2.0.0");
    assert_eq!(story.aws_database.migrations_run(), ["1.0.0", "2.0.0"]);
}

fn a_broken_version_is_put_back(story: &mut Project) {
    story.use_version("3.0.0");
    let said = apply(story, exit::ROLLED_BACK);
    assert!(said.contains("still serves r2"), "{said}");
    assert_eq!(service(story).version(), "2.0.0");
    story.use_version("2.0.0");
}

fn a_command_runs_with_what_serves(story: &Project) {
    let run = story.deployer.run(&["run", "idp", "--", "migrate"]);
    run.exits(exit::SUCCESS);
    let run = story.deployer.run(&["run", "idp", "--", "no-such-command"]);
    assert_ne!(run.code, exit::SUCCESS, "{run}");
}

fn a_rollback_makes_the_first_version_serve(story: &Project) {
    let back = ["rollback", "--to", "r1", "--yes"];
    story.deployer.run(&back).exits(exit::SUCCESS);
    assert_eq!(service(story).version(), "1.0.0");
}

fn destroy_leaves_nothing(story: &Project) {
    let destroy = ["destroy", "--yes", "--allow-data-loss", "all"];
    let said = story.deployer.run(&destroy).exits(exit::SUCCESS);
    said.says("its logs stay");
    let status = &story.sandbox.status()["aws"]["status"];
    for kind in ["apprunner", "repositories", "services"] {
        assert_eq!(status[kind], json!([]), "{kind}: {status:#}");
    }
    the_vendors_clients_agree(story);
}

#[track_caller]
fn the_vendors_clients_agree(story: &Project) {
    let report = compared(story, &status(story));
    for reader in report["absent"].as_array().into_iter().flatten() {
        skip(NAME, &format!("{reader} is not installed"));
    }
    assert!(report["compared"].as_u64() > Some(0), "{report:#}");
    assert_eq!(report["differences"], json!([]), "{report:#}");
}

#[track_caller]
fn a_status_that_is_not_true_is_found(story: &Project) {
    let mut untrue = status(story);
    let entries = untrue.as_array_mut().expect("a list of entries");
    let mut services = entries.iter_mut().filter(|it| it["service"].is_string());
    let entry = services.next().expect("the service");
    entry["serving"]["state"]["state"] = json!("failed");
    entry["release"]["image"] = json!("another");
    let report = compared(story, &untrue);
    let differences = report["differences"].as_array().into_iter().flatten();
    let mut facts: Vec<_> = differences.map(|it| it["fact"].as_str()).collect();
    facts.dedup();
    assert!(facts.contains(&Some("state")), "{report:#}");
    assert!(facts.contains(&Some("released image")), "{report:#}");
}

/// What `deployer status` says.
#[track_caller]
fn status(story: &Project) -> Value {
    story.deployer.run(&["status", "--json"]).json()
}

/// What the vendor's clients say to a status.
fn compared(story: &Project, status: &Value) -> Value {
    let file = story.file("status.json");
    std::fs::write(&file, status.to_string()).expect("the status can be written");
    let exports: Vec<_> = story.sandbox.exports.clone().into_iter().collect();
    let file = file.display().to_string();
    python::run(&story.prepared, "app_runner.py", &[&file], &exports)
}
