//! The report of a failed run, one for both clouds: what failed, what the cloud says of it, what still serves, what to type next.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{Autopsy, Revision, ServingState};
use deployer_core::engine::{Failed, Verdict};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Global;
use crate::mask::Mask;
use crate::session::{Place, Session};
use crate::view::{self, foreign};

/// The word that runs a failed migration again.
const RETRY: &str = "deployer migrate --retry";

/// What is said of one service on one target where something failed.
#[derive(Debug, Serialize)]
struct Failure {
    cloud: CloudName,
    service: String,
    /// What failed on that target: address, when, kind, words, hint.
    failed: Vec<Value>,
    /// What the cloud says of the service; nothing where another node failed before its turn.
    autopsy: Autopsy,
    /// What the app printed where that explains a failed step; no value of a secret.
    output: Vec<String>,
    /// What still serves, with its share of the traffic in percent.
    serving: Vec<(Revision, u32)>,
    /// What to type next.
    next: Vec<String>,
}

/// What a run was about, for its report.
pub struct Attempt<'a> {
    /// What to type once the cause is mended.
    pub again: &'a str,
    /// The nodes of each service, by target and service.
    pub nodes: BTreeMap<(CloudName, &'a str), BTreeSet<Address>>,
}

/// Reports the services of every target where something failed: those that failed themselves, and those that were held by
/// what failed. Never fails itself: what a cloud does not answer is left out.
pub async fn report(
    global: &Global,
    session: &Session,
    verdicts: &BTreeMap<CloudName, Verdict>,
    attempt: &Attempt<'_>,
) {
    for place in &session.places {
        let verdict = verdicts.get(&place.name());
        let Some(verdict) = verdict.filter(|verdict| !verdict.failed.is_empty()) else {
            continue;
        };
        let of_place = attempt.nodes.iter();
        for ((_, key), nodes) in of_place.filter(|((cloud, _), _)| *cloud == place.name()) {
            let failed = verdict.failed.iter().any(|it| nodes.contains(&it.address));
            let held = verdict.held.iter().any(|it| nodes.contains(it));
            if failed || held {
                let own = (nodes, failed);
                let failure = examine(place, key, &verdict.failed, own, attempt).await;
                if let Some(failure) = failure {
                    failure.tell(global);
                }
            }
        }
    }
}

async fn examine(
    place: &Place,
    key: &str,
    failed: &[Failed],
    (nodes, itself): (&BTreeSet<Address>, bool),
    attempt: &Attempt<'_>,
) -> Option<Failure> {
    let service = place.env.services.get(key)?;
    let runtime = place.cloud.runtime();
    let autopsy = async {
        match itself {
            true => runtime.autopsy(service).await,
            false => Autopsy::default(),
        }
    };
    let (mut autopsy, serving, releases) = tokio::join!(
        autopsy,
        runtime.serving(service),
        place.ledger.releases(key)
    );
    let own = failed.iter().filter(|it| nodes.contains(&it.address));
    let mut output: Vec<String> = own
        .flat_map(|it| it.error.output().iter().cloned())
        .collect();
    if !output.is_empty() || !autopsy.log.is_empty() {
        let mask = Mask::of(place).await;
        for line in &mut autopsy.log {
            line.text = mask.hide(&line.text);
        }
        for line in &mut output {
            *line = mask.hide(line);
        }
    }
    let served_once = releases.unwrap_or_default();
    let serving = serving.ok().flatten().map(|serving| {
        let ready = matches!(serving.state, ServingState::Ready);
        // What was just tried may run and take its share without ever having been healthy.
        let serves = |revision: &Revision| {
            ready
                || serving.wanted.as_ref() != Some(revision)
                || served_once.iter().any(|it| it.revision == *revision)
        };
        let traffic = serving.traffic.iter();
        let traffic = traffic.filter(|(revision, _)| serves(revision)).cloned();
        traffic.collect::<Vec<_>>()
    });
    let cloud = place.name();
    let logs = format!("deployer logs {key} --cloud {cloud} --since 10m");
    // A migration that failed is run again on a person's word alone: the same command again would refuse.
    let asks = |failed: &Failed| {
        let hint = failed.error.hint_text().unwrap_or_default();
        hint.contains(RETRY)
    };
    let again = match failed.iter().any(asks) {
        true => format!(
            "{RETRY} --cloud {cloud}    # once the cause is mended; then deployer apply --cloud {cloud}"
        ),
        false => format!(
            "{} --cloud {cloud}    # once the cause is mended",
            attempt.again
        ),
    };
    Some(Failure {
        cloud,
        service: key.to_owned(),
        failed: failed.iter().map(view::error::failed).collect(),
        next: itself.then_some(logs).into_iter().chain([again]).collect(),
        autopsy,
        output,
        serving: serving.unwrap_or_default(),
    })
}

impl Failure {
    fn tell(&self, global: &Global) {
        if global.json {
            let mut line = json!(self);
            line["event"] = json!("failure");
            view::json_line(&line);
            return;
        }
        let Autopsy {
            words,
            stopped,
            targets,
            events,
            log,
        } = &self.autopsy;
        sayln!("\n{}: what is known of `{}`:", self.cloud, self.service);
        for line in words {
            sayln!("  {}", foreign::words(line));
        }
        for instance in stopped {
            match instance.at {
                Some(at) => sayln!("  {at:.0} {}", foreign::words(&instance.to_string())),
                None => sayln!("  {}", foreign::words(&instance.to_string())),
            }
        }
        for target in targets {
            sayln!("  {}", foreign::words(&target.to_string()));
        }
        for event in events {
            sayln!("  event: {}", foreign::words(&event.to_string()));
        }
        for line in log {
            sayln!("  log: {} | {}", line.source, foreign::line(&line.text));
        }
        for line in &self.output {
            sayln!("  log: {line}");
        }
        match self.serving.as_slice() {
            [] => sayln!("  nothing serves"),
            shares => {
                for (revision, share) in shares {
                    sayln!("  still serves: {} ({share} %)", revision.0);
                }
            }
        }
        for command in &self.next {
            sayln!("  next: {command}");
        }
    }
}
