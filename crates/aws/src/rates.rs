//! How fast each API may be asked: the rates that AWS documents for an account in one region.
//!
//! An operation is known by the name that its SDK gives it, whichever protocol carries it. RDS,
//! ElastiCache, App Runner, Application Auto Scaling and Elastic Load Balancing publish none; their
//! refusals are tried again by the SDK. Where a number is "from memory", its page could not be read
//! again when this was written: too low costs seconds, too high a refusal that is tried again.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_ecs::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_ecs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecs::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use deployer_core::clock::Clock;
use deployer_core::rate::{Rate, Turns};

/// An API, and how fast it may be asked.
#[derive(Debug)]
pub(crate) struct Api {
    /// What its SDK calls it.
    service: &'static str,
    /// What permissions call it.
    pub(crate) prefix: &'static str,
    /// The first that fits counts. What fits none of them has no rate that AWS documents, or one
    /// that no run comes near.
    shared: &'static [Shared],
}

/// Operations that share a rate.
#[derive(Debug)]
struct Shared {
    /// One of these is the operation, or begins it where it ends with `*`.
    operations: &'static [&'static str],
    rate: Rate,
}

/// A client of an SDK, of whose API it is known how fast it may be asked.
pub(crate) trait Sdk: Sized {
    /// Makes it. Its calls bear their operation's name, without which the gate lets nothing out.
    fn of(config: &SdkConfig) -> Self;
}

/// Writes the operation's name on each attempt of a call: what is sent says it in another place in
/// each protocol.
#[derive(Debug)]
struct Named;

impl Intercept for Named {
    fn name(&self) -> &'static str {
        "Named"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(operation) = config.load::<Metadata>() {
            context.request_mut().add_extension(operation.clone());
        }
        Ok(())
    }
}

/// Makes the list of the APIs that are called. What is not in it gets no client.
macro_rules! sdks {
    ($($sdk:ident: $api:expr,)+) => {
        $(impl Sdk for $sdk::Client {
            fn of(config: &SdkConfig) -> Self {
                let config = $sdk::config::Builder::from(config);
                Self::from_conf(config.interceptor(Named).build())
            }
        })+

        static APIS: &[Api] = &[$($api),+];
    };
}

sdks! {
    aws_sdk_apprunner: APP_RUNNER,
    aws_sdk_applicationautoscaling: SCALING,
    aws_sdk_cloudwatchlogs: LOGS,
    aws_sdk_ecr: ECR,
    aws_sdk_ecs: ECS,
    aws_sdk_elasticache: ELASTICACHE,
    aws_sdk_elasticloadbalancingv2: BALANCERS,
    aws_sdk_rds: RDS,
    aws_sdk_resourcegroupstagging: TAGGING,
    aws_sdk_route53: ROUTE53,
    aws_sdk_secretsmanager: SECRETS,
    aws_sdk_sts: STS,
}

const ECS: Api = Api {
    service: "ECS",
    prefix: "ecs",
    shared: &[
        // Amazon ECS API Reference, "Request throttling for the Amazon ECS API"; the second and
        // later ones from memory.
        Shared {
            operations: &["DescribeClusters", "ListClusters"],
            rate: Rate::per_second(50, 20),
        },
        Shared {
            operations: &[
                "CreateService",
                "UpdateService",
                "DeleteService",
                "StopServiceDeployment",
            ],
            rate: Rate::per_second(50, 5),
        },
        Shared {
            operations: &[
                "DescribeService*",
                "ListService*",
                "DescribeTaskDefinition",
                "ListTaskDefinition*",
            ],
            rate: Rate::per_second(100, 20),
        },
        Shared {
            operations: &[
                "RegisterTaskDefinition",
                "DeregisterTaskDefinition",
                "DeleteTaskDefinitions",
            ],
            rate: Rate::per_second(20, 1),
        },
        Shared {
            operations: &["RunTask", "StopTask"],
            rate: Rate::per_second(100, 40),
        },
        Shared {
            operations: &["DescribeTasks", "ListTasks"],
            rate: Rate::per_second(100, 20),
        },
    ],
};

const LOGS: Api = Api {
    service: "CloudWatch Logs",
    prefix: "logs",
    shared: &[
        // Amazon CloudWatch Logs User Guide, "CloudWatch Logs quotas", from memory.
        Shared {
            operations: &["DescribeLogGroups"],
            rate: Rate::per_second(10, 10),
        },
        Shared {
            operations: &["CreateLogGroup"],
            rate: Rate::per_second(10, 10),
        },
        Shared {
            operations: &["DeleteLogGroup"],
            rate: Rate::per_second(10, 10),
        },
        Shared {
            operations: &["FilterLogEvents"],
            rate: Rate::per_second(25, 25),
        },
        Shared {
            operations: &["GetLogEvents"],
            rate: Rate::per_second(25, 25),
        },
    ],
};

const SECRETS: Api = Api {
    service: "Secrets Manager",
    prefix: "secretsmanager",
    shared: &[
        // AWS Secrets Manager User Guide, "Quotas". Reading single secrets is allowed thousands of
        // times a second.
        Shared {
            operations: &["BatchGetSecretValue"],
            rate: Rate::per_second(100, 100),
        },
        Shared {
            operations: &["CreateSecret"],
            rate: Rate::per_second(50, 50),
        },
        Shared {
            operations: &["PutSecretValue", "UpdateSecret", "UpdateSecretVersionStage"],
            rate: Rate::per_second(50, 50),
        },
        Shared {
            operations: &["DeleteSecret"],
            rate: Rate::per_second(50, 50),
        },
        Shared {
            operations: &["TagResource", "UntagResource"],
            rate: Rate::per_second(50, 50),
        },
    ],
};

const ECR: Api = Api {
    service: "ECR",
    prefix: "ecr",
    shared: &[
        // Amazon ECR User Guide, "Amazon ECR service quotas", from memory.
        Shared {
            operations: &["PutImage"],
            rate: Rate::per_second(10, 10),
        },
    ],
};

const TAGGING: Api = Api {
    service: "Resource Groups Tagging API",
    prefix: "tag",
    shared: &[
        // AWS General Reference, "AWS Resource Groups and Tagging endpoints and quotas", from
        // memory.
        Shared {
            operations: &["GetResources"],
            rate: Rate::per_second(15, 15),
        },
    ],
};

/// Amazon Route 53 Developer Guide, "Quotas", from memory: of everything together.
const ROUTE53: Api = Api {
    service: "Route 53",
    prefix: "route53",
    shared: &[Shared {
        operations: &["*"],
        rate: Rate::per_second(5, 5),
    }],
};

const RDS: Api = Api::without_rates("RDS", "rds");
const ELASTICACHE: Api = Api::without_rates("ElastiCache", "elasticache");

const BALANCERS: Api = Api::without_rates("Elastic Load Balancing v2", "elasticloadbalancing");
pub(crate) const APP_RUNNER: Api = Api::without_rates("AppRunner", "apprunner");

const SCALING: Api = Api::without_rates("Application Auto Scaling", "application-autoscaling");

/// IAM User Guide, "IAM and AWS STS quotas", from memory: hundreds a second, of which a run makes
/// one.
const STS: Api = Api::without_rates("STS", "sts");

/// The API of an operation. `None` where nobody said how fast it may be asked.
pub(crate) fn api(operation: &Metadata) -> Option<&'static Api> {
    APIS.iter().find(|api| api.service == operation.service())
}

impl Api {
    /// One that is asked as fast as it answers: its vendor documents no rate, or none that a run
    /// comes near.
    const fn without_rates(service: &'static str, prefix: &'static str) -> Self {
        Self {
            service,
            prefix,
            shared: &[],
        }
    }

    fn rate(&self, operation: &str) -> Option<&Shared> {
        self.shared.iter().find(|shared| shared.covers(operation))
    }
}

impl Shared {
    fn covers(&self, operation: &str) -> bool {
        self.operations
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => operation.starts_with(start),
                None => operation == *pattern,
            })
    }
}

/// Whose turn it is, for each rate.
#[derive(Debug)]
pub(crate) struct Rates(Vec<(&'static Shared, Turns)>);

impl Rates {
    /// Nothing has been asked yet.
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        let shared = APIS.iter().flat_map(|api| api.shared);
        let turns = |shared: &'static Shared| (shared, Turns::new(shared.rate, Arc::clone(clock)));
        Self(shared.map(turns).collect())
    }

    /// Returns when this operation of the API may be asked for.
    pub(crate) async fn turn(&self, api: &'static Api, operation: &str) {
        let Some(rate) = api.rate(operation) else {
            return;
        };
        let mut turns = self.0.iter();
        if let Some((_, turns)) = turns.find(|(shared, _)| std::ptr::eq(*shared, rate)) {
            turns.next().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate_of(service: &'static str, operation: &'static str) -> Option<Rate> {
        let api = api(&Metadata::new(operation, service)).unwrap();
        api.rate(operation).map(|shared| shared.rate)
    }

    #[test]
    fn an_operation_is_known_by_its_name_in_whatever_protocol_it_is_sent() {
        let ecs = |operation| rate_of("ECS", operation);
        let reading = Some(Rate::per_second(100, 20));
        assert_eq!(ecs("DescribeServices"), reading);
        assert_eq!(ecs("DescribeServiceDeployments"), reading);
        assert_eq!(ecs("DescribeTaskDefinition"), reading);
        assert_eq!(ecs("UpdateService"), Some(Rate::per_second(50, 5)));
        assert_eq!(ecs("TagResource"), None);
        let logs = rate_of("CloudWatch Logs", "DescribeLogGroups");
        assert_eq!(logs, Some(Rate::per_second(10, 10)));
        assert_eq!(rate_of("Secrets Manager", "GetSecretValue"), None);
        // REST and queries.
        let names = Some(Rate::per_second(5, 5));
        assert_eq!(rate_of("Route 53", "ListHostedZonesByName"), names);
        assert_eq!(rate_of("RDS", "CreateDBInstance"), None);
        assert!(api(&Metadata::new("RunInstances", "EC2")).is_none());
    }
}
