//! What a target's ledger says of attempts that failed since what serves was released: a cloud that
//! put the old version back says nothing of them.

use deployer_core::error::Result;
use deployer_core::ledger::{Release, RunHeader};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::duration;
use crate::failure::Failure;
use crate::session::Place;
use crate::view::failure::brief;
use crate::view::foreign;
use crate::view::plan::{cause, cut};

/// So many of the newest reports are looked through.
const MOST: usize = 3;
/// The cause and the app's last line are no longer, in characters.
const ROOM: usize = 100;

/// The newest runs that failed on one target, and when all was well again.
pub(super) struct FailedRuns {
    /// Newest first.
    runs: Vec<(RunHeader, Vec<Failure>)>,
    /// The last run, where it made everything serve that it was asked for; else 0.
    mended: u64,
}

/// An attempt that failed for one service since its release.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    run: u64,
    at: Timestamp,
    why: Option<String>,
    /// What the app printed last.
    said: Option<String>,
}

impl FailedRuns {
    /// Reads them. A report that this version cannot read is left out.
    ///
    /// Errors: the ledger's.
    pub(super) async fn read(place: &Place) -> Result<Self> {
        let (headers, last) =
            tokio::try_join!(place.ledger.reported_runs(MOST), place.ledger.last_run())?;
        let well = last.filter(|run| {
            let makes_serve =
                ["apply", "rollback", "destroy"].contains(&run.header.command.as_str());
            // What was undone is as it was before, as was asked for.
            makes_serve && matches!(run.outcome(), Some("succeeded" | "undone"))
        });
        let mut runs = Vec::new();
        for header in headers {
            if let Ok(Some(failures)) = place.ledger.report(header.number).await {
                runs.push((header, failures));
            }
        }
        Ok(Self {
            runs,
            mended: well.map_or(0, |run| run.header.number),
        })
    }

    /// The newest attempt that failed for a service since this release was made.
    pub(super) fn of(&self, service: &str, release: Option<&Release>) -> Option<Failed> {
        let made = release.and_then(|it| it.run.strip_prefix("run ")?.parse().ok());
        let since = self.mended.max(made.unwrap_or(0));
        let mut newer = self.runs.iter().filter(|(it, _)| it.number > since);
        newer.find_map(|(header, failures)| {
            let failure = failures.iter().find(|it| it.service == service)?;
            let first = failure.failed.first();
            let text = |member: &str| first?.pointer(member)?.as_str();
            let (message, at) = (text("/error/message"), text("/at"));
            Some(Failed {
                run: header.number,
                at: at.and_then(|it| it.parse().ok()).unwrap_or(header.at),
                why: message.map(|it| cause(&brief(it))),
                said: failure.last_line().map(str::to_owned),
            })
        })
    }
}

impl Failed {
    /// `run 3 failed 4m ago: "cannot read the configuration"`
    pub(super) fn in_words(&self, now: Timestamp) -> String {
        // The app's own words tell more than the cloud's.
        let why = match (&self.said, &self.why) {
            (Some(said), _) => format!(": \"{}\"", shown(said)),
            (None, Some(why)) => format!(": {}", shown(why)),
            (None, None) => String::new(),
        };
        let ago = duration::since(self.at, now);
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
