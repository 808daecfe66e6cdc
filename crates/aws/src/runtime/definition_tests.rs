//! What a task definition says, and how it is read back.

use std::time::Duration;

use aws_sdk_ecs::types::{HealthCheck, PortMapping};
use deployer_core::address::{Address, CloudName, Target};
use deployer_core::graph::Output;
use deployer_core::spec::HealthSpec;

use super::*;
use crate::ground::ExecutionRole;
use crate::runtime::definition_read::observed;

const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:idp/db-AbCdEf";

fn version(version: &str) -> SecretVersion {
    SecretVersion {
        secret: ARN.into(),
        version: version.into(),
    }
}

fn used(inject: Inject) -> SecretUse {
    SecretUse {
        secret: "db".into(),
        inject,
        member: None,
    }
}

fn health(command: &[&str]) -> Option<Health> {
    Health::of(&HealthSpec {
        path: "/health".into(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(5),
        retries: 3,
        start_period: Duration::from_secs(900),
    })
}

fn blueprint() -> Blueprint {
    Blueprint {
        container: "idp".into(),
        image: Value::Given(ImageRef("r/idp@sha256:1".into())),
        cpu: "512".into(),
        memory: 1024,
        architecture: Architecture::X86,
        roles: Roles {
            execution: Value::Given(ExecutionRole("arn:aws:iam::1:role/exec".into())),
            task: None,
        },
        port: 8080,
        entrypoint: Vec::new(),
        command: vec!["serve".into()],
        env: BTreeMap::from([("B".into(), "2".into()), ("A".into(), "1".into())]),
        secrets: BTreeMap::from([
            ("DATABASE_URL".into(), used(Inject::Value)),
            ("DATABASE_SECRET".into(), used(Inject::Reference)),
        ]),
        pins: Pins::Inputs(BTreeMap::from([("db".into(), Value::Given(version("v1")))])),
        health: health(&["/idp", "health"]),
        logs: BTreeMap::from([("awslogs-group".into(), "/ecs/idp".into())]),
        base: None,
        unsaid: BTreeSet::new(),
        once: false,
        commands: Commands::Untold,
    }
}

fn registered(blueprint: &Blueprint) -> TaskDefinition {
    TaskDefinition::builder()
        .cpu(&blueprint.cpu)
        .memory(blueprint.memory.to_string())
        .execution_role_arn(blueprint.roles.execution.known().unwrap().0)
        .network_mode(NetworkMode::Awsvpc)
        .requires_compatibilities(Compatibility::Fargate)
        .runtime_platform(runtime_platform(blueprint.architecture))
        .set_container_definitions(Some(blueprint.containers().unwrap()))
        .build()
}

#[test]
fn what_was_registered_does_not_differ_from_what_is_desired() {
    let blueprint = blueprint();
    let observed = observed(&registered(&blueprint), "idp", 8080);
    assert_eq!(observed.changes_to(&blueprint.fields()), []);
}

#[test]
fn a_role_that_a_node_makes_is_known_after_that_node() {
    let target = Target {
        cloud: CloudName::Aws,
        account: "1".into(),
        region: "eu-west-1".into(),
        sandbox: false,
    };
    let made = Output::of(&Address::new(&target, "iam.role", "idp"));
    let mut next = blueprint();
    next.roles.task = Some(Value::From(made.clone()));
    let known_after = made.address().clone();
    let shown = next.fields().get("task_role").cloned();
    assert_eq!(shown, Some(FieldValue::AfterApply { known_after }));
    made.publish(TaskRole("arn:aws:iam::1:role/idp".into()));
    let shown = next.fields().get("task_role").map(ToString::to_string);
    assert_eq!(shown.as_deref(), Some("arn:aws:iam::1:role/idp"));
}

fn adopted() -> TaskDefinition {
    let mut there = registered(&blueprint());
    there.requires_compatibilities = Some(vec![Compatibility::Ec2, Compatibility::Fargate]);
    let containers = there.container_definitions.as_mut().unwrap();
    containers[0].readonly_root_filesystem = Some(true);
    containers[0].memory = Some(900);
    let port = &mut containers[0].port_mappings.as_mut().unwrap()[0];
    (port.name, port.host_port) = (Some("web".into()), Some(8080));
    let metrics = PortMapping::builder().container_port(9102).build();
    let ports = containers[0].port_mappings.as_mut().unwrap();
    ports.push(metrics);
    let sidecar = ContainerDefinition::builder()
        .name("agent")
        .image("agent:7");
    containers.insert(0, sidecar.build());
    there
}

#[test]
fn what_the_manifest_has_no_word_for_goes_into_the_next_revision() {
    let mut next = blueprint();
    next.build_on(&adopted()).unwrap();
    let before = observed(&adopted(), "idp", 8080);
    assert_eq!(before.changes_to(&next.fields()), []);
    (next.port, next.memory) = (9090, 512);
    let containers = next.containers().unwrap();
    let [agent, ours] = containers.as_slice() else {
        panic!("{containers:#?}");
    };
    assert_eq!(agent.image(), Some("agent:7"));
    assert_eq!(ours.readonly_root_filesystem(), Some(true));
    // Its own limit stays within what the task has now.
    assert_eq!(ours.memory(), Some(512));
    let [main, metrics] = ours.port_mappings() else {
        panic!("{ours:#?}");
    };
    assert_eq!(
        (main.container_port(), main.name()),
        (Some(9090), Some("web"))
    );
    assert_eq!(main.host_port(), None, "ECS fills it in");
    assert_eq!(metrics.container_port(), Some(9102));
    let mut after = registered(&next);
    after.requires_compatibilities = adopted().requires_compatibilities;
    let changes = observed(&after, "idp", 9090).changes_to(&next.fields());
    assert_eq!(changes, []);
}

#[test]
fn what_the_manifest_is_silent_about_stays_as_it_is_on_what_is_adopted() {
    let mut there = adopted();
    (there.cpu, there.memory) = (Some("4096".into()), Some("8192".into()));
    there.task_role_arn = Some("arn:aws:iam::1:role/theirs".into());
    let containers = there.container_definitions.as_mut().unwrap();
    containers[1].entry_point = Some(vec!["/bin/tini".into(), "--".into()]);
    containers[1].command = Some(vec!["serve".into(), "--fast".into()]);
    let check = HealthCheck::builder().command("CMD-SHELL").command("true");
    containers[1].health_check = Some(check.interval(60).build().unwrap());
    let mut bare = blueprint();
    bare.health = None;
    let keys = ["cpu", "memory", "entrypoint", "command", "health.command"];
    bare.unsaid = keys.map(str::to_owned).into();
    bare.unsaid.insert(TASK_ROLE.into());
    bare.build_on(&there).unwrap();
    let changes = observed(&there, "idp", 8080).changes_to(&bare.fields());
    assert_eq!(changes, []);
    // What it says is another matter, and a migration has a program of its own.
    bare.unsaid.remove("cpu");
    bare.cpu = "1024".into();
    bare.build_on(&there).unwrap();
    let changes = observed(&there, "idp", 8080).changes_to(&bare.fields());
    let fields: Vec<&str> = changes.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(fields, ["cpu"]);
}

#[test]
fn a_definition_of_several_containers_must_have_ours() {
    let mut other = blueprint();
    other.container = "web".into();
    let error = other.build_on(&adopted()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no container `web`, but agent, idp"),
        "{error}"
    );
}

#[test]
fn a_migration_of_its_own_takes_nothing_of_what_the_service_runs() {
    let migrate = MigrateSpec {
        job: "job".into(),
        entrypoint: vec!["/migrate".into()],
        command: Vec::new(),
        timeout: Duration::from_secs(60),
        database: None,
        by: deployer_core::spec::MigrateBy::Job,
    };
    let containers = blueprint().running(&migrate).containers().unwrap();
    assert_eq!(containers[0].entry_point(), ["/migrate"]);
    assert_eq!(containers[0].command(), Vec::<String>::new());
    assert_eq!(containers[0].secrets().len(), 1);
}

#[test]
fn a_new_secret_version_and_another_hand_s_change_are_seen() {
    let mut definition = registered(&blueprint());
    let containers = definition.container_definitions.as_mut().unwrap();
    containers[0].environment.as_mut().unwrap().pop();
    let mut desired = blueprint();
    desired.pins = Pins::Inputs(BTreeMap::from([("db".into(), Value::Given(version("v2")))]));
    let changes = observed(&definition, "idp", 8080).changes_to(&desired.fields());
    let fields: Vec<&str> = changes.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(fields, ["env.DATABASE_SECRET", "secrets.DATABASE_URL"]);
}

#[test]
fn a_code_only_deployment_keeps_the_pins_that_run() {
    let running = registered(&blueprint());
    let mut next = blueprint();
    next.pins = Pins::Running(BTreeMap::new());
    next.take_over(&running).unwrap();
    assert_eq!(next.fields(), blueprint().fields());
    next.secrets.insert("NEW".into(), used(Inject::Value));
    assert!(next.take_over(&running).is_err());
}

#[test]
fn a_health_check_stays_within_what_ecs_offers_and_needs_a_command() {
    assert_eq!(health(&[]), None);
    let check = health(&["/idp", "health"]).unwrap();
    assert_eq!(check.command, ["CMD", "/idp", "health"]);
    assert_eq!((check.interval, check.start_period), (5, 300));
    assert_eq!(health(&["CMD-SHELL", "x"]).unwrap().command[0], "CMD-SHELL");
}
