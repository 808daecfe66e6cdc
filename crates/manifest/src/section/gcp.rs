//! `[targets.gcp]` and its part for one service; what becomes of them stands beside: names, what
//! every target has, and what Google Cloud alone is asked for.

mod data;
mod dns;
mod names;
mod spec;
mod target;

pub use data::{GcpCache, GcpDatabase, MaintenanceWindow, Weekday};
pub use dns::{DnsProvider, GcpDns};
pub use names::GcpNames;

use std::collections::BTreeMap;

use deployer_core::spec::Architecture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::section::SecretOverride;
use crate::units::{Cpu, Memory, Scale};

/// `[targets.gcp]`: one project and region, and what is given there by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GcpSection {
    /// The project's id; checked before any other call.
    pub project: String,
    /// The region.
    pub region: String,
    /// The service account that runs the app (e-mail address).
    #[serde(default)]
    pub service_account: Option<String>,
    /// A Serverless VPC Access connector: its name, or `projects/P/locations/R/connectors/C`.
    #[serde(default)]
    pub vpc_connector: Option<String>,
    /// Direct VPC egress: the network. Not together with `vpc_connector`.
    #[serde(default)]
    pub network: Option<String>,
    /// Direct VPC egress: the subnetwork.
    #[serde(default)]
    pub subnetwork: Option<String>,
    /// Which traffic goes through the VPC.
    #[serde(default)]
    pub egress: Egress,
    /// The Artifact Registry repository; the image's name is added to it. Default: APP-ENV.
    #[serde(default)]
    pub repository: Option<String>,
    /// Where releases, runs and the lock are kept: `gs://BUCKET/PREFIX` or `file://...`. The
    /// services note it: after a change here, move what is there, as a whole, and apply once with
    /// `--ledger-moved`.
    #[serde(default)]
    pub ledger: Option<String>,
    /// One base URL for all Google calls; `DEPLOYER_GCP_ENDPOINT` wins over it.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Base URL of the image registry, when it is not `https://REGION-docker.pkg.dev`.
    #[serde(default)]
    pub registry_endpoint: Option<String>,
    /// Where secrets are kept: regions such as `["europe-west1"]`. Default: wherever Google likes,
    /// which an organisation's policy on locations may refuse. It cannot be changed later.
    #[serde(default)]
    pub secret_replication: Vec<String>,
    /// Whether `apply` may switch on the APIs that are needed and off; else it says with which
    /// command.
    #[serde(default)]
    pub enable_apis: bool,
    /// What differs for one service.
    #[serde(default)]
    pub services: BTreeMap<String, GcpService>,
    /// What differs for one secret.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretOverride>,
    /// What differs for one database.
    #[serde(default)]
    pub databases: BTreeMap<String, GcpDatabase>,
    /// What differs for one cache.
    #[serde(default)]
    pub caches: BTreeMap<String, GcpCache>,
}

/// Which traffic of the app goes through the VPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Egress {
    /// Only traffic to private addresses.
    #[default]
    PrivateRanges,
    /// All of it.
    All,
}

/// Who reaches a Cloud Run service at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ingress {
    /// Everyone.
    #[default]
    All,
    /// The project's VPC.
    Internal,
    /// The VPC and Google's load balancers.
    InternalAndLoadBalancer,
}

/// `[targets.gcp.services.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GcpService {
    /// The Cloud Run service's name.
    pub name: Option<String>,
    /// The migration job's name.
    pub job: Option<String>,
    /// Takes over a service that nobody has marked; what another owner marked stays that one's.
    pub adopt: bool,
    /// What the instances run on here: as in `[services.NAME]`; Cloud Run has `x86_64` only.
    #[schemars(schema_with = "crate::described::architecture")]
    pub architecture: Option<Architecture>,
    /// CPU of one instance: as in `[services.NAME]`.
    #[schemars(with = "Option<Cpu>")]
    pub cpu: Option<serde_json::Value>,
    /// Memory of one instance: as in `[services.NAME]`.
    #[schemars(with = "Option<Memory>")]
    pub memory: Option<serde_json::Value>,
    /// How many instances: as in `[services.NAME]`.
    #[schemars(with = "Option<Scale>")]
    pub replicas: Option<serde_json::Value>,
    /// The service account that this service and its migration run as (e-mail address). Default:
    /// that of `[targets.gcp]`.
    pub service_account: Option<String>,
    /// Plain variables that replace or add to those of `[services.NAME.env]`.
    #[serde(deserialize_with = "crate::units::plain_text::map")]
    #[schemars(schema_with = "crate::units::plain_text::schema")]
    pub env: BTreeMap<String, String>,
    /// Requests that one instance takes at once. Silence leaves it as it is, at first Cloud Run's
    /// own default.
    pub concurrency: Option<u32>,
    /// Seconds that a request may take. Silence leaves it as it is, at first Cloud Run's own
    /// default.
    pub request_timeout: Option<u32>,
    /// Who reaches it. Silence means `"all"`, and leaves a service that was adopted as it is.
    pub ingress: Option<Ingress>,
    /// Whether everyone may call it, without Cloud Run's check of the caller or by an `allUsers`
    /// binding. Silence means `true`, and leaves a service that was adopted as it is.
    pub public: Option<bool>,
    /// Whether CPU is given only during requests. Silence means `true`, and leaves a service that
    /// was adopted as it is.
    pub cpu_idle: Option<bool>,
    /// How often Cloud Run tries a migration again that failed, within its one execution: 0 to 10.
    /// Only where a second try after a first one that broke off does no harm. With direct VPC
    /// egress (`network`, `subnetwork`) connections may take a minute or more after a start, which
    /// a client that gives up sooner does not live to see.
    pub migrate_retries: u32,
    /// Where people reach it, when not at the address that Cloud Run gives.
    pub url: Option<String>,
    /// Its name in the DNS.
    pub dns: Option<GcpDns>,
}
