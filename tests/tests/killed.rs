//! `kill -9` at each kind of node and each phase of it, on both clouds: the next run says what it
//! found and ends in the same place.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use deployer_tests::deployer::{Finished, exit};
use deployer_tests::idp::is_signed_by;
use deployer_tests::journal::Run;
use deployer_tests::prepared::{Prepared, skip};
use deployer_tests::project::Project;
use deployer_tests::sandbox::Sandbox;
use serde_json::Value;

const CLOUDS: [&str; 2] = ["aws", "gcp"];

/// What a node goes through in a journal.
const PHASES: [&str; 3] = ["started", "landed", "ready"];

/// A kind of node on one cloud.
type Kind = (String, String);

/// A kind of node on one cloud, and how far the journal of a run that was killed says that one of
/// them had come.
type Point = (Kind, String);

#[test]
fn a_run_that_is_killed_anywhere_is_finished_by_the_next() {
    let name = "a_run_that_is_killed_anywhere_is_finished_by_the_next";
    let Some(prepared) = Prepared::find(name) else {
        return;
    };
    let mut project = Project::new(&prepared, Arc::new(Sandbox::start(&prepared)));
    project.change(|manifest| manifest.extra_secrets = vec!["retired".to_owned()]);

    let plan = plan(&project);
    let apply = ["apply", "--yes"];
    let mut killed_at = finish_by_the_next(&project, &apply, &kinds(&plan, "step resource"));
    assert_eq!(migrations(&project), [vec!["1.0.0"], vec!["1.0.0"]]);
    assert_eq!(releases(&project), [1, 1]);
    assert_serves(&project, "1.0.0");
    nothing_is_left_to_do(&project);
    let resources = kinds(&plan, "resource");

    project.use_version("2.0.0");
    project.change(|manifest| manifest.extra_secrets.clear());
    let changed = kinds(&self::plan(&project), "step resource");
    killed_at.extend(finish_by_the_next(&project, &apply, &changed));
    let both = vec!["1.0.0", "2.0.0"];
    assert_eq!(migrations(&project), [both.clone(), both.clone()]);
    assert_eq!(releases(&project), [2, 2]);
    assert_serves(&project, "2.0.0");
    nothing_is_left_to_do(&project);

    project.change(|manifest| manifest.greeting = "good evening".to_owned());
    let third = project.deployer.run(&apply);
    third
        .exits(exit::SUCCESS)
        .says("idp r3 serves on aws and gcp");
    let step = CLOUDS.map(|cloud| (cloud.to_owned(), "rollback".to_owned()));
    let back = ["rollback", "--to", "r2", "--yes"];
    killed_at.extend(finish_by_the_next(&project, &back, &step.into()));
    for service in [project.on_aws(), project.on_gcp()] {
        assert_eq!(service.about()["greeting"], "hello");
    }
    assert_eq!(migrations(&project), [both.clone(), both]);
    let (aws, gcp) = (project.aws.mark(), project.gcp.mark());
    let held = project.deployer.run(&apply);
    held.exits(exit::HELD).does_not_say("stopped");
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());

    let destroy = ["destroy", "--yes", "--allow-data-loss", "all"];
    killed_at.extend(finish_by_the_next(&project, &destroy, &resources));
    let (aws, gcp) = (project.aws.mark(), project.gcp.mark());
    let again = project.deployer.run(&destroy);
    again.exits(exit::SUCCESS);
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
    assert_in_every_phase(&killed_at);
}

#[test]
fn a_database_and_a_cache_whose_run_is_killed_are_made_once() {
    let name = "a_database_and_a_cache_whose_run_is_killed_are_made_once";
    let Some(prepared) = Prepared::find(name) else {
        return;
    };
    let sandbox = Sandbox::start(&prepared);
    for kind in ["postgres", "redis"] {
        let backing = sandbox.status()["backing"][kind].to_string();
        if backing.contains("none") {
            skip(name, &backing);
            return;
        }
    }
    let mut project = Project::new(&prepared, Arc::new(sandbox));
    project.change(|manifest| manifest.managed = Some("storage = \"20GiB\"".to_owned()));
    let planned = kinds(&plan(&project), "step resource");
    finish_by_the_next(&project, &["apply", "--yes"], &planned);
    let status = project.sandbox.status();
    let (aws, gcp) = (&status["aws"]["status"], &status["gcp"]["status"]);
    for made in [
        &aws["databases"],
        &aws["caches"],
        &gcp["sql"],
        &gcp["redis"],
    ] {
        assert_eq!(made.as_array().map(Vec::len), Some(1), "{status:#}");
    }
    // A token needs what the migration made in the database.
    let (aws, gcp) = (project.on_aws(), project.on_gcp());
    let secret = &project.client_secret;
    assert!(is_signed_by(&aws.token(secret), &gcp.keys()));
    assert!(is_signed_by(&gcp.token(secret), &aws.keys()));
    assert_eq!(aws.health()["redis"], "ok");
    assert_eq!(gcp.health()["redis"], "ok");
    nothing_is_left_to_do(&project);
}

/// Runs the command again and again, killing each run at the first point that none was killed at
/// before, until one ends by itself. Every run says of the one before during what it was killed,
/// and a node of each of these kinds was among it. Returns the points.
fn finish_by_the_next(
    project: &Project,
    command: &[&str],
    kinds: &BTreeSet<Kind>,
) -> BTreeSet<Point> {
    let mut killed_at = BTreeSet::new();
    let mut stopped = Vec::new();
    for kills in 0..160 {
        let (finished, points) = run_until_a_new_point(project, command, &killed_at);
        for run in stopped {
            assert_tells_of(&finished, &run);
        }
        if finished.code != exit::KILLED {
            finished.exits(exit::SUCCESS);
            assert_at_each(kinds, &killed_at);
            println!(
                "`{}` was killed {kills} times, at {} points",
                command.join(" "),
                killed_at.len()
            );
            return killed_at;
        }
        killed_at.extend(points);
        stopped = CLOUDS.map(|cloud| project.last_run(cloud)).into();
        stopped.retain(|run| run.outcome().is_none());
    }
    panic!("it never ends by itself; it was killed at {killed_at:#?}");
}

/// Kills the run as soon as its journals have a point that is not in `known`; gives every point
/// that they have then.
fn run_until_a_new_point(
    project: &Project,
    command: &[&str],
    known: &BTreeSet<Point>,
) -> (Finished, BTreeSet<Point>) {
    let before = project.run_headers();
    let points = || -> BTreeSet<Point> {
        let headers = project.run_headers();
        let new = headers.difference(&before);
        new.filter_map(|header| Run::read(header))
            .flat_map(|run| points(&run))
            .collect()
    };
    let mut running = project.deployer.start(command, "");
    while !running.has_ended() {
        if !points().is_subset(known) {
            running.kill();
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // More may have become durable between the look and the end.
    (running.finish(), points())
}

fn points(run: &Run) -> Vec<Point> {
    let of_nodes = run.events.iter().filter_map(|event| {
        let kind = event["address"].as_str()?.split('/').nth(2)?;
        let phase = event["is"].as_str()?;
        Some(((run.cloud.clone(), kind.to_owned()), phase.to_owned()))
    });
    of_nodes.collect()
}

#[track_caller]
fn assert_tells_of(next: &Finished, stopped: &Run) {
    let Run {
        cloud,
        number,
        command,
        by,
        ..
    } = stopped;
    let start = format!("{cloud}: run {number} ({command}) by {by} stopped ");
    let during = match stopped.in_doubt() {
        nodes if nodes.is_empty() => "between two nodes".to_owned(),
        nodes => format!("during {}", nodes.join(", ")),
    };
    let done = stopped.ready().len();
    let end = format!("s ago {during}, {done} done; reading what it left and going on");
    let mut lines = next.stderr.lines();
    let told = lines.any(|line| line.starts_with(&start) && line.ends_with(&end));
    assert!(told, "no `{start}...{end}`: {next}");
}

/// A node of each of these kinds was killed when it had begun; how far it had come then is chance.
#[track_caller]
fn assert_at_each(kinds: &BTreeSet<Kind>, killed_at: &BTreeSet<Point>) {
    let begun = killed_at.iter().filter(|(_, phase)| phase == "started");
    let begun: BTreeSet<Kind> = begun.map(|(kind, _)| kind.clone()).collect();
    // A service is made open to everyone: where that run was killed, nothing is left to do of it.
    // What serves is verified in every run, and stands in no plan.
    let beside = |kinds: &BTreeSet<Kind>| {
        let told = |kind: &str| !["run.invoker", "verify"].contains(&kind);
        let kinds = kinds.iter().filter(|(_, kind)| told(kind));
        kinds.cloned().collect::<BTreeSet<Kind>>()
    };
    assert_eq!(beside(&begun), beside(kinds));
}

#[track_caller]
fn assert_in_every_phase(killed_at: &BTreeSet<Point>) {
    for cloud in CLOUDS {
        let phases = killed_at.iter().filter(|((on, _), _)| on == cloud);
        let phases: BTreeSet<&str> = phases.map(|(_, phase)| phase.as_str()).collect();
        assert_eq!(phases, PHASES.into(), "on {cloud}: {killed_at:#?}");
    }
}

#[track_caller]
fn plan(project: &Project) -> Value {
    let plan = project.deployer.run(&["plan", "--json"]);
    plan.exits(exit::SUCCESS).json()["plan"].clone()
}

/// The kinds of what a plan changes; `sorts` names resources, steps or both.
fn kinds(plan: &Value, sorts: &str) -> BTreeSet<Kind> {
    let changes = plan["changes"].as_array().expect("a plan has changes");
    let wanted = changes.iter().filter(|change| {
        let sort = change["sort"].as_str().expect("a change has a sort");
        change["action"] != "no_op" && sorts.contains(sort)
    });
    let kinds: BTreeSet<Kind> = wanted
        .map(|change| {
            let address = change["address"].as_str().expect("a change has an address");
            let mut parts = address.split('/').map(str::to_owned);
            let (cloud, kind) = (parts.next(), parts.nth(1));
            (cloud.expect("a cloud"), kind.expect("a kind"))
        })
        .collect();
    for cloud in CLOUDS {
        assert!(
            kinds.iter().any(|(on, _)| on == cloud),
            "nothing on {cloud}"
        );
    }
    kinds
}

#[track_caller]
fn assert_serves(project: &Project, version: &str) {
    assert_eq!(project.on_aws().version(), version, "on AWS");
    assert_eq!(project.on_gcp().version(), version, "on Google Cloud");
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
    CLOUDS.map(|cloud| {
        let answer = project
            .deployer
            .run(&["releases", "--json", "--cloud", cloud])
            .exits(exit::SUCCESS);
        let releases = answer.json()[0]["releases"].as_array().map(Vec::len);
        releases.expect("there is a list of releases")
    })
}
