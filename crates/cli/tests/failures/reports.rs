//! The failure report, in one form for both clouds.
//!
//! What the runbooks that this program replaces have under "Troubleshooting", and the tests that
//! stand for it here:
//!
//! - the app cannot load its secrets: `a_secret_that_another_hand_disabled_is_told_by_name`,
//!   `a_migration_whose_secret_cannot_be_read_...`
//! - the container keeps restarting, read the logs of its entry point: [`crashes`],
//!   `tasks_that_die_...`
//! - migrations fail, read the logs for the error: `a_migration_that_exits_with_3_...`,
//!   `..._takes_too_long_...`
//! - the health check fails: `a_version_that_is_never_healthy_...`
//! - the role cannot be assumed, a call answers 403:
//!   `a_call_that_is_denied_is_told_with_its_own_exit_code`

use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::runner::{self, Behaviour, Purpose};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::events::{about, texts};
use crate::in_process::stage::{Stage, Wanted};
use crate::typed::assert_fits;
use crate::{APPLY, SECOND, clouds, first_serves, run, says};

crate::tests! {
    a_version_that_crashes_is_reported_in_one_form_on_both_clouds => crashes,
}

const OVERLAY: &str = "deployer.test.toml";

/// How many lines the app prints before it gives up; a report shows [`SHOWN`].
const PRINTED: usize = 30;
const SHOWN: usize = 20;

/// The new version prints thirty lines and exits with 7: both clouds' reports have its last twenty
/// lines, its exit code, what still serves and what to type, for people and as JSON.
async fn crashes(stage: &Stage) {
    first_serves(stage).await;
    let second = stage.digest(2);
    stage.behave(move |started| {
        let usual = Behaviour::usual(started.purpose);
        if started.purpose == Purpose::Finish || started.digest != second {
            return usual;
        }
        let lines = (1..=PRINTED).map(|it| format!("step {it:02}: SECRET_KEY not found"));
        Behaviour {
            healthy: false,
            exit: Some(runner::Exit::with(7)),
            takes: Duration::from_secs(2),
            lines: lines.collect(),
            ..usual
        }
    });
    stage.want(&SECOND);
    let manifest = format!("{}/deployer.toml", stage.folder());
    let rounds = [
        ("aws", Exit::RolledBack, "aws/us-east-1/ecs.service/"),
        (
            "gcp",
            Exit::DeploymentFailed,
            "gcp/us-central1/run.service/",
        ),
    ];
    for (cloud, exit, node) in rounds {
        let began = stage.time.now();
        let node = format!("{node}{}", clouds::name_of("idp"));
        let said = run(stage, &[APPLY, &["--json"]].concat(), cloud, exit).await;
        let report = about(&said, "failure", cloud);
        assert_eq!(report["service"], "idp");

        let failed = report["failed"].as_array().expect("a list");
        assert_eq!(failed.len(), 1, "{report:#}");
        assert_eq!(failed[0]["address"], node.as_str(), "{report:#}");
        assert_eq!(failed[0]["error"]["exit_code"], exit.code(), "{report:#}");
        assert!(moment(&failed[0]["at"]) >= began, "{report:#}");

        let log = report["autopsy"]["log"].as_array().expect("a list");
        let log: Vec<&str> = log
            .iter()
            .map(|line| line["text"].as_str().expect("text"))
            .collect();
        assert_eq!(log.len(), SHOWN, "{report:#}");
        let printed = log.iter().filter(|it| it.starts_with("step ")).count();
        assert!(printed >= SHOWN - 1, "of the app itself: {report:#}");
        let last = format!("step {PRINTED}: SECRET_KEY not found");
        assert!(log[SHOWN - 2..].contains(&last.as_str()), "{report:#}");
        assert!(
            log.is_sorted_by_key(|it| !it.starts_with("step ")),
            "{report:#}"
        );
        told_exit_code(cloud, &report, &log);

        let serving = report["serving"].as_array().expect("a list");
        assert_eq!(serving.len(), 1, "{report:#}");
        assert_eq!(serving[0][1], 100, "{report:#}");
        clouds::until_serves(stage, cloud, "idp", 1).await;
        let next = [
            format!("deployer logs idp --since 10m --manifest {manifest} --cloud {cloud}"),
            format!(
                "deployer apply --manifest {manifest} --cloud {cloud}    # once the cause is mended"
            ),
        ];
        assert_eq!(texts(&report["next"]), next);

        let said = run(stage, APPLY, cloud, exit).await;
        // They differ in a number alone: the first and the last of them are told.
        let logged = said.lines().filter(|line| line.starts_with("       │ "));
        assert!((3..=5).contains(&logged.count()), "{said}");
        let [logs, apply] = next;
        assert!(!said.contains(&node), "an address in:\n{said}");
        says(
            &said,
            &[
                "idp exits with 7: ",
                "deployer report --run ",
                &format!("swept · test: idp failed on {cloud}\n"),
                &format!("{cloud}    failed"),
                "more like it\n",
                &last,
                &format!("now    {cloud}: still serves r1 ("),
                &format!("next   {logs}\n"),
                &format!("       {apply}\n"),
            ],
        );
        kept(stage, cloud, &report).await;
        if cloud == "gcp" {
            // It describes what failed, and r1 serves on.
            let said = run(stage, &["status"], cloud, Exit::Untrue).await;
            says(&said, &["NEWER FAILED", "r1 serves; run "]);
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            says(&said, &[" ago: \"step "]);
        }
        failed_before(stage, cloud).await;
        // What the cloud put back is nobody else's doing.
        stage.file(OVERLAY, "[services.idp.env]\nANOTHER = \"1\"\n");
        let (_, said) = stage.run(&["plan"], cloud).await;
        says(&said, &["ANOTHER"]);
        assert!(!said.contains("ANOTHER HAND"), "{said}");
        stage.file(OVERLAY, "");
        // Another run between forgets nothing.
        stage.want(&Wanted::FIRST);
        run(stage, APPLY, cloud, Exit::Success).await;
        stage.want(&SECOND);
        failed_before(stage, cloud).await;
    }
}

/// The app's own words tell more than the cloud's.
async fn failed_before(stage: &Stage, cloud: &str) {
    let (_, said) = stage.run(&["plan"], cloud).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &said,
        &["FAILED BEFORE", "this very content failed ", "): \"step "],
    );
}

/// What was found out is read again later, whole and by the run's number, and no line of it is
/// folded.
async fn kept(stage: &Stage, cloud: &str, report: &Value) {
    let said = run(stage, &["report"], cloud, Exit::Success).await;
    let step = |it: usize| format!("step {it:02}: SECRET_KEY not found");
    let first = PRINTED - SHOWN + 2;
    assert!(
        (first..=PRINTED).all(|it| said.contains(&step(it))),
        "{said}"
    );
    says(
        &said,
        &["failed ", "next     deployer logs idp", "served   "],
    );
    // In a pipe each line is whole, however long it is.
    let is_whole = |line: &str| line.starts_with("failed ") && line.chars().count() > 100;
    assert!(said.lines().any(is_whole), "{said}");
    let said = run(stage, &["report", "--json"], cloud, Exit::Success).await;
    let documents: Vec<Value> = serde_json::from_str(&said).expect("JSON");
    assert_eq!(documents.len(), 1, "{said}");
    assert_fits("reports", &json!(documents));
    let (number, kept) = (&documents[0]["number"], &documents[0]["failures"][0]);
    assert_eq!(kept["service"], report["service"]);
    let texts = |report: &Value| {
        let log = report["autopsy"]["log"].as_array().expect("a list");
        let texts = log.iter().map(|line| line["text"].clone());
        texts.collect::<Vec<_>>()
    };
    assert_eq!(texts(kept).len(), texts(report).len(), "{said}");
    let number = number.as_u64().expect("a number");
    // The one before it is kept as well.
    for number in [number - 1, number] {
        let words = ["report", "--run", &number.to_string()];
        let said = run(stage, &words, cloud, Exit::Success).await;
        says(&said, &[&format!("{cloud}: run {number}, apply by ")]);
    }
    let said = run(stage, &["report", "--run", "999"], cloud, Exit::Input).await;
    says(
        &said,
        &["there is no report of run 999", &number.to_string()],
    );
}

/// ECS has it in a field, Cloud Run in its log.
fn told_exit_code(cloud: &str, report: &Value, log: &[&str]) {
    if cloud == "gcp" {
        assert!(log.contains(&"Container called exit(7)."), "{report:#}");
        return;
    }
    let stopped = report["autopsy"]["stopped"].as_array().expect("a list");
    let latest = stopped.first().expect("a task stopped");
    moment(&latest["at"]);
    let container = &latest["containers"][0];
    assert_eq!(container["name"], "idp", "{report:#}");
    assert_eq!(container["exit_code"], json!(7), "{report:#}");
}

fn moment(value: &Value) -> Timestamp {
    let text = value.as_str().expect("a moment");
    text.parse().expect("a moment")
}
