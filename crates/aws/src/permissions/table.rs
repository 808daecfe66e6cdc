//! The rows: of each kind what it says itself, and here those of steps and of what has no kind.

use std::sync::LazyLock;

use deployer_core::permissions::Feature;

use super::Need;
use crate::access::places::{
    ANYTHING, APP_RUNNER_LOGS, APP_RUNNER_SERVICES, BUCKET, CLUSTER_OF_TASKS, DEFINITIONS,
    IN_CLUSTER, LEDGER, LOG_GROUPS, MARKED, REPOSITORIES, SERVICES, SESSIONS, SHARED_SECRETS,
    TASKS, TASKS_OF_CLUSTER,
};
use crate::access::{Access, Grant, PASS_ROLES, given, grant};
use crate::registry::IMAGE;
use crate::runtime::migration::MIGRATION;
use crate::secret_store::MEMBER;

/// To start, mark and stop a task that runs once.
const RUNS_TASKS: &[Grant] = &[
    given(&["ecs:RunTask"], DEFINITIONS, IN_CLUSTER),
    grant(&["ecs:TagResource"], TASKS),
    given(&["ecs:StopTask"], TASKS, MARKED),
    PASS_ROLES,
];

/// What has no kind, and steps.
const OTHERS: &[Need] = &[
    Need {
        kind: "ledger",
        noun: "the ledger's objects",
        access: Access {
            feature: Feature::Always,
            // Without s3:ListBucket, S3 calls an absent object denied.
            read: &[
                grant(&["s3:GetObject"], LEDGER),
                grant(&["s3:ListBucket"], BUCKET),
            ],
            change: &[grant(&["s3:PutObject", "s3:DeleteObject"], LEDGER)],
        },
    },
    Need {
        kind: "marked",
        noun: "the list of what carries our mark",
        access: Access {
            feature: Feature::Always,
            // Without it a lost ledger is one: what the manifest no longer names is not found.
            read: &[grant(&["tag:GetResources"], ANYTHING)],
            change: &[],
        },
    },
    Need {
        kind: IMAGE,
        noun: "copy of an image",
        access: Access {
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
    },
    Need {
        kind: "tasks",
        noun: "how tasks ended, and what they printed last",
        access: Access {
            feature: Feature::Always,
            read: &[
                given(&["ecs:ListTasks"], ANYTHING, IN_CLUSTER),
                grant(&["ecs:DescribeTasks"], TASKS),
                grant(&["logs:GetLogEvents"], LOG_GROUPS),
            ],
            change: &[],
        },
    },
    Need {
        kind: "logs",
        noun: "`deployer logs`",
        access: Access {
            feature: Feature::Always,
            read: &[
                given(&["ecs:ListTasks"], ANYTHING, IN_CLUSTER),
                grant(&["ecs:DescribeTasks"], TASKS),
                grant(&["logs:FilterLogEvents"], LOG_GROUPS),
            ],
            change: &[],
        },
    },
    Need {
        kind: "app runner's logs",
        noun: "what App Runner and its services printed",
        access: Access {
            feature: Feature::AppRunner,
            read: &[grant(
                &[
                    "logs:DescribeLogStreams",
                    "logs:FilterLogEvents",
                    "logs:GetLogEvents",
                ],
                APP_RUNNER_LOGS,
            )],
            change: &[],
        },
    },
    Need {
        kind: MEMBER,
        noun: "secret of another owner",
        access: Access {
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
    },
    Need {
        kind: MIGRATION,
        noun: "migration",
        access: Access {
            feature: Feature::Migrations,
            read: &[
                given(&["ecs:ListTasks"], ANYTHING, IN_CLUSTER),
                grant(&["ecs:DescribeTasks"], TASKS),
            ],
            change: RUNS_TASKS,
        },
    },
    Need {
        kind: "run",
        noun: "`deployer run`",
        access: Access {
            feature: Feature::OneOffs,
            read: &[
                grant(&["ecs:DescribeServices"], SERVICES),
                grant(&["ecs:DescribeTaskDefinition"], ANYTHING),
                given(&["ecs:ListTasks"], ANYTHING, IN_CLUSTER),
                grant(&["ecs:DescribeTasks"], TASKS),
                grant(&["logs:FilterLogEvents"], LOG_GROUPS),
            ],
            change: RUNS_TASKS,
        },
    },
    Need {
        kind: "run beside app runner",
        noun: "`deployer run` of a service on App Runner, more than of others",
        access: Access {
            feature: Feature::OneOffs,
            read: &[
                grant(
                    &["apprunner:ListServices", "apprunner:ListVpcConnectors"],
                    ANYTHING,
                ),
                grant(
                    &[
                        "apprunner:DescribeService",
                        "apprunner:ListOperations",
                        "apprunner:ListTagsForResource",
                    ],
                    APP_RUNNER_SERVICES,
                ),
                grant(&["logs:DescribeLogGroups"], ANYTHING),
            ],
            // The task's own definition.
            change: &[grant(
                &["ecs:RegisterTaskDefinition", "ecs:TagResource"],
                DEFINITIONS,
            )],
        },
    },
    Need {
        kind: "commands",
        noun: "command in a task that runs",
        access: Access {
            feature: Feature::Commands,
            // Whether its sessions are encrypted, which cannot be read here.
            read: &[grant(&["ecs:DescribeClusters"], CLUSTER_OF_TASKS)],
            // Who opens a session signs for the second one, as AWS's policy for end users of
            // Session Manager has it ("Sample IAM policies for Session Manager", AWS Systems
            // Manager User Guide). That sessions of ECS ask for it is likely, not proven.
            change: &[
                grant(&["ecs:ExecuteCommand"], TASKS_OF_CLUSTER),
                grant(&["ssmmessages:OpenDataChannel"], SESSIONS),
            ],
        },
    },
    Need {
        kind: "targets",
        noun: "the health of a target group's targets",
        access: Access {
            feature: Feature::LoadBalancers,
            read: &[grant(
                &["elasticloadbalancing:DescribeTargetHealth"],
                ANYTHING,
            )],
            change: &[],
        },
    },
];

/// Every kind, and what has no kind, by what brings it.
pub static NEEDS: LazyLock<Vec<Need>> = LazyLock::new(|| {
    let of_kinds = crate::tables::all().map(|it| Need {
        kind: it.kind,
        noun: it.noun,
        access: it.facts.access,
    });
    let mut needs: Vec<Need> = OTHERS.iter().copied().chain(of_kinds).collect();
    needs.sort_by_key(|it| it.access.feature);
    needs
});

/// What `apply --only` does and no more: it pushes an image, registers a revision and has the
/// service take it.
pub const ONLY: &[&str] = &[
    "apprunner:DescribeService",
    "apprunner:ListOperations",
    "apprunner:ListServices",
    "apprunner:StartDeployment",
    "apprunner:UpdateService",
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
    "ecs:TagResource",
    "ecs:UpdateService",
    "iam:PassRole",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:PutObject",
];
