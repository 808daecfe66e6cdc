//! The rows. Whoever adds a kind adds its row here; a test finds the one that is missing.

use deployer_core::permissions::Feature;

use super::{Need, On};
use crate::database::{instance, user, within};
use crate::runtime::{invoker, job, migration, service};
use crate::{cache, dns, registry, secret_access, secret_member, secret_store};

/// Every kind, and what has no kind.
pub const NEEDS: &[Need] = &[
    Need {
        kind: "project",
        noun: "the project, and which APIs are on",
        feature: Feature::Always,
        // The second may be missing: each API then says itself that it is off. The third is for the project that calls count
        // against.
        read: &[
            "resourcemanager.projects.get",
            "serviceusage.services.get",
            "serviceusage.services.use",
        ],
        change: &[],
        roles: &[
            "roles/serviceusage.serviceUsageConsumer",
            "roles/run.developer",
        ],
        on: On::Project,
    },
    Need {
        kind: "ledger",
        noun: "the ledger's objects",
        feature: Feature::Always,
        read: &["storage.objects.get", "storage.objects.list"],
        // An object that is written anew is deleted first.
        change: &["storage.objects.create", "storage.objects.delete"],
        roles: &["roles/storage.objectUser"],
        on: On::Bucket,
    },
    Need {
        kind: registry::REPOSITORY,
        noun: "an image repository",
        feature: Feature::Always,
        read: &[
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.list",
        ],
        change: &[
            "artifactregistry.repositories.create",
            "artifactregistry.repositories.delete",
            "artifactregistry.repositories.update",
        ],
        roles: &["roles/artifactregistry.admin"],
        on: On::Project,
    },
    Need {
        kind: registry::IMAGE,
        noun: "the copy of an image",
        feature: Feature::Always,
        read: &["artifactregistry.repositories.downloadArtifacts"],
        change: &[
            "artifactregistry.repositories.uploadArtifacts",
            "artifactregistry.tags.create",
            "artifactregistry.tags.update",
        ],
        roles: &["roles/artifactregistry.admin"],
        on: On::Project,
    },
    Need {
        kind: service::KIND,
        noun: "a Cloud Run service",
        feature: Feature::Always,
        read: &[
            "run.operations.get",
            "run.revisions.get",
            "run.revisions.list",
            "run.services.get",
            "run.services.list",
        ],
        change: &[
            "run.services.create",
            "run.services.delete",
            "run.services.update",
        ],
        roles: &["roles/run.developer"],
        on: On::Project,
    },
    Need {
        kind: "account",
        noun: "the service account of a service or a job",
        feature: Feature::Always,
        read: &[],
        change: &["iam.serviceAccounts.actAs"],
        roles: &["roles/iam.serviceAccountUser"],
        on: On::RuntimeAccount,
    },
    Need {
        kind: invoker::KIND,
        noun: "who may call a service",
        feature: Feature::Always,
        read: &["run.services.getIamPolicy"],
        change: &["run.services.setIamPolicy"],
        roles: &["roles/run.admin"],
        on: On::Project,
    },
    Need {
        kind: "logs",
        noun: "`deployer logs`, and the last lines of what failed",
        feature: Feature::Always,
        read: &["logging.logEntries.list"],
        change: &[],
        roles: &["roles/logging.viewer"],
        on: On::Project,
    },
    Need {
        kind: secret_store::KIND,
        noun: "a secret",
        feature: Feature::Secrets,
        read: &[
            "secretmanager.secrets.get",
            "secretmanager.secrets.list",
            "secretmanager.versions.access",
            "secretmanager.versions.get",
            "secretmanager.versions.list",
        ],
        change: &[
            "secretmanager.secrets.create",
            "secretmanager.secrets.delete",
            "secretmanager.secrets.update",
            "secretmanager.versions.add",
        ],
        roles: &["roles/secretmanager.admin"],
        on: On::Project,
    },
    Need {
        kind: secret_access::KIND,
        noun: "that a service's account may read a secret",
        feature: Feature::Secrets,
        read: &["secretmanager.secrets.getIamPolicy"],
        change: &["secretmanager.secrets.setIamPolicy"],
        roles: &["roles/secretmanager.admin"],
        on: On::Project,
    },
    Need {
        kind: secret_member::KIND,
        noun: "a secret of another owner, or one member of it",
        feature: Feature::SharedSecrets,
        read: &[
            "resourcemanager.projects.getIamPolicy",
            "secretmanager.secrets.get",
            "secretmanager.secrets.getIamPolicy",
            "secretmanager.versions.access",
            "secretmanager.versions.get",
            "secretmanager.versions.list",
        ],
        change: &[],
        roles: &[
            "roles/browser",
            "roles/secretmanager.secretAccessor",
            "roles/secretmanager.viewer",
        ],
        on: On::SecretsProject,
    },
    Need {
        kind: job::KIND,
        noun: "a Cloud Run job",
        feature: Feature::Migrations,
        read: &["run.jobs.get", "run.jobs.list", "run.operations.get"],
        change: &["run.jobs.create", "run.jobs.delete", "run.jobs.update"],
        roles: &["roles/run.developer"],
        on: On::Project,
    },
    Need {
        kind: migration::KIND,
        noun: "a migration",
        feature: Feature::Migrations,
        read: &[
            "run.executions.get",
            "run.executions.list",
            "run.tasks.list",
        ],
        // What cancels is no longer `run.jobs.run`: "Beginning on September 16, 2024, the permission for canceling job executions will
        // change from run.jobs.run to run.executions.cancel" (Cloud Run, "IAM permissions").
        change: &["run.executions.cancel", "run.jobs.run"],
        roles: &["roles/run.developer"],
        on: On::Project,
    },
    Need {
        kind: instance::KIND,
        noun: "a database instance",
        feature: Feature::Databases,
        // Operations are read by the permission on their instance.
        read: &[
            "cloudsql.instances.get",
            "cloudsql.instances.list",
            "cloudsql.instances.listServerCas",
        ],
        change: &[
            "cloudsql.instances.create",
            "cloudsql.instances.delete",
            "cloudsql.instances.update",
        ],
        roles: &["roles/cloudsql.admin"],
        on: On::Project,
    },
    Need {
        kind: within::KIND,
        noun: "a database in an instance",
        feature: Feature::Databases,
        read: &["cloudsql.databases.get"],
        change: &["cloudsql.databases.create"],
        roles: &["roles/cloudsql.admin"],
        on: On::Project,
    },
    Need {
        kind: user::KIND,
        noun: "a user of a database",
        feature: Feature::Databases,
        read: &["cloudsql.users.list"],
        change: &["cloudsql.users.create", "cloudsql.users.update"],
        roles: &["roles/cloudsql.admin"],
        on: On::Project,
    },
    Need {
        kind: cache::KIND,
        noun: "a cache",
        feature: Feature::Caches,
        read: &[
            "redis.instances.get",
            "redis.instances.getAuthString",
            "redis.instances.list",
            "redis.operations.get",
        ],
        change: &[
            "redis.instances.create",
            "redis.instances.delete",
            "redis.instances.update",
            "redis.instances.upgrade",
        ],
        roles: &["roles/redis.admin"],
        on: On::Project,
    },
    Need {
        kind: dns::KIND,
        noun: "a record in a managed zone",
        feature: Feature::Dns,
        read: &[
            "dns.managedZones.get",
            "dns.managedZones.list",
            "dns.resourceRecordSets.list",
        ],
        change: &[
            "dns.changes.create",
            "dns.changes.get",
            "dns.resourceRecordSets.create",
            "dns.resourceRecordSets.delete",
            "dns.resourceRecordSets.update",
        ],
        roles: &["roles/dns.admin"],
        on: On::Project,
    },
    Need {
        kind: "apis",
        noun: "APIs that `apply` switches on",
        feature: Feature::Apis,
        read: &["serviceusage.operations.get"],
        change: &["serviceusage.services.enable"],
        roles: &["roles/serviceusage.serviceUsageAdmin"],
        on: On::Project,
    },
];

/// What `apply --only` does on the project and no more: it pushes an image and has the service take it.
pub const ONLY: &[&str] = &[
    "artifactregistry.repositories.downloadArtifacts",
    "artifactregistry.repositories.get",
    "artifactregistry.repositories.uploadArtifacts",
    "artifactregistry.tags.create",
    "artifactregistry.tags.update",
    "resourcemanager.projects.get",
    "run.operations.get",
    "run.revisions.get",
    "run.revisions.list",
    "run.services.get",
    "run.services.update",
    "serviceusage.services.get",
    "serviceusage.services.use",
];
