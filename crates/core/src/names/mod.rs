//! Marks that say whose a resource is, and the rules of names.

mod rule;

pub use regex_lite::Regex;
pub use rule::{Case, Rule, instance, plain, prefix, service};

use std::collections::BTreeMap;

/// The tag that every resource of ours carries; its value is `APP/ENVIRONMENT`.
pub const OWNER_TAG: &str = "deployer";

/// The tag by which a service notes the ledger that its environment is in.
pub const LEDGER_TAG: &str = "deployer:ledger";

/// The same on Google Cloud, where the keys of labels hold no colon.
pub const LEDGER_LABEL: &str = "deployer-ledger";

/// The same on Google Cloud, where label values hold no slash: `APP_ENVIRONMENT`.
pub fn owner_label(app: &str, environment: &str) -> String {
    label(&format!("{app}_{environment}"))
}

/// A text as a label's key or value.
fn label(text: &str) -> String {
    text.to_lowercase()
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || c == '_' || c == '-' {
                c
            } else {
                '_'
            }
        })
        .take(63)
        .collect()
}

/// The owner tag's value.
pub fn owner(app: &str, environment: &str) -> String {
    format!("{app}/{environment}")
}

/// User tags and ours, as a cloud with free-form tags takes them.
pub fn own_tags(
    app: &str,
    environment: &str,
    user: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut tags = user.clone();
    tags.insert(OWNER_TAG.to_owned(), owner(app, environment));
    tags
}

/// User tags and ours as Google labels: lower case; letters, digits, `_` and `-`; at most 63
/// characters.
pub fn own_labels(
    app: &str,
    environment: &str,
    user: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<_, _> = user
        .iter()
        .map(|(key, value)| (label(key), label(value)))
        .collect();
    labels.insert(OWNER_TAG.to_owned(), owner_label(app, environment));
    labels
}
