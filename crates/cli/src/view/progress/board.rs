//! A run on a terminal: a head line, and one line for each service, database and cache on each
//! cloud, in a fixed order; pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use deployer_core::address::{Address, CloudName};
use deployer_core::plan::{Change, Plan};

use crate::duration;
use crate::scene::Scene;
use crate::view::foreign;
use crate::view::plan::{self, Thing, cut};

use super::doing;

/// What turns while something is under way.
const SPINNER: [&str; 8] = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠇", "⠏", "⠹"];
/// The longest name in a column of its own, in characters.
const NAME: usize = 20;

/// What usually takes less is over before anybody reads how long it takes.
const LONG: Duration = Duration::from_secs(10);
/// On a screen of fewer rows what is under way is worth more than what Ctrl-C does.
const ROOMY: usize = 12;
/// What Ctrl-C does.
const HINT: &str = "Ctrl-C stops after what is in flight.";
/// On a narrower terminal the news is worth more than how long it usually takes, in columns.
const WIDE: usize = 72;

/// What is done on one cloud to one thing.
#[derive(Debug, Default)]
struct Row {
    name: String,
    /// The nodes to which something is done.
    nodes: BTreeSet<Address>,
    /// What they usually take, where that is known.
    usual: BTreeMap<Address, Duration>,
    ended: BTreeSet<Address>,
    /// What is under way, with since when and the news.
    running: BTreeMap<Address, (Instant, String)>,
    /// What failed, in words. Never folded.
    failed: Vec<String>,
    /// What its nodes come after, of other rows.
    needs: BTreeSet<Address>,
    /// What was not started, or not waited for.
    left: Option<&'static str>,
    unstarted: usize,
    began: Option<Instant>,
    took: Option<Duration>,
}

/// Everything that a run does.
#[derive(Debug)]
pub struct Board {
    title: String,
    began: Instant,
    rows: Vec<(CloudName, Row)>,
    /// What is called so in a cloud, by the manifest's name.
    called: BTreeMap<(CloudName, String), String>,
    stopping: bool,
}

impl Board {
    /// A row for each thing of a plan on each cloud where something is done, in the plan's order.
    /// `run` is the run's number, where every target has the same.
    pub fn of(plan: &Plan, scene: &Scene, run: Option<u64>, now: Instant) -> Self {
        let things = plan::things(plan, scene);
        let mut rows = Vec::new();
        for target in &plan.targets {
            for thing in &things {
                let changed: Vec<&Change> = thing.changed(target.cloud).collect();
                let needs = changed.iter().flat_map(|it| it.needs.iter().cloned());
                let needs: BTreeSet<Address> = needs.collect();
                let nodes = changed.iter().flat_map(|it| it.addresses().cloned());
                let nodes: BTreeSet<Address> = nodes.collect();
                if !nodes.is_empty() {
                    let alike = |it: &&Thing<'_>| it.name == thing.name;
                    let name = match (thing.kind, things.iter().filter(alike).count()) {
                        (Some(kind), 2..) => format!("{} ({})", thing.name, kind.word()),
                        _ => thing.name.clone(),
                    };
                    let usual = nodes.iter().filter_map(|it| {
                        let takes = Duration::from_secs(*scene.usual.get(it)?);
                        (takes >= LONG).then(|| (it.clone(), takes))
                    });
                    let row = Row {
                        name,
                        usual: usual.collect(),
                        needs: needs.difference(&nodes).cloned().collect(),
                        nodes,
                        ..Row::default()
                    };
                    rows.push((target.cloud, row));
                }
            }
        }
        Self {
            title: match run {
                Some(run) => format!("{} · {} · run {run}", plan.app, plan.environment),
                None => format!("{} · {}", plan.app, plan.environment),
            },
            began: now,
            rows,
            called: scene.called(),
            stopping: false,
        }
    }

    /// Whether nothing is planned.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What is under way is awaited, and nothing else is begun.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// The row of a node; one of its own for what stands in no plan.
    fn row(&mut self, address: &Address) -> &mut Row {
        let known = |(_, row): &(CloudName, Row)| row.nodes.contains(address);
        let at = match self.rows.iter().position(known) {
            Some(at) => at,
            None => {
                let called = self.called.get(&(address.cloud, address.name.clone()));
                let name = called.unwrap_or(&address.kind).clone();
                let same =
                    |(cloud, row): &(CloudName, Row)| *cloud == address.cloud && row.name == name;
                self.rows.iter().position(same).unwrap_or_else(|| {
                    let row = Row {
                        name,
                        ..Row::default()
                    };
                    self.rows.push((address.cloud, row));
                    self.rows.len() - 1
                })
            }
        };
        let row = &mut self.rows[at].1;
        row.nodes.insert(address.clone());
        row
    }

    /// A node begins.
    pub fn start(&mut self, address: &Address, verb: &str, now: Instant) {
        let news = doing(address, verb);
        let row = self.row(address);
        row.began.get_or_insert(now);
        row.running.insert(address.clone(), (now, news));
    }

    /// A node says what it does or waits for.
    pub fn note(&mut self, address: &Address, line: &str) {
        if let Some((_, news)) = self.row(address).running.get_mut(address) {
            line.clone_into(news);
        }
    }

    /// A node ended.
    pub fn end(&mut self, address: &Address, how: Ended, now: Instant) {
        let row = self.row(address);
        row.running.remove(address);
        row.ended.insert(address.clone());
        match how {
            Ended::Well => {}
            Ended::Left(words) => row.left = Some(words),
            Ended::NotStarted => {
                row.left = Some("not started");
                row.unstarted += 1;
            }
            Ended::Badly(words) => row.failed.push(words),
        }
        if row.ended.len() == row.nodes.len() && row.unstarted == 0 {
            row.took = row.began.map(|began| now - began);
        }
    }

    /// The board in so many columns and rows.
    pub fn render(&self, now: Instant, (width, height): (usize, usize)) -> String {
        let mut lines = vec![self.head(now, width)];
        let running = self.rows.iter().any(|(_, row)| !row.running.is_empty());
        if self.stopping && running {
            lines.push(cut(&self.awaited(), width));
        }
        // A screen that is the last one has no end.
        let hint = running && !self.stopping && (ROOMY..usize::MAX).contains(&height);
        let room = height.saturating_sub(lines.len() + 1 + usize::from(hint));
        let room = room.max(1);
        let folds = self.rows.len() > room;
        let name = self.rows.iter().map(|(_, row)| row.name.chars().count());
        let name = name.max().unwrap_or(0).clamp(4, NAME);
        let mut last = None;
        let mut folded: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, row) in self.rows.iter().filter(|_| folds) {
            if let Some(how) = row.folds() {
                *folded.entry(how).or_default() += 1;
            }
        }
        let unfolded = |row: &Row| !folds || row.folds().is_none();
        let count = |is_failed: bool| {
            let of =
                |(_, row): &&(CloudName, Row)| unfolded(row) && row.failed.is_empty() != is_failed;
            self.rows.iter().filter(of).count()
        };
        let failed = count(true);
        // What failed is always seen; of what runs, as much as there is room for.
        let free = room.saturating_sub(failed + usize::from(folds));
        let beyond = count(false).saturating_sub(free);
        if folds && beyond > 0 {
            *folded.entry("more running").or_default() += beyond;
        }
        let running = self.rows.iter();
        let running = running.filter(|(_, row)| unfolded(row) && row.failed.is_empty());
        let mut free = shares(free, running.map(|(cloud, _)| *cloud));
        for (cloud, row) in &self.rows {
            if !unfolded(row) {
                continue;
            }
            if folds && row.failed.is_empty() {
                match free.get_mut(cloud) {
                    None | Some(0) => continue,
                    Some(free) => *free -= 1,
                }
            }
            let cloud_shown = if last.replace(*cloud) == Some(*cloud) {
                ""
            } else {
                cloud.as_str()
            };
            let waits = || self.waits_for(row);
            lines.push(row.line(cloud_shown, name, now, (width, &waits)));
        }
        if !folded.is_empty() {
            let folded: Vec<String> = folded
                .iter()
                .map(|(how, count)| format!("{count} {how}"))
                .collect();
            lines.push(cut(&format!("     {}", folded.join(", ")), width));
        }
        if hint {
            lines.push(cut(HINT, width));
        }
        lines.join("\n")
    }

    fn head(&self, now: Instant, width: usize) -> String {
        let all: usize = self.rows.iter().map(|(_, row)| row.nodes.len()).sum();
        let ended: usize = self
            .rows
            .iter()
            .map(|(_, row)| row.ended.len() - row.unstarted)
            .sum();
        let took = duration::show(Duration::from_secs((now - self.began).as_secs()));
        let right = format!("{ended} of {all} · {}", took.replace(".0s", "s"));
        let stopping = if self.stopping { " · STOPPING" } else { "" };
        let room = width.saturating_sub(right.chars().count() + 2);
        let title = cut(&format!("{}{stopping}", self.title), room);
        format!("{title:<room$}  {right}")
    }

    /// The rows whose ends a row waits for, in words: `waits for main`.
    fn waits_for(&self, row: &Row) -> String {
        const MOST: usize = 2;
        let holds = |other: &Row| {
            let open = other.nodes.difference(&other.ended);
            open.into_iter().any(|node| row.needs.contains(node))
        };
        let rows = self.rows.iter().filter(|(_, other)| holds(other));
        let names: BTreeSet<&str> = rows.map(|(_, other)| other.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        match names.as_slice() {
            [] => "waits".to_owned(),
            names if names.len() <= MOST => format!("waits for {}", plan::list(names)),
            [first, rest @ ..] => format!("waits for {first} and {} more", rest.len()),
        }
    }

    /// What a run that is to stop still waits for.
    fn awaited(&self) -> String {
        let running = self.rows.iter().filter(|(_, row)| !row.running.is_empty());
        let names: Vec<String> = running
            .map(|(cloud, row)| format!("{cloud} {}", row.name))
            .collect();
        format!(
            "  nothing new starts; waiting for {}. Again: leave at once.",
            names.join(", ")
        )
    }
}

/// How many of its rows each cloud shows where there is room for so many in all: the same for each,
/// and what one does not need for the others.
fn shares(room: usize, rows: impl Iterator<Item = CloudName>) -> BTreeMap<CloudName, usize> {
    let mut waiting: BTreeMap<CloudName, usize> = BTreeMap::new();
    for cloud in rows {
        *waiting.entry(cloud).or_default() += 1;
    }
    let mut shares = BTreeMap::new();
    for _ in 0..room {
        let fewest = waiting.iter().filter(|(_, left)| **left > 0);
        let fewest = fewest.min_by_key(|(cloud, _)| shares.get(*cloud).copied().unwrap_or(0));
        let Some((cloud, _)) = fewest.map(|(cloud, left)| (*cloud, left)) else {
            break;
        };
        *shares.entry(cloud).or_default() += 1;
        *waiting.entry(cloud).or_default() -= 1;
    }
    shares
}

/// How a node ended.
#[derive(Debug)]
pub enum Ended {
    Well,
    /// Not waited for, left to the next run, or put back.
    Left(&'static str),
    NotStarted,
    Badly(String),
}

impl Row {
    /// The word under which it is counted where there are more rows than the terminal has.
    fn folds(&self) -> Option<&'static str> {
        if !self.failed.is_empty() || !self.running.is_empty() {
            None
        } else if self.left.is_some() {
            Some("left")
        } else if self.ended.len() == self.nodes.len() {
            Some("done")
        } else {
            Some("waiting")
        }
    }

    fn line(
        &self,
        cloud: &str,
        name: usize,
        now: Instant,
        (width, waits): (usize, &dyn Fn() -> String),
    ) -> String {
        let turns = |since: Instant| (now - since).as_millis() / 120;
        let newest = self.running.values().max_by_key(|(since, _)| *since);
        let running = self.running.iter();
        let longest = running.map(|(it, (since, _))| (now - *since, it)).max();
        let usual = longest.and_then(|(_, it)| self.usual.get(it));
        let longest = longest.map(|(took, _)| took);
        let (mark, news, time) = match (newest, self.failed.as_slice(), self.folds()) {
            (_, [first, ..], _) => ("✗", first.clone(), self.took),
            (Some((since, news)), [], _) => {
                let turn = usize::try_from(turns(*since)).unwrap_or(0) % SPINNER.len();
                (SPINNER[turn], news.clone(), longest)
            }
            (None, [], Some("left")) => ("·", self.left.unwrap_or_default().to_owned(), self.took),
            (None, [], Some("done")) => ("✓", "done".to_owned(), self.took),
            (None, [], _) => ("·", waits(), None),
        };
        let time = time.map_or_else(String::new, |time| match self.took {
            Some(_) => duration::show(time),
            None => {
                let now = duration::show(Duration::from_secs(time.as_secs())).replace(".0s", "s");
                match usual.filter(|_| width >= WIDE) {
                    Some(usual) => format!("{now} of about {}", duration::about(*usual)),
                    None => now,
                }
            }
        });
        let shown = foreign::one_line(&cut(&self.name, name));
        let start = format!("{cloud:<5}{mark} {shown:<name$}  ");
        let room = width.saturating_sub(start.chars().count() + time.chars().count() + 2);
        let news = cut(&foreign::one_line(&news), room);
        format!("{start}{news:<room$}  {time}")
            .trim_end()
            .to_owned()
    }
}

#[cfg(test)]
mod tests;
