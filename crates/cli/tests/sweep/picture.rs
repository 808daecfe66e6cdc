//! What the clouds and the ledger hold, read past the program, without what differs from run to
//! run: ids, times, tokens.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_apprunner::types::{AutoScalingConfigurationStatus, Service, VpcConnectorStatus};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use regex_lite::Regex;
use serde_json::Value;

use crate::in_process::ledger::KillingStore;
use crate::in_process::stage::{LOCATION, PROJECT, Stage};

/// Longer than a service drains or an instance is deleted.
const SETTLES: Duration = Duration::from_secs(1200);

/// A line for each thing, sorted.
pub async fn take(stage: &Stage) -> String {
    // What goes on by itself comes to its end.
    stage.time.pass(SETTLES).await;
    let mut lines = Vec::new();
    aws(&mut lines, stage).await;
    gcp(&mut lines, stage).await;
    ledger(&mut lines, &stage.ledger).await;
    for started in stage.containers.started() {
        if started.command.iter().any(|word| word == "migrate") {
            let digest = &started.digest;
            lines.push(format!(
                "migration {} of {digest} was started",
                started.repository
            ));
        }
    }
    // Cloud Run ends the names of revisions with letters of its own choice.
    let chosen = Regex::new("-([0-9]{5})-[0-9a-z]{3}").expect("a pattern");
    let mut lines: Vec<String> = lines
        .iter()
        .map(|line| chosen.replace_all(line, "-$1").into_owned())
        .collect();
    lines.sort();
    lines.join("\n")
}

async fn aws(lines: &mut Vec<String>, stage: &Stage) {
    let config = stage.aws().await;
    let versions = secrets(lines, &config).await;
    ecs(lines, &config, &versions).await;
    app_runner(lines, &config, &versions).await;
    images(lines, &config).await;
    data(lines, &config).await;
    let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
    let groups = logs.describe_log_groups().send().await.expect("log groups");
    for group in groups.log_groups() {
        let (name, days) = (group.log_group_name(), group.retention_in_days());
        lines.push(format!("aws log group {name:?} {days:?}"));
    }
}

async fn ecs(lines: &mut Vec<String>, config: &SdkConfig, versions: &Versions) {
    let ecs = aws_sdk_ecs::Client::new(config);
    let arns = ecs
        .list_task_definitions()
        .send()
        .await
        .expect("definitions");
    for arn in arns.task_definition_arns() {
        let seen = ecs.describe_task_definition().task_definition(arn).send();
        let seen = seen.await.expect("a definition").task_definition;
        let definition = seen.expect("a definition");
        let container = &definition.container_definitions()[0];
        let environment: BTreeMap<_, _> = container
            .environment()
            .iter()
            .map(|pair| (pair.name(), pair.value()))
            .collect();
        let secrets = container.secrets().iter();
        let variables: Vec<_> = secrets
            .map(|it| (it.name(), versions.told(it.value_from())))
            .collect();
        lines.push(format!(
            "aws task definition {:?}:{} {:?} {environment:?} {variables:?}",
            definition.family(),
            definition.revision(),
            container.image(),
        ));
    }
    let services = ecs.list_services().send().await.expect("services");
    for arn in services.service_arns() {
        let seen = ecs.describe_services().services(arn).send().await;
        for service in seen.expect("a service").services() {
            lines.push(format!(
                "aws service {:?} {:?} {:?} {}/{} in {} deployments",
                service.service_name(),
                service.status(),
                service.task_definition(),
                service.running_count(),
                service.desired_count(),
                service.deployments().len(),
            ));
        }
    }
}

/// What is active; what was deleted is listed for a while.
async fn app_runner(lines: &mut Vec<String>, config: &SdkConfig, versions: &Versions) {
    let client = aws_sdk_apprunner::Client::new(config);
    let listed = client.list_services().send().await.expect("services");
    for summary in listed.service_summary_list() {
        let arn = summary.service_arn().unwrap_or_default();
        let seen = client.describe_service().service_arn(arn).send().await;
        let service = seen.expect("a service").service.expect("a service");
        lines.push(app_runner_service(&service, versions));
    }
    let connectors = client.list_vpc_connectors().send().await;
    for it in connectors.expect("connectors").vpc_connectors() {
        if it.status() == Some(&VpcConnectorStatus::Active) {
            let name = it.vpc_connector_name();
            lines.push(format!("aws connector {name:?} {:?}", it.subnets()));
        }
    }
    let scalings = client.list_auto_scaling_configurations();
    let scalings = scalings.latest_only(false).send().await;
    let scalings = scalings.expect("configurations");
    for it in scalings.auto_scaling_configuration_summary_list() {
        if it.status() == Some(&AutoScalingConfigurationStatus::Active) {
            let name = it.auto_scaling_configuration_name();
            lines.push(format!("aws scaling configuration {name:?}"));
        }
    }
}

fn app_runner_service(service: &Service, versions: &Versions) -> String {
    let source = service.source_configuration();
    let image = source.and_then(|it| it.image_repository());
    let configuration = image.and_then(|it| it.image_configuration());
    let variables = configuration.and_then(|it| it.runtime_environment_variables());
    let variables: BTreeMap<_, _> = variables.into_iter().flatten().collect();
    // The note of secrets' versions has their ids.
    let told = variables.into_iter().map(|(name, value)| {
        let pairs = value.split(' ').map(|pair| match pair.split_once('=') {
            Some((name, id)) if versions.0.contains_key(id) => {
                format!("{name}={}", versions.told(id))
            }
            _ => pair.to_owned(),
        });
        (name.clone(), pairs.collect::<Vec<_>>().join(" "))
    });
    let told: BTreeMap<_, _> = told.collect();
    let secrets = configuration.and_then(|it| it.runtime_environment_secrets());
    let secrets: BTreeMap<_, _> = secrets
        .into_iter()
        .flatten()
        .map(|(name, arn)| (name, without_letters(arn)))
        .collect();
    let scaling = service.auto_scaling_configuration_summary();
    let scaling = scaling.and_then(|it| it.auto_scaling_configuration_name());
    let egress = service.network_configuration();
    let egress = egress.and_then(|it| it.egress_configuration());
    let connector = egress.and_then(|it| it.vpc_connector_arn());
    let connector = connector.and_then(|arn| arn.split('/').nth(1));
    format!(
        "aws app runner service {} {} {:?} {told:?} {secrets:?} {scaling:?} {connector:?}",
        service.service_name(),
        service.status().as_str(),
        image.map(|it| it.image_identifier()),
    )
}

/// A secret's ARN without the letters of AWS's own choice at its end.
fn without_letters(arn: &str) -> &str {
    arn.rsplit_once('-').map_or(arn, |(name, _)| name)
}

async fn images(lines: &mut Vec<String>, config: &SdkConfig) {
    let ecr = aws_sdk_ecr::Client::new(config);
    let seen = ecr
        .describe_repositories()
        .send()
        .await
        .expect("repositories");
    for repository in seen.repositories() {
        let name = repository.repository_name().unwrap_or_default();
        let images = ecr.list_images().repository_name(name).send().await;
        let images = images.expect("images");
        let mut digests: Vec<_> = images
            .image_ids()
            .iter()
            .filter_map(|it| it.image_digest())
            .collect();
        digests.sort_unstable();
        digests.dedup();
        lines.push(format!("aws repository {name} {digests:?}"));
    }
}

/// The versions of secrets, by id: the secret's name and the stages.
#[derive(Default)]
struct Versions(BTreeMap<String, (String, Vec<String>)>);

impl Versions {
    /// What a reference pins, without the id.
    fn told(&self, value_from: &str) -> String {
        let id = value_from.rsplit(':').next().unwrap_or_default();
        match self.0.get(id) {
            Some((secret, stages)) => format!("{secret} {stages:?}"),
            None => "a version that is gone".to_owned(),
        }
    }
}

async fn secrets(lines: &mut Vec<String>, config: &SdkConfig) -> Versions {
    let client = aws_sdk_secretsmanager::Client::new(config);
    let mut versions = Versions::default();
    let listed = client
        .list_secrets()
        .include_planned_deletion(true)
        .send()
        .await;
    for secret in listed.expect("secrets").secret_list() {
        let name = secret.name().unwrap_or_default();
        let deleted = secret.deleted_date().is_some();
        let mut all = Vec::new();
        for (version, stages) in secret.secret_versions_to_stages().into_iter().flatten() {
            let stages = kept(stages);
            let of = (name.to_owned(), stages.clone());
            versions.0.insert(version.clone(), of);
            all.extend((!stages.is_empty()).then_some(stages));
        }
        all.sort();
        let value = match deleted {
            true => String::new(),
            false => {
                let held = client.get_secret_value().secret_id(name).send().await;
                let held = held.map(|it| it.secret_string.unwrap_or_default());
                held.map_or("no value".to_owned(), |value| shown(&value))
            }
        };
        lines.push(format!(
            "aws secret {name} deleted {deleted} {all:?} {value}"
        ));
    }
    versions
}

/// A value that is given; of one that is made, how long it is.
fn shown(value: &str) -> String {
    match value.starts_with("mail ") {
        true => value.to_owned(),
        false => format!("{} characters", value.len()),
    }
}

/// The stages that the cloud gives itself; ours name versions, which differ.
fn kept(stages: &[String]) -> Vec<String> {
    let own = stages.iter().filter(|stage| stage.starts_with("AWS"));
    own.cloned().collect()
}

async fn data(lines: &mut Vec<String>, config: &SdkConfig) {
    let rds = aws_sdk_rds::Client::new(config);
    for it in rds
        .describe_db_instances()
        .send()
        .await
        .expect("instances")
        .db_instances()
    {
        lines.push(format!(
            "aws database {:?} {:?} {:?}",
            it.db_instance_identifier(),
            it.db_instance_class(),
            it.allocated_storage()
        ));
    }
    let groups = rds
        .describe_db_subnet_groups()
        .send()
        .await
        .expect("groups");
    for it in groups.db_subnet_groups() {
        lines.push(format!("aws subnet group {:?}", it.db_subnet_group_name()));
    }
    let groups = rds.describe_db_parameter_groups().send().await;
    let groups = groups.expect("groups");
    // AWS's own are there from the start.
    let made = groups.db_parameter_groups().iter().filter(|it| {
        let name = it.db_parameter_group_name().unwrap_or_default();
        !name.starts_with("default.")
    });
    for it in made {
        lines.push(format!(
            "aws parameter group {:?} {:?}",
            it.db_parameter_group_name(),
            it.db_parameter_group_family()
        ));
    }
    let snapshots = rds.describe_db_snapshots().send().await.expect("snapshots");
    for it in snapshots.db_snapshots() {
        lines.push(format!("aws snapshot of {:?}", it.db_instance_identifier()));
    }
    let caches = aws_sdk_elasticache::Client::new(config);
    let groups = caches.describe_cache_subnet_groups().send().await;
    for it in groups.expect("groups").cache_subnet_groups() {
        let name = it.cache_subnet_group_name();
        lines.push(format!("aws cache subnet group {name:?}"));
    }
    let groups = caches
        .describe_replication_groups()
        .send()
        .await
        .expect("caches");
    for it in groups.replication_groups() {
        lines.push(format!(
            "aws cache {:?} {:?} {:?}",
            it.replication_group_id(),
            it.status(),
            it.cache_node_type()
        ));
    }
}

/// What of each kind is compared: where it is listed, under which key, and the members that are the
/// same in every run.
const GOOGLE: [(&str, &str, &[&str]); 6] = [
    (
        "v2/projects/P/locations/L/services",
        "services",
        &[
            "name",
            "traffic",
            "trafficStatuses",
            "latestReadyRevision",
            "invokerIamDisabled",
        ],
    ),
    (
        "v2/projects/P/locations/L/jobs",
        "jobs",
        &["name", "executionCount"],
    ),
    ("v1/projects/P/secrets", "secrets", &["name", "labels"]),
    (
        "v1/projects/P/locations/L/repositories",
        "repositories",
        &["name", "format"],
    ),
    (
        "v1/projects/P/instances",
        "items",
        &["name", "state", "settings/tier", "settings/dataDiskSizeGb"],
    ),
    (
        "v1/projects/P/locations/L/instances",
        "instances",
        &["name", "state", "tier", "memorySizeGb"],
    ),
];

async fn gcp(lines: &mut Vec<String>, stage: &Stage) {
    for (path, key, members) in GOOGLE {
        for found in list(stage, path, key).await {
            lines.push(format!("gcp {key} {}", chosen(&found, members)));
            let name = found["name"].as_str().unwrap_or_default().to_owned();
            match key {
                "services" => {
                    for it in list(stage, &format!("v2/{name}/revisions"), "revisions").await {
                        lines.push(format!("gcp revision {}", revision(&it)));
                    }
                }
                "secrets" => {
                    for it in list(stage, &format!("v1/{name}/versions"), "versions").await {
                        lines.push(format!("gcp version {}", chosen(&it, &["name", "state"])));
                    }
                    let value = value(stage, &name).await;
                    lines.push(format!("gcp value of {name}: {value}"));
                }
                "items" => {
                    let instance = format!("v1/projects/P/instances/{name}");
                    for it in list(stage, &format!("{instance}/databases"), "items").await {
                        lines.push(format!("gcp database {name}/{}", it["name"]));
                    }
                    for it in list(stage, &format!("{instance}/users"), "items").await {
                        lines.push(format!("gcp user {name}/{}", it["name"]));
                    }
                }
                _ => {}
            }
        }
    }
}

/// What a secret's newest version holds, as far as it is shown.
async fn value(stage: &Stage, secret: &str) -> String {
    let url = format!(
        "{}/v1/{secret}/versions/latest:access",
        stage.sandbox.gcp_url
    );
    let asked = stage.http.get(url).bearer_auth(&stage.token).send().await;
    let answer: Value = asked.expect("an answer").json().await.expect("JSON");
    let data = answer["payload"]["data"].as_str();
    let bytes = data.and_then(|data| BASE64_STANDARD.decode(data).ok());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map_or("no value".to_owned(), |value| shown(&value))
}

fn revision(found: &Value) -> String {
    let container = &found["containers"][0];
    format!(
        "{} {} {}",
        found["name"], container["image"], container["env"]
    )
}

fn chosen(found: &Value, members: &[&str]) -> String {
    let mut text = String::new();
    for member in members {
        let value = found.pointer(&format!("/{member}")).unwrap_or(&Value::Null);
        write!(text, "{member} {value} ").expect("a string takes text");
    }
    text
}

async fn list(stage: &Stage, path: &str, key: &str) -> Vec<Value> {
    let path = path.replace("/P/", &format!("/{PROJECT}/"));
    let path = path.replace("/L/", &format!("/{LOCATION}/"));
    let url = format!("{}/{path}", stage.sandbox.gcp_url);
    let asked = stage.http.get(&url).bearer_auth(&stage.token).send().await;
    let answer: Value = asked.expect("an answer").json().await.expect("JSON");
    assert!(answer.get("error").is_none(), "{url}: {answer}");
    answer[key].as_array().cloned().unwrap_or_default()
}

/// Releases, holds, migrations and the inventory; runs and locks tell how often it was tried.
async fn ledger(lines: &mut Vec<String>, store: &KillingStore) {
    for path in store.standing().await {
        let value = store.document(&path).await;
        let path = path.to_string();
        if path.contains("/releases/") {
            let members = [
                "number",
                "content_id",
                "image",
                "revision",
                "tag",
                "rollback_to",
                "detached",
            ];
            lines.push(format!("release {}", chosen(&value, &members)));
        } else if path.contains("/holds/") {
            lines.push(format!(
                "hold {}",
                chosen(&value, &["rejected", "content_id", "serving", "unfinished"])
            ));
        } else if path.contains("/inventory/") {
            // Of the folder itself it is said that it has everything.
            lines.push(match value["address"].as_str() {
                Some(address) => format!("ours {address} needs {}", value["item"]["needs"]),
                None => "inventory is whole".to_owned(),
            });
        } else if path.contains("/migrations/") {
            let record = &value["record"];
            lines.push(format!("migration {} {}", record["what"], record["state"]));
        }
    }
}
