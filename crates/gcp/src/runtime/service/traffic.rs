//! How a service is sent and rolled out: at once, in two steps where its traffic is pinned, or as a
//! candidate where its roll-out has a gate.

use std::sync::atomic::{AtomicI64, Ordering};

use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::FieldChange;
use deployer_core::node::{Resource, Token, Watch};
use deployer_core::wait::{self, Look, Readiness};
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_longrunning::model::Operation;
use google_cloud_run_v2::model;

use super::ours::{next_try, stamped};
use super::{PAUSE, RunService, TRIES};
use crate::error::{CloudError, Found};
use crate::hints;
use crate::operation;
use crate::runtime::patience::Turn;
use crate::runtime::{conditions, creation, rollout, shape};

impl RunService {
    /// As soon as it is not refused for what passes by itself.
    pub(super) async fn create_patiently(
        &self,
        service: &model::Service,
        watch: &dyn Watch,
    ) -> Result<Result<Operation, CloudError>> {
        creation::patiently(
            &self.calls.project,
            &format!("the name of service `{}`", self.calls.name),
            watch,
            || self.create_once(service.clone()),
            || async {
                let found = self.calls.find().await?;
                Ok(!matches!(found, Found::Absent))
            },
        )
        .await
    }

    async fn create_once(&self, service: model::Service) -> Result<Operation, CloudError> {
        let services = self.calls.project.clients.services.changing().await;
        services
            .create_service()
            .set_parent(self.calls.project.names.location())
            .set_service_id(&self.calls.name)
            .set_service(service)
            // A second one is refused as what exists, which is looked at then.
            .with_idempotency(true)
            .send()
            .await
    }

    /// Sends what is to change of the service as it is `now`: what is around the revisions alone
    /// makes none.
    pub(super) async fn send(
        &self,
        now: model::Service,
        changes: &[FieldChange],
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<model::Service> {
        if self.has_candidate(&now, changes) {
            return self.stage(now, changes, token, watch).await;
        }
        if !shape::needs_revision(changes) {
            let paths = shape::around(changes);
            let template = now.template.clone().unwrap_or_default();
            let pinned = self.reused(&now);
            let pinned = pinned.map(|(name, _)| shape::everything_to(&name, &now.traffic));
            let wanted = self.wanted(now)?.set_template(template);
            let wanted = match pinned {
                Some(traffic) => wanted.set_traffic(traffic),
                None => wanted,
            };
            return self.calls.update(wanted, &paths).await;
        }
        if rollout::is_pinned(&now) {
            return self.update_pinned(now, token, watch).await;
        }
        let revised = self
            .calls
            .revise(stamped(self.wanted(now)?, token), token)
            .await?;
        Ok(self.keep(revised))
    }

    /// Makes the new revision first and moves the traffic only once it is ready. Were both sent at
    /// once, a revision that never becomes ready would move the traffic from the pinned revision to
    /// the newest one that was ready: after a rollback, the rejected one.
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

    /// Moves the traffic to the newest revision once that is ready. Whatever settles meanwhile
    /// changes the etag.
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
            let state = rollout::of_newest_revision(&service);
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
                    Err(
                        Error::new(kind, format!("{what} failed: {}", hints::told(why)))
                            .hint("the traffic was not moved"),
                    )
                }
            }
        })
        .await
    }

    /// What to wait for, and the service as it is now, where a failure is one that a grant which
    /// gets about mends: a revision that was refused a secret stays refused, so that another one is
    /// made from time to time.
    pub(super) async fn bear(
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
    pub(super) async fn with_revision_words(
        &self,
        why: String,
        service: &model::Service,
    ) -> String {
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
