//! A service's name in the DNS, leading to a load balancer of Google Cloud.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::units::HELP;

/// Who serves the zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DnsProvider {
    /// Cloud DNS, in the target's own project or another.
    #[default]
    CloudDns,
    /// Route 53, with AWS credentials.
    Route53,
}

/// `[targets.gcp.services.NAME.dns]`: an address record of a load balancer in front of Cloud Run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GcpDns {
    /// The name: `idp.example.com`.
    pub name: String,
    /// The zone, by its domain or its id; must exist.
    pub zone: String,
    /// The project that the zone of Cloud DNS is in; the target's own when absent.
    #[serde(default)]
    pub project: Option<String>,
    /// The load balancer's address. Never a name below `run.app`: Cloud Run does not know the host
    /// then.
    #[serde(deserialize_with = "address")]
    pub address: IpAddr,
    /// Who serves the zone.
    #[serde(default)]
    pub provider: DnsProvider,
    /// Name servers (`HOST:PORT`) that are asked in place of the zone's own.
    #[serde(default)]
    pub servers: Vec<String>,
    /// Takes over a record of that name, wherever it leads.
    #[serde(default)]
    pub adopt: bool,
}

/// Says why a name of a cloud is no address, where people most likely write one.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        let host = text.trim_end_matches(['.', '/']);
        let (message, help) = if host.ends_with(".run.app") || host == "ghs.googlehosted.com" {
            (
                format!(
                    "`{text}` answers 404 to every other name: Cloud Run does not know this host"
                ),
                "give the address of a load balancer in front of the service: \"203.0.113.10\"",
            )
        } else if host.ends_with(".amazonaws.com") {
            (
                format!("`{text}` is AWS's, and its addresses change"),
                "give the address of this target's own load balancer: \"203.0.113.10\"",
            )
        } else {
            (
                format!("`{text}` is not an address"),
                "write an IPv4 or IPv6 address: \"203.0.113.10\"",
            )
        };
        de::Error::custom(format!("{message}{HELP}{help}"))
    })
}
