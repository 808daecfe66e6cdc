//! `rds.parameter_group`: what an instance's engine is told. One per major version, as its family
//! can never change.

use std::time::Duration;

use aws_sdk_rds::types::{ApplyMethod, Parameter};

use crate::names;
use crate::site::prelude::*;

/// A parameter's way to say yes.
const ON: &str = "1";

/// What the engine of one major version is told.
#[derive(Clone, Debug)]
pub(crate) struct ParameterGroup {
    family: String,
    /// Whether connections without TLS are refused; `1` or `0`.
    force_ssl: Option<String>,
}

impl ParameterGroup {
    /// For a major version of PostgreSQL.
    pub(super) fn of(version: u16) -> Self {
        Self {
            family: format!("postgres{version}"),
            force_ssl: Some(ON.to_owned()),
        }
    }
}

const FAMILY: Field = Field::replaces("family", Order::CreateFirst);
const FORCE_SSL: Field = Field::in_place("rds.force_ssl");

impl Kind for ParameterGroup {
    type Site = Clients;
    type Is = Self;
    const KIND: &'static str = "rds.parameter_group";
    const NOUN: &'static str = "database parameter group";
    const ROLE: Role = Role::BesideDatabase;
    const TIER: Tier = Tier::Ground;
    const DATA: Data = Data::None;
    const GENERATIONS: Option<Generations> = Some(Generations {
        fields: &[FAMILY],
        rule: || &names::PARAMETER_GROUP,
        naming: Naming::Readable,
    });
    const FACTS: Facts = Facts {
        arn: Some(Arn::new("rds", "pg")),
        access: Access {
            feature: Feature::Databases,
            read: &[grant(
                &[
                    "rds:DescribeDBParameterGroups",
                    "rds:DescribeDBParameters",
                    "rds:ListTagsForResource",
                ],
                PARAMETER_GROUPS,
            )],
            change: &[grant(
                &[
                    "rds:AddTagsToResource",
                    "rds:CreateDBParameterGroup",
                    "rds:DeleteDBParameterGroup",
                    "rds:ModifyDBParameterGroup",
                    "rds:RemoveTagsFromResource",
                ],
                PARAMETER_GROUPS,
            )],
        },
    };
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = &["DBParameterGroupNotFound"];
    const TAKEN: &'static [&'static str] = &["DBParameterGroupAlreadyExists"];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing {
        codes: &["InvalidDBParameterGroupState"],
        why: "an instance still has it",
        patience: Duration::from_secs(20 * 60),
    };

    fn describe(is: &Self, to: &mut Description) {
        to.set(FAMILY, &is.family);
        to.set_some(FORCE_SSL, is.force_ssl.as_deref());
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<Self>>, Refusal> {
        let ask = at.rds.describe_db_parameter_groups();
        let answer = ask.db_parameter_group_name(at.name()).send().await?;
        let Some(group) = answer.db_parameter_groups().first() else {
            return Ok(Reading::Absent);
        };
        let arn = group.db_parameter_group_arn().unwrap_or_default();
        let (force_ssl, tags) = tokio::try_join!(force_ssl(at), TagApi::Rds.read(at, arn))?;
        Ok(Reading::Present(There {
            id: arn.to_owned(),
            is: Self {
                family: group
                    .db_parameter_group_family()
                    .unwrap_or_default()
                    .to_owned(),
                force_ssl,
            },
            tags,
        }))
    }

    async fn remove(at: &At<Clients>, _there: &There<Self>, _token: &Token) -> Result<(), Refusal> {
        let call = at.rds.delete_db_parameter_group();
        call.db_parameter_group_name(at.name()).send().await?;
        Ok(())
    }
}

impl Tagged for ParameterGroup {
    async fn mark(at: &At<Clients>, there: &There<Self>, by: TagChanges) -> Result<(), Refusal> {
        TagApi::Rds.write(at, &there.id, by).await
    }
}

impl Wish for ParameterGroup {
    /// Its name.
    type Output = String;
    const KEPT: Kept = Kept::Harms("the database runs with other parameters than before");

    fn over(&self, _at: &At<Clients>, _seen: Seen<'_, Self>) -> Self {
        self.clone()
    }

    /// A major upgrade needs another group while the instance still has this one.
    fn parts(&self, to: &mut Parts) {
        to.set(FAMILY, &self.family);
    }

    fn output(at: &At<Clients>, _there: &There<Self>) -> String {
        at.name().to_owned()
    }

    async fn make(&self, at: &At<Clients>, is: &Self, _: &Token) -> Result<(), Refusal> {
        let call = at.rds.create_db_parameter_group();
        call.db_parameter_group_name(at.name())
            .db_parameter_group_family(&is.family)
            .description(description(&at.owner))
            .set_tags(Some(sdk_tags(&at.owner.tags)?))
            .send()
            .await?;
        force(at).await
    }

    async fn change(
        &self,
        at: &At<Clients>,
        _there: &There<Self>,
        _is: &Self,
        _changed: Changed<'_>,
    ) -> Result<(), Refusal> {
        force(at).await
    }
}

/// What the group says about TLS, whoever said it: what was set to the family's default is not told
/// as the user's (terraform-provider-aws, internal/service/rds/parameter_group.go, #593), and from
/// PostgreSQL 15 on the default is to force it.
async fn force_ssl(at: &At<Clients>) -> Result<Option<String>, Refusal> {
    let ask = at.rds.describe_db_parameters();
    let ask = ask.db_parameter_group_name(at.name());
    let mut parameters = ask.into_paginator().items().send();
    while let Some(parameter) = parameters.next().await {
        let parameter = parameter?;
        if parameter.parameter_name() == Some(FORCE_SSL.name()) {
            return Ok(parameter.parameter_value().map(str::to_owned));
        }
    }
    Ok(None)
}

async fn force(at: &At<Clients>) -> Result<(), Refusal> {
    let parameter = Parameter::builder()
        .parameter_name(FORCE_SSL.name())
        .parameter_value(ON)
        .apply_method(ApplyMethod::Immediate)
        .build();
    let call = at.rds.modify_db_parameter_group();
    call.db_parameter_group_name(at.name())
        .parameters(parameter)
        .send()
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use deployer_core::kind::named;

    use super::*;

    #[test]
    fn another_major_version_is_another_generation_under_the_name_that_it_always_had() {
        let called = |version| named("shop-production", &ParameterGroup::of(version));
        assert_eq!(called(16), "shop-production-postgres16");
        assert_eq!(called(17), "shop-production-postgres17");
    }
}
