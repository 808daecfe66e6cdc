//! The calls that concern one Memorystore instance, and what they find.

use std::sync::Arc;
use std::time::Duration;

use deployer_core::error::Result;
use deployer_core::wait::{Look, Pace, Readiness, poll};
use google_cloud_longrunning::model::Operation;
use google_cloud_redis_v1::model;
use google_cloud_redis_v1::model::instance::State;
use secrecy::{ExposeSecret, SecretString};

use crate::error::{self, Found};
use crate::operation as operations;
use crate::project::Project;

/// Making or scaling an instance takes some five to ten minutes; Google names no bound.
pub(super) const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// The port of encrypted connections, until the instance names it.
const TLS_PORT: i32 = 6378;

/// The calls that concern one instance.
pub(super) struct Calls {
    pub(super) project: Arc<Project>,
    pub(super) name: String,
}

impl Calls {
    pub(super) fn new(project: &Arc<Project>, name: &str) -> Self {
        Self {
            project: Arc::clone(project),
            name: name.to_owned(),
        }
    }

    pub(super) fn path(&self) -> String {
        self.project.names.cache(&self.name)
    }

    pub(super) fn cannot(&self, what: &str) -> String {
        format!("cannot {what} cache `{}`", self.name)
    }

    pub(super) async fn find(&self) -> Result<Found<model::Instance>> {
        let outcome = self
            .project
            .clients
            .redis
            .reading()
            .await
            .get_instance()
            .set_name(self.path())
            .send()
            .await;
        error::found(outcome, &self.cannot("read"))
    }

    /// The instance with its token, as far as it is made.
    pub(super) async fn with_token(&self, instance: model::Instance) -> Result<Actual> {
        let token = if instance.auth_enabled && is_usable(&instance.state) {
            let answer = self
                .project
                .clients
                .redis
                .reading()
                .await
                .get_instance_auth_string()
                .set_name(self.path())
                .send()
                .await;
            // It may be gone by now: then it has no token either.
            let answer = error::optional(answer, &self.cannot("read the token of"))?;
            answer.map(|answer| SecretString::from(answer.auth_string))
        } else {
            None
        };
        Ok(Actual {
            instance,
            token,
            operation: None,
        })
    }

    pub(super) async fn settle(&self, started: Operation, action: &str) -> Result<()> {
        let redis = &self.project.clients.redis;
        operations::settle(&self.project, started, DEADLINE, action, |name| async {
            let ask = redis.reading().await.get_operation();
            ask.set_name(name).send().await
        })
        .await
    }

    /// Whether one of its name is being deleted.
    pub(super) async fn is_going(&self) -> Result<bool> {
        Ok(match self.find().await? {
            Found::Here(instance) => instance.state == State::Deleting,
            Found::Absent | Found::Denied(_) => false,
        })
    }

    /// Waits until nothing is under its name any more.
    ///
    /// Errors: denied; timed out.
    pub(super) async fn gone(&self) -> Result<()> {
        let what = format!("the end of cache `{}`", self.name);
        let (clock, pace) = (self.project.context.clock.as_ref(), Pace::until(DEADLINE));
        poll(clock, pace, &what, || async {
            let found = self.find().await;
            operations::bearing(
                found.and_then(|found| match found.seen(&self.cannot("see"))? {
                    None => Ok(Look::Found(())),
                    Some(_) => Ok(Look::NotYet("it is still there".to_owned())),
                }),
            )
        })
        .await
    }

    pub(super) async fn delete(&self) -> Result<()> {
        let action = self.cannot("delete");
        let outcome = self
            .project
            .clients
            .redis
            .changing()
            .await
            .delete_instance()
            .set_name(self.path())
            .send()
            .await;
        match error::optional(outcome, &action)? {
            Some(operation) => self.settle(operation, &action).await,
            None => Ok(()),
        }
    }
}

/// Whether an instance in this state serves.
fn is_usable(state: &State) -> bool {
    matches!(
        state,
        State::Ready | State::Updating | State::Maintenance | State::FailingOver
    )
}

/// An instance as it is.
#[derive(Clone, Debug)]
pub(crate) struct Actual {
    pub(super) instance: model::Instance,
    pub(super) token: Option<SecretString>,
    /// The operation that this run started on it.
    pub(super) operation: Option<String>,
}

impl Actual {
    /// `rediss://:TOKEN@HOST:PORT`. `None` until it has all of it.
    pub(super) fn url(&self) -> Option<SecretString> {
        let (host, port) = endpoint(&self.instance)?;
        // Google's token is a UUID: there is nothing to encode.
        let token = self.token.as_ref()?.expose_secret();
        Some(SecretString::from(format!(
            "rediss://:{token}@{host}:{port}"
        )))
    }

    /// Every certificate that the server's may be signed by, one after the other. `None` until
    /// there is one.
    pub(super) fn authority(&self) -> Option<SecretString> {
        let certificates = &self.instance.server_ca_certs;
        let lines: Vec<String> = certificates
            .iter()
            .map(|certificate| format!("{}\n", certificate.cert.trim()))
            .collect();
        (!lines.is_empty()).then(|| SecretString::from(lines.concat()))
    }
}

/// Where an instance is reached. `None` until it has an address.
pub(super) fn endpoint(instance: &model::Instance) -> Option<(&str, i32)> {
    let host = Some(instance.host.as_str()).filter(|host| !host.is_empty())?;
    let port = match instance.port {
        0 => TLS_PORT,
        port => port,
    };
    Some((host, port))
}

/// What its state says of an instance.
pub(super) fn judge(instance: &model::Instance) -> Readiness {
    if !instance.suspension_reasons.is_empty() {
        let reasons = &instance.suspension_reasons;
        let reasons: Vec<&str> = reasons.iter().filter_map(|reason| reason.name()).collect();
        return Readiness::Failed(format!("it is suspended: {}", reasons.join(", ")));
    }
    if instance.state != State::Ready {
        let state = instance
            .state
            .name()
            .unwrap_or("in a state unknown to this version");
        let words = format!("it is {state} {}", instance.status_message);
        return Readiness::Pending(words.trim().to_owned());
    }
    if instance.host.is_empty() {
        return Readiness::Pending("it has no address yet".to_owned());
    }
    Readiness::Ready
}
