//! TLS: certificates made for each test, trusted through an extra root.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use deployer_core::spec::VerifySpec;
use deployer_verify::{Examination, Outcome, Settings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use support::{fails, finding, is_skipped, passes, serve, settings, subject, verifier};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `names` that begins and ends so many hours from now.
fn certificate(
    issuer: &Issuer,
    names: &[&str],
    hours: (i64, i64),
) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, names[0].as_str());
    let hour = Duration::from_secs(3600);
    let at = |hours: i64| {
        let distance = hour * u32::try_from(hours.unsigned_abs()).unwrap();
        let now = std::time::SystemTime::now();
        if hours < 0 {
            now - distance
        } else {
            now + distance
        }
        .into()
    };
    (params.not_before, params.not_after) = (at(hours.0), at(hours.1));
    let key = KeyPair::generate().unwrap();
    let signed = params.signed_by(&key, issuer).unwrap();
    (
        signed.der().clone(),
        key.serialize_der().try_into().unwrap(),
    )
}

struct TlsListener(TcpListener, TlsAcceptor);

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.0.accept().await.unwrap();
            // A client that does not trust us hangs up here.
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

async fn serve_tls(
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
    versions: &[&'static SupportedProtocolVersion],
) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = TlsListener(listener, TlsAcceptor::from(Arc::new(config)));
    let router = Router::new().route("/health", get(async || "ok"));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    port
}

async fn examine(host: &str, port: u16, trusted: &Issuer) -> Examination {
    let mut subject = subject("aws", format!("https://{host}:{port}").parse().unwrap());
    subject.spec = VerifySpec::default();
    let settings = Settings {
        extra_roots: vec![trusted.as_ref().der().clone()],
        ..settings()
    };
    verifier(settings).examine(&subject).await
}

/// A service at `localhost` with a certificate for those names and that time.
async fn examined(names: &[&str], hours: (i64, i64)) -> Examination {
    let authority = authority("Test Authority");
    let port = serve_tls(certificate(&authority, names, hours), rustls::ALL_VERSIONS).await;
    examine("localhost", port, &authority).await
}

const DAY: i64 = 24;

#[tokio::test]
async fn a_good_certificate_passes_and_is_described() {
    let examination = examined(&["localhost"], (-1, 90 * DAY + 1)).await;
    let got = "TLS 1.3, subject localhost, issuer Test Authority, 90 days left";
    passes(&examination, "tls", got);
    passes(&examination, "health", "200");
}

#[tokio::test]
async fn the_older_version_that_is_still_allowed_is_told() {
    let authority = authority("Test Authority");
    let good = certificate(&authority, &["localhost"], (-1, 90 * DAY));
    let port = serve_tls(good, &[&rustls::version::TLS12]).await;
    passes(
        &examine("localhost", port, &authority).await,
        "tls",
        "TLS 1.2",
    );
}

#[tokio::test]
async fn a_certificate_that_ends_within_three_weeks_is_a_warning() {
    let examination = examined(&["localhost"], (-1, 20 * DAY + 1)).await;
    let finding = finding(&examination, "tls");
    let warning = Outcome::Warned("the certificate ends in 20 days".into());
    assert_eq!(finding.outcome, warning, "{finding:?}");
}

#[tokio::test]
async fn a_certificate_that_ends_within_a_day_fails_while_it_still_works() {
    let examination = examined(&["localhost"], (-1, 12)).await;
    passes(&examination, "health", "200");
    fails(&examination, "tls", "0 days left");
}

#[tokio::test]
async fn an_expired_certificate_fails_and_says_since_when() {
    let examination = examined(&["localhost"], (-90 * DAY, -3 * DAY - 1)).await;
    fails(&examination, "tls", "expired 3 days ago; subject localhost");
    fails(&examination, "health", "no connection");
}

#[tokio::test]
async fn a_certificate_of_tomorrow_fails() {
    let examination = examined(&["localhost"], (2, 90 * DAY)).await;
    fails(&examination, "tls", "not valid yet");
}

#[tokio::test]
async fn a_certificate_for_another_name_fails_and_says_for_which() {
    let examination = examined(&["idp.example.com", "www.example.com"], (-1, 90 * DAY)).await;
    let got = "for idp.example.com, www.example.com, not for localhost";
    fails(&examination, "tls", got);
}

#[tokio::test]
async fn a_certificate_of_an_issuer_that_nobody_trusts_fails() {
    let good = certificate(&authority("Stranger"), &["localhost"], (-1, 90 * DAY));
    let port = serve_tls(good, rustls::ALL_VERSIONS).await;
    let examination = examine("localhost", port, &authority("Test Authority")).await;
    let got = "the issuer is not trusted; subject localhost, issuer Stranger";
    fails(&examination, "tls", got);
}

#[tokio::test]
async fn an_https_address_that_speaks_no_tls_fails() {
    let plain = serve(Router::new().route("/health", get(async || "ok"))).await;
    let examination = examine(
        "localhost",
        plain.port().unwrap(),
        &authority("Test Authority"),
    )
    .await;
    fails(&examination, "tls", "no connection");
}

#[tokio::test]
async fn an_http_address_has_no_tls_to_check() {
    let plain = serve(Router::new().route("/health", get(async || "ok"))).await;
    let mut subject = subject("aws", plain);
    subject.spec = VerifySpec::default();
    let examination = verifier(settings()).examine(&subject).await;
    is_skipped(&examination, "tls", "not https");
}
