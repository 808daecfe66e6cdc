//! What ECS is and does: ports, members that no manifest has, entry points, controllers, refusals
//! that pass.

use std::time::Duration;

use aws_sdk_ecs::types::{
    ContainerDefinition, DeploymentController, DeploymentControllerType, EphemeralStorage,
    KeyValuePair, NetworkMode, TaskDefinition, Ulimit, UlimitName,
};
use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose, Started};

use crate::events::document;
use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, DESTROY, SECOND, assert_serves, clouds, first_serves, run, says, unhealthy};

crate::tests! {
    the_app_finds_its_port_on_both_clouds => port,
    what_no_manifest_has_a_word_for_is_carried_over_and_shown => kept,
    going_back_to_what_serves_registers_nothing => revert,
    a_migration_runs_one_program_on_both_clouds_whatever_the_service_runs => programs,
    a_program_without_a_name_is_refused_while_planning => no_program,
    tasks_are_replaced_for_a_setting_that_ecs_does_not_deploy => exec,
    a_service_that_codedeploy_deploys_is_refused_while_planning => other_controllers,
    what_ecs_refuses_for_a_moment_is_asked_again => passing,
    what_logs_scaling_registry_and_secrets_refuse_for_a_moment_is_asked_again => passing_elsewhere,
    what_ecs_goes_on_to_refuse_says_how_it_is_mended => does_not_pass,
    whose_a_service_is_comes_before_what_it_is => of_another_controller_and_owner,
    a_service_that_is_there_already_is_changed => is_there_already,
    patience_that_is_over_is_no_failure_of_the_roll_out => patience,
    a_start_period_is_the_grace_period_of_a_target_group => grace,
    a_migration_that_cannot_be_stopped_is_still_running => unstoppable_migration,
    lines_that_come_late_are_printed_once => late_lines,
    percentages_are_left_alone_where_the_manifest_is_silent => percentages,
}

pub const NAME: &str = "swept-test-idp";
pub const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
pub const OVERLAY: &str = "deployer.test.toml";
/// Longer than anything here rolls out.
pub const SETTLED: Duration = Duration::from_secs(600);

pub async fn ecs(stage: &Stage) -> aws_sdk_ecs::Client {
    aws_sdk_ecs::Client::new(&stage.aws().await)
}

/// A revision of the service's family, or what its latest one is.
pub async fn definition(stage: &Stage, name: &str) -> TaskDefinition {
    let described = ecs(stage).await.describe_task_definition();
    let described = described.task_definition(name).send().await;
    let described = described.expect("it is there").task_definition;
    described.expect("a definition")
}

fn started_on_aws(stage: &Stage, purpose: Purpose) -> Vec<Started> {
    let mut started = stage.containers.started();
    started.retain(|it| it.repository.starts_with("aws/") && it.purpose == purpose);
    started
}

/// Both clouds' containers find their port in `PORT`: Cloud Run sets it, and on ECS the definition
/// does.
async fn port(stage: &Stage) {
    stage.file(OVERLAY, "[services.idp]\nport = 9090\n");
    first_serves(stage).await;
    let started = stage.containers.started();
    assert_eq!(started.len(), 4, "{started:?}");
    for container in started {
        let cloud_run_job =
            container.repository.starts_with("gcp/") && container.purpose == Purpose::Finish;
        let port = container.env.get("PORT").map(String::as_str);
        let expected = (!cloud_run_job).then_some("9090");
        assert_eq!(port, expected, "{container:?}");
    }
    run(stage, PLAN, "all", Exit::Success).await;
    // What another hand takes out is put back.
    let mut there = definition(stage, NAME).await;
    let containers = there.container_definitions.as_mut().expect("containers");
    let env = containers[0].environment.as_mut().expect("variables");
    env.retain(|it| it.name() != Some("PORT"));
    register_and_deploy(stage, &there).await;
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["env.PORT: (none) -> 9090"]);
}

/// As from a console: everything that this definition says, under the service's family, and the
/// service runs it.
pub async fn register_and_deploy(stage: &Stage, there: &TaskDefinition) {
    let ecs = ecs(stage).await;
    let register = ecs
        .register_task_definition()
        .family(NAME)
        .network_mode(NetworkMode::Awsvpc)
        .set_requires_compatibilities(there.requires_compatibilities.clone())
        .set_runtime_platform(there.runtime_platform.clone())
        .set_cpu(there.cpu.clone())
        .set_memory(there.memory.clone())
        .set_execution_role_arn(there.execution_role_arn.clone())
        .set_task_role_arn(there.task_role_arn.clone())
        .set_ephemeral_storage(there.ephemeral_storage.clone())
        .set_volumes(there.volumes.clone())
        .set_container_definitions(there.container_definitions.clone());
    register.send().await.expect("it is registered");
    let update = ecs.update_service().service(NAME).task_definition(NAME);
    update.send().await.expect("the service is there");
    stage.time.pass(SETTLED).await;
}

/// Members that no manifest has stay when a revision follows, and a plan says that another hand
/// changed them.
async fn kept(stage: &Stage) {
    first_serves(stage).await;
    let mut there = definition(stage, NAME).await;
    let containers = there.container_definitions.as_mut().expect("containers");
    let ulimit = Ulimit::builder().name(UlimitName::Nofile);
    let ulimit = ulimit.soft_limit(1024).hard_limit(65_536).build();
    containers[0].ulimits = Some(vec![ulimit.expect("complete")]);
    containers[0].docker_labels = Some([("team".to_owned(), "web".to_owned())].into());
    containers[0].stop_timeout = Some(100);
    let port = containers[0].port_mappings.as_mut().expect("a port");
    port[0].name = Some("web".into());
    let key = KeyValuePair::builder().name("LEVEL").value("info").build();
    let agent = ContainerDefinition::builder()
        .name("agent")
        .image(containers[0].image.clone().expect("an image"))
        .essential(false)
        .environment(key)
        .build();
    containers.push(agent);
    there.ephemeral_storage = Some(EphemeralStorage::builder().size_in_gib(100).build());
    register_and_deploy(stage, &there).await;
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(
        &said,
        &[
            "another hand changed ulimits, which stays: (none) -> [Ulimit { name: Nofile, soft_limit: 1024, hard_limit: 65536 }]",
            "another hand changed ephemeral_storage, which stays",
            "another hand changed agent.image, which stays",
            "another hand changed port.name, which stays: (none) -> \"web\"",
        ],
    );
    stage.want(&SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 2).await;
    let now = definition(stage, NAME).await;
    let (was, is) = (there.container_definitions(), now.container_definitions());
    assert_eq!(is[0].ulimits, was[0].ulimits);
    assert_eq!(is[0].docker_labels, was[0].docker_labels);
    assert_eq!(is[0].stop_timeout, Some(100));
    assert_eq!(is[0].port_mappings()[0].name(), Some("web"));
    assert_eq!(is[1].name(), Some("agent"));
    assert_eq!(is[1].environment, was[1].environment);
    assert_eq!(now.ephemeral_storage, there.ephemeral_storage);
    let said = run(stage, PLAN, "aws", Exit::Success).await;
    assert!(!said.contains("another hand"), "{said}");
}

/// Going back to what serves, after a version that failed, registers and rolls out nothing.
async fn revert(stage: &Stage) {
    first_serves(stage).await;
    stage.behave(unhealthy);
    stage.want(&SECOND);
    run(stage, APPLY, "aws", Exit::RolledBack).await;
    stage.behave(|started| Behaviour::usual(started.purpose));
    stage.want(&Wanted::FIRST);
    stage.calls.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    assert_eq!(definition(stage, NAME).await.revision(), 2);
    run(stage, PLAN, "aws", Exit::Success).await;
}

/// One meaning on both clouds: the migration's program is made of its own words and the image's,
/// whatever the service runs.
async fn programs(stage: &Stage) {
    let runs = async |service: &str, migrate: &str, command: &[&str], plan: &str| {
        let overlay = format!("[services.idp]\n{service}\n[services.idp.migrate]\n{migrate}\n");
        stage.file(OVERLAY, &overlay);
        let said = run(stage, &["plan"], "all", Exit::Success).await;
        says(&said, &[&format!("program: {plan}")]);
        let before = stage.containers.started().len();
        run(stage, APPLY, "all", Exit::Success).await;
        let mut jobs = stage.containers.started().split_off(before);
        jobs.retain(|it| it.purpose == Purpose::Finish);
        assert_eq!(jobs.len(), 2, "one on each cloud: {jobs:?}");
        for job in jobs {
            assert_eq!(job.command, command, "{job:?}");
        }
        run(stage, PLAN, "all", Exit::Success).await;
    };
    stage.want(&Wanted::FIRST);
    // The image's: ["/app"] and ["serve"].
    runs(
        "",
        "command = [\"migrate\"]",
        &["/app", "migrate"],
        "(the image's entry point) migrate",
    )
    .await;
    runs(
        "entrypoint = [\"/bin/sh\"]\ncommand = [\"-c\", \"serve\"]",
        "command = [\"up\"]",
        &["/app", "up"],
        "(the image's entry point) up",
    )
    .await;
    runs(
        "entrypoint = [\"/bin/sh\"]\ncommand = [\"-c\", \"serve\"]",
        "entrypoint = [\"/migrate\"]\ncommand = []",
        &["/migrate"],
        "/migrate",
    )
    .await;
    runs(
        "entrypoint = [\"/bin/sh\"]\ncommand = [\"-c\", \"serve\"]",
        "entrypoint = [\"/bin/sh\"]\ncommand = [\"-c\", \"exit 0\"]",
        &["/bin/sh", "-c", "exit 0"],
        "/bin/sh -c \"exit 0\"",
    )
    .await;
    let mut serving = started_on_aws(stage, Purpose::Serve);
    let last = serving.pop().expect("it serves");
    assert_eq!(last.command, ["/bin/sh", "-c", "serve"]);
    run(stage, DESTROY, "all", Exit::Success).await;
    let left = ecs(stage).await.list_task_definitions().send().await;
    let left = left.expect("an answer");
    assert_eq!(left.task_definition_arns(), Vec::<String>::new());
}

async fn no_program(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.file(OVERLAY, "[services.idp]\ncommand = [\"\"]\n");
    let said = run(stage, &["plan"], "all", Exit::Input).await;
    says(&said, &["its first word, the program to start, is empty"]);
}

/// A session into tasks that were started without its agent would be refused: they are replaced.
async fn exec(stage: &Stage) {
    first_serves(stage).await;
    let before = started_on_aws(stage, Purpose::Serve).len();
    stage.file(
        OVERLAY,
        "[targets.aws.services.idp]\nenable_execute_command = true\n",
    );
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(started_on_aws(stage, Purpose::Serve).len(), before + 1);
    let service = clouds::ecs_service(stage, "idp").await;
    assert!(service.enable_execute_command());
    let list = ecs(stage).await.list_tasks().service_name(NAME);
    let tasks = list.send().await.expect("an answer").task_arns;
    let described = ecs(stage).await.describe_tasks().set_tasks(tasks);
    let described = described.send().await.expect("an answer");
    let with_agent = |task: &aws_sdk_ecs::types::Task| task.enable_execute_command();
    assert!(described.tasks().iter().all(with_agent), "{described:#?}");
    run(stage, PLAN, "aws", Exit::Success).await;
}

/// What deploys by CodeDeploy is refused while planning, in words, and never made anew.
async fn other_controllers(stage: &Stage) {
    first_serves(stage).await;
    let service = clouds::ecs_service(stage, "idp").await;
    let ecs = ecs(stage).await;
    let delete = ecs.delete_service().service(NAME).force(true);
    delete.send().await.expect("it is there");
    stage.time.pass(SETTLED).await;
    let controller = DeploymentController::builder()
        .r#type(DeploymentControllerType::CodeDeploy)
        .build();
    let create = ecs
        .create_service()
        .service_name(NAME)
        .task_definition(NAME)
        .desired_count(1)
        .launch_type(aws_sdk_ecs::types::LaunchType::Fargate)
        .set_network_configuration(service.network_configuration.clone())
        .deployment_controller(controller.expect("complete"));
    create.send().await.expect("it is made");
    stage.file(OVERLAY, "[targets.aws.services.idp]\nadopt = true\n");
    stage.want(&SECOND);
    stage.calls.arm(None);
    let said = run(stage, APPLY, "aws", Exit::Input).await;
    says(
        &said,
        &[
            "is deployed by the controller CODE_DEPLOY",
            "targets.aws.services.NAME",
        ],
    );
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

/// What ECS refuses because something was made a moment ago is asked again.
async fn passing(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let calls = [
        "ecs:CreateService",
        "ecs:RunTask",
        "ecs:RegisterTaskDefinition",
    ];
    let rules = calls.map(|call| {
        format!("[[fault]]\ncall = \"{call}\"\nwhat = \"settling\"\nnth = 1\ntimes = 3\n")
    });
    stage.disturb(&rules.concat()).await;
    stage.calls.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.fired().await, 3);
    for call in calls {
        let names = stage.calls.names();
        let times = names.iter().filter(|name| *name == call).count();
        assert_eq!(times, 4, "{call}");
    }
}

/// So is what other services refuse then: another call on a log group that is not done, a role of
/// the first range that scales, a target group or a repository that is not known everywhere.
async fn passing_elsewhere(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let scales = "[services.idp]\nreplicas = { min = 1, max = 4 }\n";
    stage.file(OVERLAY, scales);
    let refused = [
        "logs:CreateLogGroup",
        "logs:PutRetentionPolicy",
        "application-autoscaling:RegisterScalableTarget",
        "application-autoscaling:PutScalingPolicy",
        "application-autoscaling:DescribeScalingPolicies",
    ];
    let refused = refused.map(|call| (call, "settling"));
    let stale = [
        ("ecr:DescribeRepositories", "stale"),
        ("logs:DescribeLogGroups", "stale"),
    ];
    let rule = |(call, what): &(&str, &str)| {
        format!("[[fault]]\ncall = \"{call}\"\nwhat = \"{what}\"\nnth = 1\ntimes = 3\n")
    };
    let all: Vec<_> = refused.iter().chain(&stale).collect();
    stage
        .disturb(&all.iter().map(|one| rule(one)).collect::<String>())
        .await;
    run(stage, APPLY, "aws", Exit::Success).await;
    let fired = stage.fired_all().await;
    assert_eq!(fired, vec![3; all.len()], "{all:?}");
    stage.disturb("").await;
    run(stage, PLAN, "aws", Exit::Success).await;
    // A plan looks again as well, and so do changes and deletes.
    let calls = [
        "application-autoscaling:DescribeScalingPolicies",
        "ecs:UpdateService",
        "logs:TagResource",
    ];
    let rules = calls.map(|call| rule(&(call, "settling")));
    stage.disturb(&rules.concat()).await;
    stage.file(OVERLAY, &format!("{scales}[tags]\nteam = \"web\"\n"));
    stage.want(&SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.fired_all().await, [3, 3, 3]);
    stage
        .disturb(&rule(&("logs:DeleteLogGroup", "settling")))
        .await;
    run(stage, DESTROY, "aws", Exit::Success).await;
    assert_eq!(stage.fired_all().await, [3]);
    // A secret that was deleted is restored: it is not known for a while that it lives.
    stage.file(OVERLAY, &format!("{scales}[tags]\nteam = \"ops\"\n"));
    let call = "secretsmanager:TagResource";
    stage.disturb(&rule(&(call, "settling"))).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.fired_all().await, [3]);
}

/// What does not pass says how it is mended.
async fn does_not_pass(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage
        .disturb("[[fault]]\ncall = \"ecs:CreateService\"\nwhat = \"settling\"\n")
        .await;
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(
        &said,
        &["create-service-linked-role --aws-service-name ecs.amazonaws.com"],
    );
}

/// Whose it is comes before what it is.
async fn of_another_controller_and_owner(stage: &Stage) {
    other_controllers(stage).await;
    stage.file(OVERLAY, "");
    let said = run(stage, &["plan"], "aws", Exit::Failure).await;
    says(&said, &["exists and is not ours"]);
    assert!(!said.contains("CODE_DEPLOY"), "{said}");
}

/// Made by another call while the plan saw nothing: it is changed, not refused.
async fn is_there_already(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.calls.arm(None);
    let hand = async {
        while !stage.calls.names().iter().any(|it| it == "ecs:RunTask") {
            stage.time.pass(Duration::from_millis(200)).await;
        }
        let ecs = ecs(stage).await;
        let subnets = ["subnet-0a1b2c3d4e5f60001".to_owned()];
        let vpc = aws_sdk_ecs::types::AwsVpcConfiguration::builder()
            .set_subnets(Some(subnets.to_vec()))
            .build();
        let network = aws_sdk_ecs::types::NetworkConfiguration::builder()
            .awsvpc_configuration(vpc.expect("complete"))
            .build();
        let mark = aws_sdk_ecs::types::Tag::builder()
            .key("deployer")
            .value("swept/test")
            .build();
        let create = ecs
            .create_service()
            .service_name(NAME)
            .task_definition(NAME)
            .desired_count(1)
            .launch_type(aws_sdk_ecs::types::LaunchType::Fargate)
            .network_configuration(network)
            .tags(mark);
        create.send().await.expect("it is made");
    };
    stage.behave(|started| Behaviour {
        takes: Duration::from_secs(30),
        ..Behaviour::usual(started.purpose)
    });
    tokio::join!(run(stage, APPLY, "aws", Exit::Success), hand);
    run(stage, PLAN, "aws", Exit::Success).await;
}

/// Our patience is over before the cloud's: that is no failure of the roll-out, and the same
/// command waits on.
async fn patience(stage: &Stage) {
    stage.file(
        OVERLAY,
        "[services.idp]\npatience = \"1m\"\n[services.idp.health]\nstart_period = \"4m\"\n",
    );
    stage.containers_take(Duration::from_secs(150));
    stage.want(&Wanted::FIRST);
    for cloud in ["aws", "gcp"] {
        let began = stage.time.now();
        let said = run(stage, APPLY, cloud, Exit::DeploymentFailed).await;
        says(
            &said,
            &[
                "NOT READY IN TIME, no longer waited for",
                "it has not failed: the cloud goes on, and the same command waits on",
                "`patience`",
            ],
        );
        assert!(!said.contains("FAILED"), "{said}");
        assert!(!said.contains("still serves"), "nothing served yet: {said}");
        let took = stage.time.now().duration_since(began).as_secs();
        assert!(took < 400, "{took} s");
        stage.time.pass(Duration::from_secs(150)).await;
        run(stage, APPLY, cloud, Exit::Success).await;
    }
}

/// With a target group the start period of the health check is ECS's grace period.
async fn grace(stage: &Stage) {
    let group =
        "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/idp/0123456789abcdef";
    stage.file(
        OVERLAY,
        &format!(
            "[services.idp.health]\nstart_period = \"2m\"\n[targets.aws.services.idp]\ntarget_group = \"{group}\"\n"
        ),
    );
    first_serves(stage).await;
    let grace = async || {
        let service = clouds::ecs_service(stage, "idp").await;
        service.health_check_grace_period_seconds()
    };
    assert_eq!(grace().await, Some(120));
    run(stage, PLAN, "all", Exit::Success).await;
    stage.file(
        OVERLAY,
        &format!(
            "[targets.aws.services.idp]\ntarget_group = \"{group}\"\nhealth_check_grace_period = 7\n"
        ),
    );
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(grace().await, Some(7));
}

/// A migration that cannot be stopped is still running, and nothing is started beside it.
async fn unstoppable_migration(stage: &Stage) {
    stage.behave(|started| Behaviour {
        takes: match started.purpose {
            Purpose::Finish => Duration::from_secs(7200),
            Purpose::Serve => Duration::ZERO,
        },
        ..Behaviour::usual(started.purpose)
    });
    stage.want(&Wanted::FIRST);
    stage.calls.deny("ecs:StopTask");
    let said = run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    let words = [
        "is still running, as task",
        "no other one is started",
        "stop-task",
    ];
    says(&said, &words);
    says(&said, &["cannot stop task"]);
    stage.calls.deny("ecs:StopTask");
    for again in [APPLY, &["migrate", "--retry", "--yes"]] {
        let said = run(stage, again, "aws", Exit::DeploymentFailed).await;
        says(&said, &words);
    }
    // Of another image: it would run beside it as well.
    stage.want(&SECOND);
    let said = run(stage, APPLY, "aws", Exit::Failure).await;
    says(&said, &words);
    assert_eq!(started_on_aws(stage, Purpose::Finish).len(), 1);
    stage.calls.arm(None);
    stage.want(&Wanted::FIRST);
    let said = run(stage, APPLY, "aws", Exit::DeploymentFailed).await;
    says(&said, &["had not ended after 300 s, and was stopped"]);
    stage.behave(|started| Behaviour::usual(started.purpose));
    run(
        stage,
        &["migrate", "--retry", "--yes"],
        "aws",
        Exit::Success,
    )
    .await;
}

/// Lines of one millisecond and of another stream that come late are printed, each once.
async fn late_lines(stage: &Stage) {
    use aws_sdk_cloudwatchlogs::types::InputLogEvent;
    first_serves(stage).await;
    let logs = aws_sdk_cloudwatchlogs::Client::new(&stage.aws().await);
    let group = "/ecs/swept-test-idp";
    for stream in ["ecs/idp/one", "ecs/idp/two"] {
        let create = logs.create_log_stream().log_group_name(group);
        let created = create.log_stream_name(stream).send().await;
        created.expect("the group is there");
    }
    let put = async |stream: &str, at: i64, text: &str| {
        let event = InputLogEvent::builder().timestamp(at).message(text).build();
        let put = logs.put_log_events().log_group_name(group);
        let put = put.log_stream_name(stream);
        let put = put.log_events(event.expect("complete")).send().await;
        put.expect("the stream is there");
    };
    let now = || stage.time.now().as_millisecond();
    let hand = async {
        stage.time.pass(Duration::from_secs(5)).await;
        let at = now();
        put("ecs/idp/one", at, "line A").await;
        stage.time.pass(Duration::from_secs(4)).await;
        put("ecs/idp/one", at, "line B, of the same millisecond").await;
        put("ecs/idp/two", at - 8000, "line C, of another task").await;
        stage.time.pass(Duration::from_secs(4)).await;
        put("ecs/idp/two", now(), "line A").await;
        stage.time.pass(Duration::from_secs(4)).await;
    };
    let follow = ["logs", "idp", "--follow", "--since", "1h"];
    let said = stage.run_until(&follow, "aws", hand).await;
    for (words, times) in [("line A", 2), ("line B", 1), ("line C", 1)] {
        let count = said.lines().filter(|line| line.contains(words)).count();
        assert_eq!(count, times, "{words}:\n{said}");
    }
}

/// Percentages of a roll-out are compared where the manifest says them, and left alone where it
/// does not.
async fn percentages(stage: &Stage) {
    use aws_sdk_ecs::types::DeploymentConfiguration;
    first_serves(stage).await;
    let by_hand = DeploymentConfiguration::builder()
        .minimum_healthy_percent(50)
        .maximum_percent(150)
        .build();
    let update = ecs(stage).await.update_service().service(NAME);
    let update = update.deployment_configuration(by_hand).send().await;
    update.expect("the service is there");
    let plan = document(stage, &["plan"], "aws", Exit::Success).await;
    assert_eq!(
        plan["counts"]["update"].as_u64().unwrap_or(0),
        0,
        "{plan:#}"
    );
    stage.file(
        OVERLAY,
        "[targets.aws.services.idp]\nminimum_healthy_percent = 75\n",
    );
    run(stage, APPLY, "aws", Exit::Success).await;
    let service = clouds::ecs_service(stage, "idp").await;
    let now = service.deployment_configuration().expect("there is one");
    assert_eq!(now.minimum_healthy_percent(), Some(75));
    assert_eq!(now.maximum_percent(), Some(150));
    assert!(
        now.deployment_circuit_breaker()
            .is_some_and(|it| it.enable())
    );
}
