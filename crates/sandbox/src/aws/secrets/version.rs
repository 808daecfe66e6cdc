//! Versions of a secret and the rules by which staging labels move.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Secret;
use crate::aws::error::AwsError;
use crate::aws::json::{copy, seconds};

/// Where the current version is.
pub const CURRENT: &str = "AWSCURRENT";
/// Where the one before it is.
pub const PREVIOUS: &str = "AWSPREVIOUS";
/// How many versions a secret keeps; older ones without a label go first.
const MAX_VERSIONS: usize = 100;
/// How many labels a version, and a secret, may carry.
const MAX_STAGES: usize = 20;

/// What a version holds: exactly `SecretString` or `SecretBinary`.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Payload {
    member: &'static str,
    value: String,
}

impl Payload {
    /// The payload of a request. `None` when it has none.
    pub fn read(input: &Value) -> Option<Self> {
        ["SecretString", "SecretBinary"]
            .into_iter()
            .find_map(|member| {
                let value = input.get(member)?.as_str()?.to_owned();
                Some(Self { member, value })
            })
    }

    /// Text.
    pub fn text(value: &str) -> Self {
        Self {
            member: "SecretString",
            value: value.to_owned(),
        }
    }

    /// Writes it into an answer.
    pub fn write(&self, to: &mut Map<String, Value>) {
        to.insert(self.member.to_owned(), Value::String(self.value.clone()));
    }
}

/// One version.
#[derive(Serialize)]
pub struct Version {
    /// The client's token, or a random id.
    pub id: String,
    /// Its value.
    pub payload: Payload,
    /// The labels it carries now.
    pub stages: Vec<String>,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// When it was last read.
    pub accessed: Option<jiff::Timestamp>,
}

impl Secret {
    /// Puts a version under `stages`, or finds that this very call was made before.
    /// Returns its id.
    pub fn put_version(
        &mut self,
        id: String,
        payload: Payload,
        stages: &[String],
        now: jiff::Timestamp,
    ) -> Result<String, AwsError> {
        if let Some(version) = self.versions.iter().find(|version| version.id == id) {
            if version.payload == payload {
                return Ok(id);
            }
            return Err(AwsError::new(
                "ResourceExistsException",
                format!(
                    "You can't use ClientRequestToken {id} because that value is already in use for a version of \
                         secret {}.",
                    self.arn
                ),
            ));
        }
        self.make_room()?;
        self.versions.push(Version {
            id: id.clone(),
            payload,
            stages: Vec::new(),
            created: now,
            accessed: None,
        });
        for stage in stages {
            self.move_label(stage, &id)?;
        }
        self.changed = now;
        Ok(id)
    }

    /// Moves a label to a version. AWSCURRENT leaves AWSPREVIOUS behind.
    pub fn move_label(&mut self, stage: &str, to: &str) -> Result<(), AwsError> {
        let labels: usize = self
            .versions
            .iter()
            .map(|version| version.stages.len())
            .sum();
        let holder = self.holder(stage);
        if holder.as_deref() == Some(to) {
            return Ok(());
        }
        if holder.is_none() && labels >= MAX_STAGES {
            return Err(AwsError::new(
                "LimitExceededException",
                format!("the secret has {MAX_STAGES} staging labels already"),
            ));
        }
        if stage == CURRENT
            && let Some(from) = holder
        {
            self.drop_label(PREVIOUS);
            self.attach(PREVIOUS, &from);
        }
        self.drop_label(stage);
        self.attach(stage, to);
        Ok(())
    }

    /// Which version carries a label.
    pub fn holder(&self, stage: &str) -> Option<String> {
        let version = self
            .versions
            .iter()
            .find(|version| version.stages.iter().any(|s| s == stage))?;
        Some(version.id.clone())
    }

    /// Takes a label off whichever version has it.
    pub fn drop_label(&mut self, stage: &str) {
        for version in &mut self.versions {
            version.stages.retain(|have| have != stage);
        }
    }

    fn attach(&mut self, stage: &str, id: &str) {
        if let Some(version) = self.versions.iter_mut().find(|version| version.id == id) {
            version.stages.push(stage.to_owned());
        }
    }

    fn make_room(&mut self) -> Result<(), AwsError> {
        if self.versions.len() < MAX_VERSIONS {
            return Ok(());
        }
        match self
            .versions
            .iter()
            .position(|version| version.stages.is_empty())
        {
            Some(oldest) => {
                self.versions.remove(oldest);
                Ok(())
            }
            None => Err(AwsError::new(
                "LimitExceededException",
                format!("the secret has {MAX_VERSIONS} labelled versions already"),
            )),
        }
    }

    /// Finds the version that VersionId and VersionStage name; AWSCURRENT without either.
    pub fn find_version(&mut self, input: &Value) -> Result<&mut Version, AwsError> {
        let id = input
            .get("VersionId")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let stage = input
            .get("VersionStage")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let absent = |what: String| {
            AwsError::new(
                "ResourceNotFoundException",
                format!("Secrets Manager can't find the specified secret value for {what}"),
            )
        };
        if let Some(id) = id {
            let version = self
                .versions
                .iter_mut()
                .find(|version| version.id == id)
                .ok_or_else(|| absent(format!("VersionId: {id}")))?;
            if let Some(stage) = stage.filter(|stage| !version.stages.contains(stage)) {
                return Err(AwsError::new(
                    "InvalidRequestException",
                    format!(
                        "You provided a VersionStage that is not associated to the provided VersionId: {stage}"
                    ),
                ));
            }
            return Ok(version);
        }
        let stage = stage.unwrap_or_else(|| CURRENT.to_owned());
        self.versions
            .iter_mut()
            .find(|version| version.stages.contains(&stage))
            .ok_or_else(|| absent(format!("staging label: {stage}")))
    }

    /// Labels by version id; versions without a label are left out, as the vendor does.
    pub fn stages(&self) -> Value {
        self.versions
            .iter()
            .filter(|version| !version.stages.is_empty())
            .map(|version| (version.id.clone(), json!(version.stages)))
            .collect::<Map<_, _>>()
            .into()
    }

    /// What DescribeSecret and ListSecrets have in common.
    pub fn summary(&self) -> Map<String, Value> {
        let mut out = Map::new();
        let known = json!({
            "ARN": self.arn,
            "Name": self.name,
            "Description": self.description,
            "KmsKeyId": self.kms_key,
            "Type": self.kind,
            "LastChangedDate": seconds(self.changed),
            "LastAccessedDate": self.accessed.map(midnight),
            "DeletedDate": self.deleted_date(),
            "CreatedDate": seconds(self.created),
            "Tags": self.tags,
            "RotationEnabled": self.rotates.then_some(true),
            "OwningService": self.owning_service(),
        });
        copy(
            &known,
            &[
                "ARN",
                "Name",
                "Description",
                "KmsKeyId",
                "Type",
                "LastChangedDate",
                "LastAccessedDate",
                "DeletedDate",
                "CreatedDate",
                "Tags",
                "RotationEnabled",
                "OwningService",
            ],
            &mut out,
        );
        out
    }

    /// The service that manages it: "the secret name includes the ID of the service", `rds!db-...`
    /// (user guide, "Secrets managed by other AWS services").
    pub fn owning_service(&self) -> Option<&str> {
        self.name.split_once('!').map(|(service, _)| service)
    }

    fn deleted_date(&self) -> Option<Value> {
        self.deleted.map(seconds)
    }
}

/// The vendor tells the day of the last access, not the time.
pub fn midnight(at: jiff::Timestamp) -> Value {
    json!((at.as_second() - at.as_second().rem_euclid(86_400)) as f64)
}
