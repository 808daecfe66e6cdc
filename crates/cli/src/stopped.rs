//! A run that did not come to its end, as the next one tells of it.

use deployer_core::address::Address;
use deployer_core::error::Result;
use deployer_core::journal::{self, Event, Status};
use deployer_core::ledger::RunRecord;
use deployer_core::node::Action;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::args::Global;
use crate::duration;
use crate::session::Session;
use crate::view;
use crate::view::progress::verb;

/// Says what a run that was killed left on each target, before anything else is said. The plan then reads everything again: a
/// run that goes on is a run like any other.
pub async fn tell(global: &Global, session: &Session) -> Result<()> {
    for place in &session.places {
        let last = place.ledger.last_run().await?;
        let Some(last) = last.filter(|run| run.outcome().is_none()) else {
            continue;
        };
        let stopped = Stopped::new(&last)?;
        let cloud = place.name();
        if global.json {
            view::json_line(&json!({ "event": "resuming", "cloud": cloud, "run": stopped }));
        } else {
            sayln!("{cloud}: {}", stopped.words(session.clock.now()));
        }
    }
    Ok(())
}

/// What the journal of a stopped run says.
#[derive(Clone, Debug, Serialize)]
pub struct Stopped {
    /// Its number.
    pub number: u64,
    /// The command.
    pub command: String,
    /// Who: user and host.
    pub by: String,
    /// When it wrote last.
    pub at: Timestamp,
    /// What had been sent and is not known to have landed, or had landed and was not known to be ready.
    pub doubtful: Vec<Doubt>,
    /// How many nodes were ready.
    pub done: usize,
}

/// A node of which the journal does not tell the end.
#[derive(Clone, Debug, Serialize)]
pub struct Doubt {
    pub address: Address,
    pub action: Action,
}

impl Stopped {
    /// Reads a journal.
    ///
    /// Errors: ledger, when it is damaged.
    pub fn new(run: &RunRecord) -> Result<Self> {
        let standing = journal::replay(&run.entries)?;
        let counted = |wanted: Status| standing.values().filter(move |status| **status == wanted);
        let doubtful = run.entries.iter().filter_map(|entry| match &entry.event {
            Event::Started {
                address, action, ..
            } if matches!(
                standing.get(address),
                Some(Status::InDoubt | Status::Landed)
            ) =>
            {
                Some(Doubt {
                    address: address.clone(),
                    action: *action,
                })
            }
            _ => None,
        });
        Ok(Self {
            number: run.header.number,
            command: run.header.command.clone(),
            by: run.header.by.clone(),
            at: run.entries.last().map_or(run.header.at, |last| last.at),
            doubtful: doubtful.collect(),
            done: counted(Status::Ready).count(),
        })
    }

    /// `run 7 (apply) by deploy@runner-3 stopped 4 min ago during create aws:rds.instance/x; ...`
    pub fn words(&self, now: Timestamp) -> String {
        let ago = now.duration_since(self.at).try_into().unwrap_or_default();
        let during: Vec<String> = self
            .doubtful
            .iter()
            .map(|doubt| format!("{} {}", verb(doubt.action), doubt.address))
            .collect();
        let during = match during.is_empty() {
            true => " between two nodes".to_owned(),
            false => format!(" during {}", during.join(", ")),
        };
        format!(
            "run {} ({}) by {} stopped {} ago{during}, {} done; reading what it left and going on",
            self.number,
            self.command,
            self.by,
            duration::show(ago),
            self.done
        )
    }
}
