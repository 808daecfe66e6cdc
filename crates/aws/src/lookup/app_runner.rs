//! Finds App Runner's services: those that are asked for at the same time in one list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_apprunner::error::SdkError;
use aws_sdk_apprunner::operation::list_services::ListServicesError;
use aws_sdk_apprunner::types::{ServiceStatus, ServiceSummary};
use deployer_core::batch::Batches;
use futures::FutureExt;

/// How many names are looked for in one list: it has no filter, so any number.
const MOST: usize = 100;

type Refusal = SdkError<ListServicesError>;

/// The services of one region.
pub(crate) struct AppRunnerServices {
    by_name: Batches<ServiceSummary, Refusal>,
    any: Arc<AtomicBool>,
}

impl AppRunnerServices {
    /// Nothing is asked yet.
    pub(crate) fn new(client: &aws_sdk_apprunner::Client) -> Self {
        let (client, any) = (client.clone(), Arc::<AtomicBool>::default());
        let seen = Arc::clone(&any);
        let by_name = Batches::new(MOST, move |names| {
            let (client, seen) = (client.clone(), Arc::clone(&seen));
            async move { find(&client, names, &seen).await.map_err(Arc::new) }.boxed()
        });
        Self { by_name, any }
    }

    /// Whether any list named a service, whosever it is. Asks nobody.
    pub(crate) fn has_seen_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// The service of this name. `None` when there is none.
    pub(crate) async fn ask(&self, name: &str) -> Result<Option<ServiceSummary>, Arc<Refusal>> {
        self.by_name.ask(name).await
    }
}

/// A deleted one may be described for a while: "It can describe a service in any state, including
/// deleted services" (Service, AWS App Runner API Reference).
async fn find(
    client: &aws_sdk_apprunner::Client,
    names: Vec<String>,
    any: &AtomicBool,
) -> Result<BTreeMap<String, ServiceSummary>, Refusal> {
    let mut found = BTreeMap::new();
    let mut pages = client.list_services().into_paginator().send();
    while let Some(page) = pages.next().await {
        for service in page?.service_summary_list {
            any.store(true, Ordering::Relaxed);
            let name = service.service_name().unwrap_or_default().to_owned();
            if service.status() != Some(&ServiceStatus::Deleted) && names.contains(&name) {
                found.insert(name, service);
            }
        }
    }
    Ok(found)
}
