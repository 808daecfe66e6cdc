//! Says which names a target holds, each with the rule that it keeps.

use std::collections::BTreeSet;

use deployer_core::catalogue::Members;
use deployer_core::spec::EnvironmentSpec;

use crate::called::Called;
use crate::names::Named;
use crate::section::Section;
use crate::source::KeyPath;

/// Every name that the target of `section` holds for `spec`, with the services of that.
pub(crate) fn all<'a>(
    section: &dyn Section,
    spec: &EnvironmentSpec,
    services: impl Iterator<Item = Called<'a>>,
) -> Vec<Named> {
    let services = services.flat_map(|it| section.named(&spec.app, &spec.environment, it));
    let instances = instances(section, spec);
    services
        .chain(instances)
        .chain(secrets(section, spec))
        .collect()
}

/// The names of databases and caches.
fn instances(section: &dyn Section, spec: &EnvironmentSpec) -> Vec<Named> {
    let catalogue = section.catalogue();
    let target = KeyPath::new(["targets", catalogue.cloud.as_str()]);
    let databases = spec.databases.iter();
    let databases = databases.map(|(key, own)| {
        let names = &catalogue.database.instance;
        (names, "databases", key, &own.name)
    });
    let caches = spec.caches.iter();
    let caches = caches.map(|(key, own)| {
        let names = &catalogue.cache.instance;
        (names, "caches", key, &own.name)
    });
    databases
        .chain(caches)
        .map(|(names, table, key, name)| Named {
            rule: names.rule,
            space: names.space,
            name: name.clone(),
            path: target.join(table).join(key).join("name"),
        })
        .collect()
}

/// The names of secrets, and of those that hold a member of another.
fn secrets(section: &dyn Section, spec: &EnvironmentSpec) -> Vec<Named> {
    let catalogue = section.catalogue();
    let rules = &catalogue.secrets;
    let target = KeyPath::new(["targets", catalogue.cloud.as_str()]);
    let by_member = spec.secrets.values().filter(|it| it.member.is_some());
    let whole = spec.secrets.values().filter(|it| it.member.is_none());
    let whole: BTreeSet<&String> = whole.map(|it| &it.name).collect();
    let shared: BTreeSet<&String> = by_member
        .map(|it| &it.name)
        .filter(|name| !whole.contains(name))
        .collect();
    let mut all = vec![];
    for (key, secret) in &spec.secrets {
        let own = section.secrets().get(key);
        all.push(Named {
            rule: match secret.may_be_anothers() {
                false => rules.rule,
                true => rules.read,
            },
            // One secret has many members.
            space: match &secret.member {
                Some(_) if shared.contains(&secret.name) => "",
                _ => SECRET,
            },
            name: secret.name.clone(),
            path: match own.and_then(|own| own.name.as_ref()) {
                Some(_) => target.join("secrets").join(key).join("name"),
                None => KeyPath::new(["secrets", key, "name"]),
            },
        });
        if let (Members::Copied, Some(member)) = (rules.members, &secret.member) {
            all.push(Named {
                rule: rules.rule,
                space: SECRET,
                name: member.held_in.clone(),
                path: KeyPath::new(["secrets", key, "key"]),
            });
        }
    }
    all
}

/// The space of secrets' names.
const SECRET: &str = "secret";
