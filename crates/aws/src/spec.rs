//! What one target on AWS is asked for, resolved: everything that the cloud-neutral specification
//! has no word for.
//!
//! Of what may be silent, `None` leaves what is there, or AWS's own default for something new.

use std::collections::BTreeMap;

/// One account and region, and what is given there by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsSpec {
    /// The account, 12 digits.
    pub account: String,
    /// The region.
    pub region: String,
    /// The ECS cluster: a name or an ARN.
    pub cluster: String,
    /// Whether the cluster is made, being one that nobody named.
    pub cluster_is_ours: bool,
    /// Subnets of the tasks, and of App Runner's connector.
    pub subnets: Vec<String>,
    /// Their security groups.
    pub security_groups: Vec<String>,
    /// Whether tasks get a public address.
    pub assign_public_ip: Option<bool>,
    /// The role that pulls a task's image and reads its secrets: a name or an ARN. Empty where no
    /// task ever runs.
    pub execution_role: String,
    /// The role of the app itself: a name or an ARN.
    pub task_role: Option<String>,
    /// One base URL for all calls.
    pub endpoint: Option<String>,
    /// Base URL of the image registry, when it is not the one that ECR names.
    pub registry_endpoint: Option<String>,
    /// Days that logs are kept at least.
    pub log_retention_days: Option<u32>,
    /// Each service, by its key.
    pub services: BTreeMap<String, AwsService>,
    /// Each database, by its key.
    pub databases: BTreeMap<String, AwsDatabase>,
    /// Each cache, by its key.
    pub caches: BTreeMap<String, AwsCache>,
}

impl AwsSpec {
    /// Whether one-off tasks have what they run with: Fargate has no task without a subnet, and
    /// none of a private image without an execution role.
    pub fn runs_tasks(&self) -> bool {
        !self.execution_role.is_empty() && !self.subnets.is_empty()
    }

    /// What App Runner is asked for of the service of this name. `None` where ECS runs it, or the
    /// manifest has none of that name.
    pub fn on_app_runner(&self, name: &str) -> Option<&AppRunner> {
        let mut asked = self
            .services
            .values()
            .filter_map(|it| it.runtime.app_runner());
        asked.find(|it| it.name == name)
    }
}

/// What runs a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AwsRuntime {
    /// ECS on Fargate.
    #[default]
    Ecs,
    /// App Runner.
    AppRunner(AppRunner),
}

impl AwsRuntime {
    /// What App Runner is asked for. `None` where ECS runs the service.
    pub fn app_runner(&self) -> Option<&AppRunner> {
        match self {
            Self::Ecs => None,
            Self::AppRunner(asked) => Some(asked),
        }
    }
}

/// One service on App Runner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppRunner {
    /// Its name.
    pub name: String,
    /// The role that pulls the image: a name or an ARN.
    pub access_role: String,
    /// Requests that one instance takes at once.
    pub concurrency: Option<u32>,
    /// The domains that it answers for.
    pub domains: Vec<Domain>,
    /// Their hosted zone, by its domain or its id; the nearest public one of each name when `None`.
    pub zone: Option<String>,
    /// Whether records of their names that lead elsewhere are taken over.
    pub adopt_records: bool,
}

/// A domain that a service answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    /// Lower case, without the last dot.
    pub name: String,
    /// Whether it answers for `www.NAME` as well.
    pub www: bool,
}

impl Domain {
    /// Every domain with its `www`, of names in any order.
    pub fn of(names: &[String]) -> Vec<Self> {
        let has = |name: &str| names.iter().any(|it| it == name);
        let of_another = |name: &str| name.strip_prefix("www.").is_some_and(has);
        let own = names.iter().filter(|name| !of_another(name));
        own.map(|name| Self {
            name: name.clone(),
            www: has(&format!("www.{name}")),
        })
        .collect()
    }

    /// The names that it answers for.
    pub fn names(&self) -> Vec<String> {
        let www = self.www.then(|| format!("www.{}", self.name));
        [self.name.clone()].into_iter().chain(www).collect()
    }
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsService {
    /// What runs it.
    pub runtime: AwsRuntime,
    /// The task definition's family.
    pub family: String,
    /// The container in the task definition.
    pub container: String,
    /// The log group.
    pub log_group: String,
    /// Whether one that nobody marked is taken over.
    pub adopt: bool,
    /// The load balancer's target group (ARN).
    pub target_group: Option<String>,
    /// Seconds after a task's start in which no health check counts.
    pub health_check_grace_period: Option<u32>,
    /// Whether ECS Exec may open a session in the tasks.
    pub enable_execute_command: Option<bool>,
    /// How many tasks must go on running while others are replaced, in percent.
    pub minimum_healthy_percent: Option<u32>,
    /// How many tasks may run while others are replaced, in percent.
    pub maximum_percent: Option<u32>,
    /// What the count follows within its range.
    pub scaling: AwsScaling,
}

/// What the count of tasks follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AwsScaling {
    /// CPU that the tasks are to use on average, in percent.
    pub cpu: u32,
    /// Requests that a task is to get in a minute on average; 0 for any number.
    pub requests: u32,
}

/// One database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsDatabase {
    /// Subnets of its subnet group; the target's own when empty.
    pub subnets: Vec<String>,
    /// Its security groups; the target's own when empty.
    pub security_groups: Vec<String>,
    /// When changes are made that interrupt whoever uses it.
    pub maintenance: Maintenance,
    /// The file with the certificates of RDS's authorities (PEM).
    pub authority_file: Option<String>,
    /// Whether a new instance goes on past the end of its version's standard support.
    pub extended_support: Option<bool>,
}

/// When changes that interrupt are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Maintenance {
    /// By the run that asks for them.
    #[default]
    Now,
    /// By RDS, in the instance's own maintenance window.
    Window,
}

/// One cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsCache {
    /// Subnets of its subnet group; the target's own when empty.
    pub subnets: Vec<String>,
    /// Its security groups; the target's own when empty.
    pub security_groups: Vec<String>,
    /// Whom it lets in.
    pub tls: Option<CacheTls>,
}

/// Whom a cache lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheTls {
    /// Clients with TLS and the token only.
    Required,
    /// Clients with or without them.
    Preferred,
}

#[cfg(test)]
mod tests {
    use super::Domain;

    #[test]
    fn a_www_beside_its_domain_is_no_domain_of_its_own() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
            let domains = Domain::of(&names).into_iter();
            domains.map(|it| (it.name, it.www)).collect::<Vec<_>>()
        };
        let both = vec![("example.com".to_owned(), true)];
        assert_eq!(of(&["example.com", "www.example.com"]), both);
        assert_eq!(of(&["www.example.com", "example.com"]), both);
        let alone = vec![("www.example.com".to_owned(), false)];
        assert_eq!(of(&["www.example.com"]), alone);
    }
}
