//! The report of a failed run, one for both clouds: what failed, what the cloud says of it, what still serves, what to type next.

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use deployer_core::capability::{Autopsy, Revision};
use deployer_core::engine::Verdict;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Global;
use crate::session::{Place, Session};
use crate::view;

/// What is said of one service on one target where something failed.
#[derive(Debug, Serialize)]
struct Failure {
    cloud: CloudName,
    service: String,
    /// What failed on that target: address, kind, words, hint.
    failed: Vec<Value>,
    /// What the cloud says of the service.
    autopsy: Autopsy,
    /// What still serves, with its share of the traffic in percent.
    serving: Vec<(Revision, u32)>,
    /// What to type next.
    next: Vec<String>,
}

/// Reports every target where something failed. Never fails itself: what a cloud does not answer is left out.
pub async fn report(global: &Global, session: &Session, verdicts: &BTreeMap<CloudName, Verdict>) {
    for place in &session.places {
        let verdict = verdicts.get(&place.name());
        let Some(verdict) = verdict.filter(|verdict| !verdict.failed.is_empty()) else {
            continue;
        };
        for key in place.env.services.keys() {
            if let Some(failure) = examine(place, key, verdict).await {
                failure.tell(global);
            }
        }
    }
}

async fn examine(place: &Place, key: &str, verdict: &Verdict) -> Option<Failure> {
    let service = place.env.services.get(key)?;
    let runtime = place.cloud.runtime();
    let (autopsy, serving) = tokio::join!(runtime.autopsy(service), runtime.serving(service));
    let serving = serving.ok().flatten().map(|serving| serving.traffic);
    let failed = verdict.failed.iter();
    let failed = failed.map(
        |(address, error)| json!({ "address": address, "error": view::error::document(error) }),
    );
    let cloud = place.name();
    Some(Failure {
        cloud,
        service: key.to_owned(),
        failed: failed.collect(),
        next: vec![
            format!("deployer logs {key} --cloud {cloud} --since 10m"),
            format!(
                "deployer apply --cloud {cloud}    # once the cause is mended: it goes on from here"
            ),
        ],
        autopsy,
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
            events,
            log,
        } = &self.autopsy;
        if !self.autopsy.is_empty() {
            sayln!("\n{}: what is known of `{}`:", self.cloud, self.service);
        }
        for line in words {
            sayln!("  {line}");
        }
        for instance in stopped {
            match instance.at {
                Some(at) => sayln!("  {at:.0} {instance}"),
                None => sayln!("  {instance}"),
            }
        }
        for event in events {
            sayln!("  event: {event}");
        }
        for line in log {
            sayln!("  log: {} | {}", line.source, line.text);
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
