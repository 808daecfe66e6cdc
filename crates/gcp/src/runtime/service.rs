//! The Cloud Run service: made, changed, rolled out, and ready only when our revision serves everything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Activation, ImageRef, Revision, Scope};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::node::{Kept, Reading, Ready, Resource, Token, Undone, Watch};
use deployer_core::wait::{self, Look, Pace, Readiness};
use google_cloud_longrunning::model::Operation;
use google_cloud_run_v2::model;
use google_cloud_wkt::{FieldMask, Timestamp};

use crate::error::{self, CloudError, Found};
use crate::labels::{self, Owner};
use crate::operation;
use crate::project::Project;
use crate::runtime::container::{RUN_ANNOTATION, Variables, main_container};
use crate::runtime::patience::{Patience, Turn};
use crate::runtime::shape::{self, Shape, revision_name};
use crate::runtime::{activation, conditions, verdict};

/// The kind in addresses.
pub(crate) const KIND: &str = "run.service";

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

    /// Sends what `service` says at these paths with its etag, and returns what the cloud then says.
    ///
    /// Errors: conflict, when somebody changed it since it was read.
    pub(crate) async fn update(
        &self,
        service: model::Service,
        paths: &[&str],
    ) -> Result<model::Service> {
        let begun = self.send(service, paths).await?;
        self.after(&begun, |_| true).await
    }

    /// As [`Calls::update`]; what the organization's policy forbids is left to the caller.
    pub(crate) async fn update_unless_forbidden(
        &self,
        service: model::Service,
        paths: &[&str],
    ) -> Result<Result<(), CloudError>> {
        match self.send_named(service, paths).await {
            Ok(begun) => self.after(&begun, |_| true).await.map(|_| Ok(())),
            Err(error) if error::is_org_policy(&error) => Ok(Err(error)),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Sends all of `service`, whose template makes a revision: returns once Cloud Run names it, or has settled without one.
    ///
    /// Errors: as [`Calls::update`].
    pub(crate) async fn revise(&self, service: model::Service, token: &Token) -> Result<Revised> {
        let before = service.latest_created_revision.clone();
        let begun = self.send(service, &[]).await?;
        self.named_after(&begun, &before, token).await
    }

    async fn named_after(&self, begun: &Operation, before: &str, token: &Token) -> Result<Revised> {
        let accepted = operation::accepted::<model::Service>(begun);
        let written = self.project.context.clock.now();
        let named = self.after(begun, |now| names_another(now, before)).await;
        let service = match named {
            // Whoever waits for the roll-out is told why; nobody else needs the name.
            Err(error) if error.kind() == ErrorKind::TimedOut => self.get().await?,
            outcome => outcome?,
        };
        // What is told as of a later change may name the revision of whoever made that.
        let newest = &service.latest_created_revision;
        let is_ours = service.generation == generation(begun) && newest != before;
        let ours = Ours {
            token: token.clone(),
            revision: revision_name(newest).filter(|_| is_ours).map(str::to_owned),
            accepted: accepted.and_then(|service| service.update_time),
            written,
        };
        Ok(Revised { service, ours })
    }

    /// Sends what `service` says at these paths, or all of it.
    async fn send(&self, service: model::Service, paths: &[&str]) -> Result<Operation> {
        let outcome = self.send_named(service, paths).await;
        outcome.map_err(|error| self.refused(error))
    }

    fn refused(&self, error: CloudError) -> Error {
        let is_stale = error::is_stale(&error);
        let error = error::failed(error, &self.cannot("update"));
        match is_stale {
            true => error.hint("somebody changed it at the same time: plan again"),
            false => error,
        }
    }

    /// `gcloud run deploy` names revisions itself. A change under a mask of a service whose template still bears such a name is
    /// taken for another revision of that name (googleapis/google-cloud-python #14259, #11870): it is sent whole, without.
    async fn send_named(
        &self,
        service: model::Service,
        paths: &[&str],
    ) -> Result<Operation, CloudError> {
        match self.send_once(service.clone(), paths).await {
            Err(error) if error::is_named_twice(&error) => {
                let template = service.template.clone().unwrap_or_default();
                let unnamed = service.set_template(template.set_revision(""));
                self.send_once(unnamed, &[]).await
            }
            outcome => outcome,
        }
    }

    async fn send_once(
        &self,
        service: model::Service,
        paths: &[&str],
    ) -> Result<Operation, CloudError> {
        let services = self.project.clients.services.changing().await;
        let call = services.update_service().set_service(service);
        match paths {
            [] => call.send().await,
            paths => {
                let paths = paths.iter().copied();
                call.set_update_mask(FieldMask::default().set_paths(paths))
                    .send()
                    .await
            }
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

/// A service with a new revision.
pub(crate) struct Revised {
    pub(crate) service: model::Service,
    pub(crate) ours: Ours,
}

/// What a write of this run made.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    token: Token,
    /// The revision, where it was named before anybody else changed the service.
    revision: Option<String>,
    /// When Cloud Run accepted it, by its own clock.
    accepted: Option<Timestamp>,
    /// When it was accepted, by this machine's.
    written: jiff::Timestamp,
}

impl Ours {
    /// Whether a bad word of the service is from before our write: that it is at work again may be told a moment later.
    fn is_old_news(&self, service: &model::Service, now: jiff::Timestamp) -> bool {
        let moment = |time: &Timestamp| (time.seconds(), time.nanos());
        let terminal = service.terminal_condition.as_ref();
        let told = terminal.and_then(|condition| condition.last_transition_time.as_ref());
        let waited = now.duration_since(self.written);
        let waited = Duration::try_from(waited).unwrap_or_default();
        let is_older = match (told, &self.accepted) {
            (Some(told), Some(accepted)) => moment(told) < moment(accepted),
            _ => false,
        };
        is_older && waited < operation::LAG
    }

    /// `Some(who)` when the newest revision is another one.
    pub(crate) fn is_another(&self, now: &model::Service) -> Option<String> {
        let newest = revision_name(&now.latest_created_revision);
        let mine = self.revision.as_deref();
        let is_other = mine.is_some() && mine != newest || !is_stamped(now, &self.token);
        is_other.then(|| deployed_over(now))
    }

    /// The same verdict, or patience where it is one on what was there before.
    pub(crate) fn fresh(
        &self,
        state: Readiness,
        service: &model::Service,
        now: jiff::Timestamp,
    ) -> Readiness {
        match state {
            Readiness::Failed(_) if self.is_old_news(service, now) => {
                Readiness::Pending(operation::LAGGING.to_owned())
            }
            state => state,
        }
    }
}

/// Who took our place, as far as Cloud Run says.
fn deployed_over(now: &model::Service) -> String {
    let newest = revision_name(&now.latest_created_revision).unwrap_or("none");
    let who = match now.last_modifier.as_str() {
        "" => String::new(),
        who => format!(" ({who})"),
    };
    format!("somebody else{who} deployed over it: the newest revision is `{newest}`")
}

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
    pub(crate) _migrated: Option<Value<()>>,
    /// The secrets can be read first; nothing is taken from that.
    pub(crate) _granted: Vec<Value<()>>,
    pub(crate) patience: Patience,
    pub(crate) revision: Output<Revision>,
    pub(crate) url: Output<Option<String>>,
    /// What was last read: what the manifest is silent about is as it is there.
    pub(crate) there: Mutex<Option<model::Service>>,
    /// What was found to serve, where the newest revision cannot.
    pub(crate) serves: Mutex<Option<Serves>>,
    /// What this run's write made.
    pub(crate) ours: Mutex<Option<Ours>>,
}

/// The revision that serves everything although a newer one was made, which cannot.
#[derive(Clone, Debug)]
pub(crate) struct Serves {
    name: String,
    /// What it was made of.
    template: model::RevisionTemplate,
    /// The one that cannot.
    newest: String,
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

    /// What the manifest asks for of a service that is like `base` otherwise.
    fn desired_over(&self, base: model::Service) -> Fields {
        match self.reused(&base) {
            None => self.desired_of_newest(base),
            Some((name, serving)) => {
                let mut fields = self.desired_of_newest(serving);
                fields.set(
                    "traffic",
                    verdict::show_asked(&activation::everything_to(&name, &[])),
                );
                fields
            }
        }
    }

    fn desired_of_newest(&self, base: model::Service) -> Fields {
        let service = self
            .shape
            .compose(base, self.image.known(), &self.variables);
        let mut fields = shape::describe(&self.shape.names, &service);
        fields.set("serving", shape::READY);
        fields.set_value("image", self.image.field(|image| image.0.clone()));
        self.variables.show_unknown(&mut fields);
        fields
    }

    /// The revision that serves already what the manifest asks for, with the service as it would be with its template: going back
    /// to what serves after a roll-out that failed needs no other one.
    fn reused(&self, service: &model::Service) -> Option<(String, model::Service)> {
        let serves = self.serves.lock().unwrap_or_else(PoisonError::into_inner);
        let serves = serves.clone()?;
        if revision_name(&service.latest_created_revision) != Some(serves.newest.as_str()) {
            return None;
        }
        let serving = service.clone().set_template(serves.template);
        let there = shape::describe(&self.shape.names, &serving);
        let changes = there.changes_to(&self.desired_of_newest(serving.clone()));
        let mut changes = changes.iter();
        let same = changes.all(|it| shape::is_around(&it.field) || it.field == "serving");
        same.then_some((serves.name, serving))
    }

    /// What serves everything although the newest revision cannot. `None` also when that is not known.
    async fn what_serves(&self, service: &model::Service) -> Option<Serves> {
        verdict::failure(service)?;
        let newest = revision_name(&service.latest_created_revision)?;
        let shares = verdict::shares(service);
        let [(name, 100)] = shares.as_slice() else {
            return None;
        };
        if name == newest {
            return None;
        }
        let revision = activation::revision(&self.calls, name).await.ok()?;
        Some(Serves {
            name: name.clone(),
            template: activation::taken_over(&revision).ok()?,
            newest: newest.to_owned(),
        })
    }

    /// `Some(who and what)` when the newest revision is not the one that we made, or its configuration is not what we sent. An
    /// equal image says nothing: whoever changes a variable keeps it.
    fn replaced(&self, now: &model::Service) -> Option<String> {
        self.image.known()?;
        let another = self.ours().and_then(|ours| ours.is_another(now));
        let sent = self.desired_over(now.clone());
        let changes = sent.changes_to(&self.observed(now));
        let changes = changes.iter();
        let changes = changes
            .filter(|change| !shape::is_around(&change.field) && change.field != "serving")
            .take(SHOWN)
            .map(show_change);
        let changes: Vec<String> = changes.collect();
        match (another, changes.is_empty()) {
            (None, true) => None,
            (Some(why), true) => Some(format!("{why}, which runs the same")),
            (another, false) => {
                let why = another.unwrap_or_else(|| deployed_over(now));
                Some(format!("{why}: {}", changes.join(", ")))
            }
        }
    }
}

impl RunService {
    async fn create_once(&self, service: model::Service) -> Result<Operation, CloudError> {
        let services = self.calls.project.clients.services.changing().await;
        services
            .create_service()
            .set_parent(self.calls.project.names.location())
            .set_service_id(&self.calls.name)
            .set_service(service)
            .send()
            .await
    }

    /// Sends what is to change of the service as it is `now`: what is around the revisions alone makes none.
    async fn send(
        &self,
        now: model::Service,
        changes: &[FieldChange],
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<model::Service> {
        if !shape::needs_revision(changes) {
            let paths = shape::around(changes);
            let template = now.template.clone().unwrap_or_default();
            let pinned = self.reused(&now);
            let pinned = pinned.map(|(name, _)| activation::everything_to(&name, &now.traffic));
            let wanted = self.wanted(now)?.set_template(template);
            let wanted = match pinned {
                Some(traffic) => wanted.set_traffic(traffic),
                None => wanted,
            };
            return self.calls.update(wanted, &paths).await;
        }
        if verdict::is_pinned(&now) {
            return self.update_pinned(now, token, watch).await;
        }
        let revised = self
            .calls
            .revise(stamped(self.wanted(now)?, token), token)
            .await?;
        Ok(self.keep(revised))
    }
}

/// How many of another hand's changes are told.
const SHOWN: usize = 5;

fn show_change(change: &FieldChange) -> String {
    let show = |value: &Option<FieldValue>| {
        value
            .as_ref()
            .map_or_else(|| "(none)".to_owned(), ToString::to_string)
    };
    format!(
        "{}: {} -> {}",
        change.field,
        show(&change.old),
        show(&change.new)
    )
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
        let service = self.keep(self.calls.revise(staged, token).await?);
        watch.note(
            "making the new revision; the traffic stays where it is pinned until it is ready",
        );
        self.lead_traffic(service.generation).await
    }

    /// Moves the traffic to the newest revision once that is ready. Whatever settles meanwhile changes the etag.
    async fn lead_traffic(&self, since: i64) -> Result<model::Service> {
        let mut tries = TRIES;
        loop {
            let ready = self.newest_is_ready(since).await?;
            if let Some(why) = self.replaced(&ready) {
                return Err(Error::new(ErrorKind::Untrue, why).hint("the traffic was not moved"));
            }
            match self.calls.update(self.wanted(ready)?, &["traffic"]).await {
                Err(error) if error.kind() == ErrorKind::Conflict && tries > 0 => tries -= 1,
                outcome => return outcome,
            }
            self.calls.project.context.clock.pause(PAUSE).await;
        }
    }

    async fn newest_is_ready(&self, since: i64) -> Result<model::Service> {
        let clock = &*self.calls.project.context.clock;
        let what = format!("the new revision of `{}`", self.calls.name);
        let since = AtomicI64::new(since);
        let pace = || self.pace();
        wait::poll_at(clock, pace, &what, || async {
            let service = self.calls.get().await?;
            if service.generation < since.load(Ordering::Relaxed) {
                return Ok(Look::NotYet(operation::LAGGING.to_owned()));
            }
            let state = verdict::of_newest_revision(&service);
            let state = match self.ours() {
                Some(ours) => ours.fresh(state, &service, clock.now()),
                None => state,
            };
            match state {
                Readiness::Ready => Ok(Look::Found(service)),
                Readiness::Pending(why) => Ok(Look::NotYet(why)),
                readiness => {
                    let (kind, why) = readiness.failure().unwrap_or((ErrorKind::Failed, ""));
                    let why = self.with_revision_words(why.to_owned(), &service).await;
                    if let Some((what, now)) = self.bear(&why, &service).await? {
                        since.store(now.generation, Ordering::Relaxed);
                        return Ok(Look::NotYet(what.to_owned()));
                    }
                    Err(Error::new(kind, format!("{what} failed: {why}"))
                        .hint("the traffic was not moved"))
                }
            }
        })
        .await
    }

    /// What to wait for, and the service as it is now, where a failure is one that a grant which gets about mends: a
    /// revision that was refused a secret stays refused, so that another one is made from time to time.
    async fn bear(
        &self,
        why: &str,
        service: &model::Service,
    ) -> Result<Option<(&'static str, model::Service)>> {
        let now = self.calls.project.context.clock.elapsed();
        match self.patience.turn(now, why) {
            Turn::Over => Ok(None),
            Turn::Wait(what) => Ok(Some((what, service.clone()))),
            Turn::Again(what) => {
                let token = next_try(service);
                let again = stamped(service.clone(), &token);
                match self.calls.revise(again, &token).await {
                    Ok(revised) => Ok(Some((what, self.keep(revised)))),
                    // It was still settling when it was read: the next look comes soon.
                    Err(error) if error.kind() == ErrorKind::Conflict => {
                        Ok(Some((what, service.clone())))
                    }
                    Err(error) => Err(error),
                }
            }
        }
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

/// The mark of another try of what is there already.
fn next_try(service: &model::Service) -> Token {
    let template = service.template.as_ref();
    let mark = template.and_then(|template| template.annotations.get(RUN_ANNOTATION));
    let mark = mark.cloned().unwrap_or_default();
    let (run, tries) = mark.split_once('/').unwrap_or((&mark, "1"));
    let tries = tries.parse::<u32>().unwrap_or(1) + 1;
    Token(format!("{run}/{tries}"))
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
        let there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        let fields = self.desired_over(there.clone().unwrap_or_default());
        labels::ours_alone(&fields, &self.shape.labels)
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

    /// The newest revision: nothing else serves once the service is ready, and a run that does not wait for that records it. One
    /// that serves already what is asked for stays.
    fn publish(&self, actual: &model::Service) {
        let reused = self.reused(actual).map(|(name, _)| name);
        let newest = revision_name(&actual.latest_created_revision).map(str::to_owned);
        match reused.or(newest) {
            Some(revision) => self.revision.publish(Revision(revision)),
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
        let outcome = match self.create_once(service.clone()).await {
            // Where callers are to be checked, everybody is made an invoker instead.
            Err(error) if service.invoker_iam_disabled && error::is_org_policy(&error) => {
                let checked = service.set_invoker_iam_disabled(false);
                self.create_once(checked).await
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

    /// Sent again when somebody else's change comes in between, unless that is one of what the manifest says.
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
            if landed || is_stamped(&now, token) {
                return Ok(now);
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
            let outcome = self.calls.send_once(around, &paths).await;
            let begun = match outcome {
                Err(error) if error::is_named_twice(&error) => {
                    let now = self.calls.get().await?;
                    let labels = before.labels.clone();
                    let now = now.set_labels(labels).set_ingress(before.ingress.clone());
                    self.calls.send(now, &[]).await?
                }
                outcome => {
                    outcome.map_err(|error| error::failed(error, &self.calls.cannot("put back")))?
                }
            };
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
        let state = match (self.reused(&actual), self.replaced(&actual)) {
            (Some((name, _)), _) => verdict::of_revision(&actual, &name),
            (None, Some(why)) => Readiness::Replaced(why),
            (None, None) => verdict::of_latest(&actual),
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
                state.with_words(words)
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
        verdict::of_latest(actual).pending()
    }

    fn pace(&self) -> Pace {
        Pace::closely(self.shape.spec.patience)
    }

    fn detachable(&self) -> bool {
        true
    }
}

/// A service that is no longer desired: it can be read and deleted.
pub(crate) struct Leftover {
    calls: Calls,
    address: Address,
    owner: Owner,
}

impl Leftover {
    /// The service at `address`.
    pub(crate) fn new(project: &Arc<Project>, address: &Address, owner: Owner) -> Self {
        Self {
            calls: Calls::new(project, &address.name),
            address: address.clone(),
            owner,
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
            Found::Here(service) => match self.owner.objection(&service.labels) {
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

    /// The mark of its revisions stays: another template would be another revision.
    async fn release(&self, actual: &model::Service) -> Result<()> {
        let labels = labels::unmarked(&actual.labels);
        let service = model::Service::new()
            .set_name(self.calls.path())
            .set_labels(labels);
        let services = self.calls.project.clients.services.changing().await;
        services
            .update_service()
            .set_service(service)
            .set_update_mask(FieldMask::default().set_paths(["labels"]))
            .send()
            .await
            .map(drop)
            .map_err(|error| error::failed(error, &self.calls.cannot("release")))
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
    fn a_failure_from_before_our_write_is_not_taken_for_one_of_ours() {
        let at = |second: i64| Timestamp::clamp(second, 0);
        let written = jiff::Timestamp::UNIX_EPOCH;
        let ours = Ours {
            token: Token("t".into()),
            revision: None,
            accepted: Some(at(100)),
            written,
        };
        let failed = |told| {
            let condition = model::Condition::new().set_last_transition_time(at(told));
            known(3).set_terminal_condition(condition)
        };
        let judge = |told, waited: i64| {
            let now = jiff::Timestamp::from_second(waited).unwrap();
            ours.fresh(Readiness::Failed("no start".into()), &failed(told), now)
        };
        assert!(matches!(judge(99, 5), Readiness::Pending(_)));
        assert!(matches!(judge(101, 5), Readiness::Failed(_)));
        // What is told for that long is so.
        assert!(matches!(judge(99, 70), Readiness::Failed(_)));
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
