//! What `status` says of databases, caches and names: what the cloud has, and what should be there
//! and is not.

use deployer_core::capability::{RecordStatus, ServingState, StoreStatus};
use deployer_core::error::Result;
use deployer_core::ledger::Inventory;
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};
use serde_json::{Value, json};

use super::in_words;
use crate::exit::Exit;
use crate::session::Place;
use crate::view::foreign;
use crate::view::status::Row;

/// A database or cache of the manifest beside what the cloud has of it.
pub(super) struct Store {
    /// `database` or `cache`.
    sort: &'static str,
    /// The manifest's name.
    key: String,
    /// The cloud's name.
    name: String,
    status: Option<StoreStatus>,
    /// It is not there, and the ledger has what was made for it.
    lost: bool,
}

/// Every database and cache of a target, all asked at once.
///
/// Errors: denied, when one of them may not be seen.
pub(super) async fn of(place: &Place, inventory: &Inventory) -> Result<Vec<Store>> {
    let EnvironmentSpec {
        databases, caches, ..
    } = &place.env;
    let told_databases = databases
        .values()
        .map(|spec| place.cloud.databases().status(spec));
    let told_caches = caches
        .values()
        .map(|spec| place.cloud.caches().status(spec));
    let (of_databases, of_caches) = futures::future::try_join(
        futures::future::try_join_all(told_databases),
        futures::future::try_join_all(told_caches),
    )
    .await?;
    let store = |sort, key: &str, name: &str, status: Option<StoreStatus>| Store {
        sort,
        key: key.to_owned(),
        name: name.to_owned(),
        lost: status.is_none() && inventory.items.keys().any(|item| item.name == name),
        status,
    };
    let mut stores = Vec::new();
    for (spec, status) in databases.values().zip(of_databases) {
        stores.push(store("database", &spec.key, &spec.name, status));
    }
    for (spec, status) in caches.values().zip(of_caches) {
        stores.push(store("cache", &spec.key, &spec.name, status));
    }
    Ok(stores)
}

impl Store {
    /// The exit code that it asks for.
    pub(super) fn judge(&self) -> Exit {
        match &self.status {
            _ if self.lost => Exit::Untrue,
            Some(StoreStatus {
                state: ServingState::Failed(_),
                ..
            }) => Exit::Untrue,
            Some(_) | None => Exit::Success,
        }
    }

    /// The document of `--json`.
    pub(super) fn document(&self, place: &Place) -> Value {
        let target = place.cloud.target();
        let mut document = json!({
            "cloud": place.name(), "target": target, "name": self.name, "status": self.status,
        });
        document[self.sort] = json!(self.key);
        document
    }

    /// The manifest's name.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// `database` or `cache`.
    pub(super) fn sort(&self) -> &'static str {
        self.sort
    }

    /// Its cell in the table, and what is wrong with it.
    pub(super) fn tell(&self, place: &Place, row: &mut Row) {
        let cloud = place.name();
        let (cell, wrong) = match &self.status {
            None if self.lost => (
                "NOT THERE".to_owned(),
                Some("DIFFERS: it is not there; the ledger knows what was made for it".to_owned()),
            ),
            None => ("-".to_owned(), None),
            Some(status) => {
                let state = match &status.state {
                    ServingState::Ready => "ready",
                    ServingState::InProgress(_) => "in progress",
                    ServingState::Failing(_) => "FAILING",
                    ServingState::Failed(_) => "FAILED",
                };
                let version = status.version.as_deref().unwrap_or_default();
                let wrong = match &status.state {
                    ServingState::Ready | ServingState::InProgress(_) => None,
                    state @ (ServingState::Failing(_) | ServingState::Failed(_)) => {
                        Some(in_words(state))
                    }
                };
                (format!("{} {version}  {state}", self.sort), wrong)
            }
        };
        row.cells.insert(cloud, cell);
        row.wrong.extend(wrong.map(|why| (cloud, why)));
    }

    /// Lines for people.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("  {}  {} `{}`\n", self.key, self.sort, self.name);
        let mut line = |word: &str, value: &str| {
            text.push_str(&format!("    {word:<10} {}\n", foreign::words(value)));
        };
        let Some(status) = &self.status else {
            match self.lost {
                true => line(
                    "DIFFERS",
                    "it is not there; the ledger knows what was made for it",
                ),
                false => line("state", "nothing of that name in the cloud"),
            }
            return text;
        };
        line("state", &in_words(&status.state));
        if let Some(version) = &status.version {
            line("version", version);
        }
        let sizes = [
            status.class.clone(),
            status.storage_gib.map(|gib| format!("{gib} GiB disk")),
            status.memory_gib.map(|gib| format!("{gib} GiB memory")),
        ];
        let sizes: Vec<String> = sizes.into_iter().flatten().collect();
        line("size", &sizes.join(", "));
        if let Some(endpoint) = &status.endpoint {
            line("address", endpoint);
        }
        text
    }
}

/// What stands in the zone under a service's name. `None` when the manifest gives it none, or
/// nothing stands there.
///
/// Errors: not found, when there is no such zone; denied, when it may not be seen.
pub(super) async fn record(place: &Place, service: &ServiceSpec) -> Result<Option<RecordStatus>> {
    let Some(record) = &service.record else {
        return Ok(None);
    };
    place.zones_of(&service.key).status(record).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(status: Option<StoreStatus>, lost: bool) -> Store {
        Store {
            sort: "database",
            key: "main".into(),
            name: "idp-test-main".into(),
            status,
            lost,
        }
    }

    fn status(state: ServingState) -> StoreStatus {
        StoreStatus {
            state,
            said: "available".into(),
            version: Some("16.4".into()),
            class: Some("db.t4g.medium".into()),
            storage_gib: Some(20),
            memory_gib: None,
            endpoint: Some("10.0.0.3:5432".into()),
        }
    }

    #[test]
    fn state_version_size_and_address_are_said() {
        let text = store(Some(status(ServingState::Ready)), false).describe();
        for words in [
            "ready",
            "16.4",
            "db.t4g.medium, 20 GiB disk",
            "10.0.0.3:5432",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn one_that_was_made_and_is_gone_is_untrue_and_one_that_was_never_made_is_not() {
        assert_eq!(store(None, true).judge(), Exit::Untrue);
        assert!(store(None, true).describe().contains("DIFFERS"));
        assert_eq!(store(None, false).judge(), Exit::Success);
    }

    #[test]
    fn a_failed_one_is_untrue() {
        let failed = status(ServingState::Failed("RDS says `failed`".into()));
        assert_eq!(store(Some(failed), false).judge(), Exit::Untrue);
        let making = status(ServingState::InProgress("RDS says `creating`".into()));
        assert_eq!(store(Some(making), false).judge(), Exit::Success);
    }
}
