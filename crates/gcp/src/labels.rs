//! Labels: how Google Cloud marks what is ours; pure.

use std::collections::HashMap;

use deployer_core::capability::SecretVersion;
use deployer_core::fields::Fields;
use deployer_core::kind::{Marking, Ownership, Tags};
use deployer_core::names::own_labels;
use deployer_core::ours::Past;
use deployer_core::spec::EnvironmentSpec;

use crate::error::CloudError;

/// What a list named, and what is missing in it.
#[derive(Debug, Default)]
pub(crate) struct Labelled {
    /// Names as their API tells them, each with its labels.
    pub(crate) named: Vec<(String, HashMap<String, String>)>,
    /// What ended it before its end.
    pub(crate) ended: Option<CloudError>,
    /// What is missing, as the API says in a warning.
    pub(crate) missing: Option<String>,
}

/// Reads a list to its end: names and labels, and what ended it before.
macro_rules! read {
    ($list:expr) => {{
        use google_cloud_gax::paginator::ItemPaginator;
        let mut items = $list.by_item();
        let mut read = $crate::labels::Labelled::default();
        loop {
            match items.next().await {
                Some(Ok(item)) => read.named.push((item.name, item.labels)),
                Some(Err(error)) => {
                    read.ended = Some(error);
                    break read;
                }
                None => break read,
            }
        }
    }};
}
pub(crate) use read;

/// What begins with `deployer-` says which migration or password of ours a thing has.
pub(crate) const MARKING: Marking = Marking {
    word: "label",
    notes: "deployer-",
    is_the_clouds: is_googles,
};

/// Labels that Google puts on by itself (`goog-...`): no drift, and never removed.
fn is_googles(key: &str) -> bool {
    key.starts_with("goog-") || key.contains('/')
}

/// The labels of an environment's things.
pub(crate) fn of(env: &EnvironmentSpec) -> Tags {
    own_labels(&env.app, &env.environment, &env.tags)
}

/// Things of this environment; with `adopt` also those that nobody marked. `past` is what earlier
/// runs noted.
pub(crate) fn ownership(env: &EnvironmentSpec, adopt: bool, past: &Past) -> Ownership {
    Ownership::new(MARKING, of(env), adopt, past)
}

/// Labels as they are compared.
pub(crate) fn tags(labels: &HashMap<String, String>) -> Tags {
    let labels = labels.iter();
    labels
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Adds `tags.KEY` for every label that counts.
pub(crate) fn describe(fields: &mut Fields, labels: &HashMap<String, String>) {
    fields.set_all("tags", labels.iter().filter(|(key, _)| !is_googles(key)));
}

/// The fields without the labels that are not ours: what is composed over a thing has other hands'
/// too.
pub(crate) fn ours_alone(fields: &Fields, ours: &Tags) -> Fields {
    let mut alone = Fields::new();
    for (name, value) in fields.iter() {
        let key = name.strip_prefix("tags.");
        if key.is_none_or(|key| ours.contains_key(key)) {
            alone.set_value(name, value.clone());
        }
    }
    alone
}

/// What to send: everything that is there, with ours; without what an earlier run of ours set and
/// nobody wants any more. Our notes stay: each is changed by whoever wrote it.
pub(crate) fn merged(ours: &Ownership, there: &HashMap<String, String>) -> HashMap<String, String> {
    let there = tags(there);
    let mut wanted = there.clone();
    wanted.retain(|key, _| key.starts_with(MARKING.notes));
    wanted.extend(ours.tags.clone());
    let changes = ours.changes_to(&there, &wanted);
    changes.applied_to(&there).into_iter().collect()
}

/// Whether a thing with these labels carries ours already.
pub(crate) fn are_on(ours: &Ownership, there: &HashMap<String, String>) -> bool {
    merged(ours, there) == *there
}

/// These labels without what says that a thing is ours.
pub(crate) fn unmarked(there: &HashMap<String, String>) -> HashMap<String, String> {
    let there = tags(there);
    let changes = MARKING.unmark(&there);
    changes.applied_to(&there).into_iter().collect()
}

/// A pinned version as plans show it: `db-url version 3`.
pub(crate) fn show_version(version: &SecretVersion) -> String {
    format!(
        "{} version {}",
        crate::paths::short(&version.secret),
        version.version
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use deployer_core::names::OWNER_TAG;

    use super::*;

    /// What carries this mark and nothing else.
    pub(crate) fn ownership(mark: &str) -> Ownership {
        let tags = Tags::from([(OWNER_TAG.to_owned(), mark.to_owned())]);
        Ownership::new(MARKING, tags, false, &Past::default())
    }

    fn labels(entries: &[(&str, &str)]) -> HashMap<String, String> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn labels_that_others_set_are_neither_drift_nor_removed() {
        let there = labels(&[
            ("goog-terraform-provisioned", "true"),
            ("team", "old"),
            ("cost-centre", "x"),
            ("gone", "1"),
            ("deployer-password", "3"),
        ]);
        let past = Past {
            tags: BTreeSet::from(["team".to_owned(), "gone".to_owned()]),
            ..Past::default()
        };
        let wanted = tags(&labels(&[("team", "identity")]));
        let ours = Ownership::new(MARKING, wanted, false, &past);
        assert!(!are_on(&ours, &there));
        let mut fields = Fields::new();
        describe(&mut fields, &there);
        assert!(fields.iter().all(|(name, _)| !name.contains("goog")));
        let sent = merged(&ours, &there);
        let kept = [
            ("goog-terraform-provisioned", "true"),
            ("cost-centre", "x"),
            ("deployer-password", "3"),
        ];
        assert_eq!(
            sent,
            labels(&[kept.as_slice(), &[("team", "identity")]].concat())
        );
        assert!(are_on(&ours, &sent));
    }

    #[test]
    fn a_release_takes_off_our_marks_and_nothing_else() {
        let there = labels(&[
            ("deployer", "idp_staging"),
            ("deployer-password", "3"),
            ("team", "x"),
        ]);
        assert_eq!(unmarked(&there), labels(&[("team", "x")]));
    }
}
