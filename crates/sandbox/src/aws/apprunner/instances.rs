//! Running instances: started, replaced when they end or fail their checks.

use std::time::Duration;

use futures::future::join_all;

use super::AppRunner;
use super::check::{Failure, Unfit};
use super::launch::Prepared;
use super::state::Instance;
use crate::aws::json::random_hex;
use crate::runner::StartError;

/// How long an instance that gets no new requests may answer those that it has. Ours, as on ECS.
const DRAINING: Duration = Duration::from_secs(10);
/// How long App Runner waits between SIGTERM and SIGKILL. Ours, as on Fargate.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// A process gets at least this then, whatever the speed.
const REAL_GRACE: Duration = Duration::from_secs(2);
/// Before an instance that ended is replaced. Ours.
const REPLACING: Duration = Duration::from_secs(20);

impl AppRunner {
    pub(super) async fn start(&self, arn: &str, prepared: &Prepared) -> Result<Instance, Failure> {
        let id = random_hex(32);
        let spec = self.spec(arn, &id, prepared);
        let container = self.inner.host.runner.start(spec).await;
        let container = container.map_err(|error| match error {
            StartError::ImageNotFound(_)
            | StartError::WrongPlatform { .. }
            | StartError::BadImage(_) => Failure::Image,
            StartError::CommandNotFound(_) => Failure::Unfit(Unfit::Ended(127)),
            StartError::Machine(why) => Failure::Start(why),
        })?;
        Ok(Instance { id, container })
    }

    pub(super) async fn stop(&self, instance: &Instance) {
        let clock = &self.inner.host.clock;
        let grace = clock.in_cloud_time(STOP_TIMEOUT).max(REAL_GRACE);
        if instance.container.exit().is_none() {
            instance.container.stop(grace).await;
        }
    }

    /// Sends requests to these instances and to no others, which are stopped.
    pub(super) async fn replace_instances(&self, arn: &str, new: Vec<Instance>) {
        let mut old = Vec::new();
        self.change(arn, |service, _| {
            old = std::mem::replace(&mut service.instances, new);
            service.route();
        });
        if !old.is_empty() {
            self.inner.host.clock.sleep(DRAINING).await;
        }
        join_all(old.iter().map(|it| self.stop(it))).await;
    }

    /// Replaces an instance that ends or fails its checks, for as long as its version serves. It
    /// says nothing of it (roadmap#100).
    pub(super) fn tend(&self, arn: &str, instance: Instance, prepared: &Prepared) {
        let (this, arn, prepared) = (self.clone(), arn.to_owned(), prepared.clone());
        self.inner.host.background.spawn(async move {
            let mut instance = instance;
            let clock = &this.inner.host.clock;
            loop {
                prepared.check.outlast(clock, &instance.container).await;
                if !this.take_out(&arn, &instance) {
                    return;
                }
                this.stop(&instance).await;
                instance = loop {
                    clock.sleep(REPLACING).await;
                    if !this.wants(&arn, &prepared) {
                        return;
                    }
                    let Ok(new) = this.start(&arn, &prepared).await else {
                        continue;
                    };
                    let waited = prepared.check.wait(clock, &new.container).await;
                    if waited.is_ok() && this.put_in(&arn, &new, &prepared) {
                        break new;
                    }
                    this.stop(&new).await;
                };
            }
        });
    }

    /// Whether it served until now.
    fn take_out(&self, arn: &str, instance: &Instance) -> bool {
        let mut was = false;
        self.change(arn, |service, _| {
            let before = service.instances.len();
            service.instances.retain(|it| it.id != instance.id);
            was = service.instances.len() < before;
            service.route();
        });
        was
    }

    /// Whether what serves is this deployment, and short of instances.
    fn wants(&self, arn: &str, prepared: &Prepared) -> bool {
        let state = self.lock();
        let service = state.service(arn).filter(|it| it.deleted.is_none());
        service.is_some_and(|it| {
            let served = it.served.as_ref().map(|it| &it.operation);
            served == Some(&prepared.operation) && it.instances.len() < prepared.least
        })
    }

    fn put_in(&self, arn: &str, instance: &Instance, prepared: &Prepared) -> bool {
        let wanted = self.wants(arn, prepared);
        if wanted {
            self.change(arn, |service, _| {
                service.instances.push(instance.clone());
                service.route();
            });
        }
        wanted
    }
}
