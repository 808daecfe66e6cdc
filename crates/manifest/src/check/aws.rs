//! Checks `[targets.aws]`: shapes of ids, values that AWS offers.

use crate::check::{Shape, env, region, shape, task_definition};
use crate::model::Manifest;
use crate::problem::{Part, Report};
use crate::section::{AwsRuntime, AwsSection, AwsService, CacheTls};
use crate::source::KeyPath;

static ACCOUNT: Shape = shape!(
    r"^[0-9]{12}$",
    "an account has 12 digits; write it as a string"
);
static REGION: Shape = shape!(
    r"^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$",
    "write a region such as \"us-east-1\""
);
static SUBNET: Shape = shape!(
    r"^subnet-[0-9a-f]{8,17}$",
    "write an id such as \"subnet-0123456789abcdef0\""
);
static GROUP: Shape = shape!(
    r"^sg-[0-9a-f]{8,17}$",
    "write an id such as \"sg-0123456789abcdef0\""
);
static CLUSTER: Shape = shape!(
    r"^(arn:aws[a-z-]*:ecs:[a-z0-9-]+:[0-9]{12}:cluster/)?[A-Za-z0-9_-]{1,255}$",
    "write the cluster's name or ARN"
);
static ROLE: Shape = shape!(
    r"^(arn:aws[a-z-]*:iam::[0-9]{12}:role/([A-Za-z0-9+=,.@_/-]+/)?|service-role/)?[A-Za-z0-9+=,.@_-]{1,64}$",
    "write the role's name, \"service-role/NAME\", or its ARN: \"arn:aws:iam::123456789012:role/NAME\""
);
static TARGET_GROUP: Shape = shape!(
    r"^arn:aws[a-z-]*:elasticloadbalancing:[a-z0-9-]+:[0-9]{12}:targetgroup/[A-Za-z0-9-]{1,32}/[0-9a-f]+$",
    "write \"arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID\""
);

static DATABASE_CLASS: Shape = shape!(
    r"^db\.[a-z0-9]+\.[a-z0-9]+$",
    "write a class such as \"db.t4g.medium\""
);
static CACHE_CLASS: Shape = shape!(
    r"^cache\.[a-z0-9]+\.[a-z0-9]+$",
    "write a node type such as \"cache.t4g.small\""
);

/// What `PutRetentionPolicy` takes.
const RETENTION: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

pub(super) fn check(aws: &AwsSection, manifest: &Manifest, report: &mut Report<'_>) {
    let path = KeyPath::new(["targets", "aws"]);
    ACCOUNT.check(
        "an AWS account",
        &aws.account,
        &path.join("account"),
        report,
    );
    REGION.check("an AWS region", &aws.region, &path.join("region"), report);
    region(&aws.region, &path.join("region"), report);
    if let Some(cluster) = &aws.cluster {
        CLUSTER.check("an ECS cluster", cluster, &path.join("cluster"), report);
    }
    if manifest.services.keys().any(|key| on_ecs(manifest, key)) {
        needed_by_ecs(aws, &path, report);
    }
    network(aws, &path, report);
    for (key, name) in [
        ("execution_role", &aws.execution_role),
        ("access_role", &aws.access_role),
        ("task_role", &aws.task_role),
    ] {
        if let Some(name) = name {
            role(name, &aws.account, &path.join(key), report);
        }
    }
    if let Some(region) = &aws.ledger_region {
        let at = path.join("ledger_region");
        REGION.check("an AWS region", region, &at, report);
    }
    if let Some(owner) = &aws.ledger_owner {
        let at = path.join("ledger_owner");
        ACCOUNT.check("an AWS account", owner, &at, report);
    }
    if let Some(days) = aws.log_retention_days {
        retention(days, &path.join("log_retention_days"), report);
    }
    data(aws, manifest, &path, report);
    unchecked(aws, manifest, report);
    for (key, service) in &aws.services {
        let path = path.join("services").join(key);
        if let Some(group) = &service.target_group {
            TARGET_GROUP.check("a target group", group, &path.join("target_group"), report);
        }
        if on_ecs(manifest, key) {
            operated(service, aws, &path, report);
        }
    }
    for (key, service) in &manifest.services {
        let variables = env::variables(key, manifest, aws, report);
        task_definition::check((key, service), manifest, &variables, report);
    }
}

fn on_ecs(manifest: &Manifest, service: &str) -> bool {
    manifest.aws_runtime(service) == AwsRuntime::Ecs
}

/// What only services on App Runner do without.
fn needed_by_ecs(aws: &AwsSection, path: &KeyPath, report: &mut Report<'_>) {
    for (key, missing, example) in [
        ("cluster", aws.cluster.is_none(), "cluster = \"main\""),
        (
            "execution_role",
            aws.execution_role.is_none(),
            "execution_role = \"ecsTaskExecutionRole\"",
        ),
    ] {
        if missing && !report.distrusts(&path.join(key)) {
            let help = format!("add `{example}`");
            report.key_error(&path.join(key), format!("`[{path}]` lacks `{key}`"), help);
        }
    }
    let subnets = path.join("subnets");
    match aws.subnets.is_empty() && !report.distrusts(&subnets) {
        true if report.has_place(&subnets) => {
            let help = "name at least one: \"subnet-0123456789abcdef0\"";
            report.error(&subnets, "tasks need a subnet", help);
        }
        true => {
            let help = "add `subnets = [\"subnet-0123456789abcdef0\"]`";
            report.key_error(&subnets, format!("`[{path}]` lacks `subnets`"), help);
        }
        false => {}
    }
}

/// What ECS and Application Auto Scaling take, and what ECS Exec needs.
fn operated(service: &AwsService, aws: &AwsSection, path: &KeyPath, report: &mut Report<'_>) {
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html: the agent in the
    // task acts with the task role; without one CreateService is refused (aws/aws-cli#6242).
    if service.enable_execute_command == Some(true) && aws.task_role.is_none() {
        let help = "set `task_role` of `[targets.aws]` to a role that allows ssmmessages:*Channel";
        let at = path.join("enable_execute_command");
        report.error(&at, "ECS Exec needs a task role", help);
    }
    // "Health check grace period is only valid for services configured to use load balancers"
    // (hashicorp/terraform-provider-aws#31104). An adopted service may have one that the manifest
    // does not name.
    let balanced = service.target_group.is_some() || service.adopt;
    if service.health_check_grace_period.is_some() && !balanced {
        let help = "name the load balancer's `target_group`, or take this out";
        let at = path.join("health_check_grace_period");
        report.error(&at, "a grace period needs a load balancer", help);
    }
    if service.concurrency.is_some() {
        let help = "take it out; `scaling` says what the count of tasks follows";
        let at = path.join("concurrency");
        report.error(&at, "ECS gives a task whatever comes", help);
    }
    if !(1..=100).contains(&service.scaling.cpu) {
        let help = "write the CPU that tasks are to use on average, from 1 to 100";
        let at = path.join("scaling").join("cpu");
        report.error(&at, "this is no share of a CPU in percent", help);
    }
    let least = service.minimum_healthy_percent.unwrap_or(100);
    let most = service.maximum_percent.unwrap_or(200);
    if most < 100 || least > most || least == most {
        let key = match service.maximum_percent {
            Some(_) => "maximum_percent",
            None => "minimum_healthy_percent",
        };
        let help = "let `maximum_percent` be 100 or more, and more than `minimum_healthy_percent`";
        let message = format!("no task can be replaced when {least} % must and {most} % may run");
        report.error(&path.join(key), message, help);
    }
}

/// What databases and caches need on AWS.
fn data(aws: &AwsSection, manifest: &Manifest, path: &KeyPath, report: &mut Report<'_>) {
    for key in manifest.databases.keys() {
        let at = path.join("databases").join(key);
        let own = aws.databases.get(key).cloned().unwrap_or_default();
        if let Some(class) = &own.class {
            DATABASE_CLASS.check("an RDS instance class", class, &at.join("class"), report);
        }
        placed(&own.subnets, &own.security_groups, &at, report);
        // What is adopted stays in its own subnets.
        if !own.adopt {
            zones(&own.subnets, aws, "a database", &at, report);
        }
    }
    for (key, cache) in &manifest.caches {
        let at = path.join("caches").join(key);
        let own = aws.caches.get(key).cloned().unwrap_or_default();
        if let Some(class) = &own.class {
            CACHE_CLASS.check("an ElastiCache node type", class, &at.join("class"), report);
        }
        placed(&own.subnets, &own.security_groups, &at, report);
        if own.tls == Some(CacheTls::Preferred) && !own.adopt {
            let message = "a cache that is made takes clients with TLS and a token only";
            let help = "write \"required\" or nothing; \"preferred\" is for one that is adopted";
            report.error(&at.join("tls"), message, help);
        }
        if cache.high_availability && !own.adopt {
            zones(&own.subnets, aws, "a replica of a cache", &at, report);
        }
    }
}

fn placed(subnets: &[String], groups: &[String], at: &KeyPath, report: &mut Report<'_>) {
    for (index, subnet) in subnets.iter().enumerate() {
        let path = at.join("subnets").join(index.to_string());
        SUBNET.check("a subnet", subnet, &path, report);
    }
    for (index, group) in groups.iter().enumerate() {
        let path = at.join("security_groups").join(index.to_string());
        GROUP.check("a security group", group, &path, report);
    }
}

/// RDS takes no subnet group in a single zone, and a standby needs one of its own; a subnet is in
/// one zone.
fn zones(own: &[String], aws: &AwsSection, what: &str, at: &KeyPath, report: &mut Report<'_>) {
    let (subnets, path) = if own.is_empty() {
        (
            &aws.subnets[..],
            KeyPath::new(["targets", "aws", "subnets"]),
        )
    } else {
        (own, at.join("subnets"))
    };
    if subnets.is_empty() {
        let message = format!("{what} needs subnets, and neither it nor the target has any");
        let help = format!("name two in different zones, here or as `subnets` of `[{at}]`");
        report.error(&path, message, help);
    }
    if subnets.len() == 1 {
        let message = format!("{what} needs subnets in two zones, and this is one subnet");
        let help = format!("add a subnet in another zone, here or as `subnets` of `[{at}]`");
        report.error(&path, message, help);
    }
}

/// ECS asks nobody whether a service is healthy unless it is told whom.
fn unchecked(aws: &AwsSection, manifest: &Manifest, report: &mut Report<'_>) {
    for (key, service) in &manifest.services {
        let own = aws.services.get(key);
        let balanced = own.is_some_and(|own| own.target_group.is_some());
        if balanced || !service.health.command.is_empty() || !on_ecs(manifest, key) {
            continue;
        }
        let path = KeyPath::new(["services", key]);
        let health = path.join("health");
        let path = if report.has_place(&health) {
            health
        } else {
            path
        };
        let message = format!("on AWS nothing checks whether `{key}` is healthy");
        let help = format!(
            "without `services.{key}.health.command` or `targets.aws.services.{key}.target_group`, \
             ECS checks only that the container runs"
        );
        report.warning(&path, Part::Key, message, help);
    }
}

fn network(aws: &AwsSection, path: &KeyPath, report: &mut Report<'_>) {
    for (index, subnet) in aws.subnets.iter().enumerate() {
        let path = path.join("subnets").join(index.to_string());
        SUBNET.check("a subnet", subnet, &path, report);
    }
    for (index, group) in aws.security_groups.iter().enumerate() {
        let path = path.join("security_groups").join(index.to_string());
        GROUP.check("a security group", group, &path, report);
    }
}

fn role(role: &str, account: &str, path: &KeyPath, report: &mut Report<'_>) {
    ROLE.check("a role", role, path, report);
    let owner = role
        .strip_prefix("arn:")
        .and_then(|arn| arn.split(':').nth(3));
    if owner.is_some_and(|owner| owner != account) && ACCOUNT.pattern.is_match(account) {
        let message = format!("the role `{role}` is not in the account {account}");
        report.error(
            path,
            message,
            "ECS takes only roles of the account that it runs in",
        );
    }
}

fn retention(days: u32, path: &KeyPath, report: &mut Report<'_>) {
    if RETENTION.contains(&days) {
        return;
    }
    let below = RETENTION.iter().rev().find(|offered| **offered < days);
    let above = RETENTION.iter().find(|offered| **offered > days);
    let near: Vec<_> = below.into_iter().chain(above).map(u32::to_string).collect();
    let help = format!("the nearest that it offers: {}", near.join(", or "));
    report.error(
        path,
        format!("CloudWatch Logs does not keep logs for {days} days"),
        help,
    );
}
