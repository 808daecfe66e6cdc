//! Reads one file of logins: Docker's `config.json`, or podman's `auth.json`, which has the same
//! form.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::key;
use crate::Credentials;
use crate::credentials::secret;

/// The user that marks what looks like a password as an identity token.
pub(super) const TOKEN_USER: &str = "<token>";

/// What a file says of logins; other members are other programs' affair.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
}

/// A login. Beside a helper, Docker leaves empty ones.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    #[serde(deserialize_with = "secret")]
    auth: Option<SecretString>,
    username: Option<String>,
    #[serde(deserialize_with = "secret")]
    password: Option<SecretString>,
    #[serde(deserialize_with = "secret")]
    identitytoken: Option<SecretString>,
    #[serde(deserialize_with = "secret")]
    registrytoken: Option<SecretString>,
}

impl File {
    /// `None` when there is none. Errors: in words, never with what stands in the file.
    pub(super) async fn read(path: &Path) -> Result<Option<Self>, String> {
        let text = match tokio::fs::read(path).await {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(format!("cannot be read: {e}")),
        };
        // `docker logout` of an old version leaves an empty file.
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        Self::parse(&text).map(Some)
    }

    /// Reads the text of a file. Errors: in words, never with what stands in it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text)
            // The message may quote a value.
            .map_err(|e| format!("is damaged at line {}, column {}", e.line(), e.column()))
    }

    /// The program that keeps the registry's login: `NAME` of `docker-credential-NAME`.
    pub(super) fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.cred_helpers.iter().flatten();
        let own = own
            .filter(|(server, _)| key::fit(server, registry, "") == Some(0))
            .map(|(_, helper)| helper.as_str());
        let common = self.creds_store.as_deref();
        own.chain(common).find(|helper| !helper.is_empty())
    }

    /// The login that stands in the file for a repository: of the keys that fit, the longest.
    ///
    /// Errors: in words, when it is no login.
    pub(super) fn entry(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credentials>, String> {
        let all = self.auths.iter().flatten();
        let fitting = all
            .filter_map(|(name, entry)| Some((key::fit(name, registry, repository)?, name, entry)));
        let mut fitting: Vec<_> = fitting.collect();
        fitting.sort_by_key(|(fit, _, _)| std::cmp::Reverse(*fit));
        for (_, name, entry) in fitting {
            let found = entry
                .credentials()
                .map_err(|why| format!("`auths` of `{name}`: {why}"))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>, String> {
        if let Some(token) = &self.identitytoken {
            return Ok(Some(Credentials::Identity(token.clone())));
        }
        if let Some(token) = &self.registrytoken {
            return Ok(Some(Credentials::Bearer(token.clone())));
        }
        if let Some(auth) = &self.auth {
            return decode(auth).map(Some);
        }
        let user = self.username.as_ref().filter(|user| !user.is_empty());
        Ok(user
            .zip(self.password.as_ref())
            .map(|(user, password)| login(user.clone(), password.clone())))
    }
}

/// A user and a password, unless the user's name says that it is an identity token.
pub(super) fn login(user: String, password: SecretString) -> Credentials {
    match user.as_str() {
        TOKEN_USER => Credentials::Identity(password),
        _ => Credentials::Basic { user, password },
    }
}

/// `auth` is `USER:PASSWORD` in base64, with padding or without; Docker pads the text with zeros.
fn decode(auth: &SecretString) -> Result<Credentials, String> {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    let bytes = engine
        .decode(auth.expose_secret().trim())
        .map_err(|_| "`auth` is not base64".to_owned())?;
    let text = String::from_utf8(bytes).map_err(|_| "`auth` holds no text".to_owned())?;
    let (user, password) = text
        .split_once(':')
        .ok_or_else(|| "`auth` is not `USER:PASSWORD` in base64".to_owned())?;
    let password = password.trim_matches('\0');
    if user.is_empty() || password.is_empty() {
        return Err("`auth` lacks the user or the password".to_owned());
    }
    Ok(login(user.to_owned(), password.to_owned().into()))
}
