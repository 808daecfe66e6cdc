//! The demo's service as its users see it, and a token checked without the service's help.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde_json::Value;

/// A running service.
pub struct Service {
    /// Its base URL, without a slash at the end.
    pub url: String,
}

impl Service {
    /// The service at a base URL.
    pub fn at(url: &str) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
        }
    }

    /// The version that answers.
    pub fn version(&self) -> Result<String> {
        let about = self.get("/")?;
        let version = about["version"]
            .as_str()
            .context("the answer names no version")?;
        Ok(version.to_owned())
    }

    /// A token for the client that the migration seeds.
    pub fn token(&self, client_secret: &str) -> Result<String> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "test-client"),
            ("client_secret", client_secret),
        ];
        let url = format!("{}/api/v1/token", self.url);
        let answer = ureq::post(&url)
            .send_form(form)
            .with_context(|| format!("POST {url}"))?;
        let answer = json(answer)?;
        let token = answer["access_token"]
            .as_str()
            .context("there is no token in the answer")?;
        Ok(token.to_owned())
    }

    /// The keys that it publishes.
    pub fn keys(&self) -> Result<Vec<Value>> {
        let set = self.get("/.well-known/jwks.json")?;
        Ok(set["keys"]
            .as_array()
            .context("the JWKS has no keys")?
            .clone())
    }

    /// Whether the service itself takes a token for valid.
    pub fn accepts(&self, token: &str) -> Result<bool> {
        let url = format!("{}/api/v1/verify", self.url);
        let request = ureq::get(&url).header("authorization", format!("Bearer {token}"));
        match request.call() {
            Ok(answer) => Ok(json(answer)?["active"] == true),
            Err(ureq::Error::StatusCode(401)) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("GET {url}")),
        }
    }

    fn get(&self, path: &str) -> Result<Value> {
        let url = format!("{}{path}", self.url);
        json(
            ureq::get(&url)
                .call()
                .with_context(|| format!("GET {url}"))?,
        )
    }
}

fn json(mut answer: ureq::http::Response<ureq::Body>) -> Result<Value> {
    let body = answer
        .body_mut()
        .read_to_string()
        .context("the answer is no text")?;
    serde_json::from_str(&body).context("the answer is no JSON")
}

/// Checks a token's RS256 signature with the published key that it names. Returns the key's id.
///
/// Fails when no key has that id or the signature is another's.
pub fn verify(token: &str, keys: &[Value]) -> Result<String> {
    let (signed, signature) = token.rsplit_once('.').context("this is no token")?;
    let (header, _) = signed.split_once('.').context("this is no token")?;
    let header: Value = serde_json::from_slice(&decode(header)?)?;
    ensure!(
        header["alg"] == "RS256",
        "the token is signed with {}",
        header["alg"]
    );
    let id = header["kid"].as_str().context("the token names no key")?;
    let Some(key) = keys.iter().find(|key| key["kid"] == id) else {
        bail!("no published key is called {id}");
    };
    let part = |name: &str| decode(key[name].as_str().context("the key is no RSA key")?);
    let key = RsaPublicKeyComponents {
        n: part("n")?,
        e: part("e")?,
    };
    let checked = key.verify(
        &RSA_PKCS1_2048_8192_SHA256,
        signed.as_bytes(),
        &decode(signature)?,
    );
    checked.ok().context("the key did not sign this token")?;
    Ok(id.to_owned())
}

/// The same token with another subject and the old signature.
pub fn forged(token: &str) -> Result<String> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else {
        bail!("this is no token");
    };
    let mut claims: Value = serde_json::from_slice(&decode(claims)?)?;
    claims["sub"] = "somebody-else".into();
    let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
    Ok(format!("{header}.{claims}.{signature}"))
}

fn decode(text: &str) -> Result<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .context("a part is not base64url")
}
