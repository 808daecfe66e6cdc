//! Checks what a manifest comes to on one target: sizes, names, templates.

use std::collections::{BTreeMap, BTreeSet};

use deployer_aws::catalogue::APP_RUNNER;
use deployer_core::address::CloudName;
use deployer_core::catalogue::{Asks, HealthCheck, Idle, Runtime};
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};

use crate::check::{app_runner, replicas};
use crate::model::Manifest;
use crate::naming;
use crate::problem::Report;
use crate::resolve::Resolver;
use crate::section::Section;
use crate::source::KeyPath;

pub(super) fn check(
    manifest: &Manifest,
    section: &dyn Section,
    environment: &str,
    report: &mut Report<'_>,
) {
    let cloud = section.catalogue().cloud;
    let mut resolver = Resolver::new(manifest, section, environment);
    let spec = resolver.resolve();
    for fault in std::mem::take(&mut resolver.faults) {
        report.error(&fault.path, fault.message, fault.help);
        report.distrust(fault.path);
    }
    for service in spec.services.values() {
        let runtime = section.runtime(&service.key);
        size(service, cloud, runtime, report);
        let path = overridden(service, cloud, "replicas", report);
        replicas(service.replicas, &path, report);
        if service.replicas.min == 0 && service.replicas.max > 0 {
            idle(service, cloud, runtime, &path, report);
        }
        health_limits(service, &runtime.health, report);
        if runtime.is(&APP_RUNNER) {
            app_runner::check(service, manifest, report);
        }
    }
    if !report.distrusts(&KeyPath::new(["app"]))
        && !report.distrusts(&KeyPath::new(["environment"]))
    {
        names(manifest, section, &spec, report);
    }
}

/// A service that may have no instance at all.
fn idle(
    service: &ServiceSpec,
    cloud: CloudName,
    runtime: &Runtime,
    path: &KeyPath,
    report: &mut Report<'_>,
) {
    match runtime.idle {
        Idle::Wakes => {}
        Idle::Refused { why, help } => {
            let help = format!(
                "{help}write 1 or more, here or as `replicas` of `[targets.{cloud}.services.{}]`",
                service.key
            );
            report.error(path, why, help);
        }
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

fn size(service: &ServiceSpec, cloud: CloudName, runtime: &Runtime, report: &mut Report<'_>) {
    let cpu = overridden(service, cloud, "cpu", report);
    let memory = overridden(service, cloud, "memory", report);
    if report.distrusts(&cpu) || report.distrusts(&memory) {
        return;
    }
    let Err(help) = runtime.offers(service.cpu, service.memory) else {
        return;
    };
    let message = format!(
        "{} does not offer {} with {}",
        runtime.name, service.cpu, service.memory
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

/// What each runtime's own check takes; where the container checks itself, only when it does.
fn health_limits(service: &ServiceSpec, limits: &HealthCheck, report: &mut Report<'_>) {
    let health = &service.health;
    let whose = limits.whose;
    let path = KeyPath::new(["services", &service.key, "health"]);
    let by_container = limits.asks == Asks::Container;
    if by_container && health.command.is_empty() {
        return;
    }
    if by_container
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
    let limits = [
        ("interval", &limits.interval, health.interval.as_secs()),
        ("timeout", &limits.timeout, health.timeout.as_secs()),
        (
            "start_period",
            &limits.start_period,
            health.start_period.as_secs(),
        ),
        ("retries", &limits.retries, u64::from(health.retries)),
    ];
    for (name, taken, actual) in limits {
        let given = report.has_place(&path.join(name));
        if given && actual > 0 && !taken.contains(&actual) {
            let (least, most) = (taken.start(), taken.end());
            let unit = if name == "retries" { "" } else { " seconds" };
            let message = format!("{whose} takes no `{name}` of {actual}{unit}");
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
    section: &dyn Section,
    spec: &EnvironmentSpec,
    report: &mut Report<'_>,
) {
    let services = spec.services.keys().map(|key| manifest.called(key));
    let mut taken: BTreeMap<(&str, String), KeyPath> = BTreeMap::new();
    let mut clashing = BTreeSet::new();
    for named in naming::all(section, spec, services) {
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
