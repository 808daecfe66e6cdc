//! A ledger that a deployer of format 1 left behind: read, carried over by the next run wherever
//! that is killed, and read again.

use std::collections::BTreeMap;

use serde_json::Value;

use super::store::{Fault, Store};
use super::*;
use crate::clock::Clock;
use crate::engine::Journal;
use crate::journal::Event;

/// Written by the last one before format 2: three releases with their verifications, the last one
/// rolled back from, and a held apply.
const LEDGER: &str = include_str!("format_1.json");

struct VirtualClock(tokio::time::Instant);

#[async_trait::async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    async fn pause(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn open(store: &Arc<Store>) -> Ledger {
    let target = Target {
        cloud: CloudName::Aws,
        account: "123456789012".into(),
        region: "us-east-1".into(),
        sandbox: true,
    };
    let clock = Arc::new(VirtualClock(tokio::time::Instant::now()));
    let store: Arc<dyn ObjectStore> = store.clone();
    Ledger::new(store, &Path::default(), "swept", "test", target, clock)
}

async fn old() -> Arc<Store> {
    let store = Store::new();
    let ledger = open(&store);
    let objects: BTreeMap<String, Value> = serde_json::from_str(LEDGER).unwrap();
    for (name, content) in objects {
        let bytes = content.to_string().into_bytes();
        let path = ledger.path(&name);
        store.put(&path, bytes.into()).await.unwrap();
    }
    store
}

/// Everything that a ledger says, but of runs.
async fn reading(store: &Arc<Store>) -> String {
    let ledger = open(store);
    let migrations = LedgerMigrations::new(ledger.clone());
    format!(
        "{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}",
        ledger.inventory().await.unwrap(),
        ledger.left().await.unwrap(),
        migrations.standings().await.unwrap(),
        ledger.holds("idp").await.unwrap(),
        ledger.releases("idp").await.unwrap(),
    )
}

async fn begin(ledger: &Ledger) -> Result<RunJournal> {
    let header = RunHeader {
        number: 0,
        command: "apply".into(),
        by: "deploy@runner-3".into(),
        at: Timestamp::UNIX_EPOCH,
        manifest: Value::Null,
        contents: BTreeMap::new(),
        redeploys: BTreeMap::new(),
        plan: None,
        typed: None,
    };
    ledger.begin_run(header).await
}

async fn names(store: &Arc<Store>) -> Vec<String> {
    let paths = store.contents().await.into_keys();
    let names = paths.map(|path| path.to_string());
    names
        .map(|name| {
            name.trim_start_matches("swept/test/aws-123456789012-us-east-1/")
                .to_owned()
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn it_reads_as_it_was_written() {
    let store = old().await;
    let ledger = open(&store);
    assert_eq!(ledger.inventory().await.unwrap().items.len(), 7);
    assert_eq!(ledger.left().await.unwrap().len(), 3);
    let migrations = LedgerMigrations::new(ledger.clone());
    assert_eq!(migrations.standings().await.unwrap().len(), 3);
    let holds = ledger.holds("idp").await.unwrap();
    assert_eq!(holds.iter().map(|it| it.rejected).collect::<Vec<_>>(), [3]);
    let releases = ledger.releases("idp").await.unwrap();
    let verified: Vec<_> = releases.iter().map(|it| it.verified).collect();
    assert_eq!(verified, [Some(true), Some(true), Some(true), None]);
    let last = ledger.last_run().await.unwrap().unwrap();
    assert_eq!((last.header.number, last.outcome()), (9, Some("succeeded")));
}

#[tokio::test(start_paused = true)]
async fn it_is_carried_over_wherever_that_is_killed() {
    let before = reading(&old().await).await;
    let mut kills = 0;
    loop {
        let store = old().await;
        store.fail(Fault::ChangesAfter(kills));
        let begun = begin(&open(&store)).await;
        store.mend();
        assert_eq!(reading(&store).await, before, "after {kills} changes");
        let (done, ledger) = (begun.is_ok(), open(&store));
        let run = begin(&ledger).await.unwrap();
        assert_eq!(
            reading(&store).await,
            before,
            "after {kills} changes and a run"
        );
        let outcome = "succeeded".into();
        run.write(Event::Ended { outcome }).await.unwrap();
        assert_eq!(
            reading(&store).await,
            before,
            "after {kills} changes and its end"
        );
        assert_carried(&store).await;
        if done {
            break;
        }
        kills += 1;
    }
    // A header that is tried twice, 7 items, 3 migrations, what was left, a hold, a delete, and the
    // word that it is done.
    assert!(kills > 12, "{kills}");
}

/// Nothing of the older format stands there any more, and whoever reads that alone is told so.
async fn assert_carried(store: &Arc<Store>) {
    let names = names(store).await;
    for older in ["left.json", "migrations.json", "holds/idp/000003.json"] {
        assert!(!names.iter().any(|it| it == older), "{names:?}");
    }
    let one_each = |folder: &str| names.iter().filter(|it| it.starts_with(folder)).count();
    let counts = ["inventory/", "migrations/", "left/", "holds/"].map(one_each);
    // Of the inventory itself it is said that it is whole.
    assert_eq!(counts, [8, 3, 1, 1], "{names:?}");
    let marker = open(store)
        .read_bytes("inventory.json")
        .await
        .unwrap()
        .unwrap();
    let marker: Value = serde_json::from_slice(&marker).unwrap();
    assert_eq!(marker["format"], 2);
    assert!(marker.get("items").is_none(), "{marker}");
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_and_lifted_afterwards_does_not_come_back() {
    let store = old().await;
    let ledger = open(&store);
    // Before anything is carried over: a command may lift a hold first.
    ledger.lift_holds("idp").await.unwrap();
    assert_eq!(open(&store).holds("idp").await.unwrap(), []);
    let run = begin(&ledger).await.unwrap();
    let items = ledger.inventory().await.unwrap().items;
    for address in items.keys() {
        run.forget(address).await.unwrap();
    }
    ledger.write_left(BTreeMap::new()).await.unwrap();
    let ledger = open(&store);
    assert_eq!(ledger.holds("idp").await.unwrap(), []);
    assert!(ledger.inventory().await.unwrap().items.is_empty());
    assert!(ledger.left().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_one_is_never_read_in_part_nor_written_over() {
    for name in [
        "inventory.json",
        "left.json",
        "migrations.json",
        "holds/idp/000003.json",
    ] {
        let store = old().await;
        let ledger = open(&store);
        let whole = ledger.read_bytes(name).await.unwrap().unwrap();
        let part = whole.slice(..whole.len() - 3);
        store
            .put(&ledger.path(name), part.clone().into())
            .await
            .unwrap();
        for _ in 0..2 {
            let ledger = open(&store);
            let read = ledger.check([&"idp".to_owned()]).await.unwrap_err();
            assert!(read.to_string().contains(name), "{read}");
            assert!(begin(&ledger).await.is_err(), "{name}");
            assert_eq!(ledger.read_bytes(name).await.unwrap().unwrap(), part);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_writes_over_what_is_there_is_refused_by_its_address() {
    let store = Store::new();
    store.fail(Fault::Overwrites);
    let ledger = open(&store).at("s3://a-bucket");
    let Err(error) = begin(&ledger).await else {
        panic!("no lock holds there");
    };
    assert_eq!(error.kind(), ErrorKind::Ledger);
    assert!(error.to_string().contains("s3://a-bucket"), "{error}");
}
