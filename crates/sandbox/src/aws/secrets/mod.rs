//! Secrets Manager: secrets, their versions and the staging labels that move between them.

mod read;
mod version;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;
use serde_json::Value;

use super::error::AwsError;
use super::json::need;
use super::pages::Pages;
use super::tagging::Tagged;
use super::tags::Tags;
use crate::Host;
use crate::clock::Clock;
use version::{CURRENT, Payload, Version};

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Secrets {
    clock: Clock,
    arn_prefix: String,
    region: String,
    state: Arc<Mutex<BTreeMap<String, Secret>>>,
}

/// One secret, by name.
#[derive(Serialize)]
struct Secret {
    arn: String,
    name: String,
    description: Option<String>,
    kms_key: Option<String>,
    kind: Option<String>,
    tags: Vec<Value>,
    created: jiff::Timestamp,
    changed: jiff::Timestamp,
    accessed: Option<jiff::Timestamp>,
    /// When it will be gone; it is scheduled for deletion then.
    deleted: Option<jiff::Timestamp>,
    /// Whether its owner rotates it.
    rotates: bool,
    /// Oldest first.
    versions: Vec<Version>,
}

/// Why a task cannot have a value, in the words of GetSecretValue.
pub type Resolved = Result<String, AwsError>;

impl Secrets {
    /// No secrets yet.
    pub fn new(host: &Host) -> Self {
        Self {
            clock: host.clock.clone(),
            arn_prefix: format!(
                "arn:aws:secretsmanager:{}:{}:secret:",
                host.region, host.account
            ),
            region: host.region.clone(),
            state: Arc::default(),
        }
    }

    /// The names of all secrets, those scheduled for deletion included.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Every secret with its tags, those scheduled for deletion included.
    pub fn tagged(&self) -> Vec<Tagged> {
        let secrets = self.lock();
        let all = secrets.values();
        all.map(|it| TAGS.tagged(&it.arn, &it.tags)).collect()
    }

    /// Rotates a secret, as its owner's function does or the service that manages it. The version
    /// before carries `AWSPREVIOUS` alone, and the one before that goes: "Versions that don't have
    /// staging labels are considered deprecated, and Secrets Manager can delete them" (user guide,
    /// "What's in a Secrets Manager secret?"). `false` when there is none.
    pub fn rotate(&self, name: &str, value: &str) -> bool {
        let mut state = self.lock();
        let Some(secret) = state.get_mut(name) else {
            return false;
        };
        secret.rotates = true;
        let id = uuid::Uuid::new_v4().to_string();
        let payload = Payload::text(value);
        let now = self.clock.now();
        let put = secret.put_version(id, payload, &[CURRENT.to_owned()], now);
        secret.versions.retain(|version| !version.stages.is_empty());
        put.is_ok()
    }

    /// Everything that there is, as data.
    pub(crate) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }

    /// Carries out an operation that the schema has let through.
    pub fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match operation {
            "BatchGetSecretValue" => self.batch_get(input),
            "CreateSecret" => self.create(input),
            "DeleteSecret" => self.delete(input),
            "DescribeSecret" => self.describe(input),
            "GetSecretValue" => self.get_value(input),
            "ListSecretVersionIds" => self.list_versions(input),
            "ListSecrets" => self.list(input),
            "PutSecretValue" => self.put_value(input),
            "RestoreSecret" => self.restore(input),
            "UpdateSecretVersionStage" => self.move_stage(input),
            operation => {
                let mut state = self.lock();
                let answer = TAGS.call(operation, input, |id| self.tags_at(&mut state, id));
                answer.unwrap_or_else(|| Err(AwsError::new("UnknownOperationException", operation)))
            }
        }
    }

    /// The value behind a container's `valueFrom`: a name or an ARN, with
    /// `:json-key:version-stage:version-id` behind it.
    pub fn resolve(&self, value_from: &str) -> Resolved {
        let (id, key, stage, version) = self.split(value_from);
        let mut request = serde_json::json!({"SecretId": id});
        if !stage.is_empty() {
            request["VersionStage"] = Value::String(stage);
        }
        if !version.is_empty() {
            request["VersionId"] = Value::String(version);
        }
        let value = self.get_value(&request)?;
        let text = super::json::text(&value, "SecretString").unwrap_or_default();
        if key.is_empty() {
            return Ok(text.to_owned());
        }
        let missing = || {
            AwsError::new(
                "ResourceInitializationError",
                format!("retrieved secret from Secrets Manager did not contain json key {key}"),
            )
        };
        let fields: Value = serde_json::from_str(text).map_err(|_| missing())?;
        match fields.get(&key).ok_or_else(missing)? {
            Value::String(text) => Ok(text.clone()),
            other => Ok(other.to_string()),
        }
    }

    fn split(&self, value_from: &str) -> (String, String, String, String) {
        if !value_from.starts_with("arn:") {
            return (
                value_from.to_owned(),
                String::new(),
                String::new(),
                String::new(),
            );
        }
        let parts: Vec<&str> = value_from.split(':').collect();
        let part = |index: usize| parts.get(index).copied().unwrap_or_default().to_owned();
        let id = parts.iter().take(7).copied().collect::<Vec<_>>().join(":");
        (id, part(7), part(8), part(9))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Secret>> {
        let mut state = self
            .state
            .lock()
            .expect("no panic while the secrets are held");
        let now = self.clock.now();
        state.retain(|_, secret| secret.deleted.is_none_or(|at| at > now));
        state
    }

    /// The tags of a secret that is not scheduled for deletion.
    fn tags_at<'a>(
        &self,
        state: &'a mut BTreeMap<String, Secret>,
        id: &str,
    ) -> Result<&'a mut Vec<Value>, AwsError> {
        let mut secrets = state.values_mut();
        match secrets.find(|it| it.answers_to(id, &self.arn_prefix)) {
            Some(secret) if secret.deleted.is_some() => Err(marked()),
            Some(secret) => Ok(&mut secret.tags),
            None => Err(not_found()),
        }
    }

    /// Runs `act` on the secret that `SecretId` names, also when it is scheduled for deletion.
    fn with<T>(
        &self,
        input: &Value,
        act: impl FnOnce(&mut Secret, jiff::Timestamp) -> Result<T, AwsError>,
    ) -> Result<T, AwsError> {
        let mut state = self.lock();
        let id = need(input, "SecretId");
        let secret = state
            .values_mut()
            .find(|secret| secret.answers_to(id, &self.arn_prefix))
            .ok_or_else(not_found)?;
        act(secret, self.clock.now())
    }

    /// The same, but refuses one that is scheduled for deletion.
    fn with_live<T>(
        &self,
        input: &Value,
        act: impl FnOnce(&mut Secret, jiff::Timestamp) -> Result<T, AwsError>,
    ) -> Result<T, AwsError> {
        self.with(input, |secret, now| {
            if secret.deleted.is_some() {
                return Err(marked());
            }
            act(secret, now)
        })
    }
}

impl Secret {
    /// A name, a full ARN, or an ARN without its random suffix.
    fn answers_to(&self, id: &str, arn_prefix: &str) -> bool {
        self.name == id
            || self.arn == id
            || id
                .strip_prefix(arn_prefix)
                .is_some_and(|name| name == self.name)
    }

    fn payload_of(input: &Value) -> Option<Payload> {
        Payload::read(input)
    }
}

const PAGES: Pages = Pages {
    members: ("MaxResults", "NextToken"),
    size: 100,
    wrong: || AwsError::new("InvalidNextTokenException", "Invalid token."),
};

const TAGS: Tags = Tags {
    service: "secretsmanager",
    members: ("SecretId", "TagKeys"),
    check: write::check_tags,
    too_many: write::too_many_tags,
    ..Tags::LISTED
};

fn not_found() -> AwsError {
    AwsError::new(
        "ResourceNotFoundException",
        "Secrets Manager can't find the specified secret.",
    )
}

fn marked() -> AwsError {
    AwsError::new(
        "InvalidRequestException",
        "You can't perform this operation on the secret because it was marked for deletion.",
    )
}
