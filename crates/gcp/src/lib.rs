//! Google Cloud behind deployer-core's capability traits: Artifact Registry, Secret Manager, Cloud
//! Run, Cloud SQL, Memorystore, Cloud DNS, Cloud Logging.
//!
//! Mirrors `deployer-aws` file by file. All calls go through Google's own clients but for the image
//! registry's protocol. One endpoint override serves every API, so that a stand-in or a recorder
//! can take their place.

mod access;
mod apis;
mod cache;
mod caller;
pub mod catalogue;
mod client;
mod composition;
mod credentials;
mod database;
mod dns;
mod error;
mod gcloud;
mod ground;
mod hints;
mod identity_token;
mod kinds;
mod labels;
mod logs;
mod lookup;
mod marked;
pub mod names;
mod operation;
mod paths;
pub mod permissions;
mod project;
mod rates;
mod registry;
mod retry;
mod runtime;
mod secret_access;
mod secret_store;
mod site;
mod sizes;
pub mod spec;
mod survey;
mod switching;

pub use catalogue::CATALOGUE;
pub use credentials::Bearer;
pub use sizes::cloud_sql_knows;

use std::sync::Arc;

use crate::spec::GcpSpec;
use async_trait::async_trait;
use deployer_core::address::{Address, CloudName, Target};
use deployer_core::capability::{
    Caches, Caller, Cloud, Context, Databases, Dns, Logs, Marked, Provider, Secrets, Services,
    Switching, Zones,
};
use deployer_core::error::{Error, Result};
use deployer_core::kind::Tier;
use deployer_core::node::Node;
use deployer_core::ours::{Owner, Past};
use deployer_core::spec::EnvironmentSpec;
use tokio::sync::OnceCell;

use client::Clients;
use composition::Composition;
use lookup::{RunAs, SecretLookup};
use paths::Names;
use project::Project;

/// One Google Cloud project and region, opened.
pub struct Gcp {
    project: Arc<Project>,
    names: dns::CloudDns,
}

impl Gcp {
    /// Finds credentials and makes the clients; calls no API yet.
    ///
    /// `endpoint` is one base URL for every Google API; the section's own is used without it. An
    /// endpoint on loopback makes the target a sandbox.
    ///
    /// Errors: input, when the endpoint is no URL; credentials, when there are none.
    pub async fn open(
        section: &GcpSpec,
        endpoint: Option<String>,
        context: Context,
    ) -> Result<Self> {
        let endpoint = endpoint.or_else(|| section.endpoint.clone());
        let sandbox = match &endpoint {
            Some(base) => is_loopback(base)?,
            None => false,
        };
        let identity = credentials::find(&section.project).await?;
        let http = client::http(context.call_timeout)?;
        let apis = apis::Apis::new(endpoint.clone(), &http);
        let clients = Clients::open(
            endpoint.as_deref(),
            credentials::permitted(identity.credentials, context.permit.clone()),
            &identity.refused,
            context.call_timeout,
            &context.clock,
        )
        .await?;
        let registry = section
            .registry_endpoint
            .clone()
            .or(endpoint)
            .unwrap_or_else(|| format!("https://{}-docker.pkg.dev", section.region));
        let names = Names::new(&section.project, &section.region);
        let project = Arc::new(Project {
            secrets: SecretLookup::new(&clients.secrets, &names),
            target: Target {
                cloud: CloudName::Gcp,
                account: section.project.clone(),
                region: section.region.clone(),
                sandbox,
            },
            names,
            section: section.clone(),
            clients,
            context,
            registry: registry.trim_end_matches('/').to_owned(),
            principal: identity.principal,
            number: OnceCell::new(),
            may_grant: OnceCell::new(),
            is_alone: OnceCell::new(),
            unseen: Arc::default(),
            run_as: RunAs::default(),
            source: identity.source,
            http,
            apis,
        });
        Ok(Self {
            names: dns::CloudDns {
                project: Arc::clone(&project),
            },
            project,
        })
    }
}

/// Whether a base URL points at this machine.
///
/// Errors: input, when it is no `http` or `https` URL with a host.
fn is_loopback(base: &str) -> Result<bool> {
    let bad = || {
        Error::input(format!("`{base}` is no base URL for Google Cloud"))
            .hint("it looks like `http://127.0.0.1:8085`")
    };
    let url = url::Url::parse(base).map_err(|error| bad().because(error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad());
    }
    match url.host().ok_or_else(bad)? {
        url::Host::Domain(name) => Ok(name == "localhost" || name.ends_with(".localhost")),
        url::Host::Ipv4(address) => Ok(address.is_loopback()),
        url::Host::Ipv6(address) => Ok(address.is_loopback()),
    }
}

#[async_trait]
impl Cloud for Gcp {
    fn target(&self) -> &Target {
        &self.project.target
    }

    async fn caller(&self) -> Result<Caller> {
        caller::caller(&self.project).await
    }

    async fn prepare(&self, env: &EnvironmentSpec, switching: Switching) -> Result<Vec<String>> {
        self.project
            .apis
            .prepare(&self.project, env, switching)
            .await
    }

    fn provider<'a>(&'a self, env: &'a EnvironmentSpec) -> Box<dyn Provider + 'a> {
        Box::new(Composition::new(&self.project, env))
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
        kinds::leftover(&self.project, address, owner, past)
    }

    async fn find_marked(&self, owner: &Owner) -> Marked {
        marked::find(&self.project, owner).await
    }

    fn may_need(&self, kind: &str, other: &str) -> bool {
        tier(kind) < tier(other)
    }
}

/// The name of every kind that is made and removed by itself, as addresses have it.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    kinds::ALL.iter().map(|it| it.kind)
}

/// When the things of a kind are deleted; what goes with an instance is within it.
fn tier(kind: &str) -> Tier {
    match kind {
        database::within::KIND | database::user::KIND => Tier::Within,
        _ => kinds::tier(kind).unwrap_or(Tier::Edge),
    }
}

#[cfg(test)]
mod tests {
    use deployer_core::error::ErrorKind;

    use super::*;

    #[test]
    fn only_an_endpoint_on_this_machine_is_a_sandbox() {
        for base in [
            "http://127.0.0.1:8085",
            "http://localhost:1",
            "http://[::1]:2/",
        ] {
            assert!(is_loopback(base).unwrap(), "{base}");
        }
        assert!(!is_loopback("https://run.googleapis.com").unwrap());
        assert_eq!(
            is_loopback("127.0.0.1:8085").unwrap_err().kind(),
            ErrorKind::Input
        );
        assert_eq!(
            is_loopback("ftp://localhost").unwrap_err().kind(),
            ErrorKind::Input
        );
    }
}
