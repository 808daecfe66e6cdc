//! The project and region as this crate reaches them: clients, clock, and how Google spells names.

use deployer_core::address::Target;
use deployer_core::capability::{Context, SecretVersion};
use deployer_core::error::{Error, Result};
use deployer_manifest::section::{GcpSection, GcpService};
use tokio::sync::OnceCell;

use crate::apis::Apis;
use crate::client::Clients;
use crate::credentials::Source;
use crate::secret_lookup::SecretLookup;

/// One opened target. Shared by every node.
pub(crate) struct Project {
    pub(crate) target: Target,
    pub(crate) section: GcpSection,
    pub(crate) clients: Clients,
    /// Secrets as they are read: several in one call.
    pub(crate) secrets: SecretLookup,
    pub(crate) context: Context,
    pub(crate) names: Names,
    /// Base URL of the image registry.
    pub(crate) registry: String,
    /// Who calls, as far as known without asking.
    pub(crate) principal: String,
    /// The project's number, once it was asked for.
    pub(crate) number: OnceCell<String>,
    /// Whether the caller may change the policies of secrets in the project, once that was asked.
    pub(crate) may_grant: OnceCell<bool>,
    /// Where the credentials came from.
    pub(crate) source: Source,
    /// Which APIs are on.
    pub(crate) apis: Apis,
}

impl Project {
    /// What the manifest says of one service for Google Cloud alone.
    pub(crate) fn service_section(&self, key: &str) -> GcpService {
        self.section.services.get(key).cloned().unwrap_or_default()
    }
}

/// Google's resource names in one project and region; pure.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) project: String,
    pub(crate) region: String,
}

impl Names {
    /// `projects/P`.
    pub(crate) fn project(&self) -> String {
        format!("projects/{}", self.project)
    }

    /// `projects/P/locations/R`.
    pub(crate) fn location(&self) -> String {
        format!("projects/{}/locations/{}", self.project, self.region)
    }

    /// A Cloud Run service.
    pub(crate) fn service(&self, name: &str) -> String {
        format!("{}/services/{name}", self.location())
    }

    /// A Cloud Run job.
    pub(crate) fn job(&self, name: &str) -> String {
        format!("{}/jobs/{name}", self.location())
    }

    /// An Artifact Registry repository.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/repositories/{name}", self.location())
    }

    /// A secret, with the project's id.
    pub(crate) fn secret(&self, name: &str) -> String {
        format!("projects/{}/secrets/{name}", self.project)
    }

    /// A Serverless VPC Access connector in full, given by name or in full.
    pub(crate) fn connector(&self, given: &str) -> String {
        if given.is_empty() || given.contains('/') {
            given.to_owned()
        } else {
            format!("{}/connectors/{given}", self.location())
        }
    }

    /// A VPC network in full, given by name, in full or as a URL: `projects/P/global/networks/N`.
    pub(crate) fn network(&self, given: &str) -> String {
        match given.find("projects/") {
            Some(start) => given[start..].to_owned(),
            None => format!("projects/{}/global/networks/{}", self.project, short(given)),
        }
    }

    /// A Memorystore instance.
    pub(crate) fn cache(&self, name: &str) -> String {
        format!("{}/instances/{name}", self.location())
    }

    /// A secret as Cloud Run knows it, in full and with the project's id: Google answers with a bare name for a secret of
    /// the same project, and with the project's number where it was asked with the id.
    pub(crate) fn secret_in_full(&self, given: &str) -> String {
        let short = given
            .strip_prefix("projects/")
            .and_then(|rest| rest.split_once("/secrets/"))
            .and_then(|(project, name)| self.is_ours(project).then_some(name));
        match short {
            Some(name) => self.secret(name),
            None if given.contains('/') => given.to_owned(),
            None => self.secret(given),
        }
    }

    /// A secret as Cloud Run is asked for it: the bare name within the project.
    pub(crate) fn secret_in_short(&self, full: &str) -> String {
        full.strip_prefix(&self.secret(""))
            .unwrap_or(full)
            .to_owned()
    }

    /// Reads `projects/P/secrets/S/versions/V`.
    pub(crate) fn secret_version(&self, name: &str) -> Result<SecretVersion> {
        let (secret, version) = name
            .split_once("/versions/")
            .ok_or_else(|| Error::internal(format!("`{name}` names no secret version")))?;
        Ok(SecretVersion {
            secret: self.secret_in_full(secret),
            version: version.to_owned(),
        })
    }

    /// Numbers stand for projects in answers; a number other than ours cannot be told apart, and never
    /// names a secret that we asked for.
    fn is_ours(&self, project: &str) -> bool {
        project == self.project || project.bytes().all(|byte| byte.is_ascii_digit())
    }
}

/// The last part of a resource name: `idp-00002-abc` of `projects/.../revisions/idp-00002-abc`.
pub(crate) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
pub(crate) fn test_names() -> Names {
    Names {
        project: "demo-project".into(),
        region: "europe-west1".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_one_name_however_google_spells_it() {
        let names = test_names();
        for spelling in [
            "db-url",
            "projects/demo-project/secrets/db-url",
            "projects/123456789/secrets/db-url",
        ] {
            assert_eq!(
                names.secret_in_full(spelling),
                "projects/demo-project/secrets/db-url"
            );
        }
        assert_eq!(
            names.secret_in_full("projects/other-project/secrets/db-url"),
            "projects/other-project/secrets/db-url"
        );
        assert_eq!(
            names.secret_in_short("projects/demo-project/secrets/db-url"),
            "db-url"
        );
    }

    #[test]
    fn a_version_is_read_from_its_name_and_anything_else_is_refused() {
        let version = test_names()
            .secret_version("projects/42/secrets/db-url/versions/7")
            .unwrap();
        assert_eq!(version.secret, "projects/demo-project/secrets/db-url");
        assert_eq!(version.version, "7");
        assert!(
            test_names()
                .secret_version("projects/42/secrets/x")
                .is_err()
        );
    }

    #[test]
    fn a_network_has_one_name_however_it_is_spelt() {
        let full = "projects/demo-project/global/networks/main";
        let url = format!("https://www.googleapis.com/compute/v1/{full}");
        for spelling in ["main", "global/networks/main", full, url.as_str()] {
            assert_eq!(test_names().network(spelling), full);
        }
    }

    #[test]
    fn a_connector_may_be_given_by_name() {
        let full = "projects/demo-project/locations/europe-west1/connectors/vpc";
        assert_eq!(test_names().connector("vpc"), full);
        assert_eq!(test_names().connector(full), full);
    }
}
