//! A secret as Secrets Manager describes it; reading, releasing and deleting one by its name.

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use deployer_core::error::Result;
use deployer_core::fields::Fields;
use deployer_core::node::Reading;
use secrecy::SecretString;

use super::{Described, current, describe, rotates};
use crate::client::Clients;
use crate::error::{Refusal, Told, code};
use crate::tagging::TagApi;
use crate::tags::{self, TagChanges, Tags};

/// Days in which a deleted secret can be restored; the shortest that Secrets Manager offers.
const RECOVERY_DAYS: i64 = 7;

/// A secret as Secrets Manager has it. The value only where it is to be compared, and never in
/// fields or `Debug`.
#[derive(Clone, Debug)]
pub(crate) struct SecretActual {
    pub(super) arn: String,
    pub(super) version: Option<String>,
    pub(super) value: Option<SecretString>,
    pub(super) tags: Tags,
    /// Somebody else's: only its version counts.
    pub(super) anothers: bool,
    /// Whether it is rotated.
    pub(super) rotates: bool,
}

impl SecretActual {
    pub(super) fn of(secret: &DescribeSecretOutput, value: Option<SecretString>) -> Self {
        Self {
            arn: secret.arn().unwrap_or_default().to_owned(),
            version: current(secret),
            value,
            tags: tags_of(secret),
            anothers: false,
            rotates: rotates(secret),
        }
    }

    /// Its fields, as compared.
    pub(crate) fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set_some("value", self.version.as_deref().map(tags::version_text));
        if !self.anothers {
            tags::describe(&mut fields, &self.tags);
        }
        fields
    }
}

pub(super) fn tags_of(secret: &DescribeSecretOutput) -> Tags {
    tags::from_pairs(secret.tags().iter().map(|tag| (tag.key(), tag.value())))
}

/// Reads a secret, not its value.
pub(crate) async fn read_secret(clients: &Clients, name: &str) -> Result<Reading<SecretActual>> {
    Ok(match describe(clients, name).await? {
        Described::Absent => Reading::Absent,
        Described::Denied(words) => Reading::Denied(words),
        Described::Found(secret) => match tombstone(&secret) {
            Some(how) => Reading::Tombstoned(how),
            None => Reading::Present(SecretActual::of(&secret, None)),
        },
    })
}

pub(super) fn tombstone(secret: &DescribeSecretOutput) -> Option<String> {
    let at = jiff::Timestamp::from_second(secret.deleted_date()?.secs()).ok()?;
    Some(format!("scheduled for deletion ({at})"))
}

/// Schedules a secret for deletion. Succeeds when it is scheduled or gone already.
pub(crate) async fn delete_secret(clients: &Clients, name: &str) -> Result<(), Refusal> {
    let deleted = clients
        .secrets
        .delete_secret()
        .secret_id(name)
        .recovery_window_in_days(RECOVERY_DAYS)
        .send()
        .await;
    let Err(error) = deleted else {
        return Ok(());
    };
    let gone = match code(&error) {
        Some("ResourceNotFoundException") => true,
        Some("InvalidRequestException") => matches!(
            describe(clients, name).await?,
            Described::Found(secret) if secret.deleted_date().is_some()
        ),
        _ => false,
    };
    if gone { Ok(()) } else { Err(error.into()) }
}

/// Changes the tags of a secret; writes nothing where there is nothing to change.
pub(super) async fn retag(clients: &Clients, name: &str, changes: TagChanges) -> Result<()> {
    let written = TagApi::SecretsManager.write(clients, name, changes).await;
    written.told(|| format!("tag secret `{name}`"))
}
