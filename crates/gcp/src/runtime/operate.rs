//! Makes an earlier revision serve: by moving the traffic, or by a new revision with current
//! secrets.

use std::collections::BTreeMap;
use std::time::Duration;

use deployer_core::capability::{Activation, Revision, SecretVersion};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::{Token, Watch};
use deployer_core::wait::{Look, Pace, Readiness, poll};
use google_cloud_run_v2::model;
use google_cloud_run_v2::model::{
    Container, RevisionTemplate, TrafficTarget, TrafficTargetAllocationType,
};

use crate::operation;
use crate::paths::{Names, short};
use crate::runtime::container::{self, RUN_ANNOTATION};
use crate::runtime::service::{self, Calls};
use crate::runtime::{rollout, shape};

/// Carries `activation` out and waits until it is true. What is told of the service may lag behind
/// what is known, the `generation`.
///
/// Errors: [`ErrorKind::Untrue`] when something else serves at the end.
pub(crate) async fn carry_out(
    calls: &Calls,
    activation: &Activation,
    generation: i64,
    token: &Token,
    watch: &dyn Watch,
) -> Result<Revision> {
    let wanted = short(&activation.revision.0).to_owned();
    let follow = if activation.follow.is_empty() {
        None
    } else {
        let revision = calls.revision(&wanted).await?;
        stale_pins(&calls.project.names, &revision, &activation.follow).then_some(revision)
    };
    let service = calls.since(generation).await?;
    match follow {
        None => move_traffic(calls, service, &wanted, activation.patience, watch).await,
        Some(revision) => renew(calls, service, &revision, activation, token, watch).await,
    }
}

/// Whether a revision pins another version of a secret that follows.
fn stale_pins(
    names: &Names,
    revision: &model::Revision,
    follow: &BTreeMap<String, SecretVersion>,
) -> bool {
    revision
        .containers
        .iter()
        .flat_map(|container| container::pinned(names, container))
        .any(|(variable, pin)| follow.get(&variable).is_some_and(|current| *current != pin))
}

async fn move_traffic(
    calls: &Calls,
    service: model::Service,
    revision: &str,
    patience: Duration,
    watch: &dyn Watch,
) -> Result<Revision> {
    let mut since = service.generation;
    let traffic = shape::everything_to(revision, &service.traffic);
    let differs = rollout::show_asked(&service.traffic) != rollout::show_asked(&traffic);
    if differs || shape::has_candidate(&service.traffic) {
        since = since.max(point(calls, service, revision).await?.generation);
    }
    let asked = rollout::show_asked(&shape::everything_to(revision, &[]));
    wait_until(calls, (since, patience), watch, |service| {
        let now = rollout::show_asked(&service.traffic);
        let state = match now == asked {
            true => rollout::of_revision(service, revision),
            false => Readiness::Replaced(format!("somebody else moved the traffic: {now}")),
        };
        (state, Revision(revision.to_owned()))
    })
    .await
}

/// Sends the traffic to a revision; again, when whatever settles meanwhile forestalls it. Somebody
/// else's traffic stays.
async fn point(
    calls: &Calls,
    mut service: model::Service,
    revision: &str,
) -> Result<model::Service> {
    let asked = rollout::show_asked(&service.traffic);
    let mut tries = service::TRIES;
    loop {
        let traffic = shape::everything_to(revision, &service.traffic);
        let sent = calls
            .update(service.set_traffic(traffic), &["traffic"])
            .await;
        match sent {
            Err(error) if error.kind() == ErrorKind::Conflict && tries > 0 => tries -= 1,
            outcome => return outcome,
        }
        calls.project.context.clock.pause(service::PAUSE).await;
        service = calls.get().await?;
        let now = rollout::show_asked(&service.traffic);
        if now != asked {
            let message = format!(
                "somebody else moved the traffic of service `{}`",
                calls.name
            );
            return Err(Error::new(ErrorKind::Conflict, format!("{message}: {now}"))
                .hint("look at what serves, then try again"));
        }
    }
}

/// Makes a revision that is equal but for the secrets that follow.
async fn renew(
    calls: &Calls,
    service: model::Service,
    revision: &model::Revision,
    activation: &Activation,
    token: &Token,
    watch: &dyn Watch,
) -> Result<Revision> {
    let mut service = service;
    let mut tries = service::TRIES;
    let (since, ours) = loop {
        let landed_before = service
            .template
            .as_ref()
            .and_then(|template| template.annotations.get(RUN_ANNOTATION))
            .is_some_and(|run| *run == token.0);
        if landed_before {
            break (service.generation, None);
        }
        let sent = renewed(calls, service.clone(), revision, activation, token)?;
        match calls.revise(sent, token).await {
            Ok(revised) => break (revised.service.generation, Some(revised.ours)),
            Err(error) if error.kind() == ErrorKind::Conflict && tries > 0 => tries -= 1,
            Err(error) => return Err(error),
        }
        calls.project.context.clock.pause(service::PAUSE).await;
        service = calls.get().await?;
    };
    wait_until(calls, (since, activation.patience), watch, |service| {
        let newest = short(&service.latest_created_revision).to_owned();
        let clock = &calls.project.context.clock;
        let state = match ours.as_ref().and_then(|ours| ours.is_another(service)) {
            Some(why) => Readiness::Replaced(why),
            None => rollout::of_latest(service),
        };
        let state = match &ours {
            Some(ours) => ours.fresh(state, service, clock.now()),
            None => state,
        };
        (state, Revision(newest))
    })
    .await
}

/// The service with the template of `revision`, and all traffic to what is made of it.
fn renewed(
    calls: &Calls,
    service: model::Service,
    revision: &model::Revision,
    activation: &Activation,
    token: &Token,
) -> Result<model::Service> {
    let mut template = template_of(&calls.project.names, revision, &activation.follow)?;
    template
        .annotations
        .insert(RUN_ANNOTATION.to_owned(), token.0.clone());
    let latest = TrafficTarget::new()
        .set_type(TrafficTargetAllocationType::Latest)
        .set_percent(100);
    let tags = shape::tags(&service.traffic);
    let traffic: Vec<TrafficTarget> = std::iter::once(latest).chain(tags).collect();
    Ok(service.set_template(template).set_traffic(traffic))
}

/// The template that a revision was made from, with the versions that follow.
fn template_of(
    names: &Names,
    revision: &model::Revision,
    follow: &BTreeMap<String, SecretVersion>,
) -> Result<RevisionTemplate> {
    let containers: Vec<Container> = revision
        .containers
        .iter()
        .map(|there| {
            let mut container = there.clone();
            let pins = container::pinned(names, there);
            for variable in &mut container.env {
                if let Some(version) = follow.get(&variable.name)
                    && pins.contains_key(&variable.name)
                {
                    *variable = container::secret_variable(names, &variable.name, version);
                }
            }
            container
        })
        .collect();
    let labels = revision.labels.iter().filter(|(key, _)| !is_systems(key));
    let annotations = revision
        .annotations
        .iter()
        .filter(|(key, _)| !is_systems(key));
    let (labels, annotations): (Vec<_>, Vec<_>) = (
        labels
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        annotations
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    );
    Ok(shape::taken_over(revision)?
        .set_labels(labels)
        .set_annotations(annotations)
        .set_containers(containers))
}

/// Whether Cloud Run sets that label or annotation itself, and refuses it in a template.
fn is_systems(key: &str) -> bool {
    const SPACES: [&str; 4] = [
        "run.googleapis.com",
        "cloud.googleapis.com",
        "serving.knative.dev",
        "autoscaling.knative.dev",
    ];
    let space = key.split_once('/').map_or("", |(space, _)| space);
    SPACES.iter().any(|system| {
        space
            .strip_suffix(system)
            .is_some_and(|outer| outer.is_empty() || outer.ends_with('.'))
    })
}

/// Waits, for so long, until the service, told as of generation `since` or later, is judged ready.
async fn wait_until(
    calls: &Calls,
    (since, patience): (i64, Duration),
    watch: &dyn Watch,
    judge: impl Fn(&model::Service) -> (Readiness, Revision),
) -> Result<Revision> {
    let what = format!("service `{}`", calls.name);
    let pace = Pace::closely(patience);
    let judge = &judge;
    poll(
        calls.project.context.clock.as_ref(),
        pace,
        &what,
        || async move {
            let service = calls.get().await?;
            if service.generation < since {
                return Ok(Look::NotYet(operation::LAGGING.to_owned()));
            }
            match judge(&service) {
                (Readiness::Ready, revision) => Ok(Look::Found(revision)),
                (Readiness::Pending(why), _) => {
                    watch.note(&why);
                    Ok(Look::NotYet(why))
                }
                (readiness, revision) => Err(Error::new(
                    ErrorKind::Untrue,
                    format!(
                        "revision `{}` of service `{}` does not serve",
                        revision.0, calls.name
                    ),
                )
                .because(readiness.why().unwrap_or_default())),
            }
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::test_names;

    fn version(number: &str) -> SecretVersion {
        SecretVersion {
            secret: test_names().secret("db-url"),
            version: number.into(),
        }
    }

    fn revision() -> model::Revision {
        let names = test_names();
        let container =
            Container::new()
                .set_image("img@sha256:1")
                .set_env([container::secret_variable(
                    &names,
                    "DATABASE_URL",
                    &version("3"),
                )]);
        model::Revision::new()
            .set_containers([container])
            .set_max_instance_request_concurrency(7)
            .set_labels([("serving.knative.dev/x", "1"), ("team", "identity")])
    }

    #[test]
    fn a_new_revision_is_made_only_when_a_secret_that_follows_has_moved_on() {
        let follow = |number| BTreeMap::from([("DATABASE_URL".to_owned(), version(number))]);
        assert!(stale_pins(&test_names(), &revision(), &follow("4")));
        assert!(!stale_pins(&test_names(), &revision(), &follow("3")));
    }

    #[test]
    fn the_new_revision_is_equal_but_for_the_secrets_that_follow() {
        let follow = BTreeMap::from([
            ("DATABASE_URL".to_owned(), version("4")),
            ("NOT_THERE".to_owned(), version("9")),
        ]);
        let template = template_of(&test_names(), &revision(), &follow).unwrap();
        assert_eq!(template.max_instance_request_concurrency, 7);
        assert_eq!(template.containers[0].image, "img@sha256:1");
        let pins = container::pinned(&test_names(), &template.containers[0]);
        assert_eq!(
            pins,
            BTreeMap::from([("DATABASE_URL".to_owned(), version("4"))])
        );
        assert_eq!(template.labels.len(), 1);
    }
}
