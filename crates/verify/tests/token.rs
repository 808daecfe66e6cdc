//! Tokens: what makes one good, on its own target and on the others, and that none is ever shown.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use deployer_verify::{Absentee, Credentials, Examination, cross_verify};
use jiff::Timestamp;
use serde_json::{Value, json};

use support::{
    CLIENT_SECRET, SHARED, Signer, Site, claims, fails, is_skipped, passes, serve, settings,
    subject, token_answer, verifier,
};

async fn with_token(answer: Value) -> Examination {
    let mut site = Site::good();
    site.token = (200, answer);
    site.examine().await
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}.AAAA", encode(header), encode(claims))
}

#[tokio::test]
async fn a_token_that_its_own_keys_do_not_verify_fails() {
    let stranger = Signer::rsa("stranger");
    let forged = Signer {
        kid: "shared".into(),
        ..Signer::rsa("")
    };
    let now = claims(0);
    for (token, got) in [
        (stranger.sign(&now), "no key `stranger` in the key set"),
        (forged.sign(&now), "the signature is wrong"),
        (unsigned(&json!({"alg": "none"}), &now), "not signed"),
        (unsigned(&json!({"alg": "HS256"}), &now), "a shared secret"),
        (unsigned(&json!({"alg": "XX1"}), &now), "unknown"),
        (
            unsigned(&json!({"alg": "ES256", "kid": "shared"}), &now),
            "the key is RSA 2048",
        ),
        ("opaque".into(), "no signed JWT"),
    ] {
        fails(&with_token(token_answer(&token)).await, "token", got);
    }
}

#[tokio::test]
async fn a_token_whose_times_make_no_sense_fails() {
    let now = Timestamp::now().as_second();
    for (claims, got) in [
        (
            json!({"iat": now - 7200, "exp": now - 3600}),
            "it expired 360",
        ),
        (json!({"iat": now}), "never expires"),
        (json!({"iat": now + 600, "exp": now + 4200}), "`iat` is"),
        (json!({"nbf": now + 600, "exp": now + 3600}), "`nbf` is"),
        (
            json!({"iat": now, "exp": now + 600}),
            "`expires_in` says 3600 s, the token lasts 600 s",
        ),
    ] {
        fails(
            &with_token(token_answer(&SHARED.sign(&claims))).await,
            "token",
            got,
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_no_token_answer_fails() {
    let good = || token_answer(&SHARED.sign(&claims(0)));
    let without = |member: &str, value: Value| {
        let mut answer = good();
        answer[member] = value;
        answer
    };
    for (answer, got) in [
        (without("access_token", json!(null)), "`access_token`"),
        (without("token_type", json!("mac")), "`token_type`"),
        (without("expires_in", json!("3600")), "`expires_in`"),
        (without("expires_in", json!(0)), "`expires_in`"),
    ] {
        fails(&with_token(answer).await, "token", got);
    }
    // The type's name is case-insensitive (RFC 6749, 5.1).
    let examination = with_token(without("token_type", json!("bearer"))).await;
    passes(&examination, "token", "RS256");
}

#[tokio::test]
async fn a_refusal_is_told_by_its_code_and_nothing_else_of_it() {
    let mut site = Site::good();
    site.token = (
        401,
        json!({"error": "invalid_client", "error_description": "who?"}),
    );
    fails(&site.examine().await, "token", "401 invalid_client");
    site.token = (
        400,
        json!({"error": format!("no client with {CLIENT_SECRET}")}),
    );
    let examination = site.examine().await;
    fails(&examination, "token", "400");
    assert!(!format!("{examination:?}").contains(CLIENT_SECRET));
}

#[tokio::test]
async fn a_client_that_may_not_be_read_skips_the_check_and_one_that_is_not_there_fails_it() {
    let address = serve(Site::good().router()).await;
    let mut subject = subject("aws", address);
    subject.credentials = Credentials::Withheld("may not read secret `client`".into());
    let examination = verifier(settings()).examine(&subject).await;
    is_skipped(&examination, "token", "may not read secret `client`");
    subject.credentials = Credentials::Missing("secret `client` has no value".into());
    let examination = verifier(settings()).examine(&subject).await;
    fails(&examination, "token", "secret `client` has no value");
}

#[tokio::test]
async fn a_token_is_checked_as_far_as_it_goes_where_no_keys_are_published() {
    let mut subject = subject("aws", serve(Site::good().router()).await);
    subject.spec.jwks = None;
    let examination = verifier(settings()).examine(&subject).await;
    passes(&examination, "token", "no key set to verify it with");
}

async fn two(aws: &Site, gcp: &Site) -> Vec<Examination> {
    let verifier = verifier(settings());
    let aws = subject("aws", serve(aws.router()).await);
    let gcp = subject("gcp", serve(gcp.router()).await);
    let mut examinations = vec![verifier.examine(&aws).await, verifier.examine(&gcp).await];
    cross_verify(&mut examinations, &[], Timestamp::now);
    examinations
}

#[tokio::test]
async fn a_token_of_each_target_verifies_with_the_keys_of_the_other() {
    let examinations = two(&Site::good(), &Site::good()).await;
    passes(&examinations[0], "token with gcp's keys", "RS256, verified");
    passes(&examinations[1], "token with aws's keys", "RS256, verified");
}

#[tokio::test]
async fn targets_with_different_keys_fail_although_each_is_good_by_itself() {
    let own = Signer::rsa("shared");
    let mut gcp = Site::good();
    gcp.keys.1 = own.key_set();
    gcp.token.1 = token_answer(&own.sign(&claims(0)));
    let examinations = two(&Site::good(), &gcp).await;
    passes(&examinations[0], "token", "verified");
    passes(&examinations[1], "token", "verified");
    fails(
        &examinations[0],
        "token with gcp's keys",
        "signature is wrong",
    );
    fails(
        &examinations[1],
        "token with aws's keys",
        "signature is wrong",
    );
}

#[tokio::test]
async fn what_another_target_lacks_is_skipped_and_said_to_be() {
    let mut gcp = Site::good();
    gcp.token.0 = 500;
    gcp.keys.0 = 500;
    let mut examinations = two(&Site::good(), &gcp).await;
    is_skipped(
        &examinations[0],
        "token with gcp's keys",
        "gcp has no usable keys",
    );
    is_skipped(
        &examinations[1],
        "token with aws's keys",
        "gcp issued no token",
    );
    let alone = &mut examinations[..1];
    alone[0].findings.clear();
    let absent = [Absentee {
        target: "gcp".into(),
        why: "gcp was not asked for".into(),
    }];
    cross_verify(alone, &absent, Timestamp::now);
    is_skipped(&alone[0], "token with gcp's keys", "gcp was not asked for");
}

#[tokio::test]
async fn no_token_and_no_secret_is_in_anything_that_is_told() {
    let site = Site::good();
    let address = serve(site.router()).await;
    let subject = subject("aws", address);
    let examination = verifier(settings()).examine(&subject).await;
    let token = site.token.1["access_token"].as_str().unwrap().to_owned();
    let told = format!(
        "{subject:?} {examination:?} {}",
        serde_json::to_string(&examination.findings).unwrap()
    );
    for secret in [CLIENT_SECRET, "a client", &token, &token[..20]] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[tokio::test]
async fn the_clients_secret_is_not_sent_over_plain_http_to_another_machine() {
    let mut address = serve(Site::good().router()).await;
    passes(
        &support::examine(address.clone()).await,
        "token",
        "verified",
    );
    // Leads to this machine too, but by an address that does not say so.
    address.set_host(Some("0.0.0.0")).unwrap();
    fails(&support::examine(address).await, "token", "plain http");
}
