//! Which of Google's APIs are switched on in the project.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a project's accounts may be unknown once an API is on: the agent of Cloud Run and the
/// default compute account are made then (googleapis/google-cloud-go#11482,
/// terraform-google-modules/terraform-google-cloud-run#28), and a role takes "7 minutes or longer".
const GETS_ABOUT: Duration = Duration::from_secs(8 * 60);

/// The APIs of one project.
pub(crate) struct Apis {
    pub(crate) http: reqwest::Client,
    /// One base for every API, where there is one.
    endpoint: Option<String>,
    /// Those that are off, as far as is known.
    pub(crate) off: Mutex<BTreeSet<&'static str>>,
    /// When this run switched something on, after the start of the program.
    pub(crate) switched: Mutex<Option<Duration>>,
}

impl Apis {
    /// Nothing is known yet.
    pub(crate) fn new(endpoint: Option<String>, http: &reqwest::Client) -> Self {
        Self {
            http: http.clone(),
            endpoint: endpoint.map(|base| base.trim_end_matches('/').to_owned()),
            off: Mutex::default(),
            switched: Mutex::default(),
        }
    }

    /// How much longer Google may take to make known what this run switched on: its accounts, what
    /// they may do, the APIs themselves. Zero where it switched nothing on.
    pub(crate) fn gets_about(&self, now: Duration) -> Duration {
        let switched = *self.switched.lock().unwrap_or_else(PoisonError::into_inner);
        switched.map_or(Duration::ZERO, |at| (at + GETS_ABOUT).saturating_sub(now))
    }

    /// The address of a path of an API's host.
    pub(crate) fn url(&self, host: &str, path: &str) -> String {
        match &self.endpoint {
            Some(base) => format!("{base}{path}"),
            None => format!("https://{host}{path}"),
        }
    }
}
