//! Checks `[targets.gcp]`: shapes of ids, settings that exclude each other.

use deployer_gcp::catalogue::{VARIABLE_BYTES, VARIABLE_NAME_CHARACTERS, VARIABLES};
use deployer_gcp::cloud_sql_knows;

use crate::check::env::{self, Variables};
use crate::check::{Shape, region, shape};
use crate::model::{Manifest, Service};
use crate::problem::{Part, Report};
use crate::section::{GcpSection, GcpService};
use crate::source::KeyPath;
use crate::units::Cpu;

pub(super) static PROJECT: Shape = shape!(
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
    region(&gcp.region, &path.join("region"), report);
    if let Some(account) = &gcp.service_account {
        ACCOUNT.check(
            "a service account",
            account,
            &path.join("service_account"),
            report,
        );
    }
    for (index, region) in gcp.secret_replication.iter().enumerate() {
        let at = path.join("secret_replication").join(index.to_string());
        REGION.check("a Google Cloud region", region, &at, report);
    }
    network(gcp, &path, report);
    // The ledger's bucket is named after the project, and no bucket's name has a colon.
    if gcp.ledger.is_none() && gcp.project.contains(':') && gcp.endpoint.is_none() {
        let message = format!("no bucket can be named after the project `{}`", gcp.project);
        let help = "name the ledger's bucket: `ledger = \"gs://BUCKET\"`";
        report.key_error(&path.join("ledger"), message, help);
    }
    data(gcp, manifest, &path, report);
    for (key, service) in &manifest.services {
        asked_paths(key, service, report);
        variables(&env::variables(key, manifest, gcp, report), report);
    }
    for (key, service) in &gcp.services {
        let path = path.join("services").join(key);
        if let Some(account) = &service.service_account {
            let at = path.join("service_account");
            ACCOUNT.check("a service account", account, &at, report);
        }
        limits(service, &path, report);
        if let Some(declared) = manifest.services.get(key) {
            small(service, declared.cpu, &path, report);
        }
    }
}

/// How Google's front end takes a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// It answers 404 itself.
    Always,
    /// It may.
    Perhaps,
}

/// "Cloud Run reserves /eventlog, paths starting with /_ah/, and some paths ending with z [...]:
/// avoid all paths that end in z" (Cloud Run, "Known issues", reserved URL paths); `/healthz` is
/// the one of them that people meet.
fn taken(path: &str) -> Option<Taken> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = path.trim_end_matches('/');
    if path == "/eventlog" || path == "/healthz" || path == "/_ah" || path.starts_with("/_ah/") {
        return Some(Taken::Always);
    }
    path.ends_with('z').then_some(Taken::Perhaps)
}

/// Paths that verification asks from outside must come through Google's front end.
fn asked_paths(key: &str, service: &Service, report: &mut Report<'_>) {
    let at = KeyPath::new(["services", key]);
    let verify = at.join("verify");
    let health = at.join("health");
    let inner = health.join("path");
    // `health = "..."` has no place of its own for the path.
    let health = if report.has_place(&inner) {
        inner
    } else {
        health
    };
    let mut paths = vec![(health, service.health.path.as_str())];
    let asked = &service.verify;
    let own = [("metrics", &asked.metrics), ("jwks", &asked.jwks)];
    let own = own
        .into_iter()
        .filter_map(|(key, path)| Some((key, path.as_ref()?)));
    paths.extend(own.map(|(key, path)| (verify.join(key), path.as_str())));
    let token = asked.token.iter();
    paths.extend(token.map(|token| (verify.join("token").join("path"), token.path.as_str())));
    let checks = asked.checks.iter().enumerate();
    paths.extend(checks.map(|(index, check)| {
        let at = verify.join("checks").join(index.to_string());
        (at.join("path"), check.path.as_str())
    }));
    for (at, path) in paths {
        let help =
            "let the app answer at another path too, such as \"/health\", and write that one";
        match taken(path) {
            Some(Taken::Always) => {
                let message = format!(
                    "Google answers `{path}` itself, with 404: it never reaches a Cloud Run service"
                );
                report.error(&at, message, help);
            }
            Some(Taken::Perhaps) => {
                let message = format!(
                    "Google keeps some paths that end in `z` for itself: `{path}` may never reach a Cloud Run service"
                );
                report.warning(&at, Part::Value, message, help);
            }
            None => {}
        }
    }
}

/// How much Cloud Run takes of a service's variables.
fn variables(variables: &Variables, report: &mut Report<'_>) {
    let long = variables.plain.iter();
    let long = long.filter(|(_, text, _)| text.len() > VARIABLE_BYTES);
    for (name, text, at) in long {
        let message = format!(
            "`{name}` has {} bytes; Cloud Run takes {VARIABLE_BYTES}",
            text.len()
        );
        let help = "shorten it, or let the image bring it in a file";
        report.error(at, message, help);
    }
    let characters = |name: &str| name.chars().count();
    let names = variables.names.iter();
    for name in names.filter(|it| characters(it) > VARIABLE_NAME_CHARACTERS) {
        let message = format!(
            "the name of a variable has {} characters; Cloud Run takes {VARIABLE_NAME_CHARACTERS}",
            characters(name)
        );
        report.key_error(&variables.path, message, "give it a shorter one");
    }
    let count = variables.names.len();
    if count > VARIABLES {
        let message = format!("{count} variables; Cloud Run takes {VARIABLES}");
        let help = "put some of them into one, or into a file of the image";
        report.key_error(&variables.path, message, help);
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

/// What databases and caches need on Google Cloud: a network, or nothing reaches their private
/// addresses.
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
        let path = path.join("databases").join(key);
        if own.maintenance.is_some_and(|window| window.hour > 23) {
            let at = path.join("maintenance").join("hour");
            report.error(&at, "a day has no such hour", "from 0 to 23, in UTC");
        }
        for flag in own.flags.keys().filter(|flag| !is_flag(flag)) {
            let message = format!("`{flag}` is no flag of PostgreSQL");
            let help = "write its name as Cloud SQL has it, such as `max_connections`";
            report.key_error(&path.join("flags").join(flag), message, help);
        }
        let at = path.join("tier");
        if let Some(tier) = &own.tier
            && let Err(near) = cloud_sql_knows(tier)
        {
            report.error(
                &at,
                format!("Cloud SQL does not offer the tier `{tier}`"),
                near,
            );
        }
    }
}

fn is_flag(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.';
    name.starts_with(|first: char| first.is_ascii_lowercase()) && name.chars().all(fits)
}

/// Cloud Run reaches private addresses only through the VPC: tells whether it does, and says so in
/// `report` when not.
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
    if service.migrate_retries > 10 {
        let retries = service.migrate_retries;
        let message = format!("Cloud Run does not try a job {retries} times again");
        report.error(&path.join("migrate_retries"), message, "from 0 to 10");
    }
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
    if service.cpu_idle == Some(false) {
        let message = format!("with {cpu} an instance has CPU during requests only");
        report.error(
            &path.join("cpu_idle"),
            message,
            "remove it, or let `cpu` be 1 or more",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_google_keeps_for_itself_are_known() {
        for path in [
            "/healthz",
            "/healthz/",
            "/healthz?full=1",
            "/eventlog",
            "/_ah/health",
        ] {
            assert_eq!(taken(path), Some(Taken::Always), "{path}");
        }
        for path in ["/readyz", "/live/z"] {
            assert_eq!(taken(path), Some(Taken::Perhaps), "{path}");
        }
        for path in ["/", "/health", "/healthz/live", "/_ahead", "/eventlogs"] {
            assert_eq!(taken(path), None, "{path}");
        }
    }
}
