//! A sandbox of its own for a test file, started through the binary and stopped when no test needs
//! it.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::deployer::{Deployer, Finished};
use crate::prepared::Prepared;
use crate::wait;

/// How many seconds of a cloud's waiting pass in one.
pub const SPEED: &str = "200";

/// A running sandbox; its processes end when it is dropped.
pub struct Sandbox {
    prepared: Prepared,
    process: Child,
    home: TempDir,
    /// What `deployer sandbox env` exports.
    pub exports: BTreeMap<String, String>,
}

impl Sandbox {
    /// Starts one on free ports.
    pub fn start(prepared: &Prepared) -> Self {
        Self::start_with(prepared, &[])
    }

    /// Starts one on free ports, with these arguments of `sandbox up` beside the usual ones.
    pub fn start_with(prepared: &Prepared, arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        let log = File::create(home.path().join("sandbox.log")).expect("the log can be made");
        let mut up = Command::new(&prepared.binary);
        up.args(["sandbox", "up", "--foreground", "--no-moto"]);
        if !arguments.contains(&"--speed") {
            up.args(["--speed", SPEED]);
        }
        up.args(["--aws-port", "0", "--gcp-port", "0"]);
        up.args(arguments);
        let process = up
            .env("DEPLOYER_SANDBOX_HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary can be started");
        let mut sandbox = Self {
            prepared: prepared.clone(),
            process,
            home,
            exports: BTreeMap::new(),
        };
        sandbox.exports = wait::until("the sandbox", Duration::from_secs(60), || {
            if let Ok(Some(status)) = sandbox.process.try_wait() {
                panic!("the sandbox ended with {status}: {}", sandbox.log());
            }
            serde_json::from_value(sandbox.ask(&["env"])?).ok()
        });
        sandbox
    }

    /// The sandbox that the tests of one file share through `shared`; started by the first one.
    pub fn shared(shared: &Shared, prepared: &Prepared) -> Arc<Self> {
        Self::shared_with(shared, prepared, &[])
    }

    /// The same, started as [`Sandbox::start_with`] does.
    pub fn shared_with(shared: &Shared, prepared: &Prepared, arguments: &[&str]) -> Arc<Self> {
        let mut shared = shared.lock();
        if let Some(sandbox) = shared.upgrade() {
            return sandbox;
        }
        let sandbox = Arc::new(Self::start_with(prepared, arguments));
        *shared = Arc::downgrade(&sandbox);
        sandbox
    }

    /// The base URL of the AWS side.
    pub fn aws_url(&self) -> &str {
        &self.exports["AWS_ENDPOINT_URL"]
    }

    /// The base URL of the Google side.
    pub fn gcp_url(&self) -> &str {
        &self.exports["DEPLOYER_GCP_ENDPOINT"]
    }

    /// What `deployer sandbox status` says.
    pub fn status(&self) -> Value {
        self.ask(&["status"]).expect("the sandbox has a status")
    }

    /// The address that stands in for the load balancer of an ECS service.
    pub fn ecs_address(&self, service: &str) -> String {
        let status = self.status();
        let services = status["aws"]["status"]["services"].as_array();
        let named = services
            .into_iter()
            .flatten()
            .find(|known| known["name"] == service);
        let address = named.and_then(|known| known["url"].as_str());
        address
            .unwrap_or_else(|| panic!("the sandbox runs no ECS service `{service}`: {status}"))
            .to_owned()
    }

    /// Puts faults in force, and no others: a call, when, and what becomes of it. None of them has
    /// seen a call yet.
    #[track_caller]
    pub fn disturb(&self, faults: &[(&str, &str, &str)]) {
        let rules = faults.iter().map(|(call, when, what)| {
            format!("[[fault]]\ncall = \"{call}\"\n{when}\nwhat = \"{what}\"\n")
        });
        let url = format!("{}/_sandbox/faults", self.aws_url());
        let post = ureq::post(&url).header("authorization", self.control());
        let sent = post.send(rules.collect::<String>());
        sent.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Everything that both clouds hold, as they keep it.
    pub fn dump(&self) -> Value {
        self.control_says("dump")
    }

    fn control_says(&self, what: &str) -> Value {
        let url = format!("{}/_sandbox/{what}", self.aws_url());
        let get = ureq::get(&url).header("authorization", self.control());
        let mut answer = get.call().expect("the sandbox answers");
        // Larger than what is read of an answer by itself.
        let body = answer.body_mut().with_config().limit(u64::MAX);
        let said = body.read_to_string().expect("text");
        serde_json::from_str(&said).expect("JSON")
    }

    /// How often the faults in force have fired.
    pub fn disturbed(&self) -> u64 {
        let status = self.control_says("status");
        let rules = status.pointer("/faults/rules").and_then(Value::as_array);
        let fired = rules
            .into_iter()
            .flatten()
            .map(|rule| rule["fired"].as_u64());
        fired.flatten().sum()
    }

    /// What its control endpoints want as `Authorization`.
    pub fn control(&self) -> String {
        let running = std::fs::read_to_string(self.home.path().join("running.json"));
        let running = running.expect("the sandbox says how to reach it");
        let running: Value = serde_json::from_str(&running).expect("JSON");
        let token = running["control_token"].as_str().expect("a token");
        format!("Bearer {token}")
    }

    /// `deployer sandbox` with these arguments, as somebody types it who means this one.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        let home = self.home.path();
        let variable = (
            "DEPLOYER_SANDBOX_HOME".to_owned(),
            home.display().to_string(),
        );
        let deployer = Deployer::new(&self.prepared.binary, home, BTreeMap::from([variable]));
        deployer.run(&[&["sandbox"], arguments].concat())
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("sandbox.log")).unwrap_or_default()
    }

    fn ask(&self, question: &[&str]) -> Option<Value> {
        let mut ask = Command::new(&self.prepared.binary);
        ask.args(["--json", "sandbox"]).args(question);
        let output = ask
            .env("DEPLOYER_SANDBOX_HOME", self.home.path())
            .output()
            .ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let mut down = Command::new(&self.prepared.binary);
        down.args(["sandbox", "down"])
            .env("DEPLOYER_SANDBOX_HOME", self.home.path());
        let stopped = down.output().is_ok_and(|output| output.status.success());
        if !stopped {
            // Its containers end with it.
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// Holds the sandbox of a test file while any of its tests does.
pub struct Shared(Mutex<Weak<Sandbox>>);

impl Shared {
    /// None yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    fn lock(&self) -> MutexGuard<'_, Weak<Sandbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}
