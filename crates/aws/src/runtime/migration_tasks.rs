//! The tasks of migrations: found again, waited for, stopped.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ecs::types::{DesiredStatus, Task};
use deployer_core::capability::MigrationStanding;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Watch;
use deployer_core::wait::{Look, Pace, poll};
use jiff::Timestamp;

use super::autopsy;
use super::migration::{Migration, never_started};
use super::task_definition::family_of;
use crate::error::Told;

/// When a task began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// In this run.
    Now,
    /// In one before.
    Earlier,
}

/// So long at least is watched what an earlier run began, whatever the clocks say.
const LEAST: Duration = Duration::from_secs(60);

/// How long ECS may not know a task that it has started or has told of before: its answers lag.
const LAG: Duration = Duration::from_secs(60);
/// How long at least is looked for a task that was noted by another machine's clock.
const CLOCKS: Duration = Duration::from_secs(20);
/// What was noted so long ago is known to ECS, whatever the clocks say.
const LONG_PAST: Duration = Duration::from_secs(60 * 60);
/// How long a task that is to stop may take: ECS kills it two minutes after the signal at the latest.
const STOPPING: Duration = Duration::from_secs(5 * 60);

impl Migration {
    /// The families of which it may have been a task.
    fn families(&self) -> [String; 2] {
        [self.names.family.clone(), self.names.of_migration().family]
    }

    /// The tasks that were started for a key, newest first: also those whose reply was lost. ECS forgets stopped ones after an
    /// hour.
    pub(super) async fn started(&self, key: &str) -> Result<Vec<Task>> {
        let by = started_by(key);
        // "When you specify startedBy as the filter, it must be the only filter that you use" (ListTasks): it finds those that
        // are to run. Those that are to have stopped are found by their family.
        let listing = || {
            let list = self.clients.ecs.list_tasks();
            list.cluster(&self.clients.section.cluster)
        };
        let mut calls = vec![listing().started_by(&by)];
        for family in self.families() {
            calls.push(
                listing()
                    .family(family)
                    .desired_status(DesiredStatus::Stopped),
            );
        }
        let mut tasks = Vec::new();
        for call in calls {
            let mut pages = call.into_paginator().send();
            while let Some(page) = pages.next().await {
                let page = page.told(|| self.looking())?;
                tasks.extend(self.described(page.task_arns.unwrap_or_default()).await?);
            }
        }
        tasks.retain(|task| task.started_by() == Some(by.as_str()));
        let made = |task: &Task| task.created_at().map(|at| (at.secs(), at.subsec_nanos()));
        tasks.sort_by_key(|task| std::cmp::Reverse(made(task)));
        tasks.dedup_by(|one, other| one.task_arn() == other.task_arn());
        Ok(tasks)
    }

    /// The tasks that were started for a key, newest first, where the reply to a start may have been lost; `at` is when it was noted,
    /// `is_it` says which task it may be. Lists lag ("eventual consistency model", RunTask): it is looked for until ECS would tell.
    pub(super) async fn lost(
        &self,
        key: &str,
        at: Option<Timestamp>,
        is_it: impl Fn(&Task) -> bool + Sync,
    ) -> Result<Vec<Task>> {
        let clock = self.clients.clock();
        let age = at.map_or(Duration::ZERO, |at| {
            let age = clock.now().duration_since(at).try_into();
            age.unwrap_or_default()
        });
        // The note is by another machine's clock, which may be wrong by minutes, not by hours.
        let left = match age < LONG_PAST {
            true => LAG.saturating_sub(age).max(CLOCKS),
            false => Duration::ZERO,
        };
        let seen = Mutex::new(Vec::new());
        let what = format!("a task that migrates `{}`", self.names.service);
        let looked = poll(clock, Pace::until(left), &what, || async {
            let tasks = self.started(key).await?;
            let found = tasks.iter().any(&is_it);
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
            Ok(match found {
                true => Look::Found(()),
                false => Look::NotYet("ECS does not know one".to_owned()),
            })
        });
        let looked = looked.await;
        match looked {
            Err(error) if error.kind() != ErrorKind::TimedOut => Err(error),
            Ok(()) | Err(_) => Ok(seen.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn looking(&self) -> String {
        let service = &self.names.service;
        format!("look for tasks that migrate `{service}` (ecs:ListTasks, ecs:DescribeTasks)")
    }

    /// One page at most.
    async fn described(&self, arns: Vec<String>) -> Result<Vec<Task>> {
        if arns.is_empty() {
            return Ok(Vec::new());
        }
        let describe = self.clients.ecs.describe_tasks();
        let call = describe.cluster(&self.clients.section.cluster);
        let answer = call.set_tasks(Some(arns)).send().await;
        Ok(answer.told(|| self.looking())?.tasks.unwrap_or_default())
    }

    /// Fails while the task of an earlier migration of this service runs: two at once may undo each other's work.
    pub(super) async fn refuse_beside_another(&self, key: &str) -> Result<()> {
        let standings = self.record.standings().await?;
        let (mut known, mut lost) = (Vec::new(), Vec::new());
        for (other, standing) in standings.into_iter().filter(|(other, _)| other != key) {
            match standing {
                MigrationStanding::Started {
                    execution: Some(arn),
                    ..
                } => known.push(arn),
                MigrationStanding::Started {
                    execution: None,
                    at,
                    ..
                } => lost.push((other, at)),
                MigrationStanding::Never
                | MigrationStanding::Succeeded { .. }
                | MigrationStanding::Failed { .. }
                | MigrationStanding::NotStarted { .. } => {}
            }
        }
        known.truncate(100);
        let mut tasks = self.described(known).await?;
        for (other, at) in lost {
            tasks.extend(self.lost(&other, at, |_| true).await?);
        }
        let families = self.families();
        let of_ours = |task: &&Task| {
            let family = task.task_definition_arn().map(family_of);
            family.is_some_and(|family| families.iter().any(|ours| ours == family))
        };
        let mut running = tasks.iter().filter(of_ours);
        match running.find(|task| task.last_status() != Some("STOPPED")) {
            Some(task) => Err(self.still_running(task.task_arn().unwrap_or_default())),
            None => Ok(()),
        }
    }

    pub(super) fn still_running(&self, arn: &str) -> Error {
        let (task, cluster) = (autopsy::task_id(arn), &self.clients.section.cluster);
        Error::new(
            ErrorKind::Failed,
            format!(
                "a migration of `{}` is still running, as task `{task}`: no other one is started",
                self.names.service
            ),
        )
        .hint(format!(
            "wait for its end, or stop it: `aws ecs stop-task --cluster {cluster} --task {task}`"
        ))
    }

    /// The first of these of which something may have run.
    pub(super) fn begun<'a>(&self, tasks: impl IntoIterator<Item = &'a Task>) -> Option<String> {
        let mut tasks = tasks.into_iter();
        let begun = tasks.find(|task| !never_started(task, &self.names.container))?;
        begun.task_arn().map(str::to_owned)
    }

    /// Waits until it has stopped, until its time is over: that counts from its start. Only of one that another run started is that told
    /// by two clocks, AWS's and this machine's, which may be minutes apart: that one is watched for [`LEAST`] at least.
    pub(super) async fn wait(&self, arn: &str, begun: Begun, watch: &dyn Watch) -> Result<Task> {
        let what = format!("the migration of `{}`", self.names.service);
        let left = match begun {
            Begun::Now => self.spec.timeout,
            Begun::Earlier => {
                let spent = self.age(arn).await?;
                self.spec.timeout.saturating_sub(spent).max(LEAST)
            }
        };
        self.until_stopped(arn, Pace::closely(left), &what, watch)
            .await
    }

    /// How long ago the task was made, by AWS's clock and this machine's.
    async fn age(&self, arn: &str) -> Result<Duration> {
        let made = self.describe(arn).await?.and_then(|task| {
            let made = task.created_at()?;
            Timestamp::from_nanosecond(made.as_nanos()).ok()
        });
        let now = self.clients.clock().now();
        let age = made.map(|made| Duration::try_from(now.duration_since(made)));
        Ok(age.and_then(std::result::Result::ok).unwrap_or_default())
    }

    async fn until_stopped(
        &self,
        arn: &str,
        pace: Pace,
        what: &str,
        watch: &dyn Watch,
    ) -> Result<Task> {
        let clock = self.clients.clock();
        let seen = Mutex::new(clock.elapsed());
        poll(clock, pace, what, || async {
            let found = self.describe(arn).await?;
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(task) = found else {
                return match clock.elapsed().saturating_sub(*seen) < LAG {
                    true => Ok(Look::NotYet("ECS does not know its task".to_owned())),
                    false => Err(forgotten(arn)),
                };
            };
            *seen = clock.elapsed();
            let status = task.last_status().unwrap_or("UNKNOWN").to_owned();
            watch.note(&format!("migration task is {status}"));
            Ok(if status == "STOPPED" {
                Look::Found(task)
            } else {
                Look::NotYet(format!("its task is {status}"))
            })
        })
        .await
    }

    async fn describe(&self, arn: &str) -> Result<Option<Task>> {
        let answer = self
            .clients
            .ecs
            .describe_tasks()
            .cluster(&self.clients.section.cluster)
            .tasks(arn)
            .send()
            .await
            .told(|| format!("look at migration task `{}`", autopsy::task_id(arn)))?;
        Ok(answer.tasks().first().cloned())
    }

    pub(super) fn too_long(&self) -> Error {
        Error::new(
            ErrorKind::Failed,
            format!(
                "the migration of `{}` had not ended after {} s, and was stopped",
                self.names.service,
                self.spec.timeout.as_secs()
            ),
        )
        .hint("look into its log and the database, give it more time (`migrate.timeout`), then run `deployer migrate --retry`")
    }

    /// Stops it, and waits until it has stopped.
    pub(super) async fn stop(&self, arn: &str, watch: &dyn Watch) -> Result<Task> {
        self.clients
            .ecs
            .stop_task()
            .cluster(&self.clients.section.cluster)
            .task(arn)
            .reason("deployer: the migration's time is over")
            .send()
            .await
            .told(|| format!("stop migration task `{}`", autopsy::task_id(arn)))?;
        let what = format!("the end of migration task `{}`", autopsy::task_id(arn));
        self.until_stopped(arn, Pace::closely(STOPPING), &what, watch)
            .await
    }
}

/// At most 36 characters of letters, digits, `-`, `_` and `/`.
pub(super) fn started_by(key: &str) -> String {
    format!("deployer/{}", key.chars().take(27).collect::<String>())
}

fn forgotten(arn: &str) -> Error {
    Error::new(
        ErrorKind::Failed,
        format!(
            "ECS has forgotten migration task `{}`: how it ended is not known",
            autopsy::task_id(arn)
        ),
    )
    .hint("look into its log and the database, then run `deployer migrate --retry`")
}
