//! Runs the checks that are written against the vendors' Python libraries.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::prepared::{Prepared, conformance_scripts};
use crate::recorder::{Recorder, Side};
use crate::sandbox::Sandbox;

/// Runs a script and returns the JSON document that it prints.
#[track_caller]
pub fn run(
    prepared: &Prepared,
    script: &str,
    arguments: &[&str],
    environment: &[(String, String)],
) -> Value {
    let mut command = Command::new(prepared.python_program("python"));
    command
        .arg(conformance_scripts().join(script))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let output = command.output().expect("Python can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{script}: {error}: {said}"))
}

/// The names of what the clouds still have of an app, by the vendors' own listings.
#[track_caller]
pub fn leftovers(prepared: &Prepared, sandbox: &Sandbox, app: &str) -> Vec<String> {
    let exports: Vec<_> = sandbox.exports.clone().into_iter().collect();
    let names = run(prepared, "leftovers.py", &[app], &exports);
    serde_json::from_value(names).expect("a list of names")
}

/// Validates everything recorded against the vendor's schemas; panics, listing them, on deviations.
#[track_caller]
pub fn assert_valid(prepared: &Prepared, recorder: &Recorder, side: Side) {
    assert_none(&deviations(prepared, recorder, side));
}

/// The same for the requests alone.
#[track_caller]
pub fn assert_requests_valid(prepared: &Prepared, recorder: &Recorder, side: Side) {
    let mut deviations = deviations(prepared, recorder, side);
    deviations.retain(|deviation| deviation["where"] == "request");
    assert_none(&deviations);
}

/// The same for the responses alone: what a vendor's own client sends is the vendor's.
#[track_caller]
pub fn assert_responses_valid(prepared: &Prepared, recorder: &Recorder, side: Side) {
    let mut deviations = deviations(prepared, recorder, side);
    deviations.retain(|deviation| deviation["where"] == "response");
    assert_none(&deviations);
}

#[track_caller]
fn assert_none(deviations: &[Value]) {
    assert!(
        deviations.is_empty(),
        "{} deviations from the vendor's schemas:\n{}",
        deviations.len(),
        summary(deviations)
    );
}

#[track_caller]
fn deviations(prepared: &Prepared, recorder: &Recorder, side: Side) -> Vec<Value> {
    // Bodies hold secrets: the folder is private and gone at once.
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let file = folder.path().join("recording.jsonl");
    recorder.save(&file);
    let report = validate(prepared, side, &file);
    let checked = report["checked"]
        .as_object()
        .map_or(0, serde_json::Map::len);
    assert!(checked > 0, "nothing was validated: {report}");
    let deviations = report["deviations"].as_array();
    deviations.expect("there is a list").clone()
}

fn validate(prepared: &Prepared, side: Side, recording: &Path) -> Value {
    let script = match side {
        Side::Aws => "validate_aws.py",
        Side::Gcp => "validate_gcp.py",
    };
    run(prepared, script, &[&recording.display().to_string()], &[])
}

/// Each kind of deviation once.
fn summary(deviations: &[Value]) -> String {
    let mut lines: Vec<String> = deviations
        .iter()
        .map(|it| {
            let word = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
            format!(
                "  {} {} {}: {}",
                word("operation"),
                word("where"),
                word("path"),
                word("problem")
            )
        })
        .collect();
    lines.sort();
    lines.dedup();
    lines.join("\n")
}
