//! An optional IAM policy for the sandbox's user: without one everything is allowed, as to an
//! administrator.

use axum::http::{Method, Uri};
use serde_json::Value;

use crate::glob::matches;

/// The effect of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// Which actions the user may call. Resources and conditions are not weighed: a statement counts
/// for every resource.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    statements: Vec<(Effect, Vec<String>)>,
}

impl Policy {
    /// Reads a policy document. The error says which part is not understood.
    pub fn read(document: &Value) -> Result<Self, String> {
        let one_or_more = |value: &Value| match value {
            Value::Array(items) => items.clone(),
            other => vec![other.clone()],
        };
        let statements = document
            .get("Statement")
            .ok_or("the policy has no `Statement`")?;
        let mut policy = Self::default();
        for statement in one_or_more(statements) {
            let effect = match statement.get("Effect").and_then(Value::as_str) {
                Some("Allow") => Effect::Allow,
                Some("Deny") => Effect::Deny,
                _ => return Err("`Effect` must be `Allow` or `Deny`".to_owned()),
            };
            let actions = statement
                .get("Action")
                .ok_or("a statement needs `Action`; `NotAction` is not understood here")?;
            let actions: Vec<String> = one_or_more(actions)
                .iter()
                .map(|action| action.as_str().map(str::to_ascii_lowercase))
                .collect::<Option<_>>()
                .ok_or("`Action` must be a string or a list of strings")?;
            policy.statements.push((effect, actions));
        }
        Ok(policy)
    }

    /// Whether `action` (`ecs:UpdateService`) is allowed and not denied.
    pub fn allows(&self, action: &str) -> bool {
        let action = action.to_ascii_lowercase();
        let has = |effect: Effect| {
            self.statements
                .iter()
                .filter(|(of, _)| *of == effect)
                .flat_map(|(_, patterns)| patterns)
                .any(|pattern| matches(pattern, &action))
        };
        has(Effect::Allow) && !has(Effect::Deny)
    }
}

/// The actions that an operation takes besides its own, for what else it does: as the tables "API
/// operations" of the Service Authorization Reference have it, and for alarms "IAM permissions
/// required for Amazon ECS service auto scaling" (ECS Developer Guide).
pub fn besides(service: &str, operation: &str, input: &Value) -> &'static [&'static str] {
    match (service, operation) {
        ("rds", "DeleteDBInstance") if input.get("FinalDBSnapshotIdentifier").is_some() => {
            &["rds:CreateDBSnapshot"]
        }
        ("secretsmanager", "BatchGetSecretValue") => &["secretsmanager:GetSecretValue"],
        ("application-autoscaling", "PutScalingPolicy") => {
            &["cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm"]
        }
        ("application-autoscaling", "DeleteScalingPolicy" | "DeregisterScalableTarget") => {
            &["cloudwatch:DeleteAlarms"]
        }
        _ => &[],
    }
}

/// The IAM action of an operation: as its service signs, but for one whose permissions have a name
/// of their own (Service Authorization Reference, "Actions, resources, and condition keys for
/// Amazon Resource Group Tagging API": "service prefix: tag").
pub fn action(service: &str, operation: &str) -> String {
    let prefix = match service {
        "tagging" => "tag",
        other => other,
    };
    format!("{prefix}:{operation}")
}

/// The action of a request whose protocol does not name one. Of the REST services only S3's common
/// calls are told apart; the rest is only allowed by a wildcard for the whole service.
pub fn rest_action(service: &str, method: &Method, uri: &Uri) -> String {
    let (bucket, key) = match uri.path().trim_start_matches('/').split_once('/') {
        Some((bucket, key)) => (bucket, key),
        None => (uri.path().trim_start_matches('/'), ""),
    };
    let action = match (service, method.as_str(), bucket.is_empty(), key.is_empty()) {
        ("s3", "GET", true, _) => "ListAllMyBuckets",
        ("s3", "GET" | "HEAD", false, true) => "ListBucket",
        ("s3", "PUT", false, true) => "CreateBucket",
        ("s3", "DELETE", false, true) => "DeleteBucket",
        ("s3", "GET" | "HEAD", false, false) => "GetObject",
        ("s3", "PUT", false, false) => "PutObject",
        ("s3", "POST", false, true)
            if uri.query().is_some_and(|query| query.starts_with("delete")) =>
        {
            "DeleteObject"
        }
        ("s3", "POST", false, false) => "PutObject",
        ("s3", "DELETE", false, false) => "DeleteObject",
        _ => "(REST)",
    };
    format!("{service}:{action}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_allowed_by_a_wildcard_and_taken_back_by_a_deny() {
        let policy = Policy::read(&serde_json::json!({"Statement": [
            {"Effect": "Allow", "Action": ["ecs:Describe*", "ecr:?ut*"], "Resource": "*"},
            {"Effect": "Deny", "Action": "ecs:DescribeTasks", "Resource": "*"},
        ]}))
        .unwrap();
        assert!(policy.allows("ecs:DescribeServices"));
        assert!(policy.allows("ecr:PutImage"));
        assert!(!policy.allows("ecs:DescribeTasks"));
        assert!(!policy.allows("ecs:UpdateService"));
    }

    #[test]
    fn a_last_snapshot_takes_an_action_of_its_own() {
        let delete = |input| besides("rds", "DeleteDBInstance", &input);
        let kept = serde_json::json!({ "FinalDBSnapshotIdentifier": "last" });
        assert_eq!(delete(kept), ["rds:CreateDBSnapshot"]);
        let lost = serde_json::json!({ "SkipFinalSnapshot": true });
        assert_eq!(delete(lost), [""; 0]);
    }
}
