//! What Google's answers tell of the certificate authority behind instances.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use x509_parser::parse_x509_certificate;

use crate::backing::Authority;

/// An authority's certificate, as Cloud SQL and Memorystore describe one.
pub struct Certificate {
    /// The certificate itself.
    pub pem: String,
    /// Whose it is.
    pub subject: String,
    /// The serial number, in decimal digits.
    pub serial: String,
    /// SHA-1 in hexadecimal.
    pub fingerprint: String,
    /// Valid from, a timestamp.
    pub since: String,
    /// Valid until, a timestamp.
    pub until: String,
}

impl Certificate {
    /// Reads what the sandbox's authority says of itself.
    pub fn of(authority: &Authority) -> Self {
        let (_, parsed) = parse_x509_certificate(authority.der())
            .expect("the sandbox's authority is a certificate");
        let time = |seconds: i64| {
            let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
            super::timestamp(at)
        };
        Self {
            pem: authority.pem(),
            subject: parsed.subject().to_string(),
            serial: parsed.serial.to_string(),
            fingerprint: hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, authority.der())),
            since: time(parsed.validity().not_before.timestamp()),
            until: time(parsed.validity().not_after.timestamp()),
        }
    }
}
