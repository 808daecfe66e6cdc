//! Asks the ledgers of all targets of the manifest which number the next release of a service has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deployer_core::address::CloudName;
use deployer_core::compose::Declared;
use deployer_core::ledger::{Ledger, Release};
use deployer_core::node::Action;
use deployer_core::numbering::Newest;
use deployer_core::plan::Plan;
use tokio::sync::OnceCell;

use crate::session::{Place, Session};

/// So long the ledgers of targets that are not worked on are waited for: they are asked for a
/// number, and where they do not answer the others have one. Ours.
const PATIENCE: Duration = Duration::from_secs(5);

/// The newest releases as they were when they were first asked for, each read once.
#[derive(Default)]
pub struct Numbers {
    own: Mutex<BTreeMap<(CloudName, String), Option<Release>>>,
    elsewhere: Mutex<BTreeMap<String, Vec<(CloudName, Release)>>>,
    ledgers: OnceCell<Vec<(CloudName, Ledger)>>,
    /// Whether they did not answer in time: then they are asked no more.
    silent: AtomicBool,
}

impl Numbers {
    /// The newest release of a service on a target that is worked on.
    ///
    /// Errors: ledger.
    pub async fn newest_on(
        &self,
        place: &Place,
        service: &str,
    ) -> deployer_core::error::Result<Option<Release>> {
        let key = (place.name(), service.to_owned());
        let known = |it: &Self| {
            let own = it.own.lock().unwrap_or_else(PoisonError::into_inner);
            own.get(&key).cloned()
        };
        if let Some(known) = known(self) {
            return Ok(known);
        }
        let newest = place.ledger.latest_release(service).await?;
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(own.entry(key).or_insert(newest).clone())
    }

    /// The newest releases of a service on all targets. What cannot be read is left out.
    pub async fn newest(&self, session: &Session, service: &str) -> Newest {
        let mut newest = self.newest_elsewhere(session, service).await;
        for place in &session.places {
            if let Ok(Some(release)) = self.newest_on(place, service).await {
                newest.note(place.name(), &release);
            }
        }
        newest
    }

    /// The same of those that are not worked on.
    pub async fn newest_elsewhere(&self, session: &Session, service: &str) -> Newest {
        let mut newest = Newest::new();
        for (cloud, release) in self.elsewhere(session, service).await {
            newest.note(cloud, &release);
        }
        newest
    }

    async fn elsewhere(&self, session: &Session, service: &str) -> Vec<(CloudName, Release)> {
        let known = |it: &Self| {
            let all = it.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(service).cloned()
        };
        if let Some(known) = known(self) {
            return known;
        }
        if self.silent.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let read = async {
            let ledgers = self.ledgers.get_or_init(|| session.other_ledgers()).await;
            let reads = ledgers.iter().map(|(cloud, ledger)| async move {
                let newest = ledger.latest_release(service).await;
                let told = |error: &deployer_core::error::Error| {
                    tracing::debug!(%cloud, %error, "the number of a release is not asked for there");
                };
                Some((*cloud, newest.inspect_err(told).ok().flatten()?))
            });
            futures::future::join_all(reads).await
        };
        let found = tokio::select! {
            found = read => found.into_iter().flatten().collect(),
            () = session.clock.pause(PATIENCE) => {
                self.silent.store(true, Ordering::Relaxed);
                Vec::new()
            }
        };
        let mut all = self
            .elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.entry(service.to_owned()).or_insert(found).clone()
    }

    /// The number that what is planned to serve of a service has on one target, whose newest
    /// release by now is `own`.
    pub async fn next(
        &self,
        session: &Session,
        planned: &Planned<'_>,
        (cloud, service): (CloudName, &str),
        own: Option<u64>,
    ) -> u64 {
        let newest = self.newest(session, service).await;
        let content = planned.content_ids.get(service).map_or("", String::as_str);
        let next = newest.next(&planned.taking_part(service), content);
        let before = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let before = before.get(&(cloud, service.to_owned()));
        let before = before.and_then(|it| it.as_ref().map(|it| it.number));
        newest.next_on(next, own.max(before))
    }
}

/// What is planned, as far as numbers go.
pub struct Planned<'a> {
    pub declared: &'a [Declared],
    pub plan: &'a Plan,
    /// Of each service.
    pub content_ids: &'a BTreeMap<String, String>,
}

impl Planned<'_> {
    /// The targets where something is done to a service.
    pub fn taking_part(&self, service: &str) -> BTreeSet<CloudName> {
        let parts = self.declared.iter().filter(|of| {
            let declared = of.services.get(service);
            declared.is_some_and(|it| {
                let mut changes = self.plan.of(of.cloud);
                changes.any(|change| {
                    change.address == it.outputs.service && change.action != Action::NoOp
                })
            })
        });
        parts.map(|it| it.cloud).collect()
    }
}
