//! `rds.subnet_group`: the subnets that an instance may stand in.

use std::time::Duration;

use deployer_core::graph::Value;
use deployer_core::kind::Refused;

use crate::ground::Subnets;
use crate::site::prelude::*;

/// The subnets that an instance may stand in.
#[derive(Clone, Debug)]
pub(crate) struct SubnetGroup {
    pub(crate) subnets: Value<Subnets>,
}

const SUBNETS: Field = Field::in_place("subnets");

impl Kind for SubnetGroup {
    type Site = Clients;
    type Is = Self;
    const KIND: &'static str = "rds.subnet_group";
    const NOUN: &'static str = "database subnet group";
    const ROLE: Role = Role::BesideDatabase;
    const TIER: Tier = Tier::Ground;
    const DATA: Data = Data::None;
    const FACTS: Facts = Facts {
        arn: Some(Arn::new("rds", "subgrp")),
        access: Access {
            feature: Feature::Databases,
            read: &[grant(
                &["rds:DescribeDBSubnetGroups", "rds:ListTagsForResource"],
                DATABASE_SUBNET_GROUPS,
            )],
            change: &[grant(
                &[
                    "rds:AddTagsToResource",
                    "rds:CreateDBSubnetGroup",
                    "rds:DeleteDBSubnetGroup",
                    "rds:ModifyDBSubnetGroup",
                    "rds:RemoveTagsFromResource",
                ],
                DATABASE_SUBNET_GROUPS,
            )],
        },
    };
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = &["DBSubnetGroupNotFound"];
    const TAKEN: &'static [&'static str] = &["DBSubnetGroupAlreadyExists"];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing {
        codes: &["InvalidDBSubnetGroupState"],
        why: "an instance is still in it",
        patience: Duration::from_secs(20 * 60),
    };

    fn describe(is: &Self, to: &mut Description) {
        to.set_value(SUBNETS, &is.subnets, Subnets::text);
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<Self>>, Refusal> {
        let ask = at.rds.describe_db_subnet_groups();
        let answer = ask.db_subnet_group_name(at.name()).send().await?;
        let Some(group) = answer.db_subnet_groups().first() else {
            return Ok(Reading::Absent);
        };
        let subnets = group.subnets().iter();
        let subnets = subnets.filter_map(|it| it.subnet_identifier().map(str::to_owned));
        let arn = group.db_subnet_group_arn().unwrap_or_default();
        Ok(Reading::Present(There {
            id: arn.to_owned(),
            is: Self {
                subnets: Value::Given(Subnets(subnets.collect())),
            },
            tags: TagApi::Rds.read(at, arn).await?,
        }))
    }

    async fn remove(at: &At<Clients>, _there: &There<Self>, _token: &Token) -> Result<(), Refusal> {
        let call = at.rds.delete_db_subnet_group();
        call.db_subnet_group_name(at.name()).send().await?;
        Ok(())
    }
}

impl Tagged for SubnetGroup {
    async fn mark(at: &At<Clients>, there: &There<Self>, by: TagChanges) -> Result<(), Refusal> {
        TagApi::Rds.write(at, &there.id, by).await
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
        let call = at.rds.create_db_subnet_group();
        call.db_subnet_group_name(at.name())
            .db_subnet_group_description(description(&at.owner))
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
        let call = at.rds.modify_db_subnet_group();
        call.db_subnet_group_name(at.name())
            .set_subnet_ids(Some(is.subnets.settled()?.0))
            .send()
            .await?;
        Ok(())
    }
}

/// The VPC of a subnet group. `None` when there is no such group.
pub(super) async fn vpc_of(clients: &Clients, name: &str) -> Result<Option<String>> {
    let ask = clients.rds.describe_db_subnet_groups();
    let answer = ask.db_subnet_group_name(name).send().await;
    match answer.map_err(Refusal::from) {
        Ok(answer) => {
            let group = answer.db_subnet_groups().first();
            Ok(group.and_then(|group| group.vpc_id()).map(str::to_owned))
        }
        Err(refusal) if refusal.is_one_of(SubnetGroup::ABSENT) => Ok(None),
        Err(refusal) => Err(refusal.of(&format!("read {} `{name}`", SubnetGroup::NOUN))),
    }
}
