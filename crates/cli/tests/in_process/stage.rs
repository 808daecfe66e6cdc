//! Where one point is tried: a manifest with its image in a folder of its own, both clouds in this
//! process, an empty ledger.

// long: one stage, all of whose parts know each other

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use deployer::{Exit, Output, Stop, Surroundings};
use deployer_oci::Digest;
use deployer_sandbox::runner::{Behaviour, Simulated, Started};
use deployer_sandbox::{Clock, Options, Rates, Sandbox};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::calls::Calls;
use super::environment;
use super::ledger::KillingStore;
use super::time::VirtualTime;

pub const REGION: &str = "us-east-1";
pub const PROJECT: &str = "sandbox-project";
pub const LOCATION: &str = "us-central1";

/// What the manifest says that scenarios vary.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Of the image.
    pub version: u32,
    pub greeting: &'static str,
    /// The value of the secret that people give.
    pub mail_password: &'static str,
    /// Whether there is a secret that version 2 no longer wants.
    pub old_secret: bool,
    /// Whether there is a managed database and a managed cache.
    pub data: bool,
    /// Whether there is a key pair.
    pub keys: bool,
    /// How many services there are beside the one that everything is about: `s1` and so on, without
    /// variables and migrations.
    pub more_services: usize,
    /// How many instances that one is to have.
    pub replicas: u32,
    /// Whether nobody outside is to reach it; only Cloud Run opens and closes a service itself.
    pub internal: bool,
}

impl Wanted {
    pub const FIRST: Self = Self {
        version: 1,
        greeting: "hello",
        mail_password: "mail one",
        old_secret: false,
        data: false,
        keys: false,
        more_services: 0,
        replicas: 1,
        internal: false,
    };
}

/// Everything that one point has for itself.
pub struct Stage {
    environment: String,
    folder: TempDir,
    pub sandbox: Arc<Sandbox>,
    pub containers: Simulated,
    pub ledger: KillingStore,
    pub calls: Calls,
    pub time: VirtualTime,
    pub http: reqwest::Client,
    /// What the clouds held when the stage was set.
    #[allow(dead_code, reason = "not every test takes pictures")]
    pub began: Value,
    /// What the Google side lets in.
    pub token: String,
    /// How containers behave that are started from now on.
    script: Script,
}

type Play = Box<dyn Fn(&Started) -> Behaviour + Send>;
type Script = Arc<Mutex<Play>>;

fn lock(script: &Script) -> MutexGuard<'_, Play> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a command ended.
#[derive(Debug)]
pub enum Ended {
    Exit(Exit),
    Killed,
}

impl Stage {
    pub async fn set(time: &VirtualTime) -> Self {
        let usual = |started: &Started| Behaviour::usual(started.purpose);
        let script: Script = Arc::new(Mutex::new(Box::new(usual)));
        let played = Arc::clone(&script);
        let containers = Simulated::new(move |started| lock(&played)(started));
        let calls = Calls::new(time.clone());
        let clock = Clock::given(Arc::new(time.clone()));
        let options = Options::simulated(containers.clone(), clock).expect("a key can be made");
        let options = Options {
            observer: Some(Arc::new(calls.clone())),
            rates: Rates::Enforced,
            ..options
        };
        let sandbox = deployer_sandbox::serve(options).await.expect("it starts");
        let running = sandbox.running();
        let credentials = environment::credentials().expect("the parent names a file");
        std::fs::copy(&running.credentials, credentials).expect("the key can be copied");
        let token = std::fs::read_to_string(&running.token).expect("a token");
        Self {
            token,
            script,
            environment: "test".to_owned(),
            folder: with_images(),
            began: sandbox.dump(),
            sandbox: Arc::new(sandbox),
            containers,
            ledger: KillingStore::new(time.clone()),
            calls,
            time: time.clone(),
            http: reqwest::Client::new(),
        }
    }

    /// Another environment of the same app in the same clouds, with a ledger of its own.
    pub fn beside(&self, environment: &str) -> Self {
        Self {
            environment: environment.to_owned(),
            folder: with_images(),
            ledger: KillingStore::new(self.time.clone()),
            began: self.began.clone(),
            sandbox: Arc::clone(&self.sandbox),
            containers: self.containers.clone(),
            calls: self.calls.clone(),
            time: self.time.clone(),
            http: self.http.clone(),
            token: self.token.clone(),
            script: Arc::clone(&self.script),
        }
    }

    /// The environment's name.
    #[allow(dead_code, reason = "not every test has several")]
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// What the service is called on both clouds.
    pub fn service(&self) -> String {
        format!("swept-{}-idp", self.environment)
    }

    /// Containers that are started from now on take so long until they are healthy.
    pub fn containers_take(&self, takes: Duration) {
        self.behave(move |started| {
            let usual = Behaviour::usual(started.purpose);
            Behaviour {
                takes: usual.takes.max(takes),
                ..usual
            }
        });
    }

    /// Containers that are started from now on behave so.
    pub fn behave(&self, script: impl Fn(&Started) -> Behaviour + Send + 'static) {
        *lock(&self.script) = Box::new(script);
    }

    /// Where the manifest is.
    pub fn folder(&self) -> std::path::Display<'_> {
        self.folder.path().display()
    }

    /// Writes a file; gives its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("a file can be written");
        path.display().to_string()
    }

    /// Writes another image, of this architecture.
    pub fn write_image(&self, version: u32, architecture: &str) {
        write_image(self.folder.path(), version, architecture);
    }

    /// Writes another image: what an index says of its platform, if anything does, and its
    /// configuration.
    pub fn write_image_of(&self, version: u32, index_says: Option<&str>, config: &Value) {
        write_layout(self.folder.path(), version, index_says, config);
    }

    /// The digest of a version's manifest.
    pub fn digest(&self, version: u32) -> String {
        let index = self
            .folder
            .path()
            .join(format!("image-{version}/index.json"));
        let index = std::fs::read(index).expect("the image is there");
        let index: Value = serde_json::from_slice(&index).expect("JSON");
        let digest = index["manifests"][0]["digest"].as_str();
        digest.expect("an index names a manifest").to_owned()
    }

    /// Writes the manifest.
    pub fn want(&self, wanted: &Wanted) {
        let path = |name: &str| self.folder.path().join(name);
        std::fs::write(path("deployer.toml"), self.manifest(wanted)).expect("a manifest");
        std::fs::write(path("mail-password"), wanted.mail_password).expect("a secret");
    }

    /// Gives the service another variable from a secret, and the manifest more tables.
    pub fn want_also(&self, variable: &str, tables: &str) {
        let path = self.folder.path().join("deployer.toml");
        let manifest = std::fs::read_to_string(&path).expect("a manifest");
        let env = "[services.idp.env]\n";
        let manifest = manifest.replace(env, &format!("{env}{variable}\n"));
        std::fs::write(path, format!("{manifest}\n{tables}\n")).expect("a manifest");
    }

    /// Changes the text of the manifest.
    #[allow(dead_code, reason = "not every test changes it")]
    pub fn edit(&self, change: impl FnOnce(String) -> String) {
        let path = self.folder.path().join("deployer.toml");
        let manifest = std::fs::read_to_string(&path).expect("a manifest");
        std::fs::write(path, change(manifest)).expect("a manifest");
    }

    /// Takes the migration out of the manifest.
    pub fn want_no_migration(&self) {
        let path = self.folder.path().join("deployer.toml");
        let manifest = std::fs::read_to_string(&path).expect("a manifest");
        let migrate = "[services.idp.migrate]\ncommand = [\"migrate\"]\ntimeout = \"5m\"\n";
        assert!(manifest.contains(migrate));
        std::fs::write(path, manifest.replace(migrate, "")).expect("a manifest");
    }

    /// Runs a command on one cloud to its end, or until it is killed.
    pub async fn run(&self, words: &[&str], cloud: &str) -> (Ended, String) {
        let manifest = self
            .folder
            .path()
            .join("deployer.toml")
            .display()
            .to_string();
        self.run_as_typed(&on(words, cloud, &manifest)).await
    }

    /// Runs a command of exactly these arguments to its end, or until it is killed.
    pub async fn run_as_typed(&self, arguments: &[&str]) -> (Ended, String) {
        let ledger = Some(Arc::new(self.ledger.clone()) as _);
        self.run_stopped(Stop::default(), ledger, arguments).await
    }

    /// The same with the ledger where the manifest says.
    #[allow(dead_code, reason = "not every test has a ledger of its own")]
    pub async fn run_with_files(&self, arguments: &[&str]) -> (Ended, String) {
        self.run_stopped(Stop::default(), None, arguments).await
    }

    /// The same with a ledger of the caller's, where somebody may ask it to stop.
    pub async fn run_stopped(
        &self,
        stop: Stop,
        ledger: Option<Arc<dyn object_store::ObjectStore>>,
        arguments: &[&str],
    ) -> (Ended, String) {
        let surroundings = Surroundings {
            clock: Arc::new(self.time.clone()),
            stop: Some(stop),
            ledger,
            ledger_moved: false,
        };
        let output = Output::default();
        let command = deployer::captured(output.clone(), deployer::run(arguments, surroundings));
        let ended = tokio::select! {
            biased;
            () = self.ledger.killed() => Ended::Killed,
            exit = command => Ended::Exit(exit),
        };
        (ended, output.text())
    }

    /// Runs a command on one cloud until a hand has done its work; what the command said by then.
    #[allow(dead_code, reason = "not every test follows anything")]
    pub async fn run_until(
        &self,
        words: &[&str],
        cloud: &str,
        hand: impl Future<Output = ()>,
    ) -> String {
        let manifest = self.folder.path().join("deployer.toml");
        let manifest = manifest.display().to_string();
        let arguments = on(words, cloud, &manifest);
        let stop = Stop::default();
        let surroundings = Surroundings {
            clock: Arc::new(self.time.clone()),
            stop: Some(stop),
            ledger: Some(Arc::new(self.ledger.clone())),
            ledger_moved: false,
        };
        let output = Output::default();
        let command = deployer::captured(output.clone(), deployer::run(&arguments, surroundings));
        tokio::select! {
            biased;
            exit = command => panic!("it ended with {exit:?}:\n{}", output.text()),
            () = hand => {}
        }
        output.text()
    }

    /// For calls to AWS by another hand than the program's.
    pub async fn aws(&self) -> SdkConfig {
        aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&self.sandbox.aws_url)
            .load()
            .await
    }

    /// Calls Google by another hand than the program's: a path with its version, and what is sent,
    /// if anything.
    pub async fn google(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.sandbox.gcp_url);
        let call = self.http.request(method, url).bearer_auth(&self.token);
        let call = match &body {
            Some(body) => call.json(body),
            None => call,
        };
        let answer = call.send().await.expect("an answer");
        let answer = answer.error_for_status().expect("no refusal");
        answer.json().await.expect("JSON")
    }

    /// Logs a person in instead of the service account; their calls count against that project.
    #[allow(dead_code, reason = "not every test counts calls")]
    pub fn log_in(&self, quota_project: Option<&str>) {
        let mut login = json!({
            "type": "authorized_user", "client_id": "a-person's", "client_secret": "none",
            "refresh_token": self.token, "token_uri": format!("{}/token", self.sandbox.gcp_url),
        });
        if let Some(project) = quota_project {
            login["quota_project_id"] = json!(project);
        }
        let credentials = environment::credentials().expect("the parent names a file");
        std::fs::write(credentials, login.to_string()).expect("a login");
    }

    /// Puts the faults of a file in force.
    pub async fn disturb(&self, faults: &str) {
        let url = format!("{}/_sandbox/faults", self.sandbox.aws_url);
        let call = self.http.post(url).body(faults.to_owned());
        let sent = call
            .bearer_auth(&self.sandbox.running().control_token)
            .send()
            .await;
        let answer = sent.expect("an answer").error_for_status();
        answer.expect("good rules");
    }

    /// Puts the constraints of the organization's policies in force that are named, and no others.
    pub async fn constrain(&self, constraints: &[&str]) {
        let url = format!("{}/_sandbox/organization", self.sandbox.gcp_url);
        let call = self.http.post(url).json(constraints);
        let sent = call
            .bearer_auth(&self.sandbox.running().control_token)
            .send()
            .await;
        let answer = sent.expect("an answer").error_for_status();
        answer.expect("known constraints");
    }

    /// Puts Google's project into a folder whose policy gives a role to a member.
    #[allow(dead_code, reason = "not every test has a folder")]
    pub async fn put_into_folder(&self, role: &str, member: &str) {
        let url = format!("{}/_sandbox/folder", self.sandbox.gcp_url);
        let call = self.http.post(url).json(&(role, member));
        let sent = call
            .bearer_auth(&self.sandbox.running().control_token)
            .send()
            .await;
        let answer = sent.expect("an answer").error_for_status();
        answer.expect("it is noted");
    }

    /// Links Google's project to a billing account, or unlinks it.
    #[allow(dead_code, reason = "not every test switches APIs on")]
    pub async fn bill(&self, linked: bool) {
        let url = format!("{}/_sandbox/billing", self.sandbox.gcp_url);
        let call = self.http.post(url).json(&linked);
        let sent = call
            .bearer_auth(&self.sandbox.running().control_token)
            .send()
            .await;
        let answer = sent.expect("an answer").error_for_status();
        answer.expect("it is noted");
    }

    /// How often each of the faults in force was met.
    pub async fn fired_all(&self) -> Vec<u64> {
        let status = self.status().await;
        let rules = status["faults"]["rules"].as_array().expect("rules");
        let fired = rules.iter().map(|rule| rule["fired"].as_u64());
        fired.map(|fired| fired.expect("a number")).collect()
    }

    /// How often the first of the faults in force was met.
    pub async fn fired(&self) -> u64 {
        let status = self.status().await;
        let fired = &status["faults"]["rules"][0]["fired"];
        fired.as_u64().expect("a rule is in force")
    }

    /// What the sandbox says of itself.
    pub async fn status(&self) -> Value {
        let url = format!("{}/_sandbox/status", self.sandbox.aws_url);
        let call = self.http.get(url);
        let call = call.bearer_auth(&self.sandbox.running().control_token);
        let answer = call.send().await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    /// The calls that came too fast for their API and were refused, by name.
    pub async fn refused(&self) -> Value {
        self.status().await["rates"]["rejected"].clone()
    }

    /// Whether a service is on hold.
    pub async fn has_hold(&self) -> bool {
        self.ledger
            .standing()
            .await
            .iter()
            .any(|path| path.as_ref().contains("/holds/"))
    }

    /// Ends the clouds, unless another environment still uses them.
    pub async fn clear(self) {
        if let Some(sandbox) = Arc::into_inner(self.sandbox) {
            sandbox.shutdown().await;
        }
    }

    fn manifest(&self, wanted: &Wanted) -> String {
        let Wanted {
            version,
            greeting,
            replicas,
            ..
        } = wanted;
        let (aws, gcp) = (&self.sandbox.aws_url, &self.sandbox.gcp_url);
        let old = |text: &'static str| if wanted.old_secret { text } else { "" };
        let data = |text: &'static str| if wanted.data { text } else { "" };
        let internal = |text: &'static str| if wanted.internal { text } else { "" };
        let keys = |text: &'static str| if wanted.keys { text } else { "" };
        let given = |text: &'static str| if wanted.data { "" } else { text };
        format!(
            r#"app = "swept"
environment = "{environment}"

[services.idp]
image = "oci:image-{version}"
port = 3000
cpu = 1
memory = "2GiB"
replicas = {replicas}

[services.idp.health]
path = "/health"
command = ["CMD", "/app", "healthcheck"]

[services.idp.env]
GREETING = "{greeting}"
DATABASE_URL = {{ secret = "database-url" }}
MAIL_PASSWORD = {{ secret = "mail-password" }}
COOKIE_KEY = {{ secret = "cookie-key" }}
{old_variable}
{data_variable}
{keys_variable}

[services.idp.migrate]
command = ["migrate"]
timeout = "5m"

[secrets.mail-password]
from = {{ file = "mail-password" }}

[secrets.cookie-key]
from = {{ generate = "hex:32" }}
{old_secret}
{database_url}
{databases}
{keys}
{more_services}

[targets.aws]
account = "123456789012"
region = "{REGION}"
endpoint = "{aws}"
cluster = "default"
subnets = ["subnet-0a1b2c3d4e5f60001", "subnet-0a1b2c3d4e5f60002"]
security_groups = ["sg-0a1b2c3d4e5f60003"]
execution_role = "idp-execution"
task_role = "idp-task"

[targets.gcp]
project = "{PROJECT}"
region = "{LOCATION}"
endpoint = "{gcp}"
{network}
{internal}
"#,
            environment = self.environment,
            old_variable = old(r#"OLD = { secret = "old" }"#),
            old_secret = old("[secrets.old]\nfrom = { generate = \"hex:16\" }"),
            data_variable = data(
                "REDIS_URL = { secret = \"redis-url\" }\nREDIS_CA = { secret = \"redis-ca\" }"
            ),
            keys_variable = keys(
                "JWT_PRIVATE_KEY = { secret = \"jwt-private\" }\nJWT_PUBLIC_KEY = { secret = \"jwt-public\" }"
            ),
            keys = keys("[keys.jwt]\nprivate = \"jwt-private\"\npublic = \"jwt-public\""),
            database_url = given("[secrets.database-url]\nfrom = { generate = \"hex:16\" }"),
            databases = data(
                "[databases.main]\nurl = \"database-url\"\ndeletion_protection = false\nstorage = \"20GiB\"\n\n\
                 [caches.sessions]\nurl = \"redis-url\"\nauthority = \"redis-ca\""
            ),
            more_services = (1..=wanted.more_services)
                .map(|number| format!("[services.s{number}]\nimage = \"oci:image-{version}\"\nport = 3000\nhealth = {{ path = \"/\", command = [\"CMD\", \"/app\"] }}\n"))
                .collect::<String>(),
            internal = internal("[targets.gcp.services.idp]\ningress = \"internal\""),
            network = data("network = \"default\"\nsubnetwork = \"default\""),
        )
    }
}

/// A command on one cloud: what names that stands before a command of somebody else's.
fn on<'a>(words: &[&'a str], cloud: &'a str, manifest: &'a str) -> Vec<&'a str> {
    let end = words.iter().position(|word| *word == "--");
    let (own, theirs) = words.split_at(end.unwrap_or(words.len()));
    [own, &["--cloud", cloud, "--manifest", manifest], theirs].concat()
}

/// A folder with the images of both versions.
fn with_images() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for version in 1..=2 {
        write_image(folder.path(), version, "amd64");
    }
    folder
}

fn write_image(folder: &Path, version: u32, architecture: &str) {
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": { "Entrypoint": ["/app"], "Cmd": ["serve"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{:064}", version)] },
    });
    write_layout(folder, version, None, &config);
}

/// An image layout without a program in it: nothing runs it.
fn write_layout(folder: &Path, version: u32, index_says: Option<&str>, config: &Value) {
    let layout = folder.join(format!("image-{version}"));
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("a folder");
    let put = |bytes: &[u8], kind: &str| {
        let digest = Digest::of(bytes);
        let name = digest.as_str().trim_start_matches("sha256:");
        std::fs::write(blobs.join(name), bytes).expect("a blob");
        json!({ "mediaType": kind, "digest": digest.as_str(), "size": bytes.len() })
    };
    let json = |value: Value| value.to_string().into_bytes();
    let layer = put(
        format!("layer of version {version}").as_bytes(),
        "application/vnd.oci.image.layer.v1.tar+gzip",
    );
    let config = put(
        &json(config.clone()),
        "application/vnd.oci.image.config.v1+json",
    );
    let manifest_kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json(json!({
        "schemaVersion": 2, "mediaType": manifest_kind, "config": config, "layers": [layer],
    }));
    let mut top = put(&manifest, manifest_kind);
    if let Some(architecture) = index_says {
        top["platform"] = json!({ "os": "linux", "architecture": architecture });
        let index_kind = "application/vnd.oci.image.index.v1+json";
        let index = json(json!({
            "schemaVersion": 2, "mediaType": index_kind, "manifests": [top],
        }));
        top = put(&index, index_kind);
    }
    let index = json(json!({ "schemaVersion": 2, "manifests": [top] }));
    std::fs::write(layout.join("index.json"), index).expect("an index");
    std::fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("a layout");
}
