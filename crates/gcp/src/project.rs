//! The project and region as this crate reaches them: clients, clock, lookups.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::spec::{GcpService, GcpSpec};
use deployer_core::address::Target;
use deployer_core::capability::Context;
use tokio::sync::OnceCell;

use crate::apis::Apis;
use crate::client::Clients;
use crate::credentials::Source;
use crate::lookup::{RunAs, SecretLookup};
use crate::paths::Names;

/// One opened target. Shared by every node.
pub(crate) struct Project {
    pub(crate) target: Target,
    pub(crate) section: GcpSpec,
    pub(crate) clients: Clients,
    /// Secrets as they are read: several in one call.
    pub(crate) secrets: SecretLookup,
    pub(crate) context: Context,
    pub(crate) names: Names,
    /// Base URL of the image registry.
    pub(crate) registry: String,
    /// Who calls, as far as known without asking.
    pub(crate) principal: String,
    /// The project's number, once it was asked for.
    pub(crate) number: OnceCell<String>,
    /// Whether the caller may change the policies of secrets in the project, once that was asked.
    pub(crate) may_grant: OnceCell<bool>,
    /// Whether no folder and no organization is above the project, once an answer told.
    pub(crate) is_alone: OnceCell<bool>,
    /// The secrets whose readers the caller may not see.
    pub(crate) unseen: Arc<Unseen>,
    /// What services and jobs run as where the manifest does not say it.
    pub(crate) run_as: RunAs,
    /// Where the credentials came from.
    pub(crate) source: Source,
    /// For what has no client of Google's.
    pub(crate) http: reqwest::Client,
    /// Which APIs are on.
    pub(crate) apis: Apis,
}

impl Project {
    /// What the manifest says of one service for Google Cloud alone.
    pub(crate) fn service_section(&self, key: &str) -> GcpService {
        self.section.services.get(key).cloned().unwrap_or_default()
    }
}

/// The names of secrets whose readers the caller may not see.
#[derive(Default)]
pub(crate) struct Unseen(Mutex<BTreeSet<String>>);

impl Unseen {
    /// Notes it of one secret.
    pub(crate) fn note(&self, secret: &str, is_unseen: bool) {
        let mut secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match is_unseen {
            true => secrets.insert(secret.to_owned()),
            false => secrets.remove(secret),
        };
    }

    /// Whether a refusal names one of them.
    pub(crate) fn are_named(&self, words: &str) -> bool {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut secrets = secrets.iter();
        secrets.any(|secret| words.contains(&format!("/secrets/{secret}/")))
    }
}
