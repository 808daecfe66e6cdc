//! What only Google Cloud needs for a database or a cache.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[targets.gcp.databases.NAME]`: Cloud SQL for PostgreSQL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GcpDatabase {
    /// The instance's name.
    pub name: Option<String>,
    /// The tier, `db-custom-2-7680`, instead of the one made from `cpu` and `memory`.
    pub tier: Option<String>,
    /// The network of its private address (with Private Services Access); the target's own when
    /// absent.
    pub network: Option<String>,
    /// Flags of the server, by their names in Cloud SQL: `max_connections = 200`. Others that are
    /// set there stay.
    #[serde(deserialize_with = "crate::units::plain_text::map")]
    #[schemars(schema_with = "crate::units::plain_text::schema")]
    pub flags: BTreeMap<String, String>,
    /// The hour in which Google may restart it for maintenance; what is set there, or any hour,
    /// when absent.
    pub maintenance: Option<MaintenanceWindow>,
    /// Takes over an instance that nobody has marked; what another owner marked stays that one's.
    pub adopt: bool,
}

/// An hour of the week in which a cloud may restart something for maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceWindow {
    /// The day.
    pub day: Weekday,
    /// The hour that begins it, in UTC.
    #[schemars(range(max = 23))]
    pub hour: u8,
}

/// A day of the week.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Weekday {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
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
