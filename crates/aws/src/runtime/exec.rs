//! ECS Exec: runs a command in a container that runs, and opens the session that it has there.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_ecs::types::{ManagedAgentName, Task};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::wait::{Look, Pace, poll};
use deployer_session::{Endpoint, OpenError, Proxy, Session};
use futures::future::{Either, select};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::tasks;
use crate::client::Clients;
use crate::error::{Told as _, failure, words};

/// How long the agent of a container that runs may take until it takes commands. It is seconds,
/// where nothing keeps it from its service. Ours.
const CONNECTING: Duration = Duration::from_secs(120);

/// What ExecuteCommand says while an agent is not there yet, or never will be: "Wait and try again"
/// and "Try again later" (keidarcy/e1s#206, aws-containers/amazon-ecs-exec-checker#47).
const NOT_YET: [&str; 2] = [
    "the execute command agent isn’t running",
    "execute command failed due to an internal error",
];

/// What keeps an agent from its service, as the vendor's own checker looks for it
/// (github.com/aws-containers/amazon-ecs-exec-checker).
pub(super) const CAUSES: &str = "four things keep the agent in a task from its service: a `task_role` that does not allow \
     ssmmessages:CreateControlChannel, CreateDataChannel, OpenControlChannel and OpenDataChannel; a subnet without a way out \
     (NAT, or an interface endpoint for ssmmessages); AWS credentials among the container's own variables; a root file \
     system that is read-only (`readonlyRootFilesystem`); and none takes commands in a container that ECS started again";

/// What ends a session that an agent has begun, before anything of the command's is seen: where its
/// transcript is to go to, and with which key (Amazon ECS Developer Guide, "Monitor Amazon ECS
/// containers with ECS Exec": "Logging using Amazon S3 or CloudWatch Logs").
pub(super) const OF_SESSIONS: &str = "look at the cluster's `executeCommandConfiguration`: where it has sessions logged or encrypted, \
     the `task_role` needs logs:CreateLogStream, logs:DescribeLogStreams and logs:PutLogEvents on that log group, \
     s3:PutObject and s3:GetEncryptionConfiguration on that bucket, kms:Decrypt on that key";

/// How long the other side of a session may say nothing at all before its agent is taken for one
/// that has not begun it. Ours.
const SILENT: Duration = Duration::from_secs(30);

/// What a session's websocket is opened with by who signs for it.
const OPENS: &str = "ssmmessages:OpenDataChannel";

/// A command that ECS has taken: it runs, or is about to, whether or not its session is opened.
pub(super) struct Begun {
    /// The id of its task.
    name: String,
    /// Where its session is, and the token for it.
    session: Option<(String, String)>,
}

/// Runs a command in a container of a task, once its agent takes commands. The words are run as
/// they are, without a shell.
///
/// Errors: rejected, when commands are not enabled for the task, or its agent takes none for two
/// minutes; denied; unavailable, when ECS cannot be asked. Only with the last one it may have
/// begun, its answer being lost.
pub(super) async fn begin(
    clients: &Clients,
    (task, container): (&str, &str),
    command: &[String],
) -> Result<Begun> {
    let name = tasks::task_id(task);
    let what = format!("the agent of task `{name}`");
    let words_of_command = shlex::try_join(command.iter().map(String::as_str))
        .map_err(|_| Error::input("a command cannot have a zero byte in it"))?;
    let pace = Pace::until(CONNECTING);
    let answer = poll(clients.clock(), pace, &what, || async {
        let call = clients.ecs.execute_command();
        let call = call.cluster(&clients.cluster.0).task(task);
        let call = call.container(container).interactive(true);
        match call.command(&words_of_command).send().await {
            Ok(answer) => Ok(Look::Found(Ok(answer))),
            Err(error) if NOT_YET.iter().any(|it| words(&error).contains(it)) => {
                let why = words(&error).to_owned();
                Ok(match gone(clients, task, container).await {
                    Some(reason) => Look::Found(Err(reason)),
                    None => Look::NotYet(why),
                })
            }
            Err(error) => Err(failure(&error, &format!("run a command in task `{name}`"))),
        }
    })
    .await;
    let answer = answer.map_err(|error| match error.kind() {
        ErrorKind::TimedOut => {
            let seconds = CONNECTING.as_secs();
            let message = format!("{what} took no command for {seconds} s");
            Error::new(ErrorKind::Rejected, message)
                .because(error)
                .hint(CAUSES)
        }
        _ => error,
    })?;
    let answer = answer.map_err(|reason| {
        let message = format!("{what} has stopped");
        Error::new(ErrorKind::Rejected, message)
            .because(reason)
            .hint(CAUSES)
    })?;
    let session = answer.session;
    let session = session.and_then(|session| Some((session.stream_url?, session.token_value?)));
    let name = name.to_owned();
    Ok(Begun { name, session })
}

/// Why the agent of a container takes no commands any more, where it has stopped (`managedAgents`
/// of DescribeTasks). `None` while it may yet come, and where that cannot be seen.
async fn gone(clients: &Clients, id: &str, container: &str) -> Option<String> {
    let found = task(clients, id).await.ok()??;
    let mut containers = found.containers().iter();
    let ours = containers.find(|it| it.name() == Some(container))?;
    let mut agents = ours.managed_agents().iter();
    let agent = agents.find(|it| it.name() == Some(&ManagedAgentName::ExecuteCommandAgent))?;
    let reason = agent.reason().unwrap_or("ECS says no reason");
    (agent.last_status() == Some("STOPPED")).then(|| reason.to_owned())
}

impl Begun {
    /// Opens its session, once.
    ///
    /// Errors: denied, rejected or unavailable, when it is not to be had, or its agent does not
    /// begin it; the command runs all the same, or may do so later.
    pub(super) async fn open(self, clients: &Clients) -> Result<Session> {
        let name = self.name;
        let (url, token) = self.session.ok_or_else(|| {
            let message = format!("ECS answered without a session in task `{name}`");
            Error::new(ErrorKind::Rejected, message)
        })?;
        let endpoint = Endpoint {
            headers: signature(clients, &url).await?,
            proxy: Proxy::from_env(&url),
            url,
            token: token.into(),
        };
        let clock = clients.clock();
        let opened = Session::open(&endpoint, |pause| clock.pause(pause)).await;
        let session = opened.map_err(|error| unopened(&name, error))?;
        match select(pin!(session.begun()), clock.pause(SILENT)).await {
            Either::Left(_) => Ok(session),
            Either::Right(_) => Err(unbegun(&name)),
        }
    }
}

/// "SessionWorkersLimit" of the configuration that Amazon ECS gives the agent of a container is two
/// (`defaultSessionLimit` of github.com/aws/amazon-ecs-agent), and ExecuteCommand takes more.
fn unbegun(name: &str) -> Error {
    let seconds = SILENT.as_secs();
    let message = format!("the agent of task `{name}` has begun no session for {seconds} s");
    Error::new(ErrorKind::Unavailable, message)
        .because("it takes two sessions of a container at a time")
        .hint(
            "end one of those, or wait: one that nobody uses ends after 20 minutes, and what was asked for may run then",
        )
}

fn unopened(name: &str, error: OpenError) -> Error {
    let message = format!("cannot open the session in task `{name}`");
    let (kind, hint) = match &error {
        // The gateway's, or a proxy's.
        OpenError::Refused { .. } if error.is_denied() => (
            ErrorKind::Denied,
            format!("allow {OPENS} on arn:aws:ssm:REGION:ACCOUNT:session/ecs-execute-command-*"),
        ),
        OpenError::Unreachable { .. } => (ErrorKind::Unavailable, REACH.to_owned()),
        OpenError::Proxy { .. } => (
            ErrorKind::Rejected,
            "let the proxy of HTTPS_PROXY make tunnels (CONNECT) to ssmmessages.REGION.amazonaws.com, or except that in NO_PROXY"
                .to_owned(),
        ),
        OpenError::Address(_) | OpenError::Tls { .. } | OpenError::Refused { .. } => {
            (ErrorKind::Rejected, REACH.to_owned())
        }
    };
    Error::new(kind, message).because(error).hint(hint)
}

const REACH: &str =
    "sessions are at wss://ssmmessages.REGION.amazonaws.com: let this machine reach it";

/// The signature of a request for a session's websocket: of the host alone, for the service
/// `ssmmessages`, as the plugin signs since 1.2.764.0. None for an address that is signed already.
async fn signature(clients: &Clients, address: &str) -> Result<HeaderMap> {
    let unsigned = || {
        let message = "cannot sign the request for a session";
        Error::new(ErrorKind::Rejected, message)
    };
    let url = Url::parse(address).map_err(|error| unsigned().because(error))?;
    if url.query_pairs().any(|(name, _)| name == "X-Amz-Signature") {
        return Ok(HeaderMap::new());
    }
    let credentials = clients.credentials.provide_credentials().await;
    let credentials = credentials.map_err(|error| {
        let message = "no usable AWS credentials were found";
        Error::new(ErrorKind::Credentials, message).because(error)
    })?;
    let identity = credentials.into();
    let now = clients.clock().now();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&clients.section.region)
        .name("ssmmessages")
        .time(SystemTime::from(now))
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| unsigned().because(error))?;
    let nothing = SignableBody::Bytes(&[]);
    let request = SignableRequest::new("GET", address, std::iter::empty(), nothing);
    let signed = request.and_then(|request| sign(request, &params.into()));
    let (instructions, _) = signed
        .map_err(|error| unsigned().because(error))?
        .into_parts();
    let mut headers = HeaderMap::new();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

/// A task as it is now. `None` when ECS does not know it.
pub(super) async fn task(clients: &Clients, id: &str) -> Result<Option<Task>> {
    let call = clients.ecs.describe_tasks();
    let answer = call.cluster(&clients.cluster.0).tasks(id).send().await;
    let answer = answer.told(|| format!("look at task `{}`", tasks::task_id(id)))?;
    Ok(answer.tasks.unwrap_or_default().into_iter().next())
}
