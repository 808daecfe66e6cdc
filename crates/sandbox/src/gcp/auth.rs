//! Who calls: bearer tokens, and the OAuth endpoint that gives them for a service account's signed
//! assertion.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::json;

use super::Gcp;
use super::error::{ApiError, Code, Outcome};
use crate::{Clock, ServiceAccount};

/// Google's tokens live an hour.
const LIFETIME: Duration = Duration::from_secs(3600);
/// How far a client's clock may be off.
const SKEW: i64 = 300;
/// What a service account's assertion names as its audience.
const GOOGLE_AUDIENCE: &str = "https://oauth2.googleapis.com/token";

/// The tokens that are good now.
pub struct Auth {
    account: Arc<ServiceAccount>,
    static_token: String,
    base: String,
    clock: Clock,
    /// Until when each is good, by the machine's clock: no client keeps its tokens by another.
    issued: Mutex<HashMap<String, Instant>>,
    /// Identity tokens with their audiences.
    identities: Mutex<HashMap<String, String>>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    scope: Option<String>,
    target_audience: Option<String>,
}

impl Auth {
    /// Knows one service account and one token that never ends.
    pub fn new(
        account: Arc<ServiceAccount>,
        static_token: String,
        base: String,
        clock: Clock,
    ) -> Self {
        Self {
            account,
            static_token,
            base,
            clock,
            issued: Mutex::default(),
            identities: Mutex::default(),
        }
    }

    /// Who a request's bearer token belongs to.
    pub fn check(&self, headers: &HeaderMap) -> Outcome<String> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| {
                value
                    .strip_prefix("Bearer ")
                    .or_else(|| value.strip_prefix("bearer "))
            });
        match token {
            None => Err(unauthenticated(
                "Request is missing required authentication credential.",
                "CREDENTIALS_MISSING",
            )),
            Some(token) if self.knows(token.trim()) => Ok(self.account.email.clone()),
            Some(_) => Err(unauthenticated(
                "Request had invalid authentication credentials.",
                "ACCESS_TOKEN_TYPE_UNSUPPORTED",
            )),
        }
    }

    /// Whether a token is good now.
    pub fn knows(&self, token: &str) -> bool {
        if !token.is_empty() && token == self.static_token {
            return true;
        }
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued
            .get(token)
            .is_some_and(|until| *until > Instant::now())
    }

    /// Whether the headers carry a token that a container registry takes: as bearer, or as the
    /// password of `oauth2accesstoken`.
    pub fn knows_registry_client(&self, headers: &HeaderMap) -> bool {
        self.registry_credential(headers).is_some()
    }

    fn registry_credential(&self, headers: &HeaderMap) -> Option<String> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let token = match value.split_once(' ')? {
            (scheme, token) if scheme.eq_ignore_ascii_case("bearer") => token.to_owned(),
            (scheme, pair) if scheme.eq_ignore_ascii_case("basic") => {
                let pair = String::from_utf8(STANDARD.decode(pair.trim()).ok()?).ok()?;
                pair.strip_prefix("oauth2accesstoken:")?.to_owned()
            }
            _ => return None,
        };
        self.knows(token.trim()).then_some(token)
    }

    fn issue(&self) -> String {
        let token = format!(
            "ya29.{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        issued.retain(|_, until| *until > now);
        issued.insert(token.clone(), now + LIFETIME);
        token
    }

    /// An identity token for a service, in JWT's form; nobody here checks its signature.
    fn identify(&self, audience: &str) -> String {
        let now = self.clock.now().as_second();
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = format!(
            "{}.{}.{}",
            part(json!({ "alg": "RS256", "typ": "JWT", "kid": self.account.key_id })),
            part(json!({
                "aud": audience, "iss": "https://accounts.google.com", "email": self.account.email,
                "email_verified": true, "iat": now, "exp": now + 3600,
            })),
            uuid::Uuid::new_v4().simple(),
        );
        let mut identities = self
            .identities
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        identities.insert(token.clone(), audience.to_owned());
        token
    }

    /// Whether a token is an identity for that audience: a service's own address.
    pub fn admits(&self, token: &str, audience: &str) -> bool {
        let identities = self
            .identities
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        identities
            .get(token.trim())
            .is_some_and(|it| it == audience)
    }

    /// Checks signature and claims. The error is the `error_description` of OAuth.
    fn verify(&self, assertion: &str) -> Result<Option<String>, (&'static str, String)> {
        let refuse = |why: &str| ("invalid_grant", why.to_owned());
        let (signed, signature) = assertion
            .rsplit_once('.')
            .ok_or_else(|| refuse("Bad Request"))?;
        let (head, payload) = signed
            .split_once('.')
            .ok_or_else(|| refuse("Bad Request"))?;
        let decode = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(part.trim_end_matches('='))
                .map_err(|_| refuse("Bad Request"))
        };
        let head: serde_json::Value =
            serde_json::from_slice(&decode(head)?).map_err(|_| refuse("Bad Request"))?;
        if head["alg"] != "RS256" {
            return Err(refuse("Invalid JWT: unsupported algorithm."));
        }
        let claims: Claims = serde_json::from_slice(&decode(payload)?).map_err(|_| {
            refuse("Invalid JWT: a required claim (iss, aud, iat, exp) is missing or malformed.")
        })?;
        if claims.iss != self.account.email {
            return Err(refuse("Invalid grant: account not found"));
        }
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.account.public_key_der)
            .verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| refuse("Invalid JWT Signature."))?;
        if claims.aud != GOOGLE_AUDIENCE && claims.aud != format!("{}/token", self.base) {
            return Err(refuse("Invalid JWT: Failed audience check."));
        }
        let issued = jiff::Timestamp::from_second(claims.iat);
        let issued = issued.map_err(|_| refuse("Invalid JWT: the claim iat is out of range."))?;
        let now = self.clock.judging(issued).as_second();
        if claims.exp < now - SKEW
            || claims.iat > now + SKEW
            || claims.exp - claims.iat > 3600 + SKEW
        {
            return Err(refuse(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.",
            ));
        }
        if claims.scope.as_deref().unwrap_or_default().is_empty()
            && claims.target_audience.is_none()
        {
            return Err((
                "invalid_scope",
                "Invalid OAuth scope or ID token audience provided.".into(),
            ));
        }
        Ok(claims.target_audience)
    }
}

fn unauthenticated(what: &str, reason: &str) -> ApiError {
    let mut error = ApiError::new(
        Code::Unauthenticated,
        format!(
            "{what} Expected OAuth 2 access token, login cookie or other valid authentication credential. \
             See https://developers.google.com/identity/sign-in/web/devconsole-project."
        ),
    );
    error.details.push(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
    }));
    error
}

/// `POST /token`: a bearer token for a signed assertion (RFC 7523).
pub async fn issue_token(gcp: &Gcp, request: Request<Body>) -> Response {
    let Ok(body) = axum::body::to_bytes(request.into_body(), 64 * 1024).await else {
        return oauth_error("invalid_request", "Bad Request");
    };
    // Google's clients send a person's login as JSON.
    let sent = serde_json::from_slice::<HashMap<String, serde_json::Value>>(&body);
    let text =
        |(name, value): (String, serde_json::Value)| Some((name, value.as_str()?.to_owned()));
    let form: HashMap<String, String> = match sent {
        Ok(form) => form.into_iter().filter_map(text).collect(),
        Err(_) => url::form_urlencoded::parse(&body).into_owned().collect(),
    };
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let token = || {
        let token = json!({
            "access_token": gcp.auth().issue(),
            "expires_in": LIFETIME.as_secs() - 1,
            "token_type": "Bearer",
        });
        axum::Json(token).into_response()
    };
    match field("grant_type") {
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {}
        // A person's login: here any token that is good is one to refresh by.
        "refresh_token" if gcp.auth().knows(field("refresh_token")) => return token(),
        "refresh_token" => return oauth_error("invalid_grant", "Bad Request"),
        _ => {
            return oauth_error(
                "unsupported_grant_type",
                "Invalid grant_type: the sandbox takes jwt-bearer and refresh_token",
            );
        }
    }
    match gcp.auth().verify(field("assertion")) {
        // "The response contains id_token" where the assertion names a `target_audience` (Google's
        // OAuth for service accounts).
        Ok(Some(audience)) => {
            axum::Json(json!({ "id_token": gcp.auth().identify(&audience) })).into_response()
        }
        Ok(None) => token(),
        Err((error, description)) => oauth_error(error, &description),
    }
}

fn oauth_error(error: &str, description: &str) -> Response {
    let body = json!({ "error": error, "error_description": description });
    (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}

/// `GET /v2/token`: what a registry's challenge points at.
pub fn registry_token(gcp: &Gcp, request: &Request<Body>) -> Response {
    match gcp.auth().registry_credential(request.headers()) {
        Some(token) => axum::Json(json!({
            "token": token, "access_token": token, "expires_in": LIFETIME.as_secs(),
        }))
        .into_response(),
        None => {
            let body = json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "authentication failed" }] });
            (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response()
        }
    }
}
