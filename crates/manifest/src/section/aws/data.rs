//! What only AWS needs for a database or a cache.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[targets.aws.databases.NAME]`: RDS for PostgreSQL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsDatabase {
    /// The instance's identifier.
    pub name: Option<String>,
    /// The instance class, `db.t4g.medium`, instead of the one made from `cpu` and `memory`.
    pub class: Option<String>,
    /// Subnets of its subnet group, in at least two zones; the target's own when empty. An instance
    /// that was adopted stays in its own.
    pub subnets: Vec<String>,
    /// Its security groups; the target's own when empty.
    pub security_groups: Vec<String>,
    /// When changes are made that interrupt whoever uses it: another class, a major version.
    pub maintenance: Maintenance,
    /// The certificates of RDS's authorities (PEM), relative to the manifest, for the secret
    /// `authority`; fetched from where AWS publishes those of the region when absent.
    pub authority_file: Option<String>,
    /// Whether a new instance goes on past the end of its version's standard support, which AWS
    /// charges for. With `false` AWS upgrades its major version then by itself. Only asked for when
    /// the instance is made.
    pub extended_support: Option<bool>,
    /// Takes over an instance that nobody has marked; what another owner marked stays that one's.
    /// Of such a one only what the manifest says is changed.
    pub adopt: bool,
}

/// When changes that interrupt are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Maintenance {
    /// By the run that asks for them.
    #[default]
    Now,
    /// By RDS, in the instance's own maintenance window; the run does not wait for it.
    Window,
}

/// `[targets.aws.caches.NAME]`: ElastiCache for Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsCache {
    /// The replication group's identifier.
    pub name: Option<String>,
    /// The node type, `cache.t4g.small`, instead of the one made from `memory`.
    pub class: Option<String>,
    /// Subnets of its subnet group; the target's own when empty. A group that was adopted stays in
    /// its own.
    pub subnets: Vec<String>,
    /// Its security groups; the target's own when empty.
    pub security_groups: Vec<String>,
    /// Whether clients without TLS and without the token are let in. Silence means `"required"`,
    /// and `"preferred"` for one that was adopted: whoever else uses it goes on, until this says
    /// `"required"`.
    pub tls: Option<CacheTls>,
    /// Takes over a replication group that nobody has marked; what another owner marked stays that
    /// one's.
    pub adopt: bool,
}

/// Whom a cache lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CacheTls {
    /// Clients with TLS and the token only.
    Required,
    /// Clients with or without them; for a cache that was adopted.
    Preferred,
}
