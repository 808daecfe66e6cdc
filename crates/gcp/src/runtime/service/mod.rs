//! The Cloud Run service: made, changed, rolled out, and ready only when our revision serves
//! everything.

mod calls;
mod candidate;
mod fields;
mod kind;
mod ours;
mod restore;
mod traffic;

pub(crate) use calls::Calls;
pub(crate) use candidate::holds_back;
pub(crate) use ours::{Ours, Revised};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{ImageRef, Revision, Scope};
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::gate::{Checks, Gate};
use deployer_core::graph::{Output, Value};
use deployer_core::migration::Migrated;
use deployer_core::names::LEDGER_LABEL;
use deployer_core::node::{Ready, Resource, Undone, Watch};
use deployer_core::redeploy::Redeploy;
use deployer_core::spec::LedgerNote;
use deployer_core::wait::{Pace, Readiness};
use google_cloud_run_v2::model;

use crate::error::{self, Found};
use crate::hints;
use crate::labels;
use crate::operation;
use crate::runtime::container::{Variables, main_container};
use crate::runtime::patience::Patience;
use crate::runtime::rollout;
use crate::runtime::shape::{self, Shape, revision_name};
use crate::site::prelude::*;
use fields::Serves;
use ours::{is_stamped, lags, stamped};

/// The kind in addresses.
pub(crate) const KIND: &str = RunService::KIND;

/// How often a change is sent that somebody else's always forestalls.
pub(crate) const TRIES: usize = 6;
/// Between two tries.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// One service of the manifest.
pub(crate) struct RunService {
    pub(crate) calls: Calls,
    pub(crate) address: Address,
    pub(crate) shape: Shape,
    pub(crate) image: Value<ImageRef>,
    pub(crate) variables: Variables,
    pub(crate) scope: Scope,
    /// The migration comes before traffic moves; its marker carries nothing.
    pub(crate) _migrated: Option<Value<Migrated>>,
    /// The secrets can be read first; nothing is taken from that.
    pub(crate) _granted: Vec<Value<()>>,
    pub(crate) patience: Patience,
    pub(crate) revision: Output<Revision>,
    pub(crate) url: Output<Option<String>>,
    /// The ledger that it is to be in.
    pub(crate) ledger: Option<LedgerNote>,
    /// The new roll-out of what serves that is asked for.
    pub(crate) redeploy: Option<Redeploy>,
    /// What was last read: what the manifest is silent about is as it is there.
    pub(crate) there: Mutex<Option<model::Service>>,
    /// What was found to serve, where the newest revision cannot.
    pub(crate) serves: Mutex<Option<Serves>>,
    /// What this run's write made.
    pub(crate) ours: Mutex<Option<Ours>>,
    /// Who asks a candidate before it gets traffic. `None`: the newest revision gets it once it is
    /// ready.
    pub(crate) gate: Option<Arc<dyn Checks>>,
    /// Where the traffic goes while this run holds a candidate back. `None` when it holds none.
    pub(crate) held: Mutex<Option<String>>,
}

impl RunService {
    /// What is there with everything that the manifest says.
    fn wanted(&self, base: model::Service) -> Result<model::Service> {
        self.variables.settled()?;
        let image = Some(self.image.settled()?);
        Ok(self.noting(self.shape.compose(base, image, &self.variables)))
    }

    /// The same with the note of the ledger that it is in. Its revisions bear none: to move a
    /// ledger makes no new one.
    fn noting(&self, service: model::Service) -> model::Service {
        let Some(ledger) = &self.ledger else {
            return service;
        };
        let mut labels = service.labels.clone();
        labels.insert(LEDGER_LABEL.to_owned(), ledger.mark.clone());
        service.set_labels(labels)
    }

    fn ensure_ours(&self, service: model::Service) -> Result<model::Service> {
        match self.shape.ownership.foreign(&tags(&service.labels)) {
            None => Ok(service),
            Some(stranger) => Err(stranger.refusal(format!("service `{}`", self.calls.name))),
        }
    }

    /// Fails when somebody changed a field between the plan and now.
    fn unchanged_since(&self, planned: &model::Service, now: &model::Service) -> Result<()> {
        let moved = self.observed(planned).changes_to(&self.observed(now));
        match moved.iter().find(|change| change.field != "serving") {
            None => Ok(()),
            Some(change) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "service `{}` was changed since it was planned: `{}`",
                    self.calls.name, change.field
                ),
            )
            .hint("plan again")),
        }
    }

    fn note(&self, there: Option<model::Service>, serves: Option<Serves>) {
        *self.there.lock().unwrap_or_else(PoisonError::into_inner) = there;
        *self.serves.lock().unwrap_or_else(PoisonError::into_inner) = serves;
    }

    fn ours(&self) -> Option<Ours> {
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        ours.clone()
    }

    fn keep(&self, revised: Revised) -> model::Service {
        let mut ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        *ours = Some(revised.ours);
        revised.service
    }
}

#[async_trait]
impl Resource for RunService {
    type Actual = model::Service;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<model::Service>> {
        let found = self.calls.find().await?;
        let (there, serves) = match &found {
            Found::Here(service) => (Some(service.clone()), self.what_serves(service).await),
            Found::Absent | Found::Denied(_) => (None, None),
        };
        self.note(there, serves);
        let service = match found {
            Found::Here(service) => service,
            Found::Denied(why) => return Ok(Reading::Denied(why)),
            Found::Absent if self.scope == Scope::CodeOnly => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("service `{}` does not exist", self.calls.name),
                )
                .hint("run `deployer apply` without `--only` once"));
            }
            Found::Absent => return Ok(Reading::Absent),
        };
        if let Some(why) = self.shape.ownership.foreign(&tags(&service.labels)) {
            return Ok(Reading::Foreign(why));
        }
        let noted = service.labels.get(LEDGER_LABEL).map(String::as_str);
        if let Some(ledger) = &self.ledger {
            ledger.check(noted, &self.calls.name)?;
        }
        let containers = service
            .template
            .as_ref()
            .map(|template| &template.containers);
        self.variables
            .note_running(containers.and_then(|containers| main_container(containers)))?;
        Ok(Reading::Present(service))
    }

    fn notes(&self, actual: &model::Service) -> Vec<String> {
        self.shape.stale_tags(actual).into_iter().collect()
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        let fields = self.desired_over(there.clone().unwrap_or_default());
        let mut ours = self.shape.ownership.tags.clone();
        let note = self.ledger.iter();
        ours.extend(note.map(|it| (LEDGER_LABEL.to_owned(), it.mark.clone())));
        labels::ours_alone(&fields, &ours)
    }

    /// Cloud Run goes on describing the newest revision's template, also where an earlier one was
    /// made to serve again.
    fn left(&self, there: Option<&model::Service>) -> Fields {
        let fields = self.desired(there);
        match there.filter(|it| self.reused(it).is_some()) {
            Some(service) => self.over_template(fields, service),
            None => fields,
        }
    }

    fn observed(&self, actual: &model::Service) -> Fields {
        match self.reused(actual) {
            None => shape::describe(&self.shape.names, actual),
            Some((_, serving)) => {
                let mut fields = shape::describe(&self.shape.names, &serving);
                fields.set("serving", shape::READY);
                fields
            }
        }
    }

    /// The newest revision: nothing else serves once the service is ready, and a run that does not
    /// wait for that records it. One that serves already what is asked for stays.
    fn publish(&self, actual: &model::Service) {
        let reused = self.reused(actual).map(|(name, _)| name);
        let newest = revision_name(&actual.latest_created_revision).map(str::to_owned);
        match reused.or(newest) {
            Some(revision) => self.revision.publish(Revision(revision)),
            None => self.revision.withdraw(),
        }
        let theirs = (!actual.uri.is_empty()).then(|| actual.uri.clone());
        self.url.publish(self.shape.spec.url.clone().or(theirs));
    }

    fn withdraw(&self, _changes: &[FieldChange]) {
        self.revision.withdraw();
    }

    async fn create(&self, token: &Token, watch: &dyn Watch) -> Result<model::Service> {
        let service = stamped(self.wanted(model::Service::new())?, token);
        let outcome = match self.create_patiently(&service, watch).await? {
            // Where callers are to be checked, everybody is made an invoker instead.
            Err(error) if service.invoker_iam_disabled && error::is_org_policy(&error) => {
                let checked = service.set_invoker_iam_disabled(false);
                self.create_patiently(&checked, watch).await?
            }
            outcome => outcome,
        };
        match outcome {
            Ok(begun) => Ok(self.keep(self.calls.named_after(&begun, "", token).await?)),
            // It seemed absent, or the answer was lost: what is there may still differ.
            Err(error) if error::exists_already(&error) => {
                let there = self.ensure_ours(self.calls.get().await?)?;
                let desired = self.desired_over(there.clone());
                let changes = self.observed(&there).changes_to(&desired);
                self.update(&there, &changes, token, watch).await
            }
            Err(error) => Err(error::failed(error, &self.calls.cannot("create"))),
        }
    }

    /// Sent again when somebody else's change comes in between, unless that is one of what the
    /// manifest says.
    async fn update(
        &self,
        actual: &model::Service,
        changes: &[FieldChange],
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<model::Service> {
        let mut tries = TRIES;
        loop {
            // Read again for its etag: conditions that settle since the plan change it too.
            let now = self.ensure_ours(self.calls.get().await?)?;
            let desired = self.desired_over(now.clone());
            let landed = self.observed(&now).changes_to(&desired).is_empty();
            if landed {
                return Ok(now);
            }
            if is_stamped(&now, token) {
                // The reply was lost: what it made is a candidate still.
                return Ok(match self.has_candidate(actual, changes) {
                    true => self.hold(now),
                    false => now,
                });
            }
            self.unchanged_since(actual, &now)?;
            match self.send(now, changes, token, watch).await {
                Err(error) if error.kind() == ErrorKind::Conflict && tries > 0 => tries -= 1,
                outcome => return outcome,
            }
            self.calls.project.context.clock.pause(PAUSE).await;
        }
    }

    async fn restore(
        &self,
        before: &model::Service,
        now: &model::Service,
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<Undone> {
        self.put_back(before, now, token, watch).await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("the service is not as before")
    }

    async fn delete(&self, _actual: &model::Service, _token: &Token) -> Result<()> {
        self.calls.delete().await
    }

    async fn readiness(&self, known: &model::Service) -> Result<Ready<model::Service>> {
        let seen = self.calls.get().await;
        if lags(&seen, known) {
            return Ok(Ready {
                state: Readiness::Pending(operation::LAGGING.to_owned()),
                actual: known.clone(),
            });
        }
        let actual = seen?;
        let state = match (self.reused(&actual), self.replaced(&actual)) {
            (Some((name, _)), _) => rollout::of_revision(&actual, &name),
            (None, Some(why)) => Readiness::Replaced(why),
            (None, None) => self
                .candidate_state(&actual)
                .unwrap_or_else(|| rollout::of_latest(&actual)),
        };
        let now = self.calls.project.context.clock.now();
        let state = match self.ours() {
            Some(ours) => ours.fresh(state, &actual, now),
            None => state,
        };
        let state = match state.failure() {
            None => state,
            Some((_, why)) => {
                let words = self.with_revision_words(why.to_owned(), &actual).await;
                state.with_words(hints::told(words))
            }
        };
        match &state {
            Readiness::Failed(why) => match self.bear(why, &actual).await? {
                Some((what, actual)) => {
                    let state = Readiness::Pending(what.to_owned());
                    Ok(Ready { state, actual })
                }
                None => Ok(Ready { state, actual }),
            },
            Readiness::Ready
            | Readiness::Pending(_)
            | Readiness::RolledBack(_)
            | Readiness::Replaced(_) => Ok(Ready { state, actual }),
        }
    }

    fn unsettled(&self, actual: &model::Service) -> Option<String> {
        rollout::of_latest(actual).pending()
    }

    fn pace(&self) -> Pace {
        Pace::closely(self.shape.spec.patience)
    }

    fn detachable(&self) -> bool {
        true
    }

    fn gate(&self, actual: &model::Service) -> Option<Gate> {
        self.gate_of(actual)
    }

    async fn promote(
        &self,
        actual: &model::Service,
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<model::Service> {
        self.give_traffic(actual).await
    }

    async fn withhold(&self, actual: &model::Service, _token: &Token) -> Result<model::Service> {
        self.take_address_away(actual).await
    }
}
