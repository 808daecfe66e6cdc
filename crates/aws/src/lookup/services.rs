//! Reads services: those that are asked for at the same time in one call, ten at most.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_ecs::error::SdkError;
use aws_sdk_ecs::operation::describe_services::DescribeServicesError;
use aws_sdk_ecs::types::{Service as SdkService, ServiceField};
use deployer_core::batch::{Answer, Batches};
use futures::FutureExt;

use crate::error::denied;

/// How many services DescribeServices takes.
const MOST: usize = 10;

pub(crate) type Refusal = SdkError<DescribeServicesError>;

/// Whether tags are asked for: that is a permission of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithTags {
    /// They are.
    Yes,
    /// They are not.
    No,
}

/// What the cluster says about one name.
#[derive(Clone, Debug)]
pub(crate) enum Described {
    Service(Box<SdkService>),
    /// Why there is none; `MISSING` when it was never there.
    Nothing(String),
    /// The caller may not see this one.
    Refused(Arc<Refusal>),
}

/// The services of one cluster. Asking for tags is a permission of its own.
pub(crate) struct Services {
    tagged: Batches<Described, Refusal>,
    untagged: Batches<Described, Refusal>,
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

    /// What the cluster says about this name. `None` when it says nothing.
    pub(crate) async fn ask(
        &self,
        name: &str,
        with_tags: WithTags,
    ) -> Result<Option<Described>, Arc<Refusal>> {
        match with_tags {
            WithTags::Yes => self.tagged.ask(name).await,
            WithTags::No => self.untagged.ask(name).await,
        }
    }
}

async fn ask(
    ecs: &aws_sdk_ecs::Client,
    cluster: &str,
    names: Vec<String>,
    with_tags: WithTags,
) -> Answer<Described, Refusal> {
    match entries(ecs, cluster, names.clone(), with_tags).await {
        // A caller that may see some services only is refused the whole call.
        Err(error) if names.len() > 1 && denied(&error).is_some() => {
            let mut all = BTreeMap::new();
            for name in names {
                match entries(ecs, cluster, vec![name.clone()], with_tags).await {
                    Ok(one) => all.extend(one),
                    Err(error) => {
                        all.insert(name, Described::Refused(Arc::new(error)));
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
) -> Result<BTreeMap<String, Described>, Refusal> {
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
        Some((name, Described::Service(Box::new(service))))
    });
    let failures = answer.failures.into_iter().flatten().filter_map(|failure| {
        let name = failure.arn()?.rsplit('/').next()?.to_owned();
        let reason = failure.reason().unwrap_or("MISSING").to_owned();
        Some((name, Described::Nothing(reason)))
    });
    Ok(failures.chain(found).collect())
}
