//! The ledger in memory: damage, migrations, runs, releases.

mod format_1;
mod renamed;
pub(super) mod store;

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::*;
use crate::address::{Address, CloudName};
use crate::error::ErrorKind;
use crate::migration_record::{MigrationRecord, MigrationStanding};
use crate::ours::Noted;

struct SetClock(Mutex<Timestamp>);

#[async_trait::async_trait]
impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    async fn pause(&self, duration: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(duration).unwrap();
    }
}

fn ledger() -> (Ledger, Arc<SetClock>) {
    let clock = Arc::new(SetClock(Mutex::new(Timestamp::UNIX_EPOCH)));
    let target = Target {
        cloud: CloudName::Aws,
        account: "123456789012".into(),
        region: "us-east-1".into(),
        sandbox: true,
    };
    let store = Arc::new(InMemory::new());
    (
        Ledger::new(
            store,
            &Path::default(),
            "app",
            "staging",
            target,
            clock.clone(),
        ),
        clock,
    )
}

#[tokio::test]
async fn a_damaged_object_is_an_error_and_stays_as_it_is() {
    let (ledger, _) = ledger();
    let path = ledger.path("inventory.json");
    ledger
        .store
        .put(&path, "{\"format\":1,\"items\":".into())
        .await
        .unwrap();
    assert_eq!(
        ledger.inventory().await.unwrap_err().kind(),
        ErrorKind::Ledger
    );
    ledger
        .store
        .put(&path, "{\"format\":99}".into())
        .await
        .unwrap();
    let error = ledger.inventory().await.unwrap_err();
    assert!(error.to_string().contains("format 99"), "{error}");
}

#[tokio::test]
async fn a_migration_is_remembered_by_its_key() {
    let (ledger, _) = ledger();
    let migrations = LedgerMigrations::new(ledger.clone());
    assert_eq!(
        migrations.standing("k").await.unwrap(),
        MigrationStanding::Never
    );
    migrations.started("k", "idp", None).await.unwrap();
    migrations.running("k", "task/1").await.unwrap();
    let standing = migrations.standing("k").await.unwrap();
    assert_eq!(
        standing,
        MigrationStanding::Started {
            execution: Some("task/1".into()),
            at: Some(Timestamp::UNIX_EPOCH),
            before: None,
        }
    );
    migrations.ended("k", Ok(())).await.unwrap();
    let at = Timestamp::UNIX_EPOCH;
    assert_eq!(
        migrations.standing("k").await.unwrap(),
        MigrationStanding::Succeeded { at }
    );
    let before = Some("3 executions".to_owned());
    migrations
        .started("other", "idp", before.clone())
        .await
        .unwrap();
    let mut known = migrations.standings().await.unwrap();
    let other = MigrationStanding::Started {
        execution: None,
        at: Some(at),
        before,
    };
    assert_eq!(known.remove("other"), Some(other));
    assert_eq!(known.len(), 1);
}

#[tokio::test]
async fn holds_are_a_set_and_one_of_before_is_one_of_them() {
    let (ledger, _) = ledger();
    let older = r#"{
        "format": 1, "rejected": 3, "content_id": "c0ffee", "serving": 4,
        "since": "2026-01-01T00:00:00Z", "by": "deploy@runner-3"
    }"#;
    let path = ledger.path("holds/idp.json");
    ledger.store.put(&path, older.into()).await.unwrap();
    let hold = |rejected: u64| Hold {
        rejected,
        content_id: format!("{rejected:016x}"),
        overrides: None,
        secrets: Default::default(),
        serving: rejected + 1,
        since: Timestamp::UNIX_EPOCH,
        by: "deploy@runner-3".into(),
        unfinished: None,
    };
    ledger.set_hold("idp", &hold(2)).await.unwrap();
    let numbers = async || -> Vec<u64> {
        let holds = ledger.holds("idp").await.unwrap();
        holds.iter().map(|it| it.rejected).collect()
    };
    assert_eq!(numbers().await, [2, 3]);
    // What is said of the same release later counts.
    ledger.set_hold("idp", &hold(3)).await.unwrap();
    let holds = ledger.holds("idp").await.unwrap();
    assert_eq!(holds, [hold(2), hold(3)]);
    ledger.lift_hold("idp", 3).await.unwrap();
    assert_eq!(numbers().await, [2]);
    ledger.set_hold("idp", &hold(7)).await.unwrap();
    ledger.lift_holds("idp").await.unwrap();
    assert_eq!(numbers().await, [] as [u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_was_made_only_just_now_is_forgotten_when_two_runs_do_not_see_it() {
    use crate::engine::Journal;
    let (ledger, _) = ledger();
    let header = || RunHeader {
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
    let address: Address = "aws/us-east-1/rds.instance/main".parse().unwrap();
    let run = ledger.begin_run(header()).await.unwrap();
    run.remember(&address, &Noted::default()).await.unwrap();
    run.absent(&address).await.unwrap();
    let items = async || ledger.inventory().await.unwrap().items;
    assert!(items().await[&address].gone_since.is_some());
    // Seen again, it is as if nothing had been said.
    run.remember(&address, &Noted::default()).await.unwrap();
    assert!(items().await[&address].gone_since.is_none());
    run.unseen(&address).await.unwrap();
    let next = ledger.begin_run(header()).await.unwrap();
    next.absent(&address).await.unwrap();
    assert!(items().await.is_empty());
}

#[tokio::test]
async fn a_run_writes_its_entries_in_order_and_keeps_the_inventory() {
    use crate::engine::Journal;
    let (ledger, _) = ledger();
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
    let address: crate::address::Address = "aws/us-east-1/ecs.service/x".parse().unwrap();
    run.remember(&address, &Default::default()).await.unwrap();
    let ended = crate::journal::Event::Ended {
        outcome: "succeeded".into(),
    };
    run.write(ended).await.unwrap();
    let record = ledger.last_run().await.unwrap().unwrap();
    assert_eq!(record.header.number, 1);
    assert_eq!(record.outcome(), Some("succeeded"));
    assert!(
        ledger
            .inventory()
            .await
            .unwrap()
            .items
            .contains_key(&address)
    );
    run.forget(&address).await.unwrap();
    assert!(ledger.inventory().await.unwrap().items.is_empty());
}

/// As it was written before there was verification.
pub(super) const OLD_RELEASE: &str = r#"{
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

#[tokio::test]
async fn a_release_remembers_how_its_verification_ended() {
    let (ledger, _) = ledger();
    let release: Release = serde_json::from_str(OLD_RELEASE).unwrap();
    assert_eq!(release.verified, None);
    ledger.record_release(&release).await.unwrap();
    ledger.note_verified(&release, false).await.unwrap();
    let noted = ledger.latest_release("idp").await.unwrap().unwrap();
    assert_eq!(noted.verified, Some(false));
    let only_that = Release {
        verified: None,
        ..noted
    };
    assert_eq!(only_that, release);
    assert_eq!(ledger.releases("idp").await.unwrap().len(), 1);
}
