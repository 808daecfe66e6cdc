//! How Google spells the names of things in one project and region.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use deployer_core::capability::SecretVersion;
use deployer_core::error::{Error, Result};

/// Google's resource names in one project and region; pure but for the projects' numbers that it
/// learns.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) project: String,
    pub(crate) region: String,
    /// The ids of projects by their numbers, as far as answers told them.
    numbers: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Names {
    /// Of that project and region; no number is known yet.
    pub(crate) fn new(project: &str, region: &str) -> Self {
        Self {
            project: project.to_owned(),
            region: region.to_owned(),
            numbers: Arc::default(),
        }
    }

    /// Notes what an answer tells: Google names a project by its number where it was asked by the
    /// id.
    pub(crate) fn learn(&self, id: &str, number: &str) {
        if is_number(number) && !is_number(id) {
            let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            numbers.insert(number.to_owned(), id.to_owned());
        }
    }

    /// The id of a project that is named by id or number. A number that no answer told is ours
    /// while ours is not known: most secrets are our own.
    pub(crate) fn project_id(&self, given: &str) -> String {
        if !is_number(given) {
            return given.to_owned();
        }
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        match numbers.get(given) {
            Some(id) => id.clone(),
            None if numbers.values().any(|id| *id == self.project) => given.to_owned(),
            None => self.project.clone(),
        }
    }

    /// Whether a project that is named by id or number is this one, as far as an answer told: a
    /// number that none told is not.
    pub(crate) fn is_ours(&self, given: &str) -> bool {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        given == self.project || numbers.get(given).is_some_and(|id| *id == self.project)
    }

    /// Whether an answer told this project's number.
    pub(crate) fn knows_its_number(&self) -> bool {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.values().any(|id| *id == self.project)
    }

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
        if given.is_empty() {
            given.to_owned()
        } else if given.contains('/') {
            self.by_id(given)
        } else {
            format!("{}/connectors/{given}", self.location())
        }
    }

    /// The same resource with its project's id, where that is named by a number that is known.
    fn by_id(&self, full: &str) -> String {
        let rest = full.strip_prefix("projects/");
        match rest.and_then(|rest| rest.split_once('/')) {
            Some((project, rest)) => format!("projects/{}/{rest}", self.project_id(project)),
            None => full.to_owned(),
        }
    }

    /// A VPC network in full, given by name, in full or as a URL: `projects/P/global/networks/N`.
    pub(crate) fn network(&self, given: &str) -> String {
        match given.find("projects/") {
            Some(start) => self.by_id(&given[start..]),
            None => format!("projects/{}/global/networks/{}", self.project, short(given)),
        }
    }

    /// A subnetwork in full, given by name, in full or as a URL:
    /// `projects/P/regions/R/subnetworks/S`.
    pub(crate) fn subnetwork(&self, given: &str) -> String {
        match given.find("projects/") {
            Some(start) => self.by_id(&given[start..]),
            None => format!(
                "projects/{}/regions/{}/subnetworks/{}",
                self.project,
                self.region,
                short(given)
            ),
        }
    }

    /// A network, subnetwork or connector for people: its name alone where it is of this project
    /// and region.
    pub(crate) fn nearby(&self, full: String) -> String {
        let name = short(&full);
        let ours = [
            self.network(name),
            self.subnetwork(name),
            self.connector(name),
        ];
        match ours.contains(&full) {
            true => name.to_owned(),
            false => full,
        }
    }

    /// A Memorystore instance.
    pub(crate) fn cache(&self, name: &str) -> String {
        format!("{}/instances/{name}", self.location())
    }

    /// A secret as Cloud Run knows it, in full and with the project's id: Google answers with a
    /// bare name for a secret of the same project, and with the project's number where it was asked
    /// with the id.
    pub(crate) fn secret_in_full(&self, given: &str) -> String {
        match parts(given) {
            Some((project, name)) => {
                format!("projects/{}/secrets/{name}", self.project_id(project))
            }
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

    /// The version that an answer names `projects/P/secrets/S/versions/V`, of the secret that was
    /// asked for in full: the answer has the project's number, which tells nobody whose it is.
    pub(crate) fn secret_version(&self, asked: &str, answer: &str) -> Result<SecretVersion> {
        let (secret, version) = answer
            .split_once("/versions/")
            .ok_or_else(|| Error::internal(format!("`{answer}` names no secret version")))?;
        if let (Some((id, _)), Some((number, _))) = (parts(asked), parts(secret)) {
            self.learn(id, number);
        }
        Ok(SecretVersion {
            secret: asked.to_owned(),
            version: version.to_owned(),
        })
    }
}

fn is_number(project: &str) -> bool {
    !project.is_empty() && project.bytes().all(|byte| byte.is_ascii_digit())
}

/// Project and name of `projects/P/secrets/S`.
fn parts(secret: &str) -> Option<(&str, &str)> {
    secret.strip_prefix("projects/")?.split_once("/secrets/")
}

/// The last part of a resource name: `idp-00002-abc` of `projects/.../revisions/idp-00002-abc`.
pub(crate) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
pub(crate) fn test_names() -> Names {
    Names::new("demo-project", "europe-west1")
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
    fn a_version_is_of_the_secret_that_was_asked_for_whatever_number_answers() {
        let names = test_names();
        let theirs = "projects/other-project/secrets/db-url";
        let version = names.secret_version(theirs, "projects/42/secrets/db-url/versions/7");
        let version = version.unwrap();
        assert_eq!(
            (version.secret.as_str(), version.version.as_str()),
            (theirs, "7")
        );
        assert_eq!(names.secret_in_short(&version.secret), theirs);
        // From then on their number is theirs, and another one is nobody's that we know once ours
        // is known.
        assert_eq!(names.secret_in_full("projects/42/secrets/db-url"), theirs);
        names.learn("demo-project", "41");
        assert!(names.is_ours("41") && names.is_ours("demo-project"));
        assert!(!names.is_ours("42") && !names.is_ours("43"));
        let strange = "projects/43/secrets/db-url";
        assert_eq!(names.secret_in_full(strange), strange);
        assert_eq!(
            names.secret_in_full("projects/41/secrets/db-url"),
            names.secret("db-url")
        );
        assert!(
            names
                .secret_version(theirs, "projects/42/secrets/x")
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
