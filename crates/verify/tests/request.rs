//! The manifest's own requests: every condition, met and not met.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use deployer_core::spec::{HttpCheck, VerifySpec};
use deployer_verify::{Examination, Finding, Outcome};
use serde_json::{Value, json};

use support::{finding, serve, settings, subject, verifier};

fn about() -> HttpCheck {
    HttpCheck {
        name: "about".into(),
        method: "GET".into(),
        path: "/about?full=1".into(),
        headers: BTreeMap::new(),
        status: 200,
        expect_headers: BTreeMap::new(),
        json: BTreeMap::new(),
        body: None,
        within: None,
    }
}

fn router() -> Router {
    let about = async |headers: HeaderMap| {
        let asked = headers
            .get("x-asked")
            .map(|v| v.to_str().unwrap().to_owned());
        let body = json!({
            "name": "idp", "asked": asked, "regions": [{"up": true}, {"up": true}], "count": 2.0,
        });
        (
            [
                ("strict-transport-security", "max-age=31536000"),
                ("set-cookie", "id=abc"),
            ],
            axum::Json(body),
        )
            .into_response()
    };
    let slow = async || {
        tokio::time::sleep(Duration::from_millis(150)).await;
        "slow"
    };
    Router::new()
        .route("/health", get(async || "ok"))
        .route("/about", get(about))
        .route("/made", post(async || axum::http::StatusCode::CREATED))
        .route("/slow", get(slow))
}

async fn examine(check: HttpCheck) -> Examination {
    let mut subject = subject("aws", serve(router()).await);
    subject.spec = VerifySpec {
        checks: vec![check],
        ..VerifySpec::default()
    };
    verifier(settings()).examine(&subject).await
}

async fn passes(check: HttpCheck) -> Finding {
    let examination = examine(check).await;
    let finding = finding(&examination, "about");
    assert_eq!(finding.outcome, Outcome::Passed, "{finding:?}");
    finding.clone()
}

async fn fails(check: HttpCheck, got: &str) {
    let examination = examine(check).await;
    let finding = finding(&examination, "about");
    assert_eq!(finding.outcome, Outcome::Failed, "{finding:?}");
    assert!(finding.got.contains(got), "{finding:?}");
}

#[tokio::test]
async fn a_finding_says_what_was_expected() {
    let mut check = about();
    check.body = Some("idp".into());
    check.json.insert("$.name".into(), json!("idp"));
    check.within = Some(Duration::from_secs(5));
    let finding = passes(check).await;
    let expected = "200 at GET /about?full=1, $.name = \"idp\", body ~ idp, within 5000 ms";
    assert_eq!(finding.expected, expected);
}

#[tokio::test]
async fn the_status_and_the_method_are_the_manifests() {
    let made = |status| HttpCheck {
        method: "POST".into(),
        path: "/made".into(),
        status,
        ..about()
    };
    passes(made(201)).await;
    fails(made(200), "201").await;
    let absent = |status| HttpCheck {
        path: "/absent".into(),
        status,
        ..about()
    };
    passes(absent(404)).await;
    fails(absent(200), "404").await;
    passes(HttpCheck {
        method: "HEAD".into(),
        ..about()
    })
    .await;
}

#[tokio::test]
async fn headers_are_sent_and_headers_are_expected() {
    let mut check = about();
    check.headers.insert("x-asked".into(), "yes".into());
    check.json.insert("$.asked".into(), json!("yes"));
    let hsts = "Strict-Transport-Security".to_owned();
    check
        .expect_headers
        .insert(hsts.clone(), "max-age=[0-9]{8}".into());
    passes(check.clone()).await;
    check.expect_headers.insert(hsts.clone(), "preload".into());
    fails(
        check.clone(),
        "Strict-Transport-Security is max-age=31536000",
    )
    .await;
    check.expect_headers.insert(hsts.clone(), "(".into());
    fails(check.clone(), "`(` is no regular expression").await;
    check.expect_headers = BTreeMap::from([("x-absent".into(), ".".into())]);
    fails(check.clone(), "no header x-absent").await;
    check.expect_headers = BTreeMap::from([("set-cookie".into(), "other".into())]);
    let examination = examine(check).await;
    assert!(
        !format!("{examination:?}").contains("abc"),
        "{examination:?}"
    );
}

#[tokio::test]
async fn places_in_the_json_hold_their_values() {
    let with = |place: &str, value: Value| HttpCheck {
        json: BTreeMap::from([(place.to_owned(), value)]),
        ..about()
    };
    passes(with("$.name", json!("idp"))).await;
    passes(with("$.count", json!(2))).await;
    passes(with("$.regions[*].up", json!(true))).await;
    fails(with("$.name", json!("api")), "$.name is \"idp\"").await;
    fails(with("$.regions[*].up", json!(false)), "is true").await;
    fails(with("$.absent", json!(1)), "nothing at $.absent").await;
    fails(with("name", json!("idp")), "`name` is no JSON path").await;
    let text = HttpCheck {
        path: "/health".into(),
        ..with("$.name", json!("idp"))
    };
    fails(text, "no JSON but text/plain").await;
}

#[tokio::test]
async fn the_body_has_a_match_of_its_pattern() {
    let with = |pattern: &str| HttpCheck {
        path: "/health".into(),
        body: Some(pattern.into()),
        ..about()
    };
    passes(with("^o")).await;
    fails(with("^k"), "no match in \"ok\"").await;
}

#[tokio::test]
async fn an_answer_that_comes_too_late_fails() {
    let within = |milliseconds| HttpCheck {
        path: "/slow".into(),
        within: Some(Duration::from_millis(milliseconds)),
        ..about()
    };
    passes(within(8000)).await;
    fails(within(50), "more than 50 ms").await;
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let check = HttpCheck {
        status: 204,
        body: Some("nothing".into()),
        ..about()
    };
    fails(check.clone(), "200; no match in").await;
}

#[tokio::test]
async fn a_token_in_an_answer_is_not_quoted() {
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
    let answer = get(async move || axum::Json(json!({ "token": token })));
    let router = Router::new()
        .route("/health", get(async || "ok"))
        .route("/about", answer);
    let mut subject = subject("aws", serve(router).await);
    subject.spec = VerifySpec {
        checks: vec![HttpCheck {
            json: BTreeMap::from([("$.token".into(), json!("x"))]),
            ..about()
        }],
        ..VerifySpec::default()
    };
    let examination = verifier(settings()).examine(&subject).await;
    assert_eq!(finding(&examination, "about").got, "$.token is (a token)");
}
