//! Route 53: names in existing public zones, for targets of either cloud.

mod ask;
mod calls;
mod content;
mod record;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::{Address, Target};
use deployer_core::capability::{Context, Dns, RecordStatus};
use deployer_core::clock::Clock;
use deployer_core::error::Result;
use deployer_core::graph::Graph;
use deployer_core::kind::{At, Done, Kind, Leftover, Listing, Marking, Site, Tags, seen};
use deployer_core::node::{Node, ResourceNode};
use deployer_core::ours::{Owner, Past};
use deployer_core::spec::{EnvironmentSpec, RecordSpec};

use crate::client::configuration;
use crate::credentials::Credentials;
use crate::error::Refusal;
use crate::site::Facts;
use crate::tags;

use content::Type;
use record::{Record, Written};

/// The kind of a record's node. Its name is `NAME/TYPE`, as a record is known by both.
pub(crate) const RECORD: &str = Written::KIND;

/// What it says of itself; it is in no table, as its target may be of another cloud.
pub(crate) const LISTING: Listing<Facts> = Listing::<Facts>::of::<Written>();

/// Names in Route 53, on behalf of one target.
#[derive(Clone)]
pub struct Route53 {
    api: Arc<Api>,
}

/// What the calls of one target share.
pub(crate) struct Api {
    route53: aws_sdk_route53::Client,
    balancers: aws_sdk_elasticloadbalancingv2::Client,
    target: Target,
    clock: Arc<dyn Clock>,
    /// Whether an emulator answers: the zone's servers then know nothing of it.
    is_emulator: bool,
}

impl Route53 {
    /// Opens it without calling it. `region` is where load balancers are looked for; the records'
    /// addresses are in `target`, which may be of another cloud. `AWS_ENDPOINT_URL` wins over
    /// `endpoint`.
    ///
    /// Errors: input, when the endpoint is not a URL.
    pub async fn open(
        endpoint: Option<&str>,
        region: &str,
        target: Target,
        context: Context,
        credentials: &Credentials,
    ) -> Result<Self> {
        let (config, is_emulator) = configuration(region, endpoint, &context, credentials).await?;
        let api = Api {
            route53: config.client(),
            balancers: config.client(),
            target,
            clock: Arc::clone(&context.clock),
            is_emulator,
        };
        Ok(Self { api: Arc::new(api) })
    }

    /// A node for a record in the inventory that is no longer desired: it can be read and deleted
    /// while it says what we wrote.
    ///
    /// Errors: input, when the address is not one of a record.
    pub fn existing(&self, address: &Address, owner: &Owner, past: &Past) -> Result<Arc<dyn Node>> {
        if address.kind != RECORD {
            return Done::node(&[], address);
        }
        record::parts(&address.name)?;
        let at = At::leftover::<Written>(&self.api, address, owner, past);
        Ok(ResourceNode::erase(Leftover::<Written>::new(at)))
    }
}

impl Site for Api {
    type Refusal = Refusal;
    type Facts = Facts;
    const MARKING: Marking = tags::MARKING;
    const REREADS: bool = true;

    fn target(&self) -> &Target {
        &self.target
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn tags(env: &EnvironmentSpec) -> Tags {
        tags::of(env)
    }

    fn mark(owner: &Owner) -> String {
        owner.to_string()
    }
}

impl fmt::Debug for Route53 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route53({})", self.api.target)
    }
}

#[async_trait]
impl Dns for Route53 {
    fn record(&self, graph: &mut Graph, _env: &EnvironmentSpec, record: &RecordSpec) -> Address {
        let kind = Type::of(&record.leads_to);
        let name = format!("{}/{}", record.name, kind.as_str());
        let address = Address::new(&self.api.target, RECORD, name);
        let past = graph.past(&address);
        graph.resource(|_| {
            let api = Arc::clone(&self.api);
            Record::new(api, address.clone(), record.clone(), past)
        });
        address
    }

    async fn status(&self, record: &RecordSpec) -> Result<Option<RecordStatus>> {
        let (api, name) = (&self.api, &record.name);
        let kind = Type::of(&record.leads_to);
        let what = format!("record `{name}`");
        let Some(zone) = seen(calls::find(api, &record.zone).await?, &what)? else {
            return Ok(None);
        };
        let sets = seen(calls::records(api, &zone, name).await?, &what)?;
        let there = record::standing(sets.unwrap_or_default(), kind);
        Ok(there.map(|set| content::status(&set)))
    }
}
