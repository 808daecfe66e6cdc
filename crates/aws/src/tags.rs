//! Tags: how AWS marks what is ours; pure.

use deployer_core::fields::Fields;
use deployer_core::kind::{Marking, describe_tags};
pub(crate) use deployer_core::kind::{Ownership, TagChanges, Tags, is_tag};
use deployer_core::names::own_tags;
use deployer_core::ours::{Past, Stranger};
use deployer_core::spec::EnvironmentSpec;

/// The version of a secret, as a field shows it.
pub(crate) fn version_text(version: &str) -> String {
    format!("version {version}")
}

/// Which version of a secret we gave to a thing stands in tags that begin like this.
pub(crate) const MARKING: Marking = Marking {
    word: "tag",
    notes: "deployer:",
    is_the_clouds: |key| key.starts_with("aws:"),
};

/// What our descriptions begin with; the owner follows.
const DESCRIPTION: &str = "deployer ";

/// The tags of an environment's things.
pub(crate) fn of(env: &EnvironmentSpec) -> Tags {
    own_tags(&env.app, &env.environment, &env.tags)
}

/// Things of this environment; with `adopt` also those that nobody marked. `past` is what earlier
/// runs noted.
pub(crate) fn ownership(env: &EnvironmentSpec, adopt: bool, past: &Past) -> Ownership {
    Ownership::new(MARKING, of(env), adopt, past)
}

/// What stands as the description of things that must have one: told even where tags are not.
pub(crate) fn description(ownership: &Ownership) -> String {
    format!("{DESCRIPTION}{}", ownership.owner())
}

/// How we know that a thing with this description, whose tags are not told now, is not ours.
pub(crate) fn foreign_by(ownership: &Ownership, description: &str) -> Option<Stranger> {
    let how = || format!("its description is `{description}`");
    match description.strip_prefix(DESCRIPTION) {
        Some(owner) if owner == ownership.owner() => None,
        Some(owner) => Some(Stranger::of(owner, how())),
        None if ownership.adopts() => None,
        None => Some(how().into()),
    }
}

/// Tags as a cloud answers them; without those that AWS sets itself.
pub(crate) fn from_pairs<'a>(
    pairs: impl IntoIterator<Item = (Option<&'a str>, Option<&'a str>)>,
) -> Tags {
    pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key?.to_owned(), value.unwrap_or_default().to_owned())))
        .filter(|(key, _)| !(MARKING.is_the_clouds)(key))
        .collect()
}

/// Adds `tags.KEY` fields.
pub(crate) fn describe(fields: &mut Fields, tags: &Tags) {
    describe_tags(fields, tags);
}

#[cfg(test)]
mod tests {
    use deployer_core::names::OWNER_TAG;

    use super::*;

    #[test]
    fn tags_of_the_cloud_itself_are_noise() {
        let read = from_pairs([
            (Some("aws:cloudformation:stack"), Some("x")),
            (Some("a"), None),
        ]);
        assert_eq!(read, Tags::from([("a".to_owned(), String::new())]));
    }

    #[test]
    fn a_description_tells_whose_a_thing_is_where_its_tags_are_not_told() {
        let mark = Tags::from([(OWNER_TAG.to_owned(), "idp/staging".to_owned())]);
        let of = |adopt| Ownership::new(MARKING, mark.clone(), adopt, &Past::default());
        let (ours, adopting) = (of(false), of(true));
        assert_eq!(foreign_by(&ours, &description(&ours)), None);
        assert!(foreign_by(&ours, "made by Terraform").is_some());
        assert_eq!(foreign_by(&adopting, "made by Terraform"), None);
        // What another owner marked is never taken.
        let another = foreign_by(&adopting, "deployer idp/production");
        assert_eq!(another.unwrap().owner(), Some("idp/production"));
    }
}
