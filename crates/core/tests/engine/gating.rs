//! A node that holds its candidate back: the gate comes before the traffic, and all of it stands in
//! the journal.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use deployer_core::address::{Address, CloudName};
use deployer_core::engine::{OnFailure, Verdict};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::gate::{Candidate, Checks, Gate, Passage};
use deployer_core::graph::Graph;
use deployer_core::graph::Listed;
use deployer_core::journal::Event;
use deployer_core::node::{Kept, Reading, Resource, Token, Undone, Watch};

use crate::fake::bench::{Bench, Crash, How};

type Calls = Arc<Mutex<Vec<&'static str>>>;

/// What serves, and whether another version waits beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct There {
    serves: &'static str,
    waits: Option<&'static str>,
}

/// A service whose first version serves and whose second one is wanted.
struct Service {
    address: Address,
    there: Arc<Mutex<There>>,
    calls: Calls,
    checks: Arc<dyn Checks>,
}

impl Service {
    fn change(&self, call: &'static str, change: impl FnOnce(&mut There)) -> There {
        self.calls.lock().unwrap().push(call);
        let mut there = self.there.lock().unwrap();
        change(&mut there);
        there.clone()
    }
}

impl Listed for Service {}

#[async_trait]
impl Resource for Service {
    type Actual = There;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<There>> {
        Ok(Reading::Present(self.there.lock().unwrap().clone()))
    }

    fn desired(&self, _there: Option<&There>) -> Fields {
        let mut fields = Fields::new();
        fields.set("serves", "second");
        fields
    }

    fn observed(&self, actual: &There) -> Fields {
        let mut fields = Fields::new();
        fields.set("serves", actual.serves);
        fields
    }

    fn publish(&self, _: &There) {}

    async fn create(&self, _: &Token, _: &dyn Watch) -> Result<There> {
        Err(Error::internal("it is there"))
    }

    async fn update(
        &self,
        _: &There,
        _: &[FieldChange],
        _: &Token,
        _: &dyn Watch,
    ) -> Result<There> {
        Ok(self.change("candidate", |there| there.waits = Some("second")))
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("the service is not as before")
    }

    async fn restore(&self, _: &There, _: &There, _: &Token, _: &dyn Watch) -> Result<Undone> {
        self.change("restore", |there| {
            *there = There {
                serves: "first",
                waits: None,
            };
        });
        Ok(Undone::PutBack)
    }

    async fn delete(&self, _: &There, _: &Token) -> Result<()> {
        Err(Error::internal("it stays"))
    }

    fn gate(&self, actual: &There) -> Option<Gate> {
        let revision = actual.waits?.to_owned();
        let url = format!("https://{revision}");
        Some(Gate {
            candidate: Candidate { revision, url },
            checks: Arc::clone(&self.checks),
        })
    }

    async fn promote(&self, _: &There, _: &Token, _: &dyn Watch) -> Result<There> {
        Ok(self.change("traffic", |there| {
            if let Some(waits) = there.waits.take() {
                there.serves = waits;
            }
        }))
    }

    async fn withhold(&self, _: &There, _: &Token) -> Result<There> {
        Ok(self.change("withhold", |there| there.waits = None))
    }
}

/// Answers so each time.
#[derive(Debug)]
struct Answers {
    calls: Calls,
    fails: bool,
}

#[async_trait]
impl Checks for Answers {
    async fn ask(&self, candidate: &Candidate) -> Result<Passage> {
        assert_eq!(candidate.url, "https://second");
        self.calls.lock().unwrap().push("gate");
        match self.fails {
            true => Err(Error::new(ErrorKind::Unverified, "1 check failed")),
            false => Ok(Passage::Passed("1 check passed".into())),
        }
    }
}

struct Stage {
    bench: Bench,
    there: Arc<Mutex<There>>,
    calls: Calls,
}

impl Stage {
    fn set() -> Self {
        let first = There {
            serves: "first",
            waits: None,
        };
        Self {
            bench: Bench::one(),
            there: Arc::new(Mutex::new(first)),
            calls: Calls::default(),
        }
    }

    /// Wants the second version to serve. `None` when the run was killed.
    async fn apply(&self, fails: bool, how: How) -> Option<Verdict> {
        let calls = Arc::clone(&self.calls);
        let mut graph = Graph::new();
        graph.resource(|_| Service {
            address: self.bench.address("fake.service", "idp"),
            there: Arc::clone(&self.there),
            calls: Arc::clone(&self.calls),
            checks: Arc::new(Answers { calls, fails }),
        });
        let prepared = self.bench.plan_of(graph).await;
        let verdicts = self.bench.carry_out(&prepared, how).await;
        self.bench.check_traces().await;
        verdicts.and_then(|mut verdicts| verdicts.remove(&CloudName::Aws))
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn there(&self) -> There {
        self.there.lock().unwrap().clone()
    }

    /// The journal of the last run: what each entry says of which kind.
    async fn journal(&self) -> Vec<String> {
        let run = self.bench.places[0].ledger.last_run().await.unwrap();
        let entries = run.expect("there was a run").entries.into_iter();
        let told = entries.filter_map(|entry| {
            let kind = entry.event.address()?.kind.clone();
            let word = match entry.event {
                Event::Started { .. } => "started",
                Event::Landed { .. } => "landed",
                Event::Ready { .. } => "ready",
                Event::Failed { .. } => "failed",
                Event::Undoing { .. } => "undoing",
                Event::Undone { .. } | Event::NotUndone { .. } | Event::Ended { .. } => "ended",
            };
            Some(format!("{kind} {word}"))
        });
        told.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_candidate_passes_its_gate_before_it_gets_the_traffic() {
    let stage = Stage::set();
    let verdict = stage.apply(false, How::default()).await.unwrap();
    assert!(verdict.succeeded(), "{verdict:#?}");
    assert_eq!(stage.calls(), ["candidate", "gate", "traffic"]);
    assert_eq!(stage.there().serves, "second");
    assert_eq!(
        stage.journal().await,
        [
            "fake.service started",
            "fake.service landed",
            "verify started",
            "verify landed",
            "verify ready",
            "traffic started",
            "traffic landed",
            "traffic ready",
            "fake.service ready",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_fails_its_gate_gets_no_traffic_and_no_address() {
    let stage = Stage::set();
    let verdict = stage.apply(true, How::default()).await.unwrap();
    let [failed] = &verdict.failed[..] else {
        panic!("{verdict:#?}")
    };
    assert_eq!(failed.address.kind, "fake.service");
    assert_eq!(failed.error.kind(), ErrorKind::Unverified);
    assert_eq!(stage.calls(), ["candidate", "gate", "withhold"]);
    let left = There {
        serves: "first",
        waits: None,
    };
    assert_eq!(stage.there(), left);
    let journal = stage.journal().await;
    assert_eq!(
        journal[2..],
        ["verify started", "verify failed", "fake.service failed"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_failed_its_gate_is_undone_like_any_roll_out() {
    let stage = Stage::set();
    let how = How {
        on_failure: OnFailure::Undo,
        ..How::default()
    };
    let verdict = stage.apply(true, how).await.unwrap();
    // What is as before already needs no call.
    assert_eq!(stage.calls(), ["candidate", "gate", "withhold"]);
    assert_eq!(verdict.undone.len(), 1, "{verdict:#?}");
    assert_eq!(stage.there().serves, "first");
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_entry_the_next_run_asks_again_and_moves_the_traffic_once() {
    // As many as the first test names.
    for nth in 1..=9 {
        for crash in [Crash::Before(nth), Crash::After(nth)] {
            let stage = Stage::set();
            let how = How {
                crash: Some(crash),
                ..How::default()
            };
            let ended = stage.apply(false, how).await;
            let serves = stage.there().serves;
            let before = stage.calls();
            assert!(
                serves == "first" || before.contains(&"gate"),
                "{crash:?}: it serves unasked"
            );
            if ended.is_none() {
                let verdict = stage.apply(false, How::default()).await.unwrap();
                assert!(verdict.succeeded(), "{crash:?}: {verdict:#?}");
            }
            assert_eq!(stage.there().serves, "second", "{crash:?}");
            let moved = before
                .iter()
                .chain(&stage.calls())
                .filter(|it| **it == "traffic")
                .count();
            assert_eq!(moved, 1, "{crash:?}");
        }
    }
}
