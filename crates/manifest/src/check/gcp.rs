//! Checks `[targets.gcp]`: shapes of ids, settings that exclude each other.

use deployer_core::address::CloudName;

use crate::check::services::{plain_secret, variable_name};
use crate::check::{Shape, known_only, ledger, service_url, shape, url};
use crate::model::Manifest;
use crate::problem::Report;
use crate::section::{GcpSection, GcpService};
use crate::sizes;
use crate::source::KeyPath;
use crate::units::Cpu;

static PROJECT: Shape = shape!(
    r"^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$",
    "a project's id has 6 to 30 lower-case letters, digits and `-`, a letter first, no `-` last"
);
static REGION: Shape = shape!(
    r"^[a-z]+-[a-z]+[0-9]{1,2}$",
    "write a region such as \"us-central1\""
);
static ACCOUNT: Shape = shape!(
    r"^[a-z0-9.-]+@[a-z0-9.-]+\.[a-z]+$",
    "write an e-mail address such as \"app@PROJECT.iam.gserviceaccount.com\""
);
static NETWORK: Shape = shape!(
    r"^(projects/[^/]+/global/networks/)?[a-z]([a-z0-9-]*[a-z0-9])?$",
    "write its name, or \"projects/P/global/networks/N\""
);
static CONNECTOR: Shape = shape!(
    r"^(projects/[^/]+/locations/[^/]+/connectors/)?[a-z]([a-z0-9-]*[a-z0-9])?$",
    "write its name, or \"projects/P/locations/R/connectors/C\""
);

pub(super) fn check(gcp: &GcpSection, manifest: &Manifest, report: &mut Report<'_>) {
    let path = KeyPath::new(["targets", "gcp"]);
    PROJECT.check(
        "a project's id",
        &gcp.project,
        &path.join("project"),
        report,
    );
    REGION.check(
        "a Google Cloud region",
        &gcp.region,
        &path.join("region"),
        report,
    );
    if let Some(account) = &gcp.service_account {
        ACCOUNT.check(
            "a service account",
            account,
            &path.join("service_account"),
            report,
        );
    }
    network(gcp, &path, report);
    if let Some(text) = &gcp.ledger {
        ledger(text, "gs://", &path.join("ledger"), report);
    }
    for (key, address) in [
        ("endpoint", &gcp.endpoint),
        ("registry_endpoint", &gcp.registry_endpoint),
    ] {
        if let Some(address) = address {
            url(address, &path.join(key), report);
        }
    }
    let tables = [
        ("services", gcp.services.keys().collect()),
        ("secrets", gcp.secrets.keys().collect()),
        ("databases", gcp.databases.keys().collect()),
        ("caches", gcp.caches.keys().collect()),
    ];
    known_only(CloudName::Gcp, manifest, tables, report);
    data(gcp, manifest, &path, report);
    for (key, service) in &gcp.services {
        let path = path.join("services").join(key);
        if let Some(address) = &service.url {
            service_url(key, address, manifest, &path.join("url"), report);
        }
        for (variable, text) in &service.env {
            let at = path.join("env").join(variable);
            variable_name(variable, &at, report);
            plain_secret(text, &at, report);
        }
        limits(service, &path, report);
        if let Some(declared) = manifest.services.get(key) {
            small(service, declared.cpu, &path, report);
        }
    }
}

fn network(gcp: &GcpSection, path: &KeyPath, report: &mut Report<'_>) {
    if let Some(connector) = &gcp.vpc_connector {
        let at = path.join("vpc_connector");
        CONNECTOR.check("a VPC connector", connector, &at, report);
        for (key, value) in [("network", &gcp.network), ("subnetwork", &gcp.subnetwork)] {
            if value.is_some() {
                let message = format!("`{key}` and `vpc_connector` exclude each other");
                let help = "keep `network` and `subnetwork` (direct egress), or the connector";
                report.key_error(&path.join(key), message, help);
            }
        }
    }
}

/// What databases and caches need on Google Cloud: a network, or nothing reaches their private addresses.
fn data(gcp: &GcpSection, manifest: &Manifest, path: &KeyPath, report: &mut Report<'_>) {
    let reached = reached(gcp, manifest, path, report);
    let databases = manifest.databases.keys().map(|key| {
        let own = gcp.databases.get(key);
        let network = own.and_then(|own| own.network.as_ref());
        ("database", path.join("databases").join(key), network)
    });
    let caches = manifest.caches.keys().map(|key| {
        let own = gcp.caches.get(key);
        let network = own.and_then(|own| own.network.as_ref());
        ("cache", path.join("caches").join(key), network)
    });
    for (what, at, network) in databases.chain(caches) {
        let at = at.join("network");
        match network.or(gcp.network.as_ref()) {
            // The network that the services lack is what these lack, too.
            None if !reached => {}
            None => {
                let message = format!("the {what}'s private address needs a network");
                let help = format!(
                    "add `network = \"default\"` to `[{}]`, or `network` and `subnetwork` to `[{path}]`",
                    at.parent().unwrap_or_default()
                );
                report.key_error(&at, message, help);
            }
            Some(network) if report.has_place(&at) => {
                NETWORK.check("a network", network, &at, report);
            }
            Some(_) => {}
        }
    }
    for (key, own) in &gcp.databases {
        let at = path.join("databases").join(key).join("tier");
        if let Some(tier) = &own.tier
            && let Err(near) = sizes::cloud_sql_knows(tier)
        {
            report.error(
                &at,
                format!("Cloud SQL does not offer the tier `{tier}`"),
                near,
            );
        }
    }
}

/// Cloud Run reaches private addresses only through the VPC: tells whether it does, and says so in `report` when not.
fn reached(gcp: &GcpSection, manifest: &Manifest, path: &KeyPath, report: &mut Report<'_>) -> bool {
    let has_data = !manifest.databases.is_empty() || !manifest.caches.is_empty();
    let lost = has_data && gcp.vpc_connector.is_none() && gcp.network.is_none();
    if lost {
        let message = "the services have no way into the VPC, where databases and caches are";
        let help = "add `network` and `subnetwork` (direct egress), or `vpc_connector`";
        report.key_error(&path.join("vpc_connector"), message, help);
    }
    !lost
}

fn limits(service: &GcpService, path: &KeyPath, report: &mut Report<'_>) {
    if let Some(concurrency) = service.concurrency
        && !(1..=1000).contains(&concurrency)
    {
        let message = format!("an instance cannot take {concurrency} requests at once");
        report.error(&path.join("concurrency"), message, "from 1 to 1000");
    }
    if let Some(seconds) = service.request_timeout
        && !(1..=3600).contains(&seconds)
    {
        let message = format!("a request cannot take {seconds} seconds");
        report.error(
            &path.join("request_timeout"),
            message,
            "from 1 to 3600 seconds",
        );
    }
}

/// Below one CPU Cloud Run takes one request at a time, and gives CPU during requests only.
fn small(service: &GcpService, declared: Cpu, path: &KeyPath, report: &mut Report<'_>) {
    let own = service
        .cpu
        .as_ref()
        .and_then(|cpu| serde_json::from_value::<Cpu>(cpu.clone()).ok());
    let cpu = own.unwrap_or(declared).0;
    if cpu.0 >= 1000 {
        return;
    }
    if service
        .concurrency
        .is_some_and(|concurrency| concurrency > 1)
    {
        let message = format!("with {cpu} an instance takes one request at a time");
        report.error(
            &path.join("concurrency"),
            message,
            "write 1, or let `cpu` be 1 or more",
        );
    }
    if !service.cpu_idle {
        let message = format!("with {cpu} an instance has CPU during requests only");
        report.error(
            &path.join("cpu_idle"),
            message,
            "remove it, or let `cpu` be 1 or more",
        );
    }
}
