//! The calls that concern one secret: find it, make it, read and add versions.

use std::sync::Arc;

use bytes::Bytes;
use deployer_core::capability::{Birth, SecretVersion};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::kind::{Ownership, Tags};
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_secretmanager_v1::model;
use google_cloud_secretmanager_v1::model::secret_version::State;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::error::{self, Found};
use crate::labels::tags;
use crate::lookup::Seen;
use crate::paths::short;
use crate::project::Project;

/// A value as text.
fn text_of(payload: model::SecretPayload, action: String) -> Result<SecretString> {
    if payload
        .data_crc32c
        .is_some_and(|sum| sum != checksum(&payload.data))
    {
        return Err(Error::new(ErrorKind::Unavailable, action)
            .because("the value was damaged on its way: its checksum does not fit".to_owned()));
    }
    // Not by way of `String::from_utf8`, whose error would carry the value.
    match std::str::from_utf8(&payload.data) {
        Ok(text) => Ok(SecretString::from(text.to_owned())),
        Err(_) => Err(Error::new(ErrorKind::Rejected, action)
            .because("the value is not UTF-8 text".to_owned())),
    }
}

/// The calls that concern one secret.
pub(crate) struct Store {
    pub(crate) project: Arc<Project>,
    name: String,
}

impl Store {
    /// Of the secret of that name, which may be one in full.
    pub(crate) fn new(project: &Arc<Project>, name: &str) -> Self {
        Self {
            project: Arc::clone(project),
            name: name.to_owned(),
        }
    }

    /// Of the secret of a version.
    pub(crate) fn of(project: &Arc<Project>, version: &SecretVersion) -> Self {
        Self::new(project, &project.names.secret_in_short(&version.secret))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn path(&self) -> String {
        self.project.names.secret_in_full(&self.name)
    }

    /// What a listing says of it, beside the others that are asked for now. `None` when nothing is
    /// said, and for a secret of another project.
    pub(crate) async fn listed(&self) -> Option<Seen> {
        if self.name.contains('/') {
            return None;
        }
        self.project.secrets.ask(&self.name).await
    }

    /// The version of this secret that an answer names.
    pub(crate) fn pin(&self, answer: &str) -> Result<SecretVersion> {
        self.project.names.secret_version(&self.path(), answer)
    }

    pub(crate) fn cannot(&self, what: &str) -> String {
        format!("cannot {what} secret `{}`", self.name)
    }

    pub(crate) async fn secret(&self) -> Result<Found<model::Secret>> {
        let outcome = self
            .project
            .clients
            .secrets
            .reading()
            .await
            .get_secret()
            .set_name(self.path())
            .send()
            .await;
        error::found(outcome, &self.cannot("read"))
    }

    /// Every version in this state: enabled ones can be used.
    pub(crate) async fn versions(
        &self,
        state: State,
    ) -> Result<Vec<model::SecretVersion>, error::CloudError> {
        let mut pages = self
            .project
            .clients
            .secrets
            .reading()
            .await
            .list_secret_versions()
            .set_parent(self.path())
            .set_filter(format!("state:{}", state.name().unwrap_or_default()))
            .by_item();
        let mut versions = Vec::new();
        while let Some(version) = pages.next().await {
            let version = version?;
            if version.state == state {
                versions.push(version);
            }
        }
        Ok(versions)
    }

    /// The newest version that is there but disabled, by its number. `None` when there is none.
    pub(crate) async fn newest_disabled(&self) -> Result<Option<String>> {
        let action = self.cannot("read the versions of");
        let versions = error::optional(self.versions(State::Disabled).await, &action)?;
        let newest = versions
            .unwrap_or_default()
            .into_iter()
            .max_by_key(|version| number(&version.name));
        Ok(newest.map(|version| short(&version.name).to_owned()))
    }

    /// The newest version that can be used. One call in the usual case: only when the latest one is
    /// disabled or destroyed are the others looked through. `None` when the secret or such a
    /// version is absent.
    pub(crate) async fn current(&self) -> Result<Option<SecretVersion>> {
        let newest = self.newest_enabled().await?;
        newest.map(|version| self.pin(&version.name)).transpose()
    }

    async fn newest_enabled(&self) -> Result<Option<model::SecretVersion>> {
        let action = self.cannot("read the current version of");
        let latest = self.version("latest").await;
        let Some(latest) = error::optional(latest, &action)? else {
            return Ok(None);
        };
        if latest.state == State::Enabled {
            return Ok(Some(latest));
        }
        let versions = error::optional(self.versions(State::Enabled).await, &action)?;
        let versions = versions.unwrap_or_default().into_iter();
        Ok(versions.max_by_key(|version| number(&version.name)))
    }

    async fn version(&self, version: &str) -> Result<model::SecretVersion, error::CloudError> {
        let secrets = self.project.clients.secrets.reading().await;
        let call = secrets.get_secret_version();
        call.set_name(format!("{}/versions/{version}", self.path()))
            .send()
            .await
    }

    /// The newest version that can be used, and which one of that number it is: a secret that is
    /// made anew counts from 1 again.
    pub(crate) async fn current_born(&self) -> Result<Option<(SecretVersion, Birth)>> {
        let newest = self.newest_enabled().await?;
        let born = newest.map(|version| {
            let pin = self.pin(&version.name)?;
            Ok((pin, birth(&version)))
        });
        born.transpose()
    }

    /// Which one of its number a version is.
    pub(crate) async fn born(&self, version: &str) -> Result<Birth> {
        let action = self.cannot(&format!("look at version {version} of"));
        let version = self.version(version).await;
        let version = version.map_err(|error| error::failed(error, &action))?;
        Ok(birth(&version))
    }

    /// Why a version cannot be used any more. `None` when it can.
    pub(crate) async fn unusable(&self, version: &str) -> Result<Option<String>> {
        let action = self.cannot(&format!("look at version {version} of"));
        let found = error::optional(self.version(version).await, &action)?;
        Ok(match found {
            None => Some("it is gone".to_owned()),
            Some(found) if found.state == State::Enabled => None,
            Some(found) => {
                let state = found
                    .state
                    .name()
                    .unwrap_or("in a state unknown to this version");
                Some(format!("it is {}", state.to_lowercase()))
            }
        })
    }

    /// The newest version that can be used, also where everything else still tells of an older one:
    /// a version that was just added is there by its number at once, and by `latest` within hours
    /// (<https://cloud.google.com/secret-manager/docs/reference/consistency>). Asked before another
    /// one is added.
    pub(crate) async fn newest(&self) -> Result<Option<SecretVersion>> {
        let mut newest = self.current().await?;
        let mut known = newest.as_ref().map_or(0, |it| number(&it.version));
        loop {
            known += 1;
            match self.access(&known.to_string()).await {
                Ok(answer) => newest = Some(self.pin(&answer.name)?),
                // Disabled or destroyed: only its number is taken.
                Err(error) if error::is_unfit(&error) => {}
                // Who may only write goes by what is told.
                Err(error) if error::is_absent(&error) || error::is_denied(&error) => {
                    return Ok(newest);
                }
                Err(error) => {
                    let action = self.cannot("read the newest version of");
                    return Err(error::failed(error, &action));
                }
            }
        }
    }

    /// The value of a version.
    ///
    /// Errors: unavailable when it arrives damaged; rejected when it cannot be used, or is no text.
    pub(crate) async fn read_value(&self, version: &str) -> Result<SecretString> {
        let action = self.cannot(&format!("read version {version} of"));
        let answer = self.access(version).await;
        let answer = answer.map_err(|error| error::failed(error, &action))?;
        text_of(answer.payload.unwrap_or_default(), action)
    }

    /// What one version holds. `None` when it is not there any more, is disabled or destroyed, or
    /// holds no text.
    pub(crate) async fn value_of(&self, version: &str) -> Result<Option<SecretString>> {
        let action = self.cannot(&format!("read version {version} of"));
        match self.access(version).await {
            Ok(answer) => Ok(text_of(answer.payload.unwrap_or_default(), action).ok()),
            // "is in DESTROYED state" and "is in DISABLED state" are a failed precondition
            // (AccessSecretVersion).
            Err(error)
                if error
                    .status()
                    .is_some_and(|status| status.code == Code::FailedPrecondition) =>
            {
                Ok(None)
            }
            Err(error) => error::optional(Err(error), &action),
        }
    }

    async fn access(
        &self,
        version: &str,
    ) -> Result<model::AccessSecretVersionResponse, error::CloudError> {
        let secrets = self.project.clients.payloads.reading().await;
        let call = secrets.access_secret_version();
        call.set_name(format!("{}/versions/{version}", self.path()))
            .send()
            .await
    }

    /// The newest version that can be used, with its value unless that is no text. One call in the
    /// usual case, as with [`Store::current`]. `None` when the secret or such a version is absent.
    pub(crate) async fn current_value(
        &self,
    ) -> Result<Option<(SecretVersion, Option<SecretString>)>> {
        let action = self.cannot("read the current version of");
        let (version, value) = match self.access("latest").await {
            Ok(answer) => {
                let version = self.pin(&answer.name)?;
                let value = text_of(answer.payload.unwrap_or_default(), action);
                (version, value)
            }
            Err(error) if error::is_absent(&error) => return Ok(None),
            // The latest one is disabled or destroyed.
            Err(error) if error::is_unfit(&error) => match self.current().await? {
                Some(version) => {
                    let value = self.read_value(&version.version).await;
                    (version, value)
                }
                None => return Ok(None),
            },
            Err(error) => return Err(error::failed(error, &action)),
        };
        match value {
            Ok(value) => Ok(Some((version, Some(value)))),
            Err(error) if error.kind() == ErrorKind::Rejected => Ok(Some((version, None))),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn add(&self, value: &SecretString) -> Result<SecretVersion> {
        let data = Bytes::copy_from_slice(value.expose_secret().as_bytes());
        let sum = checksum(&data);
        let version = self
            .project
            .clients
            .secrets
            .changing()
            .await
            .add_secret_version()
            .set_parent(self.path())
            .set_payload(
                model::SecretPayload::new()
                    .set_data(data)
                    .set_data_crc32c(sum),
            )
            .send()
            .await
            .map_err(|error| {
                let error = error::failed(error, &self.cannot("add a version to"));
                error::without(error, value)
            })?;
        self.pin(&version.name)
    }

    /// Adds a version unless the newest one holds this value: Google takes no idempotency token
    /// here, so this is what makes a repeat after a lost reply change nothing.
    pub(crate) async fn ensure_value(&self, value: &SecretString) -> Result<SecretVersion> {
        if let Some(current) = self.newest().await? {
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
    /// Errors: conflict, when there is one that is not ours by `ownership`.
    pub(crate) async fn ensure(&self, ownership: &Ownership) -> Result<()> {
        match self.secret().await? {
            Found::Here(secret) => return self.ours(&secret, ownership),
            Found::Denied(why) => return Err(denied(&self.name, &why)),
            Found::Absent => {}
        }
        if self.name.contains('/') {
            let what = format!("secret `{}` does not exist", self.name);
            return Err(Error::new(ErrorKind::NotFound, what)
                .hint("only its owner can make one of that name: give ours a name without `/`"));
        }
        let wanted = &self.project.section.secret_replication;
        let outcome = match self.create(&ownership.tags, replication(wanted)).await {
            // A policy of the organisation that forbids `global` leaves the region that everything
            // else is in.
            Err(error) if wanted.is_empty() && is_about_locations(&error) => {
                let here = [self.project.names.region.clone()];
                self.create(&ownership.tags, replication(&here)).await
            }
            outcome => outcome,
        };
        match outcome {
            Ok(_) => Ok(()),
            Err(error) if error::exists_already(&error) => match self.secret().await? {
                Found::Here(secret) => self.ours(&secret, ownership),
                Found::Absent | Found::Denied(_) => {
                    Err(error::failed(error, &self.cannot("create")))
                }
            },
            Err(error) if is_about_locations(&error) => {
                let refused = error::failed(error, &self.cannot("create"));
                Err(refused.hint(
                    "name regions that the policy allows: `[targets.gcp] secret_replication`",
                ))
            }
            Err(error) => Err(error::failed(error, &self.cannot("create"))),
        }
    }

    async fn create(
        &self,
        labels: &Tags,
        replication: model::Replication,
    ) -> Result<model::Secret, error::CloudError> {
        let secret = model::Secret::new()
            .set_replication(replication)
            .set_labels(labels.clone());
        let secrets = self.project.clients.secrets.changing().await;
        let call = secrets.create_secret();
        let call = call.set_parent(self.project.names.project());
        call.set_secret_id(&self.name)
            .set_secret(secret)
            // A second one is refused as what exists, which is looked at then.
            .with_idempotency(true)
            .send()
            .await
    }

    pub(crate) fn ours(&self, secret: &model::Secret, ownership: &Ownership) -> Result<()> {
        match ownership.foreign(&tags(&secret.labels)) {
            None => Ok(()),
            Some(stranger) => Err(stranger.refusal(format!("secret `{}`", self.name))),
        }
    }
}

/// A moment as Google writes it. `None` for one that is out of all bounds.
pub(crate) fn moment(time: Option<&google_cloud_wkt::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds(), time.nanos()).ok()
}

/// Replicated in these regions; wherever Google likes where none is named.
fn replication(regions: &[String]) -> model::Replication {
    use model::replication::user_managed::Replica;
    use model::replication::{Automatic, UserManaged};
    if regions.is_empty() {
        return model::Replication::new().set_automatic(Automatic::new());
    }
    let replicas = regions.iter().map(|it| Replica::new().set_location(it));
    model::Replication::new().set_user_managed(UserManaged::new().set_replicas(replicas))
}

/// Where a secret is replicated, as a field: `automatic`, or the regions.
pub(crate) fn show_replication(secret: &model::Secret) -> String {
    let replication = secret.replication.as_ref();
    match replication.and_then(|it| it.user_managed()) {
        Some(managed) => show_regions(managed.replicas.iter().map(|it| it.location.as_str())),
        None => "automatic".to_owned(),
    }
}

/// The regions of a field.
pub(crate) fn show_regions<'a>(regions: impl Iterator<Item = &'a str>) -> String {
    let mut regions: Vec<&str> = regions.collect();
    regions.sort_unstable();
    regions.join(", ")
}

/// Whether an organisation's policy on locations refused something.
fn is_about_locations(error: &error::CloudError) -> bool {
    error::said(error).contains("constraints/gcp.resourceLocations")
}

pub(crate) fn denied(name: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Denied,
        format!("cannot see secret `{name}`: {why}"),
    )
}

pub(crate) fn checksum(data: &[u8]) -> i64 {
    i64::from(crc32c::crc32c(data))
}

/// A version's number and time of creation
/// (<https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions#SecretVersion>,
/// `createTime`).
fn birth(version: &model::SecretVersion) -> Birth {
    let at = moment(version.create_time.as_ref());
    let since = at.map_or_else(String::new, |at| at.to_string());
    Birth {
        id: format!("{} {since}", version.name),
        at,
    }
}

/// The number in `projects/P/secrets/S/versions/N`.
pub(crate) fn number(version: &str) -> u64 {
    short(version).parse().unwrap_or(0)
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
