//! What statements are about: ARNs with names left open, and conditions.
//!
//! What is made under a name is allowed on that name alone, where IAM can tell it: names begin with
//! APP-ENV (`deployer-manifest`, `names.rs`). What has no name beforehand, a task, is told by its
//! tag.

use super::Condition;

pub(crate) const ANYTHING: &[&str] = &["*"];
pub(crate) const BUCKET: &[&str] = &["arn:aws:s3:::deployer-ACCOUNT-REGION"];
pub(crate) const LEDGER: &[&str] = &["arn:aws:s3:::deployer-ACCOUNT-REGION/APP/ENV/*"];
pub(crate) const REPOSITORIES: &[&str] = &[
    "arn:aws:ecr:REGION:ACCOUNT:repository/APP-ENV",
    "arn:aws:ecr:REGION:ACCOUNT:repository/APP-ENV-*",
];
/// With its streams, and as some actions want it: with `:*` behind.
pub(crate) const LOG_GROUPS: &[&str] = &[
    "arn:aws:logs:REGION:ACCOUNT:log-group:/ecs/APP-ENV",
    "arn:aws:logs:REGION:ACCOUNT:log-group:/ecs/APP-ENV:*",
    "arn:aws:logs:REGION:ACCOUNT:log-group:/ecs/APP-ENV-*",
];
pub(crate) const DEFINITIONS: &[&str] = &[
    "arn:aws:ecs:REGION:ACCOUNT:task-definition/APP-ENV:*",
    "arn:aws:ecs:REGION:ACCOUNT:task-definition/APP-ENV-*:*",
];
pub(crate) const CLUSTERS: &[&str] = &["arn:aws:ecs:REGION:ACCOUNT:cluster/APP-ENV"];
/// Each has an id of AWS's own behind its name.
pub(crate) const APP_RUNNER_SERVICES: &[&str] = &[
    "arn:aws:apprunner:REGION:ACCOUNT:service/APP-ENV/*",
    "arn:aws:apprunner:REGION:ACCOUNT:service/APP-ENV-*/*",
];
/// App Runner makes them: `/aws/apprunner/SERVICE/ID/application` and `.../service`.
pub(crate) const APP_RUNNER_LOGS: &[&str] = &[
    "arn:aws:logs:REGION:ACCOUNT:log-group:/aws/apprunner/APP-ENV-*",
    "arn:aws:logs:REGION:ACCOUNT:log-group:/aws/apprunner/APP-ENV/*",
];
pub(crate) const CONNECTORS: &[&str] = &["arn:aws:apprunner:REGION:ACCOUNT:vpcconnector/APP-ENV-*"];
pub(crate) const SCALING_CONFIGURATIONS: &[&str] =
    &["arn:aws:apprunner:REGION:ACCOUNT:autoscalingconfiguration/APP-ENV-*"];
pub(crate) const APP_RUNNER_SERVICES_WITH_PARTS: &[&str] = &[
    "arn:aws:apprunner:REGION:ACCOUNT:autoscalingconfiguration/APP-ENV-*",
    "arn:aws:apprunner:REGION:ACCOUNT:service/APP-ENV-*/*",
    "arn:aws:apprunner:REGION:ACCOUNT:service/APP-ENV/*",
    "arn:aws:apprunner:REGION:ACCOUNT:vpcconnector/APP-ENV-*",
];
pub(crate) const ACCESS_ROLE: &[&str] = &["arn:aws:iam::ACCOUNT:role/ACCESS_ROLE"];
pub(crate) const TASK_ROLE: &[&str] = &["arn:aws:iam::ACCOUNT:role/TASK_ROLE"];
pub(crate) const SERVICES: &[&str] = &[
    "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/APP-ENV",
    "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/APP-ENV-*",
];
pub(crate) const TASKS: &[&str] = &["arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/*"];
/// The cluster in which tasks are, whoever made it.
pub(crate) const CLUSTER_OF_TASKS: &[&str] = &["arn:aws:ecs:REGION:ACCOUNT:cluster/CLUSTER"];
/// "Resource": tasks and their cluster (Amazon ECS Developer Guide, "Using IAM policies to limit
/// access to ECS Exec"); a service's tasks do not carry our tag.
pub(crate) const TASKS_OF_CLUSTER: &[&str] = &[
    "arn:aws:ecs:REGION:ACCOUNT:cluster/CLUSTER",
    "arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/*",
];
/// Sessions of ECS Exec, by how their ids begin.
pub(crate) const SESSIONS: &[&str] = &["arn:aws:ssm:REGION:ACCOUNT:session/ecs-execute-command-*"];
pub(crate) const ROLES: &[&str] = &[
    "arn:aws:iam::ACCOUNT:role/EXECUTION_ROLE",
    "arn:aws:iam::ACCOUNT:role/TASK_ROLE",
];
pub(crate) const SECRETS: &[&str] = &["arn:aws:secretsmanager:REGION:ACCOUNT:secret:/APP/ENV/*"];
pub(crate) const SHARED_SECRETS: &[&str] =
    &["arn:aws:secretsmanager:REGION:ACCOUNT:secret:SHARED_SECRET*"];
pub(crate) const INSTANCES: &[&str] = &[
    "arn:aws:rds:REGION:ACCOUNT:db:APP-ENV",
    "arn:aws:rds:REGION:ACCOUNT:db:APP-ENV-*",
];
pub(crate) const SNAPSHOTS: &[&str] = &[
    "arn:aws:rds:REGION:ACCOUNT:db:APP-ENV",
    "arn:aws:rds:REGION:ACCOUNT:db:APP-ENV-*",
    "arn:aws:rds:REGION:ACCOUNT:snapshot:APP-ENV-*",
];
pub(crate) const PARAMETER_GROUPS: &[&str] = &["arn:aws:rds:REGION:ACCOUNT:pg:APP-ENV-*"];
pub(crate) const DATABASE_SUBNET_GROUPS: &[&str] = &[
    "arn:aws:rds:REGION:ACCOUNT:subgrp:APP-ENV",
    "arn:aws:rds:REGION:ACCOUNT:subgrp:APP-ENV-*",
];
/// An instance with what it stands in; the option group is RDS's own ("Identity-based policy
/// examples", RDS User Guide).
pub(crate) const INSTANCES_IN_GROUPS: &[&str] = &[
    "arn:aws:rds:REGION:ACCOUNT:db:APP-ENV",
    "arn:aws:rds:REGION:ACCOUNT:db:APP-ENV-*",
    "arn:aws:rds:REGION:ACCOUNT:og:default:*",
    "arn:aws:rds:REGION:ACCOUNT:pg:APP-ENV-*",
    "arn:aws:rds:REGION:ACCOUNT:subgrp:APP-ENV",
    "arn:aws:rds:REGION:ACCOUNT:subgrp:APP-ENV-*",
];
pub(crate) const CACHES: &[&str] = &[
    "arn:aws:elasticache:REGION:ACCOUNT:replicationgroup:APP-ENV",
    "arn:aws:elasticache:REGION:ACCOUNT:replicationgroup:APP-ENV-*",
];
/// The nodes of a replication group are called like it, with a number behind.
pub(crate) const CACHE_NODES: &[&str] = &["arn:aws:elasticache:REGION:ACCOUNT:cluster:APP-ENV-*"];
pub(crate) const CACHE_SUBNET_GROUPS: &[&str] = &[
    "arn:aws:elasticache:REGION:ACCOUNT:subnetgroup:APP-ENV",
    "arn:aws:elasticache:REGION:ACCOUNT:subnetgroup:APP-ENV-*",
];
/// A replication group with what it stands in; the parameter group is ElastiCache's own.
pub(crate) const CACHES_IN_GROUPS: &[&str] = &[
    "arn:aws:elasticache:REGION:ACCOUNT:cluster:APP-ENV-*",
    "arn:aws:elasticache:REGION:ACCOUNT:parametergroup:default.*",
    "arn:aws:elasticache:REGION:ACCOUNT:replicationgroup:APP-ENV",
    "arn:aws:elasticache:REGION:ACCOUNT:replicationgroup:APP-ENV-*",
    "arn:aws:elasticache:REGION:ACCOUNT:subnetgroup:APP-ENV",
    "arn:aws:elasticache:REGION:ACCOUNT:subnetgroup:APP-ENV-*",
];
/// Their ids are AWS's.
pub(crate) const SCALABLE_TARGETS: &[&str] =
    &["arn:aws:application-autoscaling:REGION:ACCOUNT:scalable-target/*"];
/// What Application Auto Scaling calls the alarms of a target-tracking policy.
pub(crate) const ALARMS: &[&str] =
    &["arn:aws:cloudwatch:REGION:ACCOUNT:alarm:TargetTracking-service/CLUSTER/APP-ENV-*"];
pub(crate) const ZONES: &[&str] = &["arn:aws:route53:::hostedzone/ZONE"];
pub(crate) const ZONE_CHANGES: &[&str] = &["arn:aws:route53:::change/*"];

pub(crate) const NONE: &[Condition] = &[];
pub(crate) const TO_TASKS: &[Condition] = &[Condition {
    operator: "StringEquals",
    key: "iam:PassedToService",
    value: "ecs-tasks.amazonaws.com",
}];
pub(crate) const TO_APP_RUNNER: &[Condition] = &[Condition {
    operator: "StringEquals",
    key: "iam:PassedToService",
    value: "build.apprunner.amazonaws.com",
}];
pub(crate) const TO_INSTANCES: &[Condition] = &[Condition {
    operator: "StringEquals",
    key: "iam:PassedToService",
    value: "tasks.apprunner.amazonaws.com",
}];
pub(crate) const TO_BE_MARKED: &[Condition] = &[Condition {
    operator: "StringEquals",
    key: "aws:RequestTag/deployer",
    value: "APP/ENV",
}];
pub(crate) const IN_CLUSTER: &[Condition] = &[Condition {
    operator: "ArnEquals",
    key: "ecs:cluster",
    value: "arn:aws:ecs:REGION:ACCOUNT:cluster/CLUSTER",
}];
pub(crate) const MARKED: &[Condition] = &[Condition {
    operator: "StringEquals",
    key: "aws:ResourceTag/deployer",
    value: "APP/ENV",
}];
pub(crate) const OF_ECS: &[Condition] = &[Condition {
    operator: "StringEquals",
    key: "application-autoscaling:service-namespace",
    value: "ecs",
}];
