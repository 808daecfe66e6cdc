//! Examines what failed in a run: asks the clouds what they say of it, and reports it.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName};
use deployer_core::capability::{Autopsy, Revision, SecretVersion, Serving, ServingState};
use deployer_core::engine::{Failed, Verdict};
use deployer_core::error::ErrorKind;
use deployer_core::history::same_revision;
use deployer_core::ledger::Release;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::again::Again;
use crate::args::Global;
use crate::facts::{self, Version};
use crate::failure::{AllMissed, Attempt, Beside, Changed, Failure, Missed, Tried};
use crate::mask::Mask;
use crate::run::{Journals, Unwritten};
use crate::session::{Place, Session};
use crate::view::failure::{Side, Typed};
use crate::view::plan::{is_migration, role};
use crate::view::{self, foreign};

/// The word that runs a failed migration again.
const RETRY: &str = "deployer migrate --retry";

/// What the app printed last, by the ledger's report of a run that failed for this service.
pub async fn last_line(place: &Place, run: u64, service: &str) -> Option<String> {
    // Where it cannot be read, the cloud's own words must do.
    let failures = place.ledger.report::<Vec<Failure>>(run).await.ok()??;
    let mut own = failures.iter().filter(|it| it.service == service);
    own.find_map(Failure::last_line).map(str::to_owned)
}

/// The services that a run was to do something for, and that did not get there.
pub fn missed(verdicts: &BTreeMap<CloudName, Verdict>, attempt: &Attempt<'_>) -> AllMissed {
    let mut missed = AllMissed::new();
    for ((cloud, key), tried) in attempt {
        let Some(verdict) = verdicts.get(cloud) else {
            continue;
        };
        let is_own = |address: &Address| tried.nodes.contains(address);
        let how = match () {
            () if verdict.failed.iter().any(|it| is_own(&it.address)) => Missed::Failed,
            () if verdict.held.iter().any(is_own) => Missed::NotStarted,
            () => continue,
        };
        missed.insert((*cloud, (*key).to_owned()), how);
    }
    missed
}

/// The nodes whose errors the report of their service tells.
pub fn told(
    session: &Session,
    verdicts: &BTreeMap<CloudName, Verdict>,
    attempt: &Attempt<'_>,
) -> BTreeSet<Address> {
    let mut told = BTreeSet::new();
    for ((cloud, key), tried) in attempt {
        let mut places = session.places.iter().filter(|it| it.name() == *cloud);
        let known = places
            .next()
            .is_some_and(|it| it.env.services.contains_key(*key));
        let failed = verdicts.get(cloud).into_iter().flat_map(|it| &it.failed);
        let failed = failed.map(|it| &it.address);
        let of_it = failed.filter(|it| known && tried.nodes.contains(*it));
        told.extend(of_it.cloned());
    }
    told
}

/// Reports the services of every target where something failed: those that failed themselves, and
/// those that were held by what failed. Never fails itself: what a cloud does not answer is left
/// out.
pub async fn report(
    global: &Global,
    session: &Session,
    verdicts: &BTreeMap<CloudName, Verdict>,
    attempt: &Attempt<'_>,
    (journals, unwritten): (&Journals, &mut Unwritten),
) {
    let mut failures: BTreeMap<String, Vec<Failure>> = BTreeMap::new();
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
                    failures.entry((*key).to_owned()).or_default().push(failure);
                }
            }
        }
    }
    for place in &session.places {
        let cloud = place.name();
        let all = failures.values().flatten();
        let found = all.filter(|it| it.cloud == cloud);
        let found: Vec<Failure> = found.map(Failure::to_keep).collect();
        if !found.is_empty() {
            unwritten.keep(cloud, journals.keep_report(cloud, &found).await);
        }
    }
    let whole = journals.number().map(|run| {
        let report = Again::new(global, "report");
        report.option("--run", &run.to_string()).to_string()
    });
    for (service, failures) in failures {
        match global.json {
            true => failures.iter().for_each(Failure::tell_as_json),
            false => tell(session, &service, &failures, whole.as_deref()),
        }
    }
}

/// Tells people of one service on every cloud where it failed or was held.
fn tell(session: &Session, service: &str, failures: &[Failure], whole: Option<&str>) {
    let sides: Vec<Side<'_>> = failures.iter().map(Failure::side).collect();
    // One command for all of them, where it is the same but for the cloud.
    let everywhere = failures.len() == session.places.len();
    let first = failures.first();
    let same =
        |it: &Failure| first.is_some_and(|first| first.beside.anywhere == it.beside.anywhere);
    let next: Vec<String> = match failures.len() > 1 && everywhere && failures.iter().all(same) {
        true => first
            .map(|it| it.beside.anywhere.clone())
            .unwrap_or_default(),
        false => failures.iter().flat_map(|it| it.next.clone()).collect(),
    };
    let subject = (
        session.loaded.manifest.app.as_str(),
        session.loaded.environment.as_str(),
    );
    let typed = Typed {
        next: &next,
        whole: whole.map(|command| format!("{command}    # {}", amount(failures))),
    };
    say!(
        "{}",
        view::failure::render(subject, service, &sides, &typed, view::error_width())
    );
}

/// Whether it is the service's instances that failed: of a call that was refused or not answered,
/// of a migration, neither their log nor the service's events say why.
fn is_of_roll_out(failed: &[Failed], tried: &Tried) -> bool {
    let own = failed.iter().filter(|it| tried.nodes.contains(&it.address));
    let mut own = own.filter(|it| !role(&it.address).is_step());
    own.any(|it| match it.error.kind() {
        ErrorKind::Failed
        | ErrorKind::RolledBack
        | ErrorKind::TimedOut
        | ErrorKind::Untrue
        | ErrorKind::Unverified => true,
        ErrorKind::Input
        | ErrorKind::NotFound
        | ErrorKind::Interrupted
        | ErrorKind::Denied
        | ErrorKind::Credentials
        | ErrorKind::Conflict
        | ErrorKind::Rejected
        | ErrorKind::Unavailable
        | ErrorKind::Locked
        | ErrorKind::Ledger
        | ErrorKind::Internal => false,
    })
}

/// `2 tasks, 11 events, 29 lines`: how much the whole report has.
fn amount(failures: &[Failure]) -> String {
    let sum = |of: &dyn Fn(&Failure) -> usize| failures.iter().map(of).sum::<usize>();
    let counts = [
        (sum(&|it| it.autopsy.stopped.len()), "task"),
        (sum(&|it| it.autopsy.events.len()), "event"),
        (sum(&|it| it.autopsy.log.len() + it.output.len()), "line"),
    ];
    let told = counts.into_iter().filter(|(count, _)| *count > 0);
    let told = told.map(|(count, what)| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    });
    let told: Vec<String> = told.collect();
    match told.is_empty() {
        true => "the whole report".to_owned(),
        false => told.join(", "),
    }
}

/// Whether it is the service's own migration that failed.
fn own_migration(failed: &[Failed], tried: &Tried) -> bool {
    let mut own = failed.iter().filter(|it| tried.nodes.contains(&it.address));
    own.any(|it| is_migration(&it.address))
}

/// What a service's migration printed when it failed last, by the ledger's reports.
async fn printed_before(place: &Place, key: &str) -> Vec<String> {
    const MOST: usize = 5;
    let is_of_one = |it: &Value| {
        let address = it["address"].as_str().unwrap_or_default();
        address.parse::<Address>().is_ok_and(|it| is_migration(&it))
    };
    // Where the ledger does not answer, nothing is said of it.
    for number in place.ledger.reported(MOST).await.unwrap_or_default() {
        let report = place.ledger.report::<Vec<Failure>>(number).await;
        let mut failures = report.ok().flatten().into_iter().flatten();
        let found = failures.find(|it| {
            it.service == key && !it.output.is_empty() && it.failed.iter().any(is_of_one)
        });
        if let Some(found) = found {
            return found.output;
        }
    }
    Vec::new()
}

async fn examine(
    global: &Global,
    place: &Place,
    key: &str,
    failed: &[Failed],
    (tried, itself): (&Tried, bool),
) -> Option<Failure> {
    let service = place.env.services.get(key)?;
    let runtime = place.cloud.services();
    let autopsy = async {
        match itself && is_of_roll_out(failed, tried) {
            true => runtime.autopsy(service).await,
            false => Autopsy::default(),
        }
    };
    let (mut autopsy, serving, releases) =
        tokio::join!(autopsy, place.serving(service), place.ledger.releases(key));
    let own = failed.iter().filter(|it| tried.nodes.contains(&it.address));
    let mut output: Vec<String> = own
        .flat_map(|it| it.error.output().iter().cloned())
        .collect();
    let refused = own_migration(failed, tried) && output.is_empty();
    let served_once = releases.unwrap_or_default();
    let mut unread = Vec::new();
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
        unread.extend(mask.unread.into_keys());
    }
    if refused {
        // It was not run: what it printed when it failed is masked already.
        output = printed_before(place, key).await;
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
        beside: Beside {
            errors: errors(failed, (tried, itself)),
            releases: served_once
                .iter()
                .map(|it| (it.revision.clone(), it.number))
                .collect(),
            check: Some(service.health.clone()),
            unread,
            anywhere: next(global, (None, key), failed, (tried, itself)),
        },
        next: next(global, (Some(cloud), key), failed, (tried, itself)),
        changed: changed(tried, &served_once, serving.as_deref().unwrap_or_default()),
        not_kept: None,
        autopsy,
        output,
        serving: serving.unwrap_or_default(),
    })
}

/// The errors of what failed of the service itself; where nothing of it did, each is told by
/// itself.
fn errors(failed: &[Failed], (tried, itself): (&Tried, bool)) -> Vec<(Timestamp, Vec<String>)> {
    let own = failed.iter().filter(|it| tried.nodes.contains(&it.address));
    match itself {
        true => own
            .map(|it| (it.at, view::error::lines(&it.error)))
            .collect(),
        false => Vec::new(),
    }
}

/// What differs in what was tried from the release that serves.
fn changed(tried: &Tried, releases: &[Release], serving: &[(Revision, u32)]) -> Option<Changed> {
    let [(revision, 100)] = serving else {
        return None;
    };
    let mut newest = releases.iter().rev();
    let serves = newest.find(|it| same_revision(&it.revision, revision))?;
    let (spec, image) = tried.version.as_ref()?;
    let now = Version {
        spec,
        image: image.clone(),
        secrets: BTreeMap::new(),
    };
    Some(Changed {
        since: serves.number,
        facts: facts::between(&Version::of(serves), &now),
    })
}

/// The secret versions of the releases that this is about: what was tried, what serves, and what
/// was recorded last.
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
    (cloud, key): (Option<CloudName>, &str),
    failed: &[Failed],
    (tried, itself): (&Tried, bool),
) -> Vec<String> {
    let on = |again: Again| match cloud {
        Some(cloud) => again.on(cloud),
        None => again,
    };
    let logs = Again::new(global, "logs")
        .with(key)
        .option("--since", "10m");
    let of_migration = |it: &Failed| is_migration(&it.address);
    let own = failed.iter().filter(|it| tried.nodes.contains(&it.address));
    let logs = match (is_of_roll_out(failed, tried), own.clone().any(of_migration)) {
        (true, _) => Some(logs),
        (false, true) => Some(Again::new(global, "logs").with(key).with("--migration")),
        (false, false) => None,
    };
    let logs = logs.filter(|_| itself).map(|it| on(it).to_string());
    // A migration that failed is run again on a person's word alone: the same command again would
    // refuse.
    let asks = |failed: &Failed| {
        let hint = failed.error.hint_text().unwrap_or_default();
        hint.contains(RETRY)
    };
    let again = match failed.iter().any(asks) {
        true => {
            let retry = on(Again::new(global, "migrate").with("--retry"));
            let apply = on(Again::new(global, "apply"));
            vec![
                format!("{retry}    # once the cause is mended"),
                format!("{apply}    # after that"),
            ]
        }
        false => vec![format!(
            "{}    # once the cause is mended",
            on(tried.again.clone())
        )],
    };
    logs.into_iter().chain(again).collect()
}

impl Failure {
    fn tell_as_json(&self) {
        let mut line = json!(self);
        line["event"] = json!("failure");
        view::json_line(&line);
    }

    fn side(&self) -> Side<'_> {
        let release = |revision: &Revision| {
            let mut known = self.beside.releases.iter().rev();
            let found = known.find(|(other, _)| same_revision(other, revision));
            found.map(|(_, number)| *number)
        };
        let serving = self.serving.iter();
        Side {
            cloud: Some(self.cloud),
            failed: self.beside.errors.clone(),
            autopsy: self.autopsy.clone(),
            output: &self.output,
            serving: serving
                .map(|(revision, share)| (revision, *share, release(revision)))
                .collect(),
            changed: self.changed.clone(),
            check: self.beside.check.as_ref(),
        }
    }
}
