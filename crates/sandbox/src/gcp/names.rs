//! Names: projects by id or number, locations, ids of resources.

use sha2::{Digest, Sha256};

use super::error::{ApiError, Code, Outcome};

/// The locations that the sandbox takes; Google has a few more.
pub const LOCATIONS: [&str; 24] = [
    "africa-south1",
    "asia-east1",
    "asia-northeast1",
    "asia-northeast2",
    "asia-south1",
    "asia-southeast1",
    "australia-southeast1",
    "europe-central2",
    "europe-north1",
    "europe-southwest1",
    "europe-west1",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "europe-west6",
    "europe-west8",
    "europe-west9",
    "me-west1",
    "northamerica-northeast1",
    "southamerica-east1",
    "us-central1",
    "us-east1",
    "us-east4",
    "us-west1",
];

/// The project's number: twelve digits, the same for the same id.
pub fn project_number(project: &str) -> String {
    let digest = Sha256::digest(project.as_bytes());
    let mut number: u64 = 0;
    for byte in digest.iter().take(8) {
        number = (number << 8) | u64::from(*byte);
    }
    (100_000_000_000 + number % 900_000_000_000).to_string()
}

/// A project as the paths of images have it: the colon of one that belongs to a domain
/// (`example.com:shop`) is a slash there.
///
/// Source: cloud.google.com/artifact-registry/docs/docker/names, "Domain-scoped projects".
pub fn in_images(project: &str) -> String {
    project.replace(':', "/")
}

/// Refuses any project but the sandbox's own, given by id or number.
pub fn check_project(own: &str, given: &str) -> Outcome<()> {
    if given == own || given == project_number(own) {
        return Ok(());
    }
    let mut error = ApiError::new(
        Code::PermissionDenied,
        format!("Permission denied on resource project {given}."),
    );
    error.details.push(serde_json::json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "CONSUMER_INVALID",
        "domain": "googleapis.com",
        "metadata": { "consumer": format!("projects/{given}") },
    }));
    Err(error)
}

/// Refuses a location that there is not.
pub fn check_location(given: &str) -> Outcome<()> {
    if LOCATIONS.contains(&given) {
        return Ok(());
    }
    Err(ApiError::new(
        Code::PermissionDenied,
        format!("Permission denied on 'locations/{given}' (or it may not exist)."),
    ))
}

/// Lower-case letters, digits and dashes, begun by a letter, not ended by a dash, at most `longest`
/// long.
pub fn is_dns_label(id: &str, longest: usize) -> bool {
    id.len() <= longest
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && !id.ends_with('-')
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Google's rule for labels: lower-case letters, digits, `_` and `-`; at most 63 characters each;
/// keys begun by a letter.
pub fn check_labels(field: &str, labels: Option<&serde_json::Value>) -> Outcome<()> {
    let Some(labels) = labels.and_then(serde_json::Value::as_object) else {
        return Ok(());
    };
    if labels.len() > 64 {
        return Err(ApiError::field(
            field,
            "Too many labels, at most 64 are allowed.",
        ));
    }
    let fits = |text: &str| {
        text.chars().count() <= 63
            && text.chars().all(|c| {
                c == '_' || c == '-' || c.is_numeric() || (c.is_alphabetic() && !c.is_uppercase())
            })
    };
    for (key, value) in labels {
        if key.is_empty() || !fits(key) || !key.starts_with(|c: char| c.is_alphabetic()) {
            return Err(ApiError::field(
                field,
                format!(
                    "Label key '{key}' violates format constraints. The key must start with a lowercase character, can only contain lowercase letters, numeric characters, underscores and dashes. The key can be at most 63 characters long."
                ),
            ));
        }
        if !value.as_str().is_some_and(fits) {
            return Err(ApiError::field(
                field,
                format!(
                    "Label value '{}' violates format constraints. The value can only contain lowercase letters, numeric characters, underscores and dashes. The value can be at most 63 characters long.",
                    value.as_str().unwrap_or_default()
                ),
            ));
        }
    }
    Ok(())
}

/// An opaque fingerprint, never the same twice.
pub fn fresh_etag() -> String {
    use base64::Engine;
    let bytes = *uuid::Uuid::new_v4().as_bytes();
    format!(
        "\"{}\"",
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(&bytes[..12])
    )
}

/// `length` random lower-case letters and digits.
pub fn random_suffix(length: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    uuid::Uuid::new_v4()
        .as_bytes()
        .iter()
        .take(length)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}
