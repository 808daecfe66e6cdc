//! Secrets in Secret Manager: declared, compared in memory, pinned by version number.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use deployer_core::address::Address;
use deployer_core::capability::{SecretContent, SecretStatus, SecretStore, SecretVersion};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Graph, Output};
use deployer_core::node::{Reading, Resource, Token, Watch};
use deployer_core::spec::{EnvironmentSpec, SecretSpec};
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_secretmanager_v1::model;
use google_cloud_secretmanager_v1::model::secret_version::State;
use google_cloud_wkt::FieldMask;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::error::{self, Found};
use crate::labels::{self, Owner};
use crate::project::{Project, short};

/// The kind in addresses.
pub(crate) const KIND: &str = "secretmanager.secret";

/// Secret Manager behind [`SecretStore`].
pub(crate) struct Secrets {
    pub(crate) project: Arc<Project>,
}

#[async_trait]
impl SecretStore for Secrets {
    fn secret(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        secret: &SecretSpec,
        content: SecretContent,
    ) -> Output<SecretVersion> {
        let address = Address::new(&self.project.target, KIND, &secret.name);
        let output = Output::of(&address);
        let labels = labels::of(env);
        graph.resource(|_| Secret {
            store: Store::new(&self.project, &secret.name),
            key: secret.key.clone(),
            owner: Owner::wanted(&labels, secret.adopt),
            address,
            labels,
            content,
            satisfied: Mutex::default(),
            output: output.clone(),
        });
        output
    }

    async fn status(&self, name: &str) -> Result<Option<SecretStatus>> {
        let store = Store::new(&self.project, name);
        let Found::Here(versions) = error::found(
            store.enabled_versions().await,
            &format!("cannot list the versions of secret `{name}`"),
        )?
        else {
            return match store.secret().await? {
                Found::Absent => Ok(None),
                Found::Denied(why) => Err(denied(name, &why)),
                Found::Here(_) => Err(denied(name, "its versions cannot be listed")),
            };
        };
        let newest = versions.iter().max_by_key(|version| number(&version.name));
        Ok(Some(SecretStatus {
            version: newest
                .map(|version| self.project.names.secret_version(&version.name))
                .transpose()?,
            changed: newest.and_then(|version| moment(version.create_time.as_ref())),
            versions: versions.len(),
        }))
    }

    async fn value(&self, name: &str) -> Result<Option<SecretString>> {
        let store = Store::new(&self.project, name);
        match store.current().await? {
            Some(version) => store.read_value(&version.version).await.map(Some),
            None => Ok(None),
        }
    }

    async fn put_version(
        &self,
        env: &EnvironmentSpec,
        secret: &SecretSpec,
        value: &SecretString,
        _token: &Token,
    ) -> Result<SecretVersion> {
        let labels = labels::of(env);
        let store = Store::new(&self.project, &secret.name);
        store
            .ensure(&labels, &Owner::wanted(&labels, secret.adopt))
            .await?;
        store.ensure_value(value).await
    }
}

/// The calls that concern one secret.
struct Store {
    project: Arc<Project>,
    name: String,
}

impl Store {
    fn new(project: &Arc<Project>, name: &str) -> Self {
        Self {
            project: Arc::clone(project),
            name: name.to_owned(),
        }
    }

    fn path(&self) -> String {
        self.project.names.secret(&self.name)
    }

    fn cannot(&self, what: &str) -> String {
        format!("cannot {what} secret `{}`", self.name)
    }

    async fn secret(&self) -> Result<Found<model::Secret>> {
        let outcome = self
            .project
            .clients
            .secrets
            .get_secret()
            .set_name(self.path())
            .send()
            .await;
        error::found(outcome, &self.cannot("read"))
    }

    /// Every version that can be used.
    async fn enabled_versions(&self) -> Result<Vec<model::SecretVersion>, error::CloudError> {
        let mut pages = self
            .project
            .clients
            .secrets
            .list_secret_versions()
            .set_parent(self.path())
            .set_filter("state:ENABLED")
            .by_item();
        let mut versions = Vec::new();
        while let Some(version) = pages.next().await {
            let version = version?;
            if version.state == State::Enabled {
                versions.push(version);
            }
        }
        Ok(versions)
    }

    /// The newest version that can be used. One call in the usual case: only when the latest one is disabled or
    /// destroyed are the others looked through. `None` when the secret or such a version is absent.
    async fn current(&self) -> Result<Option<SecretVersion>> {
        let action = self.cannot("read the current version of");
        let latest = self
            .project
            .clients
            .secrets
            .get_secret_version()
            .set_name(format!("{}/versions/latest", self.path()))
            .send()
            .await;
        let Some(latest) = error::optional(latest, &action)? else {
            return Ok(None);
        };
        let newest = if latest.state == State::Enabled {
            Some(latest)
        } else {
            let versions = error::optional(self.enabled_versions().await, &action)?;
            versions
                .unwrap_or_default()
                .into_iter()
                .max_by_key(|version| number(&version.name))
        };
        newest
            .map(|version| self.project.names.secret_version(&version.name))
            .transpose()
    }

    /// The value of a version.
    ///
    /// Errors: unavailable when it arrives damaged.
    async fn read_value(&self, version: &str) -> Result<SecretString> {
        let action = self.cannot(&format!("read version {version} of"));
        let payload = self
            .project
            .clients
            .secrets
            .access_secret_version()
            .set_name(format!("{}/versions/{version}", self.path()))
            .send()
            .await
            .map_err(|error| error::failed(error, &action))?
            .payload
            .unwrap_or_default();
        if payload
            .data_crc32c
            .is_some_and(|sum| sum != checksum(&payload.data))
        {
            return Err(Error::new(ErrorKind::Unavailable, action).because(
                "the value was damaged on its way: its checksum does not fit".to_owned(),
            ));
        }
        // Not by way of `String::from_utf8`, whose error would carry the value.
        match std::str::from_utf8(&payload.data) {
            Ok(text) => Ok(SecretString::from(text.to_owned())),
            Err(_) => Err(Error::new(ErrorKind::Rejected, action)
                .because("the value is not UTF-8 text".to_owned())),
        }
    }

    async fn add(&self, value: &SecretString) -> Result<SecretVersion> {
        let data = Bytes::copy_from_slice(value.expose_secret().as_bytes());
        let sum = checksum(&data);
        let version = self
            .project
            .clients
            .secrets
            .add_secret_version()
            .set_parent(self.path())
            .set_payload(
                model::SecretPayload::new()
                    .set_data(data)
                    .set_data_crc32c(sum),
            )
            .send()
            .await
            .map_err(|error| error::failed(error, &self.cannot("add a version to")))?;
        self.project.names.secret_version(&version.name)
    }

    /// Adds a version unless the current one holds this value: Google takes no idempotency token here, so this is what
    /// makes a repeat after a lost reply change nothing.
    async fn ensure_value(&self, value: &SecretString) -> Result<SecretVersion> {
        if let Some(current) = self.current().await? {
            match self.read_value(&current.version).await {
                Ok(there) if there.expose_secret() == value.expose_secret() => return Ok(current),
                Ok(_) => {}
                // Who may only write, or finds something unreadable, still gets a new version.
                Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Rejected) => {}
                Err(error) => return Err(error),
            }
        }
        self.add(value).await
    }

    /// Makes the secret when it is absent.
    ///
    /// Errors: conflict, when there is one that is not `owner`'s.
    async fn ensure(&self, labels: &BTreeMap<String, String>, owner: &Owner) -> Result<()> {
        match self.secret().await? {
            Found::Here(secret) => return self.ours(&secret, owner),
            Found::Denied(why) => return Err(denied(&self.name, &why)),
            Found::Absent => {}
        }
        let automatic =
            model::Replication::new().set_automatic(model::replication::Automatic::new());
        let outcome = self
            .project
            .clients
            .secrets
            .create_secret()
            .set_parent(self.project.names.project())
            .set_secret_id(&self.name)
            .set_secret(
                model::Secret::new()
                    .set_replication(automatic)
                    .set_labels(labels.clone()),
            )
            .send()
            .await;
        match outcome {
            Ok(_) => Ok(()),
            Err(error) if error::exists_already(&error) => match self.secret().await? {
                Found::Here(secret) => self.ours(&secret, owner),
                Found::Absent | Found::Denied(_) => {
                    Err(error::failed(error, &self.cannot("create")))
                }
            },
            Err(error) => Err(error::failed(error, &self.cannot("create"))),
        }
    }

    fn ours(&self, secret: &model::Secret, owner: &Owner) -> Result<()> {
        match owner.objection(&secret.labels) {
            None => Ok(()),
            Some(why) => Err(Error::new(
                ErrorKind::Conflict,
                format!("secret `{}` exists and is not ours: {why}", self.name),
            )
            .hint("give ours another name in the manifest, or set `adopt = true` on it")),
        }
    }
}

fn denied(name: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Denied,
        format!("cannot see secret `{name}`: {why}"),
    )
}

fn checksum(data: &[u8]) -> i64 {
    i64::from(crc32c::crc32c(data))
}

/// The number in `projects/P/secrets/S/versions/N`.
fn number(version: &str) -> u64 {
    short(version).parse().unwrap_or(0)
}

pub(crate) fn moment(time: Option<&google_cloud_wkt::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds(), time.nanos()).ok()
}

/// A secret as it is.
#[derive(Clone, Debug)]
pub(crate) struct Actual {
    labels: HashMap<String, String>,
    etag: String,
    current: Option<SecretVersion>,
}

/// One secret of the manifest.
struct Secret {
    store: Store,
    key: String,
    address: Address,
    owner: Owner,
    labels: BTreeMap<String, String>,
    content: SecretContent,
    /// The version that was found to hold what is asked for.
    satisfied: Mutex<Option<SecretVersion>>,
    output: Output<SecretVersion>,
}

impl Secret {
    fn remember(&self, satisfied: Option<SecretVersion>) {
        *self
            .satisfied
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = satisfied;
    }

    /// Whether the current version holds what is asked for.
    async fn holds(&self, current: &SecretVersion) -> Result<bool> {
        match &self.content {
            SecretContent::Keep | SecretContent::AtFirst(_) => Ok(true),
            SecretContent::Exactly(value) => {
                let there = self.store.read_value(&current.version).await;
                match there {
                    Ok(there) => Ok(there.expose_secret() == value.expose_secret()),
                    Err(error) if error.kind() == ErrorKind::Rejected => Ok(false),
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn missing(&self) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!(
                "secret `{}` has no value that can be used",
                self.address.name
            ),
        )
        .hint(format!(
            "give it one: `deployer secrets set {}` reads it from stdin",
            self.key
        ))
    }

    async fn write(&self) -> Result<SecretVersion> {
        match &self.content {
            SecretContent::Exactly(value) => self.store.ensure_value(value).await,
            SecretContent::AtFirst(value) => match self.store.current().await? {
                Some(current) => Ok(current),
                None => self.store.add(value).await,
            },
            SecretContent::Keep => self.store.current().await?.ok_or_else(|| self.missing()),
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
        let (secret, current) = tokio::join!(self.store.secret(), self.store.current());
        let secret = match secret? {
            Found::Here(secret) => secret,
            Found::Denied(why) => return Ok(Reading::Denied(why)),
            Found::Absent if keeps => return Err(self.missing()),
            Found::Absent => return Ok(Reading::Absent),
        };
        if let Some(why) = self.owner.objection(&secret.labels) {
            return Ok(Reading::Foreign(why));
        }
        let current = match current {
            Ok(current) => current,
            Err(error) if error.kind() == ErrorKind::Denied => {
                return Ok(Reading::Denied(error.chain().join(": ")));
            }
            Err(error) => return Err(error),
        };
        if keeps && current.is_none() {
            return Err(self.missing());
        }
        let satisfied = match &current {
            Some(version) => match self.holds(version).await {
                Ok(holds) => holds.then(|| version.clone()),
                Err(error) if error.kind() == ErrorKind::Denied => {
                    return Ok(Reading::Denied(error.chain().join(": ")));
                }
                Err(error) => return Err(error),
            },
            None => None,
        };
        self.remember(satisfied);
        Ok(Reading::Present(Actual {
            labels: secret.labels,
            etag: secret.etag,
            current,
        }))
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        labels::describe(&mut fields, &self.labels.clone().into_iter().collect());
        let satisfied = self
            .satisfied
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match satisfied.as_ref() {
            Some(version) => fields.set("value", format!("version {}", version.version)),
            None => fields.set("value", "new version"),
        }
        fields
    }

    fn observed(&self, actual: &Actual) -> Fields {
        let mut fields = Fields::new();
        labels::describe(&mut fields, &actual.labels);
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
        self.store.ensure(&self.labels, &self.owner).await?;
        let current = self.write().await?;
        self.remember(Some(current.clone()));
        Ok(Actual {
            labels: self.labels.clone().into_iter().collect(),
            etag: String::new(),
            current: Some(current),
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
            let merged = labels::merged(&self.labels, &actual.labels);
            let secret = model::Secret::new()
                .set_name(self.store.path())
                .set_labels(merged)
                .set_etag(&actual.etag);
            let updated = self
                .store
                .project
                .clients
                .secrets
                .update_secret()
                .set_secret(secret)
                .set_update_mask(FieldMask::default().set_paths(["labels"]))
                .send()
                .await
                .map_err(|error| error::failed(error, &self.store.cannot("label")))?;
            actual.labels = updated.labels;
            actual.etag = updated.etag;
        }
        if changes.iter().any(|change| change.field == "value") {
            let current = self.write().await?;
            self.remember(Some(current.clone()));
            actual.current = Some(current);
        }
        Ok(actual)
    }

    async fn delete(&self, actual: &Actual, _token: &Token) -> Result<()> {
        delete(&self.store, actual).await
    }
}

async fn delete(store: &Store, _actual: &Actual) -> Result<()> {
    let outcome = store
        .project
        .clients
        .secrets
        .delete_secret()
        .set_name(store.path())
        .send()
        .await;
    error::optional(outcome, &store.cannot("delete")).map(|_| ())
}

/// A secret that is no longer desired: it can be read and deleted.
pub(crate) struct Leftover {
    store: Store,
    address: Address,
}

impl Leftover {
    /// The secret at `address`.
    pub(crate) fn new(project: &Arc<Project>, address: &Address) -> Self {
        Self {
            store: Store::new(project, &address.name),
            address: address.clone(),
        }
    }
}

#[async_trait]
impl crate::existing::Existing for Leftover {
    type Actual = Actual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Actual>> {
        Ok(match self.store.secret().await? {
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
            Found::Here(secret) => match Owner::AnyOfOurs.objection(&secret.labels) {
                Some(why) => Reading::Foreign(why),
                None => Reading::Present(Actual {
                    labels: secret.labels,
                    etag: secret.etag,
                    current: None,
                }),
            },
        })
    }

    fn observed(&self, actual: &Actual) -> Fields {
        let mut fields = Fields::new();
        labels::describe(&mut fields, &actual.labels);
        fields
    }

    async fn delete(&self, actual: &Actual) -> Result<()> {
        delete(&self.store, actual).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_googles_castagnoli_one() {
        // RFC 3720, B.4: 32 bytes of zeroes.
        assert_eq!(checksum(&[0; 32]), 0x8A91_36AA);
        assert_eq!(checksum(b""), 0);
    }

    #[test]
    fn version_ten_is_newer_than_version_nine() {
        assert!(
            number("projects/p/secrets/s/versions/10") > number("projects/p/secrets/s/versions/9")
        );
    }
}
