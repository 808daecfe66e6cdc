//! Tags: whose a resource is, and what must change about them; pure.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::fields::{FieldChange, Fields};
use deployer_core::names::{OWNER_TAG, own_tags, owner};
use deployer_core::ours::{Owner, Past, Stranger};
use deployer_core::spec::EnvironmentSpec;

/// Tags of a resource, by key.
pub(crate) type Tags = BTreeMap<String, String>;

/// What our descriptions begin with; the owner follows.
const DESCRIPTION: &str = "deployer ";

/// What the tags begin with that say which version of a secret we gave to a thing.
const NOTES: &str = "deployer:";

/// Whose a resource must be for us to touch it.
#[derive(Clone, Debug)]
pub(crate) struct Ownership {
    owner: String,
    adopt: bool,
    /// The tags that it is to carry.
    pub(crate) tags: Tags,
    /// The tags that an earlier run set and that it is not to carry any more. Every other one is somebody's.
    unwanted: BTreeSet<String>,
}

impl Ownership {
    /// Resources of this environment; with `adopt` also those that nobody marked. `past` is what earlier runs noted.
    pub(crate) fn new(env: &EnvironmentSpec, adopt: bool, past: &Past) -> Self {
        let tags = own_tags(&env.app, &env.environment, &env.tags);
        Self {
            owner: owner(&env.app, &env.environment),
            adopt,
            unwanted: past.unwanted(&tags),
            tags,
        }
    }

    /// What an inventory names: nothing of it is to be tagged.
    pub(crate) fn leftover(owner: &Owner) -> Self {
        Self {
            owner: owner.to_string(),
            adopt: false,
            tags: Tags::new(),
            unwanted: BTreeSet::new(),
        }
    }

    /// How we know that a resource with these tags is not ours. `None` when it is, or may be taken over.
    pub(crate) fn foreign(&self, tags: &Tags) -> Option<Stranger> {
        match tags.get(OWNER_TAG) {
            Some(owner) if *owner == self.owner => None,
            Some(owner) => Some(self.marked_otherwise("tag", owner)),
            None if self.adopt => None,
            None => Some(format!("it has no tag `{OWNER_TAG}`").into()),
        }
    }

    fn marked_otherwise(&self, what: &str, owner: &str) -> Stranger {
        let how = format!(
            "its {what} `{OWNER_TAG}` says `{owner}`, not `{}`",
            self.owner
        );
        Stranger::of(owner, how)
    }

    /// What stands as the description of things that must have one: told even where tags are not.
    pub(crate) fn description(&self) -> String {
        format!("{DESCRIPTION}{}", self.owner)
    }

    /// How we know that a resource with this description, whose tags are not told now, is not ours.
    pub(crate) fn foreign_by(&self, description: &str) -> Option<Stranger> {
        match description.strip_prefix(DESCRIPTION) {
            Some(owner) if owner == self.owner => None,
            Some(owner) => {
                let how = format!("its description is `{description}`");
                Some(Stranger::of(owner, how))
            }
            None if self.adopt => None,
            None => Some(format!("its description is `{description}`").into()),
        }
    }

    /// What must change for these tags to be as they are to be.
    pub(crate) fn changes(&self, actual: &Tags) -> TagChanges {
        self.changes_to(actual, &self.tags)
    }

    /// The same with other tags than the usual ones.
    pub(crate) fn changes_to(&self, actual: &Tags, desired: &Tags) -> TagChanges {
        let set = desired.iter();
        let set = set.filter(|(key, value)| actual.get(*key) != Some(value));
        // Notes of ours on a thing are ours alone.
        let gone = |key: &str| key.starts_with(NOTES) && !desired.contains_key(key);
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
    pub(crate) fn changes_back(&self, now: &Tags, before: &Tags) -> TagChanges {
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
}

/// Tags as a cloud answers them; without those that AWS sets itself.
pub(crate) fn from_pairs<'a>(
    pairs: impl IntoIterator<Item = (Option<&'a str>, Option<&'a str>)>,
) -> Tags {
    pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key?.to_owned(), value.unwrap_or_default().to_owned())))
        .filter(|(key, _)| !key.starts_with("aws:"))
        .collect()
}

/// Adds `tags.KEY` fields.
pub(crate) fn describe(fields: &mut Fields, tags: &Tags) {
    fields.set_all("tags", tags);
}

/// Whether a field is a tag.
pub(crate) fn is_tag(change: &FieldChange) -> bool {
    change.field.starts_with("tags.")
}

/// What to set and what to remove.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TagChanges {
    /// To set, with their values.
    pub(crate) set: Tags,
    /// To remove.
    pub(crate) remove: Vec<String>,
}

impl TagChanges {
    /// Takes off what says that a thing is ours, and which secret we gave it.
    pub(crate) fn unmark(actual: &Tags) -> Self {
        let ours = |key: &&String| *key == OWNER_TAG || key.starts_with(NOTES);
        Self {
            set: Tags::new(),
            remove: actual.keys().filter(ours).cloned().collect(),
        }
    }

    /// The tags once these changes are made.
    pub(crate) fn applied_to(&self, actual: &Tags) -> Tags {
        let mut tags = actual.clone();
        tags.extend(self.set.clone());
        tags.retain(|key, _| !self.remove.contains(key));
        tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn what_is_not_marked_as_ours_is_foreign_unless_it_may_be_adopted() {
        let env = EnvironmentSpec {
            app: "idp".into(),
            environment: "staging".into(),
            tags: BTreeMap::new(),
            secrets: BTreeMap::new(),
            databases: BTreeMap::new(),
            caches: BTreeMap::new(),
            services: BTreeMap::new(),
            ledger: None,
        };
        let past = Past::default();
        let ours = Ownership::new(&env, false, &past);
        assert_eq!(ours.foreign(&tags(&[("deployer", "idp/staging")])), None);
        assert!(
            ours.foreign(&tags(&[("deployer", "idp/production")]))
                .is_some()
        );
        assert!(ours.foreign(&tags(&[])).is_some());
        let adopting = Ownership::new(&env, true, &past);
        assert_eq!(adopting.foreign(&tags(&[])), None);
        // What another owner marked is never taken.
        let another = adopting.foreign(&tags(&[("deployer", "idp/production")]));
        assert_eq!(another.unwrap().owner(), Some("idp/production"));
        let another = adopting.foreign_by("deployer idp/production");
        assert_eq!(another.unwrap().owner(), Some("idp/production"));
    }

    #[test]
    fn tags_of_the_cloud_itself_are_noise() {
        let read = from_pairs([
            (Some("aws:cloudformation:stack"), Some("x")),
            (Some("a"), None),
        ]);
        assert_eq!(read, tags(&[("a", "")]));
    }

    #[test]
    fn only_tags_that_differ_are_written_and_only_ours_are_removed() {
        let ownership = Ownership {
            owner: "idp/staging".into(),
            adopt: false,
            tags: tags(&[("same", "1"), ("old", "2"), ("new", "3")]),
            unwanted: BTreeSet::from(["gone".to_owned()]),
        };
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
        let changes = TagChanges::unmark(&there);
        assert_eq!(changes.applied_to(&there), tags(&[("team", "x")]));
    }
}
