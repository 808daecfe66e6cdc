//! Prepares a task's containers: image, secrets, environment, log stream. Failures are worded as
//! Fargate words them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Ecs;
use super::health::HealthCheck;
use crate::aws::ecr::stored_image;
use crate::aws::json::{flag, list, need, number, text};
use crate::runner::{ContainerSpec, LogSink, Purpose, StartError};

/// What the vendor waits before SIGKILL when `stopTimeout` is not given.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A container that is ready to be started.
pub struct Prepared {
    /// Its name in the task definition.
    pub name: String,
    /// For the runner.
    pub spec: ContainerSpec,
    /// The image's digest.
    pub digest: String,
    /// Whether the task ends with it.
    pub essential: bool,
    /// Its health check.
    pub health: Option<HealthCheck>,
    /// Between SIGTERM and SIGKILL, in cloud time.
    pub stop_timeout: Duration,
    /// The containers that it waits for.
    pub after: Vec<String>,
    /// When it is started again after its end.
    pub restarts: Option<RestartPolicy>,
    /// Whether an agent of ECS Exec finds nothing there that it can write to.
    pub agent_cannot_write: bool,
}

/// "Amazon ECS can restart the container if it exits" (`ContainerRestartPolicy`, ECS API
/// Reference).
#[derive(Clone)]
pub struct RestartPolicy {
    /// "A list of exit codes that Amazon ECS will ignore and not attempt a restart on."
    pub ignored: Vec<i32>,
    /// "If a container isn't able to run for this time period and exits early, it will not be
    /// restarted." By default "a container must run for 300 seconds".
    pub period: Duration,
}

impl RestartPolicy {
    fn read(container: &Value) -> Option<Self> {
        let policy = container.get("restartPolicy")?;
        let ignored = list(policy, "ignoredExitCodes").iter();
        let ignored = ignored.filter_map(|code| i32::try_from(code.as_i64()?).ok());
        let period = number(policy, "restartAttemptPeriod").unwrap_or(300);
        flag(policy, "enabled").then(|| Self {
            ignored: ignored.collect(),
            period: Duration::from_secs(u64::try_from(period).unwrap_or_default()),
        })
    }
}

/// Where an image is stored, and under which tag or digest.
struct Image {
    stored: String,
    reference: String,
}

impl Ecs {
    /// An ECR image of this account and region.
    fn image(&self, image: &str) -> Option<Image> {
        let (stored, reference) = stored_image(&self.inner.host, image)?;
        Some(Image { stored, reference })
    }

    /// The digest that an image resolves to now.
    pub(super) fn digest_of(&self, image: &str) -> Option<String> {
        let found = self.image(image)?;
        Some(
            self.inner
                .host
                .store
                .manifest(&found.stored, &found.reference)?
                .digest,
        )
    }

    /// Prepares every container of a task. The error is the task's stopped reason.
    pub(super) fn prepare(&self, task: &str) -> Result<Vec<Prepared>, String> {
        let (definition, overrides, pinned, ports, purpose) = {
            let state = self.lock();
            let Some(found) = state.tasks.get(task) else {
                return Ok(Vec::new());
            };
            // The words: Amazon ECS Developer Guide, "Troubleshooting Amazon ECS
            // ResourceInitializationError errors"; those of the connection are ours.
            if found.is_cut_off {
                let region = &self.inner.host.region;
                return Err(format!(
                    "ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth \
                     from Amazon ECR: There is a connection issue between the task and Amazon ECR. Check your task network \
                     configuration. RequestError: send request failed caused by: Post \"https://api.ecr.{region}.amazonaws.com/\": \
                     dial tcp 192.0.2.1:443: i/o timeout"
                ));
            }
            let definition = state
                .definition(&found.definition)
                .map(|one| one.value.clone());
            let service = found.service.as_ref();
            let pinned = service.and_then(|(arn, deployment)| {
                let service = state.services.iter().find(|service| service.arn == *arn)?;
                let deployment = service
                    .deployments
                    .iter()
                    .find(|one| one.id == *deployment)?;
                let revision = service
                    .revisions
                    .iter()
                    .find(|one| one.arn == deployment.revision)?;
                Some(list(&revision.value, "containerImages").to_vec())
            });
            let purpose = match service {
                Some(_) => Purpose::Serve,
                None => Purpose::Finish,
            };
            (
                definition.unwrap_or_default(),
                found.overrides.clone(),
                pinned.unwrap_or_default(),
                found
                    .targets
                    .iter()
                    .map(|(target, _)| (target.container.clone(), target.port))
                    .collect::<BTreeMap<_, _>>(),
                purpose,
            )
        };
        let containers = list(&definition, "containerDefinitions");
        containers
            .iter()
            .map(|container| {
                let mut one = self.prepare_one(task, container, &overrides, &pinned)?;
                one.spec.purpose = purpose;
                one.spec.platform = platform_of(&definition);
                // A load balancer may ask for another port than the first.
                one.spec.port = ports.get(&one.name).copied().or(one.spec.port);
                Ok(one)
            })
            .collect()
    }

    fn prepare_one(
        &self,
        task: &str,
        container: &Value,
        overrides: &Value,
        pinned: &[Value],
    ) -> Result<Prepared, String> {
        let name = need(container, "name");
        let own = list(overrides, "containerOverrides")
            .iter()
            .find(|one| need(one, "name") == name);
        let own = own.cloned().unwrap_or_default();
        let env = self.environment(container, &own)?;
        let logs = self.log_sink(task, container)?;
        let given = need(container, "image");
        // A deployment's tasks run the digest that its tag had when it began.
        let digest = pinned
            .iter()
            .find(|one| need(one, "containerName") == name)
            .and_then(|one| text(one, "imageDigest"));
        let missing = |why: String| {
            format!(
                "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {given}: {why}"
            )
        };
        let mut image = self
            .image(given)
            .ok_or_else(|| missing(format!("{given}: not found")))?;
        let pinned_here = digest.filter(|digest| {
            self.inner
                .host
                .store
                .manifest(&image.stored, digest)
                .is_some()
        });
        if let Some(digest) = pinned_here {
            image.reference = digest.to_owned();
        }
        let manifest = self
            .inner
            .host
            .store
            .manifest(&image.stored, &image.reference);
        let manifest = manifest.ok_or_else(|| missing(format!("{given}: not found")))?;
        let strings = |of: &Value, member: &str| {
            let given = list(of, member);
            (!given.is_empty()).then(|| {
                given
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
        };
        let port = list(container, "portMappings")
            .first()
            .and_then(|mapping| number(mapping, "containerPort"));
        let seconds =
            number(container, "stopTimeout").and_then(|seconds| u64::try_from(seconds).ok());
        Ok(Prepared {
            name: name.to_owned(),
            spec: ContainerSpec {
                name: format!("ecs/{task}/{name}"),
                repository: image.stored,
                reference: image.reference,
                // The task's definition knows better.
                platform: "linux/amd64",
                entrypoint: strings(container, "entryPoint"),
                command: strings(&own, "command").or_else(|| strings(container, "command")),
                env,
                // The task knows better.
                purpose: Purpose::Serve,
                port: port.and_then(|port| u16::try_from(port).ok()),
                logs,
            },
            digest: manifest.digest,
            essential: container
                .get("essential")
                .and_then(Value::as_bool)
                .unwrap_or(true),
            health: HealthCheck::read(container),
            stop_timeout: seconds.map_or(STOP_TIMEOUT, Duration::from_secs),
            after: list(container, "dependsOn")
                .iter()
                .map(|on| need(on, "containerName").to_owned())
                .collect(),
            restarts: RestartPolicy::read(container),
            agent_cannot_write: flag(container, "readonlyRootFilesystem") && {
                let mut mounts = list(container, "mountPoints").iter();
                !mounts.any(|mount| need(mount, "containerPath") == "/var/lib/amazon/ssm")
            },
        })
    }

    /// Variables, secrets and overrides, later ones winning.
    fn environment(
        &self,
        container: &Value,
        own: &Value,
    ) -> Result<BTreeMap<String, String>, String> {
        let mut env = BTreeMap::new();
        let plain = |of: &Value, env: &mut BTreeMap<String, String>| {
            for variable in list(of, "environment") {
                env.insert(
                    need(variable, "name").to_owned(),
                    need(variable, "value").to_owned(),
                );
            }
        };
        plain(container, &mut env);
        for secret in list(container, "secrets") {
            let from = need(secret, "valueFrom");
            let value = self.inner.secrets.resolve(from).map_err(|error| {
                let start = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource \
                             retrieval failed: unable to retrieve secret from asm";
                match error.code.as_str() {
                    "ResourceInitializationError" => format!("{start}: {}", error.message),
                    code => format!(
                        "{start}: service call has been retried 1 time(s): failed to fetch secret {from} from secrets \
                         manager: {code}: {}",
                        error.message
                    ),
                }
            })?;
            env.insert(need(secret, "name").to_owned(), value);
        }
        plain(own, &mut env);
        let metadata = "http://169.254.170.2/v4/sandbox".to_owned();
        env.entry("ECS_CONTAINER_METADATA_URI_V4".to_owned())
            .or_insert(metadata);
        env.entry("AWS_EXECUTION_ENV".to_owned())
            .or_insert_with(|| "AWS_ECS_FARGATE".to_owned());
        let region = &self.inner.host.region;
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            env.entry(name.to_owned()).or_insert_with(|| region.clone());
        }
        Ok(env)
    }

    fn log_sink(&self, task: &str, container: &Value) -> Result<LogSink, String> {
        let logs = container
            .get("logConfiguration")
            .filter(|logs| need(logs, "logDriver") == "awslogs");
        let Some(options) = logs.and_then(|logs| logs.get("options")) else {
            return Ok(Arc::new(|_, _| {}));
        };
        let group = need(options, "awslogs-group").to_owned();
        let prefix = need(options, "awslogs-stream-prefix");
        let stream = format!("{prefix}/{}/{task}", need(container, "name"));
        let sink = self.inner.logs.clone();
        if text(options, "awslogs-create-group") == Some("true") {
            let request = serde_json::json!({"logGroupName": group});
            // It may be there already; whether it is shows when the stream is opened.
            let _ = sink.call("CreateLogGroup", &request);
        }
        sink.open_stream(&group, &stream).map_err(|error| {
            format!(
                "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: \
                 failed to create Cloudwatch log stream: {}: {} : exit status 1",
                error.code, error.message
            )
        })?;
        Ok(Arc::new(move |_, line: &str| {
            sink.append(&group, &stream, line)
        }))
    }
}

/// What Fargate pulls an image for: a definition without a runtime platform runs on X86_64
/// (`RuntimePlatform.cpuArchitecture` of the API's model).
fn platform_of(definition: &Value) -> &'static str {
    match definition["runtimePlatform"]["cpuArchitecture"].as_str() {
        Some("ARM64") => "linux/arm64",
        _ => "linux/amd64",
    }
}

/// Fargate's words for a container that the runner could not start.
pub fn start_failure(image: &str, error: &StartError) -> String {
    let pull = "CannotPullContainerError: pull image manifest has been retried 1 time(s)";
    match error {
        StartError::ImageNotFound(_) => {
            format!("{pull}: failed to resolve ref {image}: {image}: not found")
        }
        StartError::WrongPlatform { wanted, .. } => {
            format!(
                "CannotPullContainerError: pull image manifest has been retried 7 time(s): image Manifest does not contain \
                 descriptor matching platform '{wanted}'"
            )
        }
        StartError::CommandNotFound(command) => format!(
            "CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: failed \
             to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \
             \"{command}\": executable file not found in $PATH: unknown"
        ),
        StartError::BadImage(why) => {
            format!("CannotPullContainerError: failed to extract layer: {why}")
        }
        StartError::Machine(why) => format!("CannotStartContainerError: {why}"),
    }
}
