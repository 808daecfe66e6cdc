//! Resolves what each cloud alone is asked for; with the names that the checks know.

use std::path::Path;

use deployer_aws::spec::{self as aws, AwsSpec};
use deployer_gcp::spec::{self as gcp, GcpSpec};

use super::canonical;
use crate::model::Manifest;
use crate::section;

impl Manifest {
    /// What AWS alone is asked for in `environment`; files are found from `folder`. `None` where
    /// the manifest has no such target.
    pub fn aws_spec(&self, environment: &str, folder: &Path) -> Option<AwsSpec> {
        let target = self.targets.aws.as_ref()?;
        let services = self.services.keys().map(|key| {
            let own = target.services.get(key).cloned().unwrap_or_default();
            (key.clone(), self.aws_service(key, environment, own))
        });
        let databases = target.databases.iter().map(|(key, own)| {
            let file = own.authority_file.as_ref();
            let database = aws::AwsDatabase {
                subnets: own.subnets.clone(),
                security_groups: own.security_groups.clone(),
                maintenance: match own.maintenance {
                    section::Maintenance::Now => aws::Maintenance::Now,
                    section::Maintenance::Window => aws::Maintenance::Window,
                },
                authority_file: file.map(|it| folder.join(it).to_string_lossy().into_owned()),
                extended_support: own.extended_support,
            };
            (key.clone(), database)
        });
        let caches = target.caches.iter().map(|(key, own)| {
            let cache = aws::AwsCache {
                subnets: own.subnets.clone(),
                security_groups: own.security_groups.clone(),
                tls: own.tls.map(|tls| match tls {
                    section::CacheTls::Required => aws::CacheTls::Required,
                    section::CacheTls::Preferred => aws::CacheTls::Preferred,
                }),
            };
            (key.clone(), cache)
        });
        Some(AwsSpec {
            account: target.account.clone(),
            region: target.region.clone(),
            cluster: match &target.cluster {
                Some(cluster) => cluster.clone(),
                None => deployer_aws::names::cluster(&self.app, environment),
            },
            cluster_is_ours: target.cluster.is_none(),
            subnets: target.subnets.clone(),
            security_groups: target.security_groups.clone(),
            assign_public_ip: target.assign_public_ip,
            execution_role: target.execution_role.clone().unwrap_or_default(),
            task_role: target.task_role.clone(),
            endpoint: target.endpoint.clone(),
            registry_endpoint: target.registry_endpoint.clone(),
            log_retention_days: target.log_retention_days,
            services: services.collect(),
            databases: databases.collect(),
            caches: caches.collect(),
        })
    }

    fn aws_service(
        &self,
        key: &str,
        environment: &str,
        own: section::AwsService,
    ) -> aws::AwsService {
        let names = self.aws_names(key, environment);
        let target = self.targets.aws.as_ref();
        aws::AwsService {
            runtime: match self.aws_runtime(key) {
                section::AwsRuntime::Ecs => aws::AwsRuntime::Ecs,
                section::AwsRuntime::AppRunner => aws::AwsRuntime::AppRunner(aws::AppRunner {
                    name: names.service,
                    access_role: target
                        .and_then(|target| target.access_role.clone())
                        .unwrap_or_default(),
                    concurrency: own.concurrency,
                    domains: aws::Domain::of(&domains(&own)),
                    zone: own.zone.as_ref().map(|zone| plain_zone(zone)),
                    adopt_records: own.adopt_records,
                }),
            },
            family: names.family,
            container: names.container,
            log_group: names.log_group,
            adopt: own.adopt,
            target_group: own.target_group,
            health_check_grace_period: own.health_check_grace_period,
            enable_execute_command: own.enable_execute_command,
            minimum_healthy_percent: own.minimum_healthy_percent,
            maximum_percent: own.maximum_percent,
            scaling: aws::AwsScaling {
                cpu: own.scaling.cpu,
                requests: own.scaling.requests,
            },
        }
    }

    /// What Google Cloud alone is asked for. `None` where the manifest has no such target.
    pub fn gcp_spec(&self) -> Option<GcpSpec> {
        let target = self.targets.gcp.as_ref()?;
        let services = target.services.iter();
        let databases = target.databases.iter().map(|(key, own)| {
            let database = gcp::GcpDatabase {
                network: own.network.clone(),
                flags: own.flags.clone(),
                maintenance: own.maintenance.map(window),
            };
            (key.clone(), database)
        });
        let caches = target.caches.iter().map(|(key, own)| {
            let network = own.network.clone();
            (key.clone(), gcp::GcpCache { network })
        });
        Some(GcpSpec {
            project: target.project.clone(),
            region: target.region.clone(),
            service_account: target.service_account.clone(),
            vpc_connector: target.vpc_connector.clone(),
            network: target.network.clone(),
            subnetwork: target.subnetwork.clone(),
            egress: match target.egress {
                section::Egress::PrivateRanges => gcp::Egress::PrivateRanges,
                section::Egress::All => gcp::Egress::All,
            },
            repository: target.repository.clone(),
            endpoint: target.endpoint.clone(),
            registry_endpoint: target.registry_endpoint.clone(),
            secret_replication: target.secret_replication.clone(),
            enable_apis: target.enable_apis,
            services: services
                .map(|(key, own)| (key.clone(), gcp_service(own)))
                .collect(),
            databases: databases.collect(),
            caches: caches.collect(),
        })
    }
}

/// The names that a service answers for.
pub(super) fn domains(own: &section::AwsService) -> Vec<String> {
    own.domains.iter().map(|name| canonical(name)).collect()
}

fn plain_zone(zone: &str) -> String {
    let zone = zone.trim_end_matches('.');
    match zone.contains('.') {
        true => zone.to_lowercase(),
        // An id.
        false => zone.to_owned(),
    }
}

fn gcp_service(own: &section::GcpService) -> gcp::GcpService {
    gcp::GcpService {
        service_account: own.service_account.clone(),
        concurrency: own.concurrency,
        request_timeout: own.request_timeout,
        ingress: own.ingress.map(|ingress| match ingress {
            section::Ingress::All => gcp::Ingress::All,
            section::Ingress::Internal => gcp::Ingress::Internal,
            section::Ingress::InternalAndLoadBalancer => gcp::Ingress::InternalAndLoadBalancer,
        }),
        public: own.public,
        cpu_idle: own.cpu_idle,
        migrate_retries: own.migrate_retries,
        dns: own.dns.as_ref().map(|dns| match dns.provider {
            section::DnsProvider::CloudDns => gcp::DnsProvider::CloudDns,
            section::DnsProvider::Route53 => gcp::DnsProvider::Route53,
        }),
    }
}

fn window(window: section::MaintenanceWindow) -> gcp::MaintenanceWindow {
    gcp::MaintenanceWindow {
        day: match window.day {
            section::Weekday::Monday => gcp::Weekday::Monday,
            section::Weekday::Tuesday => gcp::Weekday::Tuesday,
            section::Weekday::Wednesday => gcp::Weekday::Wednesday,
            section::Weekday::Thursday => gcp::Weekday::Thursday,
            section::Weekday::Friday => gcp::Weekday::Friday,
            section::Weekday::Saturday => gcp::Weekday::Saturday,
            section::Weekday::Sunday => gcp::Weekday::Sunday,
        },
        hour: window.hour,
    }
}
