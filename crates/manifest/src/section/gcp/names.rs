//! Says which name each thing of a service has on Google Cloud.

use deployer_gcp::names as rules;

use super::GcpSection;
use crate::called::Called;
use crate::names;
use crate::names::Named;
use crate::section::Section;
use crate::source::KeyPath;

/// The names of one service's things on Google Cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcpNames {
    /// The Cloud Run service.
    pub service: String,
    /// The Cloud Run job that migrates.
    pub job: String,
    /// The Artifact Registry repository.
    pub repository: String,
    /// The image in that repository.
    pub image: String,
}

impl GcpSection {
    /// The names of a service.
    pub fn names(&self, app: &str, environment: &str, service: Called<'_>) -> GcpNames {
        let Called { key, origin } = service;
        let own = self.services.get(key).cloned().unwrap_or_default();
        let made = names::service(app, environment, origin);
        let name = own.name.unwrap_or_else(|| rules::RUN_SERVICE.fit(&made));
        let repository = self.repository.clone();
        GcpNames {
            job: own.job.unwrap_or_else(|| rules::job(&name)),
            repository: repository.unwrap_or_else(|| {
                rules::ARTIFACT_REPOSITORY.fit(&names::prefix(app, environment))
            }),
            image: origin.to_owned(),
            service: name,
        }
    }

    /// The same, each with what it may be and the key that says it.
    pub(super) fn checked_names(
        &self,
        app: &str,
        environment: &str,
        called: Called<'_>,
    ) -> Vec<Named> {
        let names = self.names(app, environment, called);
        let key = called.key;
        let service = &Section::runtime(self, key).service;
        let target = KeyPath::new(["targets", "gcp"]);
        let own = target.join("services").join(key);
        let repository = &rules::ARTIFACT_REPOSITORY;
        [
            (service.rule, service.space, names.service, own.join("name")),
            (&rules::RUN_JOB, "Cloud Run job", names.job, own.join("job")),
            (repository, "", names.repository, target.join("repository")),
        ]
        .into_iter()
        .map(|(rule, space, name, path)| Named {
            rule,
            space,
            name,
            path,
        })
        .collect()
    }
}
