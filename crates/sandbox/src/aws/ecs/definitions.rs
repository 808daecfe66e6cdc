//! Task definitions: registered, described, listed, deregistered.

use serde_json::{Map, Value, json};

use super::clusters::listed;
use super::definition_rules::{amount, check};
use super::state::Definition;
use super::{Ecs, client, invalid};
use crate::aws::error::AwsError;
use crate::aws::json::{copy, list, need, number, seconds, text, texts};

/// The members of the request that are echoed as they are.
const ECHOED: [&str; 12] = [
    "family",
    "taskRoleArn",
    "executionRoleArn",
    "networkMode",
    "requiresCompatibilities",
    "pidMode",
    "ipcMode",
    "proxyConfiguration",
    "inferenceAccelerators",
    "ephemeralStorage",
    "runtimePlatform",
    "enableFaultInjection",
];

impl Ecs {
    pub(super) fn register(&self, input: &Value) -> Result<Value, AwsError> {
        check(input)?;
        let family = need(input, "family");
        let mut state = self.lock();
        let revisions = state.families.entry(family.to_owned()).or_default();
        let revision = revisions
            .last()
            .and_then(|last| last.value["revision"].as_i64())
            .unwrap_or(0)
            + 1;
        let arn = self
            .inner
            .names
            .arn(&format!("task-definition/{family}:{revision}"));
        let mut value = Map::new();
        copy(input, &ECHOED, &mut value);
        // The units are stored as plain numbers, whatever spelling was given.
        for (name, unit) in [("cpu", "vcpu"), ("memory", "gb")] {
            if let Some(given) = text(input, name) {
                let number = amount(given, unit, 1024.0)
                    .ok_or_else(|| client(format!("Invalid '{name}' setting for task.")))?;
                value.insert(name.to_owned(), json!(number.to_string()));
            }
        }
        let containers: Vec<Value> = list(input, "containerDefinitions")
            .iter()
            .map(with_defaults)
            .collect();
        let fargate = list(input, "requiresCompatibilities")
            .iter()
            .any(|one| one == "FARGATE");
        let compatibilities = if fargate {
            json!(["EC2", "FARGATE"])
        } else {
            json!(["EC2"])
        };
        value.insert("taskDefinitionArn".into(), json!(arn));
        value.insert("revision".into(), json!(revision));
        value.insert("status".into(), json!("ACTIVE"));
        value.insert("volumes".into(), json!(list(input, "volumes")));
        value.insert(
            "placementConstraints".into(),
            json!(list(input, "placementConstraints")),
        );
        value.insert("compatibilities".into(), compatibilities);
        value.insert("requiresAttributes".into(), attributes(input));
        value.insert("registeredAt".into(), seconds(self.inner.host.clock.now()));
        value.insert("registeredBy".into(), json!(self.inner.names.user()));
        value.insert("containerDefinitions".into(), json!(containers));
        let value = Value::Object(value);
        let tags = list(input, "tags").to_vec();
        let answer = json!({"taskDefinition": value, "tags": tags});
        revisions.push(Definition { arn, value, tags });
        Ok(answer)
    }

    pub(super) fn describe_definition(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let definition = state
            .definition(need(input, "taskDefinition"))
            .ok_or_else(unable)?;
        let mut answer = json!({"taskDefinition": definition.value});
        if texts(input, "include").iter().any(|part| part == "TAGS") {
            answer["tags"] = json!(definition.tags);
        }
        Ok(answer)
    }

    pub(super) fn deregister(&self, input: &Value) -> Result<Value, AwsError> {
        let id = need(input, "taskDefinition");
        if !super::names::last_part(id).contains(':') {
            return Err(client(
                "The specified task definition must name a revision: family:revision or a full ARN.",
            ));
        }
        let mut state = self.lock();
        let arn = state
            .definition(id)
            .map(|definition| definition.arn.clone());
        let arn = arn.ok_or_else(|| client("The specified task definition does not exist."))?;
        let definition = state
            .families
            .values_mut()
            .flatten()
            .find(|definition| definition.arn == arn);
        let definition = definition.ok_or_else(unable)?;
        if !definition.active() {
            return Err(invalid("The specified task definition is inactive."));
        }
        definition.value["status"] = json!("INACTIVE");
        definition.value["deregisteredAt"] = seconds(self.inner.host.clock.now());
        Ok(json!({"taskDefinition": definition.value}))
    }

    pub(super) fn list_definitions(&self, input: &Value) -> Result<Value, AwsError> {
        let family = text(input, "familyPrefix");
        let status = text(input, "status").unwrap_or("ACTIVE");
        let state = self.lock();
        let mut arns: Vec<String> = state
            .families
            .iter()
            // The vendor's "prefix" is a whole family name.
            .filter(|(name, _)| family.is_none_or(|family| family == name.as_str()))
            .flat_map(|(_, revisions)| revisions)
            .filter(|definition| definition.value["status"] == status)
            .map(|definition| definition.arn.clone())
            .collect();
        if text(input, "sort") == Some("DESC") {
            arns.reverse();
        }
        listed(input, "taskDefinitionArns", arns)
    }
}

fn unable() -> AwsError {
    client("Unable to describe task definition.")
}

/// What the vendor adds to a container definition.
fn with_defaults(container: &Value) -> Value {
    let mut out = Map::new();
    for (name, value) in container.as_object().into_iter().flatten() {
        if !value.is_null() {
            out.insert(name.clone(), value.clone());
        }
    }
    let mut default = |name: &str, value: Value| {
        out.entry(name.to_owned()).or_insert(value);
    };
    default("cpu", json!(0));
    default("essential", json!(true));
    for name in [
        "portMappings",
        "environment",
        "mountPoints",
        "volumesFrom",
        "systemControls",
    ] {
        default(name, json!([]));
    }
    if let Some(Value::Array(mappings)) = out.get_mut("portMappings") {
        for mapping in mappings {
            if let Some(port) = number(mapping, "containerPort") {
                let host = number(mapping, "hostPort").unwrap_or(port);
                mapping["hostPort"] = json!(host);
            }
            let protocol = text(mapping, "protocol").unwrap_or("tcp").to_owned();
            mapping["protocol"] = json!(protocol);
        }
    }
    if let Some(check) = out.get_mut("healthCheck").filter(|check| check.is_object()) {
        for (name, value) in [("interval", 30), ("timeout", 5), ("retries", 3)] {
            let value = number(check, name).unwrap_or(value);
            check[name] = json!(value);
        }
    }
    Value::Object(out)
}

/// Some of the attributes that ECS derives; Fargate needs none of them.
fn attributes(input: &Value) -> Value {
    let mut names = vec!["com.amazonaws.ecs.capability.docker-remote-api.1.18"];
    if text(input, "taskRoleArn").is_some() {
        names.push("com.amazonaws.ecs.capability.task-iam-role");
    }
    if text(input, "networkMode") == Some("awsvpc") {
        names.push("ecs.capability.task-eni");
    }
    if list(input, "containerDefinitions")
        .iter()
        .any(|container| !list(container, "secrets").is_empty())
    {
        names.push("ecs.capability.secrets.asm.environment-variables");
    }
    names
        .into_iter()
        .map(|name| json!({"name": name}))
        .collect()
}
