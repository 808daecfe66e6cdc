//! Holds the house in order: headers, lengths, comments, and names that both clouds share.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The most lines of a file that says no reason for more.
const LONGEST: usize = 600;
/// The most columns of a comment; rustfmt keeps the code in them.
const WIDEST: usize = 100;
/// What a longer file says, with why: `// long: one table`.
const REASON: &str = "// long: ";

/// What only one cloud has, and why. Everything else of a cloud's crate has the same name in the
/// other.
const ONLY: &[(&str, &str, &str)] = &[
    ("aws", "app_runner/autopsy.rs", "Google has one runtime"),
    ("aws", "app_runner/begin.rs", "Google has one runtime"),
    ("aws", "app_runner/calls.rs", "Google has one runtime"),
    ("aws", "app_runner/described.rs", "Google has one runtime"),
    ("aws", "app_runner/hints.rs", "Google has one runtime"),
    ("aws", "app_runner/kind.rs", "Google has one runtime"),
    ("aws", "app_runner/mod.rs", "Google has one runtime"),
    ("aws", "app_runner/note.rs", "Cloud Run pins secrets"),
    ("aws", "app_runner/one_off.rs", "Google has one runtime"),
    ("aws", "app_runner/operate.rs", "Google has one runtime"),
    ("aws", "app_runner/operations.rs", "Google has one runtime"),
    (
        "aws",
        "app_runner/printed.rs",
        "lines of Cloud Run say of which revision they are",
    ),
    ("aws", "app_runner/regions.rs", "Cloud Run is everywhere"),
    ("aws", "app_runner/scaling.rs", "Google has one runtime"),
    (
        "aws",
        "app_runner/served.rs",
        "Cloud Run says which revision serves",
    ),
    (
        "aws",
        "app_runner/service/create.rs",
        "Google has one runtime",
    ),
    ("aws", "app_runner/service/mod.rs", "Google has one runtime"),
    (
        "aws",
        "app_runner/service/restore.rs",
        "Google has one runtime",
    ),
    (
        "aws",
        "app_runner/service/update.rs",
        "Google has one runtime",
    ),
    ("aws", "app_runner/shape.rs", "Google has one runtime"),
    ("aws", "app_runner/switch.rs", "Cloud Run pauses nothing"),
    (
        "aws",
        "app_runner/vpc_connector.rs",
        "connectors on Google are given",
    ),
    ("aws", "lookup/app_runner.rs", "Google has one runtime"),
    ("aws", "runtime/cluster.rs", "Cloud Run has no clusters"),
    (
        "aws",
        "cache/judgement.rs",
        "compose, then describe both sides, is Google's way",
    ),
    (
        "aws",
        "cache/modify.rs",
        "ElastiCache takes one change at a time",
    ),
    (
        "aws",
        "cache/replication_group.rs",
        "a group, not an instance",
    ),
    ("aws", "cache/subnet_group.rs", "Memorystore has a network"),
    (
        "aws",
        "connection.rs",
        "Google's clients make their own connections",
    ),
    (
        "aws",
        "database/authority.rs",
        "Google tells authorities with the instance",
    ),
    (
        "aws",
        "database/judgement.rs",
        "compose, then describe both sides, is Google's way",
    ),
    ("aws", "database/modify.rs", "RDS has windows and reboots"),
    ("aws", "database/parameter_group.rs", "Cloud SQL has flags"),
    (
        "aws",
        "database/password.rs",
        "Google's user has a file of its own",
    ),
    (
        "aws",
        "database/pending.rs",
        "RDS tells what waits for the window",
    ),
    ("aws", "database/subnet_group.rs", "Cloud SQL has a network"),
    (
        "aws",
        "app_runner/association.rs",
        "Cloud Run answers for no name of ours by itself",
    ),
    (
        "aws",
        "app_runner/custom_domain.rs",
        "Cloud Run answers for no name of ours by itself",
    ),
    ("aws", "dns/content.rs", "Route 53 has aliases"),
    (
        "aws",
        "dns/kinds.rs",
        "records on Route 53 may be of targets of Google's",
    ),
    ("aws", "dns/leads.rs", "Route 53 has aliases"),
    (
        "aws",
        "dns/validation.rs",
        "certificates of Google's load balancers are not ours",
    ),
    (
        "aws",
        "ecr_login.rs",
        "Artifact Registry takes the access token",
    ),
    (
        "aws",
        "gate.rs",
        "Google's clients are paced as they are handed out",
    ),
    ("aws", "log_streams.rs", "Cloud Logging has no streams"),
    ("aws", "lookup/log_groups.rs", "Cloud Logging has no groups"),
    ("aws", "lookup/mod.rs", "Google's only lookup is a file"),
    (
        "aws",
        "lookup/secret_values.rs",
        "Google's only lookup is a file",
    ),
    (
        "aws",
        "lookup/services.rs",
        "Cloud Run describes one service a call",
    ),
    ("aws", "partition.rs", "Google has one"),
    ("aws", "access/places.rs", "Google grants roles"),
    ("aws", "prepared.rs", "Google makes no linked roles"),
    ("aws", "profile.rs", "gcloud.rs reads Google's files"),
    (
        "aws",
        "retry_after.rs",
        "retry.rs is a policy of Google's clients",
    ),
    ("aws", "runtime/scaling.rs", "Cloud Run scales by itself"),
    ("aws", "runtime/balancers.rs", "Cloud Run has its own"),
    (
        "aws",
        "runtime/console.rs",
        "Cloud Run opens no session in a container",
    ),
    (
        "aws",
        "runtime/definition.rs",
        "Cloud Run has no task definitions",
    ),
    (
        "aws",
        "runtime/definition_read.rs",
        "Cloud Run has no task definitions",
    ),
    (
        "aws",
        "runtime/exec.rs",
        "Cloud Run opens no session in a container",
    ),
    (
        "aws",
        "runtime/family.rs",
        "Cloud Run has no task definitions",
    ),
    (
        "aws",
        "runtime/service/agents.rs",
        "instances of Cloud Run take no commands",
    ),
    (
        "aws",
        "runtime/kept.rs",
        "Google merges what it has no word for",
    ),
    ("aws", "runtime/log_group.rs", "Cloud Logging has no groups"),
    (
        "aws",
        "runtime/lookup.rs",
        "Cloud Run describes one service a call",
    ),
    (
        "aws",
        "runtime/printed.rs",
        "lines of Cloud Run say of which revision they are",
    ),
    ("aws", "runtime/refusals.rs", "hints.rs has Google's"),
    (
        "aws",
        "runtime/registration.rs",
        "Cloud Run has no task definitions",
    ),
    (
        "aws",
        "runtime/scaling_calls.rs",
        "Cloud Run scales by itself",
    ),
    (
        "aws",
        "runtime/task_definition.rs",
        "Cloud Run has no task definitions",
    ),
    (
        "aws",
        "runtime/once.rs",
        "a Cloud Run job is a definition of its own",
    ),
    (
        "aws",
        "runtime/sessions.rs",
        "Cloud Run opens no session in a container",
    ),
    ("aws", "runtime/tasks.rs", "Cloud Run shows no instances"),
    (
        "aws",
        "runtime/waiting.rs",
        "Cloud Run opens no session in a container",
    ),
    (
        "aws",
        "secret_store/value_from.rs",
        "Cloud Run takes secret and version apart",
    ),
    ("aws", "secret_store/versions.rs", "Google numbers versions"),
    ("aws", "tables.rs", "Route 53 has a table of its own"),
    ("aws", "tagging.rs", "labels are part of each thing"),
    ("aws", "tags.rs", "labels.rs"),
    ("gcp", "apis.rs", "AWS's are always on"),
    ("gcp", "cache/instance.rs", "a replication group on AWS"),
    ("gcp", "switching.rs", "AWS's are always on"),
    (
        "gcp",
        "database/extras.rs",
        "flags and windows; AWS has parameter groups",
    ),
    (
        "gcp",
        "database/user.rs",
        "RDS makes the user with the instance",
    ),
    (
        "gcp",
        "database/within.rs",
        "RDS makes the database with the instance",
    ),
    ("gcp", "gcloud.rs", "profile.rs reads AWS's files"),
    ("gcp", "hints.rs", "AWS's stand beside its codes"),
    ("gcp", "identity_token.rs", "ECS lets everyone in"),
    ("gcp", "labels.rs", "tags.rs"),
    ("gcp", "lookup.rs", "a folder on AWS"),
    ("gcp", "operation.rs", "AWS has no long-running operations"),
    ("gcp", "paths.rs", "AWS has ARNs"),
    ("gcp", "project.rs", "AWS's clients know their account"),
    ("gcp", "retry.rs", "AWS's is the SDK's own"),
    (
        "gcp",
        "runtime/account.rs",
        "on AWS secrets are read by roles of the manifest",
    ),
    ("gcp", "runtime/conditions.rs", "Cloud Run has conditions"),
    ("gcp", "runtime/container.rs", "service and job share it"),
    (
        "gcp",
        "runtime/counts.rs",
        "ECS counts a service's tasks in one place",
    ),
    ("gcp", "runtime/creation.rs", "names that linger"),
    (
        "gcp",
        "runtime/instead.rs",
        "a task of ECS takes another command as it is",
    ),
    ("gcp", "runtime/invoker.rs", "ECS lets everyone in"),
    ("gcp", "runtime/patience.rs", "grants that get about"),
    ("gcp", "runtime/probes.rs", "ECS has one health check"),
    (
        "gcp",
        "runtime/quantity.rs",
        "ECS counts CPU and memory in whole numbers",
    ),
    (
        "gcp",
        "runtime/shape.rs",
        "compose, then describe both sides",
    ),
    (
        "gcp",
        "runtime/service/candidate.rs",
        "ECS holds no new version back from the traffic",
    ),
    (
        "gcp",
        "runtime/service/ours.rs",
        "revisions are named by us",
    ),
    (
        "gcp",
        "runtime/service/restore.rs",
        "ECS restores in one call",
    ),
    (
        "gcp",
        "runtime/service/traffic.rs",
        "traffic moves after the revision",
    ),
];

/// Folders of which the other cloud has none.
const FOLDERS: &[(&str, &str)] = &[("gcp", "runtime/job/"), ("gcp", "secret_access/")];

/// The ids that a cloud's specification may give: kinds take them from `ground.rs`.
const IDS: &[(&str, &[&str])] = &[
    (
        "aws",
        &[
            "access_role",
            "cluster",
            "execution_role",
            "security_groups",
            "subnets",
            "target_group",
            "task_role",
        ],
    ),
    (
        "gcp",
        &["network", "service_account", "subnetwork", "vpc_connector"],
    ),
];

/// Who reads them all the same, and why.
const READERS: &[(&str, &str, &str)] = &[
    ("aws", "client.rs", "looks for services in the cluster"),
    ("aws", "ground.rs", "makes the ground"),
    ("aws", "runtime/one_off.rs", "says what the manifest lacks"),
    ("gcp", "switching.rs", "asks which APIs are needed"),
    ("gcp", "ground.rs", "makes the ground"),
];

/// Where the manifest tells the clouds apart. Whatever else differs is asked of a target's section
/// or of a cloud's catalogue.
const CLOUDS: &str = "crates/manifest/src/clouds.rs";

/// Who else tells them apart before a cloud is opened, and why.
const TELLERS: &[(&str, &str)] = &[
    (CLOUDS, "the one place"),
    (
        "crates/cli/src/args/global.rs",
        "the words of `--cloud` are the command line's own",
    ),
    ("crates/cli/src/session/place.rs", "opens the clouds"),
    (
        "crates/cli/src/view/permissions.rs",
        "the page has a part for each",
    ),
];

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask is in the workspace").to_owned()
}

/// Every Rust file that is ours, from the root.
fn sources() -> Vec<PathBuf> {
    let root = root();
    let mut folders = vec![root.join("crates"), root.join("tests"), root.join("xtask")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(path.strip_prefix(&root).expect("below").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).expect("a file")
}

fn none(found: Vec<String>) {
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn each_file_says_its_job_first() {
    let silent = sources().into_iter().filter(|path| {
        let text = text(path);
        let first = text.lines().find(|line| !line.is_empty());
        !first.is_some_and(|line| line.starts_with("//!"))
    });
    none(silent.map(|path| path.display().to_string()).collect());
}

#[test]
fn a_long_file_says_why() {
    let long = sources().into_iter().filter_map(|path| {
        let text = text(&path);
        let lines = text.lines().count();
        let is_told = text.lines().any(|line| line.starts_with(REASON));
        (lines > LONGEST && !is_told).then(|| format!("{}: {lines} lines", path.display()))
    });
    none(long.collect());
}

#[test]
fn comments_fit_the_page() {
    let mut wide = Vec::new();
    for path in sources() {
        for (number, line) in text(&path).lines().enumerate() {
            let comment = line.trim_start().starts_with("//");
            let is_address = line.contains("://");
            if comment && !is_address && line.chars().count() > WIDEST {
                wide.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    none(wide);
}

/// The files of a cloud's crate, below its `src`.
fn files(cloud: &str) -> BTreeSet<String> {
    let below = format!("crates/{cloud}/src/");
    let paths = sources().into_iter();
    let names = paths.map(|path| path.display().to_string());
    names
        .filter_map(|name| name.strip_prefix(&below).map(str::to_owned))
        .filter(|name| !name.ends_with("tests.rs"))
        .collect()
}

#[test]
fn who_knows_one_cloud_finds_everything_in_the_other_by_name() {
    let (aws, gcp) = (files("aws"), files("gcp"));
    let mut odd = Vec::new();
    for (cloud, have, other) in [("aws", &aws, &gcp), ("gcp", &gcp, &aws)] {
        for name in have.difference(other) {
            let told = ONLY.iter().any(|(of, it, _)| *of == cloud && it == name);
            let folder = FOLDERS
                .iter()
                .any(|(of, it)| *of == cloud && name.starts_with(it));
            if !told && !folder {
                odd.push(format!(
                    "{name} is in crates/{cloud} alone: name it as the other cloud does, or say why in a \
                     row of `ONLY`"
                ));
            }
        }
        for (_, name, _) in ONLY.iter().filter(|(of, _, _)| *of == cloud) {
            if !have.contains(*name) || other.contains(*name) {
                odd.push(format!(
                    "{name} is not in crates/{cloud} alone any more: strike its row off"
                ));
            }
        }
    }
    none(odd);
}

#[test]
fn no_kind_reads_an_id_from_the_specification() {
    let mut found = Vec::new();
    for (cloud, ids) in IDS {
        for name in files(cloud) {
            let path = PathBuf::from(format!("crates/{cloud}/src/{name}"));
            let text = text(&path);
            let reads = |id: &&&str| {
                let is_whole =
                    |rest: &str| !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric());
                let from = |of: &str| text.split(&format!("{of}.{id}")).skip(1).any(is_whole);
                from("section") || from("settings")
            };
            let may = READERS.iter().any(|(of, it, _)| of == cloud && *it == name);
            let read: Vec<&&str> = ids.iter().filter(reads).collect();
            match (read.is_empty(), may) {
                (true, false) | (false, true) => {}
                (false, false) => found.push(format!(
                    "crates/{cloud}/src/{name} reads {read:?}: take it from the ground"
                )),
                (true, true) => {
                    found.push(format!("crates/{cloud}/src/{name} reads no id any more"));
                }
            }
        }
    }
    none(found);
}

#[test]
fn the_clouds_are_told_apart_in_one_place() {
    let mut found = Vec::new();
    for path in sources() {
        let name = path.display().to_string();
        let of = |package: &str| name.starts_with(&format!("crates/{package}/src/"));
        let text = text(&path);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        // Tests in files of their own have no such mark.
        let tells = match (of("manifest"), of("cli") && !name.contains("/tests")) {
            (true, _) => code.contains("CloudName::Aws") || code.contains("CloudName::Gcp"),
            (false, true) => code.contains("CloudName::Aws =>"),
            (false, false) => continue,
        };
        let may = TELLERS.iter().any(|(it, _)| *it == name);
        match (tells, may) {
            (true, true) | (false, false) => {}
            (true, false) => found.push(format!(
                "{name} tells the clouds apart: ask the section or the catalogue ({CLOUDS})"
            )),
            (false, true) => found.push(format!("{name} does not tell the clouds apart any more")),
        }
    }
    none(found);
}

#[test]
fn every_kind_is_in_the_pages() {
    let page = text(Path::new("docs/permissions.md"));
    let mut missing = Vec::new();
    for cloud in ["aws", "gcp"] {
        for name in files(cloud) {
            let path = PathBuf::from(format!("crates/{cloud}/src/{name}"));
            for line in text(&path).lines() {
                let kind = line.trim().strip_prefix("const KIND: &'static str = \"");
                let Some(kind) = kind.and_then(|it| it.strip_suffix("\";")) else {
                    continue;
                };
                if !page.contains(&format!("`{kind}`")) {
                    missing.push(format!(
                        "docs/permissions.md does not name `{kind}`: `cargo xtask docs` writes it"
                    ));
                }
            }
        }
    }
    none(missing);
}
