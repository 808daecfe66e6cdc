//! The JSON that messages carry.
//!
//! Source: `message/clientmessage.go`, `message/handshakemessage.go` and `service/service.go` of
//! github.com/aws/session-manager-plugin.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The plugin's version that we behave as: the first that signs the request for the websocket.
pub(crate) const VERSION: &str = "1.2.764.0";

/// The first thing on a websocket, as text.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Open<'a> {
    pub(crate) message_schema_version: &'static str,
    pub(crate) request_id: Uuid,
    pub(crate) token_value: &'a str,
    pub(crate) client_id: Uuid,
    pub(crate) client_version: &'static str,
}

/// Of one message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Acknowledgement {
    #[serde(rename = "AcknowledgedMessageType")]
    pub(crate) kind: String,
    #[serde(rename = "AcknowledgedMessageId")]
    pub(crate) id: String,
    #[serde(rename = "AcknowledgedMessageSequenceNumber")]
    pub(crate) sequence: i64,
    pub(crate) is_sequential_message: bool,
}

/// Why the other side closed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ChannelClosed {
    pub(crate) output: String,
}

/// A terminal's size.
#[derive(Serialize)]
pub(crate) struct Size {
    pub(crate) cols: u32,
    pub(crate) rows: u32,
}

/// What the agent asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HandshakeRequest {
    pub(crate) agent_version: String,
    pub(crate) requested_client_actions: Vec<Requested>,
}

/// One thing of those.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Requested {
    pub(crate) action_type: String,
    #[serde(default)]
    pub(crate) action_parameters: Value,
}

/// What became of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HandshakeResponse {
    pub(crate) client_version: &'static str,
    pub(crate) processed_client_actions: Vec<Processed>,
    pub(crate) errors: Vec<String>,
}

/// One thing of that.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Processed {
    pub(crate) action_type: String,
    pub(crate) action_status: u32,
    pub(crate) action_result: Value,
    pub(crate) error: String,
}

/// `ActionStatus`.
pub(crate) mod status {
    pub(crate) const SUCCESS: u32 = 1;
    pub(crate) const FAILED: u32 = 2;
    pub(crate) const UNSUPPORTED: u32 = 3;
}

/// The agent begins.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HandshakeComplete {
    /// What the account's preferences have for people who open a session.
    pub(crate) customer_message: String,
}
