//! Nodes for what the inventory has and the manifest no longer wants: read, shown, released or deleted.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::node::{Evidence, Kept, Node, Reading, Resource, ResourceNode, Step, StepNode};
use deployer_core::node::{Token, Undone, Watch};
use deployer_core::ours::{Owner, Past, Stranger};

use crate::cache::group_calls::{delete_group, read_group, release_group};
use crate::cache::replication_group::REPLICATION_GROUP;
use crate::cache::subnet_group as cache_subnet_group;
use crate::client::Clients;
use crate::database::instance::INSTANCE;
use crate::database::instance_calls::{delete_instance, read_instance, release_instance};
use crate::database::parameter_group::{
    PARAMETER_GROUP, delete_parameter_group, read_parameter_group, release_parameter_group,
};
use crate::database::subnet_group as database_subnet_group;
use crate::registry::{IMAGE, REPOSITORY, delete_repository, read_repository, release_repository};
use crate::runtime::log_group::{LOG_GROUP, delete_log_group, read_log_group, release_log_group};
use crate::runtime::lookup::read_service;
use crate::runtime::migration::MIGRATION;
use crate::runtime::scaling::SCALABLE_TARGET;
use crate::runtime::scaling_calls::{
    ScalingActual, end_scaling, note_of_end, read_ending, release_target,
};
use crate::runtime::service::SERVICE;
use crate::runtime::service_calls::{delete_service, release_service};
use crate::runtime::service_fields::{fields_of, tags_of};
use crate::runtime::task_definition::{
    TASK_DEFINITION, deregister_family, read_family, release_family,
};
use crate::secret_store::{
    MEMBER, SECRET, SecretActual, delete_secret, read_secret, release_secret,
};
use crate::tags::Ownership;

/// A node for an address of the inventory.
///
/// Errors: input, when the kind is unknown.
pub(crate) fn node(
    clients: &Arc<Clients>,
    address: &Address,
    owner: &Owner,
    past: &Past,
) -> Result<Arc<dyn Node>> {
    let kind = match address.kind.as_str() {
        REPOSITORY => Kind::Repository,
        LOG_GROUP => Kind::LogGroup,
        SECRET => Kind::Secret,
        TASK_DEFINITION => Kind::TaskDefinition,
        SERVICE => Kind::Service,
        SCALABLE_TARGET => Kind::Scaling,
        database_subnet_group::SUBNET_GROUP => Kind::DatabaseSubnetGroup,
        PARAMETER_GROUP => Kind::ParameterGroup,
        INSTANCE => Kind::Database,
        cache_subnet_group::SUBNET_GROUP => Kind::CacheSubnetGroup,
        REPLICATION_GROUP => Kind::Cache,
        // Done once and gone: there is nothing to delete.
        IMAGE | MIGRATION | MEMBER => return Ok(Arc::new(StepNode::new(Done(address.clone())))),
        other => {
            return Err(Error::input(format!(
                "`{address}` is of a kind that this version does not know: `{other}`"
            ))
            .hint("use the version of deployer that made it, or a newer one"));
        }
    };
    Ok(Arc::new(ResourceNode::new(Existing {
        clients: Arc::clone(clients),
        address: address.clone(),
        kind,
        ownership: Ownership::leftover(owner),
        past: past.clone(),
    })))
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Repository,
    LogGroup,
    Secret,
    TaskDefinition,
    Service,
    Scaling,
    DatabaseSubnetGroup,
    ParameterGroup,
    Database,
    CacheSubnetGroup,
    Cache,
}

/// Something that can be read, released and deleted, and is never made or changed.
struct Existing {
    clients: Arc<Clients>,
    address: Address,
    kind: Kind,
    ownership: Ownership,
    past: Past,
}

/// The fields of what is ours; a thing that bears another mark, or none, is foreign.
fn ours<A>(
    reading: Reading<A>,
    fields: impl FnOnce(&A) -> Fields,
    foreign: impl FnOnce(&A) -> Option<Stranger>,
) -> Reading<Fields> {
    match reading {
        Reading::Present(actual) => match foreign(&actual) {
            Some(stranger) => Reading::Foreign(stranger),
            None => Reading::Present(fields(&actual)),
        },
        // Deleted already.
        Reading::Absent | Reading::Tombstoned(_) => Reading::Absent,
        Reading::Denied(words) => Reading::Denied(words),
        Reading::Foreign(stranger) => Reading::Foreign(stranger),
    }
}

impl Existing {
    async fn find(&self) -> Result<Reading<Fields>> {
        let (clients, name) = (&self.clients, self.address.name.as_str());
        let whose = &self.ownership;
        Ok(match self.kind {
            Kind::Repository => {
                let reading = read_repository(clients, name).await?;
                ours(reading, |it| it.fields(), |it| whose.foreign(&it.tags))
            }
            Kind::LogGroup => {
                let reading = read_log_group(clients, name).await?;
                ours(reading, |it| it.fields(), |it| whose.foreign(it.tags()))
            }
            Kind::Secret => {
                let reading = read_secret(clients, name).await?;
                ours(reading, SecretActual::fields, |it| whose.foreign(it.tags()))
            }
            Kind::TaskDefinition => {
                let reading = read_family(clients, name, whose, &self.past).await?;
                ours(reading, Fields::clone, |_| None)
            }
            Kind::Service => {
                let reading = read_service(clients, name).await?;
                ours(reading, fields_of, |it| whose.foreign(&tags_of(it)))
            }
            Kind::DatabaseSubnetGroup => {
                let reading = database_subnet_group::read_subnet_group(clients, name).await?;
                ours(reading, |it| it.fields(), |it| whose.foreign(it.tags()))
            }
            Kind::ParameterGroup => {
                let reading = read_parameter_group(clients, name).await?;
                ours(reading, |it| it.fields(), |it| whose.foreign(it.tags()))
            }
            Kind::Database => {
                let reading = read_instance(clients, name).await?;
                ours(reading, |it| it.fields(), |it| whose.foreign(it.tags()))
            }
            Kind::CacheSubnetGroup => {
                let reading = cache_subnet_group::read_subnet_group(clients, name).await?;
                ours(reading, |it| it.fields(), |it| whose.foreign(it.tags()))
            }
            Kind::Cache => self.find_cache().await?,
            Kind::Scaling => {
                let reading = read_ending(clients, name).await?;
                let foreign = |it: &(_, _)| whose.foreign(ScalingActual::tags(&it.0));
                ours(reading, |it| it.1.clone(), foreign)
            }
        })
    }

    /// ElastiCache tells no tags while a group changes: one that was not made by us cannot be judged then.
    async fn find_cache(&self) -> Result<Reading<Fields>> {
        let (whose, name) = (&self.ownership, &self.address.name);
        let reading = read_group(&self.clients, name).await?;
        if let Reading::Present(group) = &reading
            && !group.tells_tags()
            && group
                .foreign_to(whose)
                .is_some_and(|it| it.owner().is_none())
        {
            let what = format!("cannot see whose cache `{name}` is while it changes");
            return Err(Error::new(ErrorKind::Unavailable, what)
                .hint("run this again once ElastiCache calls it `available`"));
        }
        Ok(ours(reading, |it| it.fields(), |it| it.foreign_to(whose)))
    }

    fn never<T>(&self) -> Result<T> {
        Err(Error::new(
            ErrorKind::Internal,
            format!("{} is only there to be deleted", self.address),
        ))
    }
}

#[async_trait]
impl Resource for Existing {
    type Actual = Fields;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Fields>> {
        self.find().await
    }

    fn desired(&self) -> Fields {
        Fields::new()
    }

    fn observed(&self, actual: &Fields) -> Fields {
        actual.clone()
    }

    fn notes(&self, actual: &Fields) -> Vec<String> {
        match self.kind {
            // What was adopted is let go as it is.
            Kind::Scaling if self.past.adopted => Vec::new(),
            Kind::Scaling => note_of_end(actual).into_iter().collect(),
            Kind::Repository
            | Kind::LogGroup
            | Kind::Secret
            | Kind::TaskDefinition
            | Kind::Service
            | Kind::DatabaseSubnetGroup
            | Kind::ParameterGroup
            | Kind::Database
            | Kind::CacheSubnetGroup
            | Kind::Cache => Vec::new(),
        }
    }

    fn publish(&self, _actual: &Fields) {}

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Fields> {
        self.never()
    }

    async fn update(
        &self,
        _actual: &Fields,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Fields> {
        self.never()
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("it is not as before")
    }

    async fn delete(&self, _actual: &Fields, token: &Token) -> Result<()> {
        let (clients, name) = (&self.clients, self.address.name.as_str());
        match self.kind {
            Kind::Repository => delete_repository(clients, name).await,
            Kind::LogGroup => delete_log_group(clients, name).await,
            Kind::Secret => delete_secret(clients, name).await,
            Kind::TaskDefinition => {
                deregister_family(clients, name, &self.ownership, &self.past).await
            }
            Kind::Service => delete_service(clients, name).await,
            Kind::Scaling => end_scaling(clients, name).await,
            Kind::DatabaseSubnetGroup => {
                database_subnet_group::delete_subnet_group(clients, name).await
            }
            Kind::ParameterGroup => delete_parameter_group(clients, name).await,
            Kind::Database => delete_instance(clients, name, token).await,
            Kind::CacheSubnetGroup => cache_subnet_group::delete_subnet_group(clients, name).await,
            Kind::Cache => delete_group(clients, name).await,
        }
    }

    async fn release(&self, _actual: &Fields, _token: &Token) -> Result<()> {
        let (clients, name) = (&self.clients, self.address.name.as_str());
        match self.kind {
            Kind::Repository => release_repository(clients, name).await,
            Kind::LogGroup => release_log_group(clients, name).await,
            Kind::Secret => release_secret(clients, name).await,
            Kind::TaskDefinition => release_family(clients, name, &self.ownership).await,
            Kind::Service => release_service(clients, name).await,
            Kind::Scaling => release_target(clients, name).await,
            Kind::DatabaseSubnetGroup => {
                database_subnet_group::release_subnet_group(clients, name).await
            }
            Kind::ParameterGroup => release_parameter_group(clients, name).await,
            Kind::Database => release_instance(clients, name).await,
            Kind::CacheSubnetGroup => cache_subnet_group::release_subnet_group(clients, name).await,
            Kind::Cache => release_group(clients, name).await,
        }
    }

    fn holds_data(&self) -> bool {
        matches!(self.kind, Kind::Database)
    }

    fn is_guarded(&self) -> bool {
        match self.kind {
            Kind::Repository | Kind::LogGroup | Kind::Database | Kind::Cache => true,
            // An inventory of before does not say who put its value there.
            Kind::Secret => self.past.data.unwrap_or(true),
            Kind::TaskDefinition
            | Kind::Service
            | Kind::Scaling
            | Kind::DatabaseSubnetGroup
            | Kind::ParameterGroup
            | Kind::CacheSubnetGroup => false,
        }
    }
}

/// A step that was done once.
struct Done(Address);

#[async_trait]
impl Step for Done {
    fn address(&self) -> &Address {
        &self.0
    }

    async fn evidence(&self) -> Result<Evidence> {
        // Nothing to see is nothing to delete.
        Ok(Evidence::NotDone("a step leaves nothing to delete".into()))
    }

    fn desired(&self) -> Fields {
        Fields::new()
    }

    fn publish(&self) {}

    async fn run(&self, _token: &Token, _watch: &dyn Watch) -> Result<()> {
        Ok(())
    }

    async fn left(&self, _failed: Option<ErrorKind>) -> Result<Undone> {
        Ok(Undone::PutBack)
    }
}
