//! Checks what a manifest comes to on one target: sizes, names, templates.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::CloudName;
use deployer_core::spec::ServiceSpec;

use crate::check::offers::Seller;
use crate::check::{app_runner, offers, replicas};
use crate::model::Manifest;
use crate::problem::Report;
use crate::resolve::Resolver;
use crate::section::AwsRuntime;
use crate::source::KeyPath;

pub(super) fn check(
    manifest: &Manifest,
    cloud: CloudName,
    environment: &str,
    report: &mut Report<'_>,
) {
    let Some(mut resolver) = Resolver::new(manifest, cloud, environment) else {
        return;
    };
    let spec = resolver.resolve();
    for fault in std::mem::take(&mut resolver.faults) {
        report.error(&fault.path, fault.message, fault.help);
        report.distrust(fault.path);
    }
    for service in spec.services.values() {
        let seller = match (cloud, manifest.aws_runtime(&service.key)) {
            (CloudName::Gcp, _) => Seller::CloudRun,
            (CloudName::Aws, AwsRuntime::Ecs) => Seller::Fargate,
            (CloudName::Aws, AwsRuntime::AppRunner) => Seller::AppRunner,
        };
        size(service, cloud, seller, report);
        let path = overridden(service, cloud, "replicas", report);
        replicas(service.replicas, &path, report);
        if cloud == CloudName::Aws && service.replicas.min == 0 && service.replicas.max > 0 {
            let own = format!(
                "write 1 or more, here or as `replicas` of `[targets.aws.services.{}]`",
                service.key
            );
            let (message, help) = match seller {
                // `MinSize` of CreateAutoScalingConfiguration (AWS App Runner API Reference).
                Seller::AppRunner => ("App Runner has one instance at least", own),
                Seller::Fargate | Seller::CloudRun => (
                    "ECS with no task at all serves nobody",
                    format!("nothing starts a task when a request comes, as Cloud Run does: {own}"),
                ),
            };
            report.error(&path, message, help);
        }
        health_limits(service, seller, report);
        if seller == Seller::AppRunner {
            app_runner::check(service, manifest, report);
        }
    }
    if !report.distrusts(&KeyPath::new(["app"]))
        && !report.distrusts(&KeyPath::new(["environment"]))
    {
        names(manifest, &spec, cloud, report);
    }
}

/// The key that decides `field` on this target.
fn overridden(
    service: &ServiceSpec,
    cloud: CloudName,
    field: &str,
    report: &Report<'_>,
) -> KeyPath {
    let own = KeyPath::new(["targets", cloud.as_str(), "services", &service.key, field]);
    if report.has_place(&own) {
        own
    } else {
        KeyPath::new(["services", &service.key, field])
    }
}

fn size(service: &ServiceSpec, cloud: CloudName, seller: Seller, report: &mut Report<'_>) {
    let cpu = overridden(service, cloud, "cpu", report);
    let memory = overridden(service, cloud, "memory", report);
    if report.distrusts(&cpu) || report.distrusts(&memory) {
        return;
    }
    let Err(help) = offers::judge(seller, service.cpu, service.memory) else {
        return;
    };
    let message = format!(
        "{} does not offer {} with {}",
        seller.name(),
        service.cpu,
        service.memory
    );
    // Point at what was written last, else at what was written at all.
    let memory_is_own = memory
        .parts()
        .first()
        .is_some_and(|first| first == "targets");
    let cpu_is_own = cpu.parts().first().is_some_and(|first| first == "targets");
    let at_cpu = (cpu_is_own && !memory_is_own) || !report.has_place(&memory);
    report.error(if at_cpu { &cpu } else { &memory }, message, help);
}

/// What each cloud's own check takes; ECS has one only when the container checks itself.
fn health_limits(service: &ServiceSpec, seller: Seller, report: &mut Report<'_>) {
    let health = &service.health;
    let path = KeyPath::new(["services", &service.key, "health"]);
    let limits = match seller {
        Seller::Fargate if health.command.is_empty() => return,
        // `HealthCheckConfiguration` (AWS App Runner API Reference); it has no start period.
        Seller::AppRunner => [
            ("interval", 1, 20),
            ("timeout", 1, 20),
            ("start_period", 0, u64::MAX),
            ("retries", 1, 20),
        ],
        Seller::Fargate => [
            ("interval", 5, 300),
            ("timeout", 2, 60),
            ("start_period", 0, 300),
            ("retries", 1, 10),
        ],
        Seller::CloudRun => [
            ("interval", 1, 240),
            ("timeout", 1, 240),
            ("start_period", 0, 3600),
            ("retries", 1, 1000),
        ],
    };
    if seller == Seller::Fargate
        && !matches!(
            health.command.first().map(String::as_str),
            Some("CMD" | "CMD-SHELL")
        )
    {
        let help = "write [\"CMD-SHELL\", \"curl -f http://localhost:8080/health\"], or \"CMD\" and the words of a command";
        report.error(
            &path.join("command"),
            "ECS does not know what to do with this command",
            help,
        );
    }
    let place = match seller {
        Seller::Fargate => CloudName::Aws.to_string(),
        Seller::CloudRun => CloudName::Gcp.to_string(),
        Seller::AppRunner => seller.name().to_owned(),
    };
    let actual = [
        health.interval.as_secs(),
        health.timeout.as_secs(),
        health.start_period.as_secs(),
        u64::from(health.retries),
    ];
    for ((name, least, most), actual) in limits.into_iter().zip(actual) {
        let given = report.has_place(&path.join(name));
        if given && actual > 0 && !(least..=most).contains(&actual) {
            let unit = if name == "retries" { "" } else { " seconds" };
            let message = format!("{place} takes no `{name}` of {actual}{unit}");
            report.error(
                &path.join(name),
                message,
                format!("from {least} to {most}{unit}"),
            );
        }
    }
}

fn names(
    manifest: &Manifest,
    spec: &deployer_core::spec::EnvironmentSpec,
    cloud: CloudName,
    report: &mut Report<'_>,
) {
    let mut taken: BTreeMap<(&str, String), KeyPath> = BTreeMap::new();
    let mut clashing = BTreeSet::new();
    for named in manifest.all_names(cloud, spec) {
        if !named.rule.accepts(&named.name) {
            let message = format!("`{}` cannot name {}", named.name, named.rule.what);
            report.error(&named.path, message, named.rule.says);
            continue;
        }
        if named.space.is_empty() {
            continue;
        }
        let key = (named.space, named.name.clone());
        let Some(first) = taken.insert(key, named.path.clone()) else {
            continue;
        };
        // A job is called after its service: one cause, one fault.
        let table = named.path.parent().unwrap_or_default();
        if !clashing.insert(table) {
            continue;
        }
        let message = format!(
            "the {} `{}` would be two things at once",
            named.space, named.name
        );
        let help = format!("the other is `{first}`; give one of them another name");
        report.error(&named.path, message, help);
    }
}
