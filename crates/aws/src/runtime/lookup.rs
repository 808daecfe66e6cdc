//! Reads services: those that are asked for at the same time in one call, ten at most.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_ecs::error::SdkError;
use aws_sdk_ecs::operation::describe_services::DescribeServicesError;
use aws_sdk_ecs::types::{Service as SdkService, ServiceField};
use deployer_core::batch::{Answer, Batches};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Reading;
use futures::FutureExt;

use super::service_fields::tags_of;
use super::task_definition::WithTags;
use crate::client::Clients;
use crate::error::{code, denied, failure};
use crate::tags::Tags;

/// How many services DescribeServices takes.
const MOST: usize = 10;

type Refusal = SdkError<DescribeServicesError>;

/// What the cluster says about one name.
#[derive(Clone, Debug)]
enum Entry {
    Service(Box<SdkService>),
    /// Why there is none; `MISSING` when it was never there.
    Nothing(String),
    /// The caller may not see this one.
    Refused(Arc<Refusal>),
}

/// The services of one cluster. Asking for tags is a permission of its own.
pub(crate) struct Services {
    tagged: Batches<Entry, Refusal>,
    untagged: Batches<Entry, Refusal>,
}

impl Services {
    /// Nothing is asked yet.
    pub(crate) fn new(ecs: &aws_sdk_ecs::Client, cluster: &str) -> Self {
        let batches = |with_tags: WithTags| {
            let (ecs, cluster) = (ecs.clone(), cluster.to_owned());
            Batches::new(MOST, move |names| {
                let (ecs, cluster) = (ecs.clone(), cluster.clone());
                async move { ask(&ecs, &cluster, names, with_tags).await }.boxed()
            })
        };
        Self {
            tagged: batches(WithTags::Yes),
            untagged: batches(WithTags::No),
        }
    }
}

async fn ask(
    ecs: &aws_sdk_ecs::Client,
    cluster: &str,
    names: Vec<String>,
    with_tags: WithTags,
) -> Answer<Entry, Refusal> {
    match entries(ecs, cluster, names.clone(), with_tags).await {
        // A caller that may see some services only is refused the whole call.
        Err(error) if names.len() > 1 && denied(&error).is_some() => {
            let mut all = BTreeMap::new();
            for name in names {
                match entries(ecs, cluster, vec![name.clone()], with_tags).await {
                    Ok(one) => all.extend(one),
                    Err(error) => {
                        all.insert(name, Entry::Refused(Arc::new(error)));
                    }
                }
            }
            Ok(all)
        }
        other => other.map_err(Arc::new),
    }
}

async fn entries(
    ecs: &aws_sdk_ecs::Client,
    cluster: &str,
    names: Vec<String>,
    with_tags: WithTags,
) -> Result<BTreeMap<String, Entry>, Refusal> {
    let include = match with_tags {
        WithTags::Yes => Some(vec![ServiceField::Tags]),
        WithTags::No => None,
    };
    let answer = ecs
        .describe_services()
        .cluster(cluster)
        .set_services(Some(names))
        .set_include(include)
        .send()
        .await?;
    let found = answer.services.into_iter().flatten().filter_map(|service| {
        let name = service.service_name()?.to_owned();
        Some((name, Entry::Service(Box::new(service))))
    });
    let failures = answer.failures.into_iter().flatten().filter_map(|failure| {
        let name = failure.arn()?.rsplit('/').next()?.to_owned();
        let reason = failure.reason().unwrap_or("MISSING").to_owned();
        Some((name, Entry::Nothing(reason)))
    });
    Ok(failures.chain(found).collect())
}

/// Reads a service in whatever state it is.
///
/// Errors: not found, when the cluster does not exist; whatever ECS answers.
pub(super) async fn read(
    clients: &Clients,
    name: &str,
    with_tags: WithTags,
) -> Result<Reading<SdkService>> {
    let batches = match with_tags {
        WithTags::Yes => &clients.services.tagged,
        WithTags::No => &clients.services.untagged,
    };
    let refusal = match batches.ask(name).await {
        Ok(None) => return Ok(Reading::Absent),
        Ok(Some(Entry::Service(service))) => return Ok(Reading::Present(*service)),
        Ok(Some(Entry::Nothing(reason))) if reason == "MISSING" => return Ok(Reading::Absent),
        Ok(Some(Entry::Nothing(reason))) => return Ok(Reading::Denied(reason)),
        Ok(Some(Entry::Refused(refusal))) | Err(refusal) => refusal,
    };
    if let Some(words) = denied(&refusal) {
        return Ok(Reading::Denied(words));
    }
    let error = failure(&refusal, &format!("read service `{name}`"));
    Err(match code(&refusal) {
        Some("ClusterNotFoundException") => error.hint(format!(
            "create the ECS cluster `{}`, or correct `targets.aws.cluster`",
            clients.section.cluster
        )),
        _ => error,
    })
}

/// Describes a service. `None` when the cluster has none of that name; one that is inactive is described.
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
