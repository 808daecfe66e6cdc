//! The Cloud Run service: made, changed, rolled out, and ready only when our revision serves everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Activation, ImageRef, Revision, Scope};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::node::{Kept, Reading, Ready, Resource, Token, Undone, Watch};
use deployer_core::wait::{self, Look, Pace, Readiness};
use google_cloud_longrunning::model::Operation;
use google_cloud_run_v2::model;
use google_cloud_wkt::FieldMask;

use crate::error::{self, Found};
use crate::labels::{self, Owner};
use crate::operation;
use crate::project::Project;
use crate::runtime::container::{RUN_ANNOTATION, Variables, main_container};
use crate::runtime::shape::{self, Shape, revision_name};
use crate::runtime::{activation, conditions, verdict};

/// The kind in addresses.
pub(crate) const KIND: &str = "run.service";

/// A start-up probe may take four minutes, an image pull and the move of the traffic a few more.
const ROLL_OUT_DEADLINE: Duration = Duration::from_secs(15 * 60);
/// Cloud Run drains what serves before a service is gone.
const DELETE_DEADLINE: Duration = Duration::from_secs(300);

/// The calls that concern one service.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) project: Arc<Project>,
    pub(crate) name: String,
}

impl Calls {
    pub(crate) fn new(project: &Arc<Project>, name: &str) -> Self {
        Self {
            project: Arc::clone(project),
            name: name.to_owned(),
        }
    }

    pub(crate) fn path(&self) -> String {
        self.project.names.service(&self.name)
    }

    pub(crate) fn cannot(&self, what: &str) -> String {
        format!("cannot {what} service `{}`", self.name)
    }

    pub(crate) async fn find(&self) -> Result<Found<model::Service>> {
        let services = self.project.clients.services.reading().await;
        let outcome = services.get_service().set_name(self.path()).send().await;
        error::found(outcome, &self.cannot("read"))
    }

    /// The service.
    ///
    /// Errors: not found, denied.
    pub(crate) async fn get(&self) -> Result<model::Service> {
        let services = self.project.clients.services.reading().await;
        let outcome = services.get_service().set_name(self.path()).send().await;
        outcome.map_err(|error| error::failed(error, &self.cannot("read")))
    }

    /// Sends `service` with its etag and returns what the cloud then says; the roll-out goes on.
    ///
    /// Errors: conflict, when somebody changed it since it was read.
    pub(crate) async fn update(&self, service: model::Service) -> Result<model::Service> {
        let begun = self.send(service).await?;
        self.after(&begun, |_| true).await
    }

    /// The same with a template that makes a revision: returns once Cloud Run names it, or has settled without one.
    pub(crate) async fn revise(&self, service: model::Service) -> Result<model::Service> {
        let before = service.latest_created_revision.clone();
        let begun = self.send(service).await?;
        self.named_after(&begun, &before).await
    }

    async fn named_after(&self, begun: &Operation, before: &str) -> Result<model::Service> {
        match self.after(begun, |now| names_another(now, before)).await {
            // Whoever waits for the roll-out is told why; nobody else needs the name.
            Err(error) if error.kind() == ErrorKind::TimedOut => self.get().await,
            outcome => outcome,
        }
    }

    async fn send(&self, service: model::Service) -> Result<Operation> {
        let outcome = self
            .project
            .clients
            .services
            .changing()
            .await
            .update_service()
            .set_service(service)
            .send()
            .await;
        match outcome {
            Ok(begun) => Ok(begun),
            Err(error) if error::is_stale(&error) => {
                Err(error::failed(error, &self.cannot("update"))
                    .hint("somebody changed it at the same time: plan again"))
            }
            Err(error) => Err(error::failed(error, &self.cannot("update"))),
        }
    }

    /// The service, once it is told as of this generation or later.
    pub(crate) async fn since(&self, generation: i64) -> Result<model::Service> {
        let what = format!("service `{}`", self.name);
        let tells = |now: &model::Service| now.generation >= generation;
        operation::caught_up(&self.project, &what, tells, || self.get()).await
    }

    /// The service, once it is told as this operation makes it or later, and `tells` more.
    async fn after(
        &self,
        begun: &Operation,
        tells: impl Fn(&model::Service) -> bool,
    ) -> Result<model::Service> {
        let since = generation(begun);
        let tells = |now: &model::Service| now.generation >= since && tells(now);
        let what = format!("service `{}`", self.name);
        operation::caught_up(&self.project, &what, tells, || self.get()).await
    }

    async fn delete(&self) -> Result<()> {
        let action = self.cannot("delete");
        let services = self.project.clients.services.changing().await;
        let outcome = services.delete_service().set_name(self.path()).send().await;
        let Some(started) = error::optional(outcome, &action)? else {
            return Ok(());
        };
        operation::settle(
            &self.project,
            started,
            DELETE_DEADLINE,
            &action,
            async |name| {
                let services = self.project.clients.services.reading().await;
                services.get_operation().set_name(name).send().await
            },
        )
        .await
    }

    /// The conditions of a revision that failed; best effort.
    pub(crate) async fn revision_failures(&self, revision: &str) -> Vec<String> {
        let path = format!(
            "{}/revisions/{}",
            self.path(),
            crate::project::short(revision)
        );
        let revisions = self.project.clients.revisions.reading().await;
        match revisions.get_revision().set_name(path).send().await {
            Ok(revision) => conditions::failures(&revision.conditions),
            Err(_) => Vec::new(),
        }
    }
}

/// The generation that a change makes of a service. 0 when Cloud Run does not tell.
pub(crate) fn generation(begun: &Operation) -> i64 {
    operation::accepted(begun).map_or(0, |service: model::Service| service.generation)
}

/// Whether the newest revision is another one than `before`, or will be none.
fn names_another(now: &model::Service, before: &str) -> bool {
    now.latest_created_revision != before || !now.reconciling
}

/// Whether an answer is from before what is known of the service; one that was only just made may seem absent.
fn lags(seen: &Result<model::Service>, known: &model::Service) -> bool {
    match seen {
        Ok(seen) => seen.uid == known.uid && seen.generation < known.generation,
        Err(error) => error.kind() == ErrorKind::NotFound && known.generation == 1,
    }
}

/// One service of the manifest.
pub(crate) struct RunService {
    pub(crate) calls: Calls,
    pub(crate) address: Address,
    pub(crate) shape: Shape,
    pub(crate) image: Value<ImageRef>,
    pub(crate) variables: Variables,
    pub(crate) scope: Scope,
    /// The migration comes before traffic moves; its marker carries nothing.
    pub(crate) _migrated: Option<Value<()>>,
    pub(crate) revision: Output<Revision>,
    pub(crate) url: Output<Option<String>>,
}

impl RunService {
    fn owner(&self) -> Owner {
        Owner::wanted(&self.shape.labels, self.shape.spec.adopt)
    }

    /// What is there with everything that the manifest says.
    fn wanted(&self, base: model::Service) -> Result<model::Service> {
        self.variables.settled()?;
        Ok(self
            .shape
            .compose(base, Some(self.image.settled()?), &self.variables))
    }

    fn ensure_ours(&self, service: model::Service) -> Result<model::Service> {
        match self.owner().objection(&service.labels) {
            None => Ok(service),
            Some(why) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "service `{}` exists and is not ours: {why}",
                    self.calls.name
                ),
            )),
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

    /// `Some(why)` when what is configured now is not what we sent.
    fn replaced(&self, now: &model::Service) -> Option<String> {
        let ours = self.image.known()?.0;
        let template = now.template.as_ref()?;
        let theirs = &main_container(&template.containers)?.image;
        (*theirs != ours)
            .then(|| format!("somebody else deployed over it: its image is now `{theirs}`"))
    }
}

impl RunService {
    /// Makes the new revision first and moves the traffic only once it is ready. Were both sent at once, a revision that
    /// never becomes ready would move the traffic from the pinned revision to the newest one that was ready: after a
    /// rollback, the rejected one.
    async fn update_pinned(
        &self,
        now: model::Service,
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<model::Service> {
        let traffic = now.traffic.clone();
        let staged = stamped(self.wanted(now)?, token).set_traffic(traffic);
        let since = self.calls.revise(staged).await?.generation;
        watch.note(
            "making the new revision; the traffic stays where it is pinned until it is ready",
        );
        let clock = &*self.calls.project.context.clock;
        let what = format!("the new revision of `{}`", self.calls.name);
        let ready = wait::poll(clock, self.pace(), &what, || async {
            let service = self.calls.get().await?;
            if service.generation < since {
                return Ok(Look::NotYet(operation::LAGGING.to_owned()));
            }
            match verdict::of_newest_revision(&service) {
                Readiness::Ready => Ok(Look::Found(service)),
                Readiness::Pending(why) => Ok(Look::NotYet(why)),
                readiness => {
                    let (kind, why) = readiness.failure().unwrap_or((ErrorKind::Failed, ""));
                    let why = self.with_revision_words(why.to_owned(), &service).await;
                    Err(Error::new(kind, format!("{what} failed: {why}"))
                        .hint("the traffic was not moved"))
                }
            }
        })
        .await?;
        self.calls.update(self.wanted(ready)?).await
    }

    /// A failure's words with those of the newest revision.
    async fn with_revision_words(&self, why: String, service: &model::Service) -> String {
        let newest = &service.latest_created_revision;
        let mut lines = vec![why];
        for line in self.calls.revision_failures(newest).await {
            if !conditions::is_told(&lines, &line) {
                lines.push(line);
            }
        }
        lines.join("; ")
    }
}

/// Marks the template, so that Cloud Run makes a new revision even of an equal one.
fn stamped(service: model::Service, token: &Token) -> model::Service {
    let mut template = service.template.clone().unwrap_or_default();
    template
        .annotations
        .insert(RUN_ANNOTATION.to_owned(), token.0.clone());
    service.set_template(template)
}

/// Whether this run's change has landed before: its reply was lost.
fn is_stamped(service: &model::Service, token: &Token) -> bool {
    service
        .template
        .as_ref()
        .and_then(|template| template.annotations.get(RUN_ANNOTATION))
        .is_some_and(|run| *run == token.0)
}

#[async_trait]
impl Resource for RunService {
    type Actual = model::Service;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<model::Service>> {
        let service = match self.calls.find().await? {
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
        if let Some(why) = self.owner().objection(&service.labels) {
            return Ok(Reading::Foreign(why));
        }
        let containers = service
            .template
            .as_ref()
            .map(|template| &template.containers);
        self.variables
            .note_running(containers.and_then(|containers| main_container(containers)))?;
        Ok(Reading::Present(service))
    }

    fn desired(&self) -> Fields {
        let image = self.image.known();
        let service = self
            .shape
            .compose(model::Service::new(), image, &self.variables);
        let mut fields = shape::describe(&self.shape.names, &service);
        fields.set_value("image", self.image.field(|image| image.0.clone()));
        self.variables.show_unknown(&mut fields);
        fields
    }

    fn observed(&self, actual: &model::Service) -> Fields {
        shape::describe(&self.shape.names, actual)
    }

    /// The newest revision: nothing else serves once the service is ready, and a run that does not wait for that records it.
    fn publish(&self, actual: &model::Service) {
        match revision_name(&actual.latest_created_revision) {
            Some(revision) => self.revision.publish(Revision(revision.to_owned())),
            None => self.revision.withdraw(),
        }
        let theirs = (!actual.uri.is_empty()).then(|| actual.uri.clone());
        self.url.publish(
            self.shape
                .section
                .url
                .clone()
                .or_else(|| self.shape.spec.url.clone())
                .or(theirs),
        );
    }

    fn withdraw(&self, _changes: &[FieldChange]) {
        self.revision.withdraw();
    }

    async fn create(&self, token: &Token, watch: &dyn Watch) -> Result<model::Service> {
        let service = stamped(self.wanted(model::Service::new())?, token);
        let services = self.calls.project.clients.services.changing().await;
        let outcome = services
            .create_service()
            .set_parent(self.calls.project.names.location())
            .set_service_id(&self.calls.name)
            .set_service(service)
            .send()
            .await;
        match outcome {
            Ok(begun) => self.calls.named_after(&begun, "").await,
            // It seemed absent, or the answer was lost: what is there may still differ.
            Err(error) if error::exists_already(&error) => {
                let there = self.ensure_ours(self.calls.get().await?)?;
                let changes = self.observed(&there).changes_to(&self.desired());
                self.update(&there, &changes, token, watch).await
            }
            Err(error) => Err(error::failed(error, &self.calls.cannot("create"))),
        }
    }

    async fn update(
        &self,
        actual: &model::Service,
        changes: &[FieldChange],
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<model::Service> {
        // Read again for its etag: conditions that settle since the plan change it too.
        let now = self.ensure_ours(self.calls.get().await?)?;
        let landed = self.observed(&now).changes_to(&self.desired()).is_empty();
        if landed || is_stamped(&now, token) {
            return Ok(now);
        }
        self.unchanged_since(actual, &now)?;
        if !shape::needs_revision(changes) {
            return self.calls.update(self.wanted(now)?).await;
        }
        if verdict::is_pinned(&now) {
            return self.update_pinned(now, token, watch).await;
        }
        self.calls.revise(stamped(self.wanted(now)?, token)).await
    }

    async fn restore(
        &self,
        before: &model::Service,
        now: &model::Service,
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<Undone> {
        let traffic = verdict::shares(before);
        let [(served, 100)] = traffic.as_slice() else {
            return Ok(Undone::Stays(format!(
                "the traffic was split before: {}",
                verdict::show_shares(&traffic)
            )));
        };
        let activation = Activation {
            service: self.calls.name.clone(),
            revision: Revision(served.clone()),
            follow: BTreeMap::new(),
        };
        activation::carry_out(&self.calls, &activation, now.generation, token, watch).await?;
        let changes = self.observed(now).changes_to(&self.observed(before));
        let (around, paths) = shape::around_as_before(before, &changes);
        if !paths.is_empty() {
            // Whatever settles meanwhile changes the etag, and none of these fields.
            let around = around.set_name(self.calls.path());
            let services = self.calls.project.clients.services.changing().await;
            let begun = services
                .update_service()
                .set_service(around)
                .set_update_mask(FieldMask::default().set_paths(paths))
                .send()
                .await
                .map_err(|error| error::failed(error, &self.calls.cannot("put back")))?;
            self.calls.after(&begun, |_| true).await?;
        }
        Ok(Undone::PutBack)
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
        let state = match self.replaced(&actual) {
            Some(why) => Readiness::Replaced(why),
            None => verdict::of_latest(&actual),
        };
        let state = match state.failure() {
            None => state,
            Some((_, why)) => {
                let words = self.with_revision_words(why.to_owned(), &actual).await;
                state.with_words(words)
            }
        };
        Ok(Ready { state, actual })
    }

    fn unsettled(&self, actual: &model::Service) -> Option<String> {
        verdict::of_latest(actual).pending()
    }

    fn pace(&self) -> Pace {
        Pace::closely(ROLL_OUT_DEADLINE)
    }

    fn detachable(&self) -> bool {
        true
    }
}

/// A service that is no longer desired: it can be read and deleted.
pub(crate) struct Leftover {
    calls: Calls,
    address: Address,
}

impl Leftover {
    /// The service at `address`.
    pub(crate) fn new(project: &Arc<Project>, address: &Address) -> Self {
        Self {
            calls: Calls::new(project, &address.name),
            address: address.clone(),
        }
    }
}

#[async_trait]
impl crate::existing::Existing for Leftover {
    type Actual = model::Service;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<model::Service>> {
        Ok(match self.calls.find().await? {
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
            Found::Here(service) => match Owner::AnyOfOurs.objection(&service.labels) {
                None => Reading::Present(service),
                Some(why) => Reading::Foreign(why),
            },
        })
    }

    fn observed(&self, actual: &model::Service) -> Fields {
        let mut fields = Fields::new();
        labels::describe(&mut fields, &actual.labels);
        fields.set_some("revision", revision_name(&actual.latest_ready_revision));
        fields
    }

    async fn delete(&self, _actual: &model::Service) -> Result<()> {
        self.calls.delete().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(generation: i64) -> model::Service {
        model::Service::new()
            .set_uid("u1")
            .set_generation(generation)
    }

    #[test]
    fn an_older_generation_is_old_news_unless_it_is_of_another_service() {
        assert!(lags(&Ok(known(1)), &known(2)));
        assert!(!lags(&Ok(known(2)), &known(2)));
        assert!(!lags(&Ok(known(1).set_uid("u2")), &known(2)));
    }

    #[test]
    fn what_was_only_just_made_may_seem_absent_and_what_is_older_is_gone() {
        let absent = || Err(Error::new(ErrorKind::NotFound, "cannot read service `x`"));
        assert!(lags(&absent(), &known(1)));
        assert!(!lags(&absent(), &known(2)));
        let denied = Err(Error::new(ErrorKind::Denied, "cannot read service `x`"));
        assert!(!lags(&denied, &known(1)));
    }

    #[test]
    fn a_revision_is_named_once_it_is_another_or_there_will_be_none() {
        let service = known(2).set_latest_created_revision("idp-00002");
        let busy = service.clone().set_reconciling(true);
        assert!(names_another(&busy, "idp-00001"));
        assert!(!names_another(&busy, "idp-00002"));
        assert!(names_another(&service, "idp-00002"));
    }
}
