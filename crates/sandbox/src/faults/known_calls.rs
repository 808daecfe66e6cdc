//! The names of the calls that the sandbox knows, so that a pattern that fits none is found out.

use std::sync::LazyLock;

use crate::glob::matches;
use crate::{aws, gcp};

/// How like a known name an unknown one must be for the former to be proposed.
const ALIKE: f64 = 0.85;

/// What a registry request can name.
const REGISTRY_KINDS: [&str; 7] = [
    "ping",
    "manifest",
    "blob",
    "uploads",
    "upload",
    "tags",
    "referrers",
];
const REGISTRY_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"];

/// Every call that the sandbox answers itself.
pub(crate) struct KnownCalls {
    names: Vec<String>,
    /// The AWS services whose operations are all known; others may go to moto.
    whole: Vec<&'static str>,
}

impl KnownCalls {
    /// The one list of the process.
    pub(crate) fn all() -> &'static Self {
        static ALL: LazyLock<KnownCalls> = LazyLock::new(|| {
            let registry = REGISTRY_METHODS.iter().flat_map(|method| {
                let kinds = REGISTRY_KINDS.iter();
                kinds.map(move |kind| format!("registry {method} {kind}"))
            });
            let more = ["oauth2.token", "registry GET token"].map(str::to_owned);
            let (operations, whole) = aws::known_operations();
            let names = operations.into_iter().chain(gcp::known_methods());
            KnownCalls {
                names: names.chain(registry).chain(more).collect(),
                whole,
            }
        });
        &ALL
    }

    /// Whether a call may come that the pattern matches.
    pub(crate) fn may_match(&self, pattern: &str) -> bool {
        let passed_on = pattern.split_once(':').is_some_and(|(service, _)| {
            !service.contains(['*', '?']) && !self.whole.contains(&service)
        });
        passed_on || self.names.iter().any(|name| matches(pattern, name))
    }
}

/// The known name that is most like a mistyped one.
pub(crate) fn nearest<'a>(name: &str, known: &'a KnownCalls) -> Option<&'a str> {
    let likeness = |known: &&String| strsim::jaro_winkler(known, name);
    let best = known
        .names
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= ALIKE).then_some(best)
}
