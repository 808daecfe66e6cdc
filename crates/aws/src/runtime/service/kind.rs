//! What a service is by its address alone: `ecs.service`, read, removed, let go.

use aws_sdk_ecs::types::Service as SdkService;

use deployer_core::redeploy;

use super::Service;
use super::fields::{fields_of, tags_of};
use crate::access::{PASS_ROLES, service_linked_role};
use crate::runtime::lookup;
use crate::site::prelude::*;

impl Kind for Service {
    type Site = Clients;
    type Is = SdkService;
    const KIND: &'static str = "ecs.service";
    const NOUN: &'static str = "service";
    const ROLE: Role = Role::Service;
    const TIER: Tier = Tier::Service;
    const DATA: Data = Data::None;
    const MEANS: Meaning = Meaning {
        rolls_out: |field| ["task_definition", "rollout", redeploy::FIELD].contains(&field),
        // Its task definition is a node of its own.
        follows: |field| ["task_definition", "rollout"].contains(&field),
        counts: &["desired_count"],
        ..Meaning::PLAIN
    };
    const FACTS: Facts = Facts {
        arn: Some(Arn::new("ecs", "service")),
        access: Access {
            feature: Feature::Always,
            read: &[grant(&["ecs:DescribeServices"], SERVICES)],
            change: &[
                grant(
                    &[
                        "ecs:CreateService",
                        "ecs:DeleteService",
                        "ecs:TagResource",
                        "ecs:UntagResource",
                        "ecs:UpdateService",
                    ],
                    SERVICES,
                ),
                PASS_ROLES,
                service_linked_role!("ecs.amazonaws.com", "AWSServiceRoleForECS"),
            ],
        },
    };
    /// It drains, or is gone.
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] =
        &["ServiceNotFoundException", "ServiceNotActiveException"];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(is: &SdkService, to: &mut Description) {
        to.extend(&fields_of(is));
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<SdkService>>, Refusal> {
        let reading = lookup::read_service(at, at.name()).await?;
        Ok(reading.map(|service| There {
            id: service.service_arn().unwrap_or_default().to_owned(),
            tags: tags_of(&service),
            is: service,
        }))
    }

    async fn remove(
        at: &At<Clients>,
        _there: &There<SdkService>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        delete(at, at.name()).await
    }
}

impl Tagged for Service {
    async fn mark(
        at: &At<Clients>,
        there: &There<SdkService>,
        by: TagChanges,
    ) -> Result<(), Refusal> {
        TagApi::Ecs.write(at, &there.id, by).await
    }
}

/// Deletes a service with its tasks.
pub(super) async fn delete(clients: &Clients, name: &str) -> Result<(), Refusal> {
    let call = clients.ecs.delete_service().cluster(&clients.cluster.0);
    call.service(name).force(true).send().await?;
    Ok(())
}
