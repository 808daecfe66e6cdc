//! Ctrl-C and SIGTERM: nothing new starts, what is in flight is awaited, and the same command goes
//! on.

use std::collections::BTreeSet;

use deployer_tests::database::HeldMigrations;
use deployer_tests::deployer::{Finished, Running, exit};
use deployer_tests::prepared::Prepared;
use deployer_tests::project::Project;
use deployer_tests::sandbox::{Sandbox, Shared};

static SANDBOX: Shared = Shared::new();

/// What a shell says of a program that SIGTERM ended.
const TERMINATED: i32 = 128 + 15;
const APPLY: [&str; 2] = ["apply", "--yes"];
const STOPPING: &str = "stopping: nothing new starts, what is in flight is awaited";
const GO_ON: &str = "  hint: run the same command again: it goes on where this one stopped";

fn project(test: &str) -> Option<Project> {
    let prepared = Prepared::find(test)?;
    let sandbox = Sandbox::shared(&SANDBOX, &prepared);
    let mut project = Project::new(&prepared, sandbox);
    // They are held for as long as it takes.
    project.change(|manifest| manifest.migration_timeout = "24h".to_owned());
    Some(project)
}

/// An apply whose migrations are in flight on both clouds, and stay so as long as the second is
/// kept.
fn apply_that_migrates(project: &Project) -> (Running, [HeldMigrations; 2]) {
    let databases = [&project.aws_database, &project.gcp_database];
    let held = databases.map(|database| database.hold_migrations());
    let running = project.deployer.start(&APPLY, "");
    for database in databases {
        database.until_a_migration_waits();
    }
    (running, held)
}

/// What a plan would change on a cloud.
#[track_caller]
fn planned(project: &Project, cloud: &str) -> BTreeSet<String> {
    let plan = project.deployer.run(&["plan", "--json", "--cloud", cloud]);
    let plan = plan.exits(exit::SUCCESS).json();
    let changes = plan["plan"]["changes"].as_array().expect("a plan");
    let changes = changes.iter().filter(|change| change["action"] != "no_op");
    changes
        .map(|change| change["address"].as_str().expect("an address").to_owned())
        .collect()
}

/// What a run says that it did not start on a cloud, and how many more than it names.
fn not_started(ended: &Finished, cloud: &str) -> (BTreeSet<String>, usize) {
    let start = format!("{cloud}: not started: ");
    let line = ended.stderr.lines().find_map(|it| it.strip_prefix(&start));
    let line = line.unwrap_or_else(|| panic!("no `{start}`: {ended}"));
    let mut named: BTreeSet<String> = line.split(", ").map(str::to_owned).collect();
    let more = named.iter().find_map(|it| {
        let count = it.strip_prefix("and ")?.strip_suffix(" more")?;
        Some((it.clone(), count.parse().expect("a count")))
    });
    let Some((words, count)) = more else {
        return (named, 0);
    };
    named.remove(&words);
    (named, count)
}

fn migration(project: &Project, cloud: &str) -> String {
    let name = project.manifest.service_name();
    match cloud {
        "aws" => format!("aws/us-east-1/ecs.migration/{name}"),
        _ => format!("gcp/us-central1/run.migration/{name}-migrate"),
    }
}

fn service(project: &Project, cloud: &str) -> String {
    let name = project.manifest.service_name();
    match cloud {
        "aws" => format!("aws/us-east-1/ecs.service/{name}"),
        _ => format!("gcp/us-central1/run.service/{name}"),
    }
}

#[track_caller]
fn assert_migrated_once(project: &Project) {
    assert_eq!(project.aws_database.migrations_run(), ["1.0.0"], "on AWS");
    assert_eq!(
        project.gcp_database.migrations_run(),
        ["1.0.0"],
        "on Google Cloud"
    );
}

#[track_caller]
fn assert_greets(project: &Project, greeting: &str) {
    assert_eq!(project.on_aws().about()["greeting"], greeting, "on AWS");
    let on_gcp = project.on_gcp().about();
    assert_eq!(on_gcp["greeting"], greeting, "on Google Cloud");
}

#[track_caller]
fn assert_nobody_holds_the_lock(project: &Project) {
    let locks = project.deployer.run(&["lock", "show", "--json"]).json();
    for lock in locks.as_array().expect("a list of locks") {
        assert_eq!(lock["state"], "free", "{lock:#}");
    }
}

fn a_signal_awaits_the_migrations_and_starts_nothing_more(project: &Project, signal: &str) {
    let planned = ["aws", "gcp"].map(|cloud| (cloud, planned(project, cloud)));
    let (running, held) = apply_that_migrates(project);
    let (aws, gcp) = (project.aws.mark(), project.gcp.mark());
    running.signal(signal);
    running.until_it_says(STOPPING);
    drop(held);
    let ended = running.finish().exits(exit::INTERRUPTED);

    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
    assert_eq!(ended.stderr.matches(GO_ON).count(), 1, "{ended}");
    for (cloud, planned) in planned {
        let run = project.last_run(cloud);
        assert_eq!(run.outcome(), Some("interrupted"), "{run:#?}");
        let ready = run.ready();
        assert!(ready.contains(&migration(project, cloud)), "{ready:#?}");
        let (left, more) = not_started(&ended, cloud);
        assert_eq!(more, 0, "{ended}");
        assert!(left.contains(&service(project, cloud)), "{left:#?}");
        assert_eq!(&ready | &left, planned, "each is ready or told");
        assert_eq!(&ready & &left, BTreeSet::new());
    }
    assert_migrated_once(project);
    assert_nobody_holds_the_lock(project);

    let (aws, gcp) = (project.aws.mark(), project.gcp.mark());
    let again = project.deployer.run(&APPLY).exits(exit::SUCCESS);
    // It came to its end.
    again.does_not_say("reading what it left");
    let scaled = ["RegisterScalableTarget", "PutScalingPolicy"];
    let scaled = scaled.map(|call| format!("application-autoscaling:{call}"));
    // The role that scales is a moment old, and until it is known the policy is refused.
    let mut writes = aws.writes();
    writes.dedup();
    assert_eq!(
        writes,
        [&["ecs:CreateService".to_owned()][..], &scaled[..]].concat()
    );
    let of_jobs = |call: &String| call.contains("/jobs/");
    assert!(!gcp.writes().iter().any(of_jobs), "{:?}", gcp.writes());
    assert_migrated_once(project);
    assert_greets(project, "hello");
}

#[test]
fn ctrl_c_awaits_the_migrations_and_the_same_command_goes_on() {
    let Some(project) = project("ctrl_c_awaits_the_migrations_and_the_same_command_goes_on") else {
        return;
    };
    a_signal_awaits_the_migrations_and_starts_nothing_more(&project, "INT");
}

#[test]
fn sigterm_awaits_the_migrations_and_the_same_command_goes_on() {
    let Some(project) = project("sigterm_awaits_the_migrations_and_the_same_command_goes_on")
    else {
        return;
    };
    a_signal_awaits_the_migrations_and_starts_nothing_more(&project, "TERM");
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_the_next_run_says_during_what() {
    let name = "a_second_ctrl_c_leaves_at_once_and_the_next_run_says_during_what";
    let Some(project) = project(name) else {
        return;
    };
    let (running, held) = apply_that_migrates(&project);
    running.signal("INT");
    running.until_it_says(STOPPING);
    running.signal("INT");
    let left = running.finish().exits(exit::INTERRUPTED);
    left.says("leaving now; run the same command again to go on");
    for cloud in ["aws", "gcp"] {
        let run = project.last_run(cloud);
        assert_eq!(run.outcome(), None, "{run:#?}");
        let doubtful = format!("migrate {}", migration(&project, cloud));
        assert_eq!(run.in_doubt(), [doubtful]);
    }

    // What was in flight still is: the next run takes it over as it is.
    let next = project.deployer.start(&APPLY, "");
    for cloud in ["aws", "gcp"] {
        // Of the service the migration comes first: all before it is there.
        next.until_it_says(&format!(" {cloud}  idp "));
    }
    drop(held);
    let next = next.finish().exits(exit::SUCCESS);
    next.says("its process is gone");
    for cloud in ["aws", "gcp"] {
        let [stopped, went_on] = runs_on(&project, cloud);
        let by = &stopped.by;
        next.says(&format!("{cloud}: run 1 (apply) by {by} stopped "));
        next.says(&format!(
            " ago during migrate {}, {} done; reading what it left and going on",
            migration(&project, cloud),
            stopped.ready().len()
        ));
        assert_eq!(stopped.outcome(), None, "it is left as it was");
        assert_eq!(went_on.outcome(), Some("succeeded"));
    }
    assert_migrated_once(&project);
    assert_greets(&project, "hello");
}

#[track_caller]
fn runs_on(project: &Project, cloud: &str) -> [deployer_tests::journal::Run; 2] {
    let runs = project.runs().into_iter().filter(|run| run.cloud == cloud);
    let runs: Vec<_> = runs.collect();
    runs.try_into().expect("there were two runs")
}

#[test]
fn ctrl_c_during_a_roll_out_awaits_it_and_leaves_the_deletes_to_the_next_run() {
    let name = "ctrl_c_during_a_roll_out_awaits_it_and_leaves_the_deletes_to_the_next_run";
    let Some(mut project) = project(name) else {
        return;
    };
    project.change(|manifest| manifest.extra_secrets = vec!["retired".to_owned()]);
    project.deployer.run(&APPLY).exits(exit::SUCCESS);
    // While a rollback goes to a release that pins it, the secret stays.
    project.change(|manifest| {
        manifest.extra_secrets.clear();
        manifest.greeting = "good day".to_owned();
    });
    project.deployer.run(&APPLY).exits(exit::SUCCESS);
    project.change(|manifest| manifest.greeting = "good evening".to_owned());
    let service = project.manifest.service_name();
    let update =
        format!("PATCH /v2/projects/sandbox-project/locations/us-central1/services/{service}");
    let held = [
        project.aws.hold("ecs:UpdateService"),
        project.gcp.hold(&update),
    ];
    let running = project.deployer.start(&APPLY, "");
    held.iter().for_each(|hold| hold.until_caught());
    let (aws, gcp) = (project.aws.mark(), project.gcp.mark());
    running.signal("INT");
    running.until_it_says(STOPPING);
    drop(held);
    let ended = running.finish().exits(exit::INTERRUPTED);

    assert_greets(&project, "good evening");
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
    let (app, left) = (&project.manifest.app, |cloud| not_started(&ended, cloud));
    let on_aws = format!("aws/us-east-1/secretsmanager.secret//{app}/test/retired");
    let on_gcp = format!("gcp/us-central1/secretmanager.secret/{app}-test-retired");
    assert_eq!(left("aws"), (BTreeSet::from([on_aws]), 0));
    let access = format!("gcp/us-central1/secretmanager.access/{app}-test-retired/default-compute");
    assert_eq!(left("gcp"), (BTreeSet::from([on_gcp, access]), 0));
    for cloud in ["aws", "gcp"] {
        assert_eq!(project.last_run(cloud).outcome(), Some("interrupted"));
    }

    project.deployer.run(&APPLY).exits(exit::SUCCESS);
    assert_eq!(aws.writes(), ["secretsmanager:DeleteSecret"]);
    let secret = format!("/v1/projects/sandbox-project/secrets/{app}-test-retired");
    let writes = [
        format!("POST {secret}:setIamPolicy"),
        format!("DELETE {secret}"),
    ];
    assert_eq!(gcp.writes(), writes);
    assert_migrated_once(&project);
}

#[test]
fn ctrl_c_on_one_cloud_keeps_what_the_other_one_has_finished() {
    let Some(project) = project("ctrl_c_on_one_cloud_keeps_what_the_other_one_has_finished") else {
        return;
    };
    let held = project.aws_database.hold_migrations();
    let running = project.deployer.start(&APPLY, "");
    project.aws_database.until_a_migration_waits();
    running.until_it_says("callers of service created in ");
    running.signal("INT");
    running.until_it_says(STOPPING);
    drop(held);
    let ended = running.finish().exits(exit::INTERRUPTED);
    let scaling = service(&project, "aws").replace("ecs.service", "application-autoscaling.target");
    assert_eq!(
        not_started(&ended, "aws"),
        (BTreeSet::from([service(&project, "aws"), scaling]), 0)
    );
    ended
        .says("idp r1 serves on gcp ")
        .says("not verified: the run was stopped; `deployer verify` does it")
        .does_not_say("gcp: not started")
        .does_not_say("verify/");
    let outcomes = ["aws", "gcp"].map(|cloud| project.last_run(cloud));
    let outcomes = outcomes.each_ref().map(|run| run.outcome());
    assert_eq!(outcomes, [Some("interrupted"), Some("succeeded")]);
    assert_eq!(project.on_gcp().version(), "1.0.0");

    let again = project.deployer.run(&APPLY).exits(exit::SUCCESS);
    again
        .says("gcp: `idp` is verified")
        .says("idp r1 serves on aws ");
    assert_migrated_once(&project);
    assert_greets(&project, "hello");
}

#[test]
fn ctrl_c_while_the_clouds_are_read_changes_nothing() {
    let Some(project) = project("ctrl_c_while_the_clouds_are_read_changes_nothing") else {
        return;
    };
    // A plan has nothing to await: it ends as any program does. Not by SIGINT here: whoever runs
    // the tests in the background has a shell that makes every program ignore it, unless that
    // listens itself.
    let held = project.aws.hold("ecr:DescribeRepositories");
    let plan = project.deployer.start(&["plan"], "");
    held.until_caught();
    plan.signal("TERM");
    let plan = plan.finish().exits(TERMINATED);
    assert_eq!(plan.said(), "");
    drop(held);
    assert_eq!(project.runs().len(), 0);

    let held = project.aws.hold("ecr:DescribeRepositories");
    let apply = project.deployer.start(&APPLY, "");
    held.until_caught();
    apply.signal("INT");
    apply.until_it_says(STOPPING);
    drop(held);
    let apply = apply.finish().exits(exit::INTERRUPTED);
    for cloud in ["aws", "gcp"] {
        let (named, more) = not_started(&apply, cloud);
        let planned = planned(&project, cloud);
        assert!(named.is_subset(&planned), "{named:#?}");
        assert_eq!(named.len() + more, planned.len(), "each is told or counted");
        let run = project.last_run(cloud);
        assert_eq!(run.outcome(), Some("interrupted"));
        assert_eq!(run.events.len(), 1, "nothing was begun: {run:#?}");
    }
    let writes = [&project.aws, &project.gcp].map(|recorder| recorder.mark_all().writes());
    assert_eq!(writes.concat(), Vec::<String>::new());
    assert_nobody_holds_the_lock(&project);
    project.deployer.run(&APPLY).exits(exit::SUCCESS);
    assert_migrated_once(&project);
    assert_greets(&project, "hello");
}
