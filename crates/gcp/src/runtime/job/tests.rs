//! What a job says of its task and its migration.

use google_cloud_run_v2::model::ExecutionTemplate;

use super::*;

#[test]
fn a_job_without_a_number_of_retries_differs_from_one_that_never_retries() {
    let names = crate::paths::test_names();
    let job =
        |task: TaskTemplate| Job::new().set_template(ExecutionTemplate::new().set_template(task));
    let silent = describe(&names, &job(TaskTemplate::new()));
    let never = describe(&names, &job(TaskTemplate::new().set_max_retries(0)));
    let changes = silent.changes_to(&never);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].field, "retries");
}

#[test]
fn the_job_says_which_migration_it_runs() {
    let marked = ExecutionTemplate::new().set_labels([(KEY_LABEL, "0123")]);
    let job = Job::new().set_template(marked);
    let labels = &job.template.as_ref().expect("a job has a template").labels;
    assert_eq!(key_of(labels).map(String::as_str), Some("0123"));
}

#[test]
fn a_job_is_ready_when_cloud_run_has_taken_it_over() {
    let condition = |state| model::Condition::new().set_type("Ready").set_state(state);
    let ready = Job::new().set_terminal_condition(condition(State::ConditionSucceeded));
    assert_eq!(settled(&ready), Readiness::Ready);
    assert!(matches!(
        settled(&ready.clone().set_reconciling(true)),
        Readiness::Pending(_)
    ));
    let failed = condition(State::ConditionFailed).set_message("no such secret");
    assert_eq!(
        settled(&ready.set_terminal_condition(failed)),
        Readiness::Failed("no such secret".into())
    );
}
