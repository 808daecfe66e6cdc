//! Route 53: names in existing public zones, for targets of either cloud.

mod ask;
mod calls;
mod content;
pub(crate) mod kinds;
mod leads;
mod record;
mod validation;

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use deployer_core::address::{Address, Target};
use deployer_core::capability::{Context, Dns, RecordStatus, Zones};
use deployer_core::clock::Clock;
use deployer_core::error::Result;
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::kind::{Kind, Marking, Site, Tags, seen};
use deployer_core::node::Node;
use deployer_core::ours::{Owner, Past};
use deployer_core::spec::{EnvironmentSpec, RecordSpec};

use crate::client::configuration;
use crate::credentials::Credentials;
use crate::error::Refusal;
use crate::site::Facts;
use crate::tags;

pub(crate) use content::{Balancer, plain};
pub(crate) use leads::{Asked, Entrance, Leads};
pub(crate) use validation::{Authority, Proof};

use content::Type;
use record::{Record, Written};
use validation::{Proven, Validation};

/// The kind of a record's node. Its name is `NAME/TYPE`, as a record is known by both.
pub(crate) const RECORD: &str = Written::KIND;

/// Whether a node of this kind is made by Route 53.
pub(crate) fn makes(kind: &str) -> bool {
    kinds::tier(kind).is_some()
}

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
        if address.kind == RECORD {
            record::parts(&address.name)?;
        }
        kinds::leftover(&self.api, address, owner, past)
    }

    /// Declares a record.
    pub(crate) fn declare(&self, graph: &mut Graph, asked: Asked) -> Address {
        let name = format!("{}/{}", asked.name, asked.leads.kind().as_str());
        let address = Address::new(&self.api.target, RECORD, name);
        let past = graph.past(&address);
        graph.resource(|inputs| {
            let asked = Asked {
                leads: match asked.leads {
                    Leads::In { entrance, served } => Leads::In {
                        served: inputs.pass(&served),
                        entrance,
                    },
                    given @ Leads::To(_) => given,
                },
                ..asked
            };
            Record::new(Arc::clone(&self.api), address.clone(), asked, past)
        });
        address
    }

    /// Declares the records that `authority` asks for before it serves a domain. What the record
    /// of the domain takes is known to be served once its node is ready.
    pub(crate) fn validate(
        &self,
        graph: &mut Graph,
        (domain, zone, adopt): (&str, Option<&str>, bool),
        authority: Arc<dyn Authority>,
        asked: &Value<Vec<Proof>>,
        served: &Value<Balancer>,
    ) -> Value<Balancer> {
        let address = Address::new(&self.api.target, Proven::KIND, domain);
        let past = graph.past(&address);
        let output = Output::of(&address);
        graph.resource(|inputs| Validation {
            api: Arc::clone(&self.api),
            address: address.clone(),
            domain: domain.to_owned(),
            zone: zone.map(str::to_owned),
            adopt,
            authority,
            asked: inputs.pass(asked),
            served: inputs.pass(served),
            output: output.clone(),
            past,
            seen: Mutex::default(),
        });
        Value::From(output)
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

impl Dns for Route53 {
    fn record(&self, graph: &mut Graph, record: &RecordSpec) -> Address {
        self.declare(graph, record.clone().into())
    }
}

#[async_trait]
impl Zones for Route53 {
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
