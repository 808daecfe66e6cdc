//! What is replaced by creating first: another generation is made, what uses the old one moves and
//! is ready, and then the old one goes.

use async_trait::async_trait;
use deployer_core::address::{Address, CloudName};
use deployer_core::engine::{OnFailure, Verdict};
use deployer_core::error::{ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Graph, Listed};
use deployer_core::node::{Action, Effect, Kept, Reading, Resource, Token, Watch};
use deployer_core::plan::{Change, Plan};

use crate::fake::bench::{Bench, How};
use crate::fake::tuning::Tuning;
use crate::fake::wanted::Wanted;
use crate::fake::world::Strike;

pub const fn threads(threads: u32) -> Tuning {
    Tuning { threads, note: "" }
}

/// The service is to be tuned so from now on.
pub fn tune(bench: &Bench, tuning: Tuning) {
    *bench.places[0].cloud.tuning.lock().unwrap() = Some(tuning);
}

/// A service that serves with a tuning, of which the name is returned.
pub async fn tuned() -> (Bench, String) {
    let bench = Bench::one();
    tune(&bench, threads(4));
    bench.apply_well(&Wanted::first()).await;
    let names = tunings(&bench);
    (bench, names[0].clone())
}

fn tunings(bench: &Bench) -> Vec<String> {
    bench.aws().world().tunings.keys().cloned().collect()
}

fn tuning(plan: &Plan) -> &Change {
    let mut changes = plan.changes.iter();
    let found = changes.find(|it| it.address.kind == "fake.tuning");
    found.expect("the plan has one")
}

fn serves_with(bench: &Bench) -> Option<String> {
    let world = bench.aws().world();
    world.services["idp"].serving_tuning().cloned()
}

async fn apply(bench: &Bench, on_failure: OnFailure) -> Verdict {
    let prepared = bench.plan(&Wanted::first()).await;
    let how = How {
        on_failure,
        ..How::default()
    };
    let mut verdicts = bench.carry_out(&prepared, how).await.unwrap();
    bench.check_traces().await;
    verdicts.remove(&CloudName::Aws).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_new_generation_and_the_old_one_are_one_replacement() {
    let (bench, old) = tuned().await;
    tune(&bench, threads(8));
    let prepared = bench.plan(&Wanted::first()).await;
    let change = tuning(&prepared.plan);
    assert_eq!(
        (change.action, change.effect),
        (Action::Replace, Effect::Replace)
    );
    assert_ne!(change.address.name, old);
    assert_eq!(change.replaces, [bench.address("fake.tuning", &old)]);
    let fields: Vec<_> = change.changes.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["threads"]);
    let values = |at: usize| {
        let it = &change.changes[at];
        (it.old.clone().unwrap(), it.new.clone().unwrap())
    };
    assert_eq!(
        (values(0).0.to_string(), values(0).1.to_string()),
        ("4".to_owned(), "8".to_owned())
    );
    let counts = prepared.plan.counts();
    assert_eq!((counts.create, counts.replace, counts.delete), (0, 1, 0));

    bench
        .carry_out(&prepared, How::default())
        .await
        .expect("nobody kills it");
    // The new one, then what uses it, and that is ready, then the old one.
    let told = bench.events();
    let at = |line: String| {
        let found = told.iter().rposition(|it| *it == line);
        found.unwrap_or_else(|| panic!("{line} is not among {told:#?}"))
    };
    let new = &change.address;
    let service = bench.address("fake.service", "idp");
    let old = bench.address("fake.tuning", &old);
    let order = [
        at(format!("started Create {new}")),
        at(format!("done {new}")),
        at(format!("started Update {service}")),
        at(format!("done {service}")),
        at(format!("started Delete {old}")),
        at(format!("done {old}")),
    ];
    assert!(order.is_sorted(), "{order:?} {told:#?}");
    assert_eq!(tunings(&bench), std::slice::from_ref(&new.name));
    let last = bench.plan(&Wanted::first()).await;
    assert!(last.plan.is_empty(), "{:#?}", last.plan.changes);
}

#[tokio::test(start_paused = true)]
async fn a_field_that_changes_in_place_makes_no_generation() {
    let (bench, old) = tuned().await;
    let noted = Tuning {
        note: "for the night",
        ..threads(4)
    };
    tune(&bench, noted);
    let prepared = bench.plan(&Wanted::first()).await;
    assert_eq!(tuning(&prepared.plan).action, Action::Update);
    bench.apply_well(&Wanted::first()).await;
    assert_eq!(tunings(&bench), [old]);
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_in_between_the_old_one_stays_and_serves() {
    let (bench, old) = tuned().await;
    tune(&bench, threads(8));
    bench.aws().arm(None);
    // Of the two writes before the delete the second one moves the service.
    bench.aws().arm(Some((2, Strike::Refused)));
    let verdict = apply(&bench, OnFailure::Keep).await;
    assert_eq!(verdict.failed[0].address.kind, "fake.service");
    assert_eq!(
        verdict.held,
        [bench.address("fake.tuning", &old)],
        "{verdict:#?}"
    );
    assert_eq!(serves_with(&bench), Some(old.clone()));
    assert_eq!(tunings(&bench).len(), 2);

    // What is there already is no second one: the old one goes once the service has moved.
    bench.aws().arm(None);
    let prepared = bench.plan(&Wanted::first()).await;
    let counts = prepared.plan.counts();
    assert_eq!((counts.create, counts.replace, counts.delete), (0, 0, 1));
    let goes = prepared.plan.changes.last().unwrap();
    assert_eq!(goes.address.name, old);
    assert!(
        goes.reason.ends_with("has taken its place"),
        "{}",
        goes.reason
    );
    bench.apply_well(&Wanted::first()).await;
    assert_eq!(serves_with(&bench).as_ref(), tunings(&bench).first());
    assert_eq!(tunings(&bench).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_undo_takes_the_new_one_away_and_keeps_the_old_one() {
    let (bench, old) = tuned().await;
    tune(&bench, threads(8));
    bench.aws().arm(Some((2, Strike::Refused)));
    let verdict = apply(&bench, OnFailure::Undo).await;
    assert!(verdict.attention.is_empty(), "{verdict:#?}");
    assert_eq!(serves_with(&bench), Some(old.clone()));
    assert_eq!(tunings(&bench), [old]);
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_back_before_the_old_one_went_has_it_again() {
    let (bench, old) = tuned().await;
    tune(&bench, threads(8));
    bench.aws().arm(Some((2, Strike::Refused)));
    apply(&bench, OnFailure::Keep).await;
    bench.aws().arm(None);
    tune(&bench, threads(4));
    bench.apply_well(&Wanted::first()).await;
    assert_eq!(tunings(&bench), std::slice::from_ref(&old));
    assert_eq!(serves_with(&bench), Some(old));
}

#[tokio::test(start_paused = true)]
async fn every_older_generation_goes_with_the_replacement() {
    let (bench, _) = tuned().await;
    for threads in [8, 16] {
        tune(&bench, self::threads(threads));
        bench.aws().arm(Some((2, Strike::Refused)));
        apply(&bench, OnFailure::Keep).await;
        bench.aws().arm(None);
    }
    tune(&bench, threads(32));
    let prepared = bench.plan(&Wanted::first()).await;
    assert_eq!(tuning(&prepared.plan).replaces.len(), 3);
    bench.apply_well(&Wanted::first()).await;
    assert_eq!(tunings(&bench).len(), 1);
}

/// Another hand rebuilt a generation under its name: what is there is not what its name says.
fn rebuild(bench: &Bench, name: &str) {
    let mut world = bench.aws().world();
    world.tunings.get_mut(name).unwrap().1.threads = 1;
}

#[tokio::test(start_paused = true)]
async fn one_that_another_hand_rebuilt_is_deleted_first_and_stays_while_it_is_used() {
    let (bench, name) = tuned().await;
    rebuild(&bench, &name);
    let prepared = bench.plan(&Wanted::first()).await;
    let change = tuning(&prepared.plan);
    assert_eq!(change.action, Action::Replace);
    assert!(change.replaces.is_empty());
    assert!(
        change.reason.starts_with("another hand rebuilt it"),
        "{}",
        change.reason
    );
    // A service has it: the cloud deletes nothing, and says so; what serves goes on.
    let verdict = apply(&bench, OnFailure::Keep).await;
    let error = &verdict.failed[0].error;
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.hint_text().is_some_and(|it| it.contains("uses it")));
    assert_eq!(tunings(&bench), std::slice::from_ref(&name));
    // Nobody has it: it is made as it was, under the same name.
    bench.aws().world().services.get_mut("idp").unwrap().tuning = None;
    bench.apply_well(&Wanted::first()).await;
    assert_eq!(bench.aws().world().tunings[&name].1, threads(4));
    assert_eq!(serves_with(&bench), Some(name));
}

/// Uses a tuning, whatever it is.
struct User(Address);

impl Listed for User {}

#[async_trait]
impl Resource for User {
    type Actual = ();

    fn address(&self) -> &Address {
        &self.0
    }

    async fn read(&self) -> Result<Reading<()>> {
        Ok(Reading::Present(()))
    }

    fn desired(&self, _: Option<&()>) -> Fields {
        Fields::new()
    }

    fn observed(&self, (): &()) -> Fields {
        Fields::new()
    }

    fn publish(&self, (): &()) {}

    async fn create(&self, _: &Token, _: &dyn Watch) -> Result<()> {
        Ok(())
    }

    async fn update(&self, (): &(), _: &[FieldChange], _: &Token, _: &dyn Watch) -> Result<()> {
        Ok(())
    }

    fn kept(&self, _: &[FieldChange]) -> Kept {
        Kept::Harmless("it is as it was")
    }

    async fn delete(&self, (): &(), _: &Token) -> Result<()> {
        Ok(())
    }
}

/// Two services whose tunings have names that are cut to the same beginning.
fn two(bench: &Bench, threads: [u32; 2]) -> (Graph, [Address; 2]) {
    let mut graph = Graph::new();
    let bases = [
        ("shop-production-api", threads[0]),
        ("shop-production-web", threads[1]),
    ];
    let addresses = bases.map(|(base, threads)| {
        let cloud = &bench.places[0].cloud;
        let tuning = cloud.tune(&mut graph, base, self::threads(threads));
        graph.resource(|inputs| {
            inputs.take(&tuning);
            User(bench.address("fake.service", base))
        });
        tuning.address().clone()
    });
    (graph, addresses)
}

#[tokio::test(start_paused = true)]
async fn two_that_are_cut_to_one_beginning_are_told_apart_by_what_uses_them() {
    let bench = Bench::one();
    let (graph, old) = two(&bench, [4, 4]);
    let prepared = bench.plan_of(graph).await;
    bench.carry_out(&prepared, How::default()).await.unwrap();
    let (graph, new) = two(&bench, [8, 16]);
    let prepared = bench.plan_beside(graph).await;
    let replaces = |new: &Address| {
        let mut changes = prepared.plan.changes.iter();
        let found = changes.find(|it| it.address == *new).unwrap();
        (found.action, found.replaces.clone())
    };
    for (new, old) in new.iter().zip(&old) {
        assert_eq!(replaces(new), (Action::Replace, vec![old.clone()]));
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "tells generations apart")]
async fn a_kind_that_leaves_a_field_out_of_its_name_cannot_be_declared() {
    let bench = Bench::one();
    bench.places[0].cloud.declare_unnamed(&mut Graph::new());
}
