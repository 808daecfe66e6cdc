//! Finds what is wrong with a manifest that could be read.

mod app_runner;
mod aws;
mod data;
mod dns;
mod domains;
mod env;
mod gcp;
mod secrets;
mod services;
mod target;
mod task_definition;
mod verify;
mod was;

use std::sync::LazyLock;

use deployer_core::names::Regex;
use deployer_core::spec::Replicas;

use crate::layers::nearest;
use crate::model::Manifest;
use crate::names;
use crate::problem::{Part, Report};
use crate::section::Section;
use crate::source::KeyPath;

/// Checks everything that no single value shows; says it in `report`.
pub(crate) fn check(manifest: &Manifest, environment: &str, report: &mut Report<'_>) {
    top(manifest, environment, report);
    tags(manifest, report);
    for (key, service) in &manifest.services {
        services::check(key, service, manifest, report);
    }
    secrets::check(manifest, report);
    was::check(manifest, report);
    data::check(manifest, report);
    dns::check(manifest, report);
    domains::check(manifest, report);
    if let Some(section) = &manifest.targets.aws {
        aws::check(section, manifest, report);
    }
    if let Some(section) = &manifest.targets.gcp {
        gcp::check(section, manifest, report);
    }
    for section in manifest.targets.all() {
        common(section, manifest, report);
        target::check(manifest, section, environment, report);
    }
}

/// What every target's section has.
fn common(section: &dyn Section, manifest: &Manifest, report: &mut Report<'_>) {
    let catalogue = section.catalogue();
    let path = KeyPath::new(["targets", catalogue.cloud.as_str()]);
    known_only(section, manifest, &path, report);
    if let Some(text) = section.ledger().address {
        ledger(text, catalogue.buckets, &path.join("ledger"), report);
    }
    for (key, address) in section.endpoints() {
        if let Some(address) = address {
            url(address, &path.join(key), report);
        }
    }
    let [(_, services), ..] = section.tables();
    for key in services {
        let path = path.join("services").join(key);
        let own = section.service(key);
        if let Some(address) = &own.url {
            service_url(key, address, manifest, &path.join("url"), report);
        }
        for (variable, text) in &own.env {
            let at = path.join("env").join(variable);
            services::variable_name(variable, &at, report);
            services::plain_secret(text, &at, report);
        }
    }
}

fn top(manifest: &Manifest, environment: &str, report: &mut Report<'_>) {
    let path = KeyPath::new(["app"]);
    if !names::APP.accepts(&manifest.app) {
        report.error(
            &path,
            format!("`{}` cannot name an app", manifest.app),
            names::APP.says,
        );
        // Every other name is made from it.
        report.distrust(path);
    }
    if !names::ENVIRONMENT.accepts(environment) {
        let path = KeyPath::new(["environment"]);
        report.error(
            &path,
            format!("`{environment}` cannot name an environment"),
            names::ENVIRONMENT.says,
        );
        report.distrust(path);
    }
    if manifest.services.is_empty() {
        let path = KeyPath::new(["services"]);
        report.key_error(
            &path,
            "the manifest has no service",
            "add `[services.NAME]` with `image` and `port`",
        );
    }
    if manifest.targets().is_empty() {
        let path = KeyPath::new(["targets"]);
        report.key_error(
            &path,
            "the manifest has no target",
            "add `[targets.aws]`, `[targets.gcp]` or both",
        );
    }
    for key in manifest
        .services
        .keys()
        .filter(|key| !names::SERVICE_KEY.accepts(key))
    {
        let path = KeyPath::new(["services", key]);
        report.key_error(
            &path,
            format!("`{key}` cannot name a service"),
            names::SERVICE_KEY.says,
        );
        report.distrust(path);
    }
}

/// Tags as AWS takes them; as labels they are changed to fit, but must stay apart.
fn tags(manifest: &Manifest, report: &mut Report<'_>) {
    let allowed = |text: &str| {
        text.chars()
            .all(|c| c.is_alphanumeric() || " _.:/=+-@".contains(c))
    };
    let google = manifest.targets.gcp.is_some();
    for (key, value) in &manifest.tags {
        let path = KeyPath::new(["tags", key]);
        let reserved =
            key.to_lowercase().starts_with("aws:") || key.eq_ignore_ascii_case("deployer");
        if reserved {
            report.key_error(
                &path,
                format!("the tag `{key}` is reserved"),
                "choose another key",
            );
        } else if key.is_empty() || key.chars().count() > 128 || !allowed(key) {
            let rule = "letters, digits, spaces and `_.:/=+-@`, 1 to 128 characters";
            report.key_error(&path, format!("`{key}` cannot be a tag's key"), rule);
        } else if google && !key.starts_with(|c: char| c.is_alphabetic()) {
            let rule = "Google's labels begin with a letter";
            report.key_error(&path, format!("`{key}` cannot be a label's key"), rule);
        } else if google && key.to_lowercase().starts_with("goog-") {
            let rule = "Google keeps labels that begin with `goog-` for itself; choose another key";
            report.key_error(&path, format!("`{key}` cannot be a label's key"), rule);
        }
        // A template's own characters are not part of the value.
        let plain = value.replace("${", "").replace('}', "");
        if value.chars().count() > 256 || !allowed(&plain) {
            let rule = "letters, digits, spaces and `_.:/=+-@`, at most 256 characters";
            report.error(&path, format!("`{value}` cannot be a tag's value"), rule);
        }
    }
    if manifest.tags.len() > 49 {
        let message = format!("{} tags are more than a cloud takes", manifest.tags.len());
        report.key_error(
            &KeyPath::new(["tags"]),
            message,
            "AWS takes 50, and one of them is ours",
        );
    }
    if google {
        let labels = deployer_core::names::own_labels(&manifest.app, "", &manifest.tags);
        if labels.len() <= manifest.tags.len() && !manifest.tags.is_empty() {
            let help = "Google's labels are lower case and have no `.:/=+@` or spaces";
            report.warning(
                &KeyPath::new(["tags"]),
                Part::Key,
                "two tags become one label on Google Cloud",
                help,
            );
        }
    }
}

fn replicas(replicas: Replicas, path: &KeyPath, report: &mut Report<'_>) {
    let Replicas { min, max } = replicas;
    if min > max {
        let help = format!("write {{ min = {max}, max = {min} }}, or one number for both");
        report.error(
            path,
            format!("`min` is {min}, more than `max`, which is {max}"),
            help,
        );
    } else if max == 0 {
        report.error(
            path,
            "a service without replicas serves nobody",
            "at least `max` is 1 or more",
        );
    }
}

/// What only a target's section knows: services, secrets, databases and caches that nobody
/// declared.
fn known_only(section: &dyn Section, manifest: &Manifest, at: &KeyPath, report: &mut Report<'_>) {
    for (table, keys) in section.tables() {
        let declared: Vec<String> = match table {
            "services" => manifest.services.keys().cloned().collect(),
            "databases" => manifest.databases.keys().cloned().collect(),
            "caches" => manifest.caches.keys().cloned().collect(),
            _ => manifest.secret_keys(),
        };
        for key in keys.into_iter().filter(|key| !declared.contains(key)) {
            let path = at.join(table).join(key);
            let what = table.trim_end_matches('s');
            let nearest = crate::layers::nearest(key, declared.iter().map(String::as_str));
            let help = match (manifest.called_now(what, key), nearest) {
                (Some(now), _) => now.hint(),
                (None, Some(word)) => format!("did you mean `{word}`?"),
                (None, None) => format!("declare `[{table}.{key}]`, or remove this table"),
            };
            report.key_error(&path, format!("there is no {what} `{key}`"), help);
        }
    }
}

/// A shape that text must have.
struct Shape {
    pattern: LazyLock<Regex>,
    says: &'static str,
}

macro_rules! shape {
    ($pattern:literal, $says:literal) => {
        crate::check::Shape {
            pattern: std::sync::LazyLock::new(|| {
                deployer_core::names::Regex::new($pattern).expect("the pattern is a constant")
            }),
            says: $says,
        }
    };
}
use shape;

impl Shape {
    /// Says in `report` when `text` is not `what`.
    fn check(&self, what: &str, text: &str, path: &KeyPath, report: &mut Report<'_>) {
        if !self.pattern.is_match(text) {
            report.error(path, format!("`{text}` is not {what}"), self.says);
        }
    }
}

/// What every region of both clouds lies towards in its part of the world.
///
/// Sources: "AWS Regions" (AWS Global Infrastructure), "Regions and zones" (Compute Engine).
const TOWARDS: [&str; 9] = [
    "north",
    "south",
    "east",
    "west",
    "central",
    "northeast",
    "northwest",
    "southeast",
    "southwest",
];

/// Warns of a region's name that is nearly one. Regions are added: what is new is no fault.
fn region(name: &str, path: &KeyPath, report: &mut Report<'_>) {
    let words = || {
        name.split('-')
            .map(|word| word.trim_end_matches(|it: char| it.is_ascii_digit()))
    };
    if words().any(|word| TOWARDS.contains(&word)) {
        return;
    }
    let near = words().find_map(|word| Some((word, nearest(word, TOWARDS)?)));
    if let Some((word, meant)) = near.filter(|(word, _)| word.len() > 2) {
        report.warning(
            path,
            Part::Value,
            format!("`{name}` is no region that is known"),
            format!("did you mean `{}`?", name.replacen(word, meant, 1)),
        );
    }
}

static URL: &str = "an address such as \"https://idp.example.com\"";

fn url(text: &str, path: &KeyPath, report: &mut Report<'_>) {
    let url = url::Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        report.error(
            path,
            format!("`{text}` is not an http or https address"),
            URL,
        );
        return;
    };
    if !url.username().is_empty() || url.password().is_some() {
        // What it holds is not repeated.
        let message = "the address holds a user or a password";
        report.error(path, message.to_owned(), URL);
    } else if url.query().is_some() || url.fragment().is_some() {
        let message = format!("`{text}` has a query or a fragment; paths are asked below it");
        report.error(path, message, URL);
    }
}

/// Where people reach the service `key`: over plain http only as long as no client's secret is sent
/// there.
fn service_url(
    key: &str,
    text: &str,
    manifest: &Manifest,
    path: &KeyPath,
    report: &mut Report<'_>,
) {
    url(text, path, report);
    let service = manifest.services.get(key);
    let asks_for_a_token = service.is_some_and(|service| service.verify.token.is_some());
    let plain =
        url::Url::parse(text).is_ok_and(|url| url.scheme() == "http" && !is_this_machine(&url));
    if asks_for_a_token && plain {
        let message =
            format!("`verify.token` would send the client's secret to `{text}` over plain http");
        let help = "write the https address, or take `verify.token` out of this service";
        report.error(path, message, help);
    }
}

fn is_this_machine(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn ledger(text: &str, scheme: &str, path: &KeyPath, report: &mut Report<'_>) {
    let rest = text
        .strip_prefix(scheme)
        .and_then(|rest| rest.strip_prefix("://"))
        .or_else(|| text.strip_prefix("file://"))
        .filter(|rest| !rest.is_empty());
    if rest.is_none() {
        let help =
            format!("write \"{scheme}://BUCKET/PREFIX\", or \"file://PATH\" for trying things out");
        report.error(
            path,
            format!("`{text}` is no place for this target's ledger"),
            help,
        );
    }
}
