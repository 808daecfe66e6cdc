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

use super::described::{NO_CONNECTOR, PASSES, RUNS, USUAL_PASSES, configuration_of, fields_of};
use super::scaling::{self, ScalingArn};
use super::{note, vpc_connector};
use crate::client::Clients;
use crate::error::incomplete;
use crate::ground::{AccessRole, ConnectorName, TaskRole};
use crate::names::SECRETS_NOTE;

/// The versions of secrets, by the manifest's names.
pub(super) type Versions = BTreeMap<String, Value<SecretVersion>>;

/// What a service is to say.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) image: Value<ImageRef>,
    pub(super) port: u16,
    /// As one line; `None` for the image's own.
    pub(super) command: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) secrets: BTreeMap<String, SecretUse>,
    pub(super) versions: Versions,
    /// 1,024 units to a CPU.
    pub(super) cpu: u32,
    /// In MiB.
    pub(super) memory: u32,
    pub(super) health: HealthSpec,
    pub(super) roles: Roles,
    /// What the manifest is silent about of a service that is adopted.
    pub(super) unsaid: BTreeSet<String>,
}

/// What a service works with.
#[derive(Clone, Debug)]
pub(super) struct Roles {
    pub(super) access: Value<AccessRole>,
    /// The app's own. `None` where the manifest names none.
    pub(super) instance: Option<Value<TaskRole>>,
}

/// What is around what runs.
#[derive(Clone, Debug)]
pub(super) struct Around {
    /// `None` where what the app sends goes to the internet.
    pub(super) connector: Option<Value<ConnectorName>>,
    /// What the scaling is called, which is known before it is made.
    pub(super) scaling_name: String,
    pub(super) scaling: Value<ScalingArn>,
}

impl Shape {
    /// What the manifest says; `None` for a command that no line can say.
    pub(super) fn new(
        service: &ServiceSpec,
        roles: Roles,
        image: Value<ImageRef>,
        versions: Versions,
    ) -> Self {
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
            roles,
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
            let version = of(|_, version| version.version.clone());
            fields.set_value(format!("secret_versions.{variable}"), version);
        }
        fields.set("auto_deployments", false);
        let access = self.roles.access.field(|role| role.0.clone());
        fields.set_value("access_role", access);
        if let Some(role) = &self.roles.instance {
            fields.set_value("instance_role", role.field(|role| role.0.clone()));
        }
        fields.set("cpu", self.cpu);
        fields.set("memory", self.memory);
        fields.set("health.protocol", HealthCheckProtocol::Http.as_str());
        fields.set("health.path", &self.health.path);
        fields.set("health.interval", seconds(self.health.interval));
        fields.set("health.timeout", seconds(self.health.timeout));
        fields.set("health.retries", threshold(&self.health));
        fields.set(PASSES, USUAL_PASSES);
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
            ("health.start_period", "health.retries"),
        ];
        let silent = fields
            .into_iter()
            .filter(|(key, _)| self.unsaid.contains(*key));
        let mut silent: Vec<&str> = silent.map(|(_, field)| field).collect();
        // The manifest has no word for it.
        if !self.unsaid.is_empty() {
            silent.push(PASSES);
        }
        // UpdateService takes no role away: one that is not given stays
        // (`internal/service/apprunner/service_test.go` of hashicorp/terraform-provider-aws).
        if self.roles.instance.is_none() {
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
            // Whoever fetches a secret itself does so when it starts: in a deployment, as App
            // Runner does.
            let named = match used.inject {
                Inject::Value => &mut secrets,
                Inject::Reference => &mut variables,
            };
            named.insert(variable.clone(), reference(used, &version));
            noted.insert(variable.clone(), version.version);
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
        Ok(source(image, &self.roles.access.settled()?))
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
        let number = |field: &str| self.text(field, there)?.parse().ok();
        HealthCheckConfiguration::builder()
            .protocol(HealthCheckProtocol::Http)
            .set_path(self.text("health.path", there))
            .interval(seconds(self.health.interval))
            .timeout(seconds(self.health.timeout))
            .set_healthy_threshold(number(PASSES))
            .set_unhealthy_threshold(number("health.retries"))
            .build()
    }
}

impl Around {
    /// The fields that it is to have.
    pub(super) fn describe(&self, fields: &mut Fields) {
        match &self.connector {
            Some(connector) => fields.set_value("egress", connector.field(|it| it.0.clone())),
            None => fields.set("egress", NO_CONNECTOR),
        }
        // One that is to be made is the first.
        let known = self.scaling.known();
        let revision = known.map_or(scaling::FIRST, |it| it.revision());
        fields.set("scaling", scaling::called(&self.scaling_name, revision));
    }

    /// The network as the API takes it: by the ARN that the connector has by now, which ends with
    /// an id of AWS's own. How it is reached stays as it is there: "If you do not specify an
    /// IpAddressType, it defaults to select IPv4" (NetworkConfiguration, AWS App Runner API
    /// Reference), and whether that is so of an update too is not said.
    pub(super) async fn network(
        &self,
        clients: &Clients,
        there: Option<&SdkService>,
    ) -> Result<NetworkConfiguration> {
        let egress = EgressConfiguration::builder();
        let egress = match &self.connector {
            Some(connector) => {
                let ConnectorName(name) = connector.settled()?;
                let arn = vpc_connector::arn_of(clients, &name).await?;
                egress.egress_type(EgressType::Vpc).vpc_connector_arn(arn)
            }
            None => egress.egress_type(EgressType::Default),
        };
        let now = there.and_then(|service| service.network_configuration());
        Ok(NetworkConfiguration::builder()
            .egress_configuration(egress.build())
            .set_ingress_configuration(now.and_then(|it| it.ingress_configuration().cloned()))
            .set_ip_address_type(now.and_then(|it| it.ip_address_type().cloned()))
            .build())
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

fn source(image: ImageRepository, access: &AccessRole) -> SourceConfiguration {
    let login = AuthenticationConfiguration::builder().access_role_arn(&access.0);
    SourceConfiguration::builder()
        .image_repository(image)
        .auto_deployments_enabled(false)
        .authentication_configuration(login.build())
        .build()
}

/// How a variable names a secret: by its full ARN (`RuntimeEnvironmentSecrets`, AWS App Runner API
/// Reference), with the member of the JSON object that it is as `ARN:KEY::`, as AWS's CDK writes it
/// (`Secret.fromSecretsManager` with a field, aws-apprunner-alpha); the variable of an app that
/// fetches it itself holds the plain ARN.
fn reference(used: &SecretUse, version: &SecretVersion) -> String {
    match (used.inject, &used.member) {
        (Inject::Value, Some(member)) => format!("{}:{member}::", version.secret),
        (Inject::Value, None) | (Inject::Reference, _) => version.secret.clone(),
    }
}

/// A command's words as one line, each quoted where it must be: it "overrides the Docker image's
/// default start command" (ImageConfiguration, AWS App Runner API Reference). App Runner runs no
/// shell (aws/apprunner-roadmap#180: `&&` reaches the program); how it takes the line apart is not
/// written down: as a shell would, is ours, and the manifest's check says so.
pub(super) fn line_of(words: &[String]) -> Option<String> {
    let words = words.iter().map(|word| match is_quoted(word) {
        true => shlex::try_quote(word).ok(),
        false => Some(word.into()),
    });
    let line = words.collect::<Option<Vec<_>>>()?.join(" ");
    (!line.is_empty()).then_some(line)
}

/// The first of a command's words that is not sent as it stands. `None` where App Runner need not
/// take quotes off any.
pub fn quoted(words: &[String]) -> Option<&str> {
    let mut words = words.iter().map(String::as_str);
    words.find(|word| is_quoted(word))
}

/// Whether a word is one only in quotes. As few as may be: that App Runner takes them off is ours.
fn is_quoted(word: &str) -> bool {
    let special = |it: char| it.is_whitespace() || matches!(it, '\'' | '"' | '\\');
    word.is_empty() || word.starts_with('#') || word.contains(special)
}

/// Intervals and time-outs are 1 to 20 seconds (HealthCheckConfiguration, AWS App Runner API
/// Reference).
fn seconds(time: std::time::Duration) -> i32 {
    i32::try_from(time.as_secs().clamp(1, 20)).unwrap_or(20)
}

/// How many failures in a row make an instance unhealthy. App Runner has no start period: those of
/// it are allowed as well, so that an app that takes as long comes up. Thresholds are 1 to 20.
fn threshold(health: &HealthSpec) -> i32 {
    let interval = u64::from(seconds(health.interval).unsigned_abs());
    let at_start = health.start_period.as_secs().div_ceil(interval);
    let all = at_start.saturating_add(health.retries.into());
    i32::try_from(all.clamp(1, 20)).unwrap_or(20)
}

fn some(map: BTreeMap<String, String>) -> Option<std::collections::HashMap<String, String>> {
    (!map.is_empty()).then(|| map.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_apprunner::primitives::DateTime;
    use aws_sdk_apprunner::types::{
        AutoScalingConfigurationSummary, IngressConfiguration, IpAddressType, ServiceStatus,
    };
    use deployer_core::spec::{MebiBytes, MilliCpu, Replicas, VerifySpec};

    use super::*;

    const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-AbCdEf";

    fn spec() -> ServiceSpec {
        let used = |inject: Inject, member: Option<&str>| SecretUse {
            secret: "app".to_owned(),
            inject,
            member: member.map(str::to_owned),
        };
        ServiceSpec {
            key: "web".to_owned(),
            name: "coach-staging-web".to_owned(),
            repository: "coach-staging-web".to_owned(),
            image: "oci:image".to_owned(),
            architecture: None,
            port: 5000,
            health: HealthSpec {
                path: "/health".to_owned(),
                command: Vec::new(),
                interval: Duration::from_secs(10),
                timeout: Duration::from_secs(5),
                retries: 3,
                start_period: Duration::from_secs(60),
            },
            cpu: MilliCpu(250),
            memory: MebiBytes(512),
            replicas: Replicas { min: 1, max: 1 },
            entrypoint: Vec::new(),
            command: vec!["serve".to_owned(), "--name=a b".to_owned()],
            env: [("MODE".to_owned(), "staging".to_owned())].into(),
            secrets: [
                ("WHOLE".to_owned(), used(Inject::Value, None)),
                ("MEMBER".to_owned(), used(Inject::Value, Some("KEY"))),
                ("ARN".to_owned(), used(Inject::Reference, None)),
            ]
            .into(),
            migrate: None,
            url: None,
            adopt: false,
            record: None,
            domains: Vec::new(),
            verify: VerifySpec::default(),
            patience: Duration::from_secs(60),
            unsaid: BTreeSet::new(),
        }
    }

    async fn shape(version: &str) -> Shape {
        let roles = Roles {
            access: Value::Given(AccessRole("access".to_owned())),
            instance: None,
        };
        let image = Value::Given(ImageRef("123.dkr.ecr/web@sha256:1".to_owned()));
        let version = SecretVersion {
            secret: SECRET.to_owned(),
            version: version.to_owned(),
        };
        let versions = [("app".to_owned(), Value::Given(version))].into();
        Shape::new(&spec(), roles, image, versions)
    }

    /// What App Runner describes of a service that was made so.
    fn made(shape: &Shape) -> SdkService {
        let scaling = AutoScalingConfigurationSummary::builder()
            .auto_scaling_configuration_name("coach-1a2b3c4d")
            .build();
        SdkService::builder()
            .service_name("coach-staging-web")
            .service_id("1")
            .service_arn("arn")
            .created_at(DateTime::from_secs(0))
            .updated_at(DateTime::from_secs(0))
            .status(ServiceStatus::Running)
            .source_configuration(shape.source(None).unwrap())
            .instance_configuration(shape.instance(None))
            .health_check_configuration(shape.health(None))
            .auto_scaling_configuration_summary(scaling)
            .build()
            .unwrap()
    }

    async fn changes(of: &SdkService, to: &Shape) -> Vec<String> {
        let around = Around {
            connector: None,
            scaling_name: "coach-1a2b3c4d".to_owned(),
            scaling: Value::Given(ScalingArn("arn".to_owned())),
        };
        let mut wanted = to.fields(Some(of));
        around.describe(&mut wanted);
        let changes = fields_of(of).changes_to(&wanted);
        changes.into_iter().map(|change| change.field).collect()
    }

    #[tokio::test]
    async fn what_was_made_is_what_is_wanted() {
        let shape = shape("v1").await;
        let there = made(&shape);
        assert_eq!(changes(&there, &shape).await, Vec::<String>::new());
        let configuration = configuration_of(&there).unwrap();
        let secrets = configuration.runtime_environment_secrets().unwrap();
        assert_eq!(secrets["WHOLE"], SECRET);
        assert_eq!(secrets["MEMBER"], format!("{SECRET}:KEY::"));
        let variables = configuration.runtime_environment_variables().unwrap();
        assert_eq!(variables["ARN"], SECRET);
        assert_eq!(variables[SECRETS_NOTE], "ARN=v1 MEMBER=v1 WHOLE=v1");
        assert_eq!(configuration.start_command(), Some("serve '--name=a b'"));
    }

    #[tokio::test]
    async fn an_app_has_its_start_period_to_become_healthy() {
        let mut shape = shape("v1").await;
        // Ten seconds apart: six in its minute, and three.
        assert_eq!(shape.health(None).unhealthy_threshold(), Some(9));
        shape.health.start_period = Duration::from_secs(600);
        assert_eq!(shape.health(None).unhealthy_threshold(), Some(20));
        shape.health.start_period = Duration::ZERO;
        assert_eq!(shape.health(None).unhealthy_threshold(), Some(3));
    }

    #[tokio::test]
    async fn how_a_service_is_reached_stays_as_it_is() {
        let around = Around {
            connector: None,
            scaling_name: "coach-1a2b3c4d".to_owned(),
            scaling: Value::Given(ScalingArn("arn".to_owned())),
        };
        let clients = crate::client::of_nobody().await;
        let mut there = made(&shape("v1").await);
        let private = IngressConfiguration::builder().is_publicly_accessible(false);
        let network = NetworkConfiguration::builder().ingress_configuration(private.build());
        there.network_configuration =
            Some(network.ip_address_type(IpAddressType::DualStack).build());
        let sent = around.network(&clients, Some(&there)).await.unwrap();
        let ingress = sent.ingress_configuration().unwrap();
        assert!(!ingress.is_publicly_accessible());
        assert_eq!(sent.ip_address_type(), Some(&IpAddressType::DualStack));
        let egress = sent.egress_configuration().unwrap();
        assert_eq!(egress.egress_type(), Some(&EgressType::Default));
        let new = around.network(&clients, None).await.unwrap();
        assert_eq!(
            (new.ingress_configuration(), new.ip_address_type()),
            (None, None)
        );
    }

    #[tokio::test]
    async fn a_new_version_of_a_secret_is_a_change_of_each_variable_that_holds_it() {
        let there = made(&shape("v1").await);
        let changed = changes(&there, &shape("v2").await).await;
        let all = ["ARN", "MEMBER", "WHOLE"].map(|it| format!("secret_versions.{it}"));
        assert_eq!(changed, all);
    }

    #[tokio::test]
    async fn what_the_manifest_is_silent_about_stays_as_it_is() {
        let mut there = made(&shape("v1").await);
        let instance = InstanceConfiguration::builder().cpu("2048").memory("4096");
        there.instance_configuration = Some(instance.instance_role_arn("theirs").build());
        let mut shape = shape("v1").await;
        assert_eq!(changes(&there, &shape).await, ["cpu", "memory"]);
        shape.unsaid = ["cpu", "memory"].map(str::to_owned).into();
        assert_eq!(changes(&there, &shape).await, Vec::<String>::new());
        let sent = shape.instance(Some(&there));
        assert_eq!(sent.cpu(), Some("2048"));
        assert_eq!(sent.instance_role_arn(), Some("theirs"));
    }
}
