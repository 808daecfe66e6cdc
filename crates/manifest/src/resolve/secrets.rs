//! Resolves secrets for one target: where each comes from, and what it is called there.

use std::collections::BTreeMap;

use deployer_core::spec::{KeyHalf, Member, OnRollback, SecretSource, SecretSpec};

use super::{Fault, Resolver};
use crate::model::From;
use crate::names;
use crate::source::KeyPath;

impl Resolver<'_> {
    pub(super) fn secrets(&mut self) -> BTreeMap<String, SecretSpec> {
        let manifest = self.manifest;
        let made: BTreeMap<_, _> = self
            .data_secrets()
            .into_iter()
            .map(|spec| (spec.key.clone(), spec))
            .collect();
        let of_data = manifest.data_secrets();
        let mut specs = made;
        for (key, secret) in &manifest.secrets {
            // A table of such a secret adds to what is made; it declares no secret of its own.
            if of_data.iter().any(|(made, _)| made == key) {
                continue;
            }
            let source = source(secret.from.clone());
            let named = (secret.name.as_deref(), secret.key.as_deref());
            let on_rollback = secret.on_rollback.unwrap_or_default();
            specs.insert(key.clone(), self.secret(key, named, source, on_rollback));
        }
        for (pair, keys) in &manifest.keys {
            for (key, half) in [
                (&keys.private, KeyHalf::Private),
                (&keys.public, KeyHalf::Public),
            ] {
                let source = SecretSource::Key {
                    pair: pair.clone(),
                    half,
                };
                // The other half may be with someone else already: an old key would not fit it.
                let spec = self.secret(key, (None, None), source, OnRollback::Follow);
                specs.entry(key.clone()).or_insert(spec);
            }
        }
        specs
    }

    pub(super) fn secret(
        &mut self,
        key: &str,
        (name, member): (Option<&str>, Option<&str>),
        source: SecretSource,
        on_rollback: OnRollback,
    ) -> SecretSpec {
        let overrides = self.section.secrets().get(key).cloned();
        let overrides = overrides.unwrap_or_default();
        let own = overrides.from.and_then(|from| {
            let path = self.target_path(["secrets", key, "from"]);
            self.read::<From>(&from, path)
        });
        let source = own.map_or(source, self::source);
        let origin = self.manifest.secret_origin(key);
        let name = match (overrides.name, name) {
            (Some(name), _) => name,
            (None, Some(name)) => {
                let scope = self.scope.clone();
                self.fill(name, &scope, || KeyPath::new(["secrets", key, "name"]))
            }
            (None, None) => {
                let made = self.section.catalogue().secrets.made;
                made(&self.manifest.app, self.environment, &origin)
            }
        };
        SecretSpec {
            key: key.to_owned(),
            name,
            on_rollback,
            adopt: overrides.adopt,
            member: member.and_then(|member| self.member((key, &origin), member, &source)),
            source,
        }
    }

    /// What is taken of a secret that holds more.
    fn member(
        &mut self,
        (key, origin): (&str, &str),
        member: &str,
        source: &SecretSource,
    ) -> Option<Member> {
        if *source != SecretSource::Cloud {
            self.faults.push(Fault {
                path: KeyPath::new(["secrets", key, "key"]),
                message: format!("`{member}` can be taken only of a secret that the cloud holds"),
                help: "remove `key`, or write `from = \"cloud\"`".to_owned(),
            });
            return None;
        }
        let (app, environment) = (&self.manifest.app, self.environment);
        Some(Member {
            key: member.to_owned(),
            held_in: deployer_gcp::names::secret(
                app,
                environment,
                &format!("{origin}-{}", names::plain(member)),
            ),
        })
    }
}

fn source(from: From) -> SecretSource {
    match from {
        From::Cloud => SecretSource::Cloud,
        From::Env(name) => SecretSource::Env(name),
        From::File(path) => SecretSource::File(path),
        From::Generate(what) => SecretSource::Generate(what),
    }
}
