//! Makes a service that is not there, or takes up what another try left.

use std::time::Duration;

use deployer_core::error::{Error, ErrorKind};
use deployer_core::kind::Refused;
use deployer_core::node::Watch;
use deployer_core::wait::{Look, Pace, poll};

use super::Service;
use crate::app_runner::begin;
use crate::app_runner::calls::{ROLE_UNKNOWN_YET, SETTLING, UNKNOWN_ROLE, absent};
use crate::app_runner::hints;
use crate::app_runner::operations::Begun;
use crate::app_runner::operations::Ours;
use crate::error::{Told, incomplete};
use crate::site::prelude::*;

/// What App Runner says when a service of the name is there.
const IS_THERE: &str = "already exists";
/// How long a deleted service may keep its name.
const GOING: Duration = Duration::from_secs(20 * 60);

impl Service {
    /// Creates it once.
    async fn try_create(&self) -> Result<Look<Begun>> {
        let around = self.around.as_ref().ok_or_else(|| absent(self.name()))?;
        let call = self.clients.app_runner.create_service();
        let created = call
            .service_name(self.name())
            .source_configuration(self.shape.source(None)?)
            .instance_configuration(self.shape.instance(None))
            .health_check_configuration(self.shape.health(None))
            .network_configuration(around.network(&self.clients, None).await?)
            .auto_scaling_configuration_arn(around.scaling.settled()?.0)
            .set_tags(Some(sdk_tags(&self.ownership.tags).map_err(incomplete)?))
            .send()
            .await;
        let refusal = match created.map_err(Refusal::from) {
            Ok(answer) => {
                let operation = Ours::answered(Some(answer.operation_id()), None);
                let service = answer.service.ok_or_else(begin::nothing)?;
                return Ok(Look::Found(Begun { service, operation }));
            }
            Err(refusal) => refusal,
        };
        if refusal.says(UNKNOWN_ROLE) {
            return Ok(Look::NotYet(ROLE_UNKNOWN_YET.to_owned()));
        }
        let refusal = hints::perhaps_closed(&self.clients, refusal);
        Err(refusal.of(&format!("create service `{}`", self.name())))
    }

    pub(super) async fn make(&self, watch: &dyn Watch) -> Result<Begun> {
        let what = format!("service `{}`", self.name());
        let (clock, began) = (self.clients.clock(), self.clients.clock().elapsed());
        poll(clock, Pace::until(GOING), &what, || async {
            match self.try_create().await {
                Ok(Look::NotYet(why)) if clock.elapsed().saturating_sub(began) < SETTLING => {
                    watch.note(&why);
                    Ok(Look::NotYet(why))
                }
                Ok(Look::NotYet(why)) => {
                    let message = format!("cannot create service `{}`: {why}", self.name());
                    Err(Error::new(ErrorKind::Rejected, message).hint(hints::ROLES))
                }
                Ok(found) => Ok(found),
                Err(error) if error.chain().join(": ").contains(IS_THERE) => {
                    self.take_up(error, watch).await
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// What is there although the plan did not see it: an answer from before lagged, the reply to
    /// an earlier call was lost, or a deleted one has its name still.
    async fn take_up(&self, refused: Error, watch: &dyn Watch) -> Result<Look<Begun>> {
        let found = self.find().await;
        let found = found.told(|| format!("read service `{}`", self.name()))?;
        let Some((there, false)) = found else {
            watch.note("the service of that name that was deleted is not gone yet");
            return Ok(Look::NotYet(refused.chain().join(": ")));
        };
        if let Some(stranger) = self.ownership.foreign(&there.tags) {
            let name = self.name();
            let message = format!("service `{name}` exists and is not ours: {stranger}");
            return Err(Error::new(ErrorKind::Conflict, message).because(refused));
        }
        if !self.differs(&there) {
            return Ok(Look::Found(Begun {
                service: there.service,
                operation: Ours::Newest,
            }));
        }
        watch.note("it is there already: it is changed");
        self.send(&there, watch).await.map(Look::Found)
    }
}
