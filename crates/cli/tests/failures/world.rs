//! Everything that stands in both clouds, read past the program: whole, and with whose it is.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::in_process::stage::{LOCATION, PROJECT, Stage};

/// Longer than anything here goes on.
const SETTLED: Duration = Duration::from_secs(1200);

/// The mark, on both clouds.
const MARK: &str = "deployer";

pub type Tags = BTreeMap<String, String>;

/// One thing as its cloud tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    pub name: String,
    pub tags: Tags,
    /// All else that is told of it.
    rest: String,
}

impl Thing {
    pub fn mark(&self) -> Option<&str> {
        self.tags.get(MARK).map(String::as_str)
    }

    /// Its name and the tags that are not ours.
    fn of_others(&self) -> (String, Tags) {
        let mut tags = self.tags.clone();
        tags.retain(|key, _| !key.starts_with(MARK));
        (self.name.clone(), tags)
    }
}

/// Every thing, sorted by its name.
pub async fn of(stage: &Stage) -> Vec<Thing> {
    // What goes on by itself comes to its end: first backups, roll-outs.
    stage.time.pass(SETTLED).await;
    let mut things = Vec::new();
    for arn in arns(stage).await {
        things.push(arn);
    }
    for (path, key) in GOOGLE {
        for found in google(stage, path, key).await {
            things.push(found);
        }
    }
    things.sort_by(|one, other| one.name.cmp(&other.name));
    things
}

/// Nothing of what was there is different now; there may be more.
pub fn assert_same(before: &[Thing], after: &[Thing]) {
    for thing in before {
        let now = after.iter().find(|it| it.name == thing.name);
        assert_eq!(now, Some(thing));
    }
}

/// The same, whatever became of our marks and of what they bring with them.
pub fn assert_same_but_for_marks(before: &[Thing], after: &[Thing]) {
    let of_others = |things: &[Thing]| -> BTreeMap<String, Tags> {
        things.iter().map(Thing::of_others).collect()
    };
    assert_eq!(of_others(before), of_others(after));
}

/// Everything bears a mark of this app.
pub fn assert_marked(things: &[Thing], app: &str) {
    for thing in things {
        assert!(
            thing.mark().is_some_and(|it| it.starts_with(app)),
            "{thing:?}"
        );
    }
}

fn thing(name: &str, tags: Tags, rest: impl Debug) -> Thing {
    Thing {
        name: name.to_owned(),
        tags,
        rest: format!("{rest:?}"),
    }
}

fn tags<'a>(pairs: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>) -> Tags {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    pairs.map(|(key, value)| (text(key), text(value))).collect()
}

async fn arns(stage: &Stage) -> Vec<Thing> {
    let mut things = Vec::new();
    logs_and_images(stage, &mut things).await;
    ecs(stage, &mut things).await;
    secrets(stage, &mut things).await;
    databases(stage, &mut things).await;
    caches(stage, &mut things).await;
    app_runner(stage, &mut things).await;
    things
}

async fn logs_and_images(stage: &Stage, things: &mut Vec<Thing>) {
    let config = stage.aws().await;
    let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
    let groups = logs.describe_log_groups().send().await.expect("log groups");
    for it in groups.log_groups() {
        let arn = it.arn().unwrap_or_default().trim_end_matches(":*");
        let told = logs.list_tags_for_resource().resource_arn(arn).send();
        let told = told.await.expect("tags").tags.unwrap_or_default();
        let rest = (it.retention_in_days(), it.creation_time());
        things.push(thing(arn, told.into_iter().collect(), rest));
    }
    let ecr = aws_sdk_ecr::Client::new(&config);
    let seen = ecr
        .describe_repositories()
        .send()
        .await
        .expect("repositories");
    for it in seen.repositories() {
        let arn = it.repository_arn().unwrap_or_default();
        let told = ecr.list_tags_for_resource().resource_arn(arn).send();
        let told = told.await.expect("tags");
        let told = told.tags().iter();
        let told = tags(told.map(|tag| (Some(tag.key()), Some(tag.value()))));
        let name = it.repository_name().unwrap_or_default();
        let images = ecr.list_images().repository_name(name).send().await;
        let images = images.expect("images");
        let mut images: Vec<String> = images
            .image_ids()
            .iter()
            .map(|it| format!("{it:?}"))
            .collect();
        images.sort();
        things.push(thing(arn, told, (it, images)));
    }
}

async fn ecs(stage: &Stage, things: &mut Vec<Thing>) {
    use aws_sdk_ecs::types::{ServiceField, TaskDefinitionField};
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let arns = ecs
        .list_task_definitions()
        .send()
        .await
        .expect("definitions");
    for arn in arns.task_definition_arns() {
        let seen = ecs
            .describe_task_definition()
            .task_definition(arn)
            .include(TaskDefinitionField::Tags)
            .send();
        let seen = seen.await.expect("a definition");
        let told = tags(seen.tags().iter().map(|tag| (tag.key(), tag.value())));
        // Some of its parts are told in any order.
        let it = seen.task_definition().expect("a definition");
        let containers = it.container_definitions().iter();
        let containers: Vec<_> = containers
            .map(|it| (it.image(), it.environment().len(), it.secrets()))
            .collect();
        let rest = (it.status(), it.registered_at(), containers);
        things.push(thing(arn, told, rest));
    }
    let arns = ecs.list_services().send().await.expect("services");
    for arn in arns.service_arns() {
        let seen = ecs.describe_services().services(arn);
        let seen = seen
            .include(ServiceField::Tags)
            .send()
            .await
            .expect("services");
        for it in seen
            .services()
            .iter()
            .filter(|it| it.status() == Some("ACTIVE"))
        {
            let told = tags(it.tags().iter().map(|tag| (tag.key(), tag.value())));
            // Its events go on.
            let rest = (
                it.task_definition(),
                it.desired_count(),
                it.network_configuration(),
                it.deployment_configuration(),
                it.deployments().len(),
                it.created_at(),
            );
            things.push(thing(arn, told, rest));
        }
    }
}

async fn secrets(stage: &Stage, things: &mut Vec<Thing>) {
    let client = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let listed = client.list_secrets().send().await.expect("secrets");
    for it in listed.secret_list() {
        let told = tags(it.tags().iter().map(|tag| (tag.key(), tag.value())));
        let versions = it.secret_versions_to_stages().into_iter().flatten();
        let versions: BTreeMap<_, _> = versions.collect();
        let rest = (it.deleted_date(), it.created_date(), versions);
        things.push(thing(it.arn().unwrap_or_default(), told, rest));
    }
}

async fn databases(stage: &Stage, things: &mut Vec<Thing>) {
    let rds = aws_sdk_rds::Client::new(&stage.aws().await);
    let mut found: Vec<(String, String)> = Vec::new();
    let seen = rds.describe_db_instances().send().await.expect("instances");
    for it in seen.db_instances() {
        let arn = it.db_instance_arn().unwrap_or_default();
        let mut it = it.clone();
        // Its backups go on.
        it.latest_restorable_time = None;
        found.push((arn.into(), format!("{it:?}")));
    }
    let seen = rds
        .describe_db_subnet_groups()
        .send()
        .await
        .expect("groups");
    for it in seen.db_subnet_groups() {
        let arn = it.db_subnet_group_arn().unwrap_or_default();
        found.push((arn.into(), format!("{it:?}")));
    }
    let seen = rds.describe_db_parameter_groups().send().await;
    for it in seen.expect("groups").db_parameter_groups() {
        let arn = it.db_parameter_group_arn().unwrap_or_default();
        // AWS's own are there from the start.
        if !it
            .db_parameter_group_name()
            .unwrap_or_default()
            .starts_with("default.")
        {
            found.push((arn.into(), format!("{it:?}")));
        }
    }
    for (arn, rest) in found {
        let told = rds
            .list_tags_for_resource()
            .resource_name(&arn)
            .send()
            .await;
        let told = told.expect("tags");
        let told = tags(told.tag_list().iter().map(|tag| (tag.key(), tag.value())));
        things.push(thing(&arn, told, rest));
    }
}

async fn caches(stage: &Stage, things: &mut Vec<Thing>) {
    let client = aws_sdk_elasticache::Client::new(&stage.aws().await);
    let mut found: Vec<(String, String)> = Vec::new();
    let seen = client.describe_cache_subnet_groups().send().await;
    for it in seen.expect("groups").cache_subnet_groups() {
        found.push((it.arn().unwrap_or_default().into(), format!("{it:?}")));
    }
    let seen = client.describe_replication_groups().send().await;
    for it in seen.expect("caches").replication_groups() {
        found.push((it.arn().unwrap_or_default().into(), format!("{it:?}")));
    }
    for (arn, rest) in found {
        let told = client.list_tags_for_resource().resource_name(&arn).send();
        let told = told.await.expect("tags");
        let told = tags(told.tag_list().iter().map(|tag| (tag.key(), tag.value())));
        things.push(thing(&arn, told, rest));
    }
}

async fn app_runner(stage: &Stage, things: &mut Vec<Thing>) {
    let client = aws_sdk_apprunner::Client::new(&stage.aws().await);
    let mut found: Vec<(String, String)> = Vec::new();
    let seen = client.list_services().send().await.expect("services");
    for it in seen.service_summary_list() {
        let arn = it.service_arn().unwrap_or_default();
        let seen = client.describe_service().service_arn(arn).send().await;
        let service = seen.expect("a service").service.expect("a service");
        let rest = (service.source_configuration(), service.status());
        found.push((arn.into(), format!("{rest:?}")));
    }
    let seen = client.list_vpc_connectors().send().await;
    for it in seen.expect("connectors").vpc_connectors() {
        let is_active = it.status().is_some_and(|it| it.as_str() == "ACTIVE");
        if is_active {
            let arn = it.vpc_connector_arn().unwrap_or_default();
            found.push((arn.into(), format!("{it:?}")));
        }
    }
    let seen = client.list_auto_scaling_configurations();
    let seen = seen.latest_only(false).send().await;
    for it in seen
        .expect("configurations")
        .auto_scaling_configuration_summary_list()
    {
        // AWS's own is there from the start.
        if it.auto_scaling_configuration_name() != Some("DefaultConfiguration") {
            let arn = it.auto_scaling_configuration_arn().unwrap_or_default();
            found.push((arn.into(), String::new()));
        }
    }
    for (arn, rest) in found {
        let told = client.list_tags_for_resource().resource_arn(&arn).send();
        let told = told.await.expect("tags");
        let told = tags(told.tags().iter().map(|tag| (tag.key(), tag.value())));
        things.push(thing(&arn, told, rest));
    }
    let ecs = aws_sdk_ecs::Client::new(&stage.aws().await);
    let seen = ecs.list_clusters().send().await.expect("clusters");
    let arns = seen.cluster_arns().iter();
    // The sandbox's own is there from the start.
    for arn in arns.filter(|arn| !arn.ends_with("/default")) {
        let seen = ecs.list_tags_for_resource().resource_arn(arn).send().await;
        let seen = seen.expect("tags");
        let told = tags(seen.tags().iter().map(|tag| (tag.key(), tag.value())));
        things.push(thing(arn, told, ()));
    }
}

/// What the sandbox itself holds that bears a mark, by `CLOUD/SERVICE/KIND/NAME`, with its tags:
/// whatever kinds there are, and whoever knows them here.
pub fn in_books(stage: &Stage) -> BTreeMap<String, Tags> {
    let mut found = BTreeMap::new();
    let dump = stage.sandbox.dump();
    for (cloud, services) in members(&dump) {
        for (service, kinds) in members(services) {
            // What was done, with all that was asked for.
            if service == "operations" {
                continue;
            }
            for (kind, things) in members(kinds) {
                for (name, thing) in members(things) {
                    let mut tags = Tags::new();
                    collect(thing, &mut tags);
                    if tags.contains_key(MARK) && !is_over(thing) {
                        found.insert(format!("{cloud}/{service}/{kind}/{name}"), tags);
                    }
                }
            }
        }
    }
    found
}

/// Whether a thing is told for a while and is none any more.
fn is_over(thing: &Value) -> bool {
    let status = ["/status", "/value/status"].map(|at| thing.pointer(at).and_then(Value::as_str));
    let is_gone = |it: &Option<&str>| matches!(it, Some("INACTIVE" | "STOPPED" | "DELETED"));
    let said = thing["active"] == false || thing["gone"] == true;
    !thing["deleted"].is_null() || said || status.iter().any(is_gone)
}

/// The members of an object, or of a list by their places.
fn members(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Object(object) => object.iter().map(|(key, it)| (key.clone(), it)).collect(),
        Value::Array(list) => {
            let list = list.iter().enumerate();
            list.map(|(place, it)| (place.to_string(), it)).collect()
        }
        _ => Vec::new(),
    }
}

/// The tags and labels that are said anywhere in a thing.
fn collect(value: &Value, tags: &mut Tags) {
    let pair =
        |key: &str, name: &str| Some((value.get(key)?.as_str()?, value.get(name)?.as_str()?));
    for (key, text) in pair("Key", "Value").into_iter().chain(pair("key", "value")) {
        tags.entry(key.to_owned())
            .or_insert_with(|| text.to_owned());
    }
    for (name, below) in members(value) {
        if let ("tags" | "labels" | "userLabels", Value::Object(map)) = (name.as_str(), below) {
            for (key, text) in map {
                let text = text.as_str().unwrap_or_default();
                tags.entry(key.clone()).or_insert_with(|| text.to_owned());
            }
        }
        collect(below, tags);
    }
}

/// Where each kind is listed, and under which key.
const GOOGLE: [(&str, &str); 6] = [
    ("v2/projects/P/locations/L/services", "services"),
    ("v2/projects/P/locations/L/jobs", "jobs"),
    ("v1/projects/P/secrets", "secrets"),
    ("v1/projects/P/locations/L/repositories", "repositories"),
    ("v1/projects/P/instances", "items"),
    ("v1/projects/P/locations/L/instances", "instances"),
];

fn labels(found: &Value) -> Tags {
    let at = found
        .get("labels")
        .or(found.pointer("/settings/userLabels"));
    let labels = at.and_then(Value::as_object).into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    labels
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

async fn google(stage: &Stage, path: &str, key: &str) -> Vec<Thing> {
    let mut things = Vec::new();
    for found in listed(stage, path, key).await {
        let name = found["name"].as_str().unwrap_or_default();
        let mut rest = found.to_string();
        if key == "services" {
            let policy = format!("/v2/{name}:getIamPolicy");
            let policy = stage.google(Method::GET, &policy, None).await;
            rest = format!("{rest} {}", policy["bindings"]);
        }
        things.push(Thing {
            name: format!("{key} {name}"),
            tags: labels(&found),
            rest,
        });
    }
    things
}

async fn listed(stage: &Stage, path: &str, key: &str) -> Vec<Value> {
    let path = path.replace("/P/", &format!("/{PROJECT}/"));
    let path = path.replace("/L/", &format!("/{LOCATION}/"));
    let answer = stage.google(Method::GET, &format!("/{path}"), None).await;
    answer[key].as_array().cloned().unwrap_or_default()
}

/// The service on Cloud Run.
pub async fn run_service(stage: &Stage) -> Value {
    let path = format!(
        "/v2/projects/{PROJECT}/locations/{LOCATION}/services/{}",
        stage.service()
    );
    stage.google(Method::GET, &path, None).await
}

/// Tags everything that is there, as another hand does.
pub async fn tag_all(stage: &Stage, key: &str, value: &str) {
    for thing in arns(stage).await {
        tag(stage, &thing.name, key, value).await;
    }
    for (path, kind) in GOOGLE {
        for found in listed(stage, path, kind).await {
            label(stage, kind, &found, key, value).await;
        }
    }
    stage.time.pass(SETTLED).await;
}

async fn tag(stage: &Stage, arn: &str, key: &str, value: &str) {
    let config = stage.aws().await;
    let service = arn.split(':').nth(2).unwrap_or_default();
    match service {
        "logs" => {
            let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
            let call = logs.tag_resource().resource_arn(arn).tags(key, value);
            call.send().await.expect("it is tagged");
        }
        "ecr" => {
            let tag = aws_sdk_ecr::types::Tag::builder().key(key).value(value);
            let ecr = aws_sdk_ecr::Client::new(&config);
            let call = ecr.tag_resource().resource_arn(arn);
            let call = call.tags(tag.build().expect("a tag"));
            call.send().await.expect("it is tagged");
        }
        "ecs" => {
            let tag = aws_sdk_ecs::types::Tag::builder().key(key).value(value);
            let ecs = aws_sdk_ecs::Client::new(&config);
            let call = ecs.tag_resource().resource_arn(arn).tags(tag.build());
            call.send().await.expect("it is tagged");
        }
        "secretsmanager" => {
            let tag = aws_sdk_secretsmanager::types::Tag::builder().key(key);
            let secrets = aws_sdk_secretsmanager::Client::new(&config);
            let call = secrets.tag_resource().secret_id(arn);
            let call = call.tags(tag.value(value).build());
            call.send().await.expect("it is tagged");
        }
        "rds" => {
            let tag = aws_sdk_rds::types::Tag::builder().key(key).value(value);
            let rds = aws_sdk_rds::Client::new(&config);
            let call = rds.add_tags_to_resource().resource_name(arn);
            call.tags(tag.build()).send().await.expect("it is tagged");
        }
        "elasticache" => {
            let tag = aws_sdk_elasticache::types::Tag::builder().key(key);
            let client = aws_sdk_elasticache::Client::new(&config);
            let call = client.add_tags_to_resource().resource_name(arn);
            let call = call.tags(tag.value(value).build());
            call.send().await.expect("it is tagged");
        }
        "apprunner" => {
            let tag = aws_sdk_apprunner::types::Tag::builder().key(key);
            let client = aws_sdk_apprunner::Client::new(&config);
            let call = client.tag_resource().resource_arn(arn);
            let call = call.tags(tag.value(value).build());
            call.send().await.expect("it is tagged");
        }
        other => panic!("`{other}` is not known here"),
    }
}

async fn label(stage: &Stage, kind: &str, found: &Value, key: &str, value: &str) {
    let name = found["name"].as_str().expect("a name");
    let mut labels = found.get("labels").cloned().unwrap_or(json!({}));
    labels[key] = json!(value);
    let (path, body) = match kind {
        "services" => {
            let mut template = found["template"].clone();
            template["labels"][key] = json!(value);
            let path = format!("/v2/{name}?updateMask=labels,template");
            (path, json!({ "labels": labels, "template": template }))
        }
        "jobs" => {
            let mut job = found.clone();
            job["labels"] = labels;
            job["template"]["labels"][key] = json!(value);
            (format!("/v2/{name}"), job)
        }
        "items" => {
            let path = format!("/v1/projects/{PROJECT}/instances/{name}");
            (
                path,
                json!({ "settings": { "userLabels": { key: value } } }),
            )
        }
        _ => {
            let path = format!("/v1/{name}?updateMask=labels");
            (path, json!({ "labels": labels }))
        }
    };
    stage.google(Method::PATCH, &path, Some(body)).await;
}
