//! Cloud DNS over HTTP, and the name server that answers for its zones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gcp_cloud;
mod support;

use gcp_cloud::Cloud;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};

const ZONES: &str = "dns/v1/projects/sandbox-project/managedZones";

async fn with_zone() -> Cloud {
    let cloud = Cloud::start_at(20.0).await;
    let zone = json!({ "name": "main", "dnsName": "example.com.", "description": "" });
    cloud.ok("POST", ZONES, zone).await;
    cloud
}

fn record(name: &str, kind: &str, data: &str) -> Value {
    json!({ "name": name, "type": kind, "ttl": 60, "rrdatas": [data] })
}

/// HTTP status and reason.
async fn refusal(cloud: &Cloud, method: &str, path: &str, body: Value) -> (u16, String) {
    let (status, answer) = cloud.call(method, path, body).await;
    let reason = answer["error"]["errors"][0]["reason"].as_str();
    assert_eq!(answer["error"]["code"], status, "{answer}");
    (status, reason.unwrap_or_default().to_owned())
}

/// Asks the zones' name server.
async fn query(cloud: &Cloud, name: &str, kind: RecordType) -> Message {
    let status = cloud.sandbox.status();
    let server = status["gcp"]["status"]["dns"]["nameServer"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket
        .send_to(&question.to_vec().unwrap(), server)
        .await
        .unwrap();
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).await.unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn answers(cloud: &Cloud, name: &str, kind: RecordType) -> Vec<String> {
    let message = query(cloud, name, kind).await;
    message
        .answers
        .iter()
        .map(|it| it.data.to_string())
        .collect()
}

/// Waits until a change is done.
async fn settled(cloud: &Cloud, id: &Value) {
    let path = format!("{ZONES}/main/changes/{}", id.as_str().unwrap());
    for _ in 0..200 {
        if cloud.get(&path).await["status"] == "done" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the change stays pending");
}

#[tokio::test]
async fn a_change_is_served_once_it_is_done() {
    let cloud = with_zone().await;
    let rrsets = cloud.get(&format!("{ZONES}/main/rrsets")).await;
    let kinds: Vec<_> = rrsets["rrsets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["type"])
        .collect();
    assert_eq!(kinds, ["NS", "SOA"]);
    let change = json!({ "additions": [
        record("www.example.com.", "A", "192.0.2.7"),
        record("alias.example.com.", "CNAME", "www.example.com."),
        record("*.wild.example.com.", "TXT", "\"anything\""),
    ] });
    let begun = cloud
        .ok("POST", &format!("{ZONES}/main/changes"), change)
        .await;
    assert_eq!(begun["status"], "pending");
    let early = query(&cloud, "www.example.com.", RecordType::A).await;
    assert_eq!(early.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(early.authorities.len(), 1);
    settled(&cloud, &begun["id"]).await;
    assert_eq!(
        answers(&cloud, "WWW.example.com.", RecordType::A).await,
        ["192.0.2.7"]
    );
    let through = answers(&cloud, "alias.example.com.", RecordType::A).await;
    assert_eq!(through, ["www.example.com.", "192.0.2.7"]);
    let wild = answers(&cloud, "x.wild.example.com.", RecordType::TXT).await;
    assert_eq!(wild.len(), 1);
    let other_type = query(&cloud, "www.example.com.", RecordType::AAAA).await;
    assert_eq!(other_type.metadata.response_code, ResponseCode::NoError);
    assert!(other_type.answers.is_empty() && other_type.metadata.authoritative);
    let elsewhere = query(&cloud, "example.org.", RecordType::A).await;
    assert_eq!(elsewhere.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn one_record_set_is_created_changed_and_deleted() {
    let cloud = with_zone().await;
    let rrsets = format!("{ZONES}/main/rrsets");
    let www = record("www.example.com.", "A", "192.0.2.7");
    cloud.ok("POST", &rrsets, www.clone()).await;
    let again = refusal(&cloud, "POST", &rrsets, www).await;
    assert_eq!(again, (409, "alreadyExists".into()));
    let beside = record("www.example.com.", "CNAME", "a.example.com.");
    let conflict = refusal(&cloud, "POST", &rrsets, beside).await;
    assert_eq!(conflict.1, "cnameResourceRecordSetConflict");
    let one = format!("{rrsets}/www.example.com./A");
    let changed =
        json!({ "name": "www.example.com.", "type": "A", "ttl": 30, "rrdatas": ["192.0.2.8"] });
    assert_eq!(cloud.ok("PATCH", &one, changed).await["ttl"], 30);
    assert_eq!(cloud.get(&one).await["rrdatas"], json!(["192.0.2.8"]));
    let held = refusal(&cloud, "DELETE", &format!("{ZONES}/main"), Value::Null).await;
    assert_eq!(held, (400, "containerNotEmpty".into()));
    cloud.ok("DELETE", &one, Value::Null).await;
    assert_eq!(refusal(&cloud, "GET", &one, Value::Null).await.0, 404);
    cloud
        .ok("DELETE", &format!("{ZONES}/main"), Value::Null)
        .await;
    assert_eq!(refusal(&cloud, "GET", &rrsets, Value::Null).await.0, 404);
}

#[tokio::test]
async fn records_outside_the_zone_or_of_wrong_form_are_refused() {
    let cloud = with_zone().await;
    for bad in [
        record("www.example.com", "A", "192.0.2.7"),
        record("www.example.org.", "A", "192.0.2.7"),
        record("notexample.com.", "A", "192.0.2.7"),
        record("www.example.com.", "A", "not an address"),
        record("www.example.com.", "NOPE", "192.0.2.7"),
        record("www.example.com.", "CNAME", "www.example.net"),
        record("example.com.", "CNAME", "www.example.net."),
        json!({ "name": "www.example.com.", "type": "A", "rrdatas": ["192.0.2.7"] }),
        json!({ "name": "www.example.com.", "type": "A", "ttl": 60 }),
    ] {
        let path = format!("{ZONES}/main/rrsets");
        assert_eq!(
            refusal(&cloud, "POST", &path, bad.clone()).await.0,
            400,
            "{bad}"
        );
    }
    let soa = format!("{ZONES}/main/rrsets/example.com./SOA");
    assert_eq!(refusal(&cloud, "DELETE", &soa, Value::Null).await.0, 400);
}

#[tokio::test]
async fn a_change_deletes_only_what_is_there_just_so() {
    let cloud = with_zone().await;
    let changes = format!("{ZONES}/main/changes");
    let www = record("www.example.com.", "A", "192.0.2.7");
    let absent = json!({ "deletions": [www] });
    assert_eq!(
        refusal(&cloud, "POST", &changes, absent.clone()).await.0,
        404
    );
    cloud
        .ok("POST", &changes, json!({ "additions": [www] }))
        .await;
    let other = record("www.example.com.", "A", "192.0.2.9");
    let stale = json!({ "deletions": [other], "additions": [record("new.example.com.", "A", "192.0.2.1")] });
    let refused = refusal(&cloud, "POST", &changes, stale).await;
    assert_eq!(refused, (412, "conditionNotMet".into()));
    let rrsets = cloud
        .get(&format!("{ZONES}/main/rrsets?name=new.example.com."))
        .await;
    assert_eq!(rrsets.get("rrsets"), None);
    cloud.ok("POST", &changes, absent).await;
    let all = cloud.get(&changes).await;
    assert_eq!(all["changes"].as_array().unwrap().len(), 3);
    assert_eq!(refusal(&cloud, "POST", &changes, json!({})).await.0, 400);
}
