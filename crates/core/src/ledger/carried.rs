//! What ledgers of format 1 kept in one object for everything: read as what no run has said yet,
//! and carried over when the next run begins.
//!
//! Whatever is said of a subject in the present format counts more. Killed at any write, the next
//! run carries over the rest. The last write makes `inventory.json` say the format alone: deployers
//! of before read it first, and refuse from then on.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::left::Left;
use super::migration::Records;
use super::{AT_ONCE, FORMAT, Hold, Inventory, Ledger};
use crate::error::Result;

/// The inventory of format 1, and what says that there is none of it any more.
const INVENTORY: &str = "inventory.json";
const LEFT: &str = "left.json";
const MIGRATIONS: &str = "migrations.json";
const HOLDS: &str = "holds";

/// What stands in `inventory.json` once everything is carried over.
#[derive(Serialize, Deserialize)]
struct Marker {
    note: String,
}

/// The object that says so: a format of its own tells it from an inventory.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Ledger {
    /// Whether nothing of format 1 is left. What is so stays so.
    async fn is_carried(&self) -> Result<bool> {
        Ok(self.versions.are_carried() || self.older_items().await?.is_none())
    }

    /// The inventory of format 1: empty where there is none. `None` once everything is carried
    /// over.
    async fn older_items(&self) -> Result<Option<Inventory>> {
        let Some(bytes) = self.read_bytes(INVENTORY).await? else {
            return Ok(Some(Inventory::default()));
        };
        let format = serde_json::from_slice::<Format>(&bytes).map(|it| it.format);
        if format.is_ok_and(|format| format == FORMAT) {
            self.decode::<Marker>(INVENTORY, &bytes)?;
            self.versions.set_carried();
            return Ok(None);
        }
        self.decode(INVENTORY, &bytes).map(Some)
    }

    pub(super) async fn older_inventory(&self) -> Result<Inventory> {
        match self.versions.are_carried() {
            true => Ok(Inventory::default()),
            false => Ok(self.older_items().await?.unwrap_or_default()),
        }
    }

    pub(super) async fn older_left(&self) -> Result<Option<Left>> {
        match self.is_carried().await? {
            true => Ok(None),
            false => self.read(LEFT).await,
        }
    }

    pub(super) async fn older_migrations(&self) -> Result<Records> {
        match self.is_carried().await? {
            true => Ok(Records::default()),
            false => Ok(self.read(MIGRATIONS).await?.unwrap_or_default()),
        }
    }

    /// The holds on a service, by the release that each rejects.
    pub(super) async fn older_holds(&self, service: &str) -> Result<BTreeMap<u64, Hold>> {
        let mut holds = BTreeMap::new();
        if self.is_carried().await? {
            return Ok(holds);
        }
        // Where there was one hold for a service it had no folder.
        let mut names = vec![format!("{HOLDS}/{service}.json")];
        let folder = format!("{HOLDS}/{service}");
        let files = self.list(&folder).await?;
        names.extend(files.into_iter().map(|file| format!("{folder}/{file}")));
        for name in names {
            let hold: Option<Hold> = self.read(&name).await?;
            holds.extend(hold.map(|hold| (hold.rejected, hold)));
        }
        Ok(holds)
    }

    /// Says in the present format what stands in an older one, removes that, and says that it is
    /// done. A run is under way: its words they are.
    ///
    /// Errors: locked; ledger. What is carried over by then counts, the next run does the rest.
    pub(super) async fn carry_over(&self) -> Result<()> {
        if self.is_carried().await? {
            return Ok(());
        }
        let older = self.older_hold_names().await?;
        let mut services: Vec<&str> = older.iter().map(|(service, _)| service.as_str()).collect();
        services.dedup();
        tokio::try_join!(
            self.carry_inventory(),
            self.carry_left(),
            self.carry_migrations()
        )?;
        futures::stream::iter(services)
            .map(|service| self.carry_holds(service))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        let mut names: Vec<String> = older.into_iter().map(|(_, name)| name).collect();
        for name in [LEFT, MIGRATIONS] {
            if self.read_bytes(name).await?.is_some() {
                names.push(name.to_owned());
            }
        }
        self.remove(&names).await?;
        let note = "what it had stands below `inventory/`".to_owned();
        self.put_constant(INVENTORY, &Marker { note }).await?;
        self.versions.set_carried();
        Ok(())
    }

    /// The names of the holds of format 1, each with its service, in the order of services.
    async fn older_hold_names(&self) -> Result<Vec<(String, String)>> {
        let mut names = Vec::new();
        for name in self.below(HOLDS).await? {
            let parts: Vec<&str> = name.split('/').collect();
            let service = match parts.as_slice() {
                [_, file] => file.trim_end_matches(".json"),
                [_, service, _] => service,
                _ => continue,
            };
            names.push((service.to_owned(), name.clone()));
        }
        names.sort();
        Ok(names)
    }
}
