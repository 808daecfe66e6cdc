//! What is asked of a service once it serves.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The checks of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifySpec {
    /// The path that tells Prometheus metrics.
    pub metrics: Option<String>,
    /// The path of the JSON Web Key Set.
    pub jwks: Option<String>,
    /// A token round trip.
    pub token: Option<TokenCheck>,
    /// Further requests.
    pub checks: Vec<HttpCheck>,
}

impl VerifySpec {
    /// Whether it asks for anything beside the health path.
    pub fn asks_anything(&self) -> bool {
        let Self {
            metrics,
            jwks,
            token,
            checks,
        } = self;
        metrics.is_some() || jwks.is_some() || token.is_some() || !checks.is_empty()
    }
}

/// Asks for a token with client credentials; the token is then verified with the keys of every
/// target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCheck {
    /// The path of the token endpoint.
    pub path: String,
    /// The secret with the client's id, by the manifest's names.
    pub client_id: String,
    /// The secret with the client's secret, by the manifest's names.
    pub client_secret: String,
    /// The scope asked for.
    pub scope: Option<String>,
}

/// One request and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// What it is called in reports.
    pub name: String,
    /// `GET`, `HEAD` or `POST`.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// Headers to send.
    pub headers: BTreeMap<String, String>,
    /// The status that is expected.
    pub status: u16,
    /// Headers of the answer and the pattern (a regular expression, searched) that each must match.
    pub expect_headers: BTreeMap<String, String>,
    /// Places in a JSON answer (RFC 9535) and the value that stands there, as JSON.
    pub json: BTreeMap<String, serde_json::Value>,
    /// A regular expression that the body must have a match of.
    pub body: Option<String>,
    /// The answer must have come within this time.
    pub within: Option<Duration>,
}
