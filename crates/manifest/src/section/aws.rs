//! `[targets.aws]` and its part for one service; what becomes of them stands beside: names, what
//! every target has, and what AWS alone is asked for.

mod data;
mod dns;
mod names;
mod spec;
mod target;

pub use data::{AwsCache, AwsDatabase, CacheTls, Maintenance};
pub use dns::AwsDns;
pub use names::AwsNames;

use std::collections::BTreeMap;

use deployer_core::spec::Architecture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::section::SecretOverride;
use crate::units::{Cpu, Memory, Scale};

/// `[targets.aws]`: one account and region, and what is given there by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsSection {
    /// The account, 12 digits; checked against the credentials before any other call.
    pub account: String,
    /// The region.
    pub region: String,
    /// What runs the services: `"ecs"` (Fargate) or `"app-runner"`. App Runner takes no new
    /// customers since 2026-04-30; accounts that use it already go on.
    #[serde(default)]
    pub runtime: AwsRuntime,
    /// The ECS cluster; needed for services on ECS. With App Runner one-off tasks run in it:
    /// silence means a Fargate cluster that is made, called APP-ENV.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Subnets of the tasks: `subnet-...`; needed for services on ECS. With App Runner what the app
    /// sends goes through a VPC connector in them; none means that it goes to the internet, and
    /// that there are no one-off tasks.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// Security groups of the tasks, and of App Runner's VPC connector: `sg-...`. None leaves those
    /// of a service that was adopted.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// Whether tasks get a public address (needed in public subnets without NAT). Silence means
    /// `false`, and leaves a service that was adopted as it is.
    #[serde(default)]
    pub assign_public_ip: Option<bool>,
    /// The role that pulls a task's image and reads its secrets (name or ARN); needed for services
    /// on ECS, and with App Runner for one-off tasks. It trusts `ecs-tasks.amazonaws.com`.
    #[serde(default)]
    pub execution_role: Option<String>,
    /// The role with which App Runner pulls images from ECR (name or ARN); needed for services on
    /// App Runner. It trusts `build.apprunner.amazonaws.com`. The console's is
    /// `service-role/AppRunnerECRAccessRole`.
    #[serde(default)]
    pub access_role: Option<String>,
    /// The role of the app itself (name or ARN): of ECS tasks (it trusts `ecs-tasks.amazonaws.com`)
    /// and of App Runner's instances (it trusts `tasks.apprunner.amazonaws.com`), which also read
    /// the secrets with it; with a `migrate` of mode `job` or `deployer run`, which are Fargate
    /// tasks there, it trusts both. None leaves that of a service that was adopted.
    #[serde(default)]
    pub task_role: Option<String>,
    /// Where releases, runs and the lock are kept: `s3://BUCKET/PREFIX` or `file://...`. The
    /// services note it: after a change here, move what is there, as a whole, and apply once with
    /// `--ledger-moved`.
    #[serde(default)]
    pub ledger: Option<String>,
    /// The region of the ledger's bucket, where it is another one.
    #[serde(default)]
    pub ledger_region: Option<String>,
    /// The account that the ledger's bucket must belong to: S3 refuses every call to another's. The
    /// target's own where `ledger` names no bucket; of one that it names, nobody's in particular.
    #[serde(default)]
    pub ledger_owner: Option<String>,
    /// One base URL for all AWS calls; `AWS_ENDPOINT_URL` wins over it.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Base URL of the image registry, when it is not the one that ECR names (for emulators without
    /// one).
    #[serde(default)]
    pub registry_endpoint: Option<String>,
    /// Days that logs are kept at least; a value that CloudWatch Logs offers. A group that keeps
    /// them longer, or for good, is left so, unless an earlier apply set it and the manifest now
    /// says less: that loses lines. Silence means 30, and leaves a group that was adopted as it is.
    /// App Runner's own groups keep for good what its services print, and stay when these are
    /// deleted.
    #[serde(default)]
    pub log_retention_days: Option<u32>,
    /// What differs for one service.
    #[serde(default)]
    pub services: BTreeMap<String, AwsService>,
    /// What differs for one secret.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretOverride>,
    /// What differs for one database.
    #[serde(default)]
    pub databases: BTreeMap<String, AwsDatabase>,
    /// What differs for one cache.
    #[serde(default)]
    pub caches: BTreeMap<String, AwsCache>,
}

/// `[targets.aws.services.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsService {
    /// What runs this service: as `runtime` in `[targets.aws]`.
    pub runtime: Option<AwsRuntime>,
    /// The service's name, on ECS or App Runner.
    pub name: Option<String>,
    /// The task definition's family; on App Runner that of one-off tasks.
    pub family: Option<String>,
    /// The container's name in the task definition.
    pub container: Option<String>,
    /// The ECR repository's name.
    pub repository: Option<String>,
    /// The name of the tasks' log group. App Runner makes log groups of its own for a service.
    pub log_group: Option<String>,
    /// Takes over a service that nobody has marked; what another owner marked stays that one's. Of
    /// such a one only what the manifest says is changed; roll-outs get the circuit breaker in any
    /// case.
    pub adopt: bool,
    /// What the tasks run on here: as in `[services.NAME]`.
    #[schemars(schema_with = "crate::described::architecture")]
    pub architecture: Option<Architecture>,
    /// CPU of one task: as in `[services.NAME]`.
    #[schemars(with = "Option<Cpu>")]
    pub cpu: Option<serde_json::Value>,
    /// Memory of one task: as in `[services.NAME]`.
    #[schemars(with = "Option<Memory>")]
    pub memory: Option<serde_json::Value>,
    /// How many tasks: as in `[services.NAME]`.
    #[schemars(with = "Option<Scale>")]
    pub replicas: Option<serde_json::Value>,
    /// Plain variables that replace or add to those of `[services.NAME.env]`.
    #[serde(deserialize_with = "crate::units::plain_text::map")]
    #[schemars(schema_with = "crate::units::plain_text::schema")]
    pub env: BTreeMap<String, String>,
    /// Requests that one instance takes at once before App Runner starts another, 1 to 200. Silence
    /// means 100. Only on App Runner.
    pub concurrency: Option<u32>,
    /// The load balancer's target group (ARN); none when the service has no load balancer. Not on
    /// App Runner, which has its own.
    pub target_group: Option<String>,
    /// Where people reach it: `https://idp.example.com`.
    pub url: Option<String>,
    /// Seconds after a task's start in which no health check counts, where there is a target group;
    /// `health.start_period`, unless said otherwise. Only on ECS.
    pub health_check_grace_period: Option<u32>,
    /// Whether ECS Exec may open a session in the tasks; it acts with `task_role`. Silence means
    /// `false`, and leaves a service that was adopted as it is. Only on ECS.
    pub enable_execute_command: Option<bool>,
    /// How many tasks must go on running while others are replaced, in percent of those wanted; 100
    /// for a new service. Only on ECS.
    pub minimum_healthy_percent: Option<u32>,
    /// How many tasks may run while others are replaced, in percent of those wanted; 200 for a new
    /// service. Only on ECS.
    pub maximum_percent: Option<u32>,
    /// When `replicas` has a range: what the count follows. Only on ECS: on App Runner it follows
    /// `concurrency`.
    pub scaling: AwsScaling,
    /// Its name in the DNS.
    pub dns: Option<AwsDns>,
    /// The domains that it answers for, with certificates and records in Route 53:
    /// `["example.com", "www.example.com"]`. People reach it by the first, unless `url` says
    /// otherwise. Only on App Runner.
    pub domains: Vec<String>,
    /// The hosted zone of `domains`, by its domain or its id; must exist. Silence means the nearest
    /// public one of each name.
    pub zone: Option<String>,
    /// Takes over records of the names in `domains`, wherever they lead.
    pub adopt_records: bool,
}

/// What runs a service on AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AwsRuntime {
    /// ECS on Fargate.
    #[default]
    Ecs,
    /// App Runner.
    AppRunner,
}

/// `[targets.aws.services.NAME.scaling]`: what the count of tasks follows within `replicas = { min,
/// max }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsScaling {
    /// CPU that the tasks are to use on average, in percent.
    pub cpu: u32,
    /// Requests that a task of a service with a target group is to get in a minute on average; 0
    /// for any number.
    pub requests: u32,
}

impl Default for AwsScaling {
    fn default() -> Self {
        Self {
            cpu: 60,
            requests: 1000,
        }
    }
}
