//! Makes the specification of one target: names made, overrides taken, templates filled in.

mod asked;
mod data;
mod secrets;
mod services;
mod templates;

pub(crate) use templates::fill_section;

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use deployer_core::error::{Error, Result};
use deployer_core::names::own_tags;
use deployer_core::spec::EnvironmentSpec;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::interpolate::{Scope, interpolate};
use crate::model::Manifest;
use crate::section::Section;
use crate::source::KeyPath;
use crate::units::HELP;

/// What goes wrong while a specification is made, at a key.
pub(crate) struct Fault {
    pub(crate) path: KeyPath,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// Makes specifications; gathers faults instead of stopping at the first.
pub(crate) struct Resolver<'a> {
    manifest: &'a Manifest,
    environment: &'a str,
    section: &'a dyn Section,
    scope: Scope,
    pub(crate) faults: Vec<Fault>,
}

impl Manifest {
    /// What `cloud` is to hold for `environment`.
    ///
    /// # Errors
    ///
    /// `Input` when the manifest has no such target or a value cannot be resolved for it; never for
    /// the targets of a manifest that [`crate::load`] accepted, in its environment.
    pub fn environment_spec(&self, cloud: CloudName, environment: &str) -> Result<EnvironmentSpec> {
        let section = self.targets.of(cloud);
        let section =
            section.ok_or_else(|| Error::input(format!("the manifest has no target `{cloud}`")))?;
        let mut resolver = Resolver::new(self, section, environment);
        let spec = resolver.resolve();
        match resolver.faults.first() {
            None => Ok(spec),
            Some(fault) => {
                Err(Error::input(format!("{} (`{}`)", fault.message, fault.path)).hint(&fault.help))
            }
        }
    }
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(
        manifest: &'a Manifest,
        section: &'a dyn Section,
        environment: &'a str,
    ) -> Self {
        Self {
            manifest,
            environment,
            section,
            scope: templates::scope(section, &manifest.app, environment),
            faults: vec![],
        }
    }

    pub(crate) fn resolve(&mut self) -> EnvironmentSpec {
        let manifest = self.manifest;
        let mut tags = BTreeMap::new();
        for (key, value) in &manifest.tags {
            let value = self.fill(value, &self.scope.clone(), || KeyPath::new(["tags", key]));
            tags.insert(key.clone(), value);
        }
        let secrets = self.secrets();
        let services = manifest
            .services
            .iter()
            .map(|(key, service)| (key.clone(), self.service(key, service)))
            .collect();
        EnvironmentSpec {
            app: manifest.app.clone(),
            environment: self.environment.to_owned(),
            tags: own_tags(&manifest.app, self.environment, &tags),
            secrets,
            databases: self.databases(),
            caches: self.caches(),
            services,
            ledger: None,
        }
    }

    fn fill(&mut self, text: &str, scope: &Scope, path: impl FnOnce() -> KeyPath) -> String {
        interpolate(text, scope).unwrap_or_else(|bad| {
            self.faults.push(Fault {
                path: path(),
                message: bad.message,
                help: bad.help,
            });
            text.to_owned()
        })
    }

    fn target_path<const N: usize>(&self, below: [&str; N]) -> KeyPath {
        let head = ["targets", self.section.catalogue().cloud.as_str()];
        KeyPath::new(head.into_iter().chain(below))
    }

    fn read<T: DeserializeOwned>(&mut self, value: &Value, path: KeyPath) -> Option<T> {
        T::deserialize(value)
            .map_err(|e| {
                let text = e.to_string();
                let (message, help) = text.split_once(HELP).unwrap_or((&text, ""));
                let typed = message.strip_prefix("invalid type: ");
                let typed = typed.and_then(|typed| typed.split_once(", expected "));
                self.faults.push(Fault {
                    path,
                    message: match typed {
                        Some((found, wanted)) => format!("expected {wanted}, found {found}"),
                        None => message.to_owned(),
                    },
                    help: help.to_owned(),
                });
            })
            .ok()
    }
}
