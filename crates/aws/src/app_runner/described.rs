//! A described service in the terms in which a plan compares it, and what of it a release is known
//! by; performs no IO.
//!
//! App Runner keeps no revisions. What a service runs is known by what its configuration says: the
//! same image, program, variables, secrets, size and health check are the same revision, whichever
//! operation made it serve.

use std::collections::BTreeMap;

use aws_sdk_apprunner::types::{
    EgressType, HealthCheckConfiguration, ImageConfiguration, ImageRepository,
    InstanceConfiguration, Service as SdkService, ServiceStatus,
};
use deployer_core::capability::Revision;
use deployer_core::fields::{FieldValue, Fields};
use sha2::{Digest, Sha256};

use super::vpc_connector::first_part;
use super::{note, scaling};
use crate::names::SECRETS_NOTE;

/// What the name of a revision of ours begins with; those of ECS are ARNs.
pub(crate) const REVISION: &str = "app-runner/";

/// Digits of a configuration in the name of its revision.
const DIGITS: usize = 12;

/// The fields that say how a service is reached, scaled and whether it is switched on: a release
/// leaves them as they are.
pub(super) const AROUND: [&str; 3] = ["egress", "scaling", "state"];

/// How many checks in a row an instance passes before it serves. It counts in a revision only where
/// another hand set it: revisions of ledgers know nothing of it.
pub(super) const PASSES: &str = "health.passes";
/// The same where nobody says it (HealthCheckConfiguration, AWS App Runner API Reference), and what
/// is ours.
pub(super) const USUAL_PASSES: i32 = 1;

/// What a service that nobody paused says of its state.
pub(super) const RUNS: &str = "runs";

/// The fields of a service that a plan compares, its tags aside.
pub(super) fn fields_of(service: &SdkService) -> Fields {
    let mut fields = Fields::new();
    if let Some(image) = image_of(service) {
        describe_image(&mut fields, image);
    }
    let source = service.source_configuration();
    let automatic = source.and_then(|source| source.auto_deployments_enabled());
    fields.set("auto_deployments", automatic.unwrap_or(true));
    let login = source.and_then(|source| source.authentication_configuration());
    let access = login.and_then(|login| login.access_role_arn());
    fields.set_some("access_role", access);
    if let Some(instance) = service.instance_configuration() {
        describe_instance(&mut fields, instance);
    }
    if let Some(health) = service.health_check_configuration() {
        describe_health(&mut fields, health);
    }
    fields.set("egress", egress_of(service));
    let scaling = service.auto_scaling_configuration_summary();
    let scaling = scaling.and_then(|it| {
        let name = it.auto_scaling_configuration_name()?;
        Some(scaling::called(
            name,
            it.auto_scaling_configuration_revision(),
        ))
    });
    fields.set_some("scaling", scaling);
    fields.set("state", state_of(service));
    fields
}

/// The source image. `None` of a service that is built from source code.
pub(super) fn image_of(service: &SdkService) -> Option<&ImageRepository> {
    service.source_configuration()?.image_repository()
}

/// How what the source image says is run.
pub(super) fn configuration_of(service: &SdkService) -> Option<&ImageConfiguration> {
    image_of(service)?.image_configuration()
}

fn describe_image(fields: &mut Fields, image: &ImageRepository) {
    fields.set_some("image", Some(image.image_identifier()));
    let Some(configuration) = image.image_configuration() else {
        return;
    };
    fields.set("port", configuration.port().unwrap_or("8080"));
    fields.set_some("command", configuration.start_command());
    let variables = configuration.runtime_environment_variables();
    let variables = variables.into_iter().flatten();
    fields.set_all("env", variables.filter(|(name, _)| *name != SECRETS_NOTE));
    let secrets = configuration.runtime_environment_secrets();
    fields.set_all("secrets", secrets.into_iter().flatten());
    fields.set_all("secret_versions", noted(configuration));
}

/// The versions of its secrets that the last deployment of ours started with, by variable.
pub(super) fn noted(configuration: &ImageConfiguration) -> BTreeMap<String, String> {
    let variables = configuration.runtime_environment_variables();
    let note = variables.and_then(|variables| variables.get(SECRETS_NOTE));
    note.map(|note| note::read(note)).unwrap_or_default()
}

/// The secret that a reference of a variable names: `ARN` or `ARN:KEY::`; an ARN of a secret has
/// seven parts.
pub(super) fn secret_of(reference: &str) -> String {
    reference.split(':').take(7).collect::<Vec<_>>().join(":")
}

/// `1 vCPU` is told as `1024`, `2 GB` as `2048` (the Terraform provider suppresses the difference:
/// `internal/service/apprunner/service.go` of hashicorp/terraform-provider-aws).
fn describe_instance(fields: &mut Fields, instance: &InstanceConfiguration) {
    let units = |text: &str, unit: &str| match text.strip_suffix(unit) {
        Some(whole) => whole.trim().parse().map(|whole: f64| whole * 1024.0),
        None => text.trim().parse(),
    };
    if let Some(Ok(cpu)) = instance.cpu().map(|text| units(text, "vCPU")) {
        fields.set("cpu", cpu);
    }
    if let Some(Ok(memory)) = instance.memory().map(|text| units(text, "GB")) {
        fields.set("memory", memory);
    }
    fields.set_some("instance_role", instance.instance_role_arn());
}

fn describe_health(fields: &mut Fields, health: &HealthCheckConfiguration) {
    let protocol = health.protocol().map_or("TCP", |it| it.as_str());
    fields.set("health.protocol", protocol);
    fields.set_some("health.path", health.path());
    // The defaults of HealthCheckConfiguration (AWS App Runner API Reference).
    fields.set("health.interval", health.interval().unwrap_or(5));
    fields.set("health.timeout", health.timeout().unwrap_or(2));
    fields.set("health.retries", health.unhealthy_threshold().unwrap_or(5));
    fields.set(PASSES, health.healthy_threshold().unwrap_or(USUAL_PASSES));
}

/// The connector's name, or that there is none.
fn egress_of(service: &SdkService) -> &str {
    connector_of(service).unwrap_or(NO_CONNECTOR)
}

/// The connector's name. `None` where what the app sends goes to the internet.
pub(super) fn connector_of(service: &SdkService) -> Option<&str> {
    let network = service.network_configuration()?;
    let egress = network.egress_configuration()?;
    let is_vpc = egress.egress_type() == Some(&EgressType::Vpc);
    is_vpc.then(|| egress.vpc_connector_arn().map_or("", connector_name))
}

/// What a service says that reaches the internet by itself.
pub(super) const NO_CONNECTOR: &str = "internet";

/// `NAME` in `arn:...:vpcconnector/NAME/REVISION/ID`.
pub(super) fn connector_name(arn: &str) -> &str {
    let rest = arn.split_once('/').map_or(arn, |(_, rest)| rest);
    first_part(rest).unwrap_or(rest)
}

/// Whether it serves, once nothing is under way.
fn state_of(service: &SdkService) -> &'static str {
    match service.status() {
        ServiceStatus::Paused => "paused",
        ServiceStatus::CreateFailed => CREATE_FAILED,
        ServiceStatus::DeleteFailed => DELETE_FAILED,
        _ => RUNS,
    }
}

/// What a service says that never came to be.
pub(super) const CREATE_FAILED: &str = "could not be created";
/// What one says that is half gone.
pub(super) const DELETE_FAILED: &str = "could not be deleted";

/// Whether nobody reaches it from the internet.
pub(super) fn is_private(service: &SdkService) -> bool {
    let network = service.network_configuration();
    let ingress = network.and_then(|network| network.ingress_configuration());
    ingress.is_some_and(|ingress| !ingress.is_publicly_accessible())
}

/// The revision that a service's configuration says.
pub(super) fn revision_of(service: &SdkService) -> Revision {
    revision(service.service_name(), &fields_of(service))
}

/// The revision of a service that has these fields; what is around a release does not count.
fn revision(service: &str, fields: &Fields) -> Revision {
    let mut hash = Sha256::new();
    let usual = |name: &str, value: &FieldValue| {
        name == PASSES && value.to_string() == USUAL_PASSES.to_string()
    };
    let counts = fields.iter().filter(|(name, _)| !AROUND.contains(name));
    for (name, value) in counts.filter(|(name, value)| !usual(name, value)) {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(value.to_string().as_bytes());
        hash.update([0]);
    }
    let digest = hex::encode(hash.finalize());
    let mark = digest.get(..DIGITS).unwrap_or(&digest);
    Revision(format!("{REVISION}{service}-{mark}"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_apprunner::types::builders::ServiceBuilder;
    use aws_sdk_apprunner::types::{ImageRepositoryType, SourceConfiguration};

    use super::*;

    fn service(image: &str, variables: &[(&str, &str)]) -> ServiceBuilder {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let configuration = ImageConfiguration::builder()
            .port("8080")
            .set_runtime_environment_variables(Some(variables.collect()))
            .build();
        let image = ImageRepository::builder()
            .image_identifier(image)
            .image_repository_type(ImageRepositoryType::Ecr)
            .image_configuration(configuration)
            .build()
            .unwrap();
        let source = SourceConfiguration::builder()
            .image_repository(image)
            .build();
        SdkService::builder()
            .service_name("idp")
            .service_id("1")
            .service_arn("arn")
            .created_at(aws_sdk_apprunner::primitives::DateTime::from_secs(0))
            .updated_at(aws_sdk_apprunner::primitives::DateTime::from_secs(0))
            .source_configuration(source)
            .status(ServiceStatus::Running)
    }

    fn revision_of(service: ServiceBuilder) -> Revision {
        super::revision_of(&service.build().unwrap())
    }

    #[test]
    fn the_same_configuration_is_the_same_revision_whether_it_is_paused_or_not() {
        let one = revision_of(service("image@sha256:1", &[("A", "1")]));
        let paused = service("image@sha256:1", &[("A", "1")]).status(ServiceStatus::Paused);
        assert_eq!(one, revision_of(paused));
        assert_ne!(one, revision_of(service("image@sha256:2", &[("A", "1")])));
        assert_ne!(one, revision_of(service("image@sha256:1", &[("A", "2")])));
        assert!(one.0.starts_with("app-runner/idp-"), "{one:?}");
    }

    #[test]
    fn a_new_version_of_a_secret_is_another_revision_and_no_variable_of_the_app() {
        let noted = |version: &str| note::write(&[("KEY".to_owned(), version.to_owned())].into());
        let with = |note: &str| service("image@sha256:1", &[(SECRETS_NOTE, note)]);
        let (one, two) = (noted("v1"), noted("v2"));
        assert_ne!(revision_of(with(&one)), revision_of(with(&two)));
        let fields = fields_of(&with(&one).build().unwrap());
        let names: Vec<&str> = fields.iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"secret_versions.KEY"), "{names:?}");
        assert!(
            !names.iter().any(|name| name.starts_with("env.")),
            "{names:?}"
        );
    }

    #[test]
    fn a_size_is_the_same_in_words_and_in_units() {
        let described = |cpu: &str, memory: &str| {
            let mut fields = Fields::new();
            let instance = InstanceConfiguration::builder().cpu(cpu).memory(memory);
            describe_instance(&mut fields, &instance.build());
            fields
        };
        assert_eq!(described("0.25 vCPU", "0.5 GB"), described("256", "512"));
        assert_ne!(described("1 vCPU", "2 GB"), described("1024", "3072"));
    }
}
