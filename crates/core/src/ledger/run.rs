//! Runs: one apply, rollback or destroy, with its journal, one object per entry.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::address::Address;
use crate::engine::Journal;
use crate::error::Result;
use crate::journal::{Entry, Event, FORMAT};
use crate::ledger::{Inventory, Ledger};
use crate::ours::Noted;

/// What is known when a run begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHeader {
    /// From 1.
    pub number: u64,
    /// The command: `apply`, `rollback`, `destroy`, `migrate`.
    pub command: String,
    /// Who: user and host.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The manifest, merged; it names secrets and holds no value.
    pub manifest: serde_json::Value,
}

/// A run as it stands in the ledger.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// The header.
    pub header: RunHeader,
    /// The entries, in order.
    pub entries: Vec<Entry>,
}

impl RunRecord {
    /// How it ended. `None` when it did not: it still runs, or it was killed.
    pub fn outcome(&self) -> Option<&str> {
        self.entries
            .iter()
            .rev()
            .find_map(|entry| match &entry.event {
                Event::Ended { outcome } => Some(outcome.as_str()),
                Event::Started { .. }
                | Event::Landed { .. }
                | Event::Ready { .. }
                | Event::Failed { .. }
                | Event::Undoing { .. }
                | Event::Undone { .. }
                | Event::NotUndone { .. } => None,
            })
    }
}

/// The journal of a run that is under way; it also keeps the inventory.
pub struct RunJournal {
    ledger: Ledger,
    folder: String,
    number: u64,
    written: Mutex<u64>,
    inventory: Mutex<Inventory>,
}

impl RunJournal {
    /// The run's number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// So long after it was made, what a cloud tells of a thing may be of before.
const YOUNG: SignedDuration = SignedDuration::from_secs(60);

fn folder(number: u64) -> String {
    format!("runs/{number:06}")
}

impl Ledger {
    /// Begins a run. The caller holds the lock; the header's number is set here.
    pub async fn begin_run(&self, header: RunHeader) -> Result<RunJournal> {
        let inventory = self.inventory().await?;
        let mut number = self.last_run_number().await? + 1;
        loop {
            let header = RunHeader {
                number,
                ..header.clone()
            };
            if self
                .create(&format!("run-headers/{number:06}.json"), &header)
                .await?
            {
                break;
            }
            number += 1;
        }
        Ok(RunJournal {
            ledger: self.clone(),
            folder: folder(number),
            number,
            written: Mutex::new(0),
            inventory: Mutex::new(inventory),
        })
    }

    async fn last_run_number(&self) -> Result<u64> {
        let names = self.list("run-headers").await?;
        let last = names
            .last()
            .and_then(|name| name.trim_end_matches(".json").parse().ok());
        Ok(last.unwrap_or(0))
    }

    /// The header of the last run of a command. `None` before the first.
    pub async fn last_header(&self, command: &str) -> Result<Option<RunHeader>> {
        for name in self.list("run-headers").await?.iter().rev() {
            let header: Option<RunHeader> = self.read(&format!("run-headers/{name}")).await?;
            if header.as_ref().is_some_and(|it| it.command == command) {
                return Ok(header);
            }
        }
        Ok(None)
    }

    /// The last run. `None` before the first.
    pub async fn last_run(&self) -> Result<Option<RunRecord>> {
        let number = self.last_run_number().await?;
        let Some(header) = self.read(&format!("run-headers/{number:06}.json")).await? else {
            return Ok(None);
        };
        let folder = folder(number);
        let mut entries = Vec::new();
        for name in self.list(&folder).await? {
            entries.extend(
                self.read::<EntryObject>(&format!("{folder}/{name}"))
                    .await?
                    .map(|o| o.entry),
            );
        }
        Ok(Some(RunRecord { header, entries }))
    }
}

#[derive(Serialize, Deserialize)]
struct EntryObject {
    entry: Entry,
}

#[async_trait]
impl Journal for RunJournal {
    async fn permit(&self) -> Result<()> {
        self.ledger.permit().ask().await
    }

    async fn write(&self, event: Event) -> Result<()> {
        let mut written = self.written.lock().await;
        let sequence = *written + 1;
        let entry = Entry {
            format: FORMAT,
            sequence,
            at: self.ledger.clock.now(),
            event,
        };
        let name = format!("{}/{sequence:06}.json", self.folder);
        self.ledger.write(&name, &EntryObject { entry }).await?;
        *written = sequence;
        Ok(())
    }

    async fn remember(&self, address: &Address, noted: &Noted) -> Result<()> {
        let mut inventory = self.inventory.lock().await;
        let Some(changed) = inventory.with(address, noted, self.ledger.clock.now()) else {
            return Ok(());
        };
        // Known only once it is durable: a second try after a failed write must write again.
        self.ledger.write_inventory(&changed).await?;
        *inventory = changed;
        Ok(())
    }

    async fn forget(&self, address: &Address) -> Result<()> {
        let mut inventory = self.inventory.lock().await;
        let mut changed = inventory.clone();
        if changed.items.remove(address).is_none() {
            return Ok(());
        }
        self.ledger.write_inventory(&changed).await?;
        *inventory = changed;
        Ok(())
    }

    async fn absent(&self, address: &Address) -> Result<()> {
        let now = self.ledger.clock.now();
        let item = self.inventory.lock().await.items.get(address).cloned();
        let young = item.is_some_and(|item| {
            let age = now.duration_since(item.since);
            item.gone_since.is_none() && age < YOUNG
        });
        match young {
            true => self.unseen(address).await,
            false => self.forget(address).await,
        }
    }

    async fn unseen(&self, address: &Address) -> Result<()> {
        let mut inventory = self.inventory.lock().await;
        let mut changed = inventory.clone();
        let Some(item) = changed.items.get_mut(address) else {
            return Ok(());
        };
        item.gone_since = Some(self.ledger.clock.now());
        self.ledger.write_inventory(&changed).await?;
        *inventory = changed;
        Ok(())
    }
}
