//! What apps and clouds say moves no cursor, forges no line of ours and floods no screen; what
//! happened is told once, in its own words.

use deployer::Exit;
use deployer_sandbox::runner::{self, Behaviour, Purpose};

use crate::events::{named, texts};
use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, DESTROY, SECOND, first_serves, run, says, unhealthy};

crate::tests! {
    what_a_failed_migration_printed_moves_nothing_and_is_cut => noise,
    steps_are_told_in_their_own_words => words_of_steps,
    a_migration_alone_makes_no_service => migrates_alone,
    an_error_is_told_once => told_once,
    a_last_snapshot_is_told_by_its_whole_name => snapshot,
    what_nobody_asked_for_is_not_said_to_who_wants_quiet => quiet,
}

/// No line of a report is longer, in characters.
const LONGEST: usize = 600;

/// What a crash looks like at its worst.
fn worst() -> Vec<String> {
    vec![
        "plain line".into(),
        "\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7} \rover".into(),
        "No changes.\u{202e}desrever\u{200b}".into(),
        "0".repeat(300_000),
        "FATAL cannot bind".into(),
    ]
}

async fn noise(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.behave(|started| match started.purpose {
        Purpose::Finish => Behaviour {
            exit: Some(runner::Exit::with(17)),
            lines: worst(),
            ..Behaviour::usual(started.purpose)
        },
        Purpose::Serve => Behaviour::usual(started.purpose),
    });
    for cloud in ["aws", "gcp"] {
        let said = run(stage, APPLY, cloud, Exit::DeploymentFailed).await;
        says(
            &said,
            &["plain line", "FATAL cannot bind", r"\u{1b}[31mred"],
        );
        for line in said.lines() {
            let moves = |c: char| c.is_control() || ['\u{202e}', '\u{200b}'].contains(&c);
            assert!(!line.contains(moves), "{line:?}");
            assert!(line.chars().count() < LONGEST, "{line}");
        }
        let again = ["migrate", "--retry", "--yes", "--json"];
        let said = run(stage, &again, cloud, Exit::DeploymentFailed).await;
        let report = named(&said, "failure").remove(0);
        for line in texts(&report["output"]) {
            assert!(line.chars().count() < LONGEST, "{line}");
        }
    }
}

async fn words_of_steps(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let said = run(stage, APPLY, "all", Exit::Success).await;
    let of = |cloud: &str| {
        let lines = said.lines().filter(|line| line.contains(cloud));
        lines.collect::<Vec<_>>().join("\n")
    };
    for cloud in [" aws  ", " gcp  "] {
        says(&of(cloud), &["  migrate\n", "  migrated in "]);
        says(&of(cloud), &["  copy image\n", "  image copied in "]);
        says(
            &of(cloud),
            &[
                "  create secret cookie-key\n",
                "  secret cookie-key created in ",
            ],
        );
    }
    assert!(!said.contains("us-east-1/"), "an address in:\n{said}");
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    let back = ["rollback", "idp", "--yes", "--no-verify"];
    let said = run(stage, &back, "all", Exit::Success).await;
    says(&said, &["  put back\n", "  put back in "]);
    says(
        &said,
        &[
            "swept · test: idp r3 serves on aws and gcp (r1 again)",
            "  idp r2 is on hold: apply rolls out only what is not r2\n",
        ],
    );
}

async fn migrates_alone(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let said = run(stage, &["migrate", "--yes"], "all", Exit::Success).await;
    says(
        &said,
        &["Plan: idp is migrated on aws and gcp", "  migrated in "],
    );
    assert!(!said.contains("service to create"), "{said}");
    let ends = said.lines().find(|it| it.starts_with("swept · test: "));
    let ends = ends.unwrap_or_else(|| panic!("no end in:\n{said}"));
    assert!(ends.contains(" run, ") && ends.contains(" on "), "{ends}");
    let said = run(stage, &["migrate", "--yes"], "all", Exit::Success).await;
    says(&said, &["has run already"]);
}

async fn told_once(stage: &Stage) {
    first_serves(stage).await;
    stage.behave(unhealthy);
    stage.want(&SECOND);
    for (cloud, exit) in [("aws", Exit::RolledBack), ("gcp", Exit::DeploymentFailed)] {
        let said = run(stage, APPLY, cloud, exit).await;
        let label = format!("{cloud}    failed");
        let why = said.lines().find(|line| line.starts_with(&label));
        let why = why.and_then(|line| line.split_once(": "));
        let (_, why) = why.unwrap_or_else(|| panic!("no error in:\n{said}"));
        // When it failed stands behind it, in a line of its own where it is long.
        let why = why.split_once(" (at ").map_or(why, |(why, _)| why);
        assert_eq!(said.matches(why).count(), 1, "`{why}` in:\n{said}");
        says(&said, &[" FAILED after "]);
    }
}

/// Whoever deletes a database can find what it held.
async fn snapshot(stage: &Stage) {
    stage.want(&Wanted {
        data: true,
        ..Wanted::FIRST
    });
    run(stage, APPLY, "aws", Exit::Success).await;
    let said = run(stage, DESTROY, "aws", Exit::Success).await;
    let rds = aws_sdk_rds::Client::new(&stage.aws().await);
    let listed = rds.describe_db_snapshots().send().await.expect("snapshots");
    let names = listed
        .db_snapshots()
        .iter()
        .map(|it| it.db_snapshot_identifier());
    let names: Vec<&str> = names.flatten().collect();
    let [name] = names.as_slice() else {
        panic!("one snapshot is left: {names:?}\n{said}");
    };
    let told = format!("aws: what is left of the data: the snapshot `{name}` of RDS");
    says(&said, &[&told]);
}

/// Only what was asked for, and errors.
async fn quiet(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let noted = "not verified: ";
    let said = run(stage, APPLY, "aws", Exit::Success).await;
    says(&said, &[noted]);
    let quietly = [APPLY, &["--quiet"]].concat();
    stage.behave(unhealthy);
    stage.want(&SECOND);
    let said = run(stage, &quietly, "aws", Exit::RolledBack).await;
    says(&said, &["failed", "cannot read the configuration"]);
    stage.behave(|started| Behaviour::usual(started.purpose));
    let said = run(stage, &quietly, "aws", Exit::Success).await;
    for note in [noted, "note:", "warning:", "copy image"] {
        assert!(!said.contains(note), "`{note}` in:\n{said}");
    }
    says(&said, &["idp r2 serves"]);
    let (_, said) = stage.run(&["releases", "idp", "--quiet"], "aws").await;
    says(&said, &["r2"]);
}
