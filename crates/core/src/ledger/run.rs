//! Runs: one apply, rollback or destroy, with its journal, one object per entry.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::address::Address;
use crate::engine::Journal;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Entry, Event, FORMAT};
use crate::ledger::{AT_ONCE, Item, Ledger, Release};
use crate::ours::{Certain, Noted};
use crate::redeploy::Redeploy;

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
    /// What an apply is to make serve, by the services' names: what serves and stands in no release
    /// is known by its image. Headers of before do not say it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contents: BTreeMap<String, Content>,
    /// The services of which a new roll-out was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub redeploys: BTreeMap<String, Redeploy>,
    /// The id of the plan file that it carries out, where it has one. Headers of before do not say
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Which command it is that was typed, on whichever targets: theirs are the same. Headers of
    /// before do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<String>,
}

/// What one service is to serve on this target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The image's digest.
    pub digest: String,
    /// The image's tag, when its source had one. Headers of before do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// What every target has of the content, as a hash.
    pub content_id: String,
    /// What of the content is the target's own, as a hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<String>,
}

impl Content {
    /// Whether it is what this release made serve.
    pub fn is_of(&self, release: &Release) -> bool {
        self.content_id == release.content_id && self.overrides == release.overrides
    }
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
    pub(super) ledger: Ledger,
    folder: String,
    number: u64,
    written: Mutex<u64>,
    /// Whether the run before did not end: what it said last of something may still be on its way,
    /// and counts for less than what this one says.
    after_unended: bool,
    /// By address. Two notes of one address take turns, those of others go at the same time.
    items: std::sync::Mutex<BTreeMap<Address, Slot>>,
}

type Slot = Arc<Mutex<Known>>;

/// What is known of one address.
#[derive(Default)]
struct Known {
    item: Option<Item>,
    /// Whether this run has said so itself.
    said: bool,
}

/// How many numbers are tried for one entry: an earlier one may have landed although its answer did
/// not come.
const NUMBERS: u32 = 3;

impl RunJournal {
    /// The run's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    fn slot(&self, address: &Address) -> Slot {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(items.entry(address.clone()).or_default())
    }

    async fn say(&self, address: &Address, known: &mut Known, item: Option<Item>) -> Result<()> {
        // Known only once it is durable: a second try after a failed write must write again.
        self.ledger.write_item(address, item.as_ref()).await?;
        *known = Known { item, said: true };
        Ok(())
    }
}

/// How many runs are read at the same time; each reads its entries, many at once.
const RUNS_AT_ONCE: usize = 4;

/// So long after it was made, what a cloud tells of a thing may be of before.
const YOUNG: SignedDuration = SignedDuration::from_secs(60);

fn folder(number: u64) -> String {
    format!("runs/{number:06}")
}

impl Ledger {
    /// Begins a run. The caller holds the lock; the header's number is set here.
    pub async fn begin_run(&self, header: RunHeader) -> Result<RunJournal> {
        let header = self.renames.exchanged(header);
        // What cannot be read is found before anything is written.
        let before = self.inventory().await?.items;
        let highest = self.versions.highest_run();
        let after_unended = match self.versions.is_unended() {
            Some(unended) => unended,
            None => self
                .last_run()
                .await?
                .is_some_and(|it| it.outcome().is_none()),
        };
        let mut number = self.last_run_number().await?.max(highest) + 1;
        let header = loop {
            let header = RunHeader {
                number,
                ..header.clone()
            };
            if self.create(&name_of_header(number), &header).await? {
                break header;
            }
            number += 1;
        };
        if !self
            .refuses_what_exists(&name_of_header(number), &header)
            .await?
        {
            return Err(self.unsafe_store());
        }
        self.versions.begin(number);
        self.carry_over().await?;
        let known = before.into_iter().map(|(address, item)| {
            let item = Some(item);
            let known = Known { item, said: false };
            (address, Arc::new(Mutex::new(known)))
        });
        Ok(RunJournal {
            ledger: self.clone(),
            folder: folder(number),
            number,
            written: Mutex::new(0),
            after_unended,
            items: std::sync::Mutex::new(known.collect()),
        })
    }

    fn unsafe_store(&self) -> Error {
        let message = format!(
            "the ledger of {} at {} writes over objects that are there although it is told not to: no lock holds in it",
            self.target,
            self.address()
        );
        Error::new(ErrorKind::Ledger, message).hint(
            "deployer needs a store that honours `If-None-Match: *`, as S3 and Google Cloud Storage do; an older stand-in for S3 may not",
        )
    }

    pub(super) async fn last_run_number(&self) -> Result<u64> {
        let names = self.list(HEADERS).await?;
        let last = names
            .last()
            .and_then(|name| name.trim_end_matches(".json").parse().ok());
        Ok(last.unwrap_or(0))
    }

    /// The headers of the last apply, and of the last one that was to make this image of a service
    /// serve. `None` where there is none.
    pub async fn applies_of(
        &self,
        service: &str,
        digest: &str,
    ) -> Result<(Option<RunHeader>, Option<RunHeader>)> {
        let mut last = None;
        for name in self.list(HEADERS).await?.iter().rev() {
            let header = self.header_at(name).await?;
            let Some(header) = header.filter(|it| it.command == "apply") else {
                continue;
            };
            let content = header.contents.get(service);
            if content.is_some_and(|content| content.digest == digest) {
                return Ok((last.or_else(|| Some(header.clone())), Some(header)));
            }
            last.get_or_insert(header);
        }
        Ok((last, None))
    }

    /// The last run. `None` before the first.
    pub async fn last_run(&self) -> Result<Option<RunRecord>> {
        let number = self.last_run_number().await?;
        let run = self.run(number).await?;
        if let Some(run) = &run {
            self.versions.set_unended(run.outcome().is_none());
        }
        Ok(run)
    }

    /// The roll-outs that the last run was asked for, where it did not come to its end: it is not
    /// known which of them it began.
    ///
    /// Errors: ledger.
    pub async fn unfinished_redeploys(&self) -> Result<BTreeMap<String, Redeploy>> {
        let number = self.last_run_number().await?;
        let header = self.header(number).await?;
        let redeploys = header.map(|it| it.redeploys).unwrap_or_default();
        if redeploys.is_empty() {
            return Ok(redeploys);
        }
        let ended = self
            .run(number)
            .await?
            .and_then(|it| it.outcome().map(drop));
        Ok(match ended {
            Some(()) => BTreeMap::new(),
            None => redeploys,
        })
    }

    /// The headers of the last runs, newest first, at most so many.
    ///
    /// Errors: ledger.
    pub async fn recent_runs(&self, most: usize) -> Result<Vec<RunHeader>> {
        let names = self.list(HEADERS).await?.into_iter().rev().take(most);
        let headers: Vec<Option<RunHeader>> = futures::stream::iter(names)
            .map(|name| async move { self.header_at(&name).await })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(headers.into_iter().flatten().collect())
    }

    /// The header of one run. `None` where there is none.
    pub(super) async fn header(&self, number: u64) -> Result<Option<RunHeader>> {
        self.header_at(&file_of_header(number)).await
    }

    async fn header_at(&self, file: &str) -> Result<Option<RunHeader>> {
        let header: Option<RunHeader> = self.read(&format!("{HEADERS}/{file}")).await?;
        Ok(header.map(|it| self.renames.exchanged(it)))
    }

    /// Whether any run began here.
    pub async fn has_runs(&self) -> Result<bool> {
        Ok(self.last_run_number().await? > 0)
    }

    /// The last runs, newest first, at most so many.
    pub async fn runs(&self, limit: usize) -> Result<Vec<RunRecord>> {
        let names = self.list(HEADERS).await?;
        let numbers = names.iter().rev();
        let numbers = numbers.filter_map(|name| name.trim_end_matches(".json").parse().ok());
        let runs: Vec<Option<RunRecord>> = futures::stream::iter(numbers.take(limit))
            .map(|number| self.run(number))
            .buffered(RUNS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(runs.into_iter().flatten().collect())
    }

    /// A run by its number. `None` where there is none.
    ///
    /// Errors: ledger.
    pub async fn run(&self, number: u64) -> Result<Option<RunRecord>> {
        let Some(header) = self.header(number).await? else {
            return Ok(None);
        };
        let folder = folder(number);
        let names = self.list(&folder).await?.into_iter();
        let entries: Vec<Option<EntryObject>> = futures::stream::iter(names)
            .map(|name| format!("{folder}/{name}"))
            .map(|name| async move { self.read(&name).await })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let entries = entries.into_iter().flatten().map(|object| object.entry);
        Ok(Some(RunRecord {
            header,
            entries: entries.collect(),
        }))
    }
}

const HEADERS: &str = "run-headers";

fn file_of_header(number: u64) -> String {
    format!("{number:06}.json")
}

fn name_of_header(number: u64) -> String {
    format!("{HEADERS}/{}", file_of_header(number))
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
        let is_last = matches!(event, Event::Ended { .. });
        let mut written = self.written.lock().await;
        for _ in 0..NUMBERS {
            let sequence = *written + 1;
            let entry = Entry {
                format: FORMAT,
                sequence,
                at: self.ledger.clock.now(),
                event: event.clone(),
            };
            let name = format!("{}/{sequence:06}.json", self.folder);
            let created = self.ledger.create(&name, &EntryObject { entry }).await?;
            // Taken by an entry of ours of which it was not known that it landed.
            *written = sequence;
            if !created {
                continue;
            }
            if is_last && let Err(error) = self.ledger.tidy().await {
                tracing::debug!(%error, "superseded objects of the ledger stay for now");
            }
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Ledger,
            format!(
                "the entries of run {} are written by somebody else",
                self.number
            ),
        ))
    }

    async fn remember(&self, address: &Address, noted: &Noted) -> Result<()> {
        let slot = self.slot(address);
        let mut known = slot.lock().await;
        let item = Item::with(known.item.as_ref(), noted, self.ledger.clock.now());
        // What an earlier run said may be followed by what it still has on its way. Before
        // something is changed, this run says it itself; and after a run that did not end, also
        // what is as it was.
        let stands = known.said || (noted.certain == Certain::Now && !self.after_unended);
        match known.item.as_ref() == Some(&item) && stands {
            true => Ok(()),
            false => self.say(address, &mut known, Some(item)).await,
        }
    }

    async fn forget(&self, address: &Address) -> Result<()> {
        let slot = self.slot(address);
        let mut known = slot.lock().await;
        match known.item {
            Some(_) => self.say(address, &mut known, None).await,
            None => Ok(()),
        }
    }

    async fn absent(&self, address: &Address) -> Result<()> {
        let now = self.ledger.clock.now();
        let item = self.slot(address).lock().await.item.clone();
        let young = item.is_some_and(|item| {
            let age = now.duration_since(item.since);
            item.gone_since.is_none() && age < YOUNG
        });
        match young {
            true => self.unseen(address).await,
            false => self.forget(address).await,
        }
    }

    async fn whole(&self) -> Result<()> {
        self.ledger.say_whole().await
    }

    async fn unseen(&self, address: &Address) -> Result<()> {
        let slot = self.slot(address);
        let mut known = slot.lock().await;
        let Some(item) = known.item.clone() else {
            return Ok(());
        };
        let gone_since = Some(self.ledger.clock.now());
        let item = Item { gone_since, ..item };
        self.say(address, &mut known, Some(item)).await
    }
}
