//! The fake's databases, caches and records.

use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Birth, SecretVersion};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Listed;
use deployer_core::graph::{Output, Value};
use deployer_core::node::{Kept, Reading, Ready, Resource, Token, Watch};
use deployer_core::ours::Past;
use deployer_core::wait::{Pace, Readiness};
use secrecy::SecretString;
use tokio::time::Instant;

use super::storage::objection;
use super::world::{Api, Instance, OURS, World};

/// Which store an instance is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Database,
    Cache,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Database => "fake.database",
            Self::Cache => "fake.cache",
        }
    }

    fn calls(self) -> [&'static str; 3] {
        match self {
            Self::Database => ["DescribeDatabase", "CreateDatabase", "ModifyDatabase"],
            Self::Cache => ["DescribeCache", "CreateCache", "ModifyCache"],
        }
    }
}

/// An instance that takes its time to start, and whose address exists only then.
pub struct InstanceNode {
    pub api: Api,
    pub address: Address,
    pub kind: Kind,
    pub class: String,
    pub password: Value<SecretVersion>,
    pub url: Output<SecretString>,
    pub birth: Output<Birth>,
}

/// An instance as the fake tells it. The URL is in memory only.
#[derive(Clone, Debug)]
pub struct InstanceActual {
    instance: Instance,
    url: Option<SecretString>,
}

fn pin(version: &SecretVersion) -> String {
    format!("{}#{}", version.secret, version.version)
}

impl InstanceNode {
    /// The URL is there when the instance is.
    fn look(&self, world: &World, instance: &Instance) -> InstanceActual {
        let password = instance
            .password
            .split_once('#')
            .and_then(|(name, number)| {
                let index = number.parse::<usize>().ok()?.checked_sub(1)?;
                world.secrets.get(name)?.values.get(index)
            });
        let name = &self.address.name;
        let url = password
            .filter(|_| instance.settled())
            .map(|password| match self.kind {
                Kind::Database => {
                    format!("postgresql://app:{password}@{name}.test:5432/app?sslmode=require")
                }
                Kind::Cache => format!("rediss://:{password}@{name}.test:6379"),
            });
        InstanceActual {
            instance: instance.clone(),
            url: url.map(SecretString::from),
        }
    }

    async fn put(&self, call: &'static str) -> Result<InstanceActual> {
        let name = &self.address.name;
        let password = pin(&self.password.settled()?);
        let put = |world: &mut World| {
            let starts = world.manners.instance;
            let instances = world.instances(self.kind);
            let there = instances.contains_key(name);
            if there == call.starts_with("Create") {
                return world.violation(format!("{call} `{name}` comes at the wrong time"));
            }
            let instance = Instance {
                owner: OURS.into(),
                class: self.class.clone(),
                password,
                ends: Instant::now() + starts,
            };
            instances.insert(name.clone(), instance.clone());
            Ok(self.look(world, &instance))
        };
        self.api.write(call, name, put).await
    }
}

impl Listed for InstanceNode {}

#[async_trait]
impl Resource for InstanceNode {
    type Actual = InstanceActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<InstanceActual>> {
        let name = &self.address.name;
        let [describe, ..] = self.kind.calls();
        self.api
            .read(describe, name, |world| {
                let found = match self.kind {
                    Kind::Database => world.databases.get(name),
                    Kind::Cache => world.caches.get(name),
                };
                objection(world, &self.address, found.map(|one| &one.owner)).unwrap_or_else(|| {
                    found.map_or(Reading::Absent, |one| {
                        Reading::Present(self.look(world, one))
                    })
                })
            })
            .await
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = Fields::new();
        fields.set("class", &self.class);
        fields.set_value("password", self.password.field(pin));
        fields
    }

    fn observed(&self, actual: &InstanceActual) -> Fields {
        let mut fields = Fields::new();
        fields.set("class", &actual.instance.class);
        fields.set("password", &actual.instance.password);
        fields
    }

    fn publish(&self, actual: &InstanceActual) {
        if let Some(url) = &actual.url {
            self.url.publish(url.clone());
        }
        self.birth.publish(Birth {
            id: self.address.name.clone(),
            at: None,
        });
    }

    fn withdraw(&self, changes: &[FieldChange]) {
        if changes.iter().any(|change| change.field == "password") {
            self.url.withdraw();
        }
    }

    async fn create(&self, _: &Token, _: &dyn Watch) -> Result<InstanceActual> {
        let [_, create, _] = self.kind.calls();
        self.put(create).await
    }

    async fn update(
        &self,
        _: &InstanceActual,
        _: &[FieldChange],
        _: &Token,
        _: &dyn Watch,
    ) -> Result<InstanceActual> {
        let [.., modify] = self.kind.calls();
        self.put(modify).await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the fake's kinds harm nobody")
    }

    async fn delete(&self, _: &InstanceActual, _: &Token) -> Result<()> {
        super::leftover::delete(&self.api, &self.address).await
    }

    async fn readiness(&self, _: &InstanceActual) -> Result<Ready<InstanceActual>> {
        let Reading::Present(actual) = self.read().await? else {
            return Err(Error::new(ErrorKind::NotFound, "the instance is gone"));
        };
        let state = match actual.instance.settled() {
            true => Readiness::Ready,
            false => Readiness::Pending("creating".into()),
        };
        Ok(Ready { state, actual })
    }

    fn unsettled(&self, actual: &InstanceActual) -> Option<String> {
        (!actual.instance.settled()).then(|| "creating".into())
    }

    fn pace(&self) -> Pace {
        Pace::until(Duration::from_secs(3600))
    }

    fn holds_data(&self) -> bool {
        self.kind == Kind::Database
    }
}

/// What a record says.
pub fn leads_to(where_to: &str) -> Fields {
    let mut fields = Fields::new();
    fields.set("leads_to", where_to);
    fields
}

/// A name; records have no owner but the inventory.
pub struct RecordNode {
    pub api: Api,
    pub address: Address,
    pub leads_to: String,
    pub past: Past,
}

impl Listed for RecordNode {}

#[async_trait]
impl Resource for RecordNode {
    type Actual = String;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<String>> {
        let name = &self.address.name;
        self.api
            .read("DescribeRecord", name, |world| {
                match world.records.get(name) {
                    None => Reading::Absent,
                    Some(other) if *other != self.leads_to && !self.past.says(&leads_to(other)) => {
                        Reading::Foreign(format!("it leads to {other}").into())
                    }
                    Some(held) => Reading::Present(held.clone()),
                }
            })
            .await
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        leads_to(&self.leads_to)
    }

    fn observed(&self, actual: &String) -> Fields {
        leads_to(actual)
    }

    fn is_unmarked(&self) -> bool {
        true
    }

    fn was_there(&self, _: &String) -> bool {
        !self.past.known
    }

    fn publish(&self, _: &String) {}

    async fn create(&self, _: &Token, _: &dyn Watch) -> Result<String> {
        self.put("CreateRecord").await
    }

    async fn update(
        &self,
        _: &String,
        _: &[FieldChange],
        _: &Token,
        _: &dyn Watch,
    ) -> Result<String> {
        self.put("ChangeRecord").await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the fake's kinds harm nobody")
    }

    async fn delete(&self, _: &String, _: &Token) -> Result<()> {
        super::leftover::delete(&self.api, &self.address).await
    }
}

impl RecordNode {
    async fn put(&self, call: &'static str) -> Result<String> {
        let name = &self.address.name;
        self.api
            .write(call, name, |world| {
                world.records.insert(name.clone(), self.leads_to.clone());
                Ok(self.leads_to.clone())
            })
            .await
    }
}
