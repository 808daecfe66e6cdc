//! A deployment: new instances beside the old ones, and traffic to them once they are healthy.

use std::time::Duration;

use futures::future::{join_all, try_join_all};

use super::AppRunner;
use super::check::{Failure, Unfit};
use super::launch::Prepared;
use super::state::{Instance, Kind, Served};
use crate::aws::json::{flag, need};

/// How long the steps take, as in the events that roadmap#142 and roadmap#210 show.
const PULLING: Duration = Duration::from_secs(65);
const PROVISIONING: Duration = Duration::from_secs(10);
const ROUTING: Duration = Duration::from_secs(60);
/// When App Runner gives up instances that do not become healthy, after it began to check them:
/// six minutes in roadmap#210. That this does not depend on the check's thresholds is ours.
const PATIENCE: Duration = Duration::from_secs(6 * 60);
/// How often an image that is to be deployed by itself is looked at. Ours.
const LOOK: Duration = Duration::from_secs(30);

impl AppRunner {
    /// Carries out a deployment. When it fails, what ran before goes on running.
    pub(super) async fn deploy(&self, arn: &str, kind: Kind, id: &str) -> Result<(), Failure> {
        let id = id.replace('-', "");
        let event = match kind {
            Kind::Create => "SERVICE_CREATE",
            Kind::Update => "SERVICE_UPDATE",
            Kind::Deploy | Kind::Pause | Kind::Resume | Kind::Delete => "SERVICE_DEPLOY",
        };
        self.event(
            arn,
            &format!("Deployment with ID : {id} started. Triggering event : {event}"),
        );
        let deployed = self.try_deploy(arn, kind, &id).await;
        match &deployed {
            Ok(()) => {
                self.deployment_log(arn, &id, "Successfully deployed your application image.");
            }
            Err(failure) => {
                self.deployment_log(arn, &id, "Failed to deploy your application image.");
                let reason = failure.reason();
                let reason = reason.map(|it| format!(" Failure reason : {it}"));
                let reason = reason.unwrap_or_default();
                self.event(arn, &format!("Deployment with ID : {id} failed.{reason}"));
            }
        }
        deployed
    }

    async fn try_deploy(&self, arn: &str, kind: Kind, id: &str) -> Result<(), Failure> {
        let clock = &self.inner.host.clock;
        let pinned = {
            let state = self.lock();
            let service = state.service(arn).ok_or(Failure::Gone)?;
            let name = need(service.image(), "ImageIdentifier");
            let name = name.split(['@', ':']).next().unwrap_or(name).to_owned();
            let served = service.served.as_ref();
            let pinned = served.filter(|_| kind == Kind::Resume);
            let pinned = pinned.map(|it| it.version.clone());
            drop(state);
            self.deployment_log(arn, id, "Starting to pull your application image.");
            if pinned.is_none() {
                self.event(arn, &format!("Pulling image {name} from ECR repository."));
            }
            pinned
        };
        clock.sleep(PULLING).await;
        let prepared = self.prepare((arn, id), pinned)?;
        let new = self.start_all(arn, &prepared).await?;
        self.event(arn, "Successfully copied the image from ECR.");
        let message = "Successfully pulled your application image from ECR.";
        self.deployment_log(arn, id, message);
        let message = "Provisioning instances and deploying image for publicly accessible service.";
        self.event(arn, message);
        clock.sleep(PROVISIONING).await;
        let checked = prepared.check.shown();
        self.event(arn, &format!("Performing health check on {checked}."));
        if let Err(unfit) = self.become_healthy(&prepared, &new).await {
            self.tell(arn, unfit, &prepared);
            join_all(new.iter().map(|it| self.stop(it))).await;
            return Err(Failure::Unfit(unfit));
        }
        let message = "Health check is successful. Routing traffic to application.";
        self.event(arn, message);
        clock.sleep(ROUTING).await;
        self.change(arn, |service, _| {
            service.served = Some(Served {
                config: prepared.config.clone(),
                version: prepared.version.clone(),
                operation: prepared.operation.clone(),
            });
        });
        self.replace_instances(arn, new.clone()).await;
        for instance in new {
            self.tend(arn, instance, &prepared);
        }
        self.event(arn, "Successfully routed incoming traffic to application.");
        Ok(())
    }

    /// Adds the event of an instance that does not serve: as roadmap#110 and roadmap#210 show them.
    fn tell(&self, arn: &str, unfit: Unfit, prepared: &Prepared) {
        let message = match unfit {
            Unfit::Ended(code) => format!(
                "Your application stopped or failed to start. See logs for more information.  Container exit code: {code}"
            ),
            Unfit::Unhealthy => format!(
                "Health check failed on {}. Check your configured port number. For more information, read the application logs.",
                prepared.check.shown()
            ),
        };
        self.event(arn, &message);
    }

    async fn start_all(&self, arn: &str, prepared: &Prepared) -> Result<Vec<Instance>, Failure> {
        let mut started = Vec::new();
        for _ in 0..prepared.least {
            match self.start(arn, prepared).await {
                Ok(instance) => started.push(instance),
                Err(failure) => {
                    if let Failure::Unfit(unfit) = &failure {
                        self.tell(arn, *unfit, prepared);
                    }
                    join_all(started.iter().map(|it| self.stop(it))).await;
                    return Err(failure);
                }
            }
        }
        Ok(started)
    }

    /// All of them, or none: one that is not ends the deployment.
    async fn become_healthy(&self, prepared: &Prepared, new: &[Instance]) -> Result<(), Unfit> {
        let (clock, began) = (&self.inner.host.clock, self.now());
        let waits = new
            .iter()
            .map(|it| prepared.check.wait(clock, &it.container));
        let waited = try_join_all(waits).await.map(drop);
        if waited == Err(Unfit::Unhealthy) {
            let patience = clock.in_cloud_time(PATIENCE);
            let left = patience.saturating_sub(clock.since(began));
            clock.sleep_unscaled(left).await;
        }
        waited
    }

    /// Deploys by itself what is pushed, where the service says so: "App Runner monitors your image
    /// ... repository. Whenever you push a new image version ... App Runner automatically deploys
    /// it" (Developer Guide, "Deployment methods").
    pub(super) fn watch_image(&self, arn: &str) {
        let (this, arn) = (self.clone(), arn.to_owned());
        self.inner.host.background.spawn(async move {
            let mut tried = None;
            loop {
                this.inner.host.clock.sleep(LOOK).await;
                this.forget_old();
                let mut state = this.lock();
                let Some(service) = state.service(&arn) else {
                    return;
                };
                let source = &service.config.members["SourceConfiguration"];
                let wants = service.status == "RUNNING" && flag(source, "AutoDeploymentsEnabled");
                let now = this.version_of(need(service.image(), "ImageIdentifier"));
                let (Some(now), Some(served)) = (now, &service.served) else {
                    continue;
                };
                let is_new =
                    now.digest != served.version.digest && tried.as_ref() != Some(&now.digest);
                if wants && is_new {
                    tried = Some(now.digest);
                    // It is there and free.
                    let _ = this.begin(&mut state, &arn, Kind::Deploy);
                }
            }
        });
    }
}
