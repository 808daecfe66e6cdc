//! Resolves what Google Cloud alone is asked for.
//!
//! Each table is taken apart whole: a setting that is handed over to nobody does not compile.

use deployer_gcp::spec::{self as gcp, GcpSpec};

use super::{
    DnsProvider, Egress, GcpCache, GcpDatabase, GcpSection, GcpService, Ingress, MaintenanceWindow,
    Weekday,
};

impl GcpSection {
    /// What Google Cloud alone is asked for.
    pub(crate) fn spec(&self) -> GcpSpec {
        let GcpSection {
            // What `target.rs` says of every target.
            ledger: _,
            secrets: _,
            project,
            region,
            service_account,
            vpc_connector,
            network,
            subnetwork,
            egress,
            repository,
            endpoint,
            registry_endpoint,
            secret_replication,
            enable_apis,
            services,
            databases,
            caches,
        } = self;
        let services = services.iter();
        let services = services.map(|(key, own)| (key.clone(), service(own.clone())));
        let databases = databases.iter();
        let databases = databases.map(|(key, own)| (key.clone(), database(own.clone())));
        let caches = caches.iter();
        let caches = caches.map(|(key, own)| (key.clone(), cache(own.clone())));
        GcpSpec {
            project: project.clone(),
            region: region.clone(),
            service_account: service_account.clone(),
            vpc_connector: vpc_connector.clone(),
            network: network.clone(),
            subnetwork: subnetwork.clone(),
            egress: match egress {
                Egress::PrivateRanges => gcp::Egress::PrivateRanges,
                Egress::All => gcp::Egress::All,
            },
            repository: repository.clone(),
            endpoint: endpoint.clone(),
            registry_endpoint: registry_endpoint.clone(),
            secret_replication: secret_replication.clone(),
            enable_apis: *enable_apis,
            services: services.collect(),
            databases: databases.collect(),
            caches: caches.collect(),
        }
    }
}

fn service(own: GcpService) -> gcp::GcpService {
    let GcpService {
        // What `names.rs` and `target.rs` say of every service.
        name: _,
        job: _,
        adopt: _,
        architecture: _,
        cpu: _,
        memory: _,
        replicas: _,
        env: _,
        url: _,
        service_account,
        concurrency,
        request_timeout,
        ingress,
        public,
        cpu_idle,
        migrate_retries,
        dns,
    } = own;
    gcp::GcpService {
        service_account,
        concurrency,
        request_timeout,
        ingress: ingress.map(|ingress| match ingress {
            Ingress::All => gcp::Ingress::All,
            Ingress::Internal => gcp::Ingress::Internal,
            Ingress::InternalAndLoadBalancer => gcp::Ingress::InternalAndLoadBalancer,
        }),
        public,
        cpu_idle,
        migrate_retries,
        dns: dns.map(|dns| match dns.provider {
            DnsProvider::CloudDns => gcp::DnsProvider::CloudDns,
            DnsProvider::Route53 => gcp::DnsProvider::Route53,
        }),
    }
}

fn database(own: GcpDatabase) -> gcp::GcpDatabase {
    let GcpDatabase {
        // What `target.rs` says of every database.
        name: _,
        tier: _,
        adopt: _,
        network,
        flags,
        maintenance,
    } = own;
    gcp::GcpDatabase {
        network,
        flags,
        maintenance: maintenance.map(window),
    }
}

fn cache(own: GcpCache) -> gcp::GcpCache {
    let GcpCache {
        // What `target.rs` says of every cache.
        name: _,
        adopt: _,
        network,
    } = own;
    gcp::GcpCache { network }
}

fn window(window: MaintenanceWindow) -> gcp::MaintenanceWindow {
    gcp::MaintenanceWindow {
        day: match window.day {
            Weekday::Monday => gcp::Weekday::Monday,
            Weekday::Tuesday => gcp::Weekday::Tuesday,
            Weekday::Wednesday => gcp::Weekday::Wednesday,
            Weekday::Thursday => gcp::Weekday::Thursday,
            Weekday::Friday => gcp::Weekday::Friday,
            Weekday::Saturday => gcp::Weekday::Saturday,
            Weekday::Sunday => gcp::Weekday::Sunday,
        },
        hour: window.hour,
    }
}
