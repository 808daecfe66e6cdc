//! What is adopted stays as it is where the manifest is silent.

use std::time::Duration;

use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, LoadBalancer, NetworkConfiguration, PropagateTags, Service,
};
use deployer::Exit;
use reqwest::Method;
use serde_json::{Value, json};

use crate::ecs::{definition, register_and_deploy};
use crate::events::document;
use crate::in_process::stage::{LOCATION, PROJECT, Stage, Wanted};
use crate::{APPLY, assert_serves, clouds, run, says};

crate::tests! {
    a_service_that_is_adopted_by_a_bare_manifest_gets_our_mark_and_nothing_else => of_a_bare_manifest,
    a_service_that_is_adopted_on_cloud_run_keeps_its_size_and_its_program => on_cloud_run,
    the_database_and_the_user_of_an_instance_that_is_adopted_are_to_be_named => database_named,
}

const NAME: &str = "swept-test-idp";
const OVERLAY: &str = "deployer.test.toml";
const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
/// Longer than anything here rolls out.
const SETTLED: Duration = Duration::from_secs(600);

/// Everything here that can be adopted.
const ADOPTS: &str = "[targets.aws.services.idp]\nadopt = true\n\
                      [targets.aws.secrets.mail-password]\nadopt = true\n\
                      [targets.aws.secrets.cookie-key]\nadopt = true\n\
                      [targets.aws.secrets.database-url]\nadopt = true\n";

/// What its first owner made of the service: larger, more of them, checked and reached otherwise.
async fn set_up_otherwise(stage: &Stage) {
    let mut there = definition(stage, NAME).await;
    (there.cpu, there.memory) = (Some("4096".into()), Some("8192".into()));
    let containers = there.container_definitions.as_mut().expect("containers");
    containers[0].memory = Some(8192);
    containers[0].entry_point = Some(vec!["/app".into()]);
    containers[0].command = Some(vec!["serve".into(), "--fast".into()]);
    let check = containers[0].health_check.as_mut().expect("a check");
    (check.interval, check.start_period) = (Some(45), Some(200));
    register_and_deploy(stage, &there).await;
    let vpc = AwsVpcConfiguration::builder()
        .subnets("subnet-0a1b2c3d4e5f60001")
        .subnets("subnet-0a1b2c3d4e5f60002")
        .security_groups("sg-0a1b2c3d4e5f60009")
        .assign_public_ip(AssignPublicIp::Enabled)
        .build()
        .expect("complete");
    let theirs = LoadBalancer::builder()
        .target_group_arn(
            "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/theirs/0123456789abcdef",
        )
        .container_name("idp")
        .container_port(3000)
        .build();
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let update = ecs
        .update_service()
        .service(NAME)
        .desired_count(6)
        .enable_execute_command(true)
        .propagate_tags(PropagateTags::None)
        .network_configuration(
            NetworkConfiguration::builder()
                .awsvpc_configuration(vpc)
                .build(),
        )
        .load_balancers(theirs);
    update.send().await.expect("the service is there");
    let grace = ecs.update_service().service(NAME);
    let grace = grace.health_check_grace_period_seconds(300).send().await;
    grace.expect("it has a load balancer");
    let logs = aws_sdk_cloudwatchlogs::Client::new(&stage.aws().await);
    let kept = logs.delete_retention_policy();
    let kept = kept.log_group_name(format!("/ecs/{NAME}")).send().await;
    kept.expect("the group is there");
    stage.time.pass(SETTLED).await;
}

/// The manifest without everything that has a default.
fn bare(stage: &Stage) {
    let path = format!("{}/deployer.toml", stage.folder());
    let mut text = std::fs::read_to_string(&path).expect("a manifest");
    for said in [
        "cpu = 1\nmemory = \"2GiB\"\nreplicas = 1\n",
        "[services.idp.health]\npath = \"/health\"\ncommand = [\"CMD\", \"/app\", \"healthcheck\"]\n",
        "security_groups = [\"sg-0a1b2c3d4e5f60003\"]\n",
        "task_role = \"idp-task\"\n",
    ] {
        assert!(text.contains(said), "{said}");
        text = text.replace(said, "");
    }
    std::fs::write(path, text).expect("a manifest");
}

/// What is told of a service but for its tags, its tasks and its past.
fn told(service: &Service) -> String {
    let it = service;
    format!(
        "{:?}",
        (
            it.task_definition(),
            it.desired_count(),
            it.network_configuration(),
            it.load_balancers(),
            it.health_check_grace_period_seconds(),
            it.deployment_configuration(),
            it.enable_execute_command(),
            it.propagate_tags(),
        )
    )
}

/// A service of somebody else is taken over by a manifest that says no more than it must: it gets
/// our mark, and nothing else changes.
async fn of_a_bare_manifest(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.want_no_migration();
    run(stage, APPLY, "aws", Exit::Success).await;
    set_up_otherwise(stage).await;
    let addresses = [
        "ecs.service/swept-test-idp",
        "ecs.task-definition/swept-test-idp",
        "logs.group//ecs/swept-test-idp",
        "ecr.repository/swept-test-idp",
        "secretsmanager.secret//swept/test/mail-password",
        "secretsmanager.secret//swept/test/cookie-key",
        "secretsmanager.secret//swept/test/database-url",
    ];
    for address in addresses {
        let address = format!("aws/us-east-1/{address}");
        run(stage, &["forget", &address, "--yes"], "aws", Exit::Success).await;
    }
    let before = told(&clouds::ecs_service(stage, "idp").await);
    bare(stage);
    stage.file(OVERLAY, ADOPTS);
    let plan = document(stage, &["plan"], "aws", Exit::Success).await;
    let changes = plan["plan"]["changes"].as_array().expect("changes");
    for change in changes {
        let fields = change["changes"].as_array().into_iter().flatten();
        for field in fields {
            let name = field["field"].as_str().expect("a name");
            assert!(name.starts_with("tags."), "{change:#}");
        }
    }
    stage.calls.arm(None);
    run(stage, APPLY, "aws", Exit::Success).await;
    let writes = stage.calls.writes();
    assert!(writes.iter().all(|call| call.contains("Tag")), "{writes:?}");
    let after = clouds::ecs_service(stage, "idp").await;
    assert_eq!(told(&after), before);
    assert!(writes.contains(&"ecs:TagResource".to_owned()), "{writes:?}");
    run(stage, PLAN, "aws", Exit::Success).await;
    // What it says is changed, and nothing beside.
    stage.file(OVERLAY, &format!("{ADOPTS}[services.idp]\nreplicas = 2\n"));
    let said = run(stage, PLAN, "aws", Exit::Changes).await;
    says(&said, &["desired_count: 6 -> 2"]);
    assert!(!said.contains("cpu"), "{said}");
    run(stage, APPLY, "aws", Exit::Success).await;
    let now = clouds::ecs_service(stage, "idp").await;
    assert_eq!(now.desired_count(), 2);
    assert_eq!(now.health_check_grace_period_seconds(), Some(300));
    assert_serves(stage, "aws", 1).await;
}

/// The same for Google.
const ADOPTS_ON_GOOGLE: &str = "[targets.gcp.services.idp]\nadopt = true\n\
                                [targets.gcp.secrets.mail-password]\nadopt = true\n\
                                [targets.gcp.secrets.cookie-key]\nadopt = true\n\
                                [targets.gcp.secrets.database-url]\nadopt = true\n";

fn run_service() -> String {
    format!("/v2/projects/{PROJECT}/locations/{LOCATION}/services/{NAME}")
}

/// The template as its first owner made it: larger, another program, probed otherwise.
fn otherwise(mut template: Value) -> Value {
    let container = &mut template["containers"][0];
    container["resources"]["limits"] = json!({ "cpu": "4000m", "memory": "8Gi" });
    container["command"] = json!(["/app"]);
    container["args"] = json!(["serve", "--fast"]);
    container["startupProbe"] = json!({
        "periodSeconds": 10, "timeoutSeconds": 3, "failureThreshold": 20,
        "httpGet": { "path": "/ready", "port": 3000, "httpHeaders": [{ "name": "X-Probe", "value": "yes" }] },
    });
    let container = container.as_object_mut().expect("a container");
    container.remove("livenessProbe");
    template["scaling"] = json!({ "minInstanceCount": 2, "maxInstanceCount": 7 });
    template
}

async fn template(stage: &Stage) -> Value {
    let mut template = stage.google(Method::GET, &run_service(), None).await["template"].clone();
    let members = template.as_object_mut().expect("a template");
    // Of our mark; a deployment's own note.
    members.remove("labels");
    members.remove("annotations");
    template
}

async fn on_cloud_run(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    stage.want_no_migration();
    run(stage, APPLY, "gcp", Exit::Success).await;
    let changed = otherwise(template(stage).await);
    let path = format!("{}?updateMask=template,scaling", run_service());
    let scaling = json!({ "scalingMode": "MANUAL", "manualInstanceCount": 3 });
    let change = json!({ "template": changed, "scaling": scaling });
    stage.google(Method::PATCH, &path, Some(change)).await;
    stage.time.pass(SETTLED).await;
    for address in [
        "run.service/swept-test-idp",
        "artifactregistry.repository/swept-test",
        "secretmanager.secret/swept-test-mail-password",
        "secretmanager.secret/swept-test-cookie-key",
        "secretmanager.secret/swept-test-database-url",
    ] {
        let address = format!("gcp/{LOCATION}/{address}");
        run(stage, &["forget", &address, "--yes"], "gcp", Exit::Success).await;
    }
    let before = template(stage).await;
    bare(stage);
    stage.file(OVERLAY, ADOPTS_ON_GOOGLE);
    let plan = document(stage, &["plan"], "gcp", Exit::Success).await;
    for change in plan["plan"]["changes"].as_array().expect("changes") {
        for field in change["changes"].as_array().into_iter().flatten() {
            let name = field["field"].as_str().expect("a name");
            assert!(name.starts_with("tags."), "{change:#}");
        }
    }
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(template(stage).await, before);
    let scaling = stage.google(Method::GET, &run_service(), None).await["scaling"].clone();
    assert_eq!(scaling["manualInstanceCount"], 3);
    run(stage, PLAN, "gcp", Exit::Success).await;
    // What it says is changed, and nothing beside: the count is the manifest's only where nobody
    // counts by hand.
    stage.file(
        OVERLAY,
        &format!("{ADOPTS_ON_GOOGLE}[services.idp]\nreplicas = 3\n"),
    );
    let said = run(stage, PLAN, "gcp", Exit::Changes).await;
    says(&said, &["instances.max: 7 -> 3", "manual, 3 instances"]);
    assert!(!said.contains("cpu"), "{said}");
    run(stage, APPLY, "gcp", Exit::Success).await;
    let now = template(stage).await;
    assert_eq!(now["scaling"]["maxInstanceCount"], 3);
    assert_eq!(now["containers"], before["containers"]);
    run(stage, PLAN, "gcp", Exit::Success).await;
}

/// Nothing tells which of an instance's databases is the app's, and a user of a name that is made
/// up here may be somebody.
async fn database_named(stage: &Stage) {
    stage.want(&Wanted {
        data: true,
        ..Wanted::FIRST
    });
    let database = json!({
        "name": "swept-test-main", "region": LOCATION, "databaseVersion": "POSTGRES_17",
        "settings": { "tier": "db-custom-1-3840", "edition": "ENTERPRISE", "ipConfiguration": { "ipv4Enabled": true } },
    });
    let instances = format!("/v1/projects/{PROJECT}/instances");
    stage.google(Method::POST, &instances, Some(database)).await;
    stage.time.pass(Duration::from_secs(1200)).await;
    let adopting = "[targets.gcp.databases.main]\nadopt = true\n";
    stage.file(OVERLAY, adopting);
    stage.calls.arm(None);
    let said = run(stage, APPLY, "gcp", Exit::Input).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &said,
        &[
            "does not say which of its databases is the app's",
            "gcloud sql databases list --instance swept-test-main",
            "does not say which of its users is the app's",
        ],
    );
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    let named = "[databases.main]\nuser = \"postgres\"\ndatabase = \"postgres\"\n\n";
    stage.file(OVERLAY, &format!("{named}{adopting}"));
    run(stage, APPLY, "gcp", Exit::Success).await;
    run(stage, PLAN, "gcp", Exit::Success).await;
}
