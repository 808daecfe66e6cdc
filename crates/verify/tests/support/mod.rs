//! A service to examine: an identity provider on loopback whose every answer can be changed.

#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use deployer_core::capability::{Serving, ServingState};
use deployer_core::clock::Clock;
use deployer_core::spec::{TokenCheck, VerifySpec};
use deployer_verify::{
    Credentials, Examination, Finding, Outcome, Settings, Subject, Verifier, Word,
};
use jiff::Timestamp;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

pub const CLIENT_SECRET: &str = "s3cr3t-of-the-client";

/// Wall time; a pause passes at once.
pub struct Hasty(Mutex<Duration>);

#[async_trait]
impl Clock for Hasty {
    fn now(&self) -> Timestamp {
        Timestamp::now() + *self.0.lock().unwrap()
    }

    async fn pause(&self, duration: Duration) {
        *self.0.lock().unwrap() += duration;
    }
}

/// A key pair that signs tokens.
pub struct Signer {
    pub algorithm: Algorithm,
    pub kid: String,
    pub key: EncodingKey,
}

impl Signer {
    pub fn rsa(kid: &str) -> Self {
        let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der>::as_der(&pair);
        Self {
            algorithm: Algorithm::RS256,
            kid: kid.into(),
            // PKCS#1 is what PKCS#8 holds after 26 bytes, for a key of this size.
            key: EncodingKey::from_rsa_der(&der.unwrap().as_ref()[26..]),
        }
    }

    pub fn ec(kid: &str) -> Self {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let random = aws_lc_rs::rand::SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self {
            algorithm: Algorithm::ES256,
            kid: kid.into(),
            key: EncodingKey::from_ec_der(der.as_ref()),
        }
    }

    pub fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.clone());
        serde_json::to_value(jwk).unwrap()
    }

    pub fn key_set(&self) -> Value {
        json!({ "keys": [self.public()] })
    }

    pub fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// The pair that both targets share.
pub static SHARED: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("shared"));

/// Claims of a token of an hour, issued so many seconds from now.
pub fn claims(issued_in: i64) -> Value {
    let issued = Timestamp::now().as_second() + issued_in;
    json!({ "sub": "client", "iat": issued, "exp": issued + 3600 })
}

/// What a token endpoint answers.
pub fn token_answer(token: &str) -> Value {
    json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 })
}

/// What the service answers.
#[derive(Clone)]
pub struct Site {
    pub metrics: (u16, String),
    pub keys: (u16, Value),
    pub token: (u16, Value),
}

impl Site {
    pub fn good() -> Self {
        let metrics = "# HELP up Whether.\n# TYPE up gauge\nup{zone=\"a\"} 1\n";
        Self {
            metrics: (200, metrics.into()),
            keys: (200, SHARED.key_set()),
            token: (200, token_answer(&SHARED.sign(&claims(0)))),
        }
    }

    pub fn router(&self) -> Router {
        let Self {
            metrics,
            keys,
            token,
        } = self.clone();
        let answer = |(status, body): (u16, Value)| -> Response {
            (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
        };
        Router::new()
            .route("/health", get(async || "ok"))
            .route(
                "/metrics",
                get(async move || (StatusCode::from_u16(metrics.0).unwrap(), metrics.1)),
            )
            .route("/jwks", get(async move || answer(keys)))
            .route(
                "/token",
                post(async move |form: String| {
                    // As `application/x-www-form-urlencoded` has it.
                    let asked = "grant_type=client_credentials&client_id=a+client\
                                 &client_secret=s3cr3t-of-the-client&scope=read";
                    match form == asked {
                        true => answer(token),
                        false => answer((400, json!({"error": "invalid_request"}))),
                    }
                }),
            )
    }

    pub async fn examine(&self) -> Examination {
        examine(serve(self.router()).await).await
    }
}

/// Serves until the test ends. Returns the address.
pub async fn serve(router: Router) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}").parse().unwrap()
}

pub fn subject(target: &str, address: Url) -> Subject {
    Subject {
        target: target.into(),
        address: Ok(address),
        health: "/health".into(),
        spec: VerifySpec {
            metrics: Some("/metrics".into()),
            jwks: Some("/jwks".into()),
            token: Some(TokenCheck {
                path: "/token".into(),
                client_id: "client-id".into(),
                client_secret: "client-secret".into(),
                scope: Some("read".into()),
            }),
            checks: Vec::new(),
        },
        pass: None,
        credentials: Credentials::Given {
            id: SecretString::from("a client"),
            secret: SecretString::from(CLIENT_SECRET),
        },
        serving: Word::Said(Some(serving())),
    }
}

pub fn serving() -> Serving {
    Serving {
        service: "idp".into(),
        wanted: None,
        traffic: Vec::new(),
        images: Default::default(),
        instances: Some((2, 2)),
        state: ServingState::Ready,
        url: None,
        put_back: None,
    }
}

pub fn settings() -> Settings {
    Settings {
        patience: Duration::ZERO,
        admission: Duration::ZERO,
        timeout: Duration::from_secs(10),
        extra_roots: Vec::new(),
    }
}

pub fn verifier(settings: Settings) -> Verifier {
    Verifier::new(Arc::new(Hasty(Mutex::default())), settings).unwrap()
}

/// Everything that the usual subject is asked, once.
pub async fn examine(address: Url) -> Examination {
    verifier(settings()).examine(&subject("aws", address)).await
}

/// The finding of that name.
pub fn finding<'a>(examination: &'a Examination, check: &str) -> &'a Finding {
    let found = examination.findings.iter().find(|f| f.check == check);
    found.unwrap_or_else(|| panic!("no `{check}` in {:?}", examination.findings))
}

#[track_caller]
pub fn passes(examination: &Examination, check: &str, got: &str) {
    let finding = finding(examination, check);
    assert_eq!(finding.outcome, Outcome::Passed, "{finding:?}");
    assert!(finding.got.contains(got), "{finding:?}");
}

#[track_caller]
pub fn fails(examination: &Examination, check: &str, got: &str) {
    let finding = finding(examination, check);
    assert_eq!(finding.outcome, Outcome::Failed, "{finding:?}");
    assert!(finding.got.contains(got), "{finding:?}");
}

#[track_caller]
pub fn is_skipped(examination: &Examination, check: &str, why: &str) {
    match &finding(examination, check).outcome {
        Outcome::Skipped(said) => assert!(said.contains(why), "{said}"),
        other => panic!("{check} is {other:?}"),
    }
}
