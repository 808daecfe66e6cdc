//! A target that answered: its cloud, its caller and its ledger; and how it is opened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deployer_aws::{Aws, Route53};
use deployer_core::address::{Address, CloudName, Target};
use deployer_core::capability::{Caller, Cloud, Context, Dns, Serving, Switching, Zones};
use deployer_core::error::{Error, Result};
use deployer_core::history;
use deployer_core::ledger::{Ledger, Permit};
use deployer_core::node::Node;
use deployer_core::ours::{Owner, Past};
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};
use deployer_gcp::Gcp;
use deployer_manifest::Loaded;
use deployer_manifest::section::{DnsProvider, GcpSection};

use crate::ledger_store;
use crate::system::Surroundings;

/// Every single call to a cloud ends after this; shorter than what a lease keeps in hand
/// ([`deployer_core::ledger`]).
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A target that answered.
pub struct Place {
    pub cloud: Arc<dyn Cloud>,
    pub caller: Caller,
    pub env: EnvironmentSpec,
    /// What was off in the account and is on now.
    pub switched_on: Vec<String>,
    pub ledger: Ledger,
    /// Where the names of services on Google are, when not in Cloud DNS.
    route53: Option<Route53>,
    /// The services whose names are there, by the manifest's names.
    named_in_route53: Vec<String>,
}

impl Place {
    /// The cloud's name.
    pub fn name(&self) -> CloudName {
        self.cloud.target().cloud
    }

    /// Whose things this environment's are.
    pub fn owner(&self) -> Owner {
        Owner::new(&self.env.app, &self.env.environment)
    }

    /// What serves, in the cloud's words; where those leave it open, what its last release made
    /// serve. `None` when there is no such service.
    ///
    /// Errors: the cloud's; the ledger's, where it is needed.
    pub async fn serving(&self, service: &ServiceSpec) -> Result<Option<Serving>> {
        match self.cloud.services().serving(service).await? {
            Some(serving) if serving.put_back.is_some() => {
                let releases = self.ledger.releases(&service.key).await?;
                Ok(Some(history::settled(serving, &releases)))
            }
            serving => Ok(serving),
        }
    }

    /// A node for something in the inventory that is no longer desired.
    ///
    /// Errors: input, when the kind is unknown to this version.
    pub fn existing(&self, address: &Address, past: &Past) -> Result<Arc<dyn Node>> {
        match &self.route53 {
            Some(route53) if address.kind.starts_with("route53.") => {
                route53.existing(address, &self.owner(), past)
            }
            _ => self.cloud.existing(address, &self.owner(), past),
        }
    }

    /// What makes the records that the target's own cloud does not make, by service.
    pub fn dns_elsewhere(&self) -> BTreeMap<String, Arc<dyn Dns>> {
        let Some(route53) = &self.route53 else {
            return BTreeMap::new();
        };
        let services = self.named_in_route53.iter();
        services
            .map(|service| (service.clone(), Arc::new(route53.clone()) as Arc<dyn Dns>))
            .collect()
    }

    /// What knows the zone of a service's name.
    pub fn zones_of(&self, service: &str) -> &dyn Zones {
        match &self.route53 {
            Some(route53) if self.named_in_route53.iter().any(|it| it == service) => route53,
            _ => self.cloud.zones(),
        }
    }
}

/// One cache for every call to AWS, the ledger's included.
pub(super) fn aws_credentials(loaded: &Loaded) -> deployer_aws::Credentials {
    let section = loaded.manifest.targets.aws.as_ref();
    deployer_aws::Credentials::new(section.map_or("us-east-1", |section| section.region.as_str()))
}

/// Opens one target; its account is checked before any other call.
///
/// Errors: the cloud's, the caller's, the ledger's.
pub(super) async fn open(
    loaded: &Loaded,
    name: CloudName,
    switching: Switching,
    around: &Surroundings,
    aws: &deployer_aws::Credentials,
) -> Result<Place> {
    let clock = &around.clock;
    let permit = Permit::default();
    let context = Context {
        clock: Arc::clone(clock),
        call_timeout: CALL_TIMEOUT,
        permit: permit.clone(),
    };
    let targets = &loaded.manifest.targets;
    let cloud = open_cloud(loaded, name, &context, aws).await?;
    let caller = cloud.caller().await?;
    let mut env = loaded
        .manifest
        .environment_spec(name, &loaded.environment)?;
    let switched_on = cloud.prepare(&env, switching).await?;
    let ledger = ledger_store::open(loaded, cloud.target(), around, aws).await?;
    let ledger = ledger.with_permit(permit);
    let address = ledger_store::absolute(&ledger.address(), &loaded.base_dir);
    env.ledger = Some(ledger.note(&address, around.ledger_moved));
    let named_in_route53 = match (name, &targets.gcp) {
        (CloudName::Gcp, Some(section)) => named_in_route53(section),
        (CloudName::Gcp, None) | (CloudName::Aws, _) => Vec::new(),
    };
    let route53 = match name {
        // Also without a name there now: the inventory may have one of before.
        CloudName::Gcp => Some(open_route53(loaded, cloud.target().clone(), context, aws).await?),
        CloudName::Aws => None,
    };
    Ok(Place {
        cloud,
        caller,
        env,
        switched_on,
        ledger,
        route53,
        named_in_route53,
    })
}

/// Opens a target's ledger alone, to be read; no cloud is called.
///
/// Errors: credentials that are not there; the ledger's.
pub(super) async fn open_ledger(
    loaded: &Loaded,
    name: CloudName,
    around: &Surroundings,
    aws: &deployer_aws::Credentials,
) -> Result<Ledger> {
    let context = Context {
        clock: Arc::clone(&around.clock),
        call_timeout: CALL_TIMEOUT,
        permit: Permit::default(),
    };
    let cloud = open_cloud(loaded, name, &context, aws).await?;
    ledger_store::open(loaded, cloud.target(), around, aws).await
}

/// Finds credentials and makes the clients; the cloud is not called.
async fn open_cloud(
    loaded: &Loaded,
    name: CloudName,
    context: &Context,
    aws: &deployer_aws::Credentials,
) -> Result<Arc<dyn Cloud>> {
    Ok(match name {
        CloudName::Aws => {
            let spec = loaded
                .manifest
                .aws_spec(&loaded.environment, &loaded.base_dir);
            let spec = spec.ok_or_else(|| no_section(name))?;
            Arc::new(Aws::open(&spec, context.clone(), aws).await?)
        }
        CloudName::Gcp => {
            let spec = loaded.manifest.gcp_spec();
            let spec = spec.ok_or_else(|| no_section(name))?;
            let endpoint = std::env::var("DEPLOYER_GCP_ENDPOINT")
                .ok()
                .filter(|url| !url.is_empty());
            Arc::new(Gcp::open(&spec, endpoint, context.clone()).await?)
        }
    })
}

fn named_in_route53(section: &GcpSection) -> Vec<String> {
    let services = section.services.iter();
    services
        .filter(|(_, service)| {
            let provider = service.dns.as_ref().map(|dns| dns.provider);
            provider == Some(DnsProvider::Route53)
        })
        .map(|(key, _)| key.clone())
        .collect()
}

/// Route 53 for names of another cloud's target; with the settings of the manifest's AWS target,
/// when there is one.
async fn open_route53(
    loaded: &Loaded,
    target: Target,
    context: Context,
    aws: &deployer_aws::Credentials,
) -> Result<Route53> {
    let section = loaded.manifest.targets.aws.as_ref();
    let endpoint = section.and_then(|section| section.endpoint.as_deref());
    // Route 53 is global; the SDK wants a region to sign for.
    let region = section.map_or("us-east-1", |section| section.region.as_str());
    Route53::open(endpoint, region, target, context, aws).await
}

fn no_section(cloud: CloudName) -> Error {
    Error::input(format!("the manifest has no `[targets.{cloud}]`"))
}
