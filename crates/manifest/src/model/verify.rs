//! What is asked of a service once it serves, as it is written: `[services.NAME.verify]`.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{brief, plain_text};

/// `[services.NAME.verify]`: what `deployer verify` and the last step of `deployer apply` ask
/// beside the health path; on Cloud Run also what a new revision is asked before it gets traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// The path that tells Prometheus metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// The path of the JSON Web Key Set. A token of each target is verified with the keys of every
    /// other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// A token round trip with client credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenRequest>,
    /// Further requests and what their answers must be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// `[services.NAME.verify.token]`: asks for a token with client credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The path of the token endpoint.
    pub path: String,
    /// The secret with the client's id, by its key in `[secrets]`.
    pub client_id: String,
    /// The secret with the client's secret, by its key in `[secrets]`.
    pub client_secret: String,
    /// The scope asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// `[[services.NAME.verify.checks]]`: one request and what its answer must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-whole" = true))]
pub struct Check {
    /// What it is called in reports; method and path when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// The path, with its query.
    pub path: String,
    /// Headers to send, with interpolation.
    #[serde(
        default,
        deserialize_with = "plain_text::map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(schema_with = "plain_text::schema")]
    pub headers: BTreeMap<String, String>,
    /// The status that is expected.
    #[serde(default = "ok")]
    #[schemars(range(min = 100, max = 599))]
    pub status: u16,
    /// Headers of the answer, each with a regular expression that must be found in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expect_headers: BTreeMap<String, String>,
    /// Places in a JSON answer (JSONPath, RFC 9535) and the value that must stand there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, serde_json::Value>,
    /// A regular expression that must be found in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The time within which the answer must have come: `"500ms"`, `"2s"`.
    #[serde(default, with = "brief", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "brief::schema")]
    pub within: Option<Duration>,
}

fn ok() -> u16 {
    200
}

/// How a check asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Asks for the whole answer.
    #[default]
    Get,
    /// Asks for the headers only.
    Head,
    /// Sends an empty body.
    Post,
}

impl Method {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
        }
    }
}
