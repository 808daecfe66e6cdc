//! The rows. Whoever adds a kind adds its row here; a test finds the one that is missing.

use deployer_core::permissions::Feature;

use super::places::{
    ALARMS, ANYTHING, BUCKET, CACHE_NODES, CACHE_SUBNET_GROUPS, CACHES, CACHES_IN_GROUPS,
    DATABASE_SUBNET_GROUPS, DEFINITIONS, IN_CLUSTER, INSTANCES, INSTANCES_IN_GROUPS, LEDGER,
    LOG_GROUPS, MARKED, NONE, OF_ECS, PARAMETER_GROUPS, REPOSITORIES, ROLES, SCALABLE_TARGETS,
    SECRETS, SERVICES, SHARED_SECRETS, SNAPSHOTS, TASKS, TO_TASKS, ZONE_CHANGES, ZONES,
};
use super::{Condition, Grant, Need};
use crate::cache::replication_group::REPLICATION_GROUP;
use crate::cache::subnet_group as cache_subnet_group;
use crate::database::instance::INSTANCE;
use crate::database::parameter_group::PARAMETER_GROUP;
use crate::database::subnet_group as database_subnet_group;
use crate::dns::RECORD;
use crate::registry::{IMAGE, REPOSITORY};
use crate::runtime::log_group::LOG_GROUP;
use crate::runtime::migration::MIGRATION;
use crate::runtime::scaling::SCALABLE_TARGET;
use crate::runtime::service::SERVICE;
use crate::runtime::task_definition::TASK_DEFINITION;
use crate::secret_store::{MEMBER, SECRET};

const fn grant(actions: &'static [&'static str], on: &'static [&'static str]) -> Grant {
    given(actions, on, NONE)
}

const fn given(
    actions: &'static [&'static str],
    on: &'static [&'static str],
    when: &'static [Condition],
) -> Grant {
    Grant { actions, on, when }
}

/// A service makes its role in an account when it is first used; who calls it then must be allowed to.
macro_rules! service_linked_role {
    ($service:literal, $role:literal) => {
        Grant {
            actions: &["iam:CreateServiceLinkedRole"],
            on: &[concat!(
                "arn:aws:iam::ACCOUNT:role/aws-service-role/",
                $service,
                "/",
                $role
            )],
            when: &[Condition {
                operator: "StringEquals",
                key: "iam:AWSServiceName",
                value: $service,
            }],
        }
    };
}

/// Roles that tasks run with.
const PASS_ROLES: Grant = given(&["iam:PassRole"], ROLES, TO_TASKS);

/// Every kind, and what has no kind.
pub const NEEDS: &[Need] = &[
    Need {
        kind: "ledger",
        noun: "the ledger's objects",
        feature: Feature::Always,
        // Without s3:ListBucket, S3 calls an absent object denied.
        read: &[
            grant(&["s3:GetObject"], LEDGER),
            grant(&["s3:ListBucket"], BUCKET),
        ],
        change: &[grant(&["s3:PutObject", "s3:DeleteObject"], LEDGER)],
    },
    Need {
        kind: "marked",
        noun: "the list of what carries our mark",
        feature: Feature::Always,
        // Without it a lost ledger is one: what the manifest no longer names is not found.
        read: &[grant(&["tag:GetResources"], ANYTHING)],
        change: &[],
    },
    Need {
        kind: REPOSITORY,
        noun: "an image repository",
        feature: Feature::Always,
        read: &[grant(
            &["ecr:DescribeRepositories", "ecr:ListTagsForResource"],
            REPOSITORIES,
        )],
        change: &[grant(
            &[
                "ecr:CreateRepository",
                "ecr:DeleteRepository",
                "ecr:TagResource",
                "ecr:UntagResource",
            ],
            REPOSITORIES,
        )],
    },
    Need {
        kind: IMAGE,
        noun: "the copy of an image",
        feature: Feature::Always,
        read: &[
            grant(&["ecr:GetAuthorizationToken"], ANYTHING),
            grant(
                &[
                    "ecr:BatchCheckLayerAvailability",
                    "ecr:BatchGetImage",
                    "ecr:GetDownloadUrlForLayer",
                ],
                REPOSITORIES,
            ),
        ],
        change: &[grant(
            &[
                "ecr:CompleteLayerUpload",
                "ecr:InitiateLayerUpload",
                "ecr:PutImage",
                "ecr:UploadLayerPart",
            ],
            REPOSITORIES,
        )],
    },
    Need {
        kind: LOG_GROUP,
        noun: "a log group",
        feature: Feature::Always,
        read: &[
            grant(&["logs:DescribeLogGroups"], ANYTHING),
            grant(&["logs:ListTagsForResource"], LOG_GROUPS),
        ],
        change: &[grant(
            &[
                "logs:CreateLogGroup",
                "logs:DeleteLogGroup",
                "logs:PutRetentionPolicy",
                "logs:TagResource",
                "logs:UntagResource",
            ],
            LOG_GROUPS,
        )],
    },
    Need {
        kind: TASK_DEFINITION,
        noun: "a task definition",
        feature: Feature::Always,
        read: &[grant(
            &["ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions"],
            ANYTHING,
        )],
        change: &[
            grant(
                &[
                    "ecs:RegisterTaskDefinition",
                    "ecs:TagResource",
                    "ecs:UntagResource",
                ],
                DEFINITIONS,
            ),
            grant(&["ecs:DeregisterTaskDefinition"], ANYTHING),
            PASS_ROLES,
        ],
    },
    Need {
        kind: SERVICE,
        noun: "an ECS service",
        feature: Feature::Always,
        read: &[grant(&["ecs:DescribeServices"], SERVICES)],
        change: &[
            grant(
                &[
                    "ecs:CreateService",
                    "ecs:DeleteService",
                    "ecs:TagResource",
                    "ecs:UntagResource",
                    "ecs:UpdateService",
                ],
                SERVICES,
            ),
            PASS_ROLES,
            service_linked_role!("ecs.amazonaws.com", "AWSServiceRoleForECS"),
        ],
    },
    Need {
        kind: "tasks",
        noun: "how tasks ended, and what they printed last",
        feature: Feature::Always,
        read: &[
            given(&["ecs:ListTasks"], ANYTHING, IN_CLUSTER),
            grant(&["ecs:DescribeTasks"], TASKS),
            grant(&["logs:GetLogEvents"], LOG_GROUPS),
        ],
        change: &[],
    },
    Need {
        kind: "logs",
        noun: "`deployer logs`",
        feature: Feature::Always,
        read: &[grant(&["logs:FilterLogEvents"], LOG_GROUPS)],
        change: &[],
    },
    Need {
        kind: SECRET,
        noun: "a secret",
        feature: Feature::Secrets,
        read: &[
            grant(
                &[
                    "secretsmanager:DescribeSecret",
                    "secretsmanager:GetSecretValue",
                    "secretsmanager:ListSecretVersionIds",
                ],
                SECRETS,
            ),
            // Each value needs GetSecretValue besides.
            grant(&["secretsmanager:BatchGetSecretValue"], ANYTHING),
        ],
        change: &[grant(
            &[
                "secretsmanager:CreateSecret",
                "secretsmanager:DeleteSecret",
                "secretsmanager:PutSecretValue",
                "secretsmanager:RestoreSecret",
                "secretsmanager:TagResource",
                "secretsmanager:UntagResource",
                "secretsmanager:UpdateSecretVersionStage",
            ],
            SECRETS,
        )],
    },
    Need {
        kind: MEMBER,
        noun: "a secret of another owner, or one member of it",
        feature: Feature::SharedSecrets,
        read: &[grant(
            &[
                "secretsmanager:DescribeSecret",
                "secretsmanager:GetSecretValue",
            ],
            SHARED_SECRETS,
        )],
        change: &[],
    },
    Need {
        kind: MIGRATION,
        noun: "a migration",
        feature: Feature::Migrations,
        read: &[
            given(&["ecs:ListTasks"], ANYTHING, IN_CLUSTER),
            grant(&["ecs:DescribeTasks"], TASKS),
        ],
        change: &[
            given(&["ecs:RunTask"], DEFINITIONS, IN_CLUSTER),
            grant(&["ecs:TagResource"], TASKS),
            given(&["ecs:StopTask"], TASKS, MARKED),
            PASS_ROLES,
        ],
    },
    Need {
        kind: database_subnet_group::SUBNET_GROUP,
        noun: "a database's subnet group",
        feature: Feature::Databases,
        read: &[grant(
            &["rds:DescribeDBSubnetGroups", "rds:ListTagsForResource"],
            DATABASE_SUBNET_GROUPS,
        )],
        change: &[grant(
            &[
                "rds:AddTagsToResource",
                "rds:CreateDBSubnetGroup",
                "rds:DeleteDBSubnetGroup",
                "rds:ModifyDBSubnetGroup",
                "rds:RemoveTagsFromResource",
            ],
            DATABASE_SUBNET_GROUPS,
        )],
    },
    Need {
        kind: PARAMETER_GROUP,
        noun: "a database's parameter group",
        feature: Feature::Databases,
        read: &[grant(
            &[
                "rds:DescribeDBParameterGroups",
                "rds:DescribeDBParameters",
                "rds:ListTagsForResource",
            ],
            PARAMETER_GROUPS,
        )],
        change: &[grant(
            &[
                "rds:AddTagsToResource",
                "rds:CreateDBParameterGroup",
                "rds:DeleteDBParameterGroup",
                "rds:ModifyDBParameterGroup",
                "rds:RemoveTagsFromResource",
            ],
            PARAMETER_GROUPS,
        )],
    },
    Need {
        kind: INSTANCE,
        noun: "a database instance",
        feature: Feature::Databases,
        read: &[
            grant(&["rds:DescribeDBEngineVersions"], ANYTHING),
            grant(
                &["rds:DescribeDBInstances", "rds:ListTagsForResource"],
                INSTANCES,
            ),
        ],
        change: &[
            grant(
                &["rds:CreateDBInstance", "rds:ModifyDBInstance"],
                INSTANCES_IN_GROUPS,
            ),
            grant(
                &[
                    "rds:DeleteDBInstance",
                    "rds:RebootDBInstance",
                    "rds:RemoveTagsFromResource",
                ],
                INSTANCES,
            ),
            // The last snapshot, which takes the instance's tags.
            grant(
                &["rds:AddTagsToResource", "rds:CreateDBSnapshot"],
                SNAPSHOTS,
            ),
            service_linked_role!("rds.amazonaws.com", "AWSServiceRoleForRDS"),
        ],
    },
    Need {
        kind: cache_subnet_group::SUBNET_GROUP,
        noun: "a cache's subnet group",
        feature: Feature::Caches,
        read: &[grant(
            &[
                "elasticache:DescribeCacheSubnetGroups",
                "elasticache:ListTagsForResource",
            ],
            CACHE_SUBNET_GROUPS,
        )],
        change: &[grant(
            &[
                "elasticache:AddTagsToResource",
                "elasticache:CreateCacheSubnetGroup",
                "elasticache:DeleteCacheSubnetGroup",
                "elasticache:ModifyCacheSubnetGroup",
                "elasticache:RemoveTagsFromResource",
            ],
            CACHE_SUBNET_GROUPS,
        )],
    },
    Need {
        kind: REPLICATION_GROUP,
        noun: "a cache",
        feature: Feature::Caches,
        read: &[
            grant(
                &[
                    "elasticache:DescribeReplicationGroups",
                    "elasticache:ListTagsForResource",
                ],
                CACHES,
            ),
            grant(&["elasticache:DescribeCacheClusters"], CACHE_NODES),
        ],
        change: &[
            grant(
                &[
                    "elasticache:AddTagsToResource",
                    "elasticache:CreateReplicationGroup",
                    "elasticache:ModifyReplicationGroup",
                ],
                CACHES_IN_GROUPS,
            ),
            grant(
                &[
                    "elasticache:DeleteReplicationGroup",
                    "elasticache:RemoveTagsFromResource",
                ],
                CACHES,
            ),
            service_linked_role!("elasticache.amazonaws.com", "AWSServiceRoleForElastiCache"),
        ],
    },
    Need {
        kind: SCALABLE_TARGET,
        noun: "a range in which a service scales",
        feature: Feature::Scaling,
        read: &[
            grant(
                &[
                    "application-autoscaling:DescribeScalableTargets",
                    "application-autoscaling:DescribeScalingPolicies",
                    "application-autoscaling:DescribeScheduledActions",
                    "elasticloadbalancing:DescribeTargetGroups",
                ],
                ANYTHING,
            ),
            grant(
                &["application-autoscaling:ListTagsForResource"],
                SCALABLE_TARGETS,
            ),
        ],
        change: &[
            given(
                &[
                    "application-autoscaling:DeleteScalingPolicy",
                    "application-autoscaling:DeregisterScalableTarget",
                    "application-autoscaling:PutScalingPolicy",
                    "application-autoscaling:RegisterScalableTarget",
                ],
                SCALABLE_TARGETS,
                OF_ECS,
            ),
            grant(
                &[
                    "application-autoscaling:TagResource",
                    "application-autoscaling:UntagResource",
                ],
                SCALABLE_TARGETS,
            ),
            // The caller needs what scaling does: "IAM permissions required for Amazon ECS service auto scaling" (ECS Developer
            // Guide). ecs:DescribeServices and ecs:UpdateService are the service's own.
            grant(
                &["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm"],
                ALARMS,
            ),
            grant(&["cloudwatch:DescribeAlarms"], ANYTHING),
            service_linked_role!(
                "ecs.application-autoscaling.amazonaws.com",
                "AWSServiceRoleForApplicationAutoScaling_ECSService"
            ),
        ],
    },
    Need {
        kind: "targets",
        noun: "the health of a target group's targets",
        feature: Feature::LoadBalancers,
        read: &[grant(
            &["elasticloadbalancing:DescribeTargetHealth"],
            ANYTHING,
        )],
        change: &[],
    },
    Need {
        kind: RECORD,
        noun: "a record in a hosted zone",
        feature: Feature::Dns,
        read: &[
            grant(
                &[
                    "elasticloadbalancing:DescribeLoadBalancers",
                    "route53:ListHostedZones",
                    "route53:ListHostedZonesByName",
                ],
                ANYTHING,
            ),
            grant(
                &["route53:GetHostedZone", "route53:ListResourceRecordSets"],
                ZONES,
            ),
        ],
        change: &[
            grant(&["route53:ChangeResourceRecordSets"], ZONES),
            grant(&["route53:GetChange"], ZONE_CHANGES),
        ],
    },
];

/// What `apply --only` does and no more: it pushes an image, registers a revision and has the service take it.
pub const ONLY: &[&str] = &[
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:DescribeRepositories",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
    "ecs:DescribeServices",
    "ecs:DescribeTaskDefinition",
    "ecs:RegisterTaskDefinition",
    "ecs:UpdateService",
    "iam:PassRole",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:PutObject",
];
