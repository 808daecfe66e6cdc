//! What a one-off has of a service on App Runner: what its configuration says, as a task on Fargate
//! takes it. App Runner itself runs nothing but services.

use std::collections::BTreeMap;

use aws_sdk_apprunner::types::{ImageConfiguration, Service as SdkService};
use deployer_core::capability::{ImageRef, Revision, SecretVersion};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldValue, Fields};

use super::described::{
    configuration_of, connector_of, fields_of, image_of, noted, revision_of, secret_of,
};
use super::{calls, vpc_connector};
use crate::client::Clients;
use crate::ground::Network;
use crate::names::SECRETS_NOTE;
use crate::secret_store::value_from::repin;

/// A service as one-offs see it.
pub(crate) struct There {
    /// Where its connector leads. `None` where what it sends goes to the internet.
    pub(crate) connector: Option<Network>,
    /// What it runs. `None` where that is another revision than was asked for.
    pub(crate) runs: Option<Runs>,
}

/// What a service runs.
pub(crate) struct Runs {
    pub(crate) image: ImageRef,
    /// 1,024 units to a CPU. App Runner's sizes are sizes of Fargate, each CPU with each memory
    /// (`Cpu` and `Memory` of InstanceConfiguration, AWS App Runner API Reference; "Task CPU and
    /// memory", Amazon ECS Developer Guide).
    pub(crate) cpu: String,
    /// In MiB.
    pub(crate) memory: u32,
    pub(crate) port: u16,
    pub(crate) role: Option<String>,
    /// Without the note of secrets.
    pub(crate) env: BTreeMap<String, String>,
    /// As ECS names them, by variable.
    pub(crate) secrets: BTreeMap<String, String>,
    /// The versions that those name, by variable.
    pub(crate) versions: BTreeMap<String, SecretVersion>,
}

/// Reads a service of which a one-off is to be one revision.
///
/// Errors: not found, when there is no such service.
pub(crate) async fn read(clients: &Clients, name: &str, revision: &Revision) -> Result<There> {
    let service = calls::seen(clients, name).await?;
    let service = service.ok_or_else(|| calls::absent(name))?;
    let connector = match connector_of(&service) {
        Some(name) => Some(vpc_connector::leads_to(clients, name).await?),
        None => None,
    };
    let runs = match revision_of(&service) == *revision {
        true => Some(runs(&service)?),
        false => None,
    };
    Ok(There { connector, runs })
}

fn runs(service: &SdkService) -> Result<Runs> {
    let name = service.service_name();
    let image = image_of(service).ok_or_else(|| {
        let message = format!("service `{name}` is built from source code: it has no image");
        Error::new(ErrorKind::Rejected, message)
            .hint("one-offs run in images; `deployer apply` gives the service one")
    })?;
    let fields = fields_of(service);
    let unsized_ = || Error::internal(format!("App Runner tells no size of service `{name}`"));
    let configuration = configuration_of(service);
    let variables = configuration.and_then(|it| it.runtime_environment_variables());
    let variables = variables.into_iter().flatten();
    let (secrets, versions) = configuration.map(secrets_of).unwrap_or_default();
    Ok(Runs {
        image: ImageRef(image.image_identifier().to_owned()),
        cpu: text(&fields, "cpu").ok_or_else(unsized_)?,
        memory: number(&fields, "memory").ok_or_else(unsized_)?,
        port: number(&fields, "port").unwrap_or(8080),
        role: text(&fields, "instance_role"),
        env: variables
            .filter(|(name, _)| *name != SECRETS_NOTE)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        secrets,
        versions,
    })
}

/// What ECS is to inject, and the versions that are pinned so: those that the last deployment
/// noted. Without a note it is what is current when the task starts, as for an instance.
fn secrets_of(
    configuration: &ImageConfiguration,
) -> (BTreeMap<String, String>, BTreeMap<String, SecretVersion>) {
    let noted = noted(configuration);
    let (mut secrets, mut versions) = (BTreeMap::new(), BTreeMap::new());
    let references = configuration.runtime_environment_secrets();
    for (variable, reference) in references.into_iter().flatten() {
        let version = noted.get(variable).map(|version| SecretVersion {
            secret: secret_of(reference),
            version: version.clone(),
        });
        let value_from = match &version {
            Some(version) => repin(reference, version),
            None => reference.clone(),
        };
        secrets.insert(variable.clone(), value_from);
        versions.extend(version.map(|version| (variable.clone(), version)));
    }
    (secrets, versions)
}

fn text(fields: &Fields, name: &str) -> Option<String> {
    match fields.get(name) {
        Some(FieldValue::Known(text)) => Some(text.clone()),
        Some(FieldValue::AfterApply { .. }) | None => None,
    }
}

fn number<T: std::str::FromStr>(fields: &Fields, name: &str) -> Option<T> {
    text(fields, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-AbCdEf";

    #[test]
    fn secrets_are_pinned_where_their_versions_are_noted() {
        let configuration = ImageConfiguration::builder()
            .runtime_environment_variables(SECRETS_NOTE, "MEMBER=v2 WHOLE=v1")
            .runtime_environment_secrets("WHOLE", SECRET)
            .runtime_environment_secrets("MEMBER", format!("{SECRET}:KEY::"))
            .runtime_environment_secrets("UNNOTED", format!("{SECRET}:OTHER::"))
            .build();
        let (secrets, versions) = secrets_of(&configuration);
        assert_eq!(secrets["WHOLE"], format!("{SECRET}:::v1"));
        assert_eq!(secrets["MEMBER"], format!("{SECRET}:KEY::v2"));
        assert_eq!(secrets["UNNOTED"], format!("{SECRET}:OTHER::"));
        assert_eq!(versions.len(), 2);
        let version = &versions["MEMBER"];
        assert_eq!(
            (version.secret.as_str(), version.version.as_str()),
            (SECRET, "v2")
        );
    }
}
