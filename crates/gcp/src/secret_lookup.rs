//! Finds secrets: those that are asked for at the same time in one listing.

use std::collections::BTreeMap;
use std::sync::Arc;

use deployer_core::batch::Batches;
use futures::FutureExt;
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_secretmanager_v1::client::SecretManagerService;
use google_cloud_secretmanager_v1::model;

use crate::error::CloudError;
use crate::project::{Names, short};
use crate::rates::Paced;

/// How many names one filter holds.
const MOST: usize = 50;

/// The secrets of one project, by name.
pub(crate) struct SecretLookup(Batches<model::Secret, CloudError>);

impl SecretLookup {
    /// Nothing is asked yet.
    pub(crate) fn new(secrets: &Paced<SecretManagerService>, names: &Names) -> Self {
        let (secrets, project) = (secrets.clone(), names.project());
        Self(Batches::new(MOST, move |names| {
            let (secrets, project) = (secrets.clone(), project.clone());
            async move { listed(&secrets, project, names).await.map_err(Arc::new) }.boxed()
        }))
    }

    /// What a listing says of a secret: it may lag behind. `None` when it says nothing, which means nothing: there may be
    /// one, and whoever may read single secrets only is refused.
    pub(crate) async fn listed(&self, name: &str) -> Option<model::Secret> {
        self.0.ask(name).await.ok().flatten()
    }
}

async fn listed(
    secrets: &Paced<SecretManagerService>,
    project: String,
    names: Vec<String>,
) -> Result<BTreeMap<String, model::Secret>, CloudError> {
    // One by itself is found as quickly by its name.
    if names.len() == 1 {
        return Ok(BTreeMap::new());
    }
    let mut pages = secrets
        .reading()
        .await
        .list_secrets()
        .set_parent(project)
        .set_filter(filter(&names))
        .by_item();
    let mut found = BTreeMap::new();
    while let Some(secret) = pages.next().await {
        let secret = secret?;
        found.insert(short(&secret.name).to_owned(), secret);
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
