//! What is said of what failed, one for both clouds: what failed, what the clouds say of it, what
//! still serves, what to type next. The ledger keeps it.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{Autopsy, Revision};
use deployer_core::renames::{Keyed, Renames};
use deployer_core::spec::{HealthSpec, ServiceSpec};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::again::{self, Again};
use crate::facts::{Fact, ImageName};

/// What is said of one service on one target where something failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    pub cloud: CloudName,
    pub service: String,
    /// What failed on that target: address, when, kind, words, hint.
    pub failed: Vec<Value>,
    /// What the cloud says of the service; nothing where another node failed before its turn.
    pub autopsy: Autopsy,
    /// What the app printed where that explains a failed step; no value of a secret.
    pub output: Vec<String>,
    /// What still serves, with its share of the traffic in percent.
    pub serving: Vec<(Revision, u32)>,
    /// What to type next.
    pub next: Vec<String>,
    /// What differs from the release that serves.
    pub changed: Option<Changed>,
    /// In the ledger: why what the app printed is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
    /// Everything that people are told beside.
    #[serde(skip)]
    pub(crate) beside: Beside,
}

impl Keyed for Failure {
    fn exchange(&mut self, renames: &Renames) {
        // What is typed next stays as it was told: whoever types a name of before is told today's.
        renames.exchange_service(&mut self.service);
    }
}

/// What differs in what was tried from the release that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The number of the release.
    pub since: u64,
    pub facts: Vec<Fact>,
}

/// What people are told beside the document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    /// What of the service failed: when, and the error's lines; and where nothing of it did, what
    /// it was held by.
    pub(crate) errors: Vec<(Timestamp, Vec<String>)>,
    /// The releases of what serves, by revision.
    pub(crate) releases: Vec<(Revision, u64)>,
    pub(crate) check: Option<HealthSpec>,
    /// The secrets whose values could not be read, so that they may stand in what the app printed.
    pub(crate) unread: Vec<String>,
    /// What to type next, whatever the cloud.
    pub(crate) anywhere: Vec<String>,
}

/// What a run was about, by target and service, for its report.
pub type Attempt<'a> = BTreeMap<(CloudName, &'a str), Tried>;

/// What a run was to do for one service on one target.
pub struct Tried {
    /// The nodes of the service.
    pub nodes: BTreeSet<Address>,
    /// The release that it was to make serve again, where it was one.
    pub release: Option<u64>,
    /// What to type once the cause is mended, on every cloud.
    pub again: Again,
    /// What was to serve.
    pub version: Option<(ServiceSpec, ImageName)>,
}

/// What became of a service on one target where it did not come to a new release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It failed itself.
    Failed,
    /// It was not started, as something that it needs failed, or the run was stopped.
    NotStarted,
}

/// What did not get there, by target and service.
pub type AllMissed = BTreeMap<(CloudName, String), Missed>;

impl Failure {
    /// The same for the ledger, which never has a secret's value: what the app printed only where
    /// every value that might stand in it could be looked for.
    pub(crate) fn to_keep(&self) -> Self {
        let mut kept = Self {
            beside: Beside::default(),
            ..self.clone()
        };
        kept.retype(again::uncompleted);
        let unread = &self.beside.unread;
        if !unread.is_empty() {
            kept.autopsy.log.clear();
            kept.output.clear();
            let secrets: Vec<String> = unread.iter().map(|it| format!("`{it}`")).collect();
            kept.not_kept = Some(format!(
                "what the app printed is not kept: the value of {} could not be read, and might \
                 stand in it",
                secrets.join(", ")
            ));
        }
        kept
    }

    /// The same as the ledger kept it, with its commands as they are typed here.
    pub fn here(mut self) -> Self {
        self.retype(|text| again::completed(text).into_owned());
        self
    }

    /// Writes every text with commands in it anew.
    fn retype(&mut self, to: impl Fn(&str) -> String) {
        for command in &mut self.next {
            *command = to(command);
        }
        for failed in &mut self.failed {
            if let Some(Value::String(hint)) = failed.pointer_mut("/error/hint") {
                *hint = to(hint);
            }
        }
    }
}
