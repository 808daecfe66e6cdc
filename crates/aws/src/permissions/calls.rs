//! Which IAM actions a call takes: its own, and what the service asks for besides.

use super::{NEEDS, Need};

/// What a call takes besides the action of its own name, which comes first.
///
/// Sources: the tables "API operations" of the Service Authorization Reference; for alarms "IAM
/// permissions required for Amazon ECS service auto scaling" (ECS Developer Guide); for roles that
/// services make "Using service-linked roles" of each.
const BESIDES: &[(&str, &[&str])] = &[
    (
        "application-autoscaling:DeleteScalingPolicy",
        &["cloudwatch:DeleteAlarms"],
    ),
    (
        "application-autoscaling:DeregisterScalableTarget",
        &["cloudwatch:DeleteAlarms"],
    ),
    (
        "application-autoscaling:PutScalingPolicy",
        &["cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm"],
    ),
    (
        "application-autoscaling:RegisterScalableTarget",
        &[
            "application-autoscaling:TagResource",
            "iam:CreateServiceLinkedRole",
        ],
    ),
    (
        "apprunner:CreateAutoScalingConfiguration",
        &["apprunner:TagResource"],
    ),
    (
        "apprunner:CreateService",
        &[
            "apprunner:TagResource",
            "iam:CreateServiceLinkedRole",
            "iam:PassRole",
        ],
    ),
    (
        "apprunner:CreateVpcConnector",
        &["apprunner:TagResource", "iam:CreateServiceLinkedRole"],
    ),
    ("apprunner:UpdateService", &["iam:PassRole"]),
    ("ecr:CreateRepository", &["ecr:TagResource"]),
    (
        "ecs:CreateCluster",
        &["ecs:TagResource", "iam:CreateServiceLinkedRole"],
    ),
    (
        "ecs:CreateService",
        &[
            "ecs:TagResource",
            "iam:CreateServiceLinkedRole",
            "iam:PassRole",
        ],
    ),
    (
        "ecs:RegisterTaskDefinition",
        &["ecs:TagResource", "iam:PassRole"],
    ),
    ("ecs:RunTask", &["ecs:TagResource", "iam:PassRole"]),
    (
        "elasticache:CreateCacheSubnetGroup",
        &["elasticache:AddTagsToResource"],
    ),
    (
        "elasticache:CreateReplicationGroup",
        &[
            "elasticache:AddTagsToResource",
            "iam:CreateServiceLinkedRole",
        ],
    ),
    ("logs:CreateLogGroup", &["logs:TagResource"]),
    (
        "rds:CreateDBInstance",
        &["iam:CreateServiceLinkedRole", "rds:AddTagsToResource"],
    ),
    ("rds:CreateDBParameterGroup", &["rds:AddTagsToResource"]),
    ("rds:CreateDBSubnetGroup", &["rds:AddTagsToResource"]),
    (
        "rds:DeleteDBInstance",
        &["rds:AddTagsToResource", "rds:CreateDBSnapshot"],
    ),
    (
        "secretsmanager:BatchGetSecretValue",
        &["secretsmanager:GetSecretValue"],
    ),
    (
        "secretsmanager:CreateSecret",
        &["secretsmanager:TagResource"],
    ),
];

/// The registry's own protocol, and the actions that stand for it ("Amazon ECR API actions for the
/// Docker client", ECR User Guide: an image is pushed and pulled by the same actions as through the
/// API).
const REGISTRY: &[(&str, &[&str])] = &[
    ("registry GET ping", &[]),
    ("registry GET manifest", &["ecr:BatchGetImage"]),
    ("registry HEAD manifest", &["ecr:BatchGetImage"]),
    ("registry GET blob", &["ecr:GetDownloadUrlForLayer"]),
    ("registry HEAD blob", &["ecr:BatchCheckLayerAvailability"]),
    ("registry POST uploads", &["ecr:InitiateLayerUpload"]),
    ("registry GET upload", &["ecr:UploadLayerPart"]),
    ("registry PATCH upload", &["ecr:UploadLayerPart"]),
    (
        "registry PUT upload",
        &["ecr:CompleteLayerUpload", "ecr:UploadLayerPart"],
    ),
    ("registry PUT manifest", &["ecr:PutImage"]),
];

/// The actions that a call takes, `service:Operation` or `registry METHOD WHAT`: those that it can
/// take, whatever it says.
///
/// `None` for a call of which the table knows nothing.
pub fn actions_of(call: &str) -> Option<Vec<&'static str>> {
    // Nobody can be denied to ask who he is (GetCallerIdentity, STS API Reference).
    if call == "sts:GetCallerIdentity" {
        return Some(Vec::new());
    }
    // The one service whose actions begin otherwise than its calls are signed.
    if call == "tagging:GetResources" {
        return Some(vec!["tag:GetResources"]);
    }
    if let Some((_, actions)) = REGISTRY.iter().find(|(name, _)| *name == call) {
        return Some(actions.to_vec());
    }
    let mut actions = NEEDS
        .iter()
        .flat_map(Need::grants)
        .flat_map(|grant| grant.actions);
    let own = actions.find(|action| **action == call)?;
    let besides = BESIDES.iter().find(|(name, _)| *name == call);
    let besides = besides.map_or(&[][..], |(_, actions)| actions);
    Some([&[*own], besides].concat())
}
