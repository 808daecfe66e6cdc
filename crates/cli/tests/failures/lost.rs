//! The ledger is gone: what carries our mark is ours all the same, on both clouds, and nothing else
//! is.

use std::collections::BTreeSet;

use deployer::Exit;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use reqwest::Method;
use serde_json::json;

use crate::in_process::stage::{PROJECT, Stage, Wanted};
use crate::world::{self, Thing};
use crate::{APPLY, DESTROY, first_serves, run, says};

crate::tests! {
    without_a_ledger_a_destroy_deletes_what_is_marked_as_ours_and_nothing_else => destroyed,
    without_a_ledger_an_apply_deletes_what_is_marked_and_not_wanted => applied,
    what_was_found_by_its_mark_is_known_although_its_delete_was_refused => refused,
    a_lost_ledger_and_a_list_that_is_denied_are_told_with_a_code_of_their_own => unlisted,
    a_destroy_finds_what_is_marked_and_in_no_inventory => beside_the_inventory,
    without_a_ledger_what_the_manifest_adopts_is_released => adopted,
    what_was_adopted_is_released_although_a_command_came_between_the_loss_and_the_destroy => adopted_before,
    a_ledger_that_was_begun_anew_by_a_part_is_not_taken_for_whole => begun_anew,
    what_a_lost_ledger_had_is_forgotten_by_its_mark => forgotten,
    a_ledger_at_another_place_than_the_services_note_is_refused => elsewhere,
    an_api_that_is_off_in_the_quota_project_is_not_taken_for_one_that_has_nothing => counted_elsewhere,
}

const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
const MARKS: [&str; 2] = ["swept/test", "swept_test"];

/// What the manifest does not name any more once [`Wanted::FIRST`] is wanted.
const MORE: Wanted = Wanted {
    data: true,
    more_services: 1,
    ..Wanted::FIRST
};

/// Deletes every object of an environment's ledgers.
pub async fn lose(stage: &Stage) {
    let objects: Vec<_> = stage.ledger.list(None).try_collect().await.expect("a list");
    for object in objects {
        let gone = stage.ledger.delete(&object.location).await;
        gone.expect("it goes");
    }
}

/// What is marked as `swept`'s environment `test`, and what is not.
async fn by_owner(stage: &Stage) -> (Vec<Thing>, Vec<Thing>) {
    let things = world::of(stage).await.into_iter();
    // Revisions stay when they are deregistered.
    let things = things.filter(|it| !it.name.contains(":task-definition/"));
    things.partition(|it| it.mark().is_some_and(|mark| MARKS.contains(&mark)))
}

/// Marked by an app of another name, and not at all: on both clouds.
async fn strangers(stage: &Stage) {
    for (name, mark) in [
        ("others-token", Some("other/test")),
        ("strangers-token", None),
    ] {
        secret(stage, name, mark).await;
    }
}

/// A secret that another hand made, with a mark.
async fn secret(stage: &Stage, name: &str, mark: Option<&str>) {
    let tag = aws_sdk_secretsmanager::types::Tag::builder().key("deployer");
    let tag = mark.map(|mark| vec![tag.value(mark).build()]);
    let aws = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let call = aws.create_secret().name(name).secret_string("theirs");
    call.set_tags(tag).send().await.expect("it is made");
    let mut secret = json!({ "replication": { "automatic": {} } });
    if let Some(mark) = mark {
        secret["labels"] = json!({ "deployer": mark.replace('/', "_") });
    }
    let path = format!("/v1/projects/{PROJECT}/secrets?secretId={name}");
    stage.google(Method::POST, &path, Some(secret)).await;
}

/// A service, a database and a cache that the manifest no longer names go with everything that it
/// names; another environment's, another app's and a stranger's things stay as they are.
async fn destroyed(stage: &Stage) {
    let prod = stage.beside("prod");
    first_serves(&prod).await;
    strangers(stage).await;
    stage.want(&MORE);
    run(stage, APPLY, "all", Exit::Success).await;
    let (ours, others) = by_owner(stage).await;
    for part in [
        "service/default/swept-test-s1",
        "services/swept-test-s1",
        ":db:",
        "items ",
        ":replicationgroup:",
        "instances ",
    ] {
        assert!(ours.iter().any(|it| it.name.contains(part)), "{part}");
    }
    lose(stage).await;
    stage.want(&Wanted::FIRST);
    // What cannot be had back is named first, like anything else.
    let said = run(stage, &["destroy", "--yes"], "all", Exit::Input).await;
    for kept in [
        "rds.instance/swept-test",
        "redis.instance/",
        "sql.instance/",
    ] {
        says(&said, &[kept]);
    }
    let said = run(stage, DESTROY, "all", Exit::Success).await;
    for cloud in ["aws", "gcp"] {
        says(&said, &[&format!("{cloud}: the ledger has no inventory")]);
        says(
            &said,
            &[&format!("{cloud}: found by our mark `swept/test`")],
        );
    }
    let (left, still) = by_owner(stage).await;
    assert_eq!(left, Vec::<Thing>::new());
    world::assert_same(&others, &still);
    assert_eq!(others.len(), still.len());
    // A list may go on naming them: they are read, and nothing is said of them.
    let said = run(stage, DESTROY, "all", Exit::Success).await;
    assert!(!said.contains("found by our mark"), "{said}");
    run(&prod, PLAN, "all", Exit::Success).await;
}

/// The apply that the refusal of one prints.
fn allowing(refusal: &str) -> Vec<&str> {
    const WORD: &str = "--allow-data-loss";
    let named = refusal.split_whitespace();
    let after = refusal.split_whitespace().skip(1);
    let named = named.zip(after).filter(|(word, _)| *word == WORD);
    let named: BTreeSet<&str> = named.map(|(_, address)| address).collect();
    let mut words = APPLY.to_vec();
    words.extend(named.into_iter().flat_map(|address| [WORD, address]));
    words
}

/// The plan shows what is not wanted, the apply deletes it, and the second plan is empty.
async fn applied(stage: &Stage) {
    let prod = stage.beside("prod");
    first_serves(&prod).await;
    strangers(stage).await;
    stage.want(&Wanted {
        more_services: 1,
        ..Wanted::FIRST
    });
    run(stage, APPLY, "all", Exit::Success).await;
    let (_, others) = by_owner(stage).await;
    lose(stage).await;
    stage.want(&Wanted::FIRST);
    let said = run(stage, PLAN, "all", Exit::Changes).await;
    says(
        &said,
        &[
            "aws: found by our mark `swept/test`",
            "gcp: found by our mark `swept/test`",
            "ecs.service/swept-test-s1",
            "run.service/swept-test-s1",
        ],
    );
    assert!(!said.contains("prod"), "{said}");
    stage.calls.arm(None);
    let said = run(stage, APPLY, "all", Exit::Input).await;
    says(&said, &["--allow-data-loss aws/us-east-1/logs.group/"]);
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    run(stage, &allowing(&said), "all", Exit::Success).await;
    let (ours, still) = by_owner(stage).await;
    let mut ours = ours.iter();
    assert!(!ours.any(|it| it.name.contains("-s1")), "{ours:?}");
    world::assert_same(&others, &still);
    run(stage, PLAN, "all", Exit::Success).await;
    run(&prod, PLAN, "all", Exit::Success).await;
}

/// What a mark told of once is in the inventory from then on: the next run deletes it, whatever
/// became of this one.
async fn refused(stage: &Stage) {
    stage.want(&Wanted {
        more_services: 1,
        ..Wanted::FIRST
    });
    run(stage, APPLY, "all", Exit::Success).await;
    lose(stage).await;
    stage.want(&Wanted::FIRST);
    let said = run(stage, APPLY, "all", Exit::Input).await;
    let allowed = allowing(&said);
    for (cloud, call) in [
        ("aws", "ecs:DeleteService"),
        ("gcp", "run.projects.locations.services.delete"),
    ] {
        stage.calls.deny(call);
        run(stage, &allowed, cloud, Exit::Denied).await;
        stage.calls.arm(None);
        let said = run(stage, &allowed, cloud, Exit::Success).await;
        assert!(!said.contains("found by our mark"), "{said}");
        says(&said, &["service deleted in "]);
    }
    let (ours, _) = by_owner(stage).await;
    let mut ours = ours.iter();
    assert!(!ours.any(|it| it.name.contains("-s1")), "{ours:?}");
}

/// A plan goes on without the list; a destroy does what the manifest names and says with its code
/// that more may be there.
async fn unlisted(stage: &Stage) {
    first_serves(stage).await;
    let lists = [
        ("aws", "tagging:GetResources", "whatever has tags"),
        (
            "gcp",
            "run.projects.locations.services.list",
            "Cloud Run services",
        ),
    ];
    // A whole ledger knows what there is.
    for (cloud, call, what) in lists {
        stage.calls.deny(call);
        let said = run(stage, &["plan"], cloud, Exit::Success).await;
        assert!(!said.contains(what), "{said}");
        let said = run(stage, &["destroy", "--yes"], cloud, Exit::Input).await;
        says(&said, &["is in no inventory is not known", what]);
    }
    lose(stage).await;
    for (cloud, call, what) in lists {
        stage.calls.deny(call);
        let said = run(stage, &["plan"], cloud, Exit::Success).await;
        says(&said, &["the ledger has no inventory", what]);
        let said = run(stage, DESTROY, cloud, Exit::LedgerLost).await;
        says(&said, &["as far as it could be listed", what]);
    }
    stage.calls.arm(None);
    let (ours, _) = by_owner(stage).await;
    assert_eq!(ours, Vec::<Thing>::new());
}

/// Also while there is a ledger: it may be of a run that another one wrote over, or from another
/// machine's folder.
async fn beside_the_inventory(stage: &Stage) {
    first_serves(stage).await;
    strangers(stage).await;
    secret(stage, "forgotten-token", Some("swept/test")).await;
    let (_, others) = by_owner(stage).await;
    let said = run(stage, DESTROY, "all", Exit::Success).await;
    for (cloud, address) in [
        ("aws", "aws/us-east-1/secretsmanager.secret/forgotten-token"),
        (
            "gcp",
            "gcp/us-central1/secretmanager.secret/forgotten-token",
        ),
    ] {
        let found = format!("{cloud}: found by our mark `swept/test`, in no inventory: {address}");
        says(&said, &[&found]);
    }
    assert!(!said.contains("the ledger has no inventory"), "{said}");
    let (ours, still) = by_owner(stage).await;
    assert_eq!(ours, Vec::<Thing>::new());
    world::assert_same(&others, &still);
}

/// What the manifest adopts by this.
fn adopting(stage: &Stage) {
    stage.file(
        "deployer.test.toml",
        "[secrets.token]\nfrom = { generate = \"hex:16\" }\n\n\
         [targets.aws.secrets.token]\nname = \"strangers-token\"\nadopt = true\n\n\
         [targets.gcp.secrets.token]\nname = \"strangers-token\"\nadopt = true\n",
    );
}

/// Nobody knows any more whether it was there before: it stays, without our mark.
async fn adopted(stage: &Stage) {
    secret(stage, "strangers-token", None).await;
    adopting(stage);
    first_serves(stage).await;
    lose(stage).await;
    let said = run(stage, DESTROY, "all", Exit::Success).await;
    says(&said, &["strangers-token was there before deployer"]);
    assert_released(stage).await;
}

async fn assert_released(stage: &Stage) {
    let left = world::of(stage).await;
    let left: Vec<&Thing> = left
        .iter()
        .filter(|it| it.name.contains("strangers-token"))
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    for thing in left {
        assert_eq!(thing.mark(), None, "{thing:?}");
    }
}

/// Whatever noted it as ours in the new ledger, by the mark that the old one's run put there.
async fn adopted_before(stage: &Stage) {
    secret(stage, "strangers-token", None).await;
    adopting(stage);
    let value = stage.file("value", "another-token-1");
    let set = ["secrets", "set", "token", "--file", &value];
    for words in [APPLY, &set] {
        first_serves(stage).await;
        lose(stage).await;
        run(stage, words, "all", Exit::Success).await;
        let said = run(stage, DESTROY, "all", Exit::Success).await;
        says(&said, &["strangers-token was there before deployer"]);
        assert_released(stage).await;
    }
}

/// A command of one thing notes that one alone: the others are still looked for by their mark,
/// until everything is noted.
async fn begun_anew(stage: &Stage) {
    first_serves(stage).await;
    secret(stage, "forgotten-token", Some("swept/test")).await;
    lose(stage).await;
    let value = stage.file("value", "mail-two");
    let set = ["secrets", "set", "cookie-key", "--file", &value];
    run(stage, &set, "all", Exit::Success).await;
    let lists = [
        ("aws", "tagging:GetResources"),
        ("gcp", "secretmanager.projects.secrets.list"),
    ];
    for (cloud, call) in lists {
        let said = run(stage, PLAN, cloud, Exit::Changes).await;
        says(&said, &["found by our mark", "forgotten-token"]);
        stage.calls.deny(call);
        let said = run(stage, &["plan"], cloud, Exit::Success).await;
        says(&said, &["is in no inventory is not known"]);
        stage.calls.arm(None);
    }
    let said = run(stage, APPLY, "all", Exit::Input).await;
    run(stage, &allowing(&said), "all", Exit::Success).await;
    let (ours, _) = by_owner(stage).await;
    let mut ours = ours.iter();
    assert!(!ours.any(|it| it.name.contains("forgotten")), "{ours:?}");
    // From now on it knows everything, and asks no more.
    for (cloud, call) in lists {
        stage.calls.deny(call);
        let said = run(stage, PLAN, cloud, Exit::Success).await;
        assert!(!said.contains("no inventory"), "{said}");
    }
}

/// A ledger that does not know it does not say that there is nothing.
async fn forgotten(stage: &Stage) {
    first_serves(stage).await;
    secret(stage, "forgotten-token", Some("swept/test")).await;
    lose(stage).await;
    for address in [
        "aws/us-east-1/secretsmanager.secret/forgotten-token",
        "gcp/us-central1/secretmanager.secret/forgotten-token",
    ] {
        let said = run(stage, &["forget", "nothing", "--yes"], "all", Exit::Input).await;
        says(&said, &[address]);
        run(stage, &["forget", address, "--yes"], "all", Exit::Success).await;
    }
    let left = world::of(stage).await;
    let left: Vec<&Thing> = left
        .iter()
        .filter(|it| it.name.contains("forgotten-token"))
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|it| it.mark().is_none()), "{left:?}");
}

/// Two ledgers of one environment know nothing of each other, nor do their locks: the one that the
/// services note is the one. A person says when it was moved.
async fn elsewhere(stage: &Stage) {
    first_serves(stage).await;
    run(stage, PLAN, "all", Exit::Success).await;
    let overlay = |address: &str| {
        let section = |cloud: &str| format!("[targets.{cloud}]\nledger = \"file:///{address}\"\n");
        stage.file("deployer.test.toml", &(section("aws") + &section("gcp")));
    };
    overlay("elsewhere");
    let value = stage.file("value", "another-key");
    let set = ["secrets", "set", "cookie-key", "--file", &value];
    let back = ["rollback", "idp", "--yes"];
    for words in [&["plan"][..], APPLY, DESTROY, &set, &back] {
        stage.calls.arm(None);
        let said = run(stage, words, "all", Exit::Failure).await;
        says(
            &said,
            &[
                "`swept-test-idp` is in another ledger than the one at file:///elsewhere",
                "--ledger-moved",
            ],
        );
        assert_eq!(stage.calls.writes(), Vec::<String>::new(), "{said}");
    }
    let moved = [APPLY, &["--ledger-moved"]].concat();
    run(stage, &moved, "all", Exit::Success).await;
    run(stage, PLAN, "all", Exit::Success).await;
    // From now on it is the first one that is another.
    overlay("where-it-was");
    run(stage, &["plan"], "all", Exit::Failure).await;
    overlay("elsewhere");
    run(stage, DESTROY, "all", Exit::Success).await;
}

/// A person's login that counts its calls against a project of theirs, where no API of databases
/// and caches is on: nothing is known of ours, and what carries our mark there stays and is told
/// of.
async fn counted_elsewhere(stage: &Stage) {
    stage.want(&MORE);
    run(stage, APPLY, "gcp", Exit::Success).await;
    lose(stage).await;
    stage.want(&Wanted::FIRST);
    stage.log_in(Some("adas-playground"));
    let said = run(stage, DESTROY, "gcp", Exit::LedgerLost).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &said,
        &[
            "as far as it could be listed",
            "count their calls against another project",
            "gcloud auth application-default set-quota-project sandbox-project",
        ],
    );
    let (still, _) = by_owner(stage).await;
    assert!(
        still.iter().any(|it| it.name.starts_with("items ")),
        "{still:?}"
    );
    stage.log_in(None);
    run(stage, DESTROY, "gcp", Exit::Success).await;
    let (left, _) = by_owner(stage).await;
    assert_eq!(left, Vec::<Thing>::new());
}
