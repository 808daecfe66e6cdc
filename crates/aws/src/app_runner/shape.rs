//! What a service is to say, in the terms in which a plan compares it and as the API takes it;
//! performs no IO.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_apprunner::types::{
    AuthenticationConfiguration, EgressConfiguration, EgressType, HealthCheckConfiguration,
    HealthCheckProtocol, ImageConfiguration, ImageRepository, ImageRepositoryType,
    InstanceConfiguration, NetworkConfiguration, Service as SdkService, SourceConfiguration,
};
use deployer_core::capability::{ImageRef, SecretVersion};
use deployer_core::error::{Error, Result};
use deployer_core::fields::{FieldValue, Fields};
use deployer_core::graph::Value;
use deployer_core::spec::{HealthSpec, Inject, SecretUse, ServiceSpec};

use super::described::{NO_CONNECTOR, RUNS, configuration_of, fields_of};
use super::scaling::ScalingArn;
use super::{note, vpc_connector};
use crate::client::Clients;
use crate::error::incomplete;
use crate::names::SECRETS_NOTE;

/// What a service is to say.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) image: Value<ImageRef>,
    pub(super) port: u16,
    /// As one line; `None` for the image's own.
    pub(super) command: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) secrets: BTreeMap<String, SecretUse>,
    /// By the manifest's names.
    pub(super) versions: BTreeMap<String, Value<SecretVersion>>,
    /// 1,024 units to a CPU.
    pub(super) cpu: u32,
    /// In MiB.
    pub(super) memory: u32,
    pub(super) health: HealthSpec,
    pub(super) access_role: String,
    pub(super) instance_role: Option<String>,
    /// What the manifest is silent about of a service that is adopted.
    pub(super) unsaid: BTreeSet<String>,
}

/// What is around what runs.
#[derive(Clone, Debug)]
pub(super) struct Around {
    /// The connector's name. `None` where what the app sends goes to the internet.
    pub(super) connector: Option<String>,
    /// What the scaling is called, which is known before it is made.
    pub(super) scaling_name: String,
    pub(super) scaling: Value<ScalingArn>,
}

impl Shape {
    /// What the manifest says; `None` for a command that no line can say.
    pub(super) fn new(
        clients: &Clients,
        service: &ServiceSpec,
        access_role: &str,
        image: Value<ImageRef>,
        versions: BTreeMap<String, Value<SecretVersion>>,
    ) -> Self {
        let section = &clients.section;
        Self {
            image,
            port: service.port,
            command: line_of(&service.command),
            env: service.env.clone(),
            secrets: service.secrets.clone(),
            versions,
            cpu: service.cpu.0 * 1024 / 1000,
            memory: service.memory.0,
            health: service.health.clone(),
            access_role: clients.role(access_role),
            instance_role: section.task_role.as_deref().map(|role| clients.role(role)),
            unsaid: service.unsaid.clone(),
        }
    }

    /// The fields that it is to have, over what is there.
    pub(super) fn fields(&self, there: Option<&SdkService>) -> Fields {
        let mut fields = Fields::new();
        fields.set_value("image", self.image.field(|image| image.0.clone()));
        fields.set("port", self.port);
        fields.set_some("command", self.command.as_ref());
        fields.set_all("env", &self.env);
        for (variable, used) in &self.secrets {
            let of = |show: fn(&SecretUse, &SecretVersion) -> String| match self
                .versions
                .get(&used.secret)
            {
                Some(version) => version.field(|version| show(used, version)),
                None => FieldValue::Known(format!("(secret `{}` is not declared)", used.secret)),
            };
            let group = match used.inject {
                Inject::Value => "secrets",
                Inject::Reference => "env",
            };
            fields.set_value(format!("{group}.{variable}"), of(reference));
            if used.inject == Inject::Value {
                let version = of(|_, version| version.version.clone());
                fields.set_value(format!("secret_versions.{variable}"), version);
            }
        }
        fields.set("auto_deployments", false);
        fields.set("access_role", &self.access_role);
        fields.set_some("instance_role", self.instance_role.as_ref());
        fields.set("cpu", self.cpu);
        fields.set("memory", self.memory);
        fields.set("health.protocol", HealthCheckProtocol::Http.as_str());
        fields.set("health.path", &self.health.path);
        fields.set("health.interval", seconds(self.health.interval));
        fields.set("health.timeout", seconds(self.health.timeout));
        fields.set("health.retries", times(self.health.retries));
        fields.set("state", RUNS);
        if let Some(there) = there {
            self.keep_unsaid(&mut fields, there);
        }
        fields
    }

    /// Fields that the manifest is silent about, as they are there.
    fn keep_unsaid(&self, fields: &mut Fields, there: &SdkService) {
        let there = fields_of(there);
        for key in self.unsaid_fields() {
            let mut without = Fields::new();
            for (name, value) in fields.iter().filter(|(name, _)| *name != key) {
                without.set_value(name, value.clone());
            }
            if let Some(value) = there.get(key) {
                without.set_value(key, value.clone());
            }
            *fields = without;
        }
    }

    fn unsaid_fields(&self) -> Vec<&'static str> {
        let fields = [
            ("cpu", "cpu"),
            ("memory", "memory"),
            ("command", "command"),
            ("health.path", "health.path"),
        ];
        let silent = fields
            .into_iter()
            .filter(|(key, _)| self.unsaid.contains(*key));
        let mut silent: Vec<&str> = silent.map(|(_, field)| field).collect();
        // UpdateService takes no role away: one that is not given stays
        // (`internal/service/apprunner/service_test.go` of hashicorp/terraform-provider-aws).
        if self.instance_role.is_none() {
            silent.push("instance_role");
        }
        silent
    }

    /// The field as it is to be over what is there, as text.
    fn text(&self, field: &str, there: Option<&SdkService>) -> Option<String> {
        match self.fields(there).get(field) {
            Some(FieldValue::Known(text)) => Some(text.clone()),
            Some(FieldValue::AfterApply { .. }) | None => None,
        }
    }

    /// The source as the API takes it; every input is known.
    pub(super) fn source(&self, there: Option<&SdkService>) -> Result<SourceConfiguration> {
        let mut variables = self.env.clone();
        let (mut secrets, mut noted) = (BTreeMap::new(), BTreeMap::new());
        for (variable, used) in &self.secrets {
            let version = self.versions.get(&used.secret).ok_or_else(|| {
                Error::internal(format!("secret `{}` was not declared", used.secret))
            })?;
            let version = version.settled()?;
            match used.inject {
                Inject::Value => {
                    secrets.insert(variable.clone(), reference(used, &version));
                    noted.insert(variable.clone(), version.version);
                }
                Inject::Reference => {
                    variables.insert(variable.clone(), reference(used, &version));
                }
            }
        }
        if !noted.is_empty() {
            variables.insert(SECRETS_NOTE.to_owned(), note::write(&noted));
        }
        let configuration = ImageConfiguration::builder()
            .port(self.port.to_string())
            .set_start_command(self.text("command", there))
            .set_runtime_environment_variables(some(variables))
            .set_runtime_environment_secrets(some(secrets))
            .build();
        let image = ImageRepository::builder()
            .image_identifier(self.image.settled()?.0)
            .image_repository_type(ImageRepositoryType::Ecr)
            .image_configuration(configuration)
            .build()
            .map_err(incomplete)?;
        Ok(source(image, &self.access_role))
    }

    /// The size as the API takes it.
    pub(super) fn instance(&self, there: Option<&SdkService>) -> InstanceConfiguration {
        InstanceConfiguration::builder()
            .set_cpu(self.text("cpu", there))
            .set_memory(self.text("memory", there))
            .set_instance_role_arn(self.text("instance_role", there))
            .build()
    }

    /// The health check as the API takes it.
    pub(super) fn health(&self, there: Option<&SdkService>) -> HealthCheckConfiguration {
        HealthCheckConfiguration::builder()
            .protocol(HealthCheckProtocol::Http)
            .set_path(self.text("health.path", there))
            .interval(seconds(self.health.interval))
            .timeout(seconds(self.health.timeout))
            .healthy_threshold(1)
            .unhealthy_threshold(times(self.health.retries))
            .build()
    }
}

impl Around {
    /// The fields that it is to have.
    pub(super) fn describe(&self, fields: &mut Fields) {
        fields.set("egress", self.connector.as_deref().unwrap_or(NO_CONNECTOR));
        fields.set("scaling", &self.scaling_name);
    }

    /// The network as the API takes it: by the ARN that the connector has by now, which ends with
    /// an id of AWS's own.
    pub(super) async fn network(&self, clients: &Clients) -> Result<NetworkConfiguration> {
        let egress = EgressConfiguration::builder();
        let egress = match &self.connector {
            Some(name) => egress
                .egress_type(EgressType::Vpc)
                .vpc_connector_arn(vpc_connector::arn_of(clients, name).await?),
            None => egress.egress_type(EgressType::Default),
        };
        let network = NetworkConfiguration::builder();
        Ok(network.egress_configuration(egress.build()).build())
    }
}

/// The same source with another image: everything else as it is there.
pub(super) fn with_image(there: &SdkService, image: &ImageRef) -> Result<SourceConfiguration> {
    let configuration = configuration_of(there).cloned();
    let image = ImageRepository::builder()
        .image_identifier(&image.0)
        .image_repository_type(ImageRepositoryType::Ecr)
        .set_image_configuration(configuration)
        .build()
        .map_err(incomplete)?;
    let source = there.source_configuration();
    let login = source.and_then(|source| source.authentication_configuration().cloned());
    Ok(SourceConfiguration::builder()
        .image_repository(image)
        .auto_deployments_enabled(false)
        .set_authentication_configuration(login)
        .build())
}

fn source(image: ImageRepository, access_role: &str) -> SourceConfiguration {
    let login = AuthenticationConfiguration::builder().access_role_arn(access_role);
    SourceConfiguration::builder()
        .image_repository(image)
        .auto_deployments_enabled(false)
        .authentication_configuration(login.build())
        .build()
}

/// How a variable names a secret: by its full ARN, with the member of the JSON object that it is:
/// `ARN:KEY::` ("Referencing environment variables", AWS App Runner Developer Guide); the variable
/// of an app that fetches it itself holds the plain ARN.
fn reference(used: &SecretUse, version: &SecretVersion) -> String {
    match (used.inject, &used.member) {
        (Inject::Value, Some(member)) => format!("{}:{member}::", version.secret),
        (Inject::Value, None) | (Inject::Reference, _) => version.secret.clone(),
    }
}

/// A command's words as one line, each quoted where it must be. App Runner runs no shell
/// (aws/apprunner-roadmap#180: `&&` reaches the program); how it takes the line apart is not
/// written down: as a shell would, is ours.
pub(super) fn line_of(words: &[String]) -> Option<String> {
    let line = shlex::try_join(words.iter().map(String::as_str)).ok()?;
    (!line.is_empty()).then_some(line)
}

/// Intervals and time-outs are 1 to 20 seconds (HealthCheckConfiguration, AWS App Runner API
/// Reference).
fn seconds(time: std::time::Duration) -> i32 {
    i32::try_from(time.as_secs().clamp(1, 20)).unwrap_or(20)
}

/// So are thresholds.
fn times(count: u32) -> i32 {
    i32::try_from(count.clamp(1, 20)).unwrap_or(20)
}

fn some(map: BTreeMap<String, String>) -> Option<std::collections::HashMap<String, String>> {
    (!map.is_empty()).then(|| map.into_iter().collect())
}
