//! Histories that nobody thought of: random commands on both clouds, killed at random entries of
//! the ledger, or with a call that fails or loses its reply, and typed again. After each one the
//! program is asked what serves, and a model that knows neither program nor cloud says what ought
//! to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deployer::Exit;
use deployer_sandbox::runner::{Behaviour, Purpose};
use serde_json::Value;

use crate::clouds;
use crate::in_process::calls::Fault;
use crate::in_process::ledger::Crash;
use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::in_process::time::VirtualTime;
use crate::model::{Back, Content, Model};
use crate::scenario::{LEASE_ENDS, Point, says_that_it_failed};

/// The versions that can serve, and the one that never does.
const GOOD: [Content; 3] = [1, 2, 3];
const BAD: Content = 4;
const CLOUDS: [&str; 2] = ["aws", "gcp"];
const COMMANDS: usize = 12;
/// How often one command is disturbed at most.
const TIMES: usize = 2;
/// Where in a command a kill or a fault may fall; a shorter one ends undisturbed.
const ENTRIES: usize = 60;
const CALLS: usize = 150;

/// What is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Apply(Content),
    ReleaseHold(Content),
    Only(Content),
    Rollback,
    Destroy,
}

/// A command and the clouds that it is for: one, or `all`.
#[derive(Clone, Copy, Debug)]
struct Typed {
    command: Command,
    cloud: &'static str,
}

impl Typed {
    fn words(self) -> &'static [&'static str] {
        match self.command {
            Command::Apply(_) => &["apply", "--yes", "--no-verify"],
            Command::ReleaseHold(_) => &["apply", "--yes", "--no-verify", "--release-hold"],
            Command::Only(_) => &["apply", "--yes", "--no-verify", "--only", "idp"],
            Command::Rollback => &["rollback", "idp", "--yes", "--no-verify"],
            Command::Destroy => &["destroy", "--yes", "--allow-data-loss", "all"],
        }
    }

    fn clouds(self) -> impl Iterator<Item = &'static str> {
        let named = move |cloud: &&str| self.cloud == "all" || self.cloud == *cloud;
        CLOUDS.into_iter().filter(named)
    }
}

/// The model of each cloud.
type Models = BTreeMap<&'static str, Model>;

/// What ought to come of a command.
struct Expected {
    models: Models,
    /// How it may end.
    exits: Vec<Exit>,
}

/// Tries one history; `Err` says what is wrong, with everything that was typed. Gives how many
/// commands were typed.
pub fn attempt(seed: u64) -> Result<usize, String> {
    let time = VirtualTime::start();
    time.run(async {
        let stage = Stage::set(&time).await;
        let mut history = History {
            random: fastrand::Rng::with_seed(seed),
            stage: &stage,
            more_services: usize::from(seed % 2 == 1),
            models: CLOUDS.map(|cloud| (cloud, Model::default())).into(),
            destroyed: BTreeSet::new(),
            failed: BTreeSet::new(),
            typed: Vec::new(),
            said: String::new(),
        };
        let outcome = history.play().await;
        let (typed, said) = (history.typed, history.said);
        stage.clear().await;
        match outcome {
            Ok(()) => Ok(typed.len()),
            Err(why) => Err(format!("{}\n  {why}\n{said}", typed.join("\n"))),
        }
    })
}

struct History<'a> {
    random: fastrand::Rng,
    stage: &'a Stage,
    more_services: usize,
    models: Models,
    /// Where a destroy ran: what was migrated before may have been of another database.
    destroyed: BTreeSet<&'static str>,
    /// Where what was applied last never came up: Cloud Run keeps it as the wanted one, and
    /// `status` says so.
    failed: BTreeSet<&'static str>,
    /// What was typed, and how it ended, for who reads a failure.
    typed: Vec<String>,
    /// What the last command said.
    said: String,
}

impl History<'_> {
    async fn play(&mut self) -> Result<(), String> {
        for version in [3, 4] {
            self.stage.write_image(version, "amd64");
        }
        let bad = self.stage.digest(BAD);
        self.stage.behave(move |started| Behaviour {
            healthy: started.digest != bad || started.purpose != Purpose::Serve,
            ..Behaviour::usual(started.purpose)
        });
        self.want(GOOD[0]);
        for _ in 0..COMMANDS {
            let typed = self.choose();
            let expected = self.expect(typed);
            self.carry_out(typed, &expected).await?;
            self.models = expected.models;
            self.note_failures(typed);
            for cloud in typed.clouds() {
                self.check(cloud).await?;
            }
            self.check_migrations()?;
        }
        Ok(())
    }

    fn want(&self, version: Content) {
        self.stage.want(&Wanted {
            version,
            more_services: self.more_services,
            ..Wanted::FIRST
        });
    }

    fn note_failures(&mut self, typed: Typed) {
        for cloud in typed.clouds() {
            match typed.command {
                Command::Apply(BAD) | Command::ReleaseHold(BAD) | Command::Only(BAD) => {
                    self.failed.insert(cloud)
                }
                // What is held, and a rollback that is refused, leave it there.
                Command::Apply(content) | Command::Only(content)
                    if self.models[cloud].serving() != Some(content) =>
                {
                    false
                }
                Command::Apply(_)
                | Command::ReleaseHold(_)
                | Command::Only(_)
                | Command::Destroy => self.failed.remove(cloud),
                Command::Rollback => false,
            };
        }
    }

    fn choose(&mut self) -> Typed {
        let good = GOOD[self.random.usize(..GOOD.len())];
        let cloud = ["all", "all", "aws", "gcp"][self.random.usize(..4)];
        let typed = |command: Command| Typed { command, cloud };
        // The code alone of what was never applied is nothing that anybody types.
        let mut clouds = typed(Command::Rollback).clouds();
        let runs = clouds.all(|cloud| self.models[cloud].serving().is_some());
        typed(match self.random.u32(..20) {
            6..=7 if runs => Command::Only(good),
            0..=8 => Command::Apply(good),
            9 => Command::ReleaseHold(good),
            10..=11 => Command::Apply(BAD),
            12..=18 => Command::Rollback,
            _ => Command::Destroy,
        })
    }

    /// How the next try is disturbed.
    fn disturbance(&mut self) -> Point {
        let entry = self.random.usize(1..=ENTRIES);
        let call = self.random.usize(1..=CALLS);
        match self.random.u32(..8) {
            0 => Point::Write(Crash::Before(entry)),
            1 => Point::Write(Crash::After(entry)),
            2 => Point::Call(call, Fault::BeforeEffect),
            3 => Point::Call(call, Fault::ReplyLost),
            4 => Point::Write(Crash::Fails(entry)),
            5 => Point::Write(Crash::ReplyLost(entry)),
            _ => Point::Undisturbed,
        }
    }

    fn expect(&self, typed: Typed) -> Expected {
        let (mut models, mut exits) = (self.models.clone(), Vec::new());
        match typed.command {
            Command::Apply(content) | Command::ReleaseHold(content) | Command::Only(content) => {
                for cloud in typed.clouds() {
                    let model = models.get_mut(cloud).expect("both are modelled");
                    exits.push(Exit::Success);
                    if content == BAD {
                        exits.extend([Exit::RolledBack, Exit::DeploymentFailed]);
                    } else if model.holds(content)
                        && !matches!(typed.command, Command::ReleaseHold(_))
                    {
                        exits.push(Exit::Held);
                    } else {
                        model.apply(content);
                    }
                }
                match exits.iter().any(|exit| *exit != Exit::Success) {
                    true => exits.retain(|exit| *exit != Exit::Success),
                    false => exits.dedup(),
                }
            }
            Command::Destroy => {
                exits.push(Exit::Success);
                for cloud in typed.clouds() {
                    models.get_mut(cloud).expect("both are modelled").destroy();
                }
            }
            Command::Rollback => exits = roll_back(&mut models, typed),
        }
        Expected { models, exits }
    }

    /// Types the command, and the same words again after each time that it was disturbed.
    async fn carry_out(&mut self, typed: Typed, expected: &Expected) -> Result<(), String> {
        if let Command::Apply(version) | Command::ReleaseHold(version) | Command::Only(version) =
            typed.command
        {
            self.want(version);
        }
        for times in 0..=TIMES {
            let point = match times < TIMES {
                true => self.disturbance(),
                false => Point::Undisturbed,
            };
            let (fault, crash) = point.parts();
            self.stage.calls.arm(fault);
            self.stage.ledger.arm(crash);
            let (ended, said) = self.stage.run(typed.words(), typed.cloud).await;
            self.stage.calls.arm(None);
            self.stage.ledger.arm(None);
            self.typed.push(format!("  {typed:?} {point:?}: {ended:?}"));
            self.said.clone_from(&said);
            match ended {
                Ended::Exit(exit) if expected.exits.contains(&exit) => return Ok(()),
                Ended::Exit(_) if point != Point::Undisturbed && says_that_it_failed(&said) => {}
                Ended::Exit(exit) => {
                    return Err(format!("it ended with {exit:?}, not {:?}:", expected.exits));
                }
                Ended::Killed => self.stage.time.pass(LEASE_ENDS).await,
            }
            for cloud in typed.clouds() {
                self.check_words(cloud).await?;
            }
            // Whoever was told that everything is as it was asked for types nothing more.
            if typed.command == Command::Rollback && self.is_told(typed, &said) {
                return Ok(());
            }
        }
        unreachable!("the last try is not disturbed")
    }

    /// Whether the command said of every cloud what serves now.
    fn is_told(&self, typed: Typed, said: &str) -> bool {
        typed.clouds().all(|cloud| {
            let mut parts = said
                .lines()
                .flat_map(|line| line.split(" serves on ").skip(1));
            parts.any(|clouds| clouds.split([' ', ',']).any(|it| it == cloud))
        })
    }

    /// What serves, what is on hold, and what the program says of it.
    async fn check(&self, cloud: &'static str) -> Result<(), String> {
        let model = &self.models[cloud];
        let mut serving = clouds::serving(self.stage, cloud, "idp").await;
        // ECS takes its time to go back from what never came up.
        for _ in 0..20 {
            if serving.is_some() || model.serving().is_none() {
                break;
            }
            self.stage.time.pass(Duration::from_secs(60)).await;
            serving = clouds::serving(self.stage, cloud, "idp").await;
        }
        let wanted = model.serving().map(|version| self.stage.digest(version));
        let right = match (&serving, &wanted) {
            (Some(image), Some(digest)) => image.ends_with(digest.as_str()),
            (None, None) => true,
            _ => false,
        };
        if !right {
            return Err(format!(
                "{cloud} serves {serving:?}, not version {:?}",
                model.serving()
            ));
        }
        let told = self.check_words(cloud).await?;
        if wanted.is_some() && told.serves.is_none() {
            return Err(format!("{cloud}: `releases` does not say what serves"));
        }
        let held: BTreeSet<Content> = (1..=BAD).filter(|it| model.holds(*it)).collect();
        if told.held != held {
            return Err(format!(
                "{cloud}: on hold are versions {:?}, not {held:?}",
                told.held
            ));
        }
        let is_well = told.status == Exit::Success || self.failed.contains(cloud);
        match wanted.is_some() && !is_well {
            true => Err(format!("{cloud}: `status` ends with {:?}", told.status)),
            false => Ok(()),
        }
    }

    /// Whatever was killed: what the program says serves does serve, and `status` is content only
    /// where the ledger is right.
    async fn check_words(&self, cloud: &'static str) -> Result<Told, String> {
        let serving = clouds::serving(self.stage, cloud, "idp").await;
        let told = self.ask(cloud).await?;
        if let (Some(image), Some(serves)) = (&serving, &told.serves)
            && !same_digest(image, serves)
        {
            return Err(format!(
                "{cloud}: `releases` says that {serves} serves, and {image} does"
            ));
        }
        if let (Some(image), Some(last), Exit::Success) = (&serving, &told.last, told.status)
            && !same_digest(image, last)
        {
            return Err(format!(
                "{cloud}: `status` is content, the last release is {last}, and {image} serves"
            ));
        }
        Ok(told)
    }

    async fn ask(&self, cloud: &str) -> Result<Told, String> {
        let (ended, said) = self.stage.run(&["releases", "idp", "--json"], cloud).await;
        let documents: Value = serde_json::from_str(&said)
            .map_err(|_| format!("{cloud}: `releases` ended with {ended:?}:\n{said}"))?;
        let listed = &documents[0];
        let releases = listed["releases"].as_array().cloned().unwrap_or_default();
        let image = |number: &Value| {
            let found = releases.iter().find(|it| it["number"] == *number);
            found.and_then(|it| it["image"].as_str()).map(str::to_owned)
        };
        let version = |image: &str| {
            let mut all = 1..=BAD;
            all.find(|version| image.ends_with(&self.stage.digest(*version)))
        };
        let holds = listed["holds"].as_array().cloned().unwrap_or_default();
        let rejected = holds.iter().filter_map(|hold| image(&hold["rejected"]));
        let held = rejected.filter_map(|image| version(&image)).collect();
        let (status, said) = self.stage.run(&["status", "idp", "--json"], cloud).await;
        let Ended::Exit(status) = status else {
            return Err(format!("{cloud}: `status` was killed:\n{said}"));
        };
        Ok(Told {
            serves: image(&listed["serves"]),
            last: releases.first().and_then(|it| image(&it["number"])),
            held,
            status,
        })
    }

    /// Every container that served was given a database that its own image had migrated; until a
    /// destroy, once.
    fn check_migrations(&mut self) -> Result<(), String> {
        let last = self.typed.last().cloned().unwrap_or_default();
        if last.contains("Destroy") {
            self.destroyed.extend(CLOUDS);
        }
        let started = self.stage.containers.started();
        let of = |purpose: Purpose| {
            let started = started.iter().filter(move |it| it.purpose == purpose);
            started.map(|it| (it.digest.clone(), it.env.get("DATABASE_URL").cloned()))
        };
        let served: BTreeSet<_> = of(Purpose::Serve)
            .filter(|(_, url)| url.is_some())
            .collect();
        for served in served {
            let count = of(Purpose::Finish).filter(|it| *it == served).count();
            if count == 0 || (count > 1 && self.destroyed.is_empty()) {
                return Err(format!("{count} migrations of {served:?}"));
            }
        }
        Ok(())
    }
}

/// What the program says of one service on one cloud.
struct Told {
    /// The image of the release that it says serves.
    serves: Option<String>,
    /// The image of the last release.
    last: Option<String>,
    /// The versions that are on hold.
    held: BTreeSet<Content>,
    /// How `status` ends.
    status: Exit,
}

fn same_digest(one: &str, other: &str) -> bool {
    one.rsplit('@').next() == other.rsplit('@').next()
}

/// Where every cloud goes back to one content, it does; else nothing is changed.
fn roll_back(models: &mut Models, typed: Typed) -> Vec<Exit> {
    let backs: Vec<(&str, Back)> = typed
        .clouds()
        .map(|cloud| (cloud, models[cloud].back()))
        .collect();
    let mut contents = BTreeSet::new();
    for (cloud, back) in &backs {
        match back {
            Back::To(at) => contents.insert(models[cloud].content(*at)),
            // One of several words, whichever cloud comes first.
            Back::Nothing | Back::Gone => return vec![Exit::Input, Exit::Failure],
        };
    }
    if contents.len() > 1 {
        return vec![Exit::Input];
    }
    for (cloud, back) in backs {
        if let Back::To(at) = back {
            let model = models.get_mut(cloud).expect("both are modelled");
            model.roll_back(at);
        }
    }
    vec![Exit::Success]
}
