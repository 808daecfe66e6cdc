//! Releases: one applied version of one service on one target.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::capability::{ImageRef, Revision, SecretVersion};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Ledger;
use crate::spec::ServiceSpec;

/// One applied version of one service on one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// From 1, per service and target.
    pub number: u64,
    /// The service, by the manifest's name.
    pub service: String,
    /// Digest and resolved configuration; equal on every target.
    pub content_id: String,
    /// The image in the target's registry.
    pub image: ImageRef,
    /// The image's tag, when its source had one.
    pub tag: Option<String>,
    /// The cloud's own revision.
    pub revision: Revision,
    /// The secret versions that it pins, by the manifest's names.
    pub secrets: BTreeMap<String, SecretVersion>,
    /// The migration that ran for it, or the one it inherited. `None` when it has none.
    pub migration: Option<String>,
    /// What was asked for.
    pub spec: ServiceSpec,
    /// When it was recorded.
    pub at: Timestamp,
    /// Who: user and host.
    pub by: String,
    /// The run.
    pub run: String,
    /// The release that it makes serve again, when it is a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<u64>,
    /// Whether the run left before it was known to serve.
    #[serde(default)]
    pub detached: bool,
    /// Whether its verification passed. `None` when none was made, or the service could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
}

/// A rollback's word that a release is not to be applied again by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The release that was rolled back from.
    pub rejected: u64,
    /// Its content id: while the manifest resolves to it, `apply` leaves the service alone.
    pub content_id: String,
    /// The release that serves instead.
    pub serving: u64,
    /// Since when.
    pub since: Timestamp,
    /// Who rolled back.
    pub by: String,
    /// The release that is to serve, while it is not known to. A hold is written before the first call of its rollback, so that
    /// the next command finishes one that was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<u64>,
}

impl Ledger {
    /// The releases of a service, oldest first.
    pub async fn releases(&self, service: &str) -> Result<Vec<Release>> {
        let folder = format!("releases/{service}");
        let names = self.list(&folder).await?;
        let mut releases = Vec::with_capacity(names.len());
        for name in names {
            let release = self.read(&format!("{folder}/{name}")).await?;
            releases.extend(release);
        }
        Ok(releases)
    }

    /// The revisions of all releases of every service, also of those that the manifest no longer has.
    pub async fn recorded_revisions(&self) -> Result<Vec<Revision>> {
        let path = self.path("releases");
        let found = self.store.list_with_delimiter(Some(&path)).await;
        let found = found.map_err(|error| self.broken("list", &path, error))?;
        let mut revisions = Vec::new();
        for folder in found.common_prefixes {
            let service = folder.filename().unwrap_or_default();
            let releases = self.releases(service).await?;
            revisions.extend(releases.into_iter().map(|release| release.revision));
        }
        Ok(revisions)
    }

    /// The latest release of a service.
    pub async fn latest_release(&self, service: &str) -> Result<Option<Release>> {
        let folder = format!("releases/{service}");
        match self.list(&folder).await?.last() {
            Some(name) => self.read(&format!("{folder}/{name}")).await,
            None => Ok(None),
        }
    }

    /// Records a release under its number.
    ///
    /// Errors: conflict, when the number is taken: another run recorded one meanwhile.
    pub async fn record_release(&self, release: &Release) -> Result<()> {
        let name = format!("releases/{}/{:06}.json", release.service, release.number);
        if self.create(&name, release).await? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "release r{} of `{}` was recorded by another run",
                release.number, release.service
            ),
        ))
    }

    /// Notes on a recorded release how its verification ended. The lock is held.
    pub async fn note_verified(&self, release: &Release, passed: bool) -> Result<()> {
        let name = format!("releases/{}/{:06}.json", release.service, release.number);
        let release = Release {
            verified: Some(passed),
            ..release.clone()
        };
        self.write(&name, &release).await
    }

    /// The hold on a service.
    pub async fn hold(&self, service: &str) -> Result<Option<Hold>> {
        self.read(&format!("holds/{service}.json")).await
    }

    /// Puts a hold on a service.
    pub async fn set_hold(&self, service: &str, hold: &Hold) -> Result<()> {
        self.write(&format!("holds/{service}.json"), hold).await
    }

    /// Lifts the hold.
    pub async fn lift_hold(&self, service: &str) -> Result<()> {
        self.remove(&format!("holds/{service}.json")).await
    }
}
