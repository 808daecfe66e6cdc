//! A service's name in the DNS, per target: an address of one cloud is never an alias of the other's.

use serde::{Deserialize, Serialize};

/// `[targets.aws.services.NAME.dns]`: an alias record in Route 53.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Takes over a record of that name that leads elsewhere.
    #[serde(default)]
    pub adopt: bool,
}

/// Who serves the zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsProvider {
    /// Cloud DNS, in the target's own project.
    #[default]
    CloudDns,
    /// Route 53, with AWS credentials.
    Route53,
}

/// `[targets.gcp.services.NAME.dns]`: an address record of a load balancer in front of Cloud Run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcpDns {
    /// The name: `idp.example.com`.
    pub name: String,
    /// The zone, by its domain or its id; must exist.
    pub zone: String,
    /// The load balancer's address. Never a name below `run.app`: Cloud Run does not know the host then.
    pub address: std::net::IpAddr,
    /// Who serves the zone.
    #[serde(default)]
    pub provider: DnsProvider,
    /// Name servers (`HOST:PORT`) that are asked in place of the zone's own.
    #[serde(default)]
    pub servers: Vec<String>,
    /// Takes over a record of that name that leads elsewhere.
    #[serde(default)]
    pub adopt: bool,
}
