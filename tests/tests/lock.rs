//! The lock through the binary, with the ledger in a folder: many runs at once, and a lease that
//! runs out.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use deployer_tests::deployer::{Finished, Running, exit};
use deployer_tests::journal::Run;
use deployer_tests::prepared::Prepared;
use deployer_tests::project::Project;
use deployer_tests::sandbox::{Sandbox, Shared};
use deployer_tests::wait;
use serde_json::{Value, json};

static SANDBOX: Shared = Shared::new();

const APPLY: [&str; 2] = ["apply", "--yes"];

/// Nothing that a test waits for takes longer.
const SOON: Duration = Duration::from_secs(80);

/// A lease lasts 90 s after its last renewal, and nobody takes it over before 95 s.
const RUN_OUT: Duration = Duration::from_secs(100);

/// A process that was stopped for longer than this knows that it was.
const A_NAP: Duration = Duration::from_secs(7);

fn project(test: &str) -> Option<Project> {
    let prepared = Prepared::find(test)?;
    let sandbox = Sandbox::shared(&SANDBOX, &prepared);
    let mut project = Project::new(&prepared, sandbox);
    // They are held for as long as it takes.
    project.change(|manifest| manifest.migration_timeout = "24h".to_owned());
    Some(project)
}

fn locks(project: &Project) -> Vec<Value> {
    let shown = project.deployer.run(&["lock", "show", "--json"]);
    let locks = shown.exits(exit::SUCCESS).json();
    locks.as_array().expect("a list of locks").clone()
}

/// Every object of the ledger, by its path.
fn objects(project: &Project) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = project.files().into_iter();
    files
        .filter(|(path, _)| path.starts_with(project.file(".deployer/ledger")))
        .collect()
}

#[test]
fn of_ten_runs_at_once_one_proceeds_and_the_others_say_who_holds_the_lock() {
    let name = "of_ten_runs_at_once_one_proceeds_and_the_others_say_who_holds_the_lock";
    let Some(mut project) = project(name) else {
        return;
    };
    nine_are_refused_while_one_works(&project);
    project.change(|manifest| manifest.greeting = "good evening".to_owned());
    ten_take_turns(&project);

    let plan = project.deployer.run(&["plan", "--detailed-exitcode"]);
    plan.exits(exit::SUCCESS);
    for cloud in ["aws", "gcp"] {
        let answer = project
            .deployer
            .run(&["releases", "--json", "--cloud", cloud]);
        let releases = answer.exits(exit::SUCCESS).json();
        let releases = releases[0]["releases"].as_array().expect("a list");
        let numbers: Vec<&Value> = releases.iter().map(|release| &release["number"]).collect();
        assert_eq!(numbers, [&json!(2), &json!(1)], "the newest first");
    }
    assert_eq!(project.on_aws().about()["greeting"], "good evening");
    assert_eq!(project.on_gcp().about()["greeting"], "good evening");
    assert_eq!(project.aws_database.migrations_run(), ["1.0.0"]);
    assert_eq!(project.gcp_database.migrations_run(), ["1.0.0"]);
}

fn ten(project: &Project) -> Vec<Running> {
    let one = |_| project.deployer.start(&APPLY, "");
    (0..10).map(one).collect()
}

/// The one that has the lock keeps it until its migrations may go on, which is when the others have
/// ended.
fn nine_are_refused_while_one_works(project: &Project) {
    let databases = [&project.aws_database, &project.gcp_database];
    let held = databases.map(|database| database.hold_migrations());
    let mut running = ten(project);
    let mut refused = Vec::new();
    wait::until("the end of nine", SOON, || {
        if let Some(at) = running.iter_mut().position(Running::has_ended) {
            refused.push(running.remove(at));
        }
        (refused.len() == 9).then_some(())
    });
    let holder = running.remove(0);
    let process = format!("(process {}), apply since 20", holder.id());
    for one in refused {
        let ended = one.finish().exits(exit::LOCKED);
        ended.says("aws 123456789012 us-east-1 SANDBOX is locked by");
        ended.says(&process);
    }
    for lock in locks(project) {
        assert_eq!(lock["state"], "held", "{lock:#}");
        assert_eq!(lock["holder"]["process"], holder.id(), "{lock:#}");
    }
    drop(held);
    holder.finish().exits(exit::SUCCESS);
    assert_one_at_a_time(project, 1);
}

/// Whoever comes after the one before has ended does what is left to do: for all but the first,
/// nothing.
fn ten_take_turns(project: &Project) {
    let ended: Vec<Finished> = ten(project).into_iter().map(Running::finish).collect();
    let (done, refused): (Vec<_>, Vec<_>) = ended.iter().partition(|run| run.code == exit::SUCCESS);
    assert!(!done.is_empty(), "one always proceeds: {refused:#?}");
    for run in refused {
        run.clone().exits(exit::LOCKED).says("is locked by");
        run.says(", apply since 20");
    }
    assert_one_at_a_time(project, 1 + done.len());
}

/// Every run of both targets has a number of its own, a whole journal, and ended before the next
/// one began.
#[track_caller]
fn assert_one_at_a_time(project: &Project, count: usize) {
    for cloud in ["aws", "gcp"] {
        let runs: Vec<Run> = project.runs();
        let runs: Vec<&Run> = runs.iter().filter(|run| run.cloud == cloud).collect();
        let numbers: Vec<u64> = runs.iter().map(|run| run.number).collect();
        let expected: Vec<u64> = (1..).take(count).collect();
        assert_eq!(numbers, expected, "on {cloud}");
        for run in &runs {
            let expected: Vec<u64> = (1..).take(run.events.len()).collect();
            assert_eq!(run.sequence, expected, "{run:#?}");
            assert_eq!(run.outcome(), Some("succeeded"), "{run:#?}");
            assert_eq!(run.in_doubt(), Vec::<String>::new(), "{run:#?}");
        }
        for (before, after) in runs.iter().zip(runs.iter().skip(1)) {
            assert!(before.wrote_last <= after.began, "{before:#?} {after:#?}");
        }
    }
    for lock in locks(project) {
        assert_eq!(lock["state"], "free", "{lock:#}");
    }
}

/// The newest object of each target's lock.
fn newest_locks(project: &Project) -> Vec<PathBuf> {
    let newest = |target: PathBuf| {
        let found = std::fs::read_dir(target.join("lock")).expect("there is a lock");
        let files = found.map(|entry| entry.expect("it can be listed").path());
        files.max().expect("somebody holds it")
    };
    project.ledgers().into_iter().map(newest).collect()
}

/// Makes an object as old as a lease that ran out: the times of a folder are what its lock goes by.
fn age(object: &Path) {
    let file = File::options().write(true).open(object);
    let aged = SystemTime::now() - RUN_OUT;
    let set = file.and_then(|file| file.set_modified(aged));
    set.expect("a file's time can be set");
}

/// Makes the holder one of another machine, of which nobody here can know whether it lives.
fn move_elsewhere(object: &Path) {
    let text = std::fs::read(object).expect("it is there");
    let mut holder: Value = serde_json::from_slice(&text).expect("JSON");
    holder["host"] = "elsewhere".into();
    holder["origin"]["machine"] = "another machine".into();
    std::fs::write(object, holder.to_string()).expect("it can be written");
}

/// An apply whose migrations are in flight, which stops there as a machine that goes to sleep does.
fn sleeping_holder(project: &Project) -> Running {
    let holder = project.deployer.start(&APPLY, "");
    project.aws_database.until_a_migration_waits();
    project.gcp_database.until_a_migration_waits();
    holder.signal("STOP");
    holder
}

#[test]
fn a_holder_that_slept_while_its_lease_ran_out_changes_nothing_more() {
    let Some(project) = project("a_holder_that_slept_while_its_lease_ran_out_changes_nothing_more")
    else {
        return;
    };
    let databases = [&project.aws_database, &project.gcp_database];
    let held = databases.map(|database| database.hold_migrations());
    let holder = sleeping_holder(&project);
    let early = project.deployer.run(&APPLY).exits(exit::LOCKED);
    early.says(&format!("(process {}), apply since 20", holder.id()));
    std::thread::sleep(A_NAP);
    for object in newest_locks(&project) {
        move_elsewhere(&object);
        age(&object);
    }
    let next = project.deployer.start(&APPLY, "");
    next.until_it_says("gcp: run 1 (apply) by ");
    drop(held);
    let next = next.finish().exits(exit::SUCCESS);
    let took_over = format!("@elsewhere (process {}), apply since", holder.id());
    next.says("took over the lock of ").says(&took_over);
    next.says(": its lease ran out ");
    assert_eq!(next.stderr.matches(&took_over).count(), 2, "{next}");
    let name = project.manifest.service_name();
    next.says(&format!(
        " ago during migrate aws/us-east-1/ecs.migration/{name}, "
    ));
    next.says(&format!(
        " ago during migrate gcp/us-central1/run.migration/{name}-migrate, "
    ));

    let (aws, gcp) = (project.aws.mark(), project.gcp.mark());
    let before = objects(&project);
    holder.signal("CONT");
    let ended = holder.finish().exits(exit::LOCKED);
    for target in [
        "aws 123456789012 us-east-1",
        "gcp sandbox-project us-central1",
    ] {
        ended.says(&format!("the lock of {target} SANDBOX was lost to "));
    }
    ended.says("this run starts nothing more");
    assert_eq!([aws.calls(), gcp.calls()].concat(), Vec::<String>::new());
    assert!(before == objects(&project), "it wrote to the ledger");

    let runs = project.runs();
    let outcomes: Vec<_> = runs
        .iter()
        .map(|run| (&*run.cloud, run.outcome()))
        .collect();
    let done = Some("succeeded");
    let expected = [("aws", None), ("aws", done), ("gcp", None), ("gcp", done)];
    assert_eq!(outcomes, expected);
    for database in databases {
        assert_eq!(database.migrations_run(), ["1.0.0"]);
    }
    let plan = project.deployer.run(&["plan", "--detailed-exitcode"]);
    plan.exits(exit::SUCCESS);
}

#[test]
fn who_waits_whether_a_living_holder_renews_can_be_interrupted() {
    let Some(project) = project("who_waits_whether_a_living_holder_renews_can_be_interrupted")
    else {
        return;
    };
    let databases = [&project.aws_database, &project.gcp_database];
    let held = databases.map(|database| database.hold_migrations());
    let holder = sleeping_holder(&project);
    newest_locks(&project).iter().for_each(|object| age(object));
    let runs_out = locks(&project);
    for lock in &runs_out {
        assert_eq!(lock["holder"]["process"], holder.id(), "{lock:#}");
    }
    let (aws, gcp) = (project.aws.mark(), project.gcp.mark());
    let next = project.deployer.start(&APPLY, "");
    next.until_it_says("; waiting 95 s to see whether it is renewed");
    next.signal("INT");
    let next = next.finish().exits(exit::INTERRUPTED);
    next.says("stopped before the lock was held; nothing was changed");
    assert_eq!([aws.writes(), gcp.writes()].concat(), Vec::<String>::new());
    assert_eq!(locks(&project), runs_out, "the lock is the holder's still");

    holder.signal("CONT");
    drop(held);
    holder.finish().exits(exit::SUCCESS);
    assert_one_at_a_time(&project, 1);
    for database in databases {
        assert_eq!(database.migrations_run(), ["1.0.0"]);
    }
}
