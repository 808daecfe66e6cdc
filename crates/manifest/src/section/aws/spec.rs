//! Resolves what AWS alone is asked for; with the names that the checks know.
//!
//! Each table is taken apart whole: a setting that is handed over to nobody does not compile.

use std::path::Path;

use deployer_aws::spec::{self as aws, AwsSpec};

use super::{
    AwsCache, AwsDatabase, AwsRuntime, AwsScaling, AwsSection, AwsService, CacheTls, Maintenance,
};
use crate::called::Called;
use crate::names::canonical;

impl AwsSection {
    /// What AWS alone is asked for, by an app in an environment with these services; files are
    /// found from `folder`.
    pub(crate) fn spec<'a>(
        &self,
        app: &str,
        environment: &str,
        services: impl Iterator<Item = Called<'a>>,
        folder: &Path,
    ) -> AwsSpec {
        let services = services.map(|called| {
            (
                called.key.to_owned(),
                self.service_spec(app, environment, called),
            )
        });
        let AwsSection {
            account,
            region,
            // What `target.rs` says of every target, and what services are asked for below.
            ledger: _,
            ledger_region: _,
            ledger_owner: _,
            secrets: _,
            services: _,
            runtime: _,
            access_role: _,
            cluster,
            subnets,
            security_groups,
            assign_public_ip,
            execution_role,
            task_role,
            endpoint,
            registry_endpoint,
            log_retention_days,
            databases,
            caches,
        } = self;
        let databases = databases.iter();
        let databases = databases.map(|(key, own)| (key.clone(), database(own.clone(), folder)));
        let caches = caches.iter();
        let caches = caches.map(|(key, own)| (key.clone(), cache(own.clone())));
        AwsSpec {
            account: account.clone(),
            region: region.clone(),
            cluster: match cluster {
                Some(cluster) => cluster.clone(),
                None => deployer_aws::names::cluster(app, environment),
            },
            cluster_is_ours: cluster.is_none(),
            subnets: subnets.clone(),
            security_groups: security_groups.clone(),
            assign_public_ip: *assign_public_ip,
            execution_role: execution_role.clone().unwrap_or_default(),
            task_role: task_role.clone(),
            endpoint: endpoint.clone(),
            registry_endpoint: registry_endpoint.clone(),
            log_retention_days: *log_retention_days,
            services: services.collect(),
            databases: databases.collect(),
            caches: caches.collect(),
        }
    }

    fn service_spec(&self, app: &str, environment: &str, called: Called<'_>) -> aws::AwsService {
        let names = self.names(app, environment, called);
        let key = called.key;
        let domains = aws::Domain::of(&self.answered_by(key));
        let AwsService {
            // What `names.rs` and `target.rs` say of every service.
            runtime: _,
            name: _,
            family: _,
            container: _,
            repository: _,
            log_group: _,
            architecture: _,
            cpu: _,
            memory: _,
            replicas: _,
            env: _,
            url: _,
            dns: _,
            domains: _,
            adopt,
            concurrency,
            target_group,
            health_check_grace_period,
            enable_execute_command,
            minimum_healthy_percent,
            maximum_percent,
            scaling: AwsScaling { cpu, requests },
            zone,
            adopt_records,
        } = self.services.get(key).cloned().unwrap_or_default();
        aws::AwsService {
            runtime: match self.runtime_of(key) {
                AwsRuntime::Ecs => aws::AwsRuntime::Ecs,
                AwsRuntime::AppRunner => aws::AwsRuntime::AppRunner(aws::AppRunner {
                    name: names.service,
                    access_role: self.access_role.clone().unwrap_or_default(),
                    concurrency,
                    domains,
                    zone: zone.map(|zone| plain_zone(&zone)),
                    adopt_records,
                }),
            },
            family: names.family,
            container: names.container,
            log_group: names.log_group,
            adopt,
            target_group,
            health_check_grace_period,
            enable_execute_command,
            minimum_healthy_percent,
            maximum_percent,
            scaling: aws::AwsScaling { cpu, requests },
        }
    }

    /// The names that the service `key` answers for by itself.
    pub(super) fn answered_by(&self, key: &str) -> Vec<String> {
        let own = self.services.get(key);
        let names = own.into_iter().flat_map(|own| &own.domains);
        names.map(|name| canonical(name)).collect()
    }
}

fn database(own: AwsDatabase, folder: &Path) -> aws::AwsDatabase {
    let AwsDatabase {
        // What `target.rs` says of every database.
        name: _,
        class: _,
        adopt: _,
        subnets,
        security_groups,
        maintenance,
        authority_file,
        extended_support,
    } = own;
    aws::AwsDatabase {
        subnets,
        security_groups,
        maintenance: match maintenance {
            Maintenance::Now => aws::Maintenance::Now,
            Maintenance::Window => aws::Maintenance::Window,
        },
        authority_file: authority_file.map(|it| folder.join(it).to_string_lossy().into_owned()),
        extended_support,
    }
}

fn cache(own: AwsCache) -> aws::AwsCache {
    let AwsCache {
        // What `target.rs` says of every cache.
        name: _,
        class: _,
        adopt: _,
        subnets,
        security_groups,
        tls,
    } = own;
    aws::AwsCache {
        subnets,
        security_groups,
        tls: tls.map(|tls| match tls {
            CacheTls::Required => aws::CacheTls::Required,
            CacheTls::Preferred => aws::CacheTls::Preferred,
        }),
    }
}

fn plain_zone(zone: &str) -> String {
    let zone = zone.trim_end_matches('.');
    match zone.contains('.') {
        true => zone.to_lowercase(),
        // An id.
        false => zone.to_owned(),
    }
}
