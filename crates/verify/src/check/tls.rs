//! TLS of an https address: version, chain, name, and how long the certificate lasts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::ClientBuilder;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier as PlatformVerifier;
use url::Url;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

use crate::finding::{Finding, Outcome};
use crate::http::{self, Http, brief};
use crate::verifier::Verifier;

const CHECK: &str = "tls";
/// What is expected.
pub const EXPECTED: &str = "TLS 1.2 or newer, trusted";
/// Whoever renews certificates does so a month before their end: below this something is stuck.
const WARN_BELOW_DAYS: i64 = 21;
/// Below this the certificate is as good as expired.
const FAIL_BELOW_DAYS: i64 = 1;

/// Makes a connection of its own and looks at what the handshake brought.
pub async fn check(verifier: &Verifier, base: &Url) -> Finding {
    if base.scheme() != "https" {
        return Finding::skipped(CHECK, EXPECTED, "the address is not https");
    }
    let started = verifier.clock.now();
    let (seen, silence) = match handshake(verifier, base).await {
        Ok(found) => found,
        Err(why) => return Finding::judged(CHECK, EXPECTED, Duration::ZERO, Err(why)),
    };
    let now = verifier.clock.now();
    let took = http::between(started, now);
    match judge(&seen, silence, base, now) {
        Ok(Judged { got, warning }) => {
            let mut finding = Finding::judged(CHECK, EXPECTED, took, Ok(got));
            if let Some(why) = warning {
                finding.outcome = Outcome::Warned(why);
            }
            finding
        }
        Err(why) => Finding::judged(CHECK, EXPECTED, took, Err(why)),
    }
}

/// Shakes hands through the same kind of client as every other request, so that a proxy is used
/// here too. Returns what was seen, and why no answer followed, if none did.
async fn handshake(verifier: &Verifier, base: &Url) -> Result<(Seen, Option<String>), String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = verifier.settings.extra_roots.iter().cloned();
    let platform = PlatformVerifier::new_with_extra_roots(roots, Arc::clone(&provider))
        .map_err(|error| brief(&error.to_string()))?;
    let witness = Arc::new(Witness {
        platform,
        seen: Mutex::default(),
    });
    // `dangerous` in general; the witness asks the platform's verifier and takes its word.
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| brief(&error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let builder = || -> ClientBuilder {
        http::builder(verifier.settings.timeout).tls_backend_preconfigured(config.clone())
    };
    let http = Http::new(Arc::clone(&verifier.clock), builder)
        .map_err(|error| brief(&error.chain().join(": ")))?;
    let answer = http.send_once(http.client(base).head(base.clone())).await;
    let seen = witness.seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((seen.clone(), answer.err().map(|silence| silence.why)))
}

/// What one handshake showed.
#[derive(Clone, Debug, Default)]
struct Seen {
    certificate: Option<CertificateDer<'static>>,
    refused: Option<rustls::Error>,
    version: Option<&'static str>,
}

/// Lets the platform judge, and remembers the certificate, the judgement and the version.
#[derive(Debug)]
struct Witness {
    platform: PlatformVerifier,
    seen: Mutex<Seen>,
}

impl Witness {
    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.platform.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        self.note(|seen| {
            seen.certificate = Some(end_entity.clone().into_owned());
            seen.refused = verdict.as_ref().err().cloned();
        });
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.note(|seen| seen.version = Some("TLS 1.2"));
        self.platform
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.note(|seen| seen.version = Some("TLS 1.3"));
        self.platform
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.platform.supported_verify_schemes()
    }
}

struct Judged {
    got: String,
    warning: Option<String>,
}

fn judge(
    seen: &Seen,
    silence: Option<String>,
    base: &Url,
    now: Timestamp,
) -> Result<Judged, String> {
    let Some(der) = &seen.certificate else {
        return Err(silence.unwrap_or_else(|| "no certificate".into()));
    };
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| "the certificate cannot be read")?;
    let whose = format!(
        "subject {}, issuer {}",
        name(certificate.subject()),
        name(certificate.issuer())
    );
    let left = certificate.validity().not_after.timestamp() - now.as_second();
    if let Some(error) = &seen.refused {
        return Err(format!(
            "{}; {whose}",
            refusal(error, &certificate, base, left)
        ));
    }
    let (Some(version), days) = (seen.version, left.div_euclid(86_400)) else {
        return Err(silence.unwrap_or_else(|| "the handshake did not end".into()));
    };
    let got = format!("{version}, {whose}, {days} days left");
    match days {
        days if days < FAIL_BELOW_DAYS => Err(got),
        days if days < WARN_BELOW_DAYS => Ok(Judged {
            got,
            warning: Some(format!("the certificate ends in {days} days")),
        }),
        _ => Ok(Judged { got, warning: None }),
    }
}

fn refusal(
    error: &rustls::Error,
    certificate: &X509Certificate<'_>,
    base: &Url,
    left: i64,
) -> String {
    let rustls::Error::InvalidCertificate(error) = error else {
        return brief(&error.to_string());
    };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } if left < 0 => {
            format!("the certificate expired {} days ago", -left / 86_400)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let host = base.host_str().unwrap_or_default();
            format!(
                "the certificate is for {}, not for {host}",
                names(certificate)
            )
        }
        CertificateError::UnknownIssuer => "the issuer is not trusted".into(),
        CertificateError::BadSignature => "the certificate is not signed by its issuer".into(),
        other => brief(&other.to_string()),
    }
}

/// The common name, or the whole name where there is none.
fn name(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().find_map(|part| part.as_str().ok());
    match common {
        Some(common) => brief(common),
        None => match name.to_string() {
            empty if empty.is_empty() => "(empty)".into(),
            whole => brief(&whole),
        },
    }
}

fn names(certificate: &X509Certificate<'_>) -> String {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names: Vec<&str> = extension
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
        .collect();
    match names.is_empty() {
        true => "no name".into(),
        false => brief(&names.join(", ")),
    }
}
