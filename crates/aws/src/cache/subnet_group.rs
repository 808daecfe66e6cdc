//! `elasticache.subnet_group`: the subnets that a cache may stand in.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::Result;
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Output;
use deployer_core::node::{Kept, Reading, Resource, Token, Watch};
use deployer_core::wait::{Look, Pace, poll};

use super::tagging;
use crate::client::Clients;
use crate::error::{Told, code};
use crate::reading::{owned, seen, unseen, until_seen};
use crate::tags::{self, Ownership, TagChanges, Tags};

/// The kind of a subnet group's node.
pub(crate) const SUBNET_GROUP: &str = "elasticache.subnet_group";

/// How long a cache that is being deleted may keep its subnet group.
const LINGER: Pace = Pace::until(Duration::from_secs(20 * 60));

/// A subnet group that is to exist.
pub(super) struct SubnetGroup {
    pub(super) clients: Arc<Clients>,
    pub(super) address: Address,
    pub(super) ownership: Ownership,
    /// Sorted.
    pub(super) subnets: Vec<String>,
    /// Its name.
    pub(super) output: Output<String>,
}

/// A subnet group as ElastiCache has it.
#[derive(Clone, Debug)]
pub(crate) struct SubnetGroupActual {
    arn: String,
    subnets: Vec<String>,
    tags: Tags,
}

impl SubnetGroupActual {
    /// Its tags.
    pub(crate) fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Its fields, as compared.
    pub(crate) fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("subnets", self.subnets.join(", "));
        tags::describe(&mut fields, &self.tags);
        fields
    }
}

fn called(name: &str) -> String {
    format!("cache subnet group `{name}`")
}

/// Reads a subnet group and its tags.
pub(crate) async fn read_subnet_group(
    clients: &Clients,
    name: &str,
) -> Result<Reading<SubnetGroupActual>> {
    let answer = clients
        .elasticache
        .describe_cache_subnet_groups()
        .cache_subnet_group_name(name)
        .send()
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return unseen(&error, "CacheSubnetGroupNotFoundFault", &called(name)),
    };
    let Some(group) = answer.cache_subnet_groups().first() else {
        return Ok(Reading::Absent);
    };
    let arn = group.arn().unwrap_or_default().to_owned();
    let mut subnets: Vec<String> = group
        .subnets()
        .iter()
        .filter_map(|subnet| subnet.subnet_identifier().map(str::to_owned))
        .collect();
    subnets.sort();
    Ok(tagging::read(clients, &arn, &called(name))
        .await?
        .map(|tags| SubnetGroupActual {
            arn,
            subnets,
            tags: tags.unwrap_or_default(),
        }))
}

/// Deletes a subnet group, waiting for a cache in it that is being deleted.
pub(crate) async fn delete_subnet_group(clients: &Clients, name: &str) -> Result<()> {
    let what = called(name);
    let removed = poll(clients.clock(), LINGER, &what, || async {
        let deleted = clients
            .elasticache
            .delete_cache_subnet_group()
            .cache_subnet_group_name(name)
            .send()
            .await;
        match deleted {
            Err(error) if code(&error) == Some("CacheSubnetGroupNotFoundFault") => {
                Ok(Look::Found(Ok(())))
            }
            Err(error) if code(&error) == Some("CacheSubnetGroupInUse") => {
                Ok(Look::NotYet("a cache is still in it".into()))
            }
            // The SDK has tried it again already: a refusal to delete is no look that failed.
            other => Ok(Look::Found(
                other.map(drop).told(|| format!("delete {what}")),
            )),
        }
    });
    removed.await?
}

/// Takes our mark off a subnet group.
pub(crate) async fn release_subnet_group(clients: &Clients, name: &str) -> Result<()> {
    let what = called(name);
    match read_subnet_group(clients, name).await? {
        Reading::Present(actual) => {
            let changes = TagChanges::unmark(&actual.tags);
            tagging::retag(clients, &actual.arn, &what, changes).await
        }
        other => seen(other, &what).map(drop),
    }
}

impl SubnetGroup {
    fn name(&self) -> &str {
        &self.address.name
    }

    async fn again(&self) -> Result<SubnetGroupActual> {
        let (clock, what) = (self.clients.clock(), called(self.name()));
        until_seen(clock, &what, || self.read()).await
    }
}

#[async_trait]
impl Resource for SubnetGroup {
    type Actual = SubnetGroupActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let reading = read_subnet_group(&self.clients, self.name()).await?;
        Ok(owned(reading, &self.ownership, |actual| &actual.tags))
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("subnets", self.subnets.join(", "));
        tags::describe(&mut fields, &self.ownership.tags);
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        actual.fields()
    }

    fn publish(&self, _actual: &Self::Actual) {
        self.output.publish(self.name().to_owned());
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        let created = self
            .clients
            .elasticache
            .create_cache_subnet_group()
            .cache_subnet_group_name(self.name())
            .cache_subnet_group_description(self.ownership.description())
            .set_subnet_ids(Some(self.subnets.clone()))
            .set_tags(Some(tagging::sdk_tags(&self.ownership.tags)))
            .send()
            .await;
        match created {
            // A lost reply: what is there is ours, or the next read says otherwise.
            Err(error) if code(&error) == Some("CacheSubnetGroupAlreadyExists") => {}
            other => {
                other.told(|| format!("create {}", called(self.name())))?;
            }
        }
        self.again().await
    }

    async fn update(
        &self,
        actual: &Self::Actual,
        changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        if changes.iter().any(|change| change.field == "subnets") {
            self.clients
                .elasticache
                .modify_cache_subnet_group()
                .cache_subnet_group_name(self.name())
                .set_subnet_ids(Some(self.subnets.clone()))
                .send()
                .await
                .told(|| format!("change {}", called(self.name())))?;
        }
        let what = called(self.name());
        let changes = self.ownership.changes(&actual.tags);
        tagging::retag(&self.clients, &actual.arn, &what, changes).await?;
        self.again().await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("what is there stays in the subnet that it is in")
    }

    async fn delete(&self, _actual: &Self::Actual, _token: &Token) -> Result<()> {
        delete_subnet_group(&self.clients, self.name()).await
    }
}
