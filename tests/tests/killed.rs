//! `kill -9` at each kind of node and each phase of it, on both clouds: the next run says what it found and ends in the same place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use deployer_tests::deployer::{Finished, exit};
use deployer_tests::prepared::Prepared;
use deployer_tests::project::Project;
use deployer_tests::sandbox::Sandbox;
use serde_json::Value;

const NAME: &str = "a_run_that_is_killed_anywhere_is_finished_by_the_next";

/// A kind of node on one cloud, and how far the journal says that it had come.
type Point = (String, String, String);

#[test]
fn a_run_that_is_killed_anywhere_is_finished_by_the_next() {
    let Some(prepared) = Prepared::find(NAME) else {
        return;
    };
    let mut project = Project::new(&prepared, Arc::new(Sandbox::start(&prepared)));
    project.change(|manifest| manifest.extra_secrets = vec!["retired".to_owned()]);

    let (killed, last) = finish_by_the_next(&project, &["apply", "--yes"]);
    assert!(killed.len() >= 14, "{killed:#?}");
    last.says("stopped").says("going on");
    assert_eq!(migrations(&project), [vec!["1.0.0"], vec!["1.0.0"]]);
    assert_eq!(releases(&project), [1, 1]);
    nothing_is_left_to_do(&project);

    project.use_version("2.0.0");
    project.change(|manifest| manifest.extra_secrets.clear());
    let (killed, _) = finish_by_the_next(&project, &["apply", "--yes"]);
    assert!(killed.len() >= 8, "{killed:#?}");
    let both = vec!["1.0.0", "2.0.0"];
    assert_eq!(migrations(&project), [both.clone(), both]);
    assert_eq!(releases(&project), [2, 2]);
    nothing_is_left_to_do(&project);

    let (killed, _) = finish_by_the_next(&project, &["destroy", "--yes"]);
    assert!(killed.len() >= 8, "{killed:#?}");
    let (aws, gcp) = (project.aws.mark(), project.gcp.mark());
    let again = project.deployer.run(&["destroy", "--yes"]);
    again.exits(exit::SUCCESS);
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
}

/// Runs the command again and again, killing each run at the first point that none was killed at before, until one
/// ends by itself. Returns the points and what the last run said.
fn finish_by_the_next(project: &Project, command: &[&str]) -> (BTreeSet<Point>, Finished) {
    let mut killed_at = BTreeSet::new();
    for _ in 0..80 {
        let before = runs(project);
        let mut running = project.deployer.start(command, "");
        let mut ended = false;
        while !ended {
            ended = running.has_ended();
            let points: BTreeSet<Point> = runs(project)
                .difference(&before)
                .flat_map(|run| points(run))
                .collect();
            if !ended && !points.is_subset(&killed_at) {
                running.kill();
                killed_at.extend(points);
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let finished = running.finish();
        if ended {
            return (killed_at, finished.exits(exit::SUCCESS));
        }
    }
    panic!("it never ends by itself; it was killed at {killed_at:#?}");
}

/// The folders of every run's journal.
fn runs(project: &Project) -> BTreeSet<PathBuf> {
    let environment = project
        .file(".deployer/ledger")
        .join(&project.manifest.app)
        .join("test");
    let targets = entries(&environment).into_iter();
    targets
        .flat_map(|target| entries(&target.join("runs")))
        .collect()
}

fn points(run: &Path) -> Vec<Point> {
    let documents = entries(run).into_iter().filter_map(|file| {
        // One that is being written is not durable yet.
        serde_json::from_slice::<Value>(&std::fs::read(file).ok()?).ok()
    });
    documents
        .filter_map(|document| {
            let event = &document["entry"]["event"];
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let address = &event["address"];
            let cloud = text(&address["cloud"])
                .or_else(|| Some(text(address)?.split('/').next()?.to_owned()))?;
            let kind = text(&address["kind"])
                .or_else(|| Some(text(address)?.split('/').nth(2)?.to_owned()))?;
            Some((cloud, kind, text(&event["is"])?))
        })
        .collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).into_iter().flatten();
    found.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[track_caller]
fn nothing_is_left_to_do(project: &Project) {
    let (aws, gcp) = (project.aws.mark(), project.gcp.mark());
    let apply = project.deployer.run(&["apply", "--yes"]);
    apply.exits(exit::SUCCESS).does_not_say("stopped");
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
}

fn migrations(project: &Project) -> [Vec<String>; 2] {
    [
        project.aws_database.migrations_run(),
        project.gcp_database.migrations_run(),
    ]
}

/// How many releases each cloud has.
fn releases(project: &Project) -> [usize; 2] {
    ["aws", "gcp"].map(|cloud| {
        let answer = project
            .deployer
            .run(&["releases", "--json", "--cloud", cloud])
            .exits(exit::SUCCESS);
        let releases = answer.json()[0]["releases"].as_array().map(Vec::len);
        releases.expect("there is a list of releases")
    })
}
