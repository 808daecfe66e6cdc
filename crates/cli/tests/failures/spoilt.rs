//! What another hand changes of a kind in place is seen, changed back, and no difference any more:
//! each kind of the tables has a field that is spoilt here past the program, or says why it has
//! none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace};
use aws_sdk_ecs::types::{DeploymentCircuitBreaker, DeploymentConfiguration};
use aws_sdk_rds::types::{ApplyMethod, Parameter};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use deployer::Exit;
use futures::future::LocalBoxFuture;
use reqwest::Method;
use serde_json::{Value, json};

use crate::contract::{PLAN, kinds, on_app_runner, want_everything};
use crate::events::document;
use crate::in_process::stage::{LOCATION, PROJECT, Stage};
use crate::{APPLY, run, says};

crate::tests! {
    what_another_hand_changed_of_a_kind_is_seen_and_changed_back_on_every_kind => spoilt,
}

/// Longer than anything here goes on.
const SETTLED: Duration = Duration::from_secs(1200);

/// How another hand changes a kind in place.
enum Spoil {
    /// Of the environment on ECS and Google Cloud.
    By(for<'a> fn(&'a Stage) -> LocalBoxFuture<'a, ()>),
    /// Of the one on App Runner.
    OnAppRunner(for<'a> fn(&'a Stage) -> LocalBoxFuture<'a, ()>),
    /// Nothing of it is changed in place, for this reason.
    Nothing(&'static str),
}

const NO_FIELD: &str = "it is compared by its name and its tags alone";
const BY_CONTENT: &str = "it is named by its content: another content is another one";
const VALUE: &str = "what another hand wrote in its place is that hand's, and refused";
const THERE_OR_NOT: &str = "it is there or it is not: what another hand took away is made again";

/// Of every kind one.
const SPOILT: &[(&str, Spoil)] = &[
    (
        "app_runner.custom_domain",
        Spoil::Nothing("another one is associated in its place"),
    ),
    ("app_runner.scaling", Spoil::Nothing(BY_CONTENT)),
    (
        "app_runner.service",
        Spoil::OnAppRunner(|stage| Box::pin(health_on_app_runner(stage))),
    ),
    ("app_runner.vpc_connector", Spoil::Nothing(BY_CONTENT)),
    (
        "application-autoscaling.target",
        Spoil::By(|stage| Box::pin(most(stage))),
    ),
    (
        "artifactregistry.repository",
        Spoil::Nothing("its format never changes"),
    ),
    ("dns.record", Spoil::Nothing(VALUE)),
    ("ecr.repository", Spoil::Nothing(NO_FIELD)),
    ("ecs.cluster", Spoil::Nothing(NO_FIELD)),
    ("ecs.service", Spoil::By(|stage| Box::pin(breaker(stage)))),
    (
        "ecs.task-definition",
        Spoil::Nothing("a revision never changes: another one is registered"),
    ),
    (
        "elasticache.replication_group",
        Spoil::By(|stage| Box::pin(class(stage))),
    ),
    (
        "elasticache.subnet_group",
        Spoil::By(|stage| Box::pin(cache_subnets(stage))),
    ),
    ("logs.group", Spoil::By(|stage| Box::pin(retention(stage)))),
    (
        "rds.instance",
        Spoil::By(|stage| Box::pin(protection(stage))),
    ),
    (
        "rds.parameter_group",
        Spoil::By(|stage| Box::pin(force_ssl(stage))),
    ),
    (
        "rds.subnet_group",
        Spoil::By(|stage| Box::pin(subnets(stage))),
    ),
    ("redis.instance", Spoil::By(|stage| Box::pin(token(stage)))),
    ("route53.record", Spoil::Nothing(VALUE)),
    ("route53.validation", Spoil::Nothing(VALUE)),
    ("run.invoker", Spoil::Nothing(THERE_OR_NOT)),
    ("run.job", Spoil::By(|stage| Box::pin(retries(stage)))),
    ("run.service", Spoil::By(|stage| Box::pin(variable(stage)))),
    ("secretmanager.access", Spoil::Nothing(THERE_OR_NOT)),
    (
        "secretmanager.secret",
        Spoil::By(|stage| Box::pin(secret_on_google(stage))),
    ),
    (
        "secretsmanager.secret",
        Spoil::By(|stage| Box::pin(secret_on_aws(stage))),
    ),
    (
        "sql.instance",
        Spoil::By(|stage| Box::pin(protection_on_google(stage))),
    ),
];

async fn spoilt(stage: &Stage) {
    let known: BTreeSet<&str> = SPOILT.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(
        known,
        kinds(),
        "each kind is spoilt here, or says why it is not"
    );
    for (kind, spoil) in SPOILT {
        if let Spoil::Nothing(why) = spoil {
            assert!(!why.is_empty(), "{kind}");
        }
    }
    want_everything(stage).await;
    run(stage, APPLY, "all", Exit::Success).await;
    // First backups are taken, which keep instances from being changed.
    stage.time.pass(SETTLED).await;
    let mut spoilt = BTreeSet::new();
    for (kind, spoil) in SPOILT {
        if let Spoil::By(by) = spoil {
            by(stage).await;
            spoilt.insert(*kind);
        }
    }
    is_changed_back(stage, "all", &spoilt).await;
    let beside = on_app_runner(stage).await;
    run(&beside, APPLY, "aws", Exit::Success).await;
    spoilt.clear();
    for (kind, spoil) in SPOILT {
        if let Spoil::OnAppRunner(by) = spoil {
            by(&beside).await;
            spoilt.insert(*kind);
        }
    }
    is_changed_back(&beside, "aws", &spoilt).await;
    beside.clear().await;
}

/// A plan changes each of these in place, an apply does it, and the next plan has no changes.
async fn is_changed_back(stage: &Stage, cloud: &str, spoilt: &BTreeSet<&str>) {
    stage.time.pass(SETTLED).await;
    let plan = document(stage, &["plan"], cloud, Exit::Success).await;
    let changes = plan["plan"]["changes"].as_array().expect("changes");
    let mut updated: BTreeMap<&str, &Value> = BTreeMap::new();
    for change in changes.iter().filter(|it| it["action"] == "update") {
        let address = change["address"].as_str().expect("an address");
        let kind = address.split('/').nth(2).expect("a kind");
        updated.insert(kind, change);
    }
    for kind in spoilt {
        assert!(
            updated.contains_key(kind),
            "`{kind}` is not changed: {updated:#?}"
        );
    }
    run(stage, APPLY, cloud, Exit::Success).await;
    stage.time.pass(SETTLED).await;
    let said = run(stage, PLAN, cloud, Exit::Success).await;
    says(&said, &["No changes"]);
}

async fn retention(stage: &Stage) {
    let logs = aws_sdk_cloudwatchlogs::Client::new(&stage.aws().await);
    let name = format!("/ecs/{}", stage.service());
    let call = logs.put_retention_policy().log_group_name(name);
    call.retention_in_days(1)
        .send()
        .await
        .expect("the group is there");
}

async fn breaker(stage: &Stage) {
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let off = DeploymentCircuitBreaker::builder()
        .enable(false)
        .rollback(false);
    let off = off.build();
    let configuration = DeploymentConfiguration::builder().deployment_circuit_breaker(off);
    let call = ecs.update_service().service(stage.service());
    let call = call.deployment_configuration(configuration.build());
    call.send().await.expect("the service is there");
}

async fn most(stage: &Stage) {
    let scaling = aws_sdk_applicationautoscaling::Client::new(&stage.aws().await);
    let call = scaling
        .register_scalable_target()
        .service_namespace(ServiceNamespace::Ecs)
        .scalable_dimension(ScalableDimension::EcsServiceDesiredCount)
        .resource_id(format!("service/default/{}", stage.service()))
        .min_capacity(1)
        .max_capacity(9);
    call.send().await.expect("the target is there");
}

/// What the manifest names, and one more.
const SUBNETS: [&str; 3] = [
    "subnet-0a1b2c3d4e5f60001",
    "subnet-0a1b2c3d4e5f60002",
    "subnet-0a1b2c3d4e5f60004",
];

async fn subnets(stage: &Stage) {
    let rds = aws_sdk_rds::Client::new(&stage.aws().await);
    let groups = rds
        .describe_db_subnet_groups()
        .send()
        .await
        .expect("groups");
    let group = groups.db_subnet_groups().first().expect("a group");
    let name = group.db_subnet_group_name().expect("a name");
    let call = rds.modify_db_subnet_group().db_subnet_group_name(name);
    let call = call.set_subnet_ids(Some(SUBNETS.map(str::to_owned).to_vec()));
    call.send().await.expect("the group is there");
}

async fn cache_subnets(stage: &Stage) {
    let client = aws_sdk_elasticache::Client::new(&stage.aws().await);
    let groups = client
        .describe_cache_subnet_groups()
        .send()
        .await
        .expect("groups");
    let group = groups.cache_subnet_groups().first().expect("a group");
    let name = group.cache_subnet_group_name().expect("a name");
    let call = client
        .modify_cache_subnet_group()
        .cache_subnet_group_name(name);
    let call = call.set_subnet_ids(Some(SUBNETS.map(str::to_owned).to_vec()));
    call.send().await.expect("the group is there");
}

async fn class(stage: &Stage) {
    let client = aws_sdk_elasticache::Client::new(&stage.aws().await);
    let groups = client
        .describe_replication_groups()
        .send()
        .await
        .expect("groups");
    let group = groups.replication_groups().first().expect("a group");
    let id = group.replication_group_id().expect("an id");
    let call = client.modify_replication_group().replication_group_id(id);
    let call = call
        .cache_node_type("cache.t4g.medium")
        .apply_immediately(true);
    call.send().await.expect("the group is there");
}

async fn force_ssl(stage: &Stage) {
    let rds = aws_sdk_rds::Client::new(&stage.aws().await);
    let groups = rds
        .describe_db_parameter_groups()
        .send()
        .await
        .expect("groups");
    let names = groups.db_parameter_groups().iter();
    let mut names = names.filter_map(|it| it.db_parameter_group_name());
    let name = names.find(|it| it.starts_with("swept-")).expect("a group");
    let off = Parameter::builder()
        .parameter_name("rds.force_ssl")
        .parameter_value("0")
        .apply_method(ApplyMethod::Immediate);
    let call = rds
        .modify_db_parameter_group()
        .db_parameter_group_name(name);
    call.parameters(off.build())
        .send()
        .await
        .expect("the group is there");
}

/// The manifest says that it is not protected.
async fn protection(stage: &Stage) {
    let rds = aws_sdk_rds::Client::new(&stage.aws().await);
    let instances = rds.describe_db_instances().send().await.expect("instances");
    let instance = instances.db_instances().first().expect("an instance");
    let name = instance.db_instance_identifier().expect("a name");
    let call = rds.modify_db_instance().db_instance_identifier(name);
    let call = call.deletion_protection(true).apply_immediately(true);
    call.send().await.expect("the instance is there");
}

async fn secret_on_aws(stage: &Stage) {
    let client = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let listed = client.list_secrets().send().await.expect("secrets");
    let mut names = listed.secret_list().iter().filter_map(|it| it.name());
    let name = names
        .find(|it| it.ends_with("mail-password"))
        .expect("a secret");
    let call = client.put_secret_value().secret_id(name);
    call.secret_string("by hand")
        .send()
        .await
        .expect("the secret is there");
}

async fn health_on_app_runner(stage: &Stage) {
    let client = aws_sdk_apprunner::Client::new(&stage.aws().await);
    let listed = client.list_services().send().await.expect("services");
    let mut services = listed.service_summary_list().iter();
    let service = services.find(|it| it.service_name() == Some(&stage.service()));
    let arn = service.and_then(|it| it.service_arn()).expect("an ARN");
    let seen = client.describe_service().service_arn(arn).send().await;
    let seen = seen.expect("a service").service.expect("a service");
    let mut health = seen.health_check_configuration.expect("a health check");
    health.path = Some("/other".to_owned());
    let call = client.update_service().service_arn(arn);
    let call = call.health_check_configuration(health);
    call.send().await.expect("the service is there");
}

fn run_path(kind: &str, name: &str) -> String {
    format!("/v2/projects/{PROJECT}/locations/{LOCATION}/{kind}/{name}")
}

async fn variable(stage: &Stage) {
    let path = run_path("services", &stage.service());
    let service = stage.google(Method::GET, &path, None).await;
    let mut template = service["template"].clone();
    let env = template["containers"][0]["env"].as_array_mut();
    let env = env.expect("variables");
    for variable in env.iter_mut().filter(|it| it["name"] == "GREETING") {
        variable["value"] = json!("by hand");
    }
    let path = format!("{path}?updateMask=template");
    stage
        .google(Method::PATCH, &path, Some(json!({ "template": template })))
        .await;
}

async fn retries(stage: &Stage) {
    let path = format!("/v2/projects/{PROJECT}/locations/{LOCATION}/jobs");
    let jobs = stage.google(Method::GET, &path, None).await;
    let mut job = jobs["jobs"][0].clone();
    job["template"]["template"]["maxRetries"] = json!(3);
    let path = format!("/v2/{}", job["name"].as_str().expect("a name"));
    stage.google(Method::PATCH, &path, Some(job)).await;
}

async fn secret_on_google(stage: &Stage) {
    let path = format!("/v1/projects/{PROJECT}/secrets");
    let secrets = stage.google(Method::GET, &path, None).await;
    let secrets = secrets["secrets"].as_array().expect("secrets").iter();
    let mut names = secrets.filter_map(|it| it["name"].as_str());
    let name = names
        .find(|it| it.ends_with("mail-password"))
        .expect("a secret");
    let payload = json!({ "payload": { "data": STANDARD.encode("by hand") } });
    let path = format!("/v1/{name}:addVersion");
    stage.google(Method::POST, &path, Some(payload)).await;
}

async fn protection_on_google(stage: &Stage) {
    let path = format!("/v1/projects/{PROJECT}/instances");
    let instances = stage.google(Method::GET, &path, None).await;
    let name = instances["items"][0]["name"].as_str().expect("a name");
    let settings = json!({ "settings": { "deletionProtectionEnabled": true } });
    stage
        .google(Method::PATCH, &format!("{path}/{name}"), Some(settings))
        .await;
}

async fn token(stage: &Stage) {
    let path = format!("/v1/projects/{PROJECT}/locations/{LOCATION}/instances");
    let instances = stage.google(Method::GET, &path, None).await;
    let name = instances["instances"][0]["name"].as_str().expect("a name");
    let path = format!("/v1/{name}?updateMask=authEnabled");
    stage
        .google(Method::PATCH, &path, Some(json!({ "authEnabled": false })))
        .await;
}
