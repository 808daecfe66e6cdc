//! The end of an apply or a rollback: what serves, where, and the way back; pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deployer_core::address::CloudName;

use crate::duration;
use crate::failure::{AllMissed, Missed};
use crate::view::foreign;
use crate::view::plan::{count, cut, list, names, wrap};

/// A release that a run made.
#[derive(Clone, Debug)]
pub struct Served {
    pub cloud: CloudName,
    pub service: String,
    pub number: u64,
    /// The release that it makes serve again, where it is a rollback.
    pub again: Option<u64>,
    /// Whether its roll-out was not waited for.
    pub detached: bool,
    /// Whether it failed its verification.
    pub rejected: bool,
    /// Instances asked for and running, as its verification saw them.
    pub instances: Option<(u32, u32)>,
    pub url: Option<String>,
    /// How its verification ended. `None` where none was made.
    pub checked: Option<Checked>,
}

/// How the verification of a release ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// So many checks passed.
    Passed(usize),
    Failed,
    /// The service could not be asked, in words.
    Skipped(String),
}

/// What came of everything else.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// The services that stay as they are.
    pub still: &'a [Still],
    /// Those that did not get to a new release.
    pub missed: &'a AllMissed,
    /// How much was changed.
    pub changes: usize,
}

/// A service that stays as it is on one cloud, with its release.
pub type Still = (CloudName, String, u64);

/// More services than these are counted in the title.
const NAMED: usize = 3;
/// More services that stay as they are are counted below the table.
const UNCHANGED: usize = 10;
/// The longest name in its column, in characters.
const NAME: usize = 24;

/// What came of it, with an empty line before. `more` is what else is to be said, a line each.
pub fn render(
    subject: (&str, &str),
    served: &[Served],
    beside: Beside<'_>,
    more: &[String],
    (took, width): (Duration, usize),
) -> String {
    let Beside {
        still,
        missed,
        changes,
    } = beside;
    let mut by_service: BTreeMap<&str, Vec<&Served>> = BTreeMap::new();
    for one in served {
        by_service.entry(&one.service).or_default().push(one);
    }
    // What is the same of several services is said once.
    let mut told: Vec<(String, Vec<String>)> = Vec::new();
    for (service, on) in &by_service {
        let phrase = phrase(on);
        match told.iter_mut().find(|(it, _)| *it == phrase) {
            Some((_, services)) => services.push((*service).to_owned()),
            None => told.push((phrase, vec![(*service).to_owned()])),
        }
    }
    let phrases: Vec<String> = told
        .iter()
        .map(|(phrase, services)| match services.as_slice() {
            [one] => format!("{one} {phrase}"),
            several => format!("{}: {phrase}", names(several)),
        })
        .collect();
    let made = match by_service.len() {
        0 if changes == 0 => format!("nothing to do; {}", stays(still)),
        0 => format!("{} made; {}", count(changes, "change"), stays(still)),
        many if many > NAMED => format!("{many} services have a new release"),
        _ => phrases.join("; "),
    };
    let words = match not_there(missed) {
        Some(not_there) => format!("{not_there}; {made}"),
        None => made,
    };
    let mut text = title(subject, &words, (took, width));
    let many = by_service.len() > NAMED;
    let table = table(&by_service, (still, missed), width);
    text.push_str(&table);
    let mut rest = String::new();
    for (service, on) in by_service.iter().filter(|_| !many) {
        let mut urls: Vec<(CloudName, &String)> = on
            .iter()
            .filter_map(|one| Some((one.cloud, one.url.as_ref()?)))
            .collect();
        urls.sort_unstable();
        let name = if by_service.len() > 1 { service } else { "" };
        for (cloud, url) in urls {
            let label = format!("{cloud} {name}");
            let url = foreign::one_line(url);
            rest.push_str(&format!("  {:<5} {url}\n", label.trim_end()));
        }
    }
    rest.push_str(&unchecked(served, width));
    rest.extend(more.iter().map(|line| format!("  {line}\n")));
    if !table.is_empty() && !rest.is_empty() {
        text.push('\n');
    }
    text + &rest
}

/// `shop · staging: web r3 serves on aws and gcp      1m48s`, with an empty line before.
pub fn title(
    (app, environment): (&str, &str),
    words: &str,
    (took, width): (Duration, usize),
) -> String {
    let title = format!("{app} · {environment}: {words}");
    let took = duration::show(took);
    let used = title.chars().count() + took.chars().count();
    let gap = width.saturating_sub(used).max(2);
    format!("\n{title}{:gap$}{took}\n", "")
}

/// Where in the table a service stands: first what is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Missed,
    Made,
    Still,
}

fn word(how: Missed) -> &'static str {
    match how {
        Missed::Failed => "FAILED",
        Missed::NotStarted => "NOT STARTED",
    }
}

/// `svc08 FAILED on aws`, for the title. `None` where everything got there.
fn not_there(missed: &AllMissed) -> Option<String> {
    let mut services: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for ((cloud, service), how) in missed {
        let on = services.entry((service, word(*how))).or_default();
        on.push(cloud.as_str());
    }
    let phrases: Vec<String> = services
        .iter()
        .map(|((service, word), clouds)| {
            format!("{} {word} on {}", foreign::one_line(service), list(clouds))
        })
        .collect();
    match phrases.len() {
        0 => None,
        many if many > NAMED => Some(format!("{many} services DID NOT GET THERE")),
        _ => Some(phrases.join("; ")),
    }
}

/// `web stays r3 on aws and gcp`, or how many stay as they are.
fn stays(still: &[Still]) -> String {
    let mut services: BTreeMap<(&str, u64), BTreeSet<&str>> = BTreeMap::new();
    for (cloud, service, number) in still {
        let on = services.entry((service, *number)).or_default();
        on.insert(cloud.as_str());
    }
    let phrases = services.iter().map(|((service, number), clouds)| {
        let clouds: Vec<&str> = clouds.iter().copied().collect();
        format!(
            "{} stays r{number} on {}",
            foreign::one_line(service),
            list(&clouds)
        )
    });
    match services.len() > NAMED {
        true => {
            let names: BTreeSet<&str> = services.keys().map(|(service, _)| *service).collect();
            format!("{} services stay as they are", names.len())
        }
        false => phrases.collect::<Vec<_>>().join("; "),
    }
}

/// A line for each service, both clouds side by side, where the title does not say it all: there
/// are several, or they were verified.
fn table(
    by_service: &BTreeMap<&str, Vec<&Served>>,
    (still, missed): (&[Still], &AllMissed),
    width: usize,
) -> String {
    let place = |service: &str| match () {
        () if missed.keys().any(|(_, it)| it == service) => Place::Missed,
        () if by_service.contains_key(service) => Place::Made,
        () => Place::Still,
    };
    let all = by_service.values().flatten();
    let checked = all.clone().any(|it| it.checked.is_some());
    let mut rows: BTreeMap<(Place, &str), BTreeMap<CloudName, String>> = BTreeMap::new();
    for one in all {
        let row = rows.entry((place(&one.service), &one.service)).or_default();
        row.insert(one.cloud, cell(one));
    }
    for ((cloud, service), how) in missed {
        let row = rows.entry((Place::Missed, service)).or_default();
        row.insert(*cloud, word(*how).to_owned());
    }
    for (cloud, service, number) in still {
        let row = rows.entry((place(service), service)).or_default();
        row.insert(*cloud, format!("r{number}  unchanged"));
    }
    let says_more = rows.len() > 1 && !by_service.is_empty();
    if !says_more && !checked && missed.is_empty() {
        return String::new();
    }
    let clouds: BTreeSet<CloudName> = rows.values().flat_map(|row| row.keys().copied()).collect();
    let is_still = |place: &Place| *place == Place::Still;
    let unchanged = rows.keys().filter(|(place, _)| is_still(place)).count();
    let folds = unchanged > UNCHANGED;
    let rows: Vec<(&str, Vec<String>)> = rows
        .iter()
        .filter(|((place, _), _)| !(folds && is_still(place)))
        .map(|((_, service), row)| {
            let cells = clouds.iter();
            let cells = cells.map(|it| row.get(it).cloned().unwrap_or_else(|| "-".into()));
            (*service, cells.collect())
        })
        .collect();
    let name = rows.iter().map(|(service, _)| service.chars().count());
    let name = name.max().unwrap_or(0).clamp("SERVICE".len(), NAME) + 2;
    let room = width.saturating_sub(name) / clouds.len().max(1);
    let column = |at: usize| {
        let cells = rows.iter().map(|(_, cells)| cells[at].chars().count());
        (cells.max().unwrap_or(0) + 2).min(room).max(6)
    };
    let columns: Vec<usize> = (0..clouds.len()).map(column).collect();
    let line = |first: &str, cells: &[String]| {
        let mut line = format!("{:<name$}", cut(&foreign::one_line(first), name - 2));
        for (cell, column) in cells.iter().zip(&columns) {
            let cell = shortened(cell, column.saturating_sub(2));
            line.push_str(&format!("{cell:<column$}"));
        }
        format!("{}\n", line.trim_end())
    };
    let heads: Vec<String> = clouds.iter().map(|it| it.as_str().to_uppercase()).collect();
    let mut text = format!("\n{}", line("SERVICE", &heads));
    for (service, cells) in &rows {
        text.push_str(&line(service, cells));
    }
    if folds {
        text.push_str(&format!("{unchanged} services unchanged\n"));
    }
    text
}

/// A cell in so many characters: the release and how it is are said longest.
fn shortened(cell: &str, room: usize) -> String {
    match cell.split("  ").collect::<Vec<&str>>().as_slice() {
        [release, _, how] if cell.chars().count() > room => cut(&format!("{release}  {how}"), room),
        _ => cut(cell, room),
    }
}

/// `r3  verified (3)`, `r3  1 of 1  not checked*`
fn cell(one: &Served) -> String {
    let how = match (&one.checked, one.detached, one.rejected) {
        (_, true, _) => "rolling out".to_owned(),
        (Some(Checked::Failed), ..) | (_, _, true) => "FAILED ITS VERIFICATION".to_owned(),
        (Some(Checked::Passed(count)), ..) => format!("verified ({count})"),
        (Some(Checked::Skipped(_)), ..) => "not checked*".to_owned(),
        (None, ..) => "serves".to_owned(),
    };
    match one.instances.filter(|_| !one.detached) {
        Some((wanted, running)) => format!("r{}  {running} of {wanted}  {how}", one.number),
        None => format!("r{}  {how}", one.number),
    }
}

/// A key of any service.
const NAMED_SO: &str = ".services.NAME.";

/// Why services were not asked, each reason once.
fn unchecked(served: &[Served], width: usize) -> String {
    let mut reasons: Vec<(String, BTreeSet<&str>, BTreeSet<&str>)> = Vec::new();
    for one in served {
        let Some(Checked::Skipped(why)) = &one.checked else {
            continue;
        };
        let (service, cloud) = (one.service.as_str(), one.cloud.as_str());
        let own = format!(".services.{service}.");
        let why = foreign::words(why)
            .replace('\n', " ")
            .replace(&own, NAMED_SO);
        match reasons.iter_mut().find(|(same, ..)| *same == why) {
            Some((_, services, clouds)) => {
                services.insert(service);
                clouds.insert(cloud);
            }
            None => reasons.push((why, BTreeSet::from([service]), BTreeSet::from([cloud]))),
        }
    }
    let mut text = String::new();
    for (why, services, clouds) in reasons {
        let services: Vec<String> = services.into_iter().map(foreign::one_line).collect();
        let why = match services.as_slice() {
            [one] => why.replace(NAMED_SO, &format!(".services.{one}.")),
            _ => why,
        };
        let clouds: Vec<&str> = clouds.into_iter().collect();
        let words = format!("{} on {}: {why}", names(&services), list(&clouds));
        for (at, line) in wrap(&words, width.saturating_sub(2))
            .into_iter()
            .enumerate()
        {
            let mark = if at == 0 { '*' } else { ' ' };
            text.push_str(&format!("{mark} {line}\n"));
        }
    }
    text
}

/// `r3 serves on aws and gcp`, or what is different on each.
fn phrase(on: &[&Served]) -> String {
    type Said<'a> = (u64, &'a str, Option<u64>);
    let mut groups: Vec<(Said, Vec<&str>)> = Vec::new();
    for one in on {
        let cloud = one.cloud.as_str();
        let how = match (one.detached, one.rejected) {
            (true, _) => "is rolling out",
            (false, true) => "failed its verification and serves",
            (false, false) => "serves",
        };
        let said = (one.number, how, one.again);
        match groups.iter_mut().find(|(it, _)| *it == said) {
            Some((_, clouds)) => clouds.push(cloud),
            None => groups.push((said, vec![cloud])),
        }
    }
    let words: Vec<String> = groups
        .iter()
        .map(|((number, how, again), clouds)| {
            let mut clouds = clouds.clone();
            clouds.sort_unstable();
            let again = again.map_or_else(String::new, |it| format!(" (r{it} again)"));
            format!("r{number} {how} on {}{again}", list(&clouds))
        })
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests;
