//! Faults on purpose: each kind on both clouds in the vendor's own words, seen by plain HTTP
//! clients.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aws_support;
mod gcp_cloud;
mod jump;
mod support;

use std::sync::{Arc, Mutex};

use aws_support::{Account, element};
use deployer_sandbox::call::{ApiCall, Effect};
use deployer_sandbox::faults::{End, FaultKind, FaultsFile, Observer, Verdict};
use deployer_sandbox::runner::Simulated;
use deployer_sandbox::{Options, Rates, Time};
use gcp_cloud::{Cloud, LOCATION};
use jump::Jumping;
use serde_json::{Value, json};

fn options(time: &Jumping, faults: &str) -> Options {
    Options {
        faults: Some(FaultsFile::parse("faults.toml", faults).unwrap()),
        ..Options::simulated(Simulated::default(), time.clock()).unwrap()
    }
}

fn rule(call: &str, what: &str) -> String {
    format!("[[fault]]\ncall = \"{call}\"\nwhat = \"{what}\"\nnth = 1\n")
}

async fn account(faults: &str) -> Account {
    Account::of(options(&Jumping::start(), faults)).await
}

async fn cloud(faults: &str) -> Cloud {
    Cloud::of(options(&Jumping::start(), faults)).await
}

/// The status and the code of a call that is refused once, and passes then.
#[track_caller]
fn refused_json(call: &'static str, what: &'static str) -> impl Future<Output = (u16, String)> {
    let at = std::panic::Location::caller();
    async move {
        let account = account(&rule(call, what)).await;
        let (status, body) = account.call_as(&account.caller, call, json!({})).await;
        let (again, _) = account.call_as(&account.caller, call, json!({})).await;
        assert_eq!(again, 200, "{at}");
        (status, body["__type"].as_str().unwrap().to_owned())
    }
}

async fn refused_xml(what: &str) -> (u16, String) {
    let call = "rds:DescribeDBInstances";
    let account = account(&rule(call, what)).await;
    let (status, body) = account.form(call, &[]).await;
    assert_eq!(account.form(call, &[]).await.0, 200);
    (status, element(&body, "Code").unwrap().to_owned())
}

/// The whole error of a Google call that is refused once, and passes then.
async fn refused_google(what: &str) -> Value {
    let cloud = cloud(&rule("run.projects.locations.services.list", what)).await;
    let path = format!("v2/{LOCATION}/services");
    let (status, body) = cloud.call("GET", &path, Value::Null).await;
    assert_eq!(body["error"]["code"], status);
    cloud.get(&path).await;
    body["error"].clone()
}

fn said(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn aws_refuses_in_the_words_of_each_protocol() {
    let ecs = "ecs:ListClusters";
    assert_eq!(
        refused_json(ecs, "throttled").await,
        said(400, "ThrottlingException")
    );
    assert_eq!(
        refused_json(ecs, "denied").await,
        said(400, "AccessDeniedException")
    );
    assert_eq!(
        refused_json(ecs, "quota").await,
        said(400, "LimitExceededException")
    );
    assert_eq!(
        refused_json(ecs, "internal").await,
        said(500, "ServerException")
    );
    assert_eq!(
        refused_json(ecs, "unavailable").await,
        said(503, "ServiceUnavailableException")
    );
    let secrets = "secretsmanager:ListSecrets";
    assert_eq!(
        refused_json(secrets, "internal").await,
        said(500, "InternalServiceError")
    );
    assert_eq!(refused_xml("throttled").await, said(400, "Throttling"));
    assert_eq!(refused_xml("denied").await, said(403, "AccessDenied"));
    assert_eq!(
        refused_xml("quota").await,
        said(400, "InstanceQuotaExceeded")
    );
    assert_eq!(refused_xml("internal").await, said(500, "InternalFailure"));
    assert_eq!(
        refused_xml("unavailable").await,
        said(503, "ServiceUnavailable")
    );
}

#[tokio::test]
async fn google_refuses_with_status_and_details() {
    let throttled = refused_google("throttled").await;
    assert_eq!(
        (&throttled["code"], &throttled["status"]),
        (&json!(429), &json!("RESOURCE_EXHAUSTED"))
    );
    assert_eq!(throttled["details"][0]["reason"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(
        throttled["details"][0]["metadata"]["service"],
        "run.googleapis.com"
    );
    let quota = refused_google("quota").await;
    assert_eq!(
        (&quota["code"], &quota["status"]),
        (&json!(429), &json!("RESOURCE_EXHAUSTED"))
    );
    assert_eq!(
        quota["details"][0]["@type"],
        "type.googleapis.com/google.rpc.QuotaFailure"
    );
    let denied = refused_google("denied").await;
    assert_eq!(
        (&denied["code"], &denied["status"]),
        (&json!(403), &json!("PERMISSION_DENIED"))
    );
    assert_eq!(
        denied["details"][0]["metadata"]["permission"],
        "run.services.list"
    );
    let unavailable = refused_google("unavailable").await;
    assert_eq!(
        (&unavailable["code"], &unavailable["status"]),
        (&json!(503), &json!("UNAVAILABLE"))
    );
    let internal = refused_google("internal").await;
    assert_eq!(
        (&internal["code"], &internal["status"]),
        (&json!(500), &json!("INTERNAL"))
    );
}

#[tokio::test]
async fn a_registry_refuses_as_the_distribution_protocol_says() {
    let faults = rule("registry GET ping", "throttled")
        + &rule("registry GET ping", "unavailable")
        + "retry_after = \"1500ms\"\n";
    let account = account(&faults).await;
    let token = &account.sandbox.running().control_token;
    for base in [&account.sandbox.aws_url, &account.sandbox.gcp_url] {
        let url = format!("{base}/_sandbox/faults");
        let set = account.http.post(url).bearer_auth(token);
        let set = set.body(faults.clone());
        assert_eq!(set.send().await.unwrap().status(), 200);
        let ping = async || {
            let answer = account
                .http
                .get(format!("{base}/v2/"))
                .send()
                .await
                .unwrap();
            let after = answer.headers().get("retry-after").cloned();
            let status = answer.status().as_u16();
            let body: Value = answer.json().await.unwrap();
            (status, body["errors"][0]["code"].clone(), after)
        };
        assert_eq!(ping().await, (429, json!("TOOMANYREQUESTS"), None));
        let after = Some(2.into());
        assert_eq!(ping().await, (503, json!("UNAVAILABLE"), after));
        assert_eq!(ping().await.0, 401);
    }
}

#[tokio::test]
async fn throttling_says_when_to_come_back() {
    let faults = rule("*", "throttled") + "retry_after = \"1500ms\"\n";
    let cloud = cloud(&faults).await;
    let url = format!("{}/v2/{LOCATION}/services", cloud.base);
    let answer = cloud
        .client
        .get(url)
        .bearer_auth(&cloud.token)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["retry-after"], "2");
    let body: Value = answer.json().await.unwrap();
    let details = body["error"]["details"].as_array().unwrap().clone();
    let retry = details
        .iter()
        .find(|it| it["@type"] == "type.googleapis.com/google.rpc.RetryInfo");
    assert_eq!(retry.unwrap()["retryDelay"], "1.5s");
}

/// Creates a log group. `None`: the connection was closed instead of answering.
async fn create_group(account: &Account) -> Option<u16> {
    let input = json!({"logGroupName": "/app"}).to_string();
    let headers = [
        ("x-amz-target", "Logs_20140328.CreateLogGroup"),
        ("content-type", "application/x-amz-json-1.1"),
    ];
    let request = account.signed(&account.caller, "logs", &headers, input);
    request
        .send()
        .await
        .ok()
        .map(|answer| answer.status().as_u16())
}

#[tokio::test]
async fn a_reset_before_changes_nothing_and_a_reset_after_does() {
    let before = account(&rule("logs:CreateLogGroup", "reset_before")).await;
    assert_eq!(create_group(&before).await, None);
    assert_eq!(create_group(&before).await, Some(200));

    let after = account(&rule("logs:CreateLogGroup", "reset_after")).await;
    assert_eq!(create_group(&after).await, None);
    let groups = after.ok("logs:DescribeLogGroups", json!({})).await;
    assert_eq!(groups["logGroups"][0]["logGroupName"], "/app");

    let google = cloud(&rule(
        "secretmanager.projects.secrets.create",
        "reset_after",
    ))
    .await;
    let path = "v1/projects/sandbox-project/secrets";
    let url = format!("{}/{path}?secretId=lost", google.base);
    let body = json!({ "replication": { "automatic": {} } });
    let lost = google
        .client
        .post(url)
        .bearer_auth(&google.token)
        .json(&body)
        .send()
        .await;
    assert!(lost.is_err());
    google.get(&format!("{path}/lost")).await;
}

#[tokio::test]
async fn a_delay_passes_in_the_clouds_time() {
    let time = Jumping::start();
    let faults = rule("ecs:ListClusters", "delay") + "delay = \"1h\"\n";
    let account = Account::of(options(&time, &faults)).await;
    let began = time.now();
    account.ok("ecs:ListClusters", json!({})).await;
    assert_eq!(time.now().duration_since(began).as_hours(), 1);
    let after = time.now();
    account.ok("ecs:ListClusters", json!({})).await;
    assert!(time.now().duration_since(after).as_hours() == 0);
}

#[tokio::test]
async fn a_stale_read_tells_what_was_before_the_last_write_to_that_api() {
    let account =
        account("[[fault]]\ncall = \"logs:Describe*\"\nwhat = \"stale\"\ntimes = 1\n").await;
    let groups = async || {
        let answer = account.ok("logs:DescribeLogGroups", json!({})).await;
        answer["logGroups"].as_array().unwrap().len()
    };
    assert_eq!(groups().await, 0);
    assert_eq!(groups().await, 0, "nothing was written: nothing is stale");
    let other = json!({"repositoryName": "app"});
    account.ok("ecr:CreateRepository", other).await;
    account
        .ok("logs:CreateLogGroup", json!({"logGroupName": "/app"}))
        .await;
    assert_eq!(groups().await, 0);
    assert_eq!(groups().await, 1);
    let fired = account.sandbox.status()["faults"]["rules"][0]["fired"].clone();
    assert_eq!(fired, 1);

    let cloud = cloud("[[fault]]\ncall = \"secretmanager.*.get\"\nwhat = \"stale\"\n").await;
    let path = "v1/projects/sandbox-project/secrets";
    let body = json!({ "replication": { "automatic": {} } });
    let (absent, _) = cloud.call("GET", &format!("{path}/one"), Value::Null).await;
    cloud
        .ok("POST", &format!("{path}?secretId=one"), body)
        .await;
    let (stale, _) = cloud.call("GET", &format!("{path}/one"), Value::Null).await;
    assert_eq!((absent, stale), (404, 404));
}

#[tokio::test]
async fn rules_change_while_it_runs_and_a_bad_file_changes_nothing() {
    let account = account("").await;
    let url = format!("{}/_sandbox/faults", account.sandbox.aws_url);
    let token = &account.sandbox.running().control_token;
    let listed = async || {
        account
            .call_as(&account.caller, "ecs:ListClusters", json!({}))
            .await
            .0
    };
    assert_eq!(listed().await, 200);
    let set = account
        .http
        .post(&url)
        .bearer_auth(token)
        .body(rule("ecs:List*", "unavailable"));
    let set: Value = set.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        set["rules"][0],
        json!({"call": "ecs:List*", "what": "unavailable", "seen": 0, "fired": 0})
    );
    let bad = account
        .http
        .post(&url)
        .bearer_auth(token)
        .body("[[fault]]\ncall = \"*\"\nwhat = \"gone\"\n");
    let bad = bad.send().await.unwrap();
    assert_eq!(bad.status(), 400);
    let told: Value = bad.json().await.unwrap();
    assert!(told["error"].as_str().unwrap().contains("line 3"), "{told}");
    assert!(told["hint"].is_string());
    assert_eq!(listed().await, 503);
    let cleared = account.http.delete(&url).bearer_auth(token).send();
    assert_eq!(cleared.await.unwrap().status(), 200);
    assert_eq!(account.sandbox.status()["faults"]["rules"], json!([]));
}

/// Notes every call, and loses the reply of the first write.
#[derive(Default)]
struct Witness {
    seen: Mutex<Vec<(String, Effect, Option<End>)>>,
    lost: Mutex<bool>,
}

impl Observer for Witness {
    fn before(&self, call: &ApiCall) -> Verdict {
        self.seen
            .lock()
            .unwrap()
            .push((call.name.clone(), call.effect, None));
        let mut lost = self.lost.lock().unwrap();
        match (call.effect, *lost) {
            (Effect::Write, false) => {
                *lost = true;
                Verdict::LoseReply
            }
            _ if call.name == "logs:DescribeLogStreams" => {
                Verdict::Refuse(FaultKind::Internal.into())
            }
            _ => Verdict::Pass,
        }
    }

    fn after(&self, call: &ApiCall, end: End) {
        let mut seen = self.seen.lock().unwrap();
        let last = seen.last_mut().unwrap();
        assert_eq!(last.0, call.name);
        last.2 = Some(end);
    }
}

#[tokio::test]
async fn an_observer_is_told_of_each_call_and_decides_what_becomes_of_it() {
    let witness = Arc::new(Witness::default());
    let options = Options {
        observer: Some(witness.clone()),
        ..options(&Jumping::start(), "")
    };
    let account = Account::of(options).await;
    assert_eq!(create_group(&account).await, None);
    account.ok("logs:DescribeLogGroups", json!({})).await;
    let streams = json!({"logGroupName": "/app"});
    let (status, _) = account
        .call_as(&account.caller, "logs:DescribeLogStreams", streams)
        .await;
    assert_eq!(status, 500);
    account
        .http
        .get(format!("{}/v2/app/tags/list", account.sandbox.aws_url))
        .send()
        .await
        .unwrap();
    account
        .http
        .get(format!("{}/_sandbox/status", account.sandbox.aws_url))
        .send()
        .await
        .unwrap();
    let token = account
        .http
        .post(format!("{}/token", account.sandbox.gcp_url));
    token.send().await.unwrap();
    let seen = witness.seen.lock().unwrap().clone();
    let call = |name: &str, effect, end| (name.to_owned(), effect, Some(end));
    assert_eq!(
        seen,
        [
            call("logs:CreateLogGroup", Effect::Write, End::HungUp),
            call("logs:DescribeLogGroups", Effect::Read, End::Answered(200)),
            call("logs:DescribeLogStreams", Effect::Read, End::Answered(500)),
            call("registry GET tags", Effect::Read, End::Answered(401)),
            call("oauth2.token", Effect::Read, End::Answered(400)),
        ]
    );
}

#[tokio::test]
async fn calls_beyond_the_documented_rate_are_throttled_and_counted() {
    let options = Options {
        rates: Rates::Enforced,
        ..options(&Jumping::start(), "")
    };
    let account = Account::of(options).await;
    let mut refused = 0;
    for _ in 0..60 {
        let (status, body) = account
            .call_as(&account.caller, "ecs:DescribeClusters", json!({}))
            .await;
        if status != 200 {
            assert_eq!(
                (status, &body["__type"]),
                (400, &json!("ThrottlingException"))
            );
            refused += 1;
        }
    }
    // Nobody waits for anything: no time passes.
    assert_eq!(refused, 10);
    let told = account.sandbox.status()["rates"]["rejected"]["ecs:DescribeClusters"].clone();
    assert_eq!(told, refused);
}

#[tokio::test]
async fn an_account_that_a_service_is_closed_to_cannot_begin_with_it() {
    let account = account(&rule("apprunner:CreateService", "closed")).await;
    let create = json!({"ServiceName": "web-app", "SourceConfiguration": {}});
    let closed = "AWS App Runner is no longer open to new customers.";
    account
        .refused(
            "apprunner:CreateService",
            create,
            "AccessDeniedException",
            closed,
        )
        .await;
    account.close().await;
}
