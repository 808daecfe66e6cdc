//! What an account has that a first manifest can name, as what runs there already tells it.
//!
//! EC2 and IAM are not asked: their SDKs would make the program half as large again, for this one
//! question. Services, load balancers and subnet groups name the subnets, groups and roles that are
//! known to work; a VPC that nothing uses yet is not seen.

mod networks;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_ecs::types::Service;
use aws_sdk_elasticloadbalancingv2::types::LoadBalancerTypeEnum;
use deployer_core::capability::{Caller, Candidate, Findings, Survey, Unlisted};
use deployer_core::error::Result;

use crate::Aws;
use crate::client::Clients;
use crate::error::Told;
use networks::{By, Sighting, networks};

/// How many clusters are looked into, those with the most services first.
const CLUSTERS: usize = 3;
/// How many services of a cluster are looked at: "You may specify up to 10 services to describe in
/// a single operation" (Amazon ECS API Reference, "DescribeServices").
const SERVICES: i32 = 10;
/// How many services of App Runner's are looked at; each is a call.
const RUN: usize = 5;
/// Load balancers and subnet groups: one page of them.
const PAGE: i32 = 100;

#[async_trait]
impl Survey for Aws {
    async fn survey(&self) -> Findings {
        let account = Account(&self.clients);
        let caller = match account.caller().await {
            Ok(caller) => caller,
            Err(error) => {
                return Findings {
                    unlisted: vec![unlisted("what is there", error)],
                    ..Findings::default()
                };
            }
        };
        let (services, app_runner, balancers, databases, caches) = tokio::join!(
            account.services(),
            account.app_runner(),
            account.balancers(),
            account.databases(),
            account.caches(),
        );
        let mut all = Part::default();
        for part in [services, app_runner, balancers, databases, caches] {
            all.extend(part);
        }
        let of_account = |uses: Uses| uses.ranked(|role| short(role, &caller.account));
        Findings {
            clusters: all.clusters,
            networks: networks(&all.sightings),
            execution_roles: of_account(all.execution_roles),
            identities: of_account(all.identities),
            access_roles: of_account(all.access_roles),
            unlisted: all.unlisted,
            caller: Some(caller),
        }
    }
}

fn unlisted(what: &str, error: deployer_core::error::Error) -> Unlisted {
    Unlisted {
        what: what.to_owned(),
        error,
    }
}

/// A role as a manifest of its own account names it; the ARN of another account's.
fn short(role: &str, account: &str) -> String {
    let mut parts = role.splitn(6, ':').skip(4);
    match (parts.next(), parts.next()) {
        (Some(owner), Some(name)) if owner == account => {
            name.strip_prefix("role/").unwrap_or(role).to_owned()
        }
        _ => role.to_owned(),
    }
}

/// Who uses what.
#[derive(Debug, Default)]
struct Uses(BTreeMap<String, BTreeSet<String>>);

impl Uses {
    fn note(&mut self, what: Option<&str>, by: &str) {
        if let Some(what) = what.filter(|what| !what.is_empty()) {
            self.0
                .entry(what.to_owned())
                .or_default()
                .insert(by.to_owned());
        }
    }

    /// What most use first.
    fn ranked(self, name: impl Fn(&str) -> String) -> Vec<Candidate> {
        let mut uses: Vec<_> = self.0.into_iter().collect();
        uses.sort_by_key(|(_, by)| std::cmp::Reverse(by.len()));
        let uses = uses.into_iter();
        uses.map(|(what, by)| Candidate::new(name(&what), of_services(&by)))
            .collect()
    }
}

/// Whose something is, in a few words.
fn of_services(names: &BTreeSet<String>) -> String {
    let mut first = names.iter();
    match (first.next(), names.len()) {
        (Some(one), 1) => format!("of service {one}"),
        (_, many) => format!("of {many} services"),
    }
}

/// What one API told.
#[derive(Default)]
struct Part {
    clusters: Vec<Candidate>,
    sightings: Vec<Sighting>,
    execution_roles: Uses,
    identities: Uses,
    access_roles: Uses,
    unlisted: Vec<Unlisted>,
}

impl Part {
    fn extend(&mut self, other: Self) {
        self.clusters.extend(other.clusters);
        self.sightings.extend(other.sightings);
        self.unlisted.extend(other.unlisted);
        for (mine, other) in [
            (&mut self.execution_roles, other.execution_roles),
            (&mut self.identities, other.identities),
            (&mut self.access_roles, other.access_roles),
        ] {
            for (what, by) in other.0 {
                mine.0.entry(what).or_default().extend(by);
            }
        }
    }

    /// The value; notes what could not be asked.
    fn take<T>(&mut self, what: &str, answer: Result<T>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            Err(error) => {
                self.unlisted.push(unlisted(what, error));
                None
            }
        }
    }
}

/// The account that the credentials reach.
struct Account<'a>(&'a Clients);

impl Account<'_> {
    async fn caller(&self) -> Result<Caller> {
        let asked = self.0.sts.get_caller_identity().send().await;
        let answer = asked.told(|| "find out who calls AWS".into())?;
        Ok(Caller {
            account: answer.account().unwrap_or_default().to_owned(),
            principal: answer.arn().unwrap_or_default().to_owned(),
        })
    }

    /// The clusters, and what the services in the largest run with.
    async fn services(&self) -> Part {
        let mut part = Part::default();
        let clusters = self.clusters().await;
        let Some(clusters) = part.take("ECS clusters", clusters) else {
            return part;
        };
        for (name, _) in clusters.iter().take(CLUSTERS) {
            let found = self.services_in(name).await;
            let what = format!("the services of cluster {name}");
            for service in part.take(&what, found).unwrap_or_default() {
                self.service(&service, &mut part).await;
            }
        }
        part.clusters = clusters
            .into_iter()
            .map(|(name, services)| {
                let seen = match services {
                    1 => "1 service".to_owned(),
                    many => format!("{many} services"),
                };
                Candidate::new(name, seen)
            })
            .collect();
        part
    }

    /// Names, with how many services are active in each; the largest first. What was deleted is
    /// listed for a while: "clusters with an INACTIVE status may remain discoverable in your
    /// account" (Amazon ECS API Reference, "DeleteCluster").
    async fn clusters(&self) -> Result<Vec<(String, i32)>> {
        let ecs = &self.0.ecs;
        let listed = ecs.list_clusters().send().await;
        let arns = listed
            .told(|| "list the ECS clusters".into())?
            .cluster_arns
            .unwrap_or_default();
        if arns.is_empty() {
            return Ok(Vec::new());
        }
        let described = ecs
            .describe_clusters()
            .set_clusters(Some(arns))
            .send()
            .await;
        let described = described.told(|| "describe the ECS clusters".into())?;
        let active = described.clusters.unwrap_or_default().into_iter();
        let active = active.filter(|cluster| cluster.status() == Some("ACTIVE"));
        let mut clusters: Vec<(String, i32)> = active
            .filter_map(|cluster| Some((cluster.cluster_name?, cluster.active_services_count)))
            .collect();
        clusters.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(clusters)
    }

    async fn services_in(&self, cluster: &str) -> Result<Vec<Service>> {
        let ecs = &self.0.ecs;
        let listed = ecs.list_services().cluster(cluster).max_results(SERVICES);
        let listed = listed.send().await;
        let arns = listed
            .told(|| format!("list the services of cluster `{cluster}`"))?
            .service_arns
            .unwrap_or_default();
        if arns.is_empty() {
            return Ok(Vec::new());
        }
        let described = ecs.describe_services().cluster(cluster);
        let described = described.set_services(Some(arns)).send().await;
        let described = described.told(|| format!("describe the services of `{cluster}`"))?;
        Ok(described.services.unwrap_or_default())
    }

    /// Where one service runs, and with which roles.
    async fn service(&self, service: &Service, part: &mut Part) {
        let name = service.service_name().unwrap_or_default();
        let network = service.network_configuration();
        let Some(vpc) = network.and_then(|network| network.awsvpc_configuration()) else {
            // On instances of its own; what Fargate takes is not in it.
            return;
        };
        let public = vpc.assign_public_ip().map(|it| it.as_str() == "ENABLED");
        part.sightings.push(Sighting {
            public_address: public,
            security_groups: vpc.security_groups().iter().cloned().collect(),
            ..Sighting::new(By::Service, name, vpc.subnets())
        });
        let Some(definition) = service.task_definition() else {
            return;
        };
        let asked = self.0.ecs.describe_task_definition();
        let asked = asked.task_definition(definition).send().await;
        let answer = asked.told(|| format!("describe task definition `{definition}`"));
        let what = format!("the roles of service {name}");
        let answer = part.take(&what, answer);
        if let Some(definition) = answer.and_then(|answer| answer.task_definition) {
            let execution = definition.execution_role_arn();
            part.execution_roles.note(execution, name);
            part.identities.note(definition.task_role_arn(), name);
        }
    }

    /// Services of App Runner's. Where the account has none, or the region has no App Runner, there
    /// is nothing to say: it takes no new customers.
    async fn app_runner(&self) -> Part {
        let mut part = Part::default();
        let api = &self.0.app_runner;
        let listed = api.list_services().send().await;
        let services = listed.told(|| "list the services of App Runner".into());
        let services = match services {
            Ok(listed) => listed.service_summary_list,
            Err(error) => {
                tracing::debug!(?error, "App Runner is not asked further");
                return part;
            }
        };
        for service in services.iter().take(RUN) {
            let name = service.service_name().unwrap_or_default();
            let arn = service.service_arn().unwrap_or_default();
            let asked = api.describe_service().service_arn(arn).send().await;
            let answer = asked.told(|| format!("describe service `{name}` of App Runner"));
            let answer = part.take(&format!("service {name} of App Runner"), answer);
            let Some(service) = answer.and_then(|answer| answer.service) else {
                continue;
            };
            let source = service.source_configuration();
            let login = source.and_then(|source| source.authentication_configuration());
            let access = login.and_then(|login| login.access_role_arn());
            part.access_roles.note(access, name);
            let instance = service.instance_configuration();
            let role = instance.and_then(|instance| instance.instance_role_arn());
            part.identities.note(role, name);
        }
        if services.is_empty() {
            return part;
        }
        let listed = api.list_vpc_connectors().send().await;
        let listed = listed.told(|| "list the VPC connectors of App Runner".into());
        let connectors = part.take("VPC connectors of App Runner", listed);
        let connectors = connectors.map(|it| it.vpc_connectors).unwrap_or_default();
        for connector in connectors {
            let name = connector.vpc_connector_name().unwrap_or_default();
            part.sightings.push(Sighting {
                security_groups: connector.security_groups().iter().cloned().collect(),
                ..Sighting::new(By::Connector, name, connector.subnets())
            });
        }
        part
    }

    async fn balancers(&self) -> Part {
        let mut part = Part::default();
        let asked = self.0.balancers.describe_load_balancers().page_size(PAGE);
        let answer = asked.send().await;
        let answer = answer.told(|| "list the load balancers".into());
        let answer = part.take("load balancers", answer);
        for it in answer.and_then(|it| it.load_balancers).unwrap_or_default() {
            // A gateway's subnets are for appliances.
            if it.r#type() == Some(&LoadBalancerTypeEnum::Gateway) {
                continue;
            }
            let name = it.load_balancer_name().unwrap_or_default();
            let zones = it.availability_zones().iter();
            let subnets: Vec<String> = zones
                .filter_map(|zone| zone.subnet_id().map(str::to_owned))
                .collect();
            part.sightings.push(Sighting {
                vpc: it.vpc_id().map(str::to_owned),
                ..Sighting::new(By::Balancer, name, &subnets)
            });
        }
        part
    }

    async fn databases(&self) -> Part {
        let mut part = Part::default();
        let asked = self.0.rds.describe_db_subnet_groups().max_records(PAGE);
        let answer = asked.send().await;
        let answer = answer.told(|| "list the subnet groups of databases".into());
        let answer = part.take("subnet groups of databases", answer);
        for it in answer
            .and_then(|it| it.db_subnet_groups)
            .unwrap_or_default()
        {
            let name = it.db_subnet_group_name().unwrap_or_default();
            let subnets = it.subnets().iter();
            let subnets: Vec<String> = subnets
                .filter_map(|subnet| subnet.subnet_identifier().map(str::to_owned))
                .collect();
            part.sightings.push(Sighting {
                vpc: it.vpc_id().map(str::to_owned),
                ..Sighting::new(By::DatabaseGroup, name, &subnets)
            });
        }
        part
    }

    async fn caches(&self) -> Part {
        let mut part = Part::default();
        let asked = self.0.elasticache.describe_cache_subnet_groups();
        let answer = asked.max_records(PAGE).send().await;
        let answer = answer.told(|| "list the subnet groups of caches".into());
        let answer = part.take("subnet groups of caches", answer);
        let groups = answer.and_then(|it| it.cache_subnet_groups);
        for it in groups.unwrap_or_default() {
            let name = it.cache_subnet_group_name().unwrap_or_default();
            let subnets = it.subnets().iter();
            let subnets: Vec<String> = subnets
                .filter_map(|subnet| subnet.subnet_identifier().map(str::to_owned))
                .collect();
            part.sightings.push(Sighting {
                vpc: it.vpc_id().map(str::to_owned),
                ..Sighting::new(By::CacheGroup, name, &subnets)
            });
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_named_as_the_manifest_of_its_account_names_it() {
        let role = "arn:aws:iam::123456789012:role/service-role/execution";
        assert_eq!(short(role, "123456789012"), "service-role/execution");
        assert_eq!(short(role, "210987654321"), role);
        assert_eq!(short("execution", "123456789012"), "execution");
    }

    #[test]
    fn what_most_services_use_comes_first() {
        let mut uses = Uses::default();
        uses.note(Some("a"), "web");
        uses.note(Some("b"), "web");
        uses.note(Some("b"), "worker");
        uses.note(None, "worker");
        let ranked = uses.ranked(str::to_owned);
        let wanted = [
            Candidate::new("b", "of 2 services"),
            Candidate::new("a", "of service web"),
        ];
        assert_eq!(ranked, wanted);
    }
}
