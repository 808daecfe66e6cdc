//! Whatever stands in a ledger: a clear error that names the object, or what was written; never a
//! panic, and what cannot be read is never overwritten.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::{Address, CloudName, Target};
use deployer_core::capability::MigrationRecord;
use deployer_core::clock::Clock;
use deployer_core::engine::Journal;
use deployer_core::error::{Error, ErrorKind};
use deployer_core::journal::{Event, replay};
use deployer_core::ledger::{Hold, Ledger, LedgerMigrations, Release, RunHeader};
use deployer_core::node::Action;
use futures::executor::block_on;
use jiff::Timestamp;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;

struct Still;

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    async fn pause(&self, _: Duration) {}
}

fn target() -> Target {
    Target {
        cloud: CloudName::Aws,
        account: "123456789012".into(),
        region: "us-east-1".into(),
        sandbox: true,
    }
}

const RELEASE: &str = r#"{
    "number": 1, "service": "idp", "content_id": "c0ffee", "image": "x/idp@sha256:00", "tag": null,
    "revision": "idp:1", "secrets": {}, "migration": null, "at": "2026-11-01T00:00:00Z",
    "by": "deploy@runner-3", "run": "run 1", "detached": false,
    "spec": {
        "key": "idp", "name": "app-idp", "repository": "idp", "image": "idp.tar", "port": 3000,
        "health": {
            "path": "/health", "command": [], "retries": 3,
            "interval": {"secs": 5, "nanos": 0}, "timeout": {"secs": 2, "nanos": 0},
            "start_period": {"secs": 0, "nanos": 0}
        },
        "cpu": 1000, "memory": 2048, "replicas": {"min": 1, "max": 2}, "entrypoint": [],
        "command": [], "env": {}, "secrets": {}, "migrate": null, "url": null, "adopt": false
    }
}"#;

/// A ledger with something of each kind in it.
async fn written() -> (Arc<InMemory>, Ledger) {
    let store = Arc::new(InMemory::new());
    let clock = Arc::new(Still);
    let base = Path::default();
    let ledger = Ledger::new(store.clone(), &base, "app", "staging", target(), clock);
    let header = RunHeader {
        number: 0,
        command: "apply".into(),
        by: "deploy@runner-3".into(),
        at: Timestamp::UNIX_EPOCH,
        manifest: serde_json::Value::Null,
        contents: std::collections::BTreeMap::new(),
        redeploys: std::collections::BTreeMap::new(),
        plan: None,
        typed: None,
    };
    let run = ledger.begin_run(header).await.unwrap();
    let address = Address::new(&target(), "ecs.service", "idp");
    run.remember(&address, &Default::default()).await.unwrap();
    let started = Event::Started {
        address: address.clone(),
        action: Action::Create,
        token: "0d3b".into(),
    };
    run.write(started).await.unwrap();
    run.write(Event::Landed { address }).await.unwrap();
    let migrations = LedgerMigrations::new(ledger.clone());
    migrations.started("0123", "idp", None).await.unwrap();
    let release: Release = serde_json::from_str(RELEASE).unwrap();
    ledger.record_release(&release).await.unwrap();
    let hold = Hold {
        rejected: 2,
        content_id: "c0ffee".into(),
        overrides: None,
        secrets: Default::default(),
        serving: 1,
        since: Timestamp::UNIX_EPOCH,
        by: "deploy@runner-3".into(),
        unfinished: None,
    };
    ledger.set_hold("idp", &hold).await.unwrap();
    // Another process reads: this one knows what it has written.
    let clock = Arc::new(Still);
    let ledger = Ledger::new(store.clone(), &base, "app", "staging", target(), clock);
    (store, ledger)
}

async fn paths(store: &InMemory) -> Vec<Path> {
    use futures::TryStreamExt;
    let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
    objects.into_iter().map(|object| object.location).collect()
}

/// How many objects [`written`] makes: the format's, an item, a migration, a run's header and two
/// entries, a release, a hold.
const OBJECTS: usize = 8;

/// Reads everything. The first error, when something cannot be read.
async fn read(ledger: &Ledger) -> Result<(), Error> {
    ledger.inventory().await?;
    if let Some(run) = ledger.last_run().await? {
        replay(&run.entries)?;
        run.outcome();
    }
    LedgerMigrations::new(ledger.clone()).standings().await?;
    ledger.left().await?;
    ledger.holds("idp").await?;
    ledger.latest_release("idp").await?;
    Ok(())
}

async fn damage(bytes: Vec<u8>, which: usize) -> (Result<(), Error>, Path, Arc<InMemory>, Ledger) {
    let (store, ledger) = written().await;
    let paths = paths(&store).await;
    let path = paths[which % paths.len()].clone();
    store.put(&path, bytes.into()).await.unwrap();
    (read(&ledger).await, path, store, ledger)
}

async fn bytes_at(store: &InMemory, path: &Path) -> Vec<u8> {
    store
        .get(path)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap()
        .to_vec()
}

#[test]
fn what_was_written_is_read() {
    block_on(async {
        let (store, ledger) = written().await;
        read(&ledger).await.unwrap();
        assert_eq!(paths(&store).await.len(), OBJECTS);
    });
}

#[test]
fn an_object_of_another_version_of_another_tool_or_much_too_large_is_refused_by_name() {
    let terraform = br#"{"version": 4, "terraform_version": "1.9.0", "resources": []}"#.to_vec();
    let newer = br#"{"format": 99, "items": {}}"#.to_vec();
    for bytes in [
        terraform,
        newer,
        b"\xff\xfe".to_vec(),
        Vec::new(),
        vec![b' '; 65 << 20],
    ] {
        for which in 0..OBJECTS {
            let (result, path, _, _) = block_on(damage(bytes.clone(), which));
            let error = result.expect_err("it is not what was written");
            assert_eq!(error.kind(), ErrorKind::Ledger, "{error:?}");
            assert!(
                error.to_string().contains(path.as_ref()),
                "{error:?} of {path}"
            );
            assert!(error.hint_text().is_some(), "{error:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_of_any_kind_are_refused_and_never_overwritten(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        which in 0..OBJECTS,
    ) {
        block_on(async {
            let (result, path, store, ledger) = damage(bytes.clone(), which).await;
            prop_assert!(result.is_err());
            let header = RunHeader {
                number: 0,
                command: "apply".into(),
                by: "somebody".into(),
                at: Timestamp::UNIX_EPOCH,
                manifest: serde_json::Value::Null,
                contents: std::collections::BTreeMap::new(),
                redeploys: std::collections::BTreeMap::new(),
                plan: None,
                typed: None,
            };
            // The next run begins, or does not; what it cannot read stays as it is.
            if let Ok(run) = ledger.begin_run(header).await {
                let address = Address::new(&target(), "ecs.service", "other");
                let _ = run.remember(&address, &Default::default()).await;
            }
            let _ = LedgerMigrations::new(ledger.clone()).started("4567", "other", None).await;
            prop_assert_eq!(bytes_at(&store, &path).await, bytes);
            Ok(())
        })?;
    }

    #[test]
    fn a_truncated_object_is_refused(keep in 0.0..1.0_f64, which in 0..OBJECTS) {
        block_on(async {
            let (store, ledger) = written().await;
            let paths = paths(&store).await;
            let path = &paths[which % paths.len()];
            let whole = bytes_at(&store, path).await;
            let part = whole[..(whole.len() as f64 * keep) as usize].to_vec();
            store.put(path, part.into()).await.unwrap();
            let error = read(&ledger).await.expect_err("it is not what was written");
            prop_assert_eq!(error.kind(), ErrorKind::Ledger);
            Ok(())
        })?;
    }

    #[test]
    fn an_object_with_other_bytes_somewhere_never_panics(
        at in 0.0..1.0_f64,
        other in prop::collection::vec(any::<u8>(), 0..12),
        which in 0..OBJECTS,
    ) {
        block_on(async {
            let (store, ledger) = written().await;
            let paths = paths(&store).await;
            let path = &paths[which % paths.len()];
            let mut bytes = bytes_at(&store, path).await;
            let at = (bytes.len() as f64 * at) as usize;
            let end = (at + other.len()).min(bytes.len());
            bytes.splice(at..end, other);
            store.put(path, bytes.into()).await.unwrap();
            if let Err(error) = read(&ledger).await {
                prop_assert_eq!(error.kind(), ErrorKind::Ledger);
            }
            Ok(())
        })?;
    }
}
