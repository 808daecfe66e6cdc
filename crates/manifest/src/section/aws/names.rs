//! Says which name each thing of a service has on AWS.

use deployer_aws::names as rules;

use super::{AwsRuntime, AwsSection};
use crate::called::Called;
use crate::names;
use crate::names::Named;
use crate::section::Section;
use crate::source::KeyPath;

/// The names of one service's things on AWS: what the manifest says, else what is made from app,
/// environment and the service's origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsNames {
    /// The service, on ECS or App Runner.
    pub service: String,
    /// The task definition's family.
    pub family: String,
    /// The container in the task definition.
    pub container: String,
    /// The ECR repository.
    pub repository: String,
    /// The log group.
    pub log_group: String,
}

impl AwsSection {
    /// What runs `service`.
    pub(crate) fn runtime_of(&self, service: &str) -> AwsRuntime {
        let own = self.services.get(service).and_then(|own| own.runtime);
        own.unwrap_or(self.runtime)
    }

    /// The names of a service.
    pub fn names(&self, app: &str, environment: &str, service: Called<'_>) -> AwsNames {
        let Called { key, origin } = service;
        let own = self.services.get(key).cloned().unwrap_or_default();
        let made = names::service(app, environment, origin);
        let rule = Section::runtime(self, key).service.rule;
        let name = own.name.unwrap_or_else(|| rule.fit(&made));
        AwsNames {
            family: own.family.unwrap_or_else(|| name.clone()),
            container: own.container.unwrap_or_else(|| rules::ECS.fit(origin)),
            repository: own
                .repository
                .unwrap_or_else(|| rules::ECR_REPOSITORY.fit(&made)),
            log_group: own.log_group.unwrap_or_else(|| rules::log_group(&name)),
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
        let at = KeyPath::new(["targets", "aws", "services", key]);
        [
            (service.rule, service.space, names.service, "name"),
            (
                &rules::ECS,
                "task definition family",
                names.family,
                "family",
            ),
            (&rules::ECS, "", names.container, "container"),
            (
                &rules::ECR_REPOSITORY,
                "ECR repository",
                names.repository,
                "repository",
            ),
            (&rules::LOG_GROUP, "log group", names.log_group, "log_group"),
        ]
        .into_iter()
        .map(|(rule, space, name, field)| Named {
            rule,
            space,
            name,
            path: at.join(field),
        })
        .collect()
    }
}
