//! What the inventory names and the specification no longer wants: read and deleted, nothing else.

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::{Error, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::node::{Kept, Reading, Resource, Token, Watch};
use deployer_core::ours::Past;

use super::data::leads_to;
use super::storage::objection;
use super::world::{Api, World};

pub struct Leftover {
    pub api: Api,
    pub address: Address,
    pub past: Past,
}

fn find(world: &World, address: &Address, past: &Past) -> Reading<()> {
    let name = &address.name;
    let ours = super::world::OURS.to_owned();
    let (there, owner) = match address.kind.as_str() {
        "fake.repository" => (
            world.repositories.contains_key(name),
            world.repositories.get(name).map(|one| &one.0),
        ),
        "fake.secret" => match world.secrets.get(name) {
            Some(secret) if secret.deleted => {
                return Reading::Tombstoned("scheduled for deletion".into());
            }
            secret => (secret.is_some(), secret.map(|secret| &secret.owner)),
        },
        "fake.log-group" => (
            world.log_groups.contains_key(name),
            world.log_groups.get(name),
        ),
        "fake.definition" => (world.definitions.contains_key(name), Some(&ours)),
        "fake.service" => (
            world.services.contains_key(name),
            world.services.get(name).map(|one| &one.owner),
        ),
        "fake.database" => (
            world.databases.contains_key(name),
            world.databases.get(name).map(|one| &one.owner),
        ),
        "fake.cache" => (
            world.caches.contains_key(name),
            world.caches.get(name).map(|one| &one.owner),
        ),
        "fake.record" => {
            let held = world.records.get(name);
            if let Some(other) = held.filter(|held| !past.says(&leads_to(held))) {
                return Reading::Foreign(format!("it leads to {other}").into());
            }
            (held.is_some(), Some(&ours))
        }
        // Steps leave nothing behind.
        _ => return Reading::Absent,
    };
    let present = if there {
        Reading::Present(())
    } else {
        Reading::Absent
    };
    objection(world, address, owner).unwrap_or(present)
}

/// Deletes what is there, unless something that runs still needs it.
pub async fn delete(api: &Api, address: &Address) -> Result<()> {
    let name = &address.name;
    let call = match address.kind.as_str() {
        "fake.repository" => "DeleteRepository",
        "fake.secret" => "DeleteSecret",
        "fake.log-group" => "DeleteLogGroup",
        "fake.definition" => "DeregisterDefinitions",
        "fake.service" => "DeleteService",
        "fake.database" => "DeleteDatabase",
        "fake.cache" => "DeleteCache",
        "fake.record" => "DeleteRecord",
        kind => {
            return Err(Error::internal(format!(
                "`{kind}` leaves nothing to delete"
            )));
        }
    };
    let effect = |world: &mut World| {
        let running = world.running();
        let needed = match call {
            "DeleteRepository" => running
                .iter()
                .any(|one| one.image.contains(&format!("/{name}@"))),
            "DeleteSecret" => running.iter().any(|one| {
                one.secrets
                    .values()
                    .any(|pin| pin.starts_with(&format!("{name}#")))
            }),
            "DeleteDatabase" | "DeleteCache" => running.iter().any(|one| {
                let url = format!("{name}-url#");
                one.secrets.values().any(|pin| pin.starts_with(&url))
            }),
            "DeleteLogGroup" | "DeregisterDefinitions" => !running.is_empty(),
            _ => false,
        };
        if needed {
            return world.violation(format!("{call} `{name}` while it is needed"));
        }
        match call {
            "DeleteRepository" => drop(world.repositories.remove(name)),
            "DeleteSecret" => world
                .secrets
                .get_mut(name)
                .into_iter()
                .for_each(|secret| secret.deleted = true),
            "DeleteLogGroup" => drop(world.log_groups.remove(name)),
            "DeregisterDefinitions" => drop(world.definitions.remove(name)),
            "DeleteDatabase" => drop(world.databases.remove(name)),
            "DeleteCache" => drop(world.caches.remove(name)),
            "DeleteRecord" => drop(world.records.remove(name)),
            _ => drop(world.services.remove(name)),
        }
        Ok(())
    };
    api.write(call, name, effect).await
}

#[async_trait]
impl Resource for Leftover {
    type Actual = ();

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<()>> {
        self.api
            .read("DescribeLeftover", &self.address.name, |world| {
                find(world, &self.address, &self.past)
            })
            .await
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        Fields::new()
    }

    fn observed(&self, (): &()) -> Fields {
        Fields::new()
    }

    fn publish(&self, (): &()) {}

    async fn create(&self, _: &Token, _: &dyn Watch) -> Result<()> {
        Err(Error::internal("a leftover is never created"))
    }

    async fn update(&self, (): &(), _: &[FieldChange], _: &Token, _: &dyn Watch) -> Result<()> {
        Err(Error::internal("a leftover is never updated"))
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the fake's kinds harm nobody")
    }

    async fn delete(&self, (): &(), _token: &Token) -> Result<()> {
        delete(&self.api, &self.address).await
    }

    async fn release(&self, (): &(), _token: &Token) -> Result<()> {
        let name = &self.address.name;
        let effect = |world: &mut World| {
            world.released.insert(name.clone());
            Ok(())
        };
        self.api.write("Release", name, effect).await
    }

    fn holds_data(&self) -> bool {
        self.address.kind == "fake.database"
    }
}
