//! The Resource Groups Tagging API: what carries which tags, page by page.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use aws_support::Account;
use serde_json::{Value, json};

const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:";

async fn list(account: &Account, input: Value) -> Value {
    account.ok("tagging:GetResources", input).await
}

fn arns(answer: &Value) -> Vec<&str> {
    let listed = answer["ResourceTagMappingList"].as_array().unwrap();
    let arns = listed.iter().map(|it| it["ResourceARN"].as_str().unwrap());
    arns.collect()
}

fn owned_by(owner: &str) -> Value {
    json!([{ "Key": "deployer", "Values": [owner] }])
}

fn secret(name: &str) -> Value {
    let token = format!("{:032}", 1);
    json!({ "Name": name, "SecretString": "s", "ClientRequestToken": token })
}

async fn filled() -> Account {
    let account = Account::open().await;
    for (name, owner) in [("a", "idp/test"), ("b", "idp/test"), ("c", "idp/prod")] {
        let tags = json!([{ "Key": "deployer", "Value": owner }, { "Key": "team", "Value": "x" }]);
        let mut secret = secret(name);
        secret["Tags"] = tags;
        account.ok("secretsmanager:CreateSecret", secret).await;
    }
    account
        .ok("secretsmanager:CreateSecret", secret("untagged"))
        .await;
    let group = json!({ "logGroupName": "/ecs/idp", "tags": { "deployer": "idp/test" } });
    account.ok("logs:CreateLogGroup", group).await;
    account
}

#[tokio::test]
async fn only_what_has_the_tag_with_that_value_is_listed() {
    let account = filled().await;
    let found = list(&account, json!({ "TagFilters": owned_by("idp/test") })).await;
    let listed = arns(&found);
    assert_eq!(listed.len(), 3, "{found}");
    let group = "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/idp";
    assert!(listed.contains(&group), "{found}");
    assert!(listed.iter().any(|it| it.starts_with(&format!("{ARN}a-"))));
    // The last page says so with an empty token.
    assert_eq!(found["PaginationToken"], "");
    for (input, count) in [
        (json!({ "TagFilters": owned_by("idp") }), 0),
        (json!({ "TagFilters": [{ "Key": "deployer" }] }), 4),
        (
            json!({ "TagFilters": [{ "Key": "deployer" }, { "Key": "team", "Values": ["x", "y"] }] }),
            3,
        ),
        (
            json!({ "TagFilters": [{ "Key": "deployer" }], "ResourceTypeFilters": ["logs:log-group"] }),
            1,
        ),
        // What has no tags is not there.
        (json!({}), 4),
    ] {
        let found = list(&account, input.clone()).await;
        let listed = arns(&found);
        let listed = listed.iter().filter(|it| !it.contains(":ecs:"));
        assert_eq!(listed.count(), count, "{input}: {found}");
    }
    account.close().await;
}

#[tokio::test]
async fn pages_follow_one_another_until_the_token_is_empty() {
    let account = filled().await;
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let mut input = json!({ "TagFilters": owned_by("idp/test"), "ResourcesPerPage": 2 });
        if !token.is_empty() {
            input["PaginationToken"] = json!(token);
        }
        let page = list(&account, input).await;
        seen.extend(arns(&page).into_iter().map(str::to_owned));
        token = page["PaginationToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    for (input, says) in [
        (json!({ "ResourcesPerPage": 101 }), "ResourcesPerPage"),
        (json!({ "PaginationToken": "nonsense" }), "PaginationToken"),
        (
            json!({ "ResourceARNList": [format!("{ARN}a-1")], "TagFilters": owned_by("idp/test") }),
            "ResourceARNList",
        ),
    ] {
        account
            .refused(
                "tagging:GetResources",
                input,
                "InvalidParameterException",
                says,
            )
            .await;
    }
    account.close().await;
}

#[tokio::test]
async fn what_is_scheduled_for_deletion_is_still_listed() {
    let account = filled().await;
    let delete = json!({ "SecretId": "a", "RecoveryWindowInDays": 7 });
    account.ok("secretsmanager:DeleteSecret", delete).await;
    let found = list(&account, json!({ "TagFilters": owned_by("idp/test") })).await;
    assert!(
        arns(&found)
            .iter()
            .any(|it| it.starts_with(&format!("{ARN}a-"))),
        "{found}"
    );
    account.close().await;
}

#[tokio::test]
async fn a_policy_allows_it_by_a_prefix_of_its_own() {
    let account = filled().await;
    for (action, status) in [("tagging:GetResources", 400), ("tag:GetResources", 200)] {
        let policy = json!({ "Statement": [{ "Effect": "Allow", "Action": action }] });
        let url = format!("{}/_sandbox/aws/policy", account.sandbox.aws_url);
        let token = account.sandbox.running().control_token.clone();
        let set = account.http.post(&url).bearer_auth(&token);
        let set = set.body(policy.to_string()).send().await.unwrap();
        assert_eq!(set.status(), 204);
        let input = json!({ "TagFilters": owned_by("idp/test") });
        let (answered, said) = account
            .call_as(&account.caller, "tagging:GetResources", input)
            .await;
        assert_eq!(answered, status, "{action}: {said}");
    }
    account.close().await;
}
