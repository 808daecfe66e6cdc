//! What every kind of the clouds' tables promises, whichever it is. A kind that the manifest here
//! does not bring fails the first test.

use std::collections::BTreeSet;

use deployer::Exit;
use reqwest::Method;
use serde_json::json;

use crate::in_process::stage::{Ended, PROJECT, Stage, Wanted};
use crate::{APPLY, DESTROY, run, says};
use crate::{app_runner, domains, world};

crate::tests! {
    every_kind_is_made_compared_and_removed => lives,
    another_hands_tag_stays_on_every_kind_and_is_no_drift => tagged,
    a_tag_of_ours_that_another_hand_changed_is_put_back_on_every_kind => put_back,
    a_write_whose_answer_is_lost_makes_nothing_twice => answers_lost,
    a_write_of_app_runner_whose_answer_is_lost_makes_nothing_twice => answers_lost_on_app_runner,
}

pub const PLAN: &[&str] = &["plan", "--detailed-exitcode"];

/// Every kind there is.
const EVERYTHING: Wanted = Wanted {
    data: true,
    keys: true,
    ..Wanted::FIRST
};

/// What the usual manifest does not have: a range that ECS scales in, and a name.
const MORE: &str = "
[services.idp]
replicas = { min = 1, max = 3 }

[targets.gcp.services.idp.dns]
name = \"idp.example.com\"
zone = \"example.com\"
address = \"192.0.2.7\"
";

pub async fn want_everything(stage: &Stage) {
    let zone = json!({
        "name": "example", "dnsName": "example.com.", "description": "theirs", "visibility": "public",
    });
    let zones = format!("/dns/v1/projects/{PROJECT}/managedZones");
    stage.google(Method::POST, &zones, Some(zone)).await;
    stage.file("deployer.test.toml", MORE);
    stage.want(&EVERYTHING);
}

/// An environment of which App Runner runs everything, beside the other one.
pub async fn on_app_runner(stage: &Stage) -> Stage {
    let beside = stage.beside("runner");
    want_on_app_runner(&beside).await;
    beside
}

async fn want_on_app_runner(stage: &Stage) {
    app_runner::want(stage, &Wanted::FIRST);
    domains::want_one(stage).await;
}

/// The kinds of both tables.
pub fn kinds() -> BTreeSet<&'static str> {
    deployer_aws::kinds().chain(deployer_gcp::kinds()).collect()
}

/// The kinds of what the inventories name.
async fn inventory(stage: &Stage) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for key in stage.ledger.standing().await {
        if !key.as_ref().contains("/inventory/") {
            continue;
        }
        let item = stage.ledger.document(&key).await;
        let kind = item["address"].as_str().and_then(|it| it.split('/').nth(2));
        found.extend(kind.map(str::to_owned));
    }
    found
}

async fn lives(stage: &Stage) {
    want_everything(stage).await;
    run(stage, APPLY, "all", Exit::Success).await;
    let beside = on_app_runner(stage).await;
    run(&beside, APPLY, "aws", Exit::Success).await;
    let mut made = inventory(stage).await;
    made.extend(inventory(&beside).await);
    let missing: Vec<&str> = kinds()
        .into_iter()
        .filter(|it| !made.contains(*it))
        .collect();
    assert!(
        missing.is_empty(),
        "no {missing:?} is made here: bring it into this manifest"
    );
    stage.calls.arm(None);
    let said = run(stage, PLAN, "all", Exit::Success).await;
    says(&said, &["No changes"]);
    run(stage, APPLY, "all", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    let said = run(&beside, PLAN, "aws", Exit::Success).await;
    says(&said, &["No changes"]);
    run(&beside, APPLY, "aws", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    let ours = world::of(stage).await;
    assert!(ours.iter().any(|it| it.mark().is_some()), "{ours:?}");
    run(stage, DESTROY, "all", Exit::Success).await;
    run(&beside, DESTROY, "aws", Exit::Success).await;
    let left = marked(stage).await;
    assert!(left.is_empty(), "{left:?}");
    // The same by the sandbox's own books: of kinds, too, that nobody thought of here.
    let left: Vec<String> = world::in_books(stage)
        .into_keys()
        .filter(|it| !is_passing(it))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    stage.calls.arm(None);
    run(stage, DESTROY, "all", Exit::Success).await;
    run(&beside, DESTROY, "aws", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    assert!(inventory(stage).await.is_empty());
    assert!(inventory(&beside).await.is_empty());
    beside.clear().await;
}

/// What bears a mark and is neither a last backup nor on its way out.
async fn marked(stage: &Stage) -> Vec<String> {
    let things = world::of(stage).await.into_iter();
    let marked = things.filter(|it| it.mark().is_some());
    marked
        .map(|it| it.name)
        .filter(|it| !is_passing(it))
        .collect()
}

/// Whether a name is one of a last backup, of what is on its way out, or of what is over.
fn is_passing(name: &str) -> bool {
    const PASSING: [&str; 10] = [
        ":snapshot:",
        ":secret:",
        "task-definition/",
        "aws/rds/snapshots/",
        "aws/elasticache/snapshots/",
        "aws/secretsmanager/secrets/",
        "aws/ecs/families/",
        "aws/ecs/tasks/",
        "aws/ecs/runs/",
        "gcp/sqladmin/backups/",
    ];
    PASSING.iter().any(|it| name.contains(it))
}

async fn tagged(stage: &Stage) {
    want_everything(stage).await;
    run(stage, APPLY, "all", Exit::Success).await;
    let beside = on_app_runner(stage).await;
    run(&beside, APPLY, "aws", Exit::Success).await;
    world::tag_all(stage, "backup", "daily").await;
    let said = run(stage, PLAN, "all", Exit::Success).await;
    says(&said, &["No changes"]);
    let said = run(&beside, PLAN, "aws", Exit::Success).await;
    says(&said, &["No changes"]);
    beside.clear().await;
    for thing in world::of(stage).await {
        let backup = thing.tags.get("backup").map(String::as_str);
        assert_eq!(backup, Some("daily"), "{thing:?}");
    }
    // What bears our mark and not theirs is of a kind that `world` does not know.
    for (place, tags) in world::in_books(stage) {
        let backup = tags.get("backup").map(String::as_str);
        let is_tagged = backup == Some("daily") || is_passing(&place) || is_part(&place);
        assert!(is_tagged, "{place} is not tagged here: {tags:?}");
    }
}

/// What another hand cannot tag by itself, or the tests here do not: it goes with its service.
fn is_part(place: &str) -> bool {
    place.starts_with("aws/autoscaling/targets/")
}

/// What the manifest says of every thing, and what another hand makes of it.
const TEAM: &str = "\n[tags]\nteam = \"web\"\n";

async fn put_back(stage: &Stage) {
    want_everything(stage).await;
    stage.edit(|manifest| manifest + TEAM);
    run(stage, APPLY, "all", Exit::Success).await;
    let beside = stage.beside("runner");
    want_on_app_runner(&beside).await;
    beside.edit(|manifest| manifest + TEAM);
    run(&beside, APPLY, "aws", Exit::Success).await;
    world::tag_all(stage, "team", "theirs").await;
    run(stage, PLAN, "all", Exit::Changes).await;
    run(stage, APPLY, "all", Exit::Success).await;
    run(&beside, PLAN, "aws", Exit::Changes).await;
    run(&beside, APPLY, "aws", Exit::Success).await;
    for thing in world::of(stage).await {
        if thing.mark().is_some() && !is_passing(&thing.name.replace(":secret:", ":a-secret:")) {
            let team = thing.tags.get("team").map(String::as_str);
            assert_eq!(team, Some("web"), "{thing:?}");
        }
    }
    let said = run(stage, PLAN, "all", Exit::Success).await;
    says(&said, &["No changes"]);
    let said = run(&beside, PLAN, "aws", Exit::Success).await;
    says(&said, &["No changes"]);
    beside.clear().await;
}

/// Every write that the first apply makes, each once.
async fn answers_lost(stage: &Stage) {
    want_everything(stage).await;
    let writes = first_writes(stage, "all").await;
    assert!(writes.len() > 20, "{writes:?}");
    let undisturbed = names(stage).await;
    for write in writes {
        let disturbed = Stage::set(&stage.time).await;
        want_everything(&disturbed).await;
        answer_lost(disturbed, "all", &write, &undisturbed).await;
    }
}

async fn answers_lost_on_app_runner(stage: &Stage) {
    want_on_app_runner(stage).await;
    let writes = first_writes(stage, "aws").await;
    let of_it = writes.iter().filter(|it| it.starts_with("apprunner:"));
    assert!(of_it.count() >= 3, "{writes:?}");
    let undisturbed = names(stage).await;
    let seen_elsewhere = ["apprunner:", "ecs:CreateCluster", "ecs:RunTask", "route53:"];
    for write in writes {
        if seen_elsewhere.iter().any(|it| write.starts_with(it)) {
            let disturbed = Stage::set(&stage.time).await;
            want_on_app_runner(&disturbed).await;
            answer_lost(disturbed, "aws", &write, &undisturbed).await;
        }
    }
}

async fn first_writes(stage: &Stage, cloud: &str) -> BTreeSet<String> {
    stage.calls.arm(None);
    run(stage, APPLY, cloud, Exit::Success).await;
    stage.calls.writes().into_iter().collect()
}

async fn answer_lost(disturbed: Stage, cloud: &str, write: &str, undisturbed: &BTreeSet<String>) {
    let call = write.split(' ').next().unwrap_or(write);
    let rule = format!("[[fault]]\ncall = \"{call}\"\nwhat = \"reset_after\"\nnth = 1\n");
    if write.contains(' ') {
        // Of a registry: the sweep loses those.
        disturbed.clear().await;
        return;
    }
    disturbed.disturb(&rule).await;
    let (ended, said) = disturbed.run(APPLY, cloud).await;
    assert!(disturbed.fired().await > 0, "`{call}` was not disturbed");
    disturbed.disturb("").await;
    if !matches!(ended, Ended::Exit(Exit::Success)) {
        run(&disturbed, APPLY, cloud, Exit::Success).await;
    }
    let (ended, plan) = disturbed.run(PLAN, cloud).await;
    let is_done = matches!(ended, Ended::Exit(Exit::Success));
    assert!(is_done, "after a lost answer of `{call}`:\n{said}\n{plan}");
    assert_eq!(names(&disturbed).await, *undisturbed, "`{call}`");
    disturbed.clear().await;
}

/// What stands in the clouds, without what differs from run to run.
async fn names(stage: &Stage) -> BTreeSet<String> {
    let things = world::of(stage).await.into_iter();
    let ids =
        regex_lite::Regex::new("-[A-Za-z0-9]{6}$|[0-9a-f]{8,}|-[0-9]{5}-[0-9a-z]{3}|:[0-9]+$");
    let ids = ids.expect("a pattern");
    things
        .map(|it| ids.replace_all(&it.name, "").into_owned())
        .collect()
}
