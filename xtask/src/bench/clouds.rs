//! A sandbox for a benchmark, in a folder of its own; gone when dropped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace;

/// Both clouds, and a folder for manifests.
pub struct Clouds {
    process: Child,
    binary: PathBuf,
    folder: PathBuf,
    environment: BTreeMap<String, String>,
}

impl Clouds {
    /// Starts them; `flags` are those of `sandbox up`.
    pub fn start(binary: &Path, name: &str, flags: &[&str]) -> Result<Self> {
        let folder = workspace::generated("bench").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("home"))?;
        let log = fs::File::create(folder.join("sandbox.log"))?;
        let process = Command::new(binary)
            .args(["sandbox", "up", "--foreground", "--no-moto"])
            .args(["--aws-port", "0", "--gcp-port", "0"])
            .args(flags)
            .env("DEPLOYER_SANDBOX_HOME", folder.join("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start the sandbox")?;
        let mut clouds = Self {
            process,
            binary: binary.to_owned(),
            folder,
            environment: BTreeMap::new(),
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while clouds.environment.is_empty() {
            if Instant::now() > deadline || clouds.process.try_wait()?.is_some() {
                let said = fs::read_to_string(clouds.folder.join("sandbox.log"));
                bail!("the sandbox does not start: {}", said.unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
            if let Ok(exports) = clouds.ask("env") {
                clouds.environment = serde_json::from_value(exports)?;
            }
        }
        Ok(clouds)
    }

    /// What `sandbox status` says.
    pub fn status(&self) -> Result<Value> {
        self.ask("status")
    }

    /// How many calls both clouds got so far, by name.
    pub fn calls(&self) -> Result<BTreeMap<String, u64>> {
        let status = self.status()?;
        let mut calls = BTreeMap::new();
        for cloud in ["aws", "gcp"] {
            let named = status["calls"][cloud].as_object();
            let named = named.context("the sandbox does not count calls")?;
            for (name, count) in named {
                let count = count.as_u64().unwrap_or_default();
                *calls.entry(format!("{cloud} {name}")).or_default() += count;
            }
        }
        Ok(calls)
    }

    fn ask(&self, what: &str) -> Result<Value> {
        let mut command = self.program(&self.binary.clone());
        let output = command.args(["--json", "sandbox", what]).output()?;
        serde_json::from_slice(&output.stdout).context("the sandbox has no answer")
    }

    /// A program that reaches these clouds and nothing else.
    pub fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("DEPLOYER_SANDBOX_HOME", self.folder.join("home"))
            .envs(&self.environment);
        command
    }

    /// `deployer` with these arguments.
    pub fn deployer(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(&self.binary.clone());
        command.args(arguments);
        command
    }

    /// Writes the manifest.
    pub fn want(&self, manifest: &str) -> Result<()> {
        fs::write(self.folder.join("deployer.toml"), manifest)?;
        Ok(())
    }
}

impl Drop for Clouds {
    fn drop(&mut self) {
        let down = self.deployer(&["sandbox", "down"]).output();
        if !down.is_ok_and(|output| output.status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A manifest of so many services with this image, for both clouds.
pub fn manifest(services: usize, image: &Path, more: &str) -> String {
    let mut text = "app = \"bench\"\nenvironment = \"run\"\n".to_owned();
    for number in 1..=services {
        text.push_str(&format!(
            r#"
[services.s{number}]
image = "{image}"
port = 3000
cpu = 1
memory = "2GiB"
health = {{ path = "/health", command = ["CMD", "/app/idp", "healthcheck"], interval = "5s", timeout = "2s" }}
env = {{ GREETING = "hello", ISSUER = "https://idp.example.com"{more} }}
"#,
            image = image.display()
        ));
    }
    text.push_str(
        r#"
[targets.aws]
account = "123456789012"
region = "us-east-1"
cluster = "default"
subnets = ["subnet-0a1b2c3d4e5f60001"]
security_groups = ["sg-0a1b2c3d4e5f60003"]
execution_role = "bench-execution"
task_role = "bench-task"

[targets.gcp]
project = "sandbox-project"
region = "us-central1"
"#,
    );
    text
}
