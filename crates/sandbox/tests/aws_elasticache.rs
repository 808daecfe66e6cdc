//! ElastiCache: a real server behind each replication group, and the states and refusals around it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use std::process::Command;

use aws_support::{Account, element};

const FIRST: &str = "first-token-0123456789<&#>";
const SECOND: &str = "second-token-0123456789";
const CACHE: (&str, &str) = ("ReplicationGroupId", "cache");

/// What a replication group of two nodes with TLS and AUTH needs, with `more` behind it, which
/// wins.
fn group<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut members = vec![
        CACHE,
        ("ReplicationGroupDescription", "d"),
        ("CacheNodeType", "cache.t4g.micro"),
        ("NumCacheClusters", "2"),
        ("AutomaticFailoverEnabled", "true"),
        ("TransitEncryptionEnabled", "true"),
        ("AuthToken", FIRST),
    ];
    members.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    members.extend(more);
    members
}

async fn until(account: &Account, status: &str) -> String {
    let done = ("Status", status);
    account
        .form_until("elasticache:DescribeReplicationGroups", &[CACHE], done)
        .await
}

/// Says so where there is no Redis or no client of it.
fn backed(account: &Account) -> bool {
    let status = account.sandbox.status();
    let redis = status["backing"]["redis"].as_str().unwrap();
    let client = Command::new("redis-cli").arg("--version").output().is_ok();
    let none = redis.starts_with("none:") || !client;
    if none {
        println!("skipped: {redis}, redis-cli: {client}");
    }
    !none
}

fn redis_cli(account: &Account, xml: &str, token: &str, words: &[&str]) -> String {
    let status = account.sandbox.status();
    let output = Command::new("redis-cli")
        .args([
            "--no-auth-warning",
            "--tls",
            "--cacert",
            status["backing"]["public_ca"].as_str().unwrap(),
        ])
        .args([
            "-h",
            element(xml, "Address").unwrap(),
            "-p",
            element(xml, "Port").unwrap(),
        ])
        .args(words)
        .env("REDISCLI_AUTH", token)
        .output()
        .unwrap();
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(text).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_group_comes_up_as_a_real_cache_and_rotates_its_token_without_locking_anyone_out() {
    let account = Account::open().await;
    if !backed(&account) {
        return;
    }
    let created = account
        .form_ok("elasticache:CreateReplicationGroup", &group(&[]))
        .await;
    assert_eq!(element(&created, "Status"), Some("creating"));
    assert!(!created.contains("<NodeGroups>") && !created.contains("first-token"));
    account
        .form_refused(
            "elasticache:DeleteReplicationGroup",
            &[CACHE],
            400,
            "InvalidReplicationGroupState",
        )
        .await;
    let up = until(&account, "available").await;
    assert_eq!(redis_cli(&account, &up, FIRST, &["set", "a", "1"]), "OK");
    assert!(redis_cli(&account, &up, "", &["get", "a"]).contains("NOAUTH"));

    let modify = async |token: &str, strategy: &str| {
        let members = [
            CACHE,
            ("AuthToken", token),
            ("AuthTokenUpdateStrategy", strategy),
            ("ApplyImmediately", "true"),
        ];
        let answer = account
            .form_ok("elasticache:ModifyReplicationGroup", &members)
            .await;
        until(&account, "modifying").await;
        until(&account, "available").await;
        answer
    };
    let rotating = modify(SECOND, "ROTATE").await;
    assert_eq!(element(&rotating, "AuthTokenStatus"), Some("ROTATING"));
    for token in [FIRST, SECOND] {
        assert_eq!(redis_cli(&account, &up, token, &["get", "a"]), "1");
    }
    modify(SECOND, "SET").await;
    assert_eq!(redis_cli(&account, &up, SECOND, &["get", "a"]), "1");
    assert!(redis_cli(&account, &up, FIRST, &["get", "a"]).contains("WRONGPASS"));

    account
        .form_ok("elasticache:DeleteReplicationGroup", &[CACHE])
        .await;
    let began = std::time::Instant::now();
    while account
        .form("elasticache:DescribeReplicationGroups", &[CACHE])
        .await
        .0
        != 404
    {
        assert!(began.elapsed().as_secs() < 120, "it is never gone");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(redis_cli(&account, &up, SECOND, &["ping"]).contains("refused"));
    account.close().await;
}

#[tokio::test]
async fn what_elasticache_refuses_is_refused_and_leaves_nothing() {
    let account = Account::open().await;
    let value = "InvalidParameterValue";
    let combination = "InvalidParameterCombination";
    for (name, wrong, status, code) in [
        ("AuthToken", "too-short", 400, value),
        ("AuthToken", "with/slash-0123456789", 400, value),
        ("TransitEncryptionEnabled", "false", 400, combination),
        ("NumCacheClusters", "1", 400, combination),
        ("NumCacheClusters", "7", 400, value),
        ("ReplicationGroupId", "1cache", 400, value),
        (
            "ReplicationGroupId",
            "a-name-that-is-longer-than-forty-characters",
            400,
            value,
        ),
        ("CacheNodeType", "t4g.micro", 400, value),
        ("EngineVersion", "9.9", 400, combination),
        ("NetworkType", "ipv5", 400, "ValidationError"),
        ("Surprise", "1", 400, "ValidationError"),
        (
            "CacheSubnetGroupName",
            "none",
            400,
            "CacheSubnetGroupNotFoundFault",
        ),
        (
            "CacheParameterGroupName",
            "none",
            404,
            "CacheParameterGroupNotFound",
        ),
    ] {
        let members = group(&[(name, wrong)]);
        account
            .form_refused("elasticache:CreateReplicationGroup", &members, status, code)
            .await;
    }
    let absent = "ReplicationGroupNotFoundFault";
    account
        .form_refused(
            "elasticache:DescribeReplicationGroups",
            &[CACHE],
            404,
            absent,
        )
        .await;
    account.close().await;
}

#[tokio::test]
async fn nodes_are_described_with_their_group_and_groups_in_use_stay() {
    let account = Account::open().await;
    let subnets = ("CacheSubnetGroupName", "subnets");
    let made = [
        subnets,
        ("CacheSubnetGroupDescription", "d"),
        ("SubnetIds.SubnetIdentifier.1", "subnet-1"),
    ];
    account
        .form_ok("elasticache:CreateCacheSubnetGroup", &made)
        .await;
    let created = account
        .form_ok("elasticache:CreateReplicationGroup", &group(&[subnets]))
        .await;
    let arn = element(&created, "ARN").unwrap();
    let early = [("ResourceName", arn)];
    account
        .form_refused(
            "elasticache:ListTagsForResource",
            &early,
            400,
            "InvalidReplicationGroupState",
        )
        .await;
    let up = until(&account, "available").await;
    assert!(
        up.contains("<ClusterId>cache-001</ClusterId>")
            && up.contains("<ClusterId>cache-002</ClusterId>")
    );
    let nodes = account
        .form_ok(
            "elasticache:DescribeCacheClusters",
            &[("CacheClusterId", "cache-002")],
        )
        .await;
    assert_eq!(element(&nodes, "ReplicationGroupId"), Some("cache"));
    assert_eq!(element(&nodes, "EngineVersion"), Some("7.1.0"));
    account
        .form_refused(
            "elasticache:DescribeCacheClusters",
            &[("CacheClusterId", "x")],
            404,
            "CacheClusterNotFound",
        )
        .await;
    account
        .form_refused(
            "elasticache:DeleteCacheSubnetGroup",
            &[subnets],
            400,
            "CacheSubnetGroupInUse",
        )
        .await;
    let fewer = [
        CACHE,
        ("NewReplicaCount", "0"),
        ("ApplyImmediately", "true"),
    ];
    account
        .form_refused(
            "elasticache:DecreaseReplicaCount",
            &fewer,
            400,
            "InvalidParameterCombination",
        )
        .await;
    let grown = [
        CACHE,
        ("CacheNodeType", "cache.t4g.small"),
        ("ApplyImmediately", "true"),
    ];
    account
        .form_ok("elasticache:ModifyReplicationGroup", &grown)
        .await;
    until(&account, "modifying").await;
    let up = until(&account, "available").await;
    assert_eq!(element(&up, "CacheNodeType"), Some("cache.t4g.small"));
    account.close().await;
}
