//! The operations of Secrets Manager that change something.

use jiff::ToSpan as _;
use serde_json::{Value, json};

use super::version::CURRENT;
use super::{Secret, Secrets, marked};
use crate::aws::error::AwsError;
use crate::aws::json::{flag, need, number, text, texts};

impl Secrets {
    pub(super) fn create(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "Name");
        check_name(name)?;
        let payload = checked_payload(input)?;
        let token = token_of(input)?;
        let mut state = self.lock();
        if let Some(secret) = state.get_mut(name) {
            if secret.deleted.is_some() {
                return Err(AwsError::new(
                    "InvalidRequestException",
                    "You can't create this secret because a secret with this name is already scheduled for deletion.",
                ));
            }
            let same = payload.as_ref().is_some_and(|payload| {
                secret
                    .versions
                    .iter()
                    .any(|v| v.id == token && v.payload == *payload)
            });
            if same {
                return Ok(json!({"ARN": secret.arn, "Name": secret.name, "VersionId": token}));
            }
            return Err(AwsError::new(
                "ResourceExistsException",
                format!("The operation failed because the secret {name} already exists."),
            ));
        }
        let now = self.clock.now();
        let tags = super::TAGS.given(input)?;
        let mut secret = Secret {
            arn: format!("{}{name}-{}", self.arn_prefix, random_suffix()),
            name: name.to_owned(),
            description: text(input, "Description").map(str::to_owned),
            kms_key: text(input, "KmsKeyId").map(str::to_owned),
            kind: text(input, "Type").map(str::to_owned),
            tags,
            created: now,
            changed: now,
            accessed: None,
            deleted: None,
            rotates: false,
            versions: Vec::new(),
        };
        let mut answer = json!({"ARN": secret.arn, "Name": secret.name});
        if let Some(payload) = payload {
            let id = secret.put_version(token, payload, &[CURRENT.to_owned()], now)?;
            answer["VersionId"] = json!(id);
        }
        state.insert(name.to_owned(), secret);
        Ok(answer)
    }

    pub(super) fn put_value(&self, input: &Value) -> Result<Value, AwsError> {
        let payload = checked_payload(input)?.ok_or_else(|| {
            AwsError::new(
                "InvalidRequestException",
                "You must provide either SecretString or SecretBinary.",
            )
        })?;
        let token = token_of(input)?;
        let mut stages = texts(input, "VersionStages");
        if stages.is_empty() {
            stages.push(CURRENT.to_owned());
        }
        self.with_live(input, |secret, now| {
            // The first value of a secret is current whatever the caller says.
            if secret.versions.is_empty() && !stages.iter().any(|stage| stage == CURRENT) {
                stages.push(CURRENT.to_owned());
            }
            let id = secret.put_version(token, payload, &stages, now)?;
            let carried = secret.versions.iter().find(|version| version.id == id);
            let carried = carried.map(|version| version.stages.clone()).unwrap_or_default();
            Ok(json!({"ARN": secret.arn, "Name": secret.name, "VersionId": id, "VersionStages": carried}))
        })
    }

    pub(super) fn move_stage(&self, input: &Value) -> Result<Value, AwsError> {
        let stage = need(input, "VersionStage");
        let (from, to) = (
            text(input, "RemoveFromVersionId"),
            text(input, "MoveToVersionId"),
        );
        let invalid = |message: String| AwsError::new("InvalidParameterException", message);
        self.with_live(input, |secret, now| {
            for id in from.iter().chain(to.iter()) {
                if !secret.versions.iter().any(|version| version.id == **id) {
                    return Err(AwsError::new(
                        "ResourceNotFoundException",
                        format!("Secrets Manager can't find the specified secret value for VersionId: {id}"),
                    ));
                }
            }
            let holder = secret.holder(stage);
            if let Some(holder) = &holder
                && from != Some(holder.as_str())
                && to != Some(holder.as_str())
            {
                return Err(invalid(format!(
                    "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to \
                     version {holder}, so you must explicitly reference that version in RemoveFromVersionId."
                )));
            }
            if let Some(from) = from.filter(|from| holder.as_deref() != Some(*from)) {
                return Err(invalid(format!(
                    "Staging label {stage} is not attached to version {from}, named in RemoveFromVersionId."
                )));
            }
            match to {
                Some(to) => secret.move_label(stage, to)?,
                None if stage == CURRENT => {
                    return Err(invalid(
                        "You can only move staging label AWSCURRENT to a different secret version. It can’t be \
                         completely removed."
                            .to_owned(),
                    ));
                }
                None => secret.drop_label(stage),
            }
            secret.changed = now;
            Ok(json!({"ARN": secret.arn, "Name": secret.name}))
        })
    }

    pub(super) fn delete(&self, input: &Value) -> Result<Value, AwsError> {
        let force = flag(input, "ForceDeleteWithoutRecovery");
        let window = number(input, "RecoveryWindowInDays");
        if force && window.is_some() {
            return Err(AwsError::new(
                "InvalidParameterException",
                "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
            ));
        }
        let days = window.unwrap_or(30);
        if !(7..=30).contains(&days) {
            return Err(AwsError::new(
                "InvalidParameterException",
                "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
            ));
        }
        let deleted = self.with(input, |secret, now| {
            if secret.deleted.is_some() && !force {
                return Err(marked());
            }
            let at = match force {
                true => now,
                false => now.checked_add((days * 24).hours()).unwrap_or(now),
            };
            secret.deleted = Some(at);
            Ok(json!({"ARN": secret.arn, "Name": secret.name, "DeletionDate": crate::aws::json::seconds(at)}))
        });
        match deleted {
            // Deleting by force what is not there is no error.
            Err(error) if force && error.code == "ResourceNotFoundException" => {
                let name = need(input, "SecretId");
                let arn = match name.starts_with("arn:") {
                    true => name.to_owned(),
                    false => format!("{}{name}-{}", self.arn_prefix, random_suffix()),
                };
                let now = crate::aws::json::seconds(self.clock.now());
                Ok(json!({"ARN": arn, "Name": name, "DeletionDate": now}))
            }
            other => other,
        }
    }

    pub(super) fn restore(&self, input: &Value) -> Result<Value, AwsError> {
        self.with(input, |secret, _| {
            secret.deleted = None;
            Ok(json!({"ARN": secret.arn, "Name": secret.name}))
        })
    }
}

fn check_name(name: &str) -> Result<(), AwsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-!".contains(c);
    if name.chars().all(allowed) {
        return Ok(());
    }
    Err(AwsError::new(
        "ValidationException",
        "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
    ))
}

pub(super) fn check_tags(tags: &[Value]) -> Result<(), AwsError> {
    let is_reserved = |tag: &Value| need(tag, "Key").to_ascii_lowercase().starts_with("aws:");
    match tags.iter().any(is_reserved) {
        true => Err(AwsError::new(
            "InvalidParameterException",
            "Tag keys beginning with aws: are reserved.",
        )),
        false if tags.len() > 50 => Err(too_many_tags()),
        false => Ok(()),
    }
}

pub(super) fn too_many_tags() -> AwsError {
    AwsError::new("InvalidParameterException", "A secret has at most 50 tags.")
}

fn checked_payload(input: &Value) -> Result<Option<super::version::Payload>, AwsError> {
    if text(input, "SecretString").is_some() && text(input, "SecretBinary").is_some() {
        return Err(AwsError::new(
            "InvalidParameterException",
            "You can't specify both a binary secret value and a string secret value in the same secret.",
        ));
    }
    Ok(Secret::payload_of(input))
}

/// The caller's token becomes the version's id. SDKs always send one; plain HTTP callers must too.
fn token_of(input: &Value) -> Result<String, AwsError> {
    match text(input, "ClientRequestToken") {
        Some(token) => Ok(token.to_owned()),
        None if Secret::payload_of(input).is_none() => Ok(uuid::Uuid::new_v4().to_string()),
        None => Err(AwsError::new(
            "InvalidRequestException",
            "You must provide a ClientRequestToken value.",
        )),
    }
}

fn random_suffix() -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    uuid::Uuid::new_v4()
        .as_bytes()
        .iter()
        .take(6)
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect()
}
