//! Which lines of a service are asked for: all, those of a release, those of its migration.

use deployer_core::capability::LinesOf;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::history::{Found, History};
use deployer_core::ledger::{Ran, Release};
use jiff::{SignedDuration, Timestamp};

use crate::args::LogsArgs;
use crate::choosing;
use crate::session::Place;

/// A container prints by its own clock, and a moment after its start was noted by this machine's:
/// so much before that nothing is missed. That is ours.
const BEFORE: SignedDuration = SignedDuration::from_mins(10);

/// Whose lines are printed of one service on one target.
pub enum Chosen {
    Service,
    Release(Box<Release>),
    /// With the release that it was for, where that is asked for.
    Migration(Ran, Option<Box<Release>>),
}

impl Chosen {
    /// The same for the cloud.
    pub fn lines(&self) -> LinesOf<'_> {
        match self {
            Self::Service => LinesOf::Service,
            Self::Release(release) => LinesOf::Release(release),
            Self::Migration(ran, _) => LinesOf::Execution(&ran.execution),
        }
    }

    /// The release that is asked for.
    pub fn release(&self) -> Option<&Release> {
        match self {
            Self::Service => None,
            Self::Release(release) => Some(release),
            Self::Migration(_, release) => release.as_deref(),
        }
    }

    pub fn is_release(&self) -> bool {
        matches!(self, Self::Release(_))
    }

    /// From when on there may be lines, where that is known.
    pub fn began(&self) -> Option<Timestamp> {
        match self {
            Self::Service | Self::Release(_) => None,
            Self::Migration(ran, _) => ran.at.checked_sub(BEFORE).ok(),
        }
    }
}

/// What is asked for of one service on one target.
///
/// Errors: not found, when there is no such release, or no migration that ran; input, when a word
/// means several releases.
pub async fn choose(place: &Place, service: &str, args: &LogsArgs) -> Result<Chosen> {
    if args.release.is_none() && !args.migration {
        return Ok(Chosen::Service);
    }
    let releases = place.ledger.releases(service).await?;
    let release = match &args.release {
        Some(word) => Some(named(place, service, &releases, word)?),
        None => None,
    };
    match (release, args.migration) {
        (Some(release), false) => Ok(Chosen::Release(Box::new(release))),
        (release, _) => {
            let ran = migration(place, service, &releases, release.as_ref()).await?;
            Ok(Chosen::Migration(ran, release.map(Box::new)))
        }
    }
}

fn named(place: &Place, service: &str, releases: &[Release], word: &str) -> Result<Release> {
    let history = History::new(releases, &|_: &str| false);
    if matches!(history.find(word), Found::Nothing) {
        let cloud = place.name();
        let message = format!("no release of `{service}` on {cloud} is called `{word}`");
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    choosing::named(&history, word, place)
}

/// The execution of the migration that a release had, or of the last one of the service: be it that
/// no release came of it, or that another service with the same image and database ran it.
async fn migration(
    place: &Place,
    service: &str,
    releases: &[Release],
    asked: Option<&Release>,
) -> Result<Ran> {
    let cloud = place.name();
    let all = place.ledger.migrations_that_ran().await?;
    let mut latest = all.into_iter().rev();
    let (found, whose) = match asked {
        Some(release) => {
            let is_its = |ran: &Ran| release.migration.as_ref() == Some(&ran.key);
            let whose = format!("r{} of `{service}`", release.number);
            (latest.find(is_its), whose)
        }
        None => {
            let last = releases.iter().rev().find_map(|it| it.migration.as_ref());
            let is_its = |ran: &Ran| is_of(place, service, ran) || last == Some(&ran.key);
            (latest.find(is_its), format!("`{service}`"))
        }
    };
    found.ok_or_else(|| {
        let message = format!("no migration of {whose} is known to have run on {cloud}");
        Error::new(ErrorKind::NotFound, message)
    })
}

/// Whether a migration's node is one of this service: it is called after the service, or after its
/// job.
fn is_of(place: &Place, service: &str, ran: &Ran) -> bool {
    let Some(spec) = place.env.services.get(service) else {
        return false;
    };
    let name = ran.what.rsplit('/').next().unwrap_or_default();
    let job = spec.migrate.as_ref().map(|migrate| migrate.job.as_str());
    name == spec.name || Some(name) == job
}
