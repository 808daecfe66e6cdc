//! Gathers a service's variables on one target, to be measured against what its cloud takes.

use std::collections::BTreeSet;

use crate::model::{EnvValue, Manifest};
use crate::problem::Report;
use crate::section::Section;
use crate::source::KeyPath;

/// What a service gets on one target: the manifest's, with the target's own over them.
pub(super) struct Variables {
    /// The names of all.
    pub(super) names: BTreeSet<String>,
    /// Those that hold no secret: name, value, and where the manifest says it.
    pub(super) plain: Vec<(String, String, KeyPath)>,
    /// Where most of them are written.
    pub(super) path: KeyPath,
}

/// The variables of the service `key`; says in `report` which no process can hold.
pub(super) fn variables(
    key: &str,
    manifest: &Manifest,
    section: &dyn Section,
    report: &mut Report<'_>,
) -> Variables {
    let cloud = section.catalogue().cloud.as_str();
    let own = section.service(key).env;
    let path = KeyPath::new(["services", key, "env"]);
    let target = KeyPath::new(["targets", cloud, "services", key, "env"]);
    let shared = manifest.services.get(key);
    let shared = shared.into_iter().flat_map(|service| &service.env);
    let names = shared.clone().map(|(name, _)| name).chain(own.keys());
    let names = names.cloned().collect();
    let shared = shared.filter_map(|(name, value)| match value {
        EnvValue::Plain(text) if !own.contains_key(name) => Some((name, text, path.join(name))),
        EnvValue::Plain(_) | EnvValue::Secret(_) => None,
    });
    let own = own
        .iter()
        .map(|(name, text)| (name, text, target.join(name)));
    let plain = shared.chain(own);
    let plain: Vec<_> = plain
        .map(|(name, text, at)| (name.clone(), text.clone(), at))
        .collect();
    for (name, _, at) in plain.iter().filter(|(_, text, _)| text.contains('\0')) {
        // It ends the value in every process.
        let message = format!("`{name}` has a NUL, which no variable can hold");
        report.error(at, message, "encode bytes as text: base64, for instance");
    }
    Variables { names, plain, path }
}
