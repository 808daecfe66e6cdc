//! The Message Gateway Service: sessions of ECS Exec, with a client on a websocket and the agent of
//! a container behind it.
//!
//! What a client sends first, and what the gateway itself says, is in `datachannel/streaming.go` of
//! github.com/aws/session-manager-plugin; the agent's side is [`agent`].

mod agent;
mod wire;
mod words;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::sync::mpsc;

use super::error::AwsError;
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
        }
    }

    /// Opens a session in which the agent of a container runs a command. It begins at once, whether
    /// or not a client comes: agents ask for no handshake for a single command
    /// (`SingleCommand.RequireHandshake` of the agent).
    pub(super) fn open(&self, container: Container, command: String) -> Opened {
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
        let agent = agent::Agent::new(&self.host.clock, id.clone());
        self.host.background.spawn(async move {
            agent.live(container, command, arriving).await;
            this.lock().remove(&id);
        });
        Opened {
            session_id,
            stream_url,
            token_value,
        }
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
