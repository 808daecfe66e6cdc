//! What only one cloud needs for a database or a cache.

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
    /// Subnets of its subnet group, in at least two zones; the target's own when empty.
    pub subnets: Vec<String>,
    /// Its security groups; the target's own when empty.
    pub security_groups: Vec<String>,
    /// Takes over an instance that nobody has marked; what another owner marked stays that one's.
    pub adopt: bool,
}

/// `[targets.aws.caches.NAME]`: ElastiCache for Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsCache {
    /// The replication group's identifier.
    pub name: Option<String>,
    /// The node type, `cache.t4g.small`, instead of the one made from `memory`.
    pub class: Option<String>,
    /// Subnets of its subnet group; the target's own when empty.
    pub subnets: Vec<String>,
    /// Its security groups; the target's own when empty.
    pub security_groups: Vec<String>,
    /// Takes over a replication group that nobody has marked; what another owner marked stays that one's.
    pub adopt: bool,
}

/// `[targets.gcp.databases.NAME]`: Cloud SQL for PostgreSQL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GcpDatabase {
    /// The instance's name.
    pub name: Option<String>,
    /// The tier, `db-custom-2-7680`, instead of the one made from `cpu` and `memory`.
    pub tier: Option<String>,
    /// The network of its private address (with Private Services Access); the target's own when absent.
    pub network: Option<String>,
    /// Takes over an instance that nobody has marked; what another owner marked stays that one's.
    pub adopt: bool,
}

/// `[targets.gcp.caches.NAME]`: Memorystore for Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GcpCache {
    /// The instance's name.
    pub name: Option<String>,
    /// The network that reaches it; the target's own when absent.
    pub network: Option<String>,
    /// Takes over an instance that nobody has marked; what another owner marked stays that one's.
    pub adopt: bool,
}
