//! A run that did not come to its end, as the next one tells of it.

use std::time::Duration;

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
use crate::view::foreign;
use crate::view::progress::verb;

/// Says what a run that was killed left on each target, before anything else is said. The plan then
/// reads everything again: a run that goes on is a run like any other.
pub async fn tell(global: &Global, session: &Session) -> Result<()> {
    for place in &session.places {
        let last = place.ledger.last_run().await?;
        let Some(last) = last.filter(|run| run.outcome().is_none()) else {
            continue;
        };
        let cloud = place.name();
        // What it tells is for people alone: everything is read again.
        let stopped = match Stopped::new(&last) {
            Ok(stopped) => stopped,
            Err(error) => {
                let number = last.header.number;
                let why = error.chain().join(": ");
                match global.json {
                    true => view::json_line(&json!({
                        "event": "journal_damaged", "cloud": cloud, "number": number, "why": why,
                    })),
                    false => {
                        noteln!(
                            "{cloud}: run {number} did not end, and {why}; reading what it left"
                        )
                    }
                }
                continue;
            }
        };
        if global.json {
            view::json_line(&json!({ "event": "resuming", "cloud": cloud, "run": stopped }));
        } else {
            noteln!("{cloud}: {}", stopped.words(session.clock.now()));
        }
    }
    Ok(())
}

/// How long a request that was sent is on its way at most. A process that is killed takes back
/// nothing of what lies in the sockets: it arrives, and is done, when nobody waits for it any more.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// Returns once what a run that was killed had sent about nodes of a kind with this ending has
/// arrived, and whether there may have been any.
///
/// Errors: ledger.
pub async fn await_sent(session: &Session, kind: &str) -> Result<bool> {
    let mut until = None;
    for place in &session.places {
        let last = place.ledger.last_run().await?;
        // Of a journal that is damaged nothing is known but when it ended.
        let sent = |run: &RunRecord| match Stopped::new(run) {
            Ok(run) => run
                .doubtful
                .iter()
                .any(|it| it.address.kind.ends_with(kind)),
            Err(_) => true,
        };
        if let Some(run) = last.filter(|run| run.outcome().is_none() && sent(run)) {
            let at = run.entries.last().map_or(run.header.at, |last| last.at);
            until = until.max(Some(at + ON_ITS_WAY));
        }
    }
    let Some(until) = until else {
        return Ok(false);
    };
    if let Ok(left) = Duration::try_from(until.duration_since(session.clock.now())) {
        // Two machines' clocks differ: no wait is longer than the longest.
        session.clock.pause(left.min(ON_ITS_WAY)).await;
    }
    Ok(true)
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
    /// What had been sent and is not known to have landed, or had landed and was not known to be
    /// ready.
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

    /// `run 7 (apply) by deploy@runner-3 stopped 4m05s ago during create
    /// aws/us-east-1/rds.instance/x, 5 done; ...`
    pub fn words(&self, now: Timestamp) -> String {
        let ago = now.duration_since(self.at).try_into().unwrap_or_default();
        let during: Vec<String> = self
            .doubtful
            .iter()
            .map(|doubt| {
                let verb = verb(&doubt.address, doubt.action);
                format!("{verb} {}", foreign::address(&doubt.address))
            })
            .collect();
        let during = match during.is_empty() {
            true => " between two nodes".to_owned(),
            false => format!(" during {}", during.join(", ")),
        };
        format!(
            "run {} ({}) by {} stopped {} ago{during}, {} done; reading what it left and going on",
            self.number,
            foreign::one_line(&self.command),
            foreign::one_line(&self.by),
            duration::show(ago),
            self.done
        )
    }
}

#[cfg(test)]
mod tests {
    use deployer_core::journal::{Entry, FORMAT};
    use deployer_core::ledger::RunHeader;

    use super::*;

    const DATABASE: &str = "aws/us-east-1/rds.instance/idp-test-main";
    const SECRET: &str = "aws/us-east-1/secretsmanager.secret//idp/test/main-password";
    const SERVICE: &str = "aws/us-east-1/ecs.service/idp-test-idp";

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn started(text: &str, action: Action) -> Event {
        Event::Started {
            address: address(text),
            action,
            token: "a token".into(),
        }
    }

    fn landed(text: &str) -> Event {
        Event::Landed {
            address: address(text),
        }
    }

    fn ready(text: &str) -> Event {
        Event::Ready {
            address: address(text),
        }
    }

    fn failed(text: &str) -> Event {
        Event::Failed {
            address: address(text),
            why: "no".into(),
        }
    }

    /// A run that began at 0 s and wrote an entry each second after it.
    fn run(events: Vec<Event>) -> RunRecord {
        let at = |second| Timestamp::from_second(second).unwrap();
        let entries = (1..).zip(events).map(|(sequence, event)| Entry {
            format: FORMAT,
            sequence,
            at: at(i64::try_from(sequence).unwrap()),
            event,
        });
        RunRecord {
            header: RunHeader {
                number: 7,
                command: "apply".into(),
                by: "deploy@runner-3".into(),
                at: at(0),
                manifest: json!({}),
                contents: std::collections::BTreeMap::new(),
                redeploys: std::collections::BTreeMap::new(),
                plan: None,
                typed: None,
            },
            entries: entries.collect(),
        }
    }

    /// What is said so long after the last entry.
    #[track_caller]
    fn check(events: Vec<Event>, later: Duration, expected: &str) {
        let stopped = Stopped::new(&run(events)).unwrap();
        assert_eq!(
            stopped.words(stopped.at + later),
            format!("{expected}; reading what it left and going on")
        );
    }

    #[test]
    fn a_stopped_run_is_told_with_who_when_and_during_what() {
        check(
            vec![
                started(SECRET, Action::Create),
                landed(SECRET),
                ready(SECRET),
                started(DATABASE, Action::Create),
            ],
            Duration::from_secs(245),
            "run 7 (apply) by deploy@runner-3 stopped 4m05s ago \
             during create aws/us-east-1/rds.instance/idp-test-main, 1 done",
        );
    }

    #[test]
    fn what_had_landed_and_was_not_ready_is_in_doubt_too_and_each_is_named_in_its_order() {
        check(
            vec![
                started(SERVICE, Action::Update),
                started(DATABASE, Action::Replace),
                landed(SERVICE),
                started(SECRET, Action::Delete),
            ],
            Duration::from_secs(12),
            "run 7 (apply) by deploy@runner-3 stopped 12s ago \
             during update aws/us-east-1/ecs.service/idp-test-idp, \
             replace aws/us-east-1/rds.instance/idp-test-main, \
             delete aws/us-east-1/secretsmanager.secret /idp/test/main-password, 0 done",
        );
    }

    #[test]
    fn a_run_that_waited_for_what_settles_is_told_as_that() {
        check(
            vec![started(SERVICE, Action::NoOp), landed(SERVICE)],
            Duration::from_secs(3 * 3600),
            "run 7 (apply) by deploy@runner-3 stopped 3h00m ago \
             during wait for aws/us-east-1/ecs.service/idp-test-idp, 0 done",
        );
    }

    #[test]
    fn a_run_of_which_everything_is_known_stopped_between_two_nodes() {
        let between = "run 7 (apply) by deploy@runner-3 stopped 0.5s ago between two nodes";
        let soon = Duration::from_millis(500);
        check(Vec::new(), soon, &format!("{between}, 0 done"));
        let events = vec![
            started(SECRET, Action::Create),
            landed(SECRET),
            ready(SECRET),
            started(SERVICE, Action::Create),
            failed(SERVICE),
        ];
        check(events, soon, &format!("{between}, 1 done"));
    }

    #[test]
    fn a_clock_that_is_behind_says_that_it_was_just_now() {
        let stopped = Stopped::new(&run(vec![started(SERVICE, Action::Create)])).unwrap();
        let words = stopped.words(Timestamp::UNIX_EPOCH);
        assert!(
            words.contains(" stopped 0.0s ago during create "),
            "{words}"
        );
    }

    #[test]
    fn a_damaged_journal_is_an_error_and_no_story() {
        let error = Stopped::new(&run(vec![landed(SERVICE)])).unwrap_err();
        assert!(
            error.to_string().contains("the journal is damaged"),
            "{error}"
        );
    }
}
