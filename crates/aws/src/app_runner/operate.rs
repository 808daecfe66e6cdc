//! Operates what runs: what serves, and making what a release recorded serve again.

use std::collections::BTreeMap;

use aws_sdk_apprunner::types::{OperationSummary, Service as SdkService, ServiceStatus};
use deployer_core::capability::{
    Activation, ImageRef, RecordedRelease, Revision, RevisionInfo, SecretVersion, Serving,
    ServingState,
};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::graph::Value;
use deployer_core::node::Watch;
use deployer_core::spec::ServiceSpec;
use jiff::Timestamp;

use super::begin::{self, Deployment};
use super::calls;
use super::described::{REVISION, image_of, revision_of};
use super::operations;
use super::served;
use super::service::until_serves;
use super::shape::{Shape, Versions};
use super::{switch, url_of};
use crate::client::Clients;
use crate::error::Told;
use crate::secret_store;
use crate::tags::Tags;

/// Whether a revision is one of App Runner's.
pub(crate) fn is_revision(revision: &Revision) -> bool {
    revision.0.starts_with(REVISION)
}

/// See [`deployer_core::capability::Services::serving`].
///
/// While a deployment is under way the configuration that is described is the one that it makes
/// serve; what serves until then is told by nobody. After one that failed, no source says whether
/// what failed is described or what was put back: the ledger is asked ([`PutBack`]).
pub(crate) async fn serving(clients: &Clients, spec: &ServiceSpec) -> Result<Option<Serving>> {
    let Some(service) = calls::seen(clients, &spec.name).await? else {
        return Ok(None);
    };
    let revision = revision_of(&service);
    let latest = match service.status() {
        ServiceStatus::Running | ServiceStatus::OperationInProgress => {
            let latest = calls::operations(clients, &service).await;
            latest.told(|| format!("list the operations of service `{}`", spec.name))?
        }
        _ => Vec::new(),
    };
    let (state, serves) = state_of(&service, &latest);
    let put_back = operations::put_back(&latest);
    let serves = serves && put_back.is_none();
    let images = image_of(&service).map(|image| {
        let image = ImageRef(image.image_identifier().to_owned());
        (revision.0.clone(), image)
    });
    let given = url_of(clients, &service);
    Ok(Some(Serving {
        service: spec.name.clone(),
        wanted: Some(revision.clone()),
        traffic: serves.then_some((revision, 100)).into_iter().collect(),
        images: images.into_iter().collect(),
        instances: None,
        state,
        url: spec.url.clone().or(given),
        put_back,
    }))
}

/// Where it stands, and whether what it describes serves. `latest` are its operations, newest
/// first.
fn state_of(service: &SdkService, latest: &[OperationSummary]) -> (ServingState, bool) {
    match service.status() {
        ServiceStatus::Running => match operations::failed(latest) {
            None => (ServingState::Ready, true),
            Some(how) => (
                ServingState::Failed(format!("{how}: what served before it serves")),
                false,
            ),
        },
        ServiceStatus::OperationInProgress => {
            let why = match latest.first() {
                Some(it) if operations::puts_back(it) => format!(
                    "{} failed, and App Runner puts back what served before",
                    operations::name(it)
                ),
                Some(it) => format!("{} is under way", operations::name(it)),
                None => "an operation is under way".to_owned(),
            };
            (ServingState::InProgress(why), false)
        }
        ServiceStatus::Paused => {
            let why = "it is paused: nobody is served";
            (ServingState::Failed(why.into()), false)
        }
        status => (ServingState::Failed(status.as_str().to_owned()), false),
    }
}

/// See [`deployer_core::capability::Services::newest_rollout`].
pub(crate) async fn newest_rollout(
    clients: &Clients,
    spec: &ServiceSpec,
) -> Result<Option<String>> {
    let Some(service) = calls::seen(clients, &spec.name).await? else {
        return Ok(None);
    };
    let latest = calls::operations(clients, &service).await;
    let latest = latest.told(|| format!("list the operations of service `{}`", spec.name))?;
    Ok(operations::newest(&latest))
}

/// See [`deployer_core::capability::Services::revisions`]: App Runner keeps the one that it runs.
pub(crate) async fn revisions(clients: &Clients, spec: &ServiceSpec) -> Result<Vec<RevisionInfo>> {
    let service = calls::seen(clients, &spec.name).await?;
    let info = service.and_then(|service| {
        let updated = service.updated_at();
        Some(RevisionInfo {
            revision: revision_of(&service),
            image: ImageRef(image_of(&service)?.image_identifier().to_owned()),
            created: Timestamp::from_second(updated.secs()).ok(),
        })
    });
    Ok(info.into_iter().collect())
}

/// The tags of a service. `None` when there is none.
pub(crate) async fn owner_tags(clients: &Clients, name: &str) -> Result<Option<Tags>> {
    let Some(service) = calls::seen(clients, name).await? else {
        return Ok(None);
    };
    let tags = calls::tags(clients, &service).await;
    tags.told(|| format!("read the tags of service `{name}`"))
        .map(Some)
}

/// See [`deployer_core::capability::Services::activate`]: there is no revision to go back to, so
/// the configuration is made again of what the release recorded. Secrets are read by the
/// deployment: all have their current values, whatever the release started with. Size, network and
/// scaling stay as they are but for CPU and memory.
pub(crate) async fn activate(
    clients: &Clients,
    activation: &Activation,
    watch: &dyn Watch,
) -> Result<Revision> {
    let name = &activation.service;
    let recorded = activation.recorded.as_deref().ok_or_else(|| {
        Error::internal("a release of App Runner was to serve again, and nothing was recorded")
    })?;
    let found = calls::seen(clients, name).await?;
    let mut service = found.ok_or_else(|| calls::absent(name))?;
    if service.status() == &ServiceStatus::Paused {
        service = switch::resume(clients, &service, watch).await?.service;
    }
    let versions = current(clients, recorded, &activation.follow).await?;
    let of = (recorded.image.clone(), versions);
    let shape = served::shape_of(clients, name, &recorded.spec, of)?;
    if service.status() == &ServiceStatus::Running && says(&shape, &service) {
        let latest = calls::operations(clients, &service).await;
        let latest = latest.told(|| format!("list the operations of service `{name}`"))?;
        // What is described may be what was tried last and never served.
        if operations::failed(&latest).is_none() {
            return Ok(revision_of(&service));
        }
    }
    let there = Some(&service);
    let call = clients.app_runner.update_service();
    let call = call
        .service_arn(service.service_arn())
        .source_configuration(shape.source(there)?)
        .instance_configuration(shape.instance(there))
        .health_check_configuration(shape.health(there));
    let deployment = Deployment {
        clients,
        service: &service,
        action: format!("make {} serve again as `{name}`", activation.revision.0),
        is_asked_for: &|described| says(&shape, described),
    };
    let begun = begin::update(&deployment, call, watch).await?;
    until_serves(clients, &begun, activation.patience, watch).await?;
    Ok(revision_of(&begun.service))
}

/// Whether a service says already what is to serve.
fn says(shape: &Shape, service: &SdkService) -> bool {
    let there = super::described::fields_of(service);
    let wanted = shape.fields(Some(service));
    let changes = there.changes_to(&wanted);
    let around = super::described::AROUND;
    changes.iter().all(|it| around.contains(&it.field.as_str()))
}

/// The versions of its secrets that are current now, by the manifest's names.
async fn current(
    clients: &Clients,
    recorded: &RecordedRelease,
    follow: &BTreeMap<String, SecretVersion>,
) -> Result<Versions> {
    let mut versions = BTreeMap::new();
    for (variable, used) in &recorded.spec.secrets {
        if versions.contains_key(&used.secret) {
            continue;
        }
        let known = follow
            .get(variable)
            .or_else(|| recorded.secrets.get(&used.secret));
        let known = known.ok_or_else(|| {
            let message = format!("the release does not say which secret `{variable}` is");
            Error::new(ErrorKind::NotFound, message)
                .hint("set `image` to the release's one and apply: that makes a new release of it")
        })?;
        let now = secret_store::current_version(clients, known).await?;
        versions.insert(used.secret.clone(), Value::Given(now));
    }
    Ok(versions)
}

/// The error for a revision of the other runtime.
pub(crate) fn of_another_runtime(service: &str, revision: &Revision) -> Error {
    let ran = match is_revision(revision) {
        true => "App Runner",
        false => "ECS",
    };
    let message = format!(
        "{} of `{service}` ran on {ran}, which does not run it now",
        revision.0
    );
    Error::new(ErrorKind::NotFound, message)
}
