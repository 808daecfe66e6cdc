//! RDS: a real database behind each instance, and the states, refusals and waits around it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use std::process::Command;

use aws_support::{Account, element};
use serde_json::json;

const PASSWORD: &str = "first-pass-1234";

/// What an instance needs at least, with `more` behind it, which wins.
fn instance<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut members = vec![
        ("DBInstanceIdentifier", "app"),
        ("DBInstanceClass", "db.t4g.micro"),
        ("Engine", "postgres"),
        ("EngineVersion", "16.4"),
        ("AllocatedStorage", "20"),
        ("MasterUsername", "app"),
        ("MasterUserPassword", PASSWORD),
    ];
    members.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    members.extend(more);
    members
}

const APP: (&str, &str) = ("DBInstanceIdentifier", "app");

async fn until(account: &Account, status: &str) -> String {
    let done = ("DBInstanceStatus", status);
    account
        .form_until("rds:DescribeDBInstances", &[APP], done)
        .await
}

/// Says so where there is no PostgreSQL.
fn backed(account: &Account) -> bool {
    let status = account.sandbox.status();
    let postgres = status["backing"]["postgres"].as_str().unwrap();
    let none = postgres.starts_with("none:");
    if none {
        println!("skipped: {postgres}");
    }
    !none
}

fn psql(xml: &str, password: &str, tls: &str, statement: &str) -> String {
    let options = format!(
        "host={} port={} user=app dbname=app sslmode={tls}",
        element(xml, "Address").unwrap(),
        element(xml, "Port").unwrap()
    );
    let output = Command::new("psql")
        .args([&options, "-X", "-A", "-t", "-c", statement])
        .env("PGPASSWORD", password)
        .output()
        .unwrap();
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(text).unwrap().trim().to_owned()
}

#[tokio::test]
async fn an_instance_comes_up_as_a_real_database_changes_and_leaves_a_snapshot() {
    let account = Account::open().await;
    if !backed(&account) {
        return;
    }
    let created = account
        .form_ok("rds:CreateDBInstance", &instance(&[("DBName", "app")]))
        .await;
    assert_eq!(element(&created, "DBInstanceStatus"), Some("creating"));
    assert!(!created.contains("<Endpoint>") && !created.contains(PASSWORD));
    let up = until(&account, "available").await;
    assert_eq!(element(&up, "PendingModifiedValues"), Some(""));
    assert_eq!(psql(&up, PASSWORD, "require", "select 41 + 1"), "42");

    let change = [
        APP,
        ("MasterUserPassword", "second-pass-1234"),
        ("MultiAZ", "true"),
        ("ApplyImmediately", "true"),
    ];
    let changing = account.form_ok("rds:ModifyDBInstance", &change).await;
    // As on the real service, it says `available` although it has not begun.
    assert_eq!(element(&changing, "DBInstanceStatus"), Some("available"));
    assert!(changing.contains("<MasterUserPassword>****</MasterUserPassword>"));
    until(&account, "modifying").await;
    account
        .form_refused(
            "rds:ModifyDBInstance",
            &change,
            400,
            "InvalidDBInstanceState",
        )
        .await;
    let changed = until(&account, "available").await;
    assert_eq!(element(&changed, "MultiAZ"), Some("true"));
    assert_eq!(
        psql(&changed, "second-pass-1234", "require", "select 1"),
        "1"
    );
    assert!(psql(&changed, PASSWORD, "require", "select 1").contains("authentication failed"));

    account
        .form_ok(
            "rds:DeleteDBInstance",
            &[APP, ("FinalDBSnapshotIdentifier", "last")],
        )
        .await;
    account
        .form_refused(
            "rds:DeleteDBInstance",
            &[APP, ("SkipFinalSnapshot", "true")],
            400,
            "InvalidDBInstanceState",
        )
        .await;
    let began = std::time::Instant::now();
    while account.form("rds:DescribeDBInstances", &[APP]).await.0 != 404 {
        assert!(began.elapsed().as_secs() < 120, "it is never gone");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(psql(&changed, "second-pass-1234", "require", "select 1").contains("refused"));
    let last = account
        .form_ok(
            "rds:DescribeDBSnapshots",
            &[("DBSnapshotIdentifier", "last")],
        )
        .await;
    assert_eq!(element(&last, "Status"), Some("available"));
    account.close().await;
}

#[tokio::test]
async fn a_parameter_group_decides_on_tls_and_static_parameters_wait_for_a_reboot() {
    let account = Account::open().await;
    if !backed(&account) {
        return;
    }
    let group = ("DBParameterGroupName", "tls");
    let family = ("DBParameterGroupFamily", "postgres16");
    account
        .form_ok(
            "rds:CreateDBParameterGroup",
            &[group, family, ("Description", "d")],
        )
        .await;
    let set = async |name, value, method| {
        let members = [
            group,
            ("Parameters.Parameter.1.ParameterName", name),
            ("Parameters.Parameter.1.ParameterValue", value),
            ("Parameters.Parameter.1.ApplyMethod", method),
        ];
        account.form("rds:ModifyDBParameterGroup", &members).await
    };
    assert_eq!(set("rds.force_ssl", "1", "immediate").await.0, 200);
    for (name, value, method) in [
        ("rds.force_ssl", "yes", "immediate"),
        ("max_connections", "30", "immediate"),
        ("no_such_thing", "1", "immediate"),
        ("fsync", "0", "immediate"),
    ] {
        assert_eq!(set(name, value, method).await.0, 400, "{name}");
    }
    let other = instance(&[("EngineVersion", "15.4"), group]);
    account
        .form_refused(
            "rds:CreateDBInstance",
            &other,
            400,
            "InvalidParameterCombination",
        )
        .await;
    account
        .form_ok(
            "rds:CreateDBInstance",
            &instance(&[("DBName", "app"), group]),
        )
        .await;
    let up = until(&account, "available").await;
    assert!(psql(&up, PASSWORD, "disable", "select 1").contains("no encryption"));
    assert_eq!(psql(&up, PASSWORD, "require", "select 1"), "1");
    assert_eq!(set("max_connections", "33", "pending-reboot").await.0, 200);
    let pending = account.form_ok("rds:DescribeDBInstances", &[APP]).await;
    assert_eq!(
        element(&pending, "ParameterApplyStatus"),
        Some("pending-reboot")
    );
    account
        .form_refused(
            "rds:DeleteDBParameterGroup",
            &[group],
            400,
            "InvalidDBParameterGroupState",
        )
        .await;
    account.form_ok("rds:RebootDBInstance", &[APP]).await;
    let up = until(&account, "available").await;
    assert_eq!(element(&up, "ParameterApplyStatus"), Some("in-sync"));
    assert_eq!(psql(&up, PASSWORD, "require", "show max_connections"), "33");
    account.close().await;
}

#[tokio::test]
async fn what_rds_refuses_is_refused_and_leaves_nothing() {
    let account = Account::open().await;
    let value = "InvalidParameterValue";
    let combination = "InvalidParameterCombination";
    for (name, wrong, status, code) in [
        ("MasterUserPassword", "has/slash-in-it", 400, value),
        ("MasterUsername", "rdsadmin", 400, value),
        ("DBInstanceIdentifier", "a--b", 400, value),
        ("DBInstanceClass", "db.huge", 400, value),
        ("AllocatedStorage", "10", 400, value),
        ("AllocatedStorage", "plenty", 400, "ValidationError"),
        ("EngineVersion", "16.99", 400, combination),
        ("BackupRetentionPeriod", "36", 400, value),
        ("KmsKeyId", "key", 400, combination),
        ("Surprise", "1", 400, "ValidationError"),
        (
            "DBSubnetGroupName",
            "none",
            404,
            "DBSubnetGroupNotFoundFault",
        ),
        (
            "DBParameterGroupName",
            "none",
            404,
            "DBParameterGroupNotFound",
        ),
    ] {
        let members = instance(&[(name, wrong)]);
        let said = account
            .form_refused("rds:CreateDBInstance", &members, status, code)
            .await;
        assert!(!said.contains("has/slash-in-it"), "{said}");
    }
    account
        .form_refused("rds:DescribeDBInstances", &[APP], 404, "DBInstanceNotFound")
        .await;
    let group = [
        ("DBSubnetGroupName", "g"),
        ("DBSubnetGroupDescription", "d"),
        ("SubnetIds.SubnetIdentifier.1", "subnet-1"),
    ];
    account
        .form_refused(
            "rds:CreateDBSubnetGroup",
            &group,
            400,
            "DBSubnetGroupDoesNotCoverEnoughAZs",
        )
        .await;
    let (status, _) = account.form("rds:DescribeDBClusters", &[]).await;
    assert_eq!(status, 400, "without moto, what is not owned is refused");
    account.close().await;
}

#[tokio::test]
async fn a_protected_instance_is_neither_deleted_nor_shrunk_nor_downgraded() {
    let account = Account::open().await;
    let protected = instance(&[
        ("DeletionProtection", "true"),
        ("Tags.Tag.1.Key", "a"),
        ("Tags.Tag.1.Value", "b"),
    ]);
    account.form_ok("rds:CreateDBInstance", &protected).await;
    account
        .form_refused(
            "rds:CreateDBInstance",
            &protected,
            400,
            "DBInstanceAlreadyExists",
        )
        .await;
    account
        .form_refused(
            "rds:ModifyDBInstance",
            &[APP],
            400,
            "InvalidDBInstanceState",
        )
        .await;
    let up = until(&account, "available").await;
    assert!(
        element(&up, "Address").is_some(),
        "with or without PostgreSQL there is an endpoint"
    );
    let refused = async |members: &[(&str, &str)], action: &str| {
        let members: Vec<_> = [APP].into_iter().chain(members.iter().copied()).collect();
        account
            .form_refused(action, &members, 400, "InvalidParameterCombination")
            .await
    };
    refused(&[("SkipFinalSnapshot", "true")], "rds:DeleteDBInstance").await;
    refused(&[("AllocatedStorage", "19")], "rds:ModifyDBInstance").await;
    refused(&[("EngineVersion", "15.4")], "rds:ModifyDBInstance").await;
    refused(&[("EngineVersion", "17.2")], "rds:ModifyDBInstance").await;
    let off = [
        APP,
        ("DeletionProtection", "false"),
        ("DBInstanceClass", "db.t4g.small"),
    ];
    let waiting = account.form_ok("rds:ModifyDBInstance", &off).await;
    assert_eq!(element(&waiting, "DeletionProtection"), Some("false"));
    // Without ApplyImmediately the class waits for the maintenance window.
    assert!(
        waiting.contains("<PendingModifiedValues><DBInstanceClass>db.t4g.small</DBInstanceClass>")
    );
    assert_eq!(element(&waiting, "DBInstanceClass"), Some("db.t4g.micro"));
    refused(&[], "rds:DeleteDBInstance").await;
    let arn = element(&up, "DBInstanceArn").unwrap();
    let tags = account
        .form_ok("rds:ListTagsForResource", &[("ResourceName", arn)])
        .await;
    assert_eq!(
        (element(&tags, "Key"), element(&tags, "Value")),
        (Some("a"), Some("b"))
    );
    account
        .form_ok(
            "rds:DeleteDBInstance",
            &[APP, ("SkipFinalSnapshot", "true")],
        )
        .await;
    account.close().await;
}

#[tokio::test]
async fn a_policy_decides_on_each_action() {
    let account = Account::open().await;
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Action": ["rds:Describe*", "rds:CreateDBInstance"], "Resource": "*"},
    ]});
    let url = format!("{}/_sandbox/aws/policy", account.sandbox.aws_url);
    let token = &account.sandbox.running().control_token;
    let set = account.http.post(url).bearer_auth(token).json(&policy);
    assert_eq!(set.send().await.unwrap().status(), 204);
    account.form_ok("rds:DescribeDBInstances", &[]).await;
    account
        .form_refused("rds:DeleteDBInstance", &[APP], 403, "AccessDenied")
        .await;
    let tagged = instance(&[("Tags.Tag.1.Key", "a"), ("Tags.Tag.1.Value", "b")]);
    let said = account
        .form_refused("rds:CreateDBInstance", &tagged, 403, "AccessDenied")
        .await;
    assert!(said.contains("rds:AddTagsToResource"), "{said}");
    account.close().await;
}

#[tokio::test]
async fn what_is_set_to_the_familys_default_is_not_told_as_the_users() {
    let account = Account::open().await;
    let source = async |family: &str| {
        let group = ("DBParameterGroupName", family);
        let of = ("DBParameterGroupFamily", family);
        account
            .form_ok(
                "rds:CreateDBParameterGroup",
                &[group, of, ("Description", "d")],
            )
            .await;
        let set = [
            group,
            ("Parameters.Parameter.1.ParameterName", "rds.force_ssl"),
            ("Parameters.Parameter.1.ParameterValue", "1"),
            ("Parameters.Parameter.1.ApplyMethod", "immediate"),
        ];
        account.form_ok("rds:ModifyDBParameterGroup", &set).await;
        let asked = [group, ("Source", "user")];
        let told = account.form_ok("rds:DescribeDBParameters", &asked).await;
        told.contains("rds.force_ssl")
    };
    assert!(source("postgres14").await, "there the default is 0");
    for family in ["postgres15", "postgres16", "postgres18"] {
        assert!(!source(family).await, "{family}");
    }
    let all = [("DBParameterGroupName", "postgres16")];
    let first = account.form_ok("rds:DescribeDBParameters", &all).await;
    assert!(element(&first, "Marker").is_some(), "they come in pages");
    account.close().await;
}

#[tokio::test]
async fn an_upgrade_goes_to_a_listed_target_and_a_disk_grows_by_a_tenth() {
    let account = Account::open().await;
    let newer = instance(&[("EngineVersion", "16.13"), ("AllocatedStorage", "100")]);
    account.form_ok("rds:CreateDBInstance", &newer).await;
    until(&account, "available").await;
    let modify = async |members: &[(&str, &str)]| {
        let more = [APP, ("ApplyImmediately", "true")];
        let members: Vec<_> = more.iter().chain(members).copied().collect();
        account.form("rds:ModifyDBInstance", &members).await
    };
    let major = ("AllowMajorVersionUpgrade", "true");
    let (status, said) = modify(&[("EngineVersion", "17"), major]).await;
    assert_eq!(status, 400);
    assert!(
        said.contains("Cannot upgrade postgres from 16.13 to 17.6"),
        "{said}"
    );
    let asked = [("Engine", "postgres"), ("EngineVersion", "16.13")];
    let listed = account
        .form_ok("rds:DescribeDBEngineVersions", &asked)
        .await;
    assert!(
        listed.contains("<EngineVersion>17.9</EngineVersion>"),
        "{listed}"
    );
    assert!(
        !listed.contains("<EngineVersion>17.6</EngineVersion>"),
        "{listed}"
    );
    let (status, said) = modify(&[("AllocatedStorage", "105")]).await;
    assert_eq!(status, 200, "{said}");
    assert!(
        said.contains("<AllocatedStorage>110</AllocatedStorage>"),
        "{said}"
    );
    account.close().await;
}
