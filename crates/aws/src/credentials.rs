//! The credentials that every call of a target is signed with: found as the SDK finds them, kept
//! while they last, and where there are none, the cause in a sentence.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials as Found;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_ecs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use deployer_core::error::{Error, ErrorKind};
use tokio::sync::OnceCell;

use crate::connection;
use crate::profile::Profiles;

/// How long before their end credentials are no longer used: as AWS's own SDKs do (`advisory`
/// refresh of botocore is 15 minutes, its mandatory one and the smaller clients' 5).
const BEFORE_THEIR_END: Duration = Duration::from_secs(300);

/// How often newer credentials are looked for where only such are had that end soon: an instance's,
/// a program's.
const BETWEEN_LOOKS: Duration = Duration::from_secs(15);

/// One cache for all clients of a target: the SDK's and the ledger's. Found when the first call
/// needs them; an expensive way to them (single sign-on, a role, a program that asks a person) is
/// gone once, not for each call. Cheap to clone.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    source: Source,
    kept: tokio::sync::Mutex<Option<Kept>>,
    /// What could not be found at first is not looked for again: every client of a command would
    /// wait for it.
    refused: Mutex<Option<Refusal>>,
}

/// Credentials and when they were got.
struct Kept {
    found: Found,
    at: Instant,
}

impl Kept {
    fn left(&self) -> Duration {
        let left = |end: SystemTime| end.duration_since(SystemTime::now()).unwrap_or_default();
        self.found.expiry().map_or(Duration::MAX, left)
    }

    /// Whether they are used without another look for newer ones.
    fn lasts(&self) -> bool {
        let fresh = !self.left().is_zero() && self.at.elapsed() < BETWEEN_LOOKS;
        self.left() > BEFORE_THEIR_END || fresh
    }
}

enum Source {
    Chain {
        region: String,
        chain: OnceCell<SharedCredentialsProvider>,
    },
    Given(SharedCredentialsProvider),
}

/// Why there are no credentials, so that it can be said more than once.
#[derive(Clone, Debug)]
struct Refusal {
    kind: ErrorKind,
    message: String,
    cause: Option<String>,
    hint: String,
}

impl Credentials {
    /// Environment, profile, single sign-on, login, web identity, the container's or the instance's
    /// role.
    pub fn new(region: &str) -> Self {
        Self::from(Source::Chain {
            region: region.to_owned(),
            chain: OnceCell::new(),
        })
    }

    fn from(source: Source) -> Self {
        Self(Arc::new(Inner {
            source,
            kept: tokio::sync::Mutex::default(),
            refused: Mutex::default(),
        }))
    }

    /// These ones, kept in the same way.
    pub fn given(provider: SharedCredentialsProvider) -> Self {
        Self::from(Source::Given(provider))
    }

    async fn load(&self) -> provider::Result {
        let mut kept = self.0.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.lasts()) {
            return Ok(kept.found.clone());
        }
        if let Some(refusal) = self.refused().as_ref() {
            return Err(refusal.told());
        }
        let outcome = match &self.0.source {
            Source::Given(provider) => provider.provide_credentials().await,
            Source::Chain { region, chain } => {
                let profiles = Profiles::read(|name| std::env::var_os(name));
                let profiles = Surroundings::new(profiles, |name| std::env::var_os(name));
                if let Some(refusal) = profiles.known_beforehand() {
                    *self.refused() = Some(refusal.clone());
                    return Err(refusal.told());
                }
                let chain = chain.get_or_init(|| default_chain(region)).await;
                match chain.provide_credentials().await {
                    Ok(found) => Ok(found),
                    Err(error) => {
                        let refusal = profiles.refusal(&error);
                        if refusal.kind == ErrorKind::Credentials && kept.is_none() {
                            *self.refused() = Some(refusal.clone());
                        }
                        Err(refusal.told())
                    }
                }
            }
        };
        // What still lasts a little is better than nothing while the source does not answer.
        let last = kept.as_ref().filter(|kept| !kept.left().is_zero());
        match (outcome, last.map(|kept| kept.found.clone())) {
            (Ok(found), _) => {
                let at = Instant::now();
                *kept = Some(Kept {
                    found: found.clone(),
                    at,
                });
                Ok(found)
            }
            (Err(_), Some(last)) => Ok(last),
            (Err(error), None) => Err(error),
        }
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, Option<Refusal>> {
        let refused = self.0.refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner)
    }
}

async fn default_chain(region: &str) -> SharedCredentialsProvider {
    let config = ProviderConfig::without_region().with_http_client(connection::http());
    // Named here and not in `config`: else the chain looks for one itself, and where no variable or
    // profile has it, it asks the metadata service of an instance that this machine is not
    // (aws-config 1.13, `default_provider/credentials.rs`, `build`).
    let chain = DefaultCredentialsChain::builder()
        .configure(config)
        .region(aws_config::Region::new(region.to_owned()));
    SharedCredentialsProvider::new(chain.build().await)
}

impl ProvideCredentials for Credentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials([redacted])")
    }
}

impl Refusal {
    fn credentials(message: String, hint: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Credentials,
            message,
            cause: None,
            hint: hint.into(),
        }
    }

    fn because(self, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        Self {
            cause: Some(cause).filter(|cause| !cause.is_empty()),
            ..self
        }
    }

    /// As the SDK takes it, with ours inside.
    fn told(&self) -> CredentialsError {
        let error = Error::new(self.kind, self.message.clone()).hint(self.hint.clone());
        let error = match &self.cause {
            Some(cause) => error.because(Error::new(self.kind, cause.clone())),
            None => error,
        };
        CredentialsError::provider_error(error)
    }
}

/// What the search for credentials goes by.
struct Surroundings {
    profiles: Profiles,
    keys: bool,
    web_identity: Option<String>,
    token_file: Option<String>,
}

impl Surroundings {
    fn new(profiles: Profiles, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| given(name).map(|value| value.to_string_lossy().into_owned());
        Self {
            profiles,
            keys: given("AWS_ACCESS_KEY_ID").is_some() && given("AWS_SECRET_ACCESS_KEY").is_some(),
            web_identity: text("AWS_ROLE_ARN"),
            token_file: text("AWS_WEB_IDENTITY_TOKEN_FILE"),
        }
    }

    /// What needs no search: it would end elsewhere, and late, at the role of an instance that this
    /// machine is not.
    fn known_beforehand(&self) -> Option<Refusal> {
        let profiles = &self.profiles;
        if self.keys || !profiles.lacks_the_chosen_one() {
            return None;
        }
        let known: Vec<_> = profiles.all().collect();
        let hint = match known.is_empty() {
            true => "run `aws configure sso` or `aws configure`, or unset AWS_PROFILE".to_owned(),
            false => format!("the profiles are: {}", known.join(", ")),
        };
        let message = format!(
            "the AWS profile `{}` (AWS_PROFILE) is neither in {}",
            profiles.name(),
            profiles.files().replace(" and ", " nor in "),
        );
        Some(Refusal::credentials(message, hint))
    }

    /// The cause of a failed search.
    fn refusal(&self, error: &CredentialsError) -> Refusal {
        // What stands in the way is not the credentials' fault.
        if let Some(ours) = Error::found_in(error) {
            return Refusal {
                kind: ours.kind(),
                message: "cannot get AWS credentials".to_owned(),
                cause: Some(ours.to_string()),
                hint: ours.hint_text().unwrap_or_default().to_owned(),
            };
        }
        let text = DisplayErrorContext(error).to_string();
        let sts = causes(error).find_map(|e| {
            answer::<AssumeRoleError>(e).or_else(|| answer::<AssumeRoleWithWebIdentityError>(e))
        });
        if let Some(refusal) = self.of_web_identity(&text, sts.as_deref()) {
            return refusal;
        }
        let profiles = &self.profiles;
        let name = profiles.name();
        let single = profiles
            .inherited("sso_session")
            .or_else(|| profiles.inherited("sso_start_url"));
        // The base comes first: without a session no role is asked for.
        if let (Some((owner, _)), None) = (single, &sts) {
            return Refusal::credentials(
                format!("the single sign-on session of AWS profile `{owner}` has ended or was never begun"),
                format!("run `aws sso login --profile {owner}`"),
            )
            .because(shortest(&text));
        }
        if let Some(sts) = sts {
            let role = profiles
                .inherited("role_arn")
                .map_or("a role", |(_, role)| role);
            let hint = match profiles.inherited("mfa_serial") {
                Some(_) => format!(
                    "the profile wants a second factor, which is not asked for here: run \
                     `eval \"$(aws configure export-credentials --profile {name} --format env)\"`"
                ),
                None => format!(
                    "let the role trust the caller, and the caller `sts:AssumeRole` it; `aws sts get-caller-identity \
                     --profile {name}` asks the same"
                ),
            };
            return Refusal::credentials(
                format!("AWS profile `{name}` may not assume {role}"),
                hint,
            )
            .because(sts);
        }
        if let Some((owner, _)) = profiles.inherited("login_session") {
            return Refusal::credentials(
                format!("the login of AWS profile `{owner}` has ended or was never begun"),
                format!("run `aws login --profile {owner}`"),
            )
            .because(shortest(&text));
        }
        if let Some((owner, program)) = profiles.inherited("credential_process") {
            return Refusal::credentials(
                format!("the `credential_process` of AWS profile `{owner}` gave no credentials"),
                format!("run it to see why: {program}"),
            )
            .because(shortest(&text));
        }
        if matches!(error, CredentialsError::InvalidConfiguration(_)) {
            return Refusal::credentials(
                format!("AWS profile `{name}` is not set up right"),
                format!("see {}", profiles.files()),
            )
            .because(shortest(&text));
        }
        if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
            return self.nothing();
        }
        Refusal::credentials(
            format!("cannot get credentials for AWS profile `{name}`"),
            format!("`aws sts get-caller-identity --profile {name}` asks the same"),
        )
        .because(shortest(&text))
    }

    fn of_web_identity(&self, text: &str, sts: Option<&str>) -> Option<Refusal> {
        let role = self.web_identity.as_deref();
        let file = self.token_file.as_deref();
        let profiles = &self.profiles;
        let (role, file) = match (
            role.zip(file),
            profiles.inherited("web_identity_token_file"),
        ) {
            (_, Some((_, file))) => (
                profiles.inherited("role_arn").map_or("", |found| found.1),
                file,
            ),
            (Some(pair), None) => pair,
            (None, None) => return None,
        };
        let cause = match sts {
            Some(sts) => sts.to_owned(),
            None => shortest(text),
        };
        let message = format!("cannot assume {role} by the web identity in {file}");
        let hint = match std::fs::metadata(file) {
            Ok(_) => {
                "let the role trust this identity provider, audience and subject, and see that the token is a fresh one"
            }
            Err(_) => {
                "the file is not there: the pipeline (or the cluster) has to write it (AWS_WEB_IDENTITY_TOKEN_FILE)"
            }
        };
        Some(Refusal::credentials(message, hint).because(cause))
    }

    fn nothing(&self) -> Refusal {
        let profiles = &self.profiles;
        let message = format!(
            "there are no AWS credentials: none in the environment (AWS_ACCESS_KEY_ID), none for profile `{}` in {}, no web \
             identity, no role of a container or an instance",
            profiles.name(),
            profiles.files(),
        );
        let known: Vec<_> = profiles
            .all()
            .filter(|name| *name != profiles.name())
            .collect();
        let hint = match known.is_empty() {
            true => "run `aws configure sso` or `aws login`, and set AWS_PROFILE".to_owned(),
            false => format!("set AWS_PROFILE to one of: {}", known.join(", ")),
        };
        Refusal::credentials(message, hint)
    }
}

fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// What the token service answered, in its own words.
fn answer<E>(error: &(dyn StdError + 'static)) -> Option<String>
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let error = error.downcast_ref::<SdkError<E>>()?.as_service_error()?;
    let code = error.code().unwrap_or("refused");
    Some(format!("{code}: {}", error.message().unwrap_or_default()))
}

/// The innermost of the SDK's words: the outer ones say only that there are inner ones.
fn shortest(text: &str) -> String {
    let text = text.split(" (").next().unwrap_or(text);
    let mut inner: Vec<_> = text.rsplitn(3, ": ").take(2).collect();
    inner.reverse();
    inner.join(": ").trim().to_owned()
}

#[cfg(test)]
mod tests;
