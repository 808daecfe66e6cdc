//! Nodes for what the inventory has and the manifest no longer wants: read, shown, deleted.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::names::OWNER_TAG;
use deployer_core::node::{Evidence, Kept, Node, Reading, Resource, ResourceNode, Step, StepNode};
use deployer_core::node::{Token, Watch};

use crate::cache::group_calls::{delete_group, read_group};
use crate::cache::replication_group::REPLICATION_GROUP;
use crate::cache::subnet_group as cache_subnet_group;
use crate::client::Clients;
use crate::database::instance::INSTANCE;
use crate::database::instance_calls::{delete_instance, read_instance};
use crate::database::parameter_group::{
    PARAMETER_GROUP, delete_parameter_group, read_parameter_group,
};
use crate::database::subnet_group as database_subnet_group;
use crate::registry::{IMAGE, REPOSITORY, delete_repository, read_repository};
use crate::runtime::log_group::{LOG_GROUP, delete_log_group, read_log_group};
use crate::runtime::lookup::read_service;
use crate::runtime::migration::MIGRATION;
use crate::runtime::service::{SERVICE, delete_service};
use crate::runtime::service_fields::fields_of;
use crate::runtime::task_definition::{
    TASK_DEFINITION, WithTags, deregister_family, read_definition,
};
use crate::secret_store::{MEMBER, SECRET, SecretActual, delete_secret, read_secret};

/// A node for an address of the inventory.
///
/// Errors: input, when the kind is unknown.
pub(crate) fn node(clients: &Arc<Clients>, address: &Address) -> Result<Arc<dyn Node>> {
    let kind = match address.kind.as_str() {
        REPOSITORY => Kind::Repository,
        LOG_GROUP => Kind::LogGroup,
        SECRET => Kind::Secret,
        TASK_DEFINITION => Kind::TaskDefinition,
        SERVICE => Kind::Service,
        database_subnet_group::SUBNET_GROUP => Kind::DatabaseSubnetGroup,
        PARAMETER_GROUP => Kind::ParameterGroup,
        INSTANCE => Kind::Database,
        cache_subnet_group::SUBNET_GROUP => Kind::CacheSubnetGroup,
        REPLICATION_GROUP => Kind::Cache,
        // Done once and gone: there is nothing to delete.
        IMAGE | MIGRATION | MEMBER => return Ok(Arc::new(StepNode::new(Past(address.clone())))),
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
    })))
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Repository,
    LogGroup,
    Secret,
    TaskDefinition,
    Service,
    DatabaseSubnetGroup,
    ParameterGroup,
    Database,
    CacheSubnetGroup,
    Cache,
}

/// Something that can be read and deleted, and is never made or changed.
struct Existing {
    clients: Arc<Clients>,
    address: Address,
    kind: Kind,
}

fn mapped<A>(reading: Reading<A>, fields: impl FnOnce(&A) -> Fields) -> Reading<Fields> {
    match reading {
        Reading::Present(actual) => Reading::Present(fields(&actual)),
        // Deleted already.
        Reading::Absent | Reading::Tombstoned(_) => Reading::Absent,
        Reading::Denied(words) => Reading::Denied(words),
        Reading::Foreign(how) => Reading::Foreign(how),
    }
}

impl Existing {
    async fn find(&self) -> Result<Reading<Fields>> {
        let (clients, name) = (&self.clients, self.address.name.as_str());
        Ok(match self.kind {
            Kind::Repository => mapped(read_repository(clients, name).await?, |actual| {
                actual.fields()
            }),
            Kind::LogGroup => mapped(read_log_group(clients, name).await?, |actual| {
                actual.fields()
            }),
            Kind::Secret => mapped(read_secret(clients, name).await?, SecretActual::fields),
            Kind::TaskDefinition => mapped(
                read_definition(clients, name, WithTags::Yes).await?,
                |actual| actual.fields(name),
            ),
            Kind::Service => mapped(read_service(clients, name).await?, fields_of),
            Kind::DatabaseSubnetGroup => mapped(
                database_subnet_group::read_subnet_group(clients, name).await?,
                |actual| actual.fields(),
            ),
            Kind::ParameterGroup => mapped(read_parameter_group(clients, name).await?, |actual| {
                actual.fields()
            }),
            Kind::Database => mapped(read_instance(clients, name).await?, |actual| {
                actual.fields()
            }),
            Kind::CacheSubnetGroup => mapped(
                cache_subnet_group::read_subnet_group(clients, name).await?,
                |actual| actual.fields(),
            ),
            Kind::Cache => mapped(read_group(clients, name).await?, |actual| actual.marked()),
        })
    }

    /// `Some(how we know)` when it carries no mark of ours any more.
    fn foreign(&self, fields: &Fields) -> Option<String> {
        match self.kind {
            // Revisions that a code deployment registers carry no tags, and deregistering one takes nothing away from what
            // runs.
            Kind::TaskDefinition => None,
            _ if fields.get(&format!("tags.{OWNER_TAG}")).is_some() => None,
            _ => Some(format!("it has no tag `{OWNER_TAG}`")),
        }
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
        let reading = self.find().await?;
        if let Reading::Present(fields) = &reading
            && let Some(how) = self.foreign(fields)
        {
            return Ok(Reading::Foreign(how));
        }
        Ok(reading)
    }

    fn desired(&self) -> Fields {
        Fields::new()
    }

    fn observed(&self, actual: &Fields) -> Fields {
        actual.clone()
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
            Kind::TaskDefinition => deregister_family(clients, name).await,
            Kind::Service => delete_service(clients, name).await,
            Kind::DatabaseSubnetGroup => {
                database_subnet_group::delete_subnet_group(clients, name).await
            }
            Kind::ParameterGroup => delete_parameter_group(clients, name).await,
            Kind::Database => delete_instance(clients, name, token).await,
            Kind::CacheSubnetGroup => cache_subnet_group::delete_subnet_group(clients, name).await,
            Kind::Cache => delete_group(clients, name).await,
        }
    }

    fn holds_data(&self) -> bool {
        matches!(self.kind, Kind::Database)
    }
}

/// A step that was done once.
struct Past(Address);

#[async_trait]
impl Step for Past {
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
}
