//! `deployer init`: a first `deployer.toml`, from what is there and what only a person knows.

mod dockerfile;
mod draft;
mod found;

use std::io::{BufRead, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use deployer_core::address::CloudName;
use deployer_core::error::{Error, Result};
use deployer_manifest::{Inputs, Problem, load};
use serde_json::json;

use crate::again::Again;
use crate::args::{Global, InitArgs};
use crate::command::sandbox;
use crate::exit::Exit;
use crate::view;
use draft::{AwsDraft, Draft, GcpDraft};
use found::Found;

/// Makes the manifest. Never overwrites one.
pub fn run(global: &Global, args: &InitArgs) -> Result<Exit> {
    let path = global.manifest();
    if path.exists() {
        return Err(exists(path));
    }
    let mut draft = drafted(path, args)?;
    let sandbox = sandbox::in_use();
    Found::read(|name| std::env::var_os(name), sandbox.as_ref()).complete(&mut draft);
    let watched = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if watched && !args.yes && !global.json {
        ask_all(&mut draft, args)?;
    }
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
    tell(global, (path, &beside), &written.missing, &problems);
    Ok(Exit::Success)
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
        }),
        gcp: has(CloudName::Gcp).then(|| GcpDraft {
            project: args.project.clone(),
            region: args.gcp_region.clone(),
            service_account: args.service_account.clone(),
            network: args.network.clone(),
            subnetwork: args.subnetwork.clone(),
            public: args.public,
        }),
    })
}

/// Asks what nothing tells. An empty answer takes what stands in brackets, or leaves it to fill in.
fn ask_all(draft: &mut Draft, args: &InitArgs) -> Result<()> {
    sayln!("An empty answer takes what is in brackets, or leaves it for later.\n");
    if args.app.is_none() {
        draft.app = ask("app", Some(&draft.app))?.unwrap_or_default();
    }
    if args.cloud.is_empty() {
        let clouds = ask("clouds (aws, gcp or both)", Some("both"))?.unwrap_or_default();
        match clouds.as_str() {
            "aws" => draft.gcp = None,
            "gcp" => draft.aws = None,
            "both" => {}
            other => {
                return Err(Error::input(format!(
                    "`{other}` is neither aws, gcp nor both"
                )));
            }
        }
    }
    if draft.port.is_none() {
        let port = ask("the container's port", None)?;
        let read = port.map(|port| {
            let wrong = format!("`{port}` is not a port");
            port.parse().map_err(|_| Error::input(wrong))
        });
        draft.port = read.transpose()?;
    }
    let image = format!("docker-archive:{}.tar", draft.app);
    known(&mut draft.image, "image", Some(&image))?;
    if let Some(aws) = &mut draft.aws {
        known(&mut aws.account, "AWS account", None)?;
        known(&mut aws.region, "AWS region", Some("us-east-1"))?;
        known(&mut aws.cluster, "ECS cluster", None)?;
        if aws.subnets.is_empty() {
            let subnets = ask("subnets of the tasks, parted by spaces", None)?;
            let words = subnets.unwrap_or_default();
            aws.subnets = words.split([' ', ',']).map(str::to_owned).collect();
            aws.subnets.retain(|subnet| !subnet.is_empty());
        }
        let role = "role that pulls the image and reads the secrets";
        known(&mut aws.execution_role, role, None)?;
    }
    if let Some(gcp) = &mut draft.gcp {
        known(&mut gcp.project, "Google Cloud project", None)?;
        known(&mut gcp.region, "Google Cloud region", Some("us-central1"))?;
        if !args.public {
            let answer = ask("may everyone call it on Google Cloud? (y or n)", Some("n"))?;
            gcp.public = matches!(answer.as_deref(), Some("y" | "Y" | "yes"));
        }
    }
    Ok(())
}

fn known(value: &mut Option<String>, question: &str, usual: Option<&str>) -> Result<()> {
    if value.is_none() {
        *value = ask(question, usual)?;
    }
    Ok(())
}

fn ask(question: &str, usual: Option<&str>) -> Result<Option<String>> {
    match usual {
        Some(usual) => say!("{question} [{usual}]: "),
        None => say!("{question}: "),
    }
    // A prompt that cannot be shown is answered by whoever types anyway.
    std::io::stderr().flush().unwrap_or_default();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Error::input("cannot read the answer").because(error))?;
    let answer = answer.trim();
    let given = (!answer.is_empty()).then(|| answer.to_owned());
    Ok(given.or_else(|| usual.map(str::to_owned)))
}

fn tell(
    global: &Global,
    (path, beside): (&Path, &[PathBuf]),
    missing: &[String],
    problems: &[Problem],
) {
    if global.json {
        view::json(&json!({
            "manifest": path, "beside": beside, "fill_in": missing, "problems": problems,
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
    let next = Again::new(global, "plan");
    outln!("\nnext: {next}");
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
    fn a_manifest_is_never_overwritten() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("deployer.toml");
        create(&path, "first").unwrap();
        let error = create(&path, "second").unwrap_err();
        assert!(error.to_string().contains("exists already"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
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
