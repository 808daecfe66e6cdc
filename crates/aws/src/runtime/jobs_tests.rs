//! How tasks stand and end, and by what they are started.

use aws_sdk_ecs::primitives::DateTime;
use aws_sdk_ecs::types::Container;
use deployer_core::node::Token;

use super::*;

const KEY: &str = "00112233445566778899aabbccddeeff";

fn task(exit_code: Option<i32>, reason: Option<&str>) -> Task {
    let container = Container::builder()
        .name("idp")
        .set_exit_code(exit_code)
        .set_reason(reason.map(str::to_owned))
        .build();
    Task::builder()
        .containers(container)
        .last_status(STOPPED)
        .stop_code(TaskStopCode::EssentialContainerExited)
        .stopped_reason("Essential container in task exited")
        .build()
}

#[test]
fn only_exit_code_zero_is_success() {
    assert_eq!(outcome(&task(Some(0), None), "idp"), Ok(()));
    let why = outcome(&task(Some(3), None), "idp").unwrap_err();
    assert!(
        why.starts_with("exit code 3, EssentialContainerExited"),
        "{why}"
    );
    let why = outcome(&task(None, Some("CannotPullContainerError")), "idp").unwrap_err();
    assert!(
        why.contains("never ran") && why.contains("CannotPull"),
        "{why}"
    );
    assert!(outcome(&task(Some(0), None), "other").is_err());
    let mut stopped = task(Some(0), None);
    stopped.stop_code = Some(TaskStopCode::UserInitiated);
    let why = outcome(&stopped, "idp").unwrap_err();
    assert!(why.contains("UserInitiated"), "{why}");
}

#[test]
fn only_a_task_that_failed_to_start_and_left_no_trace_of_running_never_ran() {
    let never_ran = |task: &Task| matches!(state(task, "idp"), State::Over(End::NeverRan(_)));
    let mut failed = task(None, Some("CannotPullContainerError"));
    failed.stop_code = Some(TaskStopCode::TaskFailedToStart);
    assert!(never_ran(&failed));
    // Another container kept the task from running; ours had begun.
    let mut killed = task(Some(137), None);
    killed.stop_code = Some(TaskStopCode::TaskFailedToStart);
    assert!(!never_ran(&killed));
    failed.started_at = Some(DateTime::from_secs(1));
    assert!(!never_ran(&failed), "it was running");
    assert!(!never_ran(&task(None, None)), "no word of the start");
}

#[test]
fn a_task_that_has_not_stopped_has_not_ended_whatever_its_containers_say() {
    let mut ending = task(Some(0), None);
    ending.last_status = Some("DEPROVISIONING".into());
    let state = state(&ending, "idp");
    assert_eq!(state, State::Running("DEPROVISIONING".into()));
}

#[test]
fn a_key_gives_the_same_token_each_time_and_a_retry_or_another_revision_another_one() {
    let revision = |number| Revision(format!("arn:aws:ecs:r:1:task-definition/idp:{number}"));
    let first = |number| token(KEY, &revision(number), Nth::First);
    assert_eq!(first(1), first(1));
    assert_ne!(first(1), first(2));
    let retry = |run: &str| token(KEY, &revision(1), Nth::Again(&Token(run.into())));
    assert_ne!(retry("run-1"), first(1));
    assert_ne!(retry("run-1"), retry("run-2"));
    let after = |task: &str| token(KEY, &revision(1), Nth::After(task));
    assert_eq!(after("task/1"), after("task/1"));
    assert_ne!(after("task/1"), after("task/2"));
    assert_ne!(after("task/1"), first(1));
    assert_eq!(started_by(KEY).len(), 36);
}

#[test]
fn a_ticket_is_read_as_it_was_noted() {
    let definition = Revision("arn:aws:ecs:r:1:task-definition/idp-migrate:7".into());
    let ticket = Ticket {
        token: token(KEY, &definition, Nth::First),
        family: family_of(&definition.0).into(),
    };
    let noted = serde_json::to_string(&ticket).unwrap();
    assert_eq!(ticket.family, "idp-migrate");
    assert_eq!(Ticket::read(&noted), Some(ticket));
    assert_eq!(Ticket::read("{}"), None);
}
