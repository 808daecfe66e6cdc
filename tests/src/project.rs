//! One thing to deploy: a folder with a manifest, a database, and the binary behind recorders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::database::Database;
use crate::deployer::Deployer;
use crate::idp::Idp;
use crate::manifest::Manifest;
use crate::prepared::Prepared;
use crate::recorder::{Recorder, Side};
use crate::sandbox::Sandbox;

/// A project whose every call to the sandbox is recorded.
pub struct Project {
    /// The binary in the project's folder.
    pub deployer: Deployer,
    /// What is deployed; written by `write`.
    pub manifest: Manifest,
    /// The database of the service on AWS.
    pub aws_database: Database,
    /// The database of the service on Google Cloud.
    pub gcp_database: Database,
    /// In front of AWS.
    pub aws: Recorder,
    /// In front of Google Cloud.
    pub gcp: Recorder,
    /// What the migration gives the seeded client.
    pub client_secret: String,
    /// Both clouds.
    pub sandbox: Arc<Sandbox>,
    /// What xtask prepared.
    pub prepared: Prepared,
    folder: TempDir,
}

impl Project {
    /// A project that deploys release 1.0.0 under a name that no other test has.
    pub fn new(prepared: &Prepared, sandbox: Arc<Sandbox>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let aws = Recorder::start(Side::Aws, sandbox.aws_url());
        let gcp = Recorder::start(Side::Gcp, sandbox.gcp_url());
        let aws_database = Database::create(&prepared.postgres);
        let gcp_database = Database::create(&prepared.postgres);
        let client_secret = format!("client-{}", Uuid::new_v4().simple());
        let mut environment = sandbox.exports.clone();
        let mut set = |name: &str, value: &str| environment.insert(name.into(), value.into());
        set("AWS_ENDPOINT_URL", aws.url());
        set("DEPLOYER_GCP_ENDPOINT", gcp.url());
        set("IDP_DATABASE_URL_AWS", aws_database.url());
        set("IDP_DATABASE_URL_GCP", gcp_database.url());
        set("IDP_CLIENT_SECRET", &client_secret);
        let id = Uuid::new_v4().simple().to_string();
        let app = format!("idp-{}", &id[..8]);
        let project = Self {
            deployer: Deployer::new(&prepared.binary, folder.path(), environment),
            manifest: Manifest::new(&app, prepared.image("1.0.0")),
            aws_database,
            gcp_database,
            aws,
            gcp,
            client_secret,
            sandbox,
            prepared: prepared.clone(),
            folder,
        };
        project.write();
        project
    }

    /// Changes the manifest and writes it.
    pub fn change(&mut self, change: impl FnOnce(&mut Manifest)) {
        change(&mut self.manifest);
        self.write();
    }

    /// Takes another release of the service.
    pub fn use_version(&mut self, version: &str) {
        let image = self.prepared.image(version);
        self.change(|manifest| manifest.image = image);
    }

    /// The project's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the project.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The service on AWS.
    pub fn on_aws(&self) -> Idp {
        Idp::at(&self.sandbox.ecs_address(&self.manifest.service_name()))
    }

    /// The service on Google Cloud.
    #[track_caller]
    pub fn on_gcp(&self) -> Idp {
        let status = self.status();
        Idp::at(
            status["gcp"]["serving"]["url"]
                .as_str()
                .expect("Cloud Run gives an address"),
        )
    }

    /// What `deployer status` says of the service, by cloud.
    #[track_caller]
    pub fn status(&self) -> BTreeMap<String, Value> {
        let answer = self.deployer.run(&["status", "--json"]).json();
        let entries = answer.as_array().expect("a list of entries").iter();
        entries
            .filter(|entry| entry["service"].is_string())
            .map(|entry| {
                let cloud = entry["cloud"].as_str().expect("an entry names its cloud");
                (cloud.to_owned(), entry.clone())
            })
            .collect()
    }

    /// Every value that the clouds were given: the recording is the only place where it stands in
    /// the clear.
    fn passed_secrets(&self) -> Vec<String> {
        let mut values: Vec<String> = [&self.aws, &self.gcp]
            .into_iter()
            .flat_map(Recorder::exchanges)
            .filter_map(|exchange| exchange.secret_value())
            .collect();
        values.sort();
        values.dedup();
        values
    }

    /// Panics when a secret stands in what any command said or in a file of the project.
    #[track_caller]
    pub fn assert_no_secret_escaped(&self, more: &[&str]) {
        let mut known = vec![
            self.client_secret.clone(),
            self.aws_database.password().to_owned(),
            self.gcp_database.password().to_owned(),
            "PRIVATE KEY".to_owned(),
        ];
        known.extend(more.iter().map(|&secret| secret.to_owned()));
        let passed = self.passed_secrets();
        assert!(passed.len() > 3, "what was generated is looked for too");
        known.extend(passed);
        let said = self.deployer.everything_said();
        let written = self.files();
        for secret in &known {
            let encoded = [secret.clone(), BASE64_STANDARD.encode(secret)];
            for form in &encoded {
                assert!(!said.contains(form.as_str()), "a secret was printed");
                for (path, content) in &written {
                    let content = String::from_utf8_lossy(content);
                    let name = path.display();
                    assert!(!content.contains(form.as_str()), "{name} holds a secret");
                }
            }
        }
    }

    /// Every file below the project's folder, with its content.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    let content = std::fs::read(&path).unwrap_or_default();
                    found.push((path, content));
                }
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        found
    }

    fn write(&self) {
        std::fs::write(self.file("deployer.toml"), self.manifest.text())
            .expect("the manifest can be written");
    }
}
