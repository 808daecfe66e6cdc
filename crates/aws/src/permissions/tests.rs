//! The rows and the policies agree with each other and with the names that are made.

use std::collections::BTreeSet;

use deployer_core::names as made;

use crate::names;

use super::*;

#[test]
fn every_kind_and_every_step_has_a_row_and_every_row_with_a_dot_is_one_of_them() {
    let rows = NEEDS.iter().map(|need| need.kind);
    let rows: BTreeSet<&str> = rows.filter(|kind| kind.contains('.')).collect();
    let kinds = crate::tables::all().map(|it| it.kind);
    let steps = crate::kinds::GONE.iter().map(|(kind, _)| *kind);
    let all: BTreeSet<&str> = kinds.chain(steps).collect();
    assert_eq!(all, rows);
}

#[test]
fn every_policy_fits_into_what_iam_takes() {
    let each = Feature::ALL.into_iter().map(|feature| policies(&[feature]));
    for policy in each.chain([policies(&Feature::ALL), only()]).flatten() {
        assert!(length(&policy) <= LONGEST_POLICY, "{policy}");
        assert!(
            policy["Statement"]
                .as_array()
                .is_some_and(|it| !it.is_empty())
        );
    }
}

#[test]
fn the_parts_of_a_whole_that_is_too_long_allow_the_same_as_the_whole() {
    let allowed = |policies: Vec<Value>| -> BTreeSet<String> {
        let statements = policies
            .iter()
            .flat_map(|it| it["Statement"].as_array().unwrap().clone());
        let actions = statements.flat_map(|it| match &it["Action"] {
            Value::Array(all) => all.clone(),
            one => vec![one.clone()],
        });
        actions.map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let whole = policies(&Feature::ALL);
    assert!(whole.len() > 1, "{}", whole.len());
    let each = Feature::ALL.map(|feature| policies(&[feature])).concat();
    assert_eq!(allowed(whole.clone()), allowed(each));
    assert!(allowed(only()).is_subset(&allowed(whole)));
    assert_eq!(allowed(only()).len(), ONLY.len());
}

#[test]
fn only_what_iam_cannot_narrow_is_changed_anywhere() {
    let change = NEEDS.iter().flat_map(|need| need.access.change);
    let anywhere = change.filter(|grant| grant.on == ["*"]);
    let anywhere: Vec<&str> = anywhere.flat_map(|grant| grant.actions).copied().collect();
    // The first takes no resource; the second reads, and AWS's own policies have it on everything;
    // the third takes none either, but must mark what it makes.
    assert_eq!(
        anywhere,
        [
            "ecs:DeregisterTaskDefinition",
            "cloudwatch:DescribeAlarms",
            "ecs:CreateCluster"
        ]
    );
}

#[test]
fn roles_are_passed_to_tasks_alone_and_made_for_one_service_each() {
    for grant in NEEDS.iter().flat_map(Need::grants) {
        for action in grant.actions {
            let key = match *action {
                "iam:PassRole" => "iam:PassedToService",
                "iam:CreateServiceLinkedRole" => "iam:AWSServiceName",
                _ => continue,
            };
            assert!(grant.when.iter().any(|it| it.key == key), "{grant:?}");
        }
    }
}

#[test]
fn a_call_takes_its_own_action_and_what_it_does_besides() {
    let check = |call: &str, actions: &[&str]| {
        assert_eq!(actions_of(call).as_deref(), Some(actions), "{call}");
    };
    check(
        "rds:DeleteDBInstance",
        &[
            "rds:DeleteDBInstance",
            "rds:AddTagsToResource",
            "rds:CreateDBSnapshot",
        ],
    );
    check("ecs:DescribeServices", &["ecs:DescribeServices"]);
    check("registry PUT manifest", &["ecr:PutImage"]);
    check("sts:GetCallerIdentity", &[]);
    assert_eq!(actions_of("ec2:RunInstances"), None);
}

/// Whether a text is of a pattern's form, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((begins, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(begins) else {
        return false;
    };
    (0..=text.len()).any(|at| text.is_char_boundary(at) && matches(rest, &text[at..]))
}

/// Whether what changes a kind is allowed on this thing of it, in the environment `staging` of the
/// app `shop`.
fn may_change(kind: &str, arn: &str) -> bool {
    let need = NEEDS.iter().find(|need| need.kind == kind).unwrap();
    let mut on = need.access.change.iter().flat_map(|grant| grant.on);
    on.any(|pattern| {
        let pattern = pattern.replace("APP", "shop").replace("ENV", "staging");
        pattern != "*" && matches(&pattern, arn)
    })
}

#[test]
fn names_that_the_manifest_makes_are_allowed_and_those_of_others_are_not() {
    let things = |app: &str, key: &str| {
        let service = made::service(app, "staging", key);
        let database = made::instance(&names::RDS_INSTANCE, app, "staging", key);
        let cache = made::instance(&names::REPLICATION_GROUP, app, "staging", key);
        let (log, secret) = (
            names::log_group(&made::service(app, "staging", key)),
            names::secret(app, "staging", key),
        );
        [
            (
                "ecr.repository",
                format!("arn:aws:ecr:REGION:ACCOUNT:repository/{service}"),
            ),
            (
                "logs.group",
                format!("arn:aws:logs:REGION:ACCOUNT:log-group:{log}"),
            ),
            (
                "logs.group",
                format!("arn:aws:logs:REGION:ACCOUNT:log-group:{log}:*"),
            ),
            (
                "ecs.task-definition",
                format!("arn:aws:ecs:REGION:ACCOUNT:task-definition/{service}:7"),
            ),
            (
                "ecs.migration",
                format!("arn:aws:ecs:REGION:ACCOUNT:task-definition/{service}-migrate:7"),
            ),
            (
                "ecs.service",
                format!("arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/{service}"),
            ),
            (
                "secretsmanager.secret",
                format!("arn:aws:secretsmanager:REGION:ACCOUNT:secret:{secret}-AbCdEf"),
            ),
            (
                "rds.subnet_group",
                format!("arn:aws:rds:REGION:ACCOUNT:subgrp:{database}"),
            ),
            (
                "rds.parameter_group",
                format!("arn:aws:rds:REGION:ACCOUNT:pg:{database}-postgres17"),
            ),
            (
                "rds.instance",
                format!("arn:aws:rds:REGION:ACCOUNT:db:{database}"),
            ),
            (
                "rds.instance",
                format!("arn:aws:rds:REGION:ACCOUNT:snapshot:{database}-final-0a1b2c3d"),
            ),
            (
                "elasticache.subnet_group",
                format!("arn:aws:elasticache:REGION:ACCOUNT:subnetgroup:{cache}"),
            ),
            (
                "elasticache.replication_group",
                format!("arn:aws:elasticache:REGION:ACCOUNT:replicationgroup:{cache}"),
            ),
            (
                "elasticache.replication_group",
                format!("arn:aws:elasticache:REGION:ACCOUNT:cluster:{cache}-001"),
            ),
            (
                "app_runner.service",
                format!("arn:aws:apprunner:REGION:ACCOUNT:service/{service}/0a1b"),
            ),
            (
                "app_runner.scaling",
                format!(
                    "arn:aws:apprunner:REGION:ACCOUNT:autoscalingconfiguration/{service}-0a1b2c3d/1/0a1b"
                ),
            ),
            (
                "app_runner.vpc_connector",
                format!(
                    "arn:aws:apprunner:REGION:ACCOUNT:vpcconnector/{app}-staging-0a1b2c3d/1/0a1b"
                ),
            ),
            (
                "ecs.cluster",
                format!("arn:aws:ecs:REGION:ACCOUNT:cluster/{app}-staging"),
            ),
            (
                "application-autoscaling.target",
                format!(
                    "arn:aws:cloudwatch:REGION:ACCOUNT:alarm:TargetTracking-service/CLUSTER/{service}-AlarmHigh-1"
                ),
            ),
        ]
    };
    for key in ["shop", "web"] {
        for (kind, arn) in things("shop", key) {
            assert!(may_change(kind, &arn), "{kind}: {arn}");
        }
        for (kind, arn) in things("shop2", key) {
            assert!(!may_change(kind, &arn), "{kind}: {arn}");
        }
    }
}
