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
        let mut free = if folds { free } else { usize::MAX };
        for (cloud, row) in &self.rows {
            if !unfolded(row) {
                continue;
            }
            if row.failed.is_empty() {
                if free == 0 {
                    continue;
                }
                free -= 1;
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
mod tests {
    use deployer_core::address::Target;
    use deployer_core::node::{Action, Effect, Sort};
    use deployer_core::plan::Change;

    use super::*;

    fn target(cloud: CloudName) -> Target {
        Target {
            cloud,
            account: "1".into(),
            region: "here".into(),
            sandbox: true,
        }
    }

    fn address(cloud: CloudName, kind: &str, name: &str) -> Address {
        Address::new(&target(cloud), kind, format!("shop-staging-{name}"))
    }

    fn plan(nodes: Vec<Address>) -> Plan {
        let change = |address: Address| Change {
            address,
            sort: Sort::Resource,
            action: Action::Create,
            reason: String::new(),
            changes: Vec::new(),
            effect: Effect::InPlace,
            settling: None,
            drift: Vec::new(),
            needs: Vec::new(),
            replaces: Vec::new(),
        };
        Plan {
            app: "shop".into(),
            environment: "staging".into(),
            targets: CloudName::ALL.map(target).to_vec(),
            changes: nodes.into_iter().map(change).collect(),
            notes: Vec::new(),
            fingerprint: String::new(),
        }
    }

    const SIZE: (usize, usize) = (80, 24);

    #[test]
    fn each_thing_has_one_line_in_a_fixed_order_whatever_happens() {
        use CloudName::{Aws, Gcp};
        let database = address(Aws, "rds.instance", "main");
        let service = address(Aws, "ecs.service", "web");
        let other = address(Gcp, "run.service", "web");
        let cache = address(Gcp, "redis.instance", "sessions");
        let nodes = vec![
            service.clone(),
            database.clone(),
            other.clone(),
            cache.clone(),
        ];
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut board = Board::of(&plan(nodes), &Scene::default(), Some(12), began);
        board.start(&database, "create", began);
        board.note(&database, "RDS says `creating`");
        board.start(&cache, "create", began);
        board.end(&cache, Ended::Well, at(39));
        board.start(&other, "create", at(40));
        board.end(&other, Ended::Badly("REVISION_FAILED".into()), at(62));
        insta::assert_snapshot!(board.render(at(64), SIZE), @r"
    shop · staging · run 12                                             2 of 4 · 64s
    aws  ⠇ main      RDS says `creating`                                         64s
         · web       waits
    gcp  ✓ sessions  done                                                        39s
         ✗ web       REVISION_FAILED                                             22s
    Ctrl-C stops after what is in flight.
    ");
        board.stop();
        let text = board.render(at(65), SIZE);
        assert!(
            text.starts_with("shop · staging · run 12 · STOPPING "),
            "{text}"
        );
        assert!(
            text.contains("waiting for aws main. Again: leave at once."),
            "{text}"
        );
    }

    #[test]
    fn what_waits_says_for_what() {
        use CloudName::{Aws, Gcp};
        let database = address(Aws, "rds.instance", "main");
        let cache = address(Gcp, "redis.instance", "sessions");
        let nodes = ["web", "worker"].map(|it| address(Aws, "ecs.service", it));
        let all = [&[database.clone(), cache.clone()], nodes.as_slice()].concat();
        let mut plan = plan(all);
        for change in &mut plan.changes {
            if change.address == nodes[0] {
                change.needs = vec![database.clone()];
            } else if change.address == nodes[1] {
                change.needs = vec![database.clone(), cache.clone(), nodes[0].clone()];
            }
        }
        let began = Instant::now();
        let mut board = Board::of(&plan, &Scene::default(), None, began);
        board.start(&database, "create", began);
        let text = board.render(began, SIZE);
        assert!(text.contains("web       waits for main\n"), "{text}");
        assert!(
            text.contains("worker    waits for main and 2 more"),
            "{text}"
        );
        board.end(&database, Ended::Well, began);
        let text = board.render(began, SIZE);
        assert!(
            text.contains("worker    waits for sessions and web"),
            "{text}"
        );
    }

    #[test]
    fn at_sixty_columns_the_news_stays_and_nothing_is_wider() {
        let database = address(CloudName::Aws, "rds.instance", "main");
        let began = Instant::now();
        let mut board = Board::of(
            &plan(vec![database.clone()]),
            &Scene::default(),
            Some(12),
            began,
        );
        board.start(&database, "create", began);
        board.note(&database, &"1 of 1 tasks run, not healthy ".repeat(9));
        let text = board.render(began + Duration::from_secs(62), (60, 24));
        assert!(text.lines().all(|it| it.chars().count() <= 60), "{text}");
        assert!(
            text.contains("1 of 1 tasks run") && text.contains(" 62s\n"),
            "{text}"
        );
    }

    #[test]
    fn what_usually_takes_long_says_how_long_where_there_is_room() {
        let database = address(CloudName::Aws, "rds.instance", "main");
        let group = address(CloudName::Aws, "rds.subnet_group", "main");
        let began = Instant::now();
        let nodes = vec![group.clone(), database.clone()];
        let scene = Scene {
            usual: BTreeMap::from([(database.clone(), 465), (group.clone(), 2)]),
            ..Scene::default()
        };
        let mut board = Board::of(&plan(nodes), &scene, None, began);
        board.start(&group, "create", began);
        let later = began + Duration::from_secs(2);
        assert!(
            board
                .render(later, SIZE)
                .lines()
                .any(|it| it.ends_with(" 2s"))
        );
        board.end(&group, Ended::Well, later);
        board.start(&database, "create", later);
        board.note(&database, "RDS says `creating`");
        let later = later + Duration::from_secs(62);
        insta::assert_snapshot!(board.render(later, SIZE), @r"
    shop · staging                                                      1 of 2 · 64s
    aws  ⠦ main  RDS says `creating`                                 62s of about 8m
    Ctrl-C stops after what is in flight.
    ");
        let narrow = board.render(later, (60, 24));
        assert!(
            narrow.contains(" 62s\n") && !narrow.contains("about"),
            "{narrow}"
        );
        board.end(&database, Ended::Well, later);
        assert!(
            board.render(later, SIZE).ends_with(" 64s"),
            "what ended is over"
        );
    }

    #[test]
    fn more_than_the_terminal_has_folds_but_never_what_failed_or_runs() {
        let nodes: Vec<Address> = (0..30)
            .map(|it| address(CloudName::Aws, "ecs.service", &format!("svc-{it:02}")))
            .collect();
        let now = Instant::now();
        let mut board = Board::of(&plan(nodes.clone()), &Scene::default(), None, now);
        for node in &nodes[..22] {
            board.start(node, "update", now);
            board.end(node, Ended::Well, now);
        }
        board.start(&nodes[22], "update", now);
        board.end(&nodes[22], Ended::Badly("exited with 1".into()), now);
        board.start(&nodes[23], "update", now);
        let text = board.render(now, (80, 12));
        assert!(text.lines().count() <= 12, "{text}");
        for words in ["✗ svc-22", "svc-23", "22 done", "6 waiting"] {
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn what_runs_beyond_the_screen_is_counted_and_what_failed_is_seen() {
        let nodes: Vec<Address> = (0..30)
            .map(|it| address(CloudName::Aws, "ecs.service", &format!("svc-{it:02}")))
            .collect();
        let now = Instant::now();
        let mut board = Board::of(&plan(nodes.clone()), &Scene::default(), None, now);
        for node in &nodes {
            board.start(node, "update", now);
        }
        board.end(&nodes[29], Ended::Badly("denied".into()), now);
        let text = board.render(now, (80, 12));
        assert!(text.lines().count() <= 12, "{text}");
        for words in ["✗ svc-29", "svc-00", "22 more running"] {
            assert!(text.contains(words), "{text}");
        }
    }
}
