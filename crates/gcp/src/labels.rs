//! Labels: whose a resource is, and the labels that count when two are compared.

use std::collections::{BTreeMap, HashMap};

use deployer_core::capability::SecretVersion;
use deployer_core::fields::Fields;
use deployer_core::names::OWNER_TAG;
use deployer_core::spec::EnvironmentSpec;

/// The labels that a resource of this environment carries.
pub(crate) fn of(env: &EnvironmentSpec) -> BTreeMap<String, String> {
    deployer_core::names::own_labels(&env.app, &env.environment, &env.tags)
}

/// Labels that Google puts on by itself (`goog-...`): no drift, and never removed.
fn is_googles(key: &str) -> bool {
    key.starts_with("goog-") || key.contains('/')
}

/// Adds `tags.KEY` for every label that counts.
pub(crate) fn describe(fields: &mut Fields, labels: &HashMap<String, String>) {
    fields.set_all("tags", labels.iter().filter(|(key, _)| !is_googles(key)));
}

/// What to send: ours, and those that Google put on.
pub(crate) fn merged(
    ours: &BTreeMap<String, String>,
    there: &HashMap<String, String>,
) -> HashMap<String, String> {
    there
        .iter()
        .filter(|(key, _)| is_googles(key))
        .chain(ours)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Who may be found under a name.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    /// Only a resource that carries exactly this owner label.
    Exactly(String),
    /// Any resource with an owner label: what the inventory names is ours, but for one made anew by hand.
    AnyOfOurs,
    /// Whoever's: the manifest says `adopt`.
    Anyone,
}

impl Owner {
    /// The owner for a desired resource.
    pub(crate) fn wanted(labels: &BTreeMap<String, String>, adopt: bool) -> Self {
        if adopt {
            Self::Anyone
        } else {
            Self::Exactly(labels.get(OWNER_TAG).cloned().unwrap_or_default())
        }
    }

    /// `Some(how we know)` when a resource with these labels is not ours.
    pub(crate) fn objection(&self, there: &HashMap<String, String>) -> Option<String> {
        let found = there.get(OWNER_TAG);
        match (self, found) {
            (Self::Anyone, _) | (Self::AnyOfOurs, Some(_)) => None,
            (Self::Exactly(wanted), Some(found)) if wanted == found => None,
            (Self::Exactly(wanted), Some(found)) => Some(format!(
                "its label `{OWNER_TAG}` is `{found}`, not `{wanted}`"
            )),
            (Self::Exactly(_) | Self::AnyOfOurs, None) => {
                Some(format!("it has no label `{OWNER_TAG}`"))
            }
        }
    }
}

/// A pinned version as plans show it: `db-url version 3`.
pub(crate) fn show_version(version: &SecretVersion) -> String {
    format!(
        "{} version {}",
        crate::project::short(&version.secret),
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

    #[test]
    fn a_resource_without_our_label_is_foreign_unless_it_is_adopted() {
        let ours = BTreeMap::from([("deployer".to_owned(), "idp_staging".to_owned())]);
        let owner = Owner::wanted(&ours, false);
        assert_eq!(
            owner.objection(&labels(&[("deployer", "idp_staging")])),
            None
        );
        assert!(owner.objection(&labels(&[])).unwrap().contains("no label"));
        assert!(
            owner
                .objection(&labels(&[("deployer", "idp_production")]))
                .unwrap()
                .contains("idp_production")
        );
        assert_eq!(Owner::wanted(&ours, true).objection(&labels(&[])), None);
        assert!(Owner::AnyOfOurs.objection(&labels(&[])).is_some());
    }

    #[test]
    fn labels_that_google_adds_are_neither_drift_nor_removed() {
        let there = labels(&[
            ("goog-terraform-provisioned", "true"),
            ("team", "old"),
            ("stray", "x"),
        ]);
        let ours = BTreeMap::from([("team".to_owned(), "identity".to_owned())]);
        let mut fields = Fields::new();
        describe(&mut fields, &there);
        assert!(fields.iter().all(|(name, _)| !name.contains("goog")));
        assert!(fields.get("tags.stray").is_some());
        let sent = merged(&ours, &there);
        assert_eq!(
            sent,
            labels(&[("goog-terraform-provisioned", "true"), ("team", "identity")])
        );
    }
}
