//! The lock among many: contenders, sleepers, wrong clocks, a store that fails.

mod late;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use object_store::path::Path;
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::address::{CloudName, Target};
use crate::clock::Clock;
use crate::engine::Journal;
use crate::ledger::tests::store::{Fault, Store};
use crate::ledger::{Hold, RunHeader};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A machine's clock: set wrongly, but it runs at the right pace.
struct Clockwork {
    started: Instant,
    wrong_by: SignedDuration,
}

#[async_trait::async_trait]
impl Clock for Clockwork {
    fn now(&self) -> Timestamp {
        let right = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24);
        right + self.wrong_by + signed(self.started.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    async fn pause(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A machine that looks at the store.
struct Machine {
    ledger: Ledger,
    name: &'static str,
    knows: Known,
    notes: Mutex<Vec<String>>,
}

impl Witness for Machine {
    fn known(&self, _: &Holder) -> Known {
        self.knows
    }

    fn note(&self, line: &str) {
        self.notes.lock().unwrap().push(line.to_owned());
    }
}

impl Machine {
    fn new(store: &Arc<Store>, name: &'static str) -> Self {
        Self::with_clock(store, name, SignedDuration::ZERO)
    }

    fn with_clock(store: &Arc<Store>, name: &'static str, wrong_by: SignedDuration) -> Self {
        let target = Target {
            cloud: CloudName::Aws,
            account: "123456789012".into(),
            region: "us-east-1".into(),
            sandbox: false,
        };
        let clock = Arc::new(Clockwork {
            started: Instant::now(),
            wrong_by,
        });
        let store: Arc<dyn object_store::ObjectStore> = store.clone();
        Self {
            ledger: Ledger::new(store, &Path::default(), "app", "test", target, clock),
            name,
            knows: Known::Nothing,
            notes: Mutex::default(),
        }
    }

    fn knowing(self, knows: Known) -> Self {
        Self { knows, ..self }
    }

    fn holder(&self) -> Holder {
        let now = self.ledger.clock.now();
        Holder {
            user: "deploy".into(),
            host: self.name.into(),
            process: 7,
            run: "apply".into(),
            since: now,
            until: now,
            released: false,
            released_by: None,
            claim: Uuid::new_v4(),
            origin: Origin::default(),
        }
    }

    async fn lock(&self) -> Result<Lease> {
        self.ledger.lock(self.holder(), self).await
    }

    /// Takes the lock and keeps it in the background.
    async fn hold(&self) -> (Arc<Keeper>, tokio::task::JoinHandle<Option<Error>>) {
        let lease = self.lock().await.unwrap();
        let keeper = self.ledger.keep(lease);
        let kept = Arc::clone(&keeper);
        (keeper, tokio::spawn(async move { kept.keep().await }))
    }

    async fn may_call(&self) -> Result<()> {
        self.ledger.permit().ask().await
    }
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn of_ten_contenders_one_wins_and_the_others_name_it() {
    let store = Store::new();
    let machines: Vec<Machine> = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
        .map(|name| Machine::new(&store, name))
        .into();
    let results = futures::future::join_all(machines.iter().map(Machine::lock)).await;
    let winners: Vec<&Lease> = results.iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    let winner = format!("deploy@{}", winners[0].holder().host);
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains(&winner), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_was_given_back_is_taken_without_a_wait() {
    let store = Store::new();
    let (one, two) = (Machine::new(&store, "one"), Machine::new(&store, "two"));
    let (keeper, task) = one.hold().await;
    keeper.give_back().await.unwrap();
    let began = Instant::now();
    two.lock().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(task.await.unwrap().is_none());
    let error = one.may_call().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_holder_keeps_the_lock_for_hours_and_leaves_few_objects() {
    let store = Store::new();
    let (one, two) = (Machine::new(&store, "one"), Machine::new(&store, "two"));
    let _held = one.hold().await;
    for _ in 0..120 {
        seconds(61).await;
        one.may_call().await.unwrap();
        assert_eq!(two.lock().await.unwrap_err().kind(), ErrorKind::Locked);
    }
    let left = one.ledger.numbers().await.unwrap();
    assert!(left.len() as u64 <= KEPT + 1, "{left:?}");
    assert!(left[0].0 > 100, "it was renewed: {left:?}");
}

#[tokio::test(start_paused = true)]
async fn of_two_contenders_for_a_lease_that_ran_out_one_wins() {
    let store = Store::new();
    Machine::new(&store, "gone").lock().await.unwrap();
    seconds(80).await;
    let (one, two) = (Machine::new(&store, "one"), Machine::new(&store, "two"));
    assert!(one.lock().await.is_err(), "it has not run out yet");
    seconds(20).await;
    let (first, second) = tokio::join!(one.lock(), two.lock());
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let notes = [one.notes, two.notes].map(|notes| notes.into_inner().unwrap().join("\n"));
    assert!(
        notes
            .concat()
            .contains("aws: took over the lock of deploy@gone")
    );
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_wakes_after_a_takeover_makes_no_call_and_says_who_has_the_lock() {
    for renewals_meanwhile in [1, 200] {
        let store = Store::new();
        let (one, two) = (Machine::new(&store, "one"), Machine::new(&store, "two"));
        let (_, task) = one.hold().await;
        seconds(30).await;
        task.abort(); // It sleeps: its keeper does too.
        seconds(100).await;
        let (keeper, kept) = two.hold().await;
        // By then the number after the sleeper's own is long gone, and could be created again.
        seconds(renewals_meanwhile).await;
        let error = one.may_call().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        let words = "was lost to deploy@two (process 7), apply since 1970-01-02";
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(one.may_call().await.unwrap_err().kind(), ErrorKind::Locked);
        two.may_call().await.unwrap();
        keeper.give_back().await.unwrap();
        kept.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_slept_asks_the_store_before_it_goes_on() {
    let store = Store::new();
    let one = Machine::new(&store, "one");
    let (keeper, task) = one.hold().await;
    task.abort();
    seconds(1).await;
    let asked = store.calls();
    one.may_call().await.unwrap();
    assert_eq!(store.calls(), asked, "an awake holder asks nobody");
    seconds(10).await;
    one.may_call().await.unwrap();
    assert!(store.calls() > asked);
    // Released by hand while it sleeps for a moment, and nobody else took it.
    seconds(10).await;
    let other = Machine::new(&store, "other");
    let former = other.ledger.break_lock(other.holder()).await.unwrap();
    assert_eq!(former.unwrap().host, "one");
    let error = one.may_call().await.unwrap_err();
    let words = "was taken away: deploy@other released it by hand";
    assert!(error.to_string().contains(words), "{error}");
    keeper.give_back().await.unwrap();
    other.lock().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_running_holder_notices_a_release_by_hand_when_it_renews() {
    let store = Store::new();
    let (one, two) = (Machine::new(&store, "one"), Machine::new(&store, "two"));
    let (_, task) = one.hold().await;
    seconds(40).await;
    two.ledger.break_lock(two.holder()).await.unwrap();
    let loss = tokio::time::timeout(RENEWAL + Duration::from_secs(2), task).await;
    let loss = loss.unwrap().unwrap().unwrap();
    assert_eq!(loss.kind(), ErrorKind::Locked);
    assert_eq!(two.ledger.lock_standing().await.unwrap(), Standing::Free);
    assert!(two.ledger.break_lock(two.holder()).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn whatever_the_machines_clocks_say_a_lease_is_neither_stolen_nor_held_for_ever() {
    for writer in [-HOUR, SignedDuration::ZERO, HOUR] {
        for reader in [-HOUR, SignedDuration::ZERO, HOUR] {
            let store = Store::new();
            let one = Machine::with_clock(&store, "one", writer);
            let two = Machine::with_clock(&store, "two", reader);
            let (_, task) = one.hold().await;
            for _ in 0..20 {
                seconds(10).await;
                assert_eq!(two.lock().await.unwrap_err().kind(), ErrorKind::Locked);
            }
            task.abort();
            seconds(75).await;
            assert_eq!(two.lock().await.unwrap_err().kind(), ErrorKind::Locked);
            seconds(25).await;
            let began = Instant::now();
            two.lock().await.unwrap();
            assert_eq!(began.elapsed(), Duration::ZERO, "{writer} {reader}");
            assert!(one.may_call().await.is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_stores_clock_was_set_back_a_contender_watches_instead() {
    let store = Store::new();
    let (one, two) = (Machine::new(&store, "one"), Machine::new(&store, "two"));
    let (_, task) = one.hold().await;
    seconds(5).await;
    store.set_clock(-HOUR);
    // The holder renews while the other one watches.
    assert_eq!(two.lock().await.unwrap_err().kind(), ErrorKind::Locked);
    store.set_clock(-(HOUR * 2));
    task.abort();
    let began = Instant::now();
    two.lock().await.unwrap();
    assert!(began.elapsed() >= LEASE, "{:?}", began.elapsed());
    assert!(began.elapsed() < LEASE * 2, "{:?}", began.elapsed());
    assert!(one.may_call().await.is_err());
    let notes = two.notes.into_inner().unwrap().join("\n");
    assert!(notes.contains("make no sense; waiting 95 s"), "{notes}");
}

#[tokio::test(start_paused = true)]
async fn where_this_machines_clock_leapt_a_living_process_of_it_is_not_robbed() {
    let store = Store::new();
    let one = Machine::new(&store, "one");
    let two = Machine::new(&store, "two").knowing(Known::Alive);
    let (_, task) = one.hold().await;
    seconds(5).await;
    store.set_clock(HOUR);
    assert_eq!(two.lock().await.unwrap_err().kind(), ErrorKind::Locked);
    one.may_call().await.unwrap();
    // It is stopped for good: then it is not waited for for ever.
    task.abort();
    store.set_clock(HOUR * 2);
    two.lock().await.unwrap();
    assert!(one.may_call().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_holder_of_this_machine_that_is_gone_is_taken_over_once_it_would_have_renewed() {
    for (age, waits) in [(0, 20), (12, 8), (30, 0)] {
        let store = Store::new();
        Machine::new(&store, "one").lock().await.unwrap();
        seconds(age).await;
        let two = Machine::new(&store, "two").knowing(Known::Gone);
        let began = Instant::now();
        two.lock().await.unwrap();
        let waited = began.elapsed().as_secs();
        assert!(
            (waits..=waits + 5).contains(&waited),
            "{waited} s after {age} s"
        );
        let notes = two.notes.into_inner().unwrap().join("\n");
        assert!(notes.contains("its process is gone"), "{notes}");
        assert_eq!(notes.contains("to be sure"), waits > 0, "{notes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_that_is_taken_for_gone_is_not_robbed() {
    let store = Store::new();
    let one = Machine::new(&store, "one");
    let _held = one.hold().await;
    let two = Machine::new(&store, "two").knowing(Known::Gone);
    for _ in 0..5 {
        seconds(7).await;
        assert_eq!(two.lock().await.unwrap_err().kind(), ErrorKind::Locked);
        one.may_call().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_gives_back_while_it_is_watched_is_followed_at_once() {
    let store = Store::new();
    let one = Machine::new(&store, "one");
    let (keeper, _task) = one.hold().await;
    let two = Machine::new(&store, "two").knowing(Known::Gone);
    let began = Instant::now();
    let (taken, ()) = tokio::join!(two.lock(), async {
        seconds(3).await;
        keeper.give_back().await.unwrap();
    });
    taken.unwrap();
    assert!(began.elapsed() <= GRACE, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn after_a_release_by_hand_the_next_one_waits_until_the_former_holder_starts_nothing() {
    for (knows, waits) in [(Known::Nothing, 30), (Known::Alive, 30), (Known::Gone, 0)] {
        let store = Store::new();
        let one = Machine::new(&store, "one");
        let (_, task) = one.hold().await;
        seconds(7).await;
        let two = Machine::new(&store, "two").knowing(knows);
        two.ledger.break_lock(two.holder()).await.unwrap();
        // Its renewals do not reach the store any more.
        task.abort();
        let began = Instant::now();
        two.lock().await.unwrap();
        let waited = began.elapsed().as_secs();
        assert!(
            (waits..=waits + 5).contains(&waited),
            "{waited} s: {knows:?}"
        );
        let notes = two.notes.into_inner().unwrap().join("\n");
        let says = notes.contains("deploy@two took the lock from deploy@one");
        assert_eq!(says, waits > 0, "{notes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_a_while_holds_calls_up_and_loses_nothing() {
    let store = Store::new();
    let (one, two) = (Machine::new(&store, "one"), Machine::new(&store, "two"));
    let _held = one.hold().await;
    seconds(10).await;
    store.fail(Fault::Everything);
    seconds(10).await;
    one.may_call().await.unwrap(); // It was renewed 20 s ago.
    let began = Instant::now();
    let ends = async {
        seconds(60).await;
        store.mend();
    };
    let call = async {
        seconds(20).await;
        one.may_call().await
    };
    let (permitted, ()) = tokio::join!(call, ends);
    permitted.unwrap();
    assert!(
        began.elapsed() >= Duration::from_secs(60),
        "no call without a lease"
    );
    assert_eq!(two.lock().await.unwrap_err().kind(), ErrorKind::Locked);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_long_ends_the_run_with_its_own_words() {
    let store = Store::new();
    let one = Machine::new(&store, "one");
    let _held = one.hold().await;
    store.fail(Fault::Everything);
    seconds(30).await;
    let error = one.may_call().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ledger);
    assert!(
        error.chain().join("\n").contains("the store is down"),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_create_does_not_lock_its_own_holder_out() {
    let store = Store::new();
    let one = Machine::new(&store, "one");
    store.fail(Fault::NextAnswer);
    let (keeper, _task) = one.hold().await;
    for _ in 0..10 {
        store.fail(Fault::NextAnswer);
        seconds(17).await;
        one.may_call().await.unwrap();
    }
    store.fail(Fault::NextAnswer);
    keeper.give_back().await.unwrap();
    Machine::new(&store, "two").lock().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_without_the_lock_writes_no_entry_and_no_inventory() {
    let store = Store::new();
    let (one, two) = (Machine::new(&store, "one"), Machine::new(&store, "two"));
    let (_, task) = one.hold().await;
    let header = RunHeader {
        number: 0,
        command: "apply".into(),
        by: "deploy@one".into(),
        at: one.ledger.clock.now(),
        manifest: serde_json::Value::Null,
        contents: std::collections::BTreeMap::new(),
        redeploys: std::collections::BTreeMap::new(),
        plan: None,
        typed: None,
    };
    let journal = one.ledger.begin_run(header).await.unwrap();
    one.ledger.set_hold("idp", &hold(1)).await.unwrap();
    task.abort();
    seconds(100).await;
    two.lock().await.unwrap();
    let before = store.contents().await;
    let address = "aws/us-east-1/ecs.service/x".parse().unwrap();
    let ended = crate::journal::Event::Ended {
        outcome: "succeeded".into(),
    };
    for result in [
        journal.write(ended).await,
        journal.remember(&address, &Default::default()).await,
        journal.permit().await,
        one.ledger.lift_hold("idp", 1).await,
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Locked);
    }
    assert_eq!(store.contents().await, before);
}

fn hold(rejected: u64) -> Hold {
    Hold {
        rejected,
        content_id: "c0ffee".into(),
        overrides: None,
        secrets: Default::default(),
        serving: rejected + 1,
        since: Timestamp::UNIX_EPOCH,
        by: "deploy@one".into(),
        unfinished: None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_standing_names_the_holder_until_it_gives_the_lock_back() {
    let store = Store::new();
    let one = Machine::with_clock(&store, "one", HOUR);
    assert_eq!(one.ledger.lock_standing().await.unwrap(), Standing::Free);
    let (keeper, _task) = one.hold().await;
    match one.ledger.lock_standing().await.unwrap() {
        Standing::Held {
            holder,
            renewed,
            until,
        } => {
            assert_eq!(holder.host, "one");
            assert_eq!(until.duration_since(renewed), signed(LEASE));
        }
        Standing::Free => panic!("it is held"),
    }
    keeper.give_back().await.unwrap();
    assert_eq!(one.ledger.lock_standing().await.unwrap(), Standing::Free);
}

/// As it was written before leases had claims.
#[tokio::test(start_paused = true)]
async fn an_older_lock_object_is_understood() {
    let store = Store::new();
    let one = Machine::new(&store, "one");
    let old = r#"{"format": 1, "user": "u", "host": "h", "process": 1, "run": "apply",
        "since": "2026-11-01T00:00:00Z", "until": "2026-11-01T00:01:30Z", "released": false}"#;
    let path = one.ledger.path("lock/00000004.json");
    object_store::ObjectStoreExt::put(store.as_ref(), &path, old.into())
        .await
        .unwrap();
    let error = one.lock().await.unwrap_err();
    assert!(error.to_string().contains("u@h (process 1)"), "{error}");
    seconds(100).await;
    one.lock().await.unwrap();
}
