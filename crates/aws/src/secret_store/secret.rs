//! `secretsmanager.secret`: one secret with a current version.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::names::SECRET as NAME;
use async_trait::async_trait;
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use deployer_core::address::Address;
use deployer_core::capability::{SecretContent, SecretVersion};
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::graph::Output;
use deployer_core::kind::until_taken;
use deployer_core::member::binary;
use deployer_core::node::{Resource, Watch};
use deployer_core::ours::Past;
use deployer_core::spec::{EnvironmentSpec, SecretSource, SecretSpec};
use secrecy::{ExposeSecret, SecretString};

use super::calls::{SecretActual, delete_secret, retag, tags_of, tombstone};
use super::{
    Described, NOT_PINNED, Payload, current, current_of, describe, payload, value_of, versions,
};
use crate::error::{Told, code, failure, incomplete, without};
use crate::lookup::secret_values::Current;
use crate::site::prelude::*;
use crate::tags::{self, Ownership, Tags};

/// The kind of a secret's node.
pub(crate) const SECRET: &str = Secret::KIND;

/// How long a secret that was restored a moment ago may be taken for one that is scheduled for
/// deletion.
const RESTORING: Duration = Duration::from_secs(30);

/// Whether a secret is taken for one that is deleted: `InvalidRequestException` with these words.
/// The Terraform provider waits for the first two (`internal/service/secretsmanager/secret.go` of
/// hashicorp/terraform-provider-aws).
fn is_gone(error: &Error) -> bool {
    let said = error.chain().join(": ");
    let words = [
        "scheduled for deletion",
        "was deleted",
        "marked for deletion",
    ];
    said.contains("InvalidRequestException") && words.iter().any(|it| said.contains(it))
}

/// The current version and, where it is to be compared, its value.
struct Held {
    version: String,
    value: Option<SecretString>,
}

/// The `value` field as it is to be: the version that stays, a new one, or one that another node
/// makes. Nothing in it comes from a value; those are compared here and forgotten.
fn desired_version(content: &SecretContent, held: Option<&Held>) -> FieldValue {
    let new = || FieldValue::Known("new version".into());
    let stays = |held: &Held| FieldValue::Known(tags::version_text(&held.version));
    let compared = |wanted: &SecretString| match held {
        Some(held) if held.holds(wanted) => stays(held),
        Some(_) | None => new(),
    };
    match content {
        SecretContent::Keep | SecretContent::AtFirst(_) => held.map_or_else(new, stays),
        SecretContent::Exactly(wanted) => compared(wanted),
        SecretContent::From(value) => match value.known() {
            Some(wanted) => compared(&wanted),
            None => value.field(|_| "new version".into()),
        },
    }
}

impl Held {
    fn holds(&self, wanted: &SecretString) -> bool {
        let value = self.value.as_ref();
        value.is_some_and(|value| value.expose_secret() == wanted.expose_secret())
    }
}

/// A secret that is to exist with a current version.
pub(crate) struct Secret {
    clients: Arc<Clients>,
    address: Address,
    /// The manifest's name, for hints.
    key: String,
    source: SecretSource,
    ownership: Ownership,
    content: SecretContent,
    /// Whether a variable is to hold what it holds.
    by_value: bool,
    /// Whether the last look found it to be somebody else's, which is only read.
    anothers: AtomicBool,
    /// What the last look found, so that `desired` can name the version that stays.
    held: Mutex<Option<Held>>,
    output: Output<SecretVersion>,
}

impl Secret {
    pub(super) fn new(
        clients: Arc<Clients>,
        env: &EnvironmentSpec,
        secret: &SecretSpec,
        content: SecretContent,
        past: &Past,
    ) -> Self {
        let address = clients.address(SECRET, &secret.name);
        Self {
            output: Output::of(&address),
            clients,
            address,
            key: secret.key.clone(),
            source: secret.source.clone(),
            ownership: tags::ownership(env, secret.adopt, past),
            content,
            by_value: env.injects_value_of(&secret.key),
            anothers: AtomicBool::new(false),
            held: Mutex::default(),
        }
    }

    pub(super) fn output(&self) -> Output<SecretVersion> {
        self.output.clone()
    }

    fn name(&self) -> &str {
        &self.address.name
    }

    fn missing(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!("secret `{}` {what}", self.name()),
        )
        .hint(match NAME.accepts(self.name()) {
            true => self.source.remedy(&self.key),
            false => "check its name: nobody but its owner can make it".to_owned(),
        })
    }

    /// Whether it may be somebody else's.
    fn may_be_anothers(&self) -> bool {
        self.source == SecretSource::Cloud
    }

    /// Whether tasks take what is current when they start: what this program sets, it pins.
    fn is_moving(&self, actual: &SecretActual) -> bool {
        self.may_be_anothers() && actual.rotates
    }

    /// Refuses bytes where text is wanted. Who may not read it, is not asked: the app's role reads
    /// it.
    async fn is_text(&self) -> Result<()> {
        if !self.may_be_anothers() || !self.by_value {
            return Ok(());
        }
        match payload(&self.clients, self.name()).await {
            Ok(Payload::Binary) => Err(binary(self.name())),
            Ok(Payload::Text(_) | Payload::Absent) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Denied => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What it holds, where that is to be compared: asked for beside its description, so that those
    /// which are read at the same time are asked for in one call. `None` where no such call tells
    /// it.
    async fn held(&self) -> Option<Current> {
        match self.content {
            SecretContent::Keep | SecretContent::AtFirst(_) => None,
            SecretContent::Exactly(_) | SecretContent::From(_) => {
                let asked = self.clients.lookups.secret_values.ask(self.name()).await;
                asked.ok().flatten()
            }
        }
    }

    /// What is there, with its value where that is to be compared; `held` may tell it.
    async fn look(
        &self,
        secret: &DescribeSecretOutput,
        held: Option<Current>,
    ) -> Result<SecretActual> {
        let value = match (&self.content, current(secret)) {
            (SecretContent::Keep, None) => return Err(self.missing("has no current version")),
            (_, None) | (SecretContent::Keep | SecretContent::AtFirst(_), Some(_)) => None,
            (SecretContent::Exactly(_) | SecretContent::From(_), Some(version)) => {
                match held.filter(|held| held.version == version) {
                    Some(held) => held.value,
                    // Of this very version: what was described may be older than what is held now.
                    None => value_of(&self.clients, self.name(), &version).await?,
                }
            }
        };
        Ok(self.note(SecretActual::of(secret, value)))
    }

    fn note(&self, actual: SecretActual) -> SecretActual {
        let held = actual.version.clone().map(|version| Held {
            version,
            value: actual.value.clone(),
        });
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        actual
    }

    /// What to put where nothing usable is held.
    fn wanted(&self) -> Result<SecretString> {
        match &self.content {
            SecretContent::Exactly(value) | SecretContent::AtFirst(value) => Ok(value.clone()),
            SecretContent::From(value) => value.settled(),
            SecretContent::Keep => Err(self.missing("does not exist")),
        }
    }

    async fn describe(&self) -> Result<DescribeSecretOutput> {
        match describe(&self.clients, self.name()).await? {
            Described::Found(secret) => Ok(*secret),
            Described::Absent => Err(self.missing("does not exist")),
            Described::Denied(words) => Err(Error::new(
                ErrorKind::Denied,
                format!("cannot read secret `{}`: {words}", self.name()),
            )),
        }
    }

    /// Makes it where nothing has its name. `None` when something has.
    async fn make(&self, value: &SecretString, token: &Token) -> Result<Option<SecretActual>> {
        let created = self
            .clients
            .secrets
            .create_secret()
            .name(self.name())
            .client_request_token(&token.0)
            .secret_string(value.expose_secret())
            .set_tags(Some(sdk_tags(&self.ownership.tags).map_err(incomplete)?))
            .send()
            .await;
        let error = match created {
            Ok(answer) => {
                let version = answer.version_id.as_ref().unwrap_or(&token.0);
                return Ok(Some(self.holding(answer.arn(), value, version)));
            }
            Err(error) => error,
        };
        let there = match code(&error) {
            Some("ResourceExistsException") => true,
            // Said of a secret that is scheduled for deletion, and of much else: whether something
            // has the name decides.
            Some("InvalidRequestException") => {
                matches!(
                    describe(&self.clients, self.name()).await?,
                    Described::Found(_)
                )
            }
            _ => false,
        };
        if there {
            return Ok(None);
        }
        let error = failure(&error, &format!("create secret `{}`", self.name()));
        Err(without(error, value))
    }

    /// Restores what has the name, if need be, and marks it as ours.
    async fn revive(&self) -> Result<DescribeSecretOutput> {
        let secret = self.describe().await?;
        if let Some(stranger) = self.ownership.foreign(&tags_of(&secret)) {
            let refusal = stranger.refusal(format!("secret `{}`", self.name()));
            return Err(match self.may_be_anothers() {
                true => refusal.hint("this environment only reads it: its owner sets it"),
                false => refusal,
            });
        }
        if secret.deleted_date().is_some() {
            self.clients
                .secrets
                .restore_secret()
                .secret_id(self.name())
                .send()
                .await
                .told(|| format!("restore secret `{}`", self.name()))?;
        }
        let what = format!("tag secret `{}`", self.name());
        let tags = tags_of(&secret);
        let mark = || self.retag(&tags);
        until_taken(self.clients.clock(), RESTORING, is_gone, &what, mark).await?;
        self.describe().await
    }

    async fn retag(&self, actual: &Tags) -> Result<Tags> {
        let changes = self.ownership.changes(actual);
        let after = changes.applied_to(actual);
        retag(&self.clients, self.name(), changes).await?;
        Ok(after)
    }

    /// What is there after this version was put. Not read again: an answer may be from before.
    fn holding(&self, arn: Option<&str>, value: &SecretString, version: &str) -> SecretActual {
        self.note(SecretActual {
            arn: arn.unwrap_or_default().to_owned(),
            version: Some(version.to_owned()),
            value: Some(value.clone()),
            tags: self.ownership.tags.clone(),
            anothers: false,
            rotates: false,
        })
    }

    async fn put(
        &self,
        secret: &DescribeSecretOutput,
        value: &SecretString,
        token: &Token,
    ) -> Result<SecretActual> {
        let what = format!("add a version to secret `{}`", self.name());
        let put = || versions::put(&self.clients, self.name(), secret, value, token);
        let version = until_taken(self.clients.clock(), RESTORING, is_gone, &what, put).await?;
        Ok(self.holding(secret.arn(), value, &version))
    }

    pub(super) async fn put_version(
        &self,
        value: &SecretString,
        token: &Token,
    ) -> Result<SecretVersion> {
        let is_there = match self.may_be_anothers() {
            true => !matches!(
                describe(&self.clients, self.name()).await?,
                Described::Absent
            ),
            false => false,
        };
        let made = match is_there {
            true => None,
            false => self.make(value, token).await?,
        };
        let actual = match made {
            Some(made) => made,
            None => self.put(&self.revive().await?, value, token).await?,
        };
        Ok(SecretVersion {
            secret: actual.arn,
            version: actual.version.unwrap_or_else(|| token.0.clone()),
        })
    }
}

#[async_trait]
impl Resource for Secret {
    type Actual = SecretActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let (described, held) = tokio::join!(describe(&self.clients, self.name()), self.held());
        let secret = match described? {
            Described::Found(secret) => secret,
            Described::Denied(words) => return Ok(Reading::Denied(words)),
            Described::Absent => {
                return match self.content {
                    SecretContent::Keep => Err(self.missing("does not exist")),
                    SecretContent::Exactly(_)
                    | SecretContent::AtFirst(_)
                    | SecretContent::From(_) => Ok(Reading::Absent),
                };
            }
        };
        let foreign = self.ownership.foreign(&tags_of(&secret));
        let anothers = foreign.is_some() && self.may_be_anothers();
        self.anothers.store(anothers, Ordering::Relaxed);
        if let Some(stranger) = foreign.filter(|_| !anothers) {
            return Ok(Reading::Foreign(stranger));
        }
        match tombstone(&secret) {
            Some(how) if anothers => return Err(self.missing(&format!("is {how}"))),
            Some(how) => return Ok(Reading::Tombstoned(how)),
            None => {}
        }
        let looked = match self.look(&secret, held).await {
            Ok(actual) => self.is_text().await.map(|()| actual),
            Err(error) => Err(error),
        };
        match looked {
            Ok(actual) => Ok(Reading::Present(SecretActual { anothers, ..actual })),
            Err(error) if error.kind() == ErrorKind::Denied => {
                Ok(Reading::Denied(error.chain().join(": ")))
            }
            Err(error) => Err(error),
        }
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = Fields::new();
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        fields.set_value("value", desired_version(&self.content, held.as_ref()));
        if !self.anothers.load(Ordering::Relaxed) {
            tags::describe(&mut fields, &self.ownership.tags);
        }
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        actual.fields()
    }

    fn bears_mark(&self, actual: &Self::Actual) -> bool {
        !actual.anothers
    }

    fn notes(&self, actual: &Self::Actual) -> Vec<String> {
        let moves = self.is_moving(actual);
        moves.then(|| NOT_PINNED.to_owned()).into_iter().collect()
    }

    fn publish(&self, actual: &Self::Actual) {
        if let Some(version) = &actual.version {
            self.output.publish(match self.is_moving(actual) {
                true => current_of(&actual.arn),
                false => SecretVersion {
                    secret: actual.arn.clone(),
                    version: version.clone(),
                },
            });
        }
    }

    fn withdraw(&self, changes: &[FieldChange]) {
        if changes.iter().any(|change| change.field == "value") {
            self.output.withdraw();
        }
    }

    async fn create(&self, token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        if let Ok(value) = self.wanted()
            && let Some(made) = self.make(&value, token).await?
        {
            return Ok(made);
        }
        let secret = self.revive().await?;
        let actual = self.look(&secret, None).await?;
        if self.observed(&actual).get("value") != self.desired(Some(&actual)).get("value") {
            return self.put(&secret, &self.wanted()?, token).await;
        }
        Ok(actual)
    }

    async fn update(
        &self,
        actual: &Self::Actual,
        changes: &[FieldChange],
        token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        let tags = match changes.iter().any(tags::is_tag) {
            true => self.retag(&actual.tags).await?,
            false => actual.tags.clone(),
        };
        if changes.iter().any(|change| change.field == "value") {
            let secret = self.describe().await?;
            return self.put(&secret, &self.wanted()?, token).await;
        }
        Ok(SecretActual {
            tags,
            ..actual.clone()
        })
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the version that served before is there, and pinned")
    }

    async fn delete(&self, _actual: &Self::Actual, _token: &Token) -> Result<()> {
        let deleted = delete_secret(&self.clients, self.name()).await;
        deleted.told(|| format!("delete secret `{}`", self.name()))
    }

    fn guard_to_note(&self) -> Option<bool> {
        Some(self.content.is_by_hand())
    }
}

#[cfg(test)]
mod tests {
    use deployer_core::graph::Value;

    use super::*;

    fn held(value: &str) -> Held {
        Held {
            version: "v1".into(),
            value: Some(value.into()),
        }
    }

    fn made_by_another() -> Output<SecretString> {
        Output::of(&"aws/us-east-1/rds.instance/idp".parse().unwrap())
    }

    #[test]
    fn a_derived_value_that_is_not_known_yet_stands_as_known_after_apply() {
        let output = made_by_another();
        let content = SecretContent::From(Value::From(output));
        let field = desired_version(&content, Some(&held("old")));
        assert!(matches!(field, FieldValue::AfterApply { .. }), "{field}");
    }

    #[test]
    fn a_derived_value_that_is_held_already_keeps_its_version() {
        let output = made_by_another();
        output.publish("postgresql://hunter2".into());
        let content = SecretContent::From(Value::From(output));
        let same = desired_version(&content, Some(&held("postgresql://hunter2")));
        assert_eq!(same.to_string(), "version v1");
        let other = desired_version(&content, Some(&held("postgresql://old")));
        assert_eq!(other.to_string(), "new version");
        assert_eq!(desired_version(&content, None).to_string(), "new version");
    }

    #[test]
    fn what_was_generated_once_stays_whatever_it_holds() {
        let content = SecretContent::AtFirst("fresh".into());
        let field = desired_version(&content, Some(&held("old")));
        assert_eq!(field.to_string(), "version v1");
    }
}
