//! Tags: whose a resource is, and what must change about them; pure.

use std::collections::BTreeMap;

use deployer_core::fields::{FieldChange, Fields};
use deployer_core::names::{OWNER_TAG, own_tags, owner};
use deployer_core::spec::EnvironmentSpec;

/// Tags of a resource, by key.
pub(crate) type Tags = BTreeMap<String, String>;

/// What our descriptions begin with; the owner follows.
const DESCRIPTION: &str = "deployer ";

/// Whose a resource must be for us to touch it.
#[derive(Clone, Debug)]
pub(crate) struct Ownership {
    owner: String,
    adopt: bool,
    /// The tags that it is to carry.
    pub(crate) tags: Tags,
}

impl Ownership {
    /// Resources of this environment; with `adopt` also those that nobody marked.
    pub(crate) fn new(env: &EnvironmentSpec, adopt: bool) -> Self {
        Self {
            owner: owner(&env.app, &env.environment),
            adopt,
            tags: own_tags(&env.app, &env.environment, &env.tags),
        }
    }

    /// `Some(how we know)` when a resource with these tags is not ours.
    pub(crate) fn foreign(&self, tags: &Tags) -> Option<String> {
        match tags.get(OWNER_TAG) {
            Some(owner) if *owner == self.owner => None,
            _ if self.adopt => None,
            Some(owner) => Some(format!(
                "its tag `{OWNER_TAG}` says `{owner}`, not `{}`",
                self.owner
            )),
            None => Some(format!("it has no tag `{OWNER_TAG}`")),
        }
    }

    /// What stands as the description of things that must have one: told even where tags are not.
    pub(crate) fn description(&self) -> String {
        format!("{DESCRIPTION}{}", self.owner)
    }

    /// `Some(how we know)` when a resource with this description, whose tags are not told now, is not ours.
    pub(crate) fn foreign_by(&self, description: &str) -> Option<String> {
        if self.adopt || description == self.description() {
            return None;
        }
        Some(format!("its description is `{description}`"))
    }
}

/// Whose a thing with this description is. `None` when it is not one of [`Ownership::description`].
pub(crate) fn owner_in(description: &str) -> Option<&str> {
    description.strip_prefix(DESCRIPTION)
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
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TagChanges {
    /// To set, with their values.
    pub(crate) set: Tags,
    /// To remove.
    pub(crate) remove: Vec<String>,
}

/// What must change for `actual` to become `desired`.
pub(crate) fn changes(actual: &Tags, desired: &Tags) -> TagChanges {
    TagChanges {
        set: desired
            .iter()
            .filter(|(key, value)| actual.get(*key) != Some(value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        remove: actual
            .keys()
            .filter(|key| !desired.contains_key(*key))
            .cloned()
            .collect(),
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
        };
        let ours = Ownership::new(&env, false);
        assert_eq!(ours.foreign(&tags(&[("deployer", "idp/staging")])), None);
        assert!(
            ours.foreign(&tags(&[("deployer", "idp/production")]))
                .is_some()
        );
        assert!(ours.foreign(&tags(&[])).is_some());
        assert_eq!(Ownership::new(&env, true).foreign(&tags(&[])), None);
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
    fn only_tags_that_differ_are_written() {
        let changes = changes(
            &tags(&[("same", "1"), ("old", "1"), ("gone", "1")]),
            &tags(&[("same", "1"), ("old", "2"), ("new", "3")]),
        );
        assert_eq!(changes.set, tags(&[("old", "2"), ("new", "3")]));
        assert_eq!(changes.remove, ["gone"]);
    }
}
