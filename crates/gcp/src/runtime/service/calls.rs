//! The calls that concern one Cloud Run service: read, changed under its etag, deleted.

use std::sync::Arc;
use std::time::Duration;

use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Token;
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_longrunning::model::Operation;
use google_cloud_run_v2::model;
use google_cloud_wkt::FieldMask;

use super::ours::{Ours, Revised};
use crate::error::{self, CloudError, Found};
use crate::operation;
use crate::project::Project;
use crate::runtime::conditions;
use crate::runtime::shape::revision_name;

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

    /// A revision of the service.
    pub(crate) async fn revision(&self, name: &str) -> Result<model::Revision> {
        let path = format!("{}/revisions/{name}", self.path());
        let revisions = self.project.clients.revisions.reading().await;
        let outcome = revisions.get_revision().set_name(path).send().await;
        outcome.map_err(|error| error::failed(error, &format!("cannot read revision `{name}`")))
    }

    /// Sends what `service` says at these paths with its etag, and returns what the cloud then
    /// says.
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

    /// Sends all of `service`, whose template makes a revision: returns once Cloud Run names it, or
    /// has settled without one.
    ///
    /// Errors: as [`Calls::update`].
    pub(crate) async fn revise(&self, service: model::Service, token: &Token) -> Result<Revised> {
        let before = service.latest_created_revision.clone();
        let begun = self.send(service, &[]).await?;
        self.named_after(&begun, &before, token).await
    }

    pub(super) async fn named_after(
        &self,
        begun: &Operation,
        before: &str,
        token: &Token,
    ) -> Result<Revised> {
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
    pub(super) async fn send(&self, service: model::Service, paths: &[&str]) -> Result<Operation> {
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

    /// `gcloud run deploy` names revisions itself. A change under a mask of a service whose
    /// template still bears such a name is taken for another revision of that name
    /// (googleapis/google-cloud-python #14259, #11870): it is sent whole, without.
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

    pub(super) async fn send_once(
        &self,
        service: model::Service,
        paths: &[&str],
    ) -> Result<Operation, CloudError> {
        let services = self.project.clients.services.changing().await;
        let call = services.update_service().set_service(service);
        // Under its etag: where the first one landed, a second one is refused as stale, and what is
        // there bears our mark.
        let call = call.with_idempotency(true);
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
    pub(super) async fn after(
        &self,
        begun: &Operation,
        tells: impl Fn(&model::Service) -> bool,
    ) -> Result<model::Service> {
        let since = generation(begun);
        let tells = |now: &model::Service| now.generation >= since && tells(now);
        let what = format!("service `{}`", self.name);
        operation::caught_up(&self.project, &what, tells, || self.get()).await
    }

    pub(super) async fn delete(&self) -> Result<()> {
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
            crate::paths::short(revision)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_named_once_it_is_another_or_there_will_be_none() {
        let service = model::Service::new().set_latest_created_revision("idp-00002");
        let busy = service.clone().set_reconciling(true);
        assert!(names_another(&busy, "idp-00001"));
        assert!(!names_another(&busy, "idp-00002"));
        assert!(names_another(&service, "idp-00002"));
    }
}
