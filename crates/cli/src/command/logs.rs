//! `deployer logs`: what the containers print, from every target, in the order of time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deployer_core::address::CloudName;
use deployer_core::capability::LogLine;
use deployer_core::engine::Interrupt;
use deployer_core::error::{Error, Result};
use deployer_core::ledger::Release;
use jiff::Timestamp;
use serde_json::json;

use crate::args::{Global, LogsArgs};
use crate::exit::Exit;
use crate::mask::Mask;
use crate::session::Session;
use crate::tail::Seen;
use crate::view;

/// Between two looks with `--follow`.
const LOOK: Duration = Duration::from_secs(2);
/// How long what is hidden is not looked up anew with `--follow`: a secret that is set meanwhile is
/// soon printed.
const RENEWAL: Duration = Duration::from_secs(60);
/// The secret versions of so many releases are read at most.
const PINNED: usize = 20;
/// How many lines of the last minute are looked at: none that was printed in a burst is to be
/// missed.
const AT_ONCE: usize = 100_000;

/// Prints lines, and goes on with `--follow` until somebody stops it.
pub async fn run(global: &Global, session: Session, args: &LogsArgs) -> Result<Exit> {
    let services = match args.services.as_slice() {
        [] => session.services(None)?,
        named => {
            let mut services = Vec::new();
            for name in named {
                services.extend(session.services(Some(name))?);
            }
            services.sort();
            services.dedup();
            services
        }
    };
    let now = session.clock.now();
    let start = now.checked_sub(args.since).map_err(|error| {
        Error::input("--since reaches back further than time does").because(error)
    })?;
    let mut seen: BTreeMap<(CloudName, String), Seen> = BTreeMap::new();
    let stop = match args.follow {
        true => Some(session.stop()?),
        false => None,
    };
    let mut masks = Masks::new(args.unmasked, start);
    loop {
        let mut lines = Vec::new();
        masks.renew(&session, &services).await;
        for place in &session.places {
            for key in &services {
                let Some(service) = place.env.services.get(key) else {
                    continue;
                };
                let seen = seen
                    .entry((place.name(), key.clone()))
                    .or_insert_with(|| Seen::from(start));
                let limit = if seen.any { AT_ONCE } else { args.lines };
                let found = place
                    .cloud
                    .logs()
                    .lines(service, seen.next_since(), limit)
                    .await?;
                // What the limit cut off is not to come later.
                if !seen.any && found.len() >= limit {
                    seen.floor = found.first().map_or(seen.floor, |line| line.at);
                }
                lines.extend(
                    seen.fresh(found)
                        .into_iter()
                        .map(|line| (place.name(), key.clone(), line)),
                );
            }
        }
        lines.sort_by_key(|(_, _, line)| line.at);
        for (cloud, service, line) in lines {
            let text = masks.hide(cloud, &line.text);
            // What is hidden is not to be found either: else it could be guessed, letter by letter.
            let wanted = args.grep.as_ref();
            if wanted.is_some_and(|wanted| !text.contains(wanted.as_str())) {
                continue;
            }
            print_line(global, (cloud, &service), &line, &text);
        }
        match &stop {
            Some(stop) if !stop.requested() => session.clock.pause(LOOK).await,
            _ => return Ok(session.failure()),
        }
    }
}

/// What is hidden in the lines of each target.
struct Masks {
    /// Whether lines are shown as they are.
    off: bool,
    /// From when on lines are shown.
    start: Timestamp,
    read: Option<Timestamp>,
    masks: BTreeMap<CloudName, Mask>,
    /// Of which targets people were told that not all is hidden.
    told: BTreeSet<CloudName>,
}

impl Masks {
    fn new(off: bool, start: Timestamp) -> Self {
        Self {
            off,
            start,
            read: None,
            masks: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// Reads the values that may stand in the lines, unless that was done a short while ago. Says
    /// which cannot be read.
    async fn renew(&mut self, session: &Session, services: &[String]) {
        let now = session.clock.now();
        let fresh = |read: Timestamp| now.duration_since(read).unsigned_abs() < RENEWAL;
        if self.off || self.read.is_some_and(fresh) {
            return;
        }
        self.read = Some(now);
        for place in &session.places {
            let mut releases = Vec::new();
            for service in services {
                // Without the ledger, what is set now is hidden all the same.
                let all = place.ledger.releases(service).await.unwrap_or_default();
                releases.extend(running_since(all, self.start));
            }
            let pinned = releases.iter().flat_map(|release| &release.secrets);
            let mask = Mask::of(place, pinned).await;
            let cloud = place.name();
            if !mask.unread.is_empty() && self.told.insert(cloud) {
                tell_unread(cloud, &mask);
            }
            self.masks.insert(cloud, mask);
        }
    }

    fn hide(&self, cloud: CloudName, text: &str) -> String {
        let mask = self.masks.get(&cloud);
        mask.map_or_else(|| text.to_owned(), |mask| mask.hide(text))
    }
}

/// The releases that may have run since then: those recorded since, and the one before.
fn running_since(releases: Vec<Release>, start: Timestamp) -> Vec<Release> {
    let before = releases.iter().filter(|release| release.at < start);
    let earlier = before.count().saturating_sub(1);
    let running = releases.into_iter().skip(earlier);
    let mut running: Vec<Release> = running.collect();
    let excess = running.len().saturating_sub(PINNED);
    running.drain(..excess);
    running
}

/// Says which values are not hidden.
pub fn tell_unread(cloud: CloudName, mask: &Mask) {
    let names: Vec<String> = mask.unread.keys().map(|key| format!("`{key}`")).collect();
    let why = mask.unread.values().next().map(Error::to_string);
    sayln!(
        "{cloud}: values of {} are not hidden in what follows: {}",
        names.join(", "),
        view::foreign::line(&why.unwrap_or_default())
    );
}

fn print_line(global: &Global, (cloud, service): (CloudName, &str), line: &LogLine, text: &str) {
    if global.json {
        view::json_line(&json!({
            "cloud": cloud, "service": service, "at": line.at, "source": line.source, "text": text,
        }));
    } else {
        let text = view::foreign::one_line(text);
        outln!("{:.3} {cloud} {service} {text}", line.at);
    }
}
