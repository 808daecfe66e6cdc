//! Finds logins where `docker`, `podman` and `crane` keep them; writes nothing.

mod file;
mod helper;
mod key;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use file::File;
use helper::Helpers;
use secrecy::{ExposeSecret, SecretString};

use crate::Credentials;

/// The variable that holds logins itself.
const VARIABLE: &str = "DOCKER_AUTH_CONFIG";

/// The files in which logins are kept, in the order in which they are looked into.
///
/// - the text of `$DOCKER_AUTH_CONFIG` itself, which has that file's form: only its `auths` count,
///   and the search ends with it where it has a login, as with Docker's own client since 28.3.0
///   (cli/config/configfile/file.go, `GetCredentialsStore`);
/// - `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`;
/// - `$REGISTRY_AUTH_FILE`;
/// - `$XDG_RUNTIME_DIR/containers/auth.json`, where `podman login` writes;
/// - `$XDG_CONFIG_HOME/containers/auth.json`, else `~/.config/containers/auth.json`.
///
/// The first one that has a login for the repository or its registry is used. In one file a
/// helper of the registry's own (`credHelpers`) comes before the common one (`credsStore`), and
/// both before what stands in the file (`auths`), as with `docker`.
#[derive(Debug, Clone)]
pub struct Keychain {
    /// What stands in [`VARIABLE`].
    given: Option<SecretString>,
    files: Vec<PathBuf>,
    helpers: Arc<Helpers>,
}

/// What a search for a login came to.
#[derive(Debug)]
pub struct Search {
    /// The login; never `Anonymous`.
    pub found: Option<Found>,
    /// Where was looked in vain, and why in vain, a place each: files, programs.
    pub in_vain: Vec<String>,
}

/// A login and where it stands.
#[derive(Debug)]
pub struct Found {
    /// The login.
    pub credentials: Credentials,
    /// The file, or the program and the file that names it.
    pub from: String,
}

impl Keychain {
    /// The files that these environment variables name; helpers are programs in their `PATH`.
    pub fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| given(name).map(PathBuf::from);
        let home = |rest: &str| path("HOME").map(|home| home.join(rest));
        let docker = path("DOCKER_CONFIG").or_else(|| home(".docker"));
        let config = path("XDG_CONFIG_HOME").or_else(|| home(".config"));
        let podman = "containers/auth.json";
        let files = [
            docker.map(|folder| folder.join("config.json")),
            path("REGISTRY_AUTH_FILE"),
            path("XDG_RUNTIME_DIR").map(|folder| folder.join(podman)),
            config.map(|folder| folder.join(podman)),
        ];
        Self {
            given: given(VARIABLE).map(|text| text.to_string_lossy().into_owned().into()),
            files: files.into_iter().flatten().collect(),
            helpers: Arc::new(Helpers::in_path(given("PATH"))),
        }
    }

    /// Looks for a login for a repository of `registry`, `docker.io` for Docker Hub.
    ///
    /// A file that cannot be read and a program that fails are no reason to end the search: they
    /// stand in [`Search::in_vain`]. No secret does.
    pub async fn search(&self, registry: &str, repository: &str) -> Search {
        let mut in_vain = Vec::new();
        if let Some(given) = &self.given {
            match File::parse(given.expose_secret().as_bytes())
                .and_then(|file| file.entry(registry, repository))
            {
                Ok(Some(credentials)) => {
                    let from = format!("`{VARIABLE}`");
                    let found = Some(Found { credentials, from });
                    return Search { found, in_vain };
                }
                Ok(None) => in_vain.push(format!("`{VARIABLE}` (no login for it)")),
                Err(why) => in_vain.push(format!("`{VARIABLE}` ({why})")),
            }
        }
        for path in &self.files {
            let name = path.display();
            let file = match File::read(path).await {
                Ok(Some(file)) => file,
                Ok(None) => {
                    in_vain.push(format!("{name} (no such file)"));
                    continue;
                }
                Err(why) => {
                    in_vain.push(format!("{name} ({why})"));
                    continue;
                }
            };
            if let Some(helper) = file.helper(registry) {
                match self.helpers.get(helper, &key::server(registry)).await {
                    Ok(Some(credentials)) => {
                        let from = format!("`docker-credential-{helper}`, which {name} names");
                        let found = Some(Found { credentials, from });
                        return Search { found, in_vain };
                    }
                    Ok(None) => in_vain.push(format!("`docker-credential-{helper}` (has none)")),
                    Err(why) => in_vain.push(format!("`docker-credential-{helper}` ({why})")),
                }
            }
            match file.entry(registry, repository) {
                Ok(Some(credentials)) => {
                    let from = name.to_string();
                    let found = Some(Found { credentials, from });
                    return Search { found, in_vain };
                }
                Ok(None) => in_vain.push(format!("{name} (no login for it)")),
                Err(why) => in_vain.push(format!("{name} ({why})")),
            }
        }
        Search {
            found: None,
            in_vain,
        }
    }
}

#[cfg(test)]
mod tests;
