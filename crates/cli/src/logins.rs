//! Who we are to the registry that an image is read from: logins that `docker`, `podman` or `crane`
//! keep, then the cloud's own where the registry is a cloud's, then nobody.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use deployer_aws::{Credentials as AwsCredentials, ecr_login, ecr_region};
use deployer_core::capability::RegistryLogin;
use deployer_gcp::Bearer;
use deployer_oci::{Anonymous, Credentials, Error, Keychain, RegistryAuth};

/// What logins are found by.
pub struct Logins {
    keychain: Keychain,
    aws: AwsCredentials,
    /// Calls of a Google user are counted against it. Empty when the manifest has no Google target.
    project: String,
}

/// One way to open an image, and what to call it.
pub struct Way {
    pub from: String,
    pub auth: Arc<dyn RegistryAuth>,
}

/// The ways to open an image, the most deliberate first, and where was looked for others in vain.
pub struct Ways {
    pub all: Vec<Way>,
    pub in_vain: Vec<String>,
}

impl Logins {
    /// By this process's environment and these credentials.
    pub fn new(aws: AwsCredentials, project: String) -> Self {
        Self {
            keychain: Keychain::new(|name| std::env::var_os(name)),
            aws,
            project,
        }
    }

    /// Every way to read a repository.
    ///
    /// What a person wrote down for a registry comes before what this program could find out by
    /// itself; a login that the registry refuses (an old one, mostly) does not keep a public image
    /// closed, so nobody comes last.
    pub async fn ways(&self, registry: &str, repository: &str) -> Ways {
        let mut all = Vec::new();
        let search = self.keychain.search(registry, repository).await;
        let mut in_vain = search.in_vain;
        if let Some(found) = search.found {
            let auth = Kept {
                keychain: self.keychain.clone(),
                first: Mutex::new(Some(found.credentials)),
            };
            all.push(Way {
                from: found.from,
                auth: Arc::new(auth),
            });
        }
        if let Some(region) = ecr_region(registry) {
            let login = ecr_login(region, &self.aws).await;
            all.push(Way {
                from: format!("the AWS credentials (ECR in {region})"),
                auth: Arc::new(Asked(login)),
            });
        }
        if is_googles(registry) {
            match Bearer::find(&self.project).await {
                Ok(bearer) => all.push(Way {
                    from: "the Google credentials".to_owned(),
                    auth: Arc::new(Asked(Arc::new(bearer))),
                }),
                Err(error) => in_vain.push(format!(
                    "the Google credentials ({})",
                    error.chain().join(": ")
                )),
            }
        }
        all.push(Way {
            from: "no login at all".to_owned(),
            auth: Arc::new(Anonymous),
        });
        Ways { all, in_vain }
    }
}

/// Whether a Google access token opens the registry
/// (<https://docs.cloud.google.com/artifact-registry/docs/docker/authentication>).
fn is_googles(registry: &str) -> bool {
    // The public mirror of Docker Hub takes no tokens of this sort.
    registry == "gcr.io"
        || registry.ends_with("-docker.pkg.dev")
        || registry
            .strip_suffix(".gcr.io")
            .is_some_and(|zone| zone != "mirror")
}

/// What helps where the registry refuses everything.
pub fn hint(registry: &str) -> String {
    if ecr_region(registry).is_some() {
        return "allow the caller `ecr:GetAuthorizationToken`, `ecr:BatchGetImage` and `ecr:GetDownloadUrlForLayer`; a \
                repository of another account has a policy of its own that must allow the last two as well"
            .to_owned();
    }
    if is_googles(registry) {
        return "run `gcloud auth application-default login`, and give the caller the role \
                `roles/artifactregistry.reader` on the repository"
            .to_owned();
    }
    let server = match registry {
        "docker.io" => String::new(),
        other => format!(" {other}"),
    };
    format!("run `docker login{server}`, or name a folder with a `config.json` in DOCKER_CONFIG")
}

/// What puts an image where it is not there yet, as on the first apply of an environment that has a
/// repository of its own.
pub fn push(registry: &str, repository: &str, image: &str) -> String {
    let build =
        format!("`docker build --platform linux/amd64 -t {image} .`, `docker push {image}`");
    match ecr_region(registry) {
        Some(region) => format!(
            "push it first: `aws ecr create-repository --region {region} --repository-name {repository}` where there is \
             none yet, `aws ecr get-login-password --region {region} | docker login --username AWS --password-stdin \
             {registry}`, {build}"
        ),
        None => format!("push it first: {build}; or correct the name"),
    }
}

/// A login out of a file or a helper: the one that was found first, then whatever is there by then.
struct Kept {
    keychain: Keychain,
    first: Mutex<Option<Credentials>>,
}

#[async_trait]
impl RegistryAuth for Kept {
    async fn credentials(&self, registry: &str, repository: &str) -> Result<Credentials, Error> {
        let first = self.first.lock().ok().and_then(|mut first| first.take());
        if let Some(first) = first {
            return Ok(first);
        }
        let search = self.keychain.search(registry, repository).await;
        Ok(search
            .found
            .map_or(Credentials::Anonymous, |found| found.credentials))
    }
}

/// A login that a cloud gives.
pub struct Asked(pub Arc<dyn RegistryLogin>);

#[async_trait]
impl RegistryAuth for Asked {
    async fn credentials(&self, registry: &str, _repository: &str) -> Result<Credentials, Error> {
        let login = self.0.login().await;
        let (user, password) = login.map_err(|error| Error::no_credentials(registry, error))?;
        Ok(Credentials::Basic { user, password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clouds_token_goes_to_that_clouds_registries_only() {
        for (host, google) in [
            ("us-central1-docker.pkg.dev", true),
            ("gcr.io", true),
            ("eu.gcr.io", true),
            ("marketplace.gcr.io", true),
            ("mirror.gcr.io", false),
            ("evilgcr.io", false),
            ("us-docker.pkg.dev.evil.example", false),
            ("ghcr.io", false),
            ("docker.io", false),
        ] {
            assert_eq!(is_googles(host), google, "{host}");
        }
    }

    #[test]
    fn the_hint_is_what_opens_that_registry() {
        let ecr = hint("111122223333.dkr.ecr.us-east-1.amazonaws.com");
        assert!(ecr.contains("ecr:BatchGetImage"), "{ecr}");
        assert!(hint("eu.gcr.io").contains("artifactregistry.reader"));
        assert!(hint("docker.io").starts_with("run `docker login`,"));
        assert!(hint("ghcr.io").starts_with("run `docker login ghcr.io`,"));
    }

    #[test]
    fn an_image_that_is_not_there_yet_is_pushed_by_these_commands() {
        let host = "321490400104.dkr.ecr.eu-west-1.amazonaws.com";
        let image = format!("{host}/staging-kaizencoach-app:latest");
        let typed = push(host, "staging-kaizencoach-app", &image);
        for command in [
            "`aws ecr create-repository --region eu-west-1 --repository-name staging-kaizencoach-app`",
            "`aws ecr get-login-password --region eu-west-1 | docker login --username AWS --password-stdin 321490400104",
            "`docker build --platform linux/amd64 -t 321490400104",
            "`docker push 321490400104.dkr.ecr.eu-west-1.amazonaws.com/staging-kaizencoach-app:latest`",
        ] {
            assert!(typed.contains(command), "{command} is not in {typed}");
        }
        let other = push("ghcr.io", "acme/app", "ghcr.io/acme/app:1");
        assert!(
            other.contains("`docker push ghcr.io/acme/app:1`"),
            "{other}"
        );
    }
}
