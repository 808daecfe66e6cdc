//! The operations of Secrets Manager that only read.

use serde_json::{Map, Value, json};

use super::version::midnight;
use super::{PAGES, Secret, Secrets};
use crate::aws::error::AwsError;
use crate::aws::json::{flag, list, need, seconds, text, texts};
use crate::aws::pages::Pages;

impl Secrets {
    pub(super) fn get_value(&self, input: &Value) -> Result<Value, AwsError> {
        self.with_live(input, |secret, now| {
            let (arn, name) = (secret.arn.clone(), secret.name.clone());
            let version = secret.find_version(input)?;
            version.accessed = Some(now);
            let mut out = Map::new();
            out.insert("ARN".into(), json!(arn));
            out.insert("Name".into(), json!(name));
            out.insert("VersionId".into(), json!(version.id));
            out.insert("CreatedDate".into(), seconds(version.created));
            if !version.stages.is_empty() {
                out.insert("VersionStages".into(), json!(version.stages));
            }
            version.payload.write(&mut out);
            secret.accessed = Some(now);
            Ok(Value::Object(out))
        })
    }

    /// What is said of a version that was put in the last minute by whatever does not know it yet.
    pub fn version_unborn(&self, input: &Value) -> Option<AwsError> {
        let wanted = text(input, "VersionId")?.to_owned();
        self.with_live(input, |secret, now| {
            let version = secret.versions.iter().find(|it| it.id == wanted);
            let age = version.map(|it| now.duration_since(it.created).as_secs());
            Ok(age.is_some_and(|age| age < 60))
        })
        .is_ok_and(|young| young)
        .then(|| {
            AwsError::new(
                "ResourceNotFoundException",
                format!(
                    "Secrets Manager can't find the specified secret value for VersionId: {wanted}"
                ),
            )
        })
    }

    pub(super) fn batch_get(&self, input: &Value) -> Result<Value, AwsError> {
        let ids = texts(input, "SecretIdList");
        let filtered = !list(input, "Filters").is_empty();
        if ids.is_empty() != filtered {
            return Err(AwsError::new(
                "InvalidParameterException",
                "Either 'SecretIdList' or 'Filters' must be provided, but not both.",
            ));
        }
        let ids = match filtered {
            false => ids,
            true => {
                let state = self.lock();
                let live = state.values().filter(|secret| secret.deleted.is_none());
                live.filter(|secret| passes(secret, list(input, "Filters"), &self.region))
                    .map(|secret| secret.arn.clone())
                    .collect()
            }
        };
        let pages = Pages { size: 20, ..PAGES };
        let (ids, next) = pages.cut(input, ids)?;
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for id in ids {
            match self.get_value(&json!({"SecretId": id})) {
                Ok(value) => values.push(value),
                Err(error) => {
                    errors.push(
                        json!({"SecretId": id, "ErrorCode": error.code, "Message": error.message}),
                    );
                }
            }
        }
        Ok(pages.told(json!({"SecretValues": values, "Errors": errors}), next))
    }

    pub(super) fn describe(&self, input: &Value) -> Result<Value, AwsError> {
        self.with(input, |secret, _| {
            let mut out = secret.summary();
            if !secret.versions.is_empty() {
                out.insert("VersionIdsToStages".into(), secret.stages());
            }
            Ok(Value::Object(out))
        })
    }

    pub(super) fn list(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let planned = flag(input, "IncludePlannedDeletion");
        let mut found: Vec<&Secret> = state
            .values()
            .filter(|secret| planned || secret.deleted.is_none())
            .filter(|secret| passes(secret, list(input, "Filters"), &self.region))
            .collect();
        match text(input, "SortBy") {
            Some("name") => found.sort_by(|a, b| a.name.cmp(&b.name)),
            Some("last-changed-date") => found.sort_by_key(|secret| secret.changed),
            Some("last-accessed-date") => found.sort_by_key(|secret| secret.accessed),
            _ => found.sort_by_key(|secret| secret.created),
        }
        if text(input, "SortOrder") != Some("asc") {
            found.reverse();
        }
        let listed: Vec<Value> = found
            .into_iter()
            .map(|secret| {
                let mut out = secret.summary();
                if !secret.versions.is_empty() {
                    out.insert("SecretVersionsToStages".into(), secret.stages());
                }
                Value::Object(out)
            })
            .collect();
        PAGES.of(input, "SecretList", listed)
    }

    pub(super) fn list_versions(&self, input: &Value) -> Result<Value, AwsError> {
        let deprecated = flag(input, "IncludeDeprecated");
        self.with(input, |secret, _| {
            let versions: Vec<Value> = secret
                .versions
                .iter()
                .filter(|version| deprecated || !version.stages.is_empty())
                .map(|version| {
                    let mut out =
                        json!({"VersionId": version.id, "CreatedDate": seconds(version.created)});
                    if !version.stages.is_empty() {
                        out["VersionStages"] = json!(version.stages);
                    }
                    if let Some(at) = version.accessed {
                        out["LastAccessedDate"] = midnight(at);
                    }
                    out
                })
                .collect();
            let mut out = PAGES.of(input, "Versions", versions)?;
            (out["ARN"], out["Name"]) = (json!(secret.arn), json!(secret.name));
            Ok(out)
        })
    }
}

/// Filters are and-ed; the values of one are or-ed, by prefix, and `!` negates.
fn passes(secret: &Secret, filters: &[Value], region: &str) -> bool {
    filters.iter().all(|filter| {
        let key = need(filter, "Key");
        texts(filter, "Values")
            .iter()
            .any(|value| match value.strip_prefix('!') {
                Some(value) => !has(secret, key, value, region),
                None => has(secret, key, value, region),
            })
    })
}

fn has(secret: &Secret, key: &str, value: &str, region: &str) -> bool {
    let folded = value.to_lowercase();
    let words = |text: &str| {
        let text = text.to_lowercase();
        folded.split_whitespace().all(|word| text.contains(word))
    };
    let tag = |member: &str| {
        secret
            .tags
            .iter()
            .any(|tag| need(tag, member).starts_with(value))
    };
    let description = secret.description.as_deref().unwrap_or_default();
    match key {
        "name" => secret.name.starts_with(value),
        "description" => words(description),
        "tag-key" => tag("Key"),
        "tag-value" => tag("Value"),
        "primary-region" => region.starts_with(value),
        "owning-service" => {
            let owner = secret.owning_service();
            owner.is_some_and(|owner| owner.starts_with(value))
        }
        _ => words(&secret.name) || words(description) || tag("Key") || tag("Value"),
    }
}
