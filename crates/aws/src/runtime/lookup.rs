//! Reads a service, and says what a failed look means.

use aws_sdk_ecs::types::Service as SdkService;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Reading;

use super::service_fields::tags_of;
use crate::client::Clients;
use crate::error::{code, denied, failure};
use crate::lookup::services::{Described, WithTags};
use crate::tags::Tags;

/// Reads a service in whatever state it is.
///
/// Errors: not found, when the cluster does not exist; whatever ECS answers.
pub(super) async fn read(
    clients: &Clients,
    name: &str,
    with_tags: WithTags,
) -> Result<Reading<SdkService>> {
    let refusal = match clients.lookups.services.ask(name, with_tags).await {
        Ok(None) => return Ok(Reading::Absent),
        Ok(Some(Described::Service(service))) => return Ok(Reading::Present(*service)),
        Ok(Some(Described::Nothing(reason))) if reason == "MISSING" => return Ok(Reading::Absent),
        Ok(Some(Described::Nothing(reason))) => return Ok(Reading::Denied(reason)),
        Ok(Some(Described::Refused(refusal))) | Err(refusal) => refusal,
    };
    if let Some(words) = denied(&refusal) {
        return Ok(Reading::Denied(words));
    }
    let error = failure(&refusal, &format!("read service `{name}`"));
    Err(match code(&refusal) {
        Some("ClusterNotFoundException") => error.hint(format!(
            "create the ECS cluster `{}`, or correct `targets.aws.cluster`",
            clients.cluster.0
        )),
        _ => error,
    })
}

/// Describes a service. `None` when the cluster has none of that name; one that is inactive is
/// described.
///
/// Errors: denied, when the caller may not see it; as [`read`].
pub(crate) async fn describe(
    clients: &Clients,
    name: &str,
    with_tags: WithTags,
) -> Result<Option<SdkService>> {
    match read(clients, name, with_tags).await? {
        Reading::Present(service) => Ok(Some(service)),
        Reading::Denied(words) => Err(Error::new(
            ErrorKind::Denied,
            format!("cannot read service `{name}`: {words}"),
        )
        .hint("allow the caller ecs:DescribeServices on it")),
        Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => Ok(None),
    }
}

/// Reads a service as an inventory entry; draining counts as deleted.
///
/// Errors: as [`read`].
pub(crate) async fn read_service(clients: &Clients, name: &str) -> Result<Reading<SdkService>> {
    Ok(match read(clients, name, WithTags::Yes).await? {
        Reading::Present(service) if service.status() != Some("ACTIVE") => Reading::Absent,
        other => other,
    })
}

/// The tags of an active service. `None` when there is none.
///
/// Errors: as [`describe`].
pub(crate) async fn owner_tags(clients: &Clients, name: &str) -> Result<Option<Tags>> {
    let service = describe(clients, name, WithTags::Yes).await?;
    Ok(service
        .filter(|service| service.status() == Some("ACTIVE"))
        .map(|service| tags_of(&service)))
}
