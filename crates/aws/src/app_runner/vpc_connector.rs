//! `app_runner.vpc_connector`: the subnets through which App Runner's instances reach a VPC.
//!
//! A connector cannot be changed, and "at this time, App Runner supports only one revision per
//! name" (VpcConnector, AWS App Runner API Reference). So its name says what it is: other subnets
//! are another connector, the services are moved to it, and the old one is deleted after that, as
//! everything is that the manifest does not want any more. One environment has one connector.

use std::time::Duration;

use aws_sdk_apprunner::types::{VpcConnector as SdkConnector, VpcConnectorStatus};

use deployer_core::error::{Error, ErrorKind};
use deployer_core::graph::Value;

use super::hints;
use crate::error::Told;
use crate::ground::{ConnectorName, Network, SecurityGroups, Subnets};
use crate::names;
use crate::site::prelude::*;

/// A connector. Without security groups it has AWS's own choice, the VPC's default group.
#[derive(Clone, Debug)]
pub(crate) struct VpcConnector(pub(crate) Network);

const SUBNETS: Field = Field::replaces("subnets", Order::CreateFirst);
const SECURITY_GROUPS: Field = Field::replaces("security_groups", Order::CreateFirst);

impl Kind for VpcConnector {
    type Site = Clients;
    type Is = Self;
    const KIND: &'static str = "app_runner.vpc_connector";
    const NOUN: &'static str = "VPC connector";
    const ROLE: Role = Role::Shared;
    const TIER: Tier = Tier::Ground;
    const DATA: Data = Data::None;
    const GENERATIONS: Option<Generations> = Some(Generations {
        fields: &[SUBNETS, SECURITY_GROUPS],
        rule: || &names::CONNECTOR,
        naming: Naming::Digits,
    });
    const FACTS: Facts = Facts {
        // `NAME/REVISION/ID`.
        arn: Some(Arn::named("apprunner", "vpcconnector", first_part)),
        access: Access {
            feature: Feature::AppRunner,
            read: &[
                grant(&["apprunner:ListVpcConnectors"], ANYTHING),
                grant(&["apprunner:ListTagsForResource"], CONNECTORS),
            ],
            change: &[
                grant(
                    &[
                        "apprunner:CreateVpcConnector",
                        "apprunner:DeleteVpcConnector",
                        "apprunner:TagResource",
                        "apprunner:UntagResource",
                    ],
                    CONNECTORS,
                ),
                crate::access::service_linked_role!(
                    "networking.apprunner.amazonaws.com",
                    "AWSServiceRoleForAppRunnerNetworking"
                ),
            ],
        },
    };
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = &["ResourceNotFoundException"];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = STILL_USED;

    fn describe(is: &Self, to: &mut Description) {
        let Self(network) = is;
        to.set_value(SUBNETS, &network.subnets, Subnets::text);
        if SecurityGroups::are_said(&network.security_groups) {
            let groups = &network.security_groups;
            to.set_value(SECURITY_GROUPS, groups, SecurityGroups::text);
        }
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<Self>>, Refusal> {
        let Some(connector) = active(at, at.name()).await? else {
            return Ok(Reading::Absent);
        };
        let arn = connector.vpc_connector_arn().unwrap_or_default();
        Ok(Reading::Present(There {
            id: arn.to_owned(),
            is: Self(network_of(&connector)),
            tags: TagApi::AppRunner.read(at, arn).await?,
        }))
    }

    async fn remove(at: &At<Clients>, there: &There<Self>, _token: &Token) -> Result<(), Refusal> {
        let call = at.app_runner.delete_vpc_connector();
        call.vpc_connector_arn(&there.id).send().await?;
        Ok(())
    }
}

impl Tagged for VpcConnector {
    async fn mark(at: &At<Clients>, there: &There<Self>, by: TagChanges) -> Result<(), Refusal> {
        TagApi::AppRunner.write(at, &there.id, by).await
    }
}

impl Wish for VpcConnector {
    type Output = ConnectorName;
    const KEPT: Kept = Kept::Harmless("what serves goes through the connector that it has");

    /// The groups that AWS chose stay where the manifest is silent.
    fn over(&self, _at: &At<Clients>, seen: Seen<'_, Self>) -> Self {
        let mut is = self.clone();
        let silent = !SecurityGroups::are_said(&is.0.security_groups);
        if let (true, Some(there)) = (silent, seen.there) {
            let groups = &there.is.0.security_groups;
            is.0.security_groups.clone_from(groups);
        }
        is
    }

    fn parts(&self, to: &mut Parts) {
        to.set_value(SUBNETS, &self.0.subnets, |it| sorted(&it.0));
        let groups = &self.0.security_groups;
        to.set_value(SECURITY_GROUPS, groups, |it| sorted(&it.0));
    }

    fn output(at: &At<Clients>, _there: &There<Self>) -> ConnectorName {
        ConnectorName(at.name().to_owned())
    }

    /// A connector of the name is this very one: the answer to an earlier call was lost.
    async fn make(&self, at: &At<Clients>, is: &Self, _: &Token) -> Result<(), Refusal> {
        if active(at, at.name()).await?.is_some() {
            return Ok(());
        }
        let Subnets(subnets) = is.0.subnets.settled()?;
        let SecurityGroups(groups) = is.0.security_groups.settled()?;
        let call = at.app_runner.create_vpc_connector();
        let made = call
            .vpc_connector_name(at.name())
            .set_subnets(Some(subnets))
            .set_security_groups(Some(groups).filter(|groups| !groups.is_empty()))
            .set_tags(Some(sdk_tags(&at.owner.tags)?))
            .send()
            .await;
        match made.map_err(Refusal::from) {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.says("already exists") => Ok(()),
            Err(refusal) => Err(hints::perhaps_closed(at, refusal)),
        }
    }

    /// Nothing of it changes in place.
    async fn change(
        &self,
        _at: &At<Clients>,
        _there: &There<Self>,
        _is: &Self,
        _changed: Changed<'_>,
    ) -> Result<(), Refusal> {
        Ok(())
    }
}

/// The ARN of the connector of a name, which is there.
///
/// Errors: not found, when it is not.
pub(super) async fn arn_of(clients: &Clients, name: &str) -> Result<String> {
    let found = there(clients, name).await?;
    Ok(found.vpc_connector_arn.unwrap_or_default())
}

/// The network that the connector of a name leads into, which is there.
///
/// Errors: not found, when it is not.
pub(super) async fn leads_to(clients: &Clients, name: &str) -> Result<Network> {
    Ok(network_of(&there(clients, name).await?))
}

fn network_of(connector: &SdkConnector) -> Network {
    let groups = connector.security_groups().to_vec();
    Network {
        subnets: Value::Given(Subnets(connector.subnets().to_vec())),
        security_groups: Value::Given(SecurityGroups(groups)),
    }
}

async fn there(clients: &Clients, name: &str) -> Result<SdkConnector> {
    let found = active(clients, name).await;
    let found = found.told(|| format!("read {} `{name}`", VpcConnector::NOUN))?;
    found.ok_or_else(|| {
        let message = format!("there is no {} `{name}`", VpcConnector::NOUN);
        Error::new(ErrorKind::NotFound, message).hint("run `deployer apply` again: it makes it")
    })
}

/// The connector of a name that was not deleted: those that were are listed for a while, inactive.
async fn active(clients: &Clients, name: &str) -> Result<Option<SdkConnector>, Refusal> {
    let list = clients.app_runner.list_vpc_connectors();
    let mut pages = list.into_paginator().send();
    while let Some(page) = pages.next().await {
        let mut connectors = page?.vpc_connectors.into_iter();
        let found = connectors.find(|it| {
            it.vpc_connector_name() == Some(name)
                && it.status() == Some(&VpcConnectorStatus::Active)
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn sorted(ids: &[String]) -> String {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.join(",")
}

/// The name in `NAME/REVISION/ID`.
pub(super) fn first_part(name: &str) -> Option<&str> {
    name.split('/').next()
}

/// "Provided VPC connector arn is being used by other services" (aws/apprunner-roadmap#161), for a
/// while also after the last of them was deleted or moved.
pub(super) const STILL_USED: Passing = Passing {
    codes: &["InvalidRequestException"],
    why: "a service still uses it",
    patience: Duration::from_secs(5 * 60),
};

#[cfg(test)]
mod tests {
    use deployer_core::graph::Output;
    use deployer_core::kind::named;

    use super::*;

    #[test]
    fn other_subnets_or_groups_are_another_generation_under_the_name_that_it_always_had() {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        let called = |subnets: Value<Subnets>, groups: &[&str]| {
            let connector = VpcConnector(Network {
                subnets,
                security_groups: Value::Given(SecurityGroups(ids(groups))),
            });
            named("idp-staging", &connector)
        };
        let subnets = || Value::Given(Subnets(ids(&["subnet-b", "subnet-a"])));
        assert_eq!(called(subnets(), &[]), "idp-staging-dc629f89");
        assert_eq!(called(subnets(), &["sg-1"]), "idp-staging-5a92f9a5");
        // Of what a node makes: its address.
        let output = Output::of(&"aws/r/ec2.subnets/shop".parse().unwrap());
        let made = Value::From(output.clone());
        assert_eq!(called(made.clone(), &["sg-1"]), "idp-staging-dc0df8fd");
        output.publish(Subnets(ids(&["subnet-a"])));
        assert_eq!(called(made, &["sg-1"]), "idp-staging-dc0df8fd");
    }
}
