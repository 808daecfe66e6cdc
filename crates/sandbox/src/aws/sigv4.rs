//! Verifies Signature Version 4 of a request: key, scope, time and signature, as the services do
//! before anything else.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Method, Uri};
use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::error::AwsError;
use crate::env::AccessKey;
use crate::{Clock, Host};

/// A signature is good for this many seconds before and after its date.
const SKEW_SECONDS: i64 = 15 * 60;

/// What RFC 3986 leaves unescaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The parts of an `Authorization: AWS4-HMAC-SHA256 ...` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Whose key.
    pub access_key_id: String,
    /// `YYYYMMDD`.
    pub date: String,
    /// The region of the scope.
    pub region: String,
    /// The service's signing name.
    pub service: String,
    /// The signed headers, in the order given.
    pub signed_headers: Vec<String>,
    /// In hexadecimal.
    pub signature: String,
}

impl Authorization {
    /// Reads the header. The error says what is missing, in the vendor's words.
    pub fn read(headers: &HeaderMap) -> Result<Self, AwsError> {
        let header = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .ok_or_else(missing_token)?;
        let Some(rest) = header.strip_prefix("AWS4-HMAC-SHA256") else {
            return Err(missing_token());
        };
        let parts: BTreeMap<&str, &str> = rest
            .split(',')
            .filter_map(|part| part.trim().split_once('='))
            .collect();
        let part = |name: &str| {
            parts.get(name).copied().ok_or_else(|| {
                AwsError::new(
                    "IncompleteSignatureException",
                    format!(
                        "Authorization header requires '{name}' parameter. Authorization={header}"
                    ),
                )
            })
        };
        let credential: Vec<&str> = part("Credential")?.split('/').collect();
        let &[key, date, region, service, "aws4_request"] = credential.as_slice() else {
            return Err(AwsError::new(
                "IncompleteSignatureException",
                format!(
                    "Credential must have exactly 5 slash-delimited elements, e.g. \
                     keyid/date/region/service/term, got '{}'",
                    credential.join("/")
                ),
            ));
        };
        Ok(Self {
            access_key_id: key.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers: part("SignedHeaders")?
                .split(';')
                .map(str::to_owned)
                .collect(),
            signature: part("Signature")?.to_owned(),
        })
    }
}

fn missing_token() -> AwsError {
    AwsError::new(
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    )
}

/// A request as it came.
pub struct Signed<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target, escaped as sent.
    pub uri: &'a Uri,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a [u8],
}

/// Checks key, date and signature.
pub fn verify(
    request: &Signed<'_>,
    authorization: &Authorization,
    host: &Host,
) -> Result<(), AwsError> {
    let AccessKey { id, secret } = &host.access_key;
    if authorization.access_key_id != *id || request.headers.contains_key("x-amz-security-token") {
        return Err(AwsError::new(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ));
    }
    let stamp = check_date(request.headers, authorization, &host.clock)?;
    let names = &authorization.signed_headers;
    if !names.iter().any(|name| name == "host") {
        return Err(AwsError::new(
            "InvalidSignatureException",
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ));
    }
    let canonical = canonical_request(request, authorization);
    let scope = format!(
        "{}/{}/{}/aws4_request",
        authorization.date, authorization.region, authorization.service
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
        hex::encode(Sha256::digest(canonical.as_bytes()))
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [
        authorization.date.as_str(),
        &authorization.region,
        &authorization.service,
        "aws4_request",
    ] {
        key = keyed(&key, part.as_bytes());
    }
    if hex::encode(keyed(&key, to_sign.as_bytes())) == authorization.signature {
        return Ok(());
    }
    Err(AwsError::new(
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
         Access Key and signing method. Consult the service documentation for details.",
    ))
}

/// Returns the request's `X-Amz-Date` when it lies within the skew and agrees with the scope.
fn check_date(
    headers: &HeaderMap,
    authorization: &Authorization,
    clock: &Clock,
) -> Result<String, AwsError> {
    let invalid = |message: String| AwsError::new("InvalidSignatureException", message);
    let stamp = headers
        .get("x-amz-date")
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| {
            AwsError::new(
                "IncompleteSignatureException",
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            )
        })?;
    let at = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", stamp)
        .and_then(|parsed| parsed.to_datetime())
        .and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|_| {
            invalid(format!(
                "Date must be in ISO-8601 'basic format'. Got '{stamp}'. See http://en.wikipedia.org/wiki/ISO_8601"
            ))
        })?
        .timestamp();
    if !stamp.starts_with(&authorization.date) {
        return Err(invalid(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}', \
             from '{stamp}'.",
            authorization.date,
            stamp.get(..8).unwrap_or(stamp)
        )));
    }
    let now = clock.judging(at);
    let age = now.as_second() - at.as_second();
    if age > SKEW_SECONDS {
        return Err(invalid(format!(
            "Signature expired: {stamp} is now earlier than {} ({} - 15 min.)",
            basic(now.as_second() - SKEW_SECONDS),
            basic(now.as_second())
        )));
    }
    if age < -SKEW_SECONDS {
        return Err(invalid(format!(
            "Signature not yet current: {stamp} is still later than {} ({} + 15 min.)",
            basic(now.as_second() + SKEW_SECONDS),
            basic(now.as_second())
        )));
    }
    Ok(stamp.to_owned())
}

fn basic(second: i64) -> String {
    jiff::Timestamp::from_second(second)
        .map(|at| at.strftime("%Y%m%dT%H%M%SZ").to_string())
        .unwrap_or_default()
}

fn canonical_request(request: &Signed<'_>, authorization: &Authorization) -> String {
    let path = match authorization.service.as_str() {
        // S3 signs the path as sent; the others escape it once more.
        "s3" => escape_path(&percent_decode_str(request.uri.path()).decode_utf8_lossy()),
        _ => escape_path(request.uri.path()),
    };
    let mut query: Vec<(String, String)> = request
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (recode(name), recode(value)))
        .collect();
    query.sort();
    let query: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let headers: String = authorization
        .signed_headers
        .iter()
        .map(|name| format!("{name}:{}\n", header_values(request.headers, name)))
        .collect();
    let payload = request
        .headers
        .get("x-amz-content-sha256")
        .filter(|_| authorization.service == "s3")
        .and_then(|value| value.to_str().ok())
        .map_or_else(|| hex::encode(Sha256::digest(request.body)), str::to_owned);
    format!(
        "{}\n{path}\n{}\n{headers}\n{}\n{payload}",
        request.method,
        query.join("&"),
        authorization.signed_headers.join(";")
    )
}

fn escape_path(path: &str) -> String {
    let path = path
        .split('/')
        .map(|segment| utf8_percent_encode(segment, ESCAPED).to_string())
        .collect::<Vec<_>>()
        .join("/");
    if path.is_empty() {
        "/".to_owned()
    } else {
        path
    }
}

fn recode(part: &str) -> String {
    utf8_percent_encode(&percent_decode_str(part).decode_utf8_lossy(), ESCAPED).to_string()
}

fn header_values(headers: &HeaderMap, name: &str) -> String {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(",")
}

fn keyed(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}
