//! The marks on a thing: whose it is, and what must change about its tags or labels; pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::fields::{FieldChange, Fields};
use crate::names::OWNER_TAG;
use crate::ours::{Past, Stranger};

/// Tags or labels, by key.
pub type Tags = BTreeMap<String, String>;

/// How a cloud marks what is ours.
#[derive(Clone, Copy, Debug)]
pub struct Marking {
    /// What it calls a mark: `tag`, `label`.
    pub word: &'static str,
    /// What the keys of our own notes on a thing begin with.
    pub notes: &'static str,
    /// Whether the cloud itself puts a key on things: it is no drift, and never removed.
    pub is_the_clouds: fn(&str) -> bool,
}

impl Marking {
    /// What takes off what says that a thing is ours, and our notes on it.
    pub fn unmark(self, actual: &Tags) -> TagChanges {
        let ours = |key: &&String| *key == OWNER_TAG || key.starts_with(self.notes);
        TagChanges {
            set: Tags::new(),
            remove: actual.keys().filter(ours).cloned().collect(),
        }
    }
}

/// Whose a thing must be for us to touch it, and which tags it is to carry.
#[derive(Clone, Debug)]
pub struct Ownership {
    marking: Marking,
    owner: String,
    adopt: bool,
    /// The tags that it is to carry.
    pub tags: Tags,
    /// The tags that an earlier run set and that it is not to carry any more. Every other one is
    /// somebody's.
    unwanted: BTreeSet<String>,
}

impl Ownership {
    /// Things that carry these tags, our mark among them; with `adopt` also those that nobody
    /// marked. `past` is what earlier runs noted.
    pub fn new(marking: Marking, tags: Tags, adopt: bool, past: &Past) -> Self {
        let owner = tags.get(OWNER_TAG).cloned().unwrap_or_default();
        Self {
            marking,
            owner,
            adopt,
            unwanted: past.unwanted(&tags),
            tags,
        }
    }

    /// Of what an inventory names: it is the owner's or nobody's, and nothing of it is to be
    /// tagged.
    pub fn leftover(marking: Marking, owner: String) -> Self {
        Self {
            marking,
            owner,
            adopt: false,
            tags: Tags::new(),
            unwanted: BTreeSet::new(),
        }
    }

    /// What our mark on a thing says.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Whether what nobody marked may be taken over.
    pub fn adopts(&self) -> bool {
        self.adopt
    }

    /// Whether these tags bear our mark.
    pub fn is_on(&self, tags: &Tags) -> bool {
        tags.get(OWNER_TAG) == Some(&self.owner)
    }

    /// How we know that a thing with these tags is not ours. `None` when it is, or may be taken
    /// over.
    pub fn foreign(&self, tags: &Tags) -> Option<Stranger> {
        let word = self.marking.word;
        match tags.get(OWNER_TAG) {
            Some(owner) if *owner == self.owner => None,
            Some(owner) => {
                let ours = &self.owner;
                let how = format!("its {word} `{OWNER_TAG}` says `{owner}`, not `{ours}`");
                Some(Stranger::of(owner, how))
            }
            None if self.adopt => None,
            None => Some(format!("it has no {word} `{OWNER_TAG}`").into()),
        }
    }

    /// What must change for these tags to be as they are to be.
    pub fn changes(&self, actual: &Tags) -> TagChanges {
        self.changes_to(actual, &self.tags)
    }

    /// The same with other tags than the usual ones.
    pub fn changes_to(&self, actual: &Tags, desired: &Tags) -> TagChanges {
        let set = desired.iter();
        let set = set.filter(|(key, value)| actual.get(*key) != Some(value));
        // Notes of ours on a thing are ours alone.
        let gone = |key: &str| key.starts_with(self.marking.notes) && !desired.contains_key(key);
        let remove = actual.keys();
        let remove = remove.filter(|key| self.unwanted.contains(*key) || gone(key));
        TagChanges {
            set: set
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            remove: remove.cloned().collect(),
        }
    }

    /// What puts back the tags that we manage, as they were `before`.
    pub fn changes_back(&self, now: &Tags, before: &Tags) -> TagChanges {
        let managed = self.tags.keys().chain(&self.unwanted);
        let mut back = TagChanges::default();
        for key in managed {
            match (now.get(key), before.get(key)) {
                (is, Some(was)) if is != Some(was) => {
                    back.set.insert(key.clone(), was.clone());
                }
                (Some(_), None) => back.remove.push(key.clone()),
                _ => {}
            }
        }
        back
    }

    /// See [`Marking::unmark`].
    pub fn unmark(&self, actual: &Tags) -> TagChanges {
        self.marking.unmark(actual)
    }
}

/// Adds `tags.KEY` fields.
pub fn describe(fields: &mut Fields, tags: &Tags) {
    fields.set_all("tags", tags);
}

/// Whether a field is a tag.
pub fn is_tag(change: &FieldChange) -> bool {
    change.field.starts_with("tags.")
}

/// What to set and what to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagChanges {
    /// To set, with their values.
    pub set: Tags,
    /// To remove.
    pub remove: Vec<String>,
}

impl TagChanges {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// The tags once these changes are made.
    pub fn applied_to(&self, actual: &Tags) -> Tags {
        let mut tags = actual.clone();
        tags.extend(self.set.clone());
        tags.retain(|key, _| !self.remove.contains(key));
        tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKING: Marking = Marking {
        word: "tag",
        notes: "deployer:",
        is_the_clouds: |key| key.starts_with("aws:"),
    };

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn what_is_not_marked_as_ours_is_foreign_unless_it_may_be_adopted() {
        let mark = tags(&[("deployer", "idp/staging")]);
        let past = Past::default();
        let ours = Ownership::new(MARKING, mark.clone(), false, &past);
        assert_eq!(ours.foreign(&mark), None);
        let anothers = tags(&[("deployer", "idp/production")]);
        let stranger = ours.foreign(&anothers).unwrap();
        assert_eq!(stranger.owner(), Some("idp/production"));
        let unmarked = ours.foreign(&tags(&[])).unwrap();
        assert_eq!(unmarked.owner(), None);
        assert!(unmarked.to_string().contains("no tag"), "{unmarked}");
        let adopting = Ownership::new(MARKING, mark.clone(), true, &past);
        assert_eq!(adopting.foreign(&tags(&[])), None);
        // What another owner marked is never taken.
        assert_eq!(
            adopting.foreign(&anothers).unwrap().owner(),
            Some("idp/production")
        );
        let leftover = Ownership::leftover(MARKING, "idp/staging".to_owned());
        assert_eq!(leftover.foreign(&mark), None);
        assert!(leftover.foreign(&anothers).is_some() && leftover.foreign(&tags(&[])).is_some());
    }

    #[test]
    fn only_tags_that_differ_are_written_and_only_ours_are_removed() {
        let past = Past {
            tags: BTreeSet::from(["gone".to_owned()]),
            ..Past::default()
        };
        let wanted = tags(&[("same", "1"), ("old", "2"), ("new", "3")]);
        let ownership = Ownership::new(MARKING, wanted, false, &past);
        let there = tags(&[
            ("same", "1"),
            ("old", "1"),
            ("gone", "1"),
            ("backup", "daily"),
        ]);
        let changes = ownership.changes(&there);
        assert_eq!(changes.set, tags(&[("old", "2"), ("new", "3")]));
        assert_eq!(changes.remove, ["gone"]);
        let after = changes.applied_to(&there);
        assert_eq!(after.get("backup").map(String::as_str), Some("daily"));
        let back = ownership.changes_back(&after, &there);
        assert_eq!(back.applied_to(&after), there);
    }

    #[test]
    fn a_release_takes_off_our_marks_and_nothing_else() {
        let there = tags(&[
            ("deployer", "idp/staging"),
            ("deployer:password", "v1"),
            ("team", "x"),
        ]);
        let changes = MARKING.unmark(&there);
        assert_eq!(changes.applied_to(&there), tags(&[("team", "x")]));
    }
}
