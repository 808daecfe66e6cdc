//! The vendors' documented API rates as token buckets: what comes faster is refused as throttled.
//!
//! Not enforced are rates that a vendor does not publish (RDS, ElastiCache, IAM, App Runner,
//! Elastic Load Balancing) and those that nobody has looked up yet (Cloud DNS, Memorystore, Service
//! Usage). Each source is named beside its numbers; where the page could not be read again when
//! this was written, it says "from memory". Limits of a single resource, such as Secret Manager's
//! two changes a second of one secret, are left out. They are counted in the time that clients
//! count in: a sandbox's speed changes nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::call::{ApiCall, Cloud};
use crate::glob::matches;

/// A documented rate.
struct Limit {
    cloud: Cloud,
    /// Patterns of the calls that share it.
    calls: &'static [&'static str],
    /// How many calls it takes at once.
    burst: f64,
    /// How many more it takes each second.
    refill: f64,
}

const fn aws(calls: &'static [&'static str], burst: u32, refill: u32) -> Limit {
    Limit {
        cloud: Cloud::Aws,
        calls,
        burst: burst as f64,
        refill: refill as f64,
    }
}

/// AWS quotas given as so many a second.
const fn a_second(calls: &'static [&'static str], count: u32) -> Limit {
    aws(calls, count, count)
}

/// Google's quotas are given as so many a minute, which may come at once.
const fn a_minute(calls: &'static [&'static str], count: u32) -> Limit {
    Limit {
        cloud: Cloud::Google,
        calls,
        burst: count as f64,
        refill: count as f64 / 60.0,
    }
}

/// The first limit that fits a call counts it.
const LIMITS: &[Limit] = &[
    // Amazon ECS API Reference, "Request throttling for the Amazon ECS API": reading clusters as
    // read there, the other buckets from memory.
    aws(
        &[
            "ecs:CreateCluster",
            "ecs:UpdateCluster*",
            "ecs:PutClusterCapacityProviders",
            "ecs:DeleteCluster",
        ],
        20,
        1,
    ),
    aws(&["ecs:DescribeClusters", "ecs:ListClusters"], 50, 20),
    aws(
        &[
            "ecs:CreateService",
            "ecs:UpdateService",
            "ecs:DeleteService",
            "ecs:StopServiceDeployment",
        ],
        50,
        5,
    ),
    aws(
        &[
            "ecs:DescribeServices",
            "ecs:ListServices*",
            "ecs:DescribeService*",
            "ecs:DescribeTaskDefinition",
            "ecs:ListTaskDefinition*",
        ],
        100,
        20,
    ),
    aws(
        &[
            "ecs:RegisterTaskDefinition",
            "ecs:DeregisterTaskDefinition",
            "ecs:DeleteTaskDefinitions",
        ],
        20,
        1,
    ),
    aws(&["ecs:RunTask", "ecs:StartTask", "ecs:StopTask"], 100, 40),
    aws(&["ecs:DescribeTasks", "ecs:ListTasks"], 100, 20),
    // Amazon ECR User Guide, "Amazon ECR service quotas": BatchGetImage and
    // BatchCheckLayerAvailability as read there, the others from memory. The registry's requests
    // count as these actions do.
    a_second(&["ecr:GetAuthorizationToken"], 500),
    a_second(
        &[
            "ecr:BatchGetImage",
            "registry GET manifest",
            "registry HEAD manifest",
        ],
        2000,
    ),
    a_second(&["ecr:GetDownloadUrlForLayer", "registry GET blob"], 3000),
    a_second(
        &["ecr:BatchCheckLayerAvailability", "registry HEAD blob"],
        1000,
    ),
    a_second(&["ecr:InitiateLayerUpload", "registry POST uploads"], 100),
    a_second(&["ecr:CompleteLayerUpload", "registry PUT upload"], 100),
    a_second(&["ecr:UploadLayerPart", "registry PATCH upload"], 500),
    a_second(&["ecr:PutImage", "registry PUT manifest"], 10),
    // AWS Secrets Manager User Guide, "Quotas", as read there but for creating and deleting.
    a_second(&["secretsmanager:GetSecretValue"], 10_000),
    a_second(&["secretsmanager:DescribeSecret"], 40_000),
    a_second(&["secretsmanager:ListSecrets"], 100),
    a_second(&["secretsmanager:BatchGetSecretValue"], 100),
    a_second(&["secretsmanager:CreateSecret"], 50),
    a_second(&["secretsmanager:DeleteSecret"], 50),
    a_second(&["secretsmanager:RestoreSecret"], 50),
    a_second(
        &[
            "secretsmanager:PutSecretValue",
            "secretsmanager:UpdateSecretVersionStage",
        ],
        50,
    ),
    a_second(
        &["secretsmanager:TagResource", "secretsmanager:UntagResource"],
        50,
    ),
    a_second(&["secretsmanager:ListSecretVersionIds"], 50),
    // AWS General Reference, "AWS Resource Groups and Tagging endpoints and quotas", from memory.
    a_second(&["tagging:GetResources"], 15),
    // Amazon CloudWatch Logs User Guide, "CloudWatch Logs quotas", from memory.
    a_second(&["logs:CreateLogGroup"], 10),
    a_second(&["logs:DeleteLogGroup"], 10),
    a_second(&["logs:DescribeLogGroups"], 10),
    a_second(&["logs:DescribeLogStreams"], 25),
    a_second(&["logs:CreateLogStream"], 50),
    a_second(&["logs:FilterLogEvents"], 25),
    a_second(&["logs:GetLogEvents"], 25),
    // Amazon Route 53 Developer Guide, "Quotas", from memory: five requests a second for an
    // account.
    a_second(&["route53:*"], 5),
    // Amazon EC2 Developer Guide, "Request throttling", from memory: unfiltered describing actions,
    // and changing ones.
    aws(&["ec2:Describe*"], 100, 20),
    aws(&["ec2:*"], 50, 5),
    // AWS STS, from memory: requests by an account's own credentials.
    a_second(&["sts:*"], 600),
    // Cloud Run, "Quotas and limits", from memory: reads, and writes in a region.
    a_minute(
        &[
            "run.*.get",
            "run.*.list",
            "run.*.getIamPolicy",
            "run.*.testIamPermissions",
            "run.*.wait",
        ],
        3000,
    ),
    a_minute(&["run.*"], 180),
    // Secret Manager, "Quotas and limits", as read there: access, reads, writes.
    a_minute(&["secretmanager.*.access"], 90_000),
    a_minute(
        &[
            "secretmanager.*.get",
            "secretmanager.*.list",
            "secretmanager.*.getIamPolicy",
        ],
        600,
    ),
    a_minute(&["secretmanager.*"], 600),
    // Artifact Registry, "Quotas and limits", from memory: in a region.
    a_minute(
        &[
            "artifactregistry.*.get",
            "artifactregistry.*.list",
            "registry GET *",
            "registry HEAD *",
        ],
        60_000,
    ),
    a_minute(&["artifactregistry.*", "registry *"], 18_000),
    // Cloud SQL Admin API, "Quotas and limits", from memory: getting, listing, and what changes.
    a_minute(&["sql.instances.get", "sql.operations.get"], 500),
    a_minute(&["sql.*.list", "sql.*.get"], 500),
    a_minute(&["sql.*"], 180),
    // Cloud Logging, "Quotas and limits", from memory: entries.list.
    a_minute(&["logging.entries.list"], 60),
];

/// The buckets of one sandbox.
pub(crate) struct Buckets {
    /// What each limit has left, and since when.
    left: Vec<Option<(f64, Timestamp)>>,
    rejected: BTreeMap<String, u64>,
    /// How many calls were let through.
    admitted: u64,
}

impl Buckets {
    /// All full.
    pub(crate) fn new() -> Self {
        Self {
            left: vec![None; LIMITS.len()],
            rejected: BTreeMap::new(),
            admitted: 0,
        }
    }

    /// Whether a call is within its rate; counts it.
    pub(crate) fn admit(&mut self, call: &ApiCall, now: Timestamp) -> bool {
        let fits = |limit: &Limit| {
            let mut calls = limit.calls.iter();
            limit.cloud == call.cloud && calls.any(|pattern| matches(pattern, &call.name))
        };
        let Some(at) = LIMITS.iter().position(fits) else {
            self.admitted += 1;
            return true;
        };
        let limit = &LIMITS[at];
        let (left, since) = self.left[at].unwrap_or((limit.burst, now));
        let passed = now.duration_since(since).as_secs_f64().max(0.0);
        let left = (left + passed * limit.refill).min(limit.burst);
        let admitted = left >= 1.0;
        self.left[at] = Some((if admitted { left - 1.0 } else { left }, now));
        match admitted {
            true => self.admitted += 1,
            false => *self.rejected.entry(call.name.clone()).or_default() += 1,
        }
        admitted
    }

    /// How many calls were let through, and how many were refused, by name.
    pub(crate) fn status(&self) -> Value {
        json!({ "admitted": self.admitted, "rejected": self.rejected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_takes_its_burst_and_then_its_rate() {
        let mut rates = Buckets::new();
        let update = ApiCall::aws("ecs:UpdateService".into());
        let create = ApiCall::aws("ecs:CreateService".into());
        let start = Timestamp::UNIX_EPOCH;
        let mut admitted = |call: &ApiCall, count: u32, after: u64| {
            let now = start + Duration::from_secs(after);
            (0..count).filter(|_| rates.admit(call, now)).count()
        };
        assert_eq!(admitted(&update, 60, 0), 50);
        // The kinds of change of a service share one bucket.
        assert_eq!(admitted(&create, 10, 1), 5);
        assert_eq!(admitted(&update, 100, 3600), 50);
        assert_eq!(
            admitted(&ApiCall::aws("rds:CreateDBInstance".into()), 500, 0),
            500
        );
        assert_eq!(
            rates.status()["rejected"],
            json!({"ecs:CreateService": 5, "ecs:UpdateService": 60})
        );
    }

    #[test]
    fn reading_and_writing_on_cloud_run_are_counted_apart() {
        let mut rates = Buckets::new();
        let mut admitted = |id: &str, count: usize| {
            let call = ApiCall::google(id);
            (0..count)
                .filter(|_| rates.admit(&call, Timestamp::UNIX_EPOCH))
                .count()
        };
        assert_eq!(admitted("run.projects.locations.services.patch", 200), 180);
        assert_eq!(admitted("run.projects.locations.jobs.run", 1), 0);
        assert_eq!(admitted("run.projects.locations.services.get", 200), 200);
    }
}
