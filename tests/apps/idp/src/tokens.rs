//! Tokens: their claims, and the answers that OAuth 2 wants when there is none.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, http::HeaderMap};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::keys::Keys;

/// How long a token is valid, in seconds.
pub const LIFETIME: u64 = 3600;

/// Who the tokens are for.
pub const AUDIENCE: &str = "idp";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The service that issued it.
    pub iss: String,
    /// The client it was issued to.
    pub sub: String,
    /// Who it is for.
    pub aud: String,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
    /// Scopes, separated by spaces.
    pub scope: String,
    /// Unique to this token.
    pub jti: String,
}

impl Claims {
    /// The claims of a new token for `client`, issued now.
    pub fn new(issuer: &str, client: &str, scope: &str) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs();
        let mut id = [0; 16];
        rand::fill(&mut id).expect("the operating system gives random bytes");
        Self {
            iss: issuer.to_owned(),
            sub: client.to_owned(),
            aud: AUDIENCE.to_owned(),
            exp: now + LIFETIME,
            iat: now,
            scope: scope.to_owned(),
            jti: BASE64_URL_SAFE_NO_PAD.encode(id),
        }
    }

    /// Signs the claims with RS256; the header names the key.
    pub fn sign(&self, keys: &Keys) -> jsonwebtoken::errors::Result<String> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(keys.signing_id.clone());
        jsonwebtoken::encode(&header, self, &keys.signing)
    }

    /// The claims of `token` when a published key signed it for this audience and issuer and it has
    /// not ended; `None` otherwise.
    pub fn verify(token: &str, keys: &Keys, issuer: &str) -> Option<Self> {
        let id = jsonwebtoken::decode_header(token).ok()?.kid?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[issuer]);
        let verified = jsonwebtoken::decode(token, keys.verifying(&id)?, &validation).ok()?;
        Some(verified.claims)
    }
}

/// The form of `POST /api/v1/token`.
#[derive(Deserialize)]
pub struct TokenRequest {
    /// Must be `client_credentials`.
    pub grant_type: Option<String>,
    /// Here or in the `authorization` header.
    pub client_id: Option<String>,
    /// Here or in the `authorization` header.
    pub client_secret: Option<String>,
    /// Separated by spaces; none asks for everything the client may have.
    pub scope: Option<String>,
}

impl TokenRequest {
    /// The client's id and secret, from HTTP Basic (RFC 6749, 2.3.1) or from the form.
    pub fn credentials(&self, headers: &HeaderMap) -> Result<(String, String), Refusal> {
        match headers.get(header::AUTHORIZATION) {
            Some(value) => basic(value).ok_or(Refusal::InvalidClient),
            None => match (&self.client_id, &self.client_secret) {
                (Some(id), Some(secret)) => Ok((id.clone(), secret.clone())),
                _ => Err(Refusal::InvalidRequest(
                    "`client_id` or `client_secret` is missing",
                )),
            },
        }
    }

    /// The scope to grant out of `allowed`.
    pub fn grant(&self, allowed: &[String]) -> Result<String, Refusal> {
        let Some(asked) = &self.scope else {
            return Ok(allowed.join(" "));
        };
        let asked: Vec<&str> = asked.split_whitespace().collect();
        match asked
            .iter()
            .all(|scope| allowed.iter().any(|allowed| allowed == scope))
        {
            true => Ok(asked.join(" ")),
            false => Err(Refusal::InvalidScope),
        }
    }
}

fn basic(value: &HeaderValue) -> Option<(String, String)> {
    let encoded = value.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// Why there is no token: the errors of RFC 6749, 5.2, and two of HTTP's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The form is incomplete or not a form; says what.
    InvalidRequest(&'static str),
    /// Another grant than `client_credentials`.
    UnsupportedGrantType,
    /// Unknown client or wrong secret: the answer does not say which.
    InvalidClient,
    /// More than the client may have.
    InvalidScope,
    /// Try again after so many seconds.
    TooMany(u64),
    /// The database cannot be asked.
    Unavailable,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, text) = match self {
            Self::InvalidRequest(text) => (StatusCode::BAD_REQUEST, "invalid_request", text),
            Self::UnsupportedGrantType => (
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "only `client_credentials` is supported",
            ),
            Self::InvalidClient => (
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "unknown client or wrong secret",
            ),
            Self::InvalidScope => (
                StatusCode::BAD_REQUEST,
                "invalid_scope",
                "the client may not have this scope",
            ),
            Self::TooMany(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "temporarily_unavailable",
                "too many requests",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "the database does not answer",
            ),
        };
        let body = Json(json!({ "error": code, "error_description": text }));
        let mut response = (status, [(header::CACHE_CONTROL, "no-store")], body).into_response();
        let headers = response.headers_mut();
        match self {
            Self::InvalidClient => {
                let scheme = HeaderValue::from_static("Basic realm=\"idp\"");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            Self::TooMany(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::InvalidRequest(_)
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::Unavailable => {}
        }
        response
    }
}
