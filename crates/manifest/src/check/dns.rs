//! Checks names in the DNS: that they can be names, lie in their zones and lead to something that
//! answers for them.

use std::collections::BTreeMap;

use crate::check::gcp::PROJECT;
use crate::check::{Shape, shape};
use crate::model::Manifest;
use crate::names::canonical;
use crate::problem::Report;
use crate::section::{DnsProvider, GcpDns};
use crate::source::KeyPath;

pub(super) static ROUTE_53_ZONE: Shape = shape!(
    r"^Z[A-Z0-9]{1,31}$",
    "write the zone's domain, \"example.com\", or its id, \"Z0123456789ABCDEFGHIJ\""
);
static CLOUD_DNS_ZONE: Shape = shape!(
    r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$",
    "write the zone's domain, \"example.com\", or its name in Cloud DNS, \"example-com\""
);
static LOAD_BALANCER: Shape = shape!(
    r"^(arn:aws[a-z-]*:elasticloadbalancing:[a-z0-9-]+:[0-9]{12}:loadbalancer/(app|net)/[A-Za-z0-9-]{1,32}/[0-9a-f]+|[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?|[A-Za-z0-9.-]+\.elb\.([a-z0-9-]+\.)?amazonaws\.com(\.cn)?|[A-Za-z0-9.-]+\.elb\.amazonaws\.com)$",
    "write the load balancer's name, its ARN or its DNS name, \"NAME-ID.REGION.elb.amazonaws.com\""
);
static SERVER: Shape = shape!(
    r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$",
    "write HOST:PORT, such as \"127.0.0.1:5353\""
);

/// A record as a target's section has it, whichever cloud it is.
struct Written<'a> {
    path: KeyPath,
    name: &'a str,
    zone: &'a str,
    zone_shape: &'static Shape,
    servers: &'a [String],
}

pub(super) fn check(manifest: &Manifest, report: &mut Report<'_>) {
    let records = records(manifest);
    for record in &records {
        // What is no name lies in no zone either: one cause, one fault.
        if name(record.name, &record.path.join("name"), report) {
            zone(record, report);
        }
        for (index, server) in record.servers.iter().enumerate() {
            let at = record.path.join("servers").join(index.to_string());
            SERVER.check("a name server", server, &at, report);
        }
    }
    if let Some(gcp) = &manifest.targets.gcp {
        for (key, service) in &gcp.services {
            if let Some(dns) = &service.dns {
                let path = ["targets", "gcp", "services", key, "dns", "project"];
                zone_project(dns, &KeyPath::new(path), report);
            }
        }
    }
    if let Some(aws) = &manifest.targets.aws {
        for (key, service) in &aws.services {
            if let Some(dns) = &service.dns {
                let path = ["targets", "aws", "services", key, "dns", "load_balancer"];
                load_balancer(&dns.load_balancer, &KeyPath::new(path), report);
            }
        }
    }
    one_place_each(&records, report);
}

fn records(manifest: &Manifest) -> Vec<Written<'_>> {
    let path = |cloud: &str, key: &str| KeyPath::new(["targets", cloud, "services", key, "dns"]);
    let aws = manifest.targets.aws.iter().flat_map(|aws| &aws.services);
    let aws = aws.filter_map(|(key, service)| {
        let dns = service.dns.as_ref()?;
        Some(Written {
            path: path("aws", key),
            name: &dns.name,
            zone: &dns.zone,
            zone_shape: &ROUTE_53_ZONE,
            servers: &dns.servers,
        })
    });
    let gcp = manifest.targets.gcp.iter().flat_map(|gcp| &gcp.services);
    let gcp = gcp.filter_map(|(key, service)| {
        let dns = service.dns.as_ref()?;
        Some(Written {
            path: path("gcp", key),
            name: &dns.name,
            zone: &dns.zone,
            zone_shape: match dns.provider {
                DnsProvider::CloudDns => &CLOUD_DNS_ZONE,
                DnsProvider::Route53 => &ROUTE_53_ZONE,
            },
            servers: &dns.servers,
        })
    });
    aws.chain(gcp).collect()
}

/// Domains whose names only the clouds give.
fn of_a_cloud(name: &str) -> Option<&'static str> {
    ["run.app", "amazonaws.com", "awsapprunner.com"]
        .into_iter()
        .find(|domain| name == *domain || name.ends_with(&format!(".{domain}")))
}

pub(super) fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        let ends = |c: char| c.is_ascii_alphanumeric() || c == '_';
        label.len() <= 63
            && label.starts_with(ends)
            && label.ends_with(ends)
            && label.chars().all(|c| ends(c) || c == '-')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(label)
}

/// Tells whether it can be a name; says so in `report` when not.
pub(super) fn name(text: &str, path: &KeyPath, report: &mut Report<'_>) -> bool {
    let name = canonical(text);
    if let Some(domain) = of_a_cloud(&name) {
        let message = format!("nobody but the cloud gives names below `{domain}`");
        report.error(
            path,
            message,
            "write a name in a zone of yours: \"idp.example.com\"",
        );
    } else if name.starts_with("*.") {
        let message = "a service has one name, not all of a zone";
        report.error(path, message, "write the name itself: \"idp.example.com\"");
    } else if !is_domain(&name) {
        let help = "write a full name, without scheme, port or path: \"idp.example.com\"";
        report.error(path, format!("`{text}` is not a name in the DNS"), help);
    } else {
        return true;
    }
    false
}

fn zone(record: &Written<'_>, report: &mut Report<'_>) {
    let path = record.path.join("zone");
    let zone = canonical(record.zone);
    if !zone.contains('.') {
        let id = record.zone.trim_start_matches("/hostedzone/");
        record.zone_shape.check("a zone", id, &path, report);
        return;
    }
    let name = canonical(record.name);
    if !is_domain(&zone) {
        record
            .zone_shape
            .check("a zone", record.zone, &path, report);
    } else if name != zone && !name.ends_with(&format!(".{zone}")) {
        let message = format!("`{name}` is not in the zone `{zone}`");
        let help = "the name ends with the zone's domain; name the zone that holds it";
        report.error(&path, message, help);
    }
}

/// The project of a zone, which only Cloud DNS's zones are in.
fn zone_project(dns: &GcpDns, path: &KeyPath, report: &mut Report<'_>) {
    let Some(project) = &dns.project else {
        return;
    };
    match dns.provider {
        DnsProvider::CloudDns => PROJECT.check("a project's id", project, path, report),
        DnsProvider::Route53 => {
            let message = "zones of Route 53 are in no project";
            let help = "remove `project`, or let `provider` be \"cloud-dns\"";
            report.key_error(path, message, help);
        }
    }
}

fn load_balancer(text: &str, path: &KeyPath, report: &mut Report<'_>) {
    let host = canonical(text);
    if host.ends_with(".run.app") {
        let message =
            "an alias to `run.app` answers 404: Cloud Run knows only the names that it gave";
        let help = "on Google Cloud a name leads to the address of a load balancer: `[targets.gcp.services.NAME.dns]`";
        report.error(path, message, help);
    } else if of_a_cloud(&host).is_some() && !LOAD_BALANCER.pattern.is_match(&host) {
        let message = format!(
            "`{text}` is no load balancer's name: what answers there does not know this host"
        );
        report.error(path, message, LOAD_BALANCER.says);
    } else {
        LOAD_BALANCER.check("a load balancer", text, path, report);
    }
}

/// The clouds do not know of each other: two records of one name would take turns.
fn one_place_each(records: &[Written<'_>], report: &mut Report<'_>) {
    let mut taken: BTreeMap<String, &KeyPath> = BTreeMap::new();
    for record in records {
        let Some(first) = taken.insert(canonical(record.name), &record.path) else {
            continue;
        };
        let message = format!("`{}` would lead to two places", canonical(record.name));
        let help = format!("the other is `{first}`; give each target a name of its own");
        report.error(&record.path.join("name"), message, help);
    }
}
