//! `deployer logs`: what the containers print, from every target, in the order of time.

mod printed;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deployer_core::address::CloudName;
use deployer_core::capability::LogLine;
use deployer_core::engine::Interrupt;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::ledger::Release;
use deployer_core::spec::ServiceSpec;
use jiff::Timestamp;
use serde_json::json;

use crate::args::{Global, LogsArgs};
use crate::duration;
use crate::exit::Exit;
use crate::mask::Mask;
use crate::session::{Place, Session};
use crate::system::StopWords;
use crate::tail::Seen;
use crate::view;
use printed::Chosen;

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

/// Nothing is under way that could be told of.
const WORDS: StopWords = StopWords {
    first: "",
    second: "",
};

/// How far back is looked where nobody says it.
const USUAL: Duration = Duration::from_secs(10 * 60);

/// One printer: a service on a target, and which of its lines are asked for.
struct Printer<'a> {
    place: &'a Place,
    key: String,
    service: &'a ServiceSpec,
    chosen: Chosen,
    seen: Seen,
}

impl Printer<'_> {
    /// The lines that were not printed yet.
    async fn fresh(&mut self, most: usize) -> Result<Vec<LogLine>> {
        let of = self.chosen.lines();
        let since = self.seen.next_since();
        let limit = if self.seen.any { AT_ONCE } else { most };
        let logs = self.place.cloud.logs();
        let found = logs.lines(self.service, of, since, limit).await?;
        // What the limit cut off is not to come later.
        if !self.seen.any && found.len() >= limit {
            self.seen.floor = found.first().map_or(self.seen.floor, |line| line.at);
        }
        Ok(self.seen.fresh(found))
    }
}

/// Prints lines, and goes on with `--follow` until somebody stops it.
pub async fn run(global: &Global, session: Session, args: &LogsArgs) -> Result<Exit> {
    let services = services(&session, args)?;
    let now = session.clock.now();
    let start = now.checked_sub(args.since.unwrap_or(USUAL));
    let start = start.map_err(|error| {
        Error::input("--since reaches back further than time does").because(error)
    })?;
    let mut printers = printers(&session, &services, args, start).await?;
    let stop = match args.follow {
        true => Some(session.stop_saying(WORDS)?),
        false => None,
    };
    let earliest = printers.iter().map(|printer| printer.seen.floor).min();
    let releases = printers
        .iter()
        .filter_map(|it| Some((it.place.name(), it.chosen.release()?)));
    let releases: Vec<_> = releases.map(|(cloud, it)| (cloud, it.clone())).collect();
    let mut masks = Masks::new(args.unmasked, earliest.unwrap_or(start), releases);
    loop {
        let mut lines = Vec::new();
        masks.renew(&session, &services).await;
        for printer in &mut printers {
            let fresh = printer.fresh(args.lines).await?;
            let of_it = |line| (printer.place.name(), printer.key.clone(), line);
            lines.extend(fresh.into_iter().map(of_it));
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
            Some(stop) if !stop.requested() => tokio::select! {
                () = session.clock.pause(LOOK) => {}
                () = stop.requested_at_last() => {}
            },
            Some(_) => return Ok(session.failure().max(Exit::Interrupted)),
            None => return Ok(session.failure()),
        }
    }
}

fn services(session: &Session, args: &LogsArgs) -> Result<Vec<String>> {
    if args.services.is_empty() {
        return session.services(None);
    }
    let mut services = Vec::new();
    for name in &args.services {
        services.extend(session.services(Some(name))?);
    }
    services.sort();
    services.dedup();
    Ok(services)
}

/// Who prints what is asked for, on every target. Says where there is nothing of it.
///
/// Errors: input, when there is nothing of it anywhere.
async fn printers<'a>(
    session: &'a Session,
    services: &[String],
    args: &LogsArgs,
    start: Timestamp,
) -> Result<Vec<Printer<'a>>> {
    let (mut printers, mut missing) = (Vec::new(), Vec::new());
    for place in &session.places {
        for key in services {
            let Some(service) = place.env.services.get(key) else {
                continue;
            };
            let chosen = match printed::choose(place, key, args).await {
                Ok(chosen) => chosen,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    missing.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let began = chosen.began().filter(|_| args.since.is_none());
            let seen = Seen::from(began.unwrap_or(start));
            let printer = Printer {
                place,
                key: key.clone(),
                service,
                chosen,
                seen,
            };
            tell_untold(&printer, session.clock.now());
            printers.push(printer);
        }
    }
    if printers.is_empty() && !missing.is_empty() {
        let error = missing.remove(0);
        let error = Error::input(error.to_string());
        return Err(error.hint(match args.migration {
            true => "a migration runs with an apply that has a new one: `deployer runs` lists what was done, `deployer logs` shows what serves",
            false => "`deployer releases` lists what there is",
        }));
    }
    for error in missing {
        noteln!("{error}");
    }
    Ok(printers)
}

/// Says from when on the cloud cannot tell any more which lines are of the release.
fn tell_untold(printer: &Printer<'_>, now: Timestamp) {
    let logs = printer.place.cloud.logs();
    let Some(told) = logs.tells_revisions_for(printer.service) else {
        return;
    };
    let reaches = printer.seen.floor < now.checked_sub(told).unwrap_or(now);
    if printer.chosen.is_release() && reaches {
        noteln!(
            "{}: which release an instance is of is told for {} after it stopped: lines of older ones are not among these",
            printer.place.name(),
            duration::age(told)
        );
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
    /// The releases whose lines are asked for, whenever they ran.
    asked: Vec<(CloudName, Release)>,
    /// Of which targets people were told that not all is hidden.
    told: BTreeSet<CloudName>,
}

impl Masks {
    fn new(off: bool, start: Timestamp, asked: Vec<(CloudName, Release)>) -> Self {
        Self {
            off,
            start,
            read: None,
            masks: BTreeMap::new(),
            asked,
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
            let asked = self
                .asked
                .iter()
                .filter(|(cloud, _)| *cloud == place.name());
            let mut releases: Vec<Release> = asked.map(|(_, it)| it.clone()).collect();
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
