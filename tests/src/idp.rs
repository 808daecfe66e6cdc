//! The test service from the outside, as its users see it.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

/// A running service.
pub struct Idp {
    url: String,
}

impl Idp {
    /// The service at a base URL.
    pub fn at(url: &str) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
        }
    }

    /// What it says of itself: `version`, `greeting` and the names of its variables.
    #[track_caller]
    pub fn about(&self) -> Value {
        self.get("/")
    }

    /// The version that answers.
    #[track_caller]
    pub fn version(&self) -> String {
        self.about()["version"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// What it says of its database and cache.
    #[track_caller]
    pub fn health(&self) -> Value {
        self.get("/health")
    }

    /// A token for the client that the migration seeds.
    #[track_caller]
    pub fn token(&self, client_secret: &str) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "test-client"),
            ("client_secret", client_secret),
        ];
        let url = format!("{}/api/v1/token", self.url);
        let mut response = ureq::post(&url)
            .send_form(form)
            .unwrap_or_else(|error| panic!("{url}: {error}"));
        let body = response
            .body_mut()
            .read_to_string()
            .expect("the answer is text");
        let body: Value = serde_json::from_str(&body).expect("the answer is JSON");
        body["access_token"]
            .as_str()
            .expect("there is a token")
            .to_owned()
    }

    /// The keys that it publishes.
    #[track_caller]
    pub fn keys(&self) -> JwkSet {
        serde_json::from_value(self.get("/.well-known/jwks.json")).expect("a JWKS")
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.url);
        let mut response = ureq::get(&url)
            .call()
            .unwrap_or_else(|error| panic!("{url}: {error}"));
        let body = response
            .body_mut()
            .read_to_string()
            .expect("the answer is text");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{url}: {error}"))
    }
}

/// Whether one of these keys signed the token.
#[track_caller]
pub fn is_signed_by(token: &str, keys: &JwkSet) -> bool {
    let header = jsonwebtoken::decode_header(token).expect("a token has a header");
    let Some(key) = header.kid.as_deref().and_then(|id| keys.find(id)) else {
        return false;
    };
    let key = DecodingKey::from_jwk(key).expect("the key is usable");
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&["idp"]);
    jsonwebtoken::decode::<Value>(token, &key, &validation).is_ok()
}
