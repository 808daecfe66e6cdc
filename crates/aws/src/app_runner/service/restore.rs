//! Puts a service back as it was, and waits until what serves is what was asked for.

use std::time::Duration;

use aws_sdk_apprunner::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_apprunner::types::{Service as SdkService, ServiceStatus};
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::Fields;
use deployer_core::node::{Undone, Watch};
use deployer_core::wait::{Look, Pace, Readiness, poll};

use super::{Actual, Service};
use crate::app_runner::begin::{self, Deployment};
use crate::app_runner::calls::{self, absent};
use crate::app_runner::described::{fields_of, revision_of};
use crate::app_runner::operations::Begun;
use crate::app_runner::{operations, switch};
use crate::error::Told;
use crate::site::prelude::*;

impl Service {
    /// See [`deployer_core::node::Resource::restore`]. What App Runner puts back by itself is
    /// waited for first; what was paused is paused again.
    pub(super) async fn put_back(
        &self,
        before: &Actual,
        now: &Actual,
        watch: &dyn Watch,
    ) -> Result<Undone> {
        let arn = now.service.service_arn();
        let free = calls::until_free(&self.clients, arn, self.name(), watch).await?;
        let service = free.ok_or_else(|| absent(self.name()))?;
        match before.service.status() {
            ServiceStatus::CreateFailed => {
                return Ok(Undone::Stays("it did not serve before either".into()));
            }
            ServiceStatus::DeleteFailed => {
                return Ok(Undone::Stays("it was half deleted before".into()));
            }
            _ => {}
        }
        if before.failed.is_some() {
            return self.leave(&service).await;
        }
        let (was, is) = (fields_of(&before.service), fields_of(&service));
        if !same(&was, &is) {
            let call = self.clients.app_runner.update_service().service_arn(arn);
            let call = as_before(call, &before.service);
            let deployment = Deployment {
                clients: &self.clients,
                service: &service,
                action: format!("put back service `{}`", self.name()),
                is_asked_for: &|described| same(&was, &fields_of(described)),
            };
            let begun = begin::update(&deployment, call, watch).await?;
            self.until_serves(&begun, watch).await?;
        }
        if before.tags != now.tags {
            let back = self.ownership.changes_back(&now.tags, &before.tags);
            self.write_tags(now, back).await?;
        }
        if before.service.status() == &ServiceStatus::Paused {
            switch::pause(&self.clients, &service, watch).await?;
        }
        Ok(Undone::PutBack)
    }

    /// What is not put back: a deployment had failed before this run, and what was described then
    /// may be what failed.
    async fn leave(&self, service: &SdkService) -> Result<Undone> {
        let latest = self.latest(service).await?;
        Ok(match operations::failed(&latest) {
            Some(how) => Undone::Stays(format!("{how}: what served before it serves")),
            None => Undone::Lost(
                "the deployment before this run's had failed, and App Runner does not say what \
                 served then"
                    .into(),
            ),
        })
    }

    async fn until_serves(&self, begun: &Begun, watch: &dyn Watch) -> Result<()> {
        until_serves(&self.clients, begun, self.patience, watch).await
    }
}

/// Whether two descriptions are of the same configuration, be the service switched on or off.
fn same(was: &Fields, is: &Fields) -> bool {
    was.changes_to(is).iter().all(|it| it.field == "state")
}

/// Waits until what a call began has ended well.
///
/// Errors: rolled back, failed or untrue, when something else serves at the end; timed out.
pub(in crate::app_runner) async fn until_serves(
    clients: &Clients,
    begun: &Begun,
    patience: Duration,
    watch: &dyn Watch,
) -> Result<()> {
    let (name, arn) = (begun.service.service_name(), begun.service.service_arn());
    let what = format!("service `{name}`");
    let wanted = revision_of(&begun.service);
    poll(clients.clock(), Pace::until(patience), &what, || async {
        let seen = calls::describe(clients, arn).await;
        let seen = seen.told(|| format!("read {what}"))?;
        let seen = seen.ok_or_else(|| absent(name))?;
        let latest = calls::operations(clients, &seen).await;
        let latest = latest.told(|| format!("list the operations of {what}"))?;
        let as_wanted = revision_of(&seen) == wanted;
        match operations::judge(&seen, &latest, &begun.operation, as_wanted) {
            Readiness::Ready => Ok(Look::Found(())),
            Readiness::Pending(why) => {
                watch.note(&why);
                Ok(Look::NotYet(why))
            }
            readiness => {
                let (kind, why) = readiness.failure().unwrap_or((ErrorKind::Failed, ""));
                Err(Error::new(kind, format!("{what} does not serve: {why}")))
            }
        }
    })
    .await
}

/// The call that makes a service as it was.
fn as_before(call: UpdateServiceFluentBuilder, before: &SdkService) -> UpdateServiceFluentBuilder {
    let scaling = before.auto_scaling_configuration_summary();
    let scaling = scaling.and_then(|it| it.auto_scaling_configuration_arn());
    call.set_source_configuration(before.source_configuration().cloned())
        .set_instance_configuration(before.instance_configuration().cloned())
        .set_health_check_configuration(before.health_check_configuration().cloned())
        .set_network_configuration(before.network_configuration().cloned())
        .set_auto_scaling_configuration_arn(scaling.map(str::to_owned))
}
