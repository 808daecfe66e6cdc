//! Secrets Manager: versions, labels, tokens, deletion.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use aws_support::Account;
use serde_json::{Value, json};

fn token(number: u32) -> String {
    format!("{number:032}")
}

async fn create(account: &Account, name: &str, value: &str) -> Value {
    let input = json!({"Name": name, "SecretString": value, "ClientRequestToken": token(1)});
    account.ok("secretsmanager:CreateSecret", input).await
}

async fn put(account: &Account, name: &str, value: &str, number: u32) -> Value {
    let input =
        json!({"SecretId": name, "SecretString": value, "ClientRequestToken": token(number)});
    account.ok("secretsmanager:PutSecretValue", input).await
}

#[tokio::test]
async fn a_new_value_becomes_current_and_leaves_the_old_one_previous() {
    let account = Account::open().await;
    let arn = create(&account, "/app/key", "one").await["ARN"]
        .as_str()
        .unwrap()
        .to_owned();
    put(&account, "/app/key", "two", 2).await;
    put(&account, &arn, "three", 3).await;
    let get = async |input: Value| {
        account.ok("secretsmanager:GetSecretValue", input).await["SecretString"].clone()
    };
    assert_eq!(get(json!({"SecretId": arn})).await, "three");
    assert_eq!(
        get(json!({"SecretId": "/app/key", "VersionStage": "AWSPREVIOUS"})).await,
        "two"
    );
    assert_eq!(
        get(json!({"SecretId": "/app/key", "VersionId": token(1)})).await,
        "one"
    );
    let described = account
        .ok(
            "secretsmanager:DescribeSecret",
            json!({"SecretId": "/app/key"}),
        )
        .await;
    let stages = json!({token(2): ["AWSPREVIOUS"], token(3): ["AWSCURRENT"]});
    assert_eq!(described["VersionIdsToStages"], stages);
    let all = json!({"SecretId": "/app/key", "IncludeDeprecated": true});
    let versions = account.ok("secretsmanager:ListSecretVersionIds", all).await;
    assert_eq!(versions["Versions"].as_array().unwrap().len(), 3);
    account.close().await;
}

#[tokio::test]
async fn a_token_used_again_changes_nothing_unless_the_value_differs() {
    let account = Account::open().await;
    let first = create(&account, "a", "one").await;
    assert_eq!(create(&account, "a", "one").await, first);
    let other = json!({"Name": "a", "SecretString": "two", "ClientRequestToken": token(1)});
    account
        .refused(
            "secretsmanager:CreateSecret",
            other,
            "ResourceExistsException",
            "already exists",
        )
        .await;
    put(&account, "a", "two", 2).await;
    put(&account, "a", "two", 2).await;
    let other = json!({"SecretId": "a", "SecretString": "three", "ClientRequestToken": token(2)});
    account
        .refused(
            "secretsmanager:PutSecretValue",
            other,
            "ResourceExistsException",
            "ClientRequestToken",
        )
        .await;
    account.close().await;
}

#[tokio::test]
async fn a_name_scheduled_for_deletion_is_neither_read_nor_taken_until_restored_or_forced() {
    let account = Account::open().await;
    create(&account, "a", "one").await;
    let id = json!({"SecretId": "a"});
    account.ok("secretsmanager:DeleteSecret", id.clone()).await;
    account
        .refused(
            "secretsmanager:GetSecretValue",
            id.clone(),
            "InvalidRequestException",
            "marked for deletion",
        )
        .await;
    let again = json!({"Name": "a", "SecretString": "x", "ClientRequestToken": token(9)});
    account
        .refused(
            "secretsmanager:CreateSecret",
            again,
            "InvalidRequestException",
            "scheduled for deletion",
        )
        .await;
    assert_eq!(
        account.ok("secretsmanager:ListSecrets", json!({})).await["SecretList"],
        json!([])
    );
    account.ok("secretsmanager:RestoreSecret", id.clone()).await;
    account
        .ok("secretsmanager:GetSecretValue", id.clone())
        .await;
    let forced = json!({"SecretId": "a", "ForceDeleteWithoutRecovery": true});
    account.ok("secretsmanager:DeleteSecret", forced).await;
    account
        .refused(
            "secretsmanager:DescribeSecret",
            id,
            "ResourceNotFoundException",
            "can't find",
        )
        .await;
    create(&account, "a", "new").await;
    account.close().await;
}

#[tokio::test]
async fn a_label_moves_only_when_its_holder_is_named() {
    let account = Account::open().await;
    create(&account, "a", "one").await;
    put(&account, "a", "two", 2).await;
    let mut input =
        json!({"SecretId": "a", "VersionStage": "AWSCURRENT", "MoveToVersionId": token(1)});
    account
        .refused(
            "secretsmanager:UpdateSecretVersionStage",
            input.clone(),
            "InvalidParameterException",
            &token(2),
        )
        .await;
    input["RemoveFromVersionId"] = json!(token(2));
    account
        .ok("secretsmanager:UpdateSecretVersionStage", input)
        .await;
    let described = account
        .ok("secretsmanager:DescribeSecret", json!({"SecretId": "a"}))
        .await;
    let stages = json!({token(1): ["AWSCURRENT"], token(2): ["AWSPREVIOUS"]});
    assert_eq!(described["VersionIdsToStages"], stages);
    let kept = json!({"SecretId": "a", "VersionStage": "release-1", "MoveToVersionId": token(2)});
    account
        .ok("secretsmanager:UpdateSecretVersionStage", kept)
        .await;
    account.close().await;
}

#[tokio::test]
async fn secrets_are_listed_by_prefix_and_tag_in_pages() {
    let account = Account::open().await;
    for name in ["/app/a", "/app/b", "/other/a"] {
        create(&account, name, "x").await;
    }
    let tags = json!({"SecretId": "/app/b", "Tags": [{"Key": "env", "Value": "staging"}]});
    account.ok("secretsmanager:TagResource", tags).await;
    let names = async |filters: Value| {
        let input = json!({"Filters": filters, "SortBy": "name", "SortOrder": "asc"});
        let listed = account.ok("secretsmanager:ListSecrets", input).await;
        let names = listed["SecretList"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["Name"].clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        names(json!([{"Key": "name", "Values": ["/app"]}])).await,
        ["/app/a", "/app/b"]
    );
    assert_eq!(
        names(json!([{"Key": "tag-key", "Values": ["env"]}])).await,
        ["/app/b"]
    );
    assert_eq!(
        names(json!([{"Key": "name", "Values": ["!/app"]}])).await,
        ["/other/a"]
    );
    let first = account
        .ok("secretsmanager:ListSecrets", json!({"MaxResults": 2}))
        .await;
    assert_eq!(first["SecretList"].as_array().unwrap().len(), 2);
    let rest = json!({"MaxResults": 2, "NextToken": first["NextToken"]});
    let rest = account.ok("secretsmanager:ListSecrets", rest).await;
    assert_eq!(rest["SecretList"].as_array().unwrap().len(), 1);
    assert!(rest.get("NextToken").is_none());
    account.close().await;
}
