//! Asks a registry's token service for a token, as the distribution project's token specification
//! and its OAuth 2 form say.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::challenge::{Scope, TokenService};
use crate::credentials::{Credentials, secret};
use crate::{Error, ErrorKind, transport};

const ACTION: &str = "get a registry token from";

/// A token for one scope.
pub(crate) struct Given {
    pub(crate) token: SecretString,
    /// How long it lasts, when the service says so.
    pub(crate) lasts: Option<Duration>,
}

/// Gets a token: with an identity token by an OAuth 2 form, else by a query, with the password if
/// there is one.
///
/// Errors: denied, when the service does not know us; invalid, when its address or answer is no
/// such thing.
pub(crate) async fn exchange(
    http: &reqwest::Client,
    from: &TokenService,
    credentials: &Credentials,
    scope: &Scope,
) -> Result<Given, Error> {
    let realm = from.realm.as_str();
    let invalid = || Error::new(ErrorKind::Invalid, ACTION, realm);
    let mut url = Url::parse(realm).map_err(|e| invalid().caused_by(e))?;
    transport::require_safe(&url).map_err(|why| invalid().detail(why))?;
    let scopes = scopes(from, scope);
    let request = match credentials {
        Credentials::Identity(token) => {
            let mut form = vec![
                ("grant_type", "refresh_token".to_owned()),
                ("client_id", "deployer".to_owned()),
                ("scope", scopes.join(" ")),
                ("refresh_token", token.expose_secret().to_owned()),
            ];
            form.extend(from.service.clone().map(|service| ("service", service)));
            http.post(url).form(&form)
        }
        Credentials::Basic { user, password } => {
            ask(&mut url, from, &scopes);
            http.get(url)
                .basic_auth(user, Some(password.expose_secret()))
        }
        Credentials::Anonymous | Credentials::Bearer(_) => {
            ask(&mut url, from, &scopes);
            http.get(url)
        }
    };
    let request = request.timeout(transport::ANSWER_WITHIN);
    let response = transport::send(request, ACTION, realm).await?;
    let answer: TokenAnswer = response
        .json()
        .await
        .map_err(|e| invalid().caused_by(e.without_url()))?;
    let lasts = answer.expires_in.map(Duration::from_secs);
    let token = answer.token.or(answer.access_token);
    let token = token.ok_or_else(|| invalid().detail("the answer holds no token"))?;
    Ok(Given { token, lasts })
}

/// Ours, and what the challenge names that is no repository: `public.ecr.aws` wants its own word.
fn scopes(from: &TokenService, scope: &Scope) -> Vec<String> {
    let mut scopes = scope.to_params();
    let named = from.scope.iter().flat_map(|named| named.split(' '));
    let other = named.filter(|named| !named.is_empty() && !named.starts_with("repository:"));
    scopes.extend(other.map(str::to_owned));
    scopes
}

fn ask(url: &mut Url, from: &TokenService, scopes: &[String]) {
    url.query_pairs_mut()
        .extend_pairs(from.service.iter().map(|service| ("service", service)))
        .extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
}

/// What a token service answers; OAuth 2 servers say `access_token`.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default, deserialize_with = "secret")]
    token: Option<SecretString>,
    #[serde(default, deserialize_with = "secret")]
    access_token: Option<SecretString>,
    #[serde(default)]
    expires_in: Option<u64>,
}
