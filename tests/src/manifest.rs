//! The test service's manifest, with what the tests vary.

use std::fmt::Write;
use std::path::PathBuf;

/// The account that the sandbox and moto have.
pub const ACCOUNT: &str = "123456789012";
/// The AWS region.
pub const REGION: &str = "us-east-1";
/// The project that the sandbox has.
pub const PROJECT: &str = "sandbox-project";
/// The Google region.
pub const LOCATION: &str = "us-central1";

/// What the manifest of one test says.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The app: everything is named after it, so tests can share a cloud.
    pub app: String,
    /// Where the image is.
    pub image: PathBuf,
    /// A plain variable that the service shows.
    pub greeting: String,
    /// Whether there is a migration.
    pub migrates: bool,
    /// Whether it is run by ECS Exec, in a task that waits for it.
    pub migrates_by_exec: bool,
    /// How long a migration may take. Cloud Run ends it then, in the sandbox's time.
    pub migration_timeout: String,
    /// A regular expression that the health path must answer with, beside what is asked of every
    /// service.
    pub promise: Option<String>,
    /// Generated secrets beside those that the service needs, by name; each in a variable.
    pub extra_secrets: Vec<String>,
    /// How many instances, as TOML.
    pub replicas: String,
    /// The tasks' subnet.
    pub subnet: String,
    /// Another one, in another zone: a database wants two.
    pub second_subnet: String,
    /// The tasks' security group.
    pub security_group: String,
    /// Keys of a managed database, which stands with a managed cache in place of the tests' own
    /// PostgreSQL; neither when `None`.
    pub managed: Option<String>,
    /// Keys of `[targets.aws]` beside the usual ones; no AWS target when `None`.
    pub aws: Option<String>,
    /// Keys of `[targets.gcp]` beside the usual ones; no Google target when `None`.
    pub gcp: Option<String>,
    /// Whether it is App Runner that runs it on AWS, in place of ECS.
    pub app_runner: bool,
}

impl Manifest {
    /// Both clouds, with a migration.
    pub fn new(app: &str, image: PathBuf) -> Self {
        Self {
            app: app.to_owned(),
            image,
            greeting: "hello".to_owned(),
            migrates: true,
            migrates_by_exec: false,
            migration_timeout: "5m".to_owned(),
            promise: None,
            extra_secrets: Vec::new(),
            replicas: "{ min = 1, max = 2 }".to_owned(),
            subnet: "subnet-0a1b2c3d4e5f60001".to_owned(),
            second_subnet: "subnet-0a1b2c3d4e5f60002".to_owned(),
            security_group: "sg-0a1b2c3d4e5f60003".to_owned(),
            managed: None,
            aws: Some(String::new()),
            gcp: Some(String::new()),
            app_runner: false,
        }
    }

    /// The ECS service's name, and the family's, and the Cloud Run service's.
    pub fn service_name(&self) -> String {
        format!("{}-test-idp", self.app)
    }

    /// The TOML.
    pub fn text(&self) -> String {
        let mut text = format!(
            r#"app = "{app}"
environment = "test"

[services.idp]
image = "{image}"
port = 3000
cpu = 1
memory = "2GiB"
replicas = {replicas}

[services.idp.health]
path = "/health"
{command}interval = "5s"
timeout = "2s"

[services.idp.env]
DATABASE_URL = {{ secret = "database-url" }}
JWT_PRIVATE_KEY = {{ secret = "jwt-private-key" }}
JWT_PUBLIC_KEY = {{ secret = "jwt-public-key" }}
SEED_CLIENT_SECRET = {{ secret = "client-secret" }}
GREETING = "{greeting}"
ISSUER = "https://idp.example.com"
"#,
            app = self.app,
            image = self.image.display(),
            greeting = self.greeting,
            replicas = self.replicas,
            // App Runner asks over HTTP alone.
            command = match self.app_runner {
                true => "",
                false => "command = [\"CMD\", \"/app/idp\", \"healthcheck\"]\n",
            },
        );
        for name in &self.extra_secrets {
            let variable = name.to_uppercase().replace('-', "_");
            line(
                &mut text,
                &format!("{variable} = {{ secret = \"{name}\" }}"),
            );
        }
        if self.managed.is_some() {
            line(
                &mut text,
                "REDIS_URL = { secret = \"redis-url\" }\nREDIS_CA = { secret = \"redis-ca\" }",
            );
        }
        if self.migrates {
            let program = match self.migrates_by_exec {
                true => "mode = \"exec\"\ncommand = [\"/app/idp\", \"migrate\"]",
                false => "command = [\"migrate\"]",
            };
            line(
                &mut text,
                &format!(
                    "\n[services.idp.migrate]\n{program}\ntimeout = \"{}\"",
                    self.migration_timeout
                ),
            );
        }
        if let Some(body) = &self.promise {
            line(
                &mut text,
                &format!("\n[[services.idp.verify.checks]]\npath = \"/health\"\nbody = '{body}'"),
            );
        }
        if let Some(database) = &self.managed {
            line(
                &mut text,
                &format!(
                    "\n[databases.main]\nurl = \"database-url\"\ndeletion_protection = false\n{database}\n\n\
                     [caches.sessions]\nurl = \"redis-url\"\nauthority = \"redis-ca\""
                ),
            );
        }
        line(
            &mut text,
            r#"
[secrets.database-url]
on_rollback = "follow"

[secrets.client-secret]
from = { env = "IDP_CLIENT_SECRET" }

[keys.jwt]
algorithm = "rsa:2048"
private = "jwt-private-key"
public = "jwt-public-key"

[tags]
team = "identity"
"#,
        );
        for name in &self.extra_secrets {
            line(
                &mut text,
                &format!("[secrets.{name}]\nfrom = {{ generate = \"hex:32\" }}\n"),
            );
        }
        if let Some(more) = &self.aws {
            line(
                &mut text,
                &format!(
                    r#"[targets.aws]
account = "{ACCOUNT}"
region = "{REGION}"
{runtime}
subnets = [{subnets}]
security_groups = ["{group}"]
execution_role = "idp-execution"
task_role = "idp-task"
{more}
{secrets}
"#,
                    runtime = match self.app_runner {
                        true => "runtime = \"app-runner\"\naccess_role = \"idp-access\"",
                        false => "cluster = \"default\"",
                    },
                    subnets = self.subnets(),
                    secrets = self.database_url_from("aws", "IDP_DATABASE_URL_AWS"),
                    group = self.security_group,
                ),
            );
        }
        if let Some(more) = &self.gcp {
            line(
                &mut text,
                &format!(
                    "[targets.gcp]\nproject = \"{PROJECT}\"\nregion = \"{LOCATION}\"\n{network}{more}\n{secrets}",
                    network = self.network(),
                    secrets = self.database_url_from("gcp", "IDP_DATABASE_URL_GCP"),
                ),
            );
        }
        text
    }

    fn subnets(&self) -> String {
        match self.managed {
            Some(_) => format!("\"{}\", \"{}\"", self.subnet, self.second_subnet),
            None => format!("\"{}\"", self.subnet),
        }
    }

    /// What is managed on Google has an address in the network.
    fn network(&self) -> &str {
        match self.managed {
            Some(_) => "network = \"default\"\nsubnetwork = \"default\"\n",
            None => "",
        }
    }

    fn database_url_from(&self, target: &str, variable: &str) -> String {
        match &self.managed {
            None => {
                format!(
                    "[targets.{target}.secrets.database-url]\nfrom = {{ env = \"{variable}\" }}"
                )
            }
            Some(_) => String::new(),
        }
    }
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes any text");
}
