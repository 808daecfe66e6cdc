//! A migration belongs to a database: whatever becomes of names, ledgers and commands, each
//! database that a container serves on was migrated, and never twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose, Started};
use object_store::ObjectStoreExt;

use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, DESTROY, SECOND, first_serves, run, says};

crate::tests! {
    a_database_that_was_replaced_is_migrated => replaced,
    a_database_that_left_the_manifest_and_came_back_is_migrated => removed_and_back,
    a_database_after_a_destroy_that_was_refused_is_migrated => destroyed_in_part,
    a_database_after_a_destroy_that_was_killed_is_migrated => destroyed_and_killed,
    a_migration_whose_start_was_not_answered_runs_once_while_lists_lag => lost_start,
    a_migration_whose_start_never_arrived_is_started => refused_start,
    a_start_on_aws_that_was_not_answered_is_found_though_lists_lag => lost_on_aws,
    another_migration_is_not_started_beside_one_whose_start_was_not_answered => lost_beside_another,
    a_new_password_is_no_other_database => password_changed,
    a_migration_is_not_run_again_because_its_record_is_lost => older_records,
    a_code_deployment_waits_for_its_database => database_to_come,
    a_database_that_was_restored_in_place_is_migrated_by_a_persons_word => restored_in_place,
}

const DATA: Wanted = Wanted {
    data: true,
    ..Wanted::FIRST
};
const LOSS: &[&str] = &[
    "--allow-data-loss",
    "aws/us-east-1/rds.instance/swept-test-main",
    "--allow-data-loss",
    "gcp/us-central1/sql.instance/swept-test-main",
    "--allow-data-loss",
    "aws/us-east-1/elasticache.replication_group/swept-test-sessions",
    "--allow-data-loss",
    "aws/us-east-1/ecr.repository/swept-test-idp",
    "--allow-data-loss",
    "aws/us-east-1/logs.group//ecs/swept-test-idp",
];

/// How many migrations ran to an end.
fn migrations(stage: &Stage) -> usize {
    let started = stage.containers.started();
    started
        .iter()
        .filter(|it| it.purpose == Purpose::Finish)
        .count()
}

/// Each URL that a container was ever given to serve on was given to one migration of the same
/// image, and to one alone.
fn assert_migrated_once(stage: &Stage) {
    assert_migrated_once_since(stage, 0);
}

/// The same of the containers that were started after the first `past` ones: a database that is
/// made anew may have the URL of the one before.
#[track_caller]
fn assert_migrated_once_since(stage: &Stage, past: usize) {
    let started = stage.containers.started().split_off(past);
    let of = |purpose: Purpose| {
        let started = started.iter().filter(move |it| it.purpose == purpose);
        started.map(|it| (it.digest.clone(), it.env.get("DATABASE_URL").cloned()))
    };
    for served in of(Purpose::Serve).filter(|(_, url)| url.is_some()) {
        let count = of(Purpose::Finish).filter(|it| *it == served).count();
        assert_eq!(count, 1, "migrations of {served:?}");
    }
}

fn manifest(stage: &Stage) -> PathBuf {
    Path::new(&stage.file("beside", "")).with_file_name("deployer.toml")
}

/// An instance that is made anew is another database under the same name and secret.
async fn replaced(stage: &Stage) {
    stage.want(&DATA);
    let path = manifest(stage);
    let whole = std::fs::read_to_string(&path).expect("a manifest");
    let disk = "storage = \"20GiB\"";
    let other = whole.replace(disk, &format!("{disk}\ndatabase = \"another\""));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(migrations(stage), 1);
    std::fs::write(&path, other).expect("it can be written");
    run(stage, &[APPLY, LOSS].concat(), "aws", Exit::Success).await;
    assert_eq!(migrations(stage), 2, "the new database was migrated");
    stage.calls.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.calls.writes(), [] as [&str; 0]);
    // A code deployment finds the same database.
    let only = [APPLY, &["--only", "idp"]].concat();
    run(stage, &only, "aws", Exit::Success).await;
    assert_eq!(migrations(stage), 2);
}

/// Service and database leave the manifest and come back.
async fn removed_and_back(stage: &Stage) {
    for (cloud, data) in [("aws", true), ("gcp", false)] {
        stage.want(&Wanted {
            more_services: 1,
            data,
            ..Wanted::FIRST
        });
        let before = migrations(stage);
        let path = manifest(stage);
        let whole = std::fs::read_to_string(&path).expect("a manifest");
        let (head, rest) = whole.split_once("[services.idp]").expect("the service");
        let (_, tail) = rest.split_once("[services.s1]").expect("the other service");
        run(stage, APPLY, cloud, Exit::Success).await;
        std::fs::write(&path, format!("{head}[services.s1]{tail}")).expect("it can be written");
        run(stage, &[APPLY, LOSS].concat(), cloud, Exit::Success).await;
        std::fs::write(&path, whole).expect("it can be written");
        run(stage, APPLY, cloud, Exit::Success).await;
        assert_eq!(migrations(stage) - before, 2, "{cloud}: each database once");
    }
}

/// A destroy that is refused late has deleted the database all the same.
async fn destroyed_in_part(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.calls.deny("rds:DeleteDBSubnetGroup");
    let destroyed = run(stage, DESTROY, "aws", Exit::Denied).await;
    stage.calls.arm(None);
    assert_migrated_once(stage);
    let past = stage.containers.started().len();
    let applied = run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(migrations(stage), 2, "{destroyed}\n{applied}");
    assert_migrated_once_since(stage, past);
    stage.want(&Wanted::FIRST);
    let (before, past) = (migrations(stage), stage.containers.started().len());
    run(stage, APPLY, "gcp", Exit::Success).await;
    stage
        .calls
        .deny("artifactregistry.projects.locations.repositories.delete");
    run(stage, DESTROY, "gcp", Exit::Denied).await;
    stage.calls.arm(None);
    run(stage, APPLY, "gcp", Exit::Success).await;
    // Whether its secret went before the refusal or not: what serves was migrated, and once.
    assert!((1..=2).contains(&(migrations(stage) - before)));
    assert_migrated_once_since(stage, past);
}

/// A destroy that is killed at any of its last writes.
async fn destroyed_and_killed(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "gcp", Exit::Success).await;
    stage.ledger.arm(None);
    run(stage, DESTROY, "gcp", Exit::Success).await;
    let writes = stage.ledger.writes();
    for crash in [
        Crash::Before(writes),
        Crash::After(writes),
        Crash::After(writes - 3),
    ] {
        run(stage, APPLY, "gcp", Exit::Success).await;
        stage.ledger.arm(Some(crash));
        let (ended, said) = stage.run(DESTROY, "gcp").await;
        assert!(matches!(ended, Ended::Killed), "{said}");
        stage.ledger.arm(None);
        stage.time.pass(Duration::from_secs(300)).await;
        run(stage, APPLY, "gcp", Exit::Success).await;
        assert_migrated_once(stage);
        run(stage, DESTROY, "gcp", Exit::Success).await;
    }
}

/// A start on Google whose reply is lost, where its list of executions lags for as long as anybody
/// looks.
async fn lost_start(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let rules = "[[fault]]\ncall = \"run.projects.locations.jobs.run\"\nwhat = \"reset_after\"\nnth = 1\n\n\
                 [[fault]]\ncall = \"run.projects.locations.jobs.executions.list\"\nwhat = \"stale\"\n";
    stage.disturb(rules).await;
    let (_, said) = stage.run(APPLY, "gcp").await;
    assert!(said.contains("error"), "{said}");
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(migrations(stage), 1);
    stage.disturb("").await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(migrations(stage), 1);
}

/// No reply to the start, however often it is asked for, and lists that do not have the task for a
/// while.
const LOST_ON_AWS: &str = "[[fault]]\ncall = \"ecs:RunTask\"\nwhat = \"reset_after\"\n\n\
                           [[fault]]\ncall = \"ecs:ListTasks\"\nwhat = \"stale\"\nnth = 1\ntimes = 4\n";
/// Lists that do not have the task for a while.
const LATE_LISTS: &str =
    "[[fault]]\ncall = \"ecs:ListTasks\"\nwhat = \"stale\"\nnth = 1\ntimes = 4\n";

/// Another greeting makes another task definition, and no other migration: it is not run beside the
/// one that was started.
async fn lost_on_aws(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.disturb(LOST_ON_AWS).await;
    let (_, said) = stage.run(APPLY, "aws").await;
    assert!(said.contains("error"), "{said}");
    stage.want(&Wanted {
        greeting: "good evening",
        ..Wanted::FIRST
    });
    stage.disturb(LATE_LISTS).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(migrations(stage), 1);
    stage.disturb("").await;
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(migrations(stage), 1);
}

/// Two at once on one database may undo each other's work.
async fn lost_beside_another(stage: &Stage) {
    stage.behave(|started| Behaviour {
        takes: match started.purpose {
            Purpose::Finish => Duration::from_secs(200),
            Purpose::Serve => Duration::ZERO,
        },
        ..Behaviour::usual(started.purpose)
    });
    stage.want(&Wanted::FIRST);
    stage.disturb(LOST_ON_AWS).await;
    let (_, said) = stage.run(APPLY, "aws").await;
    assert!(said.contains("error"), "{said}");
    stage.want(&SECOND);
    stage.disturb(LATE_LISTS).await;
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(&said, &["is still running", "no other one is started"]);
    assert!(migrations(stage) <= 1);
    stage.disturb("").await;
    stage.time.pass(Duration::from_secs(300)).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(migrations(stage), 2);
}

/// The same where nothing landed: it is started once the cloud has had the time to show it.
async fn refused_start(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let rules =
        "[[fault]]\ncall = \"run.projects.locations.jobs.run\"\nwhat = \"reset_before\"\nnth = 1\n";
    stage.disturb(rules).await;
    let (_, said) = stage.run(APPLY, "gcp").await;
    assert!(said.contains("error"), "{said}");
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(migrations(stage), 1);
}

/// A new password is no other database.
async fn password_changed(stage: &Stage) {
    stage.want(&DATA);
    for (cloud, migrated) in [("aws", 1), ("gcp", 2)] {
        run(stage, APPLY, cloud, Exit::Success).await;
        let value = stage.file("value", "a-password-of-another-kind-1");
        let set = ["secrets", "set", "main-password", "--file", &value];
        run(stage, &set, cloud, Exit::Success).await;
        run(stage, APPLY, cloud, Exit::Success).await;
        assert_eq!(migrations(stage), migrated, "{cloud}");
    }
}

/// What a ledger of before says by the secret's name counts for the database that was there then.
async fn older_records(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "all", Exit::Success).await;
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    assert_migrated_once(stage);
    let mut records = stage.ledger.standing().await;
    records.retain(|it| it.as_ref().contains("/migrations/"));
    assert!(!records.is_empty());
    // Without any record the clouds themselves still know.
    for record in records {
        stage.ledger.delete(&record).await.expect("it goes");
    }
    run(stage, APPLY, "all", Exit::Success).await;
    assert_migrated_once(stage);
}

/// The database of a code deployment is one that is there: nothing is migrated by its name alone.
async fn database_to_come(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&Wanted {
        data: true,
        ..SECOND
    });
    let only = [APPLY, &["--only", "idp"]].concat();
    for cloud in ["aws", "gcp"] {
        let before = stage.containers.started().len();
        let said = run(stage, &only, cloud, Exit::Failure).await;
        says(&said, &["database `main` is not there", "makes it"]);
        assert_eq!(stage.containers.started().len(), before);
    }
}

/// A backup that is restored into its own instance makes no other database: nothing tells, and a
/// person says it. Once more each time, and a start that was not answered is one.
async fn restored_in_place(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "all", Exit::Success).await;
    for cloud in ["aws", "gcp"] {
        let ran = || {
            let started = stage.containers.started();
            let cloud = format!("{cloud}/");
            let of_it =
                |it: &&Started| it.purpose == Purpose::Finish && it.repository.starts_with(&cloud);
            started.iter().filter(of_it).count()
        };
        let before = ran();
        let said = run(stage, &["migrate", "--yes"], cloud, Exit::Success).await;
        says(&said, &["has run already", "`--again` runs it once more"]);
        assert_eq!(ran(), before, "{said}");
        for times in 1..=2 {
            let said = run(
                stage,
                &["migrate", "--again", "--yes"],
                cloud,
                Exit::Success,
            )
            .await;
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            says(&said, &["migrate, to be run again; it succeeded at"]);
            assert_eq!(ran(), before + times, "{said}");
        }
        run(stage, APPLY, cloud, Exit::Success).await;
        assert_eq!(ran(), before + 2);
    }
}
