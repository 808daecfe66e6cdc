//! Releases: one applied version of one service on one target.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{AT_ONCE, Ledger};
use crate::pins::{ImageRef, Revision, SecretVersion};
use crate::spec::ServiceSpec;

/// One applied version of one service on one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// From 1, per service and target.
    pub number: u64,
    /// The service, by the manifest's name.
    pub service: String,
    /// Digest and configuration as every target has them; [`Release::content`] is the id of all.
    pub content_id: String,
    /// What of the content is the target's own, as a hash. `None` in releases of earlier versions.
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
    /// Whether it only tells what serves again without a rollback: an undo put it back, or another
    /// hand did.
    #[serde(default, skip_serializing_if = "is_not")]
    pub put_back: bool,
    /// Whether it is the release before, rolled out anew because a person asked for it.
    #[serde(default, skip_serializing_if = "is_not")]
    pub redeployed: bool,
    /// What of the release that it makes serve again was not restored, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// Whether the run left before it was known to serve.
    #[serde(default)]
    pub detached: bool,
    /// Whether its verification passed. `None` when none was made, or the service could not be
    /// asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
}

fn is_not(it: &bool) -> bool {
    !it
}

/// The hash of a target's own part where there is none: of an object without members.
pub const NOTHING_OWN: &str = "44136fa355b3678a";

/// The id of a whole content: what every target has of it, and what is one target's own. Sixteen
/// hexadecimal digits, equal on two targets as long as neither has anything of its own.
pub fn content(common: &str, own: Option<&str>) -> String {
    match own {
        None | Some(NOTHING_OWN) => common.to_owned(),
        Some(own) => hex::encode(&Sha256::digest(format!("{common} {own}"))[..8]),
    }
}

impl Release {
    /// The id of its whole content. See [`content`].
    pub fn content(&self) -> String {
        content(&self.content_id, self.overrides.as_deref())
    }

    /// The number of the run that made it. `None` where its record names none.
    pub fn made_by(&self) -> Option<u64> {
        self.run.strip_prefix("run ")?.parse().ok()
    }

    /// The release whose content a person rejected with this one. Ledgers of earlier versions
    /// do not say it: there it is the one before.
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
    /// What every target has of its content: while the manifest says that, and this target's own
    /// part, `apply` leaves the service alone.
    pub content_id: String,
    /// What of the content is the target's own. `None` where that is not known: then any is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<String>,
    /// The secret versions that the rejected release pins and that a rollback restores, by the
    /// manifest's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretVersion>,
    /// The release that serves instead.
    pub serving: u64,
    /// Since when.
    pub since: Timestamp,
    /// Who rolled back.
    pub by: String,
    /// The release that is to serve, while it is not known to. A hold is written before the first
    /// call of its rollback, so that the next command finishes one that was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<u64>,
}

impl Hold {
    /// The id of the content that it is on. See [`content`].
    pub fn content(&self) -> String {
        content(&self.content_id, self.overrides.as_deref())
    }

    /// Whether it is on the content of this release.
    pub fn is_on(&self, release: &Release) -> bool {
        let own = self.overrides.is_none() || self.overrides == release.overrides;
        self.content_id == release.content_id && own
    }
}

/// How the verification of a release ended, beside the release itself, which is not written twice.
#[derive(Serialize, Deserialize)]
struct Verification {
    passed: bool,
}

/// That the release of a detached run was seen serving later, beside the release itself.
#[derive(Serialize, Deserialize)]
struct Seen {}

impl Ledger {
    /// The releases of a service, oldest first.
    pub async fn releases(&self, service: &str) -> Result<Vec<Release>> {
        let service = self.renames.service(service);
        let names = self.list(&releases(service)).await?;
        let mut releases = self.recorded(service, names).await?;
        let mut verified = self
            .said_below::<Verification>(&verifications(service))
            .await?;
        for release in &mut releases {
            let said = verified.remove(&verification(service, release.number));
            release.verified = said.flatten().map(|it| it.passed).or(release.verified);
        }
        if releases.iter().any(|release| release.detached) {
            let seen = self.said_below::<Seen>(&sightings(service)).await?;
            for release in &mut releases {
                let subject = sighting(service, release.number);
                let is_seen = matches!(seen.get(&subject), Some(Some(_)));
                release.detached = release.detached && !is_seen;
            }
        }
        Ok(self.renames.exchanged(releases))
    }

    /// The releases of these names, in their order, as they were recorded, of a service by its
    /// origin.
    async fn recorded(&self, service: &str, names: Vec<String>) -> Result<Vec<Release>> {
        let folder = releases(service);
        let reads = names.into_iter().map(|name| format!("{folder}/{name}"));
        let reads: Vec<Option<Release>> = futures::stream::iter(reads)
            .map(|name| async move { self.read(&name).await })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(reads.into_iter().flatten().collect())
    }

    /// The revisions of all releases of every service, also of those that the manifest no longer
    /// has.
    pub async fn recorded_revisions(&self) -> Result<Vec<Revision>> {
        let mut revisions = Vec::new();
        for service in self.folders("releases").await? {
            let names = self.list(&releases(&service)).await?;
            let recorded = self.recorded(&service, names).await?;
            revisions.extend(recorded.into_iter().map(|release| release.revision));
        }
        Ok(revisions)
    }

    /// The latest release of a service.
    pub async fn latest_release(&self, service: &str) -> Result<Option<Release>> {
        let service = self.renames.service(service);
        let folder = releases(service);
        let Some(name) = self.list(&folder).await?.pop() else {
            return Ok(None);
        };
        let Some(mut release) = self.read::<Release>(&format!("{folder}/{name}")).await? else {
            return Ok(None);
        };
        let said: Option<Verification> = self.said(&verification(service, release.number)).await?;
        release.verified = said.map(|it| it.passed).or(release.verified);
        if release.detached {
            let subject = sighting(service, release.number);
            release.detached = self.said::<Seen>(&subject).await?.is_none();
        }
        Ok(Some(self.renames.exchanged(release)))
    }

    /// Records a release under its number.
    ///
    /// Errors: conflict, when the number is taken: another run recorded one meanwhile.
    pub async fn record_release(&self, release: &Release) -> Result<()> {
        let service = self.renames.service(&release.service);
        let name = format!("{}/{:06}.json", releases(service), release.number);
        let written = self.renames.exchanged(release.clone());
        if self.create(&name, &written).await? {
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

    /// Notes of a recorded release how its verification ended. The lock is held.
    pub async fn note_verified(&self, release: &Release, passed: bool) -> Result<()> {
        let service = self.renames.service(&release.service);
        let subject = verification(service, release.number);
        self.say(&subject, Some(&Verification { passed })).await
    }

    /// Notes of a recorded release, whose run left before it was known to serve, that it does. The
    /// lock is held.
    pub async fn note_seen(&self, release: &Release) -> Result<()> {
        let service = self.renames.service(&release.service);
        self.say(&sighting(service, release.number), Some(&Seen {}))
            .await
    }

    /// The holds on a service, oldest rejected release first.
    pub async fn holds(&self, service: &str) -> Result<Vec<Hold>> {
        let service = self.renames.service(service);
        let mut holds = self.older_holds(service).await?;
        let said = self.said_below::<Hold>(&self::holds(service)).await?;
        holds.retain(|rejected, _| !said.contains_key(&hold(service, *rejected)));
        for (subject, said) in said {
            let Some(said) = said else {
                continue;
            };
            if hold(service, said.rejected) != subject {
                return Err(self.damaged(&subject));
            }
            holds.insert(said.rejected, said);
        }
        let holds: Vec<Hold> = holds.into_values().collect();
        Ok(self.renames.exchanged(holds))
    }

    /// Puts a hold on a service, beside those on other releases.
    pub async fn set_hold(&self, service: &str, hold: &Hold) -> Result<()> {
        let subject = self::hold(self.renames.service(service), hold.rejected);
        let written = self.renames.exchanged(hold.clone());
        self.say(&subject, Some(&written)).await
    }

    /// Lifts the hold on one release.
    pub async fn lift_hold(&self, service: &str, rejected: u64) -> Result<()> {
        let holds = self.holds(service).await?;
        match holds.iter().any(|hold| hold.rejected == rejected) {
            true => self.lift(service, rejected).await,
            false => Ok(()),
        }
    }

    /// Lifts every hold on a service.
    pub async fn lift_holds(&self, service: &str) -> Result<()> {
        for hold in self.holds(service).await? {
            self.lift(service, hold.rejected).await?;
        }
        Ok(())
    }

    async fn lift(&self, service: &str, rejected: u64) -> Result<()> {
        let subject = hold(self.renames.service(service), rejected);
        self.say::<Hold>(&subject, None).await
    }

    /// Says of every hold of an older format what it says, where nothing is said of it yet, on a
    /// service by its origin.
    pub(super) async fn carry_holds(&self, service: &str) -> Result<()> {
        let said = self.subjects(&holds(service)).await?;
        for (rejected, older) in self.older_holds(service).await? {
            let subject = hold(service, rejected);
            if !said.contains(&subject) {
                self.say(&subject, Some(&older)).await?;
            }
        }
        Ok(())
    }
}

fn releases(service: &str) -> String {
    format!("releases/{service}")
}

fn verifications(service: &str) -> String {
    format!("verified/{service}")
}

fn verification(service: &str, release: u64) -> String {
    format!("{}/{release:06}", verifications(service))
}

fn sightings(service: &str) -> String {
    format!("seen/{service}")
}

fn sighting(service: &str, release: u64) -> String {
    format!("{}/{release:06}", sightings(service))
}

fn holds(service: &str) -> String {
    format!("holds/{service}")
}

fn hold(service: &str, rejected: u64) -> String {
    format!("{}/{rejected:06}", holds(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_targets_own_is_content_and_where_there_is_none_the_id_is_every_targets() {
        let common = "0123456789abcdef";
        assert_eq!(content(common, None), common);
        assert_eq!(content(common, Some(NOTHING_OWN)), common);
        let (one, other) = (content(common, Some("a")), content(common, Some("b")));
        assert!(one != other && one != common && one.len() == common.len());
        assert_ne!(content("0", Some("a")), one);
        let nothing = hex::encode(&Sha256::digest("{}")[..8]);
        assert_eq!(nothing, NOTHING_OWN);
    }
}
