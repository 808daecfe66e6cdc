//! Each check passes on a good service and fails on one that is wrong in just one way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use deployer_core::capability::ServingState;
use deployer_verify::{Overall, Pass, Settings, Word};
use serde_json::json;

use support::{
    Signer, Site, examine, fails, is_skipped, passes, serve, settings, subject, verifier,
};

#[tokio::test]
async fn a_good_service_passes_everything_that_can_be_checked() {
    let examination = Site::good().examine().await;
    passes(&examination, "cloud", "2 of 2 instances");
    passes(&examination, "health", "200");
    passes(&examination, "metrics", "200, 1 sample");
    passes(&examination, "jwks", "1 key: RSA 2048");
    passes(&examination, "token", "RS256, for 3600 s, verified");
    is_skipped(&examination, "tls", "not https");
    assert_eq!(examination.overall(), Overall::Passed);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_is_not_health() {
    let elsewhere = get(async || Redirect::permanent("https://idp.example.com/health?session=1"));
    let router = Router::new().route("/health", elsewhere);
    let examination = examine(serve(router).await).await;
    fails(
        &examination,
        "health",
        "308 to https://idp.example.com/health",
    );
    assert!(!format!("{examination:?}").contains("session"));
}

#[tokio::test]
async fn a_service_that_answers_503_fails_at_once_without_patience() {
    let router = Router::new().route("/health", get(async || StatusCode::SERVICE_UNAVAILABLE));
    let examination = examine(serve(router).await).await;
    fails(&examination, "health", "503");
    fails(&examination, "metrics", "404");
}

fn patient(patience: u64) -> Settings {
    Settings {
        patience: Duration::from_secs(patience),
        admission: Duration::ZERO,
        ..settings()
    }
}

/// Answers with each of these statuses once, then with 200.
fn warming_up(statuses: &'static [u16]) -> (Router, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let health = get(async move || {
        let number = count.fetch_add(1, Ordering::SeqCst);
        StatusCode::from_u16(statuses.get(number).copied().unwrap_or(200)).unwrap()
    });
    (Router::new().route("/health", health), asked)
}

#[tokio::test]
async fn a_fresh_address_is_given_time() {
    let (router, asked) = warming_up(&[404, 502, 503, 403]);
    let subject = subject("aws", serve(router).await);
    let examination = verifier(patient(60)).examine(&subject).await;
    passes(&examination, "health", "200");
    assert_eq!(asked.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn patience_ends_with_the_last_answer() {
    let (router, asked) = warming_up(&[502; 1000]);
    let subject = subject("aws", serve(router).await);
    let examination = verifier(patient(60)).examine(&subject).await;
    fails(&examination, "health", "502");
    assert!((10..40).contains(&asked.load(Ordering::SeqCst)));
}

/// Who may call is known everywhere only minutes later; nothing else is waited for as long.
#[tokio::test]
async fn a_caller_who_is_not_let_in_yet_is_given_more_time_than_a_broken_service() {
    let settings = Settings {
        admission: Duration::from_secs(480),
        ..patient(60)
    };
    for (status, passed) in [(403, true), (502, false)] {
        let statuses: &'static [u16] = match status {
            403 => &[403; 60],
            _ => &[502; 60],
        };
        let (router, _) = warming_up(statuses);
        let subject = subject("gcp", serve(router).await);
        let examination = verifier(settings.clone()).examine(&subject).await;
        match passed {
            true => passes(&examination, "health", "200"),
            false => fails(&examination, "health", "502"),
        }
    }
}

#[tokio::test]
async fn every_request_to_a_private_service_bears_what_lets_it_in() {
    let guarded = |headers: axum::http::HeaderMap| {
        let pass = headers.get("x-serverless-authorization");
        match pass.is_some_and(|pass| pass == "Bearer of-the-caller") {
            true => StatusCode::OK,
            false => StatusCode::FORBIDDEN,
        }
    };
    let router = Router::new()
        .route("/health", get(async move |headers| guarded(headers)))
        .route("/metrics", get(async move |headers| guarded(headers)));
    let mut subject = subject("gcp", serve(router).await);
    let examination = verifier(settings()).examine(&subject).await;
    fails(&examination, "health", "403");
    subject.pass = Some(Pass {
        header: "x-serverless-authorization",
        value: "Bearer of-the-caller".into(),
    });
    let examination = verifier(settings()).examine(&subject).await;
    passes(&examination, "health", "200");
    assert!(!format!("{subject:?}").contains("of-the-caller"));
}

#[tokio::test]
async fn an_answer_that_time_does_not_change_is_not_waited_for() {
    let (router, asked) = warming_up(&[401, 401]);
    let subject = subject("aws", serve(router).await);
    let examination = verifier(patient(60)).examine(&subject).await;
    fails(&examination, "health", "401");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn where_nobody_answers_only_health_fails_and_the_rest_is_skipped() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let examination = examine(free.parse().unwrap()).await;
    fails(&examination, "health", "no connection");
    for check in ["metrics", "jwks", "token"] {
        is_skipped(&examination, check, "nobody answers");
    }
}

#[tokio::test]
async fn without_an_address_everything_but_the_clouds_word_is_skipped() {
    let mut subject = subject("aws", "http://127.0.0.1:1".parse().unwrap());
    subject.address = Err("no address is known".into());
    let examination = verifier(settings()).examine(&subject).await;
    passes(&examination, "cloud", "ready");
    for check in ["health", "tls", "metrics", "jwks", "token"] {
        is_skipped(&examination, check, "no address is known");
    }
}

#[tokio::test]
async fn the_clouds_own_word_counts() {
    let said = |change: fn(&mut deployer_core::capability::Serving)| {
        let mut serving = support::serving();
        change(&mut serving);
        Word::Said(Some(serving))
    };
    let cases = [
        (Word::Said(None), "no such service"),
        (said(|s| s.instances = Some((2, 1))), "1 of 2 instances"),
        (
            said(|s| s.state = ServingState::Failed("rolled back".into())),
            "failed: rolled back",
        ),
        (
            said(|s| s.state = ServingState::InProgress("1 pending".into())),
            "in progress: 1 pending",
        ),
        (
            said(|s| s.state = ServingState::Failing("exited with 1".into())),
            "failing: exited with 1",
        ),
        (Word::Unheard("throttled".into()), "throttled"),
    ];
    for (word, got) in cases {
        let mut subject = subject("aws", "http://127.0.0.1:1".parse().unwrap());
        subject.address = Err("no address is known".into());
        subject.serving = word;
        let examination = verifier(settings()).examine(&subject).await;
        fails(&examination, "cloud", got);
        assert_eq!(examination.overall(), Overall::Failed);
    }
}

#[tokio::test]
async fn what_is_no_prometheus_text_fails_the_metrics() {
    for (status, text, got) in [
        (200, "<html></html>", "line 1 is no sample"),
        (200, "up 1\n{\"status\":\"ok\"}", "line 2 is no sample"),
        (200, "# nothing\n\n", "no metrics"),
        (403, "up 1\n", "403"),
    ] {
        let mut site = Site::good();
        site.metrics = (status, text.into());
        fails(&site.examine().await, "metrics", got);
    }
}

#[tokio::test]
async fn a_key_set_that_cannot_be_used_or_gives_too_much_away_fails() {
    let mut private = Signer::ec("a").public();
    private["d"] = json!("AAAA");
    let mut short = support::SHARED.public();
    short["n"] = json!("wA".repeat(64));
    let mut encryption = support::SHARED.public();
    encryption["use"] = json!("enc");
    let twice = [support::SHARED.public(), support::SHARED.public()];
    for (status, keys, got) in [
        (200, json!({ "keys": [private] }), "private member `d`"),
        (
            200,
            json!({ "keys": [{"kty": "oct", "k": "AAAA"}] }),
            "private member `k`",
        ),
        (200, json!({ "keys": [short] }), "too short"),
        (200, json!({ "keys": [encryption] }), "for encryption"),
        (200, json!({ "keys": twice }), "the `kid` of another"),
        (200, json!({ "keys": [] }), "no keys"),
        (200, json!([]), "no `keys` array"),
        (404, json!({}), "404"),
    ] {
        let mut site = Site::good();
        site.keys = (status, keys);
        let examination = site.examine().await;
        fails(&examination, "jwks", got);
        fails(&examination, "token", "no keys to verify it with");
    }
}

#[tokio::test]
async fn a_key_set_may_hold_several_kinds_of_keys() {
    let mut site = Site::good();
    let other = Signer::ec("other");
    site.keys.1 = json!({ "keys": [support::SHARED.public(), other.public()] });
    let examination = site.examine().await;
    passes(&examination, "jwks", "2 keys: RSA 2048, EC P256");
    passes(&examination, "token", "RS256");
    site.token.1 = support::token_answer(&other.sign(&support::claims(0)));
    passes(&site.examine().await, "token", "ES256");
}
