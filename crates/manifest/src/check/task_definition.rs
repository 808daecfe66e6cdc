//! Checks that what a service makes of a task definition is not larger than ECS takes one.

use deployer_aws::catalogue::TASK_DEFINITION_BYTES;
use serde_json::{Value, json};

use crate::check::env::Variables;
use crate::model::{EnvValue, Manifest, Service};
use crate::problem::Report;

pub(super) fn check(
    (key, service): (&str, &Service),
    manifest: &Manifest,
    variables: &Variables,
    report: &mut Report<'_>,
) {
    let whole = definition(key, service, manifest, variables);
    let whole = whole.to_string().len();
    if whole > TASK_DEFINITION_BYTES {
        let message = format!(
            "variables, secrets and commands have {whole} bytes together, written as ECS takes them; a task definition takes \
             {TASK_DEFINITION_BYTES} in all"
        );
        let help = "shorten them, or let the image bring them in a file";
        report.key_error(&variables.path, message, help);
    }
}

/// What the service makes large of a task definition, as it is sent: no more than that, as other
/// hands' parts are carried over too.
fn definition(key: &str, service: &Service, manifest: &Manifest, variables: &Variables) -> Value {
    let plain = variables.plain.iter();
    let plain = plain.map(|(name, value, _)| json!({ "name": name, "value": value }));
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
            "environment": plain.collect::<Vec<_>>(),
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
