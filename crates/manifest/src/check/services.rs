//! Checks a service before any target is looked at.

use std::time::Duration;

use deployer_core::address::CloudName;

use crate::catalogue;
use crate::check::secrets::declared;
use crate::check::{replicas, verify};
use crate::model::{EnvValue, Manifest, MigrateMode, Service};
use crate::problem::{Part, Report};
use crate::section::AwsRuntime;
use crate::source::KeyPath;

pub(super) fn check(key: &str, service: &Service, manifest: &Manifest, report: &mut Report<'_>) {
    let path = KeyPath::new(["services", key]);
    if service.port == 0 {
        report.error(
            &path.join("port"),
            "0 is not a port",
            "a port is from 1 to 65535",
        );
    }
    if service.image.trim().is_empty() {
        let help = "write \"oci:DIRECTORY\", \"docker-archive:FILE\" or a registry reference";
        report.error(&path.join("image"), "the image is empty", help);
    }
    for (name, words) in [
        ("entrypoint", &service.entrypoint),
        ("command", &service.command),
    ] {
        program(words, &path.join(name), report);
    }
    health(service, &path, report);
    if service.patience.is_zero() {
        let message = "a roll-out that is not waited for is not known to serve";
        let help = "write \"15m\", or use `apply --detach`";
        report.error(&path.join("patience"), message, help);
    }
    replicas(service.replicas.0, &path.join("replicas"), report);
    for (variable, value) in &service.env {
        let at = path.join("env").join(variable);
        variable_name(variable, &at, report);
        match value {
            EnvValue::Plain(text) => plain_secret(text, &at, report),
            EnvValue::Secret(secret) => {
                declared(&secret.secret, &at.join("secret"), manifest, report)
            }
        }
    }
    migrate((key, service), &path.join("migrate"), manifest, report);
    verify::check(service, &path.join("verify"), manifest, report);
}

/// A list whose first word is empty starts nothing, and no cloud says so before it tries.
fn program(words: &[String], path: &KeyPath, report: &mut Report<'_>) {
    if words.first().is_some_and(|word| word.trim().is_empty()) {
        let help =
            "write the program's name first, or take the key away: the image's own is used then";
        report.error(path, "its first word, the program to start, is empty", help);
    }
}

fn health(service: &Service, path: &KeyPath, report: &mut Report<'_>) {
    let health = &service.health;
    let path = path.join("health");
    if !health.path.starts_with('/') {
        let at = path.join("path");
        let message = format!("the health path `{}` does not start with `/`", health.path);
        let help = format!("write \"/{}\"", health.path);
        // `health = "..."` has no place of its own for the path.
        let whole = report.has_place(&at);
        report.error(if whole { &at } else { &path }, message, help);
    }
    for (name, span) in [("interval", health.interval), ("timeout", health.timeout)] {
        if span.is_zero() {
            report.error(
                &path.join(name),
                format!("`{name}` is no time at all"),
                "write at least \"1s\"",
            );
        }
    }
    if health.timeout > health.interval {
        let message = "a check may take longer than the time to the next one";
        report.error(
            &path.join("timeout"),
            message,
            "let `timeout` be at most `interval`",
        );
    }
    if health.retries == 0 {
        report.error(
            &path.join("retries"),
            "without a failure nothing is unhealthy",
            "write 1 or more",
        );
    }
}

/// Names that a cloud sets itself, or keeps for itself.
fn reserved(name: &str) -> bool {
    let mut clouds = CloudName::ALL.into_iter();
    clouds.any(|cloud| (catalogue(cloud).keeps_variable)(name))
}

pub(super) fn variable_name(name: &str, path: &KeyPath, report: &mut Report<'_>) {
    // Spring, ASP.NET and Elasticsearch read names such as `spring.datasource.url`,
    // `Logging:Level`, `hosts[0]`; both clouds take whatever has no `=`.
    let taken = |c: char| c.is_ascii_alphanumeric() || "_.-:/[]".contains(c);
    if name.is_empty() || !name.chars().all(taken) {
        let help = "letters, digits and `_ . - : / [ ]`";
        report.key_error(path, format!("`{name}` cannot name a variable"), help);
    } else if name == "PORT" {
        let help = "set `port` of the service: the app finds it in `PORT` on both clouds";
        report.key_error(path, "`PORT` is reserved: the cloud sets it", help);
    } else if reserved(name) {
        let help = "choose another name: the cloud sets this one, or refuses it";
        report.key_error(path, format!("`{name}` is reserved"), help);
    }
}

/// A password or private key in plain sight is allowed, but hardly meant.
pub(super) fn plain_secret(text: &str, path: &KeyPath, report: &mut Report<'_>) {
    let has_password =
        url::Url::parse(text).is_ok_and(|url| url.password().is_some_and(|p| !p.is_empty()));
    if has_password || text.contains("PRIVATE KEY-----") {
        let message = "this plain variable looks like a secret";
        let help = "declare it in `[secrets]` and write { secret = \"NAME\" } here";
        report.warning(path, Part::HiddenValue, message, help);
    }
}

/// Whether a task on ECS would have no role: its agent acts with it (boto/boto3#3173). On App
/// Runner none is entered, role or not.
fn exec_lacks_role(manifest: &Manifest, key: &str) -> bool {
    let aws = manifest.targets.aws.as_ref();
    let on_ecs = manifest.aws_runtime(key) == AwsRuntime::Ecs;
    on_ecs && aws.is_some_and(|aws| aws.task_role.is_none())
}

fn migrate(
    (key, service): (&str, &Service),
    path: &KeyPath,
    manifest: &Manifest,
    report: &mut Report<'_>,
) {
    let Some(migrate) = &service.migrate else {
        return;
    };
    for (name, words) in [
        ("entrypoint", &migrate.entrypoint),
        ("command", &migrate.command),
    ] {
        program(words, &path.join(name), report);
    }
    match migrate.mode {
        MigrateMode::Exec if manifest.targets.gcp.is_some() => {
            let help =
                "use mode = \"job\": the same command in a task or job of its own, on either cloud";
            let message = "Google Cloud runs no command in a container that runs";
            report.error(&path.join("mode"), message, help);
        }
        MigrateMode::Exec if exec_lacks_role(manifest, key) => {
            let help = "set `task_role` of `[targets.aws]` to a role that allows ssmmessages:*Channel, or use mode = \"job\"";
            report.error(&path.join("mode"), "ECS Exec needs a task role", help);
        }
        MigrateMode::Job | MigrateMode::Exec
            if migrate.command.is_empty() && migrate.entrypoint.is_empty() =>
        {
            let help = "add `command = [\"/app/server\", \"migrate\"]`, or set mode = \"on-start\" or \"none\"";
            report.key_error(
                &path.join("command"),
                format!("`[{path}]` lacks `command`"),
                help,
            );
        }
        MigrateMode::Job | MigrateMode::Exec | MigrateMode::OnStart | MigrateMode::None => {}
    }
    if let Some(database) = &migrate.database {
        declared(database, &path.join("database"), manifest, report);
    }
    // A Cloud Run task may run for seven days; nothing on ECS is shorter.
    let longest = Duration::from_secs(7 * 24 * 3600);
    if migrate.timeout.is_zero() || migrate.timeout > longest {
        let message = "a migration cannot be given this time";
        report.error(&path.join("timeout"), message, "from \"1s\" to \"7days\"");
    }
}
