//! Checks how much a service's variables hold, against what each cloud takes.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::CloudName;
use serde_json::{Value, json};

use crate::model::{EnvValue, Manifest};
use crate::problem::Report;
use crate::source::KeyPath;

/// Cloud Run: "the maximum length is 32768 bytes" (google.cloud.run.v2.EnvVar, `value`).
const CLOUD_RUN_VALUE: usize = 32_768;

/// Cloud Run: "Must not exceed 32768 characters" (google.cloud.run.v2.EnvVar, `name`).
const CLOUD_RUN_NAME: usize = 32_768;

/// Cloud Run: "You can set a maximum of 1000 environment variables"
/// (run/docs/configuring/services/overview-environment-variables).
const CLOUD_RUN_COUNT: usize = 1000;

/// ECS: "Task definition size limit: 64 KiB" (AmazonECS/latest/developerguide/service-quotas.html),
/// of the whole as JSON: "Actual length: '66420'. Max allowed length is '65536' bytes."
/// (awsdocs/amazon-ecs-developer-guide#149).
const TASK_DEFINITION: usize = 64 * 1024;

/// Checks the variables that the service `key` gets on `cloud`: the manifest's, with the target's
/// `own` over them.
pub(super) fn check(key: &str, manifest: &Manifest, cloud: CloudName, report: &mut Report<'_>) {
    let Some(service) = manifest.services.get(key) else {
        return;
    };
    let aws = manifest
        .targets
        .aws
        .as_ref()
        .and_then(|it| Some(&it.services.get(key)?.env));
    let gcp = manifest
        .targets
        .gcp
        .as_ref()
        .and_then(|it| Some(&it.services.get(key)?.env));
    let own = match cloud {
        CloudName::Aws => aws,
        CloudName::Gcp => gcp,
    };
    let none = BTreeMap::new();
    let own = own.unwrap_or(&none);
    let declared = KeyPath::new(["services", key, "env"]);
    let target = KeyPath::new(["targets", cloud.as_str(), "services", key, "env"]);
    let shared = service.env.iter().filter_map(|(name, value)| match value {
        EnvValue::Plain(text) if !own.contains_key(name) => Some((name, text, declared.join(name))),
        EnvValue::Plain(_) | EnvValue::Secret(_) => None,
    });
    let own_ones = own
        .iter()
        .map(|(name, text)| (name, text, target.join(name)));
    let plain: Vec<_> = shared.chain(own_ones).collect();
    let names: BTreeSet<&String> = service.env.keys().chain(own.keys()).collect();
    let count = names.len();
    for (name, _, at) in plain.iter().filter(|(_, text, _)| text.contains('\0')) {
        // It ends the value in every process.
        let message = format!("`{name}` has a NUL, which no variable can hold");
        report.error(at, message, "encode bytes as text: base64, for instance");
    }
    match cloud {
        CloudName::Gcp => {
            for (name, text, at) in plain
                .iter()
                .filter(|(_, text, _)| text.len() > CLOUD_RUN_VALUE)
            {
                let message = format!(
                    "`{name}` has {} bytes; Cloud Run takes {CLOUD_RUN_VALUE}",
                    text.len()
                );
                report.error(
                    at,
                    message,
                    "shorten it, or let the image bring it in a file",
                );
            }
            let characters = |name: &str| name.chars().count();
            for name in names.iter().filter(|it| characters(it) > CLOUD_RUN_NAME) {
                let message = format!(
                    "the name of a variable has {} characters; Cloud Run takes {CLOUD_RUN_NAME}",
                    characters(name)
                );
                report.key_error(&declared, message, "give it a shorter one");
            }
            if count > CLOUD_RUN_COUNT {
                let message = format!("{count} variables; Cloud Run takes {CLOUD_RUN_COUNT}");
                report.key_error(
                    &declared,
                    message,
                    "put some of them into one, or into a file of the image",
                );
            }
        }
        CloudName::Aws => {
            let plain = plain.iter().map(|(name, text, _)| (*name, *text));
            let whole = definition(key, manifest, plain).to_string().len();
            if whole > TASK_DEFINITION {
                let message = format!(
                    "variables, secrets and commands have {whole} bytes together, written as ECS takes them; a task definition takes \
                     {TASK_DEFINITION} in all"
                );
                report.key_error(
                    &declared,
                    message,
                    "shorten them, or let the image bring them in a file",
                );
            }
        }
    }
}

/// What the service makes large of a task definition, as it is sent: no more than that, as other
/// hands' parts are carried over too.
fn definition<'a>(
    key: &str,
    manifest: &Manifest,
    plain: impl Iterator<Item = (&'a String, &'a String)>,
) -> Value {
    let service = &manifest.services[key];
    let variables = plain.map(|(name, value)| json!({ "name": name, "value": value }));
    let secrets = service.env.iter().filter_map(|(name, value)| match value {
        EnvValue::Secret(used) => {
            let value_from = pin(manifest, &used.secret);
            Some(json!({ "name": name, "valueFrom": value_from }))
        }
        EnvValue::Plain(_) => None,
    });
    json!({
        "family": key,
        "containerDefinitions": [{
            "name": key,
            "entryPoint": service.entrypoint,
            "command": service.command,
            "environment": variables.collect::<Vec<_>>(),
            "secrets": secrets.collect::<Vec<_>>(),
            "healthCheck": { "command": service.health.command },
        }],
    })
}

/// A pinned secret, as long as it is at least: the ARN with six letters of AWS's own and the
/// version.
fn pin(manifest: &Manifest, key: &str) -> String {
    let target = manifest.targets.aws.as_ref();
    let region = target.map_or("", |target| target.region.as_str());
    let secret = manifest.secrets.get(key);
    let member = secret.and_then(|secret| secret.key.as_deref());
    let own = target.and_then(|target| target.secrets.get(key));
    let name = own.and_then(|own| own.name.as_deref()).unwrap_or(key);
    let version = "00000000-0000-0000-0000-000000000000";
    format!(
        "arn:aws:secretsmanager:{region}:000000000000:secret:{name}-AAAAAA:{}::{version}",
        member.unwrap_or_default()
    )
}
