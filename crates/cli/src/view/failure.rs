//! The failure report for people: the cause first and once, then what changed, what each cloud
//! says, what serves, what to type; pure.

mod cause;

use std::collections::BTreeSet;

use deployer_core::address::CloudName;
use deployer_core::capability::{Autopsy, Revision};
use deployer_core::migration::PUT_RIGHT;
use deployer_core::spec::HealthSpec;
use jiff::Timestamp;

use crate::facts::Fact;
use crate::failure::Changed;
use crate::view::alike::{Told, folded};
use crate::view::brief::{brief, without_code, without_events};
use crate::view::foreign;
use crate::view::plan::{how, list, wrap};

/// Where everything but the labels begins, in columns.
const INDENT: usize = 7;
/// How many of a service's events are told where nothing else tells why.
const EVENTS: usize = 3;
/// The column of the names of what changed, in characters.
const WHAT: usize = 20;

/// What is told of one service on one cloud.
#[derive(Debug, Default)]
pub struct Side<'a> {
    pub cloud: Option<CloudName>,
    /// What of it failed: when, the error's lines, the first with its kind.
    pub failed: Vec<(Timestamp, Vec<String>)>,
    pub autopsy: Autopsy,
    /// What the app printed where that explains a failed step.
    pub output: &'a [String],
    /// What serves, with its share and its release.
    pub serving: Vec<(&'a Revision, u32, Option<u64>)>,
    /// What differs from the release that serves.
    pub changed: Option<Changed>,
    /// How the cloud finds out whether an instance is healthy.
    pub check: Option<&'a HealthSpec>,
}

impl Side<'_> {
    fn name(&self) -> String {
        self.cloud.map_or_else(String::new, |it| it.to_string())
    }

    /// What the app printed last.
    fn printed(&self) -> Vec<String> {
        let log = self.autopsy.log.iter().map(|line| line.text.clone());
        log.chain(self.output.iter().cloned()).collect()
    }

    /// Whether a health check is what failed, by the cloud's words.
    fn is_unhealthy(&self) -> bool {
        let failed = self.failed.iter().flat_map(|(_, lines)| lines);
        let stopped = self.autopsy.stopped.iter().map(|it| &it.reason);
        let log = self.autopsy.log.iter().map(|it| &it.text);
        let mut words = failed.chain(stopped).chain(&self.autopsy.words).chain(log);
        // ECS of its containers, Cloud Run of its instances.
        let of_health = |words: &String| {
            words.contains("health checks") || words.contains("probe failed for container")
        };
        !self.autopsy.targets.is_empty() || words.any(of_health)
    }
}

/// What to type.
#[derive(Debug, Default)]
pub struct Typed<'a> {
    pub next: &'a [String],
    /// What shows the whole report, and how much that is.
    pub whole: Option<String>,
}

/// What a line of an error begins with that says what helps.
const HINT: &str = "hint:";

fn hints<'a>(sides: &'a [Side<'_>]) -> impl Iterator<Item = &'a String> {
    let lines = sides.iter().flat_map(|side| &side.failed);
    let lines = lines.flat_map(|(_, lines)| lines);
    lines.filter(|line| line.starts_with(HINT))
}

/// The hints that every side has.
fn shared_hints<'a>(sides: &'a [Side<'_>]) -> Vec<&'a String> {
    let Some((first, others)) = sides.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Vec::new();
    };
    let everywhere = |hint: &&String| {
        let mut others = others.iter();
        others.all(|side| hints(std::slice::from_ref(side)).any(|it| it == *hint))
    };
    let mut shared: Vec<&String> = hints(std::slice::from_ref(first))
        .filter(everywhere)
        .collect();
    shared.dedup();
    shared
}

/// Whether what is to be typed next says it already: a hint that says how to put it right does not.
fn is_next(hint: &str, typed: &Typed<'_>) -> bool {
    let stock = PUT_RIGHT.split('`').next().unwrap_or_default();
    if !hint.contains(stock) {
        return false;
    }
    let mut commands = typed.next.iter();
    commands.any(|next| {
        let command = next.split("    #").next().unwrap_or_default();
        hint.contains(&format!("`{}`", command.trim()))
    })
}

/// The report on one service, with an empty line before it.
pub fn render(
    (app, environment): (&str, &str),
    service: &str,
    sides: &[Side<'_>],
    typed: &Typed<'_>,
    width: usize,
) -> String {
    let shared = shared_hints(sides);
    let mut page = Page {
        text: String::new(),
        room: width.saturating_sub(INDENT).max(40),
        untold: hints(sides)
            .filter(|it| is_next(it, typed) || shared.contains(it))
            .cloned()
            .collect(),
    };
    let clouds = |of: &dyn Fn(&&Side<'_>) -> bool| {
        let clouds: Vec<String> = sides.iter().filter(of).map(Side::name).collect();
        list(&clouds)
    };
    let failed = clouds(&|it| !it.failed.is_empty());
    let title = match failed.is_empty() {
        true => format!(
            "{app} · {environment}: {service} was not started on {}",
            clouds(&|_| true)
        ),
        false => format!("{app} · {environment}: {service} failed on {failed}"),
    };
    let still = still(sides);
    let title = match &still {
        Some((number, _)) if sides.len() > 1 => format!("{title}; r{number} still serves on both"),
        Some(_) | None => title,
    };
    page.text.push_str(&format!("\n{title}\n"));
    if let Some(cause) = cause::of(sides) {
        page.text.push('\n');
        page.row("", &format!("{service} {cause}"));
    }
    let common = common(sides);
    if !common.is_empty() {
        page.text.push('\n');
        page.printed(&common);
        let on = clouds(&|_| true);
        page.row("", &format!("(the same on {on})"));
    }
    page.changes(sides);
    for side in sides {
        page.side(side, &common);
    }
    page.text.push('\n');
    for hint in shared.into_iter().filter(|it| !is_next(it, typed)) {
        let words = hint.strip_prefix(HINT).unwrap_or(hint);
        page.row("hint", words.trim_start());
    }
    match still.filter(|_| sides.len() > 1) {
        Some((number, revisions)) => {
            let revisions = revisions.join("; ");
            let on = clouds(&|_| true);
            page.row("now", &format!("{on}: still serve r{number} ({revisions})"));
        }
        None => {
            let labels = std::iter::once("now").chain(std::iter::repeat(""));
            for (label, side) in labels.zip(sides) {
                page.row(label, &serves(side, service));
            }
        }
    }
    let labels = std::iter::once("next").chain(std::iter::repeat(""));
    let next = labels.zip(typed.next).collect::<Vec<_>>();
    for (label, command) in next
        .into_iter()
        .chain(typed.whole.iter().map(|it| ("all", it)))
    {
        // Never broken: it is to be pasted.
        let line = format!("{label:<INDENT$}{command}");
        let line = match line.split_once("    #") {
            Some((command, _)) if line.chars().count() > width => command,
            _ => &line,
        };
        page.text.push_str(&format!("{line}\n"));
    }
    page.text
}

struct Page {
    text: String,
    room: usize,
    /// Lines of errors that are told elsewhere, once for all.
    untold: Vec<String>,
}

impl Page {
    /// Text below a label; no word of it begins a line.
    fn row(&mut self, label: &str, text: &str) {
        for (at, line) in wrap(&foreign::words(text).replace('\n', " "), self.room)
            .into_iter()
            .enumerate()
        {
            let label = if at == 0 { label } else { "" };
            self.text.push_str(&format!("{label:<INDENT$}{line}\n"));
        }
    }

    /// Lines of the app, verbatim but for what moves the cursor; what it said over and over, once.
    fn printed(&mut self, lines: &[String]) {
        for told in folded(lines) {
            let line = match told {
                Told::Line(line) => foreign::line(line),
                Told::More(count) => format!("... {count} more like it"),
            };
            self.text.push_str(&format!("{:INDENT$}│ {line}\n", ""));
        }
    }

    fn changes(&mut self, sides: &[Side<'_>]) {
        let mut told: Vec<(u64, &[Fact], Vec<String>)> = Vec::new();
        for side in sides {
            let Some(Changed {
                since: release,
                facts,
            }) = &side.changed
            else {
                continue;
            };
            let same = |it: &&mut (u64, &[Fact], Vec<String>)| it.0 == *release && it.1 == facts;
            match told.iter_mut().find(same) {
                Some((.., clouds)) => clouds.push(side.name()),
                None => told.push((*release, facts, vec![side.name()])),
            }
        }
        for (release, facts, clouds) in told {
            let on = match clouds.len() == sides.len() {
                true => String::new(),
                false => format!(" on {}", list(&clouds)),
            };
            self.text
                .push_str(&format!("\nchanged since r{release} (which serves){on}:\n"));
            if facts.is_empty() {
                self.row("", "nothing that the manifest says");
            }
            let column = facts.iter().map(|it| it.what.chars().count()).max();
            let column = column.unwrap_or(0).min(WHAT);
            for fact in facts {
                let what = foreign::one_line(&fact.what);
                let how = how(fact, self.room.saturating_sub(column + 2));
                let line = format!("{:INDENT$}{what:<column$}  {how}\n", "");
                self.text.push_str(&line);
            }
        }
    }

    fn side(&mut self, side: &Side<'_>, common: &[String]) {
        let autopsy = &side.autopsy;
        let printed = side.printed();
        let own: Vec<String> = match common.is_empty() {
            true => printed.clone(),
            false => printed
                .iter()
                .filter(|it| !common.contains(it))
                .cloned()
                .collect(),
        };
        if side.failed.is_empty() && autopsy.is_empty() && own.is_empty() {
            return;
        }
        self.text.push('\n');
        let mut label = side.name();
        for (at, lines) in &side.failed {
            let time = at.strftime("%H:%M:%S");
            for (row, line) in lines.iter().enumerate() {
                let line = match row {
                    0 => {
                        let words = without_events(line, autopsy);
                        let words = brief(&without_address(&words));
                        // What failed before says when.
                        match words.contains(" failed at ") {
                            true => words,
                            false => format!("{words} (at {time} UTC)"),
                        }
                    }
                    _ if self.untold.contains(line) => continue,
                    _ => line.clone(),
                };
                self.row(&std::mem::take(&mut label), &line);
            }
        }
        let told: Vec<&String> = side.failed.iter().flat_map(|(_, lines)| lines).collect();
        for words in &autopsy.words {
            let words = brief(words);
            // The cause of a revision is often the words of its container's failure again.
            let said = without_code(&words);
            if !told.iter().any(|it| it.contains(&said)) {
                self.row(&std::mem::take(&mut label), &words);
            }
        }
        for line in stopped(autopsy) {
            self.row(&std::mem::take(&mut label), &line);
        }
        for target in &autopsy.targets {
            self.row(&std::mem::take(&mut label), &target.to_string());
        }
        if let (Some(check), true) = (side.check, side.is_unhealthy()) {
            let line = format!("check: {}", quoted(check, side.cloud));
            self.row(&std::mem::take(&mut label), &line);
        }
        let nothing =
            autopsy.stopped.is_empty() && printed.is_empty() && autopsy.targets.is_empty();
        if nothing {
            for event in autopsy.events.iter().take(EVENTS) {
                self.row(&std::mem::take(&mut label), &format!("event: {event}"));
            }
        }
        if !own.is_empty() {
            if !label.is_empty() {
                self.text.push_str(&format!("{label}\n"));
            }
            self.printed(&own);
        }
    }
}

/// The lines that every cloud's app printed, where one cloud has no other ones.
fn common(sides: &[Side<'_>]) -> Vec<String> {
    let printed: Vec<Vec<String>> = sides.iter().map(Side::printed).collect();
    let Some(shortest) = printed.iter().min_by_key(|it| it.len()) else {
        return Vec::new();
    };
    let everywhere = |line: &String| printed.iter().all(|it| it.contains(line));
    match sides.len() > 1 && shortest.iter().all(everywhere) {
        true => shortest.clone(),
        false => Vec::new(),
    }
}

/// "failed: ADDRESS failed: why" without what the label says already: whose it is, and on which
/// cloud.
fn without_address(message: &str) -> String {
    let (heading, words) = message.split_once(": ").unwrap_or(("", message));
    match words.split_once(" failed: ") {
        Some((address, why)) if address.contains('/') && !address.contains(' ') => {
            format!("{heading}: {why}")
        }
        _ => message.to_owned(),
    }
}

/// The instances that ended, those together that ended in the same way.
fn stopped(autopsy: &Autopsy) -> Vec<String> {
    let mut ends: Vec<(String, usize, Option<Timestamp>)> = Vec::new();
    for instance in &autopsy.stopped {
        let words = instance.to_string();
        match ends.iter_mut().find(|(same, ..)| *same == words) {
            Some((_, count, _)) => *count += 1,
            None => ends.push((words, 1, instance.at)),
        }
    }
    let line = |(words, count, at): (String, usize, Option<Timestamp>)| {
        let at = at.map_or_else(String::new, |at| {
            format!(" (at {} UTC)", at.strftime("%H:%M:%S"))
        });
        match count {
            1 => format!("{words}{at}"),
            count => format!("{words}, {count} times{}", at.replace("(at", "(last at")),
        }
    };
    ends.into_iter().map(line).collect()
}

/// `CMD /app/check, every 5s, 3 failures`, or the path.
fn quoted(check: &HealthSpec, cloud: Option<CloudName>) -> String {
    let what = match cloud {
        Some(CloudName::Aws) if !check.command.is_empty() => check.command.join(" "),
        _ => format!("GET {}", check.path),
    };
    let (interval, timeout) = (check.interval.as_secs(), check.timeout.as_secs());
    format!(
        "{what}, every {interval}s for at most {timeout}s, {} failures make it unhealthy",
        check.retries
    )
}

/// The one release that serves everything on every side, with its revisions.
fn still(sides: &[Side<'_>]) -> Option<(u64, Vec<String>)> {
    let all = sides.iter().map(|side| match side.serving.as_slice() {
        [(revision, 100, Some(number))] => Some((*number, &revision.0)),
        _ => None,
    });
    let all: Vec<(u64, &String)> = all.collect::<Option<_>>()?;
    let (number, _) = all.first()?;
    let revision = |name: &str| foreign::one_line(name.rsplit('/').next().unwrap_or_default());
    let revisions = all.iter().map(|(_, name)| revision(name)).collect();
    let alike = all.iter().all(|(other, _)| other == number);
    alike.then_some((*number, revisions))
}

fn serves(side: &Side<'_>, service: &str) -> String {
    let cloud = side.name();
    let shares: BTreeSet<String> = side
        .serving
        .iter()
        .map(|(revision, share, release)| {
            let revision = foreign::one_line(revision.0.rsplit('/').next().unwrap_or_default());
            match release {
                Some(number) => format!("r{number} ({revision}, {share} %)"),
                None => format!("{revision} ({share} %)"),
            }
        })
        .collect();
    match shares.is_empty() {
        true => format!("{cloud}: nothing serves as {}", foreign::one_line(service)),
        false => {
            let shares: Vec<String> = shares.into_iter().collect();
            format!("{cloud}: still serves {}", list(&shares))
        }
    }
}

#[cfg(test)]
mod tests;
