//! What one target on Google Cloud is asked for, resolved: everything that the cloud-neutral
//! specification has no word for.
//!
//! Of what may be silent, `None` leaves what is there, or Google's own default for something new.

use std::collections::BTreeMap;

/// One project and region, and what is given there by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcpSpec {
    /// The project's id.
    pub project: String,
    /// The region.
    pub region: String,
    /// The service account of services that name none of their own (e-mail address).
    pub service_account: Option<String>,
    /// A Serverless VPC Access connector: its name, or its full one.
    pub vpc_connector: Option<String>,
    /// Direct VPC egress: the network.
    pub network: Option<String>,
    /// Direct VPC egress: the subnetwork.
    pub subnetwork: Option<String>,
    /// Which traffic goes through the VPC.
    pub egress: Egress,
    /// The Artifact Registry repository, where the manifest names it.
    pub repository: Option<String>,
    /// One base URL for all calls.
    pub endpoint: Option<String>,
    /// Base URL of the image registry, when it is not Google's own.
    pub registry_endpoint: Option<String>,
    /// The regions where secrets are kept; wherever Google likes when empty.
    pub secret_replication: Vec<String>,
    /// Whether APIs that are needed and off may be switched on.
    pub enable_apis: bool,
    /// Each service, by its key.
    pub services: BTreeMap<String, GcpService>,
    /// Each database, by its key.
    pub databases: BTreeMap<String, GcpDatabase>,
    /// Each cache, by its key.
    pub caches: BTreeMap<String, GcpCache>,
}

impl GcpSpec {
    /// The service account that a service and its migration run as: its own, or the target's.
    /// `None` where nobody names one.
    pub fn account_of(&self, service: &str) -> Option<&String> {
        let own = self.services.get(service);
        let own = own.and_then(|own| own.service_account.as_ref());
        own.or(self.service_account.as_ref())
    }
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcpService {
    /// The service account that it and its migration run as (e-mail address).
    pub service_account: Option<String>,
    /// Requests that one instance takes at once.
    pub concurrency: Option<u32>,
    /// Seconds that a request may take.
    pub request_timeout: Option<u32>,
    /// Who reaches it.
    pub ingress: Option<Ingress>,
    /// Whether everyone may call it.
    pub public: Option<bool>,
    /// Whether CPU is given only during requests.
    pub cpu_idle: Option<bool>,
    /// How often Cloud Run tries a migration again that failed, within its one execution.
    pub migrate_retries: u32,
    /// Who serves the zone of its name. `None` where it has no name.
    pub dns: Option<DnsProvider>,
}

/// Who serves a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsProvider {
    /// Cloud DNS, in the target's own project or another.
    CloudDns,
    /// Route 53, with AWS credentials.
    Route53,
}

/// Which traffic of the app goes through the VPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Egress {
    /// Only traffic to private addresses.
    #[default]
    PrivateRanges,
    /// All of it.
    All,
}

/// Who reaches a Cloud Run service at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ingress {
    /// Everyone.
    #[default]
    All,
    /// The project's VPC.
    Internal,
    /// The VPC and Google's load balancers.
    InternalAndLoadBalancer,
}

/// One database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcpDatabase {
    /// The network of its private address; the target's own when absent.
    pub network: Option<String>,
    /// Flags of the server, by their names in Cloud SQL. Others that are set there stay.
    pub flags: BTreeMap<String, String>,
    /// The hour in which Google may restart it for maintenance.
    pub maintenance: Option<MaintenanceWindow>,
}

/// An hour of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaintenanceWindow {
    /// The day.
    pub day: Weekday,
    /// The hour that begins it, in UTC.
    pub hour: u8,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// One cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcpCache {
    /// The network that reaches it; the target's own when absent.
    pub network: Option<String>,
}
