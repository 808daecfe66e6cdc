//! Cloud Storage over HTTP: the JSON API as Google's clients speak it, the XML API as
//! `object_store` does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gcp_cloud;
mod support;

use deployer_sandbox::faults::FaultsFile;
use deployer_sandbox::runner::Simulated;
use deployer_sandbox::{Clock, Options};
use gcp_cloud::Cloud;
use reqwest::{Method, Response};
use serde_json::{Value, json};

const PROJECT: &str = "project=sandbox-project";

async fn with_bucket() -> Cloud {
    with_bucket_in(Cloud::start().await).await
}

async fn with_bucket_in(cloud: Cloud) -> Cloud {
    let path = format!("storage/v1/b?{PROJECT}");
    cloud
        .ok(
            "POST",
            &path,
            json!({ "name": "ledger", "location": "us-central1" }),
        )
        .await;
    cloud
}

/// A call of the XML API.
async fn xml(
    cloud: &Cloud,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let url = format!("{}/{path}", cloud.base);
    let mut request = cloud.client.request(method, url).bearer_auth(&cloud.token);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.to_owned()).send().await.unwrap()
}

async fn refusal(cloud: &Cloud, method: &str, path: &str, body: Value) -> (u16, String) {
    let (status, answer) = cloud.call(method, path, body).await;
    assert_eq!(answer["error"]["code"], status, "{answer}");
    let reason = answer["error"]["errors"][0]["reason"].as_str();
    (status, reason.unwrap_or_default().to_owned())
}

/// Status and code of a refusal of the XML API.
async fn xml_refusal(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    let code = body
        .split_once("<Code>")
        .unwrap()
        .1
        .split_once("</Code>")
        .unwrap()
        .0;
    (status, code.to_owned())
}

#[tokio::test]
async fn buckets_are_made_once_under_a_good_name_and_deleted_when_empty() {
    let cloud = with_bucket().await;
    let bucket = cloud.get("storage/v1/b/ledger").await;
    assert_eq!(bucket["location"], "US-CENTRAL1");
    assert_eq!(bucket["locationType"], "region");
    let insert = format!("storage/v1/b?{PROJECT}");
    for (name, expected) in [
        ("ledger", (409, "conflict")),
        ("Ledger", (400, "invalid")),
        ("ab", (400, "invalid")),
        ("127.0.0.1", (400, "invalid")),
        ("goog-ledger", (400, "invalid")),
        ("ledger-", (400, "invalid")),
    ] {
        let (status, reason) = refusal(&cloud, "POST", &insert, json!({ "name": name })).await;
        assert_eq!((status, reason.as_str()), expected, "{name}");
    }
    let (status, reason) =
        refusal(&cloud, "POST", "storage/v1/b", json!({ "name": "other" })).await;
    assert_eq!((status, reason.as_str()), (400, "required"));
    let other = "storage/v1/b?project=somebody-elses";
    let (status, _) = refusal(&cloud, "POST", other, json!({ "name": "other" })).await;
    assert_eq!(status, 403);

    xml(&cloud, "PUT", "ledger/one", &[], "1").await;
    let (status, reason) = refusal(&cloud, "DELETE", "storage/v1/b/ledger", Value::Null).await;
    assert_eq!((status, reason.as_str()), (409, "conflict"));
    xml(&cloud, "DELETE", "ledger/one", &[], "").await;
    let (status, _) = cloud
        .call("DELETE", "storage/v1/b/ledger", Value::Null)
        .await;
    assert_eq!(status, 204);
    let (status, reason) = refusal(&cloud, "GET", "storage/v1/b/ledger", Value::Null).await;
    assert_eq!((status, reason.as_str()), (404, "notFound"));
    let list = cloud.get(&format!("storage/v1/b?{PROJECT}")).await;
    assert_eq!(list["items"], Value::Null, "an empty list is left out");
}

#[tokio::test]
async fn an_object_that_must_not_exist_is_made_by_one_of_many() {
    let cloud = with_bucket().await;
    let absent = [("x-goog-if-generation-match", "0")];
    let tries = (0..10).map(|number| {
        let (cloud, body) = (&cloud, number.to_string());
        async move { xml(cloud, "PUT", "ledger/lock%2F1", &absent, &body).await }
    });
    let answers = futures::future::join_all(tries).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|answer| answer.status().is_success());
    assert_eq!((made.len(), refused.len()), (1, 9));
    let header = |name: &str| made[0].headers()[name].to_str().unwrap().to_owned();
    let generation = header("x-goog-generation");
    assert!(header("etag").starts_with('"'));
    for answer in refused {
        assert_eq!(
            xml_refusal(answer).await,
            (412, "PreconditionFailed".into())
        );
    }
    let stale = [("x-goog-if-generation-match", "17")];
    let answer = xml(&cloud, "PUT", "ledger/lock%2F1", &stale, "x").await;
    assert_eq!(answer.status(), 412);
    let fresh = [("x-goog-if-generation-match", generation.as_str())];
    let answer = xml(&cloud, "PUT", "ledger/lock%2F1", &fresh, "x").await;
    assert_eq!(answer.status(), 200);
    let later = answer.headers()["x-goog-generation"].to_str().unwrap();
    assert!(later.parse::<i64>().unwrap() > generation.parse().unwrap());
}

#[tokio::test]
async fn the_xml_api_answers_what_object_store_reads() {
    let cloud = with_bucket().await;
    let kind = [
        ("content-type", "application/json"),
        ("x-goog-meta-by", "me"),
    ];
    xml(&cloud, "PUT", "ledger/app%2Fa%20%26b", &kind, "{\"a\":1}").await;
    let head = xml(&cloud, "HEAD", "ledger/app%2Fa%20%26b", &[], "").await;
    assert_eq!(head.headers()["content-length"], "7");
    assert_eq!(head.headers()["content-type"], "application/json");
    let modified = head.headers()["last-modified"].to_str().unwrap();
    assert!(jiff::fmt::rfc2822::parse(modified).is_ok(), "{modified}");
    let ranged = xml(
        &cloud,
        "GET",
        "ledger/app%2Fa%20%26b",
        &[("range", "bytes=1-3")],
        "",
    )
    .await;
    assert_eq!(ranged.status(), 206);
    assert_eq!(ranged.text().await.unwrap(), "\"a\"");

    let listed = xml(
        &cloud,
        "GET",
        "ledger?list-type=2&prefix=app%2F&delimiter=%2F",
        &[],
        "",
    )
    .await;
    let text = listed.text().await.unwrap();
    assert!(text.contains("<Key>app/a &amp;b</Key>"), "{text}");
    for (path, expected) in [
        ("absent-bucket?list-type=2", (404, "NoSuchBucket")),
        ("absent-bucket/x", (404, "NoSuchBucket")),
        ("ledger/absent", (404, "NoSuchKey")),
        ("ledger", (501, "NotImplemented")),
    ] {
        let (status, code) = xml_refusal(xml(&cloud, "GET", path, &[], "").await).await;
        assert_eq!((status, code.as_str()), expected, "{path}");
    }
    let stranger = cloud.client.get(format!("{}/ledger/x", cloud.base));
    let answer = xml_refusal(stranger.send().await.unwrap()).await;
    assert_eq!(answer, (401, "AuthenticationRequired".into()));
    assert_eq!(
        xml(&cloud, "DELETE", "ledger/app%2Fa%20%26b", &[], "")
            .await
            .status(),
        204
    );
    assert_eq!(
        xml(&cloud, "DELETE", "ledger/app%2Fa%20%26b", &[], "")
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn both_listings_fold_what_lies_behind_a_delimiter_and_page_through_it() {
    let cloud = with_bucket().await;
    for name in ["a", "lock%2F1", "lock%2F2", "runs%2F1%2Fx", "z"] {
        xml(&cloud, "PUT", &format!("ledger/{name}"), &[], name).await;
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("storage/v1/b/ledger/o?delimiter=/&maxResults=2&pageToken={token}");
        let page = cloud.get(&path).await;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        seen.extend(
            items
                .iter()
                .map(|it| it["name"].as_str().unwrap().to_owned()),
        );
        let prefixes = page["prefixes"].as_array().cloned().unwrap_or_default();
        seen.extend(prefixes.iter().map(|it| it.as_str().unwrap().to_owned()));
        let Some(next) = page["nextPageToken"].as_str() else {
            break;
        };
        token = next.to_owned();
    }
    seen.sort();
    assert_eq!(seen, ["a", "lock/", "runs/", "z"]);
    let text = xml(
        &cloud,
        "GET",
        "ledger?list-type=2&delimiter=%2F&max-keys=3",
        &[],
        "",
    )
    .await;
    let text = text.text().await.unwrap();
    assert!(
        text.contains("<CommonPrefixes><Prefix>runs/</Prefix>"),
        "{text}"
    );
    let next = text.split_once("<NextContinuationToken>").unwrap().1;
    let next = next.split_once('<').unwrap().0;
    let path = format!("ledger?list-type=2&delimiter=%2F&continuation-token={next}");
    let rest = xml(&cloud, "GET", &path, &[], "")
        .await
        .text()
        .await
        .unwrap();
    assert!(
        rest.contains("<Key>z</Key>") && !rest.contains("runs"),
        "{rest}"
    );
    let refused = refusal(
        &cloud,
        "GET",
        "storage/v1/b/ledger/o?pageToken=%21",
        Value::Null,
    )
    .await;
    assert_eq!(refused, (400, "invalid".into()));
}

#[tokio::test]
async fn the_json_api_uploads_in_one_or_two_parts_and_downloads() {
    let cloud = with_bucket().await;
    let url = |query: &str| format!("{}/upload/storage/v1/b/ledger/o?{query}", cloud.base);
    let plain = cloud
        .client
        .post(url("uploadType=media&name=a/b&ifGenerationMatch=0"));
    let plain = plain
        .bearer_auth(&cloud.token)
        .header("content-type", "text/plain");
    let first = plain
        .try_clone()
        .unwrap()
        .body("hello")
        .send()
        .await
        .unwrap();
    assert_eq!(first.status(), 200);
    let object: Value = first.json().await.unwrap();
    assert_eq!(
        (&object["size"], &object["contentType"]),
        (&json!("5"), &json!("text/plain"))
    );
    let again: Value = plain.body("x").send().await.unwrap().json().await.unwrap();
    assert_eq!(again["error"]["errors"][0]["reason"], "conditionNotMet");
    assert_eq!(again["error"]["code"], 412);

    let body = "--xyz\r\nContent-Type: application/json\r\n\r\n{\"name\": \"two\", \"metadata\": {\"k\": \"v\"}}\r\n\
                --xyz\r\nContent-Type: text/csv\r\n\r\n1,2\r\n\r\n--xyz--";
    let two = cloud
        .client
        .post(url("uploadType=multipart"))
        .bearer_auth(&cloud.token);
    let two = two
        .header("content-type", "multipart/related; boundary=\"xyz\"")
        .body(body);
    assert_eq!(two.send().await.unwrap().status(), 200);
    let two = cloud.get("storage/v1/b/ledger/o/two").await;
    assert_eq!(
        (&two["metadata"]["k"], &two["size"]),
        (&json!("v"), &json!("5"))
    );
    assert_eq!(two["contentType"], "text/csv");

    let download = xml(
        &cloud,
        "GET",
        "storage/v1/b/ledger/o/a%2Fb?alt=media",
        &[],
        "",
    )
    .await;
    assert_eq!(
        download.headers()["x-goog-hash"],
        "crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg=="
    );
    assert_eq!(download.text().await.unwrap(), "hello");
    let generation = object["generation"].as_str().unwrap();
    let path = format!("storage/v1/b/ledger/o/a%2Fb?alt=media&ifGenerationNotMatch={generation}");
    assert_eq!(xml(&cloud, "GET", &path, &[], "").await.status(), 304);
    let path = "storage/v1/b/ledger/o/a%2Fb?ifGenerationMatch=1";
    let refused = refusal(&cloud, "DELETE", path, Value::Null).await;
    assert_eq!(refused, (412, "conditionNotMet".into()));
    let gone = cloud
        .call("DELETE", "storage/v1/b/ledger/o/a%2Fb", Value::Null)
        .await;
    assert_eq!(gone.0, 204);
    let resumable = refusal(
        &cloud,
        "POST",
        "upload/storage/v1/b/ledger/o?uploadType=resumable",
        json!({}),
    )
    .await;
    assert_eq!(resumable, (501, "notImplemented".into()));
}

#[tokio::test]
async fn faults_reach_content_by_the_ids_of_the_json_api() {
    let rule = |call: &str, nth: u32, what: &str| {
        format!("[[fault]]\ncall = \"{call}\"\nwhat = \"{what}\"\nnth = {nth}\n")
    };
    let rules = [
        rule("storage.objects.insert", 1, "throttled"),
        rule("storage.objects.insert", 3, "reset_after"),
        rule("storage.objects.insert", 4, "denied"),
        rule("storage.objects.get", 2, "unavailable"),
        rule("storage.objects.list", 1, "internal"),
    ];
    let options = Options {
        faults: Some(FaultsFile::parse("faults.toml", &rules.concat()).unwrap()),
        ..Options::simulated(Simulated::default(), Clock::new(60.0)).unwrap()
    };
    let cloud = with_bucket_in(Cloud::of(options).await).await;
    let new = [("x-goog-if-generation-match", "0")];
    let throttled = xml(&cloud, "PUT", "ledger/one", &new, "1").await;
    assert_eq!(xml_refusal(throttled).await, (429, "SlowDown".into()));
    let put = xml(&cloud, "PUT", "ledger/one", &new, "1").await;
    assert_eq!(put.status(), 200);
    let url = format!("{}/ledger/two", cloud.base);
    let lost = cloud.client.put(url).bearer_auth(&cloud.token).body("2");
    assert!(lost.send().await.is_err());
    let upload = format!("{}/upload/storage/v1/b/ledger/o", cloud.base);
    let upload = cloud.client.post(upload + "?uploadType=media&name=three");
    let denied = upload.bearer_auth(&cloud.token).body("3").send().await;
    let denied: Value = denied.unwrap().json().await.unwrap();
    assert_eq!(denied["error"]["code"], 403, "{denied}");
    let two = xml(&cloud, "GET", "ledger/two", &[], "").await;
    assert_eq!(two.text().await.unwrap(), "2");
    let media = "storage/v1/b/ledger/o/two?alt=media";
    let (status, _) = refusal(&cloud, "GET", media, Value::Null).await;
    assert_eq!(status, 503);
    let list = "ledger?list-type=2";
    let refused = xml(&cloud, "GET", list, &[], "").await;
    assert_eq!(xml_refusal(refused).await, (500, "InternalError".into()));
    let listed = xml(&cloud, "GET", list, &[], "").await.text().await;
    let listed = listed.unwrap();
    assert!(
        listed.contains("<Key>two</Key>") && !listed.contains("three"),
        "{listed}"
    );
}
