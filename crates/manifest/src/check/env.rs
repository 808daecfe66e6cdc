//! Checks how much a service's plain variables hold, against what each cloud takes.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::CloudName;

use crate::model::{EnvValue, Manifest};
use crate::problem::Report;
use crate::source::KeyPath;

/// Cloud Run: "Environment variables, maximum length: 32 KB" (run/quotas).
const CLOUD_RUN_VALUE: usize = 32_768;

/// Cloud Run: "You can set a maximum of 1000 environment variables" (run/docs/configuring/services/overview-environment-variables).
const CLOUD_RUN_COUNT: usize = 1000;

/// ECS: "Task definition size limit: 64 KiB" (AmazonECS/latest/developerguide/service-quotas.html), of which names and values are a part.
const TASK_DEFINITION: usize = 64 * 1024;

/// Checks the variables that the service `key` gets on `cloud`: the manifest's, with the target's `own` over them.
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
            let whole: usize = plain
                .iter()
                .map(|(name, text, _)| name.len() + text.len())
                .sum();
            if whole > TASK_DEFINITION {
                let message = format!(
                    "the variables have {whole} bytes together; a task definition of ECS takes {TASK_DEFINITION} in all"
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
