//! What only one cloud needs: `[targets.aws]`, `[targets.gcp]` and their parts for one service; and
//! what of such a section every target has.

mod aws;
mod gcp;

pub use aws::{
    AwsCache, AwsDatabase, AwsDns, AwsNames, AwsRuntime, AwsScaling, AwsSection, AwsService,
    CacheTls, Maintenance,
};
pub use gcp::{
    DnsProvider, Egress, GcpCache, GcpDatabase, GcpDns, GcpNames, GcpSection, GcpService, Ingress,
    MaintenanceWindow, Weekday,
};

use std::collections::BTreeMap;

use deployer_core::catalogue::{Catalogue, Runtime};
use deployer_core::spec::{Architecture, RecordSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::called::Called;
use crate::names::Named;
use crate::secret_from::From;

/// What of a target every cloud has. What a section is silent about is the default, never an error:
/// a service, a database or a cache without a table of its own is one with an empty table.
pub(crate) trait Section {
    /// What its cloud offers and what it calls it.
    fn catalogue(&self) -> &'static Catalogue;

    /// The account or the project.
    fn account(&self) -> &str;

    /// The region.
    fn region(&self) -> &str;

    /// Where the ledger is.
    fn ledger(&self) -> LedgerPlace<'_>;

    /// The base URLs that stand in for the cloud's own, each with its key.
    fn endpoints(&self) -> [(&'static str, Option<&str>); 2];

    /// The tables of one thing each, with the keys that they have; services first.
    fn tables(&self) -> [(&'static str, Vec<&String>); 4];

    /// What differs for secrets.
    fn secrets(&self) -> &BTreeMap<String, SecretOverride>;

    /// What differs for the service `key`, of what services have on every cloud.
    fn service(&self, key: &str) -> OwnService;

    /// All that the section says of the service `key`, as an object; what is left at its default
    /// says nothing.
    fn service_said(&self, key: &str) -> Value;

    /// What differs for the database `key`, of what databases have on every cloud.
    fn database(&self, key: &str) -> OwnInstance<'_>;

    /// The same for the cache `key`.
    fn cache(&self, key: &str) -> OwnInstance<'_>;

    /// The name of the service `key` in the DNS. `None` where it has none.
    fn record(&self, key: &str) -> Option<RecordSpec>;

    /// The names that the runtime of the service `key` answers for by itself.
    fn domains(&self, key: &str) -> Vec<String>;

    /// What runs the service `key`.
    fn runtime(&self, key: &str) -> &'static Runtime;

    /// The names of the things of a service that every cloud has: what the section says,
    /// else names that are made inside their rules.
    fn service_names(&self, app: &str, environment: &str, called: Called<'_>) -> ServiceNames;

    /// Every name that a service comes to, to be checked.
    fn named(&self, app: &str, environment: &str, called: Called<'_>) -> Vec<Named>;
}

/// What differs for one service on one target, whichever cloud it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnService {
    pub(crate) architecture: Option<Architecture>,
    pub(crate) cpu: Option<Value>,
    pub(crate) memory: Option<Value>,
    pub(crate) replicas: Option<Value>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) url: Option<String>,
    pub(crate) adopt: bool,
}

/// What differs for one database or cache on one target, whichever cloud it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnInstance<'a> {
    pub(crate) name: Option<&'a str>,
    /// Its size in the cloud's own word.
    pub(crate) size: Option<&'a str>,
    pub(crate) adopt: bool,
}

/// The names of one service's things, whichever cloud it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceNames {
    pub(crate) service: String,
    /// The image's repository, as the cloud's registry has it below its own name.
    pub(crate) repository: String,
    /// What migrates.
    pub(crate) job: String,
}

/// Where a target's ledger is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerPlace<'a> {
    /// Its address, where the manifest says it.
    pub address: Option<&'a str>,
    /// The region of its bucket.
    pub region: &'a str,
    /// The account that its bucket must belong to. `None` for nobody's in particular, or where the
    /// cloud's buckets know no such condition.
    pub owner: Option<&'a str>,
}

/// `[targets.CLOUD.secrets.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecretOverride {
    /// The secret's name in this cloud; of one that is only read also its full name.
    pub name: Option<String>,
    /// Where its value comes from in this target: as `from` in `[secrets.NAME]`.
    #[schemars(with = "Option<From>")]
    pub from: Option<serde_json::Value>,
    /// Takes over a secret that nobody has marked; what another owner marked stays that one's.
    pub adopt: bool,
}

/// The members of a section's table that are not the default's.
fn beside_default<T: Serialize + Default>(own: Option<&T>) -> Value {
    let value = |it: &T| serde_json::to_value(it).expect("a section is plain data with text keys");
    let default = T::default();
    let (mut own, default) = (value(own.unwrap_or(&default)), value(&default));
    if let (Some(own), Some(default)) = (own.as_object_mut(), default.as_object()) {
        own.retain(|key, value| default.get(key) != Some(&*value));
    }
    own
}
