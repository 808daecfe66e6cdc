//! Load balancers of an ECS service: added to one that runs, changed, taken off, and put back, with
//! others beside ours.

use std::time::Duration;

use aws_sdk_ecs::types::{LoadBalancer, Service};
use deployer::Exit;

use crate::in_process::stage::{Stage, Wanted};
use crate::{APPLY, SECOND, assert_serves, clouds, first_serves, run, says, unhealthy};

crate::tests! {
    a_load_balancer_comes_before_its_grace_period_and_goes_after_it => come_and_go,
    the_last_load_balancer_goes_with_its_grace_period => the_last,
    a_target_group_of_ours_is_known_after_a_run_that_was_cut_off => killed,
    an_undo_puts_load_balancers_back => undone,
    a_grace_period_alone_is_refused_while_planning => grace_alone,
}

const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
const UNDO: &[&str] = &["apply", "--yes", "--no-verify", "--on-failure", "undo"];
/// Longer than anything here rolls out.
const SETTLED: Duration = Duration::from_secs(600);

fn group(name: &str) -> String {
    format!(
        "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/{name}/0123456789abcdef"
    )
}

fn want_group(stage: &Stage, name: Option<&str>) {
    let overlay = name.map(|name| {
        let group = group(name);
        format!("[targets.aws.services.idp]\ntarget_group = \"{group}\"\n")
    });
    stage.file("deployer.test.toml", &overlay.unwrap_or_default());
}

async fn service(stage: &Stage) -> Service {
    clouds::ecs_service(stage, "idp").await
}

fn groups(service: &Service) -> Vec<String> {
    let balancers = service.load_balancers().iter();
    let groups = balancers.filter_map(|it| it.target_group_arn());
    groups
        .filter_map(|arn| arn.split('/').nth(1))
        .map(str::to_owned)
        .collect()
}

/// As another hand does it: the tasks are put into one more group.
async fn add_theirs(stage: &Stage) {
    let there = service(stage).await;
    let mut balancers = there.load_balancers().to_vec();
    let theirs = LoadBalancer::builder()
        .target_group_arn(group("theirs"))
        .container_name("idp")
        .container_port(3000);
    balancers.push(theirs.build());
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let update = ecs.update_service().service(clouds::name_of("idp"));
    let update = update.set_load_balancers(Some(balancers)).send().await;
    update.expect("the service is there");
    stage.time.pass(SETTLED).await;
}

/// A grace period is for a service that has a load balancer: it comes after the first one, and goes
/// before the last.
async fn come_and_go(stage: &Stage) {
    first_serves(stage).await;
    assert_eq!(
        service(stage).await.health_check_grace_period_seconds(),
        None
    );
    want_group(stage, Some("one"));
    run(stage, APPLY, "aws", Exit::Success).await;
    let there = service(stage).await;
    assert_eq!(groups(&there), ["one"]);
    assert_eq!(there.health_check_grace_period_seconds(), Some(60));
    run(stage, PLAN, "aws", Exit::Success).await;
    want_group(stage, Some("two"));
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["targetgroup/one", "targetgroup/two"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(groups(&service(stage).await), ["two"]);
    add_theirs(stage).await;
    run(stage, PLAN, "aws", Exit::Success).await;
    want_group(stage, Some("one"));
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(groups(&service(stage).await), ["one", "theirs"]);
    want_group(stage, None);
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["load_balancer:", "targetgroup/one", "-> (none)"]);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(groups(&service(stage).await), ["theirs"]);
    run(stage, PLAN, "aws", Exit::Success).await;
    assert_serves(stage, "aws", 1).await;
}

/// The last load balancer goes with its grace period, and what was never ours is not taken.
async fn the_last(stage: &Stage) {
    want_group(stage, Some("one"));
    first_serves(stage).await;
    want_group(stage, None);
    run(stage, APPLY, "aws", Exit::Success).await;
    let there = service(stage).await;
    assert_eq!(groups(&there), Vec::<String>::new());
    run(stage, PLAN, "aws", Exit::Success).await;
    add_theirs(stage).await;
    run(stage, PLAN, "aws", Exit::Success).await;
    stage.want(&SECOND);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(groups(&service(stage).await), ["theirs"]);
}

/// A run that ends in the middle of a change forgets no group of ours.
async fn killed(stage: &Stage) {
    want_group(stage, Some("one"));
    first_serves(stage).await;
    want_group(stage, Some("two"));
    stage.calls.deny("ecs:UpdateService");
    run(stage, APPLY, "aws", Exit::Denied).await;
    stage.calls.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(groups(&service(stage).await), ["two"]);
    run(stage, PLAN, "aws", Exit::Success).await;
}

/// An undo takes off what the run put on, and puts on what it took off.
async fn undone(stage: &Stage) {
    first_serves(stage).await;
    for (before, after) in [(None, Some("one")), (Some("one"), None)] {
        want_group(stage, before);
        stage.want(&Wanted::FIRST);
        run(stage, APPLY, "aws", Exit::Success).await;
        let was = service(stage).await;
        want_group(stage, after);
        // The first version is well also in the tasks that the way back starts.
        let second = stage.digest(2);
        stage.behave(move |started| match started.digest == second {
            true => unhealthy(started),
            false => deployer_sandbox::runner::Behaviour::usual(started.purpose),
        });
        stage.want(&SECOND);
        run(stage, UNDO, "aws", Exit::RolledBack).await;
        stage.behave(|started| deployer_sandbox::runner::Behaviour::usual(started.purpose));
        stage.time.pass(SETTLED).await;
        let is = service(stage).await;
        assert_eq!(groups(&is), groups(&was), "{after:?}");
        let grace = |it: &Service| it.health_check_grace_period_seconds().unwrap_or(0);
        assert_eq!(grace(&is), grace(&was), "{after:?}");
        assert_serves(stage, "aws", 1).await;
    }
}

/// Without a load balancer ECS refuses a grace period: so does the manifest.
async fn grace_alone(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.file(
        "deployer.test.toml",
        "[targets.aws.services.idp]\nhealth_check_grace_period = 30\n",
    );
    let said = run(stage, &["plan"], "aws", Exit::Input).await;
    says(
        &said,
        &["a grace period needs a load balancer", "target_group"],
    );
}
