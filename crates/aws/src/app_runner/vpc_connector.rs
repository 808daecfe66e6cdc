//! `app_runner.vpc_connector`: the subnets through which App Runner's instances reach a VPC.
//!
//! A connector cannot be changed, and "at this time, App Runner supports only one revision per
//! name" (VpcConnector, AWS App Runner API Reference). So its name says what it is: other subnets
//! are another connector, the services are moved to it, and the old one is deleted after that, as
//! everything is that the manifest does not want any more. One environment has one connector.

use std::time::Duration;

use aws_sdk_apprunner::types::{VpcConnector as SdkConnector, VpcConnectorStatus};

use deployer_core::error::{Error, ErrorKind};

use crate::error::Told;
use crate::names;
use crate::site::prelude::*;

/// A connector.
#[derive(Clone, Debug)]
pub(crate) struct VpcConnector {
    pub(crate) subnets: Vec<String>,
    /// AWS's own choice, the VPC's default group, where there are none.
    pub(crate) security_groups: Vec<String>,
}

/// A connector that exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectorReady;

const SUBNETS: Field = Field::replaces("subnets");
const SECURITY_GROUPS: Field = Field::replaces("security_groups");

impl VpcConnector {
    /// What a connector of an environment with these subnets and groups is called.
    pub(crate) fn name(&self, app: &str, environment: &str) -> String {
        let sorted = |ids: &[String]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids.join(",")
        };
        let (subnets, groups) = (sorted(&self.subnets), sorted(&self.security_groups));
        let base = deployer_core::names::prefix(app, environment);
        names::of_content(&names::CONNECTOR, &base, &[&subnets, &groups])
    }
}

impl Kind for VpcConnector {
    type Site = Clients;
    type Is = Self;
    const KIND: &'static str = "app_runner.vpc_connector";
    const NOUN: &'static str = "VPC connector";
    const TIER: Tier = Tier::Ground;
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
                crate::permissions::service_linked_role!(
                    "networking.apprunner.amazonaws.com",
                    "AWSServiceRoleForAppRunnerNetworking"
                ),
            ],
        },
    };
    const ABSENT: &'static [&'static str] = &["ResourceNotFoundException"];
    const IN_USE: Passing = STILL_USED;

    fn describe(is: &Self, to: &mut Description) {
        to.sorted(SUBNETS, &is.subnets);
        if !is.security_groups.is_empty() {
            to.sorted(SECURITY_GROUPS, &is.security_groups);
        }
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<Self>>, Refusal> {
        let Some(connector) = active(at, at.name()).await? else {
            return Ok(Reading::Absent);
        };
        let arn = connector.vpc_connector_arn().unwrap_or_default();
        Ok(Reading::Present(There {
            id: arn.to_owned(),
            is: Self {
                subnets: connector.subnets().to_vec(),
                security_groups: connector.security_groups().to_vec(),
            },
            tags: TagApi::AppRunner.read(at, arn).await?,
        }))
    }

    async fn remove(at: &At<Clients>, there: &There<Self>, _token: &Token) -> Result<(), Refusal> {
        let call = at.app_runner.delete_vpc_connector();
        call.vpc_connector_arn(&there.id).send().await?;
        Ok(())
    }

    async fn mark(at: &At<Clients>, there: &There<Self>, by: TagChanges) -> Result<(), Refusal> {
        TagApi::AppRunner.write(at, &there.id, by).await
    }
}

impl Wish for VpcConnector {
    type Output = ConnectorReady;
    const KEPT: Kept = Kept::Harmless("what serves goes through the connector that it has");

    /// The groups that AWS chose stay where the manifest is silent.
    fn over(&self, _at: &At<Clients>, seen: Seen<'_, Self>) -> Self {
        let mut is = self.clone();
        if let (true, Some(there)) = (is.security_groups.is_empty(), seen.there) {
            is.security_groups.clone_from(&there.is.security_groups);
        }
        is
    }

    fn output(_at: &At<Clients>, _there: &There<Self>) -> ConnectorReady {
        ConnectorReady
    }

    /// A connector of the name is this very one: the answer to an earlier call was lost.
    async fn make(&self, at: &At<Clients>, is: &Self) -> Result<(), Refusal> {
        if active(at, at.name()).await?.is_some() {
            return Ok(());
        }
        let groups = Some(is.security_groups.clone());
        let call = at.app_runner.create_vpc_connector();
        let made = call
            .vpc_connector_name(at.name())
            .set_subnets(Some(is.subnets.clone()))
            .set_security_groups(groups.filter(|groups| !groups.is_empty()))
            .set_tags(Some(sdk_tags(&at.owner.tags)?))
            .send()
            .await;
        match made.map_err(Refusal::from) {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.says("already exists") => Ok(()),
            Err(refusal) => Err(refusal),
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

/// The subnets and the security groups of the connector of a name, which is there.
///
/// Errors: not found, when it is not.
pub(super) async fn leads_to(clients: &Clients, name: &str) -> Result<(Vec<String>, Vec<String>)> {
    let found = there(clients, name).await?;
    let groups = found.security_groups().to_vec();
    Ok((found.subnets().to_vec(), groups))
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
