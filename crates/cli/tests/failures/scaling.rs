//! How many tasks run: counts that other hands set, and ranges that scale.

use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::runner::Behaviour;

use crate::ecs::{NAME, OVERLAY, PLAN, SETTLED, ecs};
use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, DESTROY, SECOND, clouds, first_serves, run, says, unhealthy};

crate::tests! {
    a_count_of_none_is_nobodys_success => count_of_none,
    no_task_at_all_is_refused_for_ecs_while_planning => least_of_none,
    a_range_of_tasks_scales_and_is_compared => scales,
    what_another_team_registered_for_scaling_is_theirs => scaled_by_others,
    what_others_put_on_a_range_of_ours_outlives_it => with_others_on_it,
}

async fn set_count(stage: &Stage, count: i32) {
    let update = ecs(stage).await.update_service().service(NAME);
    let update = update.desired_count(count).send().await;
    update.expect("the service is there");
}

async fn count(stage: &Stage) -> i32 {
    clouds::ecs_service(stage, "idp").await.desired_count()
}

/// A count of 0 that another hand set is nobody's success, before a roll-out and in the middle of
/// one.
async fn count_of_none(stage: &Stage) {
    stage.file(OVERLAY, "[services.idp]\nreplicas = { min = 1, max = 6 }\n");
    first_serves(stage).await;
    set_count(stage, 0).await;
    stage.time.pass(SETTLED).await;
    let said = run(stage, &["status", "idp"], "aws", Exit::Untrue).await;
    says(&said, &["its count of tasks is 0: nobody serves"]);
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["desired_count: 0 -> 1 to 6"]);
    // The version dies: with nobody to fall back on, and none of it serving.
    stage.behave(unhealthy);
    stage.want(&SECOND);
    run(stage, APPLY, "aws", Exit::RolledBack).await;
    stage.behave(|started| Behaviour::usual(started.purpose));
    stage.time.pass(SETTLED).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(count(stage).await, 1);

    stage.containers_take(Duration::from_secs(60));
    stage.want(&Wanted {
        greeting: "good evening",
        ..SECOND
    });
    stage.calls.arm(None);
    let hand = async {
        while !stage
            .calls
            .names()
            .iter()
            .any(|it| it == "ecs:UpdateService")
        {
            stage.time.pass(Duration::from_millis(500)).await;
        }
        set_count(stage, 0).await;
    };
    let (said, ()) = tokio::join!(run(stage, APPLY, "aws", Exit::Untrue), hand);
    says(
        &said,
        &["somebody else set the count of tasks to 0, 1 to 6 is asked for"],
    );
    let releases = run(stage, &["releases"], "aws", Exit::Success).await;
    assert!(!releases.contains("r3"), "{releases}");
    let said = run(
        stage,
        &["apply", "--only", "idp", "--yes"],
        "aws",
        Exit::Untrue,
    )
    .await;
    says(&said, &["somebody else set the count of tasks to 0"]);
}

/// Nothing starts a task for a request on ECS; on Cloud Run an instance is.
async fn least_of_none(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.file(OVERLAY, "[services.idp]\nreplicas = { min = 0, max = 3 }\n");
    let said = run(stage, &["plan"], "all", Exit::Input).await;
    says(
        &said,
        &[
            "ECS with no task at all serves nobody",
            "[targets.aws.services.idp]",
        ],
    );
    stage.file(
        OVERLAY,
        "[services.idp]\nreplicas = { min = 0, max = 3 }\n[targets.aws.services.idp]\nreplicas = 1\n",
    );
    run(stage, APPLY, "all", Exit::Success).await;
}

async fn scaling(stage: &Stage) -> aws_sdk_applicationautoscaling::Client {
    aws_sdk_applicationautoscaling::Client::new(&stage.aws().await)
}

/// The range that is registered, and the policies on it with their goals.
async fn registered(stage: &Stage) -> Option<(i32, i32, Vec<(String, f64)>)> {
    use aws_sdk_applicationautoscaling::types::ServiceNamespace::Ecs;
    let scaling = scaling(stage).await;
    let targets = scaling.describe_scalable_targets().service_namespace(Ecs);
    let targets = targets.send().await.expect("an answer");
    let target = targets.scalable_targets().first()?.clone();
    assert_eq!(target.resource_id(), format!("service/default/{NAME}"));
    let policies = scaling.describe_scaling_policies().service_namespace(Ecs);
    let policies = policies.send().await.expect("an answer");
    let policies = policies.scaling_policies().iter().map(|policy| {
        let goal = policy
            .target_tracking_scaling_policy_configuration()
            .map_or(0.0, |tracking| tracking.target_value());
        (policy.policy_name().to_owned(), goal)
    });
    Some((
        target.min_capacity(),
        target.max_capacity(),
        policies.collect(),
    ))
}

/// ECS scales by a scalable target and its policies: they are there, compared, changed and taken
/// away.
async fn scales(stage: &Stage) {
    let replicas = |text: &str| {
        stage.file(OVERLAY, &format!("[services.idp]\nreplicas = {text}\n"));
    };
    replicas("{ min = 1, max = 4 }");
    first_serves(stage).await;
    let cpu = |at: f64| vec![("deployer-cpu".to_owned(), at)];
    assert_eq!(registered(stage).await, Some((1, 4, cpu(60.0))));
    run(stage, PLAN, "all", Exit::Success).await;
    // Inside the range whoever scales decides; outside of it is a difference.
    set_count(stage, 3).await;
    stage.time.pass(SETTLED).await;
    run(stage, PLAN, "aws", Exit::Success).await;
    set_count(stage, 9).await;
    stage.time.pass(SETTLED).await;
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["desired_count: 9 -> 1 to 4"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(count(stage).await, 4);
    // Another range and another goal.
    stage.file(
        OVERLAY,
        "[services.idp]\nreplicas = { min = 2, max = 3 }\n[targets.aws.services.idp.scaling]\ncpu = 45\n",
    );
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["cpu: 60 % -> 45 %", "max: 4 -> 3", "min: 1 -> 2"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(registered(stage).await, Some((2, 3, cpu(45.0))));
    assert_eq!(count(stage).await, 3);
    run(stage, PLAN, "aws", Exit::Success).await;
    // One number: nobody scales any more.
    replicas("2");
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["- application-autoscaling.target swept-test-idp"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(registered(stage).await, None);
    assert_eq!(count(stage).await, 2);
    run(stage, PLAN, "aws", Exit::Success).await;
    replicas("{ min = 1, max = 4 }");
    run(stage, APPLY, "aws", Exit::Success).await;
    run(stage, DESTROY, "aws", Exit::Success).await;
    assert_eq!(registered(stage).await, None);
}

/// Others scale the service down at night and by a metric of theirs: that goes on when our range
/// ends.
async fn with_others_on_it(stage: &Stage) {
    use aws_sdk_applicationautoscaling::types::{
        PolicyType, PredefinedMetricSpecification, ScalableDimension, ScalableTargetAction,
        ServiceNamespace, TargetTrackingScalingPolicyConfiguration,
    };
    let replicas = |text: &str| {
        stage.file(OVERLAY, &format!("[services.idp]\nreplicas = {text}\n"));
    };
    replicas("{ min = 1, max = 4 }");
    first_serves(stage).await;
    let scaling = scaling(stage).await;
    let night = ScalableTargetAction::builder()
        .min_capacity(0)
        .max_capacity(0);
    let put = scaling
        .put_scheduled_action()
        .service_namespace(ServiceNamespace::Ecs)
        .resource_id(format!("service/default/{NAME}"))
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .scheduled_action_name("night")
        .schedule("cron(0 22 * * ? *)")
        .scalable_target_action(night.build());
    put.send().await.expect("it is put");
    let memory = PredefinedMetricSpecification::builder()
        .predefined_metric_type("ECSServiceAverageMemoryUtilization".into())
        .build();
    let tracking = TargetTrackingScalingPolicyConfiguration::builder()
        .target_value(70.0)
        .predefined_metric_specification(memory.expect("a metric"));
    let put = scaling
        .put_scaling_policy()
        .policy_name("theirs")
        .service_namespace(ServiceNamespace::Ecs)
        .resource_id(format!("service/default/{NAME}"))
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .policy_type(PolicyType::TargetTrackingScaling)
        .target_tracking_scaling_policy_configuration(tracking.build().expect("a goal"));
    put.send().await.expect("it is put");
    run(stage, PLAN, "aws", Exit::Success).await;
    replicas("2");
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(
        &said,
        &[
            "stays registered",
            "policy `theirs`",
            "scheduled action `night`",
        ],
    );
    run(stage, APPLY, "aws", Exit::Success).await;
    let theirs = vec![("theirs".to_owned(), 70.0)];
    assert_eq!(registered(stage).await, Some((1, 4, theirs)));
    let kept = scaling.describe_scheduled_actions();
    let kept = kept.service_namespace(ServiceNamespace::Ecs).send().await;
    assert_eq!(kept.expect("an answer").scheduled_actions().len(), 1);
    run(stage, PLAN, "aws", Exit::Success).await;
}

/// What another team registered is theirs.
async fn scaled_by_others(stage: &Stage) {
    use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace};
    first_serves(stage).await;
    let theirs = scaling(stage).await.register_scalable_target();
    let theirs = theirs
        .service_namespace(ServiceNamespace::Ecs)
        .resource_id(format!("service/default/{NAME}"))
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .min_capacity(1)
        .max_capacity(8);
    theirs.send().await.expect("it is registered");
    run(stage, PLAN, "aws", Exit::Success).await;
    stage.file(OVERLAY, "[services.idp]\nreplicas = { min = 1, max = 4 }\n");
    let said = run(stage, &["plan"], "aws", Exit::Failure).await;
    says(&said, &["exists and is not ours", "adopt = true"]);
    run(stage, DESTROY, "aws", Exit::Success).await;
    assert_eq!(registered(stage).await, Some((1, 8, Vec::new())));
}
