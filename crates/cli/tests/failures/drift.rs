//! Drift: what another hand changed is told apart from what the manifest changed, and what is only
//! noise is not told.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ecs::types::{KeyValuePair, NetworkMode, Tag};
use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose};
use reqwest::Method;
use serde_json::{Value, json};

use crate::events::document;
use crate::in_process::stage::{LOCATION, PROJECT, Stage, Wanted};
use crate::{APPLY, SECOND, first_serves, run, says};

crate::tests! {
    what_another_hand_changed_is_shown_apart => log_retention,
    variables_that_another_hand_changed_are_shown_apart => variables,
    nobody_is_accused_of_what_a_failed_roll_out_of_ours_left => failed_before,
    a_count_that_scales_is_nobodys_drift => scaled,
    what_the_clouds_add_themselves_is_no_drift => noise,
    lines_are_kept_longer_than_asked_for_where_a_rule_says_so => longer_retention,
}

/// What the service is called on both clouds.
const NAME: &str = "swept-test-idp";
const DEFINITION: &str = "aws/us-east-1/ecs.task-definition/swept-test-idp";
const GROUP: &str = "aws/us-east-1/logs.group//ecs/swept-test-idp";
const ECS_SERVICE: &str = "aws/us-east-1/ecs.service/swept-test-idp";
const RUN_SERVICE: &str = "gcp/us-central1/run.service/swept-test-idp";

/// Longer than anything here rolls out.
const SETTLED: Duration = Duration::from_secs(600);
const PLAN: &[&str] = &["plan", "--detailed-exitcode"];

async fn retain(stage: &Stage, days: i32) {
    let logs = aws_sdk_cloudwatchlogs::Client::new(&stage.aws().await);
    let kept = logs
        .put_retention_policy()
        .log_group_name("/ecs/swept-test-idp")
        .retention_in_days(days);
    kept.send().await.expect("the group is there");
}

async fn retention(stage: &Stage) -> Option<i32> {
    let logs = aws_sdk_cloudwatchlogs::Client::new(&stage.aws().await);
    let groups = logs.describe_log_groups();
    let groups = groups.log_group_name_prefix("/ecs/swept-test-idp").send();
    groups.await.expect("an answer").log_groups()[0].retention_in_days()
}

async fn log_retention(stage: &Stage) {
    first_serves(stage).await;
    retain(stage, 7).await;
    stage.want(&Wanted {
        greeting: "good evening",
        ..Wanted::FIRST
    });
    let said = run(stage, &["plan"], "aws", Exit::Success).await;
    says(&said, &["env.GREETING: hello -> good evening"]);
    assert_eq!(theirs(&said), ["retention_days: 7 -> 30"], "{said}");
}

/// Lines are kept as long as is asked for at least: a rule that keeps them longer is not overruled,
/// and what the manifest itself asked for is lowered only where the loss is allowed.
async fn longer_retention(stage: &Stage) {
    first_serves(stage).await;
    retain(stage, 365).await;
    nothing_to_do(stage).await;
    let logs = aws_sdk_cloudwatchlogs::Client::new(&stage.aws().await);
    let forever = logs.delete_retention_policy();
    let forever = forever.log_group_name("/ecs/swept-test-idp").send().await;
    forever.expect("the group is there");
    nothing_to_do(stage).await;
    let days = |days: u32| {
        let overlay = format!("[targets.aws]\nlog_retention_days = {days}\n");
        stage.file("deployer.test.toml", &overlay);
    };
    retain(stage, 14).await;
    days(90);
    run(stage, APPLY, "aws", Exit::Success).await;
    assert_eq!(retention(stage).await, Some(90));
    days(14);
    let said = run(stage, &["plan"], "aws", Exit::Success).await;
    says(&said, &["retention_days: 90 -> 14", "LOSES DATA"]);
    let said = run(stage, APPLY, "aws", Exit::Input).await;
    says(&said, &["--allow-data-loss"]);
    assert_eq!(retention(stage).await, Some(90));
    stage.calls.arm(None);
    let allowed = [APPLY, &["--allow-data-loss", GROUP]].concat();
    run(stage, &allowed, "aws", Exit::Success).await;
    assert_eq!(retention(stage).await, Some(14));
    let writes = stage.calls.writes();
    assert!(!writes.iter().any(|it| it.contains("Delete")), "{writes:?}");
    nothing_to_do(stage).await;
}

/// After a roll-out that failed, the clouds serve, or describe, something else than the last run
/// asked for; and a field that the manifest says for the first time was never left as anything.
async fn failed_before(stage: &Stage) {
    first_serves(stage).await;
    let broken = stage.digest(2);
    stage.behave(move |started| Behaviour {
        healthy: started.digest != broken,
        ..Behaviour::usual(started.purpose)
    });
    stage.want(&SECOND);
    run(stage, APPLY, "aws", Exit::RolledBack).await;
    run(stage, APPLY, "gcp", Exit::DeploymentFailed).await;
    let accuses = |said: &str| said.contains("the last apply left");
    stage.want(&Wanted {
        greeting: "good evening",
        ..Wanted::FIRST
    });
    let said = run(stage, &["plan"], "all", Exit::Success).await;
    assert!(!accuses(&said), "{said}");
    let plan = document(stage, &["plan"], "all", Exit::Success).await;
    assert_eq!(drifted(&plan), BTreeMap::new());
    // Back to what serves: Cloud Run still describes what failed.
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "all", Exit::Success).await;
    stage.want(&Wanted {
        mail_password: "another",
        ..Wanted::FIRST
    });
    let plan = document(stage, &["plan"], "all", Exit::Success).await;
    assert_eq!(drifted(&plan), BTreeMap::new());
    run(stage, APPLY, "all", Exit::Success).await;
    nothing_to_do(stage).await;
    let overlay = "[targets.aws.services.idp]\nenable_execute_command = true\n";
    stage.file("deployer.test.toml", overlay);
    let plan = document(stage, &["plan"], "aws", Exit::Success).await;
    let fields = changed_fields(&plan, ECS_SERVICE);
    assert!(fields.iter().any(|it| it == "execute_command"), "{plan:#}");
    assert_eq!(drifted(&plan), BTreeMap::new());
}

/// Somebody gives one variable another value and adds one, while the manifest changes the image.
async fn variables(stage: &Stage) {
    first_serves(stage).await;
    let first = change_variables_on_aws(stage).await;
    change_variables_on_google(stage).await;
    stage.time.pass(SETTLED).await;
    stage.want(&SECOND);
    let said = run(stage, &["plan"], "aws", Exit::Success).await;
    let (extra, greeting) = ("env.EXTRA: 1 -> (none)", "env.GREETING: by hand -> hello");
    let second = format!("{}:2", first.trim_end_matches(":1"));
    let serves =
        format!("task_definition: {second} -> (known after apply) (the last apply left {first})");
    // Whoever deploys by hand does not mark it as ours.
    let mark = "tags.deployer: (none) -> swept/test";
    assert_eq!(theirs(&said), [extra, greeting, mark, &serves], "{said}");
    let said = run(stage, &["plan"], "gcp", Exit::Success).await;
    assert_eq!(theirs(&said), [extra, greeting], "{said}");
    // Now the manifest wants another value than both.
    let wanted = Wanted {
        greeting: "good evening",
        ..SECOND
    };
    stage.want(&wanted);
    let said = run(stage, &["plan"], "gcp", Exit::Success).await;
    let both = "env.GREETING: by hand -> good evening (the last apply left hello)";
    assert_eq!(theirs(&said), [extra, both], "{said}");
    let plan = document(stage, &["plan"], "all", Exit::Success).await;
    let left = json!([
        { "field": "env.EXTRA", "left": null },
        { "field": "env.GREETING", "left": "hello" },
    ]);
    let mut with_mark = left.clone();
    let mark = json!({ "field": "tags.deployer", "left": "swept/test" });
    with_mark.as_array_mut().expect("a list").push(mark);
    let expected = BTreeMap::from([
        (DEFINITION.to_owned(), with_mark),
        (
            ECS_SERVICE.to_owned(),
            json!([{ "field": "task_definition", "left": first }]),
        ),
        (RUN_SERVICE.to_owned(), left),
    ]);
    assert_eq!(drifted(&plan), expected);
    // What the manifest changed stands beside it.
    let both = ["env.EXTRA", "env.GREETING", "image"];
    assert_eq!(changed_fields(&plan, RUN_SERVICE), both);
    let both = [&both[..], &["tags.deployer"]].concat();
    assert_eq!(changed_fields(&plan, DEFINITION), both);
    run(stage, APPLY, "all", Exit::Success).await;
    let digest = stage.digest(2);
    let mut started = stage.containers.started();
    started.retain(|it| it.purpose == Purpose::Serve && it.digest == digest);
    assert_eq!(started.len(), 2, "{started:?}");
    for container in started {
        assert_eq!(container.env["GREETING"], "good evening");
        assert!(!container.env.contains_key("EXTRA"));
    }
    run(stage, PLAN, "all", Exit::Success).await;
}

/// The same count by the same call is drift where the manifest says how many, and none where it
/// says from how many to how many.
async fn scaled(stage: &Stage) {
    first_serves(stage).await;
    scale(stage, 2).await;
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    assert_eq!(theirs(&said), ["desired_count: 2 -> 1"], "{said}");
    stage.file(
        "deployer.test.toml",
        "[services.idp]\nreplicas = { min = 1, max = 4 }\n",
    );
    run(stage, APPLY, "all", Exit::Success).await;
    scale(stage, 3).await;
    nothing_to_do(stage).await;
    // A new version keeps the count that another hand found right.
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    assert_eq!(desired_count(stage).await, 3);
    nothing_to_do(stage).await;
}

/// What the clouds themselves write, and what only looks different.
async fn noise(stage: &Stage) {
    first_serves(stage).await;
    let service = stage.google(Method::GET, &run_service(), None).await;
    let mut patched = json!({
        "template": service["template"], "labels": service["labels"],
        "annotations": { "example.com/seen-by": "a-scanner" },
        "client": "gcloud", "clientVersion": "512.0.0",
    });
    let limits = &mut patched["template"]["containers"][0]["resources"]["limits"];
    *limits = json!({ "cpu": "1000m", "memory": "2Gi" });
    patched["labels"]["goog-terraform-provisioned"] = json!("true");
    assert_ne!(patched["template"], service["template"], "spelt otherwise");
    let mask = "template,labels,annotations,client,clientVersion";
    let path = format!("{}?updateMask={mask}", run_service());
    stage.google(Method::PATCH, &path, Some(patched)).await;
    let secret = format!("/v1/projects/{PROJECT}/secrets/swept-test-cookie-key");
    let there = stage.google(Method::GET, &secret, None).await;
    let mut labels = there["labels"].clone();
    labels["goog-managed-by"] = json!("somebody");
    let path = format!("{secret}?updateMask=labels");
    let body = json!({ "labels": labels });
    stage.google(Method::PATCH, &path, Some(body)).await;
    tag_as_aws_does(stage).await;
    stage.time.pass(SETTLED).await;
    nothing_to_do(stage).await;
    // Nothing of it goes when something else changes.
    stage.want(&SECOND);
    run(stage, APPLY, "all", Exit::Success).await;
    let service = stage.google(Method::GET, &run_service(), None).await;
    assert_eq!(service["labels"]["goog-terraform-provisioned"], "true");
    assert_eq!(service["annotations"]["example.com/seen-by"], "a-scanner");
    nothing_to_do(stage).await;
}

/// The plan is empty, and accuses nobody.
async fn nothing_to_do(stage: &Stage) {
    let said = run(stage, PLAN, "all", Exit::Success).await;
    says(&said, &["No changes"]);
    assert_eq!(theirs(&said), Vec::<&str>::new(), "{said}");
}

/// The fields that a plan shows as changed by another hand: those indented below the words that say
/// so.
fn theirs(said: &str) -> Vec<&str> {
    let heading = "changed by another hand since the last apply:";
    let indented = |line: &&str| line.starts_with("            ");
    let mut fields = Vec::new();
    let mut lines = said.lines();
    while lines.by_ref().any(|line| line.trim() == heading) {
        let below = lines.clone().take_while(indented).map(str::trim);
        fields.extend(below);
    }
    let shown = said.lines().filter(indented).count();
    assert_eq!(
        fields.len(),
        shown,
        "some stand below no such words:\n{said}"
    );
    fields
}

/// What each change of a plan says of drift, where it says something.
fn drifted(plan: &Value) -> BTreeMap<String, Value> {
    let changes = plan["plan"]["changes"].as_array().expect("changes");
    let drifted = changes
        .iter()
        .filter(|change| change.get("drift").is_some());
    drifted
        .map(|change| {
            let address = change["address"].as_str().expect("an address");
            (address.to_owned(), change["drift"].clone())
        })
        .collect()
}

fn changed_fields(plan: &Value, address: &str) -> Vec<String> {
    let changes = plan["plan"]["changes"].as_array().expect("changes");
    let mut changes = changes.iter().filter(|change| change["address"] == address);
    let change = changes.next().expect("it changes");
    let fields = change["changes"].as_array().expect("fields");
    let names = fields.iter().filter_map(|it| it["field"].as_str());
    names.map(str::to_owned).collect()
}

/// By RegisterTaskDefinition and UpdateService, as a deployment from a console does. Returns what
/// served before.
async fn change_variables_on_aws(stage: &Stage) -> String {
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let seen = ecs.describe_task_definition().task_definition(NAME).send();
    let there = seen.await.expect("it is there").task_definition;
    let there = there.expect("a definition");
    let mut container = there.container_definitions()[0].clone();
    let pair = |name: &str, value: &str| KeyValuePair::builder().name(name).value(value).build();
    let kept = container.environment().iter();
    let kept = kept.filter(|it| it.name() != Some("GREETING")).cloned();
    let by_hand = [pair("GREETING", "by hand"), pair("EXTRA", "1")];
    container.environment = Some(kept.chain(by_hand).collect());
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
        .container_definitions(container);
    register.send().await.expect("it is registered");
    let update = ecs.update_service().service(NAME).task_definition(NAME);
    update.send().await.expect("the service is there");
    there.task_definition_arn.expect("an ARN")
}

async fn change_variables_on_google(stage: &Stage) {
    let service = stage.google(Method::GET, &run_service(), None).await;
    let mut template = service["template"].clone();
    let env = template["containers"][0]["env"].as_array_mut();
    let env = env.expect("variables");
    for variable in env.iter_mut().filter(|it| it["name"] == "GREETING") {
        variable["value"] = json!("by hand");
    }
    env.push(json!({ "name": "EXTRA", "value": "1" }));
    let path = format!("{}?updateMask=template", run_service());
    let body = json!({ "template": template });
    stage.google(Method::PATCH, &path, Some(body)).await;
}

/// As Application Auto Scaling does.
async fn scale(stage: &Stage, count: i32) {
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let update = ecs.update_service().service(NAME).desired_count(count);
    update.send().await.expect("the service is there");
    stage.time.pass(SETTLED).await;
    assert_eq!(desired_count(stage).await, count);
}

async fn desired_count(stage: &Stage) -> i32 {
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let seen = ecs.describe_services().services(NAME).send().await;
    seen.expect("an answer").services()[0].desired_count()
}

/// Only AWS itself sets tags of this name space; ECS in the sandbox lets anyone stand for it.
async fn tag_as_aws_does(stage: &Stage) {
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let seen = ecs.describe_services().services(NAME).send().await;
    let service = seen.expect("an answer").services()[0].clone();
    let arns = [service.service_arn, service.task_definition];
    for arn in arns.into_iter().flatten() {
        let tag = Tag::builder()
            .key("aws:cloudformation:stack-name")
            .value("network")
            .build();
        let tagged = ecs.tag_resource().resource_arn(arn).tags(tag).send().await;
        tagged.expect("it is there");
    }
}

fn run_service() -> String {
    format!("/v2/projects/{PROJECT}/locations/{LOCATION}/services/{NAME}")
}
