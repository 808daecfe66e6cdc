//! What statements are about: ARNs with names left open, and conditions.
//!
//! What is made under a name is allowed on that name alone, where IAM can tell it: names begin with APP-ENV (`deployer-manifest`,
//! `names.rs`). What has no name beforehand, a task, is told by its tag.

use super::Condition;

pub(super) const ANYTHING: &[&str] = &["*"];
pub(super) const BUCKET: &[&str] = &["arn:aws:s3:::deployer-ACCOUNT-REGION"];
pub(super) const LEDGER: &[&str] = &["arn:aws:s3:::deployer-ACCOUNT-REGION/APP/ENV/*"];
pub(super) const REPOSITORIES: &[&str] = &[
    "arn:aws:ecr:REGION:ACCOUNT:repository/APP-ENV",
    "arn:aws:ecr:REGION:ACCOUNT:repository/APP-ENV-*",
];
/// With its streams, and as some actions want it: with `:*` behind.
pub(super) const LOG_GROUPS: &[&str] = &["arn:aws:logs:REGION:ACCOUNT:log-group:/APP/ENV/*"];
pub(super) const DEFINITIONS: &[&str] = &[
    "arn:aws:ecs:REGION:ACCOUNT:task-definition/APP-ENV:*",
    "arn:aws:ecs:REGION:ACCOUNT:task-definition/APP-ENV-*:*",
];
pub(super) const SERVICES: &[&str] = &[
    "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/APP-ENV",
    "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/APP-ENV-*",
];
pub(super) const TASKS: &[&str] = &["arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/*"];
pub(super) const ROLES: &[&str] = &[
    "arn:aws:iam::ACCOUNT:role/EXECUTION_ROLE",
    "arn:aws:iam::ACCOUNT:role/TASK_ROLE",
];
pub(super) const SECRETS: &[&str] = &["arn:aws:secretsmanager:REGION:ACCOUNT:secret:/APP/ENV/*"];
pub(super) const SHARED_SECRETS: &[&str] =
    &["arn:aws:secretsmanager:REGION:ACCOUNT:secret:SHARED_SECRET*"];
pub(super) const INSTANCES: &[&str] = &[
    "arn:aws:rds:REGION:ACCOUNT:db:APP-ENV",
    "arn:aws:rds:REGION:ACCOUNT:db:APP-ENV-*",
];
pub(super) const SNAPSHOTS: &[&str] = &[
    "arn:aws:rds:REGION:ACCOUNT:db:APP-ENV",
    "arn:aws:rds:REGION:ACCOUNT:db:APP-ENV-*",
    "arn:aws:rds:REGION:ACCOUNT:snapshot:APP-ENV-*",
];
pub(super) const PARAMETER_GROUPS: &[&str] = &["arn:aws:rds:REGION:ACCOUNT:pg:APP-ENV-*"];
pub(super) const DATABASE_SUBNET_GROUPS: &[&str] = &[
    "arn:aws:rds:REGION:ACCOUNT:subgrp:APP-ENV",
    "arn:aws:rds:REGION:ACCOUNT:subgrp:APP-ENV-*",
];
/// An instance with what it stands in; the option group is RDS's own ("Identity-based policy examples", RDS User Guide).
pub(super) const INSTANCES_IN_GROUPS: &[&str] = &[
    "arn:aws:rds:REGION:ACCOUNT:db:APP-ENV",
    "arn:aws:rds:REGION:ACCOUNT:db:APP-ENV-*",
    "arn:aws:rds:REGION:ACCOUNT:og:default:*",
    "arn:aws:rds:REGION:ACCOUNT:pg:APP-ENV-*",
    "arn:aws:rds:REGION:ACCOUNT:subgrp:APP-ENV",
    "arn:aws:rds:REGION:ACCOUNT:subgrp:APP-ENV-*",
];
pub(super) const CACHES: &[&str] = &[
    "arn:aws:elasticache:REGION:ACCOUNT:replicationgroup:APP-ENV",
    "arn:aws:elasticache:REGION:ACCOUNT:replicationgroup:APP-ENV-*",
];
/// The nodes of a replication group are called like it, with a number behind.
pub(super) const CACHE_NODES: &[&str] = &["arn:aws:elasticache:REGION:ACCOUNT:cluster:APP-ENV-*"];
pub(super) const CACHE_SUBNET_GROUPS: &[&str] = &[
    "arn:aws:elasticache:REGION:ACCOUNT:subnetgroup:APP-ENV",
    "arn:aws:elasticache:REGION:ACCOUNT:subnetgroup:APP-ENV-*",
];
/// A replication group with what it stands in; the parameter group is ElastiCache's own.
pub(super) const CACHES_IN_GROUPS: &[&str] = &[
    "arn:aws:elasticache:REGION:ACCOUNT:cluster:APP-ENV-*",
    "arn:aws:elasticache:REGION:ACCOUNT:parametergroup:default.*",
    "arn:aws:elasticache:REGION:ACCOUNT:replicationgroup:APP-ENV",
    "arn:aws:elasticache:REGION:ACCOUNT:replicationgroup:APP-ENV-*",
    "arn:aws:elasticache:REGION:ACCOUNT:subnetgroup:APP-ENV",
    "arn:aws:elasticache:REGION:ACCOUNT:subnetgroup:APP-ENV-*",
];
/// Their ids are AWS's.
pub(super) const SCALABLE_TARGETS: &[&str] =
    &["arn:aws:application-autoscaling:REGION:ACCOUNT:scalable-target/*"];
/// What Application Auto Scaling calls the alarms of a target-tracking policy.
pub(super) const ALARMS: &[&str] =
    &["arn:aws:cloudwatch:REGION:ACCOUNT:alarm:TargetTracking-service/CLUSTER/APP-ENV-*"];
pub(super) const ZONES: &[&str] = &["arn:aws:route53:::hostedzone/ZONE"];
pub(super) const ZONE_CHANGES: &[&str] = &["arn:aws:route53:::change/*"];

pub(super) const NONE: &[Condition] = &[];
pub(super) const TO_TASKS: &[Condition] = &[Condition {
    operator: "StringEquals",
    key: "iam:PassedToService",
    value: "ecs-tasks.amazonaws.com",
}];
pub(super) const IN_CLUSTER: &[Condition] = &[Condition {
    operator: "ArnEquals",
    key: "ecs:cluster",
    value: "arn:aws:ecs:REGION:ACCOUNT:cluster/CLUSTER",
}];
pub(super) const MARKED: &[Condition] = &[Condition {
    operator: "StringEquals",
    key: "aws:ResourceTag/deployer",
    value: "APP/ENV",
}];
pub(super) const OF_ECS: &[Condition] = &[Condition {
    operator: "StringEquals",
    key: "application-autoscaling:service-namespace",
    value: "ecs",
}];
