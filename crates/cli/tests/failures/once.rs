//! What runs once runs once, also where ECS would run the container of what serves again.

use std::time::Duration;

use aws_sdk_ecs::types::{
    ContainerDefinition, ContainerRestartPolicy, LinuxParameters, MountPoint, TaskDefinition,
    Volume,
};
use deployer::Exit;
use deployer_sandbox::runner::{self, Behaviour, Purpose, Ran};

use crate::ecs::{OVERLAY, definition, register_and_deploy};
use crate::in_process::stage::Stage;
use crate::run::{SEED, seed, started};
use crate::{APPLY, DESTROY, SECOND, assert_serves, first_serves, run, says};

crate::tests! {
    a_command_runs_once_where_what_serves_has_a_restart_policy => command,
    a_command_ends_where_what_serves_is_not_essential => not_essential,
    a_migration_that_ecs_would_run_again_is_refused_and_runs_once_in_a_definition_of_its_own => refused,
    a_migration_of_an_adopted_service_runs_once_whatever_restart_policy_that_has => adopted,
    a_migration_by_exec_waits_in_a_task_that_has_what_its_service_keeps => kept_by_exec,
}

const NAME: &str = "swept-test-idp";
const ADOPTS: &str = "[targets.aws.services.idp]\nadopt = true\n";
const LONG: Duration = Duration::from_secs(400);

fn ours(definition: &TaskDefinition) -> &ContainerDefinition {
    let containers = definition.container_definitions().iter();
    let mut ours = containers.filter(|it| it.name() == Some("idp"));
    ours.next().expect("our container")
}

/// The first version serves, and another hand gave it this.
async fn serves_with(stage: &Stage, change: impl FnOnce(&mut TaskDefinition)) {
    first_serves(stage).await;
    let mut there = definition(stage, NAME).await;
    change(&mut there);
    register_and_deploy(stage, &there).await;
}

fn container(there: &mut TaskDefinition) -> &mut ContainerDefinition {
    &mut there.container_definitions.as_mut().expect("containers")[0]
}

fn restarts(there: &mut TaskDefinition) {
    let policy = ContainerRestartPolicy::builder().enabled(true).build();
    container(there).restart_policy = Some(policy.expect("complete"));
}

async fn command(stage: &Stage) {
    serves_with(stage, restarts).await;
    // Longer than it must run to be run again.
    seed(stage, 0, LONG, &["seeding"]);
    run(stage, &SEED, "aws", Exit::Success).await;
    assert_eq!(started(stage).len(), 1);
    let own = definition(stage, &format!("{NAME}-run")).await;
    assert!(ours(&own).restart_policy().is_none());
    let (own, served) = (ours(&own).clone(), definition(stage, NAME).await);
    assert!(ours(&served).restart_policy().is_some());
    assert_eq!(own.image(), ours(&served).image());
    assert_eq!(own.secrets(), ours(&served).secrets());
    // What is there is used again, stays, and goes with its service.
    stage.calls.arm(None);
    run(stage, &SEED, "aws", Exit::Success).await;
    assert_eq!(stage.calls.writes(), ["ecs:RunTask"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    definition(stage, &format!("{NAME}-run")).await;
    run(stage, DESTROY, "aws", Exit::Success).await;
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let left = ecs.list_task_definitions().send().await.expect("an answer");
    assert_eq!(left.task_definition_arns(), [] as [String; 0]);
}

async fn not_essential(stage: &Stage) {
    serves_with(stage, |there| {
        let mut beside = container(there).clone();
        (beside.name, beside.secrets) = (Some("beside".to_owned()), None);
        (beside.port_mappings, beside.health_check) = (None, None);
        container(there).essential = Some(false);
        let containers = there.container_definitions.as_mut();
        containers.expect("containers").push(beside);
    })
    .await;
    stage.behave(|started| match started.command.get(1) {
        Some(word) if word == "seed" => Behaviour {
            exit: Some(runner::Exit::with(3)),
            ..Behaviour::usual(Purpose::Finish)
        },
        _ => Behaviour::usual(Purpose::Serve),
    });
    run(stage, &SEED, "aws", Exit::Program(3)).await;
    assert_eq!(started(stage).len(), 1);
}

/// The second version, whose migration takes long.
fn want_long(stage: &Stage, overlay: &str) {
    stage.want(&SECOND);
    stage.edit(|manifest| manifest.replace("timeout = \"5m\"", "timeout = \"20m\""));
    stage.file(OVERLAY, overlay);
    stage.behave(|started| Behaviour {
        takes: match started.purpose {
            Purpose::Finish => LONG,
            Purpose::Serve => Duration::ZERO,
        },
        ..Behaviour::usual(started.purpose)
    });
}

fn migrations(stage: &Stage) -> usize {
    let digest = stage.digest(2);
    let started = stage.containers.started().into_iter();
    started
        .filter(|it| it.purpose == Purpose::Finish && it.digest == digest)
        .count()
}

/// Nothing of it runs, and with a definition of its own it runs once.
async fn refused(stage: &Stage) {
    serves_with(stage, restarts).await;
    want_long(stage, "");
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let way_out = "`entrypoint` of its own in `[services.NAME.migrate]`";
    says(
        &said,
        &["restart policy, by which ECS runs it again", way_out],
    );
    assert_eq!(migrations(stage), 0);
    assert_serves(stage, "aws", 1).await;
    let own = "[services.idp.migrate]\nentrypoint = [\"/app\"]\n";
    stage.file(OVERLAY, own);
    runs_once(stage).await;
}

/// Its entry point is kept, and so the migration has a definition of its own.
async fn adopted(stage: &Stage) {
    serves_with(stage, restarts).await;
    want_long(stage, ADOPTS);
    runs_once(stage).await;
}

async fn runs_once(stage: &Stage) {
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(migrations(stage), 1);
    assert_serves(stage, "aws", 2).await;
    let kept = definition(stage, NAME).await;
    assert!(ours(&kept).restart_policy().is_some(), "it is kept");
    let again = ["plan", "--detailed-exitcode"];
    let said = run(stage, &again, "aws", Exit::Success).await;
    assert!(!said.contains("restart_policy: "), "{said}");
}

/// It is of the image and of all that its service has beside it, but for what would run it again.
async fn kept_by_exec(stage: &Stage) {
    serves_with(stage, |there| {
        restarts(there);
        let mut beside = container(there).clone();
        (beside.name, beside.restart_policy) = (Some("beside".to_owned()), None);
        (beside.port_mappings, beside.health_check) = (None, None);
        beside.essential = Some(false);
        let mount = MountPoint::builder().source_volume("data");
        let ours = container(there);
        ours.mount_points = Some(vec![mount.container_path("/data").build()]);
        (ours.user, ours.working_directory) = (Some("1000".into()), Some("/data".into()));
        let linux = LinuxParameters::builder().init_process_enabled(true);
        ours.linux_parameters = Some(linux.build());
        there.volumes = Some(vec![Volume::builder().name("data").build()]);
        let containers = there.container_definitions.as_mut();
        containers.expect("containers").push(beside);
    })
    .await;
    let served = definition(stage, NAME).await;
    stage.want(&SECOND);
    stage.edit(|manifest| {
        let (manifest, _) = manifest.split_once("[targets.gcp]").expect("Google's");
        let migrate = "[services.idp.migrate]\n";
        manifest.replace(migrate, &format!("{migrate}mode = \"exec\"\n"))
    });
    stage.file(OVERLAY, ADOPTS);
    stage.behave(|started| match started.purpose {
        Purpose::Serve => Behaviour::usual(started.purpose),
        Purpose::Finish => Behaviour {
            exit: None,
            commands: Ran {
                lines: vec!["{4}".to_owned()],
                takes: Duration::from_secs(30),
                last: vec!["{4} over".to_owned()],
                ends: Some(runner::Exit::with(0)),
            },
            ..Behaviour::usual(started.purpose)
        },
    });
    run(stage, APPLY, "aws", Exit::Success).await;
    let (waiter, new) = (
        definition(stage, &format!("{NAME}-migrate")).await,
        definition(stage, NAME).await,
    );
    assert_eq!(waiter.volumes(), served.volumes());
    let (waits, serves, was) = (ours(&waiter), ours(&new), ours(&served));
    assert_eq!(waits.image(), serves.image());
    assert_ne!(waits.image(), was.image());
    for it in [waits, serves] {
        assert_eq!(it.mount_points(), was.mount_points());
        assert_eq!(it.user(), was.user());
        assert_eq!(it.working_directory(), was.working_directory());
        assert_eq!(it.linux_parameters(), was.linux_parameters());
    }
    assert_eq!(waiter.container_definitions().len(), 2);
    assert!(waits.restart_policy().is_none() && serves.restart_policy().is_some());
    assert_serves(stage, "aws", 2).await;
}
