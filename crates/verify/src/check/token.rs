//! The token round trip: client credentials (RFC 6749, 4.4) in, a token out that the target's own
//! keys verify.

use std::time::Duration;

use deployer_core::spec::TokenCheck;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::finding::Finding;
use crate::http::{Answer, below, require_private};
use crate::jwt::KeySet;
use crate::subject::Credentials;
use crate::verifier::Verifier;

const CHECK: &str = "token";
/// What is expected.
pub const EXPECTED: &str = "a bearer token that verifies";

/// A token as the endpoint gave it.
#[derive(Clone, Debug)]
pub struct Issued {
    token: SecretString,
    expires_in: u64,
}

/// What asking came to.
pub enum Asked {
    /// It was not asked for; says why.
    Not(String),
    /// The endpoint's answer.
    Answered(Duration, Result<Issued, String>),
}

impl Issued {
    /// Verifies the token with a key set. Returns its algorithm.
    pub fn verify(&self, keys: &KeySet, now: Timestamp) -> Result<String, String> {
        keys.verify(self.token.expose_secret(), Some(self.expires_in), now)
    }
}

/// Asks for a token.
pub async fn ask(
    verifier: &Verifier,
    base: &Url,
    check: &TokenCheck,
    credentials: &Credentials,
) -> Asked {
    let failed = |why: &str| Asked::Answered(Duration::ZERO, Err(why.to_owned()));
    let (id, secret) = match credentials {
        Credentials::Given { id, secret } => (id, secret),
        Credentials::Withheld(why) => return Asked::Not(why.clone()),
        Credentials::Missing(why) => return failed(why),
        Credentials::NotNeeded => return failed("no client is given"),
    };
    let url = below(base, &check.path);
    if let Err(why) = require_private(&url) {
        return failed(why);
    }
    let mut form = vec![
        ("grant_type", "client_credentials"),
        ("client_id", id.expose_secret()),
        ("client_secret", secret.expose_secret()),
    ];
    if let Some(scope) = &check.scope {
        form.push(("scope", scope));
    }
    let request = verifier.request(reqwest::Method::POST, url).form(&form);
    match verifier.http.send(request).await {
        Err(silence) => Asked::Answered(silence.took, Err(silence.why)),
        Ok(answer) => Asked::Answered(answer.took, read(&answer)),
    }
}

/// Judges the answer; with `keys` (`None` inside when they could not be had) also the token's
/// signature and times.
pub fn judge(
    asked: Asked,
    keys: Option<Option<&KeySet>>,
    now: Timestamp,
) -> (Finding, Option<Issued>) {
    let (took, issued) = match asked {
        Asked::Not(why) => return (Finding::skipped(CHECK, EXPECTED, &why), None),
        Asked::Answered(took, issued) => (took, issued),
    };
    let judgement = match (&issued, keys) {
        (Err(why), _) => Err(why.clone()),
        (Ok(issued), None) => Ok(format!(
            "a token for {} s; no key set to verify it with",
            issued.expires_in
        )),
        (Ok(_), Some(None)) => Err("a token, but no keys to verify it with".into()),
        (Ok(issued), Some(Some(keys))) => issued
            .verify(keys, now)
            .map(|algorithm| format!("{algorithm}, for {} s, verified", issued.expires_in)),
    };
    (
        Finding::judged(CHECK, EXPECTED, took, judgement),
        issued.ok(),
    )
}

fn read(answer: &Answer) -> Result<Issued, String> {
    answer.expect_status(200).map_err(|status| {
        let refusal = answer.json().ok();
        let word = refusal
            .as_ref()
            .and_then(|json| json.get("error"))
            .and_then(error_code);
        match word {
            Some(word) => format!("{status} {word}"),
            None => status,
        }
    })?;
    let json = answer.json()?;
    let token = json
        .get("access_token")
        .and_then(Value::as_str)
        .filter(|token| !token.is_empty())
        .ok_or("200, but no `access_token`")?;
    let kind = json.get("token_type").and_then(Value::as_str);
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err("200, but `token_type` is not Bearer".into());
    }
    let expires_in = json
        .get("expires_in")
        .and_then(Value::as_u64)
        .filter(|seconds| *seconds > 0)
        .ok_or("200, but `expires_in` is no number of seconds")?;
    Ok(Issued {
        token: SecretString::from(token),
        expires_in,
    })
}

/// An error code as RFC 6749, 5.2 has them; anything else may be anything and is not shown.
fn error_code(error: &Value) -> Option<&str> {
    let code = error.as_str()?;
    let plain = code.len() <= 40 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    plain.then_some(code)
}
