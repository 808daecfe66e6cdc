//! Changes a service: its tags, and what it runs, in one deployment.

use aws_sdk_apprunner::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_apprunner::types::{Service as SdkService, ServiceStatus};
use deployer_core::fields::FieldChange;
use deployer_core::node::Watch;
use deployer_core::redeploy;

use super::{Actual, Service, Silent};
use crate::app_runner::begin::{self, Deployment};
use crate::app_runner::operations::Begun;
use crate::app_runner::shape::with_image;
use crate::app_runner::{calls, switch};
use crate::site::prelude::*;
use crate::tags::{self, Tags};

impl Service {
    /// See [`deployer_core::node::Resource::update`].
    pub(super) async fn change(
        &self,
        there: &Actual,
        changes: &[FieldChange],
        watch: &dyn Watch,
    ) -> Result<Actual> {
        self.migrated.settled()?;
        let mut tags = there.tags.clone();
        let retag = changes.iter().any(tags::is_tag);
        if changes.iter().all(tags::is_tag) {
            self.retag(there, &mut tags).await?;
            return Ok(Actual {
                tags,
                ..there.clone()
            });
        }
        let mut now = self.as_it_is_now(there, watch).await?;
        // First, so that the roll-out is what a failure comes after.
        if retag {
            self.retag(&now, &mut tags).await?;
        }
        now.tags.clone_from(&tags);
        let changes = self.differences(&now);
        if changes.is_empty() {
            return Ok(now);
        }
        let begun = match redeploy::is_all_of(&changes) {
            true => begin::deploy(&self.clients, &now.service, watch).await?,
            // It deploys whatever it changes.
            false => self.send(&now, watch).await?,
        };
        Ok(Actual::begun(begun, tags))
    }

    /// The service once nothing keeps it from being changed. Another hand may have done anything
    /// since the plan: what it left is compared anew, not what the plan saw, nor what is there in
    /// the middle of an operation.
    ///
    /// Errors: not found, when somebody deleted it; rejected, when it takes no change any more.
    async fn as_it_is_now(&self, there: &Actual, watch: &dyn Watch) -> Result<Actual> {
        let arn = there.service.service_arn();
        let free = calls::until_free(&self.clients, arn, self.name(), watch).await?;
        let service = calls::usable(free.ok_or_else(|| calls::gone(self.name()))?)?;
        let resumed = match service.status() {
            ServiceStatus::Paused => Some(switch::resume(&self.clients, &service, watch).await?),
            _ => None,
        };
        let service = resumed.as_ref().map_or(service, |it| it.service.clone());
        let latest = self.latest(&service).await?;
        // Resuming runs again what was paused: that is no deployment, and what was put back before
        // is what it runs.
        let mut now = Actual::read(service, there.tags.clone(), &latest);
        if let Some(resumed) = resumed {
            now.operation = resumed.operation;
        }
        self.serving(now).await
    }

    /// Sends everything that the manifest says.
    pub(super) async fn send(&self, there: &Actual, watch: &dyn Watch) -> Result<Begun> {
        let call = self.whole(there).await?;
        let deployment = Deployment {
            clients: &self.clients,
            service: &there.service,
            action: format!("update service `{}`", self.name()),
            is_asked_for: &|described| self.is_said_by(described, there),
        };
        begin::update(&deployment, call, watch).await
    }

    /// Whether a service is described as it is to be, however its deployments ended.
    fn is_said_by(&self, described: &SdkService, there: &Actual) -> bool {
        let described = Actual {
            service: described.clone(),
            ..there.clone()
        };
        let differs = self.differences(&described);
        let aside = ["rollout", "state", redeploy::FIELD];
        differs.iter().all(|it| aside.contains(&it.field.as_str()))
    }

    fn call(&self, there: &Actual) -> UpdateServiceFluentBuilder {
        let call = self.clients.app_runner.update_service();
        call.service_arn(there.service.service_arn())
    }

    /// Everything that the manifest says, in one call: what is not said stays as it is.
    async fn whole(&self, there: &Actual) -> Result<UpdateServiceFluentBuilder> {
        let service = Some(&there.service);
        let Some(around) = &self.around else {
            let served = &there.service;
            let source = with_image(served, &self.shape.image.settled()?)?;
            let call = self.call(there).source_configuration(source);
            return Ok(match there.remade {
                // What is not said stays as it is described, which did not serve.
                true => call
                    .set_instance_configuration(served.instance_configuration.clone())
                    .set_health_check_configuration(served.health_check_configuration.clone()),
                false => call,
            });
        };
        Ok(self
            .call(there)
            .source_configuration(self.shape.source(service)?)
            .instance_configuration(self.shape.instance(service))
            .health_check_configuration(self.shape.health(service))
            .network_configuration(around.network(&self.clients, service).await?)
            .auto_scaling_configuration_arn(around.scaling.settled()?.0))
    }

    /// Gives it our tags: of those that it has, `tags` becomes what it has then.
    async fn retag(&self, there: &Actual, tags: &mut Tags) -> Result<()> {
        let changes = self.ownership.changes(tags);
        let after = changes.applied_to(tags);
        self.write_tags(there, changes).await?;
        *tags = after;
        Ok(())
    }

    pub(super) async fn write_tags(&self, there: &Actual, changes: TagChanges) -> Result<()> {
        let arn = there.service.service_arn();
        let written = calls::when_free(&self.clients, arn, "tag the service", &Silent, || {
            TagApi::AppRunner.write(&self.clients, arn, changes.clone())
        });
        written.await
    }
}
