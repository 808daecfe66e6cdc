//! What a project has that a first manifest can name, as what runs there already tells it.
//!
//! IAM and Compute Engine are not asked: services of Cloud Run name the accounts that run them and
//! their way into a network; databases and caches name theirs.

mod networks;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use deployer_core::capability::{Candidate, Findings, Survey, Unlisted};
use deployer_core::error::{Error, Result};
use google_cloud_gax::paginator::Paginator;
use google_cloud_run_v2::model::Service;

use crate::Gcp;
use crate::caller;
use crate::error::{self, CloudError, is_switched_off};
use crate::paths::short;
use crate::project::Project;
use networks::Ways;

#[async_trait]
impl Survey for Gcp {
    async fn survey(&self) -> Findings {
        let mut found = Findings::default();
        match caller::caller(&self.project).await {
            Ok(caller) => found.caller = Some(caller),
            Err(error) => {
                found.unlisted.push(unlisted("what is there", error));
                return found;
            }
        }
        let project = &*self.project;
        let (services, databases, caches) =
            tokio::join!(services(project), databases(project), caches(project));
        let services = take("services of Cloud Run", services, &mut found);
        let databases = take("databases", databases, &mut found);
        let caches = take("caches", caches, &mut found);
        found.identities = identities(&services);
        let mut ways = Ways::of(&project.names, &services);
        for (network, seen) in databases.into_iter().chain(caches) {
            ways.note_data(project.names.nearby(project.names.network(&network)), seen);
        }
        found.networks = ways.networks();
        found
    }
}

/// What is there; notes what could not be asked.
fn take<T>(what: &str, answer: Result<Vec<T>>, found: &mut Findings) -> Vec<T> {
    answer.unwrap_or_else(|error| {
        found.unlisted.push(unlisted(what, error));
        Vec::new()
    })
}

fn unlisted(what: &str, error: Error) -> Unlisted {
    Unlisted {
        what: what.to_owned(),
        error,
    }
}

/// One page of a list. Where its API is off there is nothing of it.
fn page<T, P>(
    page: Option<Result<P, CloudError>>,
    items: fn(P) -> Vec<T>,
    what: &str,
) -> Result<Vec<T>> {
    match page {
        None => Ok(Vec::new()),
        Some(Ok(page)) => Ok(items(page)),
        Some(Err(refused)) if is_switched_off(&refused) => Ok(Vec::new()),
        Some(Err(refused)) => Err(error::failed(refused, &format!("cannot list {what}"))),
    }
}

/// Those of the region: "cannot be the `-` wildcard" (Cloud Run Admin API v2,
/// `ListServicesRequest.parent`).
async fn services(project: &Project) -> Result<Vec<Service>> {
    let list = project.clients.services.reading().await.list_services();
    let mut pages = list.set_parent(project.names.location()).by_page();
    page(
        pages.next().await,
        |it| it.services,
        "the services of Cloud Run",
    )
}

/// The networks of the region's databases, each with where it was seen.
async fn databases(project: &Project) -> Result<Vec<(String, String)>> {
    let list = project.clients.sql_instances.reading().await.list();
    let mut pages = list.set_project(&project.names.project).by_page();
    let instances = page(pages.next().await, |it| it.items, "the databases")?;
    let here = instances.into_iter();
    let here = here.filter(|it| it.region == project.names.region);
    let private = |it: &google_cloud_sql_v1::model::DatabaseInstance| {
        let settings = it.settings.as_ref()?;
        let network = &settings.ip_configuration.as_ref()?.private_network;
        Some((network.clone(), format!("of database {}", it.name)))
    };
    Ok(here.filter_map(|it| private(&it)).collect())
}

/// The networks of the region's caches, each with where it was seen.
async fn caches(project: &Project) -> Result<Vec<(String, String)>> {
    let list = project.clients.redis.reading().await.list_instances();
    let mut pages = list.set_parent(project.names.location()).by_page();
    let caches = page(pages.next().await, |it| it.instances, "the caches")?;
    let seen = caches.into_iter();
    let seen = seen.map(|it| {
        (
            it.authorized_network,
            format!("of cache {}", short(&it.name)),
        )
    });
    Ok(seen.collect())
}

/// The accounts that services run as, those of most first.
fn identities(services: &[Service]) -> Vec<Candidate> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for service in services {
        let template = service.template.as_ref();
        let account = template.map_or("", |template| template.service_account.as_str());
        if !account.is_empty() {
            uses.entry(account)
                .or_default()
                .insert(short(&service.name));
        }
    }
    let mut uses: Vec<_> = uses.into_iter().collect();
    uses.sort_by_key(|(_, by)| std::cmp::Reverse(by.len()));
    let uses = uses.into_iter();
    uses.map(|(account, by)| Candidate::new(account, of_services(&by)))
        .collect()
}

/// Whose something is, in a few words.
fn of_services(names: &BTreeSet<&str>) -> String {
    let mut first = names.iter();
    match (first.next(), names.len()) {
        (Some(one), 1) => format!("of service {one}"),
        (_, many) => format!("of {many} services"),
    }
}
