//! Who the registry takes us for: credentials, what it challenges with, tokens it gives for them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::{Error, ErrorKind};

/// What to show a registry. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing; public repositories can be read.
    Anonymous,
    /// A user and a password, for HTTP Basic or for the token service that the registry names.
    Basic {
        /// The user name, which is not a secret (`AWS`, `oauth2accesstoken`).
        user: String,
        /// The password or the access token that serves as one.
        password: SecretString,
    },
    /// A token that the registry itself takes.
    Bearer(SecretString),
}

/// Finds the credentials for reading a source image.
#[async_trait::async_trait]
pub trait RegistryAuth: Send + Sync {
    /// The credentials for `registry`, a host with an optional port, as in the image's reference
    /// (`docker.io` for Docker Hub). `Credentials::Anonymous` when there are none; an error
    /// only when there should be some and they cannot be had.
    async fn credentials(&self, registry: &str) -> Result<Credentials, Error>;
}

/// Reads public images only.
#[derive(Debug, Clone, Copy)]
pub struct Anonymous;

#[async_trait::async_trait]
impl RegistryAuth for Anonymous {
    async fn credentials(&self, _registry: &str) -> Result<Credentials, Error> {
        Ok(Credentials::Anonymous)
    }
}

/// What a request will do to a repository, and so what a token for it must allow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    Pull(String),
    Push(String),
    /// Push to the first, mounting blobs out of the second.
    Mount(String, String),
}

impl Scope {
    fn to_params(&self) -> Vec<String> {
        match self {
            Scope::Pull(repo) => vec![format!("repository:{repo}:pull")],
            Scope::Push(repo) => vec![format!("repository:{repo}:pull,push")],
            Scope::Mount(to, from) => {
                vec![
                    format!("repository:{to}:pull,push"),
                    format!("repository:{from}:pull"),
                ]
            }
        }
    }
}

/// What a registry's `WWW-Authenticate` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

impl Challenge {
    /// The challenge we can answer best, a token before a password; `None` when there is none.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE);
        let texts = values.iter().filter_map(|v| v.to_str().ok());
        let mut basic = None;
        for text in texts {
            // A header that cannot be parsed is as good as none: the 401 then stands.
            for challenge in http_auth::parse_challenges(text).unwrap_or_default() {
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
                let param = |name: &str| {
                    let found = challenge
                        .params
                        .iter()
                        .find(|p| p.0.eq_ignore_ascii_case(name));
                    found.map(|p| p.1.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = param("realm")
                {
                    return Some(Self::Bearer {
                        realm,
                        service: param("service"),
                    });
                }
            }
        }
        basic
    }
}

/// The credentials of one registry with what it has given for them so far.
pub(crate) struct Session {
    credentials: Credentials,
    granted: Mutex<Granted>,
}

#[derive(Default)]
struct Granted {
    basic: bool,
    tokens: HashMap<Scope, SecretString>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            granted: Mutex::default(),
        }
    }

    fn granted(&self) -> std::sync::MutexGuard<'_, Granted> {
        self.granted
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds what is known to be accepted for `scope`. Before the first challenge that is nothing,
    /// so that a password is only sent to a registry that asked for one.
    pub(crate) fn authorize(
        &self,
        request: reqwest::RequestBuilder,
        scope: &Scope,
    ) -> reqwest::RequestBuilder {
        if let Credentials::Bearer(token) = &self.credentials {
            return request.bearer_auth(token.expose_secret());
        }
        let granted = self.granted();
        if let Some(token) = granted.tokens.get(scope) {
            return request.bearer_auth(token.expose_secret());
        }
        match &self.credentials {
            Credentials::Basic { user, password } if granted.basic => {
                request.basic_auth(user, Some(password.expose_secret()))
            }
            _ => request,
        }
    }

    /// Answers a challenge. `Ok(false)`: nothing new can be offered, the refusal stands. The caller
    /// asks once for each of its requests.
    ///
    /// Tokens are not renewed ahead of time, because that would need a clock: an expired one is
    /// answered with a 401, which comes here.
    pub(crate) async fn answer(
        &self,
        http: &reqwest::Client,
        challenge: Challenge,
        scope: &Scope,
    ) -> Result<bool, Error> {
        match (&self.credentials, challenge) {
            (Credentials::Bearer(_), _) | (Credentials::Anonymous, Challenge::Basic) => Ok(false),
            (Credentials::Basic { .. }, Challenge::Basic) => {
                // Also when it is set: another request may have been challenged meanwhile.
                self.granted().basic = true;
                Ok(true)
            }
            (_, Challenge::Bearer { realm, service }) => {
                let token = self
                    .exchange(http, &realm, service.as_deref(), scope)
                    .await?;
                self.granted().tokens.insert(scope.clone(), token);
                Ok(true)
            }
        }
    }

    async fn exchange(
        &self,
        http: &reqwest::Client,
        realm: &str,
        service: Option<&str>,
        scope: &Scope,
    ) -> Result<SecretString, Error> {
        const ACTION: &str = "get a registry token from";
        let invalid = || Error::new(ErrorKind::Invalid, ACTION, realm);
        let mut url = Url::parse(realm).map_err(|e| invalid().caused_by(e))?;
        crate::transport::require_safe(&url).map_err(|why| invalid().detail(why))?;
        url.query_pairs_mut()
            .extend_pairs(service.map(|s| ("service", s)))
            .extend_pairs(scope.to_params().iter().map(|s| ("scope", s)));
        let mut request = http.get(url).timeout(crate::transport::ANSWER_WITHIN);
        if let Credentials::Basic { user, password } = &self.credentials {
            request = request.basic_auth(user, Some(password.expose_secret()));
        }
        let response = crate::transport::send(request, ACTION, realm).await?;
        let answer: TokenAnswer = response
            .json()
            .await
            .map_err(|e| invalid().caused_by(e.without_url()))?;
        answer
            .token
            .or(answer.access_token)
            .ok_or_else(|| invalid().detail("the answer holds no token"))
    }
}

/// What a token service answers; OAuth 2 servers say `access_token`.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default, deserialize_with = "secret")]
    token: Option<SecretString>,
    #[serde(default, deserialize_with = "secret")]
    access_token: Option<SecretString>,
}

fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(from)?
        .filter(|t| !t.is_empty())
        .map(SecretString::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(text: &str) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, text.parse().unwrap());
        Challenge::from_headers(&headers)
    }

    #[test]
    fn a_token_service_is_preferred_to_sending_the_password() {
        let found = challenge(r#"Basic realm="x", Bearer realm="https://a/token",service="reg""#);
        let wanted = Challenge::Bearer {
            realm: "https://a/token".into(),
            service: Some("reg".into()),
        };
        assert_eq!(found, Some(wanted));
    }

    #[test]
    fn a_challenge_we_cannot_answer_is_none() {
        assert_eq!(challenge("Negotiate"), None);
        assert_eq!(challenge("=,;"), None);
    }

    #[test]
    fn credentials_show_no_secret_in_debug_output() {
        let basic = Credentials::Basic {
            user: "AWS".into(),
            password: "hunter2".into(),
        };
        let shown = format!(
            "{:?} {:?}",
            Session::new(basic),
            Credentials::Bearer("t0k".into())
        );
        assert!(shown.contains("AWS"), "{shown}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("t0k"),
            "{shown}"
        );
    }
}
