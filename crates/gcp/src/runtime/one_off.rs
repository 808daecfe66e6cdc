//! One-offs on Cloud Run: an execution, with another command, of a job that is as the revision.
//!
//! An execution may override arguments, variables and time-out of its job, not the image ("Override
//! job configuration for a specific execution", Cloud Run): the job, one for each service, is made
//! as the revision first. Whoever wants another revision at the same time makes it as that: so each
//! start names the job's etag, and what was started is compared with what was wanted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::LogLine;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::jobs::Started;
use deployer_core::kind::Ownership;
use deployer_core::node::Watch;
use deployer_core::one_off::{Exited, OneOffs, Order};
use deployer_core::ours::Past;
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};
use deployer_core::wait::{Look, Pace, Readiness, poll};
use google_cloud_run_v2::model;
use google_cloud_run_v2::model::run_job_request::Overrides;
use google_cloud_run_v2::model::run_job_request::overrides::ContainerOverride;
use google_cloud_run_v2::model::{
    Container, EnvVar, ExecutionEnvironment, Job, ResourceRequirements, Revision, Task,
    TaskTemplate,
};
use jiff::Timestamp;

use crate::error::{self, Found};
use crate::labels;
use crate::names::RUN_SERVICE;
use crate::paths::{Names, short};
use crate::project::Project;
use crate::runtime::container::{self, main_container};
use crate::runtime::job::{self, LEAST_CPU, LEAST_MEMORY};
use crate::runtime::jobs::{Executions, Program, execution};
use crate::runtime::quantity::{cpu_of_at_least, memory_of_at_least};
use crate::runtime::{creation, operate, service};
use crate::{logs, operation};

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

/// The job that one-offs of a service are executions of. Names of services and of jobs are apart,
/// and what fits the one fits the other.
pub(crate) fn job_of(service: &str) -> String {
    RUN_SERVICE.fit(&format!("{service}-run"))
}

/// See [`deployer_core::capability::Services::one_offs`].
pub(super) async fn of(
    project: &Arc<Project>,
    env: &EnvironmentSpec,
    service: &ServiceSpec,
    order: Order,
) -> Result<Executions> {
    let name = job_of(&service.name);
    let mut migrations = env.services.values().filter_map(|it| it.migrate.as_ref());
    if migrations.any(|migrate| migrate.job == name) {
        let what = format!("the job of one-offs would be `{name}`, which migrates");
        return Err(Error::input(what)
            .hint("give the migration's job another name: `[targets.gcp.services.NAME] job`"));
    }
    let calls = service::Calls::new(project, &service.name);
    let revision = operate::revision(&calls, short(&order.revision.0)).await?;
    Ok(Executions {
        project: Arc::clone(project),
        job: job::Calls::new(project, &name),
        timeout: order.timeout,
        retries: 0,
        program: Program::Instead(Box::new(Instead {
            command: order.command,
            task: task_of(&revision)?,
            ownership: labels::ownership(env, false, &Past::default()),
        })),
        others: BTreeSet::new(),
        direct: false,
    })
}

/// A command in the place of a revision's own.
pub(super) struct Instead {
    command: Vec<String>,
    /// What the revision has, as a job has it.
    task: TaskTemplate,
    ownership: Ownership,
}

/// What a job takes over from a revision: the container that takes the requests, without what only
/// concerns requests, and what it runs with. A sidecar would keep a task from ending, and is left
/// out; that is ours.
///
/// Jobs have no ports, at least one CPU and 512 MiB, and the second generation's environment
/// ("Configure containers for jobs", "CPU limits", "Memory limits", "Select an execution
/// environment", Cloud Run).
fn task_of(revision: &Revision) -> Result<TaskTemplate> {
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
    fn over(&self, there: Job) -> Job {
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
            return Ok(Started::As(execution(started)));
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

/// Hears nothing.
struct Nobody;

impl Watch for Nobody {
    fn note(&self, _line: &str) {}
}

impl Executions {
    fn instead(&self) -> Result<&Instead> {
        match &self.program {
            Program::Instead(instead) => Ok(instead),
            Program::OfJob => Err(Error::internal("a migration is no one-off")),
        }
    }

    async fn create(&self, instead: &Instead) -> Result<()> {
        let (project, name) = (&self.project, &self.job.name);
        let job = instead.over(Job::new());
        let made = creation::patiently(
            project,
            &format!("the name of job `{name}`"),
            &Nobody,
            || async {
                let jobs = project.clients.jobs.changing().await;
                let create = jobs.create_job().set_parent(project.names.location());
                create.set_job_id(name).set_job(job.clone()).send().await
            },
            || async { Ok(!matches!(self.job.find().await?, Found::Absent)) },
        )
        .await?;
        match made {
            Ok(begun) => self.job.after(&begun).await.map(|_| ()),
            Err(error) if error::exists_already(&error) => Ok(()),
            Err(error) => Err(error::failed(error, &self.job.cannot("create"))),
        }
    }
}

#[async_trait]
impl OneOffs for Executions {
    fn holder(&self) -> Option<Address> {
        let target = &self.project.target;
        Some(Address::new(target, job::KIND, &self.job.name))
    }

    async fn has_holder(&self) -> Result<bool> {
        let found = self.job.find().await?.seen(&self.job.cannot("read"))?;
        let Some(there) = found else { return Ok(false) };
        match self
            .instead()?
            .ownership
            .foreign(&labels::tags(&there.labels))
        {
            None => Ok(true),
            Some(stranger) => Err(stranger.refusal(format!("job `{}`", self.job.name))),
        }
    }

    async fn make_holder(&self) -> Result<()> {
        self.create(self.instead()?).await?;
        // One that seemed absent, or was made meanwhile, may be anybody's.
        let what = format!("job `{}`", self.job.name);
        let clock = self.project.context.clock.as_ref();
        poll(clock, Pace::until(operation::LAG), &what, || async {
            Ok(match self.has_holder().await? {
                true => Look::Found(()),
                false => Look::NotYet(operation::LAGGING.to_owned()),
            })
        })
        .await
    }

    async fn exited(&self, id: &str) -> Result<Exited> {
        let tasks = self.project.clients.tasks.reading().await;
        let answer = tasks.list_tasks().set_parent(id).send().await;
        let action = format!("cannot list the tasks of execution `{}`", short(id));
        let answer = answer.map_err(|error| error::failed(error, &action))?;
        Ok(answer.tasks.first().map_or(Exited::Untold, exited))
    }

    async fn lines(&self, id: &str, since: Timestamp, limit: usize) -> Result<Vec<LogLine>> {
        let filter = format!("{} AND timestamp>=\"{since}\"", logs::of_execution(id));
        logs::of_program(&self.project, &filter, limit).await
    }

    fn look_command(&self, id: &str) -> String {
        let (name, names) = (short(id), &self.project.names);
        format!(
            "gcloud run jobs executions describe {name} --region {} --project {}",
            names.region, names.project
        )
    }

    fn logs_command(&self, id: &str) -> String {
        let (name, project) = (short(id), &self.project.names.project);
        let label = "labels.\"run.googleapis.com/execution_name\"";
        format!("gcloud logging read '{label}=\"{name}\"' --order asc --project {project}")
    }

    /// "The system will actively try to mark it failed" (`Overrides.timeout`, Cloud Run v2).
    fn ends_by_itself(&self) -> bool {
        true
    }
}

/// How a task's last attempt ended: `exitCode` "of this attempt. This may be unset if the container
/// was unable to exit cleanly with a code due to some other failure", `termSignal` "if it was
/// terminated by a signal" (`TaskAttemptResult`, Cloud Run v2).
fn exited(task: &Task) -> Exited {
    let Some(result) = &task.last_attempt_result else {
        return Exited::Untold;
    };
    let (code, said) = result
        .status
        .as_ref()
        .map_or((0, ""), |status| (status.code, status.message.as_str()));
    if said.contains("timeout was reached") {
        Exited::OutOfTime
    } else if result.exit_code != 0 {
        Exited::With(result.exit_code)
    } else if result.term_signal != 0 {
        Exited::With(128 + result.term_signal)
    } else if code == 0 {
        Exited::With(0)
    } else {
        Exited::Untold
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_rpc::model::Status;
    use google_cloud_run_v2::model::{ContainerPort, Probe, TaskAttemptResult};

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

    #[test]
    fn a_program_ends_with_its_code_its_signal_or_the_clouds_word() {
        let task = |result| Task::new().set_last_attempt_result(result);
        let result = TaskAttemptResult::new;
        let status = |code, said: &str| Status::new().set_code(code).set_message(said);
        assert_eq!(exited(&Task::new()), Exited::Untold);
        assert_eq!(exited(&task(result())), Exited::With(0));
        assert_eq!(exited(&task(result().set_exit_code(3))), Exited::With(3));
        assert_eq!(
            exited(&task(result().set_term_signal(9))),
            Exited::With(137)
        );
        let late = status(13, "The configured timeout was reached.");
        let late = result().set_term_signal(15).set_status(late);
        assert_eq!(exited(&task(late)), Exited::OutOfTime);
        let cancelled = result().set_status(status(1, "The execution was cancelled."));
        assert_eq!(exited(&task(cancelled)), Exited::Untold);
    }

    #[test]
    fn the_job_of_the_longest_service_has_a_name_that_is_taken() {
        assert_eq!(job_of("idp"), "idp-run");
        assert!(RUN_SERVICE.accepts(&job_of(&"a".repeat(49))));
    }
}
