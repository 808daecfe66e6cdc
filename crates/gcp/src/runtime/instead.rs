//! Another command in the place of a revision's own, run as an execution of a job that has what the
//! revision has.

use std::time::Duration;

use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::jobs::Started;
use deployer_core::kind::Ownership;
use deployer_core::wait::Readiness;
use google_cloud_run_v2::model;
use google_cloud_run_v2::model::run_job_request::Overrides;
use google_cloud_run_v2::model::run_job_request::overrides::ContainerOverride;
use google_cloud_run_v2::model::{
    Container, EnvVar, ExecutionEnvironment, Job, ResourceRequirements, Revision, TaskTemplate,
};

use crate::error;
use crate::labels;
use crate::operation;
use crate::paths::{Names, short};
use crate::runtime::conditions;
use crate::runtime::container::{self, main_container};
use crate::runtime::job::{self, LEAST_CPU, LEAST_MEMORY};
use crate::runtime::quantity::{cpu_of_at_least, memory_of_at_least};

/// The variable by which an execution says which start made it: an override takes no labels. None
/// that begins with `DEPLOYER_`, which a manifest would take for a value of its own.
const KEY_VARIABLE: &str = "RUN_BY_DEPLOYER";
/// How long a job may take until it can be run.
const SETTLING: Duration = Duration::from_secs(180);
/// How often somebody else may change the job between its reading and its run.
const TRIES: u32 = 10;
/// How long the next look is waited for then.
const PAUSE: Duration = Duration::from_secs(1);
/// How long what somebody else made of the job stays at least: until he has run it. That is ours.
const CALM: Duration = Duration::from_secs(5);

/// A command in the place of a revision's own.
pub(crate) struct Instead {
    pub(super) command: Vec<String>,
    /// What the revision has, as a job has it.
    pub(super) task: TaskTemplate,
    pub(super) ownership: Ownership,
}

/// What a job takes over from a revision: the container that takes the requests, without what only
/// concerns requests, and what it runs with. A sidecar would keep a task from ending, and is left
/// out; that is ours.
///
/// Jobs have no ports, at least one CPU and 512 MiB, and the second generation's environment
/// ("Configure containers for jobs", "CPU limits", "Memory limits", "Select an execution
/// environment", Cloud Run).
pub(super) fn task_of(revision: &Revision) -> Result<TaskTemplate> {
    let main = main_container(&revision.containers).cloned();
    let main = main.ok_or_else(|| {
        let what = format!("revision `{}` has no container", short(&revision.name));
        Error::new(ErrorKind::NotFound, what)
    })?;
    let limits = main.resources.as_ref().map(|it| it.limits.clone());
    let mut limits = limits.unwrap_or_default();
    if let Some(cpu) = limits.get_mut("cpu") {
        *cpu = cpu_of_at_least(cpu, LEAST_CPU);
    }
    if let Some(memory) = limits.get_mut("memory") {
        *memory = memory_of_at_least(memory, LEAST_MEMORY);
    }
    let mut main = main.set_resources(ResourceRequirements::new().set_limits(limits));
    main.ports.clear();
    main.depends_on.clear();
    (main.startup_probe, main.liveness_probe) = (None, None);
    main.readiness_probe = None;
    (main.source_code, main.build_info) = (None, None);
    let environment = match revision.execution_environment {
        ExecutionEnvironment::Gen2 => ExecutionEnvironment::Gen2,
        _ => ExecutionEnvironment::Unspecified,
    };
    Ok(TaskTemplate::new()
        .set_containers([main])
        .set_volumes(revision.volumes.clone())
        .set_service_account(&revision.service_account)
        .set_execution_environment(environment)
        .set_encryption_key(&revision.encryption_key)
        .set_or_clear_vpc_access(revision.vpc_access.clone())
        .set_or_clear_node_selector(revision.node_selector.clone()))
}

/// Whose turn it is to change the job, where several want it as different revisions: whoever
/// changed it runs it first.
#[derive(Default)]
struct Turn {
    /// The generation that we made.
    sent: Option<i64>,
    /// Whether somebody else was seen at it.
    others: bool,
    /// The etag that was seen last, and since when: it changes with each change and each run.
    calm: (String, Duration),
}

impl Turn {
    /// Whether we may change what is there at this moment.
    fn has_come(&mut self, there: &Job, is_settled: bool, now: Duration) -> bool {
        self.others |= !is_settled || self.sent.is_some();
        if self.calm.0 != there.etag {
            self.calm = (there.etag.clone(), now);
        }
        let calm = now.saturating_sub(self.calm.1) >= CALM;
        is_settled && (calm || !self.others)
    }
}

impl Instead {
    /// `there` (or nothing) as the revision is.
    pub(super) fn over(&self, there: Job) -> Job {
        let execution = there.template.clone().unwrap_or_default();
        let known = execution.template.clone().unwrap_or_default();
        let mut task = self
            .task
            .clone()
            .set_or_clear_timeout(known.timeout)
            .set_max_retries(0);
        // What Google fills in where nothing is said.
        if task.execution_environment == ExecutionEnvironment::Unspecified {
            task.execution_environment = known.execution_environment;
        }
        if let [container] = task.containers.as_mut_slice()
            && container.name.is_empty()
            && let Some(known) = known.containers.first()
        {
            container.name.clone_from(&known.name);
        }
        let execution = execution
            .set_task_count(1)
            .set_parallelism(1)
            .set_template(task);
        let merged = labels::merged(&self.ownership, &there.labels);
        let stage = container::launch_stage(&there.launch_stage);
        there
            .set_labels(merged)
            .set_launch_stage(stage)
            .set_template(execution)
    }

    /// The job, as the revision and taken over by Cloud Run.
    ///
    /// Errors: conflict, when it is not ours, or others keep changing it; failed, when Cloud Run
    /// does not take it over.
    async fn made_ready(&self, calls: &job::Calls, turn: &mut Turn) -> Result<Job> {
        let clock = calls.project.context.clock.as_ref();
        let until = clock.elapsed() + SETTLING;
        loop {
            let there = calls.get().await?;
            if let Some(stranger) = self.ownership.foreign(&labels::tags(&there.labels)) {
                return Err(stranger.refusal(format!("job `{}`", calls.name)));
            }
            let state = job::settled(&there);
            let is_settled = !matches!(state, Readiness::Pending(_));
            let wanted = self.over(there.clone());
            // What we sent a moment ago is compared no more: Google may spell it otherwise.
            if turn.sent == Some(there.generation) || wanted == there {
                match state {
                    Readiness::Ready => return Ok(there),
                    Readiness::Pending(_) => {}
                    state => {
                        let why = state.why().unwrap_or_default();
                        let what = format!("job `{}` cannot be run", calls.name);
                        return Err(Error::new(ErrorKind::Failed, what).because(why));
                    }
                }
            } else if turn.has_come(&there, is_settled, clock.elapsed()) {
                turn.sent = self.send(calls, wanted).await?;
                turn.others |= turn.sent.is_none();
            }
            if clock.elapsed() > until {
                let what = format!("job `{}` was not ready to run in time", calls.name);
                return Err(match turn.others {
                    true => Error::new(ErrorKind::Conflict, what)
                        .hint("other one-offs of the service keep changing it: try again"),
                    false => Error::new(ErrorKind::Failed, what),
                });
            }
            clock.pause(PAUSE).await;
        }
    }

    /// Changes the job; its generation then. `None` when somebody else did meanwhile.
    async fn send(&self, calls: &job::Calls, job: Job) -> Result<Option<i64>> {
        let jobs = calls.project.clients.jobs.changing().await;
        match jobs.update_job().set_job(job).send().await {
            Ok(begun) => Ok(Some(calls.after(&begun).await?.generation)),
            Err(error) if error::is_stale(&error) => Ok(None),
            Err(error) => Err(error::failed(error, &calls.cannot("update"))),
        }
    }

    /// Starts an execution of the job as it is now.
    pub(super) async fn start(
        &self,
        calls: &job::Calls,
        key: &str,
        timeout: Duration,
    ) -> Result<Started> {
        let (mut tries, mut turn) = (TRIES, Turn::default());
        loop {
            let job = self.made_ready(calls, &mut turn).await?;
            let jobs = calls.project.clients.jobs.changing().await;
            let sent = jobs
                .run_job()
                .set_name(calls.path())
                .set_etag(&job.etag)
                .set_overrides(self.overrides(&job, key, timeout))
                .send()
                .await;
            match sent {
                // Somebody else changed it, or ran it.
                Err(error) if error::is_stale(&error) && tries > 0 => {
                    (tries, turn.others) = (tries - 1, true);
                }
                Err(error) => return Err(error::failed(error, &calls.cannot("run"))),
                Ok(operation) => {
                    let started = operation::accepted::<model::Execution>(&operation);
                    let started = started.filter(|it| !it.name.is_empty());
                    return match started {
                        Some(started) => self.check(calls, &started).await,
                        None => Ok(Started::Unnamed),
                    };
                }
            }
            calls.project.context.clock.pause(PAUSE).await;
        }
    }

    fn overrides(&self, job: &Job, key: &str, timeout: Duration) -> Overrides {
        let task = job.template.as_ref().and_then(|it| it.template.as_ref());
        let main = task.and_then(|task| main_container(&task.containers));
        let name = main.map(|main| main.name.clone()).unwrap_or_default();
        let key = EnvVar::new().set_name(KEY_VARIABLE).set_value(key);
        let container = ContainerOverride::new()
            .set_name(name)
            .set_args(self.command.clone())
            .set_env([key]);
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        Overrides::new()
            .set_container_overrides([container])
            .set_task_count(1)
            .set_timeout(google_cloud_wkt::Duration::clamp(seconds, 0))
    }

    /// What was started, where it runs what was wanted; else it is stopped.
    async fn check(&self, calls: &job::Calls, started: &model::Execution) -> Result<Started> {
        let names = &calls.project.names;
        let wanted = self.task.containers.first();
        let runs = started.template.as_ref();
        let runs = runs.and_then(|task| main_container(&task.containers));
        if runs.is_none() || same(names, wanted, runs) {
            return Ok(Started::As(conditions::execution(started)));
        }
        let executions = calls.project.clients.executions.changing().await;
        let cancel = executions.cancel_execution().set_name(&started.name);
        let cancelled = cancel.send().await;
        let name = short(&started.name);
        let what = format!("execution `{name}` began with another release, and was stopped");
        let error = Error::new(ErrorKind::Conflict, what)
            .hint("another one-off of the service began at the same moment: try again");
        Err(match cancelled {
            Ok(_) => error,
            Err(why) => error.because(error::failed(why, &format!("cannot cancel `{name}`"))),
        })
    }
}

/// Whether two containers have the same image and pin the same secrets.
fn same(names: &Names, one: Option<&Container>, other: Option<&Container>) -> bool {
    let told = |it: &Container| (it.image.clone(), container::pinned(names, it));
    one.map(told) == other.map(told)
}

/// Whether a start with this key made an execution.
pub(super) fn has_key(execution: &model::Execution, key: &str) -> bool {
    let containers = execution.template.iter().flat_map(|task| &task.containers);
    let mut variables = containers.flat_map(|container| &container.env);
    variables.any(|it| it.name == KEY_VARIABLE && it.value().is_some_and(|value| value == key))
}

#[cfg(test)]
mod tests {
    use google_cloud_run_v2::model::{ContainerPort, Probe};

    use super::*;

    fn revision() -> Revision {
        let resources = ResourceRequirements::new()
            .set_limits([("cpu", "0.5"), ("memory", "1Gi")])
            .set_cpu_idle(true);
        let main = Container::new()
            .set_name("web")
            .set_image("registry/web@sha256:1")
            .set_ports([ContainerPort::new().set_container_port(8080)])
            .set_startup_probe(Probe::new())
            .set_resources(resources);
        let sidecar = Container::new().set_name("proxy").set_image("proxy");
        Revision::new()
            .set_containers([sidecar, main])
            .set_service_account("app@p.iam.gserviceaccount.com")
            .set_execution_environment(ExecutionEnvironment::Gen1)
    }

    #[test]
    fn a_job_takes_over_what_runs_and_nothing_that_concerns_requests() {
        let task = task_of(&revision()).unwrap();
        let [main] = task.containers.as_slice() else {
            panic!("one container: {:?}", task.containers);
        };
        assert_eq!(main.image, "registry/web@sha256:1");
        assert!(main.ports.is_empty() && main.startup_probe.is_none());
        let resources = main.resources.as_ref().unwrap();
        assert_eq!(
            (resources.limits["cpu"].as_str(), resources.cpu_idle),
            ("1", false)
        );
        assert_eq!(resources.limits["memory"], "1Gi");
        assert_eq!(task.service_account, "app@p.iam.gserviceaccount.com");
        assert_eq!(
            task.execution_environment,
            ExecutionEnvironment::Unspecified
        );
    }

    #[test]
    fn a_job_that_is_as_the_revision_is_not_changed() {
        let instead = Instead {
            command: vec!["seed".into()],
            task: task_of(&revision()).unwrap(),
            ownership: labels::tests::ownership("shop/staging"),
        };
        let made = instead.over(Job::new());
        assert_eq!(instead.over(made.clone()), made);
        let other =
            revision().set_containers([Container::new().set_image("registry/web@sha256:2")]);
        let other = Instead {
            task: task_of(&other).unwrap(),
            ..instead
        };
        assert_ne!(other.over(made.clone()), made);
    }

    #[test]
    fn whoever_changed_the_job_runs_it_before_another_one_changes_it() {
        let seconds = Duration::from_secs;
        let job = |etag: &str| Job::new().set_etag(etag);
        let mut alone = Turn::default();
        assert!(alone.has_come(&job("a"), true, seconds(0)), "at once");
        let mut second = Turn::default();
        assert!(!second.has_come(&job("b"), false, seconds(0)), "it settles");
        assert!(!second.has_come(&job("c"), true, seconds(3)));
        assert!(!second.has_come(&job("d"), true, seconds(6)), "it was run");
        assert!(second.has_come(&job("d"), true, seconds(11)));
        let mut overtaken = Turn {
            sent: Some(3),
            ..Turn::default()
        };
        assert!(!overtaken.has_come(&job("e"), true, seconds(0)));
    }
}
