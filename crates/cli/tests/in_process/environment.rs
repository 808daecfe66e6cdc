//! The environment that the clouds' clients read. A running process had better not change its own,
//! so it starts itself again.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use tempfile::TempDir;

/// Where Google's clients find their credentials; written anew for each stage.
const CREDENTIALS: &str = "DEPLOYER_IN_PROCESS_CREDENTIALS";

/// Where a stage writes its credentials. `None` in a process that has yet to start itself again.
pub fn credentials() -> Option<PathBuf> {
    std::env::var_os(CREDENTIALS).map(PathBuf::from)
}

/// Runs this program again where nothing leads to a real cloud.
pub fn of_its_own() -> ExitCode {
    let again = Again::new();
    let status = again.command().status();
    match status.expect("this program can be started").success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// This program once more, with credentials of its own. Its files are gone when it is dropped.
pub struct Again(TempDir);

impl Again {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        // Every client of Google reads all the authorities that it is to trust; none is asked for
        // here.
        let authority = folder.path().join("authority.pem");
        std::fs::write(authority, include_str!("authority.pem")).expect("a file can be written");
        Self(folder)
    }

    /// With this one's arguments, where nothing leads to a real cloud.
    pub fn command(&self) -> Command {
        let path = |name: &str| self.0.path().join(name);
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command
            .args(std::env::args().skip(1))
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| is_harmless(name)))
            .env(CREDENTIALS, path("credentials.json"))
            .env("GOOGLE_APPLICATION_CREDENTIALS", path("credentials.json"))
            .env("SSL_CERT_FILE", path("authority.pem"))
            .env("SSL_CERT_DIR", path("none"))
            .env(
                "AWS_ACCESS_KEY_ID",
                deployer_sandbox::env::AccessKey::simulated().id,
            )
            .env(
                "AWS_SECRET_ACCESS_KEY",
                deployer_sandbox::env::AccessKey::simulated().secret,
            )
            .env("AWS_EC2_METADATA_DISABLED", "true")
            // For what is given and empty.
            .env("DEPLOYER_SWEEP_EMPTY", "")
            // Logins of whoever runs the tests are not used for anything.
            .env("HOME", path("home"))
            .env("DOCKER_CONFIG", path("docker"))
            .env_remove("REGISTRY_AUTH_FILE")
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("XDG_CONFIG_HOME");
        command
    }
}

fn is_harmless(name: &str) -> bool {
    let own = ["DEPLOYER_SWEEP", "DEPLOYER_BENCH"];
    let foreign = [
        "AWS_",
        "GOOGLE_",
        "CLOUDSDK_",
        "HTTP_PROXY",
        "http_proxy",
        "DEPLOYER_",
    ];
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    begins(&own) || !begins(&foreign)
}
