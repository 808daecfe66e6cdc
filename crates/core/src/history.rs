//! Tells from a service's releases what serves, and chooses where a rollback goes; pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::capability::{PutBack, Revision, SecretVersion, Serving, ServingState};
use crate::ledger::{Hold, Release};

/// A release is recorded when its deployment has ended, that of a detached run when it begins. So
/// much earlier than a deployment's begin it may be stamped all the same: clocks differ by seconds,
/// and no deployment ends within a minute. Ours.
const BEGINS: SignedDuration = SignedDuration::from_secs(60);

/// The releases of one service on one target, oldest first, and which of its secrets a rollback
/// leaves at their current version.
#[derive(Clone, Copy)]
pub struct History<'a> {
    releases: &'a [Release],
    follows: &'a dyn Fn(&str) -> bool,
}

/// Which revision a cloud says serves, or is about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Current {
    /// None does.
    Nothing,
    /// This one, everything.
    One(Revision),
    /// Several share the traffic, with their shares in percent.
    Several(Vec<(Revision, u32)>),
}

/// What serves, as the releases say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Nothing.
    Nothing,
    /// The last release: the ledger is right.
    Last(&'a Release),
    /// An older release again, of which the ledger does not say so.
    Earlier(&'a Release),
    /// A revision that no release has.
    Unrecorded(Revision),
    /// Several revisions share the traffic, with their shares in percent.
    Several(Vec<(Revision, u32)>),
}

/// Why a rollback passes over a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It is of the content that is gone back from.
    SameContent,
    /// A person rejected its content.
    Rejected,
    /// Its content failed its verification.
    Unverified,
}

/// What a person's word for a release means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// No release.
    Nothing,
    /// This one.
    One(&'a Release),
    /// Releases of different images or contents, the newest of each: a person has to say which.
    Several(Vec<&'a Release>),
}

impl Current {
    /// What `serving` comes to. While a roll-out is under way that is what it makes serve; when it
    /// ended, what takes the traffic.
    pub fn of(serving: Option<&Serving>) -> Self {
        let Some(serving) = serving else {
            return Self::Nothing;
        };
        let whole = match serving.traffic.as_slice() {
            [(revision, 100)] => Some(revision),
            _ => None,
        };
        let wanted = serving.wanted.as_ref();
        let one = match serving.state {
            ServingState::InProgress(_) | ServingState::Failing(_) => wanted.or(whole),
            ServingState::Ready => whole.or(wanted),
            // What was wanted has failed: it serves only as far as it takes traffic.
            ServingState::Failed(_) => whole,
        };
        match (one, serving.traffic.as_slice()) {
            (Some(revision), _) => Self::One(revision.clone()),
            (None, []) => wanted.map_or(Self::Nothing, |wanted| Self::One(wanted.clone())),
            (None, shares) => Self::Several(shares.to_vec()),
        }
    }
}

/// What serves, where the cloud alone does not say it: what the last release made serve before the
/// deployment that failed. As it is where the cloud says it; nothing is said to serve where the
/// releases do not say it either, as another hand deployed after them.
pub fn settled(serving: Serving, releases: &[Release]) -> Serving {
    let Some(failed) = serving.put_back else {
        return serving;
    };
    let described = serving.wanted.clone();
    let is_described = |it: &Release| {
        let described = described.as_ref();
        described.is_some_and(|described| same_revision(described, &it.revision))
    };
    let Some(last) = served_before(failed, described.as_ref(), releases) else {
        return Serving {
            wanted: None,
            images: BTreeMap::new(),
            ..serving
        };
    };
    let (state, wanted) = match serving.state {
        ServingState::Failed(_) if is_described(last) => (ServingState::Ready, described),
        // It is what the cloud is about to make serve again.
        ServingState::InProgress(why) => {
            (ServingState::InProgress(why), Some(last.revision.clone()))
        }
        state @ (ServingState::Ready | ServingState::Failing(_) | ServingState::Failed(_)) => {
            (state, described)
        }
    };
    let mut images = serving.images;
    images
        .entry(last.revision.0.clone())
        .or_insert_with(|| last.image.clone());
    Serving {
        traffic: vec![(last.revision.clone(), 100)],
        images,
        state,
        wanted,
        put_back: None,
        ..serving
    }
}

/// The release that a deployment served which came before one that failed: the cloud put it back,
/// whatever revision it describes. `None` where no release says what served, as another hand
/// deployed after them. `releases` are the service's, oldest first.
pub fn served_before<'a>(
    failed: PutBack,
    described: Option<&Revision>,
    releases: &'a [Release],
) -> Option<&'a Release> {
    let mut served = releases.iter().rev().filter(|it| !is_of(it, failed));
    let last = served.next()?;
    let is_described = described.is_some_and(|it| same_revision(it, &last.revision));
    (is_described || !is_before(last, failed)).then_some(last)
}

/// Whether a release was recorded for the deployment that failed: that of a detached run, which
/// knew of no end.
fn is_of(release: &Release, failed: PutBack) -> bool {
    let since = |began| release.at.duration_since(began) > -BEGINS;
    release.detached && failed.began.is_none_or(since)
}

/// Whether another deployment succeeded after a release.
fn is_before(release: &Release, failed: PutBack) -> bool {
    let before = |began| release.at.duration_since(began) < -BEGINS;
    failed.served_since.is_some_and(before)
}

/// Whether two names mean one revision: in full, or the last part of an ARN or a resource name.
pub fn same_revision(one: &Revision, other: &Revision) -> bool {
    fn short(revision: &Revision) -> &str {
        revision.0.rsplit('/').next().unwrap_or_default()
    }
    short(one) == short(other)
}

impl<'a> History<'a> {
    /// `follows` says of a secret, by the manifest's name, whether a rollback leaves it at its
    /// current version.
    pub fn new(releases: &'a [Release], follows: &'a dyn Fn(&str) -> bool) -> Self {
        Self { releases, follows }
    }

    /// What serves, as the releases say.
    pub fn standing(&self, current: &Current) -> Standing<'a> {
        let revision = match current {
            Current::Nothing => return Standing::Nothing,
            Current::Several(shares) => return Standing::Several(shares.clone()),
            Current::One(revision) => revision,
        };
        let of_it = |it: &&Release| same_revision(&it.revision, revision);
        match self.releases.iter().rev().find(of_it) {
            None => Standing::Unrecorded(revision.clone()),
            Some(found) if Some(found.number) == self.releases.last().map(|it| it.number) => {
                Standing::Last(found)
            }
            Some(found) => Standing::Earlier(found),
        }
    }

    /// Where a rollback from `from` goes when nobody names a release: what served before it, but
    /// never the same content again, what was rejected, or what failed its verification.
    pub fn before(&self, from: &Release) -> Option<&'a Release> {
        let rejected = self.rejected();
        let mut number = self.origin(from).number;
        loop {
            let earlier = self.releases.iter().rev().find(|it| it.number < number)?;
            let served = self.origin(earlier);
            let suits = !self.same_content(served, from)
                && !rejected.contains(&served.number)
                && self.verified(served) != Some(false);
            if suits {
                return Some(served);
            }
            number = served.number;
        }
    }

    /// The releases between `to` and `from` that a rollback passes over, newest first, and why.
    pub fn skipped(&self, from: &Release, to: &Release) -> Vec<(&'a Release, Skipped)> {
        let rejected = self.rejected();
        let between = self.releases.iter().rev();
        let between = between.filter(|it| it.number < from.number && it.number > to.number);
        let skipped = between.filter_map(|it| {
            let served = self.origin(it);
            let why = if self.same_content(served, from) {
                Skipped::SameContent
            } else if rejected.contains(&served.number) {
                Skipped::Rejected
            } else if self.verified(served) == Some(false) {
                Skipped::Unverified
            } else {
                return None;
            };
            Some((it, why))
        });
        skipped.collect()
    }

    /// The release that a rollback made serve again, as it was applied; any other release itself.
    pub fn origin<'b>(&self, release: &'b Release) -> &'b Release
    where
        'a: 'b,
    {
        let mut origin = release;
        while let Some(earlier) = origin.rollback_to.and_then(|number| self.numbered(number)) {
            if earlier.number >= origin.number {
                break;
            }
            origin = earlier;
        }
        origin
    }

    /// The release of this number.
    pub fn numbered(&self, number: u64) -> Option<&'a Release> {
        self.releases.iter().find(|it| it.number == number)
    }

    /// The newest release with a lower number than this.
    pub fn newest_before(&self, number: u64) -> Option<&'a Release> {
        self.releases.iter().rev().find(|it| it.number < number)
    }

    /// Whether a hold still stands: nobody asked for its content since, be it that the hold itself
    /// was not lifted any more.
    pub fn stands(&self, hold: &Hold) -> bool {
        let asked = |it: &Release| it.number > hold.rejected && !it.put_back && hold.is_on(it);
        hold.unfinished.is_some() || !self.releases.iter().any(asked)
    }

    /// The number of the next release.
    pub fn next_number(&self) -> u64 {
        self.releases.last().map_or(1, |last| last.number + 1)
    }

    /// A release by a person's word: its number, content id, revision, tag or digest. A number
    /// comes first; of several releases of one image and content the newest counts.
    pub fn find(&self, word: &str) -> Found<'a> {
        let number = word.strip_prefix('r').unwrap_or(word).parse::<u64>().ok();
        if let Some(found) = number.and_then(|number| self.numbered(number)) {
            return Found::One(found);
        }
        let mut newest = self.releases.iter().rev();
        let by_revision = newest.find(|it| same_revision(&it.revision, &Revision(word.to_owned())));
        if let Some(found) = by_revision {
            return Found::One(found);
        }
        let mut found = self.called(word, Release::content);
        if found.is_empty() {
            // Ids of earlier versions left out what is a target's own.
            found = self.called(word, |it| it.content_id.clone());
        }
        match found.as_slice() {
            [] => Found::Nothing,
            [one] => Found::One(one),
            _ => Found::Several(found),
        }
    }

    /// The releases that a tag, a digest or the beginning of a content's id means, newest first: of
    /// each image, or each content, the newest.
    fn called(&self, word: &str, id: impl Fn(&Release) -> String) -> Vec<&'a Release> {
        let by_content = word.len() >= 4;
        let by_tag = |it: &Release| {
            it.tag.as_deref() == Some(word)
                || (word.starts_with("sha256:") && it.image.0.ends_with(word))
        };
        let mut found: Vec<&Release> = Vec::new();
        for it in self.releases.iter().rev() {
            let fits = by_tag(it) || (by_content && id(it).starts_with(word));
            let known = |other: &&Release| match by_tag(it) {
                true => digest(other) == digest(it),
                false => id(other) == id(it),
            };
            if fits && !found.iter().any(known) {
                found.push(it);
            }
        }
        found
    }

    /// Whether two releases make the same serve: image, configuration, a target's own part of it,
    /// and the secrets that a rollback restores. Tags, labels and names of revisions are no
    /// content; of one revision, whatever else was asked for with it, nothing is left to restore.
    pub fn same_content(&self, one: &Release, other: &Release) -> bool {
        if one.image == other.image && same_revision(&one.revision, &other.revision) {
            return true;
        }
        let agree = |one: &Option<String>, other: &Option<String>| match (one, other) {
            (Some(one), Some(other)) => one == other,
            // Releases of earlier versions say nothing of it.
            (None, _) | (_, None) => true,
        };
        let (mine, theirs) = (self.restored(one), self.restored(other));
        one.content_id == other.content_id
            && agree(&one.overrides, &other.overrides)
            // A code deployment does not see the secrets.
            && (one.secrets.is_empty() || other.secrets.is_empty() || mine == theirs)
    }

    /// The secret versions of a release that a rollback restores, by the manifest's names.
    pub fn restored<'b>(&self, release: &'b Release) -> Vec<(&'b str, &'b SecretVersion)> {
        let pinned = release.secrets.iter();
        let restored = pinned.filter(|(key, _)| !(self.follows)(key));
        restored.map(|(key, it)| (key.as_str(), it)).collect()
    }

    /// The numbers of the releases whose content was rejected and has not been asked for again
    /// since.
    fn rejected(&self) -> BTreeSet<u64> {
        let mut rejected = BTreeSet::new();
        for release in self.releases {
            if let Some(bad) = release.rejected().and_then(|number| self.numbered(number)) {
                let like = |it: &&Release| self.same_content(it, bad);
                rejected.extend(self.releases.iter().filter(like).map(|it| it.number));
            }
            // What only says what serves again asks for nothing.
            if !release.put_back {
                let served = self.origin(release);
                rejected.retain(|number| {
                    let other = self.numbered(*number);
                    !other.is_some_and(|other| self.same_content(other, served))
                });
            }
        }
        rejected
    }

    /// What the last verification of a release's content came to.
    fn verified(&self, release: &Release) -> Option<bool> {
        let of_it = self.releases.iter().rev();
        let mut of_it = of_it.filter(|it| self.same_content(it, release));
        of_it.find_map(|it| it.verified)
    }
}

fn digest(release: &Release) -> &str {
    release.image.0.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
