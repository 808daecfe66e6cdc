//! Operates what runs: what serves, which revisions there are, making one serve.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ecs::types::{
    ContainerDefinition, Service, SortOrder, TaskDefinition, TaskDefinitionField,
    TaskDefinitionStatus,
};
use deployer_core::capability::{
    Activation, ImageRef, Revision, RevisionInfo, SecretVersion, Serving, ServingState,
};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Watch;
use deployer_core::spec::ServiceSpec;
use deployer_core::wait::{Look, Pace, Readiness, poll};
use futures::future::try_join_all;
use jiff::Timestamp;

use super::lookup::describe;
use super::registration::as_it_is;
use super::rollout::{Asked, Judge};
use super::service_calls::{absent, send_update};
use super::task_definition::{WithTags, describe_revision, family_of, short};
use super::{Names, autopsy, rollout};
use crate::client::Clients;
use crate::error::{Told, incomplete};
use crate::secret_store::value_from::{pinned as pinned_by, repin};

/// How many revisions a list holds: each costs a call.
const REVISIONS: usize = 20;

/// See [`deployer_core::capability::Services::serving`].
pub(super) async fn serving(clients: &Clients, spec: &ServiceSpec) -> Result<Option<Serving>> {
    let names = Names::of(clients, spec);
    let service = describe(clients, &names.service, WithTags::No).await?;
    let Some(service) = service.filter(|service| service.status() == Some("ACTIVE")) else {
        return Ok(None);
    };
    let traffic = traffic(&service);
    let definitions = traffic
        .iter()
        .map(|(revision, _)| describe_revision(clients, &revision.0));
    let images = try_join_all(definitions)
        .await?
        .iter()
        .filter_map(|definition| {
            let arn = definition.task_definition_arn()?.to_owned();
            Some((arn, image_of(definition, &names.container)?))
        })
        .collect();
    let wanted = service
        .task_definition()
        .map(|arn| Revision(arn.to_owned()));
    let asked = service.task_definition().unwrap_or_default();
    let state = match rollout::judge(&service, asked, Asked::ANY) {
        // Whoever said so: nobody serves, and nothing is on its way.
        Readiness::Pending(_) if service.desired_count() == 0 => {
            ServingState::Failed("its count of tasks is 0: nobody serves".into())
        }
        Readiness::Ready => ServingState::Ready,
        Readiness::Pending(why) => match autopsy::ends(clients, &names, &service).await {
            ends if ends.is_empty() => ServingState::InProgress(why),
            ends => ServingState::Failing([vec![why], ends].concat().join("; ")),
        },
        Readiness::Failed(why) | Readiness::RolledBack(why) | Readiness::Replaced(why) => {
            ServingState::Failed(why)
        }
    };
    let count = |number: i32| u32::try_from(number).unwrap_or_default();
    Ok(Some(Serving {
        service: names.service,
        wanted,
        traffic,
        images,
        instances: Some((
            count(service.desired_count()),
            count(service.running_count()),
        )),
        state,
        url: spec.url.clone(),
        put_back: None,
    }))
}

/// Shares by running tasks: a load balancer gives each task the same. They sum to 100, or there are
/// none.
fn traffic(service: &Service) -> Vec<(Revision, u32)> {
    let mut running: BTreeMap<&str, u32> = BTreeMap::new();
    for deployment in service.deployments() {
        let count = u32::try_from(deployment.running_count()).unwrap_or_default();
        if let (Some(arn), 1..) = (deployment.task_definition(), count) {
            *running.entry(arn).or_default() += count;
        }
    }
    let total: u32 = running.values().sum();
    let mut shares: Vec<(Revision, u32)> = running
        .into_iter()
        .map(|(arn, count)| (Revision(arn.to_owned()), count * 100 / total))
        .collect();
    let given: u32 = shares.iter().map(|(_, share)| share).sum();
    if let Some((_, share)) = shares.first_mut() {
        *share += 100 - given;
    }
    shares
}

fn image_of(definition: &TaskDefinition, container: &str) -> Option<ImageRef> {
    let container = super::definition_read::container_of(definition, container)?;
    container.image().map(|image| ImageRef(image.to_owned()))
}

/// See [`deployer_core::capability::Services::newest_rollout`].
pub(super) async fn newest_rollout(
    clients: &Clients,
    spec: &ServiceSpec,
) -> Result<Option<String>> {
    let names = Names::of(clients, spec);
    let service = describe(clients, &names.service, WithTags::No).await?;
    let service = service.filter(|service| service.status() == Some("ACTIVE"));
    Ok(service.and_then(|service| rollout::newest(&service).map(str::to_owned)))
}

/// See [`deployer_core::capability::Services::revisions`].
pub(super) async fn revisions(clients: &Clients, spec: &ServiceSpec) -> Result<Vec<RevisionInfo>> {
    let names = Names::of(clients, spec);
    let listed = clients
        .ecs
        .list_task_definitions()
        .family_prefix(&names.family)
        .status(TaskDefinitionStatus::Active)
        .sort(SortOrder::Desc)
        .send()
        .await
        .told(|| format!("list the revisions of task definition `{}`", names.family))?;
    let arns = listed
        .task_definition_arns()
        .iter()
        .filter(|arn| family_of(arn) == names.family)
        .take(REVISIONS);
    let mut definitions = try_join_all(arns.map(|arn| describe_revision(clients, arn))).await?;
    definitions.sort_by_key(|definition| std::cmp::Reverse(definition.revision()));
    Ok(definitions
        .iter()
        .filter_map(|definition| {
            let at = definition.registered_at();
            Some(RevisionInfo {
                revision: Revision(definition.task_definition_arn()?.to_owned()),
                image: image_of(definition, &names.container)?,
                created: at.and_then(|at| Timestamp::from_second(at.secs()).ok()),
            })
        })
        .collect())
}

/// See [`deployer_core::capability::Services::pinned`].
pub(super) async fn pinned(
    clients: &Clients,
    revision: &Revision,
) -> Result<BTreeMap<String, SecretVersion>> {
    let definition = describe_revision(clients, &revision.0).await?;
    if definition.status() != Some(&TaskDefinitionStatus::Active) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("task definition `{}` is deregistered", revision.0),
        ));
    }
    Ok(definition
        .container_definitions()
        .iter()
        .flat_map(ContainerDefinition::secrets)
        .filter_map(|secret| Some((secret.name().to_owned(), pinned_by(secret.value_from())?)))
        .collect())
}

/// See [`deployer_core::capability::Services::activate`].
pub(super) async fn activate(
    clients: &Clients,
    activation: &Activation,
    watch: &dyn Watch,
) -> Result<Revision> {
    let wanted = following(clients, activation).await?;
    let service = &activation.service;
    let call = clients.ecs.update_service();
    let call = call
        .cluster(&clients.cluster.0)
        .service(service)
        .task_definition(&wanted);
    let action = format!("make {} serve as `{service}`", short(&wanted));
    let begun = send_update(clients, &action, call).await?;
    let until = Until {
        wanted: &wanted,
        asked: Asked::ANY,
        patience: activation.patience,
    };
    until_serves(clients, service, &until, Some(&begun), watch).await?;
    Ok(Revision(wanted))
}

/// What is waited for.
pub(super) struct Until<'a> {
    /// The task definition that is to serve.
    pub(super) wanted: &'a str,
    /// In how many tasks.
    pub(super) asked: Asked,
    /// For how long.
    pub(super) patience: Duration,
}

/// Waits until the task definition that is wanted, and nothing else, serves. `begun` is what ECS
/// answered when it was asked for that: what it tells afterwards may be older.
pub(super) async fn until_serves(
    clients: &Clients,
    service: &str,
    until: &Until<'_>,
    begun: Option<&Service>,
    watch: &dyn Watch,
) -> Result<()> {
    let what = format!("service `{service}`");
    let (clock, judge) = (clients.clock(), Judge::new(until.asked));
    poll(clock, Pace::closely(until.patience), &what, || async {
        let seen = describe(clients, service, WithTags::No)
            .await?
            .ok_or_else(|| absent(service))?;
        if begun.is_some_and(|it| rollout::lags(&seen, it)) {
            return Ok(Look::NotYet(rollout::LAGGING.into()));
        }
        let ours = begun.and_then(rollout::newest);
        let judged = match rollout::taken_back(&seen, ours, until.wanted) {
            Some(why) => Readiness::RolledBack(why.to_owned()),
            None => judge.look(&seen, until.wanted, clock.elapsed()),
        };
        match judged {
            Readiness::Ready => Ok(Look::Found(())),
            Readiness::Pending(why) => {
                watch.note(&why);
                Ok(Look::NotYet(why))
            }
            readiness => {
                let asked = short(until.wanted);
                let (kind, why) = readiness.failure().unwrap_or((ErrorKind::Failed, ""));
                Err(Error::new(
                    kind,
                    format!("{asked} does not serve as `{service}`: {why}"),
                ))
            }
        }
    })
    .await
}

/// The revision itself, or a copy that pins the versions of the secrets that follow.
async fn following(clients: &Clients, activation: &Activation) -> Result<String> {
    let arn = &activation.revision.0;
    if activation.follow.is_empty() {
        return Ok(arn.clone());
    }
    let include = vec![TaskDefinitionField::Tags];
    let answer = clients
        .ecs
        .describe_task_definition()
        .task_definition(arn)
        .set_include(Some(include))
        .send()
        .await
        .told(|| format!("read task definition `{}`", short(arn)))?;
    let tags = answer.tags.clone().filter(|tags| !tags.is_empty());
    let definition = answer.task_definition.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("there is no task definition `{arn}`"),
        )
    })?;
    let (containers, changed) = repinned(&definition, &activation.follow)?;
    if !changed {
        return Ok(arn.clone());
    }
    let copy = as_it_is(&clients.ecs, &definition)
        .set_container_definitions(Some(containers))
        .set_tags(tags)
        .send()
        .await
        .told(|| format!("register a copy of {} with the current secrets", short(arn)))?;
    copy.task_definition
        .and_then(|definition| definition.task_definition_arn)
        .ok_or_else(|| Error::new(ErrorKind::Rejected, "ECS answered no task definition"))
}

/// The containers with the versions of `follow`, and whether that changed anything.
fn repinned(
    definition: &TaskDefinition,
    follow: &BTreeMap<String, SecretVersion>,
) -> Result<(Vec<ContainerDefinition>, bool)> {
    let mut containers = definition.container_definitions().to_vec();
    let mut changed = false;
    for secret in containers
        .iter_mut()
        .filter_map(|container| container.secrets.as_mut())
        .flatten()
    {
        let Some(version) = follow.get(secret.name()) else {
            continue;
        };
        let value_from = repin(secret.value_from(), version);
        changed |= value_from != secret.value_from();
        *secret = aws_sdk_ecs::types::Secret::builder()
            .name(secret.name())
            .value_from(value_from)
            .build()
            .map_err(incomplete)?;
    }
    Ok((containers, changed))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::{Deployment, Secret};

    use super::*;

    fn deployment(definition: &str, running: i32) -> Deployment {
        Deployment::builder()
            .task_definition(definition)
            .running_count(running)
            .build()
    }

    #[test]
    fn shares_of_traffic_sum_to_a_hundred() {
        let service = Service::builder()
            .deployments(deployment("a", 1))
            .deployments(deployment("b", 2))
            .deployments(deployment("c", 0))
            .build();
        let shares = traffic(&service);
        assert_eq!(shares.iter().map(|(_, share)| share).sum::<u32>(), 100);
        assert_eq!(shares.len(), 2);
        assert!(traffic(&Service::builder().build()).is_empty());
    }

    #[test]
    fn a_copy_is_made_only_when_a_pin_changes() {
        let arn = "arn:aws:secretsmanager:r:1:secret:db-abc";
        let secret = Secret::builder()
            .name("DATABASE_URL")
            .value_from(format!("{arn}:url::v1"))
            .build()
            .unwrap();
        let container = ContainerDefinition::builder().secrets(secret).build();
        let definition = TaskDefinition::builder()
            .container_definitions(container)
            .build();
        let follow = |version: &str| {
            let version = SecretVersion {
                secret: arn.into(),
                version: version.into(),
            };
            BTreeMap::from([("DATABASE_URL".to_owned(), version)])
        };
        assert!(!repinned(&definition, &follow("v1")).unwrap().1);
        let (containers, changed) = repinned(&definition, &follow("v2")).unwrap();
        assert!(changed);
        assert_eq!(
            containers[0].secrets()[0].value_from(),
            format!("{arn}:url::v2")
        );
    }
}
