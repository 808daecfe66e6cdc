//! Starting: what is refused, and that a refusal shows no secret.

use std::process::Output;

use crate::process::{PAIRS, idp, release};

fn serve(variables: &[(&str, &str)]) -> Output {
    let root = release("1.0.0");
    idp(&["serve"], variables)
        .env("IDP_ROOT", root)
        .output()
        .unwrap()
}

#[test]
fn every_missing_variable_is_named_at_once() {
    let output = serve(&[
        ("BILLING_ENABLED", "true"),
        ("PORT", "http"),
        ("REDIS_RATE_LIMIT_ENABLED", "true"),
    ]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stdout).unwrap();
    for name in [
        "DATABASE_URL",
        "JWT_PRIVATE_KEY",
        "JWT_PUBLIC_KEY",
        "STRIPE_SECRET_KEY",
        "`REDIS_URL` is not set",
        "`PORT` is `http`",
    ] {
        assert!(said.contains(name), "{name}: {said}");
    }
}

#[test]
fn keys_that_are_no_pair_are_refused_and_not_shown() {
    let (private, public) = (&PAIRS[0].private, &PAIRS[1].public);
    let url = "postgresql://idp:s3cr3t@127.0.0.1:x/idp";
    let output = serve(&[
        ("DATABASE_URL", url),
        ("JWT_PRIVATE_KEY", private),
        ("JWT_PUBLIC_KEY", public),
    ]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("not a pair"), "{said}");
    assert!(
        said.contains("`DATABASE_URL` is not a PostgreSQL URL"),
        "{said}"
    );
    assert!(!said.contains("s3cr3t"), "{said}");
    assert!(!said.contains(private.lines().nth(1).unwrap()), "{said}");
}

#[test]
fn a_private_key_is_never_published() {
    let private = &PAIRS[0].private;
    let output = serve(&[
        ("DATABASE_URL", "postgresql://127.0.0.1/idp"),
        ("JWT_PRIVATE_KEY", private),
        ("JWT_PUBLIC_KEY", private),
    ]);
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn a_job_can_be_made_to_fail() {
    assert_eq!(
        idp(&["fail", "--code", "3"], &[]).status().unwrap().code(),
        Some(3)
    );
}

#[test]
fn a_database_that_is_away_fails_the_migration_with_its_own_code() {
    let root = release("1.0.0");
    let url = "postgresql://idp:s3cr3t@127.0.0.1:1/idp";
    let output = crate::process::migrate(&root, url);
    assert_eq!(output.status.code(), Some(69));
    assert!(!String::from_utf8(output.stdout).unwrap().contains("s3cr3t"));
}
