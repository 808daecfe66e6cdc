//! A database and a cache of others on AWS are taken over as they are: in their subnet groups, with
//! their clients.

use deployer::Exit;

use crate::aws_data::{
    CACHE, DATABASE, OVERLAY, SETTLED, WITH_DATA, cache, elasticache, instance, nothing_to_do, rds,
    secret,
};
use crate::in_process::stage::Stage;
use crate::{APPLY, DESTROY, run, says};

crate::tests! {
    a_database_and_a_cache_of_others_are_taken_over_as_they_are => adopted,
    what_is_to_be_adopted_and_is_not_there_is_not_made => nothing_to_adopt,
    a_cache_of_others_takes_their_clients_until_the_manifest_says_otherwise => closed_late,
    a_change_of_a_cache_whose_reply_was_lost_is_made_once => lost_replies,
}

/// Subnets of another VPC than that of the manifest.
const THEIR_SUBNETS: [&str; 2] = ["subnet-0f1b2c3d4e5f60001", "subnet-0f1b2c3d4e5f60002"];

/// The subnets and the tags of their groups, which have the very names of what stands in them.
async fn their_groups(stage: &Stage) -> Vec<String> {
    let things = crate::world::of(stage).await.into_iter();
    let groups =
        things.filter(|it| it.name.contains(":subgrp:") || it.name.contains(":subnetgroup:"));
    groups.map(|it| format!("{it:?}")).collect()
}

/// As Terraform's modules make them: each in a subnet group of its own name
/// (cloudposse/terraform-aws-rds).
async fn groups_of_others(stage: &Stage) {
    let made = rds(stage).await.create_db_subnet_group();
    let made = made
        .db_subnet_group_name(DATABASE)
        .db_subnet_group_description("theirs")
        .set_subnet_ids(Some(THEIR_SUBNETS.map(str::to_owned).into()));
    made.send().await.expect("it is made");
    let made = elasticache(stage).await.create_cache_subnet_group();
    let made = made
        .cache_subnet_group_name(CACHE)
        .cache_subnet_group_description("theirs")
        .set_subnet_ids(Some(THEIR_SUBNETS.map(str::to_owned).into()));
    made.send().await.expect("it is made");
}

/// As a console makes them: master user `postgres`, no database of its own, no TLS and no token in
/// the cache.
async fn made_by_others(stage: &Stage) {
    groups_of_others(stage).await;
    let made = rds(stage)
        .await
        .create_db_instance()
        .db_instance_identifier(DATABASE)
        .db_subnet_group_name(DATABASE)
        .engine("postgres")
        .engine_version("15.15")
        .db_instance_class("db.r6g.xlarge")
        .allocated_storage(200)
        .master_username("postgres")
        .master_user_password("made-by-hand-1234")
        .backup_retention_period(3);
    made.send().await.expect("it is made");
    let made = elasticache(stage)
        .await
        .create_replication_group()
        .replication_group_id(CACHE)
        .replication_group_description("sessions")
        .cache_subnet_group_name(CACHE)
        .engine("redis")
        .engine_version("7.1")
        .cache_node_type("cache.r7g.large")
        .num_cache_clusters(1);
    made.send().await.expect("it is made");
    stage.time.pass(SETTLED).await;
}

const ADOPTS: &str =
    "[targets.aws.databases.main]\nadopt = true\n[targets.aws.caches.sessions]\nadopt = true\n";

/// What the manifest says of databases is nothing.
fn wants_bare(stage: &Stage) {
    stage.want(&WITH_DATA);
    let manifest = format!("{}/deployer.toml", stage.folder());
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    let text = text.replace("deletion_protection = false\nstorage = \"20GiB\"\n", "");
    std::fs::write(&manifest, text).expect("a manifest");
}

async fn adopted(stage: &Stage) {
    made_by_others(stage).await;
    let groups = their_groups(stage).await;
    wants_bare(stage);
    stage.file(OVERLAY, ADOPTS);
    let said = run(stage, &["plan"], "aws", Exit::Success).await;
    assert!(!said.contains("LOSES DATA"), "{said}");
    says(
        &said,
        &[
            "transit_encryption: off -> preferred",
            "gets another password",
            "`tls = \"required\"` in `[targets.aws.caches.sessions]`",
        ],
    );
    run(stage, APPLY, "aws", Exit::Success).await;
    // Nothing reads their groups, and nothing of them is ours to change.
    assert_eq!(groups.len(), 2);
    assert_eq!(their_groups(stage).await, groups);
    let there = instance(stage).await;
    assert_eq!(there.db_instance_class(), Some("db.r6g.xlarge"));
    assert_eq!(there.allocated_storage(), Some(200));
    assert_eq!(there.engine_version(), Some("15.15"));
    assert_eq!(
        there.db_parameter_groups()[0].db_parameter_group_name(),
        Some("default.postgres15")
    );
    let url = secret(stage, "database-url").await;
    assert!(url.starts_with("postgresql://postgres:"), "its master user");
    assert!(
        url.contains("/postgres?sslmode=require"),
        "its only database"
    );
    let group = cache(stage).await;
    assert_eq!(transit(&group), Some("preferred"));
    assert_eq!(group.cache_node_type(), Some("cache.r7g.large"));
    // Its name with TLS, which is another one.
    let url = secret(stage, "redis-url").await;
    assert!(url.contains("@master.swept-test-sessions."), "{url:.12}");
    nothing_to_do(stage, "the adoption").await;
    // Let go, nothing of theirs bears a mark.
    run(stage, DESTROY, "aws", Exit::Success).await;
    assert_eq!(their_groups(stage).await, groups);
    assert_eq!(instance(stage).await.tag_list(), []);
}

fn transit(group: &aws_sdk_elasticache::types::ReplicationGroup) -> Option<&str> {
    group.transit_encryption_mode().map(|it| it.as_str())
}

/// The names under which clients reach the cache, and whether they must give a token.
async fn reached(stage: &Stage) -> (Vec<String>, bool) {
    let status = stage.status().await;
    let groups = status["aws"]["status"]["caches"]
        .as_array()
        .expect("caches");
    let names = groups[0]["names"].as_array().expect("names");
    let names = names.iter().filter_map(|it| it.as_str());
    let required = groups[0]["token_required"].as_bool();
    (
        names.map(str::to_owned).collect(),
        required.expect("a word on tokens"),
    )
}

/// Whoever else uses it goes on, with the name without TLS and without a token, until a person says
/// that all have followed.
async fn closed_late(stage: &Stage) {
    made_by_others(stage).await;
    wants_bare(stage);
    stage.file(OVERLAY, ADOPTS);
    let (before, _) = reached(stage).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.time.pass(SETTLED).await;
    let (names, token) = reached(stage).await;
    assert!(names.contains(&before[0]) && names.len() == 2, "{names:?}");
    assert!(!token, "clients without a token are locked out");
    let closed = format!("{ADOPTS}tls = \"required\"\n");
    stage.file(OVERLAY, &closed);
    let said = run(stage, &["plan"], "aws", Exit::Success).await;
    says(
        &said,
        &[
            "transit_encryption: preferred -> required",
            "auth: begun -> true",
            "INTERRUPTS",
        ],
    );
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.time.pass(SETTLED).await;
    let (names, token) = reached(stage).await;
    assert!(!names.contains(&before[0]) && token, "{names:?}");
    assert_eq!(cache(stage).await.auth_token_enabled(), Some(true));
    let said = nothing_to_do(stage, "the end of it").await;
    assert!(!said.contains("without TLS"), "{said}");
    // One that asks for both is not opened.
    stage.file(OVERLAY, ADOPTS);
    nothing_to_do(stage, "the word is taken back").await;
}

/// A name that is mistyped makes no empty database.
async fn nothing_to_adopt(stage: &Stage) {
    wants_bare(stage);
    stage.file(OVERLAY, ADOPTS);
    stage.calls.arm(None);
    let (_, said) = stage.run(APPLY, "aws").await;
    says(
        &said,
        &[
            "there is no database `swept-test-main` that could be adopted",
            "there is no cache `swept-test-sessions` that could be adopted",
            "take `adopt = true` out",
        ],
    );
    assert_eq!(stage.calls.writes(), Vec::<String>::new());
}

/// ElastiCache refuses a change that changes nothing.
async fn lost_replies(stage: &Stage) {
    made_by_others(stage).await;
    wants_bare(stage);
    stage.file(OVERLAY, &format!("{ADOPTS}tls = \"required\"\n"));
    let lost = "[[fault]]\ncall = \"elasticache:ModifyReplicationGroup\"\nwhat = \"reset_after\"\nevery = 2\n";
    stage.disturb(lost).await;
    run(stage, APPLY, "aws", Exit::Success).await;
    stage.disturb("").await;
    let group = cache(stage).await;
    assert_eq!(transit(&group), Some("required"));
    nothing_to_do(stage, "lost replies").await;
}
