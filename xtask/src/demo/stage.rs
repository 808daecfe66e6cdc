//! What the demo plays on: both clouds, a PostgreSQL, a project's folder, and `deployer` in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::service::Service;
use super::terminal::{Finished, Say, Terminal};
use crate::interrupt::{self, Registered};
use crate::postgres;
use crate::{images, workspace};

/// How many seconds of a cloud's waiting pass in one.
const SPEED: &str = "50";

const MANIFEST: &str = "config/demo/deployer.toml";
/// What a team with App Runner starts from.
pub const MANIFEST_OF_COMBINE: &str = "config/the-combine/deployer.toml";
const IMAGE: &str = "../../target/images/idp-1.0.0";
/// The client that the app's migration seeds.
const CLIENT: &str = "test-client";
/// The ECS service and the Cloud Run service.
const SERVICE: &str = "demo-sandbox-idp";

/// Everything that runs. Dropping or interrupting it ends all of it.
pub struct Stage {
    /// The base URL of the AWS APIs.
    pub aws: String,
    /// The base URL of the Google APIs.
    pub gcp: String,
    /// The seeded client's secret.
    pub client_secret: String,
    terminal: Terminal,
    folder: PathBuf,
    /// No output and no file may hold one of these.
    secrets: Vec<String>,
    interrupt: Option<Registered>,
}

impl Stage {
    /// Starts the clouds on free ports.
    pub fn set(binary: &Path) -> Result<Self> {
        let folder = empty_folder(binary)?;
        let client_secret = postgres::random()?;
        let mut environment = plain_environment(&folder);
        let mut set = |name: &str, value: &str| environment.insert(name.into(), value.into());
        set("DEMO_CLIENT_ID", CLIENT);
        set("DEMO_CLIENT_SECRET", &client_secret);
        let terminal = Terminal::new(binary, &folder.join("project"), environment);
        let interrupted = (terminal.clone(), folder.clone());
        let interrupt = interrupt::on_interrupt(move || {
            let (terminal, folder) = interrupted;
            terminal.end();
            let _ = fs::remove_dir_all(folder);
        });
        let mut stage = Self {
            aws: String::new(),
            gcp: String::new(),
            secrets: vec![client_secret.clone()],
            client_secret,
            terminal,
            folder,
            interrupt: Some(interrupt),
        };
        stage.raise_clouds()?;
        stage.has_servers()?;
        stage.use_version("1.0.0")?;
        Ok(stage)
    }

    fn raise_clouds(&mut self) -> Result<()> {
        let log = self.folder.join("sandbox.log");
        self.terminal.start_sandbox(&log, SPEED)?;
        let exports = until("the sandbox", Duration::from_secs(60), || {
            if let Some(status) = self.terminal.sandbox_ended()? {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("the sandbox ended with {status}: {}", said.trim());
            }
            let asked = self
                .terminal
                .run(&["--json", "sandbox", "env"], "", Say::nothing())?;
            Ok(serde_json::from_str::<BTreeMap<String, String>>(&asked.stdout).ok())
        })?;
        let export = |name: &str| {
            let value = exports.get(name).cloned();
            value.with_context(|| format!("`deployer sandbox env` names no {name}"))
        };
        (self.aws, self.gcp) = (
            export("AWS_ENDPOINT_URL")?,
            export("DEPLOYER_GCP_ENDPOINT")?,
        );
        for (name, value) in &exports {
            self.terminal.set(name, value);
        }
        Ok(())
    }

    /// Fails, naming the Debian package, when databases or caches would have no server behind them.
    fn has_servers(&self) -> Result<()> {
        let status = self.sandbox_status()?;
        for kind in ["postgres", "redis"] {
            let backed = status["backing"][kind].as_str().unwrap_or("none: unknown");
            ensure!(!backed.starts_with("none"), "{kind}: {backed}");
        }
        Ok(())
    }

    /// Runs `deployer` as a person would and shows the lines that `say` chooses.
    pub fn deployer(&self, arguments: &[&str], say: Say) -> Result<Finished> {
        eprintln!("    $ deployer {}", arguments.join(" "));
        self.terminal.run(arguments, "", say)
    }

    /// Runs `deployer` on a terminal of this many columns, as [`Terminal::watched`] does.
    pub fn watched(&self, arguments: &[&str], columns: u16) -> Result<Finished> {
        eprintln!("    $ deployer {}", arguments.join(" "));
        self.terminal.watched(arguments, columns)
    }

    /// Sets a secret to a new value, through standard input.
    pub fn set_secret(&mut self, name: &str) -> Result<()> {
        let value = postgres::random()?;
        eprintln!("    $ openssl rand -hex 16 | deployer secrets set {name}");
        let set = self
            .terminal
            .run(&["secrets", "set", name], &value, Say::everything())?;
        self.secrets.push(value);
        set.exits(0)
    }

    /// Puts the manifest into the project, with the image of this version.
    pub fn use_version(&self, version: &str) -> Result<()> {
        let manifest = fs::read_to_string(workspace::root().join(MANIFEST))
            .with_context(|| format!("cannot read {MANIFEST}"))?;
        ensure!(manifest.contains(IMAGE), "{MANIFEST} does not use {IMAGE}");
        let image = images::directory().join(format!("idp-{version}"));
        let manifest = manifest.replace(IMAGE, &image.to_string_lossy());
        eprintln!("    the manifest's image is idp-{version}");
        fs::write(self.folder.join("project/deployer.toml"), manifest)?;
        Ok(())
    }

    /// The service on AWS, at the address that stands in for its load balancer.
    pub fn on_aws(&self) -> Result<Service> {
        let status = self.sandbox_status()?;
        let services = status["aws"]["status"]["services"].as_array();
        let service = services
            .into_iter()
            .flatten()
            .find(|known| known["name"] == SERVICE);
        let url = service.and_then(|service| service["url"].as_str());
        Ok(Service::at(url.with_context(|| {
            format!("AWS has no service {SERVICE}")
        })?))
    }

    /// The service on Google Cloud, at the address that Cloud Run gives it.
    pub fn on_gcp(&self) -> Result<Service> {
        let status = self.status()?;
        let service = status.iter().find(|entry| entry["cloud"] == "gcp");
        let url = service.and_then(|service| service["serving"]["url"].as_str());
        Ok(Service::at(url.with_context(|| {
            format!("Cloud Run has no address of {SERVICE}")
        })?))
    }

    /// Another project beside the demo's own, in a folder of this name: with the same clouds.
    pub fn project(&self, name: &str) -> Result<(Terminal, PathBuf)> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        Ok((self.terminal.in_folder(&folder), folder))
    }

    /// The version of a secret that the last release runs with, on each cloud.
    pub fn pinned(&self, secret: &str) -> Result<BTreeMap<String, String>> {
        let mut pinned = BTreeMap::new();
        for entry in self.status()? {
            let cloud = entry["cloud"]
                .as_str()
                .context("an entry names its cloud")?;
            let version = entry["release"]["secrets"][secret]["version"].as_str();
            let version =
                version.with_context(|| format!("{cloud} pins no version of {secret}"))?;
            pinned.insert(cloud.to_owned(), version.to_owned());
        }
        ensure!(
            pinned.len() == 2,
            "`deployer status` tells of {} clouds",
            pinned.len()
        );
        Ok(pinned)
    }

    /// Looks for every secret that the demo knows, and for any private key, in all that `deployer`
    /// printed and in every file of the project. Returns how many files there are.
    pub fn find_secrets(&self) -> Result<usize> {
        let mut files = Vec::new();
        for project in ["project", "the-combine"] {
            files_below(&self.folder.join(project), &mut files)?;
        }
        let said = self.terminal.everything_said();
        let mut texts = vec![("the output".to_owned(), said)];
        for file in &files {
            let content = String::from_utf8_lossy(&fs::read(file)?).into_owned();
            texts.push((file.display().to_string(), content));
        }
        for (place, text) in &texts {
            let known = self
                .secrets
                .iter()
                .any(|secret| text.contains(secret.as_str()));
            ensure!(
                !known && !text.contains("PRIVATE KEY-----"),
                "{place} holds a secret"
            );
        }
        Ok(files.len())
    }

    /// Fails when a cloud still has something of ours.
    pub fn nothing_is_left(&self) -> Result<()> {
        let status = self.sandbox_status()?;
        let (aws, gcp) = (&status["aws"]["status"], &status["gcp"]["status"]);
        let parts = [
            ("ECS service", &aws["services"]),
            ("App Runner service", &aws["apprunner"]),
            ("ECR repository", &aws["repositories"]),
            ("log group", &aws["log_groups"]),
            ("RDS instance", &aws["databases"]),
            ("ElastiCache group", &aws["caches"]),
            ("Cloud Run service", &gcp["services"]),
            ("Cloud SQL instance", &gcp["sql"]),
            ("Memorystore instance", &gcp["redis"]),
            ("container", &status["containers"]),
        ];
        for (kind, list) in parts {
            let list = list
                .as_array()
                .with_context(|| format!("no list of kind {kind}"))?;
            // App Runner keeps the log groups that it makes itself.
            let ours = |it: &&Value| {
                !it.as_str()
                    .is_some_and(|it| it.starts_with("/aws/apprunner/"))
            };
            let list: Vec<&Value> = list.iter().filter(ours).collect();
            ensure!(list.is_empty(), "a {kind} is left: {list:?}");
        }
        // Secrets Manager keeps a deleted secret for a while: to its clients it is gone.
        let secrets = self
            .terminal
            .run(&["secrets", "list", "--json"], "", Say::nothing())?;
        let secrets: Vec<Value> = serde_json::from_str(&secrets.stdout)?;
        ensure!(!secrets.is_empty(), "the manifest declares secrets");
        for secret in secrets {
            ensure!(
                secret["status"]["version"].is_null(),
                "a secret is left: {}",
                secret["name"]
            );
        }
        Ok(())
    }

    /// Ends everything and checks that it ended.
    pub fn clear(self) -> Result<()> {
        self.terminal.stop_sandbox()?;
        fs::remove_dir_all(&self.folder).context("cannot remove the demo's folder")
    }

    /// What `deployer status` says of the services.
    fn status(&self) -> Result<Vec<Value>> {
        let status = self
            .terminal
            .run(&["status", "--json"], "", Say::nothing())?;
        // Not 0 while something is wrong; what it says counts here.
        let mut entries: Vec<Value> = serde_json::from_str(&status.stdout)
            .context("`deployer status --json` prints no JSON")?;
        entries.retain(|entry| entry["service"].is_string());
        Ok(entries)
    }

    fn sandbox_status(&self) -> Result<Value> {
        let status = self
            .terminal
            .run(&["--json", "sandbox", "status"], "", Say::nothing())?;
        status.exits(0)?;
        serde_json::from_str(&status.stdout).context("`deployer sandbox status` prints no JSON")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Waits for an interruption that is under way, which ends everything and then this process.
        self.interrupt = None;
        self.terminal.end();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A folder named after this process; those of killed demos are cleared away, with their clouds.
fn empty_folder(binary: &Path) -> Result<PathBuf> {
    let parent = workspace::generated("demo");
    fs::create_dir_all(&parent)?;
    for entry in fs::read_dir(&parent)?.flatten() {
        if Path::new("/proc").join(entry.file_name()).exists() {
            continue;
        }
        let down = Command::new(binary)
            .args(["sandbox", "down"])
            .env("DEPLOYER_SANDBOX_HOME", entry.path().join("sandbox"))
            .stdout(Stdio::null())
            .status();
        ensure!(
            down.is_ok_and(|status| status.success()),
            "an earlier demo's clouds do not end"
        );
        fs::remove_dir_all(entry.path())?;
    }
    let folder = parent.join(std::process::id().to_string());
    fs::create_dir_all(folder.join("project"))?;
    Ok(folder)
}

/// Nothing of the caller's own clouds, proxies and settings reaches the demo.
fn plain_environment(folder: &Path) -> BTreeMap<OsString, OsString> {
    BTreeMap::from([
        ("PATH".into(), std::env::var_os("PATH").unwrap_or_default()),
        ("HOME".into(), folder.into()),
        (
            "DEPLOYER_SANDBOX_HOME".into(),
            folder.join("sandbox").into(),
        ),
    ])
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files_below(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

/// Looks again and again until there is something to see.
fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    while started.elapsed() < patience {
        if let Some(found) = look()? {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("{what} did not come within {} s", patience.as_secs())
}
