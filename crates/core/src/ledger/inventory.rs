//! What exists in the target because of us, written before each create.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::Result;
use crate::ledger::Ledger;

const NAME: &str = "inventory.json";

/// One thing that exists, or may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What it needed when it was made: it is deleted before these.
    pub needs: BTreeSet<Address>,
    /// Since when.
    pub since: Timestamp,
    /// Since when it is not seen any more. It is forgotten when a later run does not see it either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Timestamp>,
}

/// Everything that exists, or may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// By address.
    pub items: BTreeMap<Address, Item>,
}

impl Inventory {
    /// What was made from a thing.
    pub fn users_of<'a>(&'a self, address: &'a Address) -> impl Iterator<Item = &'a Address> {
        let uses = |item: &&(&Address, &Item)| item.1.needs.contains(address);
        self.items
            .iter()
            .filter(move |item| uses(&item))
            .map(|(user, _)| user)
    }
}

impl Ledger {
    /// What exists. Empty before the first apply.
    pub async fn inventory(&self) -> Result<Inventory> {
        Ok(self.read(NAME).await?.unwrap_or_default())
    }

    /// Replaces the inventory. Only the holder of the lock may.
    pub async fn write_inventory(&self, inventory: &Inventory) -> Result<()> {
        self.write(NAME, inventory).await
    }
}
