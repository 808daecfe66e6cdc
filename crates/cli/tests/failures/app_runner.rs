//! App Runner: the life of a service, the truth of its operations, what it keeps no revisions of.

use std::time::Duration;

use aws_sdk_apprunner::Client;
use aws_sdk_apprunner::types::{OperationType, Service, ServiceStatus, Tag, VpcConnectorStatus};
use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Exit as Ending, Purpose, Started};

use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, DESTROY, SECOND, assert_serves, run, says, unhealthy};

crate::tests! {
    a_service_on_app_runner_is_made_planned_empty_updated_rolled_back_and_destroyed => life,
    a_deployment_that_app_runner_rolls_back_is_exit_code_7_with_its_words => rolled_back,
    a_service_that_could_not_be_created_is_made_anew => create_failed,
    a_new_value_of_a_secret_is_a_change_that_deploys => new_secret,
    a_paused_service_is_told_and_resumed => paused,
    an_update_waits_for_an_operation_of_another_hand => busy,
    another_hands_configuration_is_drift => drift,
    a_migration_is_a_task_on_fargate_before_the_service_changes => migrated,
    a_migration_that_fails_leaves_what_serves => migration_fails,
    an_app_that_migrates_when_it_starts_is_waited_for => on_start,
    code_alone_changes_the_image_and_nothing_else => only,
    a_service_of_that_name_that_nobody_marked_is_taken_over_as_it_is => adopted,
    an_owner_that_is_another_one_is_refused => of_another,
    a_service_moves_between_ecs_and_app_runner => moves,
    logs_and_status_are_of_app_runner => told,
    a_failed_update_is_undone_as_a_whole => undone,
}

pub const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
const OVERLAY: &str = "deployer.test.toml";
/// Longer than anything here goes on.
pub const SETTLED: Duration = Duration::from_secs(1800);

/// The manifest with everything on App Runner.
pub fn want(stage: &Stage, wanted: &Wanted) {
    stage.want(wanted);
    stage.edit(|manifest| {
        manifest
            .replace("command = [\"CMD\", \"/app\", \"healthcheck\"]\n", "")
            .replace(
                "cluster = \"default\"\n",
                "runtime = \"app-runner\"\naccess_role = \"idp-access\"\n",
            )
    });
}

/// The same without its migration.
pub fn want_plain(stage: &Stage, wanted: &Wanted) {
    want(stage, wanted);
    stage.want_no_migration();
}

pub async fn client(stage: &Stage) -> Client {
    Client::new(&stage.aws().await)
}

async fn service(stage: &Stage) -> Option<Service> {
    let client = client(stage).await;
    let listed = client.list_services().send().await.expect("services");
    let mut listed = listed.service_summary_list().iter();
    let arn = listed
        .find(|it| it.service_name() == Some(&stage.service()))?
        .service_arn()?;
    let described = client.describe_service().service_arn(arn).send().await;
    described.expect("it is there").service
}

pub async fn there(stage: &Stage) -> Service {
    service(stage).await.expect("the service is there")
}

/// Pauses the service, as another hand does.
pub async fn pause(stage: &Stage) {
    let arn = there(stage).await.service_arn().to_owned();
    let pause = client(stage).await.pause_service().service_arn(arn).send();
    pause.await.expect("it is paused");
    stage.time.pass(SETTLED).await;
}

/// The types of the service's operations, oldest first.
pub async fn operations(stage: &Stage) -> Vec<OperationType> {
    let client = client(stage).await;
    let arn = there(stage).await.service_arn().to_owned();
    let answer = client.list_operations().service_arn(arn).send().await;
    let answer = answer.expect("operations");
    let all = answer.operation_summary_list().iter().rev();
    all.filter_map(|it| it.r#type().cloned()).collect()
}

/// The names of what is active beside the service.
pub async fn parts(stage: &Stage) -> (Vec<String>, Vec<String>) {
    let client = client(stage).await;
    let connectors = client
        .list_vpc_connectors()
        .send()
        .await
        .expect("connectors");
    let connectors = connectors.vpc_connectors().iter();
    let connectors = connectors.filter(|it| it.status() == Some(&VpcConnectorStatus::Active));
    let connectors = connectors.filter_map(|it| it.vpc_connector_name().map(str::to_owned));
    let list = client.list_auto_scaling_configurations();
    let scalings = list
        .latest_only(false)
        .send()
        .await
        .expect("configurations");
    let scalings = scalings.auto_scaling_configuration_summary_list().iter();
    let scalings = scalings.filter_map(|it| it.auto_scaling_configuration_name());
    let ours = scalings
        .filter(|name| name.starts_with("swept"))
        .map(str::to_owned);
    (connectors.collect(), ours.collect())
}

pub fn serving(started: &[Started]) -> Vec<&Started> {
    let serving = started.iter().filter(|it| it.purpose == Purpose::Serve);
    serving.collect()
}

async fn life(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    let said = run(stage, APPLY, "aws", Exit::Success).await;
    says(&said, &["app_runner.service", "r1"]);
    assert_serves(stage, "aws", 1).await;
    let first = there(stage).await;
    assert_eq!(first.status(), &ServiceStatus::Running);
    let source = first.source_configuration().expect("a source");
    assert_eq!(source.auto_deployments_enabled(), Some(false));
    let image = source.image_repository().expect("an image");
    assert!(image.image_identifier().contains("@sha256:"), "{image:?}");
    stage.calls.arm(None);
    let said = run(stage, PLAN, "aws", Exit::Success).await;
    says(&said, &["No changes"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());

    want(stage, &SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 2).await;
    assert_eq!(there(stage).await.service_arn(), first.service_arn());

    let said = run(
        stage,
        &["rollback", "--yes", "--no-verify"],
        "aws",
        Exit::Success,
    )
    .await;
    says(&said, &["r1 again"]);
    assert_serves(stage, "aws", 1).await;
    let said = run(stage, &["releases"], "aws", Exit::Success).await;
    says(&said, &["r3"]);
    // Typed again it goes nowhere: there is nothing before it.
    run(stage, DESTROY, "aws", Exit::Success).await;
    assert!(service(stage).await.is_none());
    assert_eq!(parts(stage).await, (vec![], vec![]));
    stage.calls.arm(None);
    run(stage, DESTROY, "aws", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

async fn rolled_back(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.behave(unhealthy);
    want_plain(stage, &SECOND);
    let said = run(stage, APPLY, "aws", Exit::RolledBack).await;
    says(
        &said,
        &["ROLLBACK_SUCCEEDED", "cannot read the configuration"],
    );
    assert_serves(stage, "aws", 1).await;
    let said = run(stage, &["releases"], "aws", Exit::Success).await;
    assert!(!said.contains("r2"), "{said}");
    // It is tried again, and told again.
    run(stage, PLAN, "aws", Exit::Changes).await;
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 2).await;
}

async fn create_failed(stage: &Stage) {
    stage.behave(unhealthy);
    want_plain(stage, &Wanted::FIRST);
    let said = run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    says(&said, &["FAILED", "Health check failed"]);
    let failed = there(stage).await;
    assert_eq!(failed.status(), &ServiceStatus::CreateFailed);
    let said = run(stage, &["status"], "aws", Exit::Untrue).await;
    says(&said, &["CREATE_FAILED"]);
    stage.behave(|started| Behaviour::usual(started.purpose));
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["made anew", "could not be created -> runs"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 1).await;
    assert_ne!(there(stage).await.service_arn(), failed.service_arn());
    run(stage, PLAN, "aws", Exit::Success).await;
}

async fn new_secret(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let before = serving(&stage.containers.started()).len();
    let new = Wanted {
        mail_password: "mail two",
        ..Wanted::FIRST
    };
    want_plain(stage, &new);
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["secret_versions.MAIL_PASSWORD"]);
    assert!(!said.contains("mail two"), "{said}");
    run(stage, APPLY, "aws", Exit::Success).await;
    let started = stage.containers.started();
    let serving = serving(&started);
    assert!(serving.len() > before, "nothing was deployed");
    let last = serving.last().expect("an instance");
    assert_eq!(
        last.env.get("MAIL_PASSWORD").map(String::as_str),
        Some("mail two")
    );
    run(stage, PLAN, "aws", Exit::Success).await;
}

async fn paused(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    pause(stage).await;
    let said = run(stage, &["status"], "aws", Exit::Untrue).await;
    says(&said, &["paused"]);
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["another hand paused it", "state: paused -> runs"]);
    want_plain(stage, &SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 2).await;
    run(stage, PLAN, "aws", Exit::Success).await;
}

async fn busy(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let arn = there(stage).await.service_arn().to_owned();
    let client = client(stage).await;
    let deploy = client.start_deployment().service_arn(arn).send();
    deploy.await.expect("it deploys");
    want_plain(stage, &SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 2).await;
    let expected = [
        OperationType::CreateService,
        OperationType::StartDeployment,
        OperationType::UpdateService,
    ];
    assert_eq!(operations(stage).await, expected);
}

async fn drift(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let there = there(stage).await;
    let mut instance = there.instance_configuration().expect("a size").clone();
    (instance.cpu, instance.memory) = (Some("2048".into()), Some("4096".into()));
    let update = client(stage).await.update_service();
    let update = update
        .service_arn(there.service_arn())
        .instance_configuration(instance);
    update.send().await.expect("it is changed");
    stage.time.pass(SETTLED).await;
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["cpu: 2048 -> 1024", "memory: 4096 -> 2048"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    run(stage, PLAN, "aws", Exit::Success).await;
}

async fn migrated(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let started = stage.containers.started();
    let purposes: Vec<Purpose> = started.iter().map(|it| it.purpose).collect();
    assert_eq!(purposes, [Purpose::Finish, Purpose::Serve]);
    let (job, serves) = (&started[0], &started[1]);
    for variable in ["DATABASE_URL", "GREETING", "PORT"] {
        assert_eq!(
            job.env.get(variable),
            serves.env.get(variable),
            "{variable}"
        );
    }
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let clusters = ecs.list_clusters().send().await.expect("clusters");
    let ours = |arn: &&String| arn.ends_with("cluster/swept-test");
    assert_eq!(clusters.cluster_arns().iter().filter(ours).count(), 1);
    // The same image and database: it does not run again.
    let more = Wanted {
        greeting: "good morning",
        ..Wanted::FIRST
    };
    want(stage, &more);
    run(stage, APPLY, "aws", Exit::Success).await;
    let jobs = stage.containers.started();
    let jobs = jobs.iter().filter(|it| it.purpose == Purpose::Finish);
    assert_eq!(jobs.count(), 1);
    want(stage, &SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    let jobs = stage.containers.started();
    let jobs = jobs.iter().filter(|it| it.purpose == Purpose::Finish);
    assert_eq!(jobs.count(), 2);
}

async fn migration_fails(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.behave(|started| Behaviour {
        exit: (started.purpose == Purpose::Finish).then(|| Ending::with(1)),
        ..Behaviour::usual(started.purpose)
    });
    want(stage, &SECOND);
    let (ended, said) = stage.run(APPLY, "aws").await;
    assert!(!matches!(ended, Ended::Exit(Exit::Success)), "{said}");
    says(&said, &["migration"]);
    assert_serves(stage, "aws", 1).await;
    assert_eq!(operations(stage).await, [OperationType::CreateService]);
}

async fn on_start(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    stage.edit(|manifest| {
        manifest.replace(
            "command = [\"migrate\"]\ntimeout = \"5m\"\n",
            "mode = \"on-start\"\n",
        )
    });
    // Within its start period, which App Runner has no word for.
    stage.containers_take(Duration::from_secs(80));
    run(stage, APPLY, "aws", Exit::Success).await;
    let started = stage.containers.started();
    assert!(
        started.iter().all(|it| it.purpose == Purpose::Serve),
        "{started:?}"
    );
    assert_serves(stage, "aws", 1).await;
}

async fn only(stage: &Stage) {
    want(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let before = there(stage).await;
    want(stage, &SECOND);
    let only: &[&str] = &["apply", "--yes", "--no-verify", "--only", "idp"];
    run(stage, only, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 2).await;
    let after = there(stage).await;
    let configuration = |service: &Service| {
        let source = service.source_configuration().expect("a source");
        let image = source.image_repository().expect("an image");
        image.image_configuration().cloned()
    };
    assert_eq!(configuration(&before), configuration(&after));
    // What code alone registered for the migration has its tags.
    run(stage, PLAN, "aws", Exit::Success).await;
    let expected = [OperationType::CreateService, OperationType::UpdateService];
    assert_eq!(operations(stage).await, expected);
}

async fn adopted(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let there = there(stage).await;
    let client = client(stage).await;
    let keys = ["deployer", "deployer:ledger"];
    let untag = client.untag_resource().resource_arn(there.service_arn());
    let untag = untag.set_tag_keys(Some(keys.map(str::to_owned).to_vec()));
    untag.send().await.expect("the mark is off");
    let mut instance = there.instance_configuration().expect("a size").clone();
    (instance.cpu, instance.memory) = (Some("2048".into()), Some("4096".into()));
    let update = client.update_service().service_arn(there.service_arn());
    update
        .instance_configuration(instance)
        .send()
        .await
        .expect("it is changed");
    stage.time.pass(SETTLED).await;
    // Another ledger, of a team that takes it over; of the size it says nothing.
    let other = stage.beside("test");
    want_plain(&other, &Wanted::FIRST);
    other.edit(|manifest| manifest.replace("cpu = 1\nmemory = \"2GiB\"\n", ""));
    other.file(OVERLAY, "[targets.aws.services.idp]\nadopt = true\n");
    let said = run(&other, PLAN, "aws", Exit::Changes).await;
    assert!(!said.contains("cpu: 2048 -> "), "{said}");
    run(&other, APPLY, "aws", Exit::Success).await;
    let size = self::there(&other).await;
    let size = size
        .instance_configuration()
        .expect("a size")
        .cpu()
        .map(str::to_owned);
    assert_eq!(size.as_deref(), Some("2048"));
    run(&other, PLAN, "aws", Exit::Success).await;
    other.clear().await;
}

async fn of_another(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    let arn = there(stage).await.service_arn().to_owned();
    let tag = Tag::builder().key("deployer").value("other/test").build();
    let mark = client(stage).await.tag_resource().resource_arn(arn);
    mark.tags(tag).send().await.expect("it is marked");
    want_plain(stage, &SECOND);
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(&said, &["other/test"]);
    let expected = [OperationType::CreateService];
    assert_eq!(operations(stage).await, expected);
}

async fn moves(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.edit(|manifest| {
        manifest
            .replace("command = [\"CMD\", \"/app\", \"healthcheck\"]\n", "")
            .replace(
                "cluster = \"default\"\n",
                "cluster = \"default\"\nruntime = \"app-runner\"\naccess_role = \"idp-access\"\n",
            )
    });
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 1).await;
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let services = ecs.describe_services().services(stage.service());
    let services = services.send().await.expect("services");
    let mut services = services.services().iter();
    assert!(services.all(|it| it.status() != Some("ACTIVE")));
    // What ran on ECS is no release that App Runner could make serve.
    let said = run(
        stage,
        &["rollback", "--yes", "--to", "r1"],
        "aws",
        Exit::Failure,
    )
    .await;
    says(&said, &["r1"]);
    run(stage, PLAN, "aws", Exit::Success).await;
}

async fn told(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    stage.behave(|started| Behaviour {
        lines: vec!["listening on 3000".to_owned()],
        ..Behaviour::usual(started.purpose)
    });
    run(stage, APPLY, "aws", Exit::Success).await;
    let said = run(
        stage,
        &["logs", "idp", "--since", "1h"],
        "aws",
        Exit::Success,
    )
    .await;
    says(&said, &["listening on 3000"]);
    let said = run(stage, &["status", "--json"], "aws", Exit::Success).await;
    let url = there(stage)
        .await
        .service_url()
        .unwrap_or_default()
        .to_owned();
    says(&said, &[&format!("http://{url}"), &stage.service()]);
}

/// A step after the service fails: what served before serves again.
async fn undone(stage: &Stage) {
    want_plain(stage, &Wanted::FIRST);
    run(stage, APPLY, "aws", Exit::Success).await;
    want_plain(stage, &SECOND);
    stage.behave(unhealthy);
    let undo: &[&str] = &["apply", "--yes", "--no-verify", "--on-failure", "undo"];
    run(stage, undo, "aws", Exit::RolledBack).await;
    assert_serves(stage, "aws", 1).await;
    let (connectors, scalings) = parts(stage).await;
    assert_eq!((connectors.len(), scalings.len()), (1, 1));
}
