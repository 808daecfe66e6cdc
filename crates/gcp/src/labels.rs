//! Labels: whose a resource is, and the labels that count when two are compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use deployer_core::capability::SecretVersion;
use deployer_core::fields::Fields;
use deployer_core::kind::Marking;
use deployer_core::names::{OWNER_TAG, owner_label};
use deployer_core::ours::{self, Past, Stranger};
use deployer_core::spec::EnvironmentSpec;

/// The labels that a resource is to carry.
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    /// Those that are set.
    pub(crate) set: BTreeMap<String, String>,
    /// Those that an earlier run set and that it is not to carry any more. Every other one is
    /// somebody's.
    unwanted: BTreeSet<String>,
}

impl Labels {
    /// The same for a resource of which earlier runs noted this.
    pub(crate) fn after(self, past: &Past) -> Self {
        Self {
            unwanted: past.unwanted(&self.set),
            ..self
        }
    }

    /// Whether a resource with these labels carries ours already.
    pub(crate) fn are_on(&self, there: &HashMap<String, String>) -> bool {
        let mut set = self.set.iter();
        set.all(|(key, value)| there.get(key) == Some(value))
            && !self.unwanted.iter().any(|key| there.contains_key(key))
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(set: BTreeMap<String, String>) -> Self {
        Self {
            set,
            unwanted: BTreeSet::new(),
        }
    }
}

/// The labels that a resource of this environment carries.
pub(crate) fn of(env: &EnvironmentSpec) -> Labels {
    deployer_core::names::own_labels(&env.app, &env.environment, &env.tags).into()
}

/// Labels that Google puts on by itself (`goog-...`): no drift, and never removed.
fn is_googles(key: &str) -> bool {
    key.starts_with("goog-") || key.contains('/')
}

/// Adds `tags.KEY` for every label that counts.
pub(crate) fn describe(fields: &mut Fields, labels: &HashMap<String, String>) {
    fields.set_all("tags", labels.iter().filter(|(key, _)| !is_googles(key)));
}

/// The fields without the labels that are not ours: what is composed over a thing has other hands'
/// too.
pub(crate) fn ours_alone(fields: &Fields, ours: &Labels) -> Fields {
    let mut alone = Fields::new();
    for (name, value) in fields.iter() {
        let key = name.strip_prefix("tags.");
        if key.is_none_or(|key| ours.set.contains_key(key)) {
            alone.set_value(name, value.clone());
        }
    }
    alone
}

/// What to send: everything that is there, with ours; without what an earlier run of ours set and
/// nobody wants any more.
pub(crate) fn merged(ours: &Labels, there: &HashMap<String, String>) -> HashMap<String, String> {
    there
        .iter()
        .filter(|(key, _)| !ours.unwanted.contains(*key))
        .chain(&ours.set)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// What begins with `deployer-` says which migration or password of ours a thing has.
pub(crate) const MARKING: Marking = Marking {
    word: "label",
    notes: "deployer-",
    is_the_clouds: is_googles,
};

/// These labels without what says that a thing is ours.
pub(crate) fn unmarked(there: &HashMap<String, String>) -> HashMap<String, String> {
    let mut labels = there.clone();
    labels.retain(|key, _| key != OWNER_TAG && !key.starts_with(MARKING.notes));
    labels
}

/// Whose a resource must be for us to touch it.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    label: String,
    /// Whether what nobody marked may be taken over: the manifest says `adopt`.
    adopt: bool,
}

impl Owner {
    /// The owner for a desired resource.
    pub(crate) fn wanted(labels: &Labels, adopt: bool) -> Self {
        let label = labels.set.get(OWNER_TAG).cloned();
        Self {
            label: label.unwrap_or_default(),
            adopt,
        }
    }

    /// The owner of what an inventory names.
    pub(crate) fn exactly(owner: &ours::Owner) -> Self {
        Self {
            label: owner_label(&owner.app, &owner.environment),
            adopt: false,
        }
    }

    /// Whether these labels bear its mark.
    pub(crate) fn is_marked(&self, there: &HashMap<String, String>) -> bool {
        there.get(OWNER_TAG) == Some(&self.label)
    }

    /// How we know that a resource with these labels is not ours. `None` when it is, or may be
    /// taken over.
    pub(crate) fn objection(&self, there: &HashMap<String, String>) -> Option<Stranger> {
        match there.get(OWNER_TAG) {
            Some(found) if *found == self.label => None,
            Some(found) => {
                let how = format!("its label `{OWNER_TAG}` is `{found}`, not `{}`", self.label);
                Some(Stranger::of(found, how))
            }
            None if self.adopt => None,
            None => Some(format!("it has no label `{OWNER_TAG}`").into()),
        }
    }
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
mod tests {
    use super::*;

    fn labels(entries: &[(&str, &str)]) -> HashMap<String, String> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn ours(entries: &[(&str, &str)]) -> Labels {
        let entries = entries.iter();
        let set: BTreeMap<String, String> = entries
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        set.into()
    }

    #[test]
    fn a_resource_without_our_label_is_foreign_unless_it_is_adopted() {
        let labels_of_ours = ours(&[("deployer", "idp_staging")]);
        let owner = Owner::wanted(&labels_of_ours, false);
        let objection = |owner: &Owner, there: &[(&str, &str)]| owner.objection(&labels(there));
        assert_eq!(objection(&owner, &[("deployer", "idp_staging")]), None);
        let unmarked = objection(&owner, &[]).unwrap();
        assert!(unmarked.to_string().contains("no label"));
        assert_eq!(unmarked.owner(), None);
        let adopting = Owner::wanted(&labels_of_ours, true);
        assert_eq!(objection(&adopting, &[]), None);
        // What another owner marked is never taken.
        for owner in [owner, adopting] {
            let marked = objection(&owner, &[("deployer", "idp_production")]).unwrap();
            assert_eq!(marked.owner(), Some("idp_production"));
        }
        let leftover = Owner::exactly(&ours::Owner::new("idp", "staging"));
        assert_eq!(objection(&leftover, &[("deployer", "idp_staging")]), None);
        assert!(objection(&leftover, &[("deployer", "idp_production")]).is_some());
        assert!(objection(&leftover, &[]).is_some());
    }

    #[test]
    fn labels_that_others_set_are_neither_drift_nor_removed() {
        let there = labels(&[
            ("goog-terraform-provisioned", "true"),
            ("team", "old"),
            ("cost-centre", "x"),
            ("gone", "1"),
        ]);
        let past = Past {
            tags: BTreeSet::from(["team".to_owned(), "gone".to_owned()]),
            ..Past::default()
        };
        let ours = ours(&[("team", "identity")]).after(&past);
        assert!(!ours.are_on(&there));
        let mut fields = Fields::new();
        describe(&mut fields, &there);
        assert!(fields.iter().all(|(name, _)| !name.contains("goog")));
        let sent = merged(&ours, &there);
        let kept = [("goog-terraform-provisioned", "true"), ("cost-centre", "x")];
        assert_eq!(
            sent,
            labels(&[kept.as_slice(), &[("team", "identity")]].concat())
        );
        assert!(ours.are_on(&sent));
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
