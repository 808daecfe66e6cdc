//! Finds what carries an owner's label, by the lists of each API: there is no list of everything
//! that is as new as these.
//!
//! Cloud Asset Inventory would be one, and is another API to switch on, with roles of its own. The
//! lists of Cloud Run, Memorystore and Artifact Registry take no filter by labels, those of Secret
//! Manager and Cloud SQL do; labels are compared here in any case. What carries no label is within
//! something that does, and goes with it: who may call a service, the databases and users of an
//! instance, who may read a secret.

use std::collections::HashMap;

use deployer_core::address::Address;
use deployer_core::capability::Marked;
use deployer_core::error::{Error, ErrorKind};
use deployer_core::kind::Kind;
use deployer_core::names::{OWNER_TAG, owner_label};
use deployer_core::ours::Owner;
use google_cloud_gax::paginator::{ItemPaginator, Paginator};

use crate::cache;
use crate::database::instance;
use crate::error::{self, CloudError};
use crate::hints;
use crate::paths::short;
use crate::project::Project;
use crate::registry::Repository;
use crate::runtime::{job, service};
use crate::secret_store;

/// Everything of the region, and every secret of the project, that carries the label of `owner`.
pub(crate) async fn find(project: &Project, owner: &Owner) -> Marked {
    let label = owner_label(&owner.app, &owner.environment);
    let search = Search {
        project,
        label: &label,
    };
    let (services, jobs, repositories, secrets, instances, caches) = tokio::join!(
        search.services(),
        search.jobs(),
        search.repositories(),
        search.secrets(),
        search.instances(),
        search.caches(),
    );
    let mut marked = Marked::default();
    for part in [services, jobs, repositories, secrets, instances, caches] {
        marked.extend(part);
    }
    marked
}

/// Looks for one label in one project.
struct Search<'a> {
    project: &'a Project,
    label: &'a str,
}

/// Reads a list to its end: names and labels, and what ended it before.
macro_rules! read {
    ($list:expr) => {{
        let mut items = $list.by_item();
        let mut named = Vec::new();
        loop {
            match items.next().await {
                Some(Ok(item)) => named.push((item.name, item.labels)),
                Some(Err(error)) => break (named, Some(error)),
                None => break (named, None),
            }
        }
    }};
}

type Read = (Vec<(String, HashMap<String, String>)>, Option<CloudError>);

impl Search<'_> {
    async fn services(&self) -> Marked {
        let services = &self.project.clients.services;
        let list = services.reading().await.list_services();
        let read = read!(list.set_parent(self.project.names.location()));
        self.sorted("Cloud Run services", service::KIND, read)
    }

    async fn jobs(&self) -> Marked {
        let jobs = &self.project.clients.jobs;
        let list = jobs.reading().await.list_jobs();
        let read = read!(list.set_parent(self.project.names.location()));
        self.sorted("Cloud Run jobs", job::KIND, read)
    }

    async fn repositories(&self) -> Marked {
        let repositories = self.project.clients.repositories.reading().await;
        let list = repositories.list_repositories();
        let read = read!(list.set_parent(self.project.names.location()));
        self.sorted("Artifact Registry repositories", Repository::KIND, read)
    }

    async fn secrets(&self) -> Marked {
        let secrets = &self.project.clients.secrets;
        let list = secrets.reading().await.list_secrets();
        let list = list.set_parent(self.project.names.project());
        let read = read!(list.set_filter(format!("labels.{OWNER_TAG}={}", self.label)));
        self.sorted("secrets", secret_store::SECRET, read)
    }

    async fn caches(&self) -> Marked {
        let redis = self.project.clients.redis.reading().await;
        let list = redis.list_instances();
        let read = read!(list.set_parent(self.project.names.location()));
        self.sorted("Memorystore instances", cache::KIND, read)
    }

    /// The list is of the whole project. "Multiple filter queries are space-separated", and a label
    /// is asked for as `settings.userLabels.KEY:VALUE` (Cloud SQL Admin API, "Method:
    /// instances.list").
    async fn instances(&self) -> Marked {
        const WHAT: &str = "Cloud SQL instances";
        let instances = &self.project.clients.sql_instances;
        let mut pages = instances
            .reading()
            .await
            .list()
            .set_project(&self.project.names.project)
            .set_filter(format!("settings.userLabels.{OWNER_TAG}:{}", self.label))
            .by_page();
        let mut marked = Marked::default();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    marked.extend(unlisted(self.project, WHAT, error));
                    break;
                }
            };
            let region = &self.project.names.region;
            for it in page.items.into_iter().filter(|it| it.region == *region) {
                let labels = it.settings.map(|it| it.user_labels).unwrap_or_default();
                self.take(instance::KIND, &it.name, &labels, &mut marked);
            }
            // What is in a region that could not be asked is missing, and that is told in a
            // warning.
            let mut warnings = page.warnings.into_iter();
            let of_ours = warnings.find(|it| it.region.is_empty() || it.region == *region);
            if let Some(warning) = of_ours {
                let error = Error::new(ErrorKind::Unavailable, warning.message);
                marked.extend(Marked::unlisted(WHAT, error));
            }
        }
        marked
    }

    /// What of a list carries the label.
    fn sorted(&self, what: &str, kind: &str, (named, ended): Read) -> Marked {
        let mut marked = Marked::default();
        for (name, labels) in named {
            self.take(kind, &name, &labels, &mut marked);
        }
        if let Some(error) = ended {
            marked.extend(unlisted(self.project, what, error));
        }
        marked
    }

    fn take(&self, kind: &str, name: &str, labels: &HashMap<String, String>, marked: &mut Marked) {
        if labels.get(OWNER_TAG).is_some_and(|it| it == self.label) {
            let address = Address::new(&self.project.target, kind, short(name));
            marked.found.insert(address);
        }
    }
}

/// What a list that failed leaves unknown: nothing, where the API is off in the project and so has
/// nothing. Off in another one, which the calls count against, it says nothing of this one.
fn unlisted(project: &Project, what: &str, error: CloudError) -> Marked {
    let off_in = error::off_in(&error).map(str::to_owned);
    if off_in.as_ref().is_some_and(|it| project.names.is_ours(it)) {
        return Marked::default();
    }
    // The note of what could not be listed has an error's words and not its hint.
    let action = match off_in {
        Some(_) => {
            let count_here = hints::count_here(&project.names.project);
            format!("cannot list {what}, since {count_here}")
        }
        None => format!("cannot list {what}"),
    };
    let failed = error::failed(error, &action);
    Marked::unlisted(what, failed)
}
