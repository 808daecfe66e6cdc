//! AWS behind deployer-core's capabilities: ECR, Secrets Manager, RDS, ElastiCache, ECS on Fargate,
//! App Runner, Route 53, CloudWatch Logs.

mod access;
mod app_runner;
mod cache;
mod caller;
pub mod catalogue;
mod client;
mod composition;
mod connection;
mod credentials;
mod database;
mod dns;
mod ecr_login;
mod error;
mod gate;
mod ground;
mod kinds;
mod log_streams;
mod logs;
mod lookup;
mod marked;
pub mod names;
mod partition;
pub mod permissions;
mod prepared;
mod profile;
mod rates;
mod registry;
mod retry_after;
mod runtime;
mod secret_store;
mod site;
mod sizes;
pub mod spec;
mod survey;
mod tables;
mod tagging;
mod tags;

pub use app_runner::regions::all as app_runner_regions;
pub use app_runner::shape::quoted as quoted_by_app_runner;
pub use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
pub use catalogue::CATALOGUE;
pub use credentials::Credentials;
pub use dns::Route53;
pub use ecr_login::{ecr_login, ecr_region};
pub use partition::s3_endpoint;
pub use profile::Profiles;

use std::sync::Arc;

use crate::spec::AwsSpec;
use async_trait::async_trait;
use deployer_core::address::{Address, Target};
use deployer_core::capability::{
    Caches, Caller, Cloud, Context, Databases, Dns, Logs, Marked, Provider, Secrets, Services,
    Zones,
};
use deployer_core::error::Result;
use deployer_core::kind::Tier;
use deployer_core::node::Node;
use deployer_core::ours::{Owner, Past};
use deployer_core::spec::EnvironmentSpec;

use crate::client::Clients;
use crate::composition::Composition;

/// One AWS account and region.
#[derive(Clone)]
pub struct Aws {
    clients: Arc<Clients>,
    names: Route53,
}

impl Aws {
    /// Opens a target without calling it. Credentials are found by the SDK's own chain when the
    /// first call needs them. `AWS_ENDPOINT_URL` wins over the section's endpoint; an endpoint on
    /// loopback makes it a sandbox.
    ///
    /// Errors: input, when the endpoint is not a URL.
    pub async fn open(
        section: &AwsSpec,
        context: Context,
        credentials: &Credentials,
    ) -> Result<Self> {
        let clients = Clients::open(section, context.clone(), credentials).await?;
        let endpoint = section.endpoint.as_deref();
        let target = clients.target.clone();
        let names = Route53::open(endpoint, &section.region, target, context, credentials).await?;
        Ok(Self {
            clients: Arc::new(clients),
            names,
        })
    }
}

#[async_trait]
impl Cloud for Aws {
    fn target(&self) -> &Target {
        &self.clients.target
    }

    async fn caller(&self) -> Result<Caller> {
        caller::caller(&self.clients).await
    }

    fn provider<'a>(&'a self, env: &'a EnvironmentSpec) -> Box<dyn Provider + 'a> {
        Box::new(Composition::new(&self.clients, &self.names, env))
    }

    fn dns(&self) -> &dyn Dns {
        &self.names
    }

    fn secrets(&self) -> &dyn Secrets {
        self
    }

    fn services(&self) -> &dyn Services {
        self
    }

    fn databases(&self) -> &dyn Databases {
        self
    }

    fn caches(&self) -> &dyn Caches {
        self
    }

    fn zones(&self) -> &dyn Zones {
        &self.names
    }

    fn logs(&self) -> &dyn Logs {
        self
    }

    fn existing(&self, address: &Address, owner: &Owner, past: &Past) -> Result<Arc<dyn Node>> {
        if dns::makes(&address.kind) {
            return self.names.existing(address, owner, past);
        }
        kinds::leftover(&self.clients, address, owner, past)
    }

    async fn find_marked(&self, owner: &Owner) -> Marked {
        marked::find(&self.clients, owner).await
    }

    fn may_need(&self, kind: &str, other: &str) -> bool {
        tier(kind) < tier(other)
    }
}

/// The name of every kind that is made and removed by itself, as addresses have it.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    tables::all().map(|it| it.kind)
}

/// How the deletes of a kind stand to others': those of an earlier tier come first. Where a
/// step would stand does not matter: there is nothing to delete.
fn tier(kind: &str) -> Tier {
    let known = kinds::tier(kind).or_else(|| dns::kinds::tier(kind));
    known.unwrap_or(Tier::Edge)
}
