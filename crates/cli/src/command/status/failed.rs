//! What a target's ledger says of attempts that failed since what serves was released: a cloud that
//! put the old version back says nothing of them.

use std::collections::BTreeMap;

use deployer_core::error::Result;
use deployer_core::ledger::{Release, RunHeader};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::duration;
use crate::failure::Failure;
use crate::session::Place;
use crate::view::brief::brief;
use crate::view::foreign;
use crate::view::plan::{cause, cut};

/// So many of the newest reports are looked through.
const MOST: usize = 3;
/// So many of the newest runs are looked through for one that made all well again.
const RUNS: usize = 20;
/// The cause and the app's last line are no longer, in characters.
const ROOM: usize = 100;

/// The newest runs that failed on one target, and when all was well again.
pub(super) struct FailedRuns {
    /// Newest first.
    runs: Vec<(RunHeader, Vec<Failure>)>,
    /// Those since the oldest of them that did all that they were asked for, newest first.
    well: Vec<RunHeader>,
}

/// An attempt that failed for one service since its release.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    run: u64,
    at: Timestamp,
    /// When that was, for people.
    told: Timestamp,
    why: Option<String>,
    /// What the app printed last.
    said: Option<String>,
}

impl FailedRuns {
    /// Reads them. A report that this version cannot read is left out.
    ///
    /// Errors: the ledger's.
    pub(super) async fn read(place: &Place) -> Result<Self> {
        let headers = place.ledger.reported_runs(MOST).await?;
        let mut well = Vec::new();
        if let Some(oldest) = headers.last().map(|it| it.number) {
            let since = place.ledger.recent_runs(RUNS).await?.into_iter();
            let makes_serve = |it: &RunHeader| ["apply", "destroy"].contains(&it.command.as_str());
            for header in since.filter(|it| it.number >= oldest && makes_serve(it)) {
                let run = place.ledger.run(header.number).await?;
                // What was undone is as it was before, as was asked for.
                let outcome = run.as_ref().and_then(|run| run.outcome());
                if matches!(outcome, Some("succeeded" | "undone")) {
                    well.push(header);
                }
            }
        }
        let mut runs = Vec::new();
        for header in headers {
            if let Ok(Some(failures)) = place.ledger.report(header.number).await {
                runs.push((header, failures));
            }
        }
        Ok(Self { runs, well })
    }

    /// The newest attempt that failed for a service since this release was made.
    pub(super) fn of(&self, service: &str, release: Option<&Release>) -> Option<Failed> {
        let made = release.and_then(Release::made_by);
        // An apply of other services alone mends nothing here; a rollback makes a release.
        let is_of_it =
            |it: &&RunHeader| it.command == "destroy" || it.contents.contains_key(service);
        let well = self.well.iter().find(is_of_it);
        let since = well.map_or(0, |it| it.number).max(made.unwrap_or(0));
        // Where what serves was asked for and was not well, the cloud says how it is now.
        let is_what_serves = |it: &RunHeader| {
            let asked = it.contents.get(service).zip(release);
            let is_it = asked.is_some_and(|(asked, release)| asked.is_of(release));
            is_it && !it.redeploys.contains_key(service)
        };
        let newer = self.runs.iter().filter(|(it, _)| it.number > since);
        let mut newer = newer.filter(|(it, _)| !is_what_serves(it));
        newer.find_map(|(header, failures)| {
            let failure = failures.iter().find(|it| it.service == service)?;
            let first = failure.failed.first();
            let text = |member: &str| first?.pointer(member)?.as_str();
            let (message, at) = (text("/error/message"), text("/at"));
            let at = at.and_then(|it| it.parse().ok()).unwrap_or(header.at);
            Some(Failed {
                run: header.number,
                at,
                told: at,
                why: message.map(|it| cause(&brief(it))),
                said: failure.last_line().map(str::to_owned),
            })
        })
    }
}

impl Failed {
    /// Told as one moment with the same run's failure on another cloud, where they are so near:
    /// what they have in common is said once.
    pub(super) fn together(self, moments: &mut BTreeMap<u64, Timestamp>) -> Self {
        const NEAR: SignedDuration = SignedDuration::from_mins(1);
        let at = *moments.entry(self.run).or_insert(self.at);
        match at.duration_since(self.at).abs() < NEAR {
            true => Self { told: at, ..self },
            false => self,
        }
    }

    /// `run 3 failed 4m ago: "cannot read the configuration"`
    pub(super) fn in_words(&self, now: Timestamp) -> String {
        // The app's own words tell more than the cloud's.
        let why = match (&self.said, &self.why) {
            (Some(said), _) => format!(": \"{}\"", shown(said)),
            (None, Some(why)) => format!(": {}", shown(why)),
            (None, None) => String::new(),
        };
        let ago = duration::since(self.told, now);
        format!("run {} failed {ago} ago{why}", self.run)
    }

    /// What the app printed last, as the end of a sentence.
    pub(super) fn printed(&self) -> String {
        let said = self.said.as_ref();
        said.map_or_else(String::new, |said| {
            format!("; it printed last: \"{}\"", shown(said))
        })
    }

    /// For `--json`.
    pub(super) fn document(&self) -> Value {
        json!({"run": self.run, "at": self.at})
    }
}

fn shown(words: &str) -> String {
    foreign::one_line(&cut(words, ROOM))
}
