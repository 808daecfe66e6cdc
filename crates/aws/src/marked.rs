//! Finds what carries an owner's mark, by the API that lists the tags of everything in a region.
//!
//! "The `GetResources`, `GetTagKeys`, and `GetTagValues` operations support all resource types"
//! (Resource Groups Tagging API Reference, "Services that support the Resource Groups Tagging
//! API"). What it says is of an index that lags: a deleted thing stands in it for hours
//! (boto/boto3#3341, aws/aws-sdk#676, hashicorp/waypoint#1974), so that whatever it names is read
//! from its own API before anything is made of it.

use std::collections::BTreeSet;

use aws_sdk_resourcegroupstagging::types::{ResourceTagMapping, TagFilter};
use deployer_core::address::Address;
use deployer_core::capability::Marked;
use deployer_core::error::{Error, ErrorKind};
use deployer_core::names::OWNER_TAG;
use deployer_core::node::Reading;
use deployer_core::ours::Owner;

use crate::client::Clients;
use crate::error::Told;
use crate::kinds;
use crate::runtime::scaling::SCALABLE_TARGET;
use crate::runtime::scaling_calls::read_target;
use crate::runtime::service::SERVICE;

/// The most that one page holds.
const PAGE: i32 = 100;

/// Everything in the region that carries the mark of `owner`, and the scaling of its services.
pub(crate) async fn find(clients: &Clients, owner: &Owner) -> Marked {
    let mut marked = Marked::default();
    let filter = TagFilter::builder()
        .key(OWNER_TAG)
        .values(owner.to_string());
    let mut pages = clients
        .tagging
        .get_resources()
        .tag_filters(filter.build())
        .resources_per_page(PAGE)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.told(|| format!("list what has the tag `{OWNER_TAG}` = `{owner}`"));
        match page {
            Ok(page) => {
                let listed = page.resource_tag_mapping_list.unwrap_or_default();
                for mapping in listed.iter().filter(|it| carries(it, owner)) {
                    take(
                        clients,
                        mapping.resource_arn().unwrap_or_default(),
                        &mut marked,
                    );
                }
            }
            Err(error) => {
                marked.extend(Marked::unlisted("whatever has tags", allowed_by(error)));
                break;
            }
        }
    }
    scaling(clients, &mut marked).await;
    marked
}

/// A refusal with the one permission that is needed, which belongs to no kind.
fn allowed_by(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Denied => error.hint("allow the caller `tag:GetResources`"),
        _ => error,
    }
}

/// Whether the tags that came with an ARN are those that were asked for.
fn carries(mapping: &ResourceTagMapping, owner: &Owner) -> bool {
    let owner = owner.to_string();
    let mut tags = mapping.tags().iter();
    tags.any(|tag| tag.key() == OWNER_TAG && tag.value() == owner)
}

fn take(clients: &Clients, arn: &str, marked: &mut Marked) {
    let section = &clients.section;
    let home = Home {
        region: &section.region,
        account: &section.account,
        cluster: &clients.cluster.0,
    };
    match home.thing(arn) {
        Some(Thing::Here(kind, name)) => {
            marked.found.insert(clients.address(kind, name));
        }
        Some(Thing::Elsewhere { service, cluster }) => {
            let what = format!("ECS service `{service}` in cluster `{cluster}`");
            let why = format!("`targets.aws.cluster` is `{}`", home.cluster_name());
            marked.extend(Marked::unlisted(what, Error::input(why)));
        }
        // Tasks, snapshots, members of a cache: they go with something else, or are to stay.
        None => tracing::debug!(
            arn,
            "a marked thing of a kind that is not removed by itself"
        ),
    }
}

/// The scaling of each service: an ARN of it names an id, which no other call takes.
async fn scaling(clients: &Clients, marked: &mut Marked) {
    let services: BTreeSet<&Address> = marked
        .found
        .iter()
        .filter(|it| it.kind == SERVICE)
        .collect();
    let reads = services.into_iter().map(|service| async move {
        let what = || format!("the scaling of service `{}`", service.name);
        match read_target(clients, &service.name).await {
            Ok(Reading::Present(_)) => Marked {
                found: [clients.address(SCALABLE_TARGET, &service.name)].into(),
                ..Marked::default()
            },
            Ok(Reading::Denied(words)) => {
                Marked::unlisted(what(), Error::new(ErrorKind::Denied, words))
            }
            Ok(Reading::Absent | Reading::Foreign(_) | Reading::Tombstoned(_)) => Marked::default(),
            Err(error) => Marked::unlisted(what(), error),
        }
    });
    for read in futures::future::join_all(reads).await {
        marked.extend(read);
    }
}

/// What an ARN names.
#[derive(Debug, PartialEq, Eq)]
enum Thing<'a> {
    /// Something of this target: its kind and name.
    Here(&'static str, &'a str),
    /// A service that the target's cluster does not run.
    Elsewhere { service: &'a str, cluster: &'a str },
}

/// Where a target's things are.
struct Home<'a> {
    region: &'a str,
    account: &'a str,
    /// A name or an ARN.
    cluster: &'a str,
}

impl Home<'_> {
    fn cluster_name(&self) -> &str {
        self.cluster.rsplit('/').next().unwrap_or(self.cluster)
    }

    /// The thing behind an ARN; `None` for one of another account or region, or of a kind that is
    /// not removed by itself.
    fn thing<'a>(&self, arn: &'a str) -> Option<Thing<'a>> {
        let mut parts = arn.splitn(6, ':').skip(2);
        let mut part = || parts.next();
        let (service, region, account, resource) = (part()?, part()?, part()?, part()?);
        if region != self.region || account != self.account {
            return None;
        }
        let (sort, name) = resource.split_at(resource.find([':', '/'])?);
        let name = &name[1..];
        let mut arns = kinds::ALL
            .iter()
            .filter_map(|it| Some((it.kind, it.facts.arn?)));
        let (kind, arn) = arns.find(|(_, arn)| (arn.service, arn.sort) == (service, sort))?;
        match kind {
            SERVICE => Some(self.service(name)),
            _ => Some(Thing::Here(kind, (arn.name)(name)?)),
        }
    }

    /// `CLUSTER/SERVICE`; ARNs of before 2018 name no cluster, and then it is looked for in ours.
    fn service<'a>(&self, name: &'a str) -> Thing<'a> {
        match name.split_once('/') {
            Some((cluster, service)) if cluster != self.cluster_name() => {
                Thing::Elsewhere { service, cluster }
            }
            Some((_, service)) => Thing::Here(SERVICE, service),
            None => Thing::Here(SERVICE, name),
        }
    }
}

#[cfg(test)]
mod tests {
    use deployer_core::kind::Kind;

    use super::*;
    use crate::app_runner;
    use crate::app_runner::scaling::Scaling;
    use crate::app_runner::vpc_connector::VpcConnector;
    use crate::cache::replication_group::ReplicationGroup;
    use crate::cache::subnet_group as cache;
    use crate::database::instance::Instance;
    use crate::database::parameter_group::ParameterGroup;
    use crate::database::subnet_group as database;
    use crate::registry::Repository;
    use crate::runtime::cluster::Cluster;
    use crate::runtime::log_group::LogGroup;
    use crate::runtime::task_definition::TaskDefinition;
    use crate::secret_store::Secret;

    const HOME: Home<'static> = Home {
        region: "eu-west-1",
        account: "123456789012",
        cluster: "arn:aws:ecs:eu-west-1:123456789012:cluster/main",
    };

    #[test]
    fn an_arn_names_a_kind_and_what_its_api_calls_it() {
        for (rest, kind, name) in [
            (
                "ecs:eu-west-1:123456789012:service/main/idp",
                SERVICE,
                "idp",
            ),
            ("ecs:eu-west-1:123456789012:service/idp", SERVICE, "idp"),
            (
                "ecs:eu-west-1:123456789012:task-definition/idp:17",
                TaskDefinition::KIND,
                "idp",
            ),
            (
                "ecr:eu-west-1:123456789012:repository/shop/idp",
                Repository::KIND,
                "shop/idp",
            ),
            (
                "logs:eu-west-1:123456789012:log-group:/ecs/idp",
                LogGroup::KIND,
                "/ecs/idp",
            ),
            (
                "logs:eu-west-1:123456789012:log-group:/ecs/idp:*",
                LogGroup::KIND,
                "/ecs/idp",
            ),
            (
                "secretsmanager:eu-west-1:123456789012:secret:/shop/test/db-url-a1B2c3",
                Secret::KIND,
                "/shop/test/db-url",
            ),
            (
                "rds:eu-west-1:123456789012:db:idp-main",
                Instance::KIND,
                "idp-main",
            ),
            (
                "rds:eu-west-1:123456789012:subgrp:idp-main",
                database::SubnetGroup::KIND,
                "idp-main",
            ),
            (
                "rds:eu-west-1:123456789012:pg:idp-main",
                ParameterGroup::KIND,
                "idp-main",
            ),
            (
                "elasticache:eu-west-1:123456789012:replicationgroup:idp",
                ReplicationGroup::KIND,
                "idp",
            ),
            (
                "elasticache:eu-west-1:123456789012:subnetgroup:idp",
                cache::SubnetGroup::KIND,
                "idp",
            ),
            (
                "ecs:eu-west-1:123456789012:cluster/idp-staging",
                Cluster::KIND,
                "idp-staging",
            ),
            (
                "apprunner:eu-west-1:123456789012:service/idp/8fe1e10304f84fd2b0df550fe98a71fa",
                app_runner::service::SERVICE,
                "idp",
            ),
            (
                "apprunner:eu-west-1:123456789012:vpcconnector/idp-1a2b3c4d/1/0a03292a89764e58",
                VpcConnector::KIND,
                "idp-1a2b3c4d",
            ),
            (
                "apprunner:eu-west-1:123456789012:autoscalingconfiguration/idp-1a2b/3/0a03292a",
                Scaling::KIND,
                "idp-1a2b",
            ),
        ] {
            for partition in ["aws", "aws-cn"] {
                let arn = format!("arn:{partition}:{rest}");
                assert_eq!(HOME.thing(&arn), Some(Thing::Here(kind, name)), "{arn}");
            }
        }
    }

    #[test]
    fn what_is_elsewhere_or_goes_with_another_thing_is_not_taken() {
        for arn in [
            "arn:aws:ecs:us-east-1:123456789012:service/main/idp",
            "arn:aws:ecs:eu-west-1:210987654321:service/main/idp",
            "arn:aws:ecs:eu-west-1:123456789012:task/main/0123",
            "arn:aws:rds:eu-west-1:123456789012:snapshot:idp-main-final",
            "arn:aws:elasticache:eu-west-1:123456789012:cluster:idp-001",
            "arn:aws:s3:::bucket",
            "nonsense",
        ] {
            assert_eq!(HOME.thing(arn), None, "{arn}");
        }
        let other = "arn:aws:ecs:eu-west-1:123456789012:service/other/idp";
        let elsewhere = Thing::Elsewhere {
            service: "idp",
            cluster: "other",
        };
        assert_eq!(HOME.thing(other), Some(elsewhere));
    }
}
