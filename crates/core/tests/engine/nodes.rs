//! What the engine promises to nodes of any kind, on the smallest nodes that show it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use deployer_core::address::{Address, CloudName};
use deployer_core::engine::Verdict;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Listed;
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::node::{
    Action, Effect, Evidence, Kept, Reading, Resource, Step, Token, Undone, Watch,
};

use crate::fake::bench::{Bench, How};

type Calls = Arc<Mutex<Vec<&'static str>>>;

/// A resource whose every change withdraws its output, which then turns out to be what it was.
struct Source {
    address: Address,
    output: Output<String>,
    fails: bool,
}

impl Listed for Source {}

#[async_trait]
impl Resource for Source {
    type Actual = ();

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<()>> {
        Ok(Reading::Present(()))
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = Fields::new();
        fields.set("note", "new");
        fields
    }

    fn observed(&self, (): &()) -> Fields {
        Fields::new()
    }

    fn publish(&self, (): &()) {
        self.output.publish("as before".into());
    }

    fn withdraw(&self, _: &[FieldChange]) {
        self.output.withdraw();
    }

    async fn create(&self, _: &Token, _: &dyn Watch) -> Result<()> {
        Err(Error::internal("it is there"))
    }

    async fn update(&self, (): &(), _: &[FieldChange], _: &Token, _: &dyn Watch) -> Result<()> {
        if self.fails {
            return Err(Error::new(ErrorKind::Rejected, "the cloud refuses"));
        }
        Ok(())
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the fake's kinds harm nobody")
    }

    async fn delete(&self, (): &(), _: &Token) -> Result<()> {
        Err(Error::internal("it stays"))
    }
}

/// Takes the source's output as a resource that only a replacement can change, and as a step.
struct Taker {
    address: Address,
    input: Value<String>,
    calls: Calls,
}

impl Taker {
    fn call(&self, name: &'static str) -> Result<()> {
        self.calls.lock().unwrap().push(name);
        Ok(())
    }

    fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set_value("input", self.input.field(String::clone));
        fields
    }
}

struct AsResource(Taker);

impl Listed for AsResource {}

#[async_trait]
impl Resource for AsResource {
    type Actual = ();

    fn address(&self) -> &Address {
        &self.0.address
    }

    async fn read(&self) -> Result<Reading<()>> {
        Ok(Reading::Present(()))
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        self.0.fields()
    }

    fn observed(&self, (): &()) -> Fields {
        let mut fields = Fields::new();
        fields.set("input", "as before");
        fields
    }

    fn cost(&self, _change: &FieldChange, (): &()) -> Effect {
        Effect::Replace
    }

    fn publish(&self, (): &()) {}

    async fn create(&self, _: &Token, _: &dyn Watch) -> Result<()> {
        self.0.call("create")
    }

    async fn update(&self, (): &(), _: &[FieldChange], _: &Token, _: &dyn Watch) -> Result<()> {
        self.0.call("update")
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the fake's kinds harm nobody")
    }

    async fn delete(&self, (): &(), _: &Token) -> Result<()> {
        self.0.call("delete")
    }
}

struct AsStep(Taker);

impl Listed for AsStep {}

#[async_trait]
impl Step for AsStep {
    fn address(&self) -> &Address {
        &self.0.address
    }

    async fn evidence(&self) -> Result<Evidence> {
        Ok(Evidence::Unknown("it depends on its input".into()))
    }

    fn desired(&self) -> Fields {
        self.0.fields()
    }

    fn judge(&self, evidence: &Evidence) -> Evidence {
        match self.0.input.known() {
            Some(input) if input == "as before" => Evidence::Done("done for this input".into()),
            Some(_) => Evidence::NotDone("done for another input".into()),
            None => evidence.clone(),
        }
    }

    fn publish(&self) {}

    async fn run(&self, _: &Token, _: &dyn Watch) -> Result<()> {
        self.0.call("run")
    }

    async fn left(&self, _failed: Option<ErrorKind>) -> Result<Undone> {
        Ok(Undone::Stays("what a step did stays done".into()))
    }
}

/// Carries out a source on AWS and what takes its output on `cloud`; returns the verdicts and the
/// taker's calls.
async fn check(
    cloud: CloudName,
    fails: bool,
    planned: Action,
    take: impl FnOnce(&mut Graph, Taker),
) -> (BTreeMap<CloudName, Verdict>, Vec<&'static str>) {
    let bench = Bench::both();
    let at = |cloud, name| Address {
        cloud,
        region: "r1".into(),
        kind: "fake.node".into(),
        name,
    };
    let mut graph = Graph::new();
    let address = at(CloudName::Aws, "source".to_owned());
    let output = Output::of(&address);
    let published = output.clone();
    graph.resource(|_| Source {
        address,
        output: published,
        fails,
    });
    let calls = Calls::default();
    let taker = Taker {
        address: at(cloud, "taker".to_owned()),
        input: Value::From(output),
        calls: calls.clone(),
    };
    take(&mut graph, taker);
    let prepared = bench.plan_of(graph).await;
    assert_eq!(prepared.plan.changes[1].action, planned);
    let verdicts = bench.carry_out(&prepared, How::default()).await.unwrap();
    bench.check_traces().await;
    let calls = calls.lock().unwrap().clone();
    (verdicts, calls)
}

fn as_resource(graph: &mut Graph, taker: Taker) {
    graph.resource(|inputs| {
        inputs.pass(&taker.input);
        AsResource(taker)
    });
}

fn as_step(graph: &mut Graph, taker: Taker) {
    graph.step(|inputs| {
        inputs.pass(&taker.input);
        AsStep(taker)
    });
}

#[tokio::test(start_paused = true)]
async fn a_replacement_whose_input_turns_out_equal_is_not_made() {
    let (verdicts, calls) = check(CloudName::Aws, false, Action::Replace, as_resource).await;
    assert!(verdicts[&CloudName::Aws].succeeded(), "{verdicts:#?}");
    assert!(calls.is_empty(), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_its_inputs_prove_done_is_not_run() {
    let (verdicts, calls) = check(CloudName::Aws, false, Action::Create, as_step).await;
    assert!(verdicts[&CloudName::Aws].succeeded(), "{verdicts:#?}");
    assert!(calls.is_empty(), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_failed_node_of_another_target_is_held() {
    let (verdicts, calls) = check(CloudName::Gcp, true, Action::Create, as_step).await;
    assert_eq!(verdicts[&CloudName::Aws].failed.len(), 1);
    let gcp = &verdicts[&CloudName::Gcp];
    assert_eq!((gcp.held.len(), gcp.failed.len()), (1, 0), "{gcp:#?}");
    assert!(calls.is_empty(), "{calls:?}");
}
