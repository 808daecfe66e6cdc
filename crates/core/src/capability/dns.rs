//! Names in the DNS: how the plan declares a record, and the record as its zone has it.

use async_trait::async_trait;
use serde::Serialize;

use crate::address::Address;
use crate::error::Result;
use crate::graph::Graph;
use crate::spec::RecordSpec;

/// Declares records in existing zones.
pub trait Dns: Send + Sync + std::fmt::Debug {
    /// Declares the record; its node is ready when the zone's own servers answer with it.
    ///
    /// Records carry no labels: one of that name that says something else than what the graph knows
    /// that we wrote is not ours and is not touched, unless the specification adopts it.
    fn record(&self, graph: &mut Graph, record: &RecordSpec) -> Address;
}

/// A record as the zone has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordStatus {
    /// `A` or `AAAA`; `CNAME` where one stands in the way.
    #[serde(rename = "type")]
    pub kind: String,
    /// The addresses, or the DNS name of the load balancer that it is an alias of; sorted.
    pub leads_to: Vec<String>,
    /// Seconds that others may remember it; an alias has none of its own.
    pub ttl: Option<u32>,
}

/// Reads existing zones.
#[async_trait]
pub trait Zones: Send + Sync {
    /// What stands in the zone under the record's name, whoever made it. `None` when nothing does.
    ///
    /// Errors: not found, when there is no such zone; denied, when the caller may not see it.
    async fn status(&self, record: &RecordSpec) -> Result<Option<RecordStatus>>;
}
