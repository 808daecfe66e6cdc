//! `deployer init`: a first `deployer.toml`, from what is there and what only a person knows.

mod dockerfile;
mod draft;
mod found;
mod offers;
mod questions;
mod survey;

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deployer_core::address::CloudName;
use deployer_core::clock::Clock;
use deployer_core::error::{Error, Result};
use deployer_manifest::{Inputs, Problem, load};
use serde_json::json;

use crate::again::{self, Again};
use crate::args::{AwsRuntimeArg, Global, InitArgs};
use crate::command::sandbox;
use crate::exit::Exit;
use crate::view;
use draft::{AwsDraft, Draft, GcpDraft};
use found::Found;
use questions::Person;
use survey::Told;

/// Makes the manifest: of what was typed, what this machine knows, what the clouds say is there and
/// what a person answers. Reads only; never overwrites a manifest.
pub async fn run(global: &Global, args: &InitArgs, clock: Arc<dyn Clock>) -> Result<Exit> {
    let path = global.manifest();
    if path.exists() {
        return Err(exists(path));
    }
    let mut draft = drafted(path, args)?;
    if let Some(read) = draft.dockerfile.words().filter(|_| !global.json) {
        noteln!("read from the Dockerfile: {read}");
    }
    let sandbox = sandbox::in_use();
    let found = Found::read(|name| std::env::var_os(name), sandbox.as_ref());
    found.complete(&mut draft);
    let watched = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let asks = watched && !args.yes && !global.json;
    if asks {
        Person(std::io::stdin().lock()).where_to(&mut draft, args)?;
    }
    let told = match args.offline {
        true => Told::default(),
        false => survey::ask(&draft, args.account.as_deref(), &global.set, &clock).await,
    };
    if asks {
        say_unlisted(&told, |_| true);
        Person(std::io::stdin().lock()).the_rest(&mut draft, args, &told)?;
    } else {
        offers::complete(&mut draft, &told);
    }
    found.complete_sandbox(&mut draft);
    let written = draft::write(&draft);
    create(path, &written.text)?;
    let beside = beside(path)?;
    let problems = match load(&Inputs {
        manifest: path.to_path_buf(),
        ..Inputs::default()
    }) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems.iter().cloned().collect(),
    };
    if !asks && !global.json {
        // What could not be asked matters where something is left open.
        say_unlisted(&told, |cloud| {
            let target = format!("targets.{cloud}.");
            written.missing.iter().any(|key| key.starts_with(&target))
        });
    }
    let image = image_to_make(&draft, path);
    let wanted = (&written.missing[..], image.as_deref());
    tell(global, (path, &beside), wanted, &problems, &told);
    Ok(Exit::Success)
}

/// The archive that the manifest names, or is to name, and that is not there yet.
fn image_to_make(draft: &Draft, manifest: &Path) -> Option<String> {
    let usual = draft::archive(&draft.app);
    let image = draft.image.as_deref().unwrap_or(&usual);
    let archive = image.strip_prefix("docker-archive:")?;
    (!manifest.with_file_name(archive).exists()).then(|| archive.to_owned())
}

/// The two commands that make it.
fn making(image: &str) -> [String; 2] {
    let name = Path::new(image)
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy();
    let name = again::word(&draft::app_name(&name)).into_owned();
    [
        format!("docker build -t {name} ."),
        format!("docker save {name} -o {}", again::word(image)),
    ]
}

/// Says what could not be asked, and why, in a line each.
fn say_unlisted(told: &Told, matters: impl Fn(CloudName) -> bool) {
    for (cloud, unlisted) in told.unlisted().filter(|(cloud, _)| matters(*cloud)) {
        noteln!("note: {cloud}: {unlisted}");
        if let Some(hint) = unlisted.error.hint_text() {
            noteln!("  hint: {hint}");
        }
    }
}

/// What stands beside a manifest: the schema that editors read, and the line that keeps a sandbox's
/// ledger out of git. Returns what was written; a schema that is there stays.
fn beside(manifest: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let cannot = |path: &Path, error: std::io::Error| {
        Error::input(format!("cannot write `{}`", path.display())).because(error)
    };
    let schema = manifest.with_file_name(draft::SCHEMA);
    if !schema.exists() {
        let document = deployer_manifest::schema(deployer_manifest::Describes::File);
        let text = format!("{:#}\n", json!(document));
        std::fs::write(&schema, text).map_err(|error| cannot(&schema, error))?;
        written.push(schema);
    }
    let ignored = manifest.with_file_name(".gitignore");
    let text = std::fs::read_to_string(&ignored).unwrap_or_default();
    let is_there = |line: &str| line.trim().trim_matches('/') == LEDGERS.trim_matches('/');
    if !text.lines().any(is_there) {
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        std::fs::write(&ignored, format!("{text}{end}{LEDGERS}\n"))
            .map_err(|error| cannot(&ignored, error))?;
        written.push(ignored);
    }
    Ok(written)
}

/// Where a sandbox's ledgers are, beside the manifest.
const LEDGERS: &str = ".deployer/";

fn exists(path: &Path) -> Error {
    Error::input(format!("`{}` exists already", path.display()))
        .hint("edit it, or name another with -f; nothing is ever overwritten")
}

/// Another process may have made it meanwhile: that one stays, too.
fn create(path: &Path, text: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => Error::input(format!("cannot write `{}`", path.display())).because(error),
    })?;
    let written = file.write_all(text.as_bytes());
    written
        .map_err(|error| Error::input(format!("cannot write `{}`", path.display())).because(error))
}

fn drafted(path: &Path, args: &InitArgs) -> Result<Draft> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let name = directory.canonicalize().ok();
    let name = name.as_deref().and_then(Path::file_name);
    let name = name.map(|name| name.to_string_lossy().into_owned());
    let app = args.app.clone();
    let app = app.unwrap_or_else(|| draft::app_name(&name.unwrap_or_default()));
    let dockerfile = match (&args.dockerfile, directory.join("Dockerfile")) {
        (Some(file), _) => Some(std::fs::read_to_string(file).map_err(|error| {
            Error::input(format!("cannot read `{}`", file.display())).because(error)
        })?),
        (None, usual) => std::fs::read_to_string(usual).ok(),
    };
    let dockerfile = dockerfile
        .map(|text| dockerfile::read(&text))
        .unwrap_or_default();
    let has = |cloud| args.cloud.is_empty() || args.cloud.iter().any(|which| which.has(cloud));
    Ok(Draft {
        app,
        image: args.image.clone(),
        port: args.port.or(dockerfile.port),
        health: args.health.clone(),
        dockerfile,
        database: args.database,
        cache: args.cache,
        aws: has(CloudName::Aws).then(|| AwsDraft {
            account: args.account.clone(),
            region: args.aws_region.clone(),
            cluster: args.cluster.clone(),
            subnets: args.subnet.clone(),
            security_groups: args.security_group.clone(),
            execution_role: args.execution_role.clone(),
            task_role: args.task_role.clone(),
            app_runner: args.runtime == Some(AwsRuntimeArg::AppRunner),
            access_role: args.access_role.clone(),
            ..AwsDraft::default()
        }),
        gcp: has(CloudName::Gcp).then(|| GcpDraft {
            project: args.project.clone(),
            region: args.gcp_region.clone(),
            service_account: args.service_account.clone(),
            network: args.network.clone(),
            subnetwork: args.subnetwork.clone(),
            public: args.public,
            ..GcpDraft::default()
        }),
    })
}

fn tell(
    global: &Global,
    (path, beside): (&Path, &[PathBuf]),
    (missing, image): (&[String], Option<&str>),
    problems: &[Problem],
    told: &Told,
) {
    if global.json {
        let unlisted = told.unlisted().map(|(cloud, it)| {
            let why = it.error.chain().join(": ");
            json!({ "cloud": cloud, "what": it.what, "why": why })
        });
        view::json(&json!({
            "manifest": path, "beside": beside, "fill_in": missing, "problems": problems,
            "unlisted": unlisted.collect::<Vec<_>>(),
        }));
        return;
    }
    outln!("{} is written", path.display());
    for path in beside {
        outln!("{} as well", path.display());
    }
    if !missing.is_empty() {
        outln!("\nto fill in (marked `# fill in`):");
        for key in missing {
            outln!("  {key}");
        }
    }
    // What is missing is told above; what was given wrongly is not.
    let told = |problem: &&Problem| !missing.contains(&problem.path);
    for problem in problems.iter().filter(told) {
        outln!("\n{}: {problem}", problem.path);
        if let Some(help) = &problem.help {
            outln!("  {help}");
        }
    }
    if let Some(image) = image {
        outln!("\nthe image is not there yet; this makes it:");
        for line in making(image) {
            outln!("  {line}");
        }
    }
    let plan = Again::new(global, "plan");
    match missing {
        [] => outln!("\nnext: {plan}"),
        open => outln!(
            "\nnext: fill in {} in {}; then: {plan}",
            named(open),
            path.display()
        ),
    }
    outln!("without an account, all of it on this machine: deployer sandbox try");
}

/// The keys, as many as are read at once.
fn named(keys: &[String]) -> String {
    const ALL: usize = 3;
    match keys.len() > ALL {
        true => format!("these {} keys", keys.len()),
        false => view::plan::list(keys),
    }
}

#[cfg(test)]
mod tests {
    use deployer_manifest::Severity;

    use super::*;
    use crate::args::Which;

    fn made(args: &InitArgs, dockerfile: &str) -> (String, Vec<String>, Vec<String>) {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
        let path = dir.path().join("deployer.toml");
        let written = draft::write(&drafted(&path, args).unwrap());
        create(&path, &written.text).unwrap();
        let inputs = Inputs {
            manifest: path,
            ..Inputs::default()
        };
        let faults = match load(&inputs) {
            Ok(_) => vec![],
            Err(problems) => {
                let errors = problems
                    .iter()
                    .filter(|one| one.severity == Severity::Error);
                errors.map(|one| one.path.clone()).collect()
            }
        };
        (written.text, written.missing, faults)
    }

    fn complete() -> InitArgs {
        InitArgs {
            app: Some("idp".into()),
            image: Some("oci:images/idp".into()),
            account: Some("123456789012".into()),
            aws_region: Some("us-east-1".into()),
            cluster: Some("main".into()),
            subnet: vec![
                "subnet-0123456789abcdef0".into(),
                "subnet-0123456789abcdef1".into(),
            ],
            execution_role: Some("ecsTaskExecutionRole".into()),
            project: Some("my-project".into()),
            gcp_region: Some("us-central1".into()),
            network: Some("default".into()),
            ..InitArgs::default()
        }
    }

    const DOCKERFILE: &str = "FROM node:20\nENV NODE_ENV=production\nEXPOSE 3000\nHEALTHCHECK --interval=15s CMD curl -f http://localhost:3000/health\nCMD [\"node\", \"server.js\"]\n";

    #[test]
    fn what_is_complete_loads_with_a_database_and_a_cache() {
        let args = InitArgs {
            database: true,
            cache: true,
            ..complete()
        };
        let (text, missing, faults) = made(&args, DOCKERFILE);
        assert_eq!((missing, faults), (vec![], vec![]), "{text}");
        assert!(
            text.contains("port = 3000") && text.contains("path = \"/health\""),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_known_is_exactly_what_loading_asks_for() {
        let args = InitArgs {
            app: Some("idp".into()),
            ..InitArgs::default()
        };
        let (text, mut missing, mut faults) = made(&args, "");
        missing.sort();
        faults.sort();
        assert_eq!(missing, faults, "{text}");
        assert!(missing.contains(&"targets.aws.account".to_owned()));
        assert_eq!(text.matches("# fill in").count(), missing.len());
    }

    #[test]
    fn with_app_runner_what_is_not_known_is_exactly_what_loading_asks_for() {
        let args = InitArgs {
            app: Some("idp".into()),
            cloud: vec![Which::Aws],
            runtime: Some(AwsRuntimeArg::AppRunner),
            ..InitArgs::default()
        };
        let (text, mut missing, mut faults) = made(&args, DOCKERFILE);
        missing.sort();
        faults.sort();
        assert_eq!(missing, faults, "{text}");
        assert!(missing.contains(&"targets.aws.access_role".to_owned()));
        assert!(!missing.contains(&"targets.aws.subnets".to_owned()));
    }

    #[test]
    fn a_manifest_is_never_overwritten() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("deployer.toml");
        create(&path, "first").unwrap();
        let error = create(&path, "second").unwrap_err();
        assert!(error.to_string().contains("exists already"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
    }

    #[test]
    fn an_archive_that_is_not_there_is_told_with_what_makes_it() {
        let dir = tempfile::TempDir::new().unwrap();
        let manifest = dir.path().join("deployer.toml");
        let mut draft = Draft {
            app: "shop".into(),
            ..Draft::default()
        };
        let wanted = |draft: &Draft| image_to_make(draft, &manifest);
        assert_eq!(wanted(&draft).as_deref(), Some("shop.tar"));
        assert_eq!(
            making("shop.tar"),
            ["docker build -t shop .", "docker save shop -o shop.tar"]
        );
        draft.image = Some("docker-archive:images/My App.tar".into());
        let lines = wanted(&draft).map(|image| making(&image)).unwrap();
        assert_eq!(lines[1], "docker save my-app -o 'images/My App.tar'");
        std::fs::create_dir(dir.path().join("images")).unwrap();
        std::fs::write(dir.path().join("images/My App.tar"), "").unwrap();
        assert_eq!(wanted(&draft), None);
        draft.image = Some("ghcr.io/shop/web:1".into());
        assert_eq!(wanted(&draft), None);
    }

    #[test]
    fn what_a_dockerfile_says_is_told() {
        let words = dockerfile::read(DOCKERFILE).words();
        let says = "port 3000; health check of `/health`; it runs [\"node\", \"server.js\"]; it sets NODE_ENV";
        assert_eq!(words.as_deref(), Some(says));
        assert_eq!(dockerfile::read("FROM scratch").words(), None);
    }

    #[test]
    fn a_directory_names_the_app() {
        for (directory, app) in [
            ("My Service", "my-service"),
            ("2nd_app", "nd-app"),
            ("...", "app"),
        ] {
            assert_eq!(draft::app_name(directory), app);
        }
    }

    #[test]
    fn one_cloud_makes_one_target() {
        let args = InitArgs {
            cloud: vec![Which::Gcp],
            ..complete()
        };
        let (text, _, faults) = made(&args, DOCKERFILE);
        assert!(
            !text.contains("[targets.aws]") && text.contains("[targets.gcp]"),
            "{text}"
        );
        assert_eq!(faults, Vec::<String>::new());
    }
}
