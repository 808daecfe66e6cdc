//! Checks what App Runner cannot do of what a service asks for, with the way out; and what it
//! needs.

use std::time::Duration;

use deployer_core::spec::ServiceSpec;

use crate::model::{Manifest, MigrateMode};
use crate::problem::{Part, Report};
use crate::section::{AwsScaling, AwsSection, AwsService};
use crate::source::KeyPath;

/// The most that `MinSize` and `MaxConcurrency` of CreateAutoScalingConfiguration may be; `MaxSize`
/// is bounded by a quota only (AWS App Runner API Reference).
const MOST_AT_LEAST: u32 = 25;
const MOST_AT_ONCE: u32 = 200;

/// The variable in which a service notes the versions of its secrets (`app_runner` of the AWS
/// crate).
const NOTE: &str = deployer_aws::names::SECRETS_NOTE;

/// Checks one service that App Runner runs.
pub(super) fn check(service: &ServiceSpec, manifest: &Manifest, report: &mut Report<'_>) {
    let Some(section) = &manifest.targets.aws else {
        return;
    };
    let own = section.services.get(&service.key).cloned();
    let own = own.unwrap_or_default();
    needs(service, section, manifest, report);
    region(service, section, manifest, report);
    program(service, report);
    health(service, report);
    size(service, &own, report);
    of_ecs(service, &own, report);
    variables(service, report);
    migration(service, section, manifest, report);
}

fn declared(service: &ServiceSpec, key: &str) -> KeyPath {
    KeyPath::new(["services", &service.key, key])
}

fn targets_own(service: &ServiceSpec, key: &str) -> KeyPath {
    KeyPath::new(["targets", "aws", "services", &service.key, key])
}

fn needs(
    service: &ServiceSpec,
    section: &AwsSection,
    manifest: &Manifest,
    report: &mut Report<'_>,
) {
    let path = KeyPath::new(["targets", "aws"]);
    let values = service.secrets.values();
    let values = values.filter(|it| it.inject == deployer_core::spec::Inject::Value);
    // CreateService refuses them without a role of the instances: "Instance Role have to be
    // provided if passing in RuntimeEnvironmentSecrets", as many report it.
    if section.task_role.is_none() && !service.adopt && values.count() > 0 {
        let message = format!(
            "`[{path}]` lacks `task_role`, with which `{}` reads its secrets",
            service.key
        );
        let trusts = match migrates_by_job(service, manifest) {
            true => {
                "tasks.apprunner.amazonaws.com and, for the migration's task, ecs-tasks.amazonaws.com"
            }
            false => "tasks.apprunner.amazonaws.com",
        };
        let help = format!("add the role of the app; it trusts {trusts} and may read the secrets");
        once(report, manifest, service, |report| {
            report.key_error(&path.join("task_role"), message, help);
        });
    }
    if section.access_role.is_none() {
        let message =
            format!("`[{path}]` lacks `access_role`, with which App Runner pulls the image");
        // "service-role/AppRunnerECRAccessRole" is the one that the console makes (AWS App Runner
        // Developer Guide, "How App Runner works with IAM").
        let help = "add `access_role = \"service-role/AppRunnerECRAccessRole\"`, which the console makes, or \
                    another that trusts build.apprunner.amazonaws.com";
        once(report, manifest, service, |report| {
            report.key_error(&path.join("access_role"), message, help);
        });
    }
}

/// Elsewhere every call would end in a name that nobody knows. Whoever answers at an endpoint of
/// the manifest's own knows best where that is.
fn region(
    service: &ServiceSpec,
    section: &AwsSection,
    manifest: &Manifest,
    report: &mut Report<'_>,
) {
    let regions: Vec<&str> = deployer_aws::app_runner_regions().collect();
    if section.endpoint.is_some() || regions.contains(&section.region.as_str()) {
        return;
    }
    let message = format!("there is no App Runner in {}", section.region);
    let help = format!(
        "write `runtime = \"ecs\"`, or a region that has it: {}",
        regions.join(", ")
    );
    once(report, manifest, service, |report| {
        report.error(&KeyPath::new(["targets", "aws", "region"]), message, help);
    });
}

fn migrates_by_job(service: &ServiceSpec, manifest: &Manifest) -> bool {
    let declared = manifest.services.get(&service.key);
    let migrate = declared.and_then(|it| it.migrate.as_ref());
    migrate.is_some_and(|it| it.mode == MigrateMode::Job)
}

/// Says what is wrong with the target once, for the first of its services.
fn once<'r>(
    report: &mut Report<'r>,
    manifest: &Manifest,
    service: &ServiceSpec,
    say: impl FnOnce(&mut Report<'r>),
) {
    let mut on_it = manifest.services.keys();
    let first =
        on_it.find(|key| manifest.aws_runtime(key) == crate::section::AwsRuntime::AppRunner);
    if first == Some(&service.key) {
        say(report);
    }
}

/// `StartCommand` is all that an image-based service has: "An optional command that App Runner runs
/// to start the application in the source image" (ImageConfiguration, AWS App Runner API
/// Reference). No line break is in it (its pattern there).
fn program(service: &ServiceSpec, report: &mut Report<'_>) {
    if !service.entrypoint.is_empty() {
        let help = "build the image with this entry point, or say the whole program in `command`";
        report.error(
            &declared(service, "entrypoint"),
            "App Runner replaces no image's entry point",
            help,
        );
    }
    let broken = |word: &String| word.contains(['\n', '\r']);
    if service.command.iter().any(broken) {
        let help = "put the lines into a script of the image, and call that";
        report.error(
            &declared(service, "command"),
            "App Runner takes no command of several lines",
            help,
        );
    } else if let Some(word) = deployer_aws::quoted_by_app_runner(&service.command) {
        let message = format!(
            "App Runner takes the command as one line, in which `{word}` is quoted: that it takes \
             quotes off as a shell does is written nowhere"
        );
        let help = "put the command into a script of the image, and call that";
        report.warning(&declared(service, "command"), Part::Value, message, help);
    }
}

fn health(service: &ServiceSpec, report: &mut Report<'_>) {
    let path = declared(service, "health");
    if !service.health.command.is_empty() {
        let help = "take it out: App Runner asks `health.path` from outside";
        report.error(
            &path.join("command"),
            "on App Runner no container checks itself",
            help,
        );
    }
    start(service, &path, report);
}

/// The longest interval of a health check, and the most checks that an instance may fail
/// (`Interval` and `UnhealthyThreshold` of HealthCheckConfiguration, AWS App Runner API Reference).
const LONGEST_STEP: Duration = Duration::from_secs(20);
const MOST_CHECKS: u32 = 20;

/// An instance is given up when it has failed so many checks in a row: there is no start period of
/// its own, and its failures are a part of those.
fn start(service: &ServiceSpec, path: &KeyPath, report: &mut Report<'_>) {
    let health = &service.health;
    let interval = health.interval.clamp(Duration::from_secs(1), LONGEST_STEP);
    let has = interval * MOST_CHECKS;
    let at = path.join("start_period");
    let keeps = service.unsaid.contains("health.start_period");
    if has < health.start_period && !keeps {
        let message = format!(
            "on App Runner an instance has {} s to become healthy, {MOST_CHECKS} checks {} s apart, and \
             `start_period` is {} s",
            has.as_secs(),
            interval.as_secs(),
            health.start_period.as_secs()
        );
        let needed = health.start_period.as_secs().div_ceil(MOST_CHECKS.into());
        return match needed > LONGEST_STEP.as_secs() {
            false => {
                let help = format!(
                    "write `interval = \"{needed}s\"` or longer, or a shorter `start_period`"
                );
                report.error(&path.join("interval"), message, help);
            }
            true => {
                let longest = (LONGEST_STEP * MOST_CHECKS).as_secs();
                let help = format!(
                    "let `start_period` be {longest}s or less with `interval = \"20s\"`, or run this service \
                     with `runtime = \"ecs\"`"
                );
                report.error(&at, message, help);
            }
        };
    }
    if report.has_place(&at) && health.start_period + health.interval * health.retries > has {
        let message = format!(
            "on App Runner an instance has {} s to become healthy, and not more",
            has.as_secs()
        );
        let help =
            format!("raise `interval`: it has {MOST_CHECKS} checks, `start_period` among them");
        report.warning(&at, Part::Value, message, help);
    }
}

fn size(service: &ServiceSpec, own: &AwsService, report: &mut Report<'_>) {
    if service.replicas.min > MOST_AT_LEAST {
        let path = targets_own(service, "replicas");
        let path = match report.has_place(&path) {
            true => path,
            false => declared(service, "replicas"),
        };
        let message = format!("App Runner keeps at most {MOST_AT_LEAST} instances ready");
        report.error(
            &path,
            message,
            format!("let `min` be {MOST_AT_LEAST} or less"),
        );
    }
    let concurrency = own.concurrency.unwrap_or(1);
    if !(1..=MOST_AT_ONCE).contains(&concurrency) {
        let message = format!("App Runner gives an instance 1 to {MOST_AT_ONCE} requests at once");
        let help = format!("write a number from 1 to {MOST_AT_ONCE}");
        report.error(&targets_own(service, "concurrency"), message, help);
    }
    // aws/apprunner-roadmap#98 asks for the other one, and is open. An image that is for arm64
    // alone is found out when it is opened.
    if service.architecture == Some(deployer_core::spec::Architecture::Arm) {
        let path = targets_own(service, "architecture");
        let path = match report.has_place(&path) {
            true => path,
            false => declared(service, "architecture"),
        };
        let help = "build the image for linux/amd64, or run this service with `runtime = \"ecs\"`";
        report.error(&path, "App Runner runs no arm64 containers", help);
    }
}

/// What ECS alone has.
fn of_ecs(service: &ServiceSpec, own: &AwsService, report: &mut Report<'_>) {
    let ecs = "take it out, or run this service with `runtime = \"ecs\"`";
    let asked = [
        (
            "target_group",
            own.target_group.is_some(),
            "App Runner has a load balancer of its own and joins no target group",
        ),
        (
            "health_check_grace_period",
            own.health_check_grace_period.is_some(),
            "App Runner has no grace period",
        ),
        (
            "minimum_healthy_percent",
            own.minimum_healthy_percent.is_some(),
            "App Runner decides itself how many instances are replaced at once",
        ),
        (
            "maximum_percent",
            own.maximum_percent.is_some(),
            "App Runner decides itself how many instances are replaced at once",
        ),
    ];
    for (key, said, message) in asked {
        if said {
            report.error(&targets_own(service, key), message, ecs);
        }
    }
    if own.enable_execute_command == Some(true) {
        let help =
            "take it out, or run this service with `runtime = \"ecs\"`, whose tasks can be entered";
        let at = targets_own(service, "enable_execute_command");
        report.error(&at, "nobody gets into App Runner's instances", help);
    }
    if own.scaling != AwsScaling::default() {
        let help = "write `concurrency`: App Runner starts instances by requests at once";
        let at = targets_own(service, "scaling");
        report.error(
            &at,
            "App Runner scales neither by CPU nor by requests in a minute",
            help,
        );
    }
}

fn variables(service: &ServiceSpec, report: &mut Report<'_>) {
    let written = |name: &str, report: &Report<'_>| {
        let path = targets_own(service, "env").join(name);
        match report.has_place(&path) {
            true => path,
            false => declared(service, "env").join(name),
        }
    };
    // The pattern of `RuntimeEnvironmentVariablesValue` is `.*` (CreateService, AWS App Runner API
    // Reference), which no line break fits.
    let broken = service.env.iter();
    let broken = broken.filter(|(_, value)| value.contains(['\n', '\r']));
    for (name, _) in broken {
        let message = format!("App Runner takes no value of several lines, as `{name}` has");
        let help = format!(
            "make it a secret: `{name} = {{ secret = \"KEY\" }}`, whose value may have them"
        );
        report.error(&written(name, report), message, help);
    }
    if service.env.contains_key(NOTE) || service.secrets.contains_key(NOTE) {
        let path = written(NOTE, report);
        let help = "choose another name: in this one the versions of the secrets are noted";
        report.key_error(&path, format!("`{NOTE}` is reserved"), help);
    }
}

/// A migration is a task on Fargate beside the service, in the same subnets.
fn migration(
    service: &ServiceSpec,
    section: &AwsSection,
    manifest: &Manifest,
    report: &mut Report<'_>,
) {
    let migrate = manifest.services.get(&service.key);
    let Some(migrate) = migrate.and_then(|it| it.migrate.as_ref()) else {
        return;
    };
    let path = declared(service, "migrate");
    match migrate.mode {
        MigrateMode::Exec => {
            let help =
                "use mode = \"job\": the same command in a Fargate task with the service's image";
            let at = path.join("mode");
            report.error(&at, "nobody gets into App Runner's instances", help);
        }
        MigrateMode::Job => {
            let target = KeyPath::new(["targets", "aws"]);
            let needed = [
                ("subnets", section.subnets.is_empty()),
                ("execution_role", section.execution_role.is_none()),
            ];
            for (key, _) in needed.into_iter().filter(|(_, missing)| *missing) {
                let message =
                    format!("`[{target}]` lacks `{key}`, which the migration's task needs");
                // App Runner pulls images from outside its connector's subnets, and a task from
                // inside.
                let way_out = match key {
                    "subnets" => {
                        " from which tasks reach the registry (NAT, VPC endpoints, or `assign_public_ip = true`)"
                    }
                    _ => "",
                };
                let help = format!(
                    "add `{key}`{way_out}, or let the app migrate when it starts: mode = \"on-start\""
                );
                report.key_error(&path.join("mode"), message, help);
            }
        }
        MigrateMode::OnStart | MigrateMode::None => {}
    }
}
