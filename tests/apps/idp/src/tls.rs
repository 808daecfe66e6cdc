//! TLS to the servers behind this one: whom it trusts, and how far it checks a certificate.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// How far a server's certificate is checked; the words are libpq's.
#[derive(Debug, Clone)]
pub enum Check {
    /// `require`: encrypted, whoever answers.
    Nothing,
    /// `verify-ca`: one of these authorities signed it, for whatever name.
    Authority(RootCertStore),
    /// `verify-full`: one of these authorities signed it, for the name or address that was dialled.
    AuthorityAndName(RootCertStore),
}

/// No certificate of an authority could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAuthority;

impl fmt::Display for NoAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not one or more certificates in PEM form")
    }
}

/// The certificates in `text`; a literal `\n` counts as a line break, as in the keys.
pub fn authorities(text: &str) -> Result<RootCertStore, NoAuthority> {
    let text = lines(text);
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|_| NoAuthority)?;
        store.add(certificate).map_err(|_| NoAuthority)?;
    }
    match store.is_empty() {
        true => Err(NoAuthority),
        false => Ok(store),
    }
}

/// `text` with each literal `\n` made a line break.
pub fn lines(text: &str) -> String {
    text.replace("\\n", "\n")
}

/// What a client needs to speak TLS; it sends no certificate of its own.
pub fn client(check: Check) -> ClientConfig {
    install();
    let builder = ClientConfig::builder();
    match check {
        Check::AuthorityAndName(roots) => builder.with_root_certificates(roots),
        Check::Authority(roots) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NameUnchecked(Some(roots)))),
        Check::Nothing => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NameUnchecked(None))),
    }
    .with_no_client_auth()
}

/// Makes aws-lc the process's cryptography: a build with several providers has no default.
pub fn install() {
    // Refused only when a provider is there already, which then is this one.
    let _ = aws_lc_rs::default_provider().install_default();
}

fn provider() -> &'static Arc<CryptoProvider> {
    CryptoProvider::get_default().expect("a client was made, which installs the provider")
}

/// Takes a certificate for every name, and from everyone when it names no authority. That the
/// server holds the certificate's key is proven all the same.
#[derive(Debug)]
struct NameUnchecked(Option<RootCertStore>);

impl ServerCertVerifier for NameUnchecked {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.0 {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(certificate)?,
                roots,
                intermediates,
                now,
                provider().signature_verification_algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
