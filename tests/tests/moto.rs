//! The same binary and manifest against moto, which nobody here wrote. Its services never settle:
//! `--detach`.

use deployer_tests::deployer::{Finished, exit};
use deployer_tests::emulator::{Emulated, Emulator};
use deployer_tests::prepared::Prepared;
use deployer_tests::python;
use deployer_tests::recorder::Side;
use serde_json::{Value, json};

const APPLY: [&str; 3] = ["apply", "--yes", "--detach"];

const DATABASE: &str = "aws/us-east-1/rds.instance/idp-test-main";

const NAME: &str = "idp.example.com";

fn start(test: &str) -> Option<Emulated> {
    let prepared = Prepared::find(test)?;
    let moto = Emulator::moto(&prepared);
    Some(Emulated::new(&prepared, moto))
}

#[track_caller]
fn apply(moto: &Emulated) -> Finished {
    moto.deployer.run(&APPLY).exits(exit::SUCCESS)
}

fn revision(moto: &Emulated) -> Value {
    moto.service()["serving"]["wanted"].clone()
}

#[test]
fn a_service_lives_its_life_on_moto() {
    let Some(mut moto) = start("a_service_lives_its_life_on_moto") else {
        return;
    };
    moto.change(|manifest| manifest.extra_secrets = vec!["retired".to_owned()]);
    assert!(moto.plan()["counts"]["create"].as_u64() > Some(5));
    apply(&moto);
    moto.assert_settled(&APPLY);
    let first = revision(&moto);

    let image = moto.prepared.image("2.0.0");
    moto.change(|manifest| manifest.image = image);
    apply(&moto);
    moto.assert_settled(&APPLY);
    let second = revision(&moto);
    assert_ne!(first, second, "a new version is a new task definition");

    moto.deployer = moto.deployer.with("IDP_CLIENT_SECRET", "the second secret");
    apply(&moto);
    moto.assert_settled(&APPLY);
    assert_ne!(
        second,
        revision(&moto),
        "a new secret version is a new task definition"
    );

    // While a rollback goes to a release that pins it, the secret stays.
    moto.change(|manifest| manifest.extra_secrets.clear());
    assert_eq!(moto.plan()["counts"]["delete"], json!(0));
    apply(&moto);
    moto.assert_settled(&APPLY);
    moto.change(|manifest| manifest.greeting = "good day".to_owned());
    assert_eq!(moto.plan()["counts"]["delete"], json!(1));
    // A delete that the roll-out of this apply may still need is the next one's.
    apply(&moto);
    apply(&moto);
    moto.assert_settled(&APPLY);

    moto.deployer
        .run(&["destroy", "--yes", "--allow-data-loss", "all"])
        .exits(exit::SUCCESS);
    assert_eq!(moto.service()["serving"], json!(null));
    apply(&moto);
    moto.assert_settled(&APPLY);
    // Requests only: what moto answers is not ours to judge.
    python::assert_requests_valid(&moto.prepared, &moto.recorder, Side::Aws);
}

#[test]
fn a_database_a_cache_and_a_name_live_their_lives_on_moto() {
    let Some(mut moto) = start("a_database_a_cache_and_a_name_live_their_lives_on_moto") else {
        return;
    };
    moto.name(NAME);
    disk(&mut moto, 20);
    they_are_planned_and_made(&moto);
    the_vendors_clients_agree_with_status(&moto);
    a_larger_disk_is_changed_in_place(&mut moto);
    a_smaller_disk_is_refused_without_a_word(&mut moto);
    a_destroy_ends_where_moto_does(&moto);
    python::assert_requests_valid(&moto.prepared, &moto.recorder, Side::Aws);
}

fn tags(moto: &Emulated, [action, key, value]: [&str; 3]) -> Value {
    moto.ask("foreign_tags.py", &["idp-test", action, key, value])
}

/// As on the sandbox (`crates/cli/tests/failures/contract.rs`), on what nobody here wrote: what
/// another hand put on anything of ours stays and is no difference, and what another owner marked
/// is left alone.
#[test]
fn another_hands_tag_stays_on_every_kind_of_moto() {
    let Some(mut moto) = start("another_hands_tag_stays_on_every_kind_of_moto") else {
        return;
    };
    disk(&mut moto, 20);
    apply(&moto);
    moto.assert_settled(&APPLY);
    let marked = tags(&moto, ["write", "seen-by", "platform"]);
    for (kind, least) in [
        ("services", 1),
        ("repositories", 1),
        ("log groups", 1),
        ("secrets", 4),
        ("databases", 3),
        ("caches", 2),
    ] {
        let names = marked[kind].as_array().expect("a list");
        assert!(names.len() >= least, "{kind}: {marked:#}");
    }
    moto.assert_settled(&APPLY);
    moto.change(|manifest| manifest.greeting = "good day".to_owned());
    apply(&moto);
    assert_eq!(tags(&moto, ["read", "seen-by", "platform"]), marked);

    tags(&moto, ["write", "deployer", "other/production"]);
    moto.change(|manifest| manifest.greeting = "good night".to_owned());
    let mark = moto.recorder.mark();
    let refused = moto.deployer.run(&APPLY).exits(exit::FAILURE);
    refused.says("other/production");
    assert_eq!(mark.writes(), Vec::<String>::new());
}

fn disk(moto: &mut Emulated, gib: u32) {
    moto.change(|manifest| manifest.managed = Some(format!("storage = \"{gib}GiB\"")));
}

fn they_are_planned_and_made(moto: &Emulated) {
    let plan = moto.deployer.run(&["plan", "--details"]);
    let plan = plan.exits(exit::SUCCESS);
    for kind in [
        "rds.instance",
        "elasticache.replication_group",
        "route53.record",
    ] {
        plan.says(kind);
    }
    // In this environment an emulator answers: the zone's name servers know nothing of it, and that
    // is said.
    apply(moto).says("no name server is asked");
    moto.assert_settled(&APPLY);
}

fn the_vendors_clients_agree_with_status(moto: &Emulated) {
    let report = moto.read_stores();
    assert_eq!(report["differences"], json!([]), "{report:#}");
    for reader in ["boto3 database", "boto3 cache", "boto3 name"] {
        let readers = report["readers"].as_array().into_iter().flatten();
        assert!(readers.into_iter().any(|it| it == reader), "{report:#}");
    }
}

fn a_larger_disk_is_changed_in_place(moto: &mut Emulated) {
    disk(moto, 30);
    let plan = moto.plan();
    assert_eq!(
        plan["counts"],
        json!({"create": 0, "update": 1, "replace": 0, "delete": 0, "release": 0}),
        "{plan:#}"
    );
    let mark = moto.recorder.mark();
    apply(moto);
    assert_eq!(mark.writes(), ["rds:ModifyDBInstance"]);
    moto.assert_settled(&APPLY);
    the_vendors_clients_agree_with_status(moto);
}

fn a_smaller_disk_is_refused_without_a_word(moto: &mut Emulated) {
    disk(moto, 20);
    let mark = moto.recorder.mark();
    let refused = moto.deployer.run(&APPLY).exits(exit::INPUT);
    refused.says("no disk shrinks");
    assert_eq!(mark.writes(), Vec::<String>::new());
    disk(moto, 30);
}

/// moto has no DeleteCacheSubnetGroup, and a deleted cache stays `deleting` for ever. So a destroy
/// fails at that one group, in seconds; everything else is gone, and the next destroy has nothing
/// else to do.
fn a_destroy_ends_where_moto_does(moto: &Emulated) {
    let destroy = ["destroy", "--yes", "--allow-data-loss", "all"];
    let mark = moto.recorder.mark();
    moto.deployer
        .run(&destroy[..2])
        .exits(exit::INPUT)
        .says(&format!("--allow-data-loss {DATABASE}"));
    assert_eq!(mark.writes(), Vec::<String>::new());

    moto.deployer
        .run(&destroy)
        .exits(exit::FAILURE)
        .says("cannot delete cache subnet group `idp-test-sessions`");
    let left = moto.ask("leftovers_on_emulator.py", &["idp-test", NAME]);
    assert_eq!(
        left,
        json!({
            "services": [], "secrets": [], "repositories": [], "logs": [], "databases": [], "database groups": [],
            "parameter groups": [], "records": [],
            "caches": [{"name": "idp-test-sessions", "status": "deleting"}],
            "cache groups": ["idp-test-sessions"],
            "final snapshots": 1,
        })
    );
    let mark = moto.recorder.mark();
    moto.deployer.run(&destroy).exits(exit::FAILURE);
    let mut tried = mark.writes();
    tried.dedup();
    assert_eq!(tried, ["elasticache:DeleteCacheSubnetGroup"]);
}
