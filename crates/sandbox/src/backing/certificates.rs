//! The sandbox's certificate authority, which vouches for managed databases and caches.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// Years that the authority is valid for, as Amazon's newer ones for RDS are not exceeded by.
const AUTHORITY_YEARS: i16 = 10;

/// An authority of one sandbox; its key never leaves the process.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a server needs to speak TLS.
pub struct ServerCertificate {
    /// The certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM (PKCS #8).
    pub key: String,
}

impl Authority {
    /// A new authority, valid from yesterday.
    pub fn new() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, "deployer sandbox");
        name.push(DnType::CommonName, "deployer sandbox CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        validity(&mut params, AUTHORITY_YEARS);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// The authority's certificate, PEM: what clients that verify are given.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The authority's certificate, DER.
    pub fn der(&self) -> &[u8] {
        self.issuer.der()
    }

    /// A certificate for a server that is reached at these addresses and names, valid a year.
    pub fn server(
        &self,
        addresses: &[IpAddr],
        names: &[&str],
    ) -> Result<ServerCertificate, rcgen::Error> {
        let addresses = addresses.iter().map(IpAddr::to_string);
        let names = names.iter().map(|name| (*name).to_owned());
        // What reads as an address becomes one in the certificate.
        let subjects: Vec<String> = addresses.chain(names).collect();
        let mut params = CertificateParams::new(subjects.clone())?;
        if let Some(name) = subjects.last() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        validity(&mut params, 1);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(ServerCertificate {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// From yesterday on, so that a clock that is a little behind does not matter.
fn validity(params: &mut CertificateParams, years: i16) {
    let day = |date: jiff::civil::Date| {
        let part = |number: i8| u8::try_from(number).unwrap_or(1);
        date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
    };
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    params.not_before = day(today.saturating_sub(jiff::Span::new().days(1)));
    params.not_after = day(today.saturating_add(jiff::Span::new().years(years)));
}
