//! A service's name in the DNS, fully resolved for one target.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One name that leads to a service's load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSpec {
    /// The fully qualified name, lower case, without the last dot: `idp.example.com`.
    pub name: String,
    /// The existing zone that the record goes into: its domain, `example.com`, or the cloud's id of
    /// it; below `ACCOUNT/` where it is in another account than the target.
    pub zone: String,
    /// Where the name leads.
    pub leads_to: LeadsTo,
    /// Name servers (`HOST:PORT`) that are asked in place of the zone's own.
    pub servers: Vec<String>,
    /// Takes over a record of that name that leads elsewhere.
    pub adopt: bool,
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadsTo {
    /// An alias of an AWS load balancer: its name, ARN or DNS name.
    LoadBalancer(String),
    /// An address (of a load balancer): an A or AAAA record of 300 seconds.
    Address(IpAddr),
}
