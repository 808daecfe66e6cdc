//! The same binary and manifest against ministack, which nobody here wrote. Its services settle, so
//! `apply` waits for them.
//!
//! Without a container engine its tasks never end: no migration is asked for, and what the service
//! answers is not looked at. It describes no service deployments, and a broken image settles as
//! well as a sound one: refusing releases is for the sandbox's tests.

use deployer_tests::deployer::{Finished, exit};
use deployer_tests::emulator::{Emulated, Emulator};
use deployer_tests::prepared::{Prepared, skip};
use deployer_tests::python;
use deployer_tests::recorder::Side;
use serde_json::{Value, json};

const APPLY: [&str; 2] = ["apply", "--yes"];

fn start(test: &str) -> Option<Emulated> {
    let prepared = Prepared::find(test)?;
    let Some(ministack) = Emulator::ministack(&prepared) else {
        skip(test, "ministack is not installed");
        return None;
    };
    let mut emulated = Emulated::new(&prepared, ministack);
    emulated.change(|manifest| manifest.migrates = false);
    Some(emulated)
}

#[track_caller]
fn apply(ministack: &Emulated) -> Finished {
    ministack.deployer.run(&APPLY).exits(exit::SUCCESS)
}

/// The task definition that takes all traffic; panics unless the service is ready and says that
/// nothing else serves.
#[track_caller]
fn serving(ministack: &Emulated) -> Value {
    let service = ministack.service();
    let serving = &service["serving"];
    assert_eq!(serving["state"], json!({"state": "ready"}), "{service:#}");
    assert_eq!(serving["instances"], json!([1, 1]), "{service:#}");
    assert_eq!(
        serving["traffic"],
        json!([[serving["wanted"], 100]]),
        "{service:#}"
    );
    assert_eq!(service["release"]["revision"], serving["wanted"]);
    serving["wanted"].clone()
}

#[test]
fn a_service_settles_changes_and_rolls_back_on_ministack() {
    let Some(mut ministack) = start("a_service_settles_changes_and_rolls_back_on_ministack") else {
        return;
    };
    apply(&ministack).says("idp r1 serves on aws");
    let first = serving(&ministack);
    ministack.assert_settled(&APPLY);

    let image = ministack.prepared.image("2.0.0");
    ministack.change(|manifest| manifest.image = image);
    apply(&ministack).says("idp r2 serves on aws");
    let second = serving(&ministack);
    assert_ne!(first, second);
    ministack.assert_settled(&APPLY);

    let rollback = ["rollback", "--cloud", "aws", "--to", "r1", "--yes"];
    ministack.deployer.run(&rollback).exits(exit::SUCCESS);
    assert_eq!(serving(&ministack), first);
    ministack.deployer.run(&APPLY).exits(exit::HELD);
    assert_eq!(serving(&ministack), first);
    ministack
        .deployer
        .run(&["apply", "--yes", "--release-hold"])
        .exits(exit::SUCCESS);
    assert_eq!(serving(&ministack), second);

    ministack.deployer = ministack
        .deployer
        .with("IDP_CLIENT_SECRET", "the second secret");
    apply(&ministack);
    assert_ne!(serving(&ministack), second);
    ministack.assert_settled(&APPLY);

    ministack
        .deployer
        .run(&["destroy", "--yes", "--allow-data-loss", "all"])
        .exits(exit::SUCCESS);
    assert_eq!(ministack.service()["serving"], json!(null));
    apply(&ministack);
    serving(&ministack);
    ministack.assert_settled(&APPLY);
    // Requests only: what ministack answers is not ours to judge.
    python::assert_requests_valid(&ministack.prepared, &ministack.recorder, Side::Aws);
}

/// What moto cannot: the whole way from nothing to nothing, with the groups of both.
#[test]
fn a_database_and_a_cache_come_and_go_on_ministack() {
    let Some(mut ministack) = start("a_database_and_a_cache_come_and_go_on_ministack") else {
        return;
    };
    ministack.change(|manifest| manifest.managed = Some("storage = \"20GiB\"".to_owned()));
    apply(&ministack);
    serving(&ministack);
    ministack.assert_settled(&APPLY);
    let report = ministack.read_stores();
    assert_eq!(report["differences"], json!([]), "{report:#}");

    ministack.change(|manifest| manifest.managed = Some("storage = \"30GiB\"".to_owned()));
    let mark = ministack.recorder.mark();
    apply(&ministack);
    assert_eq!(mark.writes(), ["rds:ModifyDBInstance"]);
    ministack.assert_settled(&APPLY);

    ministack
        .deployer
        .run(&["destroy", "--yes", "--allow-data-loss", "all"])
        .exits(exit::SUCCESS);
    let left = ministack.ask("leftovers_on_emulator.py", &["idp-test", ""]);
    let left = left.as_object().expect("lists by kind");
    for (kind, names) in left.iter().filter(|(kind, _)| *kind != "final snapshots") {
        assert_eq!(*names, json!([]), "{kind}");
    }
    apply(&ministack);
    serving(&ministack);
    python::assert_requests_valid(&ministack.prepared, &ministack.recorder, Side::Aws);
}
