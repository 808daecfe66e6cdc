//! A registry's login: what it took of the credentials so far, and the tokens that it gave.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};

use crate::challenge::{Challenge, Scope, TokenService};
use crate::credentials::{Credentials, RegistryAuth};
use crate::{Error, token};

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

#[cfg(test)]
mod tests {
    use super::*;

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
