//! Two fake clouds with one-off executions, a record in memory, and a clock that passes only when
//! somebody waits.

// long: one world, with what can befall it

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::super::{Identity, Migration, Whose};
use crate::address::{Address, CloudName, Target};
use crate::capability::{ImageRef, MigrationRecord, MigrationStanding, Rerun, Turn};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fields::Fields;
use crate::graph::Listed;
use crate::graph::{Output, Value};
use crate::jobs::{End, Execution, Jobs, Nth, Started, State, Trail};
use crate::node::{Step, Token, Undone, Watch};
use crate::spec::{MigrateBy, MigrateSpec};

/// What a cloud is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Starts take tokens.
    tokens: bool,
    /// How long it knows what has ended; `None` where that never ends.
    memory: Option<Duration>,
}

impl Cloud {
    /// Like ECS.
    pub const TOKENS: Self = Self {
        tokens: true,
        memory: Some(Duration::from_secs(3600)),
    };
    /// Like Cloud Run.
    pub const COUNTS: Self = Self {
        tokens: false,
        memory: None,
    };
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// In place of the nth note in the ledger.
    Note(usize),
    /// In place of the nth call.
    Before(usize),
    /// Right after the nth call had its effect.
    After(usize),
}

pub struct Virtual(Mutex<Duration>);

impl Virtual {
    pub fn pass(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }

    pub fn seconds(&self) -> u64 {
        self.0.lock().unwrap().as_secs()
    }
}

#[async_trait]
impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + *self.0.lock().unwrap()
    }

    async fn pause(&self, duration: Duration) {
        self.pass(duration);
    }
}

pub struct Made {
    id: String,
    key: String,
    ticket: String,
    program: &'static str,
    at: Duration,
    ends: Duration,
    end: End,
}

/// What a cloud holds, and how it behaves.
pub struct World {
    pub executions: Vec<Made>,
    /// How many were ever made.
    count: usize,
    pub calls: Vec<&'static str>,
    kill: Option<Kill>,
    notes: usize,
    /// How long one takes from now on, and how it ends.
    pub takes: Duration,
    pub end: End,
    /// How one ends that is stopped.
    pub stopped: End,
    pub stoppable: bool,
    /// How long nothing shows what was made.
    pub lag: Duration,
    /// Searches never show anything.
    pub hides: bool,
    pub reply_lost: bool,
    pub refuses: Option<ErrorKind>,
    /// Nothing can be done for one that runs.
    pub unattended: bool,
    pub room: bool,
    /// The tickets for which there was none.
    full: std::collections::BTreeSet<String>,
    /// Whether the answer to a start says which one it made.
    pub names: bool,
}

impl World {
    fn die() -> Error {
        Error::new(ErrorKind::Ledger, "killed")
    }

    /// Counts a call, and ends the process in its place.
    fn call(&mut self, name: &'static str) -> Result<()> {
        self.calls.push(name);
        match self.kill == Some(Kill::Before(self.calls.len())) {
            true => Err(Self::die()),
            false => Ok(()),
        }
    }

    fn after<T>(&self, answer: T) -> Result<T> {
        match self.kill == Some(Kill::After(self.calls.len())) {
            true => Err(Self::die()),
            false => Ok(answer),
        }
    }

    fn note(&mut self) -> Result<()> {
        self.notes += 1;
        match self.kill == Some(Kill::Note(self.notes)) {
            true => Err(Self::die()),
            false => Ok(()),
        }
    }
}

pub struct Fake {
    cloud: Cloud,
    clock: Arc<Virtual>,
    world: Arc<Mutex<World>>,
    program: &'static str,
}

const OURS: &str = "idp";
const OTHER: &str = "web";

impl Fake {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn now(&self) -> Duration {
        *self.clock.0.lock().unwrap()
    }

    fn seen(&self, made: &Made) -> Execution {
        let over = made.ends <= self.now();
        Execution {
            id: made.id.clone(),
            made: Some(Timestamp::UNIX_EPOCH + made.at),
            state: match over {
                true => State::Over(made.end.clone()),
                false => State::Running("RUNNING".into()),
            },
        }
    }

    fn knows(&self, made: &Made) -> bool {
        let memory = self.cloud.memory;
        memory.is_none_or(|memory| self.now() < made.ends + memory)
    }

    fn shows(&self, world: &World, made: &Made) -> bool {
        self.knows(made) && made.at + world.lag <= self.now()
    }
}

impl Listed for Fake {}

#[async_trait]
impl Jobs for Fake {
    fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    fn name(&self, id: &str) -> String {
        format!("execution `{id}`")
    }

    fn stop_command(&self, id: &str) -> String {
        format!("stop {id}")
    }

    fn longest(&self) -> Duration {
        Duration::from_secs(300)
    }

    fn memory(&self) -> Option<Duration> {
        self.cloud.memory
    }

    fn repeats(&self) -> bool {
        self.cloud.tokens
    }

    async fn ticket(&self, key: &str, nth: Nth<'_>) -> Result<String> {
        let mut world = self.world();
        world.call("ticket")?;
        let ticket = match (self.cloud.tokens, nth) {
            (false, _) => world.count.to_string(),
            (true, Nth::First) => key.to_owned(),
            (true, Nth::After(id)) => format!("{key} after {id}"),
            (true, Nth::Again(token)) => format!("{key} again {}", token.0),
        };
        world.after(format!("{}/{ticket}", self.program))
    }

    async fn start(&self, key: &str, ticket: &str) -> Result<Started> {
        let mut world = self.world();
        world.call("start")?;
        if let Some(kind) = world.refuses {
            return Err(Error::new(kind, "cannot start it"));
        }
        if !world.room {
            world.full.insert(ticket.to_owned());
        }
        // A ticket that came to nothing stays so.
        if world.full.contains(ticket) {
            return Ok(Started::Nothing("full".into()));
        }
        let mut known = world.executions.iter();
        let known = known.find(|it| self.cloud.tokens && it.ticket == ticket && self.knows(it));
        let answer = match known {
            Some(made) => self.seen(made),
            None => {
                world.count += 1;
                let (at, end) = (self.now(), world.end.clone());
                let takes = match end {
                    End::NeverRan(_) => Duration::ZERO,
                    End::Succeeded | End::Failed(_) => world.takes,
                };
                let made = Made {
                    id: format!("{}-{}", self.program, world.count),
                    key: key.to_owned(),
                    ticket: ticket.to_owned(),
                    program: self.program,
                    at,
                    ends: at + takes + Duration::from_secs(1),
                    end,
                };
                let answer = self.seen(&made);
                world.executions.push(made);
                answer
            }
        };
        if world.reply_lost {
            return Err(Error::new(ErrorKind::Unavailable, "nobody answered"));
        }
        let names = world.names;
        world.after(match names {
            true => Started::As(answer),
            false => Started::Unnamed,
        })
    }

    async fn find(&self, key: &str, ticket: Option<&str>) -> Result<Trail> {
        let mut world = self.world();
        world.call("find")?;
        // A cloud with tokens lists by key, whatever the ticket says.
        let since = ticket.filter(|_| !self.cloud.tokens);
        let since: usize = since
            .and_then(|ticket| ticket.split_once('/')?.1.parse().ok())
            .unwrap_or(0);
        let number = |made: &Made| -> usize {
            let number = made.id.rsplit('-').next();
            number.and_then(|it| it.parse().ok()).unwrap_or(0)
        };
        let executions = world.executions.iter().rev().filter(|made| {
            let shown = self.shows(&world, made) && !world.hides;
            made.key == key && number(made) > since && shown
        });
        let executions: Vec<Execution> = executions.map(|made| self.seen(made)).collect();
        let hidden = !self.cloud.tokens && ticket.is_some() && world.count > since;
        world.after(Trail {
            hidden: hidden && executions.is_empty(),
            executions,
        })
    }

    async fn look(&self, id: &str) -> Result<Option<Execution>> {
        let mut world = self.world();
        world.call("look")?;
        let mut executions = world.executions.iter();
        let made = executions.find(|made| made.id == id && self.shows(&world, made));
        world.after(made.map(|made| self.seen(made)))
    }

    async fn attend(&self, _id: &str, _watch: &dyn Watch) -> Result<()> {
        match self.world().unattended {
            true => Err(Error::new(ErrorKind::Rejected, "nobody takes commands").hint("let it")),
            false => Ok(()),
        }
    }

    /// Whatever was not made at this very moment.
    async fn may_have_begun(&self, id: &str) -> bool {
        let world = self.world();
        let mut executions = world.executions.iter();
        executions.any(|made| made.id == id && made.at < self.now())
    }

    fn is_of_another_service(&self, ticket: &str) -> bool {
        ticket.split('/').next() != Some(self.program)
    }

    async fn beside(&self, key: &str, others: &[String]) -> Result<Option<String>> {
        let mut world = self.world();
        world.call("beside")?;
        let running = |made: &&Made| {
            let listed = !self.cloud.tokens && self.shows(&world, made);
            made.key != key
                && made.program == self.program
                && made.ends > self.now()
                && (listed || others.contains(&made.id))
        };
        let running = world.executions.iter().find(running);
        world.after(running.map(|made| made.id.clone()))
    }

    async fn stop(&self, id: &str, _why: &str) -> Result<()> {
        let now = self.now();
        let mut world = self.world();
        world.call("stop")?;
        if !world.stoppable {
            return Err(Error::new(ErrorKind::Denied, "cannot stop it"));
        }
        let end = world.stopped.clone();
        for made in world.executions.iter_mut().filter(|made| made.id == id) {
            made.ends = now + Duration::from_secs(20);
            made.end = end.clone();
        }
        world.after(())
    }

    async fn reasons(&self, _id: &str, why: String) -> String {
        format!("{why}; task 0")
    }

    async fn last_lines(&self, _id: &str) -> Vec<String> {
        vec!["it printed this".into()]
    }
}

/// The ledger, as far as it concerns migrations.
struct Record {
    clock: Arc<Virtual>,
    world: Arc<Mutex<World>>,
    standings: Mutex<BTreeMap<String, MigrationStanding>>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Record")
    }
}

impl Record {
    fn put(&self, key: &str, standing: MigrationStanding) -> Result<()> {
        self.world.lock().unwrap().note()?;
        let mut standings = self.standings.lock().unwrap();
        standings.insert(key.to_owned(), standing);
        Ok(())
    }
}

#[async_trait]
impl MigrationRecord for Record {
    async fn turn(&self, _key: &str) -> Turn {
        Arc::new(futures::lock::Mutex::new(())).lock_owned().await
    }

    async fn standing(&self, key: &str) -> Result<MigrationStanding> {
        let standings = self.standings.lock().unwrap();
        let standing = standings.get(key).cloned();
        Ok(standing.unwrap_or(MigrationStanding::Never))
    }

    async fn standings(&self) -> Result<BTreeMap<String, MigrationStanding>> {
        Ok(self.standings.lock().unwrap().clone())
    }

    async fn started(&self, key: &str, _what: &str, before: Option<String>) -> Result<()> {
        let standing = MigrationStanding::Started {
            execution: None,
            at: Some(self.clock.now()),
            before,
        };
        self.put(key, standing)
    }

    async fn running(&self, key: &str, execution: &str) -> Result<()> {
        let standing = MigrationStanding::Started {
            execution: Some(execution.to_owned()),
            at: Some(self.clock.now()),
            before: None,
        };
        self.put(key, standing)
    }

    async fn ended(&self, key: &str, outcome: Result<(), String>) -> Result<()> {
        let at = self.clock.now();
        let standing = match outcome {
            Ok(()) => MigrationStanding::Succeeded { at },
            Err(why) => MigrationStanding::Failed { at, why },
        };
        self.put(key, standing)
    }

    async fn not_started(&self, key: &str, execution: &str, why: String) -> Result<()> {
        let standing = MigrationStanding::NotStarted {
            at: self.clock.now(),
            execution: execution.to_owned(),
            why,
        };
        self.put(key, standing)
    }
}

struct Unnamed;

impl Whose for Unnamed {
    fn known(&self) -> Option<Identity> {
        Some(Identity::default())
    }

    fn describe(&self, _fields: &mut Fields) {}
}

struct Quiet;

impl Watch for Quiet {
    fn note(&self, _line: &str) {}
}

/// A migration of one image on one cloud.
pub struct Stage {
    cloud: Cloud,
    pub clock: Arc<Virtual>,
    world: Arc<Mutex<World>>,
    record: Arc<Record>,
    image: &'static str,
    program: &'static str,
    runs: Arc<Mutex<usize>>,
}

impl Stage {
    pub fn new(cloud: Cloud) -> Self {
        let clock = Arc::new(Virtual(Mutex::default()));
        let world = Arc::new(Mutex::new(World {
            executions: Vec::new(),
            count: 0,
            calls: Vec::new(),
            kill: None,
            notes: 0,
            takes: Duration::from_secs(20),
            end: End::Succeeded,
            stopped: End::Failed("stopped".into()),
            stoppable: true,
            lag: Duration::ZERO,
            hides: false,
            reply_lost: false,
            refuses: None,
            unattended: false,
            room: true,
            full: std::collections::BTreeSet::new(),
            names: true,
        }));
        let record = Arc::new(Record {
            clock: Arc::clone(&clock),
            world: Arc::clone(&world),
            standings: Mutex::default(),
        });
        Self {
            cloud,
            clock,
            world,
            record,
            image: "idp@sha256:one",
            program: OURS,
            runs: Arc::default(),
        }
    }

    /// The same place, with another release of the same service.
    pub fn of_image(&self, image: &'static str) -> Self {
        Self {
            cloud: self.cloud,
            clock: Arc::clone(&self.clock),
            world: Arc::clone(&self.world),
            record: Arc::clone(&self.record),
            image,
            program: self.program,
            runs: Arc::clone(&self.runs),
        }
    }

    /// The same place, with another service of the manifest.
    pub fn of_another_service(&self, image: &'static str) -> Self {
        Self {
            program: OTHER,
            ..self.of_image(image)
        }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn lose_ledger(&self) {
        self.record.standings.lock().unwrap().clear();
    }

    /// How many executions there are.
    pub fn made(&self) -> usize {
        self.world().executions.len()
    }

    /// How many of them ran.
    pub fn ran(&self) -> usize {
        let world = self.world();
        let ran = world.executions.iter();
        ran.filter(|made| !matches!(made.end, End::NeverRan(_)))
            .count()
    }

    fn migration(&self, rerun: Rerun) -> Migration<Fake> {
        let target = Target {
            cloud: CloudName::Aws,
            account: "1".into(),
            region: "r".into(),
            sandbox: true,
        };
        let address = Address::new(&target, "fake.migration", self.program);
        Migration {
            jobs: Fake {
                cloud: self.cloud,
                clock: Arc::clone(&self.clock),
                world: Arc::clone(&self.world),
                program: self.program,
            },
            service: self.program.to_owned(),
            spec: MigrateSpec {
                job: format!("{}-migrate", self.program),
                entrypoint: Vec::new(),
                command: vec!["migrate".into()],
                timeout: Duration::from_secs(300),
                database: None,
                by: MigrateBy::Job,
            },
            image: Value::Given(ImageRef(self.image.into())),
            database: Box::new(Unnamed),
            record: Arc::clone(&self.record) as Arc<dyn MigrationRecord>,
            rerun,
            seen: Mutex::default(),
            output: Output::of(&address),
            ran: Output::of(&address),
            address,
        }
    }

    /// How the record of its migration stands.
    pub fn standing(&self) -> MigrationStanding {
        let key = self.migration(Rerun::No).key().expect("it is known");
        key.among(&self.record.standings.lock().unwrap())
    }

    /// One run of the program, to its end.
    pub async fn run(&self, rerun: Rerun) -> Result<()> {
        self.run_and_undo(rerun).await.0
    }

    /// The same, and what an undo of it says.
    pub async fn run_and_undo(&self, rerun: Rerun) -> (Result<()>, Undone) {
        let token = {
            let mut runs = self.runs.lock().unwrap();
            *runs += 1;
            Token(format!("run-{runs}"))
        };
        let migration = self.migration(rerun);
        migration.evidence().await.unwrap();
        let ran = migration.run(&token, &Quiet).await;
        let failed = ran.as_ref().err().map(Error::kind);
        (ran, migration.left(failed).await.unwrap())
    }

    /// One run that is killed there, if it comes that far.
    pub async fn killed(&self, kill: Kill) {
        {
            let mut world = self.world();
            world.calls.clear();
            world.notes = 0;
            world.kill = Some(kill);
        }
        let _ = self.run(Rerun::No).await;
        self.world().kill = None;
    }
}
