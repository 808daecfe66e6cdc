//! The report of a failed run, one for both clouds: what failed, what the cloud says of it, what still serves, what to type next.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{Autopsy, Revision, SecretVersion, Serving, ServingState};
use deployer_core::engine::{Failed, Verdict};
use deployer_core::ledger::Release;
use serde::Serialize;
use serde_json::{Value, json};

use crate::again::Again;
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
    /// The errors' own words, which are printed before the report.
    #[serde(skip)]
    told: Vec<String>,
}

/// What a run was about, by target and service, for its report.
pub type Attempt<'a> = BTreeMap<(CloudName, &'a str), Tried>;

/// What a run was to do for one service on one target.
pub struct Tried {
    /// The nodes of the service.
    pub nodes: BTreeSet<Address>,
    /// The release that it was to make serve again, where it was one.
    pub release: Option<u64>,
    /// What to type once the cause is mended.
    pub again: Again,
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
        let of_place = attempt.iter();
        for ((_, key), tried) in of_place.filter(|((cloud, _), _)| *cloud == place.name()) {
            let nodes = &tried.nodes;
            let failed = verdict.failed.iter().any(|it| nodes.contains(&it.address));
            let held = verdict.held.iter().any(|it| nodes.contains(it));
            if failed || held {
                let own = (tried, failed);
                let failure = examine(global, place, key, &verdict.failed, own).await;
                if let Some(failure) = failure {
                    failure.tell(global);
                }
            }
        }
    }
}

async fn examine(
    global: &Global,
    place: &Place,
    key: &str,
    failed: &[Failed],
    (tried, itself): (&Tried, bool),
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
    let own = failed.iter().filter(|it| tried.nodes.contains(&it.address));
    let mut output: Vec<String> = own
        .flat_map(|it| it.error.output().iter().cloned())
        .collect();
    let served_once = releases.unwrap_or_default();
    if !output.is_empty() || !autopsy.log.is_empty() {
        let serving = serving.as_ref().ok().and_then(Option::as_ref);
        let pinned = pinned(&served_once, serving, tried);
        let mask = Mask::of(place, pinned).await;
        for line in &mut autopsy.log {
            line.text = foreign::short(&mask.hide(&line.text));
        }
        for line in &mut output {
            *line = foreign::short(&mask.hide(line));
        }
    }
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
    Some(Failure {
        cloud,
        service: key.to_owned(),
        failed: failed.iter().map(view::error::failed).collect(),
        told: failed.iter().flat_map(|it| it.error.chain()).collect(),
        next: next(global, (cloud, key), failed, (tried, itself)),
        autopsy,
        output,
        serving: serving.unwrap_or_default(),
    })
}

/// The secret versions of the releases that this is about: what was tried, what serves, and what was recorded last.
fn pinned<'a>(
    releases: &'a [Release],
    serving: Option<&'a Serving>,
    tried: &'a Tried,
) -> impl Iterator<Item = (&'a String, &'a SecretVersion)> {
    let runs = move |release: &Release| {
        serving.is_some_and(|serving| {
            let traffic = serving.traffic.iter().map(|(revision, _)| revision);
            let mut revisions = traffic.chain(&serving.wanted);
            revisions.any(|revision| *revision == release.revision)
        })
    };
    let latest = releases.last().map(|release| release.number);
    releases
        .iter()
        .filter(move |it| runs(it) || Some(it.number) == latest || Some(it.number) == tried.release)
        .flat_map(|release| &release.secrets)
}

/// What to type next: each line does, typed as it stands.
fn next(
    global: &Global,
    (cloud, key): (CloudName, &str),
    failed: &[Failed],
    (tried, itself): (&Tried, bool),
) -> Vec<String> {
    let logs = Again::new(global, "logs")
        .with(key)
        .option("--since", "10m");
    let logs = itself.then(|| logs.on(cloud).to_string());
    // A migration that failed is run again on a person's word alone: the same command again would refuse.
    let asks = |failed: &Failed| {
        let hint = failed.error.hint_text().unwrap_or_default();
        hint.contains(RETRY)
    };
    let again = match failed.iter().any(asks) {
        true => {
            let retry = Again::new(global, "migrate").with("--retry").on(cloud);
            let apply = Again::new(global, "apply").on(cloud);
            vec![
                format!("{retry}    # once the cause is mended"),
                format!("{apply}    # after that"),
            ]
        }
        false => vec![format!("{}    # once the cause is mended", tried.again)],
    };
    logs.into_iter().chain(again).collect()
}

impl Failure {
    /// Whether the error that failed holds these words: it was printed above.
    fn is_told(&self, words: &str) -> bool {
        let mut told = self.told.iter();
        told.any(|line| line.contains(words.trim()))
    }

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
        for line in words.iter().filter(|line| !self.is_told(line)) {
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
            let source = foreign::one_line(&line.source);
            sayln!("  log: {source} | {}", foreign::line(&line.text));
        }
        for line in &self.output {
            sayln!("  log: {}", foreign::line(line));
        }
        match self.serving.as_slice() {
            [] => sayln!("  nothing serves"),
            shares => {
                for (revision, share) in shares {
                    let revision = foreign::one_line(&revision.0);
                    sayln!("  still serves: {revision} ({share} %)");
                }
            }
        }
        for command in &self.next {
            sayln!("  next: {command}");
        }
    }
}
