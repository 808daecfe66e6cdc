//! Which permissions a method takes.

/// Source: "IAM permissions" of each service, and the methods' own pages in the API references.
const METHODS: &[(&str, &[&str])] = &[
    // Whoever has a token may exchange it, and ask what he is permitted.
    ("oauth2.token", &[]),
    ("cloudresourcemanager.projects.testIamPermissions", &[]),
    ("secretmanager.projects.secrets.testIamPermissions", &[]),
    (
        "cloudresourcemanager.projects.get",
        &["resourcemanager.projects.get"],
    ),
    (
        "cloudresourcemanager.projects.getIamPolicy",
        &["resourcemanager.projects.getIamPolicy"],
    ),
    (
        "serviceusage.services.batchGet",
        &["serviceusage.services.get"],
    ),
    (
        "serviceusage.services.batchEnable",
        &["serviceusage.services.enable"],
    ),
    (
        "serviceusage.operations.get",
        &["serviceusage.operations.get"],
    ),
    (
        "artifactregistry.projects.locations.repositories.get",
        &["artifactregistry.repositories.get"],
    ),
    (
        "artifactregistry.projects.locations.repositories.list",
        &["artifactregistry.repositories.list"],
    ),
    (
        "artifactregistry.projects.locations.repositories.create",
        &["artifactregistry.repositories.create"],
    ),
    (
        "artifactregistry.projects.locations.repositories.patch",
        &[
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.update",
        ],
    ),
    (
        "artifactregistry.projects.locations.repositories.delete",
        &["artifactregistry.repositories.delete"],
    ),
    // There is no permission of its own: whoever may read the repository may read its operations.
    (
        "artifactregistry.projects.locations.operations.get",
        &["artifactregistry.repositories.get"],
    ),
    ("registry GET ping", &[]),
    ("registry GET token", &[]),
    (
        "registry GET manifest",
        &["artifactregistry.repositories.downloadArtifacts"],
    ),
    (
        "registry HEAD manifest",
        &["artifactregistry.repositories.downloadArtifacts"],
    ),
    (
        "registry GET blob",
        &["artifactregistry.repositories.downloadArtifacts"],
    ),
    (
        "registry HEAD blob",
        &["artifactregistry.repositories.downloadArtifacts"],
    ),
    (
        "registry GET upload",
        &["artifactregistry.repositories.uploadArtifacts"],
    ),
    (
        "registry POST uploads",
        &["artifactregistry.repositories.uploadArtifacts"],
    ),
    (
        "registry PATCH upload",
        &["artifactregistry.repositories.uploadArtifacts"],
    ),
    (
        "registry PUT upload",
        &["artifactregistry.repositories.uploadArtifacts"],
    ),
    // Under a tag it makes the tag, or moves it.
    (
        "registry PUT manifest",
        &[
            "artifactregistry.repositories.uploadArtifacts",
            "artifactregistry.tags.create",
            "artifactregistry.tags.update",
        ],
    ),
    // A new revision acts as its account (Cloud Run, "Deployment permissions").
    ("run.projects.locations.services.get", &["run.services.get"]),
    (
        "run.projects.locations.services.list",
        &["run.services.list"],
    ),
    (
        "run.projects.locations.services.create",
        &["iam.serviceAccounts.actAs", "run.services.create"],
    ),
    (
        "run.projects.locations.services.patch",
        &[
            "iam.serviceAccounts.actAs",
            "run.services.get",
            "run.services.update",
        ],
    ),
    (
        "run.projects.locations.services.delete",
        &["run.services.delete"],
    ),
    (
        "run.projects.locations.services.getIamPolicy",
        &["run.services.getIamPolicy"],
    ),
    (
        "run.projects.locations.services.setIamPolicy",
        &["run.services.setIamPolicy"],
    ),
    (
        "run.projects.locations.services.revisions.get",
        &["run.revisions.get"],
    ),
    (
        "run.projects.locations.services.revisions.list",
        &["run.revisions.list"],
    ),
    (
        "run.projects.locations.operations.get",
        &["run.operations.get"],
    ),
    (
        "run.projects.locations.operations.wait",
        &["run.operations.get"],
    ),
    ("run.projects.locations.jobs.get", &["run.jobs.get"]),
    ("run.projects.locations.jobs.list", &["run.jobs.list"]),
    (
        "run.projects.locations.jobs.create",
        &["iam.serviceAccounts.actAs", "run.jobs.create"],
    ),
    (
        "run.projects.locations.jobs.patch",
        &[
            "iam.serviceAccounts.actAs",
            "run.jobs.get",
            "run.jobs.update",
        ],
    ),
    ("run.projects.locations.jobs.delete", &["run.jobs.delete"]),
    ("run.projects.locations.jobs.run", &["run.jobs.run"]),
    (
        "run.projects.locations.jobs.executions.cancel",
        &["run.executions.cancel"],
    ),
    (
        "run.projects.locations.jobs.executions.get",
        &["run.executions.get"],
    ),
    (
        "run.projects.locations.jobs.executions.list",
        &["run.executions.list"],
    ),
    (
        "run.projects.locations.jobs.executions.tasks.list",
        &["run.tasks.list"],
    ),
    (
        "secretmanager.projects.secrets.get",
        &["secretmanager.secrets.get"],
    ),
    (
        "secretmanager.projects.secrets.list",
        &["secretmanager.secrets.list"],
    ),
    (
        "secretmanager.projects.secrets.create",
        &["secretmanager.secrets.create"],
    ),
    (
        "secretmanager.projects.secrets.patch",
        &["secretmanager.secrets.get", "secretmanager.secrets.update"],
    ),
    (
        "secretmanager.projects.secrets.delete",
        &["secretmanager.secrets.delete"],
    ),
    (
        "secretmanager.projects.secrets.addVersion",
        &["secretmanager.versions.add"],
    ),
    (
        "secretmanager.projects.secrets.getIamPolicy",
        &["secretmanager.secrets.getIamPolicy"],
    ),
    (
        "secretmanager.projects.secrets.setIamPolicy",
        &["secretmanager.secrets.setIamPolicy"],
    ),
    (
        "secretmanager.projects.secrets.versions.get",
        &["secretmanager.versions.get"],
    ),
    (
        "secretmanager.projects.secrets.versions.list",
        &["secretmanager.versions.list"],
    ),
    (
        "secretmanager.projects.secrets.versions.access",
        &["secretmanager.versions.access"],
    ),
    ("sql.instances.get", &["cloudsql.instances.get"]),
    ("sql.instances.list", &["cloudsql.instances.list"]),
    (
        "sql.instances.listServerCas",
        &["cloudsql.instances.listServerCas"],
    ),
    ("sql.instances.insert", &["cloudsql.instances.create"]),
    (
        "sql.instances.patch",
        &["cloudsql.instances.get", "cloudsql.instances.update"],
    ),
    ("sql.instances.update", &["cloudsql.instances.update"]),
    ("sql.instances.delete", &["cloudsql.instances.delete"]),
    ("sql.operations.get", &["cloudsql.instances.get"]),
    ("sql.databases.get", &["cloudsql.databases.get"]),
    ("sql.databases.insert", &["cloudsql.databases.create"]),
    ("sql.users.list", &["cloudsql.users.list"]),
    ("sql.users.insert", &["cloudsql.users.create"]),
    ("sql.users.update", &["cloudsql.users.update"]),
    (
        "redis.projects.locations.instances.get",
        &["redis.instances.get"],
    ),
    (
        "redis.projects.locations.instances.list",
        &["redis.instances.list"],
    ),
    (
        "redis.projects.locations.instances.getAuthString",
        &["redis.instances.getAuthString"],
    ),
    (
        "redis.projects.locations.instances.create",
        &["redis.instances.create"],
    ),
    (
        "redis.projects.locations.instances.patch",
        &["redis.instances.get", "redis.instances.update"],
    ),
    (
        "redis.projects.locations.instances.upgrade",
        &["redis.instances.upgrade"],
    ),
    (
        "redis.projects.locations.instances.delete",
        &["redis.instances.delete"],
    ),
    (
        "redis.projects.locations.operations.get",
        &["redis.operations.get"],
    ),
    ("dns.managedZones.get", &["dns.managedZones.get"]),
    ("dns.managedZones.list", &["dns.managedZones.list"]),
    (
        "dns.resourceRecordSets.list",
        &["dns.resourceRecordSets.list"],
    ),
    // What a change adds and takes away needs the records' own permissions (Cloud DNS, "Access
    // control with IAM").
    (
        "dns.changes.create",
        &[
            "dns.changes.create",
            "dns.resourceRecordSets.create",
            "dns.resourceRecordSets.delete",
            "dns.resourceRecordSets.update",
        ],
    ),
    ("dns.changes.get", &["dns.changes.get"]),
    ("logging.entries.list", &["logging.logEntries.list"]),
    ("storage.objects.get", &["storage.objects.get"]),
    ("storage.objects.list", &["storage.objects.list"]),
    (
        "storage.objects.insert",
        &["storage.objects.create", "storage.objects.delete"],
    ),
    ("storage.objects.delete", &["storage.objects.delete"]),
];

/// The permissions that a method takes, by its id or as `registry METHOD WHAT`: those that it can
/// take, whatever it says.
///
/// `None` for a method of which the table knows nothing.
pub fn permissions_of(method: &str) -> Option<&'static [&'static str]> {
    let row = METHODS.iter().find(|(id, _)| *id == method);
    row.map(|(_, permissions)| *permissions)
}
