//! Asks a credential helper, `docker-credential-NAME get`: the server's name in, a login or a
//! refusal out.
//!
//! The protocol is that of <https://github.com/docker/docker-credential-helpers>.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::file::login;
use crate::Credentials;
use crate::credentials::secret;

/// A helper may ask a person; nobody may keep the program waiting for ever.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What every helper says that has no login for the server; with exit code 1.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Where helpers are.
#[derive(Debug)]
pub(super) struct Helpers {
    path: Option<OsString>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Login {
    #[serde(default)]
    username: String,
    #[serde(default, deserialize_with = "secret")]
    secret: Option<SecretString>,
}

impl Helpers {
    /// In the folders of this `PATH`.
    pub(super) fn in_path(path: Option<OsString>) -> Self {
        Self { path }
    }

    /// The login for `server`; `None` when the helper has none.
    ///
    /// Errors: in words, when it cannot be run, fails or does not answer. They never repeat what
    /// may hold a secret.
    pub(super) async fn get(
        &self,
        name: &str,
        server: &str,
    ) -> Result<Option<Credentials>, String> {
        if name.contains(['/', '\\']) {
            return Err("is no name of a program in the PATH".to_owned());
        }
        let program = format!("docker-credential-{name}");
        let mut command = Command::new(program);
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => "is not in the PATH".to_owned(),
            _ => format!("cannot be run: {e}"),
        })?;
        if let Some(mut input) = child.stdin.take() {
            // One that does not read what it is asked for says so by its answer.
            let _ = input.write_all(server.as_bytes()).await;
        }
        let answered = tokio::time::timeout(ANSWER_WITHIN, child.wait_with_output()).await;
        let output = answered
            .map_err(|_| format!("did not answer within {} s", ANSWER_WITHIN.as_secs()))?
            .map_err(|e| format!("broke off: {e}"))?;
        if !output.status.success() {
            return refusal(&output);
        }
        let Login { username, secret } = serde_json::from_slice(&output.stdout)
            .map_err(|_| "did not answer with a login".to_owned())?;
        let secret = secret.filter(|_| !username.is_empty());
        Ok(secret.map(|secret| login(username, secret)))
    }
}

/// Helpers say on their standard output why they refuse.
fn refusal(output: &std::process::Output) -> Result<Option<Credentials>, String> {
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains(NOT_FOUND) {
        return Ok(None);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().chain(complaint.lines());
    let line = lines.map(str::trim).find(|line| !line.is_empty());
    match line {
        // One that died half way through a login must not be quoted.
        Some(line) if !said.contains("\"Secret\"") => {
            let line = line.replace(char::is_control, " ");
            Err(line.chars().take(200).collect())
        }
        _ => Err(format!("failed: {}", output.status)),
    }
}
