//! Several owners share one account on each cloud: what is planned, applied, adopted, removed,
//! forgotten or destroyed in one never changes a thing of another.

use std::path::Path;

use deployer::Exit;
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use reqwest::Method;
use serde_json::{Value, json};

use crate::in_process::stage::{PROJECT, Stage, Wanted};
use crate::world::{self, Thing};
use crate::{APPLY, DESTROY, SECOND, first_serves, run, says};

crate::tests! {
    what_another_environment_owns_is_left_alone_whatever_an_inventory_says => inventory_of_another,
    what_another_app_has_marked_is_not_adopted_and_its_owner_is_named => adopting_what_is_marked,
    what_is_forgotten_is_left_and_what_was_adopted_is_released_not_deleted => forgotten_adopted_released,
    a_section_that_is_removed_releases_what_it_adopted => adopted_and_removed,
    tags_and_labels_of_others_stay_and_are_no_drift => others_tags,
    what_cannot_be_had_back_is_lost_only_by_name => data_is_named,
    a_record_that_says_something_else_is_somebodys => record_of_another,
    a_service_that_was_opened_is_closed_when_it_is_released => opened_and_released,
}

const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
const WITH_DATA: Wanted = Wanted {
    data: true,
    ..Wanted::FIRST
};

/// Of what its inventory names, however that came about, another environment touches nothing that
/// is not marked as its own: every kind there is.
async fn inventory_of_another(stage: &Stage) {
    stage.want(&WITH_DATA);
    run(stage, APPLY, "all", Exit::Success).await;
    let theirs = world::of(stage).await;
    let prod = stage.beside("prod");
    first_serves(&prod).await;
    claim(&prod, stage).await;
    // Also a plan that removes what it names.
    let said = run(&prod, APPLY, "all", Exit::Success).await;
    says(&said, &["is left alone, it is not ours any more"]);
    claim(&prod, stage).await;
    let said = run(&prod, DESTROY, "all", Exit::Success).await;
    for kind in ["ecs.service", "rds.instance", "run.service", "sql.instance"] {
        says(&said, &[&format!("{kind}/swept-test")]);
    }
    world::assert_same(&theirs, &world::of(stage).await);
    run(stage, PLAN, "all", Exit::Success).await;
}

/// Writes everything that one environment has into the inventory of another.
async fn claim(to: &Stage, from: &Stage) {
    // Of a run after every other one.
    let keys = to.ledger.standing().await;
    let headers = keys
        .iter()
        .filter(|key| key.as_ref().contains("/run-headers/"));
    let numbers = headers.filter_map(|key| key.filename()?.trim_end_matches(".json").parse().ok());
    let run = numbers.max().unwrap_or(0_u64) + 1;
    for (nth, key) in inventory(from).await.iter().enumerate() {
        let (target, subject) = key.as_ref().split_once("/inventory/").expect("an item");
        let subject = subject.split('/').next().expect("its subject");
        let target = target.replace(from.environment(), to.environment());
        let theirs = from.ledger.document(key).await.to_string().into_bytes();
        let key = format!("{target}/inventory/{subject}/{run:06}-{nth:06}.json");
        let key = Key::from(key);
        let put = to.ledger.put(&key, theirs.into()).await;
        put.expect("it is written");
    }
}

/// The items of an environment, of both clouds: what is said of the inventory itself is none.
async fn inventory(stage: &Stage) -> Vec<Key> {
    let mut keys = stage.ledger.standing().await;
    let is_item = |key: &Key| {
        let (_, subject) = key.as_ref().split_once("/inventory/").unwrap_or_default();
        subject.contains('/')
    };
    keys.retain(is_item);
    keys
}

/// The addresses that stand in the inventories.
async fn addresses(stage: &Stage) -> Vec<String> {
    let mut addresses = Vec::new();
    for key in inventory(stage).await {
        let item = stage.ledger.document(&key).await;
        addresses.push(item["address"].as_str().expect("an address").to_owned());
    }
    addresses
}

/// What another app has marked is not adopted: the refusal names the owner, and nothing changes.
async fn adopting_what_is_marked(stage: &Stage) {
    first_serves(stage).await;
    let theirs = world::of(stage).await;
    let other = stage.beside("test");
    other.want(&Wanted::FIRST);
    of_app(&other, "other");
    other.file("deployer.test.toml", SAME_NAMES);
    let said = run(&other, APPLY, "all", Exit::Failure).await;
    says(
        &said,
        &[
            "it belongs to `swept/test`",
            "it belongs to `swept_test`",
            "`adopt` takes only what nobody has marked",
        ],
    );
    assert!(!said.contains("set `adopt = true`"), "{said}");
    world::assert_same(&theirs, &world::of(stage).await);
    // Nor does it become its by being destroyed.
    run(&other, DESTROY, "all", Exit::Success).await;
    world::assert_same(&theirs, &world::of(stage).await);
}

/// The names that the first environment's things have; with the image's entry point said, the
/// migration needs no definition of its own.
const SAME_NAMES: &str = r#"
[services.idp]
entrypoint = []

[targets.aws.services.idp]
name = "swept-test-idp"
family = "swept-test-idp"
log_group = "/ecs/swept-test-idp"
repository = "swept-test-idp"
adopt = true

[targets.aws.secrets.mail-password]
name = "/swept/test/mail-password"
adopt = true

[targets.aws.secrets.cookie-key]
name = "/swept/test/cookie-key"
adopt = true

[targets.aws.secrets.database-url]
name = "/swept/test/database-url"
adopt = true

[targets.gcp.services.idp]
name = "swept-test-idp"
adopt = true

[targets.gcp.secrets.mail-password]
name = "swept-test-mail-password"
adopt = true

[targets.gcp.secrets.cookie-key]
name = "swept-test-cookie-key"
adopt = true

[targets.gcp.secrets.database-url]
name = "swept-test-database-url"
adopt = true
"#;

/// Makes the manifest that of another app.
fn of_app(stage: &Stage, app: &str) {
    let written = stage.file("empty", "");
    let manifest = Path::new(&written).with_file_name("deployer.toml");
    let text = std::fs::read_to_string(manifest).expect("a manifest");
    let text = text.replace("app = \"swept\"", &format!("app = \"{app}\""));
    stage.file("deployer.toml", &text);
}

/// What is forgotten bears no mark any more and is otherwise as it was; adopted again it is ours,
/// and what was adopted is released by a destroy, not deleted.
async fn forgotten_adopted_released(stage: &Stage) {
    first_serves(stage).await;
    let made = world::of(stage).await;
    let unknown = ["forget", "aws/us-east-1/ecs.service/another", "--yes"];
    let said = run(stage, &unknown, "all", Exit::Input).await;
    says(&said, &["aws/us-east-1/ecs.service/swept-test-idp", "gcp/"]);
    let addresses = addresses(stage).await;
    assert!(addresses.len() > 10, "{addresses:?}");
    for address in &addresses {
        run(stage, &["forget", address, "--yes"], "all", Exit::Success).await;
    }
    let forgotten = world::of(stage).await;
    world::assert_same_but_for_marks(&made, &forgotten);
    stage.calls.arm(None);
    run(stage, &["destroy", "--yes"], "all", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    // What nobody marked is somebody's.
    let said = run(stage, APPLY, "all", Exit::Failure).await;
    says(&said, &["is not ours", "set `adopt = true` on it"]);
    world::assert_same(&forgotten, &world::of(stage).await);

    stage.file("deployer.test.toml", SAME_NAMES);
    run(stage, APPLY, "all", Exit::Success).await;
    run(stage, PLAN, "all", Exit::Success).await;
    world::assert_marked(&world::of(stage).await, "swept");
    // No word about data is needed: none is lost.
    let said = run(stage, &["destroy", "--yes"], "all", Exit::Success).await;
    says(&said, &["was there before deployer", "to release"]);
    assert!(!said.contains("to delete"), "{said}");
    let released = world::of(stage).await;
    world::assert_same_but_for_marks(&forgotten, &released);
    for thing in &released {
        assert_eq!(thing.mark(), None, "{thing:?}");
    }
}

/// A service that was adopted closed and that we opened is closed when it is let go, however it was
/// opened.
async fn opened_and_released(stage: &Stage) {
    stage.want(&Wanted::FIRST);
    let close = "[targets.gcp.services.idp]\npublic = false\n";
    stage.file("deployer.test.toml", close);
    run(stage, APPLY, "gcp", Exit::Success).await;
    for address in addresses(stage).await {
        run(stage, &["forget", &address, "--yes"], "gcp", Exit::Success).await;
    }
    let section = "[targets.gcp.services.idp]\n";
    let opening = SAME_NAMES.replace(section, &format!("{section}public = true\n"));
    stage.file("deployer.test.toml", &opening);
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(world::run_service(stage).await["invokerIamDisabled"], true);
    run(stage, &["destroy", "--yes"], "gcp", Exit::Success).await;
    let released = world::run_service(stage).await;
    assert_eq!(released["labels"].get("deployer"), None, "{released:#}");
    assert_ne!(released["invokerIamDisabled"], true);
}

/// A section that is removed releases what it adopted.
async fn adopted_and_removed(stage: &Stage) {
    let aws = aws_sdk_secretsmanager::Client::new(&stage.aws().await);
    let theirs = aws
        .create_secret()
        .name("/strangers/token")
        .secret_string("theirs");
    theirs.send().await.expect("it is made");
    let secret = json!({ "replication": { "automatic": {} }, "labels": { "team": "theirs" } });
    let path = format!("/v1/projects/{PROJECT}/secrets?secretId=strangers-token");
    stage.google(Method::POST, &path, Some(secret)).await;
    let version = json!({ "payload": { "data": "dGhlaXJz" } });
    let path = format!("/v1/projects/{PROJECT}/secrets/strangers-token:addVersion");
    stage.google(Method::POST, &path, Some(version)).await;
    let before = world::of(stage).await;
    stage.file(
        "deployer.test.toml",
        "[secrets.token]\nfrom = { generate = \"hex:16\" }\n\n\
         [targets.aws.secrets.token]\nname = \"/strangers/token\"\nadopt = true\n\n\
         [targets.gcp.secrets.token]\nname = \"strangers-token\"\nadopt = true\n",
    );
    first_serves(stage).await;
    stage.file("deployer.test.toml", "");
    let said = run(stage, APPLY, "all", Exit::Success).await;
    says(&said, &["was there before deployer", "2 to release"]);
    run(stage, PLAN, "all", Exit::Success).await;
    let after = world::of(stage).await;
    let theirs = |things: &[Thing]| -> Vec<Thing> {
        let things = things.iter();
        let things = things.filter(|thing| thing.name.contains("strangers"));
        things.cloned().collect()
    };
    world::assert_same_but_for_marks(&before, &theirs(&after));
}

/// Tags and labels that others put on our things are no drift and stay, whatever we change; only
/// ours go.
async fn others_tags(stage: &Stage) {
    stage.file("deployer.test.toml", "[tags]\nteam = \"identity\"\n");
    stage.want(&WITH_DATA);
    run(stage, APPLY, "all", Exit::Success).await;
    world::tag_all(stage, "backup", "daily").await;
    let said = run(stage, PLAN, "all", Exit::Success).await;
    says(&said, &["No changes"]);
    stage.file("deployer.test.toml", "");
    stage.want(&Wanted {
        version: 2,
        ..WITH_DATA
    });
    run(stage, APPLY, "all", Exit::Success).await;
    let said = run(stage, PLAN, "all", Exit::Success).await;
    says(&said, &["No changes"]);
    for thing in world::of(stage).await {
        // The revision of the new version is one that nobody has tagged yet.
        if thing.name.ends_with("task-definition/swept-test-idp:2") {
            continue;
        }
        let tags = &thing.tags;
        let has = |key: &str| tags.get(key).map(String::as_str);
        assert_eq!(has("backup"), Some("daily"), "{thing:?}");
        // The revision before keeps what it was made with.
        if !thing.name.ends_with("task-definition/swept-test-idp:1") {
            assert_eq!(has("team"), None, "{thing:?}");
        }
        assert!(thing.mark().is_some(), "{thing:?}");
    }
    // Also in the revisions of a service.
    let service = world::run_service(stage).await;
    assert_eq!(service["template"]["labels"]["backup"], "daily");
    assert_eq!(service["template"]["labels"].get("team"), None);
}

/// What cannot be had back is lost only where it is named; what is generated or derived can be had
/// back.
async fn data_is_named(stage: &Stage) {
    let by_hand = "[secrets.by-hand]\nfrom = \"cloud\"\n";
    stage.file("deployer.test.toml", by_hand);
    stage.want(&Wanted {
        old_secret: true,
        ..Wanted::FIRST
    });
    let value = stage.file("value", "set by hand");
    let set = ["secrets", "set", "by-hand", "--file", &value];
    run(stage, &set, "all", Exit::Success).await;
    run(stage, APPLY, "all", Exit::Success).await;
    stage.file("deployer.test.toml", "");
    stage.want(&SECOND);
    let secrets = [
        "aws/us-east-1/secretsmanager.secret//swept/test/by-hand",
        "gcp/us-central1/secretmanager.secret/swept-test-by-hand",
    ];
    stage.calls.arm(None);
    let said = run(stage, APPLY, "all", Exit::Input).await;
    let allowed = secrets.map(|it| format!("--allow-data-loss {it}"));
    let command = format!("--manifest {}", stage.file("deployer.test.toml", ""));
    let command = command.replace("deployer.test.toml", "deployer.toml");
    let typed = format!("deployer apply {} {command}", allowed.join(" "));
    says(&said, &[&typed]);
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    let words: Vec<&str> = secrets
        .iter()
        .flat_map(|it| ["--allow-data-loss", it])
        .collect();
    run(stage, &[APPLY, &words].concat(), "all", Exit::Success).await;
    let said = run(stage, &["destroy", "--yes"], "all", Exit::Input).await;
    for kept in [
        "logs.group",
        "ecr.repository",
        "artifactregistry.repository",
    ] {
        says(&said, &[kept]);
    }
    let hint = said.lines().find(|line| line.contains("--allow-data-loss"));
    let hint = hint.expect("it prints the command");
    // It is generated: the next apply makes another one.
    assert!(!hint.contains("cookie-key"), "{hint}");
    run(stage, DESTROY, "all", Exit::Success).await;
}

/// A record that says something else than what we wrote is somebody's by now.
async fn record_of_another(stage: &Stage) {
    let zone = json!({
        "name": "example", "dnsName": "example.com.", "description": "theirs", "visibility": "public",
    });
    let zones = format!("/dns/v1/projects/{PROJECT}/managedZones");
    stage.google(Method::POST, &zones, Some(zone)).await;
    let record = |address: &str| {
        json!({
            "name": "idp.example.com.", "type": "A", "ttl": 300, "rrdatas": [address],
        })
    };
    let change = async |additions: Option<Value>, deletions: Option<Value>| {
        let list = |it: Option<Value>| it.map_or(json!([]), |it| json!([it]));
        let body = json!({ "additions": list(additions), "deletions": list(deletions) });
        let path = format!("{zones}/example/changes");
        stage.google(Method::POST, &path, Some(body)).await;
    };
    stage.file(
        "deployer.test.toml",
        "[targets.gcp.services.idp.dns]\nname = \"idp.example.com\"\nzone = \"example.com\"\naddress = \"192.0.2.7\"\n",
    );
    stage.want(&Wanted::FIRST);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let (ours, theirs) = (record("192.0.2.7"), record("192.0.2.9"));
    change(Some(theirs.clone()), Some(ours)).await;
    let said = run(stage, APPLY, "gcp", Exit::Failure).await;
    says(&said, &["it leads to 192.0.2.9", "is not ours"]);
    let said = run(stage, DESTROY, "gcp", Exit::Success).await;
    says(
        &said,
        &["it leads to 192.0.2.9 now, and that is not what we wrote"],
    );
    let sets = format!("{zones}/example/rrsets");
    let left = stage.google(Method::GET, &sets, None).await;
    let left = left["rrsets"].as_array().expect("records").clone();
    assert!(
        left.iter().any(|it| it["rrdatas"] == theirs["rrdatas"]),
        "{left:?}"
    );

    // What is not seen as ours is forgotten when a second look does not see it either.
    run(stage, DESTROY, "gcp", Exit::Success).await;
    // One that says it already was there before us, and stays.
    change(Some(record("192.0.2.7")), Some(theirs)).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    let said = run(stage, DESTROY, "gcp", Exit::Success).await;
    says(&said, &["was there before deployer"]);
    let left = stage.google(Method::GET, &sets, None).await;
    assert!(left.to_string().contains("192.0.2.7"), "{left}");
}
