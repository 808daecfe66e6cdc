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
    /// What of the content is the target's own, as a hash. `None` in releases of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<String>,
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
    /// The release that a person rejected with it, when it is a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejects: Option<u64>,
    /// Whether it only tells what serves again without a rollback: an undo put it back, or another hand did.
    #[serde(default, skip_serializing_if = "is_not")]
    pub put_back: bool,
    /// What of the release that it makes serve again was not restored, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// Whether the run left before it was known to serve.
    #[serde(default)]
    pub detached: bool,
    /// Whether its verification passed. `None` when none was made, or the service could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
}

fn is_not(it: &bool) -> bool {
    !it
}

impl Release {
    /// The release whose content a person rejected with this one. Ledgers of before do not say it: there it is the one before.
    pub fn rejected(&self) -> Option<u64> {
        let one_before = self.rollback_to.and(self.number.checked_sub(1));
        self.rejects.or(one_before.filter(|_| !self.put_back))
    }
}

/// A rollback's word that a release is not to be applied again by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The release that was rolled back from.
    pub rejected: u64,
    /// Its content id: while the manifest resolves to it, `apply` leaves the service alone.
    pub content_id: String,
    /// What of the content is the target's own. `None` where that is not known: then any is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<String>,
    /// The secret versions that the rejected release pins and that a rollback restores, by the manifest's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretVersion>,
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

impl Hold {
    /// Whether it is on the content of this release.
    pub fn is_on(&self, release: &Release) -> bool {
        let own = self.overrides.is_none() || self.overrides == release.overrides;
        self.content_id == release.content_id && own
    }
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

    /// The holds on a service, oldest rejected release first.
    pub async fn holds(&self, service: &str) -> Result<Vec<Hold>> {
        let folder = holds(service);
        let mut holds: Vec<Hold> = Vec::new();
        // Where ledgers of before have the only one.
        holds.extend(self.read(&only_hold(service)).await?);
        for name in self.list(&folder).await? {
            let hold: Option<Hold> = self.read(&format!("{folder}/{name}")).await?;
            if let Some(hold) = hold {
                holds.retain(|it| it.rejected != hold.rejected);
                holds.push(hold);
            }
        }
        holds.sort_by_key(|it| it.rejected);
        Ok(holds)
    }

    /// Puts a hold on a service, beside those on other releases.
    pub async fn set_hold(&self, service: &str, hold: &Hold) -> Result<()> {
        let name = format!("{}/{:06}.json", holds(service), hold.rejected);
        self.write(&name, hold).await
    }

    /// Lifts the hold on one release.
    pub async fn lift_hold(&self, service: &str, rejected: u64) -> Result<()> {
        let only: Option<Hold> = self.read(&only_hold(service)).await?;
        if only.is_some_and(|it| it.rejected == rejected) {
            self.remove(&only_hold(service)).await?;
        }
        self.remove(&format!("{}/{rejected:06}.json", holds(service)))
            .await
    }

    /// Lifts every hold on a service.
    pub async fn lift_holds(&self, service: &str) -> Result<()> {
        for hold in self.holds(service).await? {
            self.lift_hold(service, hold.rejected).await?;
        }
        Ok(())
    }
}

fn holds(service: &str) -> String {
    format!("holds/{service}")
}

fn only_hold(service: &str) -> String {
    format!("holds/{service}.json")
}
