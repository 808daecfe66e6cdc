//! The wire and what it made, judged by the vendors' own schemas and clients.

use std::sync::Arc;

use deployer_tests::deployer::exit;
use deployer_tests::prepared::{Prepared, skip};
use deployer_tests::project::Project;
use deployer_tests::python;
use deployer_tests::sandbox::Sandbox;
use serde_json::{Value, json};

#[test]
fn every_planted_deviation_is_found_and_what_is_valid_passes() {
    let name = "every_planted_deviation_is_found_and_what_is_valid_passes";
    let Some(prepared) = Prepared::find(name) else {
        return;
    };
    let report = python::run(&prepared, "selftest.py", &[], &[]);
    assert!(report["planted"].as_u64() > Some(90), "{report}");
    assert_eq!(report["missed"], json!([]));
    assert_eq!(report["false_alarms"], json!([]));
}

#[test]
fn the_vendors_clients_read_back_what_status_says() {
    let name = "the_vendors_clients_read_back_what_status_says";
    let Some(prepared) = Prepared::find(name) else {
        return;
    };
    let mut project = Project::new(&prepared, Arc::new(Sandbox::start(&prepared)));
    project
        .deployer
        .run(&["apply", "--yes"])
        .exits(exit::SUCCESS);
    project.use_version("2.0.0");
    project
        .deployer
        .run(&["apply", "--yes"])
        .exits(exit::SUCCESS);
    let status = project
        .deployer
        .run(&["status", "--json"])
        .exits(exit::SUCCESS)
        .stdout;
    let report = read_back(&prepared, &project, &status);
    for reader in report["absent"].as_array().into_iter().flatten() {
        skip(name, &format!("{reader} is not installed"));
    }
    assert!(report["compared"].as_u64() > Some(20), "{report}");
    assert_eq!(report["differences"], json!([]), "{report:#}");
    a_status_that_is_not_true_is_found(&prepared, &project, &status);
}

fn a_status_that_is_not_true_is_found(prepared: &Prepared, project: &Project, status: &str) {
    let mut untrue: Value = serde_json::from_str(status).expect("the status is JSON");
    let clouds = untrue.as_array_mut().expect("one entry a cloud");
    clouds.retain(|entry| entry["cloud"] == "aws");
    clouds[0]["serving"]["instances"] = json!([1, 2]);
    clouds[0]["serving"]["traffic"][0][1] = json!(90);
    clouds[0]["release"]["image"] = json!("another");
    let report = read_back(prepared, project, &untrue.to_string());
    for fact in ["instances", "traffic", "released image"] {
        let mut differences = report["differences"].as_array().into_iter().flatten();
        assert!(
            differences.any(|it| it["reader"] == "boto3" && it["fact"] == fact),
            "{report:#}"
        );
    }
}

/// What the vendors' clients say to a status.
fn read_back(prepared: &Prepared, project: &Project, status: &str) -> Value {
    let file = project.file("status.json");
    std::fs::write(&file, status).expect("the status can be written");
    let exports: Vec<_> = project.sandbox.exports.clone().into_iter().collect();
    let job = format!("{}-migrate", project.manifest.service_name());
    let file = file.display().to_string();
    python::run(prepared, "readback.py", &[&file, "default", &job], &exports)
}
