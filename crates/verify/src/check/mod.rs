//! The checks, one file each.

pub mod cloud;
pub mod health;
pub mod jwks;
pub mod metrics;
pub mod request;
pub mod tls;
pub mod token;

use crate::subject::Subject;

/// The same of what a candidate is asked at an address of its own.
pub fn of_candidate(subject: &Subject) -> Vec<(String, String)> {
    let mut planned = planned(subject);
    planned.retain(|(name, _)| name != "tls");
    planned
}

/// What a service is asked over the network: names and expectations, in the order in which they are
/// reported.
pub fn planned(subject: &Subject) -> Vec<(String, String)> {
    let spec = &subject.spec;
    let mut planned = vec![
        ("health".to_owned(), health::expected(&subject.health)),
        ("tls".to_owned(), tls::EXPECTED.to_owned()),
    ];
    let mut add = |name: &str, expected: String| planned.push((name.to_owned(), expected));
    if let Some(path) = &spec.metrics {
        add("metrics", metrics::expected(path));
    }
    if let Some(path) = &spec.jwks {
        add("jwks", jwks::expected(path));
    }
    if spec.token.is_some() {
        add("token", token::EXPECTED.to_owned());
    }
    for check in &spec.checks {
        add(&check.name, request::expected(check));
    }
    planned
}
