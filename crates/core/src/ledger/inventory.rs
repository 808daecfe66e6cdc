//! What exists in the target because of us, written before each create.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::Result;
use crate::fields::Fields;
use crate::ledger::Ledger;
use crate::ours::{Began, Certain, Noted, is_false};

const NAME: &str = "inventory.json";

/// One thing that exists, or may. Older versions noted only the first two members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What it needed when it was made: it is deleted before these.
    pub needs: BTreeSet<Address>,
    /// Since when.
    pub since: Timestamp,
    /// Whether it was there before us: then it is released, never deleted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub adopted: bool,
    /// Whether it holds data, where its kind alone does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<bool>,
    /// The keys of the tags that we set, or may have, beside our mark: only these are ever removed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// What we wrote, or may have, where it carries no mark: it is ours only while it says one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrote: Vec<Fields>,
    /// Since when it is not seen any more. It is forgotten when a later run does not see it either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Timestamp>,
}

impl Item {
    /// What stands there once this is noted of it.
    fn with(before: Option<&Self>, noted: &Noted, now: Timestamp) -> Self {
        let adopted = match (before, noted.began) {
            (_, Began::Made) | (None, Began::Before) => false,
            (Some(before), Began::Before | Began::Found) => before.adopted,
            (None, Began::Found) => true,
        };
        // What people put there stays theirs, whatever is asked for later; unless it is made anew.
        let before_data = before.and_then(|item| item.data);
        let data = match before_data {
            Some(true) if noted.began != Began::Made => before_data,
            _ => noted.data.or(before_data),
        };
        let mut item = Self {
            needs: noted.needs.clone(),
            since: before.map_or(now, |item| item.since),
            adopted,
            data,
            tags: noted.tags.clone(),
            wrote: noted.wrote.iter().cloned().collect(),
            gone_since: None,
        };
        // Until it is known to have landed, what was there before may still be.
        if let Some(before) = before.filter(|_| noted.certain != Certain::Now) {
            if noted.certain == Certain::InPart {
                item.needs.extend(before.needs.iter().cloned());
            }
            item.tags.extend(before.tags.iter().cloned());
            let earlier = before.wrote.iter();
            let earlier = earlier.filter(|it| noted.wrote.as_ref() != Some(it));
            item.wrote = earlier.cloned().chain(noted.wrote.clone()).collect();
        }
        item
    }
}

/// Everything that exists, or may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// By address.
    pub items: BTreeMap<Address, Item>,
}

impl Inventory {
    /// Notes that this exists, or will. `None` when that is known already.
    pub fn with(&self, address: &Address, noted: &Noted, now: Timestamp) -> Option<Self> {
        let before = self.items.get(address);
        let item = Item::with(before, noted, now);
        if before == Some(&item) {
            return None;
        }
        let mut changed = self.clone();
        changed.items.insert(address.clone(), item);
        Some(changed)
    }

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

    /// Whether there ever was an inventory: it is written before anything is made.
    pub async fn has_inventory(&self) -> Result<bool> {
        Ok(self.read_bytes(NAME).await?.is_some())
    }

    /// Replaces the inventory. Only the holder of the lock may.
    pub async fn write_inventory(&self, inventory: &Inventory) -> Result<()> {
        self.write(NAME, inventory).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(leads_to: &str) -> Fields {
        let mut fields = Fields::new();
        fields.set("leads_to", leads_to);
        fields
    }

    fn address() -> Address {
        "aws/r/route53.record/a.example.com/A".parse().unwrap()
    }

    fn noted(leads_to: &str, certain: Certain) -> Noted {
        Noted {
            wrote: Some(fields(leads_to)),
            certain,
            ..Noted::default()
        }
    }

    #[test]
    fn both_values_are_ours_until_one_is_known_to_stand_there() {
        let note = |inventory: Inventory, noted: &Noted| {
            let changed = inventory.with(&address(), noted, Timestamp::UNIX_EPOCH);
            changed.unwrap_or(inventory)
        };
        let wrote = |inventory: &Inventory| inventory.items[&address()].wrote.clone();
        let made = note(Inventory::default(), &noted("one", Certain::Now));
        let begun = note(made, &noted("two", Certain::NotYet));
        assert_eq!(wrote(&begun), [fields("one"), fields("two")]);
        assert_eq!(
            begun.with(
                &address(),
                &noted("two", Certain::NotYet),
                Timestamp::UNIX_EPOCH
            ),
            None
        );
        let landed = note(begun, &noted("two", Certain::Now));
        assert_eq!(wrote(&landed), [fields("two")]);
    }

    #[test]
    fn what_was_found_stays_adopted_until_it_is_made_anew() {
        let now = Timestamp::UNIX_EPOCH;
        let began = |began| Noted {
            began,
            ..Noted::default()
        };
        let found = Inventory::default().with(&address(), &began(Began::Found), now);
        let found = found.expect("it was not known");
        assert!(found.items[&address()].adopted);
        assert_eq!(found.with(&address(), &began(Began::Before), now), None);
        let made = found.with(&address(), &began(Began::Made), now);
        let made = made.expect("that is news");
        assert!(!made.items[&address()].adopted);
        // What we made stays ours when its mark is gone.
        assert_eq!(made.with(&address(), &began(Began::Found), now), None);
    }

    #[test]
    fn an_inventory_of_an_older_version_reads_fine() {
        let text =
            r#"{"items":{"aws/r/ecs.service/s":{"needs":[],"since":"2026-01-01T00:00:00Z"}}}"#;
        let inventory: Inventory = serde_json::from_str(text).unwrap();
        let item = inventory.items.values().next().unwrap();
        assert!(!item.adopted && item.tags.is_empty() && item.wrote.is_empty());
        // And is written as it was where there is nothing to note.
        assert_eq!(serde_json::to_string(&inventory).unwrap(), text);
    }
}
