//! A service as it serves, where App Runner may describe a deployment that failed: the ledger's
//! last release says what was put back.

use aws_sdk_apprunner::types::{OperationSummary, Service as SdkService};
use deployer_core::capability::ImageRef;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::graph::Value;
use deployer_core::history;
use deployer_core::ledger::Release;
use deployer_core::spec::ServiceSpec;

use super::described::revision_of;
use super::operations;
use super::shape::{Roles, Shape, Versions};
use crate::client::Clients;
use crate::ground::{AccessRole, Ground, role_arn};

/// The service with the configuration that serves, and whether that is another one than is
/// described. `latest` are its operations, newest first, and `releases` those of the ledger, oldest
/// first.
///
/// A release says what was asked for, and of a code-only deployment more than that made serve: what
/// is made of it counts only where it is the release's own revision.
///
/// Errors: conflict, when neither App Runner nor a release says what serves.
pub(super) fn as_it_serves(
    clients: &Clients,
    described: SdkService,
    latest: &[OperationSummary],
    releases: &[Release],
) -> Result<(SdkService, bool)> {
    let Some(failed) = operations::put_back(latest) else {
        return Ok((described, false));
    };
    let revision = revision_of(&described);
    let unknown = || unknown(described.service_name());
    let served = history::served_before(failed, Some(&revision), releases).ok_or_else(unknown)?;
    if history::same_revision(&served.revision, &revision) {
        return Ok((described, false));
    }
    let name = described.service_name();
    let mut made = releases.iter().rev().filter_map(|release| {
        let versions = release.secrets.iter();
        let versions = versions.map(|(key, version)| (key.clone(), Value::Given(version.clone())));
        let of = (served.image.clone(), versions.collect());
        let shape = shape_of(clients, name, &release.spec, of).ok()?;
        saying(&described, &shape).ok()
    });
    let made = made.find(|it| history::same_revision(&revision_of(it), &served.revision));
    made.map(|service| (service, true)).ok_or_else(unknown)
}

/// What a release asked for, with an image and these versions of its secrets.
///
/// Errors: internal, when the service does not run on App Runner.
pub(super) fn shape_of(
    clients: &Clients,
    name: &str,
    spec: &ServiceSpec,
    (image, versions): (ImageRef, Versions),
) -> Result<Shape> {
    let section = &clients.section;
    let asked = section.on_app_runner(name);
    let asked = asked.ok_or_else(|| Error::internal("App Runner does not run this service"))?;
    let roles = Roles {
        access: Value::Given(AccessRole(role_arn(section, &asked.access_role))),
        instance: Ground::given(section).roles.task,
    };
    Ok(Shape::new(spec, roles, Value::Given(image), versions))
}

/// The service that says what the shape does.
fn saying(described: &SdkService, shape: &Shape) -> Result<SdkService> {
    let there = Some(described);
    let mut service = described.clone();
    service.source_configuration = Some(shape.source(there)?);
    service.instance_configuration = Some(shape.instance(there));
    service.health_check_configuration = Some(shape.health(there));
    Ok(service)
}

fn unknown(name: &str) -> Error {
    let message = format!(
        "what service `{name}` serves is not known: its last deployment failed, and no release says \
         what was put back"
    );
    Error::new(ErrorKind::Conflict, message)
        .hint("run `deployer apply` without `--only` once: it says everything anew")
}
