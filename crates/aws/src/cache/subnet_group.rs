//! `elasticache.subnet_group`: the subnets that a cache may stand in.

use std::time::Duration;

use deployer_core::graph::Value;

use crate::ground::Subnets;
use crate::site::prelude::*;

/// The subnets that a cache may stand in.
#[derive(Clone, Debug)]
pub(crate) struct SubnetGroup {
    pub(crate) subnets: Value<Subnets>,
}

const SUBNETS: Field = Field::in_place("subnets");

impl Kind for SubnetGroup {
    type Site = Clients;
    type Is = Self;
    const KIND: &'static str = "elasticache.subnet_group";
    const NOUN: &'static str = "cache subnet group";
    const ROLE: Role = Role::BesideCache;
    const TIER: Tier = Tier::Ground;
    const DATA: Data = Data::None;
    const FACTS: Facts = Facts {
        arn: Some(Arn::new("elasticache", "subnetgroup")),
        access: Access {
            feature: Feature::Caches,
            read: &[grant(
                &[
                    "elasticache:DescribeCacheSubnetGroups",
                    "elasticache:ListTagsForResource",
                ],
                CACHE_SUBNET_GROUPS,
            )],
            change: &[grant(
                &[
                    "elasticache:AddTagsToResource",
                    "elasticache:CreateCacheSubnetGroup",
                    "elasticache:DeleteCacheSubnetGroup",
                    "elasticache:ModifyCacheSubnetGroup",
                    "elasticache:RemoveTagsFromResource",
                ],
                CACHE_SUBNET_GROUPS,
            )],
        },
    };
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = &["CacheSubnetGroupNotFoundFault"];
    const TAKEN: &'static [&'static str] = &["CacheSubnetGroupAlreadyExists"];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing {
        codes: &["CacheSubnetGroupInUse"],
        why: "a cache is still in it",
        patience: Duration::from_secs(20 * 60),
    };

    fn describe(is: &Self, to: &mut Description) {
        to.set_value(SUBNETS, &is.subnets, Subnets::text);
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<Self>>, Refusal> {
        let ask = at.elasticache.describe_cache_subnet_groups();
        let answer = ask.cache_subnet_group_name(at.name()).send().await?;
        let Some(group) = answer.cache_subnet_groups().first() else {
            return Ok(Reading::Absent);
        };
        let subnets = group.subnets().iter();
        let subnets = subnets.filter_map(|it| it.subnet_identifier().map(str::to_owned));
        let arn = group.arn().unwrap_or_default();
        Ok(Reading::Present(There {
            id: arn.to_owned(),
            is: Self {
                subnets: Value::Given(Subnets(subnets.collect())),
            },
            tags: TagApi::ElastiCache.read(at, arn).await?,
        }))
    }

    async fn remove(at: &At<Clients>, _there: &There<Self>, _token: &Token) -> Result<(), Refusal> {
        let call = at.elasticache.delete_cache_subnet_group();
        call.cache_subnet_group_name(at.name()).send().await?;
        Ok(())
    }
}

impl Tagged for SubnetGroup {
    async fn mark(at: &At<Clients>, there: &There<Self>, by: TagChanges) -> Result<(), Refusal> {
        TagApi::ElastiCache.write(at, &there.id, by).await
    }
}

impl Wish for SubnetGroup {
    /// Its name.
    type Output = String;
    const KEPT: Kept = Kept::Harmless("what is there stays in the subnet that it is in");

    fn over(&self, _at: &At<Clients>, _seen: Seen<'_, Self>) -> Self {
        self.clone()
    }

    fn output(at: &At<Clients>, _there: &There<Self>) -> String {
        at.name().to_owned()
    }

    async fn make(&self, at: &At<Clients>, is: &Self, _: &Token) -> Result<(), Refusal> {
        let call = at.elasticache.create_cache_subnet_group();
        call.cache_subnet_group_name(at.name())
            .cache_subnet_group_description(description(&at.owner))
            .set_subnet_ids(Some(is.subnets.settled()?.0))
            .set_tags(Some(sdk_tags(&at.owner.tags)?))
            .send()
            .await?;
        Ok(())
    }

    async fn change(
        &self,
        at: &At<Clients>,
        _there: &There<Self>,
        is: &Self,
        _changed: Changed<'_>,
    ) -> Result<(), Refusal> {
        let call = at.elasticache.modify_cache_subnet_group();
        call.cache_subnet_group_name(at.name())
            .set_subnet_ids(Some(is.subnets.settled()?.0))
            .send()
            .await?;
        Ok(())
    }
}
