//! Changes a service: its tags, and what it runs, in one deployment.

use aws_sdk_apprunner::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_apprunner::types::ServiceStatus;
use deployer_core::fields::FieldChange;
use deployer_core::node::Watch;
use deployer_core::redeploy;

use super::{Actual, Service, Silent};
use crate::app_runner::calls::{self, absent};
use crate::app_runner::shape::with_image;
use crate::site::prelude::*;
use crate::tags;

impl Service {
    /// See [`deployer_core::node::Resource::update`].
    pub(super) async fn change(
        &self,
        there: &Actual,
        changes: &[FieldChange],
        watch: &dyn Watch,
    ) -> Result<Actual> {
        self.migrated.settled()?;
        // First, so that the roll-out is what a failure comes after.
        let mut tags = there.tags.clone();
        if changes.iter().any(tags::is_tag) {
            let changes = self.ownership.changes(&tags);
            tags = changes.applied_to(&tags);
            self.retag(there, changes).await?;
        }
        if changes.iter().all(tags::is_tag) {
            return Ok(Actual {
                tags,
                ..there.clone()
            });
        }
        let mut now = there.clone();
        if there.service.status() == &ServiceStatus::Paused {
            let resumed = calls::resume(&self.clients, &there.service, watch).await?;
            now = Actual {
                // Resuming runs again what was paused: that is no deployment, and what was put back
                // before is what it runs.
                deployed: there.deployed.clone(),
                failed: there.failed.clone(),
                ..Actual::begun(resumed, tags.clone())
            };
            now = self.serving(now).await?;
        } else if calls::is_busy(&there.service) {
            // Whatever it makes of the service is compared, not what is there in the middle of it.
            let arn = there.service.service_arn();
            let free = calls::until_free(&self.clients, arn, self.name(), watch).await?;
            now.service = free.ok_or_else(|| absent(self.name()))?;
            now = self.serving(now).await?;
        }
        let changes = self.differences(&now);
        if changes.is_empty() {
            return Ok(Actual { tags, ..now });
        }
        let begun = match redeploy::is_all_of(&changes) {
            true => calls::deploy(&self.clients, &now.service, watch).await?,
            // It deploys whatever it changes.
            false => {
                let call = self.whole(&now).await?;
                calls::update(&self.clients, &self.updating(), call, watch).await?
            }
        };
        Ok(Actual::begun(begun, tags))
    }

    pub(super) fn updating(&self) -> String {
        format!("update service `{}`", self.name())
    }

    fn call(&self, there: &Actual) -> UpdateServiceFluentBuilder {
        let call = self.clients.app_runner.update_service();
        call.service_arn(there.service.service_arn())
    }

    /// Everything that the manifest says, in one call: what is not said stays as it is.
    pub(super) async fn whole(&self, there: &Actual) -> Result<UpdateServiceFluentBuilder> {
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

    pub(super) async fn retag(&self, there: &Actual, changes: TagChanges) -> Result<()> {
        let arn = there.service.service_arn();
        let written = calls::when_free(&self.clients, "tag the service", &Silent, || {
            TagApi::AppRunner.write(&self.clients, arn, changes.clone())
        });
        written.await
    }
}
