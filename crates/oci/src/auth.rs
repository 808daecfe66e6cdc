//! Who the registry takes us for: credentials, what it challenges with, tokens it gives for them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{Error, token};

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
    /// A token that lasts (an identity token): the token service gives short ones for it.
    Identity(SecretString),
    /// A token that the registry itself takes.
    Bearer(SecretString),
}

/// Finds the credentials for a registry. Asked anew at every challenge, so that what ends in the
/// middle of a long copy is replaced.
#[async_trait::async_trait]
pub trait RegistryAuth: Send + Sync {
    /// The credentials for a repository of `registry`, a host with an optional port, as in the
    /// image's reference (`docker.io` for Docker Hub). `Credentials::Anonymous` when there are
    /// none; an error only when there should be some and they cannot be had.
    async fn credentials(&self, registry: &str, repository: &str) -> Result<Credentials, Error>;
}

/// Reads public images only.
#[derive(Debug, Clone, Copy)]
pub struct Anonymous;

#[async_trait::async_trait]
impl RegistryAuth for Anonymous {
    async fn credentials(&self, _registry: &str, _repository: &str) -> Result<Credentials, Error> {
        Ok(Credentials::Anonymous)
    }
}

#[async_trait::async_trait]
impl RegistryAuth for Credentials {
    async fn credentials(&self, _registry: &str, _repository: &str) -> Result<Credentials, Error> {
        Ok(self.clone())
    }
}

#[async_trait::async_trait]
impl<A: RegistryAuth + ?Sized> RegistryAuth for Arc<A> {
    async fn credentials(&self, registry: &str, repository: &str) -> Result<Credentials, Error> {
        (**self).credentials(registry, repository).await
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
    /// The repository that is written to, or read from.
    fn repository(&self) -> &str {
        match self {
            Scope::Pull(repo) | Scope::Push(repo) | Scope::Mount(repo, _) => repo,
        }
    }

    pub(crate) fn to_params(&self) -> Vec<String> {
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer(TokenService),
}

/// Who gives tokens for a registry, as its challenge says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenService {
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
    /// What the registry calls what it wants a token for: `public.ecr.aws` has a word of its own.
    pub(crate) scope: Option<String>,
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
                    return Some(Self::Bearer(TokenService {
                        realm,
                        service: param("service"),
                        scope: param("scope"),
                    }));
                }
            }
        }
        basic
    }
}

/// One registry's login: who gives the credentials, and what the registry has taken of them so far.
pub(crate) struct Session {
    registry: String,
    auth: Arc<dyn RegistryAuth>,
    granted: Mutex<Granted>,
    /// Held while a challenge is answered: a login that may ask a person is asked for once.
    answering: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Granted {
    /// Counts the answers, so that a request can tell whether a later one than its own was given.
    answers: u64,
    shown: Option<(u64, Credentials)>,
    tokens: HashMap<Scope, (u64, Grant)>,
}

/// A token, for as long as its service says.
struct Grant {
    token: SecretString,
    until: Option<Instant>,
    from: TokenService,
}

/// Which answer a request was made with; `None` before any.
pub(crate) type Shown = Option<u64>;

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(registry: String, auth: Arc<dyn RegistryAuth>) -> Self {
        Self {
            registry,
            auth,
            granted: Mutex::default(),
            answering: tokio::sync::Mutex::default(),
        }
    }

    fn granted(&self) -> std::sync::MutexGuard<'_, Granted> {
        self.granted
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds what is known to be accepted for `scope`. Before the first challenge that is nothing,
    /// so that a password is only sent to a registry that asked for one.
    ///
    /// A token that has ended is replaced first: the body of an upload is not sent to be refused.
    /// Errors: those of [`Self::answer`].
    pub(crate) async fn authorize(
        &self,
        http: &reqwest::Client,
        request: reqwest::RequestBuilder,
        scope: &Scope,
    ) -> Result<(reqwest::RequestBuilder, Shown), Error> {
        if let Some((shown, from)) = self.ended(scope) {
            self.answer(http, Challenge::Bearer(from), scope, shown)
                .await?;
        }
        let granted = self.granted();
        if let Some((answer, grant)) = granted.tokens.get(scope) {
            let token = grant.token.expose_secret();
            return Ok((request.bearer_auth(token), Some(*answer)));
        }
        Ok(match &granted.shown {
            Some((answer, Credentials::Basic { user, password })) => (
                request.basic_auth(user, Some(password.expose_secret())),
                Some(*answer),
            ),
            Some((answer, Credentials::Bearer(token))) => {
                (request.bearer_auth(token.expose_secret()), Some(*answer))
            }
            Some((_, Credentials::Anonymous | Credentials::Identity(_))) | None => (request, None),
        })
    }

    fn ended(&self, scope: &Scope) -> Option<(Shown, TokenService)> {
        let granted = self.granted();
        let (answer, grant) = granted.tokens.get(scope)?;
        let ended = grant.until.is_some_and(|until| until <= Instant::now());
        ended.then(|| (Some(*answer), grant.from.clone()))
    }

    /// Answers a challenge to a request that was made with `shown`. `Ok(false)`: nothing can be
    /// offered, the refusal stands. The caller asks once for each of its requests.
    ///
    /// Errors: the provider's, when credentials cannot be had; the token service's.
    pub(crate) async fn answer(
        &self,
        http: &reqwest::Client,
        challenge: Challenge,
        scope: &Scope,
        shown: Shown,
    ) -> Result<bool, Error> {
        let _one = self.answering.lock().await;
        if self.latest(scope) > shown {
            // Another request was challenged at the same time, and has the answer.
            return Ok(true);
        }
        let credentials = self.auth.credentials(&self.registry, scope.repository());
        let credentials = credentials.await?;
        match (&credentials, challenge) {
            (Credentials::Bearer(_), _) | (Credentials::Basic { .. }, Challenge::Basic) => {
                let mut granted = self.granted();
                granted.answers += 1;
                granted.shown = Some((granted.answers, credentials));
                Ok(true)
            }
            (Credentials::Anonymous | Credentials::Identity(_), Challenge::Basic) => Ok(false),
            (_, Challenge::Bearer(from)) => {
                let given = token::exchange(http, &from, &credentials, scope).await?;
                let lasts = given.lasts.map(|lasts| lasts.mul_f64(USED_OF_A_TOKEN));
                let grant = Grant {
                    token: given.token,
                    until: lasts.and_then(|lasts: Duration| Instant::now().checked_add(lasts)),
                    from,
                };
                let mut granted = self.granted();
                granted.answers += 1;
                let answer = granted.answers;
                granted.tokens.insert(scope.clone(), (answer, grant));
                Ok(true)
            }
        }
    }

    /// The answer that a request for `scope` would be made with now.
    fn latest(&self, scope: &Scope) -> Shown {
        let granted = self.granted();
        match (granted.tokens.get(scope), &granted.shown) {
            (Some((answer, _)), _) | (None, Some((answer, _))) => Some(*answer),
            (None, None) => None,
        }
    }
}

/// How much of a token's time it is used for: clocks and lines are slow, and uploads begin late.
const USED_OF_A_TOKEN: f64 = 0.9;

/// Reads a secret; an empty one is none.
pub(crate) fn secret<'de, D>(from: D) -> Result<Option<SecretString>, D::Error>
where
    D: serde::Deserializer<'de>,
{
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
        let wanted = Challenge::Bearer(TokenService {
            realm: "https://a/token".into(),
            service: Some("reg".into()),
            scope: None,
        });
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
            "{:?} {:?} {:?} {:?}",
            Session::new("a.example".into(), Arc::new(basic.clone())),
            basic,
            Credentials::Bearer("t0k".into()),
            Credentials::Identity("1d".into()),
        );
        assert!(shown.contains("AWS"), "{shown}");
        assert!(
            ["hunter2", "t0k", "1d"]
                .iter()
                .all(|secret| !shown.contains(secret)),
            "{shown}"
        );
    }
}
