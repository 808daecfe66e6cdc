//! Calls about a service that need little but its name, and what several of them share.

use aws_sdk_ecs::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, NetworkConfiguration, Service as SdkService, Tag,
};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Reading;
use deployer_manifest::section::AwsSection;

use super::lookup::read_service;
use super::refusals::{SETTLING, passes};
use super::service_fields::tags_of;
use crate::client::Clients;
use crate::error::{Told, code, incomplete};
use crate::prepared::until_taken;
use crate::reading::seen;
use crate::tags::{TagChanges, Tags};

/// The error for a code-only deployment of a service that is not there.
pub(crate) fn absent(name: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no service `{name}` to deploy to"),
    )
    .hint("run `deployer apply` without `--only` first: it makes the service")
}

/// The error for a code-only deployment of a service that may be somebody else's.
pub(super) fn unknown(name: &str) -> Error {
    let what = format!("service `{name}` is not known to be ours: the ledger does not name it");
    Error::new(ErrorKind::Conflict, what)
        .hint("run `deployer apply` without `--only` once: it looks at the mark of the service")
}

/// Deletes a service with its tasks. Succeeds when it is draining or gone already.
pub(crate) async fn delete_service(clients: &Clients, name: &str) -> Result<()> {
    let deleted = clients
        .ecs
        .delete_service()
        .cluster(&clients.section.cluster)
        .service(name)
        .force(true)
        .send()
        .await;
    match deleted {
        Err(error)
            if matches!(
                code(&error),
                Some("ServiceNotFoundException" | "ServiceNotActiveException")
            ) =>
        {
            Ok(())
        }
        other => other.map(drop).told(|| format!("delete service `{name}`")),
    }
}

/// Takes our mark off a service.
pub(crate) async fn release_service(clients: &Clients, name: &str) -> Result<()> {
    match read_service(clients, name).await? {
        Reading::Present(service) => {
            let changes = TagChanges::unmark(&tags_of(&service));
            retag(clients, name, &service, changes).await
        }
        other => seen(other, &format!("service `{name}`")).map(drop),
    }
}

/// Changes the tags of a service; writes nothing where there is nothing to change.
pub(super) async fn retag(
    clients: &Clients,
    name: &str,
    service: &SdkService,
    changes: TagChanges,
) -> Result<()> {
    let arn = service.service_arn().unwrap_or_default();
    let ecs = &clients.ecs;
    if !changes.set.is_empty() {
        ecs.tag_resource()
            .resource_arn(arn)
            .set_tags(Some(sdk_tags(&changes.set)))
            .send()
            .await
            .told(|| format!("tag service `{name}`"))?;
    }
    if !changes.remove.is_empty() {
        ecs.untag_resource()
            .resource_arn(arn)
            .set_tag_keys(Some(changes.remove))
            .send()
            .await
            .told(|| format!("remove tags of service `{name}`"))?;
    }
    Ok(())
}

pub(super) fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

/// The network of the tasks, of services and of migrations alike.
pub(super) fn network(section: &AwsSection) -> Result<NetworkConfiguration> {
    let public = match section.assign_public_ip {
        Some(true) => AssignPublicIp::Enabled,
        Some(false) | None => AssignPublicIp::Disabled,
    };
    let vpc = AwsVpcConfiguration::builder()
        .set_subnets(Some(section.subnets.clone()))
        .set_security_groups(Some(section.security_groups.clone()))
        .assign_public_ip(public)
        .build()
        .map_err(incomplete)?;
    Ok(NetworkConfiguration::builder()
        .awsvpc_configuration(vpc)
        .build())
}

/// Updates a service, again for a while where ECS refuses that for what passes by itself.
pub(super) async fn send_update(
    clients: &Clients,
    action: &str,
    call: UpdateServiceFluentBuilder,
) -> Result<SdkService> {
    let answer = until_taken(clients.clock(), SETTLING, passes, action, || async {
        call.clone().send().await.told(|| action.to_owned())
    });
    let none = || Error::new(ErrorKind::Rejected, "ECS answered no service");
    answer.await?.service.ok_or_else(none)
}
