//! Databases, caches and names on Google Cloud, where its services behave in ways of their own.

use deployer::Exit;
use reqwest::Method;
use serde_json::json;

use crate::in_process::stage::{LOCATION, PROJECT, Stage, Wanted};
use crate::{APPLY, DESTROY, run, says};

crate::tests! {
    databases_on_google_are_planned_and_made_in_an_empty_project => empty_project,
    users_of_a_database_that_may_not_be_seen_are_not_taken_for_absent => users_denied,
    a_disk_that_grew_by_itself_is_no_difference_and_none_shrinks => grown_disk,
    a_database_on_google_is_replaced_under_its_own_name => replaced,
    a_database_on_google_hands_out_its_authorities => verified,
    a_database_on_google_is_adopted_as_it_is => adopted,
    a_zone_of_another_project_takes_the_record => shared_zone,
    another_edition_of_a_database_is_changed_alone => another_edition,
    a_database_in_a_network_without_access_tells_the_way_out => not_peered,
    a_database_that_may_not_be_seen_is_not_taken_for_deleted => unseen_while_deleted,
    a_cache_on_another_projects_network_is_made => shared_network,
    a_cache_that_is_being_deleted_is_made_anew => cache_going,
    a_cache_on_a_network_without_access_tells_the_way_out => cache_not_peered,
    a_change_of_a_database_that_another_one_forestalled_is_made_again => forestalled,
    how_long_a_record_is_remembered_is_a_hands_to_set => ttl,
}

const PLAN: &[&str] = &["plan", "--detailed-exitcode"];
const INSTANCE: &str = "gcp/us-central1/sql.instance/swept-test-main";
const DATA: Wanted = Wanted {
    data: true,
    ..Wanted::FIRST
};

fn instance_path() -> String {
    format!("/v1/projects/{PROJECT}/instances/swept-test-main")
}

/// The calls since the last count that ask something of what is within the instance.
fn asked_within(stage: &Stage) -> Vec<String> {
    let mut names = stage.calls.names();
    names.retain(|name| {
        [
            "sql.users.",
            "sql.databases.",
            "redis.projects.locations.instances.getAuthString",
        ]
        .iter()
        .any(|within| name.starts_with(within))
    });
    names
}

/// The whole plan is made although Cloud SQL refuses to speak of what is within an instance that is
/// not there, and once all of it is there, nothing is to be done: not for what Google fills in
/// either.
async fn empty_project(stage: &Stage) {
    stage.want(&DATA);
    stage.calls.arm(None);
    let said = run(stage, PLAN, "gcp", Exit::Changes).await;
    says(
        &said,
        &[
            "sql.user swept-test-main/swept",
            "sql.database swept-test-main/swept",
        ],
    );
    assert_eq!(asked_within(stage), Vec::<String>::new());
    run(stage, APPLY, "gcp", Exit::Success).await;
    stage.calls.arm(None);
    run(stage, PLAN, "gcp", Exit::Success).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
    assert_eq!(asked_within(stage).len(), 6);
}

/// What the caller may not see in an instance that is there is never taken for absent.
async fn users_denied(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "gcp", Exit::Success).await;
    stage.calls.deny("sql.users.list");
    let said = run(stage, PLAN, "gcp", Exit::Denied).await;
    says(
        &said,
        &["cannot see gcp/us-central1/sql.user/swept-test-main/swept"],
    );
}

/// A disk that grew by itself is nobody's difference; one that the manifest wants smaller is
/// refused before anything is done.
async fn grown_disk(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let there = stage.google(Method::GET, &instance_path(), None).await;
    assert_eq!(there["settings"]["storageAutoResize"], true);
    let grown = json!({ "settings": { "dataDiskSizeGb": "50" } });
    stage
        .google(Method::PATCH, &instance_path(), Some(grown))
        .await;
    stage.time.pass(std::time::Duration::from_secs(600)).await;
    let said = run(stage, PLAN, "gcp", Exit::Success).await;
    says(
        &said,
        &["its disk has 50 GiB, more than the 20 GiB of the manifest"],
    );
    stage.file(
        "deployer.test.toml",
        "[databases.main]\nstorage = \"30GiB\"\n",
    );
    run(stage, PLAN, "gcp", Exit::Success).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    stage.file(
        "deployer.test.toml",
        "[databases.main]\nstorage = \"25GiB\"\n",
    );
    stage.calls.arm(None);
    let said = run(stage, APPLY, "gcp", Exit::Input).await;
    says(
        &said,
        &["has 50 GiB, and no disk shrinks", "storage = \"30GiB\""],
    );
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

/// An instance that must be another one is made under the same name, after a last backup, once that
/// was allowed.
async fn replaced(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let before = stage.google(Method::GET, &instance_path(), None).await;
    let other = "[targets.gcp.databases.main]\nnetwork = \"other\"\n";
    stage.file("deployer.test.toml", other);
    let said = run(stage, APPLY, "gcp", Exit::Input).await;
    says(&said, &[&format!("--allow-data-loss {INSTANCE}")]);
    let allowed = [APPLY, &["--allow-data-loss", INSTANCE]].concat();
    run(stage, &allowed, "gcp", Exit::Success).await;
    let after = stage.google(Method::GET, &instance_path(), None).await;
    assert_ne!(before["createTime"], after["createTime"]);
    let network = &after["settings"]["ipConfiguration"]["privateNetwork"];
    assert!(network.as_str().expect("a network").ends_with("/other"));
    let users = format!("{}/users", instance_path());
    let users = stage.google(Method::GET, &users, None).await;
    let users = users["items"].as_array().expect("users");
    assert!(
        users.iter().any(|user| user["name"] == "swept"),
        "{users:?}"
    );
    run(stage, PLAN, "gcp", Exit::Success).await;
}

/// The app gets the authorities of its server, and a URL that verifies by them.
async fn verified(stage: &Stage) {
    stage.want(&DATA);
    let verify = "[databases.main]\nsslmode = \"verify-full\"\n\n[services.idp.env]\nDATABASE_CA = { secret = \"main-ca\" }\n";
    stage.file("deployer.test.toml", verify);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let url = secret(stage, "swept-test-database-url").await;
    assert!(url.ends_with("?sslmode=verify-ca"), "another mode");
    let authority = secret(stage, "swept-test-main-ca").await;
    assert!(
        authority.starts_with("-----BEGIN CERTIFICATE-----\n"),
        "{authority}"
    );
    run(stage, PLAN, "gcp", Exit::Success).await;
}

async fn secret(stage: &Stage, name: &str) -> String {
    let path = format!("/v1/projects/{PROJECT}/secrets/{name}/versions/latest:access");
    let answer = stage.google(Method::GET, &path, None).await;
    let data = answer["payload"]["data"].as_str().expect("a value");
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data);
    String::from_utf8(bytes.expect("base64")).expect("text")
}

/// The zones of a company mostly live in one project, and its machines mostly reach no name server
/// but its own.
async fn shared_zone(stage: &Stage) {
    let zone = json!({ "name": "example-com", "dnsName": "example.com.", "description": "shared" });
    let zones = "/dns/v1/projects/shared-dns/managedZones";
    stage.google(Method::POST, zones, Some(zone)).await;
    stage.want(&Wanted::FIRST);
    let dns = "[targets.gcp.services.idp.dns]\nname = \"idp.example.com\"\nzone = \"example.com\"\naddress = \"203.0.113.7\"\n";
    stage.file("deployer.test.toml", dns);
    let said = run(stage, APPLY, "gcp", Exit::Failure).await;
    says(
        &said,
        &[
            "no public zone `example.com`",
            "needs that `project` beside it",
        ],
    );
    // Nobody listens on the first port of this machine.
    let shared = format!("{dns}project = \"shared-dns\"\nservers = [\"127.0.0.1:1\"]\n");
    stage.file("deployer.test.toml", &shared);
    let said = run(stage, APPLY, "gcp", Exit::Success).await;
    says(
        &said,
        &[
            "name server `127.0.0.1:1`: ",
            "Google's word that the change is done is enough",
        ],
    );
    let records = format!("{zones}/example-com/rrsets?name=idp.example.com.");
    let there = async || -> usize {
        let answer = stage.google(Method::GET, &records, None).await;
        answer["rrsets"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(there().await, 1);
    run(stage, PLAN, "gcp", Exit::Success).await;
    stage.file("deployer.test.toml", "");
    run(stage, APPLY, "gcp", Exit::Success).await;
    assert_eq!(there().await, 0);
}

/// Somebody's database is taken over as it is, and only what the manifest says of it is written.
async fn adopted(stage: &Stage) {
    let database = json!({
        "name": "swept-test-main", "region": LOCATION, "databaseVersion": "POSTGRES_17",
        "settings": {
            "tier": "db-custom-4-16384", "edition": "ENTERPRISE", "dataDiskSizeGb": "40",
            "availabilityType": "REGIONAL", "storageAutoResize": false, "userLabels": { "team": "theirs" },
            "ipConfiguration": { "ipv4Enabled": true },
            "backupConfiguration": { "enabled": true, "pointInTimeRecoveryEnabled": true },
        },
    });
    let instances = format!("/v1/projects/{PROJECT}/instances");
    stage.google(Method::POST, &instances, Some(database)).await;
    stage.time.pass(std::time::Duration::from_secs(1200)).await;
    let before = stage.google(Method::GET, &instance_path(), None).await;
    stage.want(&DATA);
    let adopting = "[databases.main]\nuser = \"postgres\"\ndatabase = \"postgres\"\n\n\
                    [targets.gcp.databases.main]\nadopt = true\n";
    stage.file("deployer.test.toml", adopting);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let after = stage.google(Method::GET, &instance_path(), None).await;
    for kept in [
        "tier",
        "edition",
        "dataDiskSizeGb",
        "availabilityType",
        "storageAutoResize",
        "backupConfiguration",
        "ipConfiguration",
    ] {
        assert_eq!(before["settings"][kept], after["settings"][kept], "{kept}");
    }
    assert_eq!(after["databaseVersion"], "POSTGRES_17");
    run(stage, PLAN, "gcp", Exit::Success).await;
}

async fn read_cache(stage: &Stage) -> serde_json::Value {
    let path = format!("/v1/projects/{PROJECT}/locations/{LOCATION}/instances/swept-test-sessions");
    stage.google(Method::GET, &path, None).await
}

/// Another hand's edition and tier are put back beside a larger disk: Cloud SQL takes an edition
/// with its tier alone.
async fn another_edition(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let before = stage.google(Method::GET, &instance_path(), None).await;
    let plus = json!({ "edition": "ENTERPRISE_PLUS", "tier": "db-perf-optimized-N-2" });
    // More than Enterprise keeps: what a new instance of that edition has.
    let logs = json!({ "backupConfiguration": { "transactionLogRetentionDays": 14 } });
    for settings in [plus, logs] {
        let change = json!({ "settings": settings });
        stage
            .google(Method::PATCH, &instance_path(), Some(change))
            .await;
        stage.time.pass(std::time::Duration::from_secs(1200)).await;
    }
    let larger = "[databases.main]\nstorage = \"40GiB\"\n";
    stage.file("deployer.test.toml", larger);
    let said = run(stage, APPLY, "gcp", Exit::Success).await;
    says(&said, &["point-in-time recovery: 14 days -> 7 days"]);
    let there = stage.google(Method::GET, &instance_path(), None).await;
    assert_eq!(there["settings"]["edition"], "ENTERPRISE");
    assert_eq!(there["settings"]["tier"], before["settings"]["tier"]);
    assert_eq!(there["settings"]["dataDiskSizeGb"], "40");
    run(stage, PLAN, "gcp", Exit::Success).await;
}

/// What only an operation tells has its way out too.
async fn not_peered(stage: &Stage) {
    stage.want(&DATA);
    let network = "[targets.gcp.databases.main]\nnetwork = \"not-peered\"\n";
    stage.file("deployer.test.toml", network);
    let (_, said) = stage.run(APPLY, "gcp").await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &said,
        &["NETWORK_NOT_PEERED", "gcloud services vpc-peerings connect"],
    );
}

/// A network of another project is reached by private services access.
async fn shared_network(stage: &Stage) {
    stage.want(&DATA);
    let network = "[targets.gcp.caches.sessions]\nnetwork = \"projects/host-project/global/networks/shared\"\n";
    stage.file("deployer.test.toml", network);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let there = read_cache(stage).await;
    assert_eq!(there["connectMode"], "PRIVATE_SERVICE_ACCESS", "{there:#}");
    run(stage, PLAN, "gcp", Exit::Success).await;
}

/// A cache whose name another one still has that is being deleted.
async fn cache_going(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let before = read_cache(stage).await;
    let path = format!("/v1/projects/{PROJECT}/locations/{LOCATION}/instances/swept-test-sessions");
    stage.google(Method::DELETE, &path, None).await;
    run(stage, APPLY, "gcp", Exit::Success).await;
    let after = read_cache(stage).await;
    assert_ne!(before["createTime"], after["createTime"]);
    run(stage, PLAN, "gcp", Exit::Success).await;
}

/// An instance that may not be seen when it is to be deleted is not taken for deleted.
async fn unseen_while_deleted(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "gcp", Exit::Success).await;
    // The plan sees it, and so does the look right before the delete.
    let denied =
        "[[fault]]\ncall = \"sql.instances.get\"\nwhat = \"denied\"\nnth = 3\ntimes = 1000\n";
    stage.disturb(denied).await;
    let said = run(stage, DESTROY, "gcp", Exit::Denied).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(&said, &["cannot see database instance `swept-test-main`"]);
    assert_eq!(
        stage
            .calls
            .names()
            .iter()
            .filter(|it| *it == "sql.instances.delete")
            .count(),
        0
    );
    stage.disturb("").await;
    run(stage, DESTROY, "gcp", Exit::Success).await;
}

/// Memorystore's own words of a network that Google's services cannot reach.
async fn cache_not_peered(stage: &Stage) {
    stage.want(&DATA);
    let network = "[targets.gcp.caches.sessions]\nnetwork = \"projects/host-project/global/networks/not-peered\"\n";
    stage.file("deployer.test.toml", network);
    let said = run(stage, APPLY, "gcp", Exit::Failure).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    says(
        &said,
        &[
            "Google private service access is not enabled",
            "gcloud services vpc-peerings connect",
        ],
    );
}

/// What another hand changes of the instance, right after our change of it was sent.
async fn meanwhile(stage: &Stage, exit: Exit, settings: serde_json::Value) -> String {
    const UPDATE: &str = "sql.instances.update";
    stage
        .calls
        .delay(UPDATE, std::time::Duration::from_secs(10));
    let hand = async {
        while !stage.calls.names().iter().any(|name| name == UPDATE) {
            stage.time.pass(std::time::Duration::from_millis(500)).await;
        }
        let change = json!({ "settings": settings });
        stage
            .google(Method::PATCH, &instance_path(), Some(change))
            .await;
    };
    let (said, ()) = tokio::join!(run(stage, APPLY, "gcp", exit), hand);
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Any operation gives the settings another version: ours is made again of what is there, unless
/// that would undo the other one.
async fn forestalled(stage: &Stage) {
    stage.want(&DATA);
    run(stage, APPLY, "gcp", Exit::Success).await;
    let larger = |size: u32| format!("[databases.main]\nstorage = \"{size}GiB\"\n");
    stage.file("deployer.test.toml", &larger(40));
    let theirs = json!({ "userLabels": { "team": "theirs" } });
    meanwhile(stage, Exit::Success, theirs).await;
    let there = stage.google(Method::GET, &instance_path(), None).await;
    assert_eq!(there["settings"]["dataDiskSizeGb"], "40");
    assert_eq!(there["settings"]["userLabels"]["team"], "theirs");
    run(stage, PLAN, "gcp", Exit::Success).await;
    stage.file("deployer.test.toml", &larger(60));
    let said = meanwhile(
        stage,
        Exit::Failure,
        json!({ "availabilityType": "ZONAL", "dataDiskSizeGb": "50" }),
    )
    .await;
    says(
        &said,
        &["was changed since it was planned: `storage`", "plan again"],
    );
    let there = stage.google(Method::GET, &instance_path(), None).await;
    assert_eq!(there["settings"]["dataDiskSizeGb"], "50");
}

/// The manifest has no word for it: what a hand set stays, also when the name leads elsewhere, and
/// the record stays ours.
async fn ttl(stage: &Stage) {
    let zone = json!({ "name": "example-com", "dnsName": "example.com.", "description": "ours" });
    let zones = format!("/dns/v1/projects/{PROJECT}/managedZones");
    stage.google(Method::POST, &zones, Some(zone)).await;
    stage.want(&Wanted::FIRST);
    let dns = |address: &str| {
        let text = format!(
            "[targets.gcp.services.idp.dns]\nname = \"idp.example.com\"\nzone = \"example-com\"\naddress = \"{address}\"\n"
        );
        stage.file("deployer.test.toml", &text);
    };
    dns("203.0.113.7");
    run(stage, APPLY, "gcp", Exit::Success).await;
    let set = |address: &str, ttl: u32| json!({ "name": "idp.example.com.", "type": "A", "ttl": ttl, "rrdatas": [address] });
    let change =
        json!({ "deletions": [set("203.0.113.7", 300)], "additions": [set("203.0.113.7", 60)] });
    let changes = format!("{zones}/example-com/changes");
    stage.google(Method::POST, &changes, Some(change)).await;
    run(stage, PLAN, "gcp", Exit::Success).await;
    dns("203.0.113.8");
    run(stage, APPLY, "gcp", Exit::Success).await;
    let records = format!("{zones}/example-com/rrsets?name=idp.example.com.");
    let there = stage.google(Method::GET, &records, None).await;
    assert_eq!(there["rrsets"][0]["rrdatas"], json!(["203.0.113.8"]));
    assert_eq!(there["rrsets"][0]["ttl"], 60);
    run(stage, PLAN, "gcp", Exit::Success).await;
    stage.file("deployer.test.toml", "");
    run(stage, APPLY, "gcp", Exit::Success).await;
    let there = stage.google(Method::GET, &records, None).await;
    assert!(
        there["rrsets"].as_array().is_none_or(Vec::is_empty),
        "{there}"
    );
}
