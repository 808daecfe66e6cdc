//! A holder's write that is held up on its way, and lands after another one has taken the lock over
//! and spoken of the same.

use super::*;
use crate::address::Address;
use crate::fields::Fields;
use crate::journal::Event;
use crate::ledger::{LedgerMigrations, Release, RunJournal};
use crate::migration_record::{MigrationRecord, MigrationStanding};
use crate::ours::{Began, Certain, Noted};

/// One's write to this place is held up; its lease runs out, two takes over, says something and
/// comes to its end; then one's write lands.
struct Overtaken {
    store: Arc<Store>,
    one: Machine,
    two: Machine,
}

impl Overtaken {
    fn new() -> Self {
        let store = Store::new();
        let (one, two) = (Machine::new(&store, "one"), Machine::new(&store, "two"));
        Self { store, one, two }
    }

    async fn begin(machine: &Machine) -> RunJournal {
        let header = RunHeader {
            number: 0,
            command: "apply".into(),
            by: "deploy@one".into(),
            at: machine.ledger.clock.now(),
            manifest: serde_json::Value::Null,
            contents: std::collections::BTreeMap::new(),
            redeploys: std::collections::BTreeMap::new(),
            plan: None,
            typed: None,
        };
        machine.ledger.begin_run(header).await.unwrap()
    }

    /// What both see of it is the same at last, and there is one object for each subject.
    async fn play(
        &self,
        place: &'static str,
        before: impl AsyncFnOnce(&Ledger, &RunJournal),
        late: impl AsyncFnOnce(&Ledger, &RunJournal),
        next: impl AsyncFnOnce(&Ledger, &RunJournal),
    ) -> Ledger {
        let Self { store, one, two } = self;
        let (_, kept) = one.hold().await;
        let run = Self::begin(one).await;
        before(&one.ledger, &run).await;
        store.fail(Fault::Hold(place));
        let overtakes = async {
            store.holds().await;
            kept.abort();
            seconds(100).await;
            let (keeper, _kept) = two.hold().await;
            let run = Self::begin(two).await;
            next(&two.ledger, &run).await;
            store.let_go();
            // It lands now.
            seconds(1).await;
            let outcome = "succeeded".into();
            run.write(Event::Ended { outcome }).await.unwrap();
            keeper.give_back().await.unwrap();
        };
        tokio::join!(late(&one.ledger, &run), overtakes);
        Machine::new(store, "a reader").ledger
    }
}

fn address(name: &str) -> Address {
    format!("aws/us-east-1/{name}").parse().unwrap()
}

async fn names(ledger: &Ledger) -> Vec<String> {
    let items = ledger.inventory().await.unwrap().items;
    items.into_keys().map(|it| it.name).collect()
}

fn made() -> Noted {
    Noted {
        began: Began::Made,
        ..Noted::default()
    }
}

async fn nothing(_: &Ledger, _: &RunJournal) {}

#[tokio::test(start_paused = true)]
async fn what_the_next_one_noted_stays_in_the_inventory() {
    let reader = Overtaken::new()
        .play(
            "/inventory/",
            nothing,
            async |_, run| {
                let service = address("ecs.service/idp");
                run.remember(&service, &made()).await.unwrap();
            },
            async |_, run| {
                for name in ["rds.instance/main", "ecs.cluster/main"] {
                    run.remember(&address(name), &made()).await.unwrap();
                }
            },
        )
        .await;
    assert_eq!(names(&reader).await, ["main", "idp", "main"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_next_one_makes_anew_is_not_forgotten_late() {
    let service = address("ecs.service/idp");
    let reader = Overtaken::new()
        .play(
            "/inventory/",
            async |_, run| run.remember(&service, &made()).await.unwrap(),
            async |_, run| run.forget(&service).await.unwrap(),
            // It says the same as before: that counts as news.
            async |_, run| run.remember(&service, &made()).await.unwrap(),
        )
        .await;
    assert_eq!(names(&reader).await, ["idp"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_next_one_found_as_it_was_is_not_forgotten_late() {
    let service = address("ecs.service/idp");
    let unchanged = Noted {
        certain: Certain::Now,
        ..Noted::default()
    };
    let reader = Overtaken::new()
        .play(
            "/inventory/",
            async |_, run| run.remember(&service, &made()).await.unwrap(),
            async |_, run| run.forget(&service).await.unwrap(),
            // It changes nothing of it; the run before did not end.
            async |_, run| run.remember(&service, &unchanged).await.unwrap(),
        )
        .await;
    assert_eq!(names(&reader).await, ["idp"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_next_one_forgot_does_not_come_back_late() {
    let service = address("ecs.service/idp");
    let overtaken = Overtaken::new();
    let needs = Noted {
        needs: [address("ecs.cluster/main")].into(),
        ..made()
    };
    let reader = overtaken
        .play(
            "/inventory/",
            async |_, run| run.remember(&service, &made()).await.unwrap(),
            async |_, run| run.remember(&service, &needs).await.unwrap(),
            async |_, run| run.forget(&service).await.unwrap(),
        )
        .await;
    assert_eq!(names(&reader).await, [] as [&str; 0]);
    // Whoever reads it last, and ends a run, leaves one object of it.
    let (_keeper, _kept) = overtaken.two.hold().await;
    let run = Overtaken::begin(&overtaken.two).await;
    let outcome = "succeeded".into();
    run.write(Event::Ended { outcome }).await.unwrap();
    let left = overtaken.store.contents().await.into_keys();
    let left: Vec<String> = left.map(String::from).collect();
    let left: Vec<&String> = left
        .iter()
        .filter(|it| it.contains("/inventory/"))
        .collect();
    assert!(left.len() == 1 && left[0].ends_with(".gone"), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn how_a_migration_stands_is_what_the_next_one_says() {
    let reader = Overtaken::new()
        .play(
            "/migrations/",
            async |ledger, _| {
                let migrations = LedgerMigrations::new(ledger.clone());
                migrations.started("key", "idp", None).await.unwrap();
            },
            async |ledger, _| {
                let migrations = LedgerMigrations::new(ledger.clone());
                let why = "stopped".to_owned();
                migrations.not_started("key", "task/1", why).await.unwrap();
            },
            async |ledger, _| {
                let migrations = LedgerMigrations::new(ledger.clone());
                migrations.ended("key", Ok(())).await.unwrap();
                migrations.ended("other", Ok(())).await.unwrap();
            },
        )
        .await;
    let migrations = LedgerMigrations::new(reader);
    for key in ["key", "other"] {
        let standing = migrations.standing(key).await.unwrap();
        assert!(
            matches!(standing, MigrationStanding::Succeeded { .. }),
            "{key}: {standing:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_next_one_left_is_what_was_left() {
    let left = |name: &str| {
        let mut fields = Fields::new();
        fields.set("size", name);
        std::collections::BTreeMap::from([(address("rds.instance/main"), fields)])
    };
    let reader = Overtaken::new()
        .play(
            "/left/",
            async |ledger, _| ledger.write_left(left("first")).await.unwrap(),
            async |ledger, _| ledger.write_left(left("late")).await.unwrap(),
            async |ledger, _| ledger.write_left(left("next")).await.unwrap(),
        )
        .await;
    assert_eq!(reader.left().await.unwrap(), left("next"));
}

#[tokio::test(start_paused = true)]
async fn a_hold_of_the_next_one_is_not_lifted_late() {
    let reader = Overtaken::new()
        .play(
            "/holds/",
            async |ledger, _| ledger.set_hold("idp", &hold(3)).await.unwrap(),
            async |ledger, _| ledger.lift_holds("idp").await.unwrap(),
            async |ledger, _| ledger.set_hold("idp", &hold(3)).await.unwrap(),
        )
        .await;
    assert_eq!(reader.holds("idp").await.unwrap(), [hold(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_the_next_one_lifted_is_not_set_late() {
    let unfinished = Hold {
        unfinished: Some(2),
        ..hold(3)
    };
    let reader = Overtaken::new()
        .play(
            "/holds/",
            async |ledger, _| ledger.set_hold("idp", &unfinished).await.unwrap(),
            async |ledger, _| ledger.set_hold("idp", &hold(3)).await.unwrap(),
            async |ledger, _| ledger.lift_hold("idp", 3).await.unwrap(),
        )
        .await;
    assert_eq!(reader.holds("idp").await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn the_next_ones_verification_counts() {
    let release: Release = serde_json::from_str(crate::ledger::tests::OLD_RELEASE).unwrap();
    let reader = Overtaken::new()
        .play(
            "/verified/",
            async |ledger, _| ledger.record_release(&release).await.unwrap(),
            async |ledger, _| ledger.note_verified(&release, false).await.unwrap(),
            async |ledger, _| ledger.note_verified(&release, true).await.unwrap(),
        )
        .await;
    let latest = reader.latest_release("idp").await.unwrap().unwrap();
    assert_eq!(latest.verified, Some(true));
    assert_eq!(reader.releases("idp").await.unwrap(), [latest]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_tried_again_asks_for_the_lease_each_time() {
    let store = Store::new();
    let (one, two) = (Machine::new(&store, "one"), Machine::new(&store, "two"));
    let _held = one.hold().await;
    let run = Overtaken::begin(&one).await;
    seconds(10).await;
    store.fail(Fault::Writes("/inventory/"));
    let taken = async {
        seconds(1).await;
        two.ledger.break_lock(two.holder()).await.unwrap();
        seconds(1).await;
        store.fail(Fault::Writes("/inventory/"));
    };
    let service = address("ecs.service/idp");
    let noted = made();
    let (written, ()) = tokio::join!(run.remember(&service, &noted), taken);
    assert_eq!(written.unwrap_err().kind(), ErrorKind::Locked);
}
