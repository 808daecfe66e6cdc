//! Loads manifests as a user would and looks at what comes out.

// Clippy excuses `unwrap` in test functions only, not in what they share.
#![allow(clippy::unwrap_used)]

use deployer_core::address::CloudName;
use deployer_core::ledger::{NOTHING_OWN, content};
use deployer_core::spec::{
    Architecture, EnvironmentSpec, Generate, Inject, KeyHalf, OnRollback, SecretSource,
};
use deployer_manifest::{Inputs, Loaded, Origin, load};
use tempfile::TempDir;

/// A manifest that both clouds take.
const GOOD: &str = r#"app = "agentidp"

[services.idp]
image = "registry.example.com/idp:1.0.0"
port = 3000
health = { path = "/health", command = ["CMD", "/app/idp", "healthcheck"] }
replicas = 2

[services.idp.env]
GREETING = "hello from ${target.region} in ${env}"
LIMIT = 100
DEBUG = false
DATABASE_URL = { secret = "database-url" }
KEY = { secret = "jwt-private-key", inject = "reference" }
CHECK = { secret = "jwt-public-key" }

[services.idp.migrate]
command = ["/app/idp", "migrate"]

[secrets.database-url]
from = { env = "DATABASE_URL" }
on_rollback = "follow"

[keys.jwt]
private = "jwt-private-key"
public = "jwt-public-key"

[targets.aws]
account = "123456789012"
region = "us-east-1"
cluster = "main-${env}"
subnets = ["subnet-0123456789abcdef0"]
execution_role = "ecsTaskExecutionRole"

[targets.gcp]
project = "acme-identity"
region = "us-central1"
"#;

/// A directory with `deployer.toml` and what a test adds to it.
struct Given {
    dir: TempDir,
    inputs: Inputs,
}

impl Given {
    fn manifest(text: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let manifest = dir.path().join("deployer.toml");
        std::fs::write(&manifest, text).unwrap();
        let inputs = Inputs {
            manifest,
            ..Inputs::default()
        };
        Self { dir, inputs }
    }

    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    fn environment(mut self, name: &str) -> Self {
        self.inputs.environment = Some(name.to_owned());
        self
    }

    fn var(mut self, name: &str, value: &str) -> Self {
        self.inputs.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    fn set(mut self, flag: &str) -> Self {
        self.inputs.set.push(flag.to_owned());
        self
    }

    fn load(&self) -> Loaded {
        load(&self.inputs).unwrap_or_else(|problems| {
            panic!("{}", problems.render(80, deployer_manifest::Colour::Off))
        })
    }

    fn messages(&self) -> Vec<String> {
        match load(&self.inputs) {
            Ok(_) => vec![],
            Err(problems) => problems
                .iter()
                .map(|problem| problem.message.clone())
                .collect(),
        }
    }

    fn spec(&self, cloud: CloudName) -> EnvironmentSpec {
        self.load().environment_spec(cloud).unwrap()
    }
}

#[test]
fn a_target_gets_names_values_and_overrides() {
    let more = "[targets.gcp.services.idp]\nmemory = \"1GiB\"\nenv = { GREETING = \"hi ${target.project}\", LIMIT = 5 }\n";
    let given = Given::manifest(&format!("{GOOD}{more}"));
    let aws = given.spec(CloudName::Aws);
    let idp = &aws.services["idp"];
    assert_eq!(idp.name, "agentidp-staging-idp");
    assert_eq!(idp.repository, "agentidp-staging-idp");
    assert_eq!(idp.env["GREETING"], "hello from us-east-1 in staging");
    assert_eq!(
        (idp.env["LIMIT"].as_str(), idp.env["DEBUG"].as_str()),
        ("100", "false")
    );
    assert_eq!(idp.memory.0, 2048);
    assert_eq!(aws.tags["deployer"], "agentidp/staging");
    assert_eq!(
        aws.secrets["database-url"].name,
        "/agentidp/staging/database-url"
    );

    let gcp = given.spec(CloudName::Gcp);
    let idp = &gcp.services["idp"];
    assert_eq!(idp.repository, "agentidp-staging/idp");
    assert_eq!(idp.env["GREETING"], "hi acme-identity");
    assert_eq!(idp.env["LIMIT"], "5");
    assert_eq!(idp.memory.0, 1024);
    assert_eq!(
        gcp.secrets["database-url"].name,
        "agentidp-staging-database-url"
    );
    let migrate = idp.migrate.as_ref().unwrap();
    assert_eq!(migrate.job, "agentidp-staging-idp-migrate");
    assert_eq!(migrate.database.as_deref(), Some("database-url"));
    assert_eq!(migrate.timeout.as_secs(), 600);
}

#[test]
fn a_key_pair_declares_two_secrets_that_follow() {
    let spec = Given::manifest(GOOD).spec(CloudName::Aws);
    let private = &spec.secrets["jwt-private-key"];
    assert_eq!(private.on_rollback, OnRollback::Follow);
    let half = KeyHalf::Private;
    assert_eq!(
        private.source,
        SecretSource::Key {
            pair: "jwt".to_owned(),
            half
        }
    );
    assert_eq!(
        spec.services["idp"].secrets["KEY"].inject,
        Inject::Reference
    );
    assert_eq!(spec.services["idp"].secrets["CHECK"].inject, Inject::Value);
}

#[test]
fn flags_win_over_variables_over_the_overlay_over_the_manifest() {
    let given =
        Given::manifest(GOOD).file("deployer.staging.toml", "[services.idp]\nport = 3001\n");
    assert_eq!(given.load().manifest.services["idp"].port, 3001);
    let given = given.var("DEPLOYER_SERVICES__IDP__PORT", "3002");
    assert_eq!(given.load().manifest.services["idp"].port, 3002);
    let given = given
        .set("services.idp.port=3003")
        .set("services.idp.port=3004");
    assert_eq!(given.load().manifest.services["idp"].port, 3004);
}

#[test]
fn the_flag_then_the_variable_then_the_manifest_choose_the_environment() {
    assert_eq!(Given::manifest(GOOD).load().environment, "staging");
    let given = Given::manifest(&format!("environment = \"demo\"\n{GOOD}"));
    assert_eq!(given.load().environment, "demo");
    let given = given.var("DEPLOYER_ENV", "test");
    assert_eq!(given.load().environment, "test");
    assert_eq!(
        given.environment("production").load().environment,
        "production"
    );
}

#[test]
fn a_variable_finds_keys_whatever_their_case_and_hyphens() {
    let loaded = Given::manifest(GOOD)
        .var("DEPLOYER_SECRETS__DATABASE_URL__ON_ROLLBACK", "restore")
        .var("DEPLOYER_SERVICES__IDP__ENV__LOG_LEVEL", "1.10")
        .var("DEPLOYER_TARGETS__AWS__ACCOUNT", "210987654321")
        .load();
    let manifest = &loaded.manifest;
    assert_eq!(
        manifest.secrets["database-url"].on_rollback,
        Some(OnRollback::Restore)
    );
    assert_eq!(
        manifest.targets.aws.as_ref().unwrap().account,
        "210987654321"
    );
    let spec = loaded.environment_spec(CloudName::Aws).unwrap();
    assert_eq!(spec.services["idp"].env["LOG_LEVEL"], "1.10");
}

#[test]
fn variables_that_are_settings_of_the_program_are_left_alone() {
    let given = Given::manifest(GOOD)
        .var("DEPLOYER_LOG", "debug")
        .var("DEPLOYER_GCP_ENDPOINT", "http://127.0.0.1:9999")
        .var("SERVICES__IDP__PORT", "1");
    assert_eq!(given.messages(), Vec::<String>::new());
    let given = given.var("DEPLOYER_SERVICE__IDP__PORT", "1");
    assert_eq!(
        given.messages(),
        ["this variable sets no key of the manifest"]
    );
}

#[test]
fn a_stronger_layer_replaces_the_place_that_a_secret_comes_from() {
    let overlay = "[secrets.database-url]\nfrom = { generate = \"hex:32\" }\n";
    let spec = Given::manifest(GOOD)
        .file("deployer.staging.toml", overlay)
        .spec(CloudName::Aws);
    let source = &spec.secrets["database-url"].source;
    assert_eq!(*source, SecretSource::Generate(Generate::Hex(32)));
}

#[test]
fn every_value_says_where_it_came_from() {
    let given = Given::manifest(GOOD)
        .file("deployer.staging.toml", "[services.idp.env]\nLIMIT = 7\n")
        .var("DEPLOYER_TARGETS__GCP__REGION", "europe-west1")
        .set("services.idp.port=4000");
    let loaded = given.load();
    let dir = given.dir.path().display().to_string();
    let lines: Vec<_> = loaded
        .leaves()
        .into_iter()
        .map(|leaf| format!("{} = {}  # {}", leaf.path, leaf.value, leaf.origin))
        .collect();
    insta::assert_snapshot!(lines.join("\n").replace(&format!("{dir}/"), ""));
    assert_eq!(loaded.origin("services.idp.cpu"), Origin::Default);
    let column = 8;
    let file = given.dir.path().join("deployer.toml");
    assert_eq!(
        loaded.origin("services.idp.port"),
        Origin::Flag("services.idp.port".to_owned())
    );
    assert_eq!(
        loaded.origin("app"),
        Origin::File {
            file,
            line: 1,
            column: column - 1
        }
    );
}

#[test]
fn no_leaf_holds_what_a_secret_flag_was_given() {
    let given = Given::manifest(GOOD).set("secrets.database-url.from=hunter2");
    let problems = load(&given.inputs).unwrap_err();
    let text = problems.render(80, deployer_manifest::Colour::Off);
    let json = serde_json::to_string(&problems).unwrap();
    assert!(
        !text.contains("hunter2") && !json.contains("hunter2"),
        "{text}{json}"
    );
}

#[test]
fn the_content_id_knows_digest_and_configuration_and_what_is_a_targets_own_beside_that() {
    let id = |given: Given, digest: &str| given.load().manifest.content_id("idp", digest).unwrap();
    let one = id(Given::manifest(GOOD), "sha256:aa");
    assert_eq!(one.len(), 16);
    let elsewhere = Given::manifest(GOOD)
        .set("targets.gcp.services.idp.memory=4GiB")
        .set("services.idp.image=oci:images/idp")
        .environment("production");
    let (aws, gcp) = (CloudName::Aws, CloudName::Gcp);
    let own = |given: &Given, cloud| given.load().manifest.overrides_id(cloud, "idp").unwrap();
    let whole = |given: &Given, cloud| content(&one, Some(&own(given, cloud)));
    assert_eq!(whole(&Given::manifest(GOOD), aws), one);
    assert_eq!(own(&Given::manifest(GOOD), gcp), NOTHING_OWN);
    assert_eq!(whole(&elsewhere, aws), one);
    assert_ne!(whole(&elsewhere, gcp), one);
    assert_eq!(id(elsewhere, "sha256:aa"), one);
    assert_ne!(id(Given::manifest(GOOD), "sha256:bb"), one);
    assert_ne!(
        id(
            Given::manifest(GOOD).set("services.idp.env.LIMIT=101"),
            "sha256:aa"
        ),
        one
    );
    assert_ne!(
        id(
            Given::manifest(GOOD).set("services.idp.port=1"),
            "sha256:aa"
        ),
        one
    );
}

#[test]
fn a_manifest_survives_being_kept_in_a_release() {
    let given = Given::manifest(GOOD);
    let mut loaded = given.load();
    let kept = serde_json::to_string(&loaded.manifest).unwrap();
    let read: deployer_manifest::Manifest = serde_json::from_str(&kept).unwrap();
    // Which keys somebody wrote is known of files alone: a release keeps values.
    for service in loaded.manifest.services.values_mut() {
        assert!(!std::mem::take(&mut service.said).is_empty());
    }
    assert_eq!(read, loaded.manifest);
    let spec = read
        .environment_spec(CloudName::Gcp, &loaded.environment)
        .unwrap();
    assert_eq!(spec, given.spec(CloudName::Gcp));
}

#[test]
fn an_absent_image_is_a_fault_only_of_commands_that_need_it() {
    let given = Given::manifest(GOOD).set("services.idp.image=oci:images/idp:1.0");
    let loaded = given.load();
    let problems = loaded.check_images().unwrap_err();
    assert!(
        problems
            .iter()
            .next()
            .unwrap()
            .message
            .starts_with("there is nothing at")
    );
    std::fs::create_dir_all(given.dir.path().join("images/idp")).unwrap();
    assert!(loaded.check_images().is_ok());
}

#[test]
fn an_unused_secret_is_a_warning_and_a_misspelt_environment_is_not_known() {
    let given = Given::manifest(&format!("{GOOD}\n[secrets.spare]\n"))
        .file("deployer.production.toml", "")
        .environment("prodution");
    let loaded = given.load();
    let warnings = &loaded.warnings;
    let messages: Vec<_> = warnings
        .iter()
        .map(|warning| warning.message.as_str())
        .collect();
    assert!(
        messages.contains(&"no service uses the secret `spare`"),
        "{messages:?}"
    );
    assert!(!loaded.is_known());
    assert_eq!(loaded.meant(), Some("production"));
    let known: Vec<_> = loaded.known.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(known, ["staging", "production"]);
}

#[test]
fn an_environment_that_would_leave_the_directory_is_refused() {
    let given = Given::manifest(GOOD).environment("../../etc/x");
    assert_eq!(
        given.messages(),
        ["`../../etc/x` cannot name an environment"]
    );
}

#[test]
fn secret_files_are_named_as_they_are_written() {
    let given = Given::manifest(GOOD).set("secrets.database-url.from={ file = \"db.txt\" }");
    let spec = given.spec(CloudName::Aws);
    // Whoever reads it starts at the manifest: a folder's name may be no text.
    let expected = "db.txt".to_owned();
    assert_eq!(
        spec.secrets["database-url"].source,
        SecretSource::File(expected)
    );
}

#[test]
fn an_architecture_is_asked_for_by_service_and_by_target() {
    let more = "[targets.gcp.services.idp]\narchitecture = \"x86_64\"\n";
    let given = Given::manifest(&format!("{GOOD}{more}")).set("services.idp.architecture=arm64");
    let of = |given: &Given, cloud| given.spec(cloud).services["idp"].architecture;
    assert_eq!(of(&given, CloudName::Aws), Some(Architecture::Arm));
    assert_eq!(of(&given, CloudName::Gcp), Some(Architecture::X86));
    let silent = Given::manifest(GOOD);
    assert_eq!(of(&silent, CloudName::Aws), None);
    // A release for other machines is another release.
    let id = |given: &Given| given.load().manifest.content_id("idp", "sha256:aa");
    assert_ne!(id(&given), id(&silent));
    let wrong = Given::manifest(GOOD).set("services.idp.architecture=sparc");
    assert_eq!(wrong.messages().len(), 1);
}

#[test]
fn a_command_without_a_program_is_refused_wherever_it_stands() {
    for key in [
        "entrypoint",
        "command",
        "migrate.entrypoint",
        "migrate.command",
    ] {
        let given = Given::manifest(GOOD).set(&format!("services.idp.{key}=[\"\", \"serve\"]"));
        let messages = given.messages();
        assert_eq!(
            messages,
            ["its first word, the program to start, is empty"],
            "{key}"
        );
    }
}

#[test]
fn a_project_with_a_domain_names_its_ledger() {
    let project = "targets.gcp.project=example.com:shop-staging";
    let messages = Given::manifest(GOOD).set(project).messages();
    assert_eq!(
        messages,
        ["no bucket can be named after the project `example.com:shop-staging`"]
    );
    let named = Given::manifest(GOOD)
        .set(project)
        .set("targets.gcp.ledger=gs://shop-ledger");
    assert_eq!(named.spec(CloudName::Gcp).services.len(), 1);
}
