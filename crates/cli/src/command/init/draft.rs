//! Writes a first manifest from what is known; what is not stands there as a comment to fill in.
//! Performs no IO.

use std::fmt::Write;

use super::dockerfile::Dockerfile;

/// What a first manifest is made from. What is `None` or empty is not known.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The app and its one service.
    pub app: String,
    /// Where the image comes from.
    pub image: Option<String>,
    /// The container's port.
    pub port: Option<u16>,
    /// The health path.
    pub health: Option<String>,
    /// What the Dockerfile says.
    pub dockerfile: Dockerfile,
    /// A managed PostgreSQL.
    pub database: bool,
    /// A managed Redis.
    pub cache: bool,
    /// The target on AWS.
    pub aws: Option<AwsDraft>,
    /// The target on Google Cloud.
    pub gcp: Option<GcpDraft>,
}

/// The target on AWS.
#[derive(Clone, Debug, Default)]
pub struct AwsDraft {
    /// The account.
    pub account: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The ECS cluster.
    pub cluster: Option<String>,
    /// Subnets of the tasks.
    pub subnets: Vec<String>,
    /// Security groups of the tasks.
    pub security_groups: Vec<String>,
    /// The role that pulls the image and reads the secrets.
    pub execution_role: Option<String>,
    /// The role of the app.
    pub task_role: Option<String>,
    /// Whether tasks get a public address, where that was said.
    pub assign_public_ip: Option<bool>,
    /// Whether App Runner runs the service, in place of ECS.
    pub app_runner: bool,
    /// The role with which App Runner pulls the image.
    pub access_role: Option<String>,
    /// What is said above the keys.
    pub remarks: AwsRemarks,
}

/// Where values of the target on AWS come from, and what else there is.
#[derive(Clone, Debug, Default)]
pub struct AwsRemarks {
    /// Of `cluster`.
    pub cluster: Option<String>,
    /// Of `subnets`.
    pub subnets: Option<String>,
    /// Of `execution_role`.
    pub execution_role: Option<String>,
    /// Of `task_role`.
    pub task_role: Option<String>,
}

/// The target on Google Cloud.
#[derive(Clone, Debug, Default)]
pub struct GcpDraft {
    /// The project's id.
    pub project: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The service account of the app.
    pub service_account: Option<String>,
    /// The network of direct egress.
    pub network: Option<String>,
    /// Its subnetwork.
    pub subnetwork: Option<String>,
    /// Whether everyone may call the service.
    pub public: bool,
    /// What is said above the keys.
    pub remarks: GcpRemarks,
}

/// Where values of the target on Google Cloud come from, and what else there is.
#[derive(Clone, Debug, Default)]
pub struct GcpRemarks {
    /// Of `service_account`.
    pub service_account: Option<String>,
    /// Of `network`.
    pub network: Option<String>,
}

/// The schema beside the manifest, by which editors complete and check it.
pub const SCHEMA: &str = "deployer.schema.json";

/// A manifest and the keys that are left to fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The text of `deployer.toml`.
    pub text: String,
    /// `targets.aws.account` and so on.
    pub missing: Vec<String>,
}

struct Page {
    text: String,
    table: String,
    missing: Vec<String>,
}

/// TOML's basic strings are JSON's, as far as one writes them.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(", "))
}

impl Page {
    fn line(&mut self, line: &str) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn table(&mut self, name: &str) {
        self.table = name.to_owned();
        self.line(&format!("\n[{name}]"));
    }

    /// The key with its value, or as a comment with an example where nobody knows it.
    fn needed(&mut self, key: &str, value: Option<String>, example: &str) {
        match value {
            Some(value) => self.line(&format!("{key} = {value}")),
            None => {
                self.line(&format!("# {key} = {example}  # fill in"));
                self.missing.push(format!("{}.{key}", self.table));
            }
        }
    }

    /// A comment of its own, above a key.
    fn remark(&mut self, words: Option<&str>) {
        if let Some(words) = words {
            self.line(&format!("# {words}"));
        }
    }

    fn optional(&mut self, key: &str, value: Option<String>, example: &str, why: &str) {
        match value {
            Some(value) => self.line(&format!("{key} = {value}")),
            None => self.line(&format!("# {key} = {example}  # {why}")),
        }
    }
}

/// Writes the manifest.
pub fn write(draft: &Draft) -> Written {
    let mut page = Page {
        text: String::new(),
        table: String::new(),
        missing: vec![],
    };
    page.line(&format!("#:schema ./{SCHEMA}"));
    page.line("# Made by `deployer init`. Every key: docs/manifest.md; `deployer plan` says what is wrong or missing.");
    page.line(
        "# What differs in an environment goes into deployer.ENV.toml: deployer.production.toml.\n",
    );
    page.line(&format!("app = {}", quoted(&draft.app)));
    service(draft, &mut page);
    if draft.database {
        page.table("databases.database");
        page.line("# RDS on AWS, Cloud SQL on Google Cloud; the password is generated, the URL is a secret");
        page.line("version = 16\ncpu = 2\nmemory = \"4GiB\"\nstorage = \"20GiB\"");
    }
    if draft.cache {
        page.table("caches.redis");
        page.line("# ElastiCache on AWS, Memorystore on Google Cloud; the URL is a secret");
        page.line("memory = \"1GiB\"");
    }
    if let Some(aws) = &draft.aws {
        target_aws(aws, draft.database, &mut page);
    }
    if let Some(gcp) = &draft.gcp {
        target_gcp(gcp, draft.database || draft.cache, &mut page);
        page.table(&format!("targets.gcp.services.{}", draft.app));
        page.line("# `true`: everyone may call it; `false`: who has roles/run.invoker. On ECS a load balancer decides that.");
        page.line(&format!("public = {}", gcp.public));
    }
    Written {
        text: page.text,
        missing: page.missing,
    }
}

fn service(draft: &Draft, page: &mut Page) {
    let file = &draft.dockerfile;
    page.table(&format!("services.{}", draft.app));
    if let Some(runs) = &file.runs {
        page.line(&format!(
            "# The image runs {runs}; `command` would replace it."
        ));
    }
    let example = quoted(&archive(&draft.app));
    if draft.image.is_none() {
        page.line(&format!(
            "# An archive (docker save -o {0}.tar {0}), an OCI layout or a registry reference.",
            draft.app
        ));
    }
    page.needed("image", draft.image.as_deref().map(quoted), &example);
    page.needed("port", draft.port.map(|port| port.to_string()), "8080");
    page.line("cpu = 1\nmemory = \"2GiB\"\nreplicas = { min = 1, max = 2 }");

    page.table(&format!("services.{}.health", draft.app));
    let path = draft.health.as_ref().or(file.health_path.as_ref());
    page.line(&format!(
        "path = {}",
        quoted(path.map_or("/", String::as_str))
    ));
    // App Runner asks from outside alone, and refuses a command.
    let asks_inside = draft.aws.as_ref().is_none_or(|aws| !aws.app_runner);
    if !file.health_command.is_empty() && asks_inside {
        page.line("# Cloud Run asks the path; ECS runs this in the container.");
        page.line(&format!("command = {}", list(&file.health_command)));
    }
    for (key, value) in &file.health_times {
        page.line(&format!("{key} = {}", quoted(value)));
    }
    if let Some(retries) = file.health_retries {
        page.line(&format!("retries = {retries}"));
    }

    page.table(&format!("services.{}.env", draft.app));
    page.line("# NAME = \"value\" or NAME = { secret = \"key\" }, with `[secrets.key]` below; PORT is set already.");
    if draft.database {
        page.line("DATABASE_URL = { secret = \"database-url\" }");
    }
    if draft.cache {
        page.line("REDIS_URL = { secret = \"redis-url\" }");
        if draft.gcp.is_some() {
            page.line("REDIS_CA = { secret = \"redis-ca\" }  # PEM, on Google Cloud only");
        }
    }
    if !file.variables.is_empty() {
        let names = file.variables.join(", ");
        page.line(&format!(
            "# The image sets {names}; write one here to replace it."
        ));
    }
}

fn target_aws(aws: &AwsDraft, has_database: bool, page: &mut Page) {
    page.table("targets.aws");
    let text = |value: &Option<String>| value.as_deref().map(quoted);
    let some = |words: &[String]| (!words.is_empty()).then(|| list(words));
    page.needed("account", text(&aws.account), "\"123456789012\"");
    page.needed("region", text(&aws.region), "\"us-east-1\"");
    let two = "[\"subnet-0123456789abcdef0\", \"subnet-0123456789abcdef1\"]";
    let one = "[\"subnet-0123456789abcdef0\"]";
    let subnets = if has_database { two } else { one };
    let role = "\"ecsTaskExecutionRole\"";
    if aws.app_runner {
        page.line("runtime = \"app-runner\"");
        let example = "\"service-role/AppRunnerECRAccessRole\"";
        page.needed("access_role", text(&aws.access_role), example);
        match has_database {
            true => page.needed("subnets", some(&aws.subnets), subnets),
            false => {
                let why = "with them what the app sends goes into the VPC; one-off tasks need them";
                page.optional("subnets", some(&aws.subnets), subnets, why);
            }
        }
    } else {
        page.remark(aws.remarks.cluster.as_deref());
        page.needed("cluster", text(&aws.cluster), "\"main\"");
        page.remark(aws.remarks.subnets.as_deref());
        page.needed("subnets", some(&aws.subnets), subnets);
    }
    let example = "[\"sg-0123456789abcdef0\"]";
    let groups = some(&aws.security_groups);
    page.optional(
        "security_groups",
        groups,
        example,
        "the VPC's default when absent",
    );
    if let Some(public) = aws.assign_public_ip {
        page.line(&format!("assign_public_ip = {public}"));
    }
    match aws.app_runner {
        true => {
            let why = "pulls the image of one-off tasks and reads their secrets";
            page.optional("execution_role", text(&aws.execution_role), role, why);
        }
        false => {
            page.remark(aws.remarks.execution_role.as_deref());
            page.needed("execution_role", text(&aws.execution_role), role);
        }
    }
    page.remark(aws.remarks.task_role.as_deref());
    let why = "the app's own role, when it calls AWS";
    page.optional("task_role", text(&aws.task_role), "\"app-task\"", why);
}

fn target_gcp(gcp: &GcpDraft, has_data: bool, page: &mut Page) {
    page.table("targets.gcp");
    let text = |value: &Option<String>| value.as_deref().map(quoted);
    page.needed("project", text(&gcp.project), "\"my-project\"");
    page.needed("region", text(&gcp.region), "\"us-central1\"");
    page.remark(gcp.remarks.service_account.as_deref());
    let account = "\"app@my-project.iam.gserviceaccount.com\"";
    let why = "the project's default account when absent";
    page.optional("service_account", text(&gcp.service_account), account, why);
    let why = "direct egress into the VPC, where there is something to reach";
    page.remark(gcp.remarks.network.as_deref());
    if has_data {
        page.needed("network", text(&gcp.network), "\"default\"");
    } else {
        page.optional("network", text(&gcp.network), "\"default\"", why);
    }
    page.optional("subnetwork", text(&gcp.subnetwork), "\"default\"", why);
}

/// The image of an app that nobody names another of.
pub fn archive(app: &str) -> String {
    format!("docker-archive:{app}.tar")
}

/// A directory's name as an app's: lower-case letters, digits and `-`, a letter first.
pub fn app_name(directory: &str) -> String {
    let mut name: String = directory
        .chars()
        .map(|c| match c {
            'a'..='z' | '0'..='9' => c,
            'A'..='Z' => c.to_ascii_lowercase(),
            _ => '-',
        })
        .collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    let name = name.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit());
    let name = name.get(..name.len().min(40)).unwrap_or(name);
    match name.trim_matches('-') {
        "" => "app".to_owned(),
        name => name.to_owned(),
    }
}
