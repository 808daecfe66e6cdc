//! How a migration stands, and which execution is its own.

use super::*;
use google_cloud_run_v2::model::{ExecutionReference, TaskAttemptResult};

fn key(command: &str) -> MigrationKey {
    let migrate = MigrateSpec {
        job: "idp-migrate".into(),
        entrypoint: Vec::new(),
        command: vec![command.into()],
        timeout: Duration::from_secs(300),
        database: None,
    };
    MigrationKey::new(&migrate, &ImageRef("idp@sha256:one".into()), None, None)
}

fn seen(standing: MigrationStanding) -> Standings {
    Standings::from([(key("k1").key, standing)])
}

#[test]
fn what_a_job_told_before_a_start_is_noted_and_read_again() {
    let latest = ExecutionReference::new().set_name("projects/p/locations/l/jobs/j/executions/j-1");
    let job = Job::new()
        .set_execution_count(3)
        .set_latest_created_execution(latest);
    let created = Created::of(&job);
    assert_eq!((created.count, created.latest.as_str()), (3, "j-1"));
    assert_eq!(Created::read(created.noted().as_deref()), Some(created));
    assert_eq!(Created::of(&Job::new()), Created::default());
    assert_eq!(Created::read(None), None);
}

#[test]
fn only_a_success_for_this_very_image_and_database_counts_as_done() {
    let succeeded = seen(MigrationStanding::Succeeded {
        at: Timestamp::UNIX_EPOCH,
    });
    assert!(matches!(
        judge(&succeeded, Some(&key("k1")), Rerun::No),
        Evidence::Done(_)
    ));
    assert!(matches!(
        judge(&succeeded, Some(&key("k2")), Rerun::No),
        Evidence::NotDone(_)
    ));
    assert!(matches!(
        judge(&succeeded, None, Rerun::No),
        Evidence::Unknown(_)
    ));
    assert!(matches!(
        judge(&Standings::new(), Some(&key("k1")), Rerun::No),
        Evidence::NotDone(_)
    ));
}

#[test]
fn a_failed_or_interrupted_migration_is_not_done_and_says_why() {
    let failed = seen(MigrationStanding::Failed {
        at: Timestamp::UNIX_EPOCH,
        why: "exit code 3".into(),
    });
    let Evidence::NotDone(why) = judge(&failed, Some(&key("k1")), Rerun::No) else {
        panic!("it failed")
    };
    assert!(why.contains("exit code 3"));
    let started = seen(MigrationStanding::Started {
        execution: None,
        at: None,
        before: None,
    });
    assert!(matches!(
        judge(&started, Some(&key("k1")), Rerun::No),
        Evidence::NotDone(_)
    ));
}

#[test]
fn a_network_that_is_not_there_yet_is_told_apart_by_its_words() {
    assert!(speaks_of_connections(
        "Error: connect ETIMEDOUT 10.0.0.3:5432"
    ));
    assert!(!speaks_of_connections("relation \"users\" exists already"));
}

#[test]
fn a_task_tells_its_exit_code_or_its_signal() {
    let task = |result| Task::new().set_last_attempt_result(result);
    let exited = task(TaskAttemptResult::new().set_exit_code(3));
    assert_eq!(task_words(&exited).unwrap(), "task 0: exit code 3");
    let killed = task(TaskAttemptResult::new().set_term_signal(9));
    assert!(task_words(&killed).unwrap().contains("signal 9"));
    assert_eq!(task_words(&task(TaskAttemptResult::new())), None);
}
