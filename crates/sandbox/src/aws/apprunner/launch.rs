//! What a version's instances are started from: image, variables, secrets; and where they log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::AppRunner;
use super::check::{Check, Failure};
use super::state::{Config, State, Version};
use crate::aws::ecr::stored_image;
use crate::aws::json::{need, number, text};
use crate::runner::{ContainerSpec, LogSink, Purpose};

/// How much later than it is printed a line can be read: "For some reason there is a significant
/// delay sometimes, until the App Log appears" (roadmap#110). How long: ours.
const LATE: Duration = Duration::from_secs(15);

/// A version that is ready to be started, as often as instances are wanted.
#[derive(Clone)]
pub struct Prepared {
    /// The operation that deploys it.
    pub operation: String,
    pub version: Version,
    pub config: Config,
    pub check: Check,
    pub least: usize,
    port: u16,
    env: BTreeMap<String, String>,
    command: Option<Vec<String>>,
}

impl AppRunner {
    /// The image that a service's identifier means now.
    pub(super) fn version_of(&self, image: &str) -> Option<Version> {
        let host = &self.inner.host;
        let (repository, reference) = stored_image(host, image)?;
        let digest = host.store.manifest(&repository, &reference)?.digest;
        Some(Version { repository, digest })
    }

    /// Resolves image and secrets, once for all instances. What is pinned is not resolved again:
    /// "App Runner resumes with your currently deployed version" (Developer Guide, "Pausing and
    /// resuming an App Runner service").
    pub(super) fn prepare(
        &self,
        (arn, operation): (&str, &str),
        pinned: Option<Version>,
    ) -> Result<Prepared, Failure> {
        let (config, least) = {
            let state = self.lock();
            let service = state.service(arn).ok_or(Failure::Gone)?;
            let scaling = state.scaling.get(&service.config.scaling);
            let least = scaling
                .and_then(|it| number(&it.value, "MinSize"))
                .unwrap_or(1);
            (service.config.clone(), usize::try_from(least).unwrap_or(1))
        };
        let image = &config.members["SourceConfiguration"]["ImageRepository"];
        let identifier = need(image, "ImageIdentifier");
        let version = pinned.or_else(|| self.version_of(identifier));
        let version = version.ok_or(Failure::Image)?;
        let configuration = &image["ImageConfiguration"];
        let port = need(configuration, "Port").parse().unwrap_or(8080);
        // It "overrides the Docker image's default start command" (`ImageConfiguration`), and no
        // shell runs it (roadmap#180). That the image's ENTRYPOINT stays, and that quotes keep a
        // word together as a shell's do, is ours: no source says either.
        let command = text(configuration, "StartCommand");
        let command = command.map(|line| match shlex::split(line) {
            Some(words) => words,
            None => line.split_whitespace().map(str::to_owned).collect(),
        });
        Ok(Prepared {
            operation: operation.to_owned(),
            env: self.environment(configuration, port)?,
            check: Check::read(&config.members["HealthCheckConfiguration"], port),
            version,
            least,
            port,
            command,
            config,
        })
    }

    fn environment(
        &self,
        configuration: &Value,
        port: u16,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let pairs = |member: &str| {
            configuration[member]
                .as_object()
                .cloned()
                .unwrap_or_default()
        };
        let mut env = BTreeMap::new();
        for (name, value) in pairs("RuntimeEnvironmentVariables") {
            env.insert(name, value.as_str().unwrap_or_default().to_owned());
        }
        for (name, from) in pairs("RuntimeEnvironmentSecrets") {
            let from = from.as_str().unwrap_or_default();
            // `arn:...:secret:NAME:json-key:version-stage:version-id`, as the CDK writes it
            // (`Secret.fromSecretsManagerVersion` of aws-cdk's `aws-apprunner`). That App Runner
            // heeds stage and version is no document's word.
            let value = self.inner.secrets.resolve(from);
            let value = value.map_err(|error| Failure::Secret {
                name: name.clone(),
                why: error.message,
            })?;
            env.insert(name, value);
        }
        // "By default, App Runner makes the PORT environment variable available in your container
        // instance" (Developer Guide, "Developing application code for App Runner"). The region:
        // ours, as on Fargate, where instances run.
        env.insert("PORT".to_owned(), port.to_string());
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            let region = &self.inner.host.region;
            env.entry(name.to_owned()).or_insert_with(|| region.clone());
        }
        Ok(env)
    }

    /// What to start for one instance.
    pub(super) fn spec(&self, arn: &str, instance: &str, prepared: &Prepared) -> ContainerSpec {
        ContainerSpec {
            name: format!("apprunner/{instance}"),
            repository: prepared.version.repository.clone(),
            reference: prepared.version.digest.clone(),
            // "AppRunner currently only supports amd64" (roadmap#46).
            platform: "linux/amd64",
            entrypoint: None,
            command: prepared.command.clone(),
            env: prepared.env.clone(),
            purpose: Purpose::Serve,
            port: Some(prepared.port),
            logs: self.application_log(arn, instance),
        }
    }

    /// `/aws/apprunner/NAME/ID/application`, stream `instance/ID` (Developer Guide, "App Runner log
    /// groups and streams"). "If a container fails to start, the application log group is never
    /// created" (roadmap#184).
    fn application_log(&self, arn: &str, instance: &str) -> LogSink {
        let (logs, group) = (self.inner.logs.clone(), group(arn, "application"));
        let (stream, opened) = (format!("instance/{instance}"), AtomicBool::new(false));
        Arc::new(move |_, line: &str| {
            if !opened.swap(true, Ordering::Relaxed) {
                // It may be there already; whether it is shows when the stream is opened.
                let _ = logs.call("CreateLogGroup", &json!({ "logGroupName": group }));
                let _ = logs.open_stream(&group, &stream);
            }
            logs.append_late(&group, &stream, line, LATE);
        })
    }

    /// Makes the group and the stream of a service's events.
    pub(super) fn open_logs(&self, state: &State, arn: &str) {
        if let Some(service) = state.service(arn) {
            let group = group(&service.arn, "service");
            // A new service has a group of its own: neither can be there.
            let logs = &self.inner.logs;
            let _ = logs.call("CreateLogGroup", &json!({ "logGroupName": group }));
            let _ = logs.open_stream(&group, "events");
        }
    }

    /// Adds a line to the service's events, with the prefix that its messages have.
    pub(super) fn event(&self, arn: &str, message: &str) {
        let line = format!("[AppRunner] {message}");
        let logs = &self.inner.logs;
        logs.append(&group(arn, "service"), "events", &line);
    }

    /// Adds a line to a deployment's own log: "Deployment log stream names start with
    /// `deployment/`, and end with the ID of the operation" (Developer Guide, as above).
    pub(super) fn deployment_log(&self, arn: &str, operation: &str, message: &str) {
        let (group, stream) = (group(arn, "service"), format!("deployment/{operation}"));
        // Lost when somebody deleted the group.
        let _ = self.inner.logs.open_stream(&group, &stream);
        let line = format!("[AppRunner] {message}");
        self.inner.logs.append(&group, &stream, &line);
    }
}

/// The log group of a service: `service/NAME/ID` stands last in its ARN.
fn group(arn: &str, which: &str) -> String {
    let resource = arn.rsplit(':').next().unwrap_or_default();
    let of = resource.strip_prefix("service/").unwrap_or(resource);
    format!("/aws/apprunner/{of}/{which}")
}
