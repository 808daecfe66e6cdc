//! ECR: repositories, the registry behind its token, immutable tags.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use aws_support::Account;
use reqwest::Method;
use serde_json::json;
use support::OCI_MANIFEST;

#[tokio::test]
async fn an_image_is_pushed_with_the_token_and_described_by_digest_and_tag() {
    let account = Account::open().await;
    account
        .ok(
            "ecr:CreateRepository",
            json!({"repositoryName": "team/app"}),
        )
        .await;
    let digest = account.push("team/app", "v1", &["sleep"]).await;
    let described = account
        .ok("ecr:DescribeImages", json!({"repositoryName": "team/app"}))
        .await;
    let image = &described["imageDetails"][0];
    assert_eq!(
        (&image["imageDigest"], &image["imageTags"]),
        (&json!(digest), &json!(["v1"]))
    );
    let ids =
        json!({"repositoryName": "team/app", "imageIds": [{"imageTag": "v1"}, {"imageTag": "v2"}]});
    let got = account.ok("ecr:BatchGetImage", ids).await;
    assert_eq!(
        got["images"][0]["imageId"],
        json!({"imageDigest": digest, "imageTag": "v1"})
    );
    assert_eq!(got["failures"][0]["failureCode"], "ImageNotFound");
    let absent = json!({"repositoryName": "team/app", "imageIds": [{"imageTag": "v2"}]});
    account
        .refused(
            "ecr:DescribeImages",
            absent,
            "ImageNotFoundException",
            "imageTag:'v2'",
        )
        .await;
    let gone = json!({"repositoryName": "team/app"});
    account
        .refused(
            "ecr:DeleteRepository",
            gone,
            "RepositoryNotEmptyException",
            "contains images",
        )
        .await;
    account
        .ok(
            "ecr:DeleteRepository",
            json!({"repositoryName": "team/app", "force": true}),
        )
        .await;
    account.close().await;
}

#[tokio::test]
async fn the_registry_wants_a_token_a_repository_and_respects_immutable_tags() {
    let account = Account::open().await;
    let probe = account
        .http
        .get(format!("{}/v2/", account.sandbox.aws_url))
        .send()
        .await
        .unwrap();
    assert_eq!(probe.status(), 401);
    assert!(
        probe.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Basic realm=")
    );
    let begun = account
        .registry(Method::POST, "/v2/nowhere/blobs/uploads/", "", vec![])
        .await;
    assert_eq!(begun.status(), 404);
    assert!(begun.text().await.unwrap().contains("NAME_UNKNOWN"));
    let repository = json!({"repositoryName": "fixed", "imageTagMutability": "IMMUTABLE"});
    account.ok("ecr:CreateRepository", repository.clone()).await;
    account
        .refused(
            "ecr:CreateRepository",
            repository,
            "RepositoryAlreadyExistsException",
            "'fixed'",
        )
        .await;
    account.push("fixed", "v1", &["sleep"]).await;
    let images = json!({"repositoryName": "fixed", "imageIds": [{"imageTag": "v1"}]});
    let manifest =
        account.ok("ecr:BatchGetImage", images).await["images"][0]["imageManifest"].clone();
    let other = manifest
        .as_str()
        .unwrap()
        .replace("schemaVersion\":2", "schemaVersion\": 2");
    let put = account
        .registry(
            Method::PUT,
            "/v2/fixed/manifests/v1",
            OCI_MANIFEST,
            other.into_bytes(),
        )
        .await;
    assert_eq!(put.status(), 400);
    assert!(put.text().await.unwrap().contains("TAG_INVALID"));
    account.close().await;
}

#[tokio::test]
async fn tags_are_kept_with_the_repository() {
    let account = Account::open().await;
    let created = account
        .ok("ecr:CreateRepository", json!({"repositoryName": "app"}))
        .await;
    let arn = created["repository"]["repositoryArn"].clone();
    let tags = json!([{"Key": "a", "Value": "1"}]);
    account
        .ok("ecr:TagResource", json!({"resourceArn": arn, "tags": tags}))
        .await;
    assert_eq!(
        account
            .ok("ecr:ListTagsForResource", json!({"resourceArn": arn}))
            .await["tags"],
        tags
    );
    account.close().await;
}

#[tokio::test]
async fn exclusions_from_immutability_are_answered_and_go_with_it() {
    let account = Account::open().await;
    let filters = json!([{"filterType": "WILDCARD", "filter": "latest*"}]);
    account
        .ok(
            "ecr:CreateRepository",
            json!({"repositoryName": "app", "tags": [{"Key": "team", "Value": "one"}]}),
        )
        .await;
    let changed = account
        .ok(
            "ecr:PutImageTagMutability",
            json!({
                "repositoryName": "app", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
                "imageTagMutabilityExclusionFilters": filters,
            }),
        )
        .await;
    assert_eq!(changed["imageTagMutability"], "IMMUTABLE_WITH_EXCLUSION");
    assert_eq!(changed["imageTagMutabilityExclusionFilters"], filters);
    assert_eq!(changed.get("repositoryArn"), None);
    account
        .ok(
            "ecr:PutImageTagMutability",
            json!({"repositoryName": "app", "imageTagMutability": "MUTABLE"}),
        )
        .await;
    let described = account.ok("ecr:DescribeRepositories", json!({})).await;
    let repository = &described["repositories"][0];
    assert_eq!(repository["imageTagMutability"], "MUTABLE");
    assert_eq!(repository.get("imageTagMutabilityExclusionFilters"), None);
    let arn = json!({"resourceArn": repository["repositoryArn"]});
    let tagged = account.ok("ecr:ListTagsForResource", arn).await;
    assert_eq!(tagged["tags"], json!([{"Key": "team", "Value": "one"}]));
    account.close().await;
}
