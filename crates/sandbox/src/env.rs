//! What a shell must export so that unmodified clients talk to a running sandbox.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::service_account::write_private;

/// The key pair of the sandbox's only AWS user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// 20 upper-case letters and digits.
    pub id: String,
    /// 40 characters.
    pub secret: String,
}

impl AccessKey {
    /// A new one, which only who reads the state directory or asks this process can know.
    pub fn generate() -> std::io::Result<Self> {
        let mut random = [0; 28];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| std::io::Error::other("the machine has no randomness"))?;
        let id = hex::encode_upper(&random[..8]);
        Ok(Self {
            id: format!("AKIA{id}"),
            secret: hex::encode(&random[8..]),
        })
    }

    /// The one of sandboxes whose containers are simulated: they run no program, and processes that
    /// start each other must know it.
    pub fn simulated() -> Self {
        Self {
            id: "AKIDSANDBOX000000000".into(),
            secret: "this+secret/opens/only/a+simulated/cloud".into(),
        }
    }
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AccessKey").field("id", &self.id).finish()
    }
}

/// The Google APIs that `gcloud` is pointed at, as their host names begin.
const GCLOUD_APIS: [&str; 12] = [
    "run",
    "secretmanager",
    "artifactregistry",
    "logging",
    "serviceusage",
    "iam",
    "cloudresourcemanager",
    "sql",
    "redis",
    "dns",
    "compute",
    "vpcaccess",
];

/// A sandbox that serves: what another process needs to reach it. Written to the state directory,
/// readable by its owner only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The process.
    pub pid: u32,
    /// The AWS side's base URL.
    pub aws_url: String,
    /// The Google side's base URL.
    pub gcp_url: String,
    /// The Google side's port on 127.0.0.1; `gcloud` takes it as a proxy.
    pub gcp_port: u16,
    /// The AWS account id.
    pub account: String,
    /// The key pair that the AWS side accepts.
    pub access_key: AccessKey,
    /// What the control endpoints under `/_sandbox` want as a bearer token.
    pub control_token: String,
    /// The AWS region.
    pub region: String,
    /// The Google project.
    pub project: String,
    /// The Google location.
    pub location: String,
    /// The service account's credentials file.
    pub credentials: PathBuf,
    /// A file with a bearer token that the Google side accepts.
    pub token: PathBuf,
    /// A configuration directory for `gcloud`, apart from the user's own.
    pub gcloud_config: PathBuf,
}

impl Running {
    const FILE: &str = "running.json";

    /// The sandbox of that state directory. `None` when none was started there, or it ended well.
    pub fn read(state_dir: &Path) -> Option<Self> {
        let text = std::fs::read(state_dir.join(Self::FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(crate) fn write(&self, state_dir: &Path) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        write_private(&state_dir.join(Self::FILE), &text)
    }

    pub(crate) fn remove(state_dir: &Path) {
        // Absent already is as good.
        let _ = std::fs::remove_file(state_dir.join(Self::FILE));
    }
}

/// Every variable and its value, unquoted. Only names that the clients themselves read.
pub fn exports(running: &Running) -> Vec<(String, String)> {
    let path = |path: &Path| path.display().to_string();
    let mut exports: Vec<(String, String)> = [
        ("AWS_ENDPOINT_URL", running.aws_url.clone()),
        ("AWS_ACCESS_KEY_ID", running.access_key.id.clone()),
        ("AWS_SECRET_ACCESS_KEY", running.access_key.secret.clone()),
        ("AWS_REGION", running.region.clone()),
        ("AWS_DEFAULT_REGION", running.region.clone()),
        ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ("DEPLOYER_GCP_ENDPOINT", running.gcp_url.clone()),
        ("GOOGLE_APPLICATION_CREDENTIALS", path(&running.credentials)),
        ("CLOUDSDK_CONFIG", path(&running.gcloud_config)),
        ("CLOUDSDK_CORE_PROJECT", running.project.clone()),
        ("CLOUDSDK_CORE_DISABLE_PROMPTS", "1".into()),
        ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", path(&running.token)),
        // Read by gcloud alone: HTTP_PROXY would divert every other program too.
        ("CLOUDSDK_PROXY_TYPE", "http".into()),
        ("CLOUDSDK_PROXY_ADDRESS", "127.0.0.1".into()),
        ("CLOUDSDK_PROXY_PORT", running.gcp_port.to_string()),
        ("CLOUDSDK_RUN_REGION", running.location.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    exports.extend(GCLOUD_APIS.map(|api| {
        let name = format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{}", api.to_uppercase());
        // gcloud puts the region before Run's host name, which an IP address cannot take.
        (name, format!("http://{api}.x.test/"))
    }));
    // Its own paths are relative to the API's.
    exports.push((
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE".to_owned(),
        "http://storage.x.test/storage/v1/".to_owned(),
    ));
    exports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_exported_name_is_one_that_other_programs_read() {
        let folder = PathBuf::from("/state");
        let running = Running {
            pid: 1,
            aws_url: "http://127.0.0.1:1".into(),
            gcp_url: "http://127.0.0.1:2".into(),
            gcp_port: 2,
            account: "000000000000".into(),
            access_key: AccessKey::generate().unwrap(),
            control_token: "token".into(),
            region: "us-east-1".into(),
            project: "demo".into(),
            location: "us-central1".into(),
            credentials: folder.join("a"),
            token: folder.join("b"),
            gcloud_config: folder.join("c"),
        };
        let prefixes = ["AWS_", "DEPLOYER_", "GOOGLE_", "CLOUDSDK_"];
        for (name, value) in exports(&running) {
            assert!(prefixes.iter().any(|it| name.starts_with(it)), "{name}");
            assert!(!value.is_empty(), "{name}");
        }
    }

    #[test]
    fn every_key_pair_is_another_one_of_the_same_form() {
        let pairs = [
            AccessKey::generate().unwrap(),
            AccessKey::generate().unwrap(),
            AccessKey::simulated(),
        ];
        for pair in &pairs {
            assert_eq!((pair.id.len(), pair.secret.len()), (20, 40), "{pair:?}");
            assert!(!format!("{pair:?}").contains(&pair.secret));
        }
        assert_ne!(pairs[0].id, pairs[1].id);
        assert_ne!(pairs[0].secret, pairs[1].secret);
    }
}
