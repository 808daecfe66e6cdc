//! Serving: tokens, keys, health, and what each release answers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::database::Database;
use crate::process::{PAIRS, Pair, Service, idp, migrate, release};

const CREDENTIALS: [(&str, &str); 3] = [
    ("grant_type", "client_credentials"),
    ("client_id", "test-client"),
    ("client_secret", "test-secret"),
];

/// A migrated database and a service on it.
async fn serving(test: &str) -> Option<(Database, Service)> {
    let database = Database::create(test).await?;
    assert!(migrate(&release("1.0.0"), &database.url).status.success());
    let Pair { private, public } = &PAIRS[0];
    let service = start("1.0.0", &database.url, private, public);
    Some((database, service))
}

fn start(version: &str, database: &str, private: &str, public: &str) -> Service {
    let variables = [
        ("DATABASE_URL", database),
        ("JWT_PRIVATE_KEY", private),
        ("JWT_PUBLIC_KEY", public),
    ];
    Service::start(version, &variables)
}

/// The `kid` values that a service publishes.
fn published(service: &Service) -> BTreeSet<String> {
    let (status, body) = service.get("/.well-known/jwks.json");
    assert_eq!(status, 200);
    let set: Value = serde_json::from_str(&body).unwrap();
    let keys = set["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_token_is_issued_and_verifies_with_the_published_key() {
    let test = "a_token_is_issued_and_verifies_with_the_published_key";
    let Some((database, service)) = serving(test).await else {
        return;
    };
    let (status, answer) = service.token(&[CREDENTIALS.as_slice(), &[("scope", "read")]].concat());
    assert_eq!(
        (status, &answer["scope"]),
        (200, &Value::from("read")),
        "{answer}"
    );
    let token = answer["access_token"].as_str().unwrap();

    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!(published(&service), BTreeSet::from([header.kid.unwrap()]));
    let (status, body) = service.get_as("/api/v1/verify", &format!("Bearer {token}"));
    let verified: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &verified["claims"]["sub"]),
        (200, &Value::from("test-client"))
    );

    let (_, metrics) = service.get("/metrics");
    assert!(
        metrics.contains("# TYPE idp_tokens_issued_total counter"),
        "{metrics}"
    );
    assert!(metrics.contains("idp_tokens_issued_total 1"), "{metrics}");
    assert_eq!(
        database.number("SELECT count(*) FROM issued_tokens").await,
        1
    );
}

#[tokio::test]
async fn what_the_client_may_not_have_is_refused_in_oauths_words() {
    let test = "what_the_client_may_not_have_is_refused_in_oauths_words";
    let Some((_database, service)) = serving(test).await else {
        return;
    };
    let check = |form: &[(&str, &str)], status: u16, error: &str| {
        let (answered, body) = service.token(form);
        assert_eq!(
            (answered, &body["error"]),
            (status, &Value::from(error)),
            "{form:?}"
        );
    };
    let [grant, client, _] = CREDENTIALS;
    check(
        &[grant, client, ("client_secret", "wrong")],
        401,
        "invalid_client",
    );
    check(
        &[grant, ("client_id", "x"), ("client_secret", "x")],
        401,
        "invalid_client",
    );
    check(&[grant, client], 400, "invalid_request");
    check(&[client], 400, "invalid_request");
    check(&[("grant_type", "password")], 400, "unsupported_grant_type");
    check(
        &[CREDENTIALS.as_slice(), &[("scope", "admin")]].concat(),
        400,
        "invalid_scope",
    );
}

#[tokio::test]
async fn a_token_of_one_instance_verifies_on_another_that_publishes_both_keys() {
    let test = "a_token_of_one_instance_verifies_on_another_that_publishes_both_keys";
    let Some(database) = Database::create(test).await else {
        return;
    };
    assert!(migrate(&release("1.0.0"), &database.url).status.success());
    let [first, second] = &*PAIRS;
    let one_line = first.private.replace('\n', "\\n");
    let old = start("1.0.0", &database.url, &one_line, &first.public);
    let both = format!("{}{}", second.public, first.public);
    let new = start("1.0.0", &database.url, &second.private, &both);

    let (_, answer) = old.token(&CREDENTIALS);
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    assert_eq!(new.get_as("/api/v1/verify", &bearer).0, 200);
    assert_eq!(published(&new).len(), 2);
    assert!(published(&new).is_superset(&published(&old)));

    let (_, answer) = new.token(&CREDENTIALS);
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    assert_eq!(old.get_as("/api/v1/verify", &bearer).0, 401);
}

#[tokio::test]
async fn health_follows_the_database_and_the_release() {
    let test = "health_follows_the_database_and_the_release";
    let Some(database) = Database::create(test).await else {
        return;
    };
    let Pair { private, public } = &PAIRS[0];
    let check = |version: &str, url: &str, status: u16, word: &str| {
        let service = start(version, url, private, public);
        let (answered, body) = service.get("/health");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (answered, &body["status"]),
            (status, &Value::from(word)),
            "{body}"
        );
        assert_eq!(body["version"], version);
        // What ECS asks in the container agrees with what is asked from outside.
        assert_eq!(service.healthcheck(), Some(i32::from(status != 200)));
    };
    check("1.0.0", &database.url, 200, "ok");
    check("2.0.0", &database.url, 200, "ok");
    check("3.0.0", &database.url, 500, "broken");
    check(
        "1.0.0",
        "postgresql://idp@127.0.0.1:1/idp",
        503,
        "unavailable",
    );
}

#[test]
fn a_healthcheck_without_a_server_or_with_a_senseless_port_fails() {
    for port in ["1", "http"] {
        let ended = idp(&["healthcheck"], &[("PORT", port)]).status().unwrap();
        assert_eq!(ended.code(), Some(1), "{port}");
    }
}

#[test]
fn sigterm_ends_the_service_well() {
    let Pair { private, public } = &PAIRS[0];
    let url = "postgresql://idp:s3cr3t@127.0.0.1:1/idp";
    let service = start("1.0.0", url, private, public);
    let (status, body) = service.get("/");
    assert_eq!(status, 200);
    assert!(
        body.contains("DATABASE_URL") && !body.contains("s3cr3t"),
        "{body}"
    );
    assert!(!service.log().contains("s3cr3t"), "{}", service.log());
    assert_eq!(service.terminate(), Some(0));
}
