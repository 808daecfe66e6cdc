//! How fast each API may be asked: the rates that AWS documents for an account in one region.
//!
//! RDS, ElastiCache, IAM, App Runner and Elastic Load Balancing publish none; their refusals are
//! tried again by the SDK. Where a number is "from memory", its page could not be read again when
//! this was written: too low costs seconds, too high a refusal that is tried again.

use std::sync::Arc;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use deployer_core::clock::Clock;
use deployer_core::rate::{Rate, Turns};

/// The header in which the APIs that speak JSON name the action: `PREFIX_VERSION.Action`.
const TARGET: &str = "x-amz-target";

/// Actions that share a rate.
struct Shared {
    /// Where the header's value starts with this ...
    api: &'static str,
    /// ... and one of these is the action, or begins it where it ends with `*`.
    actions: &'static [&'static str],
    rate: Rate,
}

const ECS: &str = "AmazonEC2ContainerServiceV";
const LOGS: &str = "Logs_";
const SECRETS: &str = "secretsmanager.";
const ECR: &str = "AmazonEC2ContainerRegistry_V";
const TAGGING: &str = "ResourceGroupsTaggingAPI_";

/// The first that fits counts.
const SHARED: &[Shared] = &[
    // Amazon ECS API Reference, "Request throttling for the Amazon ECS API"; the second and later
    // ones from memory.
    Shared {
        api: ECS,
        actions: &["DescribeClusters", "ListClusters"],
        rate: Rate::per_second(50, 20),
    },
    Shared {
        api: ECS,
        actions: &[
            "CreateService",
            "UpdateService",
            "DeleteService",
            "StopServiceDeployment",
        ],
        rate: Rate::per_second(50, 5),
    },
    Shared {
        api: ECS,
        actions: &[
            "DescribeService*",
            "ListService*",
            "DescribeTaskDefinition",
            "ListTaskDefinition*",
        ],
        rate: Rate::per_second(100, 20),
    },
    Shared {
        api: ECS,
        actions: &[
            "RegisterTaskDefinition",
            "DeregisterTaskDefinition",
            "DeleteTaskDefinitions",
        ],
        rate: Rate::per_second(20, 1),
    },
    Shared {
        api: ECS,
        actions: &["RunTask", "StopTask"],
        rate: Rate::per_second(100, 40),
    },
    Shared {
        api: ECS,
        actions: &["DescribeTasks", "ListTasks"],
        rate: Rate::per_second(100, 20),
    },
    // Amazon CloudWatch Logs User Guide, "CloudWatch Logs quotas", from memory.
    Shared {
        api: LOGS,
        actions: &["DescribeLogGroups"],
        rate: Rate::per_second(10, 10),
    },
    Shared {
        api: LOGS,
        actions: &["CreateLogGroup"],
        rate: Rate::per_second(10, 10),
    },
    Shared {
        api: LOGS,
        actions: &["DeleteLogGroup"],
        rate: Rate::per_second(10, 10),
    },
    Shared {
        api: LOGS,
        actions: &["FilterLogEvents"],
        rate: Rate::per_second(25, 25),
    },
    Shared {
        api: LOGS,
        actions: &["GetLogEvents"],
        rate: Rate::per_second(25, 25),
    },
    // AWS Secrets Manager User Guide, "Quotas". Reading single secrets is allowed thousands of
    // times a second.
    Shared {
        api: SECRETS,
        actions: &["BatchGetSecretValue"],
        rate: Rate::per_second(100, 100),
    },
    Shared {
        api: SECRETS,
        actions: &["CreateSecret"],
        rate: Rate::per_second(50, 50),
    },
    Shared {
        api: SECRETS,
        actions: &["PutSecretValue", "UpdateSecret", "UpdateSecretVersionStage"],
        rate: Rate::per_second(50, 50),
    },
    Shared {
        api: SECRETS,
        actions: &["DeleteSecret"],
        rate: Rate::per_second(50, 50),
    },
    Shared {
        api: SECRETS,
        actions: &["TagResource", "UntagResource"],
        rate: Rate::per_second(50, 50),
    },
    // Amazon ECR User Guide, "Amazon ECR service quotas", from memory.
    Shared {
        api: ECR,
        actions: &["PutImage"],
        rate: Rate::per_second(10, 10),
    },
    // AWS General Reference, "AWS Resource Groups and Tagging endpoints and quotas", from memory.
    Shared {
        api: TAGGING,
        actions: &["GetResources"],
        rate: Rate::per_second(15, 15),
    },
];

/// The path that Route 53's calls begin with, and their rate: Amazon Route 53 Developer Guide,
/// "Quotas", from memory.
const ROUTE53: (&str, Rate) = ("/2013-04-01/", Rate::per_second(5, 5));

/// Whose turn it is, for each rate. The order is that of [`SHARED`].
#[derive(Debug)]
pub(crate) struct Rates {
    shared: Vec<Turns>,
    route53: Turns,
}

impl Rates {
    /// Nothing has been asked yet.
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        let turns = |rate| Turns::new(rate, Arc::clone(clock));
        Self {
            shared: SHARED.iter().map(|shared| turns(shared.rate)).collect(),
            route53: turns(ROUTE53.1),
        }
    }

    /// Returns when this request may be sent.
    pub(crate) async fn turn(&self, request: &HttpRequest) {
        if let Some(target) = request.headers().get(TARGET) {
            if let Some(at) = SHARED.iter().position(|shared| shared.covers(target)) {
                self.shared[at].next().await;
            }
        } else if path(request.uri()).starts_with(ROUTE53.0) {
            self.route53.next().await;
        }
    }
}

impl Shared {
    fn covers(&self, target: &str) -> bool {
        let Some(rest) = target.strip_prefix(self.api) else {
            return false;
        };
        let action = rest.rsplit('.').next().unwrap_or(rest);
        self.actions
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => action.starts_with(start),
                None => action == *pattern,
            })
    }
}

/// The path of an absolute URI.
fn path(uri: &str) -> &str {
    let after = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    after.find('/').map_or("", |at| &after[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate_of(target: &str) -> Option<Rate> {
        let mut shared = SHARED.iter();
        shared
            .find(|shared| shared.covers(target))
            .map(|shared| shared.rate)
    }

    #[test]
    fn an_action_is_known_by_its_header() {
        let ecs = |action: &str| rate_of(&format!("AmazonEC2ContainerServiceV20141113.{action}"));
        let reading = Some(Rate::per_second(100, 20));
        assert_eq!(ecs("DescribeServices"), reading);
        assert_eq!(ecs("DescribeServiceDeployments"), reading);
        assert_eq!(ecs("DescribeTaskDefinition"), reading);
        assert_eq!(ecs("UpdateService"), Some(Rate::per_second(50, 5)));
        assert_eq!(ecs("TagResource"), None);
        let logs = rate_of("Logs_20140328.DescribeLogGroups");
        assert_eq!(logs, Some(Rate::per_second(10, 10)));
        assert_eq!(rate_of("secretsmanager.GetSecretValue"), None);
    }

    #[test]
    fn a_path_is_found_in_any_uri() {
        assert_eq!(
            path("https://route53.amazonaws.com/2013-04-01/change/C1"),
            "/2013-04-01/change/C1"
        );
        assert_eq!(path("/2013-04-01/hostedzone"), "/2013-04-01/hostedzone");
        assert_eq!(path("https://rds.us-east-1.amazonaws.com"), "");
    }
}
