//! `ecs.migration`: which database it is for, and what names that.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_ecs::types::TaskDefinition;
use deployer_core::capability::{Birth, Scope, SecretVersion, ServiceInputs};
use deployer_core::error::Result;
use deployer_core::fields::Fields;
use deployer_core::graph::{Inputs, Value};
use deployer_core::kind::seen;
use deployer_core::migration::{Identity, Whose};
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};

use super::family::read_definition;
use super::task_definition::{WithTags, describe_revision};
use super::{Names, definition_read, lookup, service_calls};
use crate::client::Clients;

/// The kind of a migration's node.
pub(crate) const MIGRATION: &str = "ecs.migration";

/// Which database a migration is for.
pub(super) struct Database {
    named: Named,
    /// Which database that is, where it is one of the manifest's own. A secret's name with its
    /// suffix, and a version's id, are never given again on AWS: they stand for a database that a
    /// person named.
    birth: Option<Value<Birth>>,
}

/// What names the database's version.
enum Named {
    /// Nothing does.
    Not,
    /// A secret of the manifest, in the version that the new task definition pins.
    Secret(Value<SecretVersion>),
    /// Whatever the service pins now; of one on App Runner, which pins nothing, its migration.
    Running(Running),
}

/// What a service, or its migration, pins in one of its variables.
struct Running {
    clients: Arc<Clients>,
    names: Names,
    variable: String,
    /// What was found; the outer `None` before anybody looked.
    pinned: Mutex<Option<Option<SecretVersion>>>,
}

impl Database {
    pub(super) fn of(
        (clients, names): (&Arc<Clients>, &Names),
        (env, service): (&EnvironmentSpec, &ServiceSpec),
        given: &ServiceInputs,
        scope: Scope,
        inputs: &mut Inputs,
    ) -> Self {
        let migrate = service.migrate.as_ref();
        let Some(key) = migrate.and_then(|migrate| migrate.database.as_ref()) else {
            return Self {
                named: Named::Not,
                birth: None,
            };
        };
        let known = (env.secrets.get(key), given.secrets.get(key));
        let mut variables = service.secrets.iter();
        let variable = variables.find(|(_, used)| used.secret == *key);
        let named = match (scope, known, variable) {
            (Scope::Whole, (Some(_), Some(version)), _) => Named::Secret(inputs.pass(version)),
            (Scope::Whole, _, _) | (Scope::CodeOnly, _, None) => Named::Not,
            (Scope::CodeOnly, _, Some((variable, _))) => Named::Running(Running {
                clients: Arc::clone(clients),
                names: names.clone(),
                variable: variable.clone(),
                pinned: Mutex::default(),
            }),
        };
        let birth = given.births.get(key).map(|birth| inputs.pass(birth));
        Self { named, birth }
    }
}

impl Running {
    async fn look(&self) -> Result<()> {
        let name = &self.names.service;
        if self.clients.section.on_app_runner(name).is_some() {
            let pinned = Some(self.of_its_tasks().await?);
            *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) = pinned;
            return Ok(());
        }
        let service = lookup::describe(&self.clients, name, WithTags::No)
            .await?
            .ok_or_else(|| service_calls::absent(name))?;
        let arn = service.task_definition().unwrap_or_default();
        let running = describe_revision(&self.clients, arn).await?;
        let pinned = self.pinned_by(&running);
        *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) = Some(pinned);
        Ok(())
    }

    /// What the migration's own tasks pin, where App Runner runs the service: a code-only
    /// deployment leaves them on the database of the last whole apply. What the service itself
    /// noted does not say it: after an update that failed App Runner may describe what never
    /// served, or what was put back, and neither is what the tasks run on.
    async fn of_its_tasks(&self) -> Result<Option<SecretVersion>> {
        let family = self.names.of_migration().family;
        let latest = read_definition(&self.clients, &family, WithTags::No).await?;
        let latest = seen(latest, &format!("task definition `{family}`"))?;
        Ok(latest.and_then(|latest| self.pinned_by(&latest.definition)))
    }

    fn pinned_by(&self, tasks: &TaskDefinition) -> Option<SecretVersion> {
        definition_read::container_of(tasks, &self.names.container)
            .and_then(|container| definition_read::secret_of(container, &self.variable))
            .and_then(crate::secret_store::value_from::pinned)
    }

    fn known(&self) -> Option<Option<SecretVersion>> {
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.clone()
    }
}

#[async_trait]
impl Whose for Database {
    async fn look(&self) -> Result<()> {
        match &self.named {
            Named::Not | Named::Secret(_) => Ok(()),
            Named::Running(running) => running.look().await,
        }
    }

    fn known(&self) -> Option<Identity> {
        let pin = match &self.named {
            Named::Not => None,
            Named::Secret(version) => Some(version.known()?),
            Named::Running(running) => running.known()?,
        };
        let birth = match &self.birth {
            None => None,
            Some(birth) => Some(birth.known()?),
        };
        Some(Identity { pin, birth })
    }

    fn describe(&self, fields: &mut Fields) {
        if let Named::Secret(version) = &self.named {
            let text = version.field(|version| format!("version {}", version.version));
            fields.set_value("database", text);
        }
    }
}
