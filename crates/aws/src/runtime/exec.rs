//! ECS Exec: runs a command in a container that runs, and opens the session that it has there.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_ecs::types::Task;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::wait::{Look, Pace, poll};
use deployer_session::{Endpoint, OpenError, Session};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::autopsy;
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
pub(super) const CAUSES: &str = "three things keep the agent in a task from its service: a `task_role` that does not allow \
     ssmmessages:CreateControlChannel, CreateDataChannel, OpenControlChannel and OpenDataChannel; a subnet without a way out \
     (NAT, or an interface endpoint for ssmmessages); AWS credentials among the container's own variables";

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
    let name = autopsy::task_id(task);
    let what = format!("the agent of task `{name}`");
    let words_of_command = shlex::try_join(command.iter().map(String::as_str))
        .map_err(|_| Error::input("a command cannot have a zero byte in it"))?;
    let pace = Pace::until(CONNECTING);
    let answer = poll(clients.clock(), pace, &what, || async {
        let call = clients.ecs.execute_command();
        let call = call.cluster(&clients.cluster.0).task(task);
        let call = call.container(container).interactive(true);
        match call.command(&words_of_command).send().await {
            Ok(answer) => Ok(Look::Found(answer)),
            Err(error) if NOT_YET.iter().any(|it| words(&error).contains(it)) => {
                Ok(Look::NotYet(words(&error).to_owned()))
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
    let session = answer.session;
    let session = session.and_then(|session| Some((session.stream_url?, session.token_value?)));
    let name = name.to_owned();
    Ok(Begun { name, session })
}

impl Begun {
    /// Opens its session, once.
    ///
    /// Errors: denied, rejected or unavailable, when it is not to be had; the command runs all the
    /// same.
    pub(super) async fn open(self, clients: &Clients) -> Result<Session> {
        let name = self.name;
        let (url, token) = self.session.ok_or_else(|| {
            let message = format!("ECS answered without a session in task `{name}`");
            Error::new(ErrorKind::Rejected, message)
        })?;
        let endpoint = Endpoint {
            headers: signature(clients, &url).await?,
            url,
            token: token.into(),
        };
        let clock = clients.clock();
        let opened = Session::open(&endpoint, |pause| clock.pause(pause)).await;
        opened.map_err(|error| unopened(&name, error))
    }
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
    let answer = answer.told(|| format!("look at task `{}`", autopsy::task_id(id)))?;
    Ok(answer.tasks.unwrap_or_default().into_iter().next())
}
