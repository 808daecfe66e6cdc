//! Tokens of whoever is logged in with `gcloud`, with the end that `gcloud` itself tells of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deployer_core::error::{Error, ErrorKind, Result};
use google_cloud_auth::credentials::{CacheableResource, CredentialsProvider, EntityTag};
use google_cloud_auth::errors::CredentialsError;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

/// What it is called.
pub(crate) const PROGRAM: &str = "gcloud";

/// A token is not used in its last minutes: a call with its retries takes as long.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// Set when Google refused a token: the next one is asked for anew. Shared by one caller's clients
/// and what gives them tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused(Arc<AtomicBool>);

impl Refused {
    /// Notes that a token was refused.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// `gcloud` as a giver of tokens.
pub(crate) struct Gcloud {
    program: PathBuf,
    refused: Refused,
    held: Arc<Mutex<Option<Held>>>,
}

struct Held {
    token: SecretString,
    ends: Timestamp,
}

impl std::fmt::Debug for Gcloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gcloud([redacted])")
    }
}

impl Gcloud {
    /// Asks no one yet.
    pub(crate) fn new(program: impl Into<PathBuf>, refused: Refused) -> Self {
        Self {
            program: program.into(),
            refused,
            held: Arc::default(),
        }
    }

    /// A token that is good for some minutes. `gcloud` hands out one that it has as long as that is
    /// good for a moment: then it is asked for another.
    ///
    /// Errors: [`ErrorKind::Credentials`], when nobody is logged in or it is not there.
    pub(crate) async fn token(&self) -> Result<SecretString> {
        let mut held = self.held.lock().await;
        let good_until = Timestamp::now() + MARGIN;
        let refused = self.refused.take();
        if let Some(held) = held
            .as_ref()
            .filter(|held| held.ends > good_until && !refused)
        {
            return Ok(held.token.clone());
        }
        let mut fresh = match refused {
            true => self.ask(&["--force-auth-refresh"]).await?,
            false => self.ask(&[]).await?,
        };
        if fresh.ends <= good_until {
            fresh = self.ask(&["--force-auth-refresh"]).await?;
        }
        let token = fresh.token.clone();
        *held = Some(fresh);
        Ok(token)
    }

    async fn ask(&self, more: &[&str]) -> Result<Held> {
        let words = [&["config", "config-helper", "--format=json"], more].concat();
        let told = run(&self.program, &words).await?;
        let told: serde_json::Value = serde_json::from_str(&told)
            .map_err(|error| failed("its answer is no JSON").because(error))?;
        let credential = &told["credential"];
        let token = credential["access_token"].as_str();
        let ends = credential["token_expiry"]
            .as_str()
            .and_then(|text| text.parse().ok());
        match (token, ends) {
            (Some(token), Some(ends)) => Ok(Held {
                token: SecretString::from(token.to_owned()),
                ends,
            }),
            _ => Err(failed("its answer has no token with an end")),
        }
    }
}

fn failed(why: &str) -> Error {
    Error::new(
        ErrorKind::Credentials,
        format!("`gcloud` gives no token: {why}"),
    )
    .hint("log in with `gcloud auth login`")
}

/// Runs `gcloud` and returns what it prints; what it complains of is not repeated, since it may
/// name anything.
pub(crate) async fn run(program: &std::path::Path, words: &[&str]) -> Result<String> {
    let mut command = std::process::Command::new(program);
    command.args(words).stdin(std::process::Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output()).await;
    let output = ended
        .map_err(|error| failed("it was stopped").because(error))?
        .map_err(|error| failed("it cannot be started").because(error))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(failed("it failed")),
    }
}

impl CredentialsProvider for Gcloud {
    async fn headers(
        &self,
        _: http::Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let unusable = |error: Error| CredentialsError::from_source(false, error);
        let token = self.token().await.map_err(unusable)?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A `gcloud` whose tokens are good for so many seconds, and for an hour when it is forced to
    /// renew them.
    fn gcloud(folder: &std::path::Path, seconds: i64) -> Gcloud {
        let ends = |seconds: i64| Timestamp::now() + SignedDuration::from_secs(seconds);
        let answer = |token: &str, ends: Timestamp| {
            format!(
                r#"{{"credential": {{"access_token": "{token}", "token_expiry": "{ends:.0}"}}}}"#
            )
        };
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {log}\ncase \"$*\" in\n*force*) echo '{fresh}';;\n*) echo '{kept}';;\nesac\n",
            log = folder.join("log").display(),
            fresh = answer("fresh", ends(3600)),
            kept = answer("kept", ends(seconds)),
        );
        let program = folder.join("gcloud");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Gcloud::new(program, Refused::default())
    }

    async fn token(gcloud: &Gcloud) -> String {
        gcloud.token().await.unwrap().expose_secret().to_owned()
    }

    #[tokio::test]
    async fn a_token_is_kept_as_long_as_gcloud_says_and_renewed_when_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let long = gcloud(folder.path(), 1800);
        assert_eq!(token(&long).await, "kept");
        assert_eq!(token(&long).await, "kept");
        let asked = || {
            std::fs::read_to_string(folder.path().join("log"))
                .unwrap()
                .lines()
                .count()
        };
        assert_eq!(asked(), 1);
        long.refused.set();
        assert_eq!(token(&long).await, "fresh");
        assert_eq!(token(&long).await, "fresh");
        assert_eq!(asked(), 2);
        let short = gcloud(folder.path(), 60);
        assert_eq!(token(&short).await, "fresh");
    }

    #[tokio::test]
    async fn who_is_not_logged_in_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = Gcloud::new(folder.path().join("gcloud"), Refused::default())
            .token()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credentials);
        assert!(error.hint_text().unwrap().contains("gcloud auth login"));
    }
}
