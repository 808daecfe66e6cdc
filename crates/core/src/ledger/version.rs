//! What changes in a ledger: whatever is said of one subject is an object of its own, named by the
//! run that says it, and the highest name counts. An object is made and removed, never replaced.
//!
//! # What is guaranteed
//!
//! Nobody overwrites another run's words, however long its write was held up on its way: a run's
//! number is its own, by create-if-absent, and each of its objects has a number within the run that
//! is used once. What a run says too late, after another one has spoken of the same subject, has a
//! lower name, and counts for nothing; the next run that reads it removes it. Nor does a run's own
//! write that lands late change what it said after.
//!
//! What is no more is said likewise, by an object that ends in `.gone`: it stays until something is
//! said of the subject again, so that nothing that was said before comes back by a late write, of
//! which nobody knows how late it may be. There is at most one for each subject there ever was, it
//! costs its place in a listing, and is not read.
//!
//! What is superseded is removed when the run ends, many objects to a call. A process that removes
//! what it believes superseded is right however late it is: there was a higher name, which goes
//! only when there is one higher still.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Digest;

use super::{AT_ONCE, Ledger};
use crate::error::{Error, ErrorKind, Result};

/// How often a subject is looked for anew whose object vanished between its listing and its
/// reading: somebody else writes.
const LOOKS: u32 = 10;

/// How many names are tried for one object. Only a write of before whose answer was lost can have
/// taken one.
const NAMES: u32 = 6;

/// A name shortened to this much still tells a person what it is of; file systems take 255.
const LONGEST: usize = 180;
const SHORTENED: usize = 100;

/// The place of an object among those of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    /// The run that says it.
    run: u64,
    /// Its place among what that run says.
    sequence: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}-{:06}", self.run, self.sequence)
    }
}

/// The highest object of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Top {
    version: Version,
    /// Whether it says that there is nothing any more.
    gone: bool,
}

impl Top {
    /// `None` for the name of something else.
    fn parse(file: &str) -> Option<Self> {
        let (version, ending) = file.split_once('.')?;
        let gone = match ending {
            "json" => false,
            "gone" => true,
            _ => return None,
        };
        let (run, sequence) = version.split_once('-')?;
        let version = Version {
            run: run.parse().ok()?,
            sequence: sequence.parse().ok()?,
        };
        let top = Self { version, gone };
        (top.file() == file).then_some(top)
    }

    fn file(self) -> String {
        let ending = if self.gone { "gone" } else { "json" };
        format!("{}.{ending}", self.version)
    }

    fn name(self, subject: &str) -> String {
        format!("{subject}/{}", self.file())
    }
}

/// What this process knows of the objects. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Versions(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// The run that is under way. 0 before one is begun.
    run: u64,
    /// The last number that this run has used.
    sequence: u64,
    /// The highest of each subject, as far as they were seen.
    tops: BTreeMap<String, Top>,
    /// The names of what is lower.
    superseded: BTreeSet<String>,
    /// What was read, by name: an object never changes.
    read: BTreeMap<String, Bytes>,
    /// Whether nothing of an older format is left.
    carried: bool,
    /// Whether the last run had no end when it was read.
    unended: Option<bool>,
}

impl Versions {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this run speaks.
    pub(super) fn begin(&self, run: u64) {
        let mut known = self.known();
        known.run = run;
        known.sequence = 0;
        known.unended = None;
    }

    /// The highest run that has said anything, as far as that was seen.
    pub(super) fn highest_run(&self) -> u64 {
        let known = self.known();
        let runs = known.tops.values().map(|top| top.version.run);
        runs.max().unwrap_or_default()
    }

    /// Whether the last run had no end when this process read it. `None` where it did not.
    pub(super) fn is_unended(&self) -> Option<bool> {
        self.known().unended
    }

    pub(super) fn set_unended(&self, unended: bool) {
        self.known().unended = Some(unended);
    }

    pub(super) fn are_carried(&self) -> bool {
        self.known().carried
    }

    pub(super) fn set_carried(&self) {
        self.known().carried = true;
    }
}

impl Known {
    fn see(&mut self, subject: &str, seen: Top) {
        let lower = match self.tops.get(subject).copied() {
            Some(top) if top.version == seen.version => return,
            Some(top) if top.version > seen.version => Some(seen),
            before => {
                self.tops.insert(subject.to_owned(), seen);
                before
            }
        };
        if let Some(lower) = lower {
            let name = lower.name(subject);
            self.read.remove(&name);
            self.superseded.insert(name);
        }
    }
}

impl Ledger {
    /// What is said last of each subject below a folder. `None` where that is that there is nothing
    /// any more.
    ///
    /// Errors: ledger, naming the object that cannot be read.
    pub(super) async fn said_below<T: DeserializeOwned + Send>(
        &self,
        folder: &str,
    ) -> Result<BTreeMap<String, Option<T>>> {
        let mut tops = self.tops(folder).await?;
        // What is said of the folder itself.
        tops.remove(folder);
        let reads = tops.into_iter().map(|(subject, top)| async move {
            let said = self.said_at(&subject, top).await?;
            Ok::<_, Error>((subject, said))
        });
        futures::stream::iter(reads)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Whether anything is said of a subject, as far as this process has listed it.
    pub(super) fn has_said(&self, subject: &str) -> bool {
        let known = self.versions.known();
        known.tops.get(subject).is_some_and(|top| !top.gone)
    }

    /// When something was said last of a subject, as far as this process has listed it.
    pub(super) fn version_of(&self, subject: &str) -> Option<Version> {
        let known = self.versions.known();
        known.tops.get(subject).map(|top| top.version)
    }

    /// What is said last of a subject. `None` where that is that there is nothing any more; or
    /// nothing is said.
    pub(super) async fn said<T: DeserializeOwned>(&self, subject: &str) -> Result<Option<T>> {
        match self.tops(subject).await?.remove(subject) {
            Some(top) => self.said_at(subject, top).await,
            None => Ok(None),
        }
    }

    /// The subjects below a folder of which anything is said, if only that there is nothing any
    /// more.
    pub(super) async fn subjects(&self, folder: &str) -> Result<BTreeSet<String>> {
        Ok(self.tops(folder).await?.into_keys().collect())
    }

    async fn tops(&self, folder: &str) -> Result<BTreeMap<String, Top>> {
        let names = self.below(folder).await?;
        let mut known = self.versions.known();
        let mut tops: BTreeMap<String, Top> = BTreeMap::new();
        for name in &names {
            let Some((subject, top)) = name
                .rsplit_once('/')
                .and_then(|(subject, file)| Some((subject, Top::parse(file)?)))
            else {
                continue;
            };
            known.see(subject, top);
            let highest = tops.entry(subject.to_owned()).or_insert(top);
            if highest.version < top.version {
                *highest = top;
            }
        }
        Ok(tops)
    }

    async fn said_at<T: DeserializeOwned>(&self, subject: &str, top: Top) -> Result<Option<T>> {
        let mut top = top;
        for _ in 0..LOOKS {
            if top.gone {
                return Ok(None);
            }
            let name = top.name(subject);
            let read = self.versions.known().read.get(&name).cloned();
            let found = match read {
                Some(bytes) => Some(bytes),
                None => self.read_bytes(&name).await?,
            };
            if let Some(bytes) = found {
                let said = self.decode(&name, &bytes)?;
                self.versions.known().read.insert(name, bytes);
                return Ok(Some(said));
            }
            // Superseded meanwhile: there is a higher one.
            match self.tops(subject).await?.remove(subject) {
                Some(higher) => top = higher,
                None => return Ok(None),
            }
        }
        let message = format!(
            "the ledger objects of {} vanish while they are read",
            self.path(subject)
        );
        Err(Error::new(ErrorKind::Ledger, message).hint("try again: somebody else writes them"))
    }

    /// Says something of a subject: durable when this returns, and what was said before counts no
    /// more. `None`: there is nothing any more.
    ///
    /// Errors: locked, when the lease was lost; ledger.
    pub(super) async fn say<T: Serialize>(&self, subject: &str, content: Option<&T>) -> Result<()> {
        let mut version = self.next(subject).await?;
        for _ in 0..NAMES {
            let gone = content.is_none();
            let top = Top { version, gone };
            let name = top.name(subject);
            let created = match content {
                Some(content) => self.create(&name, content).await?,
                None => self.create(&name, &serde_json::json!({})).await?,
            };
            if created {
                self.versions.known().see(subject, top);
                return Ok(());
            }
            version.sequence += 1;
        }
        let message = format!(
            "the names of the ledger objects of {} are taken",
            self.path(subject)
        );
        Err(Error::new(ErrorKind::Ledger, message).hint("another run writes to this ledger"))
    }

    /// The next version of a subject: of the run that is under way; where none is, of the last one,
    /// after whatever is said of it.
    async fn next(&self, subject: &str) -> Result<Version> {
        {
            let mut known = self.versions.known();
            if known.run > 0 {
                known.sequence += 1;
                return Ok(Version {
                    run: known.run,
                    sequence: known.sequence,
                });
            }
        }
        let last = Version {
            run: self.last_run_number().await?,
            sequence: 0,
        };
        let top = self.tops(subject).await?.remove(subject);
        let before = top.map_or(last, |top| top.version.max(last));
        Ok(Version {
            sequence: before.sequence + 1,
            ..before
        })
    }

    /// Removes what is superseded, as far as this process has seen it.
    ///
    /// Errors: locked; ledger. What stays is removed by the next run that sees it.
    pub(super) async fn tidy(&self) -> Result<()> {
        let superseded = std::mem::take(&mut self.versions.known().superseded);
        let superseded: Vec<String> = superseded.into_iter().collect();
        self.remove(&superseded).await
    }
}

/// The name of a folder for any text. Small letters, digits and `.-_` stand as they are, every
/// other byte as `=` and its number: names that differ by their letters' case alone are two also
/// where files' names do not. A long one is cut and ends with its hash.
pub(super) fn segment(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' => name.push(char::from(byte)),
            other => {
                name.push('=');
                // A string takes whatever is written to it.
                write!(name, "{other:02x}").unwrap_or_default();
            }
        }
    }
    if name.len() > LONGEST {
        name.truncate(SHORTENED);
        // No byte is written as two of these.
        name.push_str("==");
        name.push_str(&hex::encode(sha2::Sha256::digest(text.as_bytes())));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_has_a_folder_of_its_own() {
        assert_eq!(
            segment("aws/us-east-1/ecs.service/idp"),
            "aws=2fus-east-1=2fecs.service=2fidp"
        );
        assert_ne!(segment("a/B").to_lowercase(), segment("a/b"));
        let long = |last: &str| segment(&format!("{}{last}", "name.".repeat(60)));
        assert!(
            long("a").len() < 200 && long("a") != long("b"),
            "{}",
            long("a")
        );
    }

    #[test]
    fn only_names_of_ours_are_objects_of_a_subject() {
        let top = Top::parse("000012-000003.json").unwrap();
        assert_eq!((top.version.run, top.version.sequence), (12, 3));
        assert_eq!(top.file(), "000012-000003.json");
        assert!(Top::parse("000012-000004.gone").unwrap().gone);
        for other in [
            "000003.json",
            "12-3.json",
            "000012-000003.txt",
            ".json",
            "inventory.json",
        ] {
            assert!(Top::parse(other).is_none(), "{other}");
        }
    }
}
