//! `secretmanager.secret`: one secret with a current version, compared in memory, pinned by its
//! number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::names::SECRET as NAME;
use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{SecretContent, SecretVersion};
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::graph::Output;
use deployer_core::kind::Ownership;
use deployer_core::member::binary;
use deployer_core::node::{Effect, Resource, Watch};
use deployer_core::ours::Stranger;
use deployer_core::spec::SecretSource;
use google_cloud_secretmanager_v1::model;
use google_cloud_wkt::FieldMask;
use secrecy::{ExposeSecret, SecretString};

use super::calls::{Store, show_regions, show_replication};
use crate::error::{self, Found};
use crate::labels;
use crate::site::prelude::*;

/// The kind in addresses.
pub(crate) const SECRET: &str = Secret::KIND;

/// The field that says where a secret is kept.
const REPLICATION: &str = "replication";

/// The field `value` where what is there is to be replaced.
const NEW_VERSION: &str = "new version";

/// The field `value` as it is to be; never derived from the value itself.
fn wanted(content: &SecretContent, there: &Holding) -> FieldValue {
    let source = match content {
        SecretContent::From(source) => Some(source),
        SecretContent::Keep | SecretContent::Exactly(_) | SecretContent::AtFirst(_) => None,
    };
    let known = |version: &SecretVersion| format!("version {}", version.version);
    match (there, source) {
        (Holding::Wanted(version), _) => FieldValue::Known(known(version)),
        (Holding::Value(version, value), Some(source)) => source.field(|wanted| {
            if same(wanted, value) {
                known(version)
            } else {
                NEW_VERSION.to_owned()
            }
        }),
        (Holding::Nothing, Some(source)) => source.field(|_| NEW_VERSION.to_owned()),
        (Holding::Nothing | Holding::Value(..), None) => FieldValue::Known(NEW_VERSION.to_owned()),
    }
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

/// A secret as it is.
#[derive(Clone, Debug)]
pub(crate) struct Actual {
    pub(crate) labels: HashMap<String, String>,
    pub(crate) etag: String,
    pub(crate) current: Option<SecretVersion>,
    /// Somebody else's: only its version counts.
    pub(crate) anothers: bool,
    pub(crate) replication: String,
}

/// What a secret holds now, for the comparison with what it is to hold; in memory only.
#[derive(Clone, Default)]
pub(super) enum Holding {
    /// Nothing that can be used, or another value.
    #[default]
    Nothing,
    /// What is asked for.
    Wanted(SecretVersion),
    /// This value: whether it is what is asked for is known later.
    Value(SecretVersion, SecretString),
}

/// One secret of the manifest.
pub(crate) struct Secret {
    pub(super) store: Store,
    pub(super) key: String,
    pub(super) source: SecretSource,
    /// Whether a variable is to hold what it holds.
    pub(super) by_value: bool,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    pub(super) content: SecretContent,
    /// Whether the last look found it to be somebody else's, which is only read.
    pub(super) anothers: AtomicBool,
    /// What was found there.
    pub(super) there: Mutex<Holding>,
    pub(super) output: Output<SecretVersion>,
}

/// The fields that labels make.
fn described(labels: &HashMap<String, String>) -> Fields {
    let mut fields = Fields::new();
    labels::describe(&mut fields, labels);
    fields
}

/// What is said of a secret that is there and empty.
const NO_VALUE: &str = "has no value that can be used";

impl Secret {
    fn wanted_labels(&self) -> HashMap<String, String> {
        self.ownership.tags.clone().into_iter().collect()
    }

    fn remember(&self, there: Holding) {
        *self.there.lock().unwrap_or_else(PoisonError::into_inner) = there;
    }

    /// The current version, compared with what is asked for as far as that is known. One call in
    /// the usual case: with the value where that is compared, without it where it is not.
    async fn look(&self) -> Result<(Option<SecretVersion>, Holding)> {
        if self.is_only_kept() && self.by_value && self.source == SecretSource::Cloud {
            return self.text().await;
        }
        if self.is_only_kept() {
            let current = self.store.current().await?;
            let there = current.clone().map_or(Holding::Nothing, Holding::Wanted);
            return Ok((current, there));
        }
        let Some((current, value)) = self.store.current_value().await? else {
            return Ok((None, Holding::Nothing));
        };
        let there = match (&self.content, value) {
            (SecretContent::From(_), Some(value)) => Holding::Value(current.clone(), value),
            (SecretContent::Exactly(wanted), Some(value)) if same(wanted, &value) => {
                Holding::Wanted(current.clone())
            }
            _ => Holding::Nothing,
        };
        Ok((Some(current), there))
    }

    fn is_anothers(&self) -> bool {
        self.anothers.load(Ordering::Relaxed)
    }

    /// Where the manifest wants it to be kept. `None` where that is all one.
    fn replication(&self) -> Option<String> {
        let wanted = &self.store.project.section.secret_replication;
        (!wanted.is_empty()).then(|| show_regions(wanted.iter().map(String::as_str)))
    }

    fn is_only_kept(&self) -> bool {
        match self.content {
            SecretContent::Keep | SecretContent::AtFirst(_) => true,
            SecretContent::Exactly(_) | SecretContent::From(_) => false,
        }
    }

    /// The current version of what somebody stored, which must be text. Who may not read it, is not
    /// asked: the service's account reads it.
    async fn text(&self) -> Result<(Option<SecretVersion>, Holding)> {
        let current = match self.store.current_value().await {
            Ok(Some((_, None))) => return Err(binary(&self.address.name)),
            Ok(current) => current.map(|(version, _)| version),
            Err(error) if error.kind() == ErrorKind::Denied => self.store.current().await?,
            Err(error) => return Err(error),
        };
        let there = current.clone().map_or(Holding::Nothing, Holding::Wanted);
        Ok((current, there))
    }

    /// Whether a secret with these labels is somebody else's and only read; `Some` says why it may
    /// not be there at all.
    fn judge(&self, labels: &HashMap<String, String>) -> (bool, Option<Stranger>) {
        let objection = self.ownership.foreign(&tags(labels));
        // What holds a value of ours is never another's.
        let may_be = self.source == SecretSource::Cloud && self.is_only_kept();
        let anothers = may_be && objection.is_some();
        self.anothers.store(anothers, Ordering::Relaxed);
        (anothers, objection.filter(|_| !anothers))
    }

    /// Whether its value is made or given anew by each apply.
    fn is_given(&self) -> bool {
        match &self.content {
            SecretContent::Exactly(_) | SecretContent::From(_) => true,
            SecretContent::Keep | SecretContent::AtFirst(_) => false,
        }
    }

    fn disabled(&self, version: &str) -> Error {
        let name = &self.address.name;
        Error::new(
            ErrorKind::Conflict,
            format!("secret `{name}` has no version that can be used: version {version} is disabled"),
        )
        .hint(format!(
            "enable it: `gcloud secrets versions enable {version} --secret={name}`; or destroy it, where its value is \
             never wanted again"
        ))
    }

    fn missing(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!("secret `{}` {what}", self.address.name),
        )
        .hint(match NAME.accepts(&self.address.name) {
            true => self.source.remedy(&self.key),
            false => "check its name: nobody but its owner can make it".to_owned(),
        })
    }

    async fn write(&self) -> Result<SecretVersion> {
        match &self.content {
            SecretContent::Exactly(value) => self.store.ensure_value(value).await,
            SecretContent::AtFirst(value) => match self.store.newest().await? {
                Some(newest) => Ok(newest),
                None => self.store.add(value).await,
            },
            SecretContent::Keep => {
                let current = self.store.current().await?;
                current.ok_or_else(|| self.missing(NO_VALUE))
            }
            SecretContent::From(source) => self.store.ensure_value(&source.settled()?).await,
        }
    }
}

#[async_trait]
impl Resource for Secret {
    type Actual = Actual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Actual>> {
        let keeps = matches!(self.content, SecretContent::Keep);
        let (said, seen) = tokio::join!(self.store.listed(), self.look());
        // A listing may lag: it is believed where nothing follows from it, or what follows looks
        // once more.
        let believed = said.filter(|said| {
            let holds = matches!(&seen, Ok((_, Holding::Wanted(_) | Holding::Value(..))));
            said.certain || holds && labels::are_on(&self.ownership, &said.secret.labels)
        });
        let found = match believed {
            Some(believed) => Found::Here(believed.secret),
            None => self.store.secret().await?,
        };
        let secret = match found {
            Found::Here(secret) => secret,
            Found::Denied(why) => return Ok(Reading::Denied(why)),
            Found::Absent if keeps => return Err(self.missing("does not exist")),
            Found::Absent => return Ok(Reading::Absent),
        };
        let (anothers, objection) = self.judge(&secret.labels);
        if let Some(why) = objection {
            return Ok(Reading::Foreign(why));
        }
        let (current, there) = match seen {
            Ok(seen) => seen,
            Err(error) if error.kind() == ErrorKind::Denied => {
                return Ok(Reading::Denied(error::in_words(&error)));
            }
            Err(error) => return Err(error),
        };
        if current.is_none() && !self.is_given() {
            // What was made once, here or by somebody, is not made anew: something may depend on
            // it.
            if let Some(version) = self.store.newest_disabled().await? {
                return Err(self.disabled(&version));
            }
        }
        if keeps && current.is_none() {
            return Err(self.missing(NO_VALUE));
        }
        self.remember(there);
        Ok(Reading::Present(Actual {
            replication: show_replication(&secret),
            labels: secret.labels,
            etag: secret.etag,
            current,
            anothers,
        }))
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = match self.is_anothers() {
            true => Fields::new(),
            false => described(&self.wanted_labels()),
        };
        if let (Some(regions), false) = (self.replication(), self.is_anothers()) {
            fields.set(REPLICATION, regions);
        }
        let there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        fields.set_value("value", wanted(&self.content, &there));
        fields
    }

    /// Where a secret is kept is settled when it is made.
    fn cost(&self, change: &FieldChange, _there: &Self::Actual) -> Effect {
        match change.field.as_str() {
            REPLICATION => Effect::LosesData,
            _ => Effect::InPlace,
        }
    }

    fn bears_mark(&self, actual: &Actual) -> bool {
        !actual.anothers
    }

    fn observed(&self, actual: &Actual) -> Fields {
        let mut fields = match actual.anothers {
            true => Fields::new(),
            false => described(&actual.labels),
        };
        if self.replication().is_some() && !actual.anothers {
            fields.set(REPLICATION, &actual.replication);
        }
        fields.set_some(
            "value",
            actual
                .current
                .as_ref()
                .map(|version| format!("version {}", version.version)),
        );
        fields
    }

    fn publish(&self, actual: &Actual) {
        match &actual.current {
            Some(version) => self.output.publish(version.clone()),
            None => self.output.withdraw(),
        }
    }

    fn withdraw(&self, changes: &[FieldChange]) {
        if changes.iter().any(|change| change.field == "value") {
            self.output.withdraw();
        }
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Actual> {
        self.store.ensure(&self.ownership).await?;
        let current = self.write().await?;
        self.remember(Holding::Wanted(current.clone()));
        Ok(Actual {
            labels: self.wanted_labels(),
            etag: String::new(),
            current: Some(current),
            anothers: false,
            replication: self.replication().unwrap_or_default(),
        })
    }

    async fn update(
        &self,
        actual: &Actual,
        changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Actual> {
        let mut actual = actual.clone();
        if changes
            .iter()
            .any(|change| change.field.starts_with("tags."))
        {
            let merged = labels::merged(&self.ownership, &actual.labels);
            let updated = label(&self.store, &actual, merged).await?;
            actual.labels = updated.labels;
            actual.etag = updated.etag;
        }
        if changes.iter().any(|change| change.field == "value") {
            self.store.ensure(&self.ownership).await?;
            let current = self.write().await?;
            self.remember(Holding::Wanted(current.clone()));
            actual.current = Some(current);
        }
        Ok(actual)
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the version that served before is there, and pinned")
    }

    async fn delete(&self, actual: &Actual, _token: &Token) -> Result<()> {
        delete(&self.store, actual).await
    }

    fn guard_to_note(&self) -> Option<bool> {
        Some(self.content.is_by_hand())
    }
}

/// Gives these labels to what was read, and to nothing that has taken its place since.
pub(super) async fn label(
    store: &Store,
    actual: &Actual,
    labels: HashMap<String, String>,
) -> Result<model::Secret> {
    let secret = model::Secret::new()
        .set_name(store.path())
        .set_labels(labels)
        .set_etag(&actual.etag);
    let secrets = store.project.clients.secrets.changing().await;
    secrets
        .update_secret()
        .set_secret(secret)
        .set_update_mask(FieldMask::default().set_paths(["labels"]))
        .send()
        .await
        .map_err(|error| error::failed(error, &store.cannot("label")))
}

/// Deletes what was read, and nothing that has taken its place since.
pub(super) async fn delete(store: &Store, actual: &Actual) -> Result<()> {
    let outcome = store
        .project
        .clients
        .secrets
        .changing()
        .await
        .delete_secret()
        .set_name(store.path())
        .set_etag(&actual.etag)
        .send()
        .await;
    error::optional(outcome, &store.cannot("delete")).map(|_| ())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
