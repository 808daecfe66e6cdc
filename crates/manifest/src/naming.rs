//! Says which name each thing of a manifest has on each cloud.

use std::collections::BTreeSet;

use deployer_core::address::CloudName;
use deployer_core::spec::EnvironmentSpec;

use crate::model::Manifest;
use crate::names::{self, Rule};
use crate::section::AwsRuntime;
use crate::source::KeyPath;

/// The names of one service's things on AWS: what the manifest says, else what is made from app,
/// environment and key.
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

impl Manifest {
    /// What runs `service` on AWS.
    pub fn aws_runtime(&self, service: &str) -> AwsRuntime {
        let Some(target) = &self.targets.aws else {
            return AwsRuntime::default();
        };
        let own = target.services.get(service).and_then(|own| own.runtime);
        own.unwrap_or(target.runtime)
    }

    /// The names of `service` on AWS. Defaults where the manifest has no AWS target.
    pub fn aws_names(&self, service: &str, environment: &str) -> AwsNames {
        let section = self
            .targets
            .aws
            .as_ref()
            .and_then(|aws| aws.services.get(service));
        let section = section.cloned().unwrap_or_default();
        let made = names::service(&self.app, environment, service);
        let rule = service_rule(self.aws_runtime(service));
        let name = section.name.unwrap_or_else(|| rule.fit(&made));
        AwsNames {
            family: section.family.unwrap_or_else(|| name.clone()),
            container: section
                .container
                .unwrap_or_else(|| deployer_aws::names::ECS.fit(service)),
            repository: section
                .repository
                .unwrap_or_else(|| deployer_aws::names::ECR_REPOSITORY.fit(&made)),
            log_group: section
                .log_group
                .unwrap_or_else(|| deployer_aws::names::log_group(&name)),
            service: name,
        }
    }

    /// The names of `service` on Google Cloud. Defaults where the manifest has no such target.
    pub fn gcp_names(&self, service: &str, environment: &str) -> GcpNames {
        let gcp = self.targets.gcp.as_ref();
        let section = gcp
            .and_then(|gcp| gcp.services.get(service))
            .cloned()
            .unwrap_or_default();
        let made = names::service(&self.app, environment, service);
        let name = section
            .name
            .unwrap_or_else(|| deployer_gcp::names::RUN_SERVICE.fit(&made));
        let repository = gcp.and_then(|gcp| gcp.repository.clone());
        GcpNames {
            job: section
                .job
                .unwrap_or_else(|| deployer_gcp::names::RUN_JOB.fit(&format!("{name}-migrate"))),
            repository: repository.unwrap_or_else(|| {
                deployer_gcp::names::ARTIFACT_REPOSITORY.fit(&names::prefix(&self.app, environment))
            }),
            image: service.to_owned(),
            service: name,
        }
    }
}

impl Manifest {
    /// The name of the instance of the database `key` on `cloud`.
    pub fn database_name(&self, cloud: CloudName, key: &str, environment: &str) -> String {
        let targets = &self.targets;
        let (own, rule) = match cloud {
            CloudName::Aws => {
                let own = targets.aws.as_ref().and_then(|aws| aws.databases.get(key));
                (
                    own.and_then(|own| own.name.clone()),
                    &deployer_aws::names::RDS_INSTANCE,
                )
            }
            CloudName::Gcp => {
                let own = targets.gcp.as_ref().and_then(|gcp| gcp.databases.get(key));
                (
                    own.and_then(|own| own.name.clone()),
                    &deployer_gcp::names::CLOUD_SQL,
                )
            }
        };
        own.unwrap_or_else(|| names::instance(rule, &self.app, environment, key))
    }

    /// The name of the cache `key` on `cloud`.
    pub fn cache_name(&self, cloud: CloudName, key: &str, environment: &str) -> String {
        let targets = &self.targets;
        let (own, rule) = match cloud {
            CloudName::Aws => {
                let own = targets.aws.as_ref().and_then(|aws| aws.caches.get(key));
                (
                    own.and_then(|own| own.name.clone()),
                    &deployer_aws::names::REPLICATION_GROUP,
                )
            }
            CloudName::Gcp => {
                let own = targets.gcp.as_ref().and_then(|gcp| gcp.caches.get(key));
                (
                    own.and_then(|own| own.name.clone()),
                    &deployer_gcp::names::MEMORYSTORE,
                )
            }
        };
        own.unwrap_or_else(|| names::instance(rule, &self.app, environment, key))
    }
}

/// What the runtime takes as a service's name.
fn service_rule(runtime: AwsRuntime) -> &'static Rule {
    match runtime {
        AwsRuntime::Ecs => &deployer_aws::names::ECS,
        AwsRuntime::AppRunner => &deployer_aws::names::APP_RUNNER_SERVICE,
    }
}

/// One name that a target holds, for the checks.
pub(crate) struct Named {
    pub(crate) rule: &'static Rule,
    /// Names of one space may not be equal.
    pub(crate) space: &'static str,
    pub(crate) name: String,
    /// Where the manifest says the name, or the thing that is named.
    pub(crate) path: KeyPath,
}

impl Manifest {
    /// Every name that `cloud` holds for `spec`.
    pub(crate) fn all_names(&self, cloud: CloudName, spec: &EnvironmentSpec) -> Vec<Named> {
        let mut all = vec![];
        let target = KeyPath::new(["targets", cloud.as_str()]);
        let mut add = |rule, space, name: &str, path| {
            let name = name.to_owned();
            all.push(Named {
                rule,
                space,
                name,
                path,
            });
        };
        for key in spec.services.keys() {
            let own = target.join("services").join(key);
            match cloud {
                CloudName::Aws => {
                    let names = self.aws_names(key, &spec.environment);
                    let runtime = self.aws_runtime(key);
                    add(
                        service_rule(runtime),
                        match runtime {
                            AwsRuntime::Ecs => "ECS service",
                            AwsRuntime::AppRunner => "App Runner service",
                        },
                        &names.service,
                        own.join("name"),
                    );
                    add(
                        &deployer_aws::names::ECS,
                        "task definition family",
                        &names.family,
                        own.join("family"),
                    );
                    add(
                        &deployer_aws::names::ECS,
                        "",
                        &names.container,
                        own.join("container"),
                    );
                    add(
                        &deployer_aws::names::ECR_REPOSITORY,
                        "ECR repository",
                        &names.repository,
                        own.join("repository"),
                    );
                    add(
                        &deployer_aws::names::LOG_GROUP,
                        "log group",
                        &names.log_group,
                        own.join("log_group"),
                    );
                }
                CloudName::Gcp => {
                    let names = self.gcp_names(key, &spec.environment);
                    add(
                        &deployer_gcp::names::RUN_SERVICE,
                        "Cloud Run service",
                        &names.service,
                        own.join("name"),
                    );
                    add(
                        &deployer_gcp::names::RUN_JOB,
                        "Cloud Run job",
                        &names.job,
                        own.join("job"),
                    );
                    add(
                        &deployer_gcp::names::ARTIFACT_REPOSITORY,
                        "",
                        &names.repository,
                        target.join("repository"),
                    );
                }
            }
        }
        let (database, cache) = match cloud {
            CloudName::Aws => (
                (&deployer_aws::names::RDS_INSTANCE, "RDS instance"),
                (&deployer_aws::names::REPLICATION_GROUP, "replication group"),
            ),
            CloudName::Gcp => (
                (&deployer_gcp::names::CLOUD_SQL, "Cloud SQL instance"),
                (&deployer_gcp::names::MEMORYSTORE, "Memorystore instance"),
            ),
        };
        for (key, own) in &spec.databases {
            let path = target.join("databases").join(key).join("name");
            add(database.0, database.1, &own.name, path);
        }
        for (key, own) in &spec.caches {
            let path = target.join("caches").join(key).join("name");
            add(cache.0, cache.1, &own.name, path);
        }
        let by_member = spec.secrets.values().filter(|it| it.member.is_some());
        let whole = spec.secrets.values().filter(|it| it.member.is_none());
        let whole: BTreeSet<&String> = whole.map(|it| &it.name).collect();
        let shared: BTreeSet<&String> = by_member
            .map(|it| &it.name)
            .filter(|name| !whole.contains(name))
            .collect();
        for (key, secret) in &spec.secrets {
            let own = target.join("secrets").join(key).join("name");
            let has_own = match cloud {
                CloudName::Aws => self
                    .targets
                    .aws
                    .as_ref()
                    .and_then(|aws| aws.secrets.get(key)),
                CloudName::Gcp => self
                    .targets
                    .gcp
                    .as_ref()
                    .and_then(|gcp| gcp.secrets.get(key)),
            };
            let path = match has_own.and_then(|own| own.name.as_ref()) {
                Some(_) => own,
                None => KeyPath::new(["secrets", key, "name"]),
            };
            let rule = match (cloud, secret.may_be_anothers()) {
                (CloudName::Aws, false) => &deployer_aws::names::SECRET,
                (CloudName::Gcp, false) => &deployer_gcp::names::SECRET,
                (CloudName::Aws, true) => &deployer_aws::names::SECRET_READ,
                (CloudName::Gcp, true) => &deployer_gcp::names::SECRET_READ,
            };
            // One secret has many members.
            let space = match &secret.member {
                Some(_) if shared.contains(&secret.name) => "",
                _ => "secret",
            };
            add(rule, space, &secret.name, path);
            if let (CloudName::Gcp, Some(member)) = (cloud, &secret.member) {
                let at = KeyPath::new(["secrets", key, "key"]);
                add(&deployer_gcp::names::SECRET, "secret", &member.held_in, at);
            }
        }
        all
    }
}
