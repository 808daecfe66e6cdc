//! Signatures, schemas and policies: what is refused before any service is asked.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use std::time::Duration;

use aws_support::{Account, Caller};
use serde_json::{Value, json};

#[tokio::test]
async fn the_caller_is_the_sandboxs_user_in_its_account() {
    let account = Account::open().await;
    let form = "Action=GetCallerIdentity&Version=2011-06-15".to_owned();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let (status, body) = account.send(&account.caller, "sts", &headers, form).await;
    assert_eq!(status, 200);
    assert!(body.contains("<Account>123456789012</Account>"), "{body}");
    assert!(
        body.contains("<Arn>arn:aws:iam::123456789012:user/sandbox</Arn>"),
        "{body}"
    );
    account.close().await;
}

#[tokio::test]
async fn a_wrong_secret_an_unknown_key_a_late_clock_and_a_foreign_region_are_told_apart() {
    let account = Account::open().await;
    let good = account.caller.clone();
    let check = async |caller: Caller, code: &str, says: &str| {
        let (status, body) = account
            .call_as(&caller, "ecs:ListClusters", json!({}))
            .await;
        assert_eq!((status, &body["__type"]), (400, &json!(code)), "{body}");
        assert!(body["message"].as_str().unwrap().contains(says), "{body}");
    };
    let caller = good.clone();
    check(
        Caller {
            secret: "other".into(),
            ..caller
        },
        "InvalidSignatureException",
        "does not match",
    )
    .await;
    let caller = good.clone();
    check(
        Caller {
            key: "AKIAOTHER00000000000".into(),
            ..caller
        },
        "UnrecognizedClientException",
        "invalid",
    )
    .await;
    let caller = good.clone();
    check(
        Caller {
            region: "eu-west-1".into(),
            ..caller
        },
        "InvalidSignatureException",
        "eu-west-1",
    )
    .await;
    let late = good.at - Duration::from_secs(16 * 60);
    check(
        Caller {
            at: late,
            ..good.clone()
        },
        "InvalidSignatureException",
        "Signature expired",
    )
    .await;
    let early = good.at + Duration::from_secs(16 * 60);
    check(
        Caller {
            at: early,
            ..good.clone()
        },
        "InvalidSignatureException",
        "not yet current",
    )
    .await;
    account.close().await;
}

#[tokio::test]
async fn an_unsigned_request_and_one_changed_after_signing_are_refused() {
    let account = Account::open().await;
    let post = account.http.post(format!("{}/", account.sandbox.aws_url));
    let target = "AmazonEC2ContainerServiceV20141113.ListClusters";
    let answer = post
        .header("x-amz-target", target)
        .body("{}")
        .send()
        .await
        .unwrap();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["__type"], "MissingAuthenticationTokenException");
    // The scope names another service than the target.
    let headers = [
        ("x-amz-target", target),
        ("content-type", "application/x-amz-json-1.1"),
    ];
    let (status, body) = account
        .send(&account.caller, "logs", &headers, "{}".into())
        .await;
    assert_eq!(status, 400);
    assert!(body.contains("UnknownOperationException"), "{body}");
    account.close().await;
}

#[tokio::test]
async fn a_request_that_the_vendors_model_forbids_is_refused_as_its_service_does() {
    let account = Account::open().await;
    let name = json!({"serviceName": 5});
    account
        .refused(
            "ecs:CreateService",
            name,
            "SerializationException",
            "serviceName",
        )
        .await;
    let unknown = json!({"services": ["a"], "verbose": true});
    account
        .refused(
            "ecs:DescribeServices",
            unknown,
            "SerializationException",
            "verbose",
        )
        .await;
    account
        .refused(
            "ecs:UpdateService",
            json!({}),
            "InvalidParameterException",
            "must not be null",
        )
        .await;
    let wrong = json!({"service": "a", "propagateTags": "ALL"});
    account
        .refused(
            "ecs:UpdateService",
            wrong,
            "InvalidParameterException",
            "enum value set",
        )
        .await;
    let short = json!({"Name": "a", "ClientRequestToken": "short", "SecretString": "x"});
    account
        .refused(
            "secretsmanager:CreateSecret",
            short,
            "ValidationException",
            "length",
        )
        .await;
    let name = json!({"logGroupName": "no spaces"});
    account
        .refused(
            "logs:CreateLogGroup",
            name,
            "InvalidParameterException",
            "regular expression",
        )
        .await;
    account
        .refused(
            "ecs:PutAttributes",
            json!({}),
            "UnknownOperationException",
            "ecs:PutAttributes",
        )
        .await;
    account.close().await;
}

#[tokio::test]
async fn a_value_that_breaks_a_rule_is_not_repeated_when_it_is_a_secret() {
    let account = Account::open().await;
    let value = "hunter2".repeat(10_000);
    let token = "0".repeat(32);
    let input = json!({"Name": "a", "ClientRequestToken": token, "SecretString": value});
    let (status, body) = account
        .call_as(&account.caller, "secretsmanager:CreateSecret", input)
        .await;
    assert_eq!(status, 400);
    assert!(!body.to_string().contains("hunter2"), "{body}");
    account.close().await;
}

#[tokio::test]
async fn without_moto_a_service_that_is_not_ours_is_refused_and_says_why() {
    let account = Account::open().await;
    let form = "Action=DescribeVpcs&Version=2016-11-15".to_owned();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let (status, body) = account.send(&account.caller, "ec2", &headers, form).await;
    assert_eq!(status, 400);
    assert!(
        body.contains("<Code>UnknownOperationException</Code>"),
        "{body}"
    );
    assert!(body.contains("moto"), "{body}");
    account.close().await;
}

#[tokio::test]
async fn a_policy_restricts_the_caller_until_it_is_removed() {
    let account = Account::open().await;
    let url = format!("{}/_sandbox/aws/policy", account.sandbox.aws_url);
    let policy = json!({"Statement": [{
        "Effect": "Allow", "Action": ["ecs:Describe*", "ecs:RegisterTaskDefinition"], "Resource": "*",
    }]});
    let token = account.sandbox.running().control_token.clone();
    let set = account
        .http
        .post(&url)
        .bearer_auth(&token)
        .body(policy.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(set.status(), 204);
    account.ok("ecs:DescribeClusters", json!({})).await;
    account
        .refused(
            "ecs:ListClusters",
            json!({}),
            "AccessDeniedException",
            "ecs:ListClusters",
        )
        .await;
    let plain =
        json!({"family": "a", "containerDefinitions": [{"name": "a", "image": "a", "memory": 64}]});
    account
        .ok("ecs:RegisterTaskDefinition", plain.clone())
        .await;
    let mut tagged = plain.clone();
    tagged["tags"] = json!([{"key": "a", "value": "b"}]);
    account
        .refused(
            "ecs:RegisterTaskDefinition",
            tagged,
            "AccessDeniedException",
            "ecs:TagResource",
        )
        .await;
    let mut with_role = plain;
    with_role["taskRoleArn"] = json!("arn:aws:iam::123456789012:role/task");
    account
        .refused(
            "ecs:RegisterTaskDefinition",
            with_role,
            "AccessDeniedException",
            "iam:PassRole",
        )
        .await;
    let removed = account.http.delete(&url).bearer_auth(&token).send();
    assert_eq!(removed.await.unwrap().status(), 204);
    account.ok("ecs:ListClusters", json!({})).await;
    account.close().await;
}
