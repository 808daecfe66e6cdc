//! What is asked for once for all who want it: secrets, those of the same time in one listing, and
//! what services and jobs run as.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use deployer_core::batch::Batches;
use deployer_core::error;
use futures::FutureExt;
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_secretmanager_v1::client::SecretManagerService;
use google_cloud_secretmanager_v1::model;
use tokio::sync::OnceCell;

use crate::error::CloudError;
use crate::paths::{Names, short};
use crate::rates::Paced;

/// How many names one filter holds.
const MOST: usize = 50;

/// The secrets of one project, by name.
pub(crate) struct SecretLookup(Batches<Seen, CloudError>);

/// A secret as it is said to be.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) secret: model::Secret,
    /// Whether it was asked for by its name. A listing may lag.
    pub(crate) certain: bool,
}

impl SecretLookup {
    /// Nothing is asked yet.
    pub(crate) fn new(secrets: &Paced<SecretManagerService>, names: &Names) -> Self {
        let (secrets, project) = (secrets.clone(), names.project());
        Self(Batches::new(MOST, move |names| {
            let (secrets, project) = (secrets.clone(), project.clone());
            async move { ask(&secrets, project, &names).await.map_err(Arc::new) }.boxed()
        }))
    }

    /// `None` when nothing is said of it, which means nothing: there may be one, and whoever may
    /// read single secrets only is refused.
    pub(crate) async fn ask(&self, name: &str) -> Option<Seen> {
        self.0.ask(name).await.ok().flatten()
    }
}

/// What services and jobs run as, by their names in full, as far as it was asked.
#[derive(Default)]
pub(crate) struct RunAs(Mutex<BTreeMap<String, Arc<OnceCell<String>>>>);

impl RunAs {
    /// What runs under this name, which is asked for once.
    ///
    /// Errors: those of `ask`.
    pub(crate) async fn of<F: Future<Output = error::Result<String>>>(
        &self,
        path: &str,
        ask: impl FnOnce() -> F,
    ) -> error::Result<String> {
        let cell = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(path.to_owned()).or_default())
        };
        cell.get_or_try_init(ask).await.cloned()
    }
}

async fn ask(
    secrets: &Paced<SecretManagerService>,
    project: String,
    names: &[String],
) -> Result<BTreeMap<String, Seen>, CloudError> {
    if let [name] = names {
        let path = format!("{project}/secrets/{name}");
        let client = secrets.reading().await;
        let secret = client.get_secret().set_name(path).send().await?;
        let certain = true;
        return Ok([(name.clone(), Seen { secret, certain })].into());
    }
    let mut pages = secrets
        .reading()
        .await
        .list_secrets()
        .set_parent(project)
        .set_filter(filter(names))
        .by_item();
    let mut found = BTreeMap::new();
    while let Some(secret) = pages.next().await {
        let secret = secret?;
        let certain = false;
        found.insert(short(&secret.name).to_owned(), Seen { secret, certain });
    }
    Ok(found)
}

/// Those whose names contain any of these: Secret Manager compares whole names by no filter.
fn filter(names: &[String]) -> String {
    let terms = names.iter().map(|name| format!("name:{name}"));
    terms.collect::<Vec<_>>().join(" OR ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_any_of_its_names() {
        let names = ["idp-test-key", "idp-test-url"].map(str::to_owned);
        assert_eq!(filter(&names), "name:idp-test-key OR name:idp-test-url");
    }
}
