//! What exists in the target because of us, written before each create.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::Result;
use crate::fields::Fields;
use crate::ledger::version::segment;
use crate::ledger::{AT_ONCE, Ledger};
use crate::ours::{Began, Certain, Noted, Ours, Past, is_false, tag_keys};

const FOLDER: &str = "inventory";

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
    /// What we wrote, or may have, where it carries no mark: it is ours only while it says one of
    /// these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrote: Vec<Fields>,
    /// Since when it is not seen any more. It is forgotten when a later run does not see it either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Timestamp>,
}

impl Item {
    /// What stands there once this is noted of it.
    pub(super) fn with(before: Option<&Self>, noted: &Noted, now: Timestamp) -> Self {
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
            item.needs.extend(before.needs.iter().cloned());
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
    /// Whether it has everything of ours: once, all that carries our mark was listed, and noted. A
    /// ledger that was lost and begun anew, by whatever command, does not say so.
    #[serde(skip)]
    pub whole: bool,
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

/// What an object says: of which address, and what.
#[derive(Serialize, Deserialize)]
struct Noting<A, I> {
    address: A,
    item: I,
}

/// What is said of the folder itself: since when it has everything.
#[derive(Serialize)]
struct Whole {
    since: Timestamp,
}

fn subject(address: &Address) -> String {
    format!("{FOLDER}/{}", segment(&address.to_string()))
}

impl Ledger {
    /// What exists. Empty before the first apply.
    pub async fn inventory(&self) -> Result<Inventory> {
        // The older first: what is carried over meanwhile is found behind it.
        let mut items = self.older_inventory().await?.items;
        let older = !items.is_empty();
        let said = self.said_below::<Noting<Address, Item>>(FOLDER).await?;
        let is_said = |address: &Address| said.contains_key(&subject(address));
        items.retain(|address, _| !self.names_of(address).any(|it| is_said(&it)));
        for (subject, noting) in &said {
            let Some(Noting { address, item }) = noting else {
                continue;
            };
            let names = self.names_of(address).map(|it| self::subject(&it));
            let names: Vec<String> = names.collect();
            if !names.contains(subject) {
                return Err(self.damaged(subject));
            }
            // What was said last counts, by whichever name.
            let last = names.iter().max_by_key(|it| self.version_of(it));
            if last == Some(subject) {
                items.insert(address.clone(), item.clone());
            }
        }
        // One of an older format was there from the first apply on.
        let whole = older || self.has_said(FOLDER);
        Ok(Inventory { items, whole })
    }

    /// An address and those that it had, today's first.
    fn names_of(&self, address: &Address) -> impl Iterator<Item = Address> {
        std::iter::once(address.clone()).chain(self.moved.formerly(address))
    }

    /// Says that the inventory has everything of ours. What was found by its mark is noted before.
    pub async fn say_whole(&self) -> Result<()> {
        let since = self.clock.now();
        self.say(FOLDER, Some(&Whole { since })).await
    }

    /// Says what is known of one address; `None`: that it is gone. Durable when this returns.
    pub(super) async fn write_item(&self, address: &Address, item: Option<&Item>) -> Result<()> {
        let noting = item.map(|item| Noting { address, item });
        self.say(&subject(address), noting.as_ref()).await
    }

    /// Notes that this is ours from now on, outside of any run. Only the holder of the lock may.
    /// Durable when this returns.
    ///
    /// Errors: locked, when the lease was lost; ledger.
    pub async fn note_item(&self, address: &Address, noted: &Noted) -> Result<()> {
        let before = self.inventory().await?.items.remove(address);
        let item = Item::with(before.as_ref(), noted, self.clock.now());
        self.write_item(address, Some(&item)).await
    }

    /// Makes the inventory say this and nothing else. Only the holder of the lock may.
    pub async fn write_inventory(&self, inventory: &Inventory) -> Result<()> {
        let before = self.inventory().await?.items;
        let gone = before
            .keys()
            .filter(|it| !inventory.items.contains_key(*it));
        let gone = gone.map(|address| (address, None));
        let new = inventory.items.iter();
        let new = new.filter(|(address, item)| before.get(*address) != Some(item));
        let new = new.map(|(address, item)| (address, Some(item)));
        futures::stream::iter(gone.chain(new))
            .map(|(address, item)| self.write_item(address, item))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Says of every item of an older format what it says, where nothing is said of it yet.
    pub(super) async fn carry_inventory(&self) -> Result<()> {
        let older = self.older_inventory().await?.items;
        if older.is_empty() {
            return Ok(());
        }
        let said = self.subjects(FOLDER).await?;
        let is_said = |it: &Address| said.contains(&subject(it));
        let unsaid = older
            .iter()
            .filter(|it| !self.names_of(it.0).any(|it| is_said(&it)));
        futures::stream::iter(unsaid)
            .map(|(address, item)| self.write_item(address, Some(item)))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        self.say_whole().await
    }
}

impl Past {
    /// What the inventory and the last applies' fields say of an address.
    pub fn of(address: &Address, inventory: &Inventory, left: &BTreeMap<Address, Fields>) -> Self {
        let Some(item) = inventory.items.get(address) else {
            return Self::default();
        };
        let left = left.get(address);
        let mut past = Self {
            known: true,
            adopted: item.adopted,
            data: item.data,
            tags: item.tags.clone(),
            wrote: item.wrote.clone(),
        };
        past.tags.extend(left.map(tag_keys).unwrap_or_default());
        // An inventory of a version that did not note it.
        if past.wrote.is_empty() {
            past.wrote.extend(left.cloned());
        }
        past
    }
}

impl Ours {
    /// Adds what one target's ledger knows.
    pub fn learn(&mut self, inventory: &Inventory, left: &BTreeMap<Address, Fields>) {
        let addresses = inventory.items.keys();
        let pasts = addresses.map(|it| (it.clone(), Past::of(it, inventory, left)));
        self.0.extend(pasts);
    }
}

/// The addresses that stay: what was there before us, and everything that such a thing needs.
pub fn staying<'a>(
    inventory: &'a Inventory,
    gone: impl Fn(&Address) -> bool,
) -> BTreeMap<&'a Address, Stays<'a>> {
    let adopted = inventory.items.iter();
    let adopted = adopted.filter(|(address, item)| item.adopted && gone(address));
    let mut staying: BTreeMap<&Address, Stays<'_>> = BTreeMap::new();
    for (address, item) in adopted {
        for need in &item.needs {
            staying.entry(need).or_insert(Stays::NeededBy(address));
        }
        staying.insert(address, Stays::WasThere);
    }
    staying
}

/// Why a thing stays that the manifest no longer wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stays<'a> {
    /// It was there before us.
    WasThere,
    /// Something needs it that was there before us.
    NeededBy(&'a Address),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(leads_to: &str) -> Fields {
        let mut fields = Fields::new();
        fields.set("leads_to", leads_to);
        fields
    }

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn noted(leads_to: &str, certain: Certain) -> Noted {
        Noted {
            wrote: Some(fields(leads_to)),
            certain,
            ..Noted::default()
        }
    }

    fn note(before: Option<&Item>, noted: &Noted) -> Item {
        Item::with(before, noted, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn both_values_are_ours_until_one_is_known_to_stand_there() {
        let made = note(None, &noted("one", Certain::Now));
        let begun = note(Some(&made), &noted("two", Certain::NotYet));
        assert_eq!(begun.wrote, [fields("one"), fields("two")]);
        assert_eq!(note(Some(&begun), &noted("two", Certain::NotYet)), begun);
        let landed = note(Some(&begun), &noted("two", Certain::Now));
        assert_eq!(landed.wrote, [fields("two")]);
    }

    #[test]
    fn what_it_needs_is_needed_until_it_is_known_to_need_another_one() {
        let needs = |name: &str, certain| Noted {
            needs: BTreeSet::from([address(name)]),
            certain,
            ..Noted::default()
        };
        let (old, new) = ("aws/r/fake.tuning/old", "aws/r/fake.tuning/new");
        let made = note(None, &needs(old, Certain::Now));
        let begun = note(Some(&made), &needs(new, Certain::NotYet));
        assert_eq!(begun.needs, BTreeSet::from([address(old), address(new)]));
        let landed = note(Some(&begun), &needs(new, Certain::Now));
        assert_eq!(landed.needs, BTreeSet::from([address(new)]));
    }

    #[test]
    fn what_was_found_stays_adopted_until_it_is_made_anew() {
        let began = |began| Noted {
            began,
            ..Noted::default()
        };
        let found = note(None, &began(Began::Found));
        assert!(found.adopted);
        assert_eq!(note(Some(&found), &began(Began::Before)), found);
        let made = note(Some(&found), &began(Began::Made));
        assert!(!made.adopted);
        // What we made stays ours when its mark is gone.
        assert_eq!(note(Some(&made), &began(Began::Found)), made);
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

    #[test]
    fn an_inventory_without_notes_is_completed_by_what_the_last_apply_left() {
        let record = address("aws/r/route53.record/a.example.com/A");
        let mut inventory = Inventory::default();
        inventory.items.insert(record.clone(), Item::default());
        let mut left = fields("192.0.2.7");
        left.set("tags.team", "x");
        let left = BTreeMap::from([(record.clone(), left)]);
        let past = Past::of(&record, &inventory, &left);
        assert!(past.known && !past.adopted);
        assert!(past.says(&left[&record]));
        assert_eq!(past.tags, BTreeSet::from(["team".to_owned()]));
        let unknown = address("aws/r/route53.record/b.example.com/A");
        assert_eq!(Past::of(&unknown, &inventory, &left), Past::default());
    }

    #[test]
    fn what_an_adopted_thing_needs_stays_with_it() {
        let (service, logs) = (
            address("aws/r/ecs.service/s"),
            address("aws/r/logs.group/s"),
        );
        let mut inventory = Inventory::default();
        let adopted = Item {
            adopted: true,
            needs: BTreeSet::from([logs.clone()]),
            ..Item::default()
        };
        inventory.items.insert(service.clone(), adopted);
        inventory.items.insert(logs.clone(), Item::default());
        let stays = staying(&inventory, |_| true);
        assert_eq!(stays[&service], Stays::WasThere);
        assert_eq!(stays[&logs], Stays::NeededBy(&service));
        assert!(staying(&inventory, |address| *address == logs).is_empty());
    }
}
