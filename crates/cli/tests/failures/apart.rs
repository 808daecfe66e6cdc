//! The clouds fail independently, their ledgers and locks too; one key pair is made once.

use std::time::Duration;

use deployer::Exit;
use object_store::ObjectStoreExt;

use crate::in_process::stage::{Ended, Stage, Wanted};
use crate::{APPLY, SECOND, assert_serves, clouds, first_serves, run, says};

crate::tests! {
    a_lock_that_is_taken_on_one_cloud_keeps_no_release_of_the_other_from_its_ledger => lock_taken,
    a_damaged_ledger_of_one_cloud_leaves_the_other_one_alone => ledger_damaged,
    status_says_what_it_cannot_read_and_shows_the_rest => status_goes_on,
    two_first_applies_at_once_make_one_key_pair => one_key_pair,
    a_secret_that_one_cloud_refuses_is_set_on_the_other => secret_refused,
}

const LEDGER: &str = "swept/test/aws-123456789012-us-east-1";

/// One cloud's lock is taken by hand while both roll out: the other's release is recorded.
async fn lock_taken(stage: &Stage) {
    first_serves(stage).await;
    stage.want(&SECOND);
    stage.containers_take(Duration::from_secs(60));
    let hand = async {
        stage.time.pass(Duration::from_secs(25)).await;
        run(stage, &["lock", "release", "--yes"], "aws", Exit::Success).await;
    };
    let ((ended, said), ()) = tokio::join!(stage.run(APPLY, "all"), hand);
    assert!(!matches!(ended, Ended::Exit(Exit::Success)), "{said}");
    clouds::until_serves(stage, "gcp", "idp", 2).await;
    run(stage, &["status"], "gcp", Exit::Success).await;
    let said = run(stage, &["releases"], "gcp", Exit::Success).await;
    says(&said, &["r2", "serves"]);
    let entries = stage.ledger.entries().await;
    let ended = entries
        .iter()
        .any(|it| it["event"]["outcome"] == "succeeded");
    assert!(ended, "the run of the other cloud has an end");
    stage.time.pass(Duration::from_secs(300)).await;
    let back = ["rollback", "--yes", "--no-verify"];
    run(stage, &back, "gcp", Exit::Success).await;
    assert_serves(stage, "gcp", 1).await;
}

/// One cloud's ledger is damaged: it is told and left alone, and the other one goes its own way.
async fn ledger_damaged(stage: &Stage) {
    first_serves(stage).await;
    let folders = ["inventory.json", "inventory/aws", "left/", "migrations/"];
    for (version, folder) in (2..).zip(folders) {
        let mut paths = stage.ledger.standing().await.into_iter();
        let begins = format!("{LEDGER}/{folder}");
        let path = paths.find(|it| it.as_ref().starts_with(&begins));
        let path = path.expect("something stands there");
        let whole = stage.ledger.get(&path).await.expect("it is there");
        let whole = whole.bytes().await.expect("its content");
        stage
            .ledger
            .put(&path, "{".into())
            .await
            .expect("memory takes it");
        stage.write_image(version, "amd64");
        stage.want(&Wanted {
            version,
            ..Wanted::FIRST
        });
        stage.calls.arm(None);
        let said = run(stage, APPLY, "all", Exit::Failure).await;
        says(&said, &[path.as_ref(), "hint:"]);
        let writes = stage.calls.writes();
        assert!(
            !writes.iter().any(|call| call.contains(':')),
            "on AWS: {writes:?}"
        );
        clouds::assert_serves(stage, "gcp", "idp", version).await;
        clouds::assert_serves(stage, "aws", "idp", version - 1).await;
        stage
            .ledger
            .put(&path, whole.into())
            .await
            .expect("memory takes it");
        run(stage, APPLY, "all", Exit::Success).await;
    }
}

/// Where a ledger cannot be read in part, or not at all, `status` says so and shows what serves; so
/// does `releases`, as far as it goes.
async fn status_goes_on(stage: &Stage) {
    first_serves(stage).await;
    for folder in ["inventory.json", "inventory/", "releases/", "lock/"] {
        let mut paths = stage
            .ledger
            .entries_below(&format!("{LEDGER}/{folder}"))
            .await;
        let path = paths.pop().expect("something stands there");
        let whole = stage.ledger.get(&path).await.expect("it is there");
        let whole = whole.bytes().await.expect("its content");
        let put = stage.ledger.put(&path, "{".into());
        put.await.expect("memory takes it");
        let said = run(stage, &["status", "idp"], "all", Exit::Failure).await;
        says(&said, &[path.as_ref(), "is damaged", "hint:"]);
        // Of both clouds.
        let states = said.matches("    state      ready").count();
        assert_eq!(states, 2, "{folder}: {said}");
        let said = run(stage, &["status", "--json"], "all", Exit::Failure).await;
        says(&said, &[path.as_ref()]);
        let documents = said.find("\n[").map_or("", |at| &said[at..]);
        let documents: serde_json::Value = serde_json::from_str(documents).expect("JSON");
        let states = documents.as_array().expect("a list").iter();
        let ready = states.filter(|it| it["serving"]["state"]["state"] == "ready");
        assert_eq!(ready.count(), 2, "{documents:#}");
        let ends = match folder {
            "releases/" | "inventory.json" => Exit::Failure,
            _ => Exit::Success,
        };
        let said = run(stage, &["releases"], "all", ends).await;
        assert!(said.contains("GCP") && said.contains("r1"), "{said}");
        let ends = match folder {
            "lock/" => Exit::Success,
            _ => Exit::Failure,
        };
        let said = run(stage, &["plan"], "all", ends).await;
        says(&said, &["gcp"]);
        let put = stage.ledger.put(&path, whole.into());
        put.await.expect("memory takes it");
        run(stage, &["status"], "all", Exit::Success).await;
    }
}

/// Two first applies at once, one for each cloud, make one key pair: one of them waits its turn.
async fn one_key_pair(stage: &Stage) {
    let keys = Wanted {
        keys: true,
        ..Wanted::FIRST
    };
    stage.want(&keys);
    stage.containers_take(Duration::from_secs(30));
    let ((aws, said), (gcp, also)) = tokio::join!(stage.run(APPLY, "aws"), stage.run(APPLY, "gcp"));
    let exits = [aws, gcp].map(|ended| match ended {
        Ended::Exit(exit) => exit,
        Ended::Killed => panic!("nobody was killed"),
    });
    assert!(exits.contains(&Exit::Success), "{exits:?}\n{said}\n{also}");
    assert!(exits.contains(&Exit::Locked), "{exits:?}\n{said}\n{also}");
    run(stage, APPLY, "all", Exit::Success).await;
    run(stage, APPLY, "all", Exit::Success).await;
}

/// What is refused while a secret is set has an end, and keeps nothing from the other cloud.
async fn secret_refused(stage: &Stage) {
    first_serves(stage).await;
    let value = stage.file("value", "set by hand");
    stage.calls.deny("secretsmanager:GetSecretValue");
    let set = ["secrets", "set", "cookie-key", "--file", &value];
    let said = run(stage, &set, "all", Exit::Denied).await;
    says(&said, &["gcp: `cookie-key` is version 2 now"]);
    stage.calls.arm(None);
    let said = run(stage, APPLY, "all", Exit::Success).await;
    assert!(!said.contains("stopped"), "{said}");
}
