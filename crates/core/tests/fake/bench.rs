//! Runs plans against fake clouds the way the command line does: plan, begin a run, carry out, end
//! the run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::{Address, CloudName, Target};
use deployer_core::clock::Clock;
use deployer_core::compose;
use deployer_core::engine::{self, Interrupt, Journal, Means, OnFailure, Verdict};
use deployer_core::error::Result;
use deployer_core::fields::Fields;
use deployer_core::graph::Graph;
use deployer_core::journal::{self, Event};
use deployer_core::ledger::{Ledger, RunHeader, RunJournal};
use deployer_core::moved::Moved;
use deployer_core::node::Waiting;
use deployer_core::ours::{Noted, Ours, Owner, Past};
use deployer_core::plan::{self, Orphan, Prepared, Subject};
use deployer_core::report::{self, Reporter};
use futures::channel::oneshot;
use object_store::memory::InMemory;
use object_store::path::Path;
use uuid::Uuid;

use super::FakeCloud;
use super::clock::VirtualClock;
use super::wanted::Wanted;
use super::world::{Api, World};

/// The names that the fake's kinds had.
pub const MOVED: Moved = Moved::of(&[super::tuning::FORMER]);

/// Where a run is killed.
#[derive(Clone, Copy, Debug)]
pub enum Crash {
    /// Before the nth entry is durable.
    Before(usize),
    /// After it is.
    After(usize),
}

/// How a run is carried out.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub waiting: Waiting,
    pub on_failure: OnFailure,
    pub crash: Option<Crash>,
    /// When a person interrupts, from the start of the bench.
    pub interrupt_at: Option<Duration>,
}

impl Default for How {
    fn default() -> Self {
        Self {
            waiting: Waiting::Ready,
            on_failure: OnFailure::Keep,
            crash: None,
            interrupt_at: None,
        }
    }
}

/// One target with its ledger.
pub struct Place {
    pub cloud: FakeCloud,
    pub ledger: Ledger,
}

/// Fake clouds, their ledgers and what happened.
pub struct Bench {
    pub clock: Arc<VirtualClock>,
    pub places: Vec<Place>,
    /// What the reporter was told, with the virtual time.
    pub told: Mutex<Vec<(Duration, String)>>,
    /// What the last applies left, as far as a test says so.
    pub left: Mutex<BTreeMap<Address, Fields>>,
}

impl Bench {
    pub fn one() -> Self {
        Self::with(&[CloudName::Aws])
    }

    pub fn both() -> Self {
        Self::with(&CloudName::ALL)
    }

    fn with(clouds: &[CloudName]) -> Self {
        let clock = Arc::new(VirtualClock::start());
        let store = Arc::new(InMemory::new());
        let place = |name: &CloudName| {
            let account = "123456789012".to_owned();
            let target = Target {
                cloud: *name,
                account,
                region: "r1".into(),
                sandbox: true,
            };
            let ledger = Ledger::new(
                store.clone(),
                &Path::default(),
                "app",
                "staging",
                target.clone(),
                clock.clone(),
            )
            .moved(MOVED);
            let deadline = Duration::from_secs(600);
            let cloud = FakeCloud {
                target,
                api: Api::default(),
                clock: clock.clone(),
                deadline,
                tuning: Mutex::default(),
            };
            Place { cloud, ledger }
        };
        Self {
            places: clouds.iter().map(place).collect(),
            clock: clock.clone(),
            told: Mutex::default(),
            left: Mutex::default(),
        }
    }

    pub fn api(&self, cloud: CloudName) -> &Api {
        &self
            .places
            .iter()
            .find(|place| place.cloud.target.cloud == cloud)
            .expect("the bench has it")
            .cloud
            .api
    }

    /// The only cloud of a bench with one.
    pub fn aws(&self) -> &Api {
        self.api(CloudName::Aws)
    }

    pub fn address(&self, kind: &str, name: &str) -> Address {
        self.places[0].cloud.address(kind, name)
    }

    fn subject(&self) -> Subject {
        Subject {
            app: "app".into(),
            environment: "staging".into(),
            targets: self
                .places
                .iter()
                .map(|place| place.cloud.target.clone())
                .collect(),
            notes: Vec::new(),
            left: self.left.lock().unwrap().clone(),
        }
    }

    pub async fn plan(&self, wanted: &Wanted) -> Prepared {
        let env = wanted.environment();
        let mut graph = self.graph().await;
        let mut orphans = Vec::new();
        for place in &self.places {
            let given = wanted.given(&place.ledger);
            compose::declare(&mut graph, &place.cloud, &env, &given);
            orphans.extend(place.undesired(&graph).await);
        }
        plan::prepare(self.subject(), graph, orphans).await
    }

    /// A graph that knows what the ledgers know, and wants nothing yet.
    pub async fn graph(&self) -> Graph {
        let mut ours = Ours::default();
        for place in &self.places {
            let inventory = place.ledger.inventory().await.unwrap();
            ours.learn(&inventory, &self.left.lock().unwrap().clone());
        }
        Graph::knowing(ours)
    }

    /// A plan of a graph that no specification makes.
    pub async fn plan_of(&self, graph: Graph) -> Prepared {
        plan::prepare(self.subject(), graph, Vec::new()).await
    }

    /// The same, where what the inventory has beside it goes.
    pub async fn plan_beside(&self, graph: Graph) -> Prepared {
        let mut orphans = Vec::new();
        for place in &self.places {
            orphans.extend(place.undesired(&graph).await);
        }
        plan::prepare(self.subject(), graph, orphans).await
    }

    pub async fn plan_destroy(&self) -> Prepared {
        self.plan_beside(Graph::new()).await
    }

    /// The header of a run.
    pub fn header(&self) -> RunHeader {
        RunHeader {
            number: 0,
            command: "apply".into(),
            by: "tester".into(),
            at: self.clock.now(),
            manifest: serde_json::Value::Null,
            contents: BTreeMap::new(),
            redeploys: BTreeMap::new(),
            plan: None,
            typed: None,
        }
    }

    /// Plans and carries out.
    pub async fn apply(&self, wanted: &Wanted) -> BTreeMap<CloudName, Verdict> {
        let prepared = self.plan(wanted).await;
        self.carry_out(&prepared, How::default())
            .await
            .expect("nobody kills it")
    }

    /// Applies and expects that all went well.
    pub async fn apply_well(&self, wanted: &Wanted) {
        let verdicts = self.apply(wanted).await;
        assert!(verdicts.values().all(Verdict::succeeded), "{verdicts:#?}");
    }

    /// Carries out a plan as one run. `None` when it was killed.
    pub async fn carry_out(
        &self,
        prepared: &Prepared,
        how: How,
    ) -> Option<BTreeMap<CloudName, Verdict>> {
        let (kill, killed) = oneshot::channel();
        let gate = Arc::new(Gate {
            crash: how.crash,
            written: AtomicUsize::new(0),
            kill: Mutex::new(Some(kill)),
        });
        let mut journals: BTreeMap<CloudName, Arc<dyn Journal>> = BTreeMap::new();
        for place in &self.places {
            let run = place.ledger.begin_run(self.header()).await.unwrap();
            journals.insert(
                place.cloud.target.cloud,
                Arc::new(GatedJournal {
                    run,
                    gate: Arc::clone(&gate),
                }),
            );
        }
        let failed = engine::reconcile_inventory(prepared, &journals).await;
        assert!(failed.is_empty(), "{failed:?}");
        let stop = StopAt {
            clock: Arc::clone(&self.clock),
            at: how.interrupt_at,
        };
        let means = Means {
            clock: self.clock.as_ref(),
            reporter: self,
            journals: journals.clone(),
            waiting: how.waiting,
            on_failure: how.on_failure,
            interrupt: &stop,
            arrivals: &(),
            seed: Uuid::new_v4(),
        };
        let verdicts = tokio::select! {
            biased;
            _ = killed => return None,
            verdicts = engine::execute(prepared, &means) => verdicts,
        };
        for journal in journals.values() {
            journal
                .write(Event::Ended {
                    outcome: "ended".into(),
                })
                .await
                .unwrap();
        }
        Some(verdicts)
    }

    /// Every run's journal must make sense, and the clouds' rules must have been kept.
    pub async fn check_traces(&self) {
        for place in &self.places {
            if let Some(run) = place.ledger.last_run().await.unwrap() {
                journal::replay(&run.entries).unwrap();
            }
            let world = place.cloud.api.world();
            assert!(world.violations.is_empty(), "{:?}", world.violations);
        }
    }

    /// What everything looks like, times aside.
    pub async fn picture(&self) -> String {
        let mut text = String::new();
        for place in &self.places {
            text += &World::picture(&place.cloud.api.world());
            for (address, item) in place.ledger.inventory().await.unwrap().items {
                text += &format!("\ninventory {address} needs {:?}", item.needs);
            }
        }
        text
    }

    pub fn events(&self) -> Vec<String> {
        self.told
            .lock()
            .unwrap()
            .iter()
            .map(|(_, line)| line.clone())
            .collect()
    }
}

impl Place {
    async fn undesired(&self, graph: &Graph) -> Vec<Orphan> {
        use deployer_core::capability::Cloud;
        let inventory = self.ledger.inventory().await.unwrap();
        let owner = Owner::new("app", "staging");
        let existing = |address: &Address| {
            let past = Past::of(address, &inventory, &BTreeMap::new());
            self.cloud.existing(address, &owner, &past)
        };
        compose::undesired(&inventory, graph, &BTreeSet::new(), existing).unwrap()
    }
}

struct StopAt {
    clock: Arc<VirtualClock>,
    at: Option<Duration>,
}

impl Interrupt for StopAt {
    fn requested(&self) -> bool {
        self.at.is_some_and(|at| self.clock.elapsed() >= at)
    }
}

/// Counts the entries of all targets together and kills the run at one of them.
struct Gate {
    crash: Option<Crash>,
    written: AtomicUsize,
    kill: Mutex<Option<oneshot::Sender<()>>>,
}

impl Gate {
    async fn die(&self) -> ! {
        if let Some(kill) = self.kill.lock().unwrap().take() {
            kill.send(()).unwrap();
        }
        std::future::pending::<()>().await;
        unreachable!("the run was dropped")
    }
}

/// The real journal behind the gate.
struct GatedJournal {
    run: RunJournal,
    gate: Arc<Gate>,
}

#[async_trait]
impl Journal for GatedJournal {
    async fn write(&self, event: Event) -> Result<()> {
        let place = self.gate.written.fetch_add(1, Ordering::SeqCst) + 1;
        match self.gate.crash {
            Some(Crash::Before(nth)) if nth == place => self.gate.die().await,
            Some(Crash::After(nth)) if nth == place => {
                self.run.write(event).await?;
                self.gate.die().await
            }
            _ => self.run.write(event).await,
        }
    }

    async fn remember(&self, address: &Address, noted: &Noted) -> Result<()> {
        self.run.remember(address, noted).await
    }

    async fn forget(&self, address: &Address) -> Result<()> {
        self.run.forget(address).await
    }
}

impl Reporter for Bench {
    fn event(&self, event: &report::Event<'_>) {
        let line = match event {
            report::Event::Started { address, action } => format!("started {action:?} {address}"),
            report::Event::Note { .. } => return,
            report::Event::Done { address, .. } => format!("done {address}"),
            report::Event::Detached { address } => format!("detached {address}"),
            report::Event::PutOff { address } => format!("put off {address}"),
            report::Event::Failed { address, error, .. } => format!("failed {address}: {error}"),
            report::Event::Held { address } => format!("held {address}"),
            report::Event::Undoing { address } => format!("undoing {address}"),
            report::Event::Undone { address, stays } => match stays {
                None => format!("undone {address}"),
                Some(why) => format!("stays {address}: {why}"),
            },
            report::Event::NotUndone { address, error } => {
                format!("not undone {address}: {error}")
            }
        };
        self.told.lock().unwrap().push((self.clock.elapsed(), line));
    }
}
