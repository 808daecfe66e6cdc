//! The rows: of each kind what it says itself, and here those of steps and of what has no kind.

use std::sync::LazyLock;

use deployer_core::permissions::Feature;

use super::Need;
use crate::access::{Access, On};
use crate::database::{user, within};
use crate::runtime::migration;
use crate::{kinds, registry, secret_store};

/// What has no kind, what goes with something else, and steps.
const OTHERS: &[Need] = &[
    Need {
        kind: "project",
        noun: "the project, and which APIs are on",
        access: Access {
            feature: Feature::Always,
            // The second may be missing: each API then says itself that it is off. The third is for
            // the project that calls count against.
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
    },
    Need {
        kind: "ledger",
        noun: "the ledger's objects",
        access: Access {
            feature: Feature::Always,
            read: &["storage.objects.get", "storage.objects.list"],
            // An object that is written anew is deleted first.
            change: &["storage.objects.create", "storage.objects.delete"],
            roles: &["roles/storage.objectUser"],
            on: On::Bucket,
        },
    },
    Need {
        kind: registry::IMAGE,
        noun: "copy of an image",
        access: Access {
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
    },
    Need {
        kind: "account",
        noun: "the service account of a service or a job",
        access: Access {
            feature: Feature::Always,
            read: &[],
            change: &["iam.serviceAccounts.actAs"],
            roles: &["roles/iam.serviceAccountUser"],
            on: On::RuntimeAccount,
        },
    },
    Need {
        kind: "logs",
        noun: "`deployer logs`, and the last lines of what failed",
        access: Access {
            feature: Feature::Always,
            read: &["logging.logEntries.list"],
            change: &[],
            roles: &["roles/logging.viewer"],
            on: On::Project,
        },
    },
    Need {
        kind: secret_store::MEMBER,
        noun: "secret of another owner",
        access: Access {
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
    },
    Need {
        kind: migration::KIND,
        noun: "migration",
        access: Access {
            feature: Feature::Migrations,
            read: &[
                "run.executions.get",
                "run.executions.list",
                "run.tasks.list",
            ],
            // What cancels is no longer `run.jobs.run`: "Beginning on September 16, 2024, the
            // permission for canceling job executions will change from run.jobs.run to
            // run.executions.cancel" (Cloud Run, "IAM permissions").
            change: &["run.executions.cancel", "run.jobs.run"],
            roles: &["roles/run.developer"],
            on: On::Project,
        },
    },
    Need {
        kind: "run",
        noun: "`deployer run`",
        access: Access {
            feature: Feature::OneOffs,
            read: &[
                "logging.logEntries.list",
                "run.executions.get",
                "run.executions.list",
                "run.jobs.get",
                "run.jobs.list",
                "run.operations.get",
                "run.revisions.get",
                "run.services.get",
                "run.tasks.list",
            ],
            // "Authorization requires the following IAM permission on the specified resource
            // overrides: run.jobs.runWithOverrides" (Cloud Run, "Method: namespaces.jobs.run").
            change: &[
                "run.executions.cancel",
                "run.jobs.create",
                "run.jobs.delete",
                "run.jobs.run",
                "run.jobs.runWithOverrides",
                "run.jobs.update",
            ],
            roles: &["roles/logging.viewer", "roles/run.developer"],
            on: On::Project,
        },
    },
    Need {
        kind: "run's account",
        noun: "the service account of the job of `deployer run`",
        access: Access {
            feature: Feature::OneOffs,
            read: &[],
            change: &["iam.serviceAccounts.actAs"],
            roles: &["roles/iam.serviceAccountUser"],
            on: On::RuntimeAccount,
        },
    },
    Need {
        kind: within::KIND,
        noun: "database in an instance",
        access: Access {
            feature: Feature::Databases,
            read: &["cloudsql.databases.get"],
            change: &["cloudsql.databases.create"],
            roles: &["roles/cloudsql.admin"],
            on: On::Project,
        },
    },
    Need {
        kind: user::KIND,
        noun: "user of a database",
        access: Access {
            feature: Feature::Databases,
            read: &["cloudsql.users.list"],
            change: &["cloudsql.users.create", "cloudsql.users.update"],
            roles: &["roles/cloudsql.admin"],
            on: On::Project,
        },
    },
    Need {
        kind: "apis",
        noun: "APIs that `apply` switches on",
        access: Access {
            feature: Feature::Apis,
            read: &["serviceusage.operations.get"],
            change: &["serviceusage.services.enable"],
            roles: &["roles/serviceusage.serviceUsageAdmin"],
            on: On::Project,
        },
    },
];

/// Every kind, and what has no kind, by what brings it.
pub static NEEDS: LazyLock<Vec<Need>> = LazyLock::new(|| {
    let of_kinds = kinds::ALL.iter().map(|it| Need {
        kind: it.kind,
        noun: it.noun,
        access: it.facts.access,
    });
    let mut needs: Vec<Need> = OTHERS.iter().copied().chain(of_kinds).collect();
    needs.sort_by_key(|it| it.access.feature);
    needs
});

/// What `apply --only` does on the project and no more: it pushes an image and has the service take
/// it.
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
