//! Reads Cloud Run's conditions: how something stands, in the cloud's own words; pure.

use deployer_core::jobs::{self, End};
use google_cloud_run_v2::model::condition::{Reasons, State};
use google_cloud_run_v2::model::{Condition, Execution, Revision};

use crate::secret_store::moment;

/// What is told of an execution.
pub(crate) fn execution(told: &Execution) -> jobs::Execution {
    jobs::Execution {
        id: told.name.clone(),
        made: moment(told.create_time.as_ref()),
        state: match ending(told) {
            Ending::NotYet(why) => jobs::State::Running(why),
            Ending::Succeeded => jobs::State::Over(End::Succeeded),
            Ending::Failed(why) => jobs::State::Over(End::Failed(why)),
            Ending::NeverStarted(why) => jobs::State::Over(End::NeverRan(why)),
        },
    }
}

/// `HEALTH_CHECK_CONTAINER_ERROR: The user-provided container failed to start ...`.
pub(crate) fn words(condition: &Condition) -> String {
    let reason = match &condition.reasons {
        Some(Reasons::Reason(reason)) => reason.name(),
        Some(Reasons::RevisionReason(reason)) => reason.name(),
        Some(Reasons::ExecutionReason(reason)) => reason.name(),
        // Google's list of reasons is open.
        _ => None,
    };
    let reason = reason.filter(|reason| !reason.ends_with("UNDEFINED"));
    // What follows the first paragraph is a link to the console.
    let message = condition.message.split("\n\n").next().unwrap_or_default();
    match (reason, message.trim()) {
        (Some(reason), "") => reason.to_owned(),
        (Some(reason), message) => format!("{reason}: {message}"),
        (None, "") => condition.r#type.clone(),
        (None, message) => message.to_owned(),
    }
}

/// Whether lines say already what another one has to say, its reason aside.
pub(crate) fn is_told(lines: &[String], line: &str) -> bool {
    let message = line.split_once(": ").map_or(line, |(_, message)| message);
    lines.iter().any(|told| told.contains(message))
}

/// The words of every condition that failed, each once.
pub(crate) fn failures<'a>(conditions: impl IntoIterator<Item = &'a Condition>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for condition in conditions {
        let line = words(condition);
        if condition.state == State::ConditionFailed && !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// Whether a revision never became ready: it cannot be made to serve.
pub(crate) fn never_ready(revision: &Revision) -> bool {
    revision
        .conditions
        .iter()
        .any(|condition| condition.r#type == "Ready" && condition.state == State::ConditionFailed)
}

/// How an execution stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It still runs; what it waits for.
    NotYet(String),
    /// Every task ended well.
    Succeeded,
    /// It failed; the cloud's words.
    Failed(String),
    /// It failed before anything of it ran; the cloud's words.
    NeverStarted(String),
}

/// Judges an execution by its `Completed` condition, and by its counts where that is silent.
pub(crate) fn ending(execution: &Execution) -> Ending {
    let completed = execution
        .conditions
        .iter()
        .find(|condition| condition.r#type == "Completed");
    match completed.map(|condition| (&condition.state, condition)) {
        Some((State::ConditionSucceeded, _)) => return Ending::Succeeded,
        Some((State::ConditionFailed, condition)) if left_no_trace(execution) => {
            return Ending::NeverStarted(words(condition));
        }
        Some((State::ConditionFailed, condition)) => return Ending::Failed(words(condition)),
        _ => {}
    }
    let tasks = execution.task_count.max(1);
    if execution.completion_time.is_none() {
        let waiting = completed
            .filter(|condition| !condition.message.is_empty())
            .map_or_else(
                || format!("{} of {tasks} tasks run", execution.running_count),
                words,
            );
        return Ending::NotYet(waiting);
    }
    if execution.failed_count == 0
        && execution.cancelled_count == 0
        && execution.succeeded_count >= tasks
    {
        Ending::Succeeded
    } else {
        Ending::Failed(format!(
            "{} of {tasks} tasks failed, {} were cancelled",
            execution.failed_count, execution.cancelled_count
        ))
    }
}

/// Whether an execution that is over never began to run, and none of its tasks came to anything.
fn left_no_trace(execution: &Execution) -> bool {
    let counts = [
        execution.succeeded_count,
        execution.failed_count,
        execution.cancelled_count,
        execution.retried_count,
        execution.running_count,
    ];
    execution.start_time.is_none() && counts.iter().all(|count| *count == 0)
}

#[cfg(test)]
mod tests {
    use google_cloud_run_v2::model::condition::{CommonReason, ExecutionReason};
    use google_cloud_wkt::Timestamp;

    use super::*;

    fn completed(state: State) -> Condition {
        Condition::new().set_type("Completed").set_state(state)
    }

    #[test]
    fn an_execution_ends_as_its_condition_says_and_a_task_that_exits_with_3_is_a_failure() {
        let condition = completed(State::ConditionFailed)
            .set_execution_reason(ExecutionReason::NonZeroExitCode)
            .set_message("Task idp-migrate-x-task0 failed with message: exit code 3.");
        let execution = Execution::new()
            .set_conditions([condition])
            .set_start_time(Timestamp::default());
        let Ending::Failed(why) = ending(&execution) else {
            panic!("it failed")
        };
        assert!(why.starts_with("NON_ZERO_EXIT_CODE: Task"));
        let execution = Execution::new().set_conditions([completed(State::ConditionSucceeded)]);
        assert_eq!(ending(&execution), Ending::Succeeded);
    }

    #[test]
    fn an_execution_that_failed_before_it_began_to_run_never_started() {
        let missing = completed(State::ConditionFailed)
            .set_reason(CommonReason::ContainerMissing)
            .set_message("Image 'x' not found.");
        let execution = Execution::new().set_conditions([missing]);
        let why = "CONTAINER_MISSING: Image 'x' not found.";
        assert_eq!(ending(&execution), Ending::NeverStarted(why.into()));
        let began = execution.clone().set_start_time(Timestamp::default());
        assert_eq!(ending(&began), Ending::Failed(why.into()));
        let counted = execution.set_failed_count(1);
        assert_eq!(ending(&counted), Ending::Failed(why.into()));
    }

    #[test]
    fn an_execution_without_a_verdict_has_succeeded_only_when_all_tasks_have() {
        let running = Execution::new().set_task_count(1).set_running_count(1);
        assert_eq!(ending(&running), Ending::NotYet("1 of 1 tasks run".into()));
        let over = running
            .set_running_count(0)
            .set_completion_time(Timestamp::clamp(1, 0));
        assert!(matches!(ending(&over), Ending::Failed(_)));
        assert_eq!(ending(&over.set_succeeded_count(1)), Ending::Succeeded);
    }

    #[test]
    fn a_failure_is_told_once_with_its_reason() {
        let failed = Condition::new()
            .set_type("Ready")
            .set_state(State::ConditionFailed)
            .set_reason(CommonReason::SecretsAccessCheckFailed)
            .set_message("no access to db-url");
        let fine = Condition::new()
            .set_type("Active")
            .set_state(State::ConditionSucceeded);
        assert_eq!(
            failures(&[failed.clone(), failed, fine]),
            ["SECRETS_ACCESS_CHECK_FAILED: no access to db-url"]
        );
    }
}
