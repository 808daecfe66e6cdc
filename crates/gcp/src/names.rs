//! What each service of Google Cloud accepts as a name, and the names that are made.

use deployer_core::name_rule;

name_rule!(
    /// `CreateService` of Cloud Run.
    RUN_SERVICE, "a Cloud Run service", 49, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 49 characters"
);
name_rule!(
    /// `CreateJob` of Cloud Run.
    RUN_JOB, "a Cloud Run job", 63, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 63 characters"
);
name_rule!(
    /// `CreateSecret` of Secret Manager.
    SECRET, "a secret in Secret Manager", 255, Any,
    "^[A-Za-z0-9_-]+$",
    "letters, digits, `-` and `_`, at most 255 characters"
);
name_rule!(
    /// What Secret Manager reads, in this project or another.
    SECRET_READ, "a secret in Secret Manager", 300, Any,
    "^(projects/[a-z0-9.:-]+/secrets/)?[A-Za-z0-9_-]+$",
    "its name (letters, digits, `-` and `_`) or projects/PROJECT/secrets/NAME"
);
name_rule!(
    /// `CreateRepository` of Artifact Registry.
    ARTIFACT_REPOSITORY, "an Artifact Registry repository", 63, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 63 characters"
);
name_rule!(
    /// `instances.insert` of Cloud SQL: at most 98 characters with the project's id and a colon,
    /// which takes 31.
    CLOUD_SQL, "a Cloud SQL instance", 67, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 67 characters"
);
name_rule!(
    /// `CreateInstance` of Memorystore for Redis.
    MEMORYSTORE, "a Memorystore instance", 40, Lower,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$",
    "lower-case letters, digits and `-`, a letter first, no `-` last, at most 40 characters"
);

/// How the name of a service's job ends: it migrates.
pub(crate) const MIGRATES: &str = "-migrate";

/// The job that migrates the database of a service.
pub fn job(service: &str) -> String {
    RUN_JOB.fit(&format!("{service}{MIGRATES}"))
}

/// A secret's name.
pub fn secret(app: &str, environment: &str, key: &str) -> String {
    SECRET.fit(&format!("{app}-{environment}-{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_refuses_what_it_does_not_take() {
        assert!(RUN_SERVICE.accepts("idp-staging"));
        for refused in ["Idp", "idp-", "1idp", &"a".repeat(50)] {
            assert!(!RUN_SERVICE.accepts(refused), "{refused}");
        }
        assert!(!SECRET.accepts("spryte/mongodb-uri"));
    }

    #[test]
    fn names_that_others_gave_are_read_and_never_made() {
        let full = "projects/other-project/secrets/db_url";
        assert!(SECRET_READ.accepts(full) && !SECRET.accepts(full));
        assert!(!SECRET_READ.accepts("a/b"));
    }
}
