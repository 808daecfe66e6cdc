//! One-offs on ECS: a task of the revision's own definition in the network of the service, with
//! another command; beside App Runner, and where that definition would run it more than once, a
//! task of one that is registered for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_sdk_ecs::types::{ContainerDefinition, CpuArchitecture, TaskDefinition as SdkDefinition};
use deployer_core::address::Address;
use deployer_core::capability::one_off::{Exited, OneOffs, Order};
use deployer_core::capability::{
    ImageRef, LogLine, RecordedRelease, Revision, Scope, SecretVersion,
};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::graph::{Output, Value};
use deployer_core::ours::Past;
use deployer_core::spec::{Architecture, EnvironmentSpec, Inject, SecretUse, ServiceSpec};
use jiff::Timestamp;

use super::definition::{Blueprint, PORT, Pins};
use super::definition_read::{Health, container_of};
use super::jobs::{Own, Program, Tasks, Where};
use super::kept::{LOG_OPTIONS, main_port};
use super::lookup::describe;
use super::task_definition::{TASK_DEFINITION, TaskDefinition, WithTags, describe_revision, short};
use super::{Names, family, once, printed, tasks};
use crate::app_runner;
use crate::app_runner::one_off::Runs;
use crate::client::Clients;
use crate::error::{Refusal, Told};
use crate::ground::{ExecutionRole, Ground, Roles, TaskRole};
use crate::log_streams::{self, Streams};
use crate::tags;

/// See [`deployer_core::capability::Services::one_offs`].
pub(super) async fn of(
    clients: &Arc<Clients>,
    env: &EnvironmentSpec,
    service: &ServiceSpec,
    order: Order,
) -> Result<Tasks> {
    let mut names = Names::of(clients, service);
    let (there, definition) = tokio::try_join!(
        describe(clients, &names.service, WithTags::No),
        describe_revision(clients, &order.revision.0),
    )?;
    let there = there.ok_or_else(|| {
        let what = format!("there is no service `{}`", names.service);
        Error::new(ErrorKind::NotFound, what).hint("`deployer apply` makes it")
    })?;
    let container = container_of(&definition, &names.container).ok_or_else(|| {
        let (revision, name) = (short(&order.revision.0), &names.container);
        let what = format!("{revision} has no container `{name}`");
        Error::new(ErrorKind::NotFound, what)
    })?;
    // An override is for a container by its name, which another hand may have chosen.
    names.container = container.name().unwrap_or_default().to_owned();
    // Where this revision prints to: the manifest may name another group by now.
    let options = container.log_configuration().and_then(|it| it.options());
    if let Some(group) = options.and_then(|options| options.get("awslogs-group")) {
        names.log_group.clone_from(group);
    }
    let network = match there.network_configuration() {
        Some(network) => Where::Of(network.clone()),
        None => Where::InGround(Ground::given(&clients.section).network),
    };
    let (definition, own) = match once::obstacle(container) {
        None => (Value::Given(order.revision), None),
        Some(_) => {
            names = names.of_one_offs();
            names_nobodys(clients, env, service, &names)?;
            let whole = (&definition, container);
            let blueprint = of_what_serves(clients, service, &names, whole);
            let (output, own) = own(clients, env, &names, blueprint, BTreeMap::new());
            (Value::From(output), Some(own))
        }
    };
    Ok(Tasks {
        clients: Arc::clone(clients),
        cluster: Value::Given(clients.cluster.clone()),
        names,
        program: Program::Override(order.command),
        timeout: order.timeout,
        tags: tags::of(env),
        network,
        definition,
        // A key that nobody has used is of no other service.
        others: BTreeSet::new(),
        own,
    })
}

/// A definition of a one-off's own: all that this one says, but for that.
fn of_what_serves(
    clients: &Clients,
    service: &ServiceSpec,
    names: &Names,
    (definition, container): (&SdkDefinition, &ContainerDefinition),
) -> Blueprint {
    let used = |variable: &str| SecretUse {
        secret: variable.to_owned(),
        member: None,
        inject: Inject::Value,
    };
    let given = container.secrets().iter();
    let pins: BTreeMap<String, String> = given
        .map(|secret| (secret.name().to_owned(), secret.value_from().to_owned()))
        .collect();
    let secrets = pins.keys();
    let secrets = secrets.map(|variable| (variable.clone(), used(variable)));
    let env = container
        .environment()
        .iter()
        .filter_map(|variable| Some((variable.name()?.to_owned(), variable.value()?.to_owned())));
    let said = |arn: Option<&str>| arn.filter(|arn| !arn.is_empty()).map(str::to_owned);
    let roles = Ground::given(&clients.section).roles;
    let roles = Roles {
        execution: match said(definition.execution_role_arn()) {
            Some(arn) => Value::Given(ExecutionRole(arn)),
            None => roles.execution,
        },
        task: said(definition.task_role_arn()).map(|arn| Value::Given(TaskRole(arn))),
    };
    let image = Value::Given(ImageRef(container.image().unwrap_or_default().to_owned()));
    let secrets = secrets.collect();
    let new = Blueprint::new(
        clients,
        service,
        (names, roles),
        image,
        Pins::Running(pins.clone()),
    );
    let mut logs = new.logs.clone();
    let options = container.log_configuration().and_then(|it| it.options());
    let options = options.into_iter().flatten();
    let ours = options.filter(|(key, _)| LOG_OPTIONS.contains(&key.as_str()));
    logs.extend(ours.map(|(key, value)| (key.clone(), value.clone())));
    let port = main_port(container.port_mappings(), new.port);
    let port = port.and_then(|port| u16::try_from(port.container_port()?).ok());
    let memory = definition.memory().and_then(|memory| memory.parse().ok());
    let platform = definition.runtime_platform();
    Blueprint {
        cpu: definition.cpu().unwrap_or(&new.cpu).to_owned(),
        memory: memory.unwrap_or(new.memory),
        architecture: match platform.and_then(|platform| platform.cpu_architecture()) {
            Some(CpuArchitecture::Arm64) => Architecture::Arm,
            Some(_) | None => Architecture::X86,
        },
        port: port.unwrap_or(new.port),
        entrypoint: container.entry_point().to_vec(),
        command: container.command().to_vec(),
        env: env.collect(),
        secrets,
        health: container.health_check().map(Health::there),
        logs,
        base: Some(Box::new(definition.clone())),
        unsaid: BTreeSet::new(),
        once: true,
        ..new
    }
}

/// A definition of a one-off's own, that is registered before its start.
fn own(
    clients: &Arc<Clients>,
    env: &EnvironmentSpec,
    names: &Names,
    blueprint: Blueprint,
    given: Pinned,
) -> (Output<Revision>, Box<Own>) {
    let address = clients.address(TASK_DEFINITION, &names.family);
    let output = Output::of(&address);
    let definition = TaskDefinition {
        clients: Arc::clone(clients),
        address,
        ownership: tags::ownership(env, false, &Past::default()),
        names: names.clone(),
        blueprint: Mutex::new(blueprint),
        scope: Scope::Whole,
        known: false,
        serves: false,
        model: None,
        output: output.clone(),
    };
    (output, Box::new(Own { definition, given }))
}

/// Refuses a family of one-offs that another service's tasks have.
fn names_nobodys(
    clients: &Clients,
    env: &EnvironmentSpec,
    service: &ServiceSpec,
    names: &Names,
) -> Result<()> {
    match family::of_others(clients, env, service).contains(&names.family) {
        false => Ok(()),
        true => {
            let what = format!(
                "one-offs would be of the family `{}`, which another service has",
                names.family
            );
            Err(Error::input(what)
                .hint("give one of them another: `family` in `[targets.aws.services.NAME]`"))
        }
    }
}

/// What one-offs of a service leave behind: the family of task definitions in which App Runner's
/// image is run, or that of a service whose own runs a program more than once.
pub(super) fn holder(clients: &Clients, service: &ServiceSpec) -> Option<Address> {
    let names = Names::of(clients, service).of_one_offs();
    Some(clients.address(TASK_DEFINITION, &names.family))
}

/// The same beside a service that App Runner runs: a task on Fargate with a definition of its own,
/// which says what the revision has.
///
/// Errors: input, when the manifest lacks what a task needs.
pub(super) async fn beside_app_runner(
    clients: &Arc<Clients>,
    env: &EnvironmentSpec,
    service: &ServiceSpec,
    order: Order,
) -> Result<Tasks> {
    let names = Names::of(clients, service).of_one_offs();
    let section = &clients.section;
    if section.execution_role.is_empty() {
        return Err(lacks(
            "execution_role",
            "it pulls the image, reads the secrets and trusts ecs-tasks.amazonaws.com",
        ));
    }
    names_nobodys(clients, env, service, &names)?;
    let there = app_runner::one_off::read(clients, &service.name, &order.revision).await?;
    let network = match there.connector {
        Some(connector) => Where::InGround(connector),
        None if section.subnets.is_empty() => {
            return Err(lacks(
                "subnets",
                "from them the task must reach the registry, Secrets Manager and CloudWatch Logs",
            ));
        }
        None => Where::InGround(Ground::given(&clients.section).network),
    };
    logs_are_there(clients, &names.log_group).await?;
    let (blueprint, given) = match (there.runs, &order.recorded) {
        (Some(runs), _) => as_it_runs(clients, service, &names, runs),
        (None, Some(recorded)) => as_recorded(clients, &names, recorded)?,
        (None, None) => {
            let what = format!("App Runner does not run {} any more", order.revision.0);
            return Err(Error::new(ErrorKind::NotFound, what)
                .hint("name a release, whose record says what it had: `--release r3`"));
        }
    };
    let (output, own) = own(clients, env, &names, blueprint, given);
    Ok(Tasks {
        clients: Arc::clone(clients),
        cluster: Value::Given(clients.cluster.clone()),
        names,
        program: Program::Override(order.command),
        timeout: order.timeout,
        tags: tags::of(env),
        network,
        definition: Value::From(output),
        others: BTreeSet::new(),
        own: Some(own),
    })
}

fn lacks(key: &str, why: &str) -> Error {
    let what = format!(
        "`[targets.aws]` lacks `{key}`, which a one-off beside App Runner needs: it is a task on Fargate"
    );
    Error::input(what).hint(format!("add `{key}` and apply; {why}"))
}

/// A task whose group is missing does not start. `apply` makes it, with the cluster that is ours.
async fn logs_are_there(clients: &Clients, group: &str) -> Result<()> {
    let found = clients.lookups.log_groups.ask(group).await;
    let found = found.map_err(|it| Refusal::new(&it));
    let found = found.told(|| format!("read log group `{group}`"))?;
    match found {
        Some(_) => Ok(()),
        None => {
            let what = format!("there is no log group `{group}` for a one-off's lines");
            Err(Error::new(ErrorKind::NotFound, what).hint("`deployer apply` makes it"))
        }
    }
}

type Pinned = BTreeMap<String, SecretVersion>;

/// What App Runner says that it runs. The command stands in the call, and nobody asks a task for
/// its health.
fn as_it_runs(
    clients: &Clients,
    service: &ServiceSpec,
    names: &Names,
    runs: Runs,
) -> (Blueprint, Pinned) {
    let used = |variable: &String| SecretUse {
        secret: variable.clone(),
        member: None,
        inject: Inject::Value,
    };
    let secrets = runs.secrets.keys();
    let secrets = secrets.map(|variable| (variable.clone(), used(variable)));
    let secrets = secrets.collect();
    let mut env = runs.env;
    // App Runner gives it to instances itself.
    env.insert(PORT.to_owned(), runs.port.to_string());
    let (image, pins) = (Value::Given(runs.image), Pins::Running(runs.secrets));
    let roles = Ground::given(&clients.section).roles;
    let blueprint = Blueprint {
        cpu: runs.cpu,
        memory: runs.memory,
        roles: Roles {
            task: runs.role.map(|arn| Value::Given(TaskRole(arn))),
            ..roles.clone()
        },
        port: runs.port,
        env,
        secrets,
        ..bare(Blueprint::new(
            clients,
            service,
            (names, roles),
            image,
            pins,
        ))
    };
    (blueprint, runs.versions)
}

/// What a release was asked for, as the versions of its secrets were then.
fn as_recorded(
    clients: &Clients,
    names: &Names,
    recorded: &RecordedRelease,
) -> Result<(Blueprint, Pinned)> {
    let (mut given, mut versions) = (Pinned::new(), BTreeMap::new());
    for (variable, used) in &recorded.spec.secrets {
        let version = recorded.secrets.get(&used.secret).ok_or_else(|| {
            let what = format!("the release does not say which secret `{variable}` is");
            Error::new(ErrorKind::NotFound, what)
                .hint("leave `--release` out: the command has what serves then")
        })?;
        given.insert(variable.clone(), version.clone());
        versions.insert(used.secret.clone(), Value::Given(version.clone()));
    }
    let (image, pins) = (Value::Given(recorded.image.clone()), Pins::Inputs(versions));
    let as_what = (names, Ground::given(&clients.section).roles);
    let blueprint = Blueprint::new(clients, &recorded.spec, as_what, image, pins);
    let blueprint = bare(blueprint);
    Ok((blueprint, given))
}

/// The same for a task of a call that says its command. App Runner has but one architecture.
fn bare(blueprint: Blueprint) -> Blueprint {
    Blueprint {
        architecture: Architecture::X86,
        entrypoint: Vec::new(),
        command: Vec::new(),
        health: None,
        unsaid: BTreeSet::new(),
        ..blueprint
    }
}

impl Tasks {
    fn stream(&self, id: &str) -> String {
        printed::stream_of(&self.names, id)
    }
}

#[async_trait]
impl OneOffs for Tasks {
    /// A task leaves nothing: ECS forgets it an hour after its end. A definition of its own stays.
    fn holder(&self) -> Option<Address> {
        self.own.as_ref().map(|own| own.definition.address.clone())
    }

    async fn has_holder(&self) -> Result<bool> {
        match &self.own {
            Some(own) => own.definition.is_there().await,
            None => Ok(true),
        }
    }

    async fn make_holder(&self) -> Result<()> {
        match &self.own {
            Some(own) => own.definition.make_ready().await,
            None => Ok(()),
        }
    }

    fn given(&self) -> BTreeMap<String, SecretVersion> {
        self.own
            .as_ref()
            .map(|own| own.given.clone())
            .unwrap_or_default()
    }

    /// "The exit code returned from the container" (Container, ECS API Reference); none where it
    /// never ran to an end.
    async fn exited(&self, id: &str) -> Result<Exited> {
        let answer = self
            .clients
            .ecs
            .describe_tasks()
            .cluster(&self.clients.cluster.0)
            .tasks(id)
            .send()
            .await
            .told(|| format!("look at task `{}`", tasks::task_id(id)))?;
        let containers = answer.tasks().first().map(|task| task.containers());
        let mut containers = containers.unwrap_or_default().iter();
        let ours = containers.find(|it| it.name() == Some(&self.names.container));
        let code = ours.and_then(|container| container.exit_code());
        Ok(code.map_or(Exited::Untold, Exited::With))
    }

    async fn lines(&self, id: &str, since: Timestamp, limit: usize) -> Result<Vec<LogLine>> {
        let stream = Streams::Named(vec![self.stream(id)]);
        log_streams::read(&self.clients, &self.names.log_group, stream, since, limit).await
    }

    fn look_command(&self, id: &str) -> String {
        let (task, cluster) = (tasks::task_id(id), &self.clients.cluster.0);
        format!("aws ecs describe-tasks --cluster {cluster} --tasks {task}")
    }

    fn logs_command(&self, id: &str) -> String {
        let (group, stream) = (&self.names.log_group, self.stream(id));
        format!("aws logs tail {group} --log-stream-names {stream} --since 1d")
    }

    /// A task has no time of its own.
    fn ends_by_itself(&self) -> bool {
        false
    }
}
