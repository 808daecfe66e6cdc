//! Containers of revisions and tasks: started with their environment and secrets, probed, watched.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::image::{Image, Resolved};
use super::template::port_of;
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Code};
use crate::gcp::logging::Source;
use crate::gcp::schema::Object;
use crate::runner::{self, Container, ContainerSpec, LogSink, Purpose, StartError, Stream};

/// A working app may need this long to start, however fast the clock runs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two probes of a container that starts.
const PROBE_PAUSE: Duration = Duration::from_millis(50);
/// The same when nothing runs.
const SIMULATED_PAUSE: Duration = Duration::from_secs(1);
/// How long a container has to end by itself; Cloud Run gives 10 seconds.
const GRACE: Duration = Duration::from_secs(10);

/// A running container of a revision.
#[derive(Clone)]
pub struct Instance {
    /// Tells this start from later ones.
    pub id: uuid::Uuid,
    /// The process.
    pub container: Container,
}

impl Instance {
    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.container.address()
    }

    /// Ends it.
    pub async fn stop(&self, gcp: &Gcp) {
        self.container.stop(gcp.grace()).await;
    }
}

/// What to start.
pub struct Plan<'a> {
    /// Shown in `sandbox status`.
    pub name: String,
    /// The message `Container`.
    pub container: &'a Object,
    /// What the platform adds to the environment.
    pub system_env: Vec<(&'static str, String)>,
    /// Whether the container is to listen.
    pub serves: bool,
    /// Whom its lines belong to.
    pub source: Source,
    /// The service account that it runs as.
    pub account: &'a str,
    /// The path that an error about a secret begins with.
    pub at: &'static str,
}

/// Where a revision's secrets stand in the words of an error: as in v1, whichever version was
/// called (<https://github.com/terraform-google-modules/terraform-docs-samples/pull/168>).
pub(super) const IN_REVISION: &str = "spec.template.spec";
/// The same of a task's.
pub(super) const IN_TASK: &str = "spec.template.spec.template.spec";

/// Why a container could not be started, with the reason that conditions carry.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which condition fails: `ContainerReady`, `ContainerHealthy`, `ResourcesAvailable`.
    pub condition: &'static str,
    /// The reason: the field and the value.
    pub reason: (&'static str, &'static str),
    /// Code and sentence.
    pub error: ApiError,
}

impl Failure {
    fn new(
        condition: &'static str,
        reason: &'static str,
        code: Code,
        message: impl Into<String>,
    ) -> Self {
        Self {
            condition,
            reason: ("reason", reason),
            error: ApiError::new(code, message),
        }
    }
}

impl Gcp {
    pub(super) fn grace(&self) -> Duration {
        let scaled = self.host().clock.in_cloud_time(GRACE);
        scaled.min(GRACE).max(Duration::from_millis(500))
    }

    /// Cloud time as [`Clock::sleep_unscaled`](crate::Clock::sleep_unscaled) counts, but never less
    /// than what a real process may need.
    pub(super) fn patient(&self, time: Duration) -> Duration {
        let scaled = self.host().clock.in_cloud_time(time);
        scaled.max(time.min(PATIENCE))
    }

    /// The image of a container, as it is in the registry now.
    pub(super) fn resolve_image(&self, container: &Object) -> Result<Resolved, Failure> {
        let text = super::text(container, "image");
        let missing =
            |why: String| Failure::new("ContainerReady", "CONTAINER_MISSING", Code::NotFound, why);
        Image::parse(text)
            .map_err(missing)?
            .resolve(self)
            .map_err(missing)
    }

    /// Starts a container. It may not listen yet.
    pub(super) async fn start_container(
        &self,
        plan: &Plan<'_>,
        image: &Resolved,
    ) -> Result<Container, Failure> {
        let env = self.environment(plan)?;
        let words = |name: &str| -> Option<Vec<String>> {
            let all = plan.container.get(name)?.as_array()?;
            Some(
                all.iter()
                    .filter_map(|v| v.as_str().map(str::to_owned))
                    .collect(),
            )
        };
        let entrypoint = words("command").filter(|w| !w.is_empty());
        let mut command = words("args").filter(|w| !w.is_empty());
        if entrypoint.is_some() && command.is_none() {
            // A command without arguments hides the image's own.
            command = Some(Vec::new());
        }
        let spec = ContainerSpec {
            name: plan.name.clone(),
            repository: image.repository.clone(),
            reference: image.digest.clone(),
            platform: "linux/amd64",
            entrypoint,
            command,
            env,
            purpose: match plan.serves {
                true => Purpose::Serve,
                false => Purpose::Finish,
            },
            port: plan.serves.then(|| port_of(plan.container)),
            logs: self.sink(&plan.source),
        };
        self.host().runner.start(spec).await.map_err(|error| {
            self.log(&system(&plan.source), &format!("{error}"), "ERROR");
            start_failure(super::text(plan.container, "image"), &error)
        })
    }

    /// What the variables of a container hold. Each secret must be there, and the account must be
    /// let read it: "during service deployment Cloud Run checks all the secrets"
    /// (<https://cloud.google.com/run/docs/configuring/services/secrets>), and so it does for a job
    /// (<https://github.com/hashicorp/terraform-provider-google/issues/13828>).
    pub(super) fn variables(
        &self,
        container: &Object,
        account: &str,
        at: &str,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let mut env = BTreeMap::new();
        let given = container
            .get("env")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        for (index, variable) in given.iter().enumerate() {
            let name = variable["name"].as_str().unwrap_or_default().to_owned();
            let reference = &variable["valueSource"]["secretKeyRef"];
            let value = match reference["secret"].as_str() {
                None => variable["value"].as_str().unwrap_or_default().to_owned(),
                Some(secret) => self
                    .secret_value(
                        secret,
                        reference["version"].as_str().unwrap_or_default(),
                        account,
                    )
                    .map_err(|why| {
                        let at = format!(
                            "{at}.containers[0].env[{index}].value_from.secret_key_ref.name"
                        );
                        Failure::new(
                            "ContainerReady",
                            "SECRETS_ACCESS_CHECK_FAILED",
                            Code::Internal,
                            format!("{at}: {why}"),
                        )
                    })?,
            };
            env.insert(name, value);
        }
        Ok(env)
    }

    fn environment(&self, plan: &Plan<'_>) -> Result<BTreeMap<String, String>, Failure> {
        let mut env = self.variables(plan.container, plan.account, plan.at)?;
        if plan.serves {
            env.insert("PORT".into(), port_of(plan.container).to_string());
        }
        for (name, value) in &plan.system_env {
            env.insert((*name).to_owned(), value.clone());
        }
        Ok(env)
    }

    fn sink(&self, source: &Source) -> LogSink {
        let gcp = self.clone();
        let named = |log: &str| Source {
            log: log.into(),
            ..source.clone()
        };
        let (out, err) = (named("stdout"), named("stderr"));
        Arc::new(move |stream, line: &str| match stream {
            Stream::Stdout => gcp.log(&out, line, ""),
            Stream::Stderr => gcp.log(&err, line, ""),
        })
    }

    /// Waits until a started container passes its startup probe. `false` when it ends or takes too
    /// long.
    pub(super) async fn becomes_healthy(
        &self,
        container: &Container,
        message: &Object,
        source: &Source,
    ) -> bool {
        let probe = message
            .get("startupProbe")
            .cloned()
            .unwrap_or_else(|| json!({}));
        let number = |name: &str, default: u64| probe[name].as_u64().unwrap_or(default);
        let allowed = number("initialDelaySeconds", 0)
            + number("periodSeconds", 240) * number("failureThreshold", 1);
        let clock = &self.host().clock;
        let (began, allowed) = (clock.now(), self.patient(Duration::from_secs(allowed)));
        let timeout = self.patient(Duration::from_secs(number("timeoutSeconds", 1)));
        // Where time is virtual, each look is an event.
        let pause = match container.seems_healthy() {
            Some(_) => SIMULATED_PAUSE,
            None => PROBE_PAUSE,
        };
        let path = probe["httpGet"]["path"].as_str();
        loop {
            if let Some(exit) = container.exit() {
                self.log(
                    &system(source),
                    &format!("Container called exit({}).", exit.code),
                    "WARNING",
                );
                return false;
            }
            let healthy = match (container.seems_healthy(), container.address(), path) {
                (Some(healthy), _, _) => healthy,
                (None, None, _) => return false,
                (None, Some(address), Some(path)) => runner::probe(address, path, timeout).await,
                (None, Some(address), None) => listens(address).await,
            };
            if healthy && container.exit().is_none() {
                return true;
            }
            if clock.since(began) >= allowed {
                let kind = if path.is_some() { "HTTP" } else { "TCP" };
                let line = format!(
                    "STARTUP {kind} probe failed for container on port {}. The instance was not started.",
                    port_of(message)
                );
                self.log(&system(source), &line, "ERROR");
                return false;
            }
            clock.sleep_unscaled(pause).await;
        }
    }
}

/// Cloud Run's own lines about a container.
pub fn system(source: &Source) -> Source {
    Source {
        log: "varlog/system".into(),
        ..source.clone()
    }
}

/// Whether something listens. A relay takes the connection first and closes it when nobody does
/// behind it.
async fn listens(address: SocketAddr) -> bool {
    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else {
        return false;
    };
    let mut byte = [0; 1];
    match tokio::time::timeout(Duration::from_millis(100), stream.read(&mut byte)).await {
        Err(_) => true,
        Ok(Ok(read)) => read > 0,
        Ok(Err(_)) => false,
    }
}

fn start_failure(image: &str, error: &StartError) -> Failure {
    match error {
        StartError::ImageNotFound(_) => Failure::new(
            "ContainerReady",
            "CONTAINER_MISSING",
            Code::NotFound,
            format!("Image '{image}' not found."),
        ),
        StartError::WrongPlatform { .. } => Failure::new(
            "ContainerReady",
            "CONTAINER_MISSING",
            Code::FailedPrecondition,
            "Cloud Run does not support image: Container manifest type must support amd64/linux.",
        ),
        StartError::CommandNotFound(command) => Failure {
            condition: "ContainerHealthy",
            reason: ("revisionReason", "HEALTH_CHECK_CONTAINER_ERROR"),
            error: ApiError::precondition(format!(
                "The container failed to start: terminated: Application failed to start: \"{command}\": no such file or directory"
            )),
        },
        StartError::BadImage(_) => Failure::new(
            "ContainerReady",
            "CONTAINER_MISSING",
            Code::FailedPrecondition,
            "Container import failed: the image is unreadable.",
        ),
        StartError::Machine(why) => Failure::new(
            "ResourcesAvailable",
            "INTERNAL",
            Code::Internal,
            why.clone(),
        ),
    }
}
