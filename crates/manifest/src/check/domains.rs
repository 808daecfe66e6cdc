//! Checks the domains that services answer for: that they can be names, are in their zone, and that
//! something answers for them.

use std::collections::BTreeMap;

use deployer_aws::spec::Domain;

use crate::check::dns::{self, ROUTE_53_ZONE};
use crate::model::Manifest;
use crate::names::canonical;
use crate::problem::Report;
use crate::section::{AwsRuntime, AwsService};
use crate::source::KeyPath;

/// "You can associate up to five custom domains" ("Managing custom domain names for an App Runner
/// service", AWS App Runner Developer Guide).
const MOST: usize = 5;

pub(super) fn check(manifest: &Manifest, report: &mut Report<'_>) {
    let Some(aws) = &manifest.targets.aws else {
        return;
    };
    let mut taken = names_of_records(manifest);
    for (key, service) in &aws.services {
        let at = KeyPath::new(["targets", "aws", "services", key]);
        let runtime = manifest.aws_runtime(key);
        if runtime == AwsRuntime::AppRunner && service.dns.is_some() {
            let help = "write `domains = [\"idp.example.com\"]`: App Runner answers only for names that it knows";
            let message = "App Runner has no load balancer that a record could lead to";
            report.key_error(&at.join("dns"), message, help);
        }
        if service.domains.is_empty() {
            needless(service, &at, report);
            continue;
        }
        if runtime == AwsRuntime::Ecs {
            let help = "give a name to the load balancer that the service is behind: `[targets.aws.services.NAME.dns]`";
            let message = "a service on ECS answers for no domain by itself";
            report.error(&at.join("domains"), message, help);
            continue;
        }
        names(service, &at, &mut taken, report);
        zone(service, &at, report);
    }
}

/// The names that records of other tables lead from, with where they are written.
fn names_of_records(manifest: &Manifest) -> BTreeMap<String, KeyPath> {
    let gcp = manifest.targets.gcp.iter().flat_map(|gcp| &gcp.services);
    let gcp = gcp.filter_map(|(key, service)| {
        let name = canonical(&service.dns.as_ref()?.name);
        Some((
            name,
            KeyPath::new(["targets", "gcp", "services", key, "dns"]),
        ))
    });
    let aws = manifest.targets.aws.iter().flat_map(|aws| &aws.services);
    let aws = aws.filter_map(|(key, service)| {
        let name = canonical(&service.dns.as_ref()?.name);
        Some((
            name,
            KeyPath::new(["targets", "aws", "services", key, "dns"]),
        ))
    });
    gcp.chain(aws).collect()
}

fn needless(service: &AwsService, at: &KeyPath, report: &mut Report<'_>) {
    let said = [
        ("zone", service.zone.is_some()),
        ("adopt_records", service.adopt_records),
    ];
    for (key, _) in said.into_iter().filter(|(_, said)| *said) {
        let message = format!("`{key}` is of `domains`, and there are none");
        report.key_error(&at.join(key), message, "add `domains`, or take it out");
    }
}

fn names(
    service: &AwsService,
    at: &KeyPath,
    taken: &mut BTreeMap<String, KeyPath>,
    report: &mut Report<'_>,
) {
    let path = at.join("domains");
    for (index, text) in service.domains.iter().enumerate() {
        let path = path.join(index.to_string());
        if !dns::name(text, &path, report) {
            continue;
        }
        let name = canonical(text);
        if let Some(other) = taken.insert(name.clone(), path.clone()) {
            let message = format!("`{name}` would lead to two places");
            let help = format!("the other is `{other}`; a name leads to one service of one target");
            report.error(&path, message, help);
        }
    }
    let names: Vec<String> = service.domains.iter().map(|name| canonical(name)).collect();
    if Domain::of(&names).len() > MOST {
        let message = format!("App Runner answers for {MOST} domains of a service at most");
        let help = "a domain with its `www.` is one; put another service, or a load balancer, before the rest";
        report.error(&path, message, help);
    }
}

fn zone(service: &AwsService, at: &KeyPath, report: &mut Report<'_>) {
    let Some(text) = &service.zone else {
        return;
    };
    let path = at.join("zone");
    let zone = canonical(text);
    if !zone.contains('.') || !dns::is_domain(&zone) {
        let id = text.trim_start_matches("/hostedzone/");
        ROUTE_53_ZONE.check("a zone", id, &path, report);
        return;
    }
    for name in service.domains.iter().map(|name| canonical(name)) {
        if name != zone && !name.ends_with(&format!(".{zone}")) {
            let message = format!("`{name}` is not in the zone `{zone}`");
            let help = "leave `zone` out: the nearest zone of each name is found by itself";
            report.error(&path, message, help);
        }
    }
}
