//! Finds the caller's credentials and hands them to every Google client in one shape.
//!
//! A service account's key file goes through `gcp_auth`, which exchanges a signed assertion at the
//! file's own `token_uri` (Google's client would sign the calls itself and never ask it). Other
//! credential files (user, workload identity federation, impersonation) go through Google's client,
//! which knows their quota project. Without a file, a token in the environment is taken, then the
//! metadata server is asked, then `gcloud`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::capability::RegistryLogin;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::ledger::Permit;
use deployer_core::reach::{Obstacle, Unreached};
use gcp_auth::{CustomServiceAccount, MetadataServiceAccount, TokenProvider};
use google_cloud_auth::credentials::{
    CacheableResource, Credentials, CredentialsProvider, EntityTag, external_account, impersonated,
    user_account,
};
use google_cloud_auth::errors::CredentialsError;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use secrecy::SecretString;
use serde_json::Value;

use crate::gcloud::{self, Gcloud, Refused};
use crate::hints::LOGIN_HINT;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Variables with an access token: Terraform's and `gcloud`'s own.
const TOKEN_VARIABLES: [&str; 2] = ["GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN"];

/// Who calls, as far as it is known without asking anyone, and the credentials.
pub(crate) struct Identity {
    /// What the Google clients take.
    pub(crate) credentials: Credentials,
    /// The service account's e-mail address, or where the credentials came from.
    pub(crate) principal: String,
    pub(crate) source: Source,
    /// Whether Google refused a token of these.
    pub(crate) refused: Refused,
}

/// Where credentials came from: what an identity token is made from.
pub(crate) enum Source {
    /// A service account's key file.
    Key(Arc<CustomServiceAccount>, Value),
    /// Another credentials file.
    File(Value),
    /// A token in the environment.
    Variable(&'static str),
    /// The metadata server of the machine.
    Metadata,
    /// `gcloud`.
    Gcloud,
}

/// The caller's access token for what has no client here: a ledger in Cloud Storage. Found once,
/// renewed when needed.
#[derive(Debug)]
pub struct Bearer(Credentials);

#[async_trait]
impl RegistryLogin for Bearer {
    async fn login(&self) -> Result<(String, SecretString)> {
        GoogleLogin(self.0.clone()).login().await
    }
}

impl Bearer {
    /// Finds the same credentials as every other call of the project has.
    ///
    /// Errors: [`ErrorKind::Credentials`] when there are none or the file cannot be used.
    pub async fn find(project: &str) -> Result<Self> {
        Ok(Self(find(project).await?.credentials))
    }

    /// A token that is good now.
    ///
    /// Errors: [`ErrorKind::Credentials`].
    pub async fn token(&self) -> Result<SecretString> {
        access_token(&self.0).await
    }
}

/// Finds credentials as Google's own tools do.
///
/// Errors: [`ErrorKind::Credentials`] when there are none or the file cannot be used.
pub(crate) async fn find(project: &str) -> Result<Identity> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    for variable in TOKEN_VARIABLES {
        if let Some(token) = given(variable) {
            return from_variable(variable, &token.to_string_lossy());
        }
    }
    match given("GOOGLE_APPLICATION_CREDENTIALS") {
        Some(path) => from_file(Path::new(&path), project),
        None => match login_file(given).filter(|path| path.is_file()) {
            Some(path) => from_file(&path, project),
            None => from_surroundings().await,
        },
    }
}

/// Where `gcloud auth application-default login` keeps its file; `given` is a variable that is not
/// empty.
fn login_file(given: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let directory = match given("CLOUDSDK_CONFIG") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(given("HOME")?).join(".config/gcloud"),
    };
    Some(directory.join("application_default_credentials.json"))
}

fn from_variable(variable: &'static str, token: &str) -> Result<Identity> {
    let unusable = || {
        let message = format!("the token in `{variable}` is none");
        Error::new(ErrorKind::Credentials, message).hint(
            "it is what `gcloud auth print-access-token` prints; unset the variable to use other credentials",
        )
    };
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| unusable())?;
    value.set_sensitive(true);
    Ok(Identity {
        credentials: Fixed(value).into(),
        principal: format!("the token in `{variable}`"),
        source: Source::Variable(variable),
        refused: Refused::default(),
    })
}

fn from_file(path: &Path, project: &str) -> Result<Identity> {
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(
            ErrorKind::Credentials,
            format!("cannot use the credentials in `{}`", path.display()),
        )
        .hint(LOGIN_HINT)
        .because(error)
    };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.into()))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| unusable(error.into()))?;
    let word = |key: &str| json.get(key).and_then(Value::as_str);
    if word("type") == Some("service_account") {
        let account =
            CustomServiceAccount::from_json(&text).map_err(|error| unusable(error.into()))?;
        let account = Arc::new(account);
        return Ok(Identity {
            credentials: Tokens {
                provider: Arc::clone(&account) as Arc<dyn TokenProvider>,
                asked: word("token_uri").map(str::to_owned),
            }
            .into(),
            principal: word("client_email")
                .unwrap_or("a service account")
                .to_owned(),
            source: Source::Key(account, json),
            refused: Refused::default(),
        });
    }
    let kind = word("type").unwrap_or_default().to_owned();
    let built = built(&json, Some(project)).map_err(|error| unusable(error.into()))?;
    let credentials = built.ok_or_else(|| unknown_type(path, &kind))?;
    Ok(Identity {
        credentials,
        principal: format!("the credentials in `{}`", path.display()),
        source: Source::File(json),
        refused: Refused::default(),
    })
}

/// Credentials from what a file says. `None` when its type is unknown here.
pub(crate) fn built(
    json: &Value,
    project: Option<&str>,
) -> Result<Option<Credentials>, google_cloud_auth::build_errors::Error> {
    let json = json.clone();
    Ok(Some(match json["type"].as_str() {
        Some("authorized_user") => {
            let counted = json.get("quota_project_id").is_some();
            let builder = user_account::Builder::new(json).with_scopes([SCOPE]);
            match project.filter(|_| !counted) {
                // Several APIs refuse a user's calls that name no project to count them against.
                Some(project) => builder.with_quota_project_id(project).build()?,
                None => builder.build()?,
            }
        }
        Some("external_account") => external_account::Builder::new(json)
            .with_scopes([SCOPE])
            .build()?,
        Some("impersonated_service_account") => impersonated::Builder::new(json)
            .with_scopes([SCOPE])
            .build()?,
        _ => return Ok(None),
    }))
}

fn unknown_type(path: &Path, kind: &str) -> Error {
    let message = format!(
        "cannot use the credentials in `{}`: their type is `{kind}`",
        path.display()
    );
    // What `gcloud auth application-default login` writes for people of another identity provider.
    let hint = match kind {
        "external_account_authorized_user" => {
            "impersonate a service account: `gcloud auth application-default login --impersonate-service-account ACCOUNT`; or \
             give a token: `GOOGLE_OAUTH_ACCESS_TOKEN=$(gcloud auth print-access-token)`"
        }
        _ => {
            "it takes `service_account`, `authorized_user`, `external_account` and `impersonated_service_account`, or a token \
             in `GOOGLE_OAUTH_ACCESS_TOKEN`"
        }
    };
    Error::new(ErrorKind::Credentials, message).hint(hint)
}

async fn from_surroundings() -> Result<Identity> {
    if let Ok(account) = MetadataServiceAccount::new().await {
        return Ok(Identity {
            credentials: Tokens {
                provider: Arc::new(account),
                asked: None,
            }
            .into(),
            principal: "the metadata server's account".to_owned(),
            source: Source::Metadata,
            refused: Refused::default(),
        });
    }
    let refused = Refused::default();
    let gcloud = Gcloud::new(gcloud::PROGRAM, refused.clone());
    gcloud.token().await.map_err(|error| {
        Error::new(ErrorKind::Credentials, "no Google Cloud credentials found")
            .hint(LOGIN_HINT)
            .because(error)
    })?;
    Ok(Identity {
        credentials: gcloud.into(),
        principal: "gcloud's account".to_owned(),
        source: Source::Gcloud,
        refused,
    })
}

/// A token that is what it is.
#[derive(Debug)]
struct Fixed(HeaderValue);

impl CredentialsProvider for Fixed {
    async fn headers(
        &self,
        _: http::Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        Ok(CacheableResource::New {
            entity_tag: EntityTag::new(),
            data: HeaderMap::from_iter([(AUTHORIZATION, self.0.clone())]),
        })
    }

    async fn universe_domain(&self) -> Option<String> {
        Some("googleapis.com".to_owned())
    }
}

/// `gcp_auth`'s tokens in the shape that Google's clients take.
struct Tokens {
    provider: Arc<dyn TokenProvider>,
    /// The address that is asked for one, where a file says it.
    asked: Option<String>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens([redacted])")
    }
}

impl CredentialsProvider for Tokens {
    async fn headers(
        &self,
        _extensions: http::Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        // `gcp_auth` has tried four times by now: another round of retries would only delay the
        // answer.
        let token = self.provider.token(&[SCOPE]).await.map_err(|error| {
            CredentialsError::from_source(false, no_token(error, self.asked.as_deref()))
        })?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.as_str()))
            .map_err(|error| CredentialsError::from_source(false, error))?;
        value.set_sensitive(true);
        Ok(CacheableResource::New {
            entity_tag: EntityTag::new(),
            data: HeaderMap::from_iter([(AUTHORIZATION, value)]),
        })
    }

    async fn universe_domain(&self) -> Option<String> {
        Some("googleapis.com".to_owned())
    }
}

/// Why there is no token: nobody answered, or somebody refused. `gcp_auth` does not say with which
/// status.
fn no_token(error: gcp_auth::Error, asked: Option<&str>) -> Error {
    if let Some(obstacle) = Obstacle::in_error(&error) {
        return obstacle.error("Google's token service");
    }
    if let Some(unreached) = Unreached::in_error(&error, asked) {
        return unreached.error(None);
    }
    let nobody_answered = matches!(
        error,
        gcp_auth::Error::Http(..)
            | gcp_auth::Error::Io(..)
            | gcp_auth::Error::Other("HTTP request failed", _)
    );
    let (kind, hint) = match nobody_answered {
        true => (ErrorKind::Unavailable, "try again; check the network"),
        false => (ErrorKind::Credentials, LOGIN_HINT),
    };
    Error::new(kind, "cannot get an access token for Google Cloud")
        .hint(hint)
        .because(error)
}

/// The same credentials for calls that are to be permitted: every client asks for them before each
/// attempt.
pub(crate) fn permitted(credentials: Credentials, permit: Permit) -> Credentials {
    Permitted {
        credentials,
        permit,
    }
    .into()
}

#[derive(Debug)]
struct Permitted {
    credentials: Credentials,
    permit: Permit,
}

impl CredentialsProvider for Permitted {
    async fn headers(
        &self,
        extensions: http::Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let refused = self.permit.ask().await;
        refused.map_err(|error| CredentialsError::from_source(false, error))?;
        self.credentials.headers(extensions).await
    }

    async fn universe_domain(&self) -> Option<String> {
        self.credentials.universe_domain().await
    }
}

/// The headers that a call carries: authorization, and the quota project where there is one.
///
/// Errors: [`ErrorKind::Credentials`].
pub(crate) async fn headers(credentials: &Credentials) -> Result<HeaderMap> {
    let refused = || {
        Error::new(
            ErrorKind::Credentials,
            "cannot get an access token for Google Cloud",
        )
        .hint(LOGIN_HINT)
    };
    match credentials.headers(http::Extensions::new()).await {
        Ok(CacheableResource::New { data, .. }) => Ok(data),
        Ok(CacheableResource::NotModified) => Err(refused()),
        Err(error) => Err(Error::found_in(&error).unwrap_or_else(|| refused().because(error))),
    }
}

/// The caller's access token, which image registries of Google take for a password. Asked for at
/// each challenge: it ends after an hour at most.
pub(crate) struct GoogleLogin(pub(crate) Credentials);

impl std::fmt::Debug for GoogleLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GoogleLogin([redacted])")
    }
}

#[async_trait]
impl RegistryLogin for GoogleLogin {
    async fn login(&self) -> Result<(String, SecretString)> {
        let token = access_token(&self.0).await?;
        Ok(("oauth2accesstoken".to_owned(), token))
    }
}

/// The access token alone, as the image registry takes it for a password.
///
/// Errors: [`ErrorKind::Credentials`].
pub(crate) async fn access_token(credentials: &Credentials) -> Result<SecretString> {
    let headers = headers(credentials).await?;
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(|token| SecretString::from(token.to_owned()))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Credentials,
                "the credentials hold no access token",
            )
            .hint(LOGIN_HINT)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_names_no_folder() {
        let at = |config: &str, home: &str| {
            login_file(|name| {
                let value = match name {
                    "CLOUDSDK_CONFIG" => config,
                    _ => home,
                };
                Some(OsString::from(value)).filter(|value| !value.is_empty())
            })
        };
        let file =
            |folder: &str| Some(Path::new(folder).join("application_default_credentials.json"));
        assert_eq!(at("/x", "/home/a"), file("/x"));
        assert_eq!(at("", "/home/a"), file("/home/a/.config/gcloud"));
        assert_eq!(at("", ""), None);
    }
}
