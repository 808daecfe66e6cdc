//! CloudWatch Logs: groups, retention, events by stream and across streams.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use aws_support::Account;
use serde_json::{Value, json};

async fn with_events(account: &Account) -> i64 {
    account
        .ok("logs:CreateLogGroup", json!({"logGroupName": "/app"}))
        .await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64;
    for stream in ["a", "b"] {
        let named = json!({"logGroupName": "/app", "logStreamName": stream});
        account.ok("logs:CreateLogStream", named).await;
        let events: Vec<Value> = (0..3)
            .map(|index| json!({"timestamp": now - 100 + index, "message": format!("{stream}{index}")}))
            .collect();
        let put = json!({"logGroupName": "/app", "logStreamName": stream, "logEvents": events});
        account.ok("logs:PutLogEvents", put).await;
    }
    now
}

fn messages(answer: &Value) -> Vec<&str> {
    answer["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["message"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_stream_is_read_forward_until_the_token_no_longer_changes() {
    let account = Account::open().await;
    with_events(&account).await;
    let mut input =
        json!({"logGroupName": "/app", "logStreamName": "a", "startFromHead": true, "limit": 2});
    let first = account.ok("logs:GetLogEvents", input.clone()).await;
    assert_eq!(messages(&first), ["a0", "a1"]);
    input["nextToken"] = first["nextForwardToken"].clone();
    let second = account.ok("logs:GetLogEvents", input.clone()).await;
    assert_eq!(messages(&second), ["a2"]);
    input["nextToken"] = second["nextForwardToken"].clone();
    let end = account.ok("logs:GetLogEvents", input.clone()).await;
    assert_eq!(
        (messages(&end).len(), &end["nextForwardToken"]),
        (0, &input["nextToken"])
    );
    let latest = json!({"logGroupName": "/app", "logStreamName": "a", "limit": 1});
    assert_eq!(
        messages(&account.ok("logs:GetLogEvents", latest).await),
        ["a2"]
    );
    account.close().await;
}

#[tokio::test]
async fn events_are_filtered_across_streams_by_term_and_time() {
    let account = Account::open().await;
    let now = with_events(&account).await;
    let filter = async |extra: Value| {
        let mut input = json!({"logGroupName": "/app"});
        input
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let answer = account.ok("logs:FilterLogEvents", input).await;
        messages(&answer).join(" ")
    };
    assert_eq!(filter(json!({})).await, "a0 b0 a1 b1 a2 b2");
    assert_eq!(filter(json!({"filterPattern": "?a1 ?b2"})).await, "a1 b2");
    assert_eq!(
        filter(json!({"logStreamNamePrefix": "b", "startTime": now - 99})).await,
        "b1 b2"
    );
    assert_eq!(filter(json!({"endTime": now - 99})).await, "a0 b0");
    assert_eq!(filter(json!({"limit": 2})).await, "a0 b0");
    account.close().await;
}

#[tokio::test]
async fn what_is_not_there_or_there_already_is_told() {
    let account = Account::open().await;
    let group = json!({"logGroupName": "/app"});
    account.ok("logs:CreateLogGroup", group.clone()).await;
    account
        .refused(
            "logs:CreateLogGroup",
            group.clone(),
            "ResourceAlreadyExistsException",
            "already exists",
        )
        .await;
    let days = json!({"logGroupName": "/app", "retentionInDays": 8});
    account
        .refused(
            "logs:PutRetentionPolicy",
            days,
            "InvalidParameterException",
            "retentionInDays",
        )
        .await;
    account
        .ok(
            "logs:PutRetentionPolicy",
            json!({"logGroupName": "/app", "retentionInDays": 7}),
        )
        .await;
    let groups = account
        .ok(
            "logs:DescribeLogGroups",
            json!({"logGroupNamePrefix": "/a"}),
        )
        .await;
    assert_eq!(groups["logGroups"][0]["retentionInDays"], 7);
    let arn = groups["logGroups"][0]["logGroupArn"].clone();
    account
        .ok(
            "logs:TagResource",
            json!({"resourceArn": arn, "tags": {"k": "v"}}),
        )
        .await;
    let tags = account
        .ok("logs:ListTagsForResource", json!({"resourceArn": arn}))
        .await;
    assert_eq!(tags["tags"], json!({"k": "v"}));
    account.ok("logs:DeleteLogGroup", group.clone()).await;
    account
        .refused(
            "logs:DeleteLogGroup",
            group,
            "ResourceNotFoundException",
            "does not exist",
        )
        .await;
    account.close().await;
}

#[tokio::test]
async fn events_out_of_order_are_refused_and_old_ones_rejected() {
    let account = Account::open().await;
    let now = with_events(&account).await;
    let put =
        |events: Value| json!({"logGroupName": "/app", "logStreamName": "a", "logEvents": events});
    let swapped =
        json!([{"timestamp": now, "message": "x"}, {"timestamp": now - 1, "message": "y"}]);
    account
        .refused(
            "logs:PutLogEvents",
            put(swapped),
            "InvalidParameterException",
            "chronological",
        )
        .await;
    let old = json!([{"timestamp": 1000, "message": "x"}]);
    let answer = account.ok("logs:PutLogEvents", put(old)).await;
    assert_eq!(answer["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"], 1);
    account.close().await;
}
