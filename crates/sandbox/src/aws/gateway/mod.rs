//! The Message Gateway Service: sessions of ECS Exec, with a client on a websocket and the agent of
//! a container behind it.
//!
//! What a client sends first, and what the gateway itself says, is in `datachannel/streaming.go` of
//! github.com/aws/session-manager-plugin; the agent's side is [`agent`].

mod agent;
mod wire;
mod words;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::error::AwsError;
use super::logs::Logs;
use super::policy::Policy;
use super::sigv4;
use crate::Host;
use crate::runner::Container;

/// How long a client may take to say who it is. Ours.
const OPENING: Duration = Duration::from_secs(10);

/// The sessions. Cheap to clone.
#[derive(Clone)]
pub(super) struct Gateway {
    host: Host,
    /// What the user may do; `None`: everything.
    policy: Arc<Mutex<Option<Policy>>>,
    sessions: Arc<Mutex<HashMap<String, Session>>>,
    /// By the container's ARN.
    workers: Arc<Mutex<HashMap<String, Arc<Workers>>>>,
    disturbed: Arc<AtomicBool>,
}

/// Where a session's command runs.
pub(super) struct Place {
    pub(super) container: Container,
    /// The container's ARN.
    pub(super) name: String,
    /// The KMS key with which sessions are to be encrypted.
    pub(super) key: Option<String>,
    /// Where its transcript goes to, once it is over: "DEFAULT: The awslogs configuration in the
    /// task definition is used" (`ExecuteCommandConfiguration`, ECS API Reference).
    pub(super) log_group: Option<(Logs, String)>,
}

/// What the agent of a container has for sessions. Two at a time (`defaultSessionLimit` of
/// `manager_init_task_linux.go` of github.com/aws/amazon-ecs-agent, which the agent gets as
/// `SessionWorkersLimit`); one more waits for its turn, and what comes beside it is never begun.
struct Workers {
    free: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            free: Arc::new(Semaphore::new(2)),
            waiting: Arc::new(Semaphore::new(1)),
        }
    }
}

/// A session that is open.
struct Session {
    token: String,
    clients: mpsc::Sender<WebSocket>,
}

/// What `ecs:ExecuteCommand` answers of a session.
pub(super) struct Opened {
    pub(super) session_id: String,
    pub(super) stream_url: String,
    pub(super) token_value: String,
}

impl Gateway {
    pub(super) fn new(host: &Host, policy: Arc<Mutex<Option<Policy>>>) -> Self {
        Self {
            host: host.clone(),
            policy,
            sessions: Arc::default(),
            workers: Arc::default(),
            disturbed: Arc::default(),
        }
    }

    /// Opens a session in which the agent of a container runs a command. It begins at once, whether
    /// or not a client comes: agents ask for no handshake for a single command
    /// (`SingleCommand.RequireHandshake` of the agent).
    pub(super) fn open(&self, place: Place, command: String) -> Opened {
        let number = uuid::Uuid::new_v4().simple().to_string();
        let session_id = format!("ecs-execute-command-0{}", &number[..16]);
        let token_value = format!("AAEAA{}{number}", uuid::Uuid::new_v4().simple());
        let base = self.host.base.replacen("http", "ws", 1);
        let stream_url = format!(
            "{base}/v1/data-channel/{session_id}?role=publish_subscribe&cell-number=AAEAAsandbox"
        );
        let (clients, arriving) = mpsc::channel(1);
        let session = Session {
            token: token_value.clone(),
            clients,
        };
        self.lock().insert(session_id.clone(), session);
        let (this, id) = (self.clone(), session_id.clone());
        let disturbed = self.disturbed.load(Ordering::Relaxed);
        let agent = agent::Agent::new(&self.host.clock, id.clone(), disturbed);
        let workers = {
            let workers = self.workers.lock();
            let mut workers = workers.unwrap_or_else(PoisonError::into_inner);
            Arc::clone(workers.entry(place.name.clone()).or_default())
        };
        self.host.background.spawn(async move {
            let mut arriving = arriving;
            let ended = place.container.clone();
            let turn = workers.turn();
            let begins = async {
                tokio::select! {
                    turn = turn => turn,
                    _ = ended.wait() => None,
                }
            };
            if let (Some(_turn), first) = unheard(&mut arriving, begins).await {
                agent.live(place, command, (first, arriving)).await;
            }
            this.lock().remove(&id);
        });
        Opened {
            session_id,
            stream_url,
            token_value,
        }
    }

    /// Whether messages of sessions that begin from now on are lost, doubled and reordered at
    /// times.
    pub(super) fn disturb(&self, disturbs: bool) {
        self.disturbed.store(disturbs, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses who signs and may not open the channel of a session. That sessions of ECS ask for it
    /// is likely, not proven: "Sample IAM policies for Session Manager" (AWS Systems Manager User
    /// Guide) lets end users do it on their own sessions. The words are ours.
    fn authorize(&self, id: &str) -> Result<(), AwsError> {
        const OPENS: &str = "ssmmessages:OpenDataChannel";
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        match policy.as_ref().is_none_or(|policy| policy.allows(OPENS)) {
            true => Ok(()),
            false => {
                let (region, account) = (&self.host.region, &self.host.account);
                let session = format!("arn:aws:ssm:{region}:{account}:session/{id}");
                Err(AwsError::denied(account, OPENS, &session))
            }
        }
    }

    /// Hands a client that has the session's token to its agent, in the place of the one before.
    async fn admit(self, id: String, mut socket: WebSocket) {
        let first = tokio::time::timeout(OPENING, socket.recv()).await;
        let Ok(Some(Ok(Message::Text(text)))) = first else {
            return;
        };
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        let clients = {
            let sessions = self.lock();
            let session = sessions.get(&id);
            let known = session.filter(|it| said["TokenValue"] == it.token.as_str());
            known.map(|session| session.clients.clone())
        };
        // Older clients say no `ClientId`.
        let whole = ["MessageSchemaVersion", "RequestId"]
            .iter()
            .all(|name| said[name].is_string());
        // A client without the token, or one that comes too late, is hung up on. Ours.
        if let (Some(clients), true) = (clients, whole) {
            let _ = clients.send(socket).await;
        }
    }
}

impl Workers {
    /// Waits until a session's turn has come. `None` where it never does, a moment before the
    /// session is forgotten.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(free) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(free);
        }
        let Ok(_waits) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return std::future::pending().await;
        };
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

/// Holds the clients of a session that has not begun: nobody says anything to them, and their
/// connection lives. Returns what was waited for, and the last client, if it is still there.
async fn unheard<T>(
    clients: &mut mpsc::Receiver<WebSocket>,
    until: impl Future<Output = T>,
) -> (T, Option<WebSocket>) {
    let mut until = std::pin::pin!(until);
    let mut held: Option<WebSocket> = None;
    loop {
        let said = async {
            match &mut held {
                Some(socket) => socket.recv().await.is_some_and(|said| said.is_ok()),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = &mut until => return (done, held),
            Some(socket) = clients.recv() => held = Some(socket),
            there = said => if !there {
                held = None;
            },
        }
    }
}

/// `GET /v1/data-channel/{id}`: the signature counts where there is one, as plugins send it since
/// 1.2.764.0 (its release notes); the token is what lets a client in.
pub(super) async fn data_channel(
    State(gateway): State<Gateway>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (mut parts, _) = request.into_parts();
    if parts.headers.contains_key("authorization") {
        let signed = sigv4::Signed {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            body: &[],
        };
        let verified = sigv4::Authorization::read(&parts.headers)
            .and_then(|it| sigv4::verify(&signed, &it, &gateway.host).map(|()| it.service))
            .and_then(|service| gateway.authorize(&id).map(|()| service));
        match verified {
            Ok(service) if service == "ssmmessages" => {}
            Ok(_) => return StatusCode::FORBIDDEN.into_response(),
            Err(error) => return (StatusCode::FORBIDDEN, error.message).into_response(),
        }
    }
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade.on_upgrade(move |socket| gateway.admit(id, socket)),
        Err(refused) => refused.into_response(),
    }
}
