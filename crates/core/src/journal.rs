//! The written entries of one run, as a pure state machine over each node.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::node::Action;

/// The version of the entries' format.
pub const FORMAT: u32 = 1;

/// One entry; durable before the run goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// [`FORMAT`].
    pub format: u32,
    /// Its place in the run, from 1.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Event {
    /// A call is about to go out.
    Started {
        /// The node.
        address: Address,
        /// What is being done.
        action: Action,
        /// The idempotency token of the call.
        token: String,
    },
    /// The cloud took the call.
    Landed {
        /// The node.
        address: Address,
    },
    /// The node is ready.
    Ready {
        /// The node.
        address: Address,
    },
    /// The node failed.
    Failed {
        /// The node.
        address: Address,
        /// Why; never a secret.
        why: String,
    },
    /// What was there before is about to be put back.
    Undoing {
        /// The node.
        address: Address,
        /// The idempotency token of the call.
        token: String,
    },
    /// It is as it was before the run, or stays as it is.
    Undone {
        /// The node.
        address: Address,
        /// Why it stays. `None` when it was put back.
        stays: Option<String>,
    },
    /// The undo failed: a person has to look.
    NotUndone {
        /// The node.
        address: Address,
        /// Why; never a secret.
        why: String,
    },
    /// The run ended.
    Ended {
        /// `succeeded`, `failed`, `interrupted`, `detached`.
        outcome: String,
    },
}

/// How a node stands in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing was sent.
    Untouched,
    /// A call went out; whether it landed is not known.
    InDoubt,
    /// The cloud took the call.
    Landed,
    /// Ready.
    Ready,
    /// Failed.
    Failed,
    /// The call that puts back what was there before went out; whether it landed is not known.
    Undoing,
    /// As before the run, or left as it is on purpose.
    Undone,
}

/// The next status, or an error for an entry that cannot follow.
pub fn next_status(status: Status, event: &Event) -> Result<Status> {
    let next = match (status, event) {
        (Status::Untouched | Status::Failed | Status::Ready, Event::Started { .. }) => {
            Status::InDoubt
        }
        (Status::InDoubt, Event::Landed { .. }) => Status::Landed,
        (Status::Landed, Event::Ready { .. }) => Status::Ready,
        (Status::InDoubt | Status::Landed, Event::Failed { .. }) => Status::Failed,
        (
            Status::InDoubt | Status::Landed | Status::Ready | Status::Failed,
            Event::Undoing { .. },
        ) => Status::Undoing,
        (Status::Undoing, Event::Undone { .. }) => Status::Undone,
        (Status::Undoing, Event::NotUndone { .. }) => Status::Failed,
        (_, Event::Ended { .. }) => status,
        (status, event) => {
            return Err(Error::new(
                ErrorKind::Ledger,
                format!("the journal is damaged: {event:?} cannot follow {status:?}"),
            ));
        }
    };
    Ok(next)
}

/// How every node of a run stands.
///
/// Errors: ledger, when entries are missing or out of order.
pub fn replay(entries: &[Entry]) -> Result<BTreeMap<Address, Status>> {
    let mut statuses = BTreeMap::new();
    for (place, entry) in (1..).zip(entries) {
        if entry.format != FORMAT {
            return Err(Error::new(
                ErrorKind::Ledger,
                format!(
                    "journal entry {} has format {}, this version reads {FORMAT}",
                    entry.sequence, entry.format
                ),
            ));
        }
        if entry.sequence != place {
            return Err(Error::new(
                ErrorKind::Ledger,
                format!("journal entry {place} is missing"),
            ));
        }
        if let Some(address) = entry.event.address() {
            let status = statuses.get(address).copied().unwrap_or(Status::Untouched);
            statuses.insert(address.clone(), next_status(status, &entry.event)?);
        }
    }
    Ok(statuses)
}

impl Event {
    /// The node it is about. `None` for the end of the run.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Started { address, .. }
            | Self::Landed { address }
            | Self::Ready { address }
            | Self::Failed { address, .. }
            | Self::Undoing { address, .. }
            | Self::Undone { address, .. }
            | Self::NotUndone { address, .. } => Some(address),
            Self::Ended { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(events: Vec<Event>) -> Result<BTreeMap<Address, Status>> {
        let entries: Vec<Entry> = (1..)
            .zip(events)
            .map(|(sequence, event)| Entry {
                format: FORMAT,
                sequence,
                at: Timestamp::UNIX_EPOCH,
                event,
            })
            .collect();
        replay(&entries)
    }

    #[test]
    fn a_call_without_its_landing_is_in_doubt() {
        let address: Address = "aws/us-east-1/ecs.service/x".parse().unwrap();
        let started = Event::Started {
            address: address.clone(),
            action: Action::Create,
            token: "t".into(),
        };
        assert_eq!(
            check(vec![started.clone()]).unwrap()[&address],
            Status::InDoubt
        );
        let landed = Event::Landed {
            address: address.clone(),
        };
        assert_eq!(
            check(vec![started, landed.clone()]).unwrap()[&address],
            Status::Landed
        );
        assert!(
            check(vec![landed]).is_err(),
            "nothing lands that was never started"
        );
    }

    #[test]
    fn an_entry_has_a_stable_shape() {
        let entry = Entry {
            format: FORMAT,
            sequence: 1,
            at: Timestamp::UNIX_EPOCH,
            event: Event::Started {
                address: "gcp/us-central1/run.service/x".parse().unwrap(),
                action: Action::Update,
                token: "t".into(),
            },
        };
        insta::assert_json_snapshot!(entry, @r#"
        {
          "format": 1,
          "sequence": 1,
          "at": "1970-01-01T00:00:00Z",
          "event": {
            "is": "started",
            "address": "gcp/us-central1/run.service/x",
            "action": "update",
            "token": "t"
          }
        }
        "#);
    }
}
