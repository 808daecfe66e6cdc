//! A service's name in the DNS, leading to a load balancer of AWS: an address of one cloud is never
//! an alias of the other's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[targets.aws.services.NAME.dns]`: an alias record in Route 53.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsDns {
    /// The name: `idp.example.com`.
    pub name: String,
    /// The hosted zone, by its domain or its id; must exist.
    pub zone: String,
    /// The load balancer that the name leads to: its name, ARN or DNS name.
    pub load_balancer: String,
    /// Name servers (`HOST:PORT`) that are asked in place of the zone's own.
    #[serde(default)]
    pub servers: Vec<String>,
    /// Takes over a record of that name, wherever it leads.
    #[serde(default)]
    pub adopt: bool,
}
