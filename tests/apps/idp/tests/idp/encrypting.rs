//! TLS to PostgreSQL and Redis: who is believed, and who is not.

use serde_json::Value;

use crate::process::{PAIRS, Pair, Service, idp, release};
use crate::servers::{self, Authority};

/// Exit code and output of a migration with these variables.
fn migrate(url: &str, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let root = release("1.0.0");
    let mut command = idp(&["migrate"], variables);
    command.env("IDP_ROOT", root).env("DATABASE_URL", url);
    let output = command.output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn a_database_is_believed_as_far_as_its_url_says() {
    let test = "a_database_is_believed_as_far_as_its_url_says";
    let (own, other) = (Authority::new(), Authority::new());
    let Some(server) = servers::postgres(test, &own, "127.0.0.1") else {
        return;
    };
    let url = |mode: &str| {
        format!(
            "postgresql://postgres@127.0.0.1:{}/postgres{mode}",
            server.port
        )
    };
    let check = |mode: &str, variables: &[(&str, &str)], code: i32, word: &str| {
        let (ended, said) = migrate(&url(mode), variables);
        assert_eq!(ended, Some(code), "{mode}: {said}");
        assert!(said.contains(word), "{mode}: {said}");
    };
    check("", &[], 69, "no encryption");
    check("?sslmode=disable", &[], 69, "no encryption");
    check("?sslmode=prefer", &[], 0, "migrated");
    check("?sslmode=require", &[], 0, "migrated");
    check("?sslmode=verify-full", &[], 78, "PGSSLROOTCERT");
    for mode in ["?sslmode=verify-ca", "?sslmode=verify-full"] {
        check(mode, &[("DATABASE_CA", &own.pem)], 0, "migrated");
        check(mode, &[("DATABASE_CA", &other.pem)], 69, "certificate");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("root.crt");
    std::fs::write(&file, &own.pem).unwrap();
    let file = file.to_str().unwrap();
    check(
        "?sslmode=verify-full",
        &[("PGSSLROOTCERT", file)],
        0,
        "migrated",
    );
}

#[test]
fn only_verify_full_minds_a_certificate_for_another_name() {
    let test = "only_verify_full_minds_a_certificate_for_another_name";
    let own = Authority::new();
    let Some(server) = servers::postgres(test, &own, "db.test") else {
        return;
    };
    for (mode, code) in [("require", 0), ("verify-ca", 0), ("verify-full", 69)] {
        let url = format!(
            "postgresql://postgres@127.0.0.1:{}/postgres?sslmode={mode}",
            server.port
        );
        let (ended, said) = migrate(&url, &[("DATABASE_CA", &own.pem)]);
        assert_eq!(ended, Some(code), "{mode}: {said}");
    }
}

/// A service with a database that is away and this Redis.
fn start(redis: &str, variables: &[(&str, &str)]) -> Service {
    let Pair { private, public } = &PAIRS[0];
    let own = [
        ("DATABASE_URL", "postgresql://idp@127.0.0.1:1/idp"),
        ("JWT_PRIVATE_KEY", private.as_str()),
        ("JWT_PUBLIC_KEY", public.as_str()),
        ("REDIS_URL", redis),
    ];
    Service::start("1.0.0", &[own.as_slice(), variables].concat())
}

fn health(service: &Service) -> (u16, Value) {
    let (status, body) = service.get("/health");
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn a_redis_is_believed_only_when_its_authority_is_the_one_given() {
    let test = "a_redis_is_believed_only_when_its_authority_is_the_one_given";
    let (own, other) = (Authority::new(), Authority::new());
    let Some(server) = servers::redis(test, &own) else {
        return;
    };
    let url = format!("rediss://:t0ken@127.0.0.1:{}", server.port);
    let wrong_token = format!("rediss://:other@127.0.0.1:{}", server.port);
    let one_line = own.pem.replace('\n', "\\n");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("root.crt");
    std::fs::write(&file, &own.pem).unwrap();
    let file = file.to_str().unwrap();
    let check = |url: &str, variables: &[(&str, &str)], expected: &str| {
        let (status, body) = health(&start(url, variables));
        assert_eq!(body["redis"], expected, "{body}");
        // The database is away in any case.
        assert_eq!(
            (status, &body["database"]),
            (503, &Value::from("unreachable"))
        );
    };
    check(&url, &[("REDIS_CA", &own.pem)], "ok");
    check(&url, &[("REDIS_CA_CERT", &one_line)], "ok");
    check(&url, &[("SSL_CERT_FILE", file)], "ok");
    check(&url, &[("REDIS_CA", &other.pem)], "unreachable");
    check(&url, &[], "unreachable");
    check(&wrong_token, &[("REDIS_CA", &own.pem)], "unreachable");
}

#[test]
fn two_instances_count_token_requests_together_and_refuse_them_without_redis() {
    let test = "two_instances_count_token_requests_together_and_refuse_them_without_redis";
    let own = Authority::new();
    let Some(server) = servers::redis(test, &own) else {
        return;
    };
    let url = format!("rediss://:t0ken@127.0.0.1:{}", server.port);
    // A window of a year, so that no test run meets its end.
    let variables = [
        ("REDIS_CA", own.pem.as_str()),
        ("RATE_LIMIT_WINDOW_MS", "31536000000"),
        ("RATE_LIMIT_MAX_REQUESTS", "2"),
    ];
    let (first, second) = (start(&url, &variables), start(&url, &variables));
    let alone = start(
        &url,
        &[
            variables.as_slice(),
            &[("REDIS_RATE_LIMIT_ENABLED", "false")],
        ]
        .concat(),
    );
    // Refused after they were counted, before the database is asked.
    let ask = |service: &Service| service.token(&[("grant_type", "password")]).0;
    assert_eq!((ask(&first), ask(&second)), (400, 400));
    assert_eq!((ask(&first), ask(&second)), (429, 429));
    assert_eq!((ask(&alone), ask(&alone), ask(&alone)), (400, 400, 429));
    drop(server);
    assert_eq!(ask(&first), 503);
    assert_eq!(health(&first).1["redis"], "unreachable");
}
