//! Tasks of executions: run again and again while they may, until they exit with zero.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::Key;
use super::conditions::{self, Standing};
use super::image::Resolved;
use super::instance::{IN_TASK, Plan, system};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Code};
use crate::gcp::logging::Source;
use crate::gcp::schema::Object;
use crate::runner::Exit;

/// What a task's attempt came to.
pub(super) enum Attempt {
    /// It ended by itself, with this code.
    Exited(i32),
    /// It was killed because it took more memory than it may.
    OutOfMemory,
    /// It was stopped at its time-out.
    TimedOut,
    /// It was stopped because the execution was cancelled.
    Cancelled,
    /// It never ran.
    NotStarted(ApiError),
}

/// One task of an execution under way.
pub(super) struct Task {
    pub(super) key: Key,
    pub(super) execution: String,
    pub(super) index: usize,
    pub(super) count: usize,
    pub(super) container: Object,
    pub(super) account: String,
    pub(super) image: Resolved,
    pub(super) timeout: Duration,
    pub(super) retries: u64,
    pub(super) cancelled: watch::Receiver<bool>,
}

impl Gcp {
    /// Runs one task with its retries; answers its index and its last attempt.
    pub(super) async fn run_task(&self, task: Task) -> (usize, Attempt) {
        self.count(&task, &[("runningCount", 1)]);
        self.with_task(&task, |message, now| {
            message.insert("scheduledTime".into(), now.into());
            message.insert("startTime".into(), now.into());
        });
        let mut attempt_number = 0;
        let last = loop {
            let attempt = self.attempt(&task, attempt_number).await;
            let again = match attempt {
                Attempt::Exited(0) | Attempt::Cancelled => false,
                Attempt::Exited(_)
                | Attempt::OutOfMemory
                | Attempt::TimedOut
                | Attempt::NotStarted(_) => attempt_number < task.retries,
            };
            self.record_attempt(&task, &attempt, attempt_number, again);
            if !again {
                break attempt;
            }
            if attempt_number == 0 {
                self.count(&task, &[("retriedCount", 1)]);
            }
            attempt_number += 1;
            self.host().clock.sleep(Duration::from_secs(2)).await;
        };
        let end = match last {
            Attempt::Exited(0) => "succeededCount",
            Attempt::Cancelled => "cancelledCount",
            Attempt::Exited(_)
            | Attempt::OutOfMemory
            | Attempt::TimedOut
            | Attempt::NotStarted(_) => "failedCount",
        };
        self.count(&task, &[("runningCount", -1), (end, 1)]);
        (task.index, last)
    }

    async fn attempt(&self, task: &Task, number: u64) -> Attempt {
        let mut cancelled = task.cancelled.clone();
        if *cancelled.borrow() {
            return Attempt::Cancelled;
        }
        let source = self.task_source(task, number);
        let plan = Plan {
            name: format!("{}-task{}-{number}", task.execution, task.index),
            container: &task.container,
            system_env: vec![
                ("CLOUD_RUN_JOB", task.key.1.clone()),
                ("CLOUD_RUN_EXECUTION", task.execution.clone()),
                ("CLOUD_RUN_TASK_INDEX", task.index.to_string()),
                ("CLOUD_RUN_TASK_ATTEMPT", number.to_string()),
                ("CLOUD_RUN_TASK_COUNT", task.count.to_string()),
            ],
            serves: false,
            source: source.clone(),
            account: &task.account,
            at: IN_TASK,
        };
        let container = match self.start_container(&plan, &task.image).await {
            Ok(container) => container,
            Err(failure) => return Attempt::NotStarted(failure.error),
        };
        let attempt = tokio::select! {
            exit = container.wait() => return {
                let severity = if exit.code == 0 { "INFO" } else { "ERROR" };
                self.log(&system(&source), &format!("Container called exit({}).", exit.code), severity);
                Attempt::of(exit)
            },
            () = self.host().clock.sleep_unscaled(self.patient(task.timeout)) => Attempt::TimedOut,
            _ = cancelled.wait_for(|c| *c) => Attempt::Cancelled,
        };
        container.stop(self.grace()).await;
        if matches!(attempt, Attempt::TimedOut) {
            self.log(
                &system(&source),
                "Terminating task because it has reached the maximum timeout.",
                "ERROR",
            );
        }
        attempt
    }

    fn task_source(&self, task: &Task, attempt: u64) -> Source {
        Source {
            resource: json!({ "type": "cloud_run_job", "labels": {
                "project_id": self.host().project, "location": task.key.0, "job_name": task.key.1,
            } }),
            labels: json!({
                "run.googleapis.com/execution_name": task.execution,
                "run.googleapis.com/task_index": task.index.to_string(),
                "run.googleapis.com/task_attempt": attempt.to_string(),
            }),
            log: "stdout".into(),
        }
    }

    fn with_task(&self, task: &Task, act: impl FnOnce(&mut Object, &str)) {
        let now = self.now();
        let found = self.with_execution(&task.key, &task.execution, |execution| {
            if let Some(message) = execution.tasks.get_mut(task.index) {
                act(message, &now);
                message.insert("updateTime".into(), now.clone().into());
            }
        });
        // An execution that was deleted meanwhile keeps no record.
        drop(found);
    }

    fn count(&self, task: &Task, changes: &[(&str, i64)]) {
        let found = self.with_execution(&task.key, &task.execution, |execution| {
            for (name, change) in changes {
                let now = execution
                    .message
                    .get(*name)
                    .and_then(Value::as_i64)
                    .unwrap_or(0);
                execution
                    .message
                    .insert((*name).into(), (now + change).into());
            }
        });
        drop(found);
    }

    fn record_attempt(&self, task: &Task, attempt: &Attempt, number: u64, again: bool) {
        self.with_task(task, |message, now| {
            message.insert("retried".into(), number.into());
            message.insert("lastAttemptResult".into(), attempt.result());
            message.insert("observedGeneration".into(), "1".into());
            if !again {
                conditions::set(message, "Completed", &attempt.standing(), now);
                message.insert("completionTime".into(), now.into());
                message.insert("reconciling".into(), false.into());
            }
        });
    }
}

impl Attempt {
    fn of(exit: Exit) -> Self {
        match exit.out_of_memory {
            true => Self::OutOfMemory,
            false => Self::Exited(exit.code),
        }
    }

    /// Google's sentence; empty for a success.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Exited(0) => String::new(),
            Self::Exited(_) => "The container exited with an error.".into(),
            Self::OutOfMemory => "The configured memory limit was reached.".into(),
            Self::TimedOut => "The configured timeout was reached.".into(),
            Self::Cancelled => "The execution was cancelled.".into(),
            Self::NotStarted(error) => error.message.clone(),
        }
    }

    /// The task's `Completed` condition after this attempt.
    pub(super) fn standing(&self) -> Standing {
        let failed = |reason| Standing::Failed {
            field: "executionReason",
            reason,
            message: self.message(),
        };
        match self {
            Self::Exited(0) => Standing::Succeeded,
            Self::Exited(_) | Self::OutOfMemory => failed("NON_ZERO_EXIT_CODE"),
            Self::Cancelled => failed("CANCELLED"),
            Self::TimedOut => Standing::failed("PROGRESS_DEADLINE_EXCEEDED", self.message()),
            Self::NotStarted(_) => Standing::failed("UNKNOWN", self.message()),
        }
    }

    /// `TaskAttemptResult`.
    fn result(&self) -> Value {
        let status = |code: Code| json!({ "code": code.number(), "message": self.message() });
        match self {
            Self::Exited(0) => json!({ "status": {} }),
            // 128 + n: ended by signal n.
            Self::Exited(code) if *code > 128 => {
                json!({ "exitCode": code, "termSignal": code - 128, "status": status(Code::Internal) })
            }
            Self::Exited(code) => json!({ "exitCode": code, "status": status(Code::Internal) }),
            Self::OutOfMemory => {
                json!({ "exitCode": 137, "termSignal": 9, "status": status(Code::Internal) })
            }
            Self::TimedOut => json!({ "termSignal": 15, "status": status(Code::Internal) }),
            Self::Cancelled => json!({ "status": status(Code::Cancelled) }),
            Self::NotStarted(error) => json!({ "status": status(error.code) }),
        }
    }
}
