//! AWS emulators that others wrote, and a project that is deployed on one of them.

mod registry;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::deployer::{Deployer, Finished, exit};
use crate::manifest::{ACCOUNT, Manifest, REGION};
use crate::prepared::Prepared;
use crate::python;
use crate::recorder::{Recorder, Side};
use crate::wait;

use registry::Registry;

/// Both start within seconds where nothing else runs.
const STARTED: Duration = Duration::from_secs(60);

/// A running emulator; it ends when dropped.
pub struct Emulator {
    process: Child,
    url: String,
    access_key: &'static str,
}

impl Emulator {
    /// moto: services never settle, tasks end well without running, what it lacks is HTTP 500
    /// without a code.
    pub fn moto(prepared: &Prepared) -> Self {
        let port = free_port();
        let mut program = Command::new(prepared.python_program("moto_server"));
        program.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        Self::start(&mut program, port, "/moto-api/", "AKIDMOTO000000000000")
    }

    /// ministack: services settle, tasks run without ever ending. `None` when it is not installed.
    pub fn ministack(prepared: &Prepared) -> Option<Self> {
        let program = prepared.python_program("../ministack/bin/ministack");
        if !Path::new(&program).is_file() {
            return None;
        }
        let port = free_port();
        let mut program = Command::new(program);
        program.env("BIND_HOST", "127.0.0.1");
        program.env("GATEWAY_PORT", port.to_string());
        // It takes an access key of twelve digits for the account.
        Some(Self::start(
            &mut program,
            port,
            "/_ministack/health",
            ACCOUNT,
        ))
    }

    fn start(program: &mut Command, port: u16, alive: &str, access_key: &'static str) -> Self {
        let process = program
            .env("MOTO_ACCOUNT_ID", ACCOUNT)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the emulator can be started");
        let emulator = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            access_key,
        };
        let alive = format!("{}{alive}", emulator.url);
        wait::until("the emulator", STARTED, || ureq::get(&alive).call().ok());
        emulator
    }

    /// The variables with which a client reaches it at `url`: itself, or a recorder before it.
    fn environment(&self, url: &str) -> BTreeMap<String, String> {
        [
            ("AWS_ENDPOINT_URL", url),
            ("AWS_ACCESS_KEY_ID", self.access_key),
            ("AWS_SECRET_ACCESS_KEY", "opens-only-a-local-emulator"),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

fn free_port() -> u16 {
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    free.local_addr().expect("a listener has an address").port()
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A project for AWS alone whose every call to an emulator is recorded.
pub struct Emulated {
    /// The binary in the project's folder.
    pub deployer: Deployer,
    /// What is deployed; written by `change`.
    pub manifest: Manifest,
    /// In front of the emulator.
    pub recorder: Recorder,
    /// What xtask prepared.
    pub prepared: Prepared,
    folder: TempDir,
    emulator: Emulator,
    _registry: Registry,
}

impl Emulated {
    /// Release 1.0.0 of the service, with a cluster and a network that are there, a zone
    /// `example.com` and a load balancer `front`.
    pub fn new(prepared: &Prepared, emulator: Emulator) -> Self {
        let made = python::run(
            prepared,
            "prepare_emulator.py",
            &[],
            &pairs(emulator.environment(&emulator.url)),
        );
        let registry = Registry::start();
        let recorder = Recorder::start(Side::Aws, &emulator.url);
        let mut environment = emulator.environment(recorder.url());
        let mut set = |name: &str, value: &str| environment.insert(name.into(), value.into());
        set("IDP_DATABASE_URL_AWS", "postgresql://a:b@127.0.0.1/c");
        set("IDP_CLIENT_SECRET", "the first secret");
        let mut manifest = Manifest::new("idp", prepared.image("1.0.0"));
        manifest.gcp = None;
        // None of them keeps the tags of scalable targets, so that whose one is cannot be told.
        manifest.replicas = "1".to_owned();
        manifest.aws = Some(format!("registry_endpoint = \"{}\"", registry.url()));
        let word = |made: &Value| made.as_str().expect("there is a network").to_owned();
        manifest.subnet = word(&made["subnets"][0]);
        manifest.second_subnet = word(&made["subnets"][1]);
        manifest.security_group = word(&made["security_group"]);
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let emulated = Self {
            deployer: Deployer::new(&prepared.binary, folder.path(), environment),
            manifest,
            recorder,
            prepared: prepared.clone(),
            folder,
            emulator,
            _registry: registry,
        };
        emulated.write();
        emulated
    }

    /// Changes the manifest and writes it.
    pub fn change(&mut self, change: impl FnOnce(&mut Manifest)) {
        change(&mut self.manifest);
        self.write();
    }

    /// Gives the service a name that leads to the load balancer.
    pub fn name(&mut self, name: &str) {
        self.change(|manifest| {
            let aws = manifest.aws.get_or_insert_default();
            aws.push_str(&format!(
                "\n[targets.aws.services.idp.dns]\nname = \"{name}\"\nzone = \"example.com\"\n\
                 load_balancer = \"front\"\n"
            ));
        });
    }

    fn write(&self) {
        let file = self.folder.path().join("deployer.toml");
        std::fs::write(file, self.manifest.text()).expect("the manifest can be written");
    }

    /// The plan as a document.
    #[track_caller]
    pub fn plan(&self) -> Value {
        self.deployer
            .run(&["plan", "--json"])
            .exits(exit::SUCCESS)
            .json()
    }

    /// The first service's entry of `status`.
    #[track_caller]
    pub fn service(&self) -> Value {
        self.deployer.run(&["status", "--json"]).json()[0].clone()
    }

    /// Panics unless the plan is empty and another `apply` with these arguments writes nothing.
    #[track_caller]
    pub fn assert_settled(&self, apply: &[&str]) -> Finished {
        let mark = self.recorder.mark();
        let plan = self.plan();
        assert_eq!(plan["empty"], true, "{plan:#}");
        let applied = self.deployer.run(apply).exits(exit::SUCCESS);
        assert_eq!(mark.writes(), Vec::<String>::new());
        applied
    }

    /// Runs a script against the emulator itself, not recorded.
    #[track_caller]
    pub fn ask(&self, script: &str, arguments: &[&str]) -> Value {
        let environment = pairs(self.emulator.environment(&self.emulator.url));
        python::run(&self.prepared, script, arguments, &environment)
    }

    /// What the vendor's clients say against a status: `stores.py`.
    #[track_caller]
    pub fn read_stores(&self) -> Value {
        let status = self.deployer.run(&["status", "--json"]).stdout;
        let file = self.folder.path().join("status.json");
        std::fs::write(&file, status).expect("the status can be written");
        self.ask("stores.py", &[&file.display().to_string()])
    }
}

fn pairs(environment: BTreeMap<String, String>) -> Vec<(String, String)> {
    environment.into_iter().collect()
}
