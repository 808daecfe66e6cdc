//! Cloud SQL over HTTP, with the server behind it where PostgreSQL is installed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gcp_cloud;
mod support;

use gcp_cloud::Cloud;
use serde_json::{Value, json};

const INSTANCES: &str = "v1/projects/sandbox-project/instances";

/// Google's older error shape: HTTP status, reason, message.
async fn refusal(cloud: &Cloud, method: &str, path: &str, body: Value) -> (u16, String, String) {
    let (status, answer) = cloud.call(method, path, body).await;
    let error = &answer["error"];
    assert_eq!(error["code"], status, "{path}: {answer}");
    assert_eq!(error["errors"][0]["message"], error["message"], "{answer}");
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reason = word(&error["errors"][0]["reason"]);
    (status, reason, word(&error["message"]))
}

fn small(name: &str) -> Value {
    json!({
        "name": name, "databaseVersion": "POSTGRES_15", "region": "us-central1",
        "settings": { "tier": "db-f1-micro", "edition": "ENTERPRISE" },
    })
}

/// A change with a body or none, waited for.
async fn done(cloud: &Cloud, method: &str, path: &str, body: Value) -> Value {
    let begun = cloud.ok(method, path, body).await;
    let name = begun["name"].as_str().unwrap();
    let path = format!("v1/projects/sandbox-project/operations/{name}");
    for _ in 0..1200 {
        let now = cloud.get(&path).await;
        if now["status"] == "DONE" {
            assert_eq!(now.get("error"), None, "{now}");
            assert!(now["endTime"].is_string());
            return now;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{name} did not end");
}

async fn with_instance(body: Value) -> Cloud {
    let cloud = Cloud::start_at(2000.0).await;
    let path = format!("{INSTANCES}/{}", body["name"].as_str().unwrap());
    done(&cloud, "POST", INSTANCES, body).await;
    takes_changes(&cloud, &path).await;
    cloud
}

/// Waits until a new instance takes changes: until then it refuses all of them, also one of
/// settings that nobody read.
async fn takes_changes(cloud: &Cloud, path: &str) {
    let unread = json!({ "settings": { "settingsVersion": "99" } });
    for _ in 0..1200 {
        let refused = refusal(cloud, "PATCH", path, unread.clone()).await;
        match (refused.0, refused.1.as_str()) {
            (409, "invalidState") => {}
            other => return assert_eq!(other, (412, "staleData")),
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it takes no changes");
}

/// Whether a server runs behind instances; otherwise says that a part is skipped.
fn has_server(cloud: &Cloud) -> bool {
    let status = cloud.sandbox.status();
    let postgres = status["backing"]["postgres"].as_str().unwrap().to_owned();
    let there = !postgres.starts_with("none");
    if !there {
        eprintln!("SKIPPED: connections to instances ({postgres})");
    }
    there
}

async fn connect(
    cloud: &Cloud,
    user: &str,
    password: &str,
    database: &str,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let instance = cloud.get(&format!("{INSTANCES}/db")).await;
    let address = instance["ipAddresses"][0]["ipAddress"].as_str().unwrap();
    let connecting = tokio_postgres::Config::new()
        .host(address)
        .port(5432)
        .user(user)
        .password(password)
        .dbname(database)
        .connect(tokio_postgres::NoTls)
        .await;
    let (client, connection) = connecting?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn an_instance_is_pending_until_it_runs() {
    let cloud = Cloud::start_at(300.0).await;
    let begun = cloud.ok("POST", INSTANCES, small("db")).await;
    assert_eq!(begun["status"], "PENDING");
    assert_eq!(begun["operationType"], "CREATE");
    let pending = cloud.get(&format!("{INSTANCES}/db")).await;
    assert_eq!(pending["state"], "PENDING_CREATE");
    assert_eq!(pending.get("ipAddresses"), None);
    let path = format!("{INSTANCES}/db/users");
    let (status, reason, message) = refusal(&cloud, "GET", &path, Value::Null).await;
    assert_eq!((status, reason.as_str()), (400, "invalid"));
    assert_eq!(
        message,
        "Invalid request: Invalid request since instance is not running."
    );
    let busy = refusal(&cloud, "DELETE", &format!("{INSTANCES}/db"), Value::Null).await;
    assert_eq!((busy.0, busy.1.as_str()), (409, "operationInProgress"));
    let again = refusal(&cloud, "POST", INSTANCES, small("db")).await;
    assert_eq!((again.0, again.1.as_str()), (409, "instanceAlreadyExists"));
    let link = begun["selfLink"].as_str().unwrap();
    let path = link
        .strip_prefix("https://sqladmin.googleapis.com/")
        .unwrap();
    for _ in 0..400 {
        if cloud.get(path).await["status"] == "DONE" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let instance = cloud.get(&format!("{INSTANCES}/db")).await;
    assert_eq!(instance["state"], "RUNNABLE");
    assert_eq!(instance["ipAddresses"][0]["type"], "PRIMARY");
    assert_eq!(instance["settings"]["settingsVersion"], "1");
    let pem = instance["serverCaCert"]["cert"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(instance["connectionName"], "sandbox-project:us-central1:db");
    let beta = cloud
        .get("sql/v1beta4/projects/sandbox-project/instances/db")
        .await;
    assert_eq!(beta["settings"], instance["settings"]);
}

#[tokio::test]
async fn users_and_databases_are_those_of_a_real_server() {
    let cloud = with_instance(small("db")).await;
    let user = json!({ "name": "app", "password": "first" });
    let created = done(&cloud, "POST", &format!("{INSTANCES}/db/users"), user).await;
    assert!(!created.to_string().contains("first"));
    let database = json!({ "name": "shop" });
    let path = format!("{INSTANCES}/db/databases");
    done(&cloud, "POST", &path, database.clone()).await;
    let twice = refusal(&cloud, "POST", &path, database).await;
    assert_eq!(twice.0, 400);
    assert!(twice.2.contains("database \"shop\" already exists"));
    let users = cloud.get(&format!("{INSTANCES}/db/users")).await;
    let names: Vec<_> = users["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names, ["app", "postgres"]);
    assert!(!users.to_string().contains("password"));
    if has_server(&cloud) {
        let client = connect(&cloud, "app", "first", "shop").await.unwrap();
        client
            .batch_execute("CREATE TABLE things (id int)")
            .await
            .unwrap();
        let dropped = format!("{path}/shop");
        let in_use = refusal(&cloud, "DELETE", &dropped, Value::Null).await;
        assert!(
            in_use.2.contains("being accessed by other users"),
            "{in_use:?}"
        );
        let owner = format!("{INSTANCES}/db/users?name=app");
        let owning = refusal(&cloud, "DELETE", &owner, Value::Null).await;
        assert!(owning.2.contains("cannot be dropped"), "{owning:?}");
        let fresh = json!({ "name": "app", "password": "second" });
        done(&cloud, "PUT", &owner, fresh).await;
        assert!(connect(&cloud, "app", "first", "shop").await.is_err());
        connect(&cloud, "app", "second", "shop").await.unwrap();
    }
    let absent = format!("{INSTANCES}/db/users?name=nobody");
    assert_eq!(refusal(&cloud, "DELETE", &absent, Value::Null).await.0, 404);
}

#[tokio::test]
async fn an_instance_that_wants_tls_refuses_plain_connections() {
    let mut body = small("db");
    body["settings"]["ipConfiguration"] = json!({ "sslMode": "ENCRYPTED_ONLY" });
    body["rootPassword"] = "root".into();
    let cloud = with_instance(body).await;
    let instance = cloud.get(&format!("{INSTANCES}/db")).await;
    assert_eq!(instance.get("rootPassword"), None);
    if has_server(&cloud) {
        assert!(
            connect(&cloud, "postgres", "root", "postgres")
                .await
                .is_err()
        );
        let relaxed = json!({ "settings": { "ipConfiguration": { "sslMode": "ALLOW_UNENCRYPTED_AND_ENCRYPTED" } } });
        done(&cloud, "PATCH", &format!("{INSTANCES}/db"), relaxed).await;
        connect(&cloud, "postgres", "root", "postgres")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn changes_are_made_of_the_settings_that_were_read() {
    let cloud = with_instance(small("db")).await;
    let path = format!("{INSTANCES}/db");
    let patch = |settings: Value| json!({ "settings": settings });
    let bigger =
        json!({ "settingsVersion": "1", "tier": "db-custom-1-3840", "dataDiskSizeGb": "20" });
    done(&cloud, "PATCH", &path, patch(bigger.clone())).await;
    let instance = cloud.get(&path).await;
    assert_eq!(instance["settings"]["tier"], "db-custom-1-3840");
    assert_eq!(instance["settings"]["settingsVersion"], "2");
    assert_eq!(instance["settings"]["edition"], "ENTERPRISE");
    let stale = refusal(&cloud, "PATCH", &path, patch(bigger)).await;
    assert_eq!((stale.0, stale.1.as_str()), (412, "staleData"));
    for refused in [
        patch(json!({ "dataDiskSizeGb": "10" })),
        patch(json!({ "tier": "db-custom-3-3840" })),
        patch(json!({ "backupConfiguration": { "pointInTimeRecoveryEnabled": true } })),
        patch(json!({ "databaseFlags": [{ "name": "no_such_flag", "value": "1" }] })),
        json!({ "databaseVersion": "POSTGRES_14" }),
        json!({ "region": "europe-west1" }),
    ] {
        let refusal = refusal(&cloud, "PATCH", &path, refused.clone()).await;
        assert_eq!(
            (refusal.0, refusal.1.as_str()),
            (400, "invalid"),
            "{refused}"
        );
    }
    let unversioned = refusal(
        &cloud,
        "PUT",
        &path,
        patch(json!({ "tier": "db-f1-micro" })),
    )
    .await;
    assert_eq!(unversioned.0, 400);
    let (status, unknown) = cloud.call("PATCH", &path, json!({ "setings": {} })).await;
    assert_eq!(
        (status, &unknown["error"]["status"]),
        (400, &json!("INVALID_ARGUMENT"))
    );
}

#[tokio::test]
async fn a_protected_instance_stays_and_a_deleted_name_is_free_again() {
    let mut body = small("db");
    body["settings"]["deletionProtectionEnabled"] = true.into();
    let cloud = with_instance(body).await;
    let path = format!("{INSTANCES}/db");
    let kept = refusal(&cloud, "DELETE", &path, Value::Null).await;
    assert!(kept.2.starts_with("The instance is protected."), "{kept:?}");
    let taken = refusal(&cloud, "POST", INSTANCES, small("db")).await;
    assert_eq!((taken.0, taken.1.as_str()), (409, "instanceAlreadyExists"));
    let free = json!({ "settings": { "deletionProtectionEnabled": false } });
    done(&cloud, "PATCH", &path, free).await;
    done(&cloud, "DELETE", &path, Value::Null).await;
    let gone = refusal(&cloud, "GET", &path, Value::Null).await;
    assert_eq!((gone.0, gone.1.as_str()), (404, "instanceDoesNotExist"));
    done(&cloud, "POST", INSTANCES, small("db")).await;
}

#[tokio::test]
async fn nothing_is_told_of_what_is_within_an_instance_that_is_not_there() {
    let cloud = with_instance(small("db")).await;
    for within in ["users", "databases", "databases/app", "backupRuns"] {
        let path = format!("{INSTANCES}/other/{within}");
        let refused = refusal(&cloud, "GET", &path, Value::Null).await;
        assert_eq!((refused.0, refused.1.as_str()), (403, "notAuthorized"));
    }
    let listed = format!("{INSTANCES}?filter=name:other");
    let (status, answer) = cloud.call("GET", &listed, Value::Null).await;
    let items = answer["items"].as_array().map_or(0, Vec::len);
    assert_eq!((status, items), (200, 0));
}

#[tokio::test]
async fn instances_are_listed_by_a_label_and_by_no_other_expression() {
    let mut labelled = small("ours");
    labelled["settings"]["userLabels"] = json!({ "deployer": "idp_test" });
    let cloud = with_instance(labelled).await;
    done(&cloud, "POST", INSTANCES, small("theirs")).await;
    let names = async |filter: &str| {
        let listed = cloud.get(&format!("{INSTANCES}?filter={filter}")).await;
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        let names = items
            .iter()
            .map(|it| it["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["ours", "theirs"]);
    assert_eq!(names("name:theirs").await, ["theirs"]);
    assert_eq!(
        names("settings.userLabels.deployer:idp_test").await,
        ["ours"]
    );
    assert_eq!(names("settings.userLabels.deployer:idp").await, [""; 0]);
    let path = format!("{INSTANCES}?filter=state:RUNNABLE");
    let (status, _) = cloud.call("GET", &path, Value::Null).await;
    assert_eq!(status, 501);
}
